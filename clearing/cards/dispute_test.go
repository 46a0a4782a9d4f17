package cards_test

import (
	"slices"
	"testing"

	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// claimed lets a card pay a transaction that the SAM does not record, and hands
// in what the card has of it.
func (o *office) claimed(card *purse.SoftCard, sam *purse.SoftSAM, amount uint32) (proof purse.Proof, macz purse.MAC, dispute cards.Dispute) {
	o.t.Helper()
	proof, macz, err := card.Pay(sam.Merchant, sam.Next(), amount, uint32(o.now.Load()))
	if err != nil {
		o.t.Fatal(err)
	}
	dispute, refusal, err := o.Claim(o.t.Context(), proof.Append(nil), macz, "torn at the till")
	if err != nil || refusal != nil {
		o.t.Fatalf("%v (%v)", refusal, err)
	}
	return proof, macz, dispute
}

func TestClaims(t *testing.T) {
	o := newOffice(t)
	account := o.account(1, 100*money.Unit)
	card, sam := o.card(1, account), o.sam(1)
	o.load(card, 100_00)
	payable, available := "merchant:"+sam.Merchant.String()+":payable", "user:"+account+":available"

	// The SAM says void, unproved, and then the holder comes, or before.
	proof, macz, err := card.Pay(sam.Merchant, sam.Next(), 10_00, start)
	if err != nil {
		t.Fatal(err)
	}
	sam.Void(card.ID, proof.SNo, 10_00, start, purse.Unproved)
	o.submit(sam)
	dispute, refusal, err := o.Claim(t.Context(), proof.Append(nil), macz, "torn at the till")
	if err != nil || refusal != nil || dispute.State != "holder" || dispute.Rule != "void" || dispute.Reason != "void" {
		t.Fatalf("%+v %v (%v)", dispute, refusal, err)
	}
	o.wantBalance(available, 10*money.Unit)
	proof, _, dispute = o.claimed(card, sam, 5_00)
	if dispute.State != "open" || dispute.Due != start+30*dayLong {
		t.Errorf("got %+v", dispute)
	}
	o.wantBalance("broker:cards:disputes", 5*money.Unit)
	o.wantSound()
	sam.Void(card.ID, proof.SNo, 5_00, start, purse.Unproved)
	o.submit(sam)
	o.wantBalance(available, 15*money.Unit)

	// The SAM's record decides for the merchant.
	proof, macz, _ = o.claimed(card, sam, 20_00)
	if _, _, err := sam.Commit(proof, macz); err != nil {
		t.Fatal(err)
	}
	receipt := o.submit(sam)
	if receipt.Gross != 20*money.Unit || receipt.Booked != 0 || receipt.Fee != 0 {
		t.Errorf("got %+v", receipt)
	}
	o.wantBalance(payable, 20*money.Unit-6*cent)
	o.wantBalance("broker:cards:disputes", 0)
	_, refusal, err = o.Claim(t.Context(), proof.Append(nil), macz, "again")
	if err != nil || refusal != nil {
		t.Errorf("claimed again: %v (%v)", refusal, err)
	}
	if kinds := o.alarms(); len(kinds) > 0 {
		t.Errorf("alarms %v", kinds)
	}
	o.wantBalance("card:"+card.ID.String()+":shadow", 65*money.Unit)
	o.wantSound()
}

// Where no record comes the merchant is paid on the holder's proof; a record
// that comes after that books nothing, a void is an alarm.
func TestClaimsWithoutRecord(t *testing.T) {
	o := newOffice(t)
	card := o.card(1, "")
	o.load(card, 100_00)
	late, gone := o.sam(1), o.sam(2)
	proof, macz, _ := o.claimed(card, late, 1_00)
	o.claimed(card, gone, 2_00)
	o.now.Add(30*dayLong - 1)
	if decided, err := o.DecideDue(t.Context(), 10); err != nil || len(decided) > 0 {
		t.Errorf("decided early: %v (%v)", decided, err)
	}
	o.now.Add(1)
	decided, err := o.DecideDue(t.Context(), 10)
	if err != nil || len(decided) != 2 || decided[0].State != "merchant" || decided[0].Rule != "no-record" {
		t.Errorf("decided %+v (%v)", decided, err)
	}
	o.wantBalance("merchant:"+gone.Merchant.String()+":payable", 1_99*cent)
	if _, _, err := late.Commit(proof, macz); err != nil {
		t.Fatal(err)
	}
	gone.Void(card.ID, 2, 2_00, start, purse.Unproved)
	for _, sam := range []*purse.SoftSAM{late, gone} {
		if receipt := o.submit(sam); receipt.Booked != 0 {
			t.Errorf("got %+v", receipt)
		}
	}
	if kinds := o.alarms(); !slices.Equal(kinds, []cards.AlarmKind{cards.Contradiction}) {
		t.Errorf("alarms %v", kinds)
	}
	o.wantBalance("merchant:"+late.Merchant.String()+":payable", 99*cent)
	o.wantSound()
}

// A void that the SAM calls proved, and a proof: an operator decides.
func TestProvedVoids(t *testing.T) {
	o := newOffice(t)
	card, sam := o.card(1, ""), o.sam(1)
	o.load(card, 100_00)
	before, _, err := card.Pay(sam.Merchant, sam.Next(), 1_00, start)
	if err != nil {
		t.Fatal(err)
	}
	sam.Void(card.ID, before.SNo, 1_00, start, purse.ByCard)
	_, _, after := o.claimed(card, sam, 2_00)
	sam.Void(card.ID, after.TNo, 2_00, start, purse.NeverOrdered)
	o.submit(sam)
	key, err := o.keys.ProofKey(1, card.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, refusal, err := o.Claim(t.Context(), before.Append(nil), before.Prove(key), "mine"); err != nil || refusal != nil {
		t.Fatalf("%v (%v)", refusal, err)
	}
	open, err := o.Disputes(t.Context(), true, 10)
	if err != nil || len(open) != 2 || open[0].Reason != "proved-void" || open[1].Reason != "proved-void" || open[0].Due+open[1].Due != 0 {
		t.Errorf("open disputes %+v (%v)", open, err)
	}
	if kinds := o.alarms(); !slices.Equal(kinds, []cards.AlarmKind{cards.Contradiction, cards.Contradiction}) {
		t.Errorf("alarms %v", kinds)
	}
	o.now.Add(100 * dayLong)
	if decided, err := o.DecideDue(t.Context(), 10); err != nil || len(decided) > 0 {
		t.Errorf("decided by itself: %v (%v)", decided, err)
	}
	for k, forHolder := range []bool{true, false} {
		if dispute, refusal, err := o.Decide(t.Context(), sam.Merchant, uint32(k+1), forHolder, "anna"); err != nil || refusal != nil || dispute.Operator != "anna" {
			t.Errorf("%+v %v (%v)", dispute, refusal, err)
		}
		_, refusal, err := o.Decide(t.Context(), sam.Merchant, uint32(k+1), !forHolder, "ben")
		wantRefusal(t, refusal, err, cards.NotOpen)
	}
	o.wantBalance("broker:cards:cash", -99*money.Unit)
	o.wantBalance("merchant:"+sam.Merchant.String()+":payable", 1_99*cent)
	o.wantSound()
}

func TestClaimsThatAreRefused(t *testing.T) {
	o := newOffice(t)
	card, sam := o.card(1, ""), o.sam(1)
	o.load(card, 100_00)
	o.pay(sam, card, 1_00)
	record, err := purse.ParseRecord(closed(sam)[purse.TotalLength:])
	if err != nil {
		t.Fatal(err)
	}
	o.submit(sam)
	paid := record.Proof.Append(nil)
	_, refusal, err := o.Claim(t.Context(), paid, record.MACZ, "mine")
	wantRefusal(t, refusal, err, cards.AlreadyPaid)
	_, refusal, err = o.Claim(t.Context(), paid, purse.MAC{}, "mine")
	wantRefusal(t, refusal, err, purse.WrongProof)
	_, refusal, err = o.Claim(t.Context(), paid[1:], record.MACZ, "mine")
	wantRefusal(t, refusal, err, purse.Malformed)
	proof, macz, err := card.Pay(merchantID(9), 1, 1_00, start)
	if err != nil {
		t.Fatal(err)
	}
	_, refusal, err = o.Claim(t.Context(), proof.Append(nil), macz, "mine")
	wantRefusal(t, refusal, err, purse.UnknownMerchant)
	if _, _, err := o.Claim(t.Context(), paid, record.MACZ, ""); err == nil {
		t.Error("a claim without a word")
	}
	o.wantSound()
}

func TestObjections(t *testing.T) {
	o := newOffice(t)
	account := o.account(1, 100*money.Unit)
	card, sam := o.card(1, account), o.sam(1)
	o.load(card, 50_00)
	for range 2 {
		o.pay(sam, card, 10_00)
	}
	o.submit(sam)
	payable := "merchant:" + sam.Merchant.String() + ":payable"
	for tno := uint32(1); tno <= 2; tno++ {
		if _, refusal, err := o.Object(t.Context(), sam.Merchant, tno, "never delivered"); err != nil || refusal != nil {
			t.Fatalf("%v (%v)", refusal, err)
		}
		_, refusal, err := o.Object(t.Context(), sam.Merchant, tno, "again")
		wantRefusal(t, refusal, err, cards.AlreadyDisputed)
	}
	_, refusal, err := o.Object(t.Context(), sam.Merchant, 3, "never delivered")
	wantRefusal(t, refusal, err, cards.UnknownPayment)
	o.wantBalance("broker:cards:disputes", 20*money.Unit)
	o.wantBalance(payable, 0)
	o.wantBalance("broker:fees", 0)
	o.wantSound()
	for tno, forHolder := range map[uint32]bool{1: true, 2: false} {
		if _, refusal, err := o.Decide(t.Context(), sam.Merchant, tno, forHolder, "anna"); err != nil || refusal != nil {
			t.Fatalf("%v (%v)", refusal, err)
		}
	}
	o.wantBalance("user:"+account+":available", 60*money.Unit)
	o.wantBalance(payable, 9_97*cent)
	o.wantBalance("broker:fees", 3*cent)
	o.wantSound()
}
