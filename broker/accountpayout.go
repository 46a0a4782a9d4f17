package broker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// The states of a payout. Each goes from the first to one of the others, once.
const (
	payoutPending = "pending" // the money is set aside
	payoutPaid    = "paid"    // it has left the bank account
	payoutRefused = "refused" // it is back on the account
)

const (
	// maxPendingPayouts is how many payouts of one account wait at a time, so
	// that nobody floods the operator who looks at each.
	maxPendingPayouts = 8
)

// payout is money of an account on its way out.
type payout struct {
	seq         int64
	account, id string
	amount      money.Amount // in micros
	destination payoutDestination
	isClosing   bool
	state, note string
	instruction string // of clearing to the bank, or ""
	created     int64  // microseconds since 1970, as is ended
	ended       int64
}

// transferID names the pending transfer that holds the money.
func (p payout) transferID() string { return "account-payout/" + p.account + "/" + p.id }

func (p payout) shown(currency money.Currency) payword.Payout {
	return payword.Payout{
		Account: p.account, ID: p.id, Amount: p.amount, Currency: currency, Destination: p.destination.shown(),
		Closing: p.isClosing, State: p.state, Note: p.note, Created: p.created / 1_000_000, Ended: p.ended / 1_000_000,
	}
}

const payoutColumns = `SELECT seq, account, id, amount, kind, destination, closing, state, note, instruction, created, ended FROM broker_payouts `

func scanPayout(scan func(target ...any) error) (p payout, err error) {
	err = scan(&p.seq, &p.account, &p.id, &p.amount, &p.destination.kind, &p.destination.text, &p.isClosing,
		&p.state, &p.note, &p.instruction, &p.created, &p.ended)
	return p, err
}

// loadPayout returns a payout, and whether there is one.
func loadPayout(ctx context.Context, tx *ledger.Tx, account, id string) (p payout, found bool, err error) {
	p, err = scanPayout(tx.QueryRowContext(ctx, payoutColumns+`WHERE account = ? AND id = ?`, account, id).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return p, false, nil
	}
	return p, err == nil, err
}

// selectPayouts returns the payouts that the rest of a query chooses.
func selectPayouts(ctx context.Context, tx *ledger.Tx, where string, arguments ...any) (all []payout, err error) {
	rows, err := tx.QueryContext(ctx, payoutColumns+where, arguments...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		p, err := scanPayout(rows.Scan)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, rows.Err()
}

// requestPayout sets money of the caller's account aside for a payout. The same
// id again is answered with what became of it. It refuses with
// IdempotencyDiffers, InsufficientFunds (credit is not paid out), RateLimited,
// or as requireMain does.
func (b *Broker) requestPayout(ctx context.Context, by caller, request payword.RequestPayout) (made payword.Payout, refusal payword.Refusal, err error) {
	wanted := payout{account: by.account, id: request.ID, amount: request.Amount, destination: newPayoutDestination(&request.Destination)}
	refusal, err = b.store.update(ctx, "request payout", func(tx *ledger.Tx) error {
		if err := requireDevice(ctx, tx); err != nil {
			return err
		}
		known, found, err := loadPayout(ctx, tx, by.account, request.ID)
		if err != nil {
			return err
		}
		if !found {
			known, err = b.store.beginPayout(ctx, tx, wanted)
		} else if known.amount != wanted.amount || known.destination != wanted.destination {
			return refused(refuse(payword.IdempotencyDiffers, "a payout of that id was asked for before, with another amount or destination"))
		}
		made = known.shown(b.store.currency)
		return err
	})
	return made, refusal, err
}

func (s *store) beginPayout(ctx context.Context, tx *ledger.Tx, wanted payout) (payout, error) {
	if _, err := s.requireMain(ctx, tx, wanted.account, "payout"); err != nil {
		return payout{}, err
	}
	var waiting int64
	err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM broker_payouts WHERE account = ? AND state = 'pending'`, wanted.account).Scan(&waiting)
	if err != nil {
		return payout{}, err
	}
	if waiting >= maxPendingPayouts {
		return payout{}, refused(refuse(payword.RateLimited, "%d payouts of this account wait to be paid: at most %d do", waiting, maxPendingPayouts))
	}
	if err := s.collect(ctx, tx, wanted.account); err != nil {
		return payout{}, err
	}
	available, err := tx.Account(ctx, availableAccount(wanted.account))
	if err != nil {
		return payout{}, err
	}
	if own := max(0, available.Balance-available.Pending); wanted.amount > own {
		return payout{}, refused(refuse(payword.InsufficientFunds, "%s %s of the account's own money are available", own.Decimal(), s.currency.Code()))
	}
	if err := s.setPayoutAside(ctx, tx, wanted); err != nil {
		return payout{}, err
	}
	made, _, err := loadPayout(ctx, tx, wanted.account, wanted.id)
	return made, err
}

// setPayoutAside takes the money of a payout out of what is available, and
// keeps the payout for the operator.
func (s *store) setPayoutAside(ctx context.Context, tx *ledger.Tx, p payout) error {
	err := tx.Pend(ctx, ledger.Transfer{
		ID: p.transferID(), Debit: availableAccount(p.account), Credit: bankOut,
		Amount: p.amount, Currency: s.currency, Kind: "payout", Reference: p.id,
	})
	if err != nil {
		return err
	}
	closing := 0
	if p.isClosing {
		closing = 1
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO broker_payouts (account, id, amount, kind, destination, closing, state, created)
		VALUES (?, ?, ?, ?, ?, ?, 'pending', ?)`,
		p.account, p.id, p.amount, p.destination.kind, p.destination.text, closing, tx.Now().UnixMicro())
	if err != nil {
		return err
	}
	return audit(ctx, tx, auditEntry{"request-payout", "account:" + p.account, p.id + ": " + p.amount.Decimal() + " " + s.currency.Code()})
}

