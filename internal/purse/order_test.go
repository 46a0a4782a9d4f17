package purse_test

import (
	"bytes"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
)

// DEBIT and CREDIT have one try in the session that was begun for them, and what
// asks how things stand ends it.
func TestSessions(t *testing.T) {
	recover := purse.Command(purse.Recover, 0, 0, join(merchantID(t), be(99, be(99)), make([]byte, 16)))
	status := purse.Command(purse.LoadStatus, 0, 0, make([]byte, 16))
	load := purse.Command(purse.InitLoad, 0, 0, loadRequest(1))
	start := purse.Command(purse.StartPay, 0, 0, purse.Opening{TNo: 77, KeyVersion: 1}.Append(nil))
	foreign := purse.Command(purse.Select, 4, 0, []byte("somebody else"))
	again := purse.Command(purse.Select, 4, 0, []byte(purse.CardAID))
	short := purse.Command(purse.Debit, 0, 0, []byte{1})
	forged := purse.Command(purse.Debit, 0, 0, make([]byte, 51))
	cancel := purse.Command(purse.CancelLast, 0, 0, make([]byte, 59))
	credit := purse.Command(purse.Credit, 0, 0, make([]byte, 32))
	script := purse.Command(purse.Script, 1, 0, make([]byte, 20))
	data := purse.Command(purse.GetData, 0, 0, nil)
	verify := purse.Command(purse.Verify, 0, 0x80, []byte("4711"))
	unknown := []byte{0x80, 0xEE, 0, 0, 0}
	for name, c := range map[string]struct {
		between  []byte
		goesOn   bool // the payment
		creditOn bool // the load
	}{
		"RECOVER": {recover, false, false}, "LOAD STATUS": {status, false, false}, "INIT LOAD": {load, false, false},
		"START": {start, false, false}, "a foreign SELECT": {foreign, false, false}, "SELECT": {again, false, false},
		"a short DEBIT": {short, false, false}, "a forged DEBIT": {forged, false, false}, "CANCEL LAST": {cancel, false, false},
		"CREDIT": {credit, false, false}, "SCRIPT": {script, false, false},
		"GET DATA": {data, true, true}, "VERIFY": {verify, true, true}, "an unknown command": {unknown, true, true},
	} {
		d := newDesk(t)
		d.load(t, 1000)
		order := d.order(t, 10)
		send(t, d.card, c.between)
		_, got := send(t, d.card, purse.Command(purse.Debit, 0, 0, order))
		if want := map[bool]purse.StatusWord{true: purse.Done, false: purse.OutOfOrder}[c.goesOn]; name != "START" && got != want {
			t.Errorf("DEBIT after %s: %v", name, got)
		} else if name == "START" && got != purse.WrongMAC {
			t.Errorf("DEBIT in another session: %v", got)
		}
		done(t, d.card, purse.Verify, 0, 0x80, []byte("4711"))
		request := loadRequest(7)
		data := d.credit(t, request, done(t, d.card, purse.InitLoad, 0, 0, request), purse.ID{2})
		send(t, d.card, c.between)
		_, got = send(t, d.card, purse.Command(purse.Credit, 0, 0, data))
		if want := map[bool]purse.StatusWord{true: purse.Done, false: purse.OutOfOrder}[c.creditOn]; name != "INIT LOAD" && got != want {
			t.Errorf("CREDIT after %s: %v", name, got)
		} else if name == "INIT LOAD" && got != purse.OutOfOrder && got != purse.WrongMAC {
			t.Errorf("CREDIT in another session: %v", got)
		}
		if _, got = send(t, d.card, purse.Command(purse.Debit, 0, 0, order)); got != purse.OutOfOrder {
			t.Errorf("a second DEBIT: %v", got)
		}
		if _, got = send(t, d.card, purse.Command(purse.Credit, 0, 0, data)); got != purse.OutOfOrder {
			t.Errorf("a second CREDIT: %v", got)
		}
	}
}

