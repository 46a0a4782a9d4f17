package clearing_test

import (
	"os"
	"testing"

	"github.com/paywordhq/payword/internal/dbtest"
)

func TestMain(m *testing.M) {
	os.Exit(dbtest.Main(m, func(location string) error { return startBroker(location, eur) }, ""))
}

// Everything holds on PostgreSQL, too.
func TestOnPostgreSQL(t *testing.T) { dbtest.OnPostgreSQL(t) }
