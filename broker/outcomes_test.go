package broker_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// write changes the database as clearing does.
func (b *bank) write(statement string, arguments ...any) {
	b.t.Helper()
	db, err := ledger.Open(b.t.Context(), b.config.Database, ledger.Options{Mode: ledger.Existing, Now: b.clock.now})
	if err != nil {
		b.t.Fatal(err)
	}
	err = db.Update(b.t.Context(), func(tx *ledger.Tx) error {
		_, err := tx.ExecContext(b.t.Context(), statement, arguments...)
		return err
	})
	if err = errors.Join(err, db.Close()); err != nil {
		b.t.Fatal(err)
	}
}

// says writes an outcome.
func (b *bank) says(kind, account, id string, amount money.Amount) {
	b.t.Helper()
	b.write(`INSERT INTO broker_outcomes (kind, account, id, amount, note, created) VALUES (?, ?, ?, ?, ?, ?)`,
		kind, account, id, amount, "AC04 closed account", b.clock.now().UnixMicro())
}

// apply does what waits, and wants so many done.
func (b *bank) apply(wanted int) {
	b.t.Helper()
	if applied, err := b.ApplyOutcomes(b.t.Context()); err != nil || applied != wanted {
		b.t.Errorf("applied %d, %v; want %d", applied, err, wanted)
	}
	b.wantSound()
}

// wantOutcomes wants so many outcomes that wait and that failed.
func (b *bank) wantOutcomes(waiting, failed int) {
	b.t.Helper()
	for _, line := range []string{
		fmt.Sprintf(`payword_broker_outcomes{state="waiting"} %d`, waiting),
		fmt.Sprintf(`payword_broker_outcomes{state="failed"} %d`, failed),
	} {
		if !strings.Contains(b.metrics(), "\n"+line+"\n") {
			b.t.Errorf("no line %s", line)
		}
	}
}

// What the bank says about payouts is done once, in order.
func TestOutcomesOfPayouts(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	u := b.newUser(100 * cent)
	for _, id := range []string{"paid", "refused", "back"} {
		want(t, u.payout(id, 20*cent), http.StatusOK, payword.Accepted)
	}
	b.says("payout-paid", u.account, "paid", 20*cent)
	b.says("payout-refused", u.account, "refused", 20*cent)
	b.says("payout-paid", u.account, "back", 20*cent)
	b.says("payout-returned", u.account, "back", 20*cent)
	b.wantOutcomes(4, 0)
	b.apply(4)
	b.apply(0)
	b.wantOutcomes(0, 0)
	u.wantBalance(80*cent, 0)
	var list payword.PayoutList
	u.call(u.key, "GET", payword.PathPayouts, nil).into(t, http.StatusOK, &list)
	for k, wanted := range []payword.Payout{
		{State: "paid", Note: "AC04 closed account"},
		{State: "refused", Note: "AC04 closed account"},
		{State: "paid", Note: "returned: AC04 closed account"},
	} {
		if got := list.Payouts[k]; got.State != wanted.State || got.Note != wanted.Note {
			t.Errorf("payout %s: got %s %q, want %s %q", got.ID, got.State, got.Note, wanted.State, wanted.Note)
		}
	}
}

// What contradicts the books is marked failed, and the others go on.
func TestOutcomesThatCannotBe(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	u := b.newUser(100 * cent)
	for _, id := range []string{"by-hand", "agrees", "waits"} {
		want(t, u.payout(id, 10*cent), http.StatusOK, payword.Accepted)
	}
	want(t, b.endPayout(u, "by-hand", "refused"), http.StatusOK, payword.Accepted)
	want(t, b.endPayout(u, "agrees", "paid"), http.StatusOK, payword.Accepted)
	b.says("payout-paid", u.account, "by-hand", 10*cent)
	b.says("payout-returned", u.account, "waits", 10*cent)
	b.says("payout-paid", u.account, "waits", 11*cent)
	b.says("payout-paid", u.account, "nothing", 10*cent)
	b.says("payout-paid", u.account, "agrees", 10*cent)
	b.says("payout-refused", u.account, "waits", 10*cent)
	b.apply(2)
	b.wantOutcomes(0, 4)
	u.wantBalance(90*cent, 0)
	if got := strings.Count(b.journal.String(), "what the bank says cannot be booked"); got != 4 {
		t.Errorf("%d are logged, want 4", got)
	}
	if got := b.audited("fail-outcome", "account:"+u.account); got != 4 {
		t.Errorf("%d are in the audit log, want 4", got)
	}
}

