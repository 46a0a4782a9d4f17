package broker_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

func (b *bank) endPayout(u *user, id, how string) answer {
	return b.admin("POST", "/v1/admin/account-payouts/"+u.account+"/"+id+"/"+how, map[string]string{"note": "bank 17"})
}

// Money is set aside at once, and leaves or comes back once.
func TestAccountPayouts(t *testing.T) {
	b := newBank(t)
	u, other := b.newUser(100*cent), b.newUser(0)
	var made payword.Payout
	u.payout("rent", 60*cent).into(t, http.StatusOK, &made)
	if made.State != "pending" || made.Destination.IBAN != "GB82WEST12345698765432" || made.Created != start {
		t.Errorf("got %+v", made)
	}
	u.wantBalance(40*cent, 0)
	b.wantSound()
	want(t, u.payout("rent", 60*cent), http.StatusOK, payword.Accepted)
	want(t, u.payout("rent", 61*cent), http.StatusConflict, payword.IdempotencyDiffers)
	want(t, u.payout("more", 41*cent), http.StatusConflict, payword.InsufficientFunds)
	want(t, u.payout("more", 40*cent), http.StatusOK, payword.Accepted)
	want(t, other.payout("rent", cent), http.StatusConflict, payword.InsufficientFunds)

	want(t, b.endPayout(u, "none", "paid"), http.StatusNotFound, payword.UnknownPayout)
	want(t, b.endPayout(other, "rent", "paid"), http.StatusNotFound, payword.UnknownPayout)
	b.clock.advance(100)
	for range 2 {
		want(t, b.endPayout(u, "rent", "paid"), http.StatusOK, payword.Accepted)
		want(t, b.endPayout(u, "more", "refused"), http.StatusOK, payword.Accepted)
	}
	want(t, b.endPayout(u, "rent", "refused"), http.StatusNotFound, payword.UnknownPayout)
	want(t, b.endPayout(u, "more", "paid"), http.StatusNotFound, payword.UnknownPayout)
	u.wantBalance(40*cent, 0)
	want(t, u.payout("rent", 60*cent), http.StatusOK, payword.Accepted) // what became of it

	var list payword.PayoutList
	u.call(u.key, "GET", payword.PathPayouts, nil).into(t, http.StatusOK, &list)
	if len(list.Payouts) != 2 || list.Payouts[0].State != "paid" || list.Payouts[1].State != "refused" ||
		list.Payouts[1].Note != "bank 17" || list.Payouts[0].Ended != start+100 {
		t.Errorf("got %+v", list)
	}
	u.call(u.key, "GET", payword.PathPayouts+"?after=rent", nil).into(t, http.StatusOK, &list)
	if len(list.Payouts) != 1 || list.Payouts[0].ID != "more" {
		t.Errorf("got %+v", list)
	}
	other.call(other.key, "GET", payword.PathPayouts+"?after=rent", nil).into(t, http.StatusOK, &list)
	if len(list.Payouts) != 0 {
		t.Errorf("another's payouts are listed: %+v", list)
	}
	b.wantSound()
}

// No name that an owner or a source may choose is one of the ledger's own.
func TestNamesThatCouldBeTheLedgersOwn(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	u := b.newUser(10 * cent)
	agent := u.newSub(0, payword.Limits{})
	for _, id := range []string{"expire", "paid", "refused", "fee"} {
		u.fund(id, cent)
		want(t, u.payout(id, cent), http.StatusOK, payword.Accepted)
		want(t, u.transfer(id, agent, cent, false), http.StatusOK, payword.Accepted)
	}
	for _, id := range []string{"expire", "paid", "refused", "fee"} {
		want(t, b.endPayout(u, id, "paid"), http.StatusOK, payword.Accepted)
	}
	u.wantBalance(6*cent, 0)
	b.wantSound()
}

