package caddymodule

import (
	"net/http"
	"testing"
	"time"

	"github.com/paywordhq/payword"
)

// TestBackoff doubles, stays between its bounds, and listens to the broker.
func TestBackoff(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	for _, jitter := range []float64{0, 0.5, 0.999} {
		turns := newTurns()
		turns.random = func() float64 { return jitter }
		wait := firstRetry
		for failures := 1; failures < 40; failures++ {
			turns.failed("https://broker.example", start, 0)
			next, waits := turns.next()
			got := next.Sub(start)
			if !waits || got > wait || got < wait/2 {
				t.Fatalf("after %d failures the broker rests %s, want %s to %s", failures, got, wait/2, wait)
			}
			wait = min(2*wait, maxRetry)
		}
		if !turns.rests("https://broker.example", start) || turns.rests("https://other.example", start) {
			t.Error("the broker that failed rests, and that one alone")
		}
		turns.failed("https://broker.example", start, 3*time.Hour)
		if next, _ := turns.next(); next.Sub(start) != 3*time.Hour {
			t.Errorf("asked to wait 3h, it waits %s", next.Sub(start))
		}
		turns.forgetDue(start)
		if _, waits := turns.next(); !waits {
			t.Error("a broker that rests was forgotten")
		}
		turns.forgetDue(start.Add(3 * time.Hour))
		if next, waits := turns.next(); waits {
			t.Errorf("a broker whose turn it was keeps the job awake: %s", next)
		}
		turns.failed("https://broker.example", start, 0)
		turns.answered("https://broker.example")
		if turns.rests("https://broker.example", start) {
			t.Error("a broker that answered rests")
		}
	}
}

func TestReadRetryAfter(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for value, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "-1": 0, "soon": 0, "99999999": maxRetryAfter, "99999999999999999999": 0,
		now.Add(time.Hour).UTC().Format(http.TimeFormat):  time.Hour,
		now.Add(-time.Hour).UTC().Format(http.TimeFormat): 0,
	} {
		if got := readRetryAfter(value, now); got != want {
			t.Errorf("Retry-After %q: %s, want %s", value, got, want)
		}
	}
}

// TestRefusedClaims holds what was refused for good until it changes, and what
// may pass until its time has come.
func TestRefusedClaims(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	claim := claimable{commitment: &payword.Commitment{ID: payword.CommitmentID{1}}, reservation: "a reservation", amount: 5}
	grown, toppedUp, last := claim, claim, claim
	grown.amount, toppedUp.reservation, last.final = 6, "one that is newer", true

	turns := newTurns()
	if turns.holds(&claim, now, false) {
		t.Error("a claim that was never refused is held")
	}
	if !turns.refused(&claim, payword.ClaimTooLate, now) || turns.refused(&claim, payword.ClaimTooLate, now) {
		t.Error("the first refusal is news, the second is not")
	}
	if !turns.refused(&claim, payword.RateLimited, now) {
		t.Error("another reason is news")
	}
	if !turns.holds(&claim, now, false) || turns.holds(&claim, now, true) || turns.holds(&claim, now.Add(maxRefusedRetry), false) {
		t.Error("what may pass is held until its time has come, or somebody asks")
	}
	turns.refused(&claim, payword.BadReservation, now)
	if !turns.holds(&claim, now.Add(1000*time.Hour), true) {
		t.Error("what was refused for good is sent again unchanged")
	}
	for _, changed := range []claimable{grown, toppedUp, last} {
		if turns.holds(&changed, now, false) {
			t.Errorf("a claim that changed is held: %+v", changed)
		}
	}
	turns.paid(claim.commitment.ID)
	if turns.holds(&claim, now, false) {
		t.Error("a claim that was paid is remembered as refused")
	}
}

// TestRefusedClaimsAreForgotten fills the memory of refused claims: those that no
// round comes across any more make room for others.
func TestRefusedClaimsAreForgotten(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	turns := newTurns()
	claimOf := func(number int) *claimable {
		id := payword.CommitmentID{byte(number), byte(number >> 8), byte(number >> 16)}
		return &claimable{commitment: &payword.Commitment{ID: id}, amount: 5}
	}
	for number := range maxRefusedClaims {
		turns.refused(claimOf(number), payword.ClaimTooLate, now)
	}
	late := claimOf(maxRefusedClaims)
	if turns.refused(late, payword.ClaimTooLate, now); turns.holds(late, now, false) {
		t.Fatal("there was room for one more: the test tells nothing")
	}
	later := now.Add(refusedKept + time.Minute)
	turns.holds(claimOf(7), later, false) // a round came across this one
	if turns.refused(late, payword.ClaimTooLate, later); !turns.holds(late, later, false) || !turns.holds(claimOf(7), later, false) {
		t.Error("what no round comes across any more takes the room of others, or what one does was forgotten")
	}
	if len(turns.claims) != 2 {
		t.Errorf("%d refused claims are remembered; want 2", len(turns.claims))
	}
}

// TestFinalRefusals wants every reason that a broker gives decided on.
func TestFinalRefusals(t *testing.T) {
	passing := []payword.Reason{
		payword.RateLimited, payword.UnknownVendor, payword.VendorNotProved, payword.BadSignature, payword.BadClaim,
		payword.UnknownBroker, payword.BadCertificate, payword.InsufficientFunds,
	}
	for _, reason := range passing {
		if isFinalRefusal(reason) {
			t.Errorf("%s can pass", reason)
		}
	}
	if !isFinalRefusal(payword.ClaimTooLate) {
		t.Error("what is too late is too late for ever")
	}
}
