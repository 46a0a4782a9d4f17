package clearing

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// TrialBalance returns the balances of a run when it was closed, by class of
// account, sorted by currency and class. Each currency sums to zero. There are
// none before the run is closed.
func TrialBalance(ctx context.Context, db *ledger.DB, runID string) (balances []ClassBalance, err error) {
	err = db.View(ctx, func(tx *ledger.Tx) error {
		balances, err = loadTrialBalance(ctx, tx, runID)
		return err
	})
	return balances, err
}

func loadTrialBalance(ctx context.Context, tx *ledger.Tx, runID string) ([]ClassBalance, error) {
	rows, err := tx.QueryContext(ctx, `SELECT currency, class, accounts, balance, pending FROM clearing_balances
		WHERE run_id = ? ORDER BY currency, class`, runID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	balances := []ClassBalance{}
	for rows.Next() {
		var c ClassBalance
		if err := rows.Scan((*string)(&c.Currency), &c.Class, &c.Accounts, (*int64)(&c.Balance), (*int64)(&c.Pending)); err != nil {
			return nil, err
		}
		balances = append(balances, c)
	}
	return balances, rows.Err()
}

// classOf returns the class of an account. A trial balance names no user.
func classOf(account string) string {
	first, rest, found := strings.Cut(account, ":")
	last := strings.LastIndexByte(rest, ':')
	if !found || last < 0 || first == "broker" {
		return account
	}
	return first + ":*" + rest[last:]
}

// takeTrialBalance adds up the accounts of this moment by class. It keeps one
// sum for each class and no account.
func takeTrialBalance(ctx context.Context, tx *ledger.Tx) ([]ClassBalance, error) {
	rows, err := tx.QueryContext(ctx, `SELECT id, currency, balance, pending FROM accounts`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	index := map[ClassBalance]int{} // keys have only class and currency
	var classes []ClassBalance
	for rows.Next() {
		var id string
		var key ClassBalance
		var balance, pending money.Amount
		if err := rows.Scan(&id, (*string)(&key.Currency), (*int64)(&balance), (*int64)(&pending)); err != nil {
			return nil, err
		}
		key.Class = classOf(id)
		i, found := index[key]
		if !found {
			i = len(classes)
			index[key] = i
			classes = append(classes, key)
		}
		if err := classes[i].add(balance, pending); err != nil {
			return nil, err
		}
	}
	sort.Slice(classes, func(i, j int) bool {
		if classes[i].Currency != classes[j].Currency {
			return classes[i].Currency < classes[j].Currency
		}
		return classes[i].Class < classes[j].Class
	})
	return classes, rows.Err()
}

func (c *ClassBalance) add(balance, pending money.Amount) (err error) {
	c.Accounts++
	if c.Balance, err = c.Balance.Add(balance); err == nil {
		c.Pending, err = c.Pending.Add(pending)
	}
	if err != nil {
		return fmt.Errorf("balance of %s: %w", c.Class, err)
	}
	return nil
}

func saveTrialBalance(ctx context.Context, tx *ledger.Tx, runID string, classes []ClassBalance) error {
	for _, c := range classes {
		_, err := tx.ExecContext(ctx, `INSERT INTO clearing_balances (run_id, currency, class, accounts, balance, pending)
			VALUES (?, ?, ?, ?, ?, ?)`, runID, string(c.Currency), c.Class, c.Accounts, int64(c.Balance), int64(c.Pending))
		if err != nil {
			return err
		}
	}
	return nil
}