// Credit is not paid out, nor what somebody else's account has.
func TestCreditIsNotPaidOut(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(10*cent), b.newShop()
	u.tie("customer 1")
	if _, refusal, err := b.SetCredit(t.Context(), u.account, 50*cent); err != nil || refusal.Refused() {
		t.Fatal(refusal, err)
	}
	want(t, u.payout("a", 11*cent), http.StatusConflict, payword.InsufficientFunds)
	u.commit(s.origin, 40*cent).mustReserve(40 * cent)
	want(t, u.payout("b", cent), http.StatusConflict, payword.InsufficientFunds)
	b.wantSound()
}

// Where money goes is checked before anything is done.
func TestDestinations(t *testing.T) {
	b := newBank(t)
	u := b.newUser(1000 * cent)
	cases := []struct {
		name        string
		destination payword.PayoutDestination
		ok          bool
	}{
		{"an IBAN", payword.PayoutDestination{IBAN: ownIBAN}, true},
		{"small letters", payword.PayoutDestination{IBAN: "de89370400440532013000"}, true},
		{"of Norway, the shortest", payword.PayoutDestination{IBAN: "NO9386011117947"}, true},
		{"of Malta, long", payword.PayoutDestination{IBAN: "MT84MALT011000012345MTLCAST001S"}, true},
		{"a reference", payword.PayoutDestination{Reference: "cash desk 3, Zürich"}, true},
		{"nothing", payword.PayoutDestination{}, false},
		{"both", payword.PayoutDestination{IBAN: ownIBAN, Reference: "x"}, false},
		{"a wrong digit", payword.PayoutDestination{IBAN: "GB82WEST12345698765433"}, false},
		{"two digits swapped", payword.PayoutDestination{IBAN: "GB82WEST12345698765342"}, false},
		{"no country", payword.PayoutDestination{IBAN: "8289370400440532013000"}, false},
		{"no check digits", payword.PayoutDestination{IBAN: "DEAB370400440532013000"}, false},
		{"too short", payword.PayoutDestination{IBAN: "NO93860111179"}, false},
		{"too long", payword.PayoutDestination{IBAN: "GB82" + strings.Repeat("0", 31)}, false},
		{"a hyphen", payword.PayoutDestination{IBAN: "GB82-WEST-1234-5698-7654-32"}, false},
		{"two lines", payword.PayoutDestination{Reference: "a\nb"}, false},
	}
	for k, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			status := http.StatusOK
			if !c.ok {
				status = http.StatusUnprocessableEntity
			}
			a := u.call(u.key, "POST", payword.PathPayouts,
				payword.RequestPayout{ID: fmt.Sprint("p", k), Amount: cent, Destination: c.destination})
			want(t, a, status, payword.Accepted)
		})
	}
	want(t, u.close("GB00WEST12345698765432"), http.StatusUnprocessableEntity, payword.Accepted)
	u.wantState("open")
}

