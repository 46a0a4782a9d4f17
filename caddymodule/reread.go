package caddymodule

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/paywordhq/payword"
)

// Reread says how often a page that was bought may be read again free. It
// counts after a full 200 to a GET, for the same commitment, URL and
// representation. It is kept in memory: after a restart a page is bought anew.
type Reread struct {
	// How long. Default: 60s. At most 24h.
	Within caddy.Duration `json:"within,omitempty"`

	// How often. Default: 0, which turns it off. At most 255.
	Times int `json:"times"`
}

const (
	defaultRereadTimes  = 5
	defaultRereadWithin = caddy.Duration(time.Minute)
	maxRereadWithin     = caddy.Duration(24 * time.Hour)

	// sweepSeconds is how often a full table is searched for what has expired.
	sweepSeconds = 60

	// maxRereads bounds the memory that rereads take, at about 150 bytes each.
	maxRereads = 100_000
)

func (r *Reread) validate() error {
	if r.Times < 0 || r.Times > 255 {
		return errors.New("payword: reread: want 0 to 255 times")
	}
	if r.Within < caddy.Duration(time.Second) || r.Within > maxRereadWithin {
		return errors.New("payword: reread: want 1s to 24h")
	}
	return nil
}

// rereads remembers what was bought a short while ago.
type rereads struct {
	mu      sync.Mutex
	bought  map[rereadKey]bought
	sweptAt int64 // seconds since 1970
}

type rereadKey struct {
	commitment payword.CommitmentID
	page       payword.Fingerprint
}

type bought struct {
	vary    string // the header names that chose the representation
	chosen  [sha256.Size]byte
	expires int64 // seconds since 1970
	left    int
	number  uint64 // of the request that bought it
	last    uint64 // of the request that read it again last; 0: none yet
}

func newRereads() *rereads { return &rereads{bought: make(map[rereadKey]bought)} }

// take reports whether a page may be read again free by the request of a number,
// and counts it. The same request again is not counted twice: neither a retry of
// the one that bought the page nor one of the newest re-read.
func (r *rereads) take(key rereadKey, number uint64, header http.Header, now int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	page, found := r.bought[key]
	switch {
	case !found || now >= page.expires || page.number == number || page.chosen != representation(page.vary, header):
		return false
	case page.last == number:
		return true
	case page.left == 0:
		return false
	}
	page.left--
	page.last = number
	r.bought[key] = page
	return true
}

// remember notes that a page was bought.
func (r *rereads) remember(key rereadKey, page bought, now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.bought) >= maxRereads && now >= r.sweptAt+sweepSeconds {
		r.sweptAt = now
		for old, entry := range r.bought {
			if now >= entry.expires {
				delete(r.bought, old)
			}
		}
	}
	if len(r.bought) < maxRereads {
		r.bought[key] = page
	}
}

// representation is a digest of the request headers that an answer varies with.
func representation(vary string, header http.Header) [sha256.Size]byte {
	var b strings.Builder
	for _, name := range strings.Split(vary, ",") {
		b.WriteString(strings.Join(header.Values(strings.TrimSpace(name)), "\x00"))
		b.WriteByte(0)
	}
	return sha256.Sum256([]byte(b.String()))
}

func (x *exchange) rereadKey() rereadKey {
	return rereadKey{
		commitment: x.sent.payment.Commitment,
		page:       payword.NewFingerprint(http.MethodGet, x.url, "", x.quote.class),
	}
}

// canReread reports whether the request is of the kind that may be free: a GET
// for the whole of something. A range could be had five times over for
// different parts, and what is metered may be another answer each time.
func (x *exchange) canReread() bool {
	return x.meter == nil && x.Reread.Times > 0 && x.request.Method == http.MethodGet && x.request.ContentLength == 0 &&
		x.request.Header.Get("Range") == "" && x.request.Header.Get("Upgrade") == ""
}

func (x *exchange) isReread() bool {
	return x.canReread() && x.gate.rereads.take(x.rereadKey(), x.sent.payment.Number, x.request.Header, x.now)
}

// rememberReread notes a page that was bought and delivered whole.
func (x *exchange) rememberReread(w *paidWriter) {
	if w.status != http.StatusOK || x.price == 0 || x.outcome.Repeat || !x.canReread() {
		return
	}
	vary := strings.Join(w.Header().Values("Vary"), ",")
	if strings.Contains(vary, "*") {
		return
	}
	x.gate.rereads.remember(x.rereadKey(), bought{
		vary: vary, chosen: representation(vary, x.asked),
		expires: x.now + int64(time.Duration(x.Reread.Within)/time.Second), left: x.Reread.Times,
		number: x.sent.payment.Number,
	}, x.now)
}
