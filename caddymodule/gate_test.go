package caddymodule_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/paywordhq/payword"
	_ "github.com/paywordhq/payword/caddymodule"
	"github.com/paywordhq/payword/money"
)

const (
	testIssuer = "https://broker.example"
	testPrice  = money.Amount(1000) // 0.001 USD, what the sites in these tests ask
)

var testBroker = ed25519.NewKeyFromSeed(seedOf("broker"))

// seedOf returns a seed that is the same in every run.
func seedOf(name string) []byte {
	sum := sha256.Sum256([]byte("caddymodule test " + name))
	return sum[:]
}

// testGate is a running Caddy with the gate in it.
type testGate struct {
	vendor    string
	dir       string
	http      *http.Client
	transport *persistentTransport
}

// persistentTransport asks again what a server that was replaced did not take.
// The one that replaces it listens on the same address before the old one ends,
// and Caddy ends the old one in the background: a connection that waits there, or
// that is reused while it is being closed, breaks before anything is answered.
type persistentTransport struct {
	*http.Transport
	replaced atomic.Bool
}

func (p *persistentTransport) RoundTrip(request *http.Request) (response *http.Response, err error) {
	for range 20 {
		response, err = p.Transport.RoundTrip(request)
		again := errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
		if !again || !p.replaced.Load() || request.Body != nil {
			break
		}
	}
	return response, err
}

// load runs another configuration in the place of the one that runs.
func (g *testGate) load(t *testing.T, config []byte) error {
	t.Helper()
	g.transport.replaced.Store(true)
	err := caddy.Load(config, true)
	g.http.CloseIdleConnections()
	return err
}

// site is what the Caddyfile of a test says of its one site.
type site struct {
	payword  string       // inside the payword block, after the vendor
	matcher  string       // of the directive; everything is paid for if empty
	rest     string       // after the payword block
	upstream http.Handler // behind a reverse_proxy; without one "content of <path>" is answered
	global   string       // more of the global option payword
	options  string       // more global options
	dir      string       // of the store; a fresh one if empty
	vendor   string       // the origin; one with a free port if empty
	admin    string       // the address of the admin endpoint; none if empty
	issuer   string       // the broker's origin; testIssuer if empty
}

