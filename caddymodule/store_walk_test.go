package caddymodule

import (
	"context"
	"fmt"
	"math/rand"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// storeStep is one step on any store; it returns what came of it, as text.
type storeStep func(store) string

// storeWalk makes random steps on three commitments.
type storeWalk struct {
	random      *rand.Rand
	commitments []*payword.Commitment
	numbers     []uint64
	now         int64
	opened      int
	binds       bool // the newest step's record binds, if it changed anything
}

func newStoreWalk(tb testing.TB, random *rand.Rand) *storeWalk {
	w := &storeWalk{random: random, now: storeStart, numbers: make([]uint64, 3)}
	for k := range w.numbers {
		w.commitments = append(w.commitments, storeCommitment(tb, uint64(100+k), k+1))
	}
	return w
}

// next returns the next step. It does the same on every store it is used on.
func (w *storeWalk) next() storeStep {
	w.now += int64(w.random.Intn(3))
	if w.random.Intn(200) == 0 {
		w.now += payword.RefundSeconds
	}
	k := w.random.Intn(len(w.commitments))
	m, now := w.commitments[k], w.now
	w.binds = true
	if w.opened < len(w.commitments) {
		k = w.opened
		m = w.commitments[k]
		w.opened++
		o := storeOpening(m, 200, 1)
		if k == 1 {
			o = unreservedOpening(m)
		}
		return func(s store) string {
			seen, err := s.open(context.Background(), o)
			return seenText("open", seen, err)
		}
	}
	switch kind := w.random.Intn(20); {
	case kind < 11:
		return w.charge(k)
	case kind < 14:
		number := w.oldNumber(k)
		return func(s store) string {
			amount, seen, err := s.giveBack(context.Background(), m.ID, number, now)
			return seenText(fmt.Sprint("giveBack ", amount), seen, err)
		}
	case kind < 15 && w.random.Intn(2) == 0:
		number, price := w.oldNumber(k), storeUnit/money.Amount(1+w.random.Intn(4))
		return func(s store) string {
			amount, seen, err := s.trueUp(context.Background(), m.ID, number, price, now)
			return seenText(fmt.Sprint("trueUp ", amount), seen, err)
		}
	case kind < 15 && w.random.Intn(2) == 0:
		w.binds = false
		return func(s store) string {
			outcome, seen, err := s.flow(context.Background(), m.ID, storeUnit/2)
			return seenText(fmt.Sprintf("flow: %+v", outcome), seen, err)
		}
	case kind < 15:
		w.binds = false
		chain, tail := uint8(w.random.Intn(len(m.Chains))), storeTail(uint32(w.numbers[k])+uint32(w.random.Intn(3)))
		return func(s store) string {
			seen, err := s.advance(context.Background(), m.ID, chain, tail)
			return seenText("advance", seen, err)
		}
	case kind < 16:
		units := 200 + int64(w.numbers[k])
		if w.random.Intn(8) == 0 {
			units = payword.MaxChainLength // the limit, which an unreserved one has to have reserved
		}
		o := storeOpening(m, units, 1+uint32(w.numbers[k]/10))
		o.redeemBy += now - storeStart
		return func(s store) string {
			seen, err := s.open(context.Background(), o)
			return seenText("open", seen, err)
		}
	case kind < 17:
		amount := storeUnit * money.Amount(w.random.Intn(int(w.numbers[k])+1))
		return func(s store) string {
			return seenText("acknowledge", view{}, s.acknowledge(context.Background(), m.ID, amount, false))
		}
	case kind < 18 && w.random.Intn(300) == 0:
		return func(s store) string {
			seen, err := s.finish(context.Background(), m.ID)
			return seenText("finish", seen, err)
		}
	default:
		return func(s store) string {
			seen, err := s.find(context.Background(), m.ID)
			return seenText("find", seen, err)
		}
	}
}

// charge charges a new number three times of four, and an old one else.
func (w *storeWalk) charge(k int) storeStep {
	m, c := w.commitments[k], payword.Charge{Now: w.now, Price: storeUnit, Unsafe: w.random.Intn(9) == 0}
	if w.random.Intn(4) > 0 {
		w.numbers[k] += 1 + uint64(w.random.Intn(3))
		c.Number = w.numbers[k]
	} else {
		c.Number = w.oldNumber(k)
	}
	c.Fingerprint = storeFingerprint(c.Number)
	w.binds = c.Unsafe
	if w.random.Intn(9) == 0 {
		c.Fingerprint = storeFingerprint(0)
	}
	c.Chain = uint8(w.random.Intn(len(m.Chains)))
	c.Tail = storeTail(uint32(c.Number / 2))
	if k > 0 && w.random.Intn(3) == 0 {
		c.Pass = payword.PassTerms{Scope: payword.PassScope{byte(w.random.Intn(3))}, Seconds: 40, Price: 3 * storeUnit}
	}
	return func(s store) string {
		outcome, seen, err := s.charge(context.Background(), m.ID, c)
		return seenText(fmt.Sprintf("charge of %d: %+v", c.Number, outcome), seen, err)
	}
}

// oldNumber returns a number that may have been used, now and then a stale one.
func (w *storeWalk) oldNumber(k int) uint64 {
	behind := uint64(w.random.Intn(20))
	if w.random.Intn(20) == 0 {
		behind = uint64(w.random.Intn(2 * payword.WindowSize))
	}
	return max(1, w.numbers[k]-min(behind, w.numbers[k]))
}

func seenText(what string, seen view, err error) string {
	if err != nil {
		return fmt.Sprintf("%s: error %v", what, err)
	}
	return fmt.Sprintf("%s: tails %v, accepted %d, spent %d, closed %v", what, seen.tails, seen.accepted, seen.spent, seen.closed)
}
