package broker_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
)

// from sends a request as if it came from an address, with X-Forwarded-For.
func (b *bank) from(address string, forwarded ...string) answer {
	request := httptest.NewRequest("POST", payword.PathChallenges, nil)
	request.RemoteAddr = address
	for _, list := range forwarded {
		request.Header.Add("X-Forwarded-For", list)
	}
	w := httptest.NewRecorder()
	b.Handler().ServeHTTP(w, request)
	return answer{w.Code, w.Header(), w.Body.Bytes()}
}

func limited(config *broker.Config) { config.RequestsPerMinute = 2 }

// Each address has its own minute, an IPv6 network one together, and what a
// stranger writes of others does not count.
func TestRateLimitByAddress(t *testing.T) {
	b := newBankWith(t, limited, func(config *broker.Config) {
		config.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.1/32")}
	})
	const full = http.StatusTooManyRequests
	cases := []struct {
		name, address string
		forwarded     []string
		status        int
	}{
		{"first", "192.0.2.1:1000", nil, 200},
		{"second", "192.0.2.1:1001", []string{"192.0.2.77"}, 200},
		{"third, whatever it says", "192.0.2.1:1002", []string{"192.0.2.78"}, full},
		{"another", "192.0.2.2:1000", nil, 200},
		{"IPv6", "[2001:db8:0:1::1]:1000", nil, 200},
		{"its neighbour", "[2001:db8:0:1:ffff::2]:1000", nil, 200},
		{"a third neighbour", "[2001:db8:0:1::3]:1000", nil, full},
		{"another network", "[2001:db8:0:2::1]:1000", nil, 200},
		{"IPv4 in IPv6", "[::ffff:192.0.2.1]:1000", nil, full},
		{"through a proxy", "10.0.0.1:1000", []string{"192.0.2.1"}, full},
		{"through two", "127.0.0.1:1000", []string{"192.0.2.9, 192.0.2.1, 10.0.0.1"}, full},
		{"in two fields", "127.0.0.1:1000", []string{"192.0.2.9", "192.0.2.1"}, full},
		{"another through a proxy", "10.0.0.1:1000", []string{"192.0.2.1, 192.0.2.10"}, 200},
		{"no address", "127.0.0.1:1000", []string{"192.0.2.1, unknown"}, 200},
		{"this machine", "127.0.0.1:1000", nil, 200},
		{"this machine again", "127.0.0.1:1000", nil, 200},
		{"and again", "127.0.0.1:1000", nil, 200},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			reason := payword.Accepted
			if c.status == full {
				reason = payword.RateLimited
			}
			want(t, b.from(c.address, c.forwarded...), c.status, reason)
		})
	}
	a := b.from("192.0.2.1:1000")
	if a.header.Get("RateLimit-Policy") != `"address";q=2;w=60` || a.header.Get("RateLimit") != `"address";r=0;t=40` || a.header.Get("Retry-After") == "" {
		t.Errorf("got %v", a.header)
	}
	b.clock.advance(60)
	a = b.from("192.0.2.1:1000")
	want(t, a, http.StatusOK, payword.Accepted)
	if a.header.Get("RateLimit") != `"address";r=1;t=40` {
		t.Errorf("got %v", a.header)
	}
}

// However many addresses there are, what is remembered of them is bounded, and
// those past the bound do not all wait for one another.
func TestRateLimitIsBounded(t *testing.T) {
	b := newBankWith(t, limited)
	for k := range broker.MaxLimited {
		b.TakeAddress(fmt.Sprintf("%d", k))
	}
	refused := 0
	for k := range 3 * broker.SharedCounts {
		if b.TakeAddress(fmt.Sprintf("more %d", k)) < 0 {
			refused++
		}
	}
	if refused == 0 || refused > 2*broker.SharedCounts {
		t.Errorf("%d of %d past the bound were refused: they should share %d counts of 2", refused, 3*broker.SharedCounts, broker.SharedCounts)
	}
	free := 0
	b.clock.advance(60)
	for k := range broker.MaxLimited {
		b.TakeAddress(fmt.Sprintf("%d", k))
	}
	for b.TakeAddress("a flood") >= 0 {
	}
	for k := range 100 {
		if b.TakeAddress(fmt.Sprintf("somebody %d", k)) >= 0 {
			free++
		}
	}
	if free < 90 {
		t.Errorf("one who floods leaves %d of 100 others alone", free)
	}
	if b.TakeAddress("0") < 0 || b.TakeAddress("0") >= 0 {
		t.Error("those that are counted keep their count")
	}
}

