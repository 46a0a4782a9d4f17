package broker_test

import (
	"testing"

	"github.com/paywordhq/payword/internal/dbtest"
)

// Everything holds on PostgreSQL, too, but for what only a file can be.
// Browsers see no difference.
func TestOnPostgreSQL(t *testing.T) {
	dbtest.OnPostgreSQL(t, "^(TestNoSecretsInDatabase|TestPagesInABrowser|TestVoucherCodesAreNotKept)$")
}

// Every function of an Update may run again: what an earlier run left is not
// read, and nothing is done twice. What counts the points that it comes by is
// left out: there are more of them then.
func TestTwice(t *testing.T) { dbtest.Twice(t, "Kill|Crash|^TestFaults$|^TestPagesInABrowser$") }
