package broker_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// Each limit holds by itself, from the moment it is set, whoever set it.
func TestLimits(t *testing.T) {
	limits := map[string]func(*payword.Limits, money.Amount){
		"per vendor and day": func(l *payword.Limits, amount money.Amount) { l.VendorDay = &amount },
		"per day":            func(l *payword.Limits, amount money.Amount) { l.Day = &amount },
		"at once":            func(l *payword.Limits, amount money.Amount) { l.Reserved = &amount },
	}
	for name, set := range limits {
		for _, setter := range []string{"owner", "broker"} {
			t.Run(name+" by "+setter, func(t *testing.T) {
				b := newBank(t)
				u, s := b.newUser(1000*cent), b.newShop()
				limit := func(amount money.Amount) {
					t.Helper()
					var asked payword.Limits
					set(&asked, amount)
					if setter == "owner" {
						want(t, u.setLimits(asked), http.StatusOK, payword.Accepted)
					} else {
						want(t, b.admin("PUT", "/v1/admin/accounts/"+u.account+"/limits", asked), http.StatusOK, payword.Accepted)
					}
				}
				p, q := u.commit(s.origin, 100*cent), u.commit(s.origin, 100*cent)
				limit(30 * cent)
				p.mustReserve(20 * cent)
				want(t, q.reserve(11*cent), http.StatusConflict, payword.OverAccountLimit)
				q.mustReserve(10 * cent)
				want(t, p.reserve(21*cent), http.StatusConflict, payword.OverAccountLimit)
				limit(40 * cent)
				p.mustReserve(30 * cent)
				limit(5 * cent)
				want(t, p.reserve(31*cent), http.StatusConflict, payword.OverAccountLimit)
				s.wantResult(s.claim(p, 30, 30*cent), payword.Accepted, 30*cent, 30*cent) // was promised
				limit(0)
				want(t, q.reserve(11*cent), http.StatusConflict, payword.OverAccountLimit)
				b.clock.advance(24 * 3600)
				if name == "at once" {
					limit(11 * cent)
					b.clock.advance(-24 * 3600)
					q.mustReserve(11 * cent)
				} else {
					limit(100 * cent)
					u.commit(s.origin, 100*cent).mustReserve(60 * cent) // another day
				}
				b.wantSound()
			})
		}
	}
}

// The broker's ceiling holds over the owner's own limits, and the owner sees it.
func TestCeiling(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	want(t, b.admin("PUT", "/v1/admin/accounts/"+u.account+"/limits", payword.Limits{Day: micros(20 * cent)}), http.StatusOK, payword.Accepted)
	var limits payword.AccountLimits
	u.setLimits(payword.Limits{Day: micros(50 * cent), Reserved: micros(90 * cent)}).into(t, http.StatusOK, &limits)
	if *limits.Ceiling.Day != 20*cent || *limits.Own.Day != 50*cent || limits.Own.VendorDay != nil || limits.Ceiling.Reserved != nil {
		t.Errorf("got %+v", limits)
	}
	want(t, u.commit(s.origin, 100*cent).reserve(21*cent), http.StatusConflict, payword.OverAccountLimit)
	u.commit(s.origin, 100*cent).mustReserve(20 * cent)
	want(t, u.setLimits(payword.Limits{}), http.StatusOK, payword.Accepted)
	u.call(u.key, "GET", payword.PathLimits, nil).into(t, http.StatusOK, &limits)
	want(t, u.call(u.key, "PUT", payword.PathLimits, map[string]string{"day": "-1"}), 422, payword.Accepted)
	want(t, b.admin("PUT", "/v1/admin/accounts/aaaaaaaaaaaaaaaa/limits", payword.Limits{}), http.StatusNotFound, payword.UnknownAccount)
}

// The limits of an account hold for all its sub-accounts together, and those of
// a sub-account beside them.
func TestLimitsOfAFamily(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(1000*cent), b.newShop()
	first := u.newSub(200*cent, payword.Limits{Day: micros(40 * cent)})
	second := u.newSub(200*cent, payword.Limits{})
	want(t, u.setLimits(payword.Limits{Day: micros(100 * cent)}), http.StatusOK, payword.Accepted)
	want(t, first.commit(s.origin, 100*cent).reserve(41*cent), http.StatusConflict, payword.OverAccountLimit)
	first.commit(s.origin, 100*cent).mustReserve(40 * cent)
	u.commit(s.origin, 100*cent).mustReserve(30 * cent)
	want(t, second.commit(s.origin, 100*cent).reserve(31*cent), http.StatusConflict, payword.OverAccountLimit)
	second.commit(s.origin, 100*cent).mustReserve(30 * cent)
	want(t, u.commit(s.origin, 100*cent).reserve(cent), http.StatusConflict, payword.OverAccountLimit)
}

// Commitments that were never reserved are paid whatever the limits, and count
// against them.
func TestUnreservedAndLimits(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	p := u.commit(s.origin, 50*cent)
	want(t, u.setLimits(payword.Limits{Day: micros(10 * cent)}), http.StatusOK, payword.Accepted)
	s.wantResult(s.claim(p, 8, 8*cent), payword.Accepted, 8*cent, 8*cent)
	want(t, u.commit(s.origin, 10*cent).reserve(3*cent), http.StatusConflict, payword.OverAccountLimit)
	u.commit(s.origin, 10*cent).mustReserve(2 * cent)
	s.wantResult(s.claim(p, 30, 30*cent), payword.Accepted, 30*cent, 22*cent)
	b.wantSound()
}

