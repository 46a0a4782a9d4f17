package caddymodule_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword"
)

// askForClaims asks a gate for its claims, signed with key unless change changes
// the request afterwards.
func (g *testGate) askForClaims(t *testing.T, key ed25519.PrivateKey, asked any, change ...func(*http.Request)) (int, payword.RedemptionRequest, string) {
	t.Helper()
	body, isText := asked.(string)
	if !isText {
		encoded, err := json.Marshal(asked)
		if err != nil {
			t.Fatal(err)
		}
		body = string(encoded)
	}
	request, err := http.NewRequest(http.MethodPost, g.vendor+payword.PathClaims, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	if err := payword.SignRequest(request, []byte(body), key, payword.Nonce{1}, time.Now().Unix()); err != nil {
		t.Fatal(err)
	}
	for _, apply := range change {
		apply(request)
	}
	response, err := g.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var handed payword.RedemptionRequest
	if response.StatusCode == http.StatusOK {
		if err := json.Unmarshal(content, &handed); err != nil || handed.Vendor != g.vendor {
			t.Errorf("got %s: %v", content, err)
		}
	}
	return response.StatusCode, handed, string(content)
}

// learnVendorKey reads the vendor's key from its discovery document.
func (b *fakeBroker) learnVendorKey(g *testGate) {
	b.t.Helper()
	_, document := g.do(b.t, http.MethodGet, payword.PathDiscovery, nil)
	discovery, err := payword.ParseDiscovery([]byte(document))
	if err != nil || len(discovery.Keys) != 1 || !discovery.Claims {
		b.t.Fatalf("discovery document %s: %v", document, err)
	}
	if b.vendorKey, err = discovery.Keys[0].Key(); err != nil {
		b.t.Fatal(err)
	}
}

// pay pays what a gate handed out, and returns what to tell it.
func (b *fakeBroker) pay(handed payword.RedemptionRequest) (results []payword.ClaimResult) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	body, err := json.Marshal(handed)
	if err != nil {
		b.t.Fatal(err)
	}
	for k, result := range b.redeem(body).Results {
		claim, refusal := payword.ParseClaim(handed.Redemptions[k].Claim, b.vendorKey)
		if refusal.Refused() {
			b.t.Error(refusal)
		}
		results = append(results, payword.ClaimResult{RedemptionResult: result, Final: claim.Final})
	}
	return results
}

func TestClaimsAreHandedToABrokerThatAsks(t *testing.T) {
	broker := newFakeBroker(t)
	gate, _ := startRedeemingGate(t, broker, "claim_delay 0s\npull")
	broker.learnVendorKey(gate)
	ask := func(results ...payword.ClaimResult) payword.RedemptionRequest {
		t.Helper()
		status, handed, content := gate.askForClaims(t, testBroker, payword.ClaimsRequest{Vendor: gate.vendor, Results: results})
		if status != http.StatusOK {
			t.Fatalf("got %d: %s", status, content)
		}
		return handed
	}
	if handed := ask(); len(handed.Redemptions) != 0 {
		t.Errorf("before anything was spent: %d claims", len(handed.Redemptions))
	}
	p := newPayer(t, wish{name: "pulled", vendor: gate.vendor, issuer: broker.URL})
	gate.mustPay(t, "/1", p.opening(p.payment(5, 1)))
	first := ask()
	if len(first.Redemptions) != 1 || first.Redemptions[0].Commitment != p.commitment.Token {
		t.Fatalf("got %+v", first)
	}
	if again := ask(); len(again.Redemptions) != 1 { // nobody said that it was paid
		t.Errorf("the claim was handed out once: %+v", again)
	}
	results := broker.pay(first)
	gate.mustPay(t, "/2", p.header(p.payment(5, 2))) // spent before the gate hears of the first
	second := ask(results...)
	if len(second.Redemptions) != 1 {
		t.Fatalf("what was spent meanwhile is not claimed: %+v", second)
	}
	again := broker.pay(second)
	if handed := ask(again...); len(handed.Redemptions) != 0 {
		t.Errorf("what was paid is claimed again: %+v", handed)
	}
	if handed := ask(results...); len(handed.Redemptions) != 0 { // an old word takes nothing back
		t.Errorf("after an old word: %+v", handed)
	}
	if payable, _, _ := broker.totals(p.commitment.ID); payable != 2*testPrice {
		t.Errorf("payable is %s, want %s", payable, 2*testPrice)
	}
	broker.refuse(payword.ClaimTooLate)
	gate.mustPay(t, "/3", p.header(p.payment(5, 3)))
	if handed := ask(broker.pay(ask())...); len(handed.Redemptions) != 0 { // for good, until it changes
		t.Errorf("a claim that was refused for good comes again: %+v", handed)
	}
}

