package broker_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// gate is a vendor's site that hands out claims to a broker that asks. It can
// fail, and lose an answer after it has noted the results.
type gate struct {
	*shop
	mutex    sync.Mutex
	claims   []payword.Redemption // to be handed out, three at a time
	results  []payword.ClaimResult
	requests int
	pull     bool
	answer   func(w http.ResponseWriter) bool // true: it has answered
}

// newGate opens a vendor's site whose gate is asked for claims.
func (b *bank) newGate() *gate {
	g := &gate{shop: &shop{bank: b, key: newKey()}, pull: true}
	g.listed = []payword.PublicKey{payword.NewPublicKey(publicKey(g.key))}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mutex.Lock()
		defer g.mutex.Unlock()
		switch r.URL.Path {
		case payword.PathDiscovery:
			_ = json.NewEncoder(w).Encode(payword.Discovery{Vendor: g.origin, Keys: g.listed, Brokers: []string{issuer}, Claims: g.pull, Version: 1})
		case payword.PathClaims:
			g.hand(w, r)
		default:
			http.NotFound(w, r)
		}
	}))
	b.t.Cleanup(site.Close)
	g.origin = site.URL
	return g
}

// hand answers a broker that asks for claims.
func (g *gate) hand(w http.ResponseWriter, r *http.Request) {
	g.requests++
	body, _ := io.ReadAll(r.Body)
	signed, refusal := payword.ParseSignatureInput(r.Header.Get(payword.HeaderSignatureInput))
	signed.Method, signed.TargetURI, signed.Digest = r.Method, g.origin+payword.PathClaims, payword.ContentDigest(body)
	key := g.config.Signer.Public().(ed25519.PublicKey)
	if !refusal.Refused() {
		refusal = signed.Verify(key, r.Header.Get(payword.HeaderSignature), g.clock.seconds.Load())
	}
	if refusal.Refused() {
		g.t.Errorf("the broker's request: %v", refusal)
	}
	var asked payword.ClaimsRequest
	if err := json.Unmarshal(body, &asked); err != nil || asked.Vendor != g.origin {
		g.t.Errorf("the broker asked %s: %v", body, err)
	}
	for _, result := range asked.Results {
		g.results = append(g.results, result)
		if len(g.claims) > 0 {
			g.claims = g.claims[1:]
		}
	}
	if g.answer != nil && g.answer(w) {
		return
	}
	_ = json.NewEncoder(w).Encode(payword.RedemptionRequest{Vendor: g.origin, Redemptions: g.claims[:min(3, len(g.claims))]})
}

// offer makes the gate hand out claims and answer in some way, nil as it should.
func (g *gate) offer(answer func(w http.ResponseWriter) bool, claims ...payword.Redemption) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.claims, g.answer = append(g.claims, claims...), answer
}

// asked returns how often the gate was asked since the last call, and what it
// was told.
func (g *gate) asked() (requests int, results []payword.ClaimResult) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	requests, results = g.requests, g.results
	g.requests, g.results = 0, nil
	return requests, results
}

// add registers the vendor as an administrator does.
func (g *gate) add() answer {
	return g.admin("POST", "/v1/admin/vendors", map[string]string{"vendor": g.origin})
}

// fetch lets the broker fetch what is due.
func (g *gate) fetch() {
	g.t.Helper()
	if err := g.Pull(g.t.Context()); err != nil {
		g.t.Fatal(err)
	}
}

const hour = 60 * 60 // seconds, the default interval

