package caddymodule_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword"
)

func TestFirstRequestOpensAndPays(t *testing.T) {
	gate := startGate(t, site{})
	response, _ := gate.do(t, http.MethodGet, "/one", nil)
	if response.StatusCode != http.StatusPaymentRequired {
		t.Fatalf("without payment: %s, want 402", response.Status)
	}
	p := newPayer(t, wish{name: "first", vendor: gate.vendor})
	response, body := gate.mustPay(t, "/one", p.opening(p.payment(3, 1)))
	if body != "content of /one" {
		t.Errorf("body is %q", body)
	}
	got := statusOf(t, response)
	want := payword.Status{
		Price: testPrice, Number: 1, Known: true, Accepted: 3 * testPrice, Spent: testPrice,
		Index: 3, TailHash: p.words[3].TailHash(),
	}
	if got != want {
		t.Errorf("status is %+v, want %+v", got, want)
	}
	// From now on the commitment need not be sent, and credit is spent first.
	for number := uint64(2); number <= 3; number++ {
		response, _ = gate.mustPay(t, fmt.Sprintf("/%d", number), p.header(p.payment(3, number)))
	}
	if got := statusOf(t, response); got.Spent != 3*testPrice {
		t.Errorf("spent %s, want %s", got.Spent, 3*testPrice)
	}
}

