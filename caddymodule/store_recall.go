package caddymodule

import "github.com/paywordhq/payword"

func (s *fileStore) recall(id payword.CommitmentID, chain uint8, seen *chainView) bool {
	if s.journal.refused() != nil {
		return false
	}
	e := s.entry(id)
	if e == nil {
		return false
	}
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if e.forgotten || e.rests || !s.isVisible(e.newest, e.binds) {
		return false
	}
	seen.outline, seen.chain = e.outline(), chain
	if int(chain) < len(e.state.Tails) {
		seen.tail = e.state.Tails[chain]
	}
	return true
}

// isVisible reports whether wait returns at once, and without an error.
func (s *fileStore) isVisible(newest uint64, binds bool) bool {
	durable := s.journal.durable.Load()
	if binds || !s.journal.isAsync.Load() {
		return newest <= durable
	}
	return newest != noPosition && newest <= durable+maxUnsyncedRecords
}

func (s *redisStore) recall(id payword.CommitmentID, chain uint8, seen *chainView) bool {
	latest, isKnown := s.cache.peek(id)
	if isKnown {
		*seen = latest.of(chain)
	}
	return isKnown
}