// After a reset there is no PIN and no session, and nothing is selected.
func TestReset(t *testing.T) {
	d := newDesk(t)
	d.load(t, 1000)
	order := d.order(t, 10)
	d.card.Reset()
	refused(t, d.card, purse.OutOfOrder, purse.GetData, 0, 0, nil)
	done(t, d.card, purse.Select, 4, 0, []byte(purse.CardAID))
	refused(t, d.card, purse.OutOfOrder, purse.Debit, 0, 0, order)
	refused(t, d.card, purse.PINWanted, purse.InitLoad, 0, 0, loadRequest(1))
	// The SAM knows its open transaction.
	d.sam.Reset()
	refused(t, d.sam, purse.OutOfOrder, purse.GetData, 0, 0, nil)
	d.selectBoth(t)
	if data := d.samData(t); data.State != purse.SAMOrdered || data.Open.Amount != 10 || data.Open.SNo != 1 || data.Open.Card != id(t, cardNumber) {
		t.Errorf("%+v", data)
	}
}

// What is forged in an order, a load or an answer is refused, and moves nothing.
func TestForgeries(t *testing.T) {
	d := newDesk(t)
	d.load(t, 1000)
	before := d.data(t)
	tno := uint32(0)
	for at := range 51 {
		tno++
		order := d.order(t, 10)
		order[at] ^= 1
		refused(t, d.card, purse.WrongMAC, purse.Debit, 0, 0, order)
		done(t, d.sam, purse.VoidPay, 0, 0, be(tno))
	}
	for at := range 32 {
		request := loadRequest(10)
		credit := d.credit(t, request, done(t, d.card, purse.InitLoad, 0, 0, request), purse.ID{5})
		credit[at] ^= 1
		// LNo and the amount are not under MACL2 as they stand there, but as the card
		// knows them.
		if _, status := send(t, d.card, purse.Command(purse.Credit, 0, 0, credit)); status == purse.Done {
			t.Errorf("a CREDIT with byte %d altered is taken", at)
		}
	}
	if after := d.data(t); after != before {
		t.Errorf("%+v, before %+v", after, before)
	}
	opening := done(t, d.sam, purse.InitPay, 0, 0, payRequest(10, 2))
	tno++
	start := done(t, d.card, purse.StartPay, 0, 0, opening)
	for at := range start {
		altered := bytes.Clone(start)
		altered[at] ^= 1
		if _, status := send(t, d.sam, purse.Command(purse.Authorize, 0, 0, altered)); status != purse.WrongMAC && status != purse.NoData {
			t.Errorf("START's answer with byte %d altered: %v", at, status)
		}
	}
	paid := done(t, d.card, purse.Debit, 0, 0, done(t, d.sam, purse.Authorize, 0, 0, start))
	for at := range paid {
		altered := bytes.Clone(paid)
		altered[at] ^= 1
		if _, status := send(t, d.sam, purse.Command(purse.Commit, 0, 0, altered)); status != purse.WrongMAC && status != purse.WrongData {
			t.Errorf("DEBIT's answer with byte %d altered: %v", at, status)
		}
	}
	done(t, d.sam, purse.Commit, 0, 0, paid)
	d.order(t, 10)
	tno++
	denied := done(t, d.card, purse.Recover, 0, 0, join(merchantID(t), be(tno, be(2)), make([]byte, 16)))
	for at := range denied {
		altered := bytes.Clone(denied)
		altered[at] ^= 1
		if _, status := send(t, d.sam, purse.Command(purse.VoidPay, 0, 0, join(be(tno), altered, make([]byte, 16)))); status != purse.WrongMAC && status != purse.WrongData {
			t.Errorf("RECOVER's answer with byte %d altered: %v", at, status)
		}
	}
	refused(t, d.sam, purse.WrongSequence, purse.VoidPay, 0, 0, be(tno+1))
	done(t, d.sam, purse.VoidPay, 0, 0, join(be(tno), denied, make([]byte, 16)))
	done(t, d.sam, purse.CloseBatch, 0, 0, nil)
	refused(t, d.sam, purse.WrongMAC, purse.AckBatch, 0, 0, make([]byte, 16))
}

