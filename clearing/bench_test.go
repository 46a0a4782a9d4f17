package clearing_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// oweMany owes something to so many vendors, of whom each tenth has named no
// destination.
func oweMany(t testing.TB, db *ledger.DB, vendors int) {
	t.Helper()
	const perUpdate = 500
	for from := 0; from < vendors; from += perUpdate {
		update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
			var lists [][]ledger.Transfer
			for k := from; k < min(from+perUpdate, vendors); k++ {
				origin, destination := fmt.Sprintf("https://vendor-%05d.example", k), fmt.Sprintf("ref:customer-%d", k)
				if k%10 == 0 {
					destination = ""
				}
				_, err := tx.ExecContext(ctx, `INSERT INTO broker_vendors (vendor, created, destination) VALUES (?, 0, ?)`, origin, destination)
				if err = errors.Join(err, tx.CreateAccount(ctx, ledger.Account{ID: payable(origin), Currency: eur})); err != nil {
					return err
				}
				lists = append(lists, []ledger.Transfer{{ID: fmt.Sprintf("owe-%d", k), Debit: "broker:bank:in", Credit: payable(origin),
					Amount: money.Amount(1_000_000 + k), Currency: eur, Kind: "redeem"}})
			}
			_, err := tx.PostLists(ctx, lists)
			return err
		})
	}
}

// How long a plan keeps others from writing, and a run takes, for 10,000 vendors.
func BenchmarkTenThousandVendors(b *testing.B) {
	const vendors = 10_000
	db, _ := openOnce(b)
	oweMany(b, db, vendors)
	var plan clearing.Settlement
	b.Run("Plan", func(b *testing.B) {
		for b.Loop() {
			plan = propose(b, db, clearing.Config{})
		}
	})
	if plan.Totals.Payments != vendors*9/10 {
		b.Errorf("got %+v", plan.Totals)
	}
	b.Run("Run", func(b *testing.B) {
		for b.Loop() { // each but the first is a run with nothing but carried lines
			run(b, db, clearing.Config{PlanHash: plan.PlanHash})
			b.StopTimer()
			plan = propose(b, db, clearing.Config{})
			b.StartTimer()
		}
	})
}
