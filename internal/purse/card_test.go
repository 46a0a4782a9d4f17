package purse_test

import (
	"crypto/rand"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/pursetest"
)

// desk is a card and a SAM beside each other, with the memories of both.
type desk struct {
	keys       *purse.Keys
	card       *purse.Card
	sam        *purse.SAM
	chip, safe *chip // of the card and of the SAM
}

func newDesk(t testing.TB) *desk {
	t.Helper()
	d := &desk{keys: pursetest.Keys(t)}
	d.card, d.chip = issueCard(t, cardIssue(t), rand.Reader)
	d.sam, d.safe = issueSAM(t, samIssue(t), rand.Reader)
	d.selectBoth(t)
	return d
}

func (d *desk) selectBoth(t testing.TB) {
	t.Helper()
	done(t, d.card, purse.Select, 4, 0, []byte(purse.CardAID))
	done(t, d.sam, purse.Select, 4, 0, []byte(purse.SAMAID))
}

// data returns what is on the card.
func (d *desk) data(t testing.TB) purse.CardData {
	t.Helper()
	data, err := purse.ParseCardData(done(t, d.card, purse.GetData, 0, 0, nil))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// samData returns what the SAM says of itself.
func (d *desk) samData(t testing.TB) purse.SAMData {
	t.Helper()
	data, err := purse.ParseSAMData(done(t, d.sam, purse.GetData, 0, 0, nil))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (d *desk) key(t testing.TB, of func(byte, purse.ID) (*purse.Key, error), name string) *purse.Key {
	t.Helper()
	key, err := of(1, id(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func loadRequest(amount uint32) []byte {
	return purse.LoadRequest{Amount: amount, Unit: dollarCents, Time: 1, Terminal: purse.ID{9}}.Append(nil)
}

func payRequest(amount, time uint32) []byte {
	return be(amount, unit(dollarCents), be(time))
}

func be(number uint32, more ...[]byte) []byte {
	return join(append([][]byte{{byte(number >> 24), byte(number >> 16), byte(number >> 8), byte(number)}}, more...)...)
}

func unit(u purse.Unit) []byte {
	return []byte{byte(u.Currency >> 8), byte(u.Currency), byte(u.Exponent)}
}

// credit returns the data of CREDIT for a load that was begun.
func (d *desk) credit(t testing.TB, request, answer []byte, reference purse.ID) []byte {
	t.Helper()
	load, err := purse.ParseLoad(request, answer)
	if err != nil {
		t.Fatal(err)
	}
	key := d.key(t, d.keys.LoadKey, cardNumber)
	if !load.IsSigned(key) {
		t.Fatal("MACL1 is wrong")
	}
	return load.Credit(key, reference)
}

func (d *desk) load(t testing.TB, amount uint32) {
	t.Helper()
	done(t, d.card, purse.Verify, 0, 0x80, []byte("4711"))
	request := loadRequest(amount)
	answer := done(t, d.card, purse.InitLoad, 0, 0, request)
	done(t, d.card, purse.Credit, 0, 0, d.credit(t, request, answer, purse.ID{1}))
}

// order does INIT, START and AUTHORIZE, and returns the data of DEBIT.
func (d *desk) order(t testing.TB, amount uint32) []byte {
	t.Helper()
	opening := done(t, d.sam, purse.InitPay, 0, 0, payRequest(amount, 2))
	return done(t, d.sam, purse.Authorize, 0, 0, done(t, d.card, purse.StartPay, 0, 0, opening))
}

// pay makes a payment and returns what the card answered and the record.
func (d *desk) pay(t testing.TB, amount uint32) (paid, record []byte) {
	t.Helper()
	paid = done(t, d.card, purse.Debit, 0, 0, d.order(t, amount))
	return paid, done(t, d.sam, purse.Commit, 0, 0, paid)
}

// turnIn closes the batch, has it checked and acknowledges it.
func (d *desk) turnIn(t testing.TB, previous purse.Position) purse.Batch {
	t.Helper()
	total := done(t, d.sam, purse.CloseBatch, 0, 0, nil)
	parsed, err := purse.ParseTotal(total)
	if err != nil {
		t.Fatal(err)
	}
	var records []byte
	for tno := parsed.First; tno <= parsed.Last; tno++ {
		records = append(records, done(t, d.sam, purse.GetRecord, 0, 0, be(tno))...)
	}
	batch, refusals, err := purse.CheckBatch(d.keys, 1, previous, total, records)
	if err != nil || len(refusals) > 0 {
		t.Fatalf("%v (%v)", refusals, err)
	}
	done(t, d.sam, purse.AckBatch, 0, 0, batch.Ack[:])
	return batch
}

func TestPayments(t *testing.T) {
	d := newDesk(t)
	d.load(t, 5000)
	for _, amount := range []uint32{123, 77, 1} {
		d.pay(t, amount)
	}
	if data := d.data(t); data.Balance != 4799 || data.SNo != 3 || data.LNo != 1 {
		t.Errorf("card %+v", data)
	}
	if data := d.samData(t); data.Sum != 201 || data.Payments != 3 || data.TNo != 3 || data.State != purse.SAMIdle {
		t.Errorf("SAM %+v", data)
	}
	batch := d.turnIn(t, purse.Position{})
	if len(batch.Entries) != 3 || batch.Entries[2].Balance != 4799 {
		t.Errorf("batch %+v", batch)
	}
	d.pay(t, 99)
	if batch := d.turnIn(t, purse.Position{Batch: 1, TNo: 3}); batch.Total.Sum != 99 {
		t.Errorf("batch %+v", batch)
	}
}

func TestPINBlocksAfterThreeTries(t *testing.T) {
	d := newDesk(t)
	refused(t, d.card, purse.PINWanted, purse.InitLoad, 0, 0, loadRequest(1))
	refused(t, d.card, 0x63C2, purse.Verify, 0, 0x80, []byte("4712"))
	refused(t, d.card, 0x63C2, purse.Verify, 0, 0x80, nil)
	done(t, d.card, purse.Verify, 0, 0x80, []byte("4711"))
	refused(t, d.card, 0x63C3, purse.Verify, 0, 0x80, nil)
	refused(t, d.card, 0x63C2, purse.Verify, 0, 0x80, []byte("47110"))
	refused(t, d.card, purse.PINWanted, purse.InitLoad, 0, 0, loadRequest(1))
	refused(t, d.card, 0x63C1, purse.Verify, 0, 0x80, []byte("0000"))
	refused(t, d.card, purse.PINBlocked, purse.Verify, 0, 0x80, []byte("1234"))
	refused(t, d.card, purse.PINBlocked, purse.Verify, 0, 0x80, []byte("4711"))
	refused(t, d.card, purse.PINBlocked, purse.InitLoad, 0, 0, loadRequest(1))
	if data := d.data(t); data.Tries != 0 {
		t.Errorf("%d tries are left", data.Tries)
	}
}

// Whoever takes the power away while a PIN is compared gains no try.
func TestPINTryIsCountedBeforeTheComparison(t *testing.T) {
	d := newDesk(t)
	for _, at := range []struct {
		in    int
		fault fault
		pin   string
		want  byte
	}{{1, failBefore, "0000", 3}, {1, failAfter, "0000", 2}, {2, failBefore, "4711", 1}, {2, failAfter, "4711", 3}} {
		d.chip.in, d.chip.fault = at.in, at.fault
		if _, err := d.card.Transmit(purse.Command(purse.Verify, 0, 0x80, []byte(at.pin))); err == nil {
			t.Errorf("%+v: an answer", at)
		}
		done(t, d.card, purse.Select, 4, 0, []byte(purse.CardAID))
		if data := d.data(t); data.Tries != at.want {
			t.Errorf("%+v: %d tries are left", at, data.Tries)
		}
		refused(t, d.card, purse.PINWanted, purse.InitLoad, 0, 0, loadRequest(1))
	}
}

// A payment of five commands, beside as many records as a day has.
func BenchmarkPayment(b *testing.B) {
	d := newDesk(b)
	d.load(b, 20_000)
	for tno := uint32(1); tno <= 1000; tno++ {
		done(b, d.sam, purse.InitPay, 0, 0, payRequest(1, 1))
		done(b, d.sam, purse.VoidPay, 0, 0, be(tno))
	}
	tno := uint32(1000)
	for b.Loop() {
		if tno++; tno == 2000 {
			b.StopTimer()
			d.turnIn(b, purse.Position{Batch: d.samData(b).Batch - 1, TNo: d.samData(b).First - 1})
			tno = 0
			b.StartTimer()
		}
		if d.data(b).Balance == 0 {
			b.StopTimer()
			d.load(b, 20_000)
			b.StartTimer()
		}
		d.pay(b, 1)
	}
}