// The SAM does each command in its state alone.
func TestStatesOfASAM(t *testing.T) {
	all := map[purse.Instruction][]byte{
		purse.InitPay: payRequest(1, 1), purse.InitCancel: be(1, be(1)), purse.Authorize: make([]byte, 56), purse.Commit: make([]byte, 85),
		purse.VoidPay: be(1), purse.CloseBatch: nil, purse.AckBatch: make([]byte, 16),
	}
	d := newDesk(t)
	d.load(t, 1000)
	outOfOrder := func(state purse.SAMState, but ...purse.Instruction) {
		t.Helper()
		if got := d.samData(t).State; got != state {
			t.Fatalf("state %d, want %d", got, state)
		}
		for instruction, data := range all {
			if !bytes.Contains(instructions(but), []byte{byte(instruction)}) {
				refused(t, d.sam, purse.OutOfOrder, instruction, 0, 0, data)
			}
		}
	}
	outOfOrder(purse.SAMIdle, purse.InitPay, purse.InitCancel)
	opening := done(t, d.sam, purse.InitPay, 0, 0, payRequest(1, 1))
	outOfOrder(purse.SAMBegun, purse.Authorize, purse.VoidPay)
	order := done(t, d.sam, purse.Authorize, 0, 0, done(t, d.card, purse.StartPay, 0, 0, opening))
	outOfOrder(purse.SAMOrdered, purse.Commit, purse.VoidPay)
	done(t, d.sam, purse.Commit, 0, 0, done(t, d.card, purse.Debit, 0, 0, order))
	outOfOrder(purse.SAMIdle, purse.InitPay, purse.InitCancel, purse.CloseBatch)
	total := done(t, d.sam, purse.CloseBatch, 0, 0, nil)
	outOfOrder(purse.SAMClosed, purse.CloseBatch, purse.AckBatch)
	if again := done(t, d.sam, purse.CloseBatch, 0, 0, nil); !bytes.Equal(again, total) {
		t.Errorf("closed again it is %X", again)
	}
	// A card of a key version that the SAM does not have, and one that is no card.
	d.turnIn(t, purse.Position{})
	opening = done(t, d.sam, purse.InitPay, 0, 0, payRequest(1, 1))
	start := done(t, d.card, purse.StartPay, 0, 0, opening)
	start[16] = 2
	refused(t, d.sam, purse.NoData, purse.Authorize, 0, 0, start)
	done(t, d.sam, purse.VoidPay, 0, 0, be(2))
	refused(t, d.sam, purse.NoRecord, purse.GetRecord, 0, 0, be(1))
	refused(t, d.sam, purse.NoRecord, purse.GetRecord, 0, 0, be(0))
	refused(t, d.sam, purse.NoRecord, purse.GetRecord, 0, 0, be(3))
	done(t, d.sam, purse.GetRecord, 0, 0, be(2))
}

func instructions(list []purse.Instruction) (all []byte) {
	for _, instruction := range list {
		all = append(all, byte(instruction))
	}
	return all
}

