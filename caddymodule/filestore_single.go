package caddymodule

import (
	"sync"

	"github.com/paywordhq/payword"
)

// singles remembers on which commitment each challenge was granted that can be
// used once. What one commitment was granted its own state remembers; this keeps
// a challenge from being answered again with another commitment.
type singles struct {
	mutex   sync.Mutex
	granted map[payword.Fingerprint]single // nil until it is first needed
	sweptAt int64                          // seconds since 1970
}

type single struct {
	commitment payword.CommitmentID
	at         int64 // seconds since 1970
}

// prepare reads what the commitments remember from before the store was opened.
// It takes their locks, so the caller holds none of them.
func (u *singles) prepare(s *fileStore) {
	u.mutex.Lock()
	prepared := u.granted != nil
	u.mutex.Unlock()
	if prepared {
		return
	}
	granted := make(map[payword.Fingerprint]single)
	for k := range s.shards {
		for _, e := range s.shards[k].awake() {
			e.mutex.Lock()
			for _, request := range e.state.Recent {
				if request.Grants > 0 {
					granted[request.Fingerprint] = single{e.commitment.ID, request.At}
				}
			}
			e.mutex.Unlock()
		}
	}
	u.mutex.Lock()
	if u.granted == nil {
		u.granted = granted
	}
	u.mutex.Unlock()
}

// guard runs a step that charges, unless another commitment was granted the same
// challenge: then it raises the tail alone. prepare was called.
func (u *singles) guard(c payword.Charge, outcome *payword.Outcome, charge step) step {
	return func(e *entry) (record, error) {
		u.mutex.Lock()
		defer u.mutex.Unlock()
		u.sweep(c.Now)
		// A challenge ends before what was granted for it is forgotten.
		other, found := u.granted[c.Fingerprint]
		if found && other.commitment != e.commitment.ID && c.Now < other.at+payword.RefundSeconds {
			*outcome = payword.Outcome{Reason: payword.ChallengeUsed, Price: c.Price}
			return advanceStep(c.Chain, c.Tail)(e)
		}
		r, err := charge(e)
		if err == nil && outcome.Reason == payword.Accepted {
			u.granted[c.Fingerprint] = single{e.commitment.ID, c.Now}
		}
		return r, err
	}
}

// sweep forgets what is too old to matter.
func (u *singles) sweep(now int64) {
	if now < u.sweptAt+sweepSeconds {
		return
	}
	u.sweptAt = now
	for fingerprint, use := range u.granted {
		if now >= use.at+payword.RefundSeconds {
			delete(u.granted, fingerprint)
		}
	}
}
