package purse_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	decoded, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

func id(t testing.TB, text string) purse.ID {
	t.Helper()
	parsed, err := purse.ParseID(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

type exchange struct{ command, answer []byte }

// traced makes the published trace: the fixed parts by hand, everything else by
// the package.
type traced struct {
	keys      *purse.Keys
	exchanges []exchange
}

// add writes a command of short form with its data, and an answer that ends
// with 9000.
func (tr *traced) add(head string, data, answer []byte) {
	command, err := hex.DecodeString(head)
	if err != nil {
		panic(err)
	}
	if len(data) > 0 {
		command = append(append(command, byte(len(data))), data...)
	}
	tr.exchanges = append(tr.exchanges, exchange{append(command, 0), append(bytes.Clone(answer), 0x90, 0)})
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func (tr *traced) run(t *testing.T) {
	const when = 0x65000000
	unit := purse.Unit{Currency: 0x0840, Exponent: -2}
	mid := id(t, "4D00000000000009")
	card, err := purse.NewSoftCard(tr.keys, 1, id(t, "C100000000000001"), id(t, "A000000000000007"), unit)
	if err != nil {
		t.Fatal(err)
	}
	sam, err := purse.NewSoftSAM(tr.keys, 1, mid)
	if err != nil {
		t.Fatal(err)
	}
	purseAID, samAID := unhex(t, "F05057505552534501"), unhex(t, "F0505753414D000001")
	tr.add("00A40400", purseAID, join(unhex(t, "6F0B8409"), purseAID))
	tr.add("00A40400", samAID, join(unhex(t, "6F0B8409"), samAID))
	tr.add("00200080", []byte("4711"), nil)
	tr.load(t, card, purse.LoadRequest{Amount: 5000, Unit: unit, Time: when, Terminal: mid})
	tr.pay(t, card, sam, 123, when+1)
	total, records := sam.Close()
	tr.add("80600000", nil, total)
	batch, refusals, err := purse.CheckBatch(tr.keys, 1, purse.Position{}, total, records)
	if err != nil || len(refusals) > 0 {
		t.Fatalf("%v %v", refusals, err)
	}
	tr.add("80620000", batch.Ack[:], nil)
	if err := sam.Acknowledge(batch.Ack); err != nil {
		t.Error(err)
	}
}

func (tr *traced) load(t *testing.T, card *purse.SoftCard, request purse.LoadRequest) {
	answer := card.InitLoad(request, purse.Random(unhex(t, "404142434445464748494A4B4C4D4E4F")))
	tr.add("80500000", request.Append(nil), answer.Append(nil))
	key, err := tr.keys.LoadKey(1, card.ID)
	if err != nil {
		t.Fatal(err)
	}
	load := purse.Load{Request: request, Answer: answer}
	reference := id(t, "0000000000000001")
	credit := load.Credit(key, reference)
	receipt, err := card.Credit(credit)
	if err != nil || !load.IsReceipt(key, reference, receipt) {
		t.Fatalf("%+v (%v)", receipt, err)
	}
	tr.add("80520000", credit, receipt.Append(nil))
}

func (tr *traced) pay(t *testing.T, card *purse.SoftCard, sam *purse.SoftSAM, amount, when uint32) {
	numbers := func(of ...uint32) (all []byte) {
		for _, n := range of {
			all = append(all, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
		}
		return all
	}
	key, err := tr.keys.CardKey(1, card.ID)
	if err != nil {
		t.Fatal(err)
	}
	samRandom := purse.Random(unhex(t, "808182838485868788898A8B8C8D8E8F"))
	start := purse.Start{Card: card.ID, Holder: card.Holder, KeyVersion: 1, SNo: card.SNo + 1, Unit: card.Unit,
		Random: purse.Random(unhex(t, "404142434445464748494A4B4C4D4E4F"))}
	order := purse.Order{Merchant: sam.Merchant, TNo: 1, SNo: start.SNo, Card: card.ID, Amount: amount, Unit: card.Unit, Time: when}
	begun := join(sam.Merchant[:], numbers(1), []byte{1}, samRandom[:])
	tr.add("80300000", join(numbers(amount), unhex(t, "0840FE"), numbers(when)), begun)
	mac1 := start.Identify(key, sam.Merchant, 1, samRandom)
	started := join(start.Append(nil), mac1[:])
	tr.add("80320000", begun, started)
	session := start.Session(key, sam.Merchant, 1, samRandom)
	mac2 := order.Sign(session)
	ordered := join(order.Append(nil), mac2[:])
	tr.add("80340000", started, ordered)
	proof, macz, err := card.Pay(sam.Merchant, sam.Next(), amount, when)
	if err != nil {
		t.Fatal(err)
	}
	mac3 := proof.Confirm(session, macz)
	paid := join(proof.Append(nil), macz[:], mac3[:])
	tr.add("80360000", ordered, paid)
	record, _, err := sam.Commit(proof, macz)
	if err != nil {
		t.Fatal(err)
	}
	tr.add("80380000", paid, record)
	random := purse.Random(bytes.Repeat([]byte{0xEE}, 16))
	tr.add("803C0000", join(sam.Merchant[:], numbers(1, 1), random[:]), join([]byte{1}, paid))
	denied := purse.Deny(key, sam.Merchant, 2, 2, random, card.SNo)
	tr.add("803C0000", join(sam.Merchant[:], numbers(2, 2), random[:]), join([]byte{0}, numbers(card.SNo), denied[:]))
}
