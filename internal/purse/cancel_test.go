package purse_test

import (
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

func merchantID(t testing.TB) []byte {
	merchant := id(t, merchantNumber)
	return merchant[:]
}
