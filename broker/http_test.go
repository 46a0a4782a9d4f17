package broker_test

import (
	"net/http"
	"testing"

	"github.com/paywordhq/payword"
)

// A user opens an account, reserves, and a vendor claims what was spent; what
// nobody spent comes back.
func TestWholeWay(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(500*cent), b.newShop()
	u.wantBalance(500*cent, 0)
	p := u.commit(s.origin, 100*cent)
	first := p.mustReserve(50 * cent)
	if first.Amount != 50*cent || first.Sequence != 1 || first.RedeemBy != p.m.Expires+7*24*3600 {
		t.Errorf("got %+v", first)
	}
	u.wantBalance(450*cent, 50*cent)
	if again := p.mustReserve(20 * cent); again.Token != first.Token {
		t.Error("asking for less again gave another reservation")
	}
	if second := p.mustReserve(80 * cent); second.Amount != 80*cent || second.Sequence != 2 {
		t.Errorf("got %+v", second)
	}
	u.wantBalance(420*cent, 80*cent)

	claim := s.claim(p, 30, 25*cent)
	claim.Reservation = first.Token
	s.wantResult(claim, payword.Accepted, 25*cent, 25*cent)
	s.wantResult(claim, payword.Accepted, 25*cent, 0)
	s.wantPayable(25 * cent)
	u.wantBalance(420*cent, 55*cent)
	s.wantResult(s.claim(p, 40, 40*cent, final), payword.Accepted, 40*cent, 15*cent)
	s.wantResult(s.claim(p, 40, 40*cent, final), payword.Accepted, 40*cent, 0)
	u.wantBalance(460*cent, 0)
	s.wantPayable(40 * cent)
	b.wantSound()
	want(t, p.reserve(90*cent), http.StatusConflict, payword.CommitmentClosed)
}
