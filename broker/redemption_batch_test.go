package broker_test

import (
	"fmt"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

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
