package broker

import (
	"fmt"
	"hash/maphash"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/paywordhq/payword"
)

const (
	// defaultRequestsPerMinute is a hundred a second: more than any wallet or
	// gate needs, and less than what a broker can answer.
	defaultRequestsPerMinute = 6000

	// maxLimited is how many keys or addresses are counted by themselves in a
	// minute, about 10 MB of them. Those past it share sharedCounts counts, each
	// the one that chance gives it: whoever has a whole IPv6 network must not be
	// able to use up one count that everybody else has then.
	maxLimited   = 1 << 16
	sharedCounts = 1 << 12

	// changeShare is the part of its requests that an account or a vendor may
	// change something with that leaves rows for ever, such as a limit, a
	// transfer or a webhook: two in a second by default. People and their
	// programs need fewer, and what nobody deletes must not grow by a hundred.
	changeShare = 50

	// maxForwarded is how many proxies are looked at in X-Forwarded-For.
	maxForwarded = 8

	headerForwarded = "X-Forwarded-For"
)

// limiter allows so many requests of each name in each minute of the clock.
type limiter struct {
	policy    string // how the fields of an answer call it
	now       func() time.Time
	perMinute int

	mutex  sync.Mutex
	minute int64          // guarded by mutex, as is counts
	counts map[string]int // by countedName
}

// sharing makes that nobody can tell who shares a count with whom.
var sharing = maphash.MakeSeed()

// countedName returns what name is counted as in counts, which so has a bound.
func countedName(counts map[string]int, name string) string {
	if _, known := counts[name]; known || len(counts) < maxLimited {
		return name
	}
	return "shared " + strconv.FormatUint(maphash.String(sharing, name)%sharedCounts, 10)
}

func newLimiter(policy string, now func() time.Time, perMinute int) *limiter {
	return &limiter{policy: policy, now: now, perMinute: perMinute}
}

// take counts one request, says in the header of its answer what is left in this
// minute, and refuses with RateLimited if that is nothing.
func (l *limiter) take(header http.Header, name string) payword.Refusal {
	now := l.now().Unix()
	rest := 60 - now%60
	left := l.count(now/60, name)
	// draft-ietf-httpapi-ratelimit-headers-10: quota and window of each policy,
	// what remains of it and for how many seconds.
	header.Add("RateLimit-Policy", fmt.Sprintf("%q;q=%d;w=60", l.policy, l.perMinute))
	header.Add("RateLimit", fmt.Sprintf("%q;r=%d;t=%d", l.policy, max(0, left), rest))
	if left < 0 {
		return refuse(payword.RateLimited, "more than %d requests of this %s in a minute: wait for the next", l.perMinute, l.policy)
	}
	return payword.Refusal{}
}

// count returns how many more may come in this minute; below 0: this one is one
// too many.
func (l *limiter) count(minute int64, name string) int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if minute != l.minute || l.counts == nil {
		l.minute, l.counts = minute, make(map[string]int)
	}
	name = countedName(l.counts, name)
	if l.counts[name] <= l.perMinute {
		l.counts[name]++
	}
	return l.perMinute - l.counts[name]
}

// clientOf returns the network that a request comes from, as it is counted: an
// IPv4 address, or the 64 bits of an IPv6 address that one customer has. It is ""
// for this machine: a proxy that is not configured, or somebody at the keyboard.
// Only what a trusted proxy says of others counts.
func (b *Broker) clientOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return ""
	}
	hops := strings.Split(strings.Join(r.Header.Values(headerForwarded), ","), ",")
	for hop := len(hops) - 1; hop >= max(0, len(hops)-maxForwarded) && b.isTrusted(address); hop-- {
		before, err := netip.ParseAddr(strings.TrimSpace(hops[hop]))
		if err != nil {
			break
		}
		address = before
	}
	address = address.Unmap().WithZone("")
	switch {
	case address.IsLoopback():
		return ""
	case address.Is4():
		return address.String()
	}
	network, _ := address.Prefix(64) // an IPv6 address has so many bits
	return network.String()
}

func (b *Broker) isTrusted(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	for _, proxies := range b.config.TrustedProxies {
		if proxies.Contains(address) {
			return true
		}
	}
	return false
}

// limitAddress refuses with RateLimited when too many requests come from where
// this one does. Probes are not counted.
func (b *Broker) limitAddress(header http.Header, r *http.Request) payword.Refusal {
	client := b.clientOf(r)
	if client == "" || r.URL.Path == pathHealth || r.URL.Path == pathReady {
		return payword.Refusal{}
	}
	return b.byAddress.take(header, client)
}

// limitSender refuses with RateLimited when too many requests come from whoever
// has proved to have sent this one.
func (b *Broker) limitSender(header http.Header, entry route, from sender) payword.Refusal {
	name := from.keyID
	switch entry.access {
	case public, newAccount, newVendor:
		return payword.Refusal{} // nobody has proved anything yet
	case adminOnly:
		name = from.operator
	}
	refusal := b.bySender.take(header, name)
	if refusal.Refused() || !entry.leavesRows() {
		return refusal
	}
	if from.account != "" {
		name = "account:" + from.account // all its devices together
	}
	return b.byChanger.take(header, name)
}

// leavesRows reports whether requests of accounts and vendors for the route leave
// rows for ever whose number nothing else bounds. Reservations and certificates
// have bounds of their own.
func (r route) leavesRows() bool {
	switch r.path {
	case payword.PathReservations, payword.PathCertificates, payword.PathRenewals:
		return false
	}
	return r.keepsAnswers() && (r.access == accountSigned || r.access == vendorSigned)
}
