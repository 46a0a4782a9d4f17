package caddymodule

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

	// maxVaries is far more than the answers of a site differ in. Past it all
	// pages are forgotten, and bought anew.
	maxVaries = 256

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
	maybe   atomic.Pointer[boughtFilter]
	mu      sync.Mutex           // guards what follows, and writing to maybe
	bought  map[rereadKey]bought // without pointers: the collection of garbage has nothing to look for in it
	varies  []string             // the values of Vary that are known, at most maxVaries
	sweptAt int64                // seconds since 1970
}

// boughtFilter tells most pages that are not in the table at once: that is so
// large that looking into it takes longer than most of what a payment needs.
// A page of the table is always in it.
//
// Each slot has a byte: 0 for no page, the mark of the one page or of several that
// share it, or severalMarks. So one of sixteen other pages at most is looked for in vain.
type boughtFilter struct {
	slots [filterSlots / 4]atomic.Uint32
}

const (
	// filterSlots take 256 KiB, which stay near the processor, and are more than
	// the pages that are remembered.
	filterSlots = 1 << 18

	severalMarks = 255
)

// place returns where a page belongs, from which bit on, and its mark, 1 to 254. A
// fingerprint is a hash already.
func (f *boughtFilter) place(key *rereadKey) (slot *atomic.Uint32, shift, mark uint32) {
	hash := binary.LittleEndian.Uint64(key.page[:]) ^ binary.LittleEndian.Uint64(key.commitment[:])
	return &f.slots[hash%filterSlots/4], uint32(hash%4) * 8, uint32(hash>>32)%254 + 1
}

func (f *boughtFilter) has(key *rereadKey) bool {
	slot, shift, mark := f.place(key)
	found := slot.Load() >> shift & 0xff
	return found == mark || found == severalMarks
}

// add notes a page. The caller holds the lock of the table.
func (f *boughtFilter) add(key *rereadKey) {
	slot, shift, mark := f.place(key)
	if found := slot.Load() >> shift & 0xff; found != 0 && found != mark {
		mark = severalMarks
	}
	slot.Store(slot.Load() | mark<<shift)
}

type rereadKey struct {
	commitment payword.CommitmentID
	page       payword.Fingerprint
}

type bought struct {
	vary    int // which of varies: the header names that chose the representation
	chosen  [sha256.Size]byte
	expires int64 // seconds since 1970
	left    int
	number  uint64 // of the request that bought it
	last    uint64 // of the request that read it again last; 0: none yet
}

func newRereads() *rereads {
	r := &rereads{bought: make(map[rereadKey]bought)}
	r.maybe.Store(new(boughtFilter))
	return r
}

// take reports whether a page may be read again free by the request of a number,
// and counts it. The same request again is not counted twice: neither a retry of
// the one that bought the page nor one of the newest re-read.
func (r *rereads) take(key *rereadKey, number uint64, asked []askedHeader, now int64) bool {
	if !r.maybe.Load().has(key) {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	page, found := r.bought[*key]
	switch {
	case !found || now >= page.expires || page.number == number || page.chosen != representation(r.varies[page.vary], asked):
		return false
	case page.last == number:
		return true
	case page.left == 0:
		return false
	}
	page.left--
	page.last = number
	r.bought[*key] = page
	return true
}

// remember notes that a page was bought, and what its answer varies with.
func (r *rereads) remember(key *rereadKey, page *bought, vary string, now int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if page.vary = slices.Index(r.varies, vary); page.vary < 0 {
		if len(r.varies) == maxVaries {
			clear(r.bought)
			r.maybe.Store(new(boughtFilter))
			r.varies = nil
		}
		page.vary = len(r.varies)
		r.varies = append(r.varies, vary)
	}
	if len(r.bought) >= maxRereads && now >= r.sweptAt+sweepSeconds {
		r.sweep(now)
	}
	if len(r.bought) < maxRereads {
		r.bought[*key] = *page
		r.maybe.Load().add(key)
	}
}

// sweep forgets what has expired. The caller holds mu.
func (r *rereads) sweep(now int64) {
	r.sweptAt = now
	left := new(boughtFilter) // apart: nobody may miss a page in it meanwhile
	for key, page := range r.bought {
		if now >= page.expires {
			delete(r.bought, key)
		} else {
			left.add(&key)
		}
	}
	r.maybe.Store(left)
}

// askedHeader is one value of a header of a request.
type askedHeader struct{ name, value string }

// representation is a digest of the request headers that an answer varies with.
func representation(vary string, asked []askedHeader) [sha256.Size]byte {
	if vary == varied && !slices.ContainsFunc(asked, isVaried) {
		return askedNothingSum
	}
	var room [256]byte // enough for most: then nothing is allocated
	message := room[:0]
	for name := range strings.SplitSeq(vary, ",") {
		name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
		isFirst := true
		for k := range asked {
			if asked[k].name != name {
				continue
			}
			if !isFirst {
				message = append(message, 0)
			}
			isFirst = false
			message = append(message, asked[k].value...)
		}
		message = append(message, 0)
	}
	return sha256.Sum256(message)
}

// askedNothingSum is the digest where an answer varies with the headers of a
// payment alone, as most do, and no other credentials came.
var askedNothingSum = sha256.Sum256([]byte("\x00\x00\x00"))

func isVaried(asked askedHeader) bool { return slices.Contains(variedNames, asked.name) }

func (x *exchange) rereadKey() *rereadKey {
	return &rereadKey{commitment: x.sent.payment.Commitment, page: x.bought}
}

// canReread reports whether the request is of the kind that may be free: a GET
// for the whole of something. A range could be had five times over for
// different parts, and what is metered may be another answer each time.
func (x *exchange) canReread() bool {
	return x.meter == nil && x.Reread.Times > 0 && x.request.Method == http.MethodGet && x.request.ContentLength == 0 &&
		first(x.request.Header["Range"]) == "" && first(x.request.Header["Upgrade"]) == ""
}

// isReread reports whether the page was bought before. If it can be read again
// at all, it notes the headers of the request for rememberReread.
func (x *exchange) isReread() bool {
	if !x.canReread() {
		return false
	}
	x.rereadable = true
	x.bought = payword.NewFingerprint(http.MethodGet, x.url, "", x.quote.class)
	x.asked = make([]askedHeader, 0, len(x.request.Header)) // nearly always one value each
	for name, values := range x.request.Header {
		for _, value := range values {
			x.asked = append(x.asked, askedHeader{name, value})
		}
	}
	return x.gate.rereads.take(x.rereadKey(), x.sent.payment.Number, x.asked, x.now)
}

// rememberReread notes a page that was bought and delivered whole.
func (x *exchange) rememberReread(w *paidWriter) {
	if w.status != http.StatusOK || x.price == 0 || x.outcome.Repeat || !x.rereadable {
		return
	}
	vary := strings.Join(w.Header()["Vary"], ",")
	if strings.Contains(vary, "*") {
		return
	}
	x.gate.rereads.remember(x.rereadKey(), &bought{
		chosen:  representation(vary, x.asked),
		expires: x.now + int64(time.Duration(x.Reread.Within)/time.Second), left: x.Reread.Times,
		number: x.sent.payment.Number,
	}, vary, x.now)
}
