package cards_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword/clearing/audit"
	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

func (o *office) audited() audit.Report {
	o.t.Helper()
	report, err := audit.Run(context.WithoutCancel(o.t.Context()), audit.Options{Database: o.location, CardKeys: o.keys})
	if err != nil {
		o.t.Fatal(err)
	}
	return report
}

// wantAudited checks the books against what cards and merchants have signed, by
// code that shares nothing with this package. Every test ends with it.
func (o *office) wantAudited() {
	o.t.Helper()
	if o.t.Failed() || o.isUnsound {
		return
	}
	for _, f := range o.audited().Findings {
		o.t.Errorf("the audit found %s, %s: %s; the books say %s", f.Kind, f.Subject, f.Evidence, f.Books)
	}
}

// Whatever somebody changes in the tables of cards is found by the audit, and
// nothing else.
func TestTamperedCardsAreFound(t *testing.T) {
	o := newOffice(t)
	account := o.account(1, 100*money.Unit)
	card, white, sam := o.card(1, account), o.card(2, ""), o.sam(1)
	o.load(card, 50_00)
	o.load(white, 30_00)
	o.pay(sam, card, 7_77)
	o.pay(sam, white, 12_00)
	proof, _, err := card.Pay(sam.Merchant, sam.Next(), 10_00, start)
	if err != nil {
		t.Fatal(err)
	}
	sam.Void(card.ID, proof.SNo, 10_00, start, purse.Unproved)
	o.submit(sam)
	o.pay(sam, card, 1_00)
	o.submit(sam)
	o.claimed(card, sam, 5_00)
	o.authorise(card, 1_00)
	if found := o.audited(); !found.Clean() || found.Looked.CardPayments != 4 || found.Looked.Batches != 2 {
		t.Fatalf("got %+v", found)
	}
	o.wantTamperedFound([]tampering{
		{"cards_payments", `UPDATE cards_payments SET amount = amount + 10000 WHERE tno = 1`,
			[]audit.Kind{audit.AccountEvidence, audit.BatchDiffers, audit.ProofDiffers}},
		{"cards_payments", `UPDATE cards_payments SET fee = fee + 1 WHERE tno = 1`, []audit.Kind{audit.AccountEvidence, audit.LineFee}},
		{"cards_payments", `UPDATE cards_payments SET proof = (SELECT proof FROM cards_payments WHERE tno = 2) WHERE tno = 1`,
			[]audit.Kind{audit.ProofDiffers, audit.ProofUnsigned}},
		{"cards_payments", `UPDATE cards_payments SET macz = (SELECT macz FROM cards_payments WHERE tno = 2) WHERE tno = 1`, []audit.Kind{audit.ProofUnsigned}},
		{"cards_payments", `UPDATE cards_payments SET proof = SUBSTR(proof, 1, 9) WHERE tno = 1`, []audit.Kind{audit.ProofDiffers}},
		{"cards_payments", `UPDATE cards_payments SET bno = 2 WHERE tno = 1`, []audit.Kind{audit.BatchDiffers}},
		{"cards_payments", `DELETE FROM cards_payments WHERE tno = 1`, []audit.Kind{audit.AccountEvidence, audit.BatchDiffers}},
		{"cards_payments", `UPDATE cards_payments SET state = 'refunded', fee = 0, fee_rule = '' WHERE tno = 1`,
			[]audit.Kind{audit.AccountEvidence, audit.DisputeDiffers, audit.TransferMissing}},
		{"cards_payments", `UPDATE cards_payments SET sno = 99, cid = '` + white.ID.String() + `' WHERE tno = 1`, []audit.Kind{audit.AccountEvidence, audit.ProofDiffers}},
		{"cards_batches", `UPDATE cards_batches SET gross = gross + 1 WHERE bno = 1`, []audit.Kind{audit.BatchDiffers}},
		{"cards_batches", `UPDATE cards_batches SET booked = booked - 1 WHERE bno = 1`, []audit.Kind{audit.BatchDiffers}},
		{"cards_batches", `DELETE FROM cards_batches WHERE bno = 1`, []audit.Kind{audit.BatchDiffers}},
		{"cards_merchants", `UPDATE cards_merchants SET last_tno = last_tno - 1`, []audit.Kind{audit.BatchDiffers}},
		{"cards_voids", `DELETE FROM cards_voids`, []audit.Kind{audit.BatchDiffers}},
		{"cards_disputes", `UPDATE cards_disputes SET state = 'merchant'`, []audit.Kind{audit.DisputeDiffers}},
		{"cards_disputes", `UPDATE cards_disputes SET amount = amount + 1`, []audit.Kind{audit.DisputeDiffers}},
		{"cards_loads", `UPDATE cards_loads SET amount = amount + 1 WHERE state = 'posted'`, []audit.Kind{audit.AccountEvidence}},
		{"cards_loads", `UPDATE cards_loads SET state = 'void' WHERE state = 'pending'`, []audit.Kind{audit.AccountEvidence}},
		{"cards_loads", `UPDATE cards_loads SET lno = 99, cid = '` + white.ID.String() + `' WHERE state = 'posted' AND cid <> '` + white.ID.String() + `'`, []audit.Kind{audit.AccountEvidence}},
		{"cards_cards", `UPDATE cards_cards SET refunded = 5`, []audit.Kind{audit.AccountEvidence, audit.TransferMissing}},
		{"cards_fee_rules", `UPDATE cards_fee_rules SET rule = REPLACE(rule, '3000', '30000')`, []audit.Kind{audit.LineFee}},
		{"cards_fee_rules", `UPDATE cards_fee_rules SET rule = ''`, []audit.Kind{audit.FeeRule, audit.LineFee}},
	})
}