// Closing waits for what is reserved, gives the rest to a payout, and ends when
// that is paid.
func TestClosing(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(200*cent), b.newShop()
	agent := u.newSub(30*cent, payword.Limits{})
	p, q, late := u.commit(s.origin, 50*cent), agent.commit(s.origin, 20*cent), u.commit(s.origin, 10*cent)
	p.mustReserve(50 * cent)
	q.mustReserve(20 * cent)
	want(t, u.close(""), http.StatusForbidden, payword.NotPermitted)
	want(t, u.close(ownIBAN), http.StatusOK, payword.Accepted)
	want(t, u.close(ownIBAN), http.StatusOK, payword.Accepted)
	u.wantState("closing")
	agent.wantState("closing")
	want(t, u.askCertificate(), http.StatusConflict, payword.AccountClosed)
	want(t, late.reserve(cent), http.StatusConflict, payword.AccountClosed)
	want(t, u.payout("more", cent), http.StatusConflict, payword.AccountClosed)
	want(t, u.addDevice(newKey(), "late"), http.StatusConflict, payword.AccountClosed)
	finish := func(wanted int) {
		t.Helper()
		if finished, err := b.FinishClosings(t.Context()); err != nil || finished != wanted {
			t.Errorf("finished %d closings, %v; want %d", finished, err, wanted)
		}
	}
	finish(0)
	u.wantBalance(120*cent, 50*cent)
	s.wantResult(s.claim(p, 40, 40*cent, final), payword.Accepted, 40*cent, 40*cent)
	finish(0) // the sub-account has a reservation
	b.clock.seconds.Store(q.m.Expires + 7*24*3600)
	if _, err := b.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	finish(2)
	u.wantBalance(0, 0)
	agent.wantState("closed")
	u.wantState("closing")
	var list payword.PayoutList
	b.admin("GET", "/v1/admin/account-payouts", nil).into(t, http.StatusOK, &list)
	if len(list.Payouts) != 1 || list.Payouts[0].Amount != 160*cent || !list.Payouts[0].Closing {
		t.Fatalf("got %+v", list)
	}
	b.wantSound()

	id := list.Payouts[0].ID
	want(t, b.endPayout(u, id, "refused"), http.StatusOK, payword.Accepted)
	u.wantState("open")
	u.wantBalance(160*cent, 0)
	want(t, u.close(ownIBAN), http.StatusOK, payword.Accepted)
	b.admin("GET", "/v1/admin/account-payouts?state=pending", nil).into(t, http.StatusOK, &list)
	want(t, b.endPayout(u, list.Payouts[0].ID, "paid"), http.StatusOK, payword.Accepted)
	u.wantState("closed")
	want(t, b.admin("POST", "/v1/admin/fundings", map[string]string{"id": "late", "account": u.account, "amount": "1", "currency": "usd-micro"}),
		http.StatusConflict, payword.AccountClosed)
	b.wantSound()
	empty := b.newUser(0)
	want(t, empty.close(""), http.StatusOK, payword.Accepted)
	empty.wantState("closed")
}

// An owner who owes something closes once it is paid.
func TestClosingWithDebt(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(10*cent), b.newShop()
	u.tie("customer 1")
	if _, refusal, err := b.SetCredit(t.Context(), u.account, 50*cent); err != nil || refusal.Refused() {
		t.Fatal(refusal, err)
	}
	p := u.commit(s.origin, 40*cent)
	p.mustReserve(40 * cent)
	s.wantResult(s.claim(p, 40, 40*cent, final), payword.Accepted, 40*cent, 40*cent)
	want(t, u.close(ownIBAN), http.StatusOK, payword.Accepted)
	u.wantState("closing")
	u.fund("debt", 35*cent)
	if finished, err := b.FinishClosings(t.Context()); err != nil || finished != 1 {
		t.Errorf("finished %d, %v; want 1", finished, err)
	}
	var account payword.Account
	u.call(u.key, "GET", payword.PathAccount, nil).into(t, http.StatusOK, &account)
	if account.Credit != 0 || account.Payouts != 5*cent || account.Available != 0 {
		t.Errorf("got %+v", account)
	}
	b.wantSound()
}

