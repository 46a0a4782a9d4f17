package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/paywordhq/payword/money"
)

// MaxDisagreements is the most that a Report lists: more of them say no more,
// and the list stays readable.
const MaxDisagreements = 1000

// Sum is the sum of all balances of one currency, in micros, which must be 0.
type Sum struct {
	Currency money.Currency
	Amount   money.Amount
}

// Disagreement is one thing in the books that cannot be right.
type Disagreement struct {
	// Subject is the id of an account or transfer, or a currency.
	Subject string `json:"subject"`
	// What says what is wrong with it, with the figures.
	What string `json:"what"`
}

// Report is what Check found.
type Report struct {
	Accounts, Transfers int64
	Sums                []Sum // by currency, sorted
	Disagreements       []Disagreement
}

// Clean says whether everything agrees.
func (r Report) Clean() bool { return len(r.Disagreements) == 0 }

// add lists a disagreement, up to MaxDisagreements.
func (r *Report) add(subject, format string, args ...any) {
	if len(r.Disagreements) < MaxDisagreements {
		r.Disagreements = append(r.Disagreements, Disagreement{subject, fmt.Sprintf(format, args...)})
	}
}

// Check recomputes every balance and every pending sum from the transfers
// alone and compares: with what the accounts say, with their floors, and with
// zero for each currency. It also looks for transfers that cannot be, such as
// one in another currency than its accounts. It reads one state of the books
// and stops nobody. An error means that it could not tell.
func (db *DB) Check(ctx context.Context) (Report, error) {
	var report Report
	err := db.View(ctx, func(tx *Tx) (err error) {
		report, err = tx.Check(ctx)
		return err
	})
	return report, err
}