// The claims are for brokers of this gate, and each gets its own.
func TestWhoIsHandedClaims(t *testing.T) {
	broker, other := newFakeBroker(t), newFakeBroker(t)
	dir := t.TempDir()
	gate := startGate(t, site{admin: adminAddress(t), dir: dir, issuer: broker.URL, payword: "reread off",
		global: "claim_delay 0s\npull\nbroker " + other.URL + " " + filepath.Join(dir, "broker-keys.json")})
	p := newPayer(t, wish{name: "who", vendor: gate.vendor, issuer: other.URL})
	gate.mustPay(t, "/1", p.opening(p.payment(5, 1)))
	asked := payword.ClaimsRequest{Vendor: gate.vendor}
	// Both brokers of this test have the same key: the first one is who asks.
	if status, handed, content := gate.askForClaims(t, testBroker, asked); status != http.StatusOK || len(handed.Redemptions) != 0 {
		t.Errorf("a broker gets the claims on another one: %d %s", status, content)
	}
	set := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	many := payword.ClaimsRequest{Vendor: gate.vendor, Results: make([]payword.ClaimResult, payword.MaxRedemptionsPerRequest+1)}
	cases := []struct {
		name   string
		key    ed25519.PrivateKey
		asked  any
		change func(*http.Request)
		want   int
	}{
		{"a stranger", ed25519.NewKeyFromSeed(seedOf("stranger")), asked, nil, http.StatusUnauthorized},
		{"no signature", testBroker, asked, func(r *http.Request) { r.Header.Del(payword.HeaderSignature) }, http.StatusUnauthorized},
		{"two signatures", testBroker, asked, func(r *http.Request) {
			r.Header.Add(payword.HeaderSignature, r.Header.Get(payword.HeaderSignature))
		}, http.StatusUnauthorized},
		{"a forged signature", testBroker, asked, set(payword.HeaderSignature, "sig=:"+strings.Repeat("A", 86)+"==:"), http.StatusUnauthorized},
		{"no digest", testBroker, asked, func(r *http.Request) { r.Header.Del(payword.HeaderContentDigest) }, http.StatusUnauthorized},
		{"a short digest", testBroker, asked, set(payword.HeaderContentDigest, "sha-256=::"), http.StatusUnauthorized},
		{"another body", testBroker, asked, func(r *http.Request) {
			body := []byte(`{"vendor":"https://news.example"}`)
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		}, http.StatusBadRequest},
		{"an old request", testBroker, asked, func(r *http.Request) {
			_ = payword.SignRequest(r, []byte(`{}`), testBroker, payword.Nonce{}, time.Now().Unix()-payword.RequestMaxAgeSeconds-5)
		}, http.StatusUnauthorized},
		{"another vendor", testBroker, payword.ClaimsRequest{Vendor: "https://news.example"}, nil, http.StatusNotFound},
		{"no JSON", testBroker, "results", nil, http.StatusBadRequest},
		{"too many results", testBroker, many, nil, http.StatusBadRequest},
		{"a large body", testBroker, `{"vendor":"` + strings.Repeat("a", 600<<10) + `"}`, nil, http.StatusBadRequest},
	}
	for _, c := range cases {
		var change []func(*http.Request)
		if c.change != nil {
			change = append(change, c.change)
		}
		status, _, content := gate.askForClaims(t, c.key, c.asked, change...)
		if status != c.want || !strings.Contains(content, `"detail"`) {
			t.Errorf("%s: got %d %s, want %d", c.name, status, content, c.want)
		}
	}
	if response, _ := gate.do(t, http.MethodGet, payword.PathClaims, nil); response.StatusCode != http.StatusMethodNotAllowed || response.Header.Get("Allow") != "POST" {
		t.Errorf("GET: %s, Allow %q", response.Status, response.Header.Get("Allow"))
	}
}

// Without the option nobody is handed anything.
func TestClaimsAreHandedToNobody(t *testing.T) {
	broker := newFakeBroker(t)
	gate, _ := startRedeemingGate(t, broker, "claim_delay 0s")
	p := newPayer(t, wish{name: "nobody", vendor: gate.vendor, issuer: broker.URL})
	gate.mustPay(t, "/1", p.opening(p.payment(5, 1)))
	if status, _, content := gate.askForClaims(t, testBroker, payword.ClaimsRequest{Vendor: gate.vendor}); status != http.StatusNotFound {
		t.Errorf("got %d: %s", status, content)
	}
	if _, document := gate.do(t, http.MethodGet, payword.PathDiscovery, nil); strings.Contains(document, "claims") {
		t.Errorf("discovery document %s", document)
	}
}