// A blocked account promises nothing new; what is reserved is paid, and who was
// closing goes on with it afterwards.
func TestBlocking(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	p := u.commit(s.origin, 50*cent)
	first := p.mustReserve(20 * cent)
	state := func(how string) answer {
		return b.admin("POST", "/v1/admin/accounts/"+u.account+"/"+how, map[string]string{"reason": "a reason"})
	}
	want(t, state("block"), http.StatusOK, payword.Accepted)
	want(t, state("block"), http.StatusOK, payword.Accepted)
	u.wantState("blocked")
	b.wantStatus(p.m.Certificate, payword.StatusSuspended)
	b.clock.advance(5) // a list is signed anew no more often
	for name, a := range map[string]answer{
		"certificates": u.askCertificate(), "reservations": p.reserve(30 * cent), "payouts": u.payout("p", cent),
		"closing": u.close(ownIBAN), "devices": u.addDevice(newKey(), "x"), "sub-accounts": u.openSub(newKey(), payword.Limits{}),
	} {
		if a.status != http.StatusForbidden || a.reason() != "blocked" {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
	var again payword.ReservationAnswer
	p.reserve(20*cent).into(t, http.StatusOK, &again)
	if again.Reservation != first.Token {
		t.Error("what was reserved is not answered any more")
	}
	s.wantResult(s.claim(p, 15, 15*cent), payword.Accepted, 15*cent, 15*cent)
	u.fund("in", cent)
	want(t, state("unblock"), http.StatusOK, payword.Accepted)
	b.wantStatus(p.m.Certificate, payword.StatusValid)
	p.mustReserve(30 * cent)
	want(t, u.close(ownIBAN), http.StatusOK, payword.Accepted)
	want(t, state("block"), http.StatusOK, payword.Accepted)
	s.wantResult(s.claim(p, 30, 30*cent, final), payword.Accepted, 30*cent, 15*cent)
	if finished, err := b.FinishClosings(t.Context()); err != nil || finished != 0 {
		t.Errorf("finished %d, %v: the account is blocked", finished, err)
	}
	want(t, state("unblock"), http.StatusOK, payword.Accepted)
	u.wantState("closing")
	if finished, err := b.FinishClosings(t.Context()); err != nil || finished != 1 {
		t.Errorf("finished %d, %v; want 1", finished, err)
	}
	want(t, b.admin("POST", "/v1/admin/accounts/aaaaaaaaaaaaaaaa/block", map[string]string{"reason": "x"}), http.StatusNotFound, payword.UnknownAccount)
	want(t, b.admin("POST", "/v1/admin/accounts/"+u.account+"/block", map[string]string{"reason": ""}), 422, payword.Accepted)
	b.wantSound()
}

// Many payouts at once never take more than the balance, and an operator and
// another who end one at once end it once.
func TestConcurrentPayouts(t *testing.T) {
	b := newBank(t)
	u := b.newUser(100 * cent)
	var granted atomic.Int64
	together(12, func(k int) {
		a := u.payout(fmt.Sprint("p", k), 30*cent)
		if a.status == http.StatusOK {
			granted.Add(1)
		} else {
			want(t, a, http.StatusConflict, payword.InsufficientFunds)
		}
	})
	if granted.Load() != 3 {
		t.Errorf("%d payouts of 0.30 were granted out of 1.00, want 3", granted.Load())
	}
	var list payword.PayoutList
	b.admin("GET", "/v1/admin/account-payouts", nil).into(t, http.StatusOK, &list)
	var paid, refused atomic.Int64
	together(8, func(k int) {
		if k%2 == 0 && b.endPayout(u, list.Payouts[0].ID, "paid").status == http.StatusOK {
			paid.Add(1)
		}
		if k%2 == 1 && b.endPayout(u, list.Payouts[0].ID, "refused").status == http.StatusOK {
			refused.Add(1)
		}
	})
	if paid.Load()*refused.Load() != 0 || paid.Load()+refused.Load() != 4 {
		t.Errorf("a payout was said to be paid %d times and refused %d times", paid.Load(), refused.Load())
	}
	b.wantSound()
}

// A commit about accounts that fails has done nothing, one whose answer is lost
// has done all; asking again makes both right.
func TestAccountFaults(t *testing.T) {
	var points []string
	for _, name := range []string{
		"add device", "rename device", "remove device", "open sub-account", "change sub-account", "transfer", "set limits", "set ceiling",
		"set holder", "block account", "unblock account", "redeem voucher", "request payout", "end payout", "close sub-account",
		"close account", "finish closing",
	} {
		points = append(points, "before "+name, "after "+name)
	}
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			b := newBank(t)
			u := b.newUser(100 * cent)
			code := b.voucherCodes("one", 1, 50*cent, 3600)[0]
			failed := 0
			b.SetFault(func(at string) error {
				if at == point && failed == 0 {
					failed++
					return errDisk
				}
				return nil
			})
			accountStory(b, u, code)
			if failed != 1 {
				t.Fatalf("%s was never reached", point)
			}
			b.wantSound()
		})
	}
}