// startGate runs Caddy with a site in this process, in place of what ran
// before. It ends with the test.
func startGate(t testing.TB, s site) *testGate {
	t.Helper()
	if s.dir == "" {
		s.dir = t.TempDir()
	}
	transport := &persistentTransport{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	transport.replaced.Store(s.vendor != "") // there may have been another on this address
	if s.vendor == "" {
		s.vendor = freeOrigin(t)
	}
	if s.upstream != nil {
		upstream := httptest.NewServer(s.upstream)
		t.Cleanup(upstream.Close)
		s.rest += "\nreverse_proxy " + upstream.Listener.Addr().String()
	}
	if err := caddy.Load(configOf(t, s), true); err != nil {
		t.Fatalf("starting Caddy: %v", err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(transport.CloseIdleConnections)
	return &testGate{vendor: s.vendor, dir: s.dir, transport: transport, http: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// takenPorts are those that freeOrigin gave to a test of this process.
var takenPorts sync.Map

// freeOrigin returns an origin on this machine that nobody listens on. Its port
// is given once, and below those that systems give to outgoing connections: one
// of these could take it before the test does.
func freeOrigin(t testing.TB) string {
	t.Helper()
	for {
		port := 22_000 + rand.IntN(10_000)
		if _, taken := takenPorts.LoadOrStore(port, true); taken {
			continue
		}
		if listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			listener.Close()
			return fmt.Sprintf("http://127.0.0.1:%d", port)
		}
	}
}

// priceForAll is a price without path patterns or matchers behind it.
var priceForAll = regexp.MustCompile(`(?m)^[ \t]*price \S+ [A-Za-z]+[ \t]*$`)

// configOf returns the configuration of a site as Caddy's JSON.
func configOf(t testing.TB, s site) []byte {
	t.Helper()
	keys := filepath.Join(s.dir, "broker-keys.json")
	document, err := payword.FormatJWKS(testBroker.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keys, document, 0o600); err != nil {
		t.Fatal(err)
	}
	if s.rest == "" {
		s.rest = `respond "content of {uri}"`
	}
	if s.issuer == "" {
		s.issuer = testIssuer
	}
	if s.admin == "" {
		s.admin = "off"
	}
	vendor, price := "vendor "+s.vendor, "price 0.001 USD"
	if strings.Contains("\n"+s.payword, "\nvendor ") {
		vendor = ""
	}
	if priceForAll.MatchString(s.payword) {
		price = ""
	}
	interval := "redeem_interval 0"
	if strings.Contains(s.global, "redeem_interval ") {
		interval = ""
	}
	text := fmt.Sprintf(`{
	admin %s
	persist_config off
	auto_https off
	default_bind 127.0.0.1
	log {
		level ERROR
		format payword
	}
	payword {
		broker %s %s
		store %s
		%s
		%s
	}
	%s
}
%s {
	payword %s {
		%s
		%s
		%s
	}
	%s
}`, s.admin, s.issuer, keys, filepath.Join(s.dir, "store"), interval, s.global, s.options, s.vendor, s.matcher, vendor, price, s.payword, s.rest)
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		t.Fatalf("adapting the Caddyfile: %v\n%s", err, text)
	}
	return adapted
}

// loadCaddyfile runs a Caddyfile until the test ends, or returns why it cannot.
func loadCaddyfile(t *testing.T, text string) error {
	t.Helper()
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		return err
	}
	t.Cleanup(func() { caddy.Stop() })
	return caddy.Load(adapted, true)
}

// send sends a request with headers.
func (g *testGate) send(method, target string, headers map[string]string) (*http.Response, error) {
	request, err := http.NewRequest(method, g.vendor+target, nil)
	if err != nil {
		return nil, err
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	return g.http.Do(request)
}

// do sends a request with headers and returns the answer with its body read.
func (g *testGate) do(t *testing.T, method, target string, headers map[string]string) (*http.Response, string) {
	t.Helper()
	response, err := g.send(method, target, headers)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// statusOf reads the Payword-State header of an answer.
func statusOf(t *testing.T, response *http.Response) payword.Status {
	t.Helper()
	status, refusal := payword.ParseStatus(response.Header.Get(payword.HeaderState))
	if refusal.Refused() {
		t.Fatalf("%s: Payword-State %q: %s", response.Status, response.Header.Get(payword.HeaderState), refusal)
	}
	return status
}

// payer is a user with one commitment at one gate.
type payer struct {
	commitment  payword.Commitment
	reservation payword.Reservation
	words       []payword.Payword // of chain 0, W_0 first
	second      []payword.Payword // of chain 1
}

// wish says how a payer's commitment differs from a plain good one.
type wish struct {
	name        string
	vendor      string
	issuer      string       // testIssuer if empty
	length      uint32       // of chain 0; 2000 if 0
	reserved    money.Amount // the commitment's limit if 0
	certificate func(*payword.Certificate)
	commitment  func(*payword.Commitment)
	reservation func(*payword.Reservation)
	broker      ed25519.PrivateKey // who signs; testBroker if nil
}

func newPayer(t *testing.T, w wish) *payer {
	t.Helper()
	p, err := makePayer(w)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func makePayer(w wish) (*payer, error) {
	now := time.Now().Unix()
	user := ed25519.NewKeyFromSeed(seedOf("user " + w.name))
	if w.broker == nil {
		w.broker = testBroker
	}
	if w.length == 0 {
		w.length = 2000
	}
	if w.issuer == "" {
		w.issuer = testIssuer
	}
	certificate := payword.Certificate{
		Issuer: w.issuer, Subject: "user-" + fmt.Sprintf("%x", seedOf(w.name)[:6]),
		Key: user.Public().(ed25519.PublicKey), IssuedAt: now - 60, Expires: now + 7200,
		Currency: "usd-micro", Limit: 100 * money.Unit,
	}
	if w.certificate != nil {
		w.certificate(&certificate)
	}
	certificate, err := payword.SignCertificate(certificate, w.broker)
	if err != nil {
		return nil, err
	}
	p := &payer{
		words:  plainChain(payword.Payword(seedOf("chain 0 of "+w.name)), w.length),
		second: plainChain(payword.Payword(seedOf("chain 1 of "+w.name)), 100),
	}
	commitment := payword.Commitment{
		Vendor: w.vendor, Certificate: certificate, IssuedAt: now - 30, Expires: now + 3600,
		Nonce: payword.Nonce(seedOf("nonce of " + w.name)[:16]), Currency: "usd-micro", Limit: 10 * money.Unit,
		Chains: []payword.ChainTerms{
			{Root: p.words[0], Unit: testPrice, Length: w.length},
			{Root: p.second[0], Unit: 50 * testPrice, Length: 100},
		},
	}
	if w.commitment != nil {
		w.commitment(&commitment)
	}
	if p.commitment, err = payword.SignCommitment(commitment, user); err != nil {
		return nil, err
	}
	reservation := payword.Reservation{
		Issuer: w.issuer, Commitment: p.commitment.ID, Amount: p.commitment.Limit, Currency: "usd-micro",
		Sequence: 1, IssuedAt: now - 20, RedeemBy: p.commitment.Expires + 3600,
	}
	if w.reserved != 0 {
		reservation.Amount = w.reserved
	}
	if w.reservation != nil {
		w.reservation(&reservation)
	}
	p.reservation, err = payword.SignReservation(reservation, w.broker)
	return p, err
}

// plainChain returns W_0 to W_length.
func plainChain(tip payword.Payword, length uint32) []payword.Payword {
	words := make([]payword.Payword, length+1)
	words[length] = tip
	for i := length; i > 0; i-- {
		words[i-1] = words[i].Walk(1)
	}
	return words
}

// payment returns a payment up to an index of chain 0 under a number.
func (p *payer) payment(index uint32, number uint64) payword.Payment {
	return payword.Payment{
		Commitment: p.commitment.ID, Index: index, Payword: p.words[index],
		Number: number, Max: testPrice,
	}
}

// header returns the headers that carry a payment on a commitment that the gate
// knows.
func (p *payer) header(payment payword.Payment) map[string]string {
	return map[string]string{payword.HeaderPayword: payword.FormatPayment(payment)}
}

// opening returns the headers that carry a payment and open the commitment.
func (p *payer) opening(payment payword.Payment) map[string]string {
	return map[string]string{
		payword.HeaderPayword:     payword.FormatPayment(payment),
		payword.HeaderCommitment:  p.commitment.Token,
		payword.HeaderReservation: p.reservation.Token,
	}
}

// mustPay sends a request that must be answered with 200.
func (g *testGate) mustPay(t *testing.T, target string, headers map[string]string) (*http.Response, string) {
	t.Helper()
	response, body := g.do(t, http.MethodGet, target, headers)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, want 200: %s", target, response.Status, body)
	}
	return response, body
}
