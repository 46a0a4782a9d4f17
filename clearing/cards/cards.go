// Package cards is what clearing knows of purse cards: one pooled account for
// the money on all of them, and a shadow account for each, credited when the
// card is loaded and debited when a payment of it arrives.
package cards

import (
	"context"
	"embed"
	"io/fs"

	"github.com/paywordhq/payword/internal/ledger"
)

//go:embed migrations
var embedded embed.FS

// migrations holds one folder for each database.
var migrations = func() fs.FS {
	folder, err := fs.Sub(embedded, "migrations")
	if err != nil {
		panic(err) // the embed directive above names it
	}
	return folder
}()

// Migrate makes the tables of this package. Clearing calls it wherever it makes
// its own, whether there are cards or not, so that a settlement run can read who
// the merchants are.
func Migrate(ctx context.Context, db *ledger.DB) error { return db.Migrate(ctx, "cards", migrations) }
