package caddymodule

import (
	"context"
	"fmt"
	"sync"

	"go.uber.org/zap"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// maxAdvances bounds the commitments that are delivered to ahead of payment, at
// about 100 bytes each. Beyond it payment comes first.
const maxAdvances = 10_000

// advance is what was delivered on a commitment ahead of payment. It is kept in
// memory: a gate that ends forgives it.
type advance struct {
	mutex   sync.Mutex // held through a store step, so that no debt is collected twice
	debt    money.Amount
	expires int64 // seconds since 1970
}

// account returns the account of a stream's commitment. A stream without a
// window has one that is nobody else's, as has one for which there is no room.
func (g *streams) account(s *stream) *advance {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	known := g.advances[s.commitment.ID]
	if known != nil {
		return known
	}
	fresh := &advance{expires: s.commitment.Expires}
	if s.window == 0 {
		return fresh
	}
	if len(g.advances) >= maxAdvances {
		now := s.app.now().Unix()
		for id, old := range g.advances {
			if now >= old.expires {
				delete(g.advances, id)
			}
		}
	}
	if len(g.advances) < maxAdvances {
		g.advances[s.commitment.ID] = fresh
	}
	return fresh
}

// debt returns what a commitment owes, in micros.
func (g *streams) debt(id payword.CommitmentID) money.Amount {
	known := g.debtor(id)
	if known == nil {
		return 0
	}
	known.mutex.Lock()
	defer known.mutex.Unlock()
	return known.debt
}

// debtor returns the account of a commitment, or nil.
func (g *streams) debtor(id payword.CommitmentID) *advance {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	return g.advances[id]
}

// payAhead delivers need units ahead of payment if the window allows it: to all
// streams of the commitment together at most half of what was spent on it. So
// who wants to be trusted with more has paid twice that before. Both locks are
// held.
func (s *stream) payAhead(account *advance, need int64) payword.Reason {
	amount := s.price.MulCapped(uint64(need), money.MaxAmount)
	if s.window == 0 || account.debt+amount > min(s.window, s.view.spent/2) || !s.gate.streams.isListed(s.commitment.ID, account) {
		return payword.InsufficientCredit
	}
	account.debt += amount
	s.ahead += amount
	return payword.Accepted
}

// isListed reports whether an account is the one that the next payment settles.
func (g *streams) isListed(id payword.CommitmentID, a *advance) bool { return g.debtor(id) == a }

// collectDebt charges what was delivered ahead of payment, before anything else
// that the payment is for.
func (x *exchange) collectDebt(ctx context.Context, tail payword.Tail) error {
	payment := &x.sent.payment
	_, _, err := x.gate.collect(ctx, payment.Commitment, func() (view, error) {
		return x.gate.store.advance(ctx, payment.Commitment, payment.Chain, tail)
	})
	return err
}

// collectReturned charges what was delivered ahead of payment out of an amount
// that was given back. A stream may run ahead by half of what was spent, and a
// part of that may only have been reserved by others. seen is replaced if that
// changed anything.
func (g *gate) collectReturned(ctx context.Context, id payword.CommitmentID, returned money.Amount, seen *chainView, logger *zap.Logger) {
	if returned == 0 {
		return
	}
	after, collected, err := g.collect(ctx, id, func() (view, error) { return g.store.findNewest(ctx, id) })
	switch {
	case err != nil:
		logger.Error("charging what was delivered ahead of payment, after some was given back", zap.Error(err))
	case collected:
		*seen = after.of(seen.chain)
	}
}

// collect charges the debt of a commitment, as far as the credit goes that look
// finds, and reports whether it charged anything.
func (g *gate) collect(ctx context.Context, id payword.CommitmentID, look func() (view, error)) (view, bool, error) {
	account := g.streams.debtor(id)
	if account == nil {
		return view{}, false, nil
	}
	account.mutex.Lock()
	defer account.mutex.Unlock()
	if account.debt == 0 {
		return view{}, false, nil
	}
	seen, err := look()
	if err != nil {
		return view{}, false, err
	}
	amount := min(account.debt, seen.accepted-seen.spent)
	if amount <= 0 {
		return seen, false, nil
	}
	outcome, after, err := g.store.flow(ctx, id, amount)
	switch {
	case err != nil:
		account.debt = 0 // it may have been charged, and nobody pays twice
		err = fmt.Errorf("charging what was delivered ahead of payment: %w", err)
	case outcome.Reason == payword.Accepted:
		account.debt -= amount
	}
	return after, err == nil && outcome.Reason == payword.Accepted, err
}
