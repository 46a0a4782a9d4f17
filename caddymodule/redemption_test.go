package caddymodule_test

import (
	"crypto/ed25519"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paywordhq/payword"
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
		reservation, refusal := payword.ParseReservation(item.Reservation, &commitment, brokers)
		if refusal.Refused() {
			b.t.Error(refusal)
		}
		claim, refusal := payword.ParseClaim(item.Claim, b.vendorKey)
		if refusal.Refused() {
			b.t.Error(refusal)
		}
		before, known := b.redeemed[commitment.ID]
		if !known {
			before = payword.NewRedeemed(&commitment)
		}
		after, due, refusal := payword.JudgeClaim(&commitment, before, &claim, reservation.Amount)
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

// redeemNow asks the gate's admin endpoint to claim.
func redeemNow(t *testing.T, admin string) (redemption, int) {
	t.Helper()
	response, err := http.Post("http://"+admin+"/payword/redeem", "", nil)
	if err != nil {
		t.Fatal(err)
	}
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