// Check is DB.Check within a transaction, so that what is not yet committed is
// checked too.
func (tx *Tx) Check(ctx context.Context) (Report, error) {
	var report Report
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM transfers`).Scan(&report.Transfers); err != nil {
		return Report{}, fmt.Errorf("counting transfers: %w", err)
	}
	if err := tx.checkAccounts(ctx, &report); err != nil {
		return Report{}, fmt.Errorf("checking accounts: %w", err)
	}
	if err := tx.checkTransfers(ctx, &report); err != nil {
		return Report{}, fmt.Errorf("checking transfers: %w", err)
	}
	return report, nil
}

// recomputed is an account beside what the transfers say of it.
type recomputed struct {
	Account
	balance, pending money.Amount
}

const recompute = `SELECT accounts.id, accounts.currency, accounts.floor, accounts.balance, accounts.pending,
	COALESCE(credits.total, 0) - COALESCE(debits.total, 0), COALESCE(promises.total, 0)
FROM accounts
LEFT JOIN (SELECT credit AS id, CAST(SUM(amount) AS BIGINT) AS total FROM transfers
	WHERE phase IN ('single', 'post') GROUP BY credit) AS credits ON credits.id = accounts.id
LEFT JOIN (SELECT debit AS id, CAST(SUM(amount) AS BIGINT) AS total FROM transfers
	WHERE phase IN ('single', 'post') GROUP BY debit) AS debits ON debits.id = accounts.id
LEFT JOIN (SELECT debit AS id, CAST(SUM(amount) AS BIGINT) AS total FROM transfers
	WHERE phase = 'pending' AND NOT EXISTS (SELECT 1 FROM transfers AS ending WHERE ending.pending_id = transfers.id)
	GROUP BY debit) AS promises ON promises.id = accounts.id
ORDER BY accounts.currency, accounts.id`

func (tx *Tx) checkAccounts(ctx context.Context, report *Report) error {
	rows, err := tx.QueryContext(ctx, recompute)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var a recomputed
		err := rows.Scan(&a.ID, (*string)(&a.Currency), (*int64)(&a.Floor), (*int64)(&a.Balance), (*int64)(&a.Pending),
			(*int64)(&a.balance), (*int64)(&a.pending))
		if err != nil {
			return err
		}
		report.Accounts++
		report.checkAccount(a)
		if report.Sums, err = addTo(report.Sums, a.Currency, a.Balance); err != nil {
			return err
		}
	}
	for _, sum := range report.Sums {
		if sum.Amount != 0 {
			report.add(string(sum.Currency), "balances sum to %s, not to 0", sum.Amount)
		}
	}
	return rows.Err()
}

func (r *Report) checkAccount(a recomputed) {
	if a.Balance != a.balance {
		r.add(a.ID, "balance is %s, its transfers give %s", a.Balance, a.balance)
	}
	if a.Pending != a.pending {
		r.add(a.ID, "pending is %s, its transfers give %s", a.Pending, a.pending)
	}
	if a.Balance-a.Pending < a.Floor {
		r.add(a.ID, "balance %s less pending %s is below the floor %s", a.Balance, a.Pending, a.Floor)
	}
}

// addTo adds to the last sum, or begins the next one; accounts come sorted by
// currency.
func addTo(sums []Sum, currency money.Currency, amount money.Amount) ([]Sum, error) {
	if len(sums) == 0 || sums[len(sums)-1].Currency != currency {
		return append(sums, Sum{currency, amount}), nil
	}
	total, err := sums[len(sums)-1].Amount.Add(amount)
	sums[len(sums)-1].Amount = total
	return sums, err
}

// impossible lists queries whose every row is a transfer that cannot be.
var impossible = []struct{ what, query string }{
	{"its currency is not that of its accounts", `SELECT t.id FROM transfers AS t
		LEFT JOIN accounts AS d ON d.id = t.debit LEFT JOIN accounts AS c ON c.id = t.credit
		WHERE d.currency IS NULL OR c.currency IS NULL OR d.currency <> t.currency OR c.currency <> t.currency
		ORDER BY t.seq LIMIT ?`},
	{"it ends a transfer that is not pending, or is not like it", `SELECT t.id FROM transfers AS t
		LEFT JOIN transfers AS p ON p.id = t.pending_id
		WHERE t.phase IN ('post', 'void', 'expire') AND (p.id IS NULL OR p.phase <> 'pending' OR p.seq >= t.seq
			OR p.debit <> t.debit OR p.credit <> t.credit OR p.amount < t.amount)
		ORDER BY t.seq LIMIT ?`},
	{"a second transfer ends the same pending one", `SELECT t.id FROM transfers AS t
		JOIN transfers AS earlier ON earlier.pending_id = t.pending_id AND earlier.seq < t.seq
		ORDER BY t.seq LIMIT ?`},
}

func (tx *Tx) checkTransfers(ctx context.Context, report *Report) error {
	for _, look := range impossible {
		rows, err := tx.QueryContext(ctx, look.query, MaxDisagreements)
		if err != nil {
			return err
		}
		ids, err := collect(rows, func(row scanner) (id string, err error) { return id, row.Scan(&id) })
		if err != nil {
			return err
		}
		for _, id := range ids {
			report.add(id, "%s", look.what)
		}
	}
	return nil
}

// Balance is one line of a trial balance.
type Balance struct {
	ID       string
	Currency money.Currency
	Balance  money.Amount
}

// ErrUnbalanced means that the balances of a currency do not sum to zero.
var ErrUnbalanced = errors.New("balances do not sum to zero")

// TrialBalance returns the balance of every account, sorted by currency and id.
// ErrUnbalanced comes with the balances, for whoever looks for the reason.
func (db *DB) TrialBalance(ctx context.Context) ([]Balance, error) {
	var balances []Balance
	err := db.View(ctx, func(tx *Tx) (err error) {
		balances, err = tx.TrialBalance(ctx)
		return err
	})
	return balances, err
}

// TrialBalance is DB.TrialBalance within a transaction.
func (tx *Tx) TrialBalance(ctx context.Context) ([]Balance, error) {
	rows, err := tx.QueryContext(ctx, `SELECT id, currency, balance FROM accounts ORDER BY currency, id`)
	if err != nil {
		return nil, err
	}
	balances, err := collect(rows, func(row scanner) (b Balance, err error) {
		err = row.Scan(&b.ID, (*string)(&b.Currency), (*int64)(&b.Balance))
		return b, err
	})
	if err != nil {
		return nil, err
	}
	var sums []Sum
	for _, b := range balances {
		if sums, err = addTo(sums, b.Currency, b.Balance); err != nil {
			return nil, err
		}
	}
	for _, sum := range sums {
		if sum.Amount != 0 {
			return balances, fmt.Errorf("%s: %s: %w", sum.Currency, sum.Amount, ErrUnbalanced)
		}
	}
	return balances, nil
}
