package caddymodule_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/caddymodule"
	"github.com/paywordhq/payword/money"
)

// fakeBroker pays claims as a broker does, in memory. It can fail, and it can
// do the work and lose the answer.
type fakeBroker struct {
	*httptest.Server
	t *testing.T

	mu         sync.Mutex
	vendorKey  ed25519.PublicKey
	redeemed   map[payword.CommitmentID]payword.Redeemed
	final      map[payword.CommitmentID]bool
	payable    money.Amount
	requests   int
	fail, lose bool
	refusal    payword.Reason // of every claim, unless it is Accepted
}

func newFakeBroker(t *testing.T) *fakeBroker {
	b := &fakeBroker{t: t, redeemed: map[payword.CommitmentID]payword.Redeemed{}, final: map[payword.CommitmentID]bool{}}
	b.Server = httptest.NewServer(http.HandlerFunc(b.serve))
	t.Cleanup(b.Close)
	return b
}

func (b *fakeBroker) set(fail, lose bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail, b.lose = fail, lose
}

// refuse makes the broker refuse every claim from now on.
func (b *fakeBroker) refuse(reason payword.Reason) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refusal = reason
}

// totals returns what is payable, in micros, how many requests came, and
// whether the last claim on a commitment came.
func (b *fakeBroker) totals(id payword.CommitmentID) (payable money.Amount, requests int, final bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.payable, b.requests, b.final[id]
}

func (b *fakeBroker) serve(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests++
	body, err := io.ReadAll(r.Body)
	if err != nil {
		b.t.Error(err)
	}
	if b.fail {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	if r.URL.Path == payword.PathVendors {
		b.register(w, r, body)
		return
	}
	if b.vendorKey == nil {
		w.WriteHeader(http.StatusNotFound)
		json.NewEncoder(w).Encode(payword.Problem{Reason: payword.UnknownVendor})
		return
	}
	b.verify(r, body, b.vendorKey)
	answer := b.redeem(body)
	if b.lose {
		panic(http.ErrAbortHandler)
	}
	json.NewEncoder(w).Encode(answer)
}

// register looks at the vendor's origin, as a broker does.
func (b *fakeBroker) register(w http.ResponseWriter, r *http.Request, body []byte) {
	var request payword.VendorRequest
	if err := json.Unmarshal(body, &request); err != nil {
		b.t.Error(err)
	}
	response, err := http.Get(request.Vendor + payword.PathDiscovery)
	if err != nil {
		b.t.Error(err)
		return
	}
	defer response.Body.Close()
	document, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Error(err)
	}
	discovery, err := payword.ParseDiscovery(document)
	if err != nil || len(discovery.Keys) != 1 || discovery.Keys[0] != request.Key {
		b.t.Errorf("the origin does not list the key: %s, %v", document, err)
	}
	key, err := request.Key.Key()
	if err != nil {
		b.t.Error(err)
	}
	b.verify(r, body, key)
	b.vendorKey = key
	json.NewEncoder(w).Encode(payword.Vendor{Vendor: request.Vendor, Currency: "usd-micro"})
}

func (b *fakeBroker) verify(r *http.Request, body []byte, key ed25519.PublicKey) {
	signed, refusal := payword.ParseSignatureInput(r.Header.Get(payword.HeaderSignatureInput))
	if refusal.Refused() {
		b.t.Error(refusal)
	}
	signed.Method, signed.TargetURI, signed.Digest = r.Method, b.URL+r.URL.RequestURI(), payword.ContentDigest(body)
	if refusal := signed.Verify(key, r.Header.Get(payword.HeaderSignature), time.Now().Unix()); refusal.Refused() {
		b.t.Error(refusal)
	}
}

func (b *fakeBroker) redeem(body []byte) payword.RedemptionAnswer {
	var request payword.RedemptionRequest
	if err := json.Unmarshal(body, &request); err != nil {
		b.t.Error(err)
	}
	brokers := payword.Brokers{b.URL: {payword.Thumbprint(testBroker.Public().(ed25519.PublicKey)): testBroker.Public().(ed25519.PublicKey)}}
	var answer payword.RedemptionAnswer
	for _, item := range request.Redemptions {
		commitment, refusal := payword.ParseCommitment(item.Commitment, brokers)
		if refusal.Refused() {
			b.t.Error(refusal)
			continue
		}
		ceiling := commitment.Limit
		if item.Reservation != "" {
			reservation, refusal := payword.ParseReservation(item.Reservation, &commitment, brokers)
			if refusal.Refused() {
				b.t.Error(refusal)
			}
			ceiling = reservation.Amount
		}
		claim, refusal := payword.ParseClaim(item.Claim, b.vendorKey)
		if refusal.Refused() {
			b.t.Error(refusal)
		}
		if b.refusal != payword.Accepted {
			answer.Results = append(answer.Results, payword.RedemptionResult{Commitment: commitment.ID, Reason: b.refusal})
			continue
		}
		before, known := b.redeemed[commitment.ID]
		if !known {
			before = payword.NewRedeemed(&commitment)
		}
		after, due, refusal := payword.JudgeClaim(&commitment, before, &claim, ceiling)
		b.redeemed[commitment.ID] = after
		b.final[commitment.ID] = b.final[commitment.ID] || claim.Final
		b.payable += due
		answer.Results = append(answer.Results, payword.RedemptionResult{
			Commitment: commitment.ID, Reason: refusal.Reason, Paid: after.Paid, Due: due,
		})
	}
	return answer
}

