package clearing

import (
	"context"
	"crypto"

	"github.com/paywordhq/payword/internal/ledger"
)

// Publish makes the evidence, the statements and the day of a run, in pages of so
// many rows.
func Publish(ctx context.Context, db *ledger.DB, runID string, signer crypto.Signer, page int, step func(string)) error {
	run, isBroker, err := loadPublishedRun(ctx, db, runID)
	if err != nil || !isBroker {
		return err
	}
	return (&publication{db: db, update: db.Update, step: step, page: page, signer: signer, run: run, report: func(int64, int64) {}}).publish(ctx)
}

// MigrateClearing makes the tables of clearing.
func MigrateClearing(ctx context.Context, db *ledger.DB) error {
	return db.Migrate(ctx, namespace, migrations)
}
