package broker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// The kinds of outcomes: what clearing learnt from the bank about an account.
const (
	outcomePayoutPaid     = "payout-paid"     // it has left the bank account
	outcomePayoutRefused  = "payout-refused"  // the bank did not send it
	outcomePayoutReturned = "payout-returned" // it had left, and came back
	outcomeDebitCollected = "debit-collected" // a direct debit came in
	outcomeDebitReturned  = "debit-returned"  // a direct debit was taken back
)

const (
	// sourceDirectDebit is the source of what was collected by direct debit. Its
	// payments are named by their end-to-end ids.
	sourceDirectDebit = "direct-debit"

	// maxOutcomeDetail bounds why an outcome failed, in bytes: a sentence.
	maxOutcomeDetail = 300
)

// outcome is a row of broker_outcomes.
type outcome struct {
	seq         int64
	kind        string
	account, id string
	amount      money.Amount // in micros
	note        string
}

// ApplyOutcomes does what clearing wrote into broker_outcomes, in the order of
// the rows, each once and in a transaction of its own, and returns how many it
// did. One that cannot be done, such as that a payout was paid which an operator
// had refused, is marked failed with the reason and logged, and the next ones go
// on. Run calls it.
//
// An error means that it could not tell; nothing after that row was done, since
// one row can need what the row before it did.
func (b *Broker) ApplyOutcomes(ctx context.Context) (applied int, err error) {
	for {
		waiting, err := b.store.waitingOutcomes(ctx)
		if err != nil {
			return applied, err
		}
		for _, o := range waiting {
			isApplied, err := b.applyOutcome(ctx, o)
			if err != nil {
				return applied, fmt.Errorf("outcome %d: %w", o.seq, err)
			}
			if isApplied {
				applied++
			}
		}
		if len(waiting) < perRound {
			return applied, nil
		}
	}
}

func (s *store) waitingOutcomes(ctx context.Context) (waiting []outcome, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		waiting = nil
		rows, err := tx.QueryContext(ctx, `SELECT seq, kind, account, id, amount, note FROM broker_outcomes
			WHERE state = 'waiting' ORDER BY seq LIMIT ?`, perRound)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var o outcome
			if err := rows.Scan(&o.seq, &o.kind, &o.account, &o.id, &o.amount, &o.note); err != nil {
				return err
			}
			waiting = append(waiting, o)
		}
		return rows.Err()
	})
	return waiting, err
}

// applyOutcome does one outcome, or marks it failed. It reports whether this call
// did it; another broker may have been first.
func (b *Broker) applyOutcome(ctx context.Context, o outcome) (isApplied bool, err error) {
	refusal, err := b.store.update(ctx, "apply outcome", func(tx *ledger.Tx) error {
		isApplied = false
		swapped, err := tx.ExecOne(ctx, `UPDATE broker_outcomes SET state = 'applied', applied = ? WHERE seq = ? AND state = 'waiting'`,
			tx.Now().UnixMicro(), o.seq)
		if err != nil || !swapped {
			return err
		}
		isApplied = true
		return b.store.doOutcome(ctx, tx, o)
	})
	why := ""
	switch {
	case refusal.Refused():
		why = refusal.Detail
	case ledgerSaysNo(err):
		why = err.Error()
	default:
		return isApplied && err == nil, err
	}
	b.log.ErrorContext(ctx, "what the bank says cannot be booked", "outcome", o.seq, "kind", o.kind, "reason", why)
	return false, b.store.failOutcome(ctx, o, why)
}

// ledgerSaysNo reports whether an error of the ledger stays the same however
// often it is tried: the books have no such thing, or not enough.
func ledgerSaysNo(err error) bool {
	for _, final := range []error{ledger.ErrNotFound, ledger.ErrInsufficient, ledger.ErrTransferDiffers, ledger.ErrPendingEnded,
		ledger.ErrPendingExpired, ledger.ErrCurrency, ledger.ErrAccountDiffers, money.ErrOverflow} {
		if errors.Is(err, final) {
			return true
		}
	}
	return ledger.IsConstraint(err)
}

func (s *store) failOutcome(ctx context.Context, o outcome, why string) error {
	_, err := s.update(ctx, "fail outcome", func(tx *ledger.Tx) error {
		swapped, err := tx.ExecOne(ctx, `UPDATE broker_outcomes SET state = 'failed', detail = ?, applied = ? WHERE seq = ? AND state = 'waiting'`,
			cutText(why, maxOutcomeDetail), tx.Now().UnixMicro(), o.seq)
		if err != nil || !swapped {
			return err
		}
		return audit(ctx, tx, auditEntry{"fail-outcome", "account:" + o.account, fmt.Sprintf("%d, %s %s: %s", o.seq, o.kind, o.id, why)})
	})
	return err
}

