package caddymodule

import (
	"net/netip"
	"sync"

	"github.com/paywordhq/payword"
)

const (
	// strikeSeconds is how long failed verifications count.
	strikeSeconds = 60

	// maxStrikes is how many verifications of one address, or on one
	// commitment, may fail in strikeSeconds: each costs the gate up to half a
	// millisecond, or the check of two signatures.
	maxStrikes = 60

	// maxStrikeSources bounds the memory; past it new sources go uncounted until
	// the minute is over.
	maxStrikeSources = 200_000
)

// strikes counts payments that failed to verify, by the address that they came
// from and by the commitment that they named.
type strikes struct {
	mu     sync.Mutex
	minute int64
	failed map[strikeSource]int
}

// strikeSource is an address or a commitment.
type strikeSource struct {
	address    netip.Addr
	commitment payword.CommitmentID
}

func newStrikes() *strikes { return &strikes{failed: make(map[strikeSource]int)} }

// add counts a failure at now, in seconds since 1970.
func (s *strikes) add(address netip.Addr, commitment payword.CommitmentID, now int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn(now)
	for _, source := range []strikeSource{{address: grouped(address)}, {commitment: commitment}} {
		if _, counted := s.failed[source]; counted || len(s.failed) < maxStrikeSources {
			s.failed[source]++
		}
	}
}

// exceeded reports whether an address or a commitment has failed too often.
func (s *strikes) exceeded(source strikeSource, now int64) bool {
	source.address = grouped(source.address)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn(now)
	return s.failed[source] >= maxStrikes
}

func (s *strikes) turn(now int64) {
	if minute := now / strikeSeconds; minute != s.minute {
		s.minute = minute
		clear(s.failed)
	}
}

// grouped is what one subscriber has of addresses: one of IPv4, a /64 of IPv6.
func grouped(address netip.Addr) netip.Addr {
	if !address.Is6() {
		return address
	}
	prefix, err := address.Prefix(64)
	if err != nil {
		return address
	}
	return prefix.Addr()
}
