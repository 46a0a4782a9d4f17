package broker_test

import (
	"fmt"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/money"
)

// Where signatures are checked one by one, a part is shared by as many processors
// as large machines have; where they are proved together, its fixed cost comes once.
func TestPartsAreSharedWhereNothingIsProvedTogether(t *testing.T) {
	if pieces := broker.PiecesOfPart(false); pieces < 32 {
		t.Errorf("one by one: %d pieces, want at least 32", pieces)
	}
	if pieces := broker.PiecesOfPart(true); pieces != 1 {
		t.Errorf("together: %d pieces, want 1", pieces)
	}
}

// A part with signatures enough to be proved together, with none, one and many of
// them bad: every claim has the result that it has by itself, and a claim on the
// same commitment as a bad one is paid.
func TestBadSignaturesAmongMany(t *testing.T) {
	t.Parallel()
	for _, bad := range []int{0, 1, 20} {
		t.Run(fmt.Sprint(bad), func(t *testing.T) {
			t.Parallel()
			b := newBank(t)
			u, s := b.newUser(1000*cent), b.newShop()
			certificate, key := u.certificate()
			var claims []payword.Redemption
			for range 60 {
				p := u.commitWith(certificate, key, s.origin, 10*cent)
				claims = append(claims, s.claim(p, 2, 2*cent), s.claim(p, 3, 3*cent))
			}
			for k := range bad {
				switch one := &claims[4*k]; k % 3 {
				case 0:
					one.Claim = flip(one.Claim)
				case 1:
					one.Commitment = flip(one.Commitment)
				case 2:
					one.Claim = flip(one.Claim)
					claims[4*k+1].Claim = flip(claims[4*k+1].Claim)
				}
			}
			unpaid := bad / 3 // commitments whose two claims are both bad
			for k, result := range s.stream(claims...) {
				alone := s.send(claims[k])[0]
				if result.Reason != alone.Reason || result.Detail != alone.Detail {
					t.Errorf("claim %d: got %+v among the others, %+v alone", k, result, alone)
				}
				isBad := k%4 == 0 && k/4 < bad || k%4 == 1 && k/4 < bad && k/4%3 == 2
				if isBad != (result.Reason != payword.Accepted) {
					t.Errorf("claim %d: got %+v, and it is bad: %t", k, result, isBad)
				}
			}
			s.wantPayable(cent * 3 * money.Amount(60-unpaid))
			b.wantSound()
		})
	}
}

// All that can be wrong with a claim, among as many that are right as are proved
// together, and several claims on one commitment: every claim has the result that
// it has by itself.
func TestEveryFaultAmongMany(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	u, s, other := b.newUser(1000*cent), b.newShop(), b.newShop()
	certificate, key := u.certificate()
	spoilt := certificate
	spoilt.Token = flip(certificate.Token)
	foreign, err := payword.SignCertificate(certificate, newKey())
	if err != nil {
		t.Fatal(err)
	}
	open := func(by payword.Certificate) *purse { return u.commitWith(by, key, s.origin, 10*cent) }
	var claims []payword.Redemption
	for range 60 {
		claims = append(claims, s.claim(open(certificate), 2, 2*cent))
	}
	want := make([]payword.Reason, len(claims), 200) // accepted
	fault := func(reason payword.Reason, change func(one *payword.Redemption)) {
		p := open(certificate)
		good, bad := s.claim(p, 3, 3*cent), s.claim(p, 2, 2*cent)
		change(&bad)
		claims, want = append(claims, bad, good, bad, good), append(want, reason, payword.Accepted, reason, payword.Accepted)
	}
	changed := func(change func(c *payword.Claim)) func(*payword.Redemption) {
		return func(one *payword.Redemption) { *one = s.claim(open(certificate), 2, 2*cent, change) }
	}
	fault(payword.Accepted, func(*payword.Redemption) {})
	fault(payword.BadClaim, func(one *payword.Redemption) { one.Claim = flip(one.Claim) })
	fault(payword.MalformedClaim, func(one *payword.Redemption) { one.Claim = "no token" })
	fault(payword.MalformedCommitment, func(one *payword.Redemption) { one.Commitment = "no token" })
	fault(payword.BadCommitment, func(one *payword.Redemption) { one.Commitment = flip(one.Commitment) })
	fault(payword.MalformedCommitment, func(one *payword.Redemption) { one.Commitment = one.Claim })
	fault(payword.MalformedReservation, func(one *payword.Redemption) { one.Reservation = "no token" })
	fault(payword.UnknownBroker, func(one *payword.Redemption) { *one = s.claim(open(foreign), 1, cent) })
	fault(payword.BadCertificate, func(one *payword.Redemption) { *one = s.claim(open(spoilt), 1, cent) })
	fault(payword.BadClaim, func(one *payword.Redemption) { one.Claim = other.claim(open(certificate), 1, cent).Claim })
	fault(payword.MalformedClaim, func(one *payword.Redemption) { one.Claim = s.claim(open(certificate), 1, cent).Claim })
	fault(payword.WrongVendor, func(one *payword.Redemption) {
		*one = s.claim(u.commitWith(certificate, key, other.origin, cent), 1, cent)
	})
	fault(payword.ClaimOverTails, changed(func(c *payword.Claim) { c.Amount = 5 * cent }))
	fault(payword.ForgedPayword, changed(func(c *payword.Claim) { c.Tails[0].Payword[0] ^= 1 }))
	fault(payword.ChainExhausted, changed(func(c *payword.Claim) { c.Tails[0].Index = 11 }))
	fault(payword.UnknownChain, changed(func(c *payword.Claim) { c.Tails = append(c.Tails, c.Tails[0]) }))
	for k, result := range s.stream(claims...) {
		alone := s.send(claims[k])[0]
		if result.Reason != want[k] {
			t.Errorf("claim %d: got %+v, want %s", k, result, want[k])
		}
		if result.Commitment != alone.Commitment || result.Reason != alone.Reason || result.Detail != alone.Detail {
			t.Errorf("claim %d: got %+v among the others, %+v alone", k, result, alone)
		}
	}
	b.wantSound()
}

