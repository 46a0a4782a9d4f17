package cards_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// count returns the rows of a table.
func (o *office) count(table string) (count int) {
	o.t.Helper()
	err := o.db.View(o.t.Context(), func(tx *ledger.Tx) error {
		return tx.QueryRowContext(o.t.Context(), `SELECT COUNT(*) FROM `+table).Scan(&count)
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return count
}

// Whatever is left out, altered, put in twice or elsewhere is refused, and
// nothing of the batch is booked.
func TestBatchesThatAreRefused(t *testing.T) {
	o := newOffice(t)
	card, sam := o.card(1, ""), o.sam(1)
	o.load(card, 100_00)
	for range 3 {
		o.pay(sam, card, 1_00)
	}
	whole := closed(sam)
	head, record := whole[:purse.TotalLength], func(n int) []byte {
		return whole[purse.TotalLength+n*purse.PaymentLength:][:purse.PaymentLength]
	}
	altered := func(at int) []byte {
		text := slices.Clone(whole)
		text[at] ^= 1
		return text
	}
	stranger, err := purse.NewSoftSAM(o.keys, 1, merchantID(99))
	if err != nil {
		t.Fatal(err)
	}
	o.pay(stranger, card, 1_00)
	for _, c := range []struct {
		name   string
		batch  []byte
		want   purse.Reason
		record int
		isKept bool
	}{
		{"nothing", nil, purse.Malformed, 0, false},
		{"more than a batch can be", make([]byte, purse.MaxBatchLength+1), purse.Malformed, 0, false},
		{"nobody registered the merchant", closed(stranger), purse.UnknownMerchant, 0, false},
		{"an altered sum", altered(35), purse.WrongTotalMAC, 0, false},
		{"dropped", bytes.Join([][]byte{head, record(0), record(2)}, nil), purse.TransactionGap, 2, true},
		{"dropped at the end", bytes.Join([][]byte{head, record(0), record(1)}, nil), purse.WrongLast, 0, true},
		{"reordered", bytes.Join([][]byte{head, record(1), record(0), record(2)}, nil), purse.TransactionGap, 1, true},
		{"replayed", bytes.Join([][]byte{head, record(0), record(0), record(2)}, nil), purse.TransactionGap, 2, true},
		{"a forged amount", altered(purse.TotalLength + 9), purse.BrokenChain, 1, true},
		{"a forged MACZ", altered(purse.TotalLength + 60), purse.BrokenChain, 1, true},
		{"cut short", whole[:len(whole)-1], purse.Malformed, 3, true},
	} {
		kept := o.count("cards_refusals")
		_, refusals, err := o.SubmitBatch(t.Context(), c.batch)
		if err != nil || len(refusals) == 0 || refusals[0].Reason != c.want || refusals[0].Record != c.record {
			t.Errorf("%s: got %v (%v), want %s of record %d", c.name, refusals, err, c.want, c.record)
		}
		if isKept := o.count("cards_refusals") > kept; isKept != c.isKept && c.want != purse.TransactionGap && c.want != purse.BrokenChain {
			t.Errorf("%s: kept %t, want %t", c.name, isKept, c.isKept)
		}
	}
	if payments, batches := o.count("cards_payments"), o.count("cards_batches"); payments+batches != 0 {
		t.Errorf("%d payments and %d batches of what was refused", payments, batches)
	}
	o.wantBalance("broker:cards:pool", 100*money.Unit)
	if receipt := o.submit(sam); receipt.Payments != 3 {
		t.Errorf("got %+v", receipt)
	}
	o.pay(sam, card, 1_00)
	o.pay(sam, card, 1_00)
	next := closed(sam)
	o.submit(sam)
	// The number of a batch that was taken, with other content, and numbers
	// before and after the next.
	again := slices.Clone(whole)
	again[len(again)-1] ^= 1
	_, refusals, err := o.SubmitBatch(t.Context(), again)
	if err != nil || len(refusals) == 0 || refusals[0].Reason != purse.Differs {
		t.Errorf("got %v (%v)", refusals, err)
	}
	o.pay(sam, card, 1_00)
	skipped := closed(sam)
	fresh := newOffice(t)
	fresh.sam(1)
	for _, early := range [][]byte{next, skipped} {
		_, refusals, err := fresh.SubmitBatch(t.Context(), early)
		if err != nil || len(refusals) == 0 || refusals[0].Reason != purse.WrongBatch {
			t.Errorf("got %v (%v)", refusals, err)
		}
	}
	o.wantSound()
}

// A SAM that says two things about a transaction is not believed.
func TestContradictingSAMs(t *testing.T) {
	o := newOffice(t)
	card := o.card(1, "")
	o.load(card, 100_00)
	sam, twin := o.sam(1), o.sam(1)
	record, previous := o.pay(sam, card, 1_00)
	if _, refusal, err := o.PayOnline(t.Context(), record, previous); err != nil || refusal != nil {
		t.Fatalf("%v (%v)", refusal, err)
	}
	twin.Next()
	twin.Void(card.ID, 1, 1_00, start, purse.Unproved)
	_, refusals, err := o.SubmitBatch(t.Context(), closed(twin))
	if err != nil || len(refusals) == 0 || refusals[0].Reason != purse.Contradicts {
		t.Errorf("a void of what was paid: %v (%v)", refusals, err)
	}
	other := o.sam(1)
	record, previous = o.pay(other, card, 2_00)
	_, refusal, err := o.PayOnline(t.Context(), record, previous)
	wantRefusal(t, refusal, err, purse.Differs)
	_, refusals, err = o.SubmitBatch(t.Context(), closed(other))
	if err != nil || len(refusals) == 0 || refusals[0].Reason != purse.Differs {
		t.Errorf("another payment under the number: %v (%v)", refusals, err)
	}
	o.submit(sam)
	o.wantSound()
}

// Each of these cards cannot be believed. The merchant, who could not know, is
// paid.
func TestAlarms(t *testing.T) {
	o := newOffice(t)
	for i, c := range []struct {
		name string
		want []cards.AlarmKind
		pay  func(card *purse.SoftCard, sam *purse.SoftSAM)
	}{
		{"an honest card", nil, func(card *purse.SoftCard, sam *purse.SoftSAM) {
			o.pay(sam, card, 1_00)
			o.load(card, 5_00)
			o.pay(sam, card, 2_00)
		}},
		{"more on it than was loaded", []cards.AlarmKind{cards.ImpossibleSum}, func(card *purse.SoftCard, sam *purse.SoftSAM) {
			card.Balance += 1
			o.pay(sam, card, 1_00)
		}},
		{"less on it than must be", []cards.AlarmKind{cards.ImpossibleSum}, func(card *purse.SoftCard, sam *purse.SoftSAM) {
			card.Balance -= 1
			o.pay(sam, card, 1_00)
		}},
		{"more spent than loaded", []cards.AlarmKind{cards.ImpossibleSum, cards.Overspent}, func(card *purse.SoftCard, sam *purse.SoftSAM) {
			card.Balance = 50_00
			o.pay(sam, card, 10_01)
		}},
		{"a payment number twice", []cards.AlarmKind{cards.PaymentNumber}, func(card *purse.SoftCard, sam *purse.SoftSAM) {
			o.pay(sam, card, 1_00)
			card.SNo--
			o.pay(sam, card, 1_00)
		}},
		{"a payment that is missing, and a balance that hides it", []cards.AlarmKind{cards.ImpossibleSum}, func(card *purse.SoftCard, sam *purse.SoftSAM) {
			o.pay(sam, card, 1_00)
			card.SNo++
			o.pay(sam, card, 1_00)
		}},
		{"a load number that goes back", []cards.AlarmKind{cards.LoadNumberBack}, func(card *purse.SoftCard, sam *purse.SoftSAM) {
			o.load(card, 1_00)
			o.pay(sam, card, 1_00)
			card.LNo--
			o.pay(sam, card, 1_00)
		}},
		{"a load that nobody authorised", []cards.AlarmKind{cards.LoadNumberBack}, func(card *purse.SoftCard, sam *purse.SoftSAM) {
			card.LNo++
			o.pay(sam, card, 1_00)
		}},
		{"another exponent", []cards.AlarmKind{cards.ForeignUnit, cards.ImpossibleSum}, func(card *purse.SoftCard, sam *purse.SoftSAM) {
			card.Unit.Exponent = -3
			o.pay(sam, card, 1_00)
		}},
		{"another holder", []cards.AlarmKind{cards.ForeignHolder}, func(card *purse.SoftCard, sam *purse.SoftSAM) {
			card.Holder[3]++
			o.pay(sam, card, 1_00)
		}},
		{"on the hot list", []cards.AlarmKind{cards.PaidListed}, func(card *purse.SoftCard, sam *purse.SoftSAM) {
			o.pay(sam, card, 1_00) // before it was lost
			o.now.Add(3600)
			if err := o.ReportCard(t.Context(), card.ID, false, "cash desk 1"); err != nil {
				t.Fatal(err)
			}
			o.now.Add(3600)
			o.pay(sam, card, 1_00)
		}},
		{"issued by nobody", []cards.AlarmKind{cards.NeverIssued, cards.Overspent}, func(card *purse.SoftCard, sam *purse.SoftSAM) {
			stranger := o.softCard(cardID(1000), purse.ID{})
			stranger.Balance = 10_00
			o.pay(sam, stranger, 1_00)
		}},
		{"long expired", []cards.AlarmKind{cards.PaidExpired}, func(card *purse.SoftCard, sam *purse.SoftSAM) {
			o.now.Add((365 + 182) * 86400)
			o.pay(sam, card, 1_00)
			o.now.Add(2 * 86400)
			o.pay(sam, card, 1_00)
		}},
	} {
		card, sam := o.card(i, ""), o.sam(i)
		o.load(card, 10_00)
		before := len(o.alarms())
		c.pay(card, sam)
		receipt := o.submit(sam)
		if got := o.alarms()[before:]; !slices.Equal(got, c.want) {
			t.Errorf("%s: alarms %v, want %v", c.name, got, c.want)
		}
		o.wantBalance("merchant:"+sam.Merchant.String()+":payable", receipt.Gross-receipt.Fee)
	}
	o.wantSound()
	o.acknowledgeAll()
}

// acknowledgeAll looks at every alarm, once.
func (o *office) acknowledgeAll() {
	all, err := o.Alarms(o.t.Context(), true, 0, 1000)
	if err != nil || len(all) == 0 {
		o.t.Fatalf("%d alarms (%v)", len(all), err)
	}
	for _, a := range all {
		if a.Detail == "" || len(a.Evidence) == 0 {
			o.t.Errorf("alarm without evidence: %+v", a)
		}
		if err := o.AcknowledgeAlarm(o.t.Context(), a.Seq, "anna", "looked at the card"); err != nil {
			o.t.Error(err)
		}
		if err := o.AcknowledgeAlarm(o.t.Context(), a.Seq, "ben", "again"); err == nil {
			o.t.Error("an alarm is acknowledged twice")
		}
	}
	if left := o.alarms(); len(left) > 0 {
		o.t.Errorf("open alarms %v", left)
	}
	kept, err := o.Alarms(o.t.Context(), false, 0, 1000)
	if err != nil || len(kept) != len(all) || kept[0].Operator != "anna" {
		o.t.Errorf("%d of %d alarms are kept (%v)", len(kept), len(all), err)
	}
}

func TestAnotherCurrencyIsNotBooked(t *testing.T) {
	o := newOffice(t)
	sam := o.sam(1)
	card := o.softCard(cardID(1), purse.ID{})
	card.Unit.Currency, card.Balance = 0x0840, 10_00
	record, previous := o.pay(sam, card, 1_00)
	_, refusal, err := o.PayOnline(t.Context(), record, previous)
	wantRefusal(t, refusal, err, purse.OtherUnit)
	_, refusals, err := o.SubmitBatch(t.Context(), closed(sam))
	if err != nil || len(refusals) != 1 || refusals[0].Reason != purse.OtherUnit || refusals[0].Record != 1 {
		t.Errorf("got %v (%v)", refusals, err)
	}
	if kinds := o.alarms(); !slices.Equal(kinds, []cards.AlarmKind{cards.ForeignMoney}) {
		t.Errorf("alarms %v", kinds)
	}
	o.wantSound()
}

// Payments come in any order, and some are late.
func TestLatePayments(t *testing.T) {
	o := newOffice(t)
	card := o.card(1, "")
	o.load(card, 100_00)
	sams := []*purse.SoftSAM{o.sam(1), o.sam(2), o.sam(3)}
	for k := range 30 {
		o.pay(sams[k%3], card, uint32(1+k))
		if k == 15 {
			o.load(card, 50_00)
		}
	}
	for _, k := range []int{2, 0, 1} {
		o.submit(sams[k])
	}
	if kinds := o.alarms(); len(kinds) > 0 {
		t.Errorf("alarms %v about an honest card", kinds)
	}
	o.wantBalance("card:"+card.ID.String()+":shadow", money.Amount(card.Balance)*cent)
	o.wantSound()
}