// TestRefusals sends what must not be served. Each names what a correct request
// changes; the answer must carry the reason, and none may write to the store.
func TestRefusals(t *testing.T) {
	gate := startGate(t, site{payword: "reread off"})
	p := newPayer(t, wish{name: "refused", vendor: gate.vendor, length: 6000})
	gate.mustPay(t, "/opened", p.opening(p.payment(300, 1)))

	fresh := func(name string, change wish) map[string]string {
		change.name, change.vendor = name, or(change.vendor, gate.vendor)
		other, err := makePayer(change)
		if err != nil {
			t.Fatal(err)
		}
		return other.opening(other.payment(1, 1))
	}
	with := func(headers map[string]string, name, value string) map[string]string {
		changed := maps.Clone(headers)
		changed[name] = value
		return changed
	}
	good := p.header(p.payment(300, 2))
	altered := func(change func(*payword.Payment)) map[string]string {
		payment := p.payment(300, 2)
		change(&payment)
		return p.header(payment)
	}
	past := time.Now().Unix() - 10
	tests := []struct {
		name    string
		headers map[string]string
		want    payword.Reason
	}{
		{"nothing", nil, payword.PaymentRequired},
		{"commitment alone", map[string]string{payword.HeaderCommitment: p.commitment.Token}, payword.MalformedHeader},
		{"empty header", with(good, payword.HeaderPayword, " "), payword.MalformedHeader},
		{"oversized header", with(good, payword.HeaderPayword, strings.Repeat("a", 3000)), payword.MalformedHeader},
		{"two forms", with(good, "Authorization", "Payment e30"), payword.SeveralPayments},
		{"broken credential", map[string]string{"Authorization": "Payment ***"}, payword.MalformedCredential},
		{"foreign method", map[string]string{"Authorization": "Payment " + encodeJSON(t, map[string]any{"challenge": map[string]string{"method": "tempo"}, "payload": map[string]string{}})}, payword.MethodUnsupported},
		{"id of another commitment", with(p.opening(p.payment(300, 2)), payword.HeaderCommitment, p.commitment.Token+"x"), payword.MalformedHeader},
		{"unknown commitment", altered(func(q *payword.Payment) { q.Commitment[0]++ }), payword.UnknownCommitment},
		{"garbled commitment", garbled(p), payword.MalformedCommitment},
		{"wrong vendor", fresh("vendor", wish{vendor: "https://other.example"}), payword.WrongVendor},
		{"wrong currency", fresh("currency", wish{
			certificate: func(c *payword.Certificate) { c.Currency = "eur-micro" },
			commitment:  func(m *payword.Commitment) { m.Currency = "eur-micro" },
			reservation: func(r *payword.Reservation) { r.Currency = "eur-micro" },
		}), payword.WrongCurrency},
		{"expired commitment", fresh("expired", wish{commitment: func(m *payword.Commitment) { m.Expires = past }}), payword.CommitmentExpired},
		{"stale certificate", fresh("stale certificate", wish{
			certificate: func(c *payword.Certificate) { c.Expires = past },
			commitment:  func(m *payword.Commitment) { m.Expires = past },
		}), payword.CertificateExpired},
		{"made in the future", fresh("future", wish{commitment: func(m *payword.Commitment) { m.IssuedAt += 600 }}), payword.CommitmentNotYetValid},
		{"unknown broker", fresh("broker", wish{certificate: func(c *payword.Certificate) { c.Issuer = "https://elsewhere.example" }}), payword.UnknownBroker},
		{"broker's unknown key", fresh("key", wish{broker: ed25519.NewKeyFromSeed(seedOf("other"))}), payword.UnknownBroker},
		{"not reserved", without(fresh("unreserved", wish{}), payword.HeaderReservation), payword.ReservationRequired},
		{"another's reservation", with(fresh("mismatch", wish{}), payword.HeaderReservation, p.reservation.Token), payword.ReservationMismatch},
		{"bound to another address", fresh("address", wish{certificate: func(c *payword.Certificate) {
			c.Prefixes = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		}}), payword.WrongAddress},
		{"no such chain", altered(func(q *payword.Payment) { q.Chain = 7 }), payword.UnknownChain},
		{"past the end", altered(func(q *payword.Payment) { q.Index = 6001 }), payword.ChainExhausted},
		{"too far behind", p.header(p.payment(300-payword.MaxStale-1, 2)), payword.StalePayword},
		{"too far ahead", p.header(p.payment(300+payword.DefaultMaxStep+1, 2)), payword.StepTooFar},
		{"forged, ahead", altered(func(q *payword.Payment) { q.Index = 310 }), payword.ForgedPayword},
		{"forged, behind", altered(func(q *payword.Payment) { q.Index = 299 }), payword.ForgedPayword},
		{"forged, at the tail", altered(func(q *payword.Payment) { q.Payword[31] ^= 1 }), payword.ForgedPayword},
		{"price over max", altered(func(q *payword.Payment) { q.Max = testPrice - 1 }), payword.PriceOverMax},
		{"replayed for another page", p.header(p.payment(300, 1)), payword.AlreadyUsed},
	}
	before := storeBytes(t, gate.dir)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			response, body := gate.do(t, http.MethodGet, "/page", test.headers)
			var problem payword.Problem
			if err := json.Unmarshal([]byte(body), &problem); err != nil {
				t.Fatalf("%s: the body is no problem: %s", response.Status, body)
			}
			if problem.Reason != test.want || problem.Status != response.StatusCode || response.StatusCode != test.want.HTTPStatus() {
				t.Errorf("%s, problem %s (%d, %s), want %s", response.Status, problem.Reason, problem.Status, problem.Detail, test.want)
			}
			if test.want != payword.PaymentRequired && problem.Detail == "" {
				t.Error("the refusal does not say what would be right")
			}
			if got := response.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control is %q", got)
			}
			if response.Header.Get("WWW-Authenticate") == "" && response.StatusCode == http.StatusPaymentRequired {
				t.Error("a 402 without a challenge")
			}
			if strings.Contains(body, "content of") {
				t.Error("content was served")
			}
		})
	}
	if after := storeBytes(t, gate.dir); !bytes.Equal(before, after) {
		t.Errorf("refusals wrote to the store: %d bytes before, %d after", len(before), len(after))
	}
	if response, _ := gate.do(t, http.MethodGet, "/page", good); response.StatusCode != http.StatusOK {
		t.Errorf("the control, a good payment, got %s", response.Status)
	}
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func without(headers map[string]string, name string) map[string]string {
	changed := maps.Clone(headers)
	delete(changed, name)
	return changed
}

// garbled is an opening whose commitment is no JWS, with an id that fits it.
func garbled(p *payer) map[string]string {
	payment := p.payment(1, 1)
	payment.Commitment = payword.NewCommitmentID("e30.e30.AAAA")
	headers := p.opening(payment)
	headers[payword.HeaderCommitment] = "e30.e30.AAAA"
	return headers
}

func encodeJSON(t *testing.T, value any) string {
	t.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(encoded)
}

