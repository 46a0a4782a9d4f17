package ledger_test

import (
	"testing"

	"github.com/paywordhq/payword/internal/dbtest"
)

// Everything holds on PostgreSQL, too, but for what only a file can be.
func TestOnPostgreSQL(t *testing.T) {
	dbtest.OnPostgreSQL(t)
}
