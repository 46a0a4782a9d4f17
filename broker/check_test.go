package broker_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/dbtest"
)

// everyKind moves money in every way that there is.
func everyKind(t *testing.T) (*bank, *user, *shop) {
	t.Helper()
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	agent := u.newSub(30*cent, payword.Limits{})
	want(t, u.transfer("back", agent, 5*cent, true), http.StatusOK, payword.Accepted)
	for _, code := range b.voucherCodes("batch", 3, 20*cent, 3600)[:1] {
		want(t, u.redeemVoucher(code), http.StatusOK, payword.Accepted)
	}
	p := agent.commit(s.origin, 20*cent)
	p.mustReserve(20 * cent)
	s.wantResult(s.claim(p, 12, 12*cent, final), payword.Accepted, 12*cent, 12*cent)
	s.wantResult(s.claim(u.commit(s.origin, 9*cent), 8, 8*cent), payword.Accepted, 8*cent, 8*cent)
	want(t, u.payout("paid", 10*cent), http.StatusOK, payword.Accepted)
	want(t, b.endPayout(u, "paid", "paid"), http.StatusOK, payword.Accepted)
	want(t, u.payout("waits", 10*cent), http.StatusOK, payword.Accepted)
	b.stripe(paidSession("n", "nobody", 7, "usd"))
	debtor := b.newUser(0)
	b.stripe(paidSession("1", debtor.account, 50, "usd"))
	s.wantResult(s.claim(debtor.commit(s.origin, 40*cent), 40, 40*cent), payword.Accepted, 40*cent, 40*cent)
	b.stripe(disputed("created", "1", 50, "needs_response"))
	s.mustAsk("ref:7")
	b.clock.advance(destinationDelay)
	s.settle()
	want(t, s.payOut("one", 30*cent, cent), http.StatusOK, payword.Accepted)
	if _, err := b.ExpireVouchers(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.clock.advance(3600)
	if err := b.SumUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b, u, s
}

// Whatever somebody changes in the books, or a mistake of ours does, a check
// finds it: no account of the ledger is left that nothing explains.
func TestCheckExplainsEveryAccount(t *testing.T) {
	t.Parallel()
	b, u, s := everyKind(t)
	b.wantSound()
	cases := []struct{ name, change, undo, says string }{
		{"a payment that came in", `UPDATE broker_fundings SET amount = amount + 7 WHERE account = '%[1]s'`,
			`UPDATE broker_fundings SET amount = amount - 7 WHERE account = '%[1]s'`, "%[1]s: 770007 micros came to it"},
		{"a voucher that was redeemed", `UPDATE broker_vouchers SET amount = amount - 7 WHERE account = '%[1]s'`,
			`UPDATE broker_vouchers SET amount = amount + 7 WHERE account = '%[1]s'`, "%[1]s: 769993 micros came to it"},
		{"a payout that was paid", `UPDATE broker_payouts SET amount = amount + 7 WHERE state = 'paid'`,
			`UPDATE broker_payouts SET amount = amount - 7 WHERE state = 'paid'`, "broker:bank:out: 400007 micros paid out"},
		{"a payout that waits", `UPDATE broker_payouts SET amount = amount + 7 WHERE state = 'pending'`,
			`UPDATE broker_payouts SET amount = amount - 7 WHERE state = 'pending'`, "100007 micros wait to be paid out"},
		{"a payout to a vendor", `UPDATE transfers SET amount = amount + 7 WHERE kind = 'vendor-payout'`,
			`UPDATE transfers SET amount = amount - 7 WHERE kind = 'vendor-payout'`, "vendor:%[2]s:payable: 289993 micros paid to it"},
		{"a fee", `UPDATE transfers SET amount = amount + 7 WHERE kind = 'vendor-fee'`,
			`UPDATE transfers SET amount = amount - 7 WHERE kind = 'vendor-fee'`, "broker:fees: 10007 micros of fees"},
		{"what a vendor was paid", `UPDATE broker_commitments SET paid = paid + 7`,
			`UPDATE broker_commitments SET paid = paid - 7`, "vendor:%[2]s:payable: 290021 micros paid to it"},
		{"a voucher that expired", `UPDATE broker_vouchers SET amount = amount + 7 WHERE state = 'expired'`,
			`UPDATE broker_vouchers SET amount = amount - 7 WHERE state = 'expired'`, "broker:vouchers:expired: 400014 micros"},
		{"a source that nothing came from", `UPDATE broker_fundings SET debit = 'x' WHERE source = 'stripe'`,
			`UPDATE broker_fundings SET debit = 'broker:stripe:in' WHERE source = 'stripe'`, "broker:stripe:in: 0 micros came in from there"},
		{"a vendor's day", `UPDATE broker_vendor_sums SET redeemed = redeemed + 7`,
			`UPDATE broker_vendor_sums SET redeemed = redeemed - 7`, "micros in the daily sums"},
		{"a day", `UPDATE broker_sums SET amount = amount + 7 WHERE day > 0 AND debit = 'broker:bank:in'`,
			`UPDATE broker_sums SET amount = amount - 7 WHERE day > 0 AND debit = 'broker:bank:in'`, "day 19675: "},
		{"a debt", `UPDATE broker_debts SET open = 0`, `UPDATE broker_debts SET open = 1`, ":owed: it is marked as owing, or not"},
		{"a state", `UPDATE broker_accounts SET state = 'closed' WHERE id = '%[1]s'`,
			`UPDATE broker_accounts SET state = 'open' WHERE id = '%[1]s'`, "%[1]s: the account is closed, and something is on it"},
		{"whose an account is", `UPDATE broker_accounts SET id = 'x' WHERE id = '%[1]s'`,
			`UPDATE broker_accounts SET id = '%[1]s' WHERE id = 'x'`, "user:%[1]s:available: nobody knows whose account this is"},
		{"an account without accounts", `UPDATE broker_accounts SET id = 'x' WHERE id = '%[1]s'`,
			`UPDATE broker_accounts SET id = '%[1]s' WHERE id = 'x'`, "x: the account has none in the ledger"},
	}
	for _, c := range cases {
		dbtest.Tamper(t, b.config.Database, fmt.Sprintf(c.change+"%.0[1]s%.0[2]s", u.account, s.origin))
		wrong, err := b.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if says := fmt.Sprintf(c.says+"%.0[1]s%.0[2]s", u.account, s.origin); !strings.Contains(strings.Join(wrong, "\n"), says) {
			t.Errorf("%s: want %q among\n%s", c.name, says, strings.Join(wrong, "\n"))
		}
		dbtest.Tamper(t, b.config.Database, fmt.Sprintf(c.undo+"%.0[1]s%.0[2]s", u.account, s.origin))
	}
	b.wantSound()
}
