package clearing

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// A payer may have a direct debit refunded without a reason for eight weeks. Of
// every collection the policy's part is set aside for that: out of provisions,
// into the reserve, and back when the time is over. What refunds used of it stays
// in an account of its own.
const (
	accountProvisions = "broker:provisions"
	accountReserve    = "broker:reserve:refunds"
	accountUsed       = "broker:reserve:used"

	kindReserve = "refund-reserve"
)

// reserve sets a part of a collection aside.
func (m *matching) reserve(ctx context.Context, tx *ledger.Tx, i Instruction) error {
	var text string
	if err := tx.QueryRowContext(ctx, `SELECT policy FROM clearing_runs WHERE id = ?`, i.RunID).Scan(&text); err != nil {
		return err
	}
	policy, err := ParsePolicy([]byte(text))
	if err != nil {
		return fmt.Errorf("run %s: %w", i.RunID, err)
	}
	amount, err := i.Amount.Share(policy.ReservePpm, million)
	if err != nil || amount == 0 {
		return err
	}
	err = errors.Join(
		tx.CreateAccount(ctx, ledger.Account{ID: accountProvisions, Currency: i.Currency, Floor: ledger.NoFloor}),
		tx.CreateAccount(ctx, ledger.Account{ID: accountReserve, Currency: i.Currency}),
		tx.CreateAccount(ctx, ledger.Account{ID: accountUsed, Currency: i.Currency}))
	if err == nil {
		err = moveReserve(ctx, tx, i.EndToEnd, "", accountProvisions, accountReserve, amount, i.Currency)
	}
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO clearing_reserves (end_to_end, amount, until, state) VALUES (?, ?, ?, 'held')`,
		i.EndToEnd, int64(amount), tx.Now().Add(time.Duration(policy.RefundDays)*24*time.Hour).Unix())
	return err
}

func moveReserve(ctx context.Context, tx *ledger.Tx, endToEnd, word, debit, credit string, amount money.Amount, currency money.Currency) error {
	return tx.Post(ctx, ledger.Transfer{
		ID: "reserve/" + endToEnd + word, Debit: debit, Credit: credit, Amount: amount, Currency: currency, Kind: kindReserve, Reference: endToEnd,
	})
}

// useReserve takes what is held for a collection that was returned out of the
// reserve. One that was released by then, or never was, is the broker's loss.
func useReserve(ctx context.Context, tx *ledger.Tx, endToEnd string) error {
	return endReserve(ctx, tx, endToEnd, "used", accountUsed)
}

func endReserve(ctx context.Context, tx *ledger.Tx, endToEnd, state, credit string) error {
	var amount money.Amount
	err := tx.QueryRowContext(ctx, `SELECT amount FROM clearing_reserves WHERE end_to_end = ? AND state = 'held'`, endToEnd).Scan((*int64)(&amount))
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	swapped, err := tx.ExecOne(ctx, `UPDATE clearing_reserves SET state = ?, ended = ? WHERE end_to_end = ? AND state = 'held'`,
		state, tx.Now().UnixMicro(), endToEnd)
	if err == nil && !swapped {
		err = fmt.Errorf("the reserve of %s changed within a transaction", endToEnd)
	}
	if err != nil {
		return err
	}
	account, err := tx.Account(ctx, accountReserve)
	if err != nil {
		return err
	}
	return moveReserve(ctx, tx, endToEnd, "/"+state, accountReserve, credit, amount, account.Currency)
}

// ReleaseReserves gives back what was kept for refunds whose time is over, and
// returns how many and how much, in micros. Import does it, too.
func ReleaseReserves(ctx context.Context, db *ledger.DB) (released int, amount money.Amount, err error) {
	if err := migrate(ctx, db); err != nil {
		return 0, 0, err
	}
	return releaseReserves(ctx, db, func(string) {})
}

func releaseReserves(ctx context.Context, db *ledger.DB, step func(string)) (released int, amount money.Amount, err error) {
	for {
		var count int
		var sum money.Amount
		err := db.Update(ctx, func(tx *ledger.Tx) (err error) {
			count, sum, err = releaseDue(ctx, tx)
			return err
		})
		if err != nil || count == 0 {
			return released, amount, err
		}
		released += count
		if amount, err = amount.Add(sum); err != nil {
			return released, amount, err
		}
		step("reserves released")
	}
}

func releaseDue(ctx context.Context, tx *ledger.Tx) (count int, sum money.Amount, err error) {
	due, err := dueReserves(ctx, tx)
	if err != nil || len(due) == 0 {
		return 0, 0, err
	}
	for _, r := range due {
		if err := endReserve(ctx, tx, r.endToEnd, "released", accountProvisions); err != nil {
			return 0, 0, err
		}
		if sum, err = sum.Add(r.amount); err != nil {
			return 0, 0, err
		}
	}
	return len(due), sum, audit(ctx, tx, "release", "reserves", fmt.Sprintf("%d reserves, %s", len(due), sum.Decimal()))
}

type dueReserve struct {
	endToEnd string
	amount   money.Amount
}

func dueReserves(ctx context.Context, tx *ledger.Tx) (due []dueReserve, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT end_to_end, amount FROM clearing_reserves WHERE state = 'held' AND until <= ?
		ORDER BY until, end_to_end LIMIT ?`, tx.Now().Unix(), entriesPerUpdate)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r dueReserve
		if err := rows.Scan(&r.endToEnd, (*int64)(&r.amount)); err != nil {
			return nil, err
		}
		due = append(due, r)
	}
	return due, rows.Err()
}
