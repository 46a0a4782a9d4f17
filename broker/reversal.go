package broker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// The causes of a reversal.
const (
	causeRefund  = "refund"  // the broker's owner sent the money back
	causeDispute = "dispute" // the payer's bank took it
)

// owedAccount is below zero by what an account owes: money that was taken back
// after it was spent.
func owedAccount(account string) string { return "user:" + account + ":owed" }

// owedBy returns what an account owes, in micros.
func owedBy(ctx context.Context, tx *ledger.Tx, account string) (money.Amount, error) {
	owed, err := tx.Account(ctx, owedAccount(account))
	if errors.Is(err, ledger.ErrNotFound) {
		return 0, nil // nothing was ever taken back of it
	}
	return -owed.Balance, err
}

// reversal is what a source took back of a payment.
type reversal struct {
	source   string
	id       string // the source's name for it
	payment  string
	cause    string
	amount   money.Amount // in all, micros
	currency money.Currency
	isEnded  bool // it was undone, and nothing of it counts any more
}

// reverse records a reversal and takes from the account what it says. Reversals
// come twice, in any order, and before their payment: the largest amount
// counts, an ended one stays ended, and book looks for those that came first.
func (s *store) reverse(ctx context.Context, tx *ledger.Tx, r reversal) error {
	if err := saveReversal(ctx, tx, r); err != nil {
		return err
	}
	fundings, err := selectFundings(ctx, tx, `WHERE source = ? AND payment = ? ORDER BY seq LIMIT ?`, r.source, r.payment, maxParts)
	for _, f := range fundings {
		if err == nil {
			_, err = s.settleReversals(ctx, tx, f)
		}
	}
	return err
}

// maxParts is how many fundings of one payment a reversal takes back from; a
// service has one, but for a mistake.
const maxParts = 100

