package broker_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/internal/dbtest"
)

// target is a broker for fuzzing: without a server, and with one key that is an
// account's and a vendor's.
type target struct {
	f       *testing.F
	handler http.Handler
	broker  *broker.Broker
	clock   *clock
	key     ed25519.PrivateKey
}

func newTarget(f *testing.F) *target {
	f.Helper()
	key := newKey()
	g := &target{f: f, clock: &clock{}, key: key}
	g.clock.seconds.Store(start)
	stripe, err := broker.NewStripe(stripeSecret)
	if err != nil {
		f.Fatal(err)
	}
	var vendor string
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(payword.Discovery{
			Vendor: vendor, Keys: []payword.PublicKey{payword.NewPublicKey(publicKey(key))}, Brokers: []string{issuer}, Version: 1})
	}))
	vendor = site.URL
	g.broker, err = broker.New(f.Context(), broker.Config{
		Issuer: issuer, Currency: usd, Database: dbtest.New(f), Signer: newKey(), AdminToken: adminToken,
		AllowLoopbackVendors: true, Now: g.clock.now, PaymentServices: []broker.PaymentService{stripe},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		site.Close()
		if err := g.broker.Close(); err != nil {
			f.Error(err)
		}
	})
	g.handler = g.broker.Handler()
	var challenge payword.AccountChallenge
	g.must(g.send(g.request("POST", payword.PathChallenges, "", nil)), &challenge)
	var account payword.Account
	opening, _ := json.Marshal(payword.OpenAccount{Key: payword.NewPublicKey(publicKey(key)), Challenge: challenge.Challenge})
	g.must(g.send(g.request("POST", payword.PathAccounts, "requestSignature", opening)), &account)
	registration, _ := json.Marshal(payword.VendorRequest{Vendor: vendor, Key: payword.NewPublicKey(publicKey(key))})
	g.must(g.send(g.request("POST", payword.PathVendors, "requestSignature", registration)), &payword.Vendor{})
	return g
}

func (g *target) must(w *httptest.ResponseRecorder, answer any) {
	g.f.Helper()
	if w.Code/100 != 2 || json.Unmarshal(w.Body.Bytes(), answer) != nil {
		g.f.Fatalf("got %d %s", w.Code, w.Body)
	}
}

// request makes a request by whoever the scheme of the OpenAPI document wants.
func (g *target) request(method, path, scheme string, body []byte) *http.Request {
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	switch scheme {
	case "requestSignature":
		nonce := make([]byte, payword.NonceBytes)
		_, _ = rand.Read(nonce)
		digest := payword.ContentDigest(body)
		input, signature, err := payword.SignedRequest{
			Method: method, TargetURI: issuer + r.RequestURI, Digest: digest, Created: g.clock.seconds.Load(),
			KeyID: payword.Thumbprint(publicKey(g.key)), Nonce: encode(nonce),
		}.Sign(g.key)
		if err != nil {
			g.f.Fatal(err)
		}
		r.Header.Set(payword.HeaderSignatureInput, input)
		r.Header.Set(payword.HeaderSignature, signature)
		r.Header.Set(payword.HeaderContentDigest, digest)
	case "administrationToken":
		r.Header.Set("Authorization", "Bearer "+adminToken)
	}
	return r
}

func (g *target) send(r *http.Request) *httptest.ResponseRecorder {
	g.clock.advance(1) // no limit of a minute is to hide what is behind it
	w := httptest.NewRecorder()
	g.handler.ServeHTTP(w, r)
	return w
}

// FuzzBodies sends bodies to every documented route. Whatever they are, the
// broker can tell.
func FuzzBodies(f *testing.F) {
	g := newTarget(f)
	var document struct {
		Paths map[string]map[string]documented
	}
	g.must(g.send(g.request("GET", "/openapi.json", "", nil)), &document)
	var operations []documented
	for path, methods := range document.Paths {
		for method, d := range methods {
			d.method, d.path = strings.ToUpper(method), unnamed.ReplaceAllString(path, "1")
			operations = append(operations, d)
		}
	}
	slices.SortFunc(operations, func(a, b documented) int { return strings.Compare(a.ID, b.ID) })
	for k := range operations {
		f.Add(uint8(k), []byte(`{"vendor":"https://news.example","redemptions":[{"commitment":"a.b.c","claim":"a.b.c"}]}`))
		f.Add(uint8(k), []byte(`{"id":"x","account":"aaaaaaaaaaaaaaaa","amount":"1","currency":"usd-micro"}`))
	}
	f.Add(uint8(0), []byte(`{"commitment":"a.b.c","amount":"1"}`))
	f.Fuzz(func(t *testing.T, route uint8, body []byte) {
		d := operations[int(route)%len(operations)]
		w := g.send(g.request(d.method, d.path, d.scheme(), body))
		if w.Code >= 500 || w.Code == http.StatusPaymentRequired || w.Code >= 400 && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %s: got %d %s", d.method, d.path, w.Code, w.Body)
		}
	})
}