// tampering is what somebody changes in a table, and what the audit is to find.
type tampering struct {
	table, sql string
	want       []audit.Kind
}

// wantTamperedFound changes the tables behind everybody's back, one change after
// the other, and wants each to be found by the audit, and nothing else.
func (o *office) wantTamperedFound(changes []tampering) {
	t := o.t
	t.Helper()
	o.isUnsound = true
	restore := "DELETE FROM %T; INSERT INTO %T SELECT * FROM saved_%T; "
	saved, undo := map[string]bool{}, ""
	for _, c := range changes {
		of := func(sql string) string { return strings.ReplaceAll(sql, "%T", c.table) }
		save := ""
		if !saved[c.table] {
			save, saved[c.table] = of("CREATE TABLE saved_%T AS SELECT * FROM %T; "), true
		}
		dbtest.Tamper(t, o.location, undo+save+c.sql)
		undo = of(restore)
		var got []audit.Kind
		found := o.audited().Findings
		for _, f := range found {
			got = append(got, f.Kind)
		}
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, c.want) {
			t.Errorf("%s: found %v, want %v", c.sql, got, c.want)
			for _, f := range found {
				t.Logf("%+v", f)
			}
		}
	}
}

// The same holds for what went on to gateways, or back to cards.
func TestTamperedGatewaysAreFound(t *testing.T) {
	o := newOffice(t)
	card, white := o.card(1, o.account(1, 100*money.Unit)), o.card(2, "")
	o.load(card, 50_00)
	o.load(white, 30_00)
	o.gateway("purse", money.Unit)
	kiosk := o.forwarding(9, "purse")
	o.online(o.pay(kiosk, white, 2_00))
	if refusal, err := o.CashOut(t.Context(), "purse", kiosk.Merchant, 1); err != nil || refusal != nil {
		t.Fatalf("%v (%v)", refusal, err)
	}
	o.online(o.pay(kiosk, white, 3_00))
	till := o.sam(8)
	o.pay(till, white, 1_50)
	o.cancel(till, white)
	o.pay(till, white, 1_25)
	till.Next()
	till.Void(white.ID, white.SNo+1, 1_25, start, purse.UnprovedCancellation)
	o.submit(till)
	shop := o.sam(7)
	o.pay(shop, card, 7_77)
	o.submit(shop)
	if found := o.audited(); !found.Clean() || found.Looked.CardPayments != 5 || found.Looked.Batches != 2 {
		t.Fatalf("got %+v", found)
	}
	o.wantTamperedFound([]tampering{
		{"cards_payments", `UPDATE cards_payments SET gateway = 'purse' WHERE mid = '` + shop.Merchant.String() + `'`, []audit.Kind{audit.AccountEvidence, audit.LineFee}},
		{"cards_payments", `UPDATE cards_payments SET gateway = 'other' WHERE gateway <> ''`, []audit.Kind{audit.AccountEvidence, audit.TakenBack}},
		{"cards_payments", `UPDATE cards_payments SET gateway = '' WHERE gateway <> ''`, []audit.Kind{audit.AccountEvidence, audit.LineFee, audit.TakenBack}},
		{"broker_gateways", `UPDATE broker_gateways SET backed = 0`, []audit.Kind{audit.AccountFloor}},
		{"cards_cash", `UPDATE cards_cash SET amount = amount - 1`, []audit.Kind{audit.AccountEvidence, audit.TakenBack}},
		{"cards_cash", `UPDATE cards_cash SET gateway = 'other'`, []audit.Kind{audit.AccountEvidence, audit.TakenBack}},
		{"cards_cash", `UPDATE cards_cash SET tno = 2`, []audit.Kind{audit.TakenBack, audit.TransferMissing}},
		{"cards_cash", `DELETE FROM cards_cash`, []audit.Kind{audit.AccountEvidence}},
		{"cards_cancellations", `DELETE FROM cards_cancellations WHERE state = 'done'`, []audit.Kind{audit.AccountEvidence, audit.BatchDiffers}},
		{"cards_cancellations", `DELETE FROM cards_cancellations WHERE state = 'open'`, []audit.Kind{audit.AccountEvidence, audit.BatchDiffers}},
		{"cards_cancellations", `UPDATE cards_cancellations SET amount = amount - 10000 WHERE state = 'done'`,
			[]audit.Kind{audit.AccountEvidence, audit.BatchDiffers, audit.ProofDiffers, audit.TakenBack}},
		{"cards_cancellations", `UPDATE cards_cancellations SET fee = 0 WHERE state = 'done'`, []audit.Kind{audit.AccountEvidence, audit.TakenBack}},
		{"cards_cancellations", `UPDATE cards_cancellations SET state = 'denied' WHERE state = 'done'`, []audit.Kind{audit.AccountEvidence, audit.TakenBack}},
		{"cards_cancellations", `UPDATE cards_cancellations SET state = 'done' WHERE state = 'open'`, []audit.Kind{audit.AccountEvidence, audit.TakenBack}},
		{"cards_cancellations", `UPDATE cards_cancellations SET state = 'denied', evidence = 'payment' WHERE state = 'open'`, []audit.Kind{audit.AccountEvidence, audit.TakenBack}},
		{"cards_cancellations", `UPDATE cards_cancellations SET state = 'done', evidence = 'operator', operator = 'x' WHERE state = 'open'`, []audit.Kind{audit.AccountEvidence}},
		{"cards_cancellations", `UPDATE cards_cancellations SET is_void = 1 WHERE state = 'done'`, []audit.Kind{audit.TakenBack}},
		{"cards_cancellations", `UPDATE cards_cancellations SET proof = SUBSTR(proof, 1, 9) WHERE state = 'done'`, []audit.Kind{audit.ProofDiffers}},
		{"cards_cancellations", `UPDATE cards_cancellations SET macz = (SELECT macz FROM cards_payments WHERE mid = '` + shop.Merchant.String() + `') WHERE state = 'done'`, []audit.Kind{audit.ProofUnsigned}},
		{"cards_cancellations", `UPDATE cards_cancellations SET sno = sno + 1 WHERE state = 'done'`, []audit.Kind{audit.ProofDiffers, audit.TakenBack}},
		{"cards_cancellations", `UPDATE cards_cancellations SET lno = lno + 1 WHERE state = 'done'`, []audit.Kind{audit.ProofDiffers}},
		{"cards_cancellations", `UPDATE cards_cancellations SET bno = 7 WHERE state = 'done'`, []audit.Kind{audit.BatchDiffers, audit.TakenBack}},
		{"cards_cancellations", `UPDATE cards_cancellations SET cid = '` + card.ID.String() + `' WHERE state = 'done'`, []audit.Kind{audit.AccountEvidence, audit.ProofDiffers, audit.TakenBack}},
		{"cards_batches", `UPDATE cards_batches SET cancelled = cancelled + 1 WHERE cancelled > 0`, []audit.Kind{audit.BatchDiffers}},
		{"cards_batches", `UPDATE cards_batches SET cancellations = 0`, []audit.Kind{audit.BatchDiffers}},
		{"cards_loads", `UPDATE cards_loads SET account = 'broker:cards:cash:purse' WHERE account = 'broker:cards:cash'`, []audit.Kind{audit.AccountEvidence}},
	})
}