// What is collected is a payment of its source, and what is taken back of it is
// owed, in either order.
func TestOutcomesOfDirectDebits(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	u, s := b.newUser(0), b.newShop()
	b.says("debit-collected", u.account, "e1", 50*cent)
	b.apply(1)
	u.wantBalance(50*cent, 0)
	s.wantResult(s.claim(u.commit(s.origin, 30*cent), 30, 30*cent, final), payword.Accepted, 30*cent, 30*cent)
	b.says("debit-returned", u.account, "e1", 50*cent)
	b.apply(1)
	if a := u.balance(); a.Available != 0 || a.Owed != 30*cent {
		t.Errorf("got %+v", a)
	}
	b.says("debit-returned", u.account, "e2", 7*cent)
	b.says("debit-collected", u.account, "e2", 7*cent)
	b.apply(2)
	if a := u.balance(); a.Available != 0 || a.Owed != 30*cent {
		t.Errorf("got %+v", a)
	}
	if all := b.fundings("source=direct-debit"); len(all) != 2 || all[0].Reversed != 50*cent {
		t.Errorf("got %+v", all)
	}
}

// An account that was closed by a payout is open again when that comes back, and
// so is one that was closed since; the owner says anew where the rest goes.
func TestReturnedPayoutOpensTheAccount(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	closed, later := b.newUser(10*cent), b.newUser(30*cent)
	want(t, closed.close(ownIBAN), http.StatusOK, payword.Accepted)
	want(t, later.payout("out", 30*cent), http.StatusOK, payword.Accepted)
	var list payword.PayoutList
	b.admin("GET", "/v1/admin/account-payouts", nil).into(t, http.StatusOK, &list)
	for _, p := range list.Payouts {
		b.says("payout-paid", p.Account, p.ID, p.Amount)
	}
	b.apply(2)
	want(t, later.close(""), http.StatusOK, payword.Accepted)
	closed.wantState("closed")
	later.wantState("closed")
	for _, p := range list.Payouts {
		b.says("payout-returned", p.Account, p.ID, p.Amount)
	}
	b.apply(2)
	for _, u := range []*user{closed, later} {
		u.wantState("open")
	}
	closed.wantBalance(10*cent, 0)
	want(t, closed.close("GB33BUKB20201555555555"), http.StatusOK, payword.Accepted)
	b.endPayouts("paid", 1)
	closed.wantState("closed")
	b.wantSound()
}

// A crash between the steps loses no outcome and does none twice.
func TestOutcomesSurviveFailedCommits(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	u := b.newUser(100 * cent)
	want(t, u.payout("one", 10*cent), http.StatusOK, payword.Accepted)
	b.says("payout-paid", u.account, "one", 10*cent)
	b.says("payout-returned", u.account, "one", 10*cent)
	b.says("payout-paid", u.account, "none", 10*cent)
	for _, point := range []string{"before apply outcome", "after apply outcome", "before fail outcome", "after fail outcome"} {
		broken := errors.New("the database is gone")
		b.SetFault(func(at string) error {
			if at == point {
				return broken
			}
			return nil
		})
		if _, err := b.ApplyOutcomes(t.Context()); !errors.Is(err, broken) {
			t.Errorf("%s: got %v", point, err)
		}
		b.SetFault(nil)
		b.wantSound()
	}
	b.apply(0)
	b.wantOutcomes(0, 1)
	u.wantBalance(100*cent, 0)
}

// A payout that a settlement run has sent is in the bank's hands: nobody ends it
// by hand, or it would be paid twice.
func TestPayoutInTheBanksHands(t *testing.T) {
	t.Parallel()
	b := newBank(t)
	u := b.newUser(100 * cent)
	for _, id := range []string{"sent", "refused"} {
		want(t, u.payout(id, 10*cent), http.StatusOK, payword.Accepted)
	}
	b.write(`UPDATE broker_payouts SET instruction = '0123'`)
	for _, how := range []string{"paid", "refused"} {
		a := b.endPayout(u, "sent", how)
		want(t, a, http.StatusForbidden, payword.NotPermitted)
		if !strings.Contains(string(a.body), "under the end-to-end id 0123") {
			t.Errorf("got %s", a.body)
		}
	}
	u.wantBalance(80*cent, 0)
	b.says("payout-paid", u.account, "sent", 10*cent)
	b.says("payout-refused", u.account, "refused", 10*cent)
	b.apply(2)
	u.wantBalance(90*cent, 0)
	want(t, b.endPayout(u, "sent", "paid"), http.StatusOK, payword.Accepted) // what became of it
	want(t, b.endPayout(u, "sent", "refused"), http.StatusNotFound, payword.UnknownPayout)
}
