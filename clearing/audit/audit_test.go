package audit_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/clearing/audit"
	"github.com/paywordhq/payword/clearing/bankfile"
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
	debtors                       []*user
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
	for range 3 {
		w.owe()
	}
	w.vouchers()
}

// owe lets somebody spend what is then taken back.
func (w *town) owe() {
	debtor, name := w.newUser(money.Unit), w.name()
	w.debtors = append(w.debtors, debtor)
	w.pay(broker.PaymentEvent{Kind: broker.PaymentReceived, ID: name, Payment: name, Account: debtor.account, Amount: 2 * money.Unit})
	spent := debtor.commit(w.shop, 290*cent, payword.ChainTerms{Unit: cent, Length: 300}).reserve(290 * cent)
	w.shop.redeem(w.shop.claim(spent, 250*cent, false, 250))
	w.pay(broker.PaymentEvent{Kind: broker.PaymentDisputed, ID: "dispute-" + name, Payment: name, Amount: 2 * money.Unit})
	_, refusal, err := w.Fund(w.t.Context(), w.name(), debtor.account, 50*cent)
	w.done(refusal, err)
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
	first := w.plan(db, config, clearing.Operator{})
	w.carryOut(db, config, first)
	w.bankSays(db, clearing.ManualAnswer{Says: bankfile.Booked, RunID: first.RunID})
	w.bankSays(db, clearing.ManualAnswer{Says: bankfile.Returned, EndToEnd: w.orderFor(db, first, w.shop.origin), Code: "AC04"})
	w.bankSays(db, clearing.ManualAnswer{Says: bankfile.Returned, EndToEnd: w.orderFor(db, first, w.user.account+"/waits"), Code: "AC04"})
	w.second.redeem(w.second.claim(w.open, 40*cent, false, 12, 4))
	w.shop.redeem(w.shop.claim(w.other.commit(w.shop, 90*cent), 77*cent, false, 77))
	w.user.payout("later", 30*cent)
	policy, err := clearing.ParsePolicy([]byte(`{"name":"Broker","iban":"DE89370400440532013000","creditorId":"DE98ZZZ09999999999",
		"reservePpm":250001,"minimumPayoutMicros":"300000","approvalAboveMicros":"100000","fee":{"version":"tiers/1","basis":"vendor-run",
		"tiers":[{"fromMicros":"0","ratePpm":123450},{"fromMicros":"200000","ratePpm":777}],"minimumMicros":"0","rounding":"minor-unit"}}`))
	if err != nil {
		w.t.Fatal(err)
	}
	config.Policy = &policy
	for k, debtor := range w.debtors {
		err := clearing.AddMandate(w.t.Context(), db, clearing.Mandate{ID: fmt.Sprintf("M-%d", k), Account: debtor.account, Name: "Debtor",
			IBAN: "DE02120300000000202051", Signed: "2023-11-01", Scheme: "core"})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	s := w.plan(db, config, clearing.Operator{Name: "anna"})
	if _, err := clearing.Approve(w.t.Context(), db, s.PlanHash, clearing.Operator{Name: "ben"}); err != nil {
		w.t.Fatal(err)
	}
	w.carryOut(db, config, s)
	w.bankSays(db, clearing.ManualAnswer{Says: bankfile.Rejected, EndToEnd: w.orderFor(db, s, w.shop.origin), Code: "AC01"})
	for _, debtor := range w.debtors[:2] {
		w.bankSays(db, clearing.ManualAnswer{Says: bankfile.Booked, EndToEnd: w.orderFor(db, s, debtor.account)})
	}
	w.bankSays(db, clearing.ManualAnswer{Says: bankfile.Returned, EndToEnd: w.orderFor(db, s, w.debtors[0].account), Code: "MD06"})
	w.bankSays(db, clearing.ManualAnswer{Says: bankfile.Rejected, EndToEnd: w.orderFor(db, s, w.debtors[2].account), Code: "AM04"})
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

// orderFor returns the name of the order to the bank for a party.
func (w *town) orderFor(db *ledger.DB, s clearing.Settlement, party string) string {
	w.t.Helper()
	lines, err := clearing.Lines(w.t.Context(), db, s.RunID, 0, 100)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, line := range lines {
		if line.Party == party {
			return line.EndToEnd
		}
	}
	w.t.Fatalf("run %s has nothing for %s", s.RunID, party)
	return ""
}

// bankSays matches what the bank says, and lets the broker do what follows.
func (w *town) bankSays(db *ledger.DB, answer clearing.ManualAnswer) {
	w.t.Helper()
	answer.Note = "by telephone"
	report, err := clearing.SayByHand(w.t.Context(), db, answer)
	if err != nil || report.Unmatched > 0 || report.Matched == 0 {
		w.t.Fatalf("got %+v, %v", report, err)
	}
	if _, err := w.ApplyOutcomes(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func TestSoundBooksAreClean(t *testing.T) {
	w := newTown(t)
	report := w.wantClean()
	looked := report.Looked
	if looked.Commitments != 11 || looked.BankEntries < 7 || looked.Runs != 4 || looked.Lines < 6 || looked.Instructions < 4 || looked.Evidence < 8 || looked.Statements < 8 || looked.Days != 2 || looked.Signatures < 20 || looked.Hashes < 280 || looked.Accounts < 15 || looked.Transfers < 30 || looked.Payments < 20 {
		t.Errorf("it looked at %+v", looked)
	}
	if len(report.Notes) != 2 {
		t.Errorf("it says %q, want that the keys are those of the database, and that there are no cards", report.Notes)
	}
}
