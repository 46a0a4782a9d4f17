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

// closing is an account whose owner asked to close it.
type closing struct {
	account     string
	destination payoutDestination // empty: nothing is left, or the rest goes to the parent
}

// loadClosing returns the closing of an account, if its owner asked for it.
func loadClosing(ctx context.Context, tx *ledger.Tx, account string) (c closing, found bool, err error) {
	c.account = account
	err = tx.QueryRowContext(ctx, `SELECT kind, destination FROM broker_closings WHERE account = ?`, account).
		Scan(&c.destination.kind, &c.destination.text)
	if errors.Is(err, sql.ErrNoRows) {
		return c, false, nil
	}
	return c, err == nil, err
}

func insertClosing(ctx context.Context, tx *ledger.Tx, c closing) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO broker_closings (account, kind, destination, created) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		c.account, c.destination.kind, c.destination.text, tx.Now().UnixMicro())
	return err
}

// closeAccount begins to close the caller's account and its sub-accounts:
// nothing new is promised from now on, open reservations run out, and then the
// rest is set aside for a payout. Asking again changes nothing, but that a
// destination counts if there was none. It refuses as requireMain does, and with
// NotPermitted if money is left and no destination given.
func (b *Broker) closeAccount(ctx context.Context, by caller, request payword.CloseAccount) (account payword.Account, refusal payword.Refusal, err error) {
	where := newPayoutDestination(request.Destination)
	refusal, err = b.store.update(ctx, "close account", func(tx *ledger.Tx) error {
		if err := requireDevice(ctx, tx); err != nil {
			return err
		}
		known, isClosing, err := loadClosing(ctx, tx, by.account)
		if err == nil && isClosing {
			if err := b.store.directRest(ctx, tx, known, where); err != nil {
				return err
			}
			account, err = b.store.accountIn(ctx, tx, by.account)
			return err
		}
		if err == nil {
			_, err = b.store.requireMain(ctx, tx, by.account, "payout")
		}
		if err != nil {
			return err
		}
		if err := b.store.beginClosing(ctx, tx, by.account, where); err != nil {
			return err
		}
		account, err = b.store.accountIn(ctx, tx, by.account)
		return err
	})
	return account, refusal, err
}

func (s *store) beginClosing(ctx context.Context, tx *ledger.Tx, account string, where payoutDestination) error {
	family, err := familyIDs(ctx, tx, account)
	if err != nil {
		return err
	}
	holds, err := s.familyBalance(ctx, tx, account)
	if err != nil {
		return err
	}
	if holds > 0 && where.kind == "" {
		return refused(refuse(payword.NotPermitted, "%s %s are left: say where they go", holds.Decimal(), s.currency.Code()))
	}
	for _, id := range family { // the account itself comes last, when the others are closed if they can be
		to := where
		if id != account {
			to = payoutDestination{}
		}
		if err := s.closeOne(ctx, tx, id, to); err != nil {
			return err
		}
	}
	return nil
}

// directRest keeps where the rest of an account goes whose owner asked to close
// it when nothing was left, and did not say: what came in since waits for that.
func (s *store) directRest(ctx context.Context, tx *ledger.Tx, known closing, where payoutDestination) error {
	row, err := loadAccountRow(ctx, tx, known.account)
	if err != nil || row.isSub() || row.state == stateClosed || known.destination.kind != "" || where.kind == "" {
		return err
	}
	_, err = tx.ExecOne(ctx, `UPDATE broker_closings SET kind = ?, destination = ? WHERE account = ? AND kind = ''`,
		where.kind, where.text, known.account)
	if err == nil {
		err = audit(ctx, tx, auditEntry{"close-account", "account:" + known.account, "its owner said where the rest goes"})
	}
	if err != nil {
		return err
	}
	return s.finishClosing(ctx, tx, known.account)
}

// closeOne begins to close one account, and ends it if nothing is open. A
// blocked one is closed once it is unblocked.
func (s *store) closeOne(ctx context.Context, tx *ledger.Tx, account string, where payoutDestination) error {
	if err := insertClosing(ctx, tx, closing{account, where}); err != nil {
		return err
	}
	swapped, err := setState(ctx, tx, account, stateOpen, stateClosing)
	if err != nil || !swapped {
		return err
	}
	if err := followState(ctx, tx, account); err != nil {
		return err
	}
	if err := audit(ctx, tx, auditEntry{"close-account", "account:" + account, "its owner asked for it"}); err != nil {
		return err
	}
	return s.finishClosing(ctx, tx, account)
}