// accountStory does everything about an account once, asks again what was
// answered with 503, and checks what must be there in the end.
func accountStory(b *bank, u *user, code string) {
	b.t.Helper()
	key, agent, s := newKey(), &user{bank: b, key: newKey()}, b.newShop()
	again(b, func() answer { return u.addDevice(key, "second") })
	device := payword.PathDevices + "/" + payword.Thumbprint(publicKey(key))
	again(b, func() answer { return u.call(u.key, "PUT", device, map[string]string{"name": "third"}) })
	var sub payword.SubAccount
	again(b, func() answer { return u.openSub(agent.key, payword.Limits{}) }).intoAny(b.t, &sub)
	agent.account = sub.Account
	again(b, func() answer {
		return u.call(u.key, "PUT", payword.PathSubAccounts+"/"+sub.Account, map[string]string{"name": "bot"})
	})
	again(b, func() answer { return u.transfer("t", agent, 40*cent, false) })
	again(b, func() answer { return u.setLimits(payword.Limits{Day: micros(90 * cent)}) })
	admin := "/v1/admin/accounts/" + u.account
	again(b, func() answer { return b.admin("PUT", admin+"/limits", payword.Limits{Day: micros(95 * cent)}) })
	again(b, func() answer { return b.admin("PUT", admin+"/holder", map[string]string{"holder": "c 1"}) })
	again(b, func() answer { return b.admin("POST", admin+"/block", map[string]string{"reason": "r"}) })
	again(b, func() answer { return b.admin("POST", admin+"/unblock", map[string]string{"reason": "r"}) })
	again(b, func() answer { return u.redeemVoucher(code) })
	again(b, func() answer { return u.payout("p", 20*cent) })
	again(b, func() answer { return b.endPayout(u, "p", "paid") })
	if a := u.removeDevice(key); a.status == http.StatusServiceUnavailable {
		a = u.removeDevice(key)
		if a.status != http.StatusOK && a.reason() != "unknown-device" {
			b.t.Errorf("got %d %s", a.status, a.body)
		}
	}
	p, q := agent.commit(s.origin, 10*cent), u.commit(s.origin, 10*cent)
	p.mustReserve(10 * cent)
	q.mustReserve(10 * cent)
	again(b, func() answer {
		return u.call(u.key, "POST", payword.PathSubAccounts+"/"+sub.Account+"/close", nil)
	})
	again(b, func() answer { return u.close(ownIBAN) })
	s.wantResult(s.claim(p, 4, 4*cent, final), payword.Accepted, 4*cent, 4*cent)
	s.wantResult(s.claim(q, 4, 4*cent, final), payword.Accepted, 4*cent, 4*cent)
	for range 2 {
		if _, err := b.FinishClosings(b.t.Context()); err != nil && !errors.Is(err, errDisk) {
			b.t.Error(err)
		}
	}
	var list payword.PayoutList
	b.admin("GET", "/v1/admin/account-payouts", nil).into(b.t, http.StatusOK, &list)
	sum := money.Amount(0)
	for _, p := range list.Payouts {
		sum += p.Amount
		again(b, func() answer { return b.endPayout(u, p.ID, "paid") })
	}
	if sum != 122*cent {
		b.t.Errorf("%s were paid out in the end, want 1.22", sum.Decimal())
	}
	u.wantState("closed")
	agent.wantState("closed")
}

