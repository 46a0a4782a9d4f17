package clearing_test

import (
	"os"
	"testing"

	"github.com/paywordhq/payword/internal/dbtest"
)

func TestMain(m *testing.M) {
	if step, isChild := os.LookupEnv(killAt); isChild {
		os.Exit(runAndDie(step, os.Args[1:]))
	}
	os.Exit(dbtest.Main(m, func(location string) error { return startBroker(location, eur) }, "^TestPagesInABrowser$"))
}

// Everything holds on PostgreSQL, too.
func TestOnPostgreSQL(t *testing.T) { dbtest.OnPostgreSQL(t) }
