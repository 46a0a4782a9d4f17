package purse_test

import (
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
)

// orderCancel does INIT CANCEL, START and AUTHORIZE, and returns the data of
// CANCEL LAST.
func (d *desk) orderCancel(t testing.TB, tno uint32) []byte {
	t.Helper()
	opening := done(t, d.sam, purse.InitCancel, 0, 0, be(tno, be(3)))
	return done(t, d.sam, purse.Authorize, 0, 0, done(t, d.card, purse.StartPay, 0, 0, opening))
}

func TestCancelLast(t *testing.T) {
	d := newDesk(t)
	d.load(t, 5000)
	d.pay(t, 77)
	d.pay(t, 123)
	cancelled := done(t, d.card, purse.CancelLast, 0, 0, d.orderCancel(t, 2))
	if data := d.data(t); data.Balance != 4923 || data.SNo != 3 {
		t.Errorf("card %+v", data)
	}
	record := done(t, d.sam, purse.Commit, 0, 0, cancelled)
	parsed, err := purse.ParseRecord(record)
	if err != nil || !parsed.IsCancellation() || parsed.PaidTNo != 2 || parsed.PaidSNo != 2 || parsed.TNo() != 3 {
		t.Errorf("%+v (%v)", parsed, err)
	}
	answer := done(t, d.card, purse.Recover, 0, 0, join(parsed.Proof.Merchant[:], be(3, be(3)), make([]byte, 16)))
	if again, _, isPaid, err := purse.ParseRecovered(answer); err != nil || !isPaid || string(again.Append(nil)) != string(cancelled) {
		t.Errorf("recovered %X (%v)", answer, err)
	}
	done(t, d.card, purse.Verify, 0, 0x80, []byte("4711"))
	if entry := done(t, d.card, purse.ReadRecord, 1, 0x0C, nil); string(entry) != string(cancelled) {
		t.Errorf("in the log: %X", entry)
	}
	if data := d.samData(t); data.Sum != 77 || data.Payments != 3 {
		t.Errorf("SAM %+v", data)
	}
	refused(t, d.sam, purse.OutOfOrder, purse.InitCancel, 0, 0, be(2, be(3)))
	refused(t, d.sam, purse.NoRecord, purse.InitCancel, 0, 0, be(3, be(3)))
	refused(t, d.sam, purse.NoRecord, purse.InitCancel, 0, 0, be(9, be(3)))
	// The payment before is not the card's last one.
	opening := done(t, d.sam, purse.InitCancel, 0, 0, be(1, be(3)))
	refused(t, d.sam, purse.WrongSequence, purse.Authorize, 0, 0, done(t, d.card, purse.StartPay, 0, 0, opening))
	done(t, d.sam, purse.VoidPay, 0, 0, be(4))
	batch := d.turnIn(t, purse.Position{})
	if batch.Total.Sum != 77 || batch.Total.Payments != 3 || batch.Total.Voids != 1 || batch.Entries[2].Balance != 4923 {
		t.Errorf("batch %+v", batch)
	}
	refused(t, d.sam, purse.NoRecord, purse.InitCancel, 0, 0, be(1, be(3)))
}

// Nobody says that the card did not take the payment back: so the merchant is not
// to be paid for it.
func TestCancellationThatNobodyProves(t *testing.T) {
	d := newDesk(t)
	d.load(t, 5000)
	d.pay(t, 123)
	d.orderCancel(t, 1)
	record, err := purse.ParseRecord(done(t, d.sam, purse.VoidPay, 0, 0, be(2)))
	if err != nil || record.Void.Proved != purse.UnprovedCancellation {
		t.Errorf("%+v (%v)", record, err)
	}
	// The card may have it: nobody orders it again, and clearing takes one such
	// record of a payment.
	refused(t, d.sam, purse.OutOfOrder, purse.InitCancel, 0, 0, be(1, be(3)))
	if batch := d.turnIn(t, purse.Position{}); batch.Total.Sum != 123 {
		t.Errorf("%+v", batch.Total)
	}
}

// A card that took its payment back may take it, and others, back only so often
// before clearing sees its balance.
func TestCancellationsBetweenLoadsAreFew(t *testing.T) {
	d := newDesk(t)
	d.load(t, 5000)
	for tno := uint32(1); tno < 16; tno += 2 {
		d.pay(t, 10)
		done(t, d.sam, purse.Commit, 0, 0, done(t, d.card, purse.CancelLast, 0, 0, d.orderCancel(t, tno)))
	}
	d.pay(t, 10)
	refused(t, d.card, purse.OutOfOrder, purse.CancelLast, 0, 0, d.orderCancel(t, 17))
	denied := done(t, d.card, purse.Recover, 0, 0, join([]byte(merchantID(t)), be(18, be(18)), make([]byte, 16)))
	record, err := purse.ParseRecord(done(t, d.sam, purse.VoidPay, 0, 0, join(be(18), denied, make([]byte, 16))))
	if err != nil || record.Void.Proved != purse.ByCard {
		t.Errorf("%+v (%v)", record, err)
	}
	d.load(t, 1)
	d.pay(t, 10)
	done(t, d.card, purse.CancelLast, 0, 0, d.orderCancel(t, 19))
	if balance := d.data(t).Balance; balance != 4991 {
		t.Errorf("balance %d", balance)
	}
}

