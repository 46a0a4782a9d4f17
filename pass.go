package payword

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/paywordhq/payword/money"
)

const (
	// PassScopeBytes is the size of a PassScope, in bytes. Scopes are the
	// vendor's own, so that nobody looks for two alike.
	PassScopeBytes = 8

	// MaxPasses is how many passes are remembered of one commitment: more than
	// a vendor has things to sell passes for. Past it those that end first are
	// forgotten.
	MaxPasses = 16
)

// PassScope names what a pass is good for, in the vendor's words.
type PassScope [PassScopeBytes]byte

// PassTerms says what buys a pass. The zero value sells none.
type PassTerms struct {
	Scope   PassScope
	Seconds int64        // from the first charge on
	Price   money.Amount // what has to be charged within that time, in micros; 0: whatever one request costs
}

// PassKey tells the passes of a commitment apart. The zero value is none.
type PassKey struct {
	Scope PassScope
	Until int64 // when it ends, seconds since 1970
}

// Pass is what was paid toward reading everything in a scope for a while. Its
// numbers only ever grow, but for Price, which only ever falls.
type Pass struct {
	PassKey
	Price    money.Amount // what buys it, in micros
	Paid     money.Amount // ever charged toward it, in micros
	Returned money.Amount // of that ever given back, in micros; at most Paid
	Used     bool         // something was granted free under it
}

// PassList is the passes of a commitment, at most MaxPasses. States are copied
// and share it, so it is replaced and never written to. It stands behind a
// pointer because nearly all commitments have none.
type PassList []Pass

// AllPasses returns the passes of a commitment. They must not be changed.
func (s *State) AllPasses() []Pass {
	if s.Passes == nil {
		return nil
	}
	return *s.Passes
}

// setPasses replaces the passes.
func (s *State) setPasses(passes []Pass) {
	list := PassList(passes)
	s.Passes = &list
}

// IsBought reports whether enough was paid for the pass.
func (p *Pass) IsBought() bool { return p.Paid-p.Returned >= p.Price }

// pass returns which of the passes a key names, or -1.
func (s *State) pass(key PassKey) int {
	return slices.IndexFunc(s.AllPasses(), func(p Pass) bool { return p.PassKey == key })
}

// bought returns when the pass for a scope ends, that is good at now; 0 if
// there is none.
func (s *State) bought(terms PassTerms, now int64) PassKey {
	best := PassKey{}
	for _, p := range s.AllPasses() {
		if terms.Seconds > 0 && p.Scope == terms.Scope && p.Until > now && p.Until > best.Until && p.IsBought() {
			best = p.PassKey
		}
	}
	return best
}

// payToward counts a price toward the pass of its scope and returns which that
// is. The time of a pass begins with the first charge toward it that stands.
func (s *State) payToward(terms PassTerms, price money.Amount, now int64) PassKey {
	if terms.Seconds <= 0 || price <= 0 {
		return PassKey{}
	}
	key := PassKey{Scope: terms.Scope, Until: now + terms.Seconds}
	for _, p := range s.AllPasses() {
		if p.Scope == terms.Scope && p.Until > now && p.Paid > p.Returned {
			key = p.PassKey
			break
		}
	}
	s.changePass(key, func(p *Pass) {
		if p.Paid == 0 {
			p.Price = max(terms.Price, 1)
		}
		p.Paid += price
	})
	return key
}

// usePass notes that something was granted free under a pass.
func (s *State) usePass(key PassKey) {
	if k := s.pass(key); k >= 0 && !s.AllPasses()[k].Used {
		s.changePass(key, func(p *Pass) { p.Used = true })
	}
}

// changePass changes a pass in a copy of all of them. A pass that ended is kept
// until there are too many: with a time of its own to forget it, a state that is
// merged with an older one would take the pass for news.
func (s *State) changePass(key PassKey, change func(*Pass)) {
	passes := slices.Clone(s.AllPasses())
	k := slices.IndexFunc(passes, func(p Pass) bool { return p.PassKey == key })
	if k < 0 {
		passes, k = append(passes, Pass{PassKey: key}), len(passes)
	}
	change(&passes[k])
	s.setPasses(sortPasses(passes))
}

// sortPasses puts those that end last first, and forgets what is too many.
func sortPasses(passes []Pass) []Pass {
	slices.SortFunc(passes, func(a, b Pass) int {
		return cmp.Or(cmp.Compare(b.Until, a.Until), bytes.Compare(a.Scope[:], b.Scope[:]))
	})
	return passes[:min(len(passes), MaxPasses)]
}

// returnable reports whether an amount that was charged toward a pass can be
// given back. It cannot where that would undo a pass under which something was
// granted free meanwhile: then it did buy something.
func (s *State) returnable(key PassKey, amount money.Amount) bool {
	k := s.pass(key)
	if k < 0 || !s.AllPasses()[k].Used {
		return true
	}
	p := s.AllPasses()[k]
	return !p.IsBought() || p.Paid-p.Returned-amount >= p.Price
}

// returnToward takes back what was counted toward a pass.
func (s *State) returnToward(key PassKey, amount money.Amount) {
	if amount > 0 && s.pass(key) >= 0 {
		s.changePass(key, func(p *Pass) { p.Returned = min(p.Paid, p.Returned+amount) })
	}
}

// MergePass raises one pass to what else is known of it and reports whether
// that changed anything.
func (s *State) MergePass(other Pass) bool { return s.mergePasses([]Pass{other}) }

// mergePasses raises the passes of s to those of another state: of the same
// pass the maximum of what was paid and of what was given back.
func (s *State) mergePasses(others []Pass) bool {
	if len(others) == 0 {
		return false
	}
	merged := slices.Clone(s.AllPasses())
	for _, theirs := range others {
		k := slices.IndexFunc(merged, func(p Pass) bool { return p.PassKey == theirs.PassKey })
		if k < 0 {
			merged = append(merged, theirs)
			continue
		}
		ours := &merged[k]
		ours.Price = min(ours.Price, theirs.Price)
		ours.Paid, ours.Returned = max(ours.Paid, theirs.Paid), max(ours.Returned, theirs.Returned)
		ours.Used = ours.Used || theirs.Used
	}
	merged = sortPasses(merged)
	if slices.Equal(merged, s.AllPasses()) {
		return false
	}
	s.setPasses(merged)
	return true
}
