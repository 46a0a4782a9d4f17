package caddymodule

import (
	"fmt"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// step is what one atomic step of a store does with a commitment that nobody
// else touches meanwhile. It returns the record of what it changed; one of kind
// 0 says that nothing changed, and an error that nothing was done. All stores
// run the same steps, so that they cannot disagree about money. A step may be
// run again on another state; then what it found before does not count.
type step func(*entry) (record, error)

// lookStep changes nothing.
func lookStep(*entry) (record, error) { return record{}, nil }

// topUpStep takes a later reservation.
func topUpStep(o opening) step {
	return func(e *entry) (record, error) {
		if !e.topUp(o.reservation, o.amount, o.sequence, o.redeemBy) {
			return record{}, nil
		}
		return record{
			kind: recordToppedUp, reservation: o.reservation,
			amount: o.amount, sequence: o.sequence, redeemBy: o.redeemBy,
		}, nil
	}
}

// chargeStep charges one request.
func chargeStep(c payword.Charge, outcome *payword.Outcome) step {
	return func(e *entry) (record, error) { return e.charge(&c, outcome) }
}

// charge charges one request and returns the record of it.
func (e *entry) charge(c *payword.Charge, outcome *payword.Outcome) (r record, err error) {
	if err := checkTail(e.commitment, c.Chain, c.Tail); err != nil {
		return r, err
	}
	if c.Price < 0 {
		return r, fmt.Errorf("charging %d micros", c.Price)
	}
	*outcome = e.state.Charge(e.commitment, c)
	r.chain, r.tail = c.Chain, e.state.Tails[c.Chain]
	switch {
	case outcome.Reason == payword.Accepted:
		r.kind, r.total, r.isUnsafe = recordCharged, e.state.Charged, c.Unsafe
		r.request = *recentRequest(&e.state, c.Number)
		r.pass = passTouched(&e.state, *c, *outcome)
	case outcome.Changed:
		r.kind = recordAdvanced
	}
	return r, nil
}

// recentRequest returns what is remembered of a number, or nil.
func recentRequest(s *payword.State, number uint64) *payword.Request {
	for k := len(s.Recent) - 1; k >= 0; k-- {
		if s.Recent[k].Number == number {
			return &s.Recent[k]
		}
	}
	return nil
}

// advanceStep raises a tail.
func advanceStep(chain uint8, tail payword.Tail) step {
	return func(e *entry) (record, error) {
		if err := checkTail(e.commitment, chain, tail); err != nil {
			return record{}, err
		}
		if !e.state.Advance(chain, tail) {
			return record{}, nil
		}
		return record{kind: recordAdvanced, chain: chain, tail: tail}, nil
	}
}

// giveBackStep takes one grant back.
func giveBackStep(number uint64, now int64, amount *money.Amount) step {
	return func(e *entry) (record, error) {
		before := grantsOf(&e.state, number)
		*amount = e.state.GiveBack(number, now)
		after := grantsOf(&e.state, number)
		// One grant less is a change even where another stands and nothing is
		// returned. A request that was only forgotten has none before or after.
		if after >= before || recentRequest(&e.state, number) == nil {
			return record{}, nil
		}
		return record{
			kind: recordGivenBack, total: e.state.Returned,
			request: payword.Request{Number: number, Grants: after}, pass: passOfNumber(&e.state, number),
		}, nil
	}
}

// grantsOf returns the standing grants of a number, 0 if it is not remembered.
func grantsOf(s *payword.State, number uint64) uint8 {
	if request := recentRequest(s, number); request != nil {
		return request.Grants
	}
	return 0
}

// trueUpStep lowers the price of a request.
func trueUpStep(number uint64, price money.Amount, now int64, amount *money.Amount) step {
	return func(e *entry) (record, error) {
		if price < 0 {
			return record{}, fmt.Errorf("lowering a price to %d micros", price)
		}
		*amount = e.state.TrueUp(number, price, now)
		if request := recentRequest(&e.state, number); request == nil || *amount == 0 {
			return record{}, nil
		}
		return record{kind: recordTruedUp, total: e.state.Returned, request: payword.Request{Number: number, Price: price}, pass: passOfNumber(&e.state, number)}, nil
	}
}

// flowStep charges for another piece of an answer.
func flowStep(amount money.Amount, outcome *payword.Outcome) step {
	return func(e *entry) (record, error) {
		if amount < 0 {
			return record{}, fmt.Errorf("charging %d micros", amount)
		}
		*outcome = e.state.Flow(e.commitment, amount)
		if !outcome.Changed {
			return record{}, nil
		}
		return record{kind: recordFlowed, total: e.state.Charged}, nil
	}
}

// finishStep closes a commitment.
func finishStep(e *entry) (record, error) {
	if e.state.Closed {
		return record{}, nil
	}
	e.state.Closed = true
	return record{kind: recordClosed}, nil
}

// acknowledgeStep notes what the broker paid.
func acknowledgeStep(amount money.Amount, final bool) step {
	return func(e *entry) (record, error) {
		if amount < 0 || amount > money.MaxAmount {
			return record{}, fmt.Errorf("acknowledging %d micros: want 0 to %d", amount, money.MaxAmount)
		}
		if amount <= e.state.Claimed && (e.final || !final) {
			return record{}, nil
		}
		e.state.Claimed, e.final = max(e.state.Claimed, amount), e.final || final
		return record{kind: recordAcknowledged, total: e.state.Claimed, final: e.final}, nil
	}
}
