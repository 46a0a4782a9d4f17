package broker_test

import (
	"net/http"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/dbtest"
)

func (u *user) credit(amount int) {
	u.t.Helper()
	u.tie("customer 1")
	if _, refusal, err := u.SetCredit(u.t.Context(), u.account, toAmount(amount)); err != nil || refusal.Refused() {
		u.t.Fatal(refusal, err)
	}
}

func (b *bank) finishClosings(wanted int) {
	b.t.Helper()
	if finished, err := b.FinishClosings(b.t.Context()); err != nil || finished != wanted {
		b.t.Errorf("finished %d closings, %v; want %d", finished, err, wanted)
	}
}

// endPayouts says of all payouts that wait that they are paid, or refused.
func (b *bank) endPayouts(how string, wanted int) {
	b.t.Helper()
	var list payword.PayoutList
	b.admin("GET", "/v1/admin/account-payouts", nil).into(b.t, http.StatusOK, &list)
	if len(list.Payouts) != wanted {
		b.t.Errorf("%d payouts wait, want %d: %+v", len(list.Payouts), wanted, list.Payouts)
	}
	for _, p := range list.Payouts {
		want(b.t, b.endPayout(&user{account: p.Account}, p.ID, how), http.StatusOK, payword.Accepted)
	}
}

// What was spent on credit beside a payout that waits holds a closing up, and
// neither the request nor the background work breaks on it.
func TestClosingWithCreditBesideAPayout(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	u, s := b.newUser(10*cent), b.newShop()
	u.credit(int(50 * cent))
	p := u.commit(s.origin, 40*cent)
	want(t, u.payout("out", 10*cent), http.StatusOK, payword.Accepted)
	p.mustReserve(10 * cent)
	s.wantResult(s.claim(p, 10, 10*cent, final), payword.Accepted, 10*cent, 10*cent)
	want(t, u.close(ownIBAN), http.StatusOK, payword.Accepted)
	b.finishClosings(1)
	u.wantState("closing")
	b.wantSound()
	want(t, b.endPayout(u, "out", "paid"), http.StatusOK, payword.Accepted)
	u.wantState("closing")
	u.fund("debt", 10*cent)
	b.finishClosings(1)
	u.wantState("closed")
	b.wantSound()
}

// An account whose books do not agree does not keep others from being closed.
func TestOneClosingDoesNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	s := b.newShop()
	var users []*user
	for range 3 {
		u := b.newUser(10 * cent)
		u.commit(s.origin, 5*cent).mustReserve(5 * cent)
		want(t, u.close(ownIBAN), http.StatusOK, payword.Accepted)
		users = append(users, u)
	}
	first := users[0]
	for _, u := range users {
		if u.account < first.account {
			first = u
		}
	}
	b.clock.advance(30 * 24 * 3600)
	if _, err := b.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	dbtest.Tamper(t, b.config.Database, `UPDATE accounts SET currency = 'eur-micro' WHERE id = 'user:`+first.account+`:available'`)
	if finished, err := b.FinishClosings(t.Context()); err == nil || finished != 2 {
		t.Errorf("finished %d, %v; want 2 and an error", finished, err)
	}
}

// Money that comes in after an owner closed an account with nothing on it waits
// for the owner to say where it goes.
func TestClosingThatLearnsWhereMoneyGoes(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	u, s := b.newUser(0), b.newShop()
	u.credit(int(50 * cent))
	s.wantResult(s.claim(u.commit(s.origin, 20*cent), 20, 20*cent), payword.Accepted, 20*cent, 20*cent)
	want(t, u.close(""), http.StatusOK, payword.Accepted)
	u.fund("more", 30*cent)
	b.finishClosings(1)
	u.wantState("closing")
	want(t, u.close(""), http.StatusOK, payword.Accepted)
	b.endPayouts("paid", 0)
	want(t, u.close(ownIBAN), http.StatusOK, payword.Accepted)
	want(t, u.close("GB33BUKB20201555555555"), http.StatusOK, payword.Accepted) // the first one counts
	var list payword.PayoutList
	b.admin("GET", "/v1/admin/account-payouts", nil).into(t, http.StatusOK, &list)
	if len(list.Payouts) != 1 || list.Payouts[0].Amount != 10*cent || list.Payouts[0].Destination.IBAN != "GB82WEST12345698765432" {
		t.Errorf("got %+v", list.Payouts)
	}
	b.endPayouts("paid", 1)
	u.wantState("closed")
	b.wantSound()
}

// What comes back to an account that was closed is paid out, and what is taken
// back from it can be paid in.
func TestClosedAccountClosesAgain(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	u := b.newUser(0)
	b.stripe(paidSession("1", u.account, 100, "usd"))
	b.stripe(disputed("created", "1", 100, "needs_response"))
	want(t, u.close(""), http.StatusOK, payword.Accepted)
	u.wantState("closed")
	b.stripe(disputed("closed", "1", 100, "won"))
	b.stripe(disputed("funds_reinstated", "1", 100, "won"))
	u.wantState("closing")
	b.wantSound()
	want(t, u.close(ownIBAN), http.StatusOK, payword.Accepted)
	b.endPayouts("paid", 1)
	u.wantState("closed")
	b.wantSound()

	b.stripe(refunded("1", 40, "usd"))
	u.wantState("closing")
	b.wantSound()
	u.fund("debt", 45*cent)
	b.finishClosings(1)
	b.endPayouts("paid", 1)
	u.wantState("closed")
	u.wantBalance(0, 0)
	b.wantSound()
}