// PayoutPaid says that a payout has left the bank account; note is how, such as
// a bank's reference, 1 to 200 characters. The same again changes nothing. It
// refuses with UnknownPayout, or with NotPermitted while clearing has told the
// bank to pay it.
func (b *Broker) PayoutPaid(ctx context.Context, account, id, note string) (payword.Payout, payword.Refusal, error) {
	return b.store.endPayout(ctx, account, id, payoutPaid, note)
}

// RefusePayout gives the money of a payout back to the account; note is why, 1
// to 200 characters, and the owner is told. An account that was to be closed is
// open again. The same again changes nothing. It refuses as PayoutPaid does.
func (b *Broker) RefusePayout(ctx context.Context, account, id, note string) (payword.Payout, payword.Refusal, error) {
	return b.store.endPayout(ctx, account, id, payoutRefused, note)
}

func (s *store) endPayout(ctx context.Context, account, id, state, note string) (ended payword.Payout, refusal payword.Refusal, err error) {
	if err := checkReason(note); err != nil {
		return ended, refusal, err
	}
	refusal, err = s.update(ctx, "end payout", func(tx *ledger.Tx) error {
		p, found, err := loadPayout(ctx, tx, account, id)
		if err != nil {
			return err
		}
		if !found || p.state != payoutPending && p.state != state {
			return refused(refuse(payword.UnknownPayout, "there is no such payout, or it has ended otherwise"))
		}
		if p.state == payoutPending && p.instruction != "" {
			return refused(refuse(payword.NotPermitted, "a settlement run has told the bank to pay it, under the end-to-end id %s: what the bank answers ends it", p.instruction))
		}
		if p.state == payoutPending {
			err = s.endPending(ctx, tx, p, state, note)
		}
		if err != nil {
			return err
		}
		p, _, err = loadPayout(ctx, tx, account, id)
		ended = p.shown(s.currency)
		return err
	})
	return ended, refusal, err
}

func (s *store) endPending(ctx context.Context, tx *ledger.Tx, p payout, state, note string) error {
	ending := ledger.Ending{ID: p.transferID() + "/" + state, PendingID: p.transferID(), Amount: p.amount}
	end := tx.PostPending
	if state == payoutRefused {
		end = tx.VoidPending
	}
	if err := end(ctx, ending); err != nil {
		return err
	}
	swapped, err := tx.ExecOne(ctx, `UPDATE broker_payouts SET state = ?, note = ?, ended = ? WHERE account = ? AND id = ? AND state = 'pending'`,
		state, note, tx.Now().UnixMicro(), p.account, p.id)
	if err == nil && !swapped {
		err = fmt.Errorf("payout %s of %s changed within a transaction", p.id, p.account)
	}
	if err == nil {
		err = audit(ctx, tx, auditEntry{"payout-" + state, "account:" + p.account, p.id + ": " + p.amount.Decimal() + " " + s.currency.Code() + ": " + note})
	}
	if err == nil && p.isClosing && state == payoutRefused {
		err = reopen(ctx, tx, p.account)
	}
	if err != nil {
		return err
	}
	return s.finishClosing(ctx, tx, p.account)
}

// reopen ends the closing of an account whose rest could not be paid out: its
// owner says anew what is to become of it.
func reopen(ctx context.Context, tx *ledger.Tx, account string) error {
	if _, err := tx.ExecContext(ctx, `DELETE FROM broker_closings WHERE account = ?`, account); err != nil {
		return err
	}
	if _, err := setState(ctx, tx, account, stateClosing, stateOpen); err != nil {
		return err
	}
	if err := followState(ctx, tx, account); err != nil {
		return err
	}
	return audit(ctx, tx, auditEntry{"reopen-account", "account:" + account, "the rest could not be paid out"})
}

// payoutsOf lists the payouts of an account, the earliest first.
func (s *store) payoutsOf(ctx context.Context, account string, l Listing) (payword.PayoutList, error) {
	return s.payoutPage(ctx, l, func(p payout) string { return p.id }, `WHERE account = ?
		AND seq > COALESCE((SELECT seq FROM broker_payouts WHERE account = ? AND id = ?), 0) ORDER BY seq LIMIT ?`,
		account, account, l.After, l.Limit+1)
}

// allPayouts lists the payouts of all accounts in a state, the earliest first.
func (s *store) allPayouts(ctx context.Context, state string, l Listing) (payword.PayoutList, error) {
	after, err := l.number()
	if err != nil {
		return payword.PayoutList{}, err
	}
	return s.payoutPage(ctx, l, func(p payout) string { return strconv.FormatInt(p.seq, 10) },
		`WHERE state = ? AND seq > ? ORDER BY seq LIMIT ?`, state, after, l.Limit+1)
}

func (s *store) payoutPage(ctx context.Context, l Listing, name func(payout) string, where string, arguments ...any) (payword.PayoutList, error) {
	list := payword.PayoutList{Payouts: []payword.Payout{}}
	err := s.db.View(ctx, func(tx *ledger.Tx) error {
		page, err := selectPayouts(ctx, tx, where, arguments...)
		page, list.Next = cut(page, l, name)
		for _, p := range page {
			list.Payouts = append(list.Payouts, p.shown(s.currency))
		}
		return err
	})
	return list, err
}
