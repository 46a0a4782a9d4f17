package clearing

import (
	"context"
	"strings"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
)

// WithStep returns the configuration with a hook that is called after every
// step of a run that a crash can follow.
func (c Config) WithStep(step func(name string)) Config {
	c.step = step
	return c
}

// WithRenewals returns the configuration with a lease that is renewed every so
// often.
func (c Config) WithRenewals(every time.Duration) Config {
	c.renewEvery = every
	return c
}

// WithMaxLines returns the configuration with another bound on the lines of a
// plan.
func (c Config) WithMaxLines(limit int) Config {
	c.maxLines = limit
	return c
}

// ClassOf returns the class of an account.
var ClassOf = classOf

// ImportStepwise is Import with ten entries in a transaction, and with a hook
// that is called after every step that a crash can follow.
func ImportStepwise(ctx context.Context, db *ledger.DB, file []byte, step func(string)) (ImportReport, error) {
	const perUpdate = 10
	return importFile(ctx, db, file, perUpdate, step)
}

// BankFiles returns the files for banks of a run, with at most so many orders in
// each.
func BankFiles(ctx context.Context, db *ledger.DB, runID string, most int) (map[string]string, error) {
	r, err := loadRecord(ctx, db, runID)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, part := range r.bankParts(most) {
		var out strings.Builder
		if err := part.write(ctx, &out, r, part); err != nil {
			return nil, err
		}
		files[part.fileName(runID)] = out.String()
	}
	return files, nil
}

// Migrate makes the tables beside those of a broker.
var Migrate = migrate
