package caddymodule

import (
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// resting is a commitment of which no request is remembered, in the form that
// takes least memory. Nearly all commitments are like that nearly always. The
// next step on one makes it an entry again.
type resting struct {
	commitment *payword.Commitment
	past       int64  // it can be forgotten from then on, seconds since 1970
	text       string // the rest of its entry, as records have it
}

// rest returns e as a resting one. A tail that is still the root is left out, as
// is the part of the window in which no number was seen. The caller holds mutex.
func (e *entry) rest() resting {
	state := &e.state
	known := record{reservation: e.reservation, amount: state.Cap, sequence: state.Sequence, redeemBy: e.redeemBy}
	var room [payword.MaxReservationBytes + 512]byte // for what nearly all have
	text := appendUint64(known.appendReservation(room[:0]), uint64(e.creditDay))
	for _, amount := range []money.Amount{state.Charged, state.Returned, state.Claimed} {
		text = appendUint64(text, uint64(amount))
	}
	text = appendBool(appendBool(text, state.Closed), e.final)
	for k := range e.commitment.Chains {
		if isMoved := state.Tails[k].Index > 0; isMoved {
			text = appendTail(appendBool(text, true), &state.Tails[k])
		} else {
			text = appendBool(text, false)
		}
	}
	text = appendUint64(text, state.Highest)
	seen := len(state.Window)
	for seen > 0 && state.Window[seen-1] == 0 {
		seen--
	}
	text = append(text, uint8(seen))
	for _, word := range state.Window[:seen] {
		text = appendUint64(text, word)
	}
	for _, pass := range state.AllPasses() {
		text = appendPass(text, &pass)
	}
	return resting{commitment: e.commitment, past: e.pastAt(), text: string(text)}
}

// wake returns what rest was called on.
func (r *resting) wake() *entry {
	known, p := record{}, parser{rest: []byte(r.text)}
	p.reservation(&known)
	e := &entry{commitment: r.commitment, reservation: known.reservation, redeemBy: known.redeemBy}
	e.creditDay = int64(p.uint64())
	state := payword.NewState(r.commitment, known.amount, known.sequence)
	state.Charged, state.Returned, state.Claimed = p.amount(), p.amount(), p.amount()
	state.Closed, e.final = p.bool(), p.bool()
	for k := range r.commitment.Chains {
		if isMoved := p.bool(); isMoved {
			state.Tails[k] = p.tail()
		}
	}
	state.Highest = p.uint64()
	for k := range p.uint8() {
		state.Window[k] = p.uint64()
	}
	for len(p.rest) > 0 {
		state.MergePass(*p.pass())
	}
	e.state = state
	return e
}

// find returns an entry, or nil. One that rests is woken.
func (s *shard) find(id payword.CommitmentID) *entry {
	s.mutex.RLock()
	e, rests := s.entries[id], false
	if e == nil {
		_, rests = s.resting[id]
	}
	s.mutex.RUnlock()
	if !rests {
		return e
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.wake(id)
}

// wake is find for a caller that holds mutex.
func (s *shard) wake(id payword.CommitmentID) *entry {
	r, rests := s.resting[id]
	if !rests {
		return s.entries[id]
	}
	e := r.wake()
	s.entries[id] = e
	delete(s.resting, id)
	return e
}

// insert remembers e unless its commitment is known, and returns what is
// remembered.
func (s *shard) insert(e *entry) *entry {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if known := s.wake(e.commitment.ID); known != nil {
		return known
	}
	s.entries[e.commitment.ID] = e
	return e
}

// insertResting remembers what a snapshot says of a commitment, which is all that
// was known of it.
func (s *shard) insertResting(r resting) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.entries, r.commitment.ID)
	s.resting[r.commitment.ID] = r
}

// rest lets e rest if no request of it is remembered at now, and all that is
// known of it is durable, which it is up to a position in the journal.
func (s *shard) rest(e *entry, now int64, durable uint64) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	// Steps lock an entry first and then its shard. One that is locked does not
	// rest anyway.
	if !e.mutex.TryLock() {
		return
	}
	defer e.mutex.Unlock()
	e.releaseRecent(now)
	id := e.commitment.ID
	if len(e.state.Recent) > 0 || e.newest > durable || s.entries[id] != e {
		return
	}
	e.rests = true
	s.resting[id] = e.rest()
	delete(s.entries, id)
}

// awake returns the commitments of a shard that do not rest: all of which a
// request is remembered are among them.
func (s *shard) awake() []*entry {
	s.mutex.RLock()
	defer s.mutex.RUnlock()
	return s.listed()
}

// listed returns the entries. The caller holds mutex.
func (s *shard) listed() []*entry {
	return slices.AppendSeq(make([]*entry, 0, len(s.entries)), maps.Values(s.entries))
}

// all calls yield for the commitments of a shard. Of one that rests it gets a
// copy, which says what was known when all began.
func (s *shard) all() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		s.mutex.RLock()
		entries := s.listed()
		rest := slices.AppendSeq(make([]resting, 0, len(s.resting)), maps.Values(s.resting))
		s.mutex.RUnlock()
		for _, e := range entries {
			if !yield(e) {
				return
			}
		}
		for k := range rest {
			if !yield(rest[k].wake()) {
				return
			}
		}
	}
}

// unreserved calls yield for the commitments without a reservation. Nothing else
// uses the shard yet.
func (s *shard) unreserved() iter.Seq[*entry] {
	const noReservation = "\x00\x00" // see rest
	return func(yield func(*entry) bool) {
		for _, e := range s.entries {
			if e.isUnreserved() && !yield(e) {
				return
			}
		}
		for _, r := range s.resting {
			if !strings.HasPrefix(r.text, noReservation) {
				continue
			}
			if e := r.wake(); e.isUnreserved() && !yield(e) {
				return
			}
		}
	}
}

// forget drops what is past at now.
func (s *shard) forget(now int64) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for id, r := range s.resting {
		if now >= r.past {
			delete(s.resting, id)
		}
	}
}

// forgetEntry drops e if it is past at now.
func (s *shard) forgetEntry(e *entry, now int64) {
	e.mutex.Lock()
	e.forgotten = !e.rests && e.isPast(now)
	isForgotten := e.forgotten
	e.mutex.Unlock()
	if !isForgotten {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.entries[e.commitment.ID] == e {
		delete(s.entries, e.commitment.ID)
	}
}