// What an operator does with the commands.
func TestAccountCommands(t *testing.T) {
	b := newBank(t)
	u := b.newUser(50 * cent)
	expect := func(want int, contains string, args ...string) string {
		t.Helper()
		code, stdout, stderr := run(t, append(args, "--db", b.config.Database)...)
		if code != want || !strings.Contains(stdout+stderr, contains) {
			t.Errorf("%v: got exit %d, %q, %q; want %d and %q", args, code, stdout, stderr, want, contains)
		}
		return stdout
	}
	expect(0, "blocked", "account", "--account", u.account, "--block", "lost phone")
	u.wantState("blocked")
	expect(0, "open", "account", "--account", u.account, "--unblock", "found it", "--ceiling-day", "0.30", "--ceiling-reserved", "1")
	expect(0, "open", "account", "--account", u.account, "--ceiling-reserved", "none")
	var limits payword.AccountLimits
	u.call(u.key, "GET", payword.PathLimits, nil).into(t, http.StatusOK, &limits)
	if limits.Ceiling.Day == nil || *limits.Ceiling.Day != 30*cent || limits.Ceiling.Reserved != nil {
		t.Errorf("got %+v", limits)
	}
	want(t, u.payout("p", 10*cent), http.StatusOK, payword.Accepted)
	want(t, u.payout("q", 10*cent), http.StatusOK, payword.Accepted)
	expect(0, "GB82WEST12345698765432", "payout")
	expect(0, "paid", "payout", "--account", u.account, "--id", "p", "--paid", "bank 1")
	expect(0, "refused", "payout", "--account", u.account, "--id", "q", "--refused", "name differs")
	expect(1, "no such payout", "payout", "--account", u.account, "--id", "q", "--paid", "bank 2")
	u.wantBalance(40*cent, 0)

	codes := strings.Fields(expect(0, "-", "voucher", "--id", "b1", "--count", "3", "--amount", "0.20"))
	if len(codes) != 3 {
		t.Fatalf("got %q", codes)
	}
	expect(1, "another", "voucher", "--id", "b1", "--count", "3", "--amount", "0.20")
	b.clock.advance(1) // the command takes the clock of the machine, which is ahead of this one
	want(t, u.redeemVoucher(codes[0]), http.StatusOK, payword.Accepted)
	expect(0, "2 vouchers", "voucher", "--cancel", "b1")
	expect(0, "b1", "voucher")
	u.wantBalance(60*cent, 0)
	for _, mistake := range [][]string{
		{"account", "--account", u.account, "--block", ""}, {"account", "--block", "x"}, {"account", "--account", u.account, "--ceiling-day", "much"},
		{"account", "--account", u.account, "--block", "x", "--unblock", "x"},
		{"payout", "--account", u.account, "--id", "p"}, {"payout", "--paid", "x"},
		{"voucher", "--id", "b2"}, {"voucher", "--id", "b2", "--count", "0", "--amount", "1"}, {"voucher", "--id", "b 2", "--count", "1", "--amount", "1"},
		{"voucher", "--id", "b2", "--count", "1", "--amount", "x"}, {"voucher", "--id", "b2", "--count", "1", "--amount", "1", "--life", "-1h"},
		{"voucher", "--id", "b2", "--cancel", "b1"},
	} {
		expect(2, "payword broker "+mistake[0], mistake...)
	}
	expect(0, "the books agree", "check")
}

// A reference is shown to the operator who pays: nothing in it may be unseen, or
// turn what is seen.
func TestReferencesAreSeen(t *testing.T) {
	b := newBank(t)
	u := b.newUser(100 * cent)
	ask := func(id, reference string) answer {
		return u.call(u.key, "POST", payword.PathPayouts, payword.RequestPayout{
			ID: id, Amount: cent, Destination: payword.PayoutDestination{Reference: reference}})
	}
	for _, reference := range []string{"a\u009b2J", "a\u202eb", "a\u2028b", "a\u200bb", "a\u2066b", "a\tb"} {
		if a := ask("unseen", reference); a.status != http.StatusUnprocessableEntity {
			t.Errorf("%q: got %d %s", reference, a.status, a.body)
		}
	}
	for id, reference := range map[string]string{"a": "Jos\u00e9 \u5f20\u4f1f", "b": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"} {
		want(t, ask(id, reference), http.StatusOK, payword.Accepted)
	}
}
