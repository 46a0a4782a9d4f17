package clearing

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/paywordhq/payword/internal/ledger"
)

// ErrNoKey means that the broker's days are signed, and the run has no key, or one
// that is no key.
var ErrNoKey = errors.New("the run has no key to sign its day with")

// publish makes what a run tells the world: statements that anybody can check.
// It is safe to repeat.
func (r *run) publish(ctx context.Context) error {
	run, isBroker, err := loadPublishedRun(ctx, r.db, r.settlement.RunID)
	if err != nil || !isBroker {
		return err
	}
	return (&publication{
		db: r.db, update: r.update, step: r.config.step, page: evidencePage, signer: r.config.Signer, run: run,
		report: func(step, steps int64) {
			s := r.settlement
			r.config.Progress(Progress{RunID: s.RunID, State: s.State, Phase: PhasePublish, Done: r.done, Lines: s.Totals.Lines, Step: step, Steps: steps})
		},
	}).publish(ctx)
}

// checkKey fails where the day could not be signed that the run ends with. A run
// that has begun is to come to its end, so this is asked before.
func checkKey(ctx context.Context, db *ledger.DB, config Config) error {
	if config.Signer != nil {
		if _, isEd25519 := config.Signer.Public().(ed25519.PublicKey); !isEd25519 {
			return fmt.Errorf("%w: want an Ed25519 key, not %T", ErrNoKey, config.Signer.Public())
		}
		return nil
	}
	days, err := Days(ctx, db, 0, 1)
	if err == nil && len(days) > 0 {
		err = fmt.Errorf("%w, and this broker has signed its days since %s: give the key with --key", ErrNoKey, days[0].PeriodEnd)
	}
	return err
}