// A key has its own minute, whatever address it comes from; one that proves
// nothing uses up nobody's.
func TestRateLimitByKey(t *testing.T) {
	b := newBank(t)
	u, other := b.newUser(0), b.newUser(0)
	b.config.RequestsPerMinute = 2
	b.open()
	ask := func(u *user) answer { return b.call(u.key, "GET", payword.PathAccount, nil) }
	forged := b.signed(other.key, "GET", payword.PathAccount, nil)
	forged.Header.Set(payword.HeaderSignatureInput, b.signed(u.key, "GET", payword.PathAccount, nil).Header.Get(payword.HeaderSignatureInput))
	want(t, b.do(forged), http.StatusUnauthorized, payword.BadSignature)
	for range 2 {
		want(t, ask(u), http.StatusOK, payword.Accepted)
	}
	a := ask(u)
	want(t, a, http.StatusTooManyRequests, payword.RateLimited)
	if a.header.Get("RateLimit") != `"key";r=0;t=40` {
		t.Errorf("got %v", a.header)
	}
	want(t, ask(other), http.StatusOK, payword.Accepted)
	for _, status := range []int{200, 200, 429} {
		if a := b.admin("GET", "/v1/admin/fundings", nil); a.status != status {
			t.Errorf("got %d, want %d", a.status, status)
		}
	}
	b.clock.advance(60)
	want(t, ask(u), http.StatusOK, payword.Accepted)
}

// What leaves rows for ever is done twice in a second at most by one account,
// whichever device asks, and by one key of a vendor; reading and paying go on.
func TestRateLimitOfChanges(t *testing.T) {
	b := newBank(t)
	u, other, s := b.newUser(100*cent), b.newUser(0), b.newShop()
	phone := u.newDevice("phone")
	b.config.RequestsPerMinute = 6000
	b.open()
	change := func(by *user) answer { return b.call(by.key, "PUT", payword.PathLimits, payword.Limits{}) }
	for k := range 120 {
		want(t, change([]*user{u, phone}[k%2]), http.StatusOK, payword.Accepted)
	}
	a := change(phone)
	want(t, a, http.StatusTooManyRequests, payword.RateLimited)
	if got := a.header.Values("RateLimit-Policy"); len(got) != 2 || got[1] != `"changes";q=120;w=60` {
		t.Errorf("got %v", got)
	}
	want(t, change(other), http.StatusOK, payword.Accepted)
	want(t, b.call(u.key, "GET", payword.PathAccount, nil), http.StatusOK, payword.Accepted)
	for range 121 {
		u.commit(s.origin, 10*cent) // for which a certificate is issued
	}
	u.commit(s.origin, 10*cent).mustReserve(cent)
	contact := map[string]string{"vendor": s.origin, "contact": "ann"}
	for range 120 {
		want(t, b.call(s.key, "PUT", "/v1/vendor/contact", contact), http.StatusOK, payword.Accepted)
	}
	want(t, b.call(s.key, "PUT", "/v1/vendor/contact", contact), http.StatusTooManyRequests, payword.RateLimited)
	s.wantResult(s.claim(u.commit(s.origin, 10*cent), 1, cent), payword.Accepted, cent, cent)
	b.clock.advance(60)
	want(t, change(u), http.StatusOK, payword.Accepted)
}