func TestClaimsAreFetched(t *testing.T) {
	b := newBank(t)
	g, other := b.newGate(), b.newShop()
	want(t, g.add(), http.StatusOK, payword.Accepted)
	if got := g.details(); !got.Pull || len(got.Keys) != 1 {
		t.Errorf("got %+v", got)
	}
	u := b.newUser(100 * money.Unit)
	var claims []payword.Redemption
	for range 7 {
		p := u.commit(g.origin, 100*cent)
		p.mustReserve(50 * cent)
		claims = append(claims, g.claim(p, 10, 10*cent, final))
	}
	foreign := u.commit(other.origin, 100*cent)
	claims = append(claims, g.claim(foreign, 5, 5*cent, func(c *payword.Claim) { c.Tails[0] = foreign.tail(5) }))
	g.offer(nil, claims...)
	g.fetch()
	requests, results := g.asked()
	if requests != 4 || len(results) != 8 { // three, three, two, none
		t.Fatalf("the gate was asked %d times and told %d results", requests, len(results))
	}
	for k, result := range results[:7] {
		if result.Reason != payword.Accepted || result.Paid != 10*cent || result.Due != 10*cent || !result.Final {
			t.Errorf("claim %d: got %+v", k, result)
		}
	}
	if got := results[7]; got.Reason == payword.Accepted || got.Final {
		t.Errorf("another vendor's commitment: got %+v", got)
	}
	g.wantPayable(70 * cent)
	u.wantBalance(100*money.Unit-70*cent, 0) // the last claims released the rest
	g.fetch()
	if requests, _ := g.asked(); requests != 0 {
		t.Errorf("asked %d times before the interval is over", requests)
	}
	b.clock.advance(hour)
	g.offer(nil, claims[:3]...) // the same again is paid once
	g.fetch()
	if _, results := g.asked(); len(results) != 3 || results[0].Due != 0 || results[0].Paid != 10*cent {
		t.Errorf("got %+v", results)
	}
	g.wantPayable(70 * cent)
	b.wantSound()
}