// rogue is somebody with MKP, who orders a card what he likes.
type rogue struct {
	*desk
	key *purse.Key
	tno uint32
}

// begin starts a session and returns the order that would be right in it, and the
// session's key.
func (r *rogue) begin(t testing.TB, amount uint32) (purse.Order, *purse.Key) {
	t.Helper()
	r.tno++
	opening := purse.Opening{Merchant: id(t, merchantNumber), TNo: r.tno, KeyVersion: 1, Random: purse.Random{byte(r.tno)}}
	start, mac, err := purse.ParseStart(done(t, r.card, purse.StartPay, 0, 0, opening.Append(nil)))
	if err != nil || start.Identify(r.key, opening.Merchant, opening.TNo, opening.Random) != mac {
		t.Fatalf("%+v (%v)", start, err)
	}
	order := purse.Order{Merchant: opening.Merchant, TNo: r.tno, SNo: start.SNo, Card: start.Card, Amount: amount, Unit: start.Unit, Time: 5}
	return order, start.Session(r.key, opening.Merchant, opening.TNo, opening.Random)
}

// Also with the right MAC a card does only what makes sense.
func TestOrdersThatMakeNoSense(t *testing.T) {
	d := newDesk(t)
	d.load(t, 5000)
	r := &rogue{desk: d, key: d.key(t, d.keys.CardKey, cardNumber), tno: 100}
	for name, c := range map[string]struct {
		alter func(*purse.Order)
		want  purse.StatusWord
	}{
		"another payment":     {func(o *purse.Order) { o.SNo++ }, purse.WrongSequence},
		"another transaction": {func(o *purse.Order) { o.TNo++ }, purse.WrongSequence},
		"another merchant":    {func(o *purse.Order) { o.Merchant[0]++ }, purse.WrongData},
		"another card":        {func(o *purse.Order) { o.Card[0]++ }, purse.WrongData},
		"another currency":    {func(o *purse.Order) { o.Unit = cents }, purse.WrongData},
		"another exponent":    {func(o *purse.Order) { o.Unit.Exponent = -6 }, purse.WrongData},
		"nothing":             {func(o *purse.Order) { o.Amount = 0 }, purse.WrongData},
		"too much at once":    {func(o *purse.Order) { o.Amount = 10_001 }, purse.OverTransaction},
		"more than there is":  {func(o *purse.Order) { o.Amount = 5001 }, purse.TooLittle},
		"nothing wrong":       {func(o *purse.Order) {}, purse.Done},
	} {
		before := d.data(t)
		order, session := r.begin(t, 10)
		c.alter(&order)
		mac := order.Sign(session)
		_, status := send(t, d.card, purse.Command(purse.Debit, 0, 0, append(order.Append(nil), mac[:]...)))
		if status != c.want || (d.data(t) == before) == (status == purse.Done) {
			t.Errorf("%s: %v", name, status)
		}
	}
}

func TestCancellationsThatMakeNoSense(t *testing.T) {
	d := newDesk(t)
	d.load(t, 5000)
	r := &rogue{desk: d, key: d.key(t, d.keys.CardKey, cardNumber), tno: 100}
	cancel := func(amount uint32, alter func(*purse.CancelOrder)) purse.StatusWord {
		order, session := r.begin(t, amount)
		cancelOrder := purse.CancelOrder{Order: order, PaidTNo: 2, PaidSNo: order.SNo - 1}
		alter(&cancelOrder)
		mac := cancelOrder.Sign(session)
		_, status := send(t, d.card, purse.Command(purse.CancelLast, 0, 0, append(cancelOrder.Append(nil), mac[:]...)))
		return status
	}
	same := func(*purse.CancelOrder) {}
	if status := cancel(10, same); status != purse.WrongSequence {
		t.Errorf("where nothing was paid: %v", status)
	}
	d.pay(t, 20)
	d.pay(t, 10)
	before := d.data(t)
	for name, c := range map[string]struct {
		amount uint32
		alter  func(*purse.CancelOrder)
		want   purse.StatusWord
	}{
		"the payment before":  {20, func(o *purse.CancelOrder) { o.PaidTNo, o.PaidSNo = 1, 1 }, purse.WrongSequence},
		"another transaction": {10, func(o *purse.CancelOrder) { o.PaidTNo = 1 }, purse.WrongSequence},
		"another payment":     {10, func(o *purse.CancelOrder) { o.PaidSNo = 1 }, purse.WrongSequence},
		"more than was paid":  {11, same, purse.WrongData},
		"less than was paid":  {9, same, purse.WrongData},
		"another merchant":    {10, func(o *purse.CancelOrder) { o.Merchant[0]++ }, purse.WrongData},
		"another card":        {10, func(o *purse.CancelOrder) { o.Card[0]++ }, purse.WrongData},
		"another unit":        {10, func(o *purse.CancelOrder) { o.Unit = cents }, purse.WrongData},
	} {
		if status := cancel(c.amount, c.alter); status != c.want {
			t.Errorf("%s: %v", name, status)
		}
	}
	order, session := r.begin(t, 10)
	forged := purse.CancelOrder{Order: order, PaidTNo: 2, PaidSNo: 2}
	mac := order.Sign(session) // the MAC of a payment
	refused(t, d.card, purse.WrongMAC, purse.CancelLast, 0, 0, append(forged.Append(nil), mac[:]...))
	if after := d.data(t); after != before {
		t.Errorf("%+v, before %+v", after, before)
	}
	if status := cancel(10, same); status != purse.Done {
		t.Errorf("the last payment: %v", status)
	}
	taken := r.tno
	if status := cancel(10, func(o *purse.CancelOrder) { o.PaidTNo = taken }); status != purse.WrongSequence {
		t.Errorf("a cancellation: %v", status)
	}
	// After a load there may be no room for it.
	d.pay(t, 100)
	d.load(t, 20_000-d.data(t).Balance)
	if status := cancel(100, func(o *purse.CancelOrder) { o.PaidTNo = 3 }); status != purse.OverBalance {
		t.Errorf("onto a full card: %v", status)
	}
}

