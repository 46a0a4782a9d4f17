package clearing

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// Statement is what came of a run. It is the same however often it is read.
type Statement struct {
	Plan
	// Planned and Closed are when the plan was frozen and when the last line
	// was done.
	Planned time.Time `json:"planned"`
	Closed  time.Time `json:"closed"`
	// Totals are the sums of the lines in the run's currency.
	Totals Totals `json:"totals"`
	// TrialBalance is that of the whole ledger when the run was closed, by
	// class of account. Each currency sums to zero.
	TrialBalance []ClassBalance `json:"trialBalance"`
	// CheckedAccounts and CheckedTransfers are what the ledger's check counted
	// before the run was closed. It found nothing that disagrees.
	CheckedAccounts  int64 `json:"checkedAccounts"`
	CheckedTransfers int64 `json:"checkedTransfers"`
}

// Totals are sums over lines, in micros.
type Totals struct {
	Gross   money.Amount `json:"gross"`
	Fee     money.Amount `json:"fee"`
	Paid    money.Amount `json:"paid"`
	Carried money.Amount `json:"carried"`
	// Payments is the number of lines that were paid.
	Payments int `json:"payments"`
}

// ClassBalance is the balance of all accounts of one class.
type ClassBalance struct {
	// Class is the account's id, with a star for the part that differs:
	// "user:*:available". The broker's own accounts stand alone.
	Class    string         `json:"class"`
	Currency money.Currency `json:"currency"`
	Accounts int64          `json:"accounts"`
	Balance  money.Amount   `json:"balance"` // micros
}

// classOf returns the class of an account. A statement names no user.
func classOf(account string) string {
	first, rest, found := strings.Cut(account, ":")
	last := strings.LastIndexByte(rest, ':')
	if !found || last < 0 || first == "broker" {
		return account
	}
	return first + ":*" + rest[last:]
}

// saveTrialBalance records the trial balance of this moment.
func saveTrialBalance(ctx context.Context, tx *ledger.Tx, runID string) error {
	balances, err := tx.TrialBalance(ctx)
	if err != nil {
		return err
	}
	classes, err := classify(balances)
	if err != nil {
		return err
	}
	for _, c := range classes {
		_, err := tx.ExecContext(ctx, `INSERT INTO settlement_balances (run_id, currency, class, accounts, balance)
			VALUES (?, ?, ?, ?, ?)`, runID, string(c.Currency), c.Class, c.Accounts, int64(c.Balance))
		if err != nil {
			return err
		}
	}
	return nil
}

// classify sums balances by class, sorted by currency and class.
func classify(balances []ledger.Balance) ([]ClassBalance, error) {
	index := map[ClassBalance]int{} // keys have only class and currency
	var classes []ClassBalance
	for _, b := range balances {
		key := ClassBalance{Class: classOf(b.ID), Currency: b.Currency}
		i, found := index[key]
		if !found {
			i = len(classes)
			index[key] = i
			classes = append(classes, key)
		}
		sum, err := classes[i].Balance.Add(b.Balance)
		if err != nil {
			return nil, fmt.Errorf("balance of %s: %w", key.Class, err)
		}
		classes[i].Balance = sum
		classes[i].Accounts++
	}
	sort.Slice(classes, func(i, j int) bool {
		if classes[i].Currency != classes[j].Currency {
			return classes[i].Currency < classes[j].Currency
		}
		return classes[i].Class < classes[j].Class
	})
	return classes, nil
}

// loadStatement reads the statement of a closed run.
func loadStatement(ctx context.Context, db *ledger.DB, plan Plan) (Statement, error) {
	s := Statement{Plan: plan}
	// The slice is the plan's own, and outcomes do not belong into the plan.
	s.Lines = append([]Line{}, plan.Lines...)
	s.State = ""
	err := db.View(ctx, func(tx *ledger.Tx) error {
		var planned, closed int64
		err := tx.QueryRowContext(ctx, `SELECT planned, closed, accounts, transfers FROM settlement_runs WHERE id = ?`,
			plan.RunID).Scan(&planned, &closed, &s.CheckedAccounts, &s.CheckedTransfers)
		if err != nil {
			return err
		}
		s.Planned, s.Closed = time.UnixMicro(planned).UTC(), time.UnixMicro(closed).UTC()
		if err := loadOutcomes(ctx, tx, &s); err != nil {
			return err
		}
		s.TrialBalance, err = loadTrialBalance(ctx, tx, plan.RunID)
		return err
	})
	if err == nil {
		s.Totals, err = total(s.Plan)
	}
	if err != nil {
		return Statement{}, fmt.Errorf("reading the statement of run %s: %w", plan.RunID, err)
	}
	return s, nil
}

// loadOutcomes changes the lines that were to be paid and were not.
func loadOutcomes(ctx context.Context, tx *ledger.Tx, s *Statement) error {
	rows, err := tx.QueryContext(ctx, `SELECT number FROM settlement_lines
		WHERE run_id = ? AND reason = '' AND outcome = 'carried'`, s.RunID)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var number int
		if err := rows.Scan(&number); err != nil {
			return err
		}
		line := &s.Lines[number-1]
		line.Fee, line.Paid, line.Carried = 0, 0, line.Gross
		line.Reason, line.PaymentID = ReasonBalanceFell, ""
	}
	return rows.Err()
}

func loadTrialBalance(ctx context.Context, tx *ledger.Tx, runID string) ([]ClassBalance, error) {
	rows, err := tx.QueryContext(ctx, `SELECT currency, class, accounts, balance FROM settlement_balances
		WHERE run_id = ? ORDER BY currency, class`, runID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var balances []ClassBalance
	for rows.Next() {
		var c ClassBalance
		if err := rows.Scan((*string)(&c.Currency), &c.Class, &c.Accounts, (*int64)(&c.Balance)); err != nil {
			return nil, err
		}
		balances = append(balances, c)
	}
	return balances, rows.Err()
}

// total sums the lines in the currency of the run.
func total(p Plan) (Totals, error) {
	var t Totals
	for _, line := range p.Lines {
		if line.Currency != p.Currency {
			continue
		}
		for _, sum := range []struct {
			total  *money.Amount
			amount money.Amount
		}{{&t.Gross, line.Gross}, {&t.Fee, line.Fee}, {&t.Paid, line.Paid}, {&t.Carried, line.Carried}} {
			var err error
			if *sum.total, err = sum.total.Add(sum.amount); err != nil {
				return Totals{}, err
			}
		}
		if line.Reason == "" {
			t.Payments++
		}
	}
	return t, nil
}
