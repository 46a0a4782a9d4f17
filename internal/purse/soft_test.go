package purse_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/pursetest"
)

var cents = purse.Unit{Currency: 0x0978, Exponent: -2}

func softCard(t testing.TB, keys *purse.Keys, balance uint32) *purse.SoftCard {
	t.Helper()
	card, err := purse.NewSoftCard(keys, 1, id(t, "C100000000000001"), purse.ID{}, cents)
	if err != nil {
		t.Fatal(err)
	}
	card.Balance = balance
	return card
}

// Whatever byte of a batch is altered, and whatever part is left out or comes
// twice, clearing refuses it.
func TestNoAlteredBatchIsTaken(t *testing.T) {
	keys := pursetest.Keys(t)
	card := softCard(t, keys, 10_000)
	sam, err := purse.NewSoftSAM(keys, 1, id(t, "4D00000000000009"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, _, err := sam.Pay(card, 100, 1); err != nil {
			t.Fatal(err)
		}
		sam.Next()
		sam.Void(card.ID, card.SNo+1, 100, 1, purse.ByCard)
	}
	total, records := sam.Close()
	taken := func(total, records []byte) bool {
		_, refusals, err := purse.CheckBatch(keys, 1, purse.Position{}, total, records)
		return err == nil && len(refusals) == 0
	}
	if !taken(total, records) {
		t.Fatal("the batch itself is refused")
	}
	for i := range total {
		altered := bytes.Clone(total)
		altered[i] ^= 1 << (i % 8)
		if taken(altered, records) {
			t.Errorf("taken with byte %d of its total altered", i)
		}
	}
	for i := range records {
		altered := bytes.Clone(records)
		altered[i] ^= 1 << (i % 8)
		if taken(total, altered) || taken(total, records[:i]) {
			t.Errorf("taken with byte %d of its records altered, or without what is from there on", i)
		}
	}
	if taken(total, append(bytes.Clone(records), records...)) {
		t.Error("taken with its records twice")
	}
}

// A merchant with every key of a SAM cannot make a payment.
func TestKeysOfASAMForgeNoProof(t *testing.T) {
	keys := pursetest.Keys(t)
	stolen := &purse.Keys{}
	for _, name := range []string{purse.LoadMaster, purse.ClearingMaster} {
		if err := stolen.Add(name, 1, bytes.Repeat([]byte{0x44}, 32)); err != nil {
			t.Fatal(err)
		}
	}
	card, err := purse.NewSoftCard(stolen, 1, id(t, "C100000000000001"), purse.ID{}, cents)
	if err != nil {
		t.Fatal(err)
	}
	card.Balance = 100
	sam, err := purse.NewSoftSAM(keys, 1, id(t, "4D00000000000009"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := sam.Pay(card, 100, 1); err != nil {
		t.Fatal(err)
	}
	total, records := sam.Close()
	_, refusals, err := purse.CheckBatch(keys, 1, purse.Position{}, total, records)
	if err != nil || len(refusals) != 1 || refusals[0].Reason != purse.WrongProof || refusals[0].Record != 1 {
		t.Errorf("got %v (%v)", refusals, err)
	}
}

func TestSoftCardLoads(t *testing.T) {
	keys := pursetest.Keys(t)
	card := softCard(t, keys, 0)
	key, err := keys.LoadKey(1, card.ID)
	if err != nil {
		t.Fatal(err)
	}
	request := purse.LoadRequest{Amount: 500, Unit: cents, Time: 1}
	load := purse.Load{Request: request, Answer: card.InitLoad(request, purse.Random{1})}
	credit := load.Credit(key, purse.ID{7})
	if _, err := card.Credit(append(bytes.Clone(credit[:31]), credit[31]^1)); err == nil {
		t.Error("a forged MACL2 loads the card")
	}
	if _, err := card.Credit(credit); err == nil {
		t.Error("a second try loads the card")
	}
	load.Answer = card.InitLoad(request, purse.Random{2})
	credit = load.Credit(key, purse.ID{8})
	card.LoadStatus(purse.Random{3})
	if _, err := card.Credit(credit); err == nil {
		t.Error("what LOAD STATUS said did not take place takes place later")
	}
	load.Answer = card.InitLoad(request, purse.Random{4})
	if _, err := card.Credit(load.Credit(key, purse.ID{9})); err != nil || card.Balance != 500 || card.LNo != 1 {
		t.Errorf("balance %d, load %d (%v)", card.Balance, card.LNo, err)
	}
	status := card.LoadStatus(purse.Random{5})
	if !status.IsSigned(key, purse.Random{5}) || status.IsSigned(key, purse.Random{6}) || status.Reference != (purse.ID{9}) || status.LNo != 1 {
		t.Errorf("got %+v", status)
	}
}

func TestSoftSAMKeepsItsOrder(t *testing.T) {
	keys := pursetest.Keys(t)
	sam, err := purse.NewSoftSAM(keys, 1, id(t, "4D00000000000009"))
	if err != nil {
		t.Fatal(err)
	}
	if total, _ := sam.Close(); total != nil {
		t.Error("a batch without a record is closed")
	}
	card := softCard(t, keys, 1000)
	if _, _, err := sam.Pay(card, 1001, 1); err == nil || sam.TNo != 0 {
		t.Error("a card pays more than it has")
	}
	if _, _, err := sam.Pay(card, 10, 1); err != nil {
		t.Fatal(err)
	}
	first, records := sam.Close()
	if again, _ := sam.Close(); !bytes.Equal(first, again) {
		t.Error("closed again it is another batch")
	}
	if _, _, err := sam.Pay(card, 10, 1); err == nil {
		t.Error("a payment after the batch was closed")
	}
	batch, refusals, err := purse.CheckBatch(keys, 1, purse.Position{}, first, records)
	if err != nil || len(refusals) > 0 {
		t.Fatalf("%v (%v)", refusals, err)
	}
	if sam.Acknowledge(purse.MAC{}) == nil {
		t.Error("anybody's acknowledgement is taken")
	}
	if err := sam.Acknowledge(batch.Ack); err != nil {
		t.Error(err)
	}
	if _, _, err := sam.Pay(card, 10, 1); err != nil {
		t.Fatal(err)
	}
	total, records := sam.Close()
	if _, refusals, err := purse.CheckBatch(keys, 1, purse.Position{Batch: 1, TNo: 1}, total, records); err != nil || len(refusals) > 0 {
		t.Errorf("%v (%v)", refusals, err)
	}
}

// Records and totals are their bytes: whatever is read is written the same.
func FuzzRecord(f *testing.F) {
	for _, v := range readVectors(f) {
		if v.Input.Operation == "batch" && len(v.Input.Records) >= purse.PaymentLength {
			f.Add([]byte(v.Input.Records[:purse.PaymentLength]))
			f.Add([]byte(v.Input.Records[len(v.Input.Records)-purse.VoidLength:]))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		record, err := purse.ParseRecord(text)
		if err == nil && !bytes.Equal(record.Append(nil), text) {
			t.Errorf("%x is written as %x", text, record.Append(nil))
		}
	})
}

func FuzzLoad(f *testing.F) {
	for _, v := range readVectors(f) {
		if v.Input.Operation == "load" {
			f.Add([]byte(v.Input.Request), []byte(v.Input.Answer))
		}
	}
	f.Fuzz(func(t *testing.T, request, answer []byte) {
		load, err := purse.ParseLoad(request, answer)
		if err == nil && (!bytes.Equal(load.Request.Append(nil), request) || !bytes.Equal(load.Answer.Append(nil), answer)) {
			t.Errorf("%x %x is written as %+v", request, answer, load)
		}
		if receipt, err := purse.ParseReceipt(answer); err == nil && !bytes.Equal(receipt.Append(nil), answer) {
			t.Errorf("receipt %x is written as %x", answer, receipt.Append(nil))
		}
		if status, err := purse.ParseStatus(answer); err == nil && !bytes.Equal(status.Append(nil), answer) {
			t.Errorf("status %x is written as %x", answer, status.Append(nil))
		}
	})
}

func FuzzBatch(f *testing.F) {
	keys := pursetest.Keys(f)
	for _, v := range readVectors(f) {
		if v.Input.Operation == "batch" {
			f.Add([]byte(v.Input.Total), []byte(v.Input.Records))
		}
	}
	f.Fuzz(func(t *testing.T, total, records []byte) {
		batch, refusals, err := purse.CheckBatch(keys, 1, purse.Position{}, total, records)
		if err != nil || (len(refusals) == 0) == (len(batch.Entries) == 0) {
			t.Fatalf("%d entries and %d refusals (%v)", len(batch.Entries), len(refusals), err)
		}
		var again []byte
		for _, entry := range batch.Entries {
			again = entry.Append(again)
		}
		if len(refusals) == 0 && (!bytes.Equal(again, records) || !bytes.Equal(batch.Total.Append(nil), total)) {
			t.Errorf("%x %x is taken and written as %x", total, records, again)
		}
	})
}

func BenchmarkCheckBatch(b *testing.B) {
	keys := pursetest.Keys(b)
	sam, err := purse.NewSoftSAM(keys, 1, id(b, "4D00000000000009"))
	if err != nil {
		b.Fatal(err)
	}
	card := softCard(b, keys, 1<<31)
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		if _, _, err := sam.Pay(card, 1+random.Uint32N(1000), 1); err != nil {
			b.Fatal(err)
		}
	}
	total, records := sam.Close()
	for b.Loop() {
		if _, refusals, err := purse.CheckBatch(keys, 1, purse.Position{}, total, records); err != nil || len(refusals) > 0 {
			b.Fatal(refusals, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/record")
}
