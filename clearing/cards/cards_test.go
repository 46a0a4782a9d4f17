package cards_test

import (
	"testing"

	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/internal/ledger"
)

func TestMigrate(t *testing.T) {
	db, err := ledger.Open(t.Context(), dbtest.New(t), ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for range 2 {
		if err := cards.Migrate(t.Context(), db); err != nil {
			t.Fatal(err)
		}
	}
}
