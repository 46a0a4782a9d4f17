package broker_test

import (
	"net/http"
	"testing"

	"github.com/paywordhq/payword"
)

// An agent pays out of its own budget, which its parent fills, watches and takes
// back.
func TestSubAccount(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	agent := u.newSub(30*cent, payword.Limits{})
	u.wantBalance(70*cent, 0)
	agent.wantBalance(30*cent, 0)
	want(t, u.openSub(agent.key, payword.Limits{}), http.StatusOK, payword.Accepted)

	p := agent.commit(s.origin, 50*cent)
	want(t, p.reserve(31*cent), http.StatusConflict, payword.InsufficientFunds)
	p.mustReserve(20 * cent)
	s.wantResult(s.claim(p, 12, 12*cent), payword.Accepted, 12*cent, 12*cent)

	var spending payword.SpendingList
	u.call(u.key, "GET", payword.PathSubAccounts+"/"+agent.account+"/vendors", nil).into(t, http.StatusOK, &spending)
	if len(spending.Vendors) != 1 || spending.Vendors[0] != (payword.VendorSpending{Vendor: s.origin, Paid: 12 * cent, Reserved: 8 * cent}) {
		t.Errorf("got %+v", spending)
	}
	want(t, u.transfer("back", agent, 11*cent, true), http.StatusConflict, payword.InsufficientFunds)
	want(t, u.transfer("back", agent, 10*cent, true), http.StatusOK, payword.Accepted)
	want(t, u.transfer("back", agent, 10*cent, true), http.StatusOK, payword.Accepted)
	want(t, u.transfer("back", agent, 10*cent, false), http.StatusConflict, payword.IdempotencyDiffers)
	want(t, u.transfer("back", agent, 9*cent, true), http.StatusConflict, payword.IdempotencyDiffers)
	u.wantBalance(80*cent, 0)
	agent.wantBalance(0, 8*cent)

	want(t, u.call(u.key, "POST", payword.PathSubAccounts+"/"+agent.account+"/close", nil), http.StatusOK, payword.Accepted)
	agent.wantState("closing")
	want(t, p.reserve(20*cent), http.StatusOK, payword.Accepted) // is reserved already
	want(t, p.reserve(21*cent), http.StatusConflict, payword.AccountClosed)
	want(t, u.transfer("late", agent, cent, false), http.StatusConflict, payword.AccountClosed)
	s.wantResult(s.claim(p, 15, 15*cent, final), payword.Accepted, 15*cent, 3*cent)
	u.wantBalance(80*cent, 0)
	if finished, err := b.FinishClosings(t.Context()); err != nil || finished != 1 {
		t.Errorf("finished %d closings, %v; want 1", finished, err)
	}
	u.wantBalance(85*cent, 0)
	agent.wantState("closed")
	want(t, u.transfer("back", agent, 10*cent, true), http.StatusOK, payword.Accepted) // was booked once
	u.wantBalance(85*cent, 0)
	b.wantSound()
}

// A sub-account has no credit, children, devices, payouts or vouchers, gets
// money from its parent alone, and belongs to nobody else.
func TestSubAccountMayNot(t *testing.T) {
	b := newBank(t)
	u, stranger := b.newUser(100*cent), b.newUser(100*cent)
	agent := u.newSub(10*cent, payword.Limits{})
	forbidden := func(a answer) {
		t.Helper()
		want(t, a, http.StatusForbidden, payword.NotPermitted)
	}
	forbidden(agent.openSub(newKey(), payword.Limits{}))
	forbidden(agent.addDevice(newKey(), "more"))
	forbidden(agent.payout("out", cent))
	forbidden(agent.close(ownIBAN))
	forbidden(agent.setLimits(payword.Limits{}))
	forbidden(agent.redeemVoucher(b.voucherCodes("batch", 1, cent, 60)[0]))
	forbidden(b.admin("PUT", "/v1/admin/accounts/"+agent.account+"/credit", map[string]string{"credit": "1"}))
	forbidden(b.admin("PUT", "/v1/admin/accounts/"+agent.account+"/holder", map[string]string{"holder": "x"}))
	forbidden(b.admin("POST", "/v1/admin/fundings",
		map[string]string{"id": "f", "account": agent.account, "amount": "1", "currency": "usd-micro"}))
	forbidden(u.openSub(stranger.key, payword.Limits{}))
	forbidden(stranger.openSub(agent.key, payword.Limits{}))

	path := payword.PathSubAccounts + "/" + agent.account
	for _, a := range []answer{
		stranger.transfer("mine", agent, cent, true), stranger.call(stranger.key, "GET", path+"/vendors", nil),
		stranger.call(stranger.key, "POST", path+"/close", nil), stranger.call(stranger.key, "PUT", path, map[string]bool{"paused": true}),
		stranger.transfer("mine", u, cent, true), agent.transfer("mine", agent, cent, true),
	} {
		want(t, a, http.StatusNotFound, payword.UnknownAccount)
	}
	agent.wantBalance(10*cent, 0)
	agent.wantState("open")
	b.wantSound()
}

// A sub-account that is paused, or whose parent is blocked, promises nothing
// new; what it reserved is paid.
func TestPausedSubAccount(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	agent := u.newSub(50*cent, payword.Limits{})
	p := agent.commit(s.origin, 50*cent)
	p.mustReserve(10 * cent)
	pause := func(paused bool) {
		t.Helper()
		want(t, u.call(u.key, "PUT", payword.PathSubAccounts+"/"+agent.account, map[string]any{"paused": paused, "name": "Bot"}),
			http.StatusOK, payword.Accepted)
	}
	pause(true)
	want(t, p.reserve(20*cent), http.StatusForbidden, payword.Blocked)
	want(t, agent.askCertificate(), http.StatusForbidden, payword.Blocked)
	s.wantResult(s.claim(p, 5, 5*cent), payword.Accepted, 5*cent, 5*cent)
	pause(false)
	p.mustReserve(20 * cent)
	want(t, b.admin("POST", "/v1/admin/accounts/"+u.account+"/block", map[string]string{"reason": "stolen"}), http.StatusOK, payword.Accepted)
	want(t, p.reserve(30*cent), http.StatusForbidden, payword.Blocked)
	want(t, agent.askCertificate(), http.StatusForbidden, payword.Blocked)
	want(t, u.transfer("back", agent, cent, true), http.StatusForbidden, payword.Blocked)
	s.wantResult(s.claim(p, 20, 20*cent), payword.Accepted, 20*cent, 15*cent)

	var list payword.SubAccountList
	u.call(u.key, "GET", payword.PathSubAccounts, nil).into(t, http.StatusOK, &list)
	if len(list.SubAccounts) != 1 || list.SubAccounts[0].Name != "Bot" || list.SubAccounts[0].Available != 30*cent {
		t.Errorf("got %+v", list)
	}
}

// Money that is sent to a sub-account and back by many at once is booked once
// for each name, and none appears or vanishes.
func TestConcurrentTransfers(t *testing.T) {
	b := newBank(t)
	u := b.newUser(100 * cent)
	agent := u.newSub(0, payword.Limits{})
	together(24, func(k int) {
		id := string(rune('a' + k/2))
		if a := u.transfer(id, agent, 10*cent, false); a.status != http.StatusOK {
			want(t, a, http.StatusConflict, payword.InsufficientFunds)
		}
	})
	u.wantBalance(0, 0)
	agent.wantBalance(100*cent, 0)
	b.wantSound()
}
