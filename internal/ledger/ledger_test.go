package ledger_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const usd = money.Currency("usd-micro")

// epoch is when every test begins.
var epoch = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// clock is a clock that only a test moves.
type clock struct{ offset atomic.Int64 }

func (c *clock) Now() time.Time          { return epoch.Add(time.Duration(c.offset.Load())) }
func (c *clock) Advance(d time.Duration) { c.offset.Add(int64(d)) }

// open makes a ledger in a folder of the test.
func open(t testing.TB) (*ledger.DB, *clock) {
	t.Helper()
	c := new(clock)
	return openWith(t, dbtest.New(t), ledger.Options{Now: c.Now}), c
}

// openAt opens a ledger of a location, which others may have open, too.
func openAt(t testing.TB, location string) *ledger.DB {
	t.Helper()
	return openWith(t, location, ledger.Options{})
}

func openWith(t testing.TB, location string, options ledger.Options) *ledger.DB {
	t.Helper()
	db, err := ledger.Open(t.Context(), location, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// openFunded makes a ledger where "user:1:available" holds the amount.
func openFunded(t testing.TB, amount money.Amount) (*ledger.DB, *clock) {
	t.Helper()
	db, c := open(t)
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		return errors.Join(
			tx.CreateAccount(ctx, ledger.Account{ID: "broker:bank:in", Currency: usd, Floor: ledger.NoFloor}),
			tx.CreateAccount(ctx, ledger.Account{ID: "user:1:available", Currency: usd}),
			tx.CreateAccount(ctx, ledger.Account{ID: "user:1:reserved", Currency: usd}),
			tx.CreateAccount(ctx, ledger.Account{ID: "vendor:https://a.example:payable", Currency: usd}),
			tx.Post(ctx, transfer("fund", "broker:bank:in", "user:1:available", amount)),
		)
	})
	return db, c
}

func transfer(id, debit, credit string, amount money.Amount) ledger.Transfer {
	return ledger.Transfer{ID: id, Debit: debit, Credit: credit, Amount: amount, Currency: usd, Kind: "test"}
}

// update runs work in a transaction that must succeed.
func update(t testing.TB, db *ledger.DB, work func(ctx context.Context, tx *ledger.Tx) error) {
	t.Helper()
	if err := db.Update(t.Context(), func(tx *ledger.Tx) error { return work(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

// wantAccount compares balance and pending.
func wantAccount(t testing.TB, db *ledger.DB, id string, balance, pending money.Amount) {
	t.Helper()
	err := db.View(t.Context(), func(tx *ledger.Tx) error {
		got, err := tx.Account(t.Context(), id)
		if got.Balance != balance || got.Pending != pending {
			t.Errorf("account %s: got balance %s, pending %s; want %s, %s", id, got.Balance, got.Pending, balance, pending)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// wantClean checks the books.
func wantClean(t testing.TB, db *ledger.DB) {
	t.Helper()
	report, err := db.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range report.Disagreements {
		t.Errorf("check: %s: %s", d.Subject, d.What)
	}
}

func TestPostMovesOnce(t *testing.T) {
	db, _ := openFunded(t, 1000)
	pay := transfer("pay", "user:1:available", "vendor:https://a.example:payable", 300)
	for range 3 {
		update(t, db, func(ctx context.Context, tx *ledger.Tx) error { return tx.Post(ctx, pay) })
	}
	wantAccount(t, db, "user:1:available", 700, 0)
	wantAccount(t, db, "vendor:https://a.example:payable", 300, 0)
	wantAccount(t, db, "broker:bank:in", -1000, 0)
	wantClean(t, db)
}
