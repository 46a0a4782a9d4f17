package caddymodule

import (
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"sync"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/paywordhq/payword"
)

const (
	// maxFreeQuota is far more than a person reads in a day.
	maxFreeQuota = 10_000

	// maxQuotaClients bounds the memory of one day, at about 100 bytes each.
	// Past it new clients have no quota until the day is over: they pay.
	maxQuotaClients = 200_000

	// headerFreeLeft says how many requests are left free to the client today.
	headerFreeLeft = "Payword-Free-Left"
)

// quotaClient is who has a quota, and of what.
type quotaClient struct {
	sale    payword.PassScope
	address netip.Addr // as grouped
}

// freeQuotas counts what clients had free on a UTC day.
type freeQuotas struct {
	mu   sync.Mutex
	day  int64 // since 1970
	used map[quotaClient]int
}

func newFreeQuotas() *freeQuotas { return &freeQuotas{used: make(map[quotaClient]int)} }

// take uses one of a client's free requests up, if one is left, and returns how
// many are left then. It is taken before the request is served, so that requests
// at the same time cannot exceed the quota.
func (q *freeQuotas) take(client quotaClient, quota int, now int64) (left int, taken bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.turn(now)
	used, counted := q.used[client]
	if used >= quota || !counted && len(q.used) >= maxQuotaClients {
		return 0, false
	}
	q.used[client] = used + 1
	return quota - used - 1, true
}

// left returns how many free requests a client has.
func (q *freeQuotas) left(client quotaClient, quota int, now int64) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.turn(now)
	used, counted := q.used[client]
	if !counted && len(q.used) >= maxQuotaClients {
		return 0
	}
	return max(0, quota-used)
}

// giveBack returns a free request for which nothing was delivered, if its day
// is not over.
func (q *freeQuotas) giveBack(client quotaClient, takenAt int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.day == takenAt/secondsPerDay && q.used[client] > 0 {
		q.used[client]--
	}
}

// turn begins a new day. A clock that goes back begins none.
func (q *freeQuotas) turn(now int64) {
	if day := now / secondsPerDay; day > q.day {
		q.day = day
		clear(q.used)
	}
}

func (h *Handler) validateFreeQuota() error {
	if h.FreeQuota < 0 || h.FreeQuota > maxFreeQuota {
		return errors.New("payword: free_quota: want 0 to 10000 requests a day")
	}
	return nil
}

func (x *exchange) quotaClient() quotaClient {
	return quotaClient{sale: x.sale, address: grouped(clientAddress(x.request))}
}

// takeQuota uses one of the client's free requests up and reports whether there
// was one. Only a GET counts.
func (x *exchange) takeQuota() bool {
	if x.FreeQuota == 0 || x.request.Method != http.MethodGet || isUnsafe(x.request) {
		return false
	}
	x.quotaLeft, x.onQuota = x.gate.quotas.take(x.quotaClient(), x.FreeQuota, x.now)
	x.writer.Header().Set(headerFreeLeft, strconv.Itoa(x.quotaLeft))
	return x.onQuota
}

// returnQuota gives the free request back that was taken, once.
func (x *exchange) returnQuota() {
	if x.onQuota {
		x.onQuota = false
		x.gate.quotas.giveBack(x.quotaClient(), x.now)
		x.writer.Header().Set(headerFreeLeft, strconv.Itoa(x.quotaLeft+1))
	}
}

// hasQuota reports whether a request that brings no payment is served on the
// client's quota. A HEAD is, and does not count.
func (x *exchange) hasQuota() bool {
	if x.FreeQuota > 0 && x.request.Method == http.MethodHead {
		return x.gate.quotas.left(x.quotaClient(), x.FreeQuota, x.now) > 0
	}
	return x.takeQuota()
}

// serveOnQuota serves a request free. It does not count unless something was
// delivered; a client that goes away by itself has had it.
func (x *exchange) serveOnQuota(next caddyhttp.Handler) error {
	tellFree(x.request, quote{free: freeByQuota})
	caddyhttp.SetVar(x.request.Context(), grantedVariable, true)
	w := &freeWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: x.writer}}
	w.before = func(header http.Header, status int) {
		if status >= http.StatusMultipleChoices {
			x.returnQuota()
		}
		forceCaching(header)
		header.Set("Cache-Control", "private, no-store")
		exposeHeaders(x.request, header)
	}
	finished := false
	hasLeft := func() bool { return w.failed || x.request.Context().Err() != nil } // either may be seen first
	defer func() {
		if !finished && !hasLeft() {
			x.returnQuota()
		}
	}()
	err := next.ServeHTTP(w, x.request)
	finished = true
	if (err != nil || w.status == 0) && !hasLeft() {
		x.returnQuota()
	}
	return err
}

// readFreeQuota reads how much is free. Syntax:
//
//	free_quota <requests a day>
func readFreeQuota(h *Handler, d *caddyfile.Dispenser, argument string) error {
	quota, err := strconv.Atoi(argument)
	if err != nil || quota < 0 {
		return d.Errf("free_quota %q: want a number of requests a day, such as 5", argument)
	}
	h.FreeQuota = quota
	return nil
}
