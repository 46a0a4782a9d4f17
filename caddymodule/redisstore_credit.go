package caddymodule

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

//go:embed redisstore_credit.lua
var creditSource string

var creditScript = redis.NewScript(creditSource)

// What the script answers.
const (
	shareRefused = 0 // a cap would be exceeded
	shareStands  = 1 // the commitment had its share already
	shareTaken   = 2
)

// creditKey is the key of what unreserved commitments of a currency took on a
// day, UTC: one hash with the sums and the share of each commitment, so that a
// share is taken whole or not at all, and once, however often it is asked for.
func (s *redisStore) creditKey(currency money.Currency, day int64) string {
	return s.prefix + "credit:" + string(currency) + ":" + strconv.FormatInt(day, 10)
}

// share takes the share of m on a day, or gives it back if terms is nil.
func (s *redisStore) share(ctx context.Context, m *payword.Commitment, day int64, terms *creditTerms) (int, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), budgetTimeouts*s.timeout)
	defer cancel()
	if err := s.health.wait(ctx); err != nil {
		return 0, err
	}
	perUser, inAll := money.Amount(-1), money.Amount(-1)
	if terms != nil {
		perUser, inAll = terms.perUser, terms.inAll
	}
	user := sha256.Sum256([]byte(m.Certificate.Issuer + "\x00" + m.Certificate.Subject))
	lifeSeconds := max(1, (day+keptCreditDays)*secondsPerDay-s.now().Unix())
	answer, err := creditScript.Run(ctx, s.client, []string{s.creditKey(m.Currency, day)},
		"c"+string(m.ID[:]), "u"+string(user[:]), int64(m.Limit), int64(perUser), int64(inAll), lifeSeconds).Int()
	if err != nil {
		return 0, fmt.Errorf("redis: %w", err)
	}
	return answer, nil
}

// openOnCredit opens an unreserved commitment. Its share is taken before it is
// remembered, so that what is remembered never exceeds a cap. If this node dies
// in between, the share is gone until the end of the day.
func (s *redisStore) openOnCredit(ctx context.Context, o opening) (view, error) {
	if _, isKnown := s.cache.peek(o.commitment.ID); isKnown {
		return s.step(ctx, o.commitment.ID, &nodeStep{run: topUpStep(o), opening: &o})
	}
	taken, err := s.share(ctx, o.commitment, o.credit.day, &o.credit)
	if err != nil {
		return view{}, err
	}
	if taken == shareRefused {
		seen, err := s.findNewest(ctx, o.commitment.ID)
		if errors.Is(err, errUnknownCommitment) {
			err = errCreditLimit
		}
		return seen, err
	}
	hasShare := false
	seen, err := s.step(ctx, o.commitment.ID, &nodeStep{opening: &o, run: func(e *entry) (record, error) {
		hasShare = e.isUnreserved() && e.creditDay == o.credit.day
		return record{}, nil
	}})
	if err == nil && taken == shareTaken && !hasShare {
		s.giveShareBack(ctx, o.commitment, o.credit.day)
	}
	return seen, err
}

// openReserved opens a commitment with its reservation. One that was unreserved
// gives its share back.
func (s *redisStore) openReserved(ctx context.Context, o opening) (view, error) {
	topUp := topUpStep(o)
	var freed *entry
	seen, err := s.step(ctx, o.commitment.ID, &nodeStep{opening: &o, run: func(e *entry) (record, error) {
		freed = nil
		wasUnreserved := e.isUnreserved()
		r, err := topUp(e)
		if wasUnreserved && !e.isUnreserved() {
			freed = e
		}
		return r, err
	}})
	if err == nil && freed != nil {
		s.giveShareBack(ctx, freed.commitment, freed.creditDay)
	}
	return seen, err
}

// giveShareBack gives a share back, if it can: at the end of the day it comes
// back anyway.
func (s *redisStore) giveShareBack(ctx context.Context, m *payword.Commitment, day int64) {
	if _, err := s.share(ctx, m, day, nil); err != nil {
		s.logger.Warn("giving a share of the day's credit back; it comes back at the end of the day", zap.Error(err))
	}
}
