package terminal_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
	"github.com/paywordhq/payword/samgateway/terminal"
)

// journal returns the journal as a backup would have it.
func (p *place) journal() []byte {
	p.t.Helper()
	if err := p.Close(); err != nil {
		p.t.Fatal(err)
	}
	text, err := os.ReadFile(p.path)
	if err != nil {
		p.t.Fatal(err)
	}
	p.open()
	return text
}

// restore puts a backup of the journal in the place of the journal.
func (p *place) restore(text []byte) {
	p.t.Helper()
	err := p.Close()
	if err == nil {
		err = os.WriteFile(p.path, text, 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.open()
}

// setSAM puts the SAM back to an earlier state.
func (p *place) setSAM(state []byte) {
	p.sam.memory.state = bytes.Clone(state)
	p.sam.insert()
}

// boaster is a SAM that says of itself what it likes.
type boaster struct {
	applet
	first, last uint32
}

func (b *boaster) Transmit(command []byte) ([]byte, error) {
	answer, err := b.applet.Transmit(command)
	if command[1] == byte(purse.GetData) && len(answer) > purse.SAMDataLength {
		big.PutUint32(answer[14:], b.last)
		big.PutUint32(answer[18:], b.first)
	}
	return answer, err
}

// A SAM that says that it has more records than it can have is not read for ever.
func TestSAMThatBoasts(t *testing.T) {
	for _, numbers := range [][2]uint32{{1, 1<<32 - 1}, {1<<32 - 1, 1<<32 - 1}, {0, 2001}, {7, 5}} {
		p := ready(t, 1)
		own := p.sam.applet
		p.sam.applet = &boaster{own, numbers[0], numbers[1]}
		if _, err := p.Resolve(t.Context()); (err == nil) != (numbers[0] == 7) {
			t.Errorf("%v: %v", numbers, err)
		}
	}
}

// A payment that may have funded an account is not cancelled, also where the
// journal that knew is lost.
func TestLostJournalCancelsNothing(t *testing.T) {
	p := ready(t, 1)
	if _, err := p.pay(p.cards[0], purposeOf(17)); err != nil {
		t.Fatal(err)
	}
	p.loseJournal()
	if _, err := p.CancelLast(t.Context(), p.cards[0]); !errors.Is(err, terminal.ErrNothingToCancel) {
		t.Errorf("got %v", err)
	}
	p.settled()
}

// A SAM that was restored from a copy would number payments that have a number
// already. Nothing is taken from a card before that is seen.
func TestOldSAM(t *testing.T) {
	p := ready(t, 1)
	card := p.cards[0]
	old := bytes.Clone(p.sam.memory.state)
	if _, err := p.pay(card, purposeOf(16)); err != nil {
		t.Fatal(err)
	}
	card.tear = onlyAt(purse.Debit, after)
	if _, err := p.pay(card, purposeOf(17)); !errors.Is(err, terminal.ErrUndecided) {
		t.Fatalf("got %v", err)
	}
	card.insert()
	own, had := bytes.Clone(p.sam.memory.state), card.data(t).Balance
	p.setSAM(old)
	for name, do := range map[string]func() error{
		"pay":     func() error { _, err := p.pay(card, purposeOf(16)); return err },
		"cancel":  func() error { _, err := p.CancelLast(t.Context(), card); return err },
		"resolve": func() error { _, err := p.Resolve(t.Context()); return err },
		"meet":    func() error { _, err := p.Meet(t.Context(), card); return err },
		"turn in": func() error { _, err := p.TurnIn(t.Context()); return err },
	} {
		if err := do(); !errors.Is(err, terminal.ErrOldSAM) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if balance := card.data(t).Balance; balance != had {
		t.Errorf("the card has %d, and had %d", balance, had)
	}
	p.setSAM(own)
	p.settled()
	if len(p.office.fundings) != 1 {
		t.Errorf("%d fundings", len(p.office.fundings))
	}
}

// SAM and journal are both older than what clearing knows, which nobody here can
// see. It costs nobody more than one payment, and that comes back.
func TestBothAreOld(t *testing.T) {
	p := ready(t, 1)
	card := p.cards[0]
	old, backup := bytes.Clone(p.sam.memory.state), p.journal()
	if _, err := p.pay(p.cards[3], purposeOf(20)); err != nil {
		t.Fatal(err)
	}
	p.setSAM(old)
	p.restore(backup)
	p.office.isForgiving = true
	had := card.data(t).Balance
	if r, err := p.pay(card, purposeOf(17)); err != nil || r.IsBooked {
		t.Fatalf("got %+v (%v)", r, err)
	}
	for _, amount := range []uint32{8, 17} {
		if _, err := p.pay(card, purposeOf(amount)); !errors.Is(err, terminal.ErrDisowned) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := p.CancelLast(t.Context(), card); err != nil {
		t.Error(err)
	}
	if balance := card.data(t).Balance; balance != had {
		t.Errorf("the card has %d, and had %d", balance, had)
	}
	if _, err := p.pay(card, purposeOf(17)); !errors.Is(err, terminal.ErrDisowned) {
		t.Errorf("got %v", err)
	}
}

// A copy of the SAM from within a transaction would end it a second time.
func TestSAMFromWithinATransaction(t *testing.T) {
	for _, at := range []purse.Instruction{purse.Authorize, purse.Commit} {
		for _, isProved := range []bool{false, true} { // the card's answer alone is known, or the record as well
			p := ready(t, 1)
			var old []byte
			p.sam.tear = func(d *device, command []byte) fault {
				if command[1] == byte(at) {
					old = bytes.Clone(d.memory.state)
				}
				if isProved && command[1] == byte(purse.Commit) {
					return before
				}
				return none
			}
			if _, err := p.pay(p.cards[0], purposeOf(16)); (err == nil) == isProved {
				t.Fatal(err)
			}
			own := bytes.Clone(p.sam.memory.state)
			p.sam.tear = nil
			p.setSAM(old)
			_, err := p.Resolve(t.Context())
			if isOrdered := at == purse.Commit; errors.Is(err, terminal.ErrOldSAM) == (isProved && isOrdered) {
				t.Errorf("%v, and proved %t: %v", at, isProved, err)
			}
			if !isProved || at != purse.Commit { // else it is the SAM as it was
				p.setSAM(own)
			}
			p.settled()
		}
	}
}

// Two SAMs of one merchant, or a SAM and its copy, have come equally far.
func TestTwinSAM(t *testing.T) {
	p := ready(t, 1)
	old := bytes.Clone(p.sam.memory.state)
	if _, err := p.pay(p.cards[0], purposeOf(8)); err != nil {
		t.Fatal(err)
	}
	own, path := bytes.Clone(p.sam.memory.state), p.path
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	p.setSAM(old)
	p.path = filepath.Join(t.TempDir(), "other")
	p.open()
	if r, err := p.pay(p.cards[0], purposeOf(16)); err != nil || r.TNo != 2 {
		t.Fatalf("got %+v (%v)", r, err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	p.path = path
	p.open()
	if _, err := p.pay(p.cards[0], purposeOf(8)); !errors.Is(err, terminal.ErrOldSAM) {
		t.Errorf("got %v", err)
	}
	p.setSAM(own)
	if _, err := p.pay(p.cards[0], purposeOf(8)); err != nil {
		t.Error(err)
	}
}

// A journal from a backup does not know that a payment was taken back since, and
// does not fund an account with it.
func TestRestoredJournalFundsNothingTwice(t *testing.T) {
	for name, how := range map[string]fault{"done": none, "open": after, "turned in": none} {
		p := ready(t, 1)
		card := p.cards[0]
		p.office.fault = func(question string) fault {
			p.office.closed["account-1"] = question == "fund"
			return none
		}
		if _, err := p.pay(card, purposeOf(17)); err != nil {
			t.Fatal(err)
		}
		p.office.fault, p.office.closed["account-1"] = nil, false
		backup := p.journal()
		if how != none {
			card.tear = onlyAt(purse.CancelLast, how)
		}
		if _, err := p.CancelLast(t.Context(), card); (err == nil) != (how == none) {
			t.Fatal(err)
		}
		if name == "turned in" {
			if _, err := p.TurnIn(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := p.pay(p.cards[3], purposeOf(16)); err != nil {
				t.Fatal(err)
			}
		}
		p.restore(backup)
		for range 2 {
			p.clock.add(time.Minute)
			if _, err := p.Resolve(t.Context()); err != nil || len(p.office.fundings) > 0 {
				t.Errorf("%s: %d fundings (%v)", name, len(p.office.fundings), err)
			}
		}
		p.clock.add(terminal.Patience)
		if _, err := p.Resolve(t.Context()); err != nil || len(p.office.fundings) > 0 {
			t.Errorf("%s: %d fundings later (%v)", name, len(p.office.fundings), err)
		}
		p.settled()
	}
}

// recovers answers to RECOVER what it likes.
type recovers struct {
	smartcard.Card
	answer []byte
}

func (r *recovers) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	if command[1] == byte(purse.Recover) {
		return bytes.Clone(r.answer), nil
	}
	return r.Card.Transmit(ctx, command)
}

// A card that says that it is another one cannot end what that one may claim, nor
// have its own claims taken for it.
func TestAnswersOfOtherCards(t *testing.T) {
	p := ready(t, 1)
	first, other := p.cards[0], p.cards[1]
	if _, err := p.load(other, 20_00); err != nil {
		t.Fatal(err)
	}
	first.tear = onlyAt(purse.Debit, after)
	if _, err := p.pay(first, purposeOf(16)); !errors.Is(err, terminal.ErrUndecided) {
		t.Fatalf("got %v", err)
	}
	p.clock.add(terminal.Patience)
	if _, err := p.Resolve(t.Context()); err != nil {
		t.Fatal(err)
	}
	other.tear = onlyAt(purse.Debit, after)
	if _, err := p.pay(other, purposeOf(24)); !errors.Is(err, terminal.ErrUndecided) {
		t.Fatalf("got %v", err)
	}
	other.insert()
	own, isPaid, err := smartcard.Purse{Card: selected(t, other)}.Recover(t.Context(), merchantID(9), 3, 1, purse.Random{})
	if err != nil || !isPaid {
		t.Fatalf("%v (%v)", isPaid, err)
	}
	invented := purse.Paid{Cancellation: purse.Cancellation{Proof: purse.Proof{
		Amount: 16, Unit: cents, Merchant: merchantID(9), TNo: 2, Card: cardID(1), KeyVersion: 1, SNo: 2}}}
	unknown := invented
	unknown.KeyVersion = 9
	yes := func(paid []byte) []byte { return append(append([]byte{1}, paid...), 0x90, 0) }
	for name, answer := range map[string][]byte{
		"a proof of its own": yes(own), "an invented one": yes(invented.Append(nil)), "with another key": yes(unknown.Append(nil)),
		"it is too long ago": {0x6A, 0x83},
	} {
		if _, err := p.Meet(t.Context(), &recovers{&liar{Card: other, as: cardID(1)}, answer}); err == nil {
			t.Errorf("%s: no error", name) // it cannot do the other card's script
		}
		if u, err := p.Undecided(t.Context()); err != nil || len(u) != 2 || u[0].State != terminal.Unproved {
			t.Errorf("%s: %+v (%v)", name, u, err)
		}
	}
	first.insert()
	if outcomes, err := p.Meet(t.Context(), first); err != nil || !slices.ContainsFunc(outcomes, func(o terminal.Outcome) bool { return o.State == terminal.Claimed }) {
		t.Errorf("got %+v (%v)", outcomes, err)
	}
	p.settled()
}

func selected(t *testing.T, card *device) *device {
	t.Helper()
	if err := (smartcard.Purse{Card: card}).Select(t.Context()); err != nil {
		t.Fatal(err)
	}
	return card
}

// The clock is put back by a day: nobody waits for a day.
func TestClockGoesBack(t *testing.T) {
	p := ready(t, 1)
	isChecked := false
	p.office.fault = func(question string) fault {
		if question == "check" && !isChecked {
			isChecked = true
			return none
		}
		return before
	}
	if r, err := p.pay(p.cards[0], purposeOf(17)); err != nil || r.Waiting == "" {
		t.Fatalf("got %+v (%v)", r, err)
	}
	p.office.fault = nil
	p.cards[0].tear = onlyAt(purse.Debit, before)
	if _, err := p.pay(p.cards[0], purposeOf(16)); !errors.Is(err, terminal.ErrUndecided) {
		t.Fatalf("got %v", err)
	}
	p.clock.add(-24 * time.Hour)
	if _, err := p.pay(p.cards[3], purposeOf(16)); err != nil {
		t.Errorf("got %v", err)
	}
	if _, err := p.Resolve(t.Context()); err != nil || len(p.office.fundings) != 1 {
		t.Errorf("%d fundings (%v)", len(p.office.fundings), err)
	}
	p.cards[0].insert()
	if _, err := p.Meet(t.Context(), p.cards[0]); err != nil {
		t.Fatal(err)
	}
	p.settled()
}