// FuzzHeads sends requests whose signature fields are made up: none of them is
// the account's.
func FuzzHeads(f *testing.F) {
	g := newTarget(f)
	good := g.request("GET", payword.PathAccount, "requestSignature", nil)
	input := good.Header.Get(payword.HeaderSignatureInput)
	f.Add(input, good.Header.Get(payword.HeaderSignature)[:40], good.Header.Get(payword.HeaderContentDigest), "Bearer x")
	f.Add(strings.Replace(input, "created=", "created=0", 1), "sig=:AAAA:", "sha-256=::", "")
	f.Fuzz(func(t *testing.T, input, signature, digest, authorization string) {
		for _, path := range []string{payword.PathAccount, "/v1/admin/fundings"} {
			r := httptest.NewRequest("GET", path, nil)
			r.Header.Set(payword.HeaderSignatureInput, input)
			r.Header.Set(payword.HeaderSignature, signature)
			r.Header.Set(payword.HeaderContentDigest, digest)
			r.Header.Set("Authorization", authorization)
			if w := g.send(r); w.Code < 400 || w.Code >= 500 {
				t.Errorf("%s: got %d %s", path, w.Code, w.Body)
			}
		}
	})
}

// FuzzCheckChallenge makes challenges up: none of them is the broker's.
func FuzzCheckChallenge(f *testing.F) {
	g := newTarget(f)
	var made payword.AccountChallenge
	g.must(g.send(g.request("POST", payword.PathChallenges, "", nil)), &made)
	f.Add(made.Challenge[:63] + "_")
	f.Add(made.Challenge[1:])
	f.Add(strings.Repeat("A", 64))
	f.Fuzz(func(t *testing.T, challenge string) {
		refusal, err := g.broker.CheckChallenge(t.Context(), challenge)
		if err != nil || !refusal.Refused() && challenge != made.Challenge {
			t.Errorf("%q: got %v, %v", challenge, refusal, err)
		}
	})
}

// FuzzDecodeTails reads what a database may hold: either it is refused, or it is
// written again as it was.
func FuzzDecodeTails(f *testing.F) {
	f.Add(make([]byte, payword.MaxChains*(4+payword.PaywordBytes)))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, encoded []byte) {
		tails, err := broker.DecodeTails(encoded)
		if err == nil && !bytes.Equal(broker.EncodeTails(tails), encoded) {
			t.Errorf("%x: got %x again", encoded, broker.EncodeTails(tails))
		}
	})
}

// FuzzStripe sends events that Stripe has not signed, and reads those as if it
// had.
func FuzzStripe(f *testing.F) {
	g := newTarget(f)
	service, err := broker.NewStripe(stripeSecret)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("t=1700000000,v1="+strings.Repeat("00", 32), stripeEvent)
	f.Add("t=1,v1=", disputed("created", "x", 500, "needs_response"))
	f.Add("v1=,t=-1,,=", paidSession("x", "nobody", 500, "jpy"))
	f.Fuzz(func(t *testing.T, field, body string) {
		now := g.clock.now()
		header := http.Header{"Stripe-Signature": {field}}
		if _, refusal, err := service.Read(header, []byte(body), now); err != nil || refusal.Reason != payword.BadSignature {
			t.Errorf("%q: got %v, %v", field, refusal, err)
		}
		r := g.request("POST", "/v1/payments/stripe", "", []byte(body))
		r.Header.Set("Stripe-Signature", stripeSignature(now.Unix(), stripeSecret, body))
		if w := g.send(r); w.Code >= 500 {
			t.Errorf("%q: got %d %s", body, w.Code, w.Body)
		}
	})
}

// FuzzParsePeriod reads the days of a statement.
func FuzzParsePeriod(f *testing.F) {
	f.Add("2026-01-31", "2026-02-01")
	f.Add("0001-01-01", "9999-12-31")
	f.Fuzz(func(t *testing.T, from, to string) {
		if broker.ParsePeriod(from, to) == nil && (len(from) != 10 || to != "" && (len(to) != 10 || to < from)) {
			t.Errorf("%q to %q was taken", from, to)
		}
	})
}