// What a gate answers that is not right pays nothing, and is asked for again,
// later and later.
func TestGatesThatAnswerWrongly(t *testing.T) {
	b := newBank(t)
	g := b.newGate()
	want(t, g.add(), http.StatusOK, payword.Accepted)
	u := b.newUser(100 * money.Unit)
	good := g.claim(u.commit(g.origin, 100*cent), 10, 10*cent)
	encoded := func(request payword.RedemptionRequest) string {
		text, err := json.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	many := payword.RedemptionRequest{Vendor: g.origin}
	for range payword.MaxRedemptionsPerRequest + 1 {
		many.Redemptions = append(many.Redemptions, payword.Redemption{})
	}
	long := good
	long.Claim = strings.Repeat("a", payword.MaxClaimBytes+1)
	cases := map[string]string{
		"no JSON": "<html>", "nothing": "", "another vendor": encoded(payword.RedemptionRequest{Vendor: issuer, Redemptions: []payword.Redemption{good}}),
		"too many": encoded(many), "too large": encoded(payword.RedemptionRequest{Vendor: g.origin, Redemptions: []payword.Redemption{long}}),
		"endless": encoded(payword.RedemptionRequest{Vendor: g.origin}) + strings.Repeat(" ", 3<<20),
	}
	for name, body := range cases {
		g.offer(func(w http.ResponseWriter) bool { _, _ = io.WriteString(w, body); return true })
		b.clock.advance(40 * hour)
		g.fetch()
		if requests, _ := g.asked(); requests != 1 {
			t.Errorf("%s: asked %d times", name, requests)
		}
		g.wantPayable(0)
	}
	g.offer(func(w http.ResponseWriter) bool {
		http.Redirect(w, &http.Request{}, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		return true
	})
	b.clock.advance(40 * hour)
	g.fetch()
	g.asked()
	b.clock.advance(31 * hour)
	g.fetch()
	if requests, _ := g.asked(); requests != 0 {
		t.Error("asked again too soon after many failures")
	}
	good = g.claim(u.commit(g.origin, 100*cent), 10, 10*cent)
	g.offer(nil, good)
	b.clock.advance(hour)
	g.fetch()
	g.wantPayable(10 * cent)
	if !strings.Contains(b.journal.String(), "claims not fetched") {
		t.Error("the failures were not logged")
	}
}

// The gate loses its answer, or the broker cannot note what it paid: the claims
// come again and are paid once.
func TestClaimsThatAreFetchedTwice(t *testing.T) {
	b := newBank(t)
	g := b.newGate()
	want(t, g.add(), http.StatusOK, payword.Accepted)
	u := b.newUser(100 * money.Unit)
	p := u.commit(g.origin, 100*cent)
	g.offer(func(http.ResponseWriter) bool { panic(http.ErrAbortHandler) }, g.claim(p, 10, 10*cent))
	g.fetch()
	g.offer(nil)
	for _, point := range []string{"before redeem", "after redeem", "before end pull", "after take pull"} {
		b.SetFault(func(at string) error {
			if at == point {
				return fmt.Errorf("broken %s", at)
			}
			return nil
		})
		b.clock.advance(40 * hour)
		_ = b.Pull(t.Context()) // an error or a line in the log
		b.SetFault(nil)
		g.offer(nil, g.claim(p, 10, 10*cent))
	}
	p = u.commit(g.origin, 100*cent)
	g.offer(nil, g.claim(p, 7, 7*cent))
	b.clock.advance(40 * hour)
	g.fetch()
	g.wantPayable(17 * cent)
	b.wantSound()
}

// Of two brokers on one database one asks a gate.
func TestOneBrokerFetches(t *testing.T) {
	b := newBank(t)
	g := b.newGate()
	want(t, g.add(), http.StatusOK, payword.Accepted)
	second := *b
	second.open()
	var group sync.WaitGroup
	for _, each := range []*bank{b, &second, b, &second} {
		group.Go(func() {
			if err := each.Pull(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if requests, _ := g.asked(); requests != 1 {
		t.Errorf("asked %d times, want once", requests)
	}
}

// Only a vendor whose document asks for it is asked for claims, as long as it
// does, and only at an address that is public.
func TestWhoIsAskedForClaims(t *testing.T) {
	b := newBank(t)
	g := b.newGate()
	g.pull = false
	want(t, g.register(), http.StatusOK, payword.Accepted)
	g.fetch()
	if requests, _ := g.asked(); requests != 0 {
		t.Error("asked a gate that does not want it")
	}
	g.pull = true
	want(t, g.register(), http.StatusOK, payword.Accepted)
	g.fetch()
	if requests, _ := g.asked(); requests != 1 {
		t.Errorf("asked %d times, want once", requests)
	}
	b.config.AllowLoopbackVendors = false
	b.open()
	b.clock.advance(hour)
	g.fetch()
	if requests, _ := g.asked(); requests != 0 {
		t.Error("asked at an address that is not public")
	}
	want(t, g.add(), http.StatusForbidden, payword.VendorNotProved)
	want(t, b.admin("POST", "/v1/admin/vendors", map[string]string{"vendor": "news.example"}), http.StatusForbidden, payword.VendorNotProved)
	want(t, b.plain("POST", "/v1/admin/vendors", map[string]string{"vendor": g.origin}), http.StatusUnauthorized, payword.Accepted)
}

// The command lists vendors and blocks one.
func TestCommandVendor(t *testing.T) {
	b := newBank(t)
	s, other := b.newShop(), b.newShop()
	if got := printed(t, "vendor", "--db", b.config.Database); !strings.Contains(got, s.origin) || !strings.Contains(got, other.origin) {
		t.Errorf("got\n%s", got)
	}
	got := printed(t, "vendor", "--db", b.config.Database, "--vendor", s.origin, "--state", "blocked", "--reason", "complaints")
	if !strings.Contains(got, s.origin+"  blocked") || strings.Contains(got, other.origin) {
		t.Errorf("got\n%s", got)
	}
	if s.details().State != "blocked" || other.details().State != "open" {
		t.Error("the wrong one is blocked")
	}
	code, _, stderr := run(t, "vendor", "--db", b.config.Database, "--vendor", "https://nobody.example", "--state", "open", "--reason", "x")
	if code != 1 || !strings.Contains(stderr, "not registered") {
		t.Errorf("got exit %d: %s", code, stderr)
	}
}

// A gate that hands out for ever what is paid already, or what nobody signed, is
// not asked for more in that round.
func TestGatesThatKeepTheBrokerBusy(t *testing.T) {
	b := newBank(t)
	g := b.newGate()
	want(t, g.add(), http.StatusOK, payword.Accepted)
	paid := g.claim(b.newUser(100*money.Unit).commit(g.origin, 100*cent), 10, 10*cent)
	made := paid
	made.Commitment = strings.Replace(paid.Commitment, ".", "A.", 1)
	cases := []struct {
		name     string
		claim    payword.Redemption
		requests int
		payable  money.Amount
	}{
		{"made up", made, 2, 0},           // asked, and told
		{"paid once", paid, 3, 10 * cent}, // it is paid, once more nothing is, and it is told
		{"paid before", paid, 2, 10 * cent},
	}
	for _, c := range cases {
		g.offer(func(w http.ResponseWriter) bool {
			return json.NewEncoder(w).Encode(payword.RedemptionRequest{Vendor: g.origin, Redemptions: []payword.Redemption{c.claim}}) == nil
		})
		b.clock.advance(hour)
		g.fetch()
		if requests, results := g.asked(); requests != c.requests || len(results) != c.requests-1 {
			t.Errorf("%s: asked %d times and told %d results, want %d times", c.name, requests, len(results), c.requests)
		}
		g.wantPayable(c.payable)
	}
}
