package broker_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/browsertest"
	"github.com/paywordhq/payword/money"
)

// leastBrowserChecks is the least that the browser must have looked at.
const leastBrowserChecks = 200

// newHistory opens a broker with three weeks in its books.
func newHistory(t *testing.T) *busy {
	t.Helper()
	b := newBusy(t)
	for day := range 21 {
		b.clock.advance(24 * 60 * 60)
		amount := money.Amount(day*day%13) * money.Unit
		if amount == 0 {
			continue
		}
		visitor := b.newUser(amount + 10*money.Unit)
		purse := visitor.commit(b.shop.origin, amount)
		purse.mustReserve(amount)
		steps := uint32(7 * (day%6 + 1))
		claim := b.shop.claim(purse, steps, money.Amount(steps)*cent)
		if day%3 == 0 {
			claim = b.shop.claim(purse, steps, money.Amount(steps)*cent, final)
		}
		b.shop.wantResult(claim, 0, money.Amount(steps)*cent, money.Amount(steps)*cent)
	}
	return b
}

// TestPagesInABrowser has Chromium look at the administration pages: with axe
// for accessibility, and for what they ask for, complain of, and do to those who
// enlarge, print, use the keyboard alone, or have no script.
func TestPagesInABrowser(t *testing.T) {
	b := newHistory(t)
	want(t, b.user.payout("rent", 5*money.Unit), http.StatusOK, payword.Accepted)
	b.voucherCodes("spring", 3, money.Unit, 3600)
	type walk struct {
		Page   string            `json:"page"`
		Link   string            `json:"link"`
		Typed  map[string]string `json:"typed"`
		Button string            `json:"button"`
		Notice string            `json:"notice"`
	}
	if err := b.CheckBooks(t.Context()); err != nil {
		t.Fatal(err)
	}
	browsertest.Run(t, "browser/pages.mjs", leastBrowserChecks, map[string]any{
		"origin": b.url, "base": "/admin/", "token": annasToken, "readerToken": benosToken,
		"pages": map[string]string{
			"overview": "/admin/", "accounts": "/admin/accounts", "account": "/admin/accounts/" + b.user.account,
			"vendors": "/admin/vendors", "vendor": "/admin/vendor?vendor=" + url.QueryEscape(b.shop.origin),
			"commitments": "/admin/commitments", "commitment": "/admin/commitments/" + b.purse.m.ID.String(),
			"fundings": "/admin/fundings", "payouts": "/admin/payouts", "vouchers": "/admin/vouchers", "frauds": "/admin/frauds", "audit": "/admin/audit?actor=admin:anna", "health": "/admin/health",
			"fund": "/admin/accounts/" + b.user.account + "/fund",
		},
		"few": []string{"overview", "account", "commitment"}, // looked at in every way
		"walks": map[string]walk{
			"fund":          {"account", "Fund the account", map[string]string{"Amount": "12.50"}, "Book it", "The payment is booked."},
			"block-account": {"account", "Block the account", map[string]string{"Reason": "A phone was stolen."}, "Block it", "The account is blocked."},
			"block":         {"vendor", "Block the vendor", map[string]string{"Reason": "The site was sold."}, "Block it", "The vendor is blocked."},
		},
	})
	b.wantSound()
	if got := b.plain("GET", "/admin/", nil); got.status != http.StatusOK { // the client follows to the sign-in
		t.Errorf("got status %d", got.status)
	}
}