// The same holds for scripts of the issuer's.
func TestTamperedScriptsAreFound(t *testing.T) {
	o := newOffice(t)
	card := o.purseCard(1, o.account(1, 0))
	for range 3 {
		o.addScript(card.id, cards.ScriptOrder{Kind: purse.SetLimits, MaxBalance: 100 * money.Unit, MaxPayment: 50 * money.Unit})
	}
	card.skip(1)
	card.runScripts()
	o.addScript(card.id, cards.ScriptOrder{Kind: purse.SetPIN, PIN: "111111"})
	o.addScript(card.id, cards.ScriptOrder{Kind: purse.BlockCard})
	if found := o.audited(); !found.Clean() {
		t.Fatalf("got %+v", found)
	}
	differs := []audit.Kind{audit.ScriptDiffers}
	o.wantTamperedFound([]tampering{
		{"cards_scripts", `UPDATE cards_scripts SET kind = 2 WHERE kind = 1`, differs},
		{"cards_scripts", `UPDATE cards_scripts SET command = (SELECT command FROM cards_scripts WHERE count = 4) WHERE count = 5`, differs},
		{"cards_scripts", `UPDATE cards_scripts SET command = (SELECT command FROM cards_scripts WHERE count = 2), kind = 3 WHERE count = 5`, differs},
		{"cards_scripts", `UPDATE cards_scripts SET state = 'done', ended = 1 WHERE count = 5`, differs},
		{"cards_scripts", `UPDATE cards_scripts SET state = 'done', ended = 1, answer = (SELECT answer FROM cards_scripts WHERE count = 3) WHERE count = 5`, differs},
		{"cards_scripts", `UPDATE cards_scripts SET state = 'passed', ended = 1 WHERE count = 5`, differs},
		{"cards_scripts", `UPDATE cards_scripts SET state = 'waiting' WHERE count = 3`, differs},
		{"cards_scripts", `UPDATE cards_scripts SET state = 'waiting', ended = 0 WHERE count = 1`, differs},
		{"cards_scripts", `UPDATE cards_scripts SET ended = 0 WHERE count = 3`, differs},
		{"cards_scripts", `UPDATE cards_scripts SET command = SUBSTR(command, 1, 9) WHERE count = 1`, differs},
		{"cards_scripts", `UPDATE cards_scripts SET count = 9 WHERE count = 5`, differs},
		{"cards_scripts", `DELETE FROM cards_scripts WHERE count = 2`, differs},
	})
	// An audit of what an older version has written says so, and finds nothing.
	dbtest.Tamper(t, o.location, "DROP TABLE cards_early_claims")
	_, err := audit.Run(t.Context(), audit.Options{Database: o.location, CardKeys: o.keys})
	if err == nil || !strings.Contains(err.Error(), "cards_early_claims: an older version") {
		t.Errorf("got %v", err)
	}
}
