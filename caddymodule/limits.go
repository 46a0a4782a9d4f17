package caddymodule

import (
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/paywordhq/payword"
)

// RateLimits bound what strangers can cost the gate.
type RateLimits struct {
	// New commitments of one address. Default: 300 within 1m.
	Openings *RateLimit `json:"openings,omitempty"`

	// Payments of one address, or on one commitment, whose signature or payword
	// is wrong. Default: 60 within 1m.
	Refusals *RateLimit `json:"refusals,omitempty"`
}

// RateLimit is how often something may be done. An address is one of IPv4, or a
// /64 of IPv6, which is what one subscriber has.
type RateLimit struct {
	// How often, at most 1000000. Default: 0, which turns the limit off.
	Count int `json:"count"`

	// Within what time, from 1s to 1h. Default: 1m.
	Within caddy.Duration `json:"within,omitempty"`
}

const (
	// defaultOpenings is what the users behind one address, a school or a mobile
	// carrier, hardly reach, and what costs the gate a tenth of a second in a
	// minute: three signatures for each, and a record of 4 KiB.
	defaultOpenings = 300

	// defaultRefusals is more than a wallet that lost its place needs. Each
	// costs the gate up to half a millisecond, or the check of two signatures.
	defaultRefusals = 60

	defaultRateWithin = caddy.Duration(time.Minute)

	// maxRateCount and the longest time bound the memory together with
	// maxCounted.
	maxRateCount = 1_000_000

	// maxCounted bounds the memory of a counter, at about 100 bytes each. Past it
	// new sources go uncounted until the time is over.
	maxCounted = 200_000
)

func (l *RateLimits) provision() {
	for _, each := range []struct {
		limit   **RateLimit
		another int
	}{{&l.Openings, defaultOpenings}, {&l.Refusals, defaultRefusals}} {
		if *each.limit == nil {
			*each.limit = &RateLimit{Count: each.another}
		}
		if (*each.limit).Within == 0 {
			(*each.limit).Within = defaultRateWithin
		}
	}
}

func (l *RateLimits) validate() error {
	for _, limit := range []*RateLimit{l.Openings, l.Refusals} {
		if limit.Count < 0 || limit.Count > maxRateCount || limit.Within < caddy.Duration(time.Second) || limit.Within > caddy.Duration(time.Hour) {
			return fmt.Errorf("payword: rate_limit: want 0 (off) to %d within 1s to 1h", maxRateCount)
		}
	}
	return nil
}

func readRateLimit(a *App, d *caddyfile.Dispenser) error {
	const form = "want rate_limit openings|refusals <count> [<duration>], such as: rate_limit openings 300 1m; or off in place of a count"
	arguments := d.RemainingArgs()
	if len(arguments) < 2 || len(arguments) > 3 {
		return d.Err(form)
	}
	limit := new(RateLimit)
	if arguments[1] != "off" {
		count, err := strconv.Atoi(arguments[1])
		if err != nil || count < 1 {
			return d.Err(form)
		}
		limit.Count = count
	}
	if len(arguments) == 3 {
		within, err := caddy.ParseDuration(arguments[2])
		if err != nil {
			return d.Err(form)
		}
		limit.Within = caddy.Duration(within)
	}
	if a.RateLimits == nil {
		a.RateLimits = new(RateLimits)
	}
	switch arguments[0] {
	case "openings":
		a.RateLimits.Openings = limit
	case "refusals":
		a.RateLimits.Refusals = limit
	default:
		return d.Err(form)
	}
	return nil
}

// seconds returns the time of the limit.
func (l *RateLimit) seconds() int64 { return int64(time.Duration(l.Within) / time.Second) }

// secondsLeft returns how long until what was counted at now counts no more.
func (l *RateLimit) secondsLeft(now int64) int64 { return l.seconds() - now%l.seconds() }

// source is what is counted: an address, a commitment, or a commitment of an
// address.
type source struct {
	address    netip.Addr
	commitment payword.CommitmentID
}

// rateCounter counts by source. All counts begin anew together, whenever the time of
// the limit is over.
type rateCounter struct {
	mu      sync.Mutex
	turn    int64 // which time since 1970 is counted
	counts  map[source]int
	isEmpty atomic.Bool // nothing is counted: seen without the lock, which every payment would wait for
}

func newRateCounter() *rateCounter { return &rateCounter{counts: make(map[source]int)} }

// add counts the sources at now, in seconds since 1970.
func (c *rateCounter) add(limit *RateLimit, now int64, sources ...source) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begin(limit, now)
	for _, s := range sources {
		c.count(s)
	}
}

func (c *rateCounter) count(s source) {
	if _, counted := c.counts[s]; counted || len(c.counts) < maxCounted {
		c.counts[s]++
		c.isEmpty.Store(false)
	}
}

// exceeded reports whether a source was counted as often as it may be.
func (c *rateCounter) exceeded(limit *RateLimit, now int64, s source) bool {
	if limit.Count == 0 || c.isEmpty.Load() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begin(limit, now)
	return c.counts[s] >= limit.Count
}

// addOnce counts an address for a commitment, once however often the commitment
// comes, and reports whether that is within the limit: the thirty requests of a
// page may all bring it along.
func (c *rateCounter) addOnce(limit *RateLimit, now int64, address netip.Addr, commitment payword.CommitmentID) bool {
	if limit.Count == 0 {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begin(limit, now)
	if c.counts[source{address, commitment}] > 0 {
		return true
	}
	of := source{address: address}
	if c.counts[of] >= limit.Count {
		return false
	}
	c.count(of)
	c.count(source{address, commitment})
	return true
}

func (c *rateCounter) begin(limit *RateLimit, now int64) {
	if turn := now / limit.seconds(); turn != c.turn {
		c.turn = turn
		clear(c.counts)
		c.isEmpty.Store(true)
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

// strike counts a failed verification against the address it came from and the
// commitment that it named.
func (x *exchange) strike() {
	x.gate.strikes.add(x.app.RateLimits.Refusals, x.now,
		source{address: grouped(clientAddress(x.request))}, source{commitment: x.sent.payment.Commitment})
}

// checkStrikes refuses who failed too often.
func (x *exchange) checkStrikes(s source) payword.Refusal {
	limit := x.app.RateLimits.Refusals
	if !x.gate.strikes.exceeded(limit, x.now, s) {
		return payword.Refusal{}
	}
	return x.limited(limit, "too many payments failed")
}

// checkOpening refuses addresses that fail or open too often. Only who opens a
// commitment is counted by address: who is known is not locked out by strangers
// behind the same one.
func (x *exchange) checkOpening() payword.Refusal {
	address := grouped(clientAddress(x.request))
	if refusal := x.checkStrikes(source{address: address}); refusal.Refused() {
		return refusal
	}
	limit := x.app.RateLimits.Openings
	if !x.gate.openings.addOnce(limit, x.now, address, x.sent.payment.Commitment) {
		return x.limited(limit, "too many commitments were opened from this address")
	}
	return payword.Refusal{}
}

// limited is the refusal of what exceeds a limit, until its time is over.
func (x *exchange) limited(limit *RateLimit, what string) payword.Refusal {
	x.retryAfter = limit.secondsLeft(x.now)
	return payword.Refusal{Reason: payword.RateLimited, Detail: fmt.Sprintf("%s: wait %d seconds", what, x.retryAfter)}
}
