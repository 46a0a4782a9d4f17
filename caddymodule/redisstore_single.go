package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/paywordhq/payword"
)

// bindSingle binds a challenge that can be used once to the first commitment
// that answers it, and reports whether that is id.
func (s *redisStore) bindSingle(ctx context.Context, id payword.CommitmentID, fingerprint payword.Fingerprint) (bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), budgetTimeouts*s.timeout)
	defer cancel()
	if err := s.health.wait(ctx); err != nil {
		return false, err
	}
	key := s.prefix + "single:" + string(fingerprint[:])
	isOurs, err := s.client.SetNX(ctx, key, string(id[:]), payword.RefundSeconds*time.Second).Result()
	if err != nil || isOurs {
		return isOurs, err
	}
	holder, err := s.client.Get(ctx, key).Result()
	if errors.Is(err, redis.Nil) {
		return false, errors.New("a challenge ended while it was looked at")
	}
	return holder == string(id[:]), err
}

// chargeSingle charges for a challenge that can be used once. It is bound to the
// commitment first, because two commitments are two keys. It stays bound even if
// the charge is refused or given back, since another request with it may be
// under way: the same commitment can answer it again, another one has to ask for
// a new one.
func (s *redisStore) chargeSingle(ctx context.Context, id payword.CommitmentID, c payword.Charge) (payword.Outcome, view, error) {
	isOurs, err := s.bindSingle(ctx, id, c.Fingerprint)
	if err != nil {
		return payword.Outcome{}, view{}, fmt.Errorf("redis: %w", err)
	}
	if isOurs {
		return s.chargeOnce(ctx, id, c)
	}
	seen, err := s.advance(ctx, id, c.Chain, c.Tail)
	if err != nil {
		return payword.Outcome{}, view{}, err
	}
	return payword.Outcome{Reason: payword.ChallengeUsed, Price: c.Price, Changed: true}, seen, nil
}
