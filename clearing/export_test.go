package clearing

import (
	"context"
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

// Neutral makes a cell of a CSV file harmless.
var Neutral = neutral

// ClassOf returns the class of an account.
var ClassOf = classOf

// ImportStepwise is Import with a hook that is called after every step that a
// crash can follow.
func ImportStepwise(ctx context.Context, db *ledger.DB, file []byte, step func(string)) error {
	_, err := importFile(ctx, db, file, step)
	return err
}
