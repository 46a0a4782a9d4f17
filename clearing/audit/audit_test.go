package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/clearing/audit"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

func (b *bank) audit() audit.Report {
	b.t.Helper()
	return b.auditWith(audit.Options{})
}

func (b *bank) auditWith(options audit.Options) audit.Report {
	b.t.Helper()
	options.Database = b.database
	if options.DayKeys == nil {
		options.DayKeys = map[string]ed25519.PublicKey{payword.Thumbprint(publicKey(b.dayKey)): publicKey(b.dayKey)}
	}
	report, err := audit.Run(b.t.Context(), options)
	if err != nil {
		b.t.Fatal(err)
	}
	return report
}

func (b *bank) wantClean() audit.Report {
	b.t.Helper()
	report := b.audit()
	if !report.Clean() {
		var text bytes.Buffer
		_ = report.Write(&text)
		b.t.Errorf("the audit of sound books found\n%s", text.String())
	}
	return report
}

// town is a broker with something of everything on its books.
type town struct {
	*bank
	user, other, agent            *user
	shop, second                  *shop
	reserved, closed, open, twice *purse
}

func newTown(t testing.TB) *town {
	t.Helper()
	b := newBank(t)
	w := &town{bank: b, user: b.newUser(50 * money.Unit), other: b.newUser(20 * money.Unit), shop: b.newShop(), second: b.newShop()}
	w.agent = w.user.newSub(3 * money.Unit)
	w.commitments()
	w.comeIn()
	w.goOut()
	w.settle()
	b.seconds.Add(3600) // the sums leave out what is younger than some minutes
	b.runUntil(func() bool { return b.audit().Looked.DaySums > 0 })
	return w
}

// commitments are reserved and not, closed and open, on several chains, and one
// with a root that was there before.
func (w *town) commitments() {
	u, s := w.user, w.shop
	w.reserved = u.commit(s, 50*cent).reserve(20 * cent).reserve(40 * cent)
	s.redeem(s.claim(w.reserved, 10*cent, false, 10), s.claim(w.reserved, 25*cent, false, 30))
	w.closed = u.commit(s, 50*cent).reserve(30 * cent)
	s.redeem(s.claim(w.closed, 12*cent, false, 12))
	s.redeem(s.claim(w.closed, 12*cent, true, 15))
	w.open = u.commit(w.second, 80*cent, payword.ChainTerms{Unit: cent, Length: 50}, payword.ChainTerms{Unit: 7 * cent, Length: 9})
	w.second.redeem(w.second.claim(w.open, 9*cent, false, 2, 1))
	w.second.redeem(w.second.claim(w.open, 30*cent, false, 2, 4))
	w.twice = u.commit(s, 50*cent, w.open.m.Chains[0])
	w.twice.m.Nonce, w.twice.m.Vendor = w.open.m.Nonce, w.second.origin // whose paywords it pays with
	claim := s.claim(w.twice, 2*cent, false, 2)
	s.redeem(claim)
	w.agent.commit(s, 30*cent).reserve(30 * cent)
	late := w.other.commit(s, 10*cent)
	s.redeem(s.claim(late, 3*cent, false, 3))
	late.reserve(8 * cent)
	s.redeem(s.claim(late, 5*cent, false, 5))
}

// comeIn brings money in, and takes some of it back after it was spent.
func (w *town) comeIn() {
	w.pay(broker.PaymentEvent{Kind: broker.PaymentReceived, ID: "p1", Payment: "i1", Account: w.user.account, Amount: 5 * money.Unit})
	w.pay(broker.PaymentEvent{Kind: broker.PaymentRefunded, ID: "i1", Payment: "i1", Amount: 2 * money.Unit})
	w.pay(broker.PaymentEvent{Kind: broker.PaymentReceived, ID: "p2", Payment: "i2", Account: "nobody", Amount: 4 * money.Unit})
	w.pay(broker.PaymentEvent{Kind: broker.PaymentReceived, ID: "p3", Payment: "i3", Account: "somebody", Amount: 3 * money.Unit})
	w.call(nil, "POST", "/v1/admin/fundings/5/assignment", map[string]string{"account": w.other.account}, nil)
	debtor := w.newUser(money.Unit)
	w.pay(broker.PaymentEvent{Kind: broker.PaymentReceived, ID: "p4", Payment: "i4", Account: debtor.account, Amount: 2 * money.Unit})
	spent := debtor.commit(w.shop, 290*cent, payword.ChainTerms{Unit: cent, Length: 300}).reserve(290 * cent)
	w.shop.redeem(w.shop.claim(spent, 250*cent, false, 250))
	w.pay(broker.PaymentEvent{Kind: broker.PaymentDisputed, ID: "d4", Payment: "i4", Amount: 2 * money.Unit})
	_, refusal, err := w.Fund(w.t.Context(), w.name(), debtor.account, 50*cent)
	w.done(refusal, err)
	w.vouchers()
}