// A certificate allows one vendor no more than the account's limit, in a sum that
// does not tell one user from others.
func TestCertificateLimit(t *testing.T) {
	b := newBank(t)
	u := b.newUser(0)
	cases := []struct {
		owner, ceiling *money.Amount
		want           money.Amount
	}{
		{nil, nil, 20 * money.Unit},
		{micros(5 * money.Unit), nil, 5 * money.Unit},
		{micros(13_370_001), nil, 13 * money.Unit},
		{micros(99), nil, 99},
		{micros(50 * money.Unit), nil, 20 * money.Unit},
		{micros(5 * money.Unit), micros(1_990_000), 1_900_000},
	}
	for _, c := range cases {
		want(t, u.setLimits(payword.Limits{VendorDay: c.owner}), http.StatusOK, payword.Accepted)
		want(t, b.admin("PUT", "/v1/admin/accounts/"+u.account+"/limits", payword.Limits{VendorDay: c.ceiling}), http.StatusOK, payword.Accepted)
		if certificate, _ := u.certificate(); certificate.Limit != c.want {
			t.Errorf("got a limit of %s, want %s", certificate.Limit.Decimal(), c.want.Decimal())
		}
	}
	agent := u.newSub(0, payword.Limits{VendorDay: micros(money.Unit)})
	if certificate, _ := agent.certificate(); certificate.Limit != money.Unit {
		t.Errorf("a sub-account got a limit of %s, want 1.00", certificate.Limit.Decimal())
	}
	want(t, u.setLimits(payword.Limits{VendorDay: micros(0)}), http.StatusOK, payword.Accepted)
	want(t, u.askCertificate(), http.StatusConflict, payword.OverAccountLimit)
	want(t, agent.askCertificate(), http.StatusConflict, payword.OverAccountLimit)
}

// Whatever many reserve at once, the account and its sub-accounts never have
// more than the limits let.
func TestConcurrentLimits(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(1000*cent), b.newShop()
	agent := u.newSub(300*cent, payword.Limits{})
	want(t, u.setLimits(payword.Limits{Reserved: micros(50 * cent)}), http.StatusOK, payword.Accepted)
	purses := make([]*purse, 20)
	for k := range purses {
		purses[k] = []*user{u, agent}[k%2].commit(s.origin, 7*cent)
	}
	var granted atomic.Int64
	together(len(purses), func(k int) {
		if a := purses[k].reserve(7 * cent); a.status == http.StatusOK {
			granted.Add(1)
		} else {
			want(t, a, http.StatusConflict, payword.OverAccountLimit)
		}
	})
	if granted.Load() != 7 {
		t.Errorf("%d reservations of 0.07 were granted within 0.50, want 7", granted.Load())
	}
	b.wantSound()
}

// Whatever moves between an account, its sub-accounts, vouchers and payouts, in
// whatever order, nothing appears or vanishes.
func TestSumsOfFamilies(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	b := newBank(t)
	u, s := b.newUser(0), b.newShop()
	agents := []*user{u.newSub(0, payword.Limits{}), u.newSub(0, payword.Limits{})}
	codes := b.voucherCodes("batch", 40, 50*cent, 3600)
	var in, out money.Amount
	var pending []string
	counts := map[string]int{}
	for step := range 150 {
		agent, amount := agents[random.IntN(2)], money.Amount(random.IntN(60)+1)*cent
		id := fmt.Sprint("step-", step)
		var a answer
		kind := []string{"voucher", "give", "back", "reserve", "payout", "end"}[random.IntN(6)]
		switch kind {
		case "voucher":
			if a = u.redeemVoucher(codes[random.IntN(len(codes))]); a.status == http.StatusOK {
				var got payword.RedeemedVoucher
				a.into(t, http.StatusOK, &got)
			}
		case "give":
			a = u.transfer(id, agent, amount, false)
		case "back":
			a = u.transfer(id, agent, amount, true)
		case "reserve":
			p := agent.commit(s.origin, 60*cent)
			if a = p.reserve(amount); a.status == http.StatusOK && random.IntN(2) == 0 {
				s.send(s.claim(p, 5, min(amount, 5*cent), final))
			}
		case "payout":
			if a = u.payout(id, amount); a.status == http.StatusOK {
				pending = append(pending, id)
			}
		case "end":
			if len(pending) == 0 {
				continue
			}
			how := []string{"paid", "refused"}[random.IntN(2)]
			a = b.admin("POST", "/v1/admin/account-payouts/"+u.account+"/"+pending[0]+"/"+how, map[string]string{"note": "n"})
			var p payword.Payout
			a.into(t, http.StatusOK, &p)
			if how == "paid" {
				out += p.Amount
			}
			pending = pending[1:]
		}
		counts[fmt.Sprint(kind, " ", a.status)]++
		b.wantSound()
		if t.Failed() {
			t.Fatalf("step %d: %s %s", step, kind, a.body)
		}
	}
	t.Logf("outcomes: %v", counts)
	var batches struct {
		Batches []struct{ Redeemed int64 }
	}
	b.admin("GET", "/v1/admin/vouchers", nil).into(t, http.StatusOK, &batches)
	in = money.Amount(batches.Batches[0].Redeemed) * 50 * cent
	holds := money.Amount(0)
	for _, one := range append(agents, u) {
		var account payword.Account
		one.call(one.key, "GET", payword.PathAccount, nil).into(t, http.StatusOK, &account)
		holds += account.Available + account.Reserved + account.Payouts
	}
	var vendor payword.Vendor
	s.call(s.key, "GET", "/v1/vendor?vendor="+s.origin, nil).into(t, http.StatusOK, &vendor)
	if holds+vendor.Payable+out != in {
		t.Errorf("accounts hold %s, the vendor %s, %s were paid out, and %s came in",
			holds.Decimal(), vendor.Payable.Decimal(), out.Decimal(), in.Decimal())
	}
}
