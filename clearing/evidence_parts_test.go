package clearing_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const bankIssuer = "https://broker.example"

// bank is a real broker, and its books as clearing sees them.
type bank struct {
	t      testing.TB
	clock  *clock
	broker *broker.Broker
	key    ed25519.PrivateKey
	url    string
	db     *ledger.DB

	location string
	// isUnsound says that a test has changed the books, or stands for what is not
	// there, so that an audit would complain.
	isUnsound bool
}

// newBank opens a broker on a database of its own.
func newBank(t testing.TB) *bank {
	t.Helper()
	b := &bank{t: t, clock: new(clock), key: newKey()}
	location := newDatabase(t)
	b.location = location
	opened, err := broker.New(t.Context(), broker.Config{
		Issuer: bankIssuer, Currency: eur, Database: location, Signer: b.key, RequestsPerMinute: 1_000_000, WhiteCeiling: money.MaxAmount,
		AllowLoopbackVendors: true, Now: b.clock.Now, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(opened.Handler())
	b.broker, b.url = opened, server.URL
	t.Cleanup(func() {
		server.Close()
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	_, isTest := t.(*testing.T) // a benchmark measures once
	if b.db, err = ledger.Open(t.Context(), location, ledger.Options{Now: b.clock.Now, RunTwice: func() bool { return isTest }}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if isTest {
			b.wantAudited()
		}
		if err := b.db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := clearing.MigrateClearing(t.Context(), b.db); err != nil {
		t.Fatal(err)
	}
	return b
}

func newKey() ed25519.PrivateKey {
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	return key
}

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

// call sends a signed request and reads the answer into target.
func (b *bank) call(key ed25519.PrivateKey, method, path string, body, target any) {
	b.t.Helper()
	content := []byte{}
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			b.t.Fatal(err)
		}
	}
	request, err := http.NewRequest(method, b.url+path, bytes.NewReader(content))
	if err != nil {
		b.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	nonce := make([]byte, payword.NonceBytes)
	_, _ = rand.Read(nonce)
	digest := payword.ContentDigest(content)
	input, signature, err := payword.SignedRequest{
		Method: method, TargetURI: bankIssuer + path, Digest: digest, Created: b.clock.Now().Unix(),
		KeyID: payword.Thumbprint(publicOf(key)), Nonce: base64.RawURLEncoding.EncodeToString(nonce),
	}.Sign(key)
	if err != nil {
		b.t.Fatal(err)
	}
	request.Header.Set(payword.HeaderSignatureInput, input)
	request.Header.Set(payword.HeaderSignature, signature)
	request.Header.Set(payword.HeaderContentDigest, digest)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 300 {
		b.t.Fatalf("%s %s: status %d, %v: %s", method, path, response.StatusCode, err, answer)
	}
	if err := json.Unmarshal(answer, target); err != nil {
		b.t.Fatal(err)
	}
}

// payer is the owner of an account.
type payer struct {
	*bank
	key     ed25519.PrivateKey
	account string
	seed    payword.Seed
}

func (b *bank) newPayer(balance money.Amount) *payer {
	b.t.Helper()
	p := &payer{bank: b, key: newKey()}
	_, _ = rand.Read(p.seed[:])
	var challenge payword.AccountChallenge
	b.call(p.key, "POST", payword.PathChallenges, nil, &challenge)
	var account payword.Account
	b.call(p.key, "POST", payword.PathAccounts, payword.OpenAccount{Key: payword.NewPublicKey(publicOf(p.key)), Challenge: challenge.Challenge}, &account)
	p.account = account.Account
	if _, refusal, err := b.broker.Fund(b.t.Context(), "first-"+p.account, p.account, balance); err != nil || refusal.Refused() {
		b.t.Fatalf("funding: %v %v", refusal, err)
	}
	return p
}

// promise is a commitment with its chains.
type promise struct {
	payer *payer
	m     payword.Commitment
}

// commit promises a vendor what chains of these units, of 100 steps each, are worth.
func (p *payer) commit(vendor string, units ...money.Amount) *promise {
	p.t.Helper()
	key := newKey()
	var given payword.CertificateAnswer
	p.call(p.key, "POST", payword.PathCertificates, payword.CertificateRequest{Keys: []payword.PublicKey{payword.NewPublicKey(publicOf(key))}}, &given)
	certificate, refusal := payword.ParseCertificate(given.Certificates[0], payword.Brokers{bankIssuer: p.keys()})
	if refusal.Refused() {
		p.t.Fatal(refusal)
	}
	now := p.clock.Now().Unix()
	c := &promise{payer: p, m: payword.Commitment{Vendor: vendor, Certificate: certificate, IssuedAt: now, Expires: now + 3600, Currency: eur, Limit: 10 * money.Unit}}
	_, _ = rand.Read(c.m.Nonce[:])
	for k, unit := range units {
		tip, err := p.seed.Tip(vendor, c.m.Nonce, k, 100)
		if err != nil {
			p.t.Fatal(err)
		}
		c.m.Chains = append(c.m.Chains, payword.ChainTerms{Root: tip.Walk(100), Unit: unit, Length: 100})
	}
	var err error
	if c.m, err = payword.SignCommitment(c.m, key); err != nil {
		p.t.Fatal(err)
	}
	return c
}

// keys are the broker's, by kid.
func (b *bank) keys() map[string]ed25519.PublicKey {
	return map[string]ed25519.PublicKey{payword.Thumbprint(publicOf(b.key)): publicOf(b.key)}
}

// seller is a vendor with a site that describes it.
type seller struct {
	*bank
	key    ed25519.PrivateKey
	origin string
}

func (b *bank) newSeller() *seller {
	b.t.Helper()
	s := &seller{bank: b, key: newKey()}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(payword.Discovery{Vendor: s.origin, Keys: []payword.PublicKey{payword.NewPublicKey(publicOf(s.key))},
			Brokers: []string{bankIssuer}, Version: 1})
	}))
	b.t.Cleanup(site.Close)
	s.origin = site.URL
	var vendor payword.Vendor
	b.call(s.key, "POST", payword.PathVendors, payword.VendorRequest{Vendor: s.origin, Key: payword.NewPublicKey(publicOf(s.key))}, &vendor)
	update(b.t, b.db, func(ctx context.Context, tx *ledger.Tx) error { // where it is paid to; by itself it would wait for days
		_, err := tx.ExecContext(ctx, `UPDATE broker_vendors SET destination = 'ref:customer 7' WHERE vendor = ?`, s.origin)
		return err
	})
	return s
}

// claim asks for an amount on a commitment, with tails at these indices.
func (s *seller) claim(p *promise, amount money.Amount, indices ...uint32) payword.Redemption {
	s.t.Helper()
	c := payword.Claim{Vendor: s.origin, Broker: bankIssuer, Commitment: p.m.ID, Amount: amount, IssuedAt: s.clock.Now().Unix()}
	for k, index := range indices {
		tail := payword.Tail{Index: index}
		if index > 0 {
			tip, err := p.payer.seed.Tip(p.m.Vendor, p.m.Nonce, k, 100)
			if err != nil {
				s.t.Fatal(err)
			}
			tail.Payword = tip.Walk(100 - index)
		}
		c.Tails = append(c.Tails, tail)
	}
	c, err := payword.SignClaim(c, s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	return payword.Redemption{Commitment: p.m.Token, Claim: c.Token}
}

// redeem is paid for claims.
func (s *seller) redeem(claims ...payword.Redemption) {
	s.t.Helper()
	var answer payword.RedemptionAnswer
	s.call(s.key, "POST", payword.PathRedemptions, payword.RedemptionRequest{Vendor: s.origin, Redemptions: claims}, &answer)
	for _, result := range answer.Results {
		if result.Reason != payword.Accepted {
			s.t.Fatalf("redeeming: %s: %s", result.Reason, result.Detail)
		}
	}
}

// day is a broker's day: three vendors and a few payers, of whom one pays all.
type day struct {
	*bank
	sellers []*seller
	payers  []*payer
}

func newDay(t testing.TB) *day {
	t.Helper()
	d := &day{bank: newBank(t)}
	for range 3 {
		d.sellers = append(d.sellers, d.newSeller())
	}
	for range 4 {
		d.payers = append(d.payers, d.newPayer(50*money.Unit))
	}
	return d
}

// trade redeems something of everybody at everybody, twice for some.
func (d *day) trade() {
	d.t.Helper()
	for k, s := range d.sellers {
		var first, second []payword.Redemption
		for j, p := range d.payers {
			if j > 0 && j%3 == k {
				continue
			}
			promise := p.commit(s.origin, 1000, 10_000)
			steps := uint32(10*k + j + 1)
			first = append(first, s.claim(promise, money.Amount(steps)*1000, steps, 0))
			if j%2 == 0 {
				second = append(second, s.claim(promise, money.Amount(steps)*1000+40_000, steps+5, 4))
			}
		}
		s.redeem(first...)
		s.redeem(second...)
	}
}

// settleDay makes a run that is closed, of what was redeemed since the one before,
// and publishes it.
func (d *day) insertRun(id string) {
	d.t.Helper()
	d.isUnsound = true // nobody planned it
	update(d.t, d.db, func(ctx context.Context, tx *ledger.Tx) error {
		var since, cutoff int64
		if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(cutoff), 0) FROM clearing_runs`).Scan(&since); err != nil {
			return err
		}
		if err := tx.QueryRowContext(ctx, `SELECT MAX(seq) FROM transfers`).Scan(&cutoff); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO clearing_fee_rules (version, rule, created) VALUES ('r/1', '{}', 1) ON CONFLICT DO NOTHING`); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO clearing_runs (id, state, period_end, currency, cutoff, since, fee_rule, policy, fees_account, bank_account,
			plan_hash, planned_by, needs, planned) VALUES (?, 'final', '2026-11-22', 'eur-micro', ?, ?, 'r/1', '{}', 'broker:fees', 'broker:bank:out', ?, 'anna', 0, 1)`,
			id, cutoff, since, fmt.Sprintf("hash of %s", id))
		return err
	})
}
