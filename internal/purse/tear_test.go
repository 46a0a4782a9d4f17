package purse_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
)

// wire is the way to an applet, on which the n-th command from now is torn: it
// does not arrive, or its answer does not. Either way the applet loses its power.
type wire struct {
	applet
	in       int
	isBefore bool
	count    int
}

func (w *wire) Transmit(command []byte) ([]byte, error) {
	w.count++
	w.in--
	if w.in != 0 {
		return w.applet.Transmit(command)
	}
	if !w.isBefore {
		if _, err := w.applet.Transmit(command); err != nil && !errors.Is(err, errFault) {
			return nil, err
		}
	}
	w.applet.Reset()
	return nil, errFault
}

// till is a desk that is used by somebody who goes on after a tear.
type till struct {
	*desk
	t         *testing.T
	wires     [2]*wire // to the card and to the SAM
	positions []purse.Position
	sums      map[uint32]uint64 // of batches that clearing has
}

func newTill(t *testing.T) *till {
	d := newDesk(t)
	return &till{
		desk: d, t: t, wires: [2]*wire{{applet: d.card}, {applet: d.sam}},
		positions: []purse.Position{{}}, sums: make(map[uint32]uint64),
	}
}

const (
	toCard = 0
	toSAM  = 1
)

// tell does one command that must be done, unless it is torn.
func (l *till) tell(to int, instruction purse.Instruction, p1, p2 byte, data []byte) ([]byte, error) {
	l.t.Helper()
	answer, err := l.wires[to].Transmit(purse.Command(instruction, p1, p2, data))
	if err != nil {
		return nil, err
	}
	data, status, err := purse.Answer(answer)
	if err != nil || status != purse.Done {
		l.t.Fatalf("%02X to %d: %v (%v)", byte(instruction), to, status, err)
	}
	return data, nil
}

// relay hands the answer of each command to the next one.
func (l *till) relay(data []byte, steps ...step) ([]byte, error) {
	for _, step := range steps {
		var err error
		if data, err = l.tell(step.to, step.instruction, 0, 0, data); err != nil {
			return nil, err
		}
	}
	return data, nil
}

type step struct {
	to          int
	instruction purse.Instruction
}

func (l *till) loadOnce() error {
	if _, err := l.tell(toCard, purse.Verify, 0, 0x80, []byte("4711")); err != nil {
		return err
	}
	request := loadRequest(5000)
	answer, err := l.tell(toCard, purse.InitLoad, 0, 0, request)
	if err != nil {
		return err
	}
	_, err = l.tell(toCard, purse.Credit, 0, 0, l.credit(l.t, request, answer, purse.ID{7}))
	return err
}

func (l *till) payOnce(amount uint32) error {
	_, err := l.relay(payRequest(amount, 2), step{toSAM, purse.InitPay}, step{toCard, purse.StartPay},
		step{toSAM, purse.Authorize}, step{toCard, purse.Debit}, step{toSAM, purse.Commit})
	return err
}

func (l *till) cancelOnce(tno uint32) error {
	_, err := l.relay(be(tno, be(3)), step{toSAM, purse.InitCancel}, step{toCard, purse.StartPay},
		step{toSAM, purse.Authorize}, step{toCard, purse.CancelLast}, step{toSAM, purse.Commit})
	return err
}

func (l *till) closeOnce() error {
	total, err := l.tell(toSAM, purse.CloseBatch, 0, 0, nil)
	if err != nil {
		return err
	}
	signed, err := purse.ParseTotal(total)
	if err != nil {
		return err
	}
	var records []byte
	for tno := signed.First; tno <= signed.Last; tno++ {
		record, err := l.tell(toSAM, purse.GetRecord, 0, 0, be(tno))
		if err != nil {
			return err
		}
		records = append(records, record...)
	}
	batch, refusals, err := purse.CheckBatch(l.keys, 1, l.positions[signed.Batch-1], total, records)
	if err != nil || len(refusals) > 0 {
		l.t.Fatalf("clearing refuses batch %d: %v (%v)", signed.Batch, refusals, err)
	}
	if int(signed.Batch) == len(l.positions) {
		l.positions = append(l.positions, purse.Position{Batch: signed.Batch, TNo: signed.Last})
	}
	l.sums[signed.Batch] = signed.Sum
	_, err = l.tell(toSAM, purse.AckBatch, 0, 0, batch.Ack[:])
	return err
}

