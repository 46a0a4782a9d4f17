package cards_test

import (
	"slices"
	"testing"

	"github.com/paywordhq/payword/clearing/audit"
	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

func (o *office) online(record []byte, previous purse.MAC) {
	o.t.Helper()
	if _, refusal, err := o.PayOnline(o.t.Context(), record, previous); err != nil || refusal != nil {
		o.t.Fatalf("%v (%v)", refusal, err)
	}
}

// cancel lets a card take its last payment back, which the SAM knows.
func (o *office) cancel(sam *purse.SoftSAM, card *purse.SoftCard) (record []byte, previous purse.MAC) {
	o.t.Helper()
	record, previous, err := sam.Cancel(card, uint32(o.now.Load()))
	if err != nil {
		o.t.Fatal(err)
	}
	return record, previous
}

// refusedBatch hands in a batch that must be refused, and returns why.
func (o *office) refusedBatch(batch []byte) purse.Refusal {
	o.t.Helper()
	_, refusals, err := o.SubmitBatch(o.t.Context(), batch)
	if err != nil || len(refusals) == 0 {
		o.t.Fatalf("a batch is taken: %v (%v)", refusals, err)
	}
	return refusals[0]
}

// What a card takes back is on it again, and neither the merchant nor the fees
// have anything of it, whether the payment came with the batch or before.
func TestCancellations(t *testing.T) {
	o := newOffice(t)
	card, sam, kiosk := o.card(1, ""), o.sam(1), "merchant:"+merchantID(1).String()+":payable"
	o.load(card, 100_00)
	o.pay(sam, card, 10_00)
	o.cancel(sam, card)
	o.online(o.pay(sam, card, 20_00))
	o.wantBalance(kiosk, 19_94*cent)
	record, previous := o.cancel(sam, card)
	_, refusal, err := o.PayOnline(t.Context(), record, previous)
	wantRefusal(t, refusal, err, purse.Malformed)
	o.pay(sam, card, 5_00)
	batch := closed(sam)
	receipt := o.submit(sam)
	if receipt.Payments != 3 || receipt.Cancellations != 2 || receipt.Gross != 35*money.Unit || receipt.Booked != 15*money.Unit ||
		receipt.Cancelled != 30*money.Unit || receipt.Voids != 0 {
		t.Errorf("got %+v", receipt)
	}
	again, refusals, err := o.SubmitBatch(t.Context(), batch)
	if receipt.Repeated = true; err != nil || len(refusals) > 0 || again != receipt {
		t.Errorf("again %+v %v (%v)", again, refusals, err)
	}
	o.wantBalance(kiosk, 4_98*cent)
	o.wantBalance("broker:fees", 2*cent)
	o.wantBalance("card:"+card.ID.String()+":shadow", 95*money.Unit)
	_, refusal, err = o.Object(t.Context(), sam.Merchant, 1, "not me")
	wantRefusal(t, refusal, err, cards.AlreadyDisputed)
	shown, err := o.Show(t.Context(), card.ID)
	if err != nil || len(shown.Cancellations) != 2 || shown.Cancellations[0].CancelledTNo != 3 || shown.Cancellations[0].State != "done" {
		t.Errorf("got %+v (%v)", shown.Cancellations, err)
	}
	if kinds := o.alarms(); len(kinds) > 0 {
		t.Errorf("alarms %v", kinds)
	}
	o.wantSound()
}

// A card may pay elsewhere before its cancellation is known: no alarm says that
// it has too much.
func TestCancellationsComeLate(t *testing.T) {
	o := newOffice(t)
	card, first, second := o.card(1, ""), o.sam(1), o.sam(2)
	o.load(card, 10_00)
	o.online(o.pay(first, card, 9_00))
	o.cancel(first, card)
	o.online(o.pay(second, card, 8_00))
	o.submit(first)
	o.submit(second)
	if kinds := o.alarms(); len(kinds) > 0 {
		t.Errorf("alarms %v", kinds)
	}
	// One that says another balance than it must have is seen.
	o.pay(first, card, 1_00)
	card.Balance += 5
	o.cancel(first, card)
	o.submit(first)
	if kinds := o.alarms(); !slices.Equal(kinds, []cards.AlarmKind{cards.ImpossibleSum}) {
		t.Errorf("alarms %v", kinds)
	}
	// And one under a number that was used.
	o.pay(first, card, 1_00)
	record, _ := o.cancel(first, card)
	parsed, err := purse.ParseRecord(record)
	if err != nil {
		t.Fatal(err)
	}
	card.SNo = parsed.Proof.SNo - 1
	card.Balance -= 1_00
	o.pay(second, card, 50)
	o.submit(first)
	o.submit(second)
	if kinds := o.alarms(); !slices.Contains(kinds, cards.PaymentNumber) {
		t.Errorf("alarms %v", kinds)
	}
	o.wantSound()
}

// What is not the merchant's to give back any more is refused with its reason,
// and nothing of the batch is booked.
func TestCancellationsThatAreRefused(t *testing.T) {
	o := newOffice(t)
	o.gateway("purse", money.Unit)
	card, sam, kiosk := o.card(1, ""), o.sam(1), o.forwarding(2, "purse")
	o.load(card, 100_00)

	o.account(1, 0)
	o.online(o.pay(kiosk, card, 10_00))
	o.fundByGateway("purse", kiosk.Merchant.String()+"-1", 10*money.Unit)
	o.online(o.pay(kiosk, card, 10_00))
	o.online(o.pay(kiosk, card, 10_00))
	cash := o.card(2, "")
	o.load(cash, 10_00)
	o.online(o.pay(kiosk, cash, 1_00))
	kioskBooks := *kiosk
	paidOut := *cash
	if refusal, err := o.CashOut(t.Context(), "purse", kiosk.Merchant, 4); err != nil || refusal != nil {
		t.Fatalf("%v (%v)", refusal, err)
	}
	o.cancel(kiosk, cash)
	if refusal := o.refusedBatch(closed(kiosk)); refusal.Reason != cards.Forwarded || refusal.Record != 5 {
		t.Errorf("a payment that was paid out in cash: %v", refusal)
	}
	*kiosk, *cash = kioskBooks, paidOut
	o.fundByGateway("purse", "another", 15*money.Unit)
	o.cancel(kiosk, card)
	if refusal := o.refusedBatch(closed(kiosk)); refusal.Reason != cards.Insufficient {
		t.Errorf("money that another funding took: %v", refusal)
	}
	o.wantBalance("gateway:purse:in", 5*money.Unit)

	o.online(o.pay(sam, card, 20_00))
	o.cancel(sam, card)
	o.pay(sam, card, 4_00)
	payable := "merchant:" + sam.Merchant.String() + ":payable"
	o.payOut(payable, 18*money.Unit)
	batch := closed(sam)
	if refusal := o.refusedBatch(batch); refusal.Reason != cards.Insufficient {
		t.Errorf("a payment that was paid out: %v", refusal)
	}
	o.wantBalance(payable, 1_94*cent)
	// It is taken once there is enough again.
	o.payOut(payable, -15*money.Unit)
	o.submit(sam)
	o.wantBalance(payable, 99*cent)

	o.online(o.pay(sam, card, 2_00))
	if _, refusal, err := o.Object(t.Context(), sam.Merchant, sam.TNo, "not me"); err != nil || refusal != nil {
		t.Fatalf("%v (%v)", refusal, err)
	}
	o.cancel(sam, card)
	if refusal := o.refusedBatch(closed(sam)); refusal.Reason != cards.AlreadyDisputed || refusal.Record != 2 {
		t.Errorf("a payment that is disputed: %v", refusal)
	}
	o.isUnsound = true // money was paid out without a run
}

// payOut moves what a run would.
func (o *office) payOut(account string, amount money.Amount) {
	o.t.Helper()
	ctx, from, to := o.t.Context(), account, "broker:bank:out"
	if amount < 0 {
		from, to, amount = to, from, -amount
	}
	err := o.db.Update(ctx, func(tx *ledger.Tx) error {
		if err := tx.CreateAccount(ctx, ledger.Account{ID: "broker:bank:out", Currency: eur, Floor: ledger.NoFloor}); err != nil {
			return err
		}
		return tx.Post(ctx, ledger.Transfer{ID: "out/" + from + amount.String(), Debit: from, Credit: to, Amount: amount, Currency: eur, Kind: "test"})
	})
	if err != nil {
		o.t.Fatal(err)
	}
}

// A payment that went on to a gateway and that no account could have goes back to
// its card, from where it is; one that is on an account does not.
func TestCancellationsOfForwardedPayments(t *testing.T) {
	o := newOffice(t)
	o.gateway("purse", 0)
	o.account(1, 0)
	card, kiosk := o.card(1, ""), o.forwarding(1, "purse")
	o.load(card, 100_00)
	o.online(o.pay(kiosk, card, 10_00))
	o.cancel(kiosk, card)
	o.pay(kiosk, card, 2_00)
	o.pay(kiosk, card, 3_00)
	o.cancel(kiosk, card)
	o.online(o.pay(kiosk, card, 4_00))
	kiosk.Next()
	kiosk.Void(card.ID, card.SNo+1, 4_00, start, purse.UnprovedCancellation)
	o.submit(kiosk)
	o.wantBalance("gateway:purse:in", 2*money.Unit)
	o.wantBalance("broker:cards:disputes", 4*money.Unit)
	o.wantBalance("merchant:"+kiosk.Merchant.String()+":payable", 0)
	o.wantBalance("card:"+card.ID.String()+":shadow", 94*money.Unit)
	o.wantSound()
	o.online(o.pay(kiosk, card, 1_00)) // under the number of the cancellation that nobody proved
	o.wantBalance("gateway:purse:in", 7*money.Unit)
	o.fundByGateway("purse", kiosk.Merchant.String()+"-8", money.Unit)
	o.cancel(kiosk, card)
	if refusal := o.refusedBatch(closed(kiosk)); refusal.Reason != cards.Forwarded || refusal.Record != 2 {
		t.Errorf("a payment that is on an account: %v", refusal)
	}
	o.wantSound()
}

// A payment to a gateway's merchant that is taken back in the same batch never
// went on.
func TestCancellationBeforeItWentOn(t *testing.T) {
	o := newOffice(t)
	o.gateway("purse", 0)
	card, kiosk := o.card(1, ""), o.forwarding(1, "purse")
	o.load(card, 100_00)
	o.pay(kiosk, card, 10_00)
	o.cancel(kiosk, card)
	o.pay(kiosk, card, 5_00)
	o.submit(kiosk)
	o.wantBalance("gateway:purse:in", 5*money.Unit)
	o.wantBalance("merchant:"+kiosk.Merchant.String()+":payable", 0)
	refusal, err := o.CashOut(t.Context(), "purse", kiosk.Merchant, 1)
	if refusal == nil || err != nil {
		t.Errorf("what was taken back is paid out: %v (%v)", refusal, err)
	}
	o.wantSound()
}

// Whoever has every key of a SAM makes no cancellation: MACZ is the card's alone.
func TestForgedCancellations(t *testing.T) {
	o := newOffice(t)
	card, sam := o.card(1, ""), o.sam(1)
	o.load(card, 100_00)
	o.pay(sam, card, 10_00)
	o.cancel(sam, card)
	total, records := sam.Close()
	key, err := o.keys.MerchantKey(1, sam.Merchant)
	if err != nil {
		t.Fatal(err)
	}
	read := func(text []byte) purse.Record {
		record, err := purse.ParseRecord(text)
		if err != nil {
			t.Fatal(err)
		}
		return record
	}
	paid, taken := read(records[:purse.PaymentLength]), read(records[purse.PaymentLength:])
	// signed is what a merchant with the SAM's key makes of records.
	signed := func(sum uint64, records ...purse.Record) []byte {
		parsed, err := purse.ParseTotal(total)
		if err != nil {
			t.Fatal(err)
		}
		var text []byte
		previous := purse.MAC{}
		for _, record := range records {
			record.MACM = record.Chain(key, previous)
			previous, text = record.MACM, record.Append(text)
		}
		parsed.Sum, parsed.Payments, parsed.Chain, parsed.Last = sum, uint32(len(records)), previous, records[len(records)-1].TNo()
		parsed.MAC = parsed.Sign(key)
		return append(parsed.Append(nil), text...)
	}
	change := func(change func(record *purse.Record)) purse.Record {
		record := taken
		change(&record)
		return record
	}
	for _, c := range []struct {
		name  string
		batch []byte
		want  purse.Reason
	}{
		{"another amount", signed(5_00, paid, change(func(r *purse.Record) { r.Proof.Amount = 5_00 })), purse.WrongProof},
		{"another card", signed(0, paid, change(func(r *purse.Record) { r.Proof.Card[7]++ })), purse.WrongProof},
		{"another MACZ", signed(0, paid, change(func(r *purse.Record) { r.MACZ[0] ^= 1 })), purse.WrongProof},
		{"the proof of the payment", signed(0, paid, change(func(r *purse.Record) { r.MACZ = paid.MACZ })), purse.WrongProof},
		{"another number", signed(0, paid, change(func(r *purse.Record) { r.Proof.TNo = 3 })), purse.TransactionGap},
		{"twice", signed(0, paid, taken, change(func(r *purse.Record) { r.Proof.TNo = 3 })), purse.WrongProof},
		{"reordered", signed(10_00, taken, paid), purse.TransactionGap},
		{"dropped", signed(10_00, paid)[:purse.TotalLength], purse.WrongLast},
		{"without its payment", signed(0, taken), purse.TransactionGap},
		{"counted as a payment", signed(20_00, paid, taken), purse.WrongSum},
		{"not chained", append(slices.Clone(total), append(slices.Clone(records[:len(records)-1]), records[len(records)-1]^1)...), purse.BrokenChain},
	} {
		if refusal := o.refusedBatch(c.batch); refusal.Reason != c.want {
			t.Errorf("%s: %v, want %s", c.name, refusal, c.want)
		}
	}
	o.submit(sam)
	// Replayed in the next batch it is refused, too.
	o.pay(sam, card, 1_00)
	again := append(closed(sam), records[purse.PaymentLength:]...)
	if refusal := o.refusedBatch(again); refusal.Reason != purse.OtherBatch {
		t.Errorf("replayed: %v", refusal)
	}
	o.wantSound()
}

// The money of a cancellation that nobody has proved waits for the card, and for
// an operator at last.
func TestUnprovedCancellations(t *testing.T) {
	o := newOffice(t)
	sam, other, payable := o.sam(1), o.sam(2), "merchant:"+merchantID(1).String()+":payable"
	// torn lets a card pay and the SAM order it to take that back.
	torn := func(card *purse.SoftCard, isOnline bool) (tno, sno uint32) {
		o.load(card, 50_00)
		record, previous := o.pay(sam, card, 10_00)
		if isOnline {
			o.online(record, previous)
		}
		paid := card.SNo
		return sam.Next(), paid + 1
	}
	void := func(card *purse.SoftCard, sno uint32) {
		sam.Void(card.ID, sno, 10_00, start, purse.UnprovedCancellation)
	}
	did, did2, didNot, known, asked := o.card(1, ""), o.card(2, ""), o.card(3, ""), o.card(4, ""), o.card(5, "")
	tno, sno := torn(did, false)
	said, macz, err := did.Cancel(sam.Merchant, tno, tno-1, start)
	if err != nil {
		t.Fatal(err)
	}
	void(did, sno)
	tno, sno = torn(did2, true)
	if _, _, err := did2.Cancel(sam.Merchant, tno, tno-1, start); err != nil {
		t.Fatal(err)
	}
	void(did2, sno)
	_, sno = torn(didNot, false)
	void(didNot, sno)
	_, sno = torn(known, true)
	void(known, sno)
	o.online(o.pay(other, known, 3_00)) // before the batch comes
	_, sno = torn(asked, false)
	void(asked, sno)
	o.pay(sam, asked, 2_00) // in the same batch
	receipt := o.submit(sam)
	if receipt.Cancellations != 5 || receipt.Cancelled != 50*money.Unit || receipt.Voids != 0 {
		t.Errorf("got %+v", receipt)
	}
	o.wantBalance("broker:cards:disputes", 30*money.Unit)
	o.wantBalance(payable, 9_97*cent+9_97*cent+1_99*cent)
	open, err := o.Disputes(t.Context(), true, 10)
	if err != nil || len(open) != 3 || open[0].Reason != "cancellation" || open[0].State != "open" {
		t.Errorf("%+v (%v)", open, err)
	}
	o.wantSound()

	forged := macz
	forged[3] ^= 1
	_, refusal, err := o.ClaimCancellation(t.Context(), said.Append(nil), forged)
	wantRefusal(t, refusal, err, purse.WrongProof)
	for range 2 {
		d, refusal, err := o.ClaimCancellation(t.Context(), said.Append(nil), macz)
		if err != nil || refusal != nil || d.State != "holder" || d.Rule != "claim" {
			t.Errorf("%+v %v (%v)", d, refusal, err)
		}
	}
	o.wantBalance("card:"+did.ID.String()+":shadow", 50*money.Unit)
	o.online(o.pay(other, didNot, 1_00))
	o.wantBalance(payable, 3*9_97*cent+1_99*cent)
	if d, refusal, err := o.Decide(t.Context(), sam.Merchant, 3, true, "anna"); err != nil || refusal != nil || d.State != "holder" || d.Operator != "anna" {
		t.Errorf("%+v %v (%v)", d, refusal, err)
	}
	_, refusal, err = o.Decide(t.Context(), sam.Merchant, 3, true, "anna")
	wantRefusal(t, refusal, err, cards.NotOpen)
	o.wantBalance("broker:cards:disputes", 0)
	o.wantBalance("card:"+did2.ID.String()+":shadow", 50*money.Unit)
	if kinds := o.alarms(); slices.ContainsFunc(kinds, func(kind cards.AlarmKind) bool { return kind != cards.OpenCancellation }) {
		t.Errorf("alarms %v", kinds)
	}
	o.wantSound()
}

// A card may say what it did before the batch comes: the batch is booked so then.
func TestEarlyClaimsOfCancellations(t *testing.T) {
	o := newOffice(t)
	sam, card, other := o.sam(1), o.card(1, ""), o.card(2, "")
	payable := "merchant:" + sam.Merchant.String() + ":payable"
	o.load(card, 50_00)
	o.load(other, 50_00)
	torn := func(card *purse.SoftCard) (purse.Cancellation, purse.MAC) {
		t.Helper()
		o.pay(sam, card, 10_00)
		tno := sam.Next()
		said, macz, err := card.Cancel(sam.Merchant, tno, tno-1, start)
		if err != nil {
			t.Fatal(err)
		}
		sam.Void(card.ID, said.SNo, 10_00, start, purse.UnprovedCancellation)
		return said, macz
	}
	claim := func(said purse.Cancellation, macz purse.MAC, want string) {
		t.Helper()
		for range 2 {
			d, refusal, err := o.ClaimCancellation(t.Context(), said.Append(nil), macz)
			if err != nil || refusal != nil || d.State != want || d.Reason != "cancellation" || d.TNo != said.PaidTNo || d.Amount != 10*money.Unit {
				t.Errorf("%+v %v (%v), want %s", d, refusal, err, want)
			}
		}
	}
	said, macz := torn(card)
	claim(said, macz, "open")
	torn(other)
	o.submit(sam)
	claim(said, macz, "holder")
	o.wantBalance("card:"+card.ID.String()+":shadow", 50*money.Unit)
	o.wantBalance("broker:cards:disputes", 10*money.Unit)
	o.wantBalance(payable, 0)
	// What no SAM has ordered is not taken once the batch is there, and what nobody
	// has registered not at all.
	stray := said
	stray.TNo, stray.PaidTNo = 3, 2
	key, err := o.keys.ProofKey(1, card.ID)
	if err != nil {
		t.Fatal(err)
	}
	_, refusal, err := o.ClaimCancellation(t.Context(), stray.Append(nil), stray.Prove(key))
	wantRefusal(t, refusal, err, cards.UnknownPayment)
	stray.Merchant = merchantID(9)
	_, refusal, err = o.ClaimCancellation(t.Context(), stray.Append(nil), stray.Prove(key))
	wantRefusal(t, refusal, err, purse.UnknownMerchant)
	o.wantSound()
	o.wantTamperedFound([]tampering{
		{"cards_early_claims", `UPDATE cards_early_claims SET macz = SUBSTR(macz, 1, 9)`, []audit.Kind{audit.ProofUnsigned}},
		{"cards_early_claims", `UPDATE cards_early_claims SET tno = tno + 2`, []audit.Kind{audit.ProofDiffers}},
		{"cards_early_claims", `UPDATE cards_early_claims SET proof = SUBSTR(proof, 1, 9)`, []audit.Kind{audit.ProofDiffers}},
	})
}

// A lost card is not paid back as long as nobody knows what is on it.
func TestLostCardsWaitForCancellations(t *testing.T) {
	o := newOffice(t)
	sam, card := o.sam(1), o.card(1, "")
	o.load(card, 50_00)
	o.pay(sam, card, 10_00)
	sam.Next()
	sam.Void(card.ID, card.SNo+1, 10_00, start, purse.UnprovedCancellation)
	o.submit(sam)
	if err := o.ReportCard(t.Context(), card.ID, false, "receipt 17"); err != nil {
		t.Fatal(err)
	}
	o.now.Add(31 * dayLong)
	if refunds, waiting, err := o.PayBackDue(t.Context(), 10); err != nil || len(refunds)+len(waiting) != 0 {
		t.Errorf("%v %v (%v)", refunds, waiting, err)
	}
	if _, refusal, err := o.Decide(t.Context(), sam.Merchant, 1, true, "anna"); err != nil || refusal != nil {
		t.Fatalf("%v (%v)", refusal, err)
	}
	if refunds, _, err := o.PayBackDue(t.Context(), 10); err != nil || len(refunds) != 1 || refunds[0].Amount != 50*money.Unit {
		t.Errorf("%v (%v)", refunds, err)
	}
	o.wantSound()
}

// A holder who claims what he has paid, and has taken back, before the batch comes
// does not keep the batch from being taken, and has his money once.
func TestClaimOfWhatIsTakenBack(t *testing.T) {
	for name, isDecided := range map[string]bool{"open": false, "paid back": true} {
		o := newOffice(t)
		o.gateway("purse", 0)
		card, sam, kiosk := o.card(1, ""), o.sam(1), o.forwarding(2, "purse")
		o.load(card, 100_00)
		for _, s := range []*purse.SoftSAM{sam, kiosk} {
			proof, macz, err := card.Pay(s.Merchant, s.Next(), 10_00, start)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.Commit(proof, macz); err != nil {
				t.Fatal(err)
			}
			if _, refusal, err := o.Claim(t.Context(), proof.Append(nil), macz, "mine"); err != nil || refusal != nil {
				t.Fatalf("%v (%v)", refusal, err)
			}
			if isDecided {
				if _, refusal, err := o.Decide(t.Context(), s.Merchant, 1, true, "anna"); err != nil || refusal != nil {
					t.Fatalf("%v (%v)", refusal, err)
				}
			}
			o.cancel(s, card)
			o.pay(s, card, 5_00)
			o.submit(s)
		}
		onShadow, paidBack := 90*money.Unit, money.Amount(0)
		if isDecided { // it is on the card, too, and clearing does not stand for that
			onShadow, paidBack = 70*money.Unit, 20*money.Unit
		}
		o.wantBalance("card:"+card.ID.String()+":shadow", onShadow)
		o.wantBalance("broker:cards:cash", paidBack-100*money.Unit)
		o.wantBalance("gateway:purse:in", 5*money.Unit)
		o.wantBalance("merchant:"+sam.Merchant.String()+":payable", 4_98*cent)
		if kinds := o.alarms(); slices.Contains(kinds, cards.Contradiction) != isDecided {
			t.Errorf("%s: alarms %v", name, kinds)
		}
		o.wantSound()
	}
}

// A thief with a gateway's SAM has a card pay, puts that on an account, and lets the
// card take it back, again and again, and turns nothing in: clearing sees it when
// the card pays the next time, and does not load it any more. As long as the money
// lies at the gateway it may well be back on the card.
func TestWhatIsTakenBackFromAGateway(t *testing.T) {
	o := newOffice(t)
	o.gateway("purse", 0)
	card, kiosk := o.card(1, o.account(1, 100*money.Unit)), o.forwarding(1, "purse")
	o.load(card, 49_00)
	o.online(o.pay(kiosk, card, 49_00))
	o.cancel(kiosk, card)
	o.load(card, 1_00)
	o.payOut("gateway:purse:in", 40*money.Unit) // as fundings do
	request, answer := ask(card, 1_00)
	_, refusal, err := o.AuthoriseLoad(t.Context(), request, answer)
	wantRefusal(t, refusal, err, cards.WrongBalance)
	o.online(o.pay(kiosk, card, 5_00))
	if kinds := o.alarms(); slices.Contains(kinds, cards.Overspent) {
		t.Errorf("alarms %v", kinds)
	}
	o.payOut("gateway:purse:in", 14*money.Unit)
	o.online(o.pay(kiosk, card, 45_00))
	o.payOut("gateway:purse:in", 45*money.Unit)
	o.cancel(kiosk, card)
	o.online(o.pay(kiosk, card, 40_00))
	if kinds := o.alarms(); !slices.Contains(kinds, cards.Overspent) {
		t.Errorf("alarms %v", kinds)
	}
	o.isUnsound = true // money was paid out without a funding
}

// A merchant who turns nothing in, and a holder whose card takes back what it paid
// online, cannot go on with that for ever: what was before the last load but one
// is not believed to be on the card.
func TestWhatIsTakenBackAndNeverTurnedIn(t *testing.T) {
	o := newOffice(t)
	card, sam := o.card(1, o.account(1, 200*money.Unit)), o.sam(1)
	o.load(card, 50_00)
	for range 2 {
		o.online(o.pay(sam, card, 40_00))
		o.cancel(sam, card)
		o.load(card, 1_00)
	}
	if kinds := o.alarms(); len(kinds) > 0 {
		t.Errorf("alarms %v", kinds)
	}
	o.online(o.pay(sam, card, 40_00))
	o.cancel(sam, card)
	request, answer := ask(card, 1_00)
	_, refusal, err := o.AuthoriseLoad(t.Context(), request, answer)
	wantRefusal(t, refusal, err, cards.WrongBalance)
	// Once the batch is there, everything is known.
	o.submit(sam)
	o.load(card, 1_00)
}

// A card in a file is put back as it was before its payment, and pays and takes
// back under the same numbers again: the merchant, who cannot know, has his batch
// taken, and the card an alarm.
func TestCancellationsOfACopiedCard(t *testing.T) {
	o := newOffice(t)
	card, sam := o.card(1, ""), o.sam(1)
	o.load(card, 100_00)
	copied := *card
	for range 2 {
		*card = copied
		o.pay(sam, card, 10_00)
		o.cancel(sam, card)
	}
	*card = copied
	o.pay(sam, card, 10_00)
	sam.Next()
	sam.Void(card.ID, card.SNo+1, 10_00, start, purse.UnprovedCancellation)
	receipt := o.submit(sam)
	if receipt.Cancellations != 3 || receipt.Cancelled != 30*money.Unit {
		t.Errorf("got %+v", receipt)
	}
	if kinds := o.alarms(); !slices.Contains(kinds, cards.PaymentNumber) {
		t.Errorf("alarms %v", kinds)
	}
	o.wantBalance("merchant:"+sam.Merchant.String()+":payable", 0)
	o.wantSound()
}