// A SAM lets only the card that paid take its payment back, and takes cards of
// its own unit alone.
func TestOtherCards(t *testing.T) {
	d := newDesk(t)
	d.load(t, 5000)
	d.pay(t, 10)
	first := d.card
	issue := cardIssue(t)
	issue.Card[7]++
	other, _ := issueCard(t, issue, rand.Reader)
	d.card = other
	d.selectBoth(t)
	opening := done(t, d.sam, purse.InitCancel, 0, 0, be(1, be(3)))
	refused(t, d.sam, purse.WrongData, purse.Authorize, 0, 0, done(t, other, purse.StartPay, 0, 0, opening))
	d.card = first
	done(t, d.sam, purse.Commit, 0, 0, done(t, first, purse.CancelLast, 0, 0,
		done(t, d.sam, purse.Authorize, 0, 0, done(t, first, purse.StartPay, 0, 0, opening))))
	issue.Unit = cents
	euro, _ := issueCard(t, issue, rand.Reader)
	done(t, euro, purse.Select, 4, 0, []byte(purse.CardAID))
	opening = done(t, d.sam, purse.InitPay, 0, 0, payRequest(10, 2))
	refused(t, d.sam, purse.WrongData, purse.Authorize, 0, 0, done(t, euro, purse.StartPay, 0, 0, opening))
}

func merchantID(t testing.TB) []byte {
	merchant := id(t, merchantNumber)
	return merchant[:]
}

// Somebody with MKP orders a card to take back a transaction with a higher number
// than the cancellation's own. A card that did would keep what it cannot read any
// more, and all that is on it with that.
func TestCancellationOfALaterTransaction(t *testing.T) {
	d := newDesk(t)
	d.load(t, 5000)
	r := &rogue{desk: d, key: d.key(t, d.keys.CardKey, cardNumber), tno: 100}
	order, session := r.begin(t, 10)
	mac := order.Sign(session)
	done(t, d.card, purse.Debit, 0, 0, append(order.Append(nil), mac[:]...))
	for _, tno := range []uint32{99, 100} {
		r.tno = tno // and begin adds 1
		again, session := r.begin(t, 10)
		cancel := purse.CancelOrder{Order: again, PaidTNo: 101, PaidSNo: 1}
		mac = cancel.Sign(session)
		refused(t, d.card, purse.WrongSequence, purse.CancelLast, 0, 0, append(cancel.Append(nil), mac[:]...))
	}
	d.card.Reset()
	done(t, d.card, purse.Select, 4, 0, []byte(purse.CardAID))
	if balance := d.data(t).Balance; balance != 4990 {
		t.Errorf("balance %d", balance)
	}
}

// A card in a file is put back as it was and uses its numbers again. The SAM
// cannot tell, so clearing takes the batch: its merchant is not to lose a day's
// payments by one card.
func TestCancellationsOfACardThatWasPutBack(t *testing.T) {
	for name, isLastProved := range map[string]bool{"all proved": true, "the last is void": false} {
		d := newDesk(t)
		d.load(t, 5000)
		copied := bytes.Clone(d.chip.state)
		for tno := uint32(1); tno <= 5; tno += 2 {
			d.chip.state = bytes.Clone(copied)
			d.card.Reset()
			d.selectBoth(t)
			d.pay(t, 10)
			order := d.orderCancel(t, tno)
			if tno < 5 || isLastProved {
				done(t, d.sam, purse.Commit, 0, 0, done(t, d.card, purse.CancelLast, 0, 0, order))
			} else {
				done(t, d.sam, purse.VoidPay, 0, 0, be(tno+1))
			}
		}
		batch := d.turnIn(t, purse.Position{})
		for i, entry := range batch.Entries {
			if want := uint32(i * (i % 2)); entry.TakenTNo != want {
				t.Errorf("%s: transaction %d takes back %d, want %d", name, entry.TNo(), entry.TakenTNo, want)
			}
		}
	}
}