// day is a load, payments, one of which is taken back, and two batches.
func (l *till) day() error {
	for _, do := range []func() error{
		l.loadOnce, func() error { return l.payOnce(123) }, func() error { return l.payOnce(77) },
		func() error { return l.cancelOnce(2) }, func() error { return l.payOnce(9) }, l.closeOnce,
		func() error { return l.payOnce(4) }, l.closeOnce,
	} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// resolve finds out what became of everything, as a terminal does.
func (l *till) resolve() error {
	if _, err := l.tell(toCard, purse.Select, 4, 0, []byte(purse.CardAID)); err != nil {
		return err
	}
	if _, err := l.tell(toSAM, purse.Select, 4, 0, []byte(purse.SAMAID)); err != nil {
		return err
	}
	text, err := l.tell(toSAM, purse.GetData, 0, 0, nil)
	if err != nil {
		return err
	}
	data, err := purse.ParseSAMData(text)
	if err != nil {
		return err
	}
	switch data.State {
	case purse.SAMBegun:
		_, err = l.tell(toSAM, purse.VoidPay, 0, 0, be(data.TNo))
	case purse.SAMOrdered:
		random := bytes.Repeat([]byte{9}, 16)
		var answer []byte
		if answer, err = l.tell(toCard, purse.Recover, 0, 0, join(data.Merchant[:], be(data.TNo, be(data.Open.SNo)), random)); err != nil {
			return err
		}
		if answer[0] == 1 {
			_, err = l.tell(toSAM, purse.Commit, 0, 0, answer[1:])
		} else {
			_, err = l.tell(toSAM, purse.VoidPay, 0, 0, join(be(data.TNo), answer, random))
		}
	case purse.SAMClosed:
		err = l.closeOnce()
	}
	return err
}

// settle goes on with one more payment, turns everything in, and compares what
// was loaded with what is left and what was taken.
func (l *till) settle() {
	t := l.t
	t.Helper()
	status, err := purse.ParseStatus(done(t, l.card, purse.LoadStatus, 0, 0, make([]byte, 16)))
	if err != nil || !status.IsSigned(l.key(t, l.keys.LoadKey, cardNumber), purse.Random{}) {
		t.Fatalf("load status %+v (%v)", status, err)
	}
	loads := uint64(status.LNo)
	for _, do := range []func() error{l.loadOnce, func() error { return l.payOnce(1000) }, l.closeOnce} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	taken := uint64(0)
	for _, sum := range l.sums {
		taken += sum
	}
	if balance := uint64(l.data(t).Balance); balance+taken != 5000*(loads+1) {
		t.Fatalf("%d are left and %d were taken of %d", balance, taken, 5000*(loads+1))
	}
}

// Wherever a card or a SAM is torn, also while somebody finds out what became of
// the first tear: nothing is lost, nothing is there twice, and it goes on.
func TestTornAtEveryCommand(t *testing.T) {
	whole := newTill(t)
	if err := whole.day(); err != nil {
		t.Fatal(err)
	}
	whole.settle()
	for to := range 2 {
		for first := 1; first <= whole.wires[to].count; first++ {
			for _, isBefore := range []bool{true, false} {
				for again := range 4 { // 0: not torn again
					l := newTill(t)
					l.wires[to].in, l.wires[to].isBefore = first, isBefore
					if err := l.day(); err == nil {
						continue // the till was closed before
					} else if !errors.Is(err, errFault) {
						t.Fatalf("torn at %d to %d: %v", first, to, err)
					}
					l.wires[to].in, l.wires[to].isBefore = again, !isBefore
					for tries := 0; l.resolve() != nil; tries++ {
						if tries > 3 {
							t.Fatalf("torn at %d to %d and at %d: not resolved", first, to, again)
						}
					}
					l.wires[to].in = 0
					l.settle()
				}
			}
		}
	}
}

// The same where the memory fails within a command: before it stored, after, or
// with a part of it. A state of two halves is never taken for one.
func TestMemoryFailsAtEveryStore(t *testing.T) {
	whole := newTill(t)
	if err := whole.day(); err != nil {
		t.Fatal(err)
	}
	for to, stores := range []int{whole.chip.stores, whole.safe.stores} {
		for first := 1; first < stores; first++ { // the first of all issued it
			for _, fault := range []fault{failBefore, failAfter, failTorn} {
				l := newTill(t)
				memory := []*chip{l.chip, l.safe}[to]
				memory.in, memory.fault = first, fault
				good := bytes.Clone(memory.state)
				memory.before = func(state []byte) { good = bytes.Clone(state) }
				err := l.day()
				if !errors.Is(err, errFault) {
					t.Fatalf("store %d of %d: %v", first, to, err)
				}
				if fault == failTorn {
					l.checkDamaged(to, memory)
					memory.state = good // as it is where there are two copies
				}
				if err := l.resolve(); err != nil {
					t.Fatal(err)
				}
				l.settle()
			}
		}
	}
}

// checkDamaged wants an error of a card or a SAM whose state is damaged, unless
// the halves happen to make one of the states.
func (l *till) checkDamaged(to int, memory *chip) {
	l.t.Helper()
	var err error
	if to == toCard {
		_, err = purse.OpenCard(memory, &repeated{bytes: []byte{1}})
	} else {
		_, err = purse.OpenSAM(memory, &repeated{bytes: []byte{1}})
	}
	if err == nil {
		l.t.Error("a state of two halves is taken for one")
	}
	if answer, err := l.wires[to].Transmit(purse.Command(purse.GetData, 0, 0, nil)); err == nil {
		l.t.Errorf("with a damaged state it answers %X", answer)
	}
}

// What was said once is worth nothing a second time: neither in the same session
// nor in another one.
func TestReplayMovesNothing(t *testing.T) {
	d := newDesk(t)
	var toCard, toSAM [][]byte
	note := func(to *[][]byte, instruction purse.Instruction, data []byte) []byte {
		command := purse.Command(instruction, 0, 0, data)
		*to = append(*to, command)
		return command
	}
	tell := func(to applet, noted *[][]byte, instruction purse.Instruction, data []byte) []byte {
		answer, status := send(t, to, note(noted, instruction, data))
		if status != purse.Done {
			t.Fatalf("%02X: %v", byte(instruction), status)
		}
		return answer
	}
	done(t, d.card, purse.Verify, 0, 0x80, []byte("4711"))
	request := loadRequest(5000)
	tell(d.card, &toCard, purse.Credit, d.credit(t, request, tell(d.card, &toCard, purse.InitLoad, request), purse.ID{1}))
	for _, amount := range []uint32{123, 77} {
		order := tell(d.sam, &toSAM, purse.Authorize, tell(d.card, &toCard, purse.StartPay, tell(d.sam, &toSAM, purse.InitPay, payRequest(amount, 2))))
		tell(d.sam, &toSAM, purse.Commit, tell(d.card, &toCard, purse.Debit, order))
	}
	order := tell(d.sam, &toSAM, purse.Authorize, tell(d.card, &toCard, purse.StartPay, tell(d.sam, &toSAM, purse.InitCancel, be(2, be(3)))))
	tell(d.sam, &toSAM, purse.Commit, tell(d.card, &toCard, purse.CancelLast, order))
	want, wantSAM := d.data(t), d.samData(t)
	for round := range 3 {
		for _, opened := range append([][]byte{nil}, toCard...) {
			for _, command := range toCard {
				if opened != nil {
					send(t, d.card, opened)
				}
				send(t, d.card, command)
			}
		}
		if got := d.data(t); got != want {
			t.Fatalf("round %d: %+v, want %+v", round, got, want)
		}
		for _, command := range toSAM {
			// INIT is no replay: anybody may begin a transaction.
			if command[1] != byte(purse.InitPay) && command[1] != byte(purse.InitCancel) {
				send(t, d.sam, command)
			}
		}
		if got := d.samData(t); got != wantSAM {
			t.Fatalf("round %d: %+v, want %+v", round, got, wantSAM)
		}
		d.card.Reset()
		d.sam.Reset()
		d.selectBoth(t)
		done(t, d.card, purse.Verify, 0, 0x80, []byte("4711"))
	}
	// In the next transaction the old answers are worth nothing either.
	done(t, d.sam, purse.InitPay, 0, 0, payRequest(9, 2))
	for _, command := range toSAM {
		if answer, status := send(t, d.sam, command); status == purse.Done {
			t.Errorf("%X is answered %X", command, answer)
		}
	}
}

// A SAM's keys make the card's part of a payment, but for MACZ: the SAM cannot
// tell, and clearing refuses it.
func TestWhoHasMKPMakesNoProof(t *testing.T) {
	d := newDesk(t)
	opening, err := purse.ParseOpening(done(t, d.sam, purse.InitPay, 0, 0, payRequest(100, 2)))
	if err != nil {
		t.Fatal(err)
	}
	stolen := &purse.Keys{}
	if err := stolen.Add(purse.PurseMaster, 1, bytes.Repeat([]byte{0x11}, 32)); err != nil {
		t.Fatal(err)
	}
	key, err := stolen.CardKey(1, id(t, cardNumber))
	if err != nil {
		t.Fatal(err)
	}
	start := purse.Start{Card: id(t, cardNumber), Holder: id(t, holderNumber), KeyVersion: 1, SNo: 1, Unit: dollarCents, Random: purse.Random{5}}
	mac1 := start.Identify(key, opening.Merchant, opening.TNo, opening.Random)
	done(t, d.sam, purse.Authorize, 0, 0, append(start.Append(nil), mac1[:]...))
	paid := purse.Paid{MACZ: purse.MAC{1, 2, 3}}
	paid.Proof = purse.Proof{Amount: 100, Unit: dollarCents, Time: 2, Merchant: opening.Merchant, TNo: opening.TNo,
		Card: start.Card, Holder: start.Holder, KeyVersion: 1, SNo: 1, LNo: 1}
	session := start.Session(key, opening.Merchant, opening.TNo, opening.Random)
	for name, forge := range map[string]func(proof purse.Proof) purse.MAC{
		"a key of the SAM": func(proof purse.Proof) purse.MAC { return proof.Prove(key) },
		"the session":      func(proof purse.Proof) purse.MAC { return proof.Prove(session) },
	} {
		if paid.MACZ = forge(paid.Proof); paid.Proof.IsProved(d.key(t, d.keys.ProofKey, cardNumber), paid.MACZ) {
			t.Errorf("%s makes a proof", name)
		}
	}
	paid.MAC = paid.Proof.Confirm(session, paid.MACZ)
	record := done(t, d.sam, purse.Commit, 0, 0, paid.Append(nil))
	total := done(t, d.sam, purse.CloseBatch, 0, 0, nil)
	_, refusals, err := purse.CheckBatch(d.keys, 1, purse.Position{}, total, record)
	if err != nil || len(refusals) != 1 || refusals[0].Reason != purse.WrongProof {
		t.Errorf("%v (%v)", refusals, err)
	}
}