// What another broker pays between the judging of a part and its payment: every
// claim of the part has the result that it has after that, and no other commitment
// is held up.
func TestPaidElsewhereSinceJudged(t *testing.T) {
	t.Parallel()
	last := func(c *payword.Claim) { c.Final = true }
	cases := []struct {
		name      string
		elsewhere func(s *shop, p *purse) []payword.Redemption
		reason    payword.Reason
		paid, due money.Amount // by the answer to a claim of five cents
	}{
		{"nothing", func(*shop, *purse) []payword.Redemption { return nil }, payword.Accepted, 5 * cent, 5 * cent},
		{"the same", func(s *shop, p *purse) []payword.Redemption {
			return []payword.Redemption{s.claim(p, 5, 5*cent)}
		}, payword.Accepted, 5 * cent, 0},
		{"less", func(s *shop, p *purse) []payword.Redemption {
			return []payword.Redemption{s.claim(p, 2, 2*cent)}
		}, payword.Accepted, 5 * cent, 3 * cent},
		{"the same in two parts", func(s *shop, p *purse) []payword.Redemption {
			return []payword.Redemption{s.claim(p, 2, 2*cent), s.claim(p, 5, 5*cent)}
		}, payword.Accepted, 5 * cent, 0},
		{"more", func(s *shop, p *purse) []payword.Redemption {
			return []payword.Redemption{s.claim(p, 7, 7*cent)}
		}, payword.Accepted, 7 * cent, 0},
		{"the last", func(s *shop, p *purse) []payword.Redemption {
			return []payword.Redemption{s.claim(p, 2, 2*cent, last)}
		}, payword.ClaimOverLimit, 2 * cent, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBank(t)
			twin := b.twin()
			u, s := b.newUser(1000*cent), b.newShop()
			var purses []*purse
			var claims []payword.Redemption
			for range 3 {
				p := u.commit(s.origin, 10*cent)
				p.mustReserve(10 * cent)
				purses, claims = append(purses, p), append(claims, s.claim(p, 5, 5*cent))
			}
			claims = append(claims, s.claim(u.commit(s.origin, 10*cent), 4, 4*cent)) // not stored yet
			between := c.elsewhere(s, purses[1])
			isFirst := true
			b.SetFault(func(point string) error {
				if point == "judged redemption" && isFirst {
					isFirst = false
					for _, one := range between {
						s.at(twin).send(one)
					}
				}
				return nil
			})
			results := s.send(claims...)
			for k, want := range []payword.RedemptionResult{{Paid: 5 * cent, Due: 5 * cent}, {Reason: c.reason, Paid: c.paid, Due: c.due}, {Paid: 5 * cent, Due: 5 * cent}, {Paid: 4 * cent, Due: 4 * cent}} {
				if got := results[k]; got.Reason != want.Reason || got.Paid != want.Paid || got.Due != want.Due {
					t.Errorf("claim %d: got %+v, want %s, paid %s, due %s", k, got, want.Reason, want.Paid.Decimal(), want.Due.Decimal())
				}
			}
			s.wantPayable(14*cent + c.paid)
			b.wantSound()
		})
	}
}
