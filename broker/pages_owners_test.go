package broker_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
)

// printedIBAN is ownIBAN as the broker keeps it.
var printedIBAN = strings.ReplaceAll(ownIBAN, " ", "")

func TestAccountOnThePages(t *testing.T) {
	b := newOfficeBank(t)
	u := b.newUser(500 * cent)
	sub := u.newSub(100*cent, payword.Limits{})
	u.newDevice("<i>tablet</i>")
	o := b.signedIn(annasToken)
	wantText(t, o.page("/admin/accounts/"+u.account), "nobody: a white account", "&lt;i&gt;tablet&lt;/i&gt;", "4.00")
	wantText(t, o.page("/admin/accounts/"+sub.account), "Belongs to", u.account, "1.00")
	wantText(t, o.page("/admin/accounts"), "sub-account")
	// A second device finds the account as the first does.
	device := u.newDevice("other")
	found := o.get("/admin/find?q=" + payword.Thumbprint(publicKey(device.key)))
	if found.header.Get("Location") != "/admin/accounts/"+u.account {
		t.Errorf("got %q", found.header.Get("Location"))
	}
}

func TestBlockingAnAccountOnThePages(t *testing.T) {
	b := newBusy(t)
	o := b.signedIn(annasToken)
	path := "/admin/accounts/" + b.user.account
	asked := o.fill(path+"/block", map[string]string{"reason": "a report"})
	wantText(t, string(asked.body), "Nothing is done yet", "what is reserved stays redeemable", "open", "blocked")
	for range 2 {
		if got := o.post(path+"/block", hidden(string(asked.body))); got.status != http.StatusSeeOther {
			t.Fatalf("got status %d: %s", got.status, got.body)
		}
	}
	page := o.page(path + "?done=block")
	wantText(t, page, "The account is blocked.", "Open the account again", "a report")
	if strings.Contains(page, ">Block the account<") {
		t.Error("the page offers to block what is blocked")
	}
	want(t, b.user.askCertificate(), http.StatusForbidden, payword.Blocked)
	if got := o.act(path+"/unblock", map[string]string{"reason": "a mistake"}); got.status != http.StatusSeeOther {
		t.Fatalf("got status %d: %s", got.status, got.body)
	}
	b.user.certificate()
}

func TestPayoutsOfAccountsOnThePages(t *testing.T) {
	b := newOfficeBank(t)
	u := b.newUser(100 * cent)
	want(t, u.payout("rent", 60*cent), http.StatusOK, payword.Accepted)
	want(t, u.payout("more", 30*cent), http.StatusOK, payword.Accepted)
	o := b.signedIn(annasToken)
	wantText(t, o.page("/admin/payouts"), "rent", "0.60", printedIBAN, "it waits")
	wantText(t, o.page("/admin/accounts/"+u.account), "0.10", "0.90", "set aside for payouts", "payout, pending")
	path := "/admin/payouts/" + u.account + "/rent/paid"
	if got := o.fill(path, nil); got.status != http.StatusUnprocessableEntity {
		t.Errorf("without a note: got status %d", got.status)
	}
	asked := o.fill(path, map[string]string{"note": "bank <17>"})
	wantText(t, string(asked.body), "Nothing is done yet", "0.60 USD", printedIBAN)
	for range 2 {
		if got := o.post(path, hidden(string(asked.body))); got.header.Get("Location") != "/admin/payouts?done=paid" {
			t.Fatalf("got status %d: %s", got.status, got.body)
		}
	}
	if got := o.act("/admin/payouts/"+u.account+"/more/refuse", map[string]string{"note": "closed bank"}); got.status != http.StatusSeeOther {
		t.Fatalf("got status %d: %s", got.status, got.body)
	}
	wantText(t, o.page("/admin/payouts?done=paid"), "The payout is booked as made.", "None.")
	wantText(t, o.page("/admin/payouts?state=paid"), "rent", "bank &lt;17&gt;")
	wantText(t, o.page("/admin/payouts?state=refused"), "more", "closed bank")
	u.wantBalance(40*cent, 0)
	// What has ended is not ended otherwise.
	if got := o.act("/admin/payouts/"+u.account+"/rent/refuse", map[string]string{"note": "x"}); got.status != http.StatusNotFound {
		t.Errorf("got status %d", got.status)
	}
	for _, path := range []string{"/admin/payouts/" + u.account + "/none/paid", "/admin/payouts/aaaaaaaaaaaaaaaa/rent/paid", "/admin/payouts/x/y/paid"} {
		if got := o.get(path); got.status != http.StatusNotFound {
			t.Errorf("%s: got status %d", path, got.status)
		}
	}
	wantText(t, o.page("/admin/"), "0.60")
	b.wantSound()
}

func TestVouchersOnThePages(t *testing.T) {
	b := newOfficeBank(t)
	o := b.signedIn(annasToken)
	wantText(t, o.page("/admin/vouchers"), "None.")
	codes := b.voucherCodes("spring", 3, 250*cent, 3600)
	want(t, b.newUser(0).redeemVoucher(codes[0]), http.StatusOK, payword.Accepted)
	wantText(t, o.page("/admin/"), "Vouchers, open", "5.00")
	page := o.page("/admin/vouchers")
	wantText(t, page, "spring", "2.50")
	for _, code := range codes {
		if strings.Contains(page, code) {
			t.Error("the page shows a code")
		}
	}
	if cancelled, refusal, err := b.CancelVouchers(t.Context(), "spring"); err != nil || refusal.Refused() || cancelled != 2 {
		t.Fatalf("cancelling: %d, %v, %v", cancelled, refusal, err)
	}
	page = o.page("/admin/")
	wantText(t, page, "Vouchers, cancelled", "5.00")
	if strings.Contains(page, "refunded or disputed") {
		t.Error("vouchers that were cancelled look like a refund")
	}
	b.wantSound()
}
