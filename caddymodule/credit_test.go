package caddymodule_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// worth makes a payer's commitment one of a number of cents.
func worth(cents money.Amount) func(*payword.Commitment) {
	return func(m *payword.Commitment) { m.Limit = cents * money.Unit / 100 }
}

// unreserved returns the headers that open p's commitment on credit.
func (p *payer) unreserved(payment payword.Payment) map[string]string {
	headers := p.opening(payment)
	delete(headers, payword.HeaderReservation)
	return headers
}

// wantRefusal sends a request that must be refused for a reason.
func (g *testGate) wantRefusal(t *testing.T, headers map[string]string, status int, reason payword.Reason) *http.Response {
	t.Helper()
	response, body := g.do(t, http.MethodGet, "/", headers)
	if got := statusOf(t, response).Reason; response.StatusCode != status || got != reason {
		t.Fatalf("got %s, %v; want %d, %v: %s", response.Status, got, status, reason, body)
	}
	return response
}

func TestCreditIsOffUnlessConfigured(t *testing.T) {
	for _, each := range []struct {
		global string
		offers bool
	}{{"", false}, {"credit off", false}, {"credit 0.50 100 EUR", false}, {"credit 0.50 100 EUR\ncredit 0.50 100 USD", true}} {
		t.Run(each.global, func(t *testing.T) {
			g := startGate(t, site{global: each.global})
			p := newPayer(t, wish{name: "on credit", vendor: g.vendor, commitment: worth(10)})
			_, document := g.do(t, http.MethodGet, payword.PathDiscovery, nil)
			var discovery payword.Discovery
			if err := json.Unmarshal([]byte(document), &discovery); err != nil || discovery.Unreserved != each.offers {
				t.Errorf("discovery: got unreserved %v, error %v; want %v", discovery.Unreserved, err, each.offers)
			}
			response, _ := g.do(t, http.MethodGet, "/", nil)
			challenges, err := payword.ParseChallenges(response.Header.Values("WWW-Authenticate"))
			if err != nil || len(challenges) != 1 {
				t.Fatalf("got %d challenges, error %v", len(challenges), err)
			}
			quoted, err := payword.ParsePriceRequest(challenges[0].Request)
			if err != nil || quoted.MethodDetails.Unreserved != each.offers {
				t.Errorf("challenge: got unreserved %v, error %v; want %v", quoted.MethodDetails.Unreserved, err, each.offers)
			}
			if each.offers {
				g.mustPay(t, "/", p.unreserved(p.payment(1, 1)))
			} else {
				g.wantRefusal(t, p.unreserved(p.payment(1, 1)), http.StatusPaymentRequired, payword.ReservationRequired)
			}
		})
	}
}

func TestCreditCaps(t *testing.T) {
	caps := site{global: "credit 0.50 0.80 USD"}
	g := startGate(t, caps)
	caps.dir, caps.vendor = g.dir, g.vendor
	first := newPayer(t, wish{name: "first", vendor: g.vendor, commitment: worth(50)})
	g.mustPay(t, "/", first.unreserved(first.payment(1, 1)))
	g.mustPay(t, "/", first.unreserved(first.payment(2, 2))) // known: no second share
	more := newPayer(t, wish{name: "first", vendor: g.vendor, commitment: func(m *payword.Commitment) {
		m.Nonce[0]++
		worth(1)(m)
	}})
	g.wantRefusal(t, more.unreserved(more.payment(1, 1)), http.StatusPaymentRequired, payword.CreditLimit)
	second := newPayer(t, wish{name: "second", vendor: g.vendor, commitment: worth(31)})
	g.wantRefusal(t, second.unreserved(second.payment(1, 1)), http.StatusPaymentRequired, payword.CreditLimit)
	third := newPayer(t, wish{name: "third", vendor: g.vendor, commitment: worth(30)})
	g.mustPay(t, "/", third.unreserved(third.payment(1, 1)))

	// A restart forgets no share.
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	g = startGate(t, caps)
	g.wantRefusal(t, more.unreserved(more.payment(1, 1)), http.StatusPaymentRequired, payword.CreditLimit)
}

func TestCreditEndsWithAReservation(t *testing.T) {
	g := startGate(t, site{global: "credit 0.50 0.50 USD"})
	p := newPayer(t, wish{name: "reserves later", vendor: g.vendor, commitment: worth(50)})
	next := newPayer(t, wish{name: "comes next", vendor: g.vendor, commitment: worth(50)})
	g.mustPay(t, "/", p.unreserved(p.payment(1, 1)))
	g.wantRefusal(t, next.unreserved(next.payment(1, 1)), http.StatusPaymentRequired, payword.CreditLimit)
	less := newPayer(t, wish{name: "reserves later", vendor: g.vendor, reserved: 490_000, reservation: func(r *payword.Reservation) {
		r.Commitment = p.commitment.ID // a lower one would leave the vendor with the rest
	}})
	headers := p.opening(p.payment(2, 2))
	headers[payword.HeaderReservation] = less.reservation.Token
	g.wantRefusal(t, headers, http.StatusPaymentRequired, payword.ReservationMismatch)
	g.mustPay(t, "/", p.opening(p.payment(2, 2)))
	g.mustPay(t, "/", next.unreserved(next.payment(1, 1)))
}

func TestCreditConfiguration(t *testing.T) {
	for _, each := range []struct{ credit, want string }{
		{"credit 0.50 USD", "want credit <per user>"},
		{"credit 1 0.50 USD", "no lower"},
		{"credit 0 0.50 USD", "more than 0"},
		{"credit 0.10 0.50 USD\ncredit 0.10 0.50 USD", "two caps"},
		{"credit x 0.50 USD", "per_user"},
		{"credit 0.10 x USD", "in_all"},
	} {
		if err := globalError(t, each.credit); err == nil || !strings.Contains(err.Error(), each.want) {
			t.Errorf("%s: got %v; want %q in it", each.credit, err, each.want)
		}
	}
}

// globalError returns what is wrong with options of the global option payword.
func globalError(t *testing.T, options string) error {
	t.Helper()
	text := fmt.Sprintf("{\nadmin off\npersist_config off\nlog {\nlevel ERROR\nformat payword\n}\npayword {\nstore %s\nbroker https://broker.example\n%s\n}\n}\n%s {\nbind 127.0.0.1\npayword https://news.example 0.001 USD\n}\n",
		t.TempDir(), options, freeOrigin(t))
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		return err
	}
	t.Cleanup(func() { caddy.Stop() })
	return caddy.Load(adapted, true)
}

// TestCreditIsRedeemed claims on an unreserved commitment, without a
// reservation, and again with the one that came later.
func TestCreditIsRedeemed(t *testing.T) {
	broker := newFakeBroker(t)
	gate, admin := startRedeemingGate(t, broker, "claim_delay 0s\ncredit 0.50 1 USD")
	p := newPayer(t, wish{name: "redeemed on credit", vendor: gate.vendor, issuer: broker.URL, commitment: worth(50)})
	gate.mustPay(t, "/1", p.unreserved(p.payment(5, 1)))
	if done, status := redeemNow(t, admin); status != http.StatusOK || done.Paid != 1 || done.Due != testPrice {
		t.Errorf("without a reservation: %d %+v", status, done)
	}
	gate.mustPay(t, "/2", p.opening(p.payment(5, 2)))
	if done, status := redeemNow(t, admin); status != http.StatusOK || done.Paid != 1 || done.Due != testPrice {
		t.Errorf("with one: %d %+v", status, done)
	}
}
