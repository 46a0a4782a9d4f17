package terminal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/paywordhq/payword/internal/purse"
)

// What follows a record: clearing books it, the broker funds the account, or the
// cash is paid out. Each step is one question that may be asked again, and its
// answer is written down before the next is asked.

const (
	firstPause = time.Second
	// maxPause bounds how long something waits for its next attempt, so that a
	// clearing that was away for hours is told everything soon after.
	maxPause = 5 * time.Minute
	// maxReason bounds what is kept of an error, in bytes.
	maxReason = 300
)

// failed makes the time until the next attempt longer each time.
func (r *retry) failed(now time.Time, err error) {
	r.Attempts++
	pause := maxPause
	if r.Attempts < 10 {
		pause = min(firstPause<<(r.Attempts-1), maxPause)
	}
	r.Due = now.Add(pause)
	r.Reason = fmt.Sprintf("%.*s", maxReason, err.Error())
}

// isRefusal reports whether clearing or broker said no for good.
func isRefusal(err error) bool {
	var refusal *purse.Refusal
	var refused *Refused
	return errors.As(err, &refusal) || errors.As(err, &refused)
}

// advance takes all steps that follow, until one is not answered. It returns the
// transaction as it is then, and what went wrong with the last step.
func (t *Terminal) advance(ctx context.Context, x transaction) (transaction, error) {
	for !x.isEnded() {
		next, err := t.step(ctx, x)
		if err != nil || next.State == x.State {
			return next, err
		}
		x = next
	}
	return x, nil
}

// step asks one question. Where it is not answered, the transaction waits.
func (t *Terminal) step(ctx context.Context, x transaction) (transaction, error) {
	if x.IsBeingCancelled || x.isUndecided() || x.State == Unproved {
		return x, nil
	}
	if err := ctx.Err(); err != nil {
		return x, err
	}
	asked, cancel := context.WithTimeout(ctx, hostTimeout)
	defer cancel()
	switch {
	case x.State == Recorded:
		return t.answered(x, Booked, t.config.Host.PayOnline(asked, x.Record, purse.MAC(x.Previous)))
	case x.State == Booked && x.IsCash:
		return t.answered(x, Cashed, t.config.Host.CashOut(asked, purse.ID(x.Merchant), x.TNo))
	case x.State == Booked:
		return t.fund(asked, x)
	case x.State == Claiming:
		return t.claim(asked, x)
	}
	return x, fmt.Errorf("transaction %d is %s: nothing follows that", x.TNo, x.State)
}

// answered writes down what an answer says.
func (t *Terminal) answered(x transaction, next State, err error) (transaction, error) {
	now, _, writeErr := t.journal.change(x.TNo, x.State, func(x *transaction) {
		if err == nil {
			x.State, x.retry, x.IsDisowned = next, retry{}, false
		} else {
			x.failed(t.now(), err)
			x.IsDisowned = x.State == Recorded && isDisowned(err)
		}
	})
	if writeErr == nil && now.IsDisowned {
		t.log.Error("clearing has another payment under a number of this SAM", "transaction", now.TNo)
		writeErr = t.journal.disown(now.TNo)
	}
	if writeErr != nil {
		return x, writeErr
	}
	return now, err
}

// isDisowned reports whether clearing says that a record's number is another's.
func isDisowned(err error) bool {
	var refusal *purse.Refusal
	return errors.As(err, &refusal) && (refusal.Reason == purse.Differs || refusal.Reason == purse.Contradicts)
}

// checkOwned refuses payments once there was one that clearing has another of: the
// next would be lost as well.
func (t *Terminal) checkOwned() error {
	tno, isDisowned, err := t.journal.disowned()
	if err != nil || !isDisowned {
		return err
	}
	return fmt.Errorf("%w (transaction %d)", ErrDisowned, tno)
}

// fund puts the payment on the account. That the broker is asked is written down
// first: from then on the payment cannot be cancelled, unless the broker says no.
func (t *Terminal) fund(ctx context.Context, x transaction) (transaction, error) {
	if t.config.Accounts == nil {
		return t.answered(x, Funded, errors.New("no broker is known here: accounts cannot be funded"))
	}
	if !x.IsFundUnknown {
		now, isChanged, err := t.journal.change(x.TNo, Booked, func(x *transaction) {
			x.IsFundUnknown = !x.IsBeingCancelled
		})
		if err != nil || !isChanged || !now.IsFundUnknown {
			return now, err
		}
		x = now
	}
	err := t.config.Accounts.Fund(ctx, x.Account, purse.FundingID(purse.ID(x.Merchant), x.TNo), x.Unit.Amount(x.Amount))
	now, _, writeErr := t.journal.change(x.TNo, Booked, func(x *transaction) {
		if err == nil {
			x.State, x.retry, x.IsFundUnknown, x.IsFundRefused = Funded, retry{}, false, false
			return
		}
		// Repeated all the same, less and less often: an account that is blocked may
		// be opened, and tomorrow is another day's limit.
		x.failed(t.now(), err)
		if isRefusal(err) {
			x.IsFundUnknown, x.IsFundRefused = false, true
		}
	})
	if writeErr != nil {
		return x, writeErr
	}
	return now, err
}

// claim has clearing give back what a card paid and the SAM has void.
func (t *Terminal) claim(ctx context.Context, x transaction) (transaction, error) {
	paid, err := purse.ParsePaid(x.Answer)
	if err != nil {
		return x, t.end(x, RefusedForGood, "the card's proof makes no sense")
	}
	evidence := paid.Proof.Append(nil)
	if paid.IsCancellation() {
		evidence = paid.Cancellation.Append(nil)
	}
	err = t.config.Host.Claim(ctx, evidence, paid.MACZ)
	var refusal *purse.Refusal
	if errors.As(err, &refusal) {
		switch refusal.Reason {
		case purse.WrongProof, purse.NoKey, purse.Malformed: // it was not that card
			now, _, writeErr := t.journal.change(x.TNo, Claiming, func(x *transaction) {
				x.State, x.Answer, x.retry = Unproved, nil, retry{Reason: refusal.Error()}
			})
			return now, errors.Join(err, writeErr)
		}
		reason := err.Error()
		now, _, writeErr := t.journal.change(x.TNo, Claiming, func(x *transaction) { x.State, x.retry = RefusedForGood, retry{Reason: reason} })
		return now, errors.Join(err, writeErr)
	}
	return t.answered(x, Claimed, err)
}
