package audit_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/money"
)

const (
	issuer     = "https://broker.example"
	eur        = money.Currency("eur-micro")
	adminToken = "a token for administrators"
	start      = 1_700_000_000 // seconds since 1970
	cent       = money.Amount(10_000)
	ownIBAN    = "DE89370400440532013000"
)

func TestMain(m *testing.M) {
	os.Exit(dbtest.Main(m, func(location string) error {
		b, err := broker.New(context.Background(), broker.Config{Issuer: issuer, Currency: eur, Database: location, Signer: newKey()})
		if err != nil {
			return err
		}
		return b.Close()
	}, ""))
}

// Everything holds on PostgreSQL, too.
func TestOnPostgreSQL(t *testing.T) { dbtest.OnPostgreSQL(t) }

// bank is a broker whose clock goes only when it is told to, whose vendors are
// told by their discovery documents without a network.
type bank struct {
	*broker.Broker
	t        testing.TB
	database string
	key      ed25519.PrivateKey
	dayKey   ed25519.PrivateKey // of the clearing
	seconds  atomic.Int64
	shops    map[string]*shop
	numbers  int // to name things by
}

func newBank(t testing.TB) *bank {
	t.Helper()
	b := &bank{t: t, database: dbtest.New(t), key: newKey(), dayKey: newKey(), shops: make(map[string]*shop)}
	b.seconds.Store(start)
	opened, err := broker.New(t.Context(), broker.Config{
		Issuer: issuer, Currency: eur, Database: b.database, Signer: b.key, AdminToken: adminToken,
		RequestsPerMinute: 1_000_000, WhiteCeiling: money.MaxAmount, CertificateLimit: 1000 * money.Unit,
		PaymentServices: []broker.PaymentService{cards{}}, Transport: b, Now: b.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Broker = opened
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *bank) now() time.Time { return time.Unix(b.seconds.Load(), 0) }

// RoundTrip answers for the sites of the vendors.
func (b *bank) RoundTrip(r *http.Request) (*http.Response, error) {
	s := b.shops["https://"+r.URL.Host]
	if s == nil {
		return nil, errors.New("no such site")
	}
	recorder := httptest.NewRecorder()
	document := payword.Discovery{Vendor: s.origin, Keys: []payword.PublicKey{payword.NewPublicKey(publicKey(s.key))}, Brokers: []string{issuer}, Version: 1}
	if err := json.NewEncoder(recorder).Encode(document); err != nil {
		return nil, err
	}
	return recorder.Result(), nil
}

func newKey() ed25519.PrivateKey {
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	return key
}

func publicKey(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

// cards is a payment service whose events say what they mean.
type cards struct{}

func (cards) Name() string { return "cards" }

func (cards) Read(_ http.Header, body []byte, _ time.Time) (event broker.PaymentEvent, refusal payword.Refusal, err error) {
	err = json.Unmarshal(body, &event)
	return event, refusal, err
}

// call sends a request that key signs, and reads the answer, which must be a
// success, into target.
func (b *bank) call(key ed25519.PrivateKey, method, path string, body, target any) {
	b.t.Helper()
	content := []byte{}
	if body != nil {
		content, _ = json.Marshal(body)
	}
	request := httptest.NewRequestWithContext(b.t.Context(), method, path, bytes.NewReader(content))
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if key == nil {
		request.Header.Set("Authorization", "Bearer "+adminToken)
	} else {
		nonce := make([]byte, payword.NonceBytes)
		_, _ = rand.Read(nonce)
		digest := payword.ContentDigest(content)
		input, signature, err := payword.SignedRequest{
			Method: method, TargetURI: issuer + path, Digest: digest, Created: b.seconds.Load(),
			KeyID: payword.Thumbprint(publicKey(key)), Nonce: base64.RawURLEncoding.EncodeToString(nonce),
		}.Sign(key)
		if err != nil {
			b.t.Fatal(err)
		}
		request.Header.Set(payword.HeaderSignatureInput, input)
		request.Header.Set(payword.HeaderSignature, signature)
		request.Header.Set(payword.HeaderContentDigest, digest)
	}
	recorder := httptest.NewRecorder()
	b.Handler().ServeHTTP(recorder, request)
	answer, _ := io.ReadAll(recorder.Body)
	if recorder.Code/100 != 2 {
		b.t.Fatalf("%s %s: got %d %s", method, path, recorder.Code, answer)
	}
	if target != nil {
		if err := json.Unmarshal(answer, target); err != nil {
			b.t.Fatalf("%s %s: %v in %s", method, path, err, answer)
		}
	}
}

// done fails the test unless something was done.
func (b *bank) done(refusal payword.Refusal, err error) {
	b.t.Helper()
	if err != nil || refusal.Refused() {
		b.t.Fatalf("got %v %v", refusal, err)
	}
}

// name returns a name that is used once.
func (b *bank) name() string {
	b.numbers++
	return "n" + strconv.Itoa(b.numbers)
}

// pay tells of an event of the payment service.
func (b *bank) pay(event broker.PaymentEvent) {
	b.t.Helper()
	event.Currency = eur
	b.call(nil, "POST", "/v1/payments/cards", event, nil)
}

// user is the owner of an account.
type user struct {
	*bank
	key     ed25519.PrivateKey
	account string
	seed    payword.Seed
}

func (b *bank) challenge() string {
	b.t.Helper()
	var challenge payword.AccountChallenge
	b.call(nil, "POST", payword.PathChallenges, nil, &challenge)
	return challenge.Challenge
}

// newUser opens an account with a balance that came in by the bank.
func (b *bank) newUser(balance money.Amount) *user {
	b.t.Helper()
	u := &user{bank: b, key: newKey()}
	_, _ = rand.Read(u.seed[:])
	var account payword.Account
	b.call(u.key, "POST", payword.PathAccounts, payword.OpenAccount{Key: payword.NewPublicKey(publicKey(u.key)), Challenge: b.challenge()}, &account)
	u.account = account.Account
	_, refusal, err := b.Fund(b.t.Context(), b.name(), u.account, balance)
	b.done(refusal, err)
	return u
}

// newSub opens a sub-account and gives it something.
func (u *user) newSub(balance money.Amount) *user {
	u.t.Helper()
	agent, challenge := &user{bank: u.bank, key: newKey()}, u.challenge()
	proof, err := payword.Possession{Purpose: payword.PossessionSubAccount, Broker: issuer, Account: u.account, Challenge: challenge}.Sign(agent.key)
	if err != nil {
		u.t.Fatal(err)
	}
	var sub payword.SubAccount
	u.call(u.key, "POST", payword.PathSubAccounts,
		payword.OpenSubAccount{Key: payword.NewPublicKey(publicKey(agent.key)), Name: "agent", Challenge: challenge, Proof: proof}, &sub)
	agent.account, agent.seed[0] = sub.Account, 1
	u.call(u.key, "POST", payword.PathTransfers, payword.SubAccountTransfer{ID: u.name(), Account: sub.Account, Amount: balance}, nil)
	return agent
}

func (u *user) payout(id string, amount money.Amount) {
	u.t.Helper()
	u.call(u.key, "POST", payword.PathPayouts,
		payword.RequestPayout{ID: id, Amount: amount, Destination: payword.PayoutDestination{IBAN: ownIBAN}}, nil)
}

// purse is a commitment with what its chains are made of.
type purse struct {
	user *user
	m    payword.Commitment
}

// commit makes a commitment with a chain of 100 cents, unless others are given.
func (u *user) commit(s *shop, limit money.Amount, chains ...payword.ChainTerms) *purse {
	u.t.Helper()
	key := newKey()
	var issued payword.CertificateAnswer
	u.call(u.key, "POST", payword.PathCertificates, payword.CertificateRequest{Keys: []payword.PublicKey{payword.NewPublicKey(publicKey(key))}}, &issued)
	certificate, err := payword.UnverifiedCertificate(issued.Certificates[0])
	if err != nil {
		u.t.Fatal(err)
	}
	if chains == nil {
		chains = []payword.ChainTerms{{Unit: cent, Length: 100}}
	}
	now := u.seconds.Load()
	p := &purse{user: u, m: payword.Commitment{
		Vendor: s.origin, Certificate: certificate, IssuedAt: now, Expires: now + 3600, Currency: eur, Limit: limit, Chains: chains,
	}}
	_, _ = rand.Read(p.m.Nonce[:])
	for k := range p.m.Chains {
		if p.m.Chains[k].Root == (payword.Payword{}) {
			p.m.Chains[k].Root = p.word(k, 0)
		}
	}
	if p.m, err = payword.SignCommitment(p.m, key); err != nil {
		u.t.Fatal(err)
	}
	return p
}

// word returns a payword of a chain.
func (p *purse) word(chain int, index uint32) payword.Payword {
	length := p.m.Chains[chain].Length
	tip, err := p.user.seed.Tip(p.m.Vendor, p.m.Nonce, chain, length)
	if err != nil {
		p.user.t.Fatal(err)
	}
	return tip.Walk(length - index)
}

func (p *purse) reserve(amount money.Amount) *purse {
	p.user.t.Helper()
	p.user.call(p.user.key, "POST", payword.PathReservations, payword.ReservationRequest{Commitment: p.m.Token, Amount: amount}, nil)
	return p
}

// shop is a vendor.
type shop struct {
	*bank
	key    ed25519.PrivateKey
	origin string
}

func (b *bank) newShop() *shop {
	b.t.Helper()
	s := &shop{bank: b, key: newKey(), origin: "https://shop-" + b.name() + ".example"}
	b.shops[s.origin] = s
	b.done(b.AddVendor(b.t.Context(), s.origin))
	return s
}

// claim makes a claim with tails of all chains down to the indexes.
func (s *shop) claim(p *purse, amount money.Amount, isFinal bool, indexes ...uint32) payword.Redemption {
	s.t.Helper()
	c := payword.Claim{Vendor: s.origin, Broker: issuer, Commitment: p.m.ID, Amount: amount, Final: isFinal, IssuedAt: s.seconds.Load()}
	for k, index := range indexes {
		tail := payword.Tail{Index: index}
		if index > 0 {
			tail.Payword = p.word(k, index)
		}
		c.Tails = append(c.Tails, tail)
	}
	c, err := payword.SignClaim(c, s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	return payword.Redemption{Commitment: p.m.Token, Claim: c.Token}
}

// redeem sends claims, which must all be paid.
func (s *shop) redeem(claims ...payword.Redemption) {
	s.t.Helper()
	var answer payword.RedemptionAnswer
	s.call(s.key, "POST", payword.PathRedemptions, payword.RedemptionRequest{Vendor: s.origin, Redemptions: claims}, &answer)
	for _, result := range answer.Results {
		if result.Reason != payword.Accepted {
			s.t.Fatalf("got %+v", result)
		}
	}
}

// runUntil does the background work until isDone.
func (b *bank) runUntil(isDone func() bool) {
	b.t.Helper()
	ctx, stop := context.WithCancel(b.t.Context())
	ended := make(chan error)
	go func() { ended <- b.Run(ctx) }()
	for !isDone() && b.t.Context().Err() == nil {
	}
	stop()
	if err := <-ended; err != nil {
		b.t.Error(err)
	}
}
