package purse_test

import (
	"bytes"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/pursetest"
)

// run sends a script and returns the status.
func (d *desk) run(t testing.TB, scripts purse.Scripts, kind purse.ScriptKind, count uint32, command []byte) {
	t.Helper()
	for range 2 { // the answer may have been lost
		answer, status := send(t, d.card, command)
		if status != purse.Done || !scripts.IsDone(kind, count, answer) {
			t.Fatalf("script %d: %X %v", count, answer, status)
		}
	}
}

func TestScripts(t *testing.T) {
	d := newDesk(t)
	d.load(t, 5000)
	d.pay(t, 123)
	scripts := purse.Scripts{Key: d.key(t, d.keys.LoadKey, cardNumber), Card: id(t, cardNumber)}
	block := scripts.Block(1)
	d.run(t, scripts, purse.BlockCard, 1, block)
	opening := done(t, d.sam, purse.InitPay, 0, 0, payRequest(1, 2))
	refused(t, d.card, purse.CardBlocked, purse.StartPay, 0, 0, opening)
	refused(t, d.card, purse.CardBlocked, purse.InitLoad, 0, 0, loadRequest(1))
	for _, instruction := range []purse.Instruction{purse.Debit, purse.CancelLast, purse.Credit} {
		refused(t, d.card, purse.CardBlocked, instruction, 0, 0, nil)
	}
	done(t, d.card, purse.LoadStatus, 0, 0, make([]byte, 16))
	done(t, d.card, purse.Recover, 0, 0, join(merchantID(t), be(1, be(1)), make([]byte, 16)))
	done(t, d.card, purse.Verify, 0, 0x80, []byte("4711"))
	done(t, d.card, purse.ReadRecord, 1, 0x14, nil)
	if state, err := purse.ParseScriptState(done(t, d.card, purse.GetData, 1, 0, nil)); err != nil || !state.IsBlocked || state.Count != 1 {
		t.Errorf("%+v (%v)", state, err)
	}
	d.run(t, scripts, purse.UnblockCard, 2, scripts.Unblock(2))
	if _, status := send(t, d.card, block); status != purse.WrongSequence {
		t.Errorf("a script of long ago: %v", status)
	}
	if _, status := send(t, d.card, scripts.Block(2)); status != purse.WrongSequence {
		t.Errorf("another script of the same count: %v", status)
	}
	limits, err := scripts.Limits(7, dollarCents, 6000, 50)
	if err != nil {
		t.Fatal(err)
	}
	done(t, d.card, purse.Verify, 0, 0x80, []byte("4711"))
	d.run(t, scripts, purse.SetLimits, 7, limits)
	refused(t, d.card, purse.PINWanted, purse.InitLoad, 0, 0, loadRequest(1)) // not by what was entered before
	if data := d.data(t); data.MaxBalance != 6000 || data.MaxPayment != 50 {
		t.Errorf("%+v", data)
	}
	order := done(t, d.sam, purse.Authorize, 0, 0, done(t, d.card, purse.StartPay, 0, 0, opening))
	done(t, d.sam, purse.Commit, 0, 0, done(t, d.card, purse.Debit, 0, 0, order))
	refused(t, d.card, purse.OverTransaction, purse.Debit, 0, 0, d.order(t, 51))
	done(t, d.card, purse.Verify, 0, 0x80, []byte("4711"))
	refused(t, d.card, purse.OverBalance, purse.InitLoad, 0, 0, loadRequest(1125))
	done(t, d.card, purse.InitLoad, 0, 0, loadRequest(1124))
}

func TestScriptSetsPIN(t *testing.T) {
	d := newDesk(t)
	for range 3 {
		send(t, d.card, purse.Command(purse.Verify, 0, 0x80, []byte("0000")))
	}
	scripts := purse.Scripts{Key: d.key(t, d.keys.LoadKey, cardNumber), Card: id(t, cardNumber)}
	command, err := scripts.PIN(1, "87654321")
	if err != nil || bytes.Contains(command, []byte("8765")) {
		t.Fatalf("%X (%v)", command, err)
	}
	d.run(t, scripts, purse.SetPIN, 1, command)
	refused(t, d.card, 0x63C2, purse.Verify, 0, 0x80, []byte("4711"))
	done(t, d.card, purse.Verify, 0, 0x80, []byte("87654321"))
	done(t, d.card, purse.InitLoad, 0, 0, loadRequest(1))
}