func saveReversal(ctx context.Context, tx *ledger.Tx, r reversal) error {
	ended := 0
	if r.isEnded {
		ended = 1
	}
	isNew, err := tx.ExecOne(ctx, `INSERT INTO broker_reversals (source, id, payment, cause, amount, currency, ended, created)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		r.source, r.id, r.payment, r.cause, r.amount, r.currency, ended, tx.Now().UnixMicro())
	if err != nil {
		return err
	}
	isChanged := false
	if !isNew {
		isChanged, err = tx.ExecOne(ctx, `UPDATE broker_reversals
			SET amount = CASE WHEN amount < ? THEN ? ELSE amount END, ended = CASE WHEN ended < ? THEN ? ELSE ended END
			WHERE source = ? AND id = ? AND (amount < ? OR ended < ?)`,
			r.amount, r.amount, ended, ended, r.source, r.id, r.amount, ended)
	}
	if err != nil || !isNew && !isChanged {
		return err
	}
	what := r.cause
	if r.isEnded {
		what += " ended"
	}
	return audit(ctx, tx, auditEntry{"reverse", "payment:" + r.source + ":" + r.payment,
		fmt.Sprintf("%s %s: %s %s", what, r.id, r.amount.Decimal(), r.currency.Code())})
}

// settleReversals brings what was taken back of a funding to what the reversals
// of its payment say, and returns it as it is then. Where one payment was booked
// under several names, the earlier ones come first, so that nothing is taken back
// twice.
func (s *store) settleReversals(ctx context.Context, tx *ledger.Tx, f fundingRecord) (fundingRecord, error) {
	var reversed, earlier money.Amount
	if f.payment != "" {
		err := tx.QueryRowContext(ctx, `SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT)
			FROM broker_reversals WHERE source = ? AND payment = ? AND currency = ? AND ended = 0`,
			f.source, f.payment, f.currency).Scan(&reversed)
		if err == nil {
			err = tx.QueryRowContext(ctx, `SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT)
				FROM broker_fundings WHERE source = ? AND payment = ? AND currency = ? AND seq < ?`,
				f.source, f.payment, f.currency, f.seq).Scan(&earlier)
		}
		if err != nil {
			return f, err
		}
	}
	target := min(f.amount, max(0, reversed-earlier))
	var err error
	switch change := target - f.reversed; {
	case change > 0:
		err = s.takeBack(ctx, tx, f, change)
	case change < 0:
		err = s.giveBack(ctx, tx, f, -change)
	}
	if err == nil && target != f.reversed {
		f.reversed = target
		err = saveFunding(ctx, tx, &f)
	}
	if err != nil || f.account == "" {
		return f, err
	}
	if err := s.collect(ctx, tx, f.account); err != nil {
		return f, err
	}
	return f, s.closeAgain(ctx, tx, f.account)
}

// closeAgain lets an account that was closed close once more if it has got money
// back, which goes where the rest went, or owes some, which its owner can pay in.
func (s *store) closeAgain(ctx context.Context, tx *ledger.Tx, account string) error {
	available, err := tx.Account(ctx, availableAccount(account))
	if err != nil {
		return err
	}
	debts, err := countOf(ctx, tx, `SELECT COUNT(*) FROM broker_debts WHERE account = ? AND open = 1`, account)
	if err != nil || debts == 0 && available.Balance == 0 {
		return err
	}
	swapped, err := setState(ctx, tx, account, stateClosed, stateClosing)
	if err != nil || !swapped {
		return err
	}
	err = audit(ctx, tx, auditEntry{"close-account", "account:" + account, "again: a payment that it had was taken back or restored"})
	if err != nil {
		return err
	}
	return s.finishClosing(ctx, tx, account)
}

// takeBack moves amount back to where the payment came from: what is there from
// the account, and the rest from what the account owes from now on. A credit
// line is not drawn for it, and what is reserved for vendors stays theirs.
func (s *store) takeBack(ctx context.Context, tx *ledger.Tx, f fundingRecord, amount money.Amount) error {
	from, err := tx.Account(ctx, s.credit(f))
	if err != nil {
		return err
	}
	there := min(amount, max(0, from.Balance-from.Pending))
	move := func(word, debit string, part money.Amount) error {
		if part == 0 {
			return nil
		}
		return tx.Post(ctx, ledger.Transfer{
			ID: fmt.Sprintf("%s/%s/%s/%d", word, f.source, f.id, f.version), Debit: debit, Credit: f.debit,
			Amount: part, Currency: f.currency, Kind: "reverse", Reference: f.transferID(),
		})
	}
	if err := move("reverse", from.ID, there); err != nil || there == amount {
		return err
	}
	if f.account == "" {
		return fmt.Errorf("funding %d is nobody's, and less than its rest is there", f.seq)
	}
	err = tx.CreateAccount(ctx, ledger.Account{ID: owedAccount(f.account), Currency: s.currency, Floor: ledger.NoFloor})
	if err == nil {
		_, err = tx.ExecContext(ctx, `INSERT INTO broker_debts (account, open, version) VALUES (?, 1, 1)
			ON CONFLICT (account) DO UPDATE SET open = 1`, f.account)
	}
	if err == nil {
		err = move("owe", owedAccount(f.account), amount-there)
	}
	if err != nil {
		return err
	}
	return audit(ctx, tx, auditEntry{"owe", "account:" + f.account,
		f.source + " " + f.id + ": " + (amount - there).Decimal() + " " + f.currency.Code()})
}

// giveBack puts amount on the account again, because a reversal was undone.
func (s *store) giveBack(ctx context.Context, tx *ledger.Tx, f fundingRecord, amount money.Amount) error {
	return tx.Post(ctx, ledger.Transfer{
		ID: fmt.Sprintf("restore/%s/%s/%d", f.source, f.id, f.version), Debit: f.debit, Credit: s.credit(f),
		Amount: amount, Currency: f.currency, Kind: "restore", Reference: f.transferID(),
	})
}

// collect pays what an account owes from what is there, if it owes anything.
func (s *store) collect(ctx context.Context, tx *ledger.Tx, account string) error {
	var version int64
	err := tx.QueryRowContext(ctx, `SELECT version FROM broker_debts WHERE account = ? AND open = 1`, account).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	owed, err := tx.Account(ctx, owedAccount(account))
	if err != nil {
		return err
	}
	available, err := tx.Account(ctx, availableAccount(account))
	if err != nil {
		return err
	}
	amount := min(-owed.Balance, available.Balance-available.Pending)
	if amount <= 0 {
		return nil
	}
	err = tx.Post(ctx, ledger.Transfer{
		ID: fmt.Sprintf("collect/%s/%d", account, version), Debit: available.ID, Credit: owed.ID,
		Amount: amount, Currency: s.currency, Kind: "collect",
	})
	if err != nil {
		return err
	}
	open := 1
	if amount == -owed.Balance {
		open = 0
	}
	_, err = tx.ExecContext(ctx, `UPDATE broker_debts SET open = ?, version = version + 1 WHERE account = ?`, open, account)
	if err != nil {
		return err
	}
	return audit(ctx, tx, auditEntry{"collect", "account:" + account, amount.Decimal() + " " + s.currency.Code()})
}

// requireNoDebt refuses with InsufficientFunds while an account owes: its credit
// line is not for spending on.
func (s *store) requireNoDebt(ctx context.Context, tx *ledger.Tx, account string) error {
	debts, err := countOf(ctx, tx, `SELECT COUNT(*) FROM broker_debts WHERE account = ? AND open = 1`, account)
	if err != nil || debts == 0 {
		return err
	}
	owed, err := owedBy(ctx, tx, account)
	if err != nil {
		return err
	}
	return refused(refuse(payword.InsufficientFunds, "the account owes %s %s that was taken back after it was spent: fund it first",
		owed.Decimal(), s.currency.Code()))
}

// collectDue collects from accounts that owe and have something, at most
// perRound of them: what was released to them comes without a payment. One whose
// books do not agree does not hold up the others.
func (s *store) collectDue(ctx context.Context) error {
	var accounts []string
	err := s.db.View(ctx, func(tx *ledger.Tx) (err error) {
		accounts, err = debtors(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	var failures error
	for _, account := range accounts {
		_, err := s.update(ctx, "collect", func(tx *ledger.Tx) error { return s.collect(ctx, tx, account) })
		if err != nil {
			failures = errors.Join(failures, fmt.Errorf("account %s: %w", account, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return failures
}

func debtors(ctx context.Context, tx *ledger.Tx) (accounts []string, err error) {
	return tx.Texts(ctx, `SELECT d.account FROM broker_debts d
		JOIN accounts a ON a.id = 'user:' || d.account || ':available'
		WHERE d.open = 1 AND a.balance - a.pending > 0 ORDER BY d.account LIMIT ?`, perRound)
}
