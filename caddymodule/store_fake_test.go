package caddymodule

import (
	"context"
	"errors"
	"sync"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// fault is what a memoryStore does wrong in one step.
type fault int

const (
	faultNone       fault = iota
	faultNotDone          // the step is not done, and fails
	faultAnswerLost       // the step is done, and fails all the same
)

var errFault = errors.New("the fake store fails on purpose")

// memoryStore is a store that remembers nothing after its process.
type memoryStore struct {
	fault func(step string) fault // nil: none; set before use

	mutex   sync.Mutex
	entries map[payword.CommitmentID]*entry
	credit  creditShares
}

var _ store = (*memoryStore)(nil)

func newMemoryStore() *memoryStore {
	return &memoryStore{entries: map[payword.CommitmentID]*entry{}}
}

// step runs run under the lock, or fails as fault says.
func (s *memoryStore) step(name string, id payword.CommitmentID, run func(*entry)) (view, error) {
	wrong := faultNone
	if s.fault != nil {
		wrong = s.fault(name)
	}
	if wrong == faultNotDone {
		return view{}, errFault
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	e := s.entries[id]
	if e == nil {
		return view{}, errUnknownCommitment
	}
	run(e)
	if wrong == faultAnswerLost {
		return view{}, errFault
	}
	return e.view(), nil
}

func (s *memoryStore) open(_ context.Context, o opening) (view, error) {
	wrong := faultNone
	if s.fault != nil {
		wrong = s.fault("open")
	}
	if wrong == faultNotDone {
		return view{}, errFault
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	e := s.entries[o.commitment.ID]
	if e == nil {
		e = newEntry(o)
		isOpened := func() bool { return true }
		if e.isUnreserved() && !s.credit.take(o.commitment, o.credit, isOpened) {
			return view{}, errCreditLimit
		}
		s.entries[o.commitment.ID] = e
	}
	wasUnreserved := e.isUnreserved()
	if e.topUp(o.reservation, o.amount, o.sequence, o.redeemBy) && wasUnreserved {
		s.credit.free(e.commitment, e.creditDay)
	}
	if wrong == faultAnswerLost {
		return view{}, errFault
	}
	return e.view(), nil
}

func (s *memoryStore) find(_ context.Context, id payword.CommitmentID) (view, error) {
	return s.step("find", id, func(*entry) {})
}

// recall leaves it to find, which can fail.
func (s *memoryStore) recall(payword.CommitmentID, uint8, *chainView) bool { return false }

func (s *memoryStore) findNewest(ctx context.Context, id payword.CommitmentID) (view, error) {
	return s.find(ctx, id)
}

func (s *memoryStore) charge(_ context.Context, id payword.CommitmentID, c payword.Charge) (payword.Outcome, view, error) {
	var outcome payword.Outcome
	seen, err := s.step("charge", id, func(e *entry) {
		if c.Single && s.grantedElsewhere(id, c) {
			outcome = payword.Outcome{Reason: payword.ChallengeUsed, Price: c.Price, Changed: e.state.Advance(c.Chain, c.Tail)}
			return
		}
		outcome = e.state.Charge(e.commitment, &c)
	})
	if err != nil {
		return payword.Outcome{}, view{}, err
	}
	return outcome, seen, nil
}

// grantedElsewhere reports whether another commitment was granted the challenge.
// The caller holds the lock.
func (s *memoryStore) grantedElsewhere(id payword.CommitmentID, c payword.Charge) bool {
	for other, e := range s.entries {
		for _, request := range e.state.Recent {
			if other != id && request.Fingerprint == c.Fingerprint && request.Grants > 0 && c.Now < request.At+payword.RefundSeconds {
				return true
			}
		}
	}
	return false
}

func (s *memoryStore) advance(_ context.Context, id payword.CommitmentID, chain uint8, tail payword.Tail) (view, error) {
	return s.step("advance", id, func(e *entry) { e.state.Advance(chain, tail) })
}

func (s *memoryStore) giveBack(_ context.Context, id payword.CommitmentID, number uint64, now int64) (money.Amount, view, error) {
	amount := money.Amount(0)
	seen, err := s.step("giveBack", id, func(e *entry) { amount = e.state.GiveBack(number, now) })
	if err != nil {
		return 0, view{}, err
	}
	return amount, seen, nil
}

func (s *memoryStore) trueUp(_ context.Context, id payword.CommitmentID, number uint64, price money.Amount, now int64) (money.Amount, view, error) {
	amount := money.Amount(0)
	seen, err := s.step("trueUp", id, func(e *entry) { amount = e.state.TrueUp(number, price, now) })
	if err != nil {
		return 0, view{}, err
	}
	return amount, seen, nil
}

func (s *memoryStore) flow(_ context.Context, id payword.CommitmentID, amount money.Amount) (payword.Outcome, view, error) {
	var outcome payword.Outcome
	seen, err := s.step("flow", id, func(e *entry) { outcome = e.state.Flow(e.commitment, amount) })
	if err != nil {
		return payword.Outcome{}, view{}, err
	}
	return outcome, seen, nil
}

func (s *memoryStore) finish(_ context.Context, id payword.CommitmentID) (view, error) {
	return s.step("finish", id, func(e *entry) { e.state.Closed = true })
}

func (s *memoryStore) claimables(_ context.Context, now, refundSeconds int64, yield func(claimable) bool) error {
	if s.fault != nil && s.fault("claimables") != faultNone {
		return errFault
	}
	s.mutex.Lock()
	due := []claimable(nil)
	for _, e := range s.entries {
		if found, _, isDue := e.claimable(now, refundSeconds); isDue {
			due = append(due, found)
		}
	}
	s.mutex.Unlock()
	for _, found := range due {
		if !yield(found) {
			break
		}
	}
	return nil
}

func (s *memoryStore) acknowledge(_ context.Context, id payword.CommitmentID, amount money.Amount, final bool) error {
	_, err := s.step("acknowledge", id, func(e *entry) {
		e.state.Claimed, e.final = max(e.state.Claimed, amount), e.final || final
	})
	return err
}