func (s *store) doOutcome(ctx context.Context, tx *ledger.Tx, o outcome) error {
	switch o.kind {
	case outcomePayoutPaid, outcomePayoutRefused, outcomePayoutReturned:
		return s.doPayoutOutcome(ctx, tx, o)
	case outcomeDebitCollected:
		_, err := s.book(ctx, tx, fundingRecord{
			source: sourceDirectDebit, id: o.id, payment: o.id, named: o.account, amount: o.amount, currency: s.currency,
		})
		return err
	case outcomeDebitReturned:
		// One that comes before its payment waits for it, as any reversal does.
		return s.reverse(ctx, tx, reversal{
			source: sourceDirectDebit, id: o.id, payment: o.id, cause: causeDispute, amount: o.amount, currency: s.currency,
		})
	}
	return refused(refuse(payword.NotPermitted, "%q is no kind of outcome that this broker knows", o.kind))
}

func (s *store) doPayoutOutcome(ctx context.Context, tx *ledger.Tx, o outcome) error {
	p, found, err := loadPayout(ctx, tx, o.account, o.id)
	if err != nil {
		return err
	}
	if !found || p.amount != o.amount {
		return refused(refuse(payword.UnknownPayout, "the account has no payout %s of %s %s", o.id, o.amount.Decimal(), s.currency.Code()))
	}
	if o.kind == outcomePayoutReturned {
		return s.returnPayout(ctx, tx, p, o.note)
	}
	state := payoutPaid
	if o.kind == outcomePayoutRefused {
		state = payoutRefused
	}
	switch p.state {
	case payoutPending:
		return s.endPending(ctx, tx, p, state, o.note)
	case state:
		return nil // an operator said so by hand
	}
	return refused(refuse(payword.UnknownPayout, "the payout was %s before, by hand, and the bank says %s", p.state, state))
}

// kindPayoutReturn is the kind of the transfer that brings back the money of a
// payout which was paid.
const kindPayoutReturn = "payout-return"

// returnedID names that transfer.
func (p payout) returnedID() string { return p.transferID() + "/returned" }

// returnPayout puts the money of a payout that was paid, and came back, on the
// account again. The payout stays paid, with a note of what became of it.
func (s *store) returnPayout(ctx context.Context, tx *ledger.Tx, p payout, note string) error {
	if p.state != payoutPaid {
		return refused(refuse(payword.UnknownPayout, "the payout is %s, and only one that was paid comes back", p.state))
	}
	err := tx.Post(ctx, ledger.Transfer{
		ID: p.returnedID(), Debit: bankOut, Credit: availableAccount(p.account),
		Amount: p.amount, Currency: s.currency, Kind: kindPayoutReturn, Reference: p.id,
	})
	if err != nil {
		return err
	}
	swapped, err := tx.ExecOne(ctx, `UPDATE broker_payouts SET note = ? WHERE account = ? AND id = ? AND state = 'paid'`,
		cutText("returned: "+note, maxReason), p.account, p.id)
	if err == nil && !swapped {
		err = fmt.Errorf("payout %s of %s changed within a transaction", p.id, p.account)
	}
	if err == nil {
		err = audit(ctx, tx, auditEntry{"payout-returned", "account:" + p.account, p.id + ": " + p.amount.Decimal() + " " + s.currency.Code() + ": " + note})
	}
	if err == nil {
		err = s.reopenFor(ctx, tx, p)
	}
	if err == nil {
		err = s.collect(ctx, tx, p.account)
	}
	if err != nil {
		return err
	}
	return s.finishClosing(ctx, tx, p.account)
}

// reopenFor opens an account again whose rest came back, or that was closed
// since: where its money goes has proved wrong, or is not known.
func (s *store) reopenFor(ctx context.Context, tx *ledger.Tx, p payout) error {
	var state string
	err := tx.QueryRowContext(ctx, `SELECT state FROM broker_accounts WHERE id = ?`, p.account).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return ledger.ErrNotFound
	}
	if err != nil || state != stateClosed && !p.isClosing {
		return err
	}
	if state == stateClosed {
		if _, err := setState(ctx, tx, p.account, stateClosed, stateClosing); err != nil {
			return err
		}
	}
	return reopen(ctx, tx, p.account)
}

// cutText returns at most limit bytes of a text, and no half of a letter.
func cutText(text string, limit int) string {
	return strings.ToValidUTF8(text[:min(len(text), limit)], "")
}

// outcomeCounts counts outcomes that wait and those that failed.
func outcomeCounts(ctx context.Context, tx *ledger.Tx) (waiting, failed int64, err error) {
	waiting, err = countOf(ctx, tx, `SELECT COUNT(*) FROM broker_outcomes WHERE state = 'waiting'`)
	if err == nil {
		failed, err = countOf(ctx, tx, `SELECT COUNT(*) FROM broker_outcomes WHERE state = 'failed'`)
	}
	return waiting, failed, err
}
