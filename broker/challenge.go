package broker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"github.com/paywordhq/payword/internal/ledger"
)

// challengeSecrets holds the secrets that bind challenges, by UTC day since
// 1970. They are made by whichever broker on the database comes first, so that a
// challenge of one is good at all.
type challengeSecrets struct {
	mu    sync.Mutex
	byDay map[int64][sha256.Size]byte // today's and yesterday's; guarded by mu
}

// challengeSecret returns the secret of a day, which is made if isMade is set and
// it is missing. found says whether there is one.
func (b *Broker) challengeSecret(ctx context.Context, day int64, isMade bool) (secret [sha256.Size]byte, found bool, err error) {
	c := &b.challenges
	c.mu.Lock()
	defer c.mu.Unlock()
	if secret, found = c.byDay[day]; found {
		return secret, true, nil
	}
	raw, err := b.store.challengeSecret(ctx, day, isMade)
	if err != nil || raw == nil {
		return secret, false, err
	}
	if copy(secret[:], raw) != len(secret) {
		return secret, false, fmt.Errorf("the stored challenge secret has %d bytes", len(raw))
	}
	for old := range c.byDay {
		if old < day-1 {
			delete(c.byDay, old)
		}
	}
	c.byDay[day] = secret
	return secret, true, nil
}

func (s *store) challengeSecret(ctx context.Context, day int64, isMade bool) (secret []byte, err error) {
	work := func(tx *ledger.Tx) error {
		secret = nil
		if isMade {
			fresh := make([]byte, sha256.Size)
			_, _ = rand.Read(fresh) // never fails
			_, err := tx.ExecContext(ctx, `INSERT INTO broker_challenge_keys (day, secret) VALUES (?, ?) ON CONFLICT DO NOTHING`, day, fresh)
			if err != nil {
				return err
			}
		}
		err := tx.QueryRowContext(ctx, `SELECT secret FROM broker_challenge_keys WHERE day = ?`, day).Scan(&secret)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	}
	if isMade {
		_, err = s.update(ctx, "challenge secret", work)
	} else {
		err = s.db.View(ctx, work)
	}
	return secret, err
}
