package caddymodule

import (
	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// Passes stand last in the records that they belong to, and only where there
// are any: so a file from before there were passes reads as it always did, and
// a version from before stops at a file that has some.
const (
	passKeyBytes = payword.PassScopeBytes + 8
	passBytes    = passKeyBytes + 3*8 + 1

	// grantsTowardPass in the grants of a request says that the key of a pass
	// follows. Grants are few: payword.MaxRepeats and one.
	grantsTowardPass = 0x80
)

func appendPassKey(buffer []byte, key payword.PassKey) []byte {
	return appendUint64(append(buffer, key.Scope[:]...), uint64(key.Until))
}

func appendPass(buffer []byte, pass *payword.Pass) []byte {
	buffer = appendPassKey(buffer, pass.PassKey)
	for _, amount := range []money.Amount{pass.Price, pass.Paid, pass.Returned} {
		buffer = appendUint64(buffer, uint64(amount))
	}
	return appendBool(buffer, pass.Used)
}

func (p *parser) passKey() payword.PassKey {
	var key payword.PassKey
	p.copy(key.Scope[:])
	key.Until = int64(p.uint64())
	return key
}

// pass takes a pass, nil where nothing is left.
func (p *parser) pass() *payword.Pass {
	if len(p.rest) == 0 {
		return nil
	}
	pass := &payword.Pass{PassKey: p.passKey()}
	pass.Price, pass.Paid, pass.Returned = p.amount(), p.amount(), p.amount()
	pass.Used = p.bool()
	return pass
}

// passOf returns what is remembered of a pass, nil if it is none.
func passOf(s *payword.State, key payword.PassKey) *payword.Pass {
	for _, pass := range s.AllPasses() {
		if pass.PassKey == key {
			return &pass
		}
	}
	return nil
}

// passTouched returns the pass that a charge was counted toward or granted
// under, nil if none.
func passTouched(s *payword.State, c payword.Charge, outcome payword.Outcome) *payword.Pass {
	if request := recentRequest(s, c.Number); request != nil && request.Toward != (payword.PassKey{}) {
		return passOf(s, request.Toward)
	}
	if outcome.PassUntil == 0 {
		return nil
	}
	return passOf(s, payword.PassKey{Scope: c.Pass.Scope, Until: outcome.PassUntil})
}

// passOfNumber returns the pass that the price of a request counts toward, nil
// if none.
func passOfNumber(s *payword.State, number uint64) *payword.Pass {
	request := recentRequest(s, number)
	if request == nil {
		return nil
	}
	return passOf(s, request.Toward)
}

// replayPass raises a pass to what a record tells of it.
func (e *entry) replayPass(r *record) {
	if r.pass != nil {
		e.state.MergePass(*r.pass)
	}
}
