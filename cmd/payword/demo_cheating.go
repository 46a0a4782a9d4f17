package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

// recorder passes requests on and keeps the last payment among them, as
// somebody would who listens in.
type recorder struct {
	base http.RoundTripper

	mu       sync.Mutex
	header   string
	withhold bool // the next payment is kept and not sent
}

var errWithheld = errors.New("the payment was kept back")

// RoundTrip implements http.RoundTripper.
func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	if header := request.Header.Get(payword.HeaderPayword); header != "" {
		r.mu.Lock()
		r.header = header
		withhold := r.withhold
		r.mu.Unlock()
		if withhold {
			return nil, errWithheld
		}
	}
	return r.base.RoundTrip(request)
}

// last returns the last payment that was sent.
func (r *recorder) last() (payword.Payment, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	payment, _ := payword.ParsePayment(r.header)
	return payment, r.header
}

// preparedPayment has the wallet release a payword for a page and keeps it, for
// somebody else to send.
func (d *demo) preparedPayment(ctx context.Context) (string, error) {
	d.recorder.mu.Lock()
	d.recorder.withhold = true
	d.recorder.mu.Unlock()
	_, _, err := get(ctx, d.payer, d.siteURL+"/articles/hash-chain.html")
	if !errors.Is(err, errWithheld) {
		return "", fmt.Errorf("preparing a payment: %w", err)
	}
	_, header := d.recorder.last()
	return header, nil
}

// cheat tries what must not work. The cheat has a wallet and an account of its
// own, and pays for one page first.
func (d *demo) cheat(ctx context.Context) error {
	if err := d.broker.start(ctx); err != nil {
		return err
	}
	wallet, err := client.CreateWallet(client.WalletConfig{Path: d.path("cheat.json")})
	if err != nil {
		return err
	}
	defer wallet.Close()
	account, err := wallet.OpenAccount(ctx, d.brokerOrigin)
	if err != nil {
		return err
	}
	if err := d.fund(ctx, account.Account, demoFunding); err != nil {
		return err
	}
	listening := &recorder{base: http.DefaultTransport}
	if _, _, err := get(ctx, d.paying(wallet, listening), d.article(d.pages)); err != nil {
		return err
	}
	genuine, header := listening.last()
	d.pages++ // of the site; the cheat's, so counted apart below
	refused := 0
	try := func(what string, want payword.Reason, headers map[string]string) error {
		got, err := d.refusal(ctx, d.article(d.pages), headers)
		if err != nil {
			return err
		}
		if got == want {
			refused++
		}
		d.expect(got == want, "%s: %s", what, got)
		return nil
	}
	forged := genuine
	forged.Index, forged.Number = genuine.Index+1, genuine.Number+1
	rand.Read(forged.Payword[:])
	overspent, err := d.spendRest(ctx, genuine)
	if err != nil {
		return err
	}
	stale, err := d.madeUp(func(c *payword.Certificate, m *payword.Commitment) {
		c.Expires = time.Now().Unix() - 60
		m.Expires = c.Expires
	})
	if err != nil {
		return err
	}
	elsewhere, err := d.madeUp(func(_ *payword.Certificate, m *payword.Commitment) { m.Vendor = "https://other.example" })
	if err != nil {
		return err
	}
	for _, attempt := range []struct {
		what    string
		want    payword.Reason
		headers map[string]string
	}{
		{"replaying a payment for another page", payword.AlreadyUsed, map[string]string{payword.HeaderPayword: header}},
		{"a forged payword", payword.ForgedPayword, map[string]string{payword.HeaderPayword: payword.FormatPayment(forged)}},
		{"spending more than was released", payword.InsufficientCredit, map[string]string{payword.HeaderPayword: payword.FormatPayment(overspent)}},
		{"a stale certificate", payword.CertificateExpired, stale},
		{"a commitment to another vendor", payword.WrongVendor, elsewhere},
	} {
		if err := try(attempt.what, attempt.want, attempt.headers); err != nil {
			return err
		}
	}
	d.row("attempts to cheat", "%d of 5 refused, each with its reason", refused)
	return d.expectBudget(ctx)
}

// spendRest spends the credit that stands on a commitment, under new numbers,
// and returns the first payment that exceeds it.
func (d *demo) spendRest(ctx context.Context, payment payword.Payment) (payword.Payment, error) {
	for {
		payment.Number++
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.article(d.pages), nil)
		if err != nil {
			return payment, err
		}
		request.Header.Set(payword.HeaderPayword, payword.FormatPayment(payment))
		response, err := d.http.Do(request)
		if err != nil {
			return payment, err
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return payment, nil
		}
		d.pages++
	}
}

// refusal sends a request and returns the reason it was refused for.
func (d *demo) refusal(ctx context.Context, url string, headers map[string]string) (payword.Reason, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return payword.Accepted, err
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := d.http.Do(request)
	if err != nil {
		return payword.Accepted, err
	}
	response.Body.Close()
	status, refusal := payword.ParseStatus(response.Header.Get(payword.HeaderState))
	if refusal.Refused() {
		return payword.Accepted, fmt.Errorf("%s without a state: %s", response.Status, refusal)
	}
	return status.Reason, nil
}

// madeUp returns the headers of a first payment on a commitment that is right
// in all but what change does to it. It signs as the broker would, to show that
// the gate looks further than at signatures.
func (d *demo) madeUp(change func(*payword.Certificate, *payword.Commitment)) (map[string]string, error) {
	signer, err := broker.LoadKey(d.path("broker-key.pem"))
	if err != nil {
		return nil, err
	}
	public, user, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	var tip payword.Payword
	rand.Read(tip[:])
	now := time.Now().Unix()
	certificate := payword.Certificate{
		Issuer: d.brokerOrigin, Subject: "made-up", Key: public, IssuedAt: now - 3600, Expires: now + 3600,
		Currency: "usd-micro", Limit: money.Unit,
	}
	m := payword.Commitment{
		Vendor: d.siteURL, IssuedAt: now - 3600, Expires: now + 3600, Currency: "usd-micro", Limit: money.Unit,
		Chains: []payword.ChainTerms{{Root: tip.Walk(100), Unit: demoPrice, Length: 100}},
	}
	change(&certificate, &m)
	if m.Certificate, err = payword.SignCertificate(certificate, signer); err != nil {
		return nil, err
	}
	if m, err = payword.SignCommitment(m, user); err != nil {
		return nil, err
	}
	reservation, err := payword.SignReservation(payword.Reservation{
		Issuer: d.brokerOrigin, Commitment: m.ID, Amount: m.Limit, Currency: m.Currency, Sequence: 1,
		IssuedAt: now, RedeemBy: m.Expires + 3600,
	}, signer)
	if err != nil {
		return nil, err
	}
	payment := payword.Payment{Commitment: m.ID, Index: 1, Payword: tip.Walk(99), Number: 1, Max: demoPrice}
	return map[string]string{
		payword.HeaderPayword:     payword.FormatPayment(payment),
		payword.HeaderCommitment:  m.Token,
		payword.HeaderReservation: reservation.Token,
	}, nil
}
