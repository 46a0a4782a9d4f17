package broker_test

import (
	"crypto/ed25519"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

func TestRedemptionRefusals(t *testing.T) {
	b := newBank(t)
	u, s, other := b.newUser(1000*cent), b.newShop(), b.newShop()
	p := u.commit(s.origin, 50*cent, func(m *payword.Commitment) {
		m.Chains = []payword.ChainTerms{{Unit: cent, Length: 60}}
	})
	p.mustReserve(40 * cent)
	elsewhere := u.commit(other.origin, 50*cent)
	elsewhere.mustReserve(50 * cent)
	s.wantResult(s.claim(p, 20, 10*cent), payword.Accepted, 10*cent, 10*cent)

	stranger := newBank(t).newUser(0)
	foreign := stranger.commit(s.origin, 50*cent)
	mine := s.claim(p, 30, 30*cent)
	replace := func(change func(*payword.Redemption)) payword.Redemption {
		changed := mine
		change(&changed)
		return changed
	}
	impostor := *s
	impostor.key = other.key
	forgedReservation := s.claim(u.commit(s.origin, 50*cent), 1, cent)
	forgedReservation.Reservation = "e30.e30.e30"
	cases := []struct {
		name   string
		claim  payword.Redemption
		reason payword.Reason
		paid   money.Amount
	}{
		{"more than the paywords prove", s.claim(p, 20, 21*cent), payword.ClaimOverTails, 10 * cent},
		{"more than reserved", s.claim(p, 45, 40*cent+1), payword.ClaimOverLimit, 10 * cent},
		{"more than the limit", s.claim(p, 60, 51*cent), payword.ClaimOverTails, 10 * cent},
		{"past the chain", s.claim(p, 20, 20*cent, func(c *payword.Claim) { c.Tails[0].Index = 61 }), payword.ChainExhausted, 10 * cent},
		{"a guessed payword", s.claim(p, 30, 30*cent, func(c *payword.Claim) { c.Tails[0].Payword[0] ^= 1 }), payword.ForgedPayword, 10 * cent},
		{"a payword of another index", s.claim(p, 30, 30*cent, func(c *payword.Claim) { c.Tails[0].Index++ }), payword.ForgedPayword, 10 * cent},
		{"a guessed payword below the tail", s.claim(p, 5, 5*cent, func(c *payword.Claim) { c.Tails[0].Payword[0] ^= 1 }), payword.ForgedPayword, 10 * cent},
		{"a tail too many", s.claim(p, 30, 30*cent, func(c *payword.Claim) { c.Tails = append(c.Tails, payword.Tail{}) }), payword.UnknownChain, 10 * cent},
		{"signed by another vendor", impostor.claim(p, 30, 30*cent), payword.BadClaim, 10 * cent},
		{"a forged claim", replace(func(r *payword.Redemption) { r.Claim = flip(r.Claim) }), payword.BadClaim, 10 * cent},
		{"a truncated claim", replace(func(r *payword.Redemption) { r.Claim = r.Claim[:40] }), payword.MalformedClaim, 10 * cent},
		{"for another broker", s.claim(p, 30, 30*cent, func(c *payword.Claim) { c.Broker = "https://other.example" }), payword.MalformedClaim, 10 * cent},
		{"for another commitment", replace(func(r *payword.Redemption) { r.Commitment = u.commit(s.origin, cent).m.Token }), payword.MalformedClaim, 0},
		{"a commitment to another vendor", s.claim(elsewhere, 30, 30*cent), payword.WrongVendor, 0},
		{"in another vendor's name", s.claim(elsewhere, 30, 30*cent, func(c *payword.Claim) { c.Vendor = other.origin }), payword.WrongVendor, 0},
		{"a truncated commitment", replace(func(r *payword.Redemption) { r.Commitment = r.Commitment[:200] }), payword.MalformedCommitment, 0},
		{"a forged commitment", replace(func(r *payword.Redemption) { r.Commitment = flip(r.Commitment) }), payword.BadCommitment, 0},
		{"another broker's certificate", s.claim(foreign, 1, cent), payword.UnknownBroker, 0},
		{"no reservation", forgedReservation, payword.MalformedReservation, 0},
		{"less than was paid", s.claim(p, 5, 5*cent), payword.Accepted, 10 * cent},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { s.wantResult(c.claim, c.reason, c.paid, 0) })
	}
	// A bad claim spoils nothing of its neighbours.
	results := s.send(cases[0].claim, mine, cases[4].claim, mine)
	for k, due := range []money.Amount{0, 20 * cent, 0, 0} {
		if results[k].Due != due {
			t.Errorf("claim %d: got %+v, want %s due", k, results[k], due)
		}
	}
	s.wantPayable(30 * cent)
	other.wantPayable(0)
	u.wantBalance(910*cent, 60*cent)
	b.wantSound()
}