// Commands that make no sense are answered with a status, on both.
func TestHostileCommands(t *testing.T) {
	d := newDesk(t)
	fresh := newDesk(t)
	fresh.card.Reset()
	for _, c := range []struct {
		to      applet
		command []byte
		want    purse.StatusWord
	}{
		{d.card, nil, purse.WrongLength}, {d.card, []byte{0x80, 0xCA, 0}, purse.WrongLength},
		{d.card, []byte{0x80, 0xCA, 0, 0, 5, 1}, purse.WrongLength}, {d.card, []byte{0x80, 0x32, 0, 0, 0, 0, 29}, purse.WrongLength},
		{d.card, bytes.Repeat([]byte{0x80}, 70_000), purse.WrongLength}, {d.card, []byte{0xFF, 0xCA, 0, 0, 0}, purse.NoClass},
		{d.card, []byte{0x84, 0xCA, 0, 0, 0}, purse.NoClass}, {d.card, []byte{0x00, 0xCA, 0, 0, 0}, purse.NoClass},
		{d.card, []byte{0x80, 0xA4, 4, 0, 0}, purse.NoClass}, {d.card, []byte{0x80, 0x20, 0, 0x80}, purse.NoClass},
		{d.card, []byte{0x80, 0x99, 0, 0, 0}, purse.NoInstruction}, {d.card, []byte{0x80, 0x30, 0, 0, 0}, purse.NoInstruction},
		{d.card, purse.Command(purse.Select, 4, 0, nil), purse.NotFound}, {d.card, purse.Command(purse.Select, 0, 0, []byte{0x3F, 0}), purse.WrongData},
		{d.card, purse.Command(purse.Select, 4, 0, []byte(purse.SAMAID)), purse.NotFound},
		{d.card, purse.Command(purse.GetData, 2, 0, nil), purse.NoData}, {d.card, purse.Command(purse.GetData, 0, 1, nil), purse.NoData},
		{d.card, purse.Command(purse.GetData, 0, 0, []byte{1}), purse.WrongLength}, {d.card, purse.Command(purse.ReadRecord, 1, 0x0C, []byte{1}), purse.WrongLength},
		{d.card, purse.Command(purse.StartPay, 0, 0, make([]byte, 28)), purse.WrongLength}, {d.card, purse.Command(purse.StartPay, 0, 0, make([]byte, 29)), purse.WrongData},
		{d.card, purse.Command(purse.Recover, 0, 0, make([]byte, 31)), purse.WrongLength}, {d.card, purse.Command(purse.Recover, 0, 0, make([]byte, 32)), purse.WrongData},
		{d.card, purse.Command(purse.InitLoad, 0, 0, make([]byte, 18)), purse.WrongLength}, {d.card, purse.Command(purse.LoadStatus, 0, 0, nil), purse.WrongLength},
		{d.card, purse.Command(purse.Credit, 0, 0, nil), purse.WrongLength}, {d.card, purse.Command(purse.Credit, 0, 0, make([]byte, 32)), purse.OutOfOrder},
		{d.card, purse.Command(purse.CancelLast, 0, 0, nil), purse.WrongLength}, {d.card, purse.Command(purse.CancelLast, 0, 0, make([]byte, 59)), purse.OutOfOrder},
		{d.card, purse.Command(purse.Verify, 0, 0x80, []byte("471")), purse.WrongData}, {d.card, purse.Command(purse.Verify, 0, 0x80, []byte("471a")), purse.WrongData},
		{d.card, purse.Command(purse.Verify, 0, 0x81, []byte("4711")), purse.WrongData}, {d.card, purse.Command(purse.Verify, 0, 0x80, nil), 0x63C3},
		{fresh.card, purse.Command(purse.GetData, 0, 0, nil), purse.OutOfOrder},
		{d.sam, nil, purse.WrongLength}, {d.sam, []byte{0x90, 0xCA, 0, 0, 0}, purse.NoClass}, {d.sam, []byte{0, 0x30, 0, 0, 0}, purse.NoClass},
		{d.sam, []byte{0x80, 0x36, 0, 0, 0}, purse.NoInstruction}, {d.sam, purse.Command(purse.InitPay, 0, 0, nil), purse.WrongLength},
		{d.sam, purse.Command(purse.InitPay, 1, 0, payRequest(1, 1)), purse.WrongData}, {d.sam, purse.Command(purse.GetData, 1, 0, nil), purse.NoData},
		{d.sam, purse.Command(purse.Select, 4, 0, []byte(purse.CardAID)), purse.NotFound}, {d.sam, purse.Command(purse.Select, 4, 4, []byte(purse.SAMAID)), purse.WrongData},
		{d.sam, purse.Command(purse.VoidPay, 0, 0, make([]byte, 5)), purse.WrongLength}, {d.sam, purse.Command(purse.AckBatch, 0, 0, make([]byte, 15)), purse.WrongLength},
		{d.sam, purse.Command(purse.InitPay, 0, 0, be(1, unit(cents), be(1))), purse.WrongData},
	} {
		if _, status := send(t, c.to, c.command); status != c.want {
			t.Errorf("%.20X: %v, want %v", c.command, status, c.want)
		}
	}
	for range 45 { // as many as a program that looks for what it knows
		send(t, d.card, purse.Command(purse.Select, 4, 0, []byte{0xA0, 0, 0, 0, 0x63}))
	}
	d.load(t, 10)
	d.pay(t, 10)
}