// redemption is what the admin endpoint answers.
type redemption struct {
	Claims, Paid, Refused int
	Due                   money.Amount
}

// postAdmin asks a gate's admin endpoint. It keeps no connection: another gate
// may listen there the next time.
func postAdmin(t *testing.T, admin, target string) *http.Response {
	t.Helper()
	request, err := http.NewRequest(http.MethodPost, "http://"+admin+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// redeemNow asks the gate's admin endpoint to claim.
func redeemNow(t *testing.T, admin string) (redemption, int) {
	t.Helper()
	response := postAdmin(t, admin, "/payword/redeem")
	defer response.Body.Close()
	var done redemption
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(response.Body)
		t.Logf("the admin endpoint: %s", body)
	} else if err := json.NewDecoder(response.Body).Decode(&done); err != nil {
		t.Fatal(err)
	}
	return done, response.StatusCode
}

func startRedeemingGate(t *testing.T, broker *fakeBroker, global string) (*testGate, string) {
	t.Helper()
	admin := strings.TrimPrefix(freeOrigin(t), "http://")
	return startGate(t, site{admin: admin, issuer: broker.URL, global: global, payword: "reread off"}), admin
}

func TestRedemption(t *testing.T) {
	broker := newFakeBroker(t)
	gate, admin := startRedeemingGate(t, broker, "claim_delay 0s")
	p := newPayer(t, wish{name: "redeemed", vendor: gate.vendor, issuer: broker.URL})
	gate.mustPay(t, "/1", p.opening(p.payment(5, 1)))
	gate.mustPay(t, "/2", p.header(p.payment(5, 2)))

	broker.set(true, false)
	if _, status := redeemNow(t, admin); status != http.StatusBadGateway {
		t.Errorf("with the broker away: %d", status)
	}
	broker.set(false, true)
	if _, status := redeemNow(t, admin); status != http.StatusBadGateway {
		t.Errorf("with the answer lost: %d", status)
	}
	if payable, _, _ := broker.totals(p.commitment.ID); payable != 2*testPrice {
		t.Fatalf("payable is %s, want what was spent and not what was released", payable)
	}
	broker.set(false, false)
	steps := []struct {
		what string
		want redemption
	}{
		{"what was paid and whose answer was lost", redemption{Claims: 1, Paid: 1}},
		{"nothing new", redemption{}},
	}
	for _, step := range steps {
		if done, status := redeemNow(t, admin); status != http.StatusOK || done != step.want {
			t.Errorf("%s: %d %+v, want %+v", step.what, status, done, step.want)
		}
	}
	gate.mustPay(t, "/3", p.header(p.payment(5, 3)))
	done, _ := redeemNow(t, admin)
	if payable, _, _ := broker.totals(p.commitment.ID); done.Due != testPrice || payable != 3*testPrice {
		t.Errorf("one page more: %+v, payable %s", done, payable)
	}
}

// TestRedemptionWaits claims nothing that can still be given back, and the last
// of a closed commitment with word that it is the last.
func TestRedemptionWaits(t *testing.T) {
	broker := newFakeBroker(t)
	gate, admin := startRedeemingGate(t, broker, "")
	p := newPayer(t, wish{name: "waits", vendor: gate.vendor, issuer: broker.URL})
	gate.mustPay(t, "/1", p.opening(p.payment(1, 1)))
	if done, status := redeemNow(t, admin); status != http.StatusOK || done != (redemption{}) {
		t.Errorf("a charge that can still be given back: %d %+v", status, done)
	}
	if _, requests, _ := broker.totals(p.commitment.ID); requests != 0 {
		t.Errorf("the broker was asked %d times", requests)
	}
}

func TestRedemptionOfClosedCommitment(t *testing.T) {
	broker := newFakeBroker(t)
	gate, admin := startRedeemingGate(t, broker, "claim_delay 0s")
	p := newPayer(t, wish{name: "closed", vendor: gate.vendor, issuer: broker.URL})
	gate.mustPay(t, "/1", p.opening(p.payment(2, 1)))
	response, _ := gate.do(t, http.MethodGet, "/2", nil)
	challenges, err := payword.ParseChallenges(response.Header.Values("WWW-Authenticate"))
	if err != nil || len(challenges) != 1 {
		t.Fatalf("challenges: %v, %v", challenges, err)
	}
	payload := payword.NewPayload(p.payment(2, 2))
	payload.Action = payword.ActionClose
	credential, err := payword.Credential{Challenge: challenges[0], Payload: payload}.Format()
	if err != nil {
		t.Fatal(err)
	}
	if response, body := gate.do(t, http.MethodGet, "/2", map[string]string{"Authorization": credential}); response.StatusCode != http.StatusNoContent {
		t.Fatalf("close: %s %s", response.Status, body)
	}
	done, _ := redeemNow(t, admin)
	if _, _, final := broker.totals(p.commitment.ID); done.Due != testPrice || !final {
		t.Errorf("%+v, final %v", done, final)
	}
	if done, _ = redeemNow(t, admin); done.Claims != 0 {
		t.Errorf("after the last claim there was another: %+v", done)
	}
}

// TestRedemptionKeepsBrokersApart has one broker away: the claims of the other
// are paid in the same round, and the job leaves the first alone for a while.
func TestRedemptionKeepsBrokersApart(t *testing.T) {
	away, here := newFakeBroker(t), newFakeBroker(t)
	away.set(true, false)
	admin := adminAddress(t)
	dir := t.TempDir()
	gate := startGate(t, site{admin: admin, dir: dir, issuer: away.URL, payword: "reread off",
		global: "claim_delay 0s\nbroker " + here.URL + " " + filepath.Join(dir, "broker-keys.json")})
	for k, broker := range []*fakeBroker{away, here} {
		p := newPayer(t, wish{name: fmt.Sprintf("apart %d", k), vendor: gate.vendor, issuer: broker.URL})
		gate.mustPay(t, "/1", p.opening(p.payment(1, 1)))
	}
	if _, status := redeemNow(t, admin); status != http.StatusBadGateway {
		t.Errorf("with one broker away: %d", status)
	}
	if payable, _, _ := here.totals(payword.CommitmentID{}); payable != testPrice {
		t.Errorf("the broker that is there pays %s", payable)
	}
	_, before, _ := away.totals(payword.CommitmentID{})
	if err := caddymodule.RedeemByJob(); err != nil {
		t.Errorf("the job, which leaves the broker alone: %v", err)
	}
	if _, after, _ := away.totals(payword.CommitmentID{}); after != before {
		t.Errorf("a broker that just failed was asked again")
	}
	away.set(false, false)
	if done, status := redeemNow(t, admin); status != http.StatusOK || done.Paid != 1 {
		t.Errorf("when it is back: %d %+v", status, done)
	}
	seen := scrapeOf(t, admin)
	for series, want := range map[string]float64{
		fmt.Sprintf(`caddy_payword_claims_total{broker=%q,outcome="failed"}`, away.URL):   1,
		fmt.Sprintf(`caddy_payword_claims_total{broker=%q,outcome="paid"}`, away.URL):     1,
		fmt.Sprintf(`caddy_payword_claims_total{broker=%q,outcome="paid"}`, here.URL):     1,
		fmt.Sprintf(`caddy_payword_due_micros_total{broker=%q,currency="USD"}`, here.URL): float64(testPrice),
		`caddy_payword_redeemed_micros{currency="USD"}`:                                   2 * float64(testPrice),
		`caddy_payword_unredeemed_micros{currency="USD"}`:                                 0,
		"caddy_payword_unredeemed_oldest_seconds":                                         0,
	} {
		if got, found := seen[series]; !found || got != want {
			t.Errorf("%s: %v, %v, want %v", series, got, found, want)
		}
	}
}

// TestRedemptionCrashPoints stops a redemption at every point where it can be
// stopped, and wants the next one to pay what is owed, once.
func TestRedemptionCrashPoints(t *testing.T) {
	broker := newFakeBroker(t)
	admin := adminAddress(t)
	s := site{admin: admin, dir: t.TempDir(), issuer: broker.URL, payword: "reread off", global: "claim_delay 0s", vendor: freeOrigin(t)}
	gate := startGate(t, s)
	p := newPayer(t, wish{name: "crash points", vendor: gate.vendor, issuer: broker.URL})
	store := filepath.Join(s.dir, "store")
	paid := uint64(0)
	tests := []struct {
		point string
		stop  func() // makes the next redemption stop at the point
	}{
		{"before the claim is sent", func() { broker.set(true, false) }},
		{"after the broker paid and before its answer came", func() { broker.set(false, true) }},
		{"after the answer came and before it is acknowledged", func() {
			broker.set(false, false)
			if err := caddymodule.FailAcknowledge(store); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, test := range tests {
		paid++
		header := p.header(p.payment(10, paid))
		if paid == 1 {
			header = p.opening(p.payment(10, paid))
		}
		gate.mustPay(t, fmt.Sprintf("/%d", paid), header)
		test.stop()
		if _, status := redeemNow(t, admin); status == http.StatusOK {
			t.Errorf("%s: the redemption did not fail", test.point)
		}
		// What the process remembered is gone; the store and the broker remain.
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
		broker.set(false, false)
		// Caddy may end the admin server of before a little later: another address.
		admin = adminAddress(t)
		s.admin = admin
		gate = startGate(t, s)
		if done, status := redeemNow(t, admin); status != http.StatusOK || done.Paid != 1 || done.Refused != 0 {
			t.Errorf("%s: the next one: %d %+v", test.point, status, done)
		}
		if payable, _, _ := broker.totals(p.commitment.ID); payable != testPrice*money.Amount(paid) {
			t.Errorf("%s: %s is payable, want %s", test.point, payable, testPrice*money.Amount(paid))
		}
		if done, _ := redeemNow(t, admin); done.Claims != 0 {
			t.Errorf("%s: and then there was more to claim: %+v", test.point, done)
		}
	}
}

// TestRefusedClaimIsNotRepeated has the broker refuse a claim for good: it is
// not sent again until more was spent.
func TestRefusedClaimIsNotRepeated(t *testing.T) {
	broker := newFakeBroker(t)
	gate, admin := startRedeemingGate(t, broker, "claim_delay 0s")
	p := newPayer(t, wish{name: "refused claim", vendor: gate.vendor, issuer: broker.URL})
	gate.mustPay(t, "/1", p.opening(p.payment(5, 1)))
	broker.refuse(payword.ClaimTooLate)
	for _, want := range []redemption{{Claims: 1, Refused: 1}, {}, {}} {
		if done, status := redeemNow(t, admin); status != http.StatusOK || done != want {
			t.Errorf("%d %+v, want %+v", status, done, want)
		}
	}
	gate.mustPay(t, "/2", p.header(p.payment(5, 2)))
	if done, _ := redeemNow(t, admin); done.Claims != 1 || done.Refused != 1 {
		t.Errorf("with one page more: %+v", done)
	}
	refusals := fmt.Sprintf(`caddy_payword_claim_refusals_total{broker=%q,reason="claim-too-late"}`, broker.URL)
	if got := scrapeOf(t, admin)[refusals]; got != 2 {
		t.Errorf("%s: %v, want 2", refusals, got)
	}
}

// TestRedemptionIsUrgent wakes the job when much can be claimed, or when it must
// be claimed soon, though the interval is long.
func TestRedemptionIsUrgent(t *testing.T) {
	tests := []struct {
		name, global string
		wish         wish
		urgent       bool
	}{
		{"little, and time enough", "redeem_above 1 USD\nredeem_margin 1h", wish{}, false},
		{"much", "redeem_above 0.001 USD\nredeem_margin 1h", wish{}, true},
		{"much of another currency", "redeem_above 0.001 EUR\nredeem_margin 1h", wish{}, false},
		{"soon too late", "redeem_margin 24h", wish{}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			broker := newFakeBroker(t)
			gate, _ := startRedeemingGate(t, broker, "claim_delay 0s\n"+test.global)
			p := newPayer(t, wish{name: "urgent " + test.name, vendor: gate.vendor, issuer: broker.URL})
			gate.mustPay(t, "/1", p.opening(p.payment(5, 1)))
			urgent, err := caddymodule.IsRedemptionUrgent(filepath.Join(gate.dir, "store"))
			if err != nil || urgent != test.urgent {
				t.Errorf("urgent is %v, %v; want %v", urgent, err, test.urgent)
			}
		})
	}
}

// TestRedemptionRests has everything urgent and nothing claimed, because the
// broker is away: the job does not wake itself, which would be round after round
// without a pause.
func TestRedemptionRests(t *testing.T) {
	broker := newFakeBroker(t)
	broker.set(true, false)
	gate, _ := startRedeemingGate(t, broker, "claim_delay 0s\nredeem_above 0.001 USD\nredeem_margin 24h")
	p := newPayer(t, wish{name: "rests", vendor: gate.vendor, issuer: broker.URL})
	gate.mustPay(t, "/1", p.opening(p.payment(5, 1)))
	directory := filepath.Join(gate.dir, "store")
	if urgent, err := caddymodule.IsRedemptionUrgent(directory); err != nil || !urgent {
		t.Fatalf("urgent is %v, %v; the test tells nothing", urgent, err)
	}
	for _, wantsError := range []bool{true, false} { // then the broker rests
		if err := caddymodule.RedeemByJob(); (err != nil) != wantsError {
			t.Errorf("claiming: got %v; want an error: %v", err, wantsError)
		}
		if caddymodule.IsRedemptionAwake(directory) {
			t.Error("a round of claiming asked for the next one at once")
		}
	}
}