func (w *town) vouchers() {
	expires := time.Unix(w.seconds.Load()+7200, 0)
	codes, refusal, err := w.MakeVouchers(w.t.Context(), broker.VoucherBatch{ID: "spring", Count: 4, Amount: 2 * money.Unit, Expires: expires})
	w.done(refusal, err)
	w.call(w.other.key, "POST", payword.PathVouchers, payword.RedeemVoucher{Code: codes[0]}, nil)
	short, refusal, err := w.MakeVouchers(w.t.Context(), broker.VoucherBatch{ID: "short", Count: 2, Amount: money.Unit, Expires: time.Unix(w.seconds.Load()+60, 0)})
	w.done(refusal, err)
	w.call(w.other.key, "POST", payword.PathVouchers, payword.RedeemVoucher{Code: short[0]}, nil)
	_, refusal, err = w.MakeVouchers(w.t.Context(), broker.VoucherBatch{ID: "unsold", Count: 3, Amount: money.Unit, Expires: expires})
	w.done(refusal, err)
	_, refusal, err = w.CancelVouchers(w.t.Context(), "unsold")
	w.done(refusal, err)
	w.seconds.Add(61)
	if _, err := w.ExpireVouchers(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// goOut pays out to users and vendors.
func (w *town) goOut() {
	w.user.payout("waits", 4*money.Unit)
	w.user.payout("paid", 3*money.Unit)
	w.user.payout("refused", 2*money.Unit)
	_, refusal, err := w.PayoutPaid(w.t.Context(), w.user.account, "paid", "transfer 17")
	w.done(refusal, err)
	_, refusal, err = w.RefusePayout(w.t.Context(), w.user.account, "refused", "no such account")
	w.done(refusal, err)
	w.call(w.shop.key, "PUT", "/v1/vendor/payout-destination", map[string]string{"vendor": w.shop.origin, "destination": "iban:" + ownIBAN}, nil)
	w.seconds.Add(4 * 24 * 3600)
	if err := w.SettleDestinations(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	_, refusal, err = w.PayOut(w.t.Context(), broker.Payout{ID: "week-47", Vendor: w.shop.origin, Amount: 10 * cent, Fee: cent})
	w.done(refusal, err)
}

// settle makes two runs: a first one that nobody has to approve, after a plan that
// was discarded, and one that two operators stand behind, of what came since.
func (w *town) settle() {
	db, err := ledger.Open(w.t.Context(), w.database, ledger.Options{Mode: ledger.Existing, Now: w.now})
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			w.t.Error(err)
		}
	}()
	config := clearing.Config{Directory: w.t.TempDir(), Signer: w.dayKey}
	w.plan(db, config, clearing.Operator{})
	w.shop.redeem(w.shop.claim(w.reserved, 28*cent, false, 40))
	w.carryOut(db, config, w.plan(db, config, clearing.Operator{}))
	w.second.redeem(w.second.claim(w.open, 40*cent, false, 12, 4))
	w.shop.redeem(w.shop.claim(w.other.commit(w.shop, 90*cent), 77*cent, false, 77))
	w.user.payout("later", 30*cent)
	policy, err := clearing.ParsePolicy([]byte(`{"minimumPayoutMicros":"300000","approvalAboveMicros":"100000","fee":{"version":"tiers/1","basis":"vendor-run",
		"tiers":[{"fromMicros":"0","ratePpm":123450},{"fromMicros":"200000","ratePpm":777}],"minimumMicros":"0","rounding":"minor-unit"}}`))
	if err != nil {
		w.t.Fatal(err)
	}
	config.Policy = &policy
	s := w.plan(db, config, clearing.Operator{Name: "anna"})
	if _, err := clearing.Approve(w.t.Context(), db, s.PlanHash, clearing.Operator{Name: "ben"}); err != nil {
		w.t.Fatal(err)
	}
	w.carryOut(db, config, s)
	w.shop.redeem(w.shop.claim(w.other.commit(w.shop, 90*cent), 5*cent, false, 5))
	w.plan(db, config, clearing.Operator{Name: "anna"})
}

func (w *town) plan(db *ledger.DB, config clearing.Config, by clearing.Operator) clearing.Settlement {
	w.t.Helper()
	s, err := clearing.Propose(w.t.Context(), db, config, by)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *town) carryOut(db *ledger.DB, config clearing.Config, s clearing.Settlement) {
	w.t.Helper()
	config.PlanHash = s.PlanHash
	if _, err := clearing.Run(w.t.Context(), db, config, clearing.Operator{Name: "carl"}); err != nil {
		w.t.Fatal(err)
	}
}

func TestSoundBooksAreClean(t *testing.T) {
	w := newTown(t)
	report := w.wantClean()
	looked := report.Looked
	if looked.Commitments != 9 || looked.Runs != 4 || looked.Lines < 6 || looked.Instructions < 4 || looked.Evidence < 8 || looked.Statements < 8 || looked.Days != 2 || looked.Signatures < 20 || looked.Hashes < 280 || looked.Accounts < 15 || looked.Transfers < 30 || looked.Payments < 20 {
		t.Errorf("it looked at %+v", looked)
	}
	if len(report.Notes) != 2 {
		t.Errorf("it says %q, want that the keys are those of the database, and that there are no cards", report.Notes)
	}
}