// Only a registered vendor asks, and for itself.
func TestRedemptionOfAnotherVendor(t *testing.T) {
	b := newBank(t)
	u, s, other := b.newUser(100*cent), b.newShop(), b.newShop()
	p := u.commit(s.origin, 10*cent)
	p.mustReserve(10 * cent)
	claims := payword.RedemptionRequest{Vendor: s.origin, Redemptions: []payword.Redemption{s.claim(p, 5, 5*cent)}}
	want(t, b.call(other.key, "POST", payword.PathRedemptions, claims), http.StatusNotFound, payword.UnknownVendor)
	want(t, b.call(u.key, "POST", payword.PathRedemptions, claims), http.StatusNotFound, payword.UnknownVendor)
	s.wantPayable(0)
}

// Claims are paid until redeem_by; what was paid is answered for ever, and what
// nobody claimed goes back.
func TestRedeemBy(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	p := u.commit(s.origin, 50*cent)
	redeemBy := p.mustReserve(50 * cent).RedeemBy
	u.openAnother(s)
	early := s.claim(p, 10, 10*cent)
	s.wantResult(early, payword.Accepted, 10*cent, 10*cent)
	b.clock.seconds.Store(redeemBy - 1)
	if released, err := b.Release(t.Context()); err != nil || released != 0 {
		t.Errorf("released %d too early (%v)", released, err)
	}
	s.wantResult(s.claim(p, 20, 20*cent), payword.Accepted, 20*cent, 10*cent)
	b.clock.seconds.Store(redeemBy)
	for range 2 {
		s.wantResult(s.claim(p, 30, 30*cent), payword.ClaimTooLate, 20*cent, 0)
		s.wantResult(early, payword.Accepted, 20*cent, 0)
		s.wantResult(s.claim(p, 20, 20*cent, final), payword.Accepted, 20*cent, 0)
		released, err := b.Release(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("released %d", released)
	}
	u.wantBalance(80*cent, 0)
	s.wantPayable(20 * cent)
	b.wantSound()
}

// openAnother makes a small reservation, so that more than one is due.
func (u *user) openAnother(s *shop) { u.commit(s.origin, cent).mustReserve(cent) }

// Run releases by itself.
func TestRun(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(1000*cent), b.newShop()
	var redeemBy int64
	for range 5 {
		redeemBy = u.commit(s.origin, cent).mustReserve(cent).RedeemBy
	}
	b.clock.seconds.Store(redeemBy)
	u.wantBalance(995*cent, 5*cent)
	ctx, stop := contextThatEnds(t)
	// Run stops between two rounds; its first round is not cut off.
	b.SetFault(func(point string) error {
		if point == "after forget" {
			stop()
		}
		return nil
	})
	if err := b.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	b.SetFault(nil)
	u.wantBalance(1000*cent, 0)
	b.wantSound()
}

// The last claim gives back what was not spent, and nothing is paid after it.
func TestFinalClaim(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	p := u.commit(s.origin, 50*cent)
	p.mustReserve(50 * cent)
	s.wantResult(s.claim(p, 60, 60*cent, final), payword.ClaimOverTails, 0, 0)
	u.wantBalance(50*cent, 50*cent)
	s.wantResult(s.claim(p, 10, 10*cent, final), payword.Accepted, 10*cent, 10*cent)
	u.wantBalance(90*cent, 0)
	s.wantResult(s.claim(p, 20, 20*cent), payword.ClaimOverLimit, 10*cent, 0)
	s.wantResult(s.claim(p, 10, 10*cent, final), payword.Accepted, 10*cent, 0)
	unused := u.commit(s.origin, 50*cent)
	unused.mustReserve(50 * cent)
	s.wantResult(s.claim(unused, 0, 0, final), payword.Accepted, 0, 0)
	u.wantBalance(90*cent, 0)
	want(t, unused.reserve(50*cent), http.StatusConflict, payword.CommitmentClosed)
	b.wantSound()
}

// A last claim of nothing on a commitment that the broker does not know stores
// nothing, however often it comes: it would cost nobody anything.
func TestFinalClaimOfNothingIsNotStored(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	p := u.commit(s.origin, 10*cent)
	for range 2 {
		s.wantResult(s.claim(p, 0, 0, final), payword.Accepted, 0, 0)
	}
	if got := u.stored(); got != 0 {
		t.Errorf("%d commitments are stored, want none", got)
	}
	p.mustReserve(10 * cent)
	s.wantResult(s.claim(p, 0, 0, final), payword.Accepted, 0, 0)
	if got := u.stored(); got != 1 {
		t.Errorf("%d commitments are stored, want the reserved one", got)
	}
	u.wantBalance(100*cent, 0)
	b.wantSound()
}

// stored returns how many commitments of a user the broker knows, up to a page.
func (u *user) stored() int {
	u.t.Helper()
	var listed struct{ Reservations []struct{ Commitment string } }
	u.call(u.key, "GET", payword.PathReservations, nil).into(u.t, http.StatusOK, &listed)
	return len(listed.Reservations)
}

// An account stores a bounded number of commitments in a day, however it goes
// about it; those that are stored go on, others have a bound of their own, and
// the next day is free again.
func TestCommitmentsOfADay(t *testing.T) {
	b := newBank(t)
	b.SetCommitmentsPerDay(3)
	u, other, s := b.newUser(100*cent), b.newUser(100*cent), b.newShop()
	first := u.commit(s.origin, 10*cent)
	first.mustReserve(cent)
	closed := u.commit(s.origin, 10*cent)
	closed.mustReserve(cent)
	s.wantResult(s.claim(closed, 0, 0, final), payword.Accepted, 0, 0)
	s.wantResult(s.claim(u.commit(s.origin, 10*cent), 1, 1), payword.Accepted, 1, 1)

	week := func(m *payword.Commitment) { m.Expires += 6 * 24 * 3600 }
	reserved, claimed := u.commit(s.origin, 10*cent, week), u.commit(s.origin, 10*cent, week)
	claim := s.claim(claimed, 1, 1)
	want(t, reserved.reserve(cent), http.StatusTooManyRequests, payword.RateLimited)
	s.wantResult(claim, payword.RateLimited, 0, 0)
	if got := u.stored(); got != 3 {
		t.Errorf("%d commitments are stored, want 3", got)
	}
	first.mustReserve(2 * cent)
	s.wantResult(s.claim(first, 2, 2*cent), payword.Accepted, 2*cent, 2*cent)
	other.commit(s.origin, 10*cent).mustReserve(cent)
	u.wantBalance(98*cent-1, 0)

	b.clock.seconds.Store((start/86400+1)*86400 - 1)
	want(t, reserved.reserve(cent), http.StatusTooManyRequests, payword.RateLimited)
	b.clock.advance(1)
	reserved.mustReserve(cent)
	s.wantResult(claim, payword.Accepted, 1, 1)
	b.wantSound()
}

// A reservation keeps the time it was given, though the broker gives less to
// new ones.
func TestLoweredGrace(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	p := u.commit(s.origin, 50*cent)
	promised := p.mustReserve(10 * cent).RedeemBy
	b.config.Grace = time.Hour
	b.open()
	if got := p.mustReserve(20 * cent).RedeemBy; got != promised {
		t.Errorf("raised: got redeem_by %d, want the %d of before", got, promised)
	}
	fresh := u.commit(s.origin, 50*cent)
	if got := fresh.mustReserve(10 * cent).RedeemBy; got != fresh.m.Expires+3600 {
		t.Errorf("new: got redeem_by %d, want %d", got, fresh.m.Expires+3600)
	}
	b.clock.seconds.Store(promised - 1)
	s.wantResult(s.claim(p, 20, 20*cent), payword.Accepted, 20*cent, 20*cent)
	b.wantSound()
}

// What was not reserved is paid as far as the balance goes, and reserved
// balances are out of its reach.
func TestUnreservedCommitment(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(30*cent), b.newShop()
	u.commit(s.origin, 20*cent).mustReserve(20 * cent)
	p := u.commit(s.origin, 50*cent)
	s.wantResult(s.claim(p, 10, 10*cent), payword.Accepted, 10*cent, 10*cent)
	claim := s.claim(p, 15, 15*cent)
	s.wantResult(claim, payword.InsufficientFunds, 10*cent, 0)
	u.wantBalance(0, 20*cent)
	u.fund("more", 25*cent)
	s.wantResult(claim, payword.Accepted, 15*cent, 5*cent)
	s.wantResult(claim, payword.Accepted, 15*cent, 0)
	u.wantBalance(20*cent, 20*cent)
	// A reservation that comes later counts what was paid already.
	if r := p.mustReserve(25 * cent); r.Amount != 25*cent {
		t.Errorf("got %+v", r)
	}
	u.wantBalance(10*cent, 30*cent)
	s.wantResult(s.claim(p, 25, 25*cent, final), payword.Accepted, 25*cent, 10*cent)
	u.wantBalance(10*cent, 20*cent)
	late := u.commit(s.origin, 10*cent)
	b.clock.seconds.Store(late.m.Expires + 7*24*3600)
	s.wantResult(s.claim(late, 5, 5*cent), payword.ClaimTooLate, 0, 0)
	b.wantSound()
}

// Whoever releases the same paywords twice owes twice.
func TestReusedRootIsPaidAndLogged(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	p := u.commit(s.origin, 20*cent)
	again := u.commit(s.origin, 20*cent, func(m *payword.Commitment) { m.Nonce = p.m.Nonce })
	p.mustReserve(20 * cent)
	s.wantResult(s.claim(p, 10, 10*cent), payword.Accepted, 10*cent, 10*cent)
	if strings.Contains(b.journal.String(), "root reused") {
		t.Error("fraud was logged where there is none")
	}
	s.wantResult(s.claim(again, 10, 10*cent), payword.Accepted, 10*cent, 10*cent)
	s.wantPayable(20 * cent)
	log := b.journal.String()
	if strings.Count(log, "level=WARN msg=\"root reused\"") != 1 || !strings.Contains(log, u.account) {
		t.Errorf("want one warning that names the account:\n%s", log)
	}
	s.wantResult(s.claim(again, 12, 12*cent), payword.Accepted, 12*cent, 2*cent)
	b.wantSound()
}

// All chains of a commitment together pay.
func TestSeveralChains(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(1000*cent), b.newShop()
	p := u.commit(s.origin, 500*cent, func(m *payword.Commitment) {
		m.Chains = []payword.ChainTerms{{Unit: cent, Length: 50}, {Unit: 10 * cent, Length: 50}, {Unit: 100 * cent, Length: 50}}
	})
	p.mustReserve(500 * cent)
	tails := func(indexes ...uint32) func(*payword.Claim) {
		return func(c *payword.Claim) {
			c.Tails = nil
			for k, index := range indexes {
				tail := payword.Tail{Index: index}
				if index > 0 {
					var err error
					if tail.Payword, err = p.chains[k].Release(index); err != nil {
						t.Fatal(err)
					}
				}
				c.Tails = append(c.Tails, tail)
			}
		}
	}
	s.wantResult(s.claim(p, 0, 30*cent, tails(10, 2)), payword.Accepted, 30*cent, 30*cent)
	s.wantResult(s.claim(p, 0, 334*cent, tails(0, 3, 3)), payword.Accepted, 334*cent, 304*cent)
	s.wantResult(s.claim(p, 0, 500*cent, tails(10, 4, 50)), payword.Accepted, 500*cent, 166*cent)
	u.wantBalance(500*cent, 0)
	b.wantSound()
}

// One request costs a bounded number of hashes; what is left over is asked for
// again.
func TestHashesOfOneRequest(t *testing.T) {
	b := newBank(t)
	b.SetMaxSteps(100)
	u, s := b.newUser(1000*cent), b.newShop()
	var claims []payword.Redemption
	for range 3 {
		p := u.commit(s.origin, 100*cent)
		p.mustReserve(100 * cent)
		claims = append(claims, s.claim(p, 60, 60*cent))
	}
	for round := range 3 {
		for k, got := range s.send(claims...) {
			reason := payword.Accepted
			if k > round {
				reason = payword.RateLimited
			}
			if got.Reason != reason {
				t.Errorf("round %d, claim %d: got %s, want %s", round, k, got.Reason, reason)
			}
		}
	}
	s.wantPayable(180 * cent)
	b.wantSound()
}

// A batch of several transactions.
func TestLargeBatch(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	b.config.CertificateLimit = 10_000 * cent
	b.open()
	u, s := b.newUser(1000*cent), b.newShop()
	certificate, key := u.certificate()
	var claims []payword.Redemption
	for k := range 130 {
		p := u.commitWith(certificate, key, s.origin, 10*cent)
		if k%10 == 0 {
			p.mustReserve(2 * cent)
		}
		claims = append(claims, s.claim(p, 1, cent))
	}
	for _, due := range []money.Amount{cent, 0} {
		for k, got := range s.send(claims...) {
			if got.Reason != payword.Accepted || got.Paid != cent || got.Due != due {
				t.Fatalf("claim %d: got %+v, want %s due", k, got, due)
			}
		}
	}
	s.wantPayable(130 * cent)
	u.wantBalance(857*cent, 13*cent)
	b.wantSound()
}

// commitWith makes a commitment under a certificate that is there already.
func (u *user) commitWith(certificate payword.Certificate, key ed25519.PrivateKey, vendor string, limit money.Amount) *purse {
	u.t.Helper()
	p := &purse{user: u, m: payword.Commitment{
		Vendor: vendor, Certificate: certificate, IssuedAt: u.clock.seconds.Load(), Expires: u.clock.seconds.Load() + 3600,
		Currency: usd, Limit: limit, Chains: []payword.ChainTerms{{Unit: cent, Length: 10}},
	}}
	copy(p.m.Nonce[:], fmt.Sprintf("%016x", numbers.Add(1)))
	p.m.Chains[0].Root = p.tail(0).Payword
	var err error
	if p.m, err = payword.SignCommitment(p.m, key); err != nil {
		u.t.Fatal(err)
	}
	return p
}
