package clearing_test

import (
	"fmt"
	"testing"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/money"
)

// propose plans a run that collects by direct debit.
func (d *desk) propose() clearing.Settlement {
	d.t.Helper()
	d.exec(`UPDATE clearing_runs SET state = 'final' WHERE id = ?`, deskRun)
	return propose(d.t, d.db, clearing.Config{Policy: bankPolicy(d.t)})
}

// settleCollection runs a settlement that collects from an account.
func (d *desk) settleCollection(account string, amount money.Amount) order {
	d.t.Helper()
	plan := d.propose()
	run(d.t, d.db, clearing.Config{PlanHash: plan.PlanHash})
	line := linesOf(d.t, d.db, plan)[account]
	if line.Amount != amount || line.Outcome != clearing.OutcomeSent {
		d.t.Fatalf("got %+v, want that %s are collected", line, amount.Decimal())
	}
	return order{endToEnd: line.EndToEnd, kind: "collection", party: account, amount: amount}
}

// mandate keeps a mandate of an account.
func (d *desk) mandate(id, account string) {
	d.t.Helper()
	err := clearing.AddMandate(d.t.Context(), d.db, clearing.Mandate{ID: id, Account: account, Name: "A. Debtor", IBAN: ourIBAN, Signed: "2026-11-01", Scheme: "core"})
	if err != nil {
		d.t.Fatal(err)
	}
}

// What was collected, and cannot be on the account of whoever paid it, is not
// collected again.
func TestWhatCameInForNobodyIsNotCollectedAgain(t *testing.T) {
	d := newDesk(t)
	account := d.account(0)
	first := d.send(order{kind: "collection", party: account, account: "user:" + account + ":available", amount: 60 * money.Unit})
	d.read(d.write(bankfile.KindStatement, said{order: first, says: bankfile.Booked}), 1, 0, 0)
	d.settled()
	d.spend(account, "https://shop.example", 60*money.Unit)
	d.read(d.write(bankfile.KindStatement, said{order: first, says: bankfile.Returned, code: "AM04"}), 1, 0, 0)
	d.settled()
	d.wantAccount("user:"+account+":owed", -60*money.Unit, 0)
	d.mandate("M-1", account)
	// An account that is tied to nobody takes no more than this.
	d.exec(`UPDATE broker_settings SET white_ceiling = ?`, 50*money.Unit)

	second := d.settleCollection(account, 60*money.Unit)
	d.read(d.write(bankfile.KindStatement, said{order: second, says: bankfile.Booked}), 1, 0, 0)
	d.settled()
	d.wantAccount("broker:unassigned", 60*money.Unit, 0)
	if again := d.propose(); again.Totals.Collections != 0 {
		t.Errorf("%d collections of %s are planned, and it was collected already", again.Totals.Collections, again.Totals.Collected.Decimal())
	}
}

// A debit that came back for good is not collected again under the same mandate;
// one that came back because too little was on the account is.
func TestMandateEndsWithWhatTheBankSays(t *testing.T) {
	d := newDesk(t)
	account := d.account(0)
	_, refusal, err := d.broker.SetHolder(t.Context(), account, "customer")
	d.must(refusal, err)
	_, refusal, err = d.broker.SetCredit(t.Context(), account, 100*money.Unit)
	d.must(refusal, err)
	d.spend(account, "https://shop.example", 60*money.Unit)
	for k, c := range []struct {
		says bankfile.Says
		code string
		ends bool
	}{{bankfile.Rejected, "AM04", false}, {bankfile.Returned, "MS03", false}, {bankfile.Rejected, "", false}, {bankfile.Rejected, "AC01", true}, {bankfile.Returned, "MD06", true}, {bankfile.Returned, "MD01", true}} {
		if k == 0 || c.ends {
			d.mandate(fmt.Sprintf("M-%d", k), account)
		}
		o, kind := d.settleCollection(account, 60*money.Unit), bankfile.KindStatement
		if c.says == bankfile.Rejected {
			kind = bankfile.KindStatus
		}
		d.read(d.write(kind, said{order: o, says: c.says, code: c.code}), 1, 0, 0)
		d.settled()
		if again := d.propose(); again.Totals.Collections == 0 != c.ends {
			t.Errorf("%s %s: %d collections are planned", c.says, c.code, again.Totals.Collections)
		}
		if k == 2 {
			if err := clearing.WithdrawMandate(t.Context(), d.db, "M-0"); err != nil {
				t.Fatal(err)
			}
		}
	}
}