// storeBytes returns everything that the store has written.
func storeBytes(t *testing.T, dir string) []byte {
	t.Helper()
	var all []byte
	err := filepath.WalkDir(filepath.Join(dir, "store"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		all = append(append(all, path...), content...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestDuplicatedHeadersAreRefused(t *testing.T) {
	gate := startGate(t, site{})
	p := newPayer(t, wish{name: "duplicated", vendor: gate.vendor})
	for _, name := range []string{payword.HeaderPayword, payword.HeaderCommitment, payword.HeaderReservation} {
		request, err := http.NewRequest(http.MethodGet, gate.vendor+"/page", nil)
		if err != nil {
			t.Fatal(err)
		}
		for header, value := range p.opening(p.payment(1, 1)) {
			request.Header.Add(header, value)
		}
		request.Header.Add(name, request.Header.Get(name))
		response, err := gate.http.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got := statusOf(t, response); response.StatusCode != http.StatusPaymentRequired || got.Reason != payword.MalformedHeader {
			t.Errorf("two %s headers: %s, %s", name, response.Status, got.Reason)
		}
	}
}

func TestGenuinePaywordCountsEvenIfRefused(t *testing.T) {
	gate := startGate(t, site{})
	p := newPayer(t, wish{name: "counts", vendor: gate.vendor})
	gate.mustPay(t, "/1", p.opening(p.payment(1, 1)))
	payment := p.payment(5, 2)
	payment.Max = 0
	response, _ := gate.do(t, http.MethodGet, "/2", p.header(payment))
	if got := statusOf(t, response); got.Reason != payword.PriceOverMax || got.Accepted != 5*testPrice || got.Spent != testPrice {
		t.Errorf("status is %+v", got)
	}
	// The credit stands: four more pages, and not a fifth.
	for number := uint64(3); number <= 6; number++ {
		gate.mustPay(t, fmt.Sprintf("/%d", number), p.header(p.payment(5, number)))
	}
	response, _ = gate.do(t, http.MethodGet, "/7", p.header(p.payment(5, 7)))
	if got := statusOf(t, response); got.Reason != payword.InsufficientCredit || got.Accepted != got.Spent {
		t.Errorf("status is %+v", got)
	}
}

func TestReservationBoundsWhatIsAccepted(t *testing.T) {
	gate := startGate(t, site{})
	p := newPayer(t, wish{name: "bounded", vendor: gate.vendor, reserved: 2 * testPrice})
	gate.mustPay(t, "/1", p.opening(p.payment(10, 1)))
	gate.mustPay(t, "/2", p.header(p.payment(10, 2)))
	response, _ := gate.do(t, http.MethodGet, "/3", p.header(p.payment(10, 3)))
	if got := statusOf(t, response); got.Reason != payword.InsufficientCredit || got.Accepted != 2*testPrice {
		t.Errorf("status is %+v, want 2 prices accepted", got)
	}
	// A later reservation raises the cap; an earlier one does not lower it.
	later, err := payword.SignReservation(payword.Reservation{
		Issuer: testIssuer, Commitment: p.commitment.ID, Amount: 3 * testPrice, Currency: "usd-micro",
		Sequence: 2, IssuedAt: time.Now().Unix(), RedeemBy: p.commitment.Expires + 3600,
	}, testBroker)
	if err != nil {
		t.Fatal(err)
	}
	earlier := p.reservation.Token
	for _, token := range []string{later.Token, earlier} {
		headers := p.header(p.payment(10, 3))
		headers[payword.HeaderReservation] = token
		response, _ = gate.mustPay(t, "/3", headers)
		if got := statusOf(t, response); got.Accepted != 3*testPrice || got.Spent != 3*testPrice {
			t.Errorf("status is %+v, want 3 prices accepted and spent", got)
		}
	}
}

func TestChainsOfDifferentUnit(t *testing.T) {
	gate := startGate(t, site{})
	p := newPayer(t, wish{name: "units", vendor: gate.vendor})
	payment := payword.Payment{
		Commitment: p.commitment.ID, Chain: 1, Index: 2, Payword: p.second[2], Number: 1, Max: testPrice,
	}
	response, _ := gate.mustPay(t, "/1", p.opening(payment))
	if got := statusOf(t, response); got.Accepted != 100*testPrice || got.Chain != 1 {
		t.Errorf("status is %+v, want two steps of 50 prices accepted", got)
	}
	response, _ = gate.mustPay(t, "/2", p.header(p.payment(1, 2)))
	if got := statusOf(t, response); got.Accepted != 101*testPrice {
		t.Errorf("status is %+v, want 101 prices accepted", got)
	}
}

func TestLargeAdvanceInSeveralHeadRequests(t *testing.T) {
	gate := startGate(t, site{global: "max_step 100"})
	p := newPayer(t, wish{name: "steps", vendor: gate.vendor})
	gate.mustPay(t, "/1", p.opening(p.payment(1, 1)))
	for number, index := uint64(2), uint32(101); index <= 501; number, index = number+1, index+100 {
		response, _ := gate.do(t, http.MethodHead, "/2", p.header(p.payment(index, number)))
		if got := statusOf(t, response); response.StatusCode != http.StatusOK || got.Index != index || got.Spent != testPrice {
			t.Fatalf("HEAD up to %d: %s, %+v", index, response.Status, got)
		}
	}
	response, _ := gate.mustPay(t, "/2", p.header(p.payment(501, 90)))
	if got := statusOf(t, response); got.Accepted != 501*testPrice || got.Spent != 2*testPrice {
		t.Errorf("status is %+v", got)
	}
}

func TestPaymentScheme(t *testing.T) {
	gate := startGate(t, site{payword: "credential_header Payment-Authorization"})
	p := newPayer(t, wish{name: "scheme", vendor: gate.vendor})
	response, _ := gate.do(t, http.MethodGet, "/page?x=1&y=2", nil)
	challenges, err := payword.ParseChallenges(response.Header.Values("WWW-Authenticate"))
	if err != nil || len(challenges) != 1 {
		t.Fatalf("challenges: %v, %v", challenges, err)
	}
	challenge := challenges[0]
	if challenge.Header != payword.HeaderPaymentAuthorization {
		t.Errorf("the challenge asks for %q", challenge.Header)
	}
	request, err := payword.ParsePriceRequest(challenge.Request)
	if err != nil || request.Amount != testPrice || request.Recipient != gate.vendor || request.MethodDetails.URL != gate.vendor+"/page?x=1&y=2" {
		t.Fatalf("request: %+v, %v", request, err)
	}
	send := func(target string, payload payword.Payload, challenge payword.Challenge) (*http.Response, payword.Problem, string) {
		value, err := payword.Credential{Challenge: challenge, Payload: payload}.Format()
		if err != nil {
			t.Fatal(err)
		}
		response, body := gate.do(t, http.MethodGet, target, map[string]string{
			payword.HeaderPaymentAuthorization: value, "Authorization": "Bearer the-site's-own",
		})
		var problem payword.Problem
		json.Unmarshal([]byte(body), &problem)
		return response, problem, body
	}
	payload := payword.NewPayload(p.payment(2, 1))
	payload.Commitment, payload.Reservation = p.commitment.Token, p.reservation.Token
	response, _, body := send("/page?x=1&y=2", payload, challenge)
	if response.StatusCode != http.StatusOK || body != "content of /page?x=1&y=2" {
		t.Fatalf("paid: %s %s", response.Status, body)
	}
	receipt, err := payword.ParseReceipt(response.Header.Get(payword.HeaderPaymentReceipt))
	if err != nil {
		t.Fatal(err)
	}
	if receipt.Status != "success" || receipt.Amount != testPrice || receipt.Spent != testPrice || receipt.Credit != testPrice || receipt.ChallengeID != challenge.ID {
		t.Errorf("receipt is %+v", receipt)
	}
	if got := response.Header.Get("Cache-Control"); !strings.HasPrefix(got, "private") {
		t.Errorf("Cache-Control is %q", got)
	}

	next := payword.NewPayload(p.payment(2, 2))
	if response, problem, _ := send("/other", next, challenge); problem.Reason != payword.WrongResource {
		t.Errorf("a quote for another page: %s %s", response.Status, problem.Reason)
	}
	forged := challenge
	forged.Expires = "2099-01-01T00:00:00Z"
	if response, problem, _ := send("/page?x=1&y=2", next, forged); problem.Reason != payword.InvalidChallenge {
		t.Errorf("a changed challenge: %s %s", response.Status, problem.Reason)
	}
	closing := payword.NewPayload(p.payment(2, 3))
	closing.Action = payword.ActionClose
	response, _, body = send("/page?x=1&y=2", closing, challenge)
	if response.StatusCode != http.StatusNoContent || body != "" {
		t.Errorf("close: %s %q", response.Status, body)
	}
	if response, problem, _ := send("/page?x=1&y=2", next, challenge); problem.Reason != payword.CommitmentClosed {
		t.Errorf("after close: %s %s", response.Status, problem.Reason)
	}
}

// TestChargeIntent answers a challenge that can be used once.
func TestChargeIntent(t *testing.T) {
	gate := startGate(t, site{payword: "intent charge\nreread off"})
	p := newPayer(t, wish{name: "charge", vendor: gate.vendor})
	quote := func() payword.Challenge {
		response, _ := gate.do(t, http.MethodGet, "/page", nil)
		challenges, err := payword.ParseChallenges(response.Header.Values("WWW-Authenticate"))
		if err != nil || len(challenges) != 1 || challenges[0].Intent != payword.IntentCharge {
			t.Fatalf("challenges: %v, %v", challenges, err)
		}
		return challenges[0]
	}
	pay := func(challenge payword.Challenge, number uint64, digest string) payword.Status {
		payload := payword.NewPayload(p.payment(10, number))
		payload.Commitment, payload.Reservation = p.commitment.Token, p.reservation.Token
		credential, err := payword.Credential{Challenge: challenge, Payload: payload}.Format()
		if err != nil {
			t.Fatal(err)
		}
		response, _ := gate.do(t, http.MethodGet, "/page", map[string]string{"Authorization": credential, "Content-Digest": digest})
		return statusOf(t, response)
	}
	first := quote()
	steps := []struct {
		what      string
		challenge payword.Challenge
		number    uint64
		digest    string
		want      payword.Reason
		spent     int64
	}{
		{"a charge", first, 1, "", payword.Accepted, 1},
		{"the same request again", first, 1, "", payword.Accepted, 1},
		{"the challenge under another number", first, 2, "", payword.ChallengeUsed, 1},
		{"and with another body", first, 3, "sha-256=:AA==:", payword.ChallengeUsed, 1},
	}
	for _, step := range steps {
		got := pay(step.challenge, step.number, step.digest)
		if got.Reason != step.want || int64(got.Spent) != step.spent*int64(testPrice) {
			t.Errorf("%s: %s, spent %s", step.what, got.Reason, got.Spent)
		}
	}
	if got := pay(quote(), 4, ""); got.Reason != payword.Accepted || got.Spent != 2*testPrice {
		t.Errorf("a new challenge: %+v", got)
	}
}

func TestForgedPaywordsAreRateLimited(t *testing.T) {
	gate := startGate(t, site{})
	p := newPayer(t, wish{name: "limited", vendor: gate.vendor})
	gate.mustPay(t, "/1", p.opening(p.payment(1, 1)))
	forged := p.payment(50, 2)
	forged.Payword[0] ^= 1
	last := payword.Accepted
	for range 200 {
		response, _ := gate.do(t, http.MethodGet, "/2", p.header(forged))
		if last = statusOf(t, response).Reason; last == payword.RateLimited {
			if response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Retry-After") == "" {
				t.Errorf("%s without Retry-After", response.Status)
			}
			return
		}
	}
	t.Errorf("200 forged paywords, and the last was refused with %s", last)
}

func TestPlainHTTPFromElsewhereIsRefused(t *testing.T) {
	gate := startGate(t, site{options: "servers {\ntrusted_proxies static 127.0.0.0/8\n}"})
	p := newPayer(t, wish{name: "plain", vendor: gate.vendor})
	headers := p.opening(p.payment(1, 1))
	headers["X-Forwarded-Proto"] = "http"
	response, body := gate.do(t, http.MethodGet, "/1", headers)
	if response.StatusCode != http.StatusForbidden || !strings.Contains(body, "insecure-transport") {
		t.Errorf("a proxy says that the client came over http: %s %s", response.Status, body)
	}
	headers["X-Forwarded-Proto"] = "https"
	gate.mustPay(t, "/1", headers)
}
