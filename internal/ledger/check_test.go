package ledger_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/internal/ledger"
)

// tamper changes the file behind the ledger's back, as somebody with an SQLite
// shell could.
func tamper(t *testing.T, path, statements string) {
	t.Helper()
	dbtest.Tamper(t, path, `DROP INDEX transfers_ending; `+statements)
}

// copyOf is an INSERT that copies a transfer with some columns changed.
const copyOf = `INSERT INTO transfers (id, phase, pending_id, debit, credit, amount, currency, kind, reference, expires, created)
	SELECT `

func TestCheckFindsWhatDisagrees(t *testing.T) {
	cases := []struct{ name, statements, want string }{
		{"balance raised", `UPDATE accounts SET balance = balance + 5 WHERE id = 'user:1:available'`,
			"user:1:available: balance is 605, its transfers give 600|usd-micro: balances sum to 5, not to 0"},
		{"two balances moved", `UPDATE accounts SET balance = balance + 5 WHERE id = 'user:1:available';
			UPDATE accounts SET balance = balance - 5 WHERE id = 'broker:bank:in'`,
			"broker:bank:in: balance is -1005, its transfers give -1000|user:1:available: balance is 605, its transfers give 600"},
		{"pending lowered", `UPDATE accounts SET pending = 0 WHERE id = 'user:1:available'`,
			"user:1:available: pending is 0, its transfers give 200"},
		{"floor raised", `UPDATE accounts SET floor = 500 WHERE id = 'user:1:available'`,
			"user:1:available: balance 600 less pending 200 is below the floor 500"},
		{"amount changed", `UPDATE transfers SET amount = 900 WHERE id = 'fund'`,
			"broker:bank:in: balance is -1000, its transfers give -900|user:1:available: balance is 600, its transfers give 500"},
		{"transfer removed", `DELETE FROM transfers WHERE id = 'claim'`,
			"user:1:available: balance is 600, its transfers give 1000|user:1:available: pending is 200, its transfers give 600|" +
				vendor + ": balance is 400, its transfers give 0"},
		{"currency of a transfer", `UPDATE transfers SET currency = 'eur-micro' WHERE id = 'fund'`,
			"fund: its currency is not that of its accounts"},
		{"account of a transfer", `UPDATE transfers SET credit = 'nobody' WHERE id = 'claim'`,
			vendor + ": balance is 400, its transfers give 0|claim: its currency is not that of its accounts|" +
				"claim: it ends a transfer that is not pending, or is not like it"},
		{"more than was pending", `UPDATE transfers SET amount = 300 WHERE id = 'hold'`,
			"claim: it ends a transfer that is not pending, or is not like it"},
		{"ended twice", copyOf + `'claim-2', 'void', pending_id, debit, credit, amount, currency, kind, reference, expires, created
			FROM transfers WHERE id = 'claim'`, "claim-2: a second transfer ends the same pending one"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := dbtest.New(t)
			db, err := ledger.Open(t.Context(), path, ledger.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			update(t, db, bookSome)
			wantClean(t, db)
			tamper(t, path, c.statements)
			report, err := db.Check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range report.Disagreements {
				got = append(got, d.Subject+": "+d.What)
			}
			if strings.Join(got, "|") != c.want || report.Clean() {
				t.Errorf("clean %v; got\n%s\nwant\n%s", report.Clean(), strings.Join(got, "\n"), strings.ReplaceAll(c.want, "|", "\n"))
			}
		})
	}
}

// bookSome funds a user with 1000, of which 400 went to a vendor by way of a
// pending transfer, and 200 are pending.
func bookSome(ctx context.Context, tx *ledger.Tx) error {
	return errors.Join(
		tx.CreateAccount(ctx, ledger.Account{ID: "broker:bank:in", Currency: usd, Floor: ledger.NoFloor}),
		tx.CreateAccount(ctx, ledger.Account{ID: "user:1:available", Currency: usd}),
		tx.CreateAccount(ctx, ledger.Account{ID: vendor, Currency: usd}),
		tx.Post(ctx, transfer("fund", "broker:bank:in", "user:1:available", 1000)),
		tx.Pend(ctx, transfer("hold", "user:1:available", vendor, 400)),
		tx.PostPending(ctx, ledger.Ending{ID: "claim", PendingID: "hold", Amount: 400}),
		tx.Pend(ctx, transfer("hold-2", "user:1:available", vendor, 200)))
}

func TestCheckReport(t *testing.T) {
	db, _ := open(t)
	update(t, db, bookSome)
	report, err := db.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if report.Accounts != 3 || report.Transfers != 4 || len(report.Sums) != 1 || report.Sums[0] != (ledger.Sum{Currency: usd}) {
		t.Errorf("got %+v, want 3 accounts, 4 transfers, the sum 0 in %s", report, usd)
	}
}

func TestTrialBalance(t *testing.T) {
	path := dbtest.New(t)
	db, err := ledger.Open(t.Context(), path, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	update(t, db, bookSome)
	want := []ledger.Balance{{"broker:bank:in", usd, -1000}, {"user:1:available", usd, 600}, {vendor, usd, 400}}
	got, err := db.TrialBalance(t.Context())
	if err != nil || len(got) != len(want) {
		t.Fatalf("got %v, %v; want %v", got, err, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("line %d: got %v, want %v", i, got[i], want[i])
		}
	}
	tamper(t, path, `UPDATE accounts SET balance = 601 WHERE id = 'user:1:available'`)
	if got, err := db.TrialBalance(t.Context()); !errors.Is(err, ledger.ErrUnbalanced) || len(got) != 3 {
		t.Errorf("after tampering: got %d lines, %v; want 3, ErrUnbalanced", len(got), err)
	}
}