// FinishClosings sets aside the rest of accounts that close and whose
// reservations have run out, and returns of how many. Run calls it.
func (b *Broker) FinishClosings(ctx context.Context) (finished int, err error) {
	var failures error
	// Sub-accounts come first, so that what they give back is part of the rest.
	for _, where := range []string{`parent <> ''`, `parent = ''`} {
		for after := ""; ; {
			ids, err := b.store.closingIDs(ctx, where, after)
			if err != nil {
				return finished, err
			}
			for _, id := range ids {
				_, err := b.store.update(ctx, "finish closing", func(tx *ledger.Tx) error { return b.store.finishClosing(ctx, tx, id) })
				if err != nil && ctx.Err() != nil {
					return finished, err
				}
				if err != nil { // one whose books do not agree does not hold up the others
					failures = errors.Join(failures, fmt.Errorf("account %s: %w", id, err))
					continue
				}
				finished++
			}
			if len(ids) < perRound {
				break
			}
			after = ids[len(ids)-1]
		}
	}
	return finished, failures
}

// closingIDs returns a page of the accounts that can go on closing: with a
// balance to give away, or with nothing on them at all.
func (s *store) closingIDs(ctx context.Context, where, after string) (ids []string, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		ids, err = tx.Texts(ctx, `SELECT a.id FROM broker_accounts a JOIN accounts l ON l.id = 'user:' || a.id || ':available'
			WHERE a.state = 'closing' AND a.`+where+` AND a.id > ? AND (l.balance > l.pending OR l.balance = 0)
			AND NOT EXISTS (SELECT 1 FROM broker_commitments c WHERE c.account = a.id AND c.held > 0)
			AND NOT EXISTS (SELECT 1 FROM broker_accounts s WHERE s.parent = a.id AND s.parent <> '' AND s.state <> 'closed')
			ORDER BY a.id LIMIT ?`, after, perRound)
		return err
	})
	return ids, err
}

// finishClosing goes as far in closing an account as is possible now: it waits
// for open reservations and sub-accounts, gives the rest to the parent or sets
// it aside for a payout, and closes the account once nothing is on it.
func (s *store) finishClosing(ctx context.Context, tx *ledger.Tx, account string) error {
	row, err := loadAccountRow(ctx, tx, account)
	if err != nil || row.state != stateClosing {
		return err
	}
	var open int64
	err = tx.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM broker_commitments WHERE account = ? AND held > 0) +
		(SELECT COUNT(*) FROM broker_accounts WHERE parent = ? AND parent <> '' AND state <> 'closed')`, account, account).Scan(&open)
	if err != nil || open > 0 {
		return err
	}
	if err := s.collect(ctx, tx, account); err != nil {
		return err
	}
	available, err := tx.Account(ctx, availableAccount(account))
	if err != nil {
		return err
	}
	if rest := available.Balance - available.Pending; rest > 0 {
		if err := s.giveRest(ctx, tx, row, rest); err != nil {
			return err
		}
		if available, err = tx.Account(ctx, availableAccount(account)); err != nil {
			return err
		}
	}
	debts, err := countOf(ctx, tx, `SELECT COUNT(*) FROM broker_debts WHERE account = ? AND open = 1`, account)
	if err != nil || debts > 0 || available.Balance < available.Pending {
		// The owner owes that, or has spent on credit beside what is on its way
		// out: the account is closed once it is paid.
		return err
	}
	// What is left is on its way out: nothing may be drawn on credit meanwhile.
	if err := tx.SetFloor(ctx, availableAccount(account), 0); err != nil || available.Balance > 0 {
		return err
	}
	if swapped, err := setState(ctx, tx, account, stateClosing, stateClosed); err != nil || !swapped {
		return errors.Join(err, fmt.Errorf("closing account %s: swapped %t", account, swapped))
	}
	return audit(ctx, tx, auditEntry{"account-closed", "account:" + account, "nothing is on it"})
}

// giveRest gives what is left on an account, in micros, to its parent, or sets
// it aside for a payout.
func (s *store) giveRest(ctx context.Context, tx *ledger.Tx, row accountRow, rest money.Amount) error {
	if row.isSub() {
		return tx.Post(ctx, ledger.Transfer{
			ID: "close/" + row.id, Debit: availableAccount(row.id), Credit: availableAccount(row.parent),
			Amount: rest, Currency: s.currency, Kind: "sub-account", Reference: row.id,
		})
	}
	c, found, err := loadClosing(ctx, tx, row.id)
	if err != nil || !found || c.destination.kind == "" {
		// Money came in after the owner asked: the operator sees the account
		// wait, and the owner can be asked.
		return err
	}
	return s.setPayoutAside(ctx, tx, payout{
		account: row.id, id: "closing-" + randomID(), amount: rest, destination: c.destination, isClosing: true,
	})
}
