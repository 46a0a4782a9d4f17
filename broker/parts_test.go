package broker_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/money"
)

const (
	issuer       = "https://broker.example"
	usd          = money.Currency("usd-micro")
	adminToken   = "a token for administrators"
	stripeSecret = "whsec_of_the_tests_0123456789"
	start        = 1_700_000_000 // seconds since 1970; 22:13 UTC
	cent         = money.Amount(10_000)
)

// clock is a clock that goes only when it is told to.
type clock struct{ seconds atomic.Int64 }

func (c *clock) now() time.Time        { return time.Unix(c.seconds.Load(), 0) }
func (c *clock) advance(seconds int64) { c.seconds.Add(seconds) }

// journal collects log lines.
type journal struct {
	mutex sync.Mutex
	text  strings.Builder
}

func (j *journal) Write(line []byte) (int, error) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return j.text.Write(line)
}

func (j *journal) String() string {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	return j.text.String()
}

// bank is a broker behind an HTTP server.
type bank struct {
	*broker.Broker
	t       *testing.T
	clock   *clock
	journal *journal
	config  broker.Config
	url     string
	heard   func(*http.Request, answer) // of every request, unless it is nil
}

func newBank(t *testing.T) *bank { return newBankWith(t) }

// newBankWith opens a broker whose configuration differs.
func newBankWith(t *testing.T, change ...func(*broker.Config)) *bank {
	t.Helper()
	b := &bank{t: t, clock: &clock{}, journal: &journal{}}
	b.clock.seconds.Store(start)
	stripe, err := broker.NewStripe(stripeSecret)
	if err != nil {
		t.Fatal(err)
	}
	b.config = broker.Config{
		Issuer: issuer, Currency: usd, Database: dbtest.New(t), Signer: newKey(),
		PaymentServices: []broker.PaymentService{stripe},
		// The clock of the tests stands still, and minutes with it.
		RequestsPerMinute: 1_000_000, WhiteCeiling: money.MaxAmount,
		AdminToken: adminToken, AllowLoopbackVendors: true, Now: b.clock.now,
		Logger: slog.New(slog.NewTextHandler(b.journal, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, apply := range change {
		apply(&b.config)
	}
	b.open()
	return b
}

// open starts the broker; it ends with the test.
func (b *bank) open() {
	b.t.Helper()
	opened, err := broker.New(b.t.Context(), b.config)
	if err != nil {
		b.t.Fatal(err)
	}
	server := httptest.NewServer(opened.Handler())
	b.Broker, b.url = opened, server.URL
	b.t.Cleanup(func() {
		server.Close()
		if err := opened.Close(); err != nil {
			b.t.Error(err)
		}
	})
}

func newKey() ed25519.PrivateKey {
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	return key
}

func publicKey(key crypto.Signer) ed25519.PublicKey {
	return key.Public().(ed25519.PublicKey)
}

// answer is what came of a request.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// reason returns the reason in problem details, or "".
func (a answer) reason() string {
	var p struct{ Reason string }
	_ = json.Unmarshal(a.body, &p)
	return p.Reason
}

// into reads the body of an answer that must have the status.
func (a answer) into(t *testing.T, status int, target any) {
	t.Helper()
	if a.status != status {
		t.Fatalf("got status %d, want %d: %s", a.status, status, a.body)
	}
	if err := json.Unmarshal(a.body, target); err != nil {
		t.Fatalf("reading %s: %v", a.body, err)
	}
}

// do sends a request as it is.
func (b *bank) do(request *http.Request) answer {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.t.Error(err)
		return answer{}
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Error(err)
	}
	a := answer{response.StatusCode, response.Header, content}
	if err := b.conform(request, a); err != nil {
		b.t.Errorf("%s %s does not conform to the OpenAPI document: %v", request.Method, request.URL.Path, err)
	}
	if b.heard != nil {
		b.heard(request, a)
	}
	return a
}

// request makes a request; body is sent as it is if it is a string, else as
// JSON; nil is none.
func (b *bank) request(method, path string, body any) (*http.Request, []byte) {
	var content []byte
	switch body := body.(type) {
	case nil:
	case string:
		content = []byte(body)
	default:
		var err error
		if content, err = json.Marshal(body); err != nil {
			b.t.Fatal(err)
		}
	}
	request, err := http.NewRequest(method, b.url+path, bytes.NewReader(content))
	if err != nil {
		b.t.Fatal(err)
	}
	if content != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return request, content
}

// signed makes a request that key has signed.
func (b *bank) signed(key ed25519.PrivateKey, method, path string, body any) *http.Request {
	request, content := b.request(method, path, body)
	nonce := make([]byte, payword.NonceBytes)
	_, _ = rand.Read(nonce)
	digest := payword.ContentDigest(content)
	input, signature, err := payword.SignedRequest{
		Method: method, TargetURI: issuer + path, Digest: digest, Created: b.clock.seconds.Load(),
		KeyID: payword.Thumbprint(publicKey(key)), Nonce: encode(nonce),
	}.Sign(key)
	if err != nil {
		b.t.Fatal(err)
	}
	request.Header.Set(payword.HeaderSignatureInput, input)
	request.Header.Set(payword.HeaderSignature, signature)
	request.Header.Set(payword.HeaderContentDigest, digest)
	return request
}

// call sends a signed request.
func (b *bank) call(key ed25519.PrivateKey, method, path string, body any) answer {
	return b.do(b.signed(key, method, path, body))
}

// plain sends a request that nobody signed.
func (b *bank) plain(method, path string, body any) answer {
	request, _ := b.request(method, path, body)
	return b.do(request)
}

// admin sends a request with the administration token.
func (b *bank) admin(method, path string, body any) answer {
	request, _ := b.request(method, path, body)
	request.Header.Set("Authorization", "Bearer "+adminToken)
	return b.do(request)
}

// wantSound checks the books.
func (b *bank) wantSound() {
	b.t.Helper()
	wrong, err := b.Check(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, sentence := range wrong {
		b.t.Errorf("the books disagree: %s", sentence)
	}
}

// user is the owner of an account.
type user struct {
	*bank
	key     ed25519.PrivateKey
	account string
	seed    payword.Seed
}

// newUser opens an account with a balance.
func (b *bank) newUser(balance money.Amount) *user {
	b.t.Helper()
	u := &user{bank: b, key: newKey()}
	_, _ = rand.Read(u.seed[:])
	var account payword.Account
	u.openAccount().into(b.t, http.StatusCreated, &account)
	u.account = account.Account
	if balance > 0 {
		u.fund("first-"+u.account, balance)
	}
	return u
}

func (u *user) openAccount() answer {
	var challenge payword.AccountChallenge
	u.plain("POST", payword.PathChallenges, nil).into(u.t, http.StatusOK, &challenge)
	return u.call(u.key, "POST", payword.PathAccounts,
		payword.OpenAccount{Key: payword.NewPublicKey(publicKey(u.key)), Challenge: challenge.Challenge})
}

func (u *user) fund(id string, amount money.Amount) {
	u.t.Helper()
	_, refusal, err := u.Fund(u.t.Context(), id, u.account, amount)
	if err != nil || refusal.Refused() {
		u.t.Fatalf("funding: %v %v", refusal, err)
	}
}

func (u *user) wantBalance(available, reserved money.Amount) {
	u.t.Helper()
	var account payword.Account
	u.call(u.key, "GET", payword.PathAccount, nil).into(u.t, http.StatusOK, &account)
	if account.Available != available || account.Reserved != reserved {
		u.t.Errorf("got %s available and %s reserved, want %s and %s",
			account.Available.Decimal(), account.Reserved.Decimal(), available.Decimal(), reserved.Decimal())
	}
}

// certificate gets a certificate for a new key.
func (u *user) certificate() (payword.Certificate, ed25519.PrivateKey) {
	u.t.Helper()
	key := newKey()
	issued := u.read(u.call(u.key, "POST", payword.PathCertificates,
		payword.CertificateRequest{Keys: []payword.PublicKey{payword.NewPublicKey(publicKey(key))}}))
	return issued[0], key
}

// purse is a commitment with its chains.
type purse struct {
	user   *user
	m      payword.Commitment
	chains []*payword.Chain
}

// commit makes a commitment to a vendor, with one chain of 100 cents unless
// others are given as pairs of unit and length.
func (u *user) commit(vendor string, limit money.Amount, change ...func(*payword.Commitment)) *purse {
	u.t.Helper()
	certificate, key := u.certificate()
	p := &purse{user: u, m: payword.Commitment{
		Vendor: vendor, Certificate: certificate, IssuedAt: u.clock.seconds.Load(),
		Expires: u.clock.seconds.Load() + 3600, Currency: usd, Limit: limit,
		Chains: []payword.ChainTerms{{Unit: cent, Length: 100}},
	}}
	_, _ = rand.Read(p.m.Nonce[:])
	for _, apply := range change {
		apply(&p.m)
	}
	for k := range p.m.Chains {
		tip, err := u.seed.Tip(p.m.Vendor, p.m.Nonce, k, p.m.Chains[k].Length)
		if err != nil {
			u.t.Fatal(err)
		}
		chain, err := payword.NewChain(tip, p.m.Chains[k].Length, 0)
		if err != nil {
			u.t.Fatal(err)
		}
		p.chains = append(p.chains, chain)
		p.m.Chains[k].Root = chain.Root()
	}
	var err error
	if p.m, err = payword.SignCommitment(p.m, key); err != nil {
		u.t.Fatal(err)
	}
	return p
}

// reserve asks for a reservation.
func (p *purse) reserve(amount money.Amount) answer {
	return p.user.call(p.user.key, "POST", payword.PathReservations,
		payword.ReservationRequest{Commitment: p.m.Token, Amount: amount})
}

// mustReserve gets a reservation and returns it.
func (p *purse) mustReserve(amount money.Amount) payword.Reservation {
	p.user.t.Helper()
	var given payword.ReservationAnswer
	p.reserve(amount).into(p.user.t, http.StatusOK, &given)
	reservation, refusal := payword.ParseReservation(given.Reservation, &p.m, p.user.trusted())
	if refusal.Refused() {
		p.user.t.Fatal(refusal)
	}
	return reservation
}

// tail returns the payword at an index of the first chain, without moving on.
func (p *purse) tail(index uint32) payword.Tail {
	tip, err := p.user.seed.Tip(p.m.Vendor, p.m.Nonce, 0, p.m.Chains[0].Length)
	if err != nil {
		p.user.t.Fatal(err)
	}
	return payword.Tail{Index: index, Payword: tip.Walk(p.m.Chains[0].Length - index)}
}

// shop is a vendor, with a site that describes it.
type shop struct {
	*bank
	key    ed25519.PrivateKey
	origin string
	listed []payword.PublicKey
}

// newShop opens a vendor's site and registers the vendor.
func (b *bank) newShop() *shop {
	b.t.Helper()
	s := b.newSite()
	var vendor payword.Vendor
	s.register().into(b.t, http.StatusOK, &vendor)
	if vendor.Vendor != s.origin || vendor.Currency != usd || vendor.Payable != 0 {
		b.t.Fatalf("got %+v", vendor)
	}
	return s
}

// newSite opens a vendor's site.
func (b *bank) newSite() *shop {
	s := &shop{bank: b, key: newKey()}
	s.listed = []payword.PublicKey{payword.NewPublicKey(publicKey(s.key))}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != payword.PathDiscovery {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(payword.Discovery{Vendor: s.origin, Keys: s.listed, Brokers: []string{issuer}, Version: 1})
	}))
	b.t.Cleanup(site.Close)
	s.origin = site.URL
	return s
}

func (s *shop) register() answer {
	return s.call(s.key, "POST", payword.PathVendors,
		payword.VendorRequest{Vendor: s.origin, Key: payword.NewPublicKey(publicKey(s.key))})
}

// claim makes a claim on the first chain of a commitment.
func (s *shop) claim(p *purse, index uint32, amount money.Amount, change ...func(*payword.Claim)) payword.Redemption {
	s.t.Helper()
	c := payword.Claim{
		Vendor: s.origin, Broker: issuer, Commitment: p.m.ID, Amount: amount, IssuedAt: s.clock.seconds.Load(),
		Tails: []payword.Tail{{}},
	}
	if index > 0 {
		c.Tails[0] = p.tail(index)
	}
	for _, apply := range change {
		apply(&c)
	}
	c, err := payword.SignClaim(c, s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	return payword.Redemption{Commitment: p.m.Token, Claim: c.Token}
}

func final(c *payword.Claim) { c.Final = true }

// send asks for redemptions and returns the results.
func (s *shop) send(claims ...payword.Redemption) []payword.RedemptionResult {
	s.t.Helper()
	a := s.call(s.key, "POST", payword.PathRedemptions, payword.RedemptionRequest{Vendor: s.origin, Redemptions: claims})
	var got payword.RedemptionAnswer
	if a.status != http.StatusOK {
		s.t.Errorf("got status %d: %s", a.status, a.body)
		return make([]payword.RedemptionResult, len(claims))
	}
	a.into(s.t, http.StatusOK, &got)
	if len(got.Results) != len(claims) {
		s.t.Fatalf("got %d results for %d claims", len(got.Results), len(claims))
	}
	return got.Results
}

// wantResult sends one claim and checks what came of it.
func (s *shop) wantResult(claim payword.Redemption, reason payword.Reason, paid, due money.Amount) {
	s.t.Helper()
	got := s.send(claim)[0]
	if got.Reason != reason || got.Paid != paid || got.Due != due {
		s.t.Errorf("got %s (%s), paid %s, due %s; want %s, %s, %s",
			got.Reason, got.Detail, got.Paid.Decimal(), got.Due.Decimal(), reason, paid.Decimal(), due.Decimal())
	}
}

func (s *shop) wantPayable(want money.Amount) {
	s.t.Helper()
	if got := s.payable(); got != want {
		s.t.Errorf("got %s payable, want %s", got.Decimal(), want.Decimal())
	}
}

// payable returns what the broker owes the shop.
func (s *shop) payable() money.Amount {
	s.t.Helper()
	var vendor payword.Vendor
	s.call(s.key, "GET", "/v1/vendor?vendor="+s.origin, nil).into(s.t, http.StatusOK, &vendor)
	return vendor.Payable
}

func want(t *testing.T, a answer, status int, reason payword.Reason) {
	t.Helper()
	word := ""
	if reason != payword.Accepted {
		word = reason.String()
	}
	if a.status != status || a.reason() != word {
		t.Errorf("got %d %q, want %d %q: %s", a.status, a.reason(), status, word, a.body)
	}
	if a.status >= 400 {
		if got := a.header.Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("got content type %q for status %d", got, a.status)
		}
	}
}

func encode(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }
