package cards_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

const dayLong = 86400

func TestLostCards(t *testing.T) {
	o := newOffice(t)
	account := o.account(1, 100*money.Unit)
	card, white, sam := o.card(1, account), o.card(2, ""), o.sam(1)
	o.load(card, 50_00)
	o.load(white, 30_00)
	o.pay(sam, card, 10_00) // offline, and late
	torn := o.authorise(card, 5_00)
	if _, err := card.Credit(torn.Credit); err != nil {
		t.Fatal(err)
	}
	if err := o.ReportCard(t.Context(), card.ID, false, ""); err != nil {
		t.Fatal(err)
	}
	if err := o.ReportCard(t.Context(), white.ID, true, ""); err == nil {
		t.Error("a white card is reported, and nobody is named to pay back to")
	}
	if err := o.ReportCard(t.Context(), white.ID, true, "voucher 4711"); err != nil {
		t.Fatal(err)
	}
	if err := o.ReportCard(t.Context(), white.ID, true, "voucher 4712"); !errors.Is(err, cards.ErrCardState) {
		t.Errorf("reported twice: %v", err)
	}
	list, err := o.HotList(t.Context(), purse.ID{}, 10)
	if err != nil || !slices.Equal(list, []purse.ID{card.ID, white.ID}) {
		t.Errorf("hot list %v (%v)", list, err)
	}
	if list, err := o.HotList(t.Context(), card.ID, 10); err != nil || !slices.Equal(list, []purse.ID{white.ID}) {
		t.Errorf("its second page %v (%v)", list, err)
	}
	o.now.Add(30*dayLong - 1)
	if refunds, _, err := o.PayBackDue(t.Context(), 10); err != nil || len(refunds) > 0 {
		t.Errorf("paid back early: %v (%v)", refunds, err)
	}
	o.submit(sam) // the late payment is still taken
	o.now.Add(1)
	for k := range 2 {
		refunds, waiting, err := o.PayBackDue(t.Context(), 10)
		if err != nil || len(waiting) > 0 || k == 1 && len(refunds) > 0 {
			t.Fatalf("%v, %v (%v)", refunds, waiting, err)
		}
		want := []cards.Refund{{Card: card.ID, Amount: 40 * money.Unit, To: account}, {Card: white.ID, Amount: 30 * money.Unit, To: "voucher 4711"}}
		if k == 0 && !slices.Equal(refunds, want) {
			t.Errorf("got %v, want %v", refunds, want)
		}
	}
	// The load that was torn is back too.
	o.wantBalance("user:"+account+":available", 90*money.Unit)
	o.wantBalance("broker:cards:cash", 0)
	o.wantBalance("broker:cards:pool", 0)
	if kinds := o.alarms(); len(kinds) > 0 {
		t.Errorf("alarms %v", kinds)
	}
	o.wantSound()

	// Somebody found the card and spent it: the merchant is paid, and it shows.
	o.pay(sam, card, 1_00)
	o.submit(sam)
	if kinds := o.alarms(); !slices.Equal(kinds, []cards.AlarmKind{cards.PaidListed, cards.LoadNumberBack, cards.Overspent}) {
		t.Errorf("alarms %v", kinds)
	}
	o.wantBalance("card:"+card.ID.String()+":shadow", -1*money.Unit)
	if err := o.FoundCard(t.Context(), card.ID); !errors.Is(err, cards.ErrCardState) {
		t.Errorf("found after it was paid back: %v", err)
	}
	o.wantSound()
}

func TestFoundCards(t *testing.T) {
	o := newOffice(t)
	card := o.card(1, o.account(1, 100*money.Unit))
	o.load(card, 50_00)
	if err := o.ReportCard(t.Context(), card.ID, false, ""); err != nil {
		t.Fatal(err)
	}
	if err := o.FoundCard(t.Context(), card.ID); err != nil {
		t.Fatal(err)
	}
	o.now.Add(31 * dayLong)
	if refunds, _, err := o.PayBackDue(t.Context(), 10); err != nil || len(refunds) > 0 {
		t.Errorf("paid back: %v (%v)", refunds, err)
	}
	if list, err := o.HotList(t.Context(), purse.ID{}, 10); err != nil || len(list) > 0 {
		t.Errorf("hot list %v (%v)", list, err)
	}
	o.load(card, 10_00)
}

// A card whose account is closed waits until somebody says to whom the rest is
// paid.
func TestLostCardsOfClosedAccounts(t *testing.T) {
	o := newOffice(t)
	account := o.account(1, 50*money.Unit)
	card := o.card(1, account)
	o.load(card, 50_00)
	if err := o.ReportCard(t.Context(), card.ID, false, ""); err != nil {
		t.Fatal(err)
	}
	o.setState(account, "closed")
	o.now.Add(31 * dayLong)
	refunds, waiting, err := o.PayBackDue(t.Context(), 10)
	if err != nil || len(refunds) > 0 || !slices.Equal(waiting, []purse.ID{card.ID}) {
		t.Errorf("%v, %v (%v)", refunds, waiting, err)
	}
	o.wantBalance("broker:cards:pool", 50*money.Unit)
	if err := o.ReportCard(t.Context(), card.ID, false, "by letter to A. Holder"); err != nil {
		t.Fatal(err)
	}
	if err := o.ReportCard(t.Context(), card.ID, false, "by letter to somebody else"); !errors.Is(err, cards.ErrCardState) {
		t.Errorf("got %v, want ErrCardState", err)
	}
	refunds, waiting, err = o.PayBackDue(t.Context(), 10)
	if err != nil || len(waiting) > 0 || len(refunds) != 1 || refunds[0].To != "by letter to A. Holder" {
		t.Errorf("%v, %v (%v)", refunds, waiting, err)
	}
	o.wantBalance("broker:cards:cash", 50*money.Unit)
	o.wantSound()
}