func TestScriptsThatAreRefused(t *testing.T) {
	d := newDesk(t)
	scripts := purse.Scripts{Key: d.key(t, d.keys.LoadKey, cardNumber), Card: id(t, cardNumber)}
	limits, err := scripts.Limits(1, dollarCents, 6000, 50)
	if err != nil {
		t.Fatal(err)
	}
	for at := 5; at < len(limits)-1; at++ {
		altered := bytes.Clone(limits)
		altered[at] ^= 1
		if _, status := send(t, d.card, altered); status != purse.WrongMAC {
			t.Errorf("byte %d altered: %v", at, status)
		}
	}
	other := scripts
	other.Card = purse.ID{1}
	if _, status := send(t, d.card, other.Block(1)); status != purse.WrongMAC {
		t.Errorf("the script of another card: %v", status)
	}
	refused(t, d.card, purse.WrongData, purse.Script, 5, 0, make([]byte, 20))
	refused(t, d.card, purse.WrongLength, purse.Script, 1, 0, make([]byte, 21))
	for _, wrong := range [][2]uint32{{20_001, 1}, {100, 101}, {100, 0}} {
		if _, err := scripts.Limits(1, dollarCents, wrong[0], wrong[1]); err == nil {
			t.Errorf("limits %v are possible", wrong)
		}
	}
	for _, pin := range []string{"", "123", "123456789", "12a4"} {
		if _, err := scripts.PIN(1, pin); err == nil {
			t.Errorf("PIN of %d characters is possible", len(pin))
		}
	}
	before := d.data(t)
	if before.MaxBalance != 20_000 || before.MaxPayment != 10_000 {
		t.Errorf("%+v", before)
	}
}

// An issuer's MAC does not make sense of nonsense: the card is left as it is.
func TestScriptsThatMakeNoSense(t *testing.T) {
	d := newDesk(t)
	key := d.key(t, d.keys.LoadKey, cardNumber)
	card := id(t, cardNumber)
	pad := key.MAC([]byte{0xD3, 1}, card[:], be(1))
	pin := func(plain []byte) []byte {
		for i := range plain {
			plain[i] ^= pad[i]
		}
		return plain
	}
	long := func(length byte, digits string) []byte {
		return append(append([]byte{length}, digits...), bytes.Repeat([]byte{0xFF}, 15-len(digits))...)
	}
	before := d.data(t)
	for name, c := range map[string]struct {
		kind byte
		data []byte
	}{
		"more than 200.00": {3, be(20_001, be(1))}, "more at once": {3, be(100, be(101))}, "nothing at once": {3, be(100, be(0))},
		"a PIN of 3": {4, pin(long(3, "123"))}, "a PIN of 9": {4, pin(long(9, "123456789"))}, "a PIN of 200": {4, pin(long(200, "1234"))},
		"letters": {4, pin(long(4, "12a4"))}, "digits behind it": {4, pin(long(4, "12345"))}, "a PIN in the clear": {4, long(4, "1234")},
	} {
		mac := key.MAC([]byte{0xD1, 1}, card[:], []byte{c.kind}, be(1), c.data)
		if _, status := send(t, d.card, purse.Command(purse.Script, c.kind, 0, join(c.data, be(1), mac[:]))); status != purse.WrongData {
			t.Errorf("%s: %v", name, status)
		}
	}
	if after := d.data(t); after != before {
		t.Errorf("%+v, before %+v", after, before)
	}
	done(t, d.card, purse.Verify, 0, 0x80, []byte("4711"))
}

func TestInitialPIN(t *testing.T) {
	keys := pursetest.Keys(t)
	seen := make(map[string]bool)
	for number := range byte(20) {
		pin, err := keys.InitialPIN(1, purse.ID{0xC1, number})
		again, _ := keys.InitialPIN(1, purse.ID{0xC1, number})
		if err != nil || len(pin) != 4 || pin != again {
			t.Errorf("card %d: a PIN of %d digits (%v)", number, len(pin), err)
		}
		seen[pin] = true
	}
	if len(seen) < 18 {
		t.Errorf("%d PINs for 20 cards", len(seen))
	}
	issue := cardIssue(t)
	issue.PIN, _ = keys.InitialPIN(1, issue.Card)
	card, _ := issueCard(t, issue, &repeated{bytes: []byte{1}})
	done(t, card, purse.Select, 4, 0, []byte(purse.CardAID))
	done(t, card, purse.Verify, 0, 0x80, []byte(issue.PIN))
	if _, err := keys.InitialPIN(2, issue.Card); err == nil {
		t.Error("a PIN of a key version that is not there")
	}
}
