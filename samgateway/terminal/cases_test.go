package terminal_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
	"github.com/paywordhq/payword/samgateway/terminal"
)

// always is an office that does not answer.
func always(how fault) func(string) fault { return func(string) fault { return how } }

// wantStates fails unless the journal waits for what is in these states.
func (p *place) wantStates(want ...terminal.State) {
	p.t.Helper()
	left, err := p.Undecided(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	var got []terminal.State
	for _, u := range left {
		got = append(got, u.State)
	}
	if len(got) != len(want) {
		p.t.Fatalf("got %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			p.t.Fatalf("got %v, want %v", got, want)
		}
	}
}

func refusalOf(err error) purse.Reason {
	var refusal *purse.Refusal
	if errors.As(err, &refusal) {
		return refusal.Reason
	}
	return ""
}

// Payments go on offline while clearing is away for hours; fundings wait, and are
// repeated less and less often.
func TestClearingIsAwayForHours(t *testing.T) {
	p := ready(t, 1)
	p.office.fault = always(before)
	for range 3 {
		if r, err := p.pay(p.cards[0], purposeOf(16)); err != nil || r.Waiting != "" {
			t.Fatalf("got %+v (%v)", r, err)
		}
	}
	if _, err := p.pay(p.cards[0], purposeOf(17)); err == nil || isUndecided(err) {
		t.Errorf("an account is funded of which nobody says that it can be: %v", err)
	}
	isChecked := false // clearing goes away after the broker was asked
	p.office.fault = func(question string) fault {
		if question == "check" && !isChecked {
			isChecked = true
			return none
		}
		return before
	}
	r, err := p.pay(p.cards[0], purposeOf(17))
	if err != nil || r.IsFunded || r.Waiting == "" {
		t.Fatalf("got %+v (%v)", r, err)
	}
	p.wantStates(terminal.Recorded)
	p.office.asked["pay"] = 0
	for range 3 * 60 * 3 { // three hours, asked every twenty seconds
		p.clock.add(20 * time.Second)
		_, _ = p.Resolve(t.Context())
	}
	if n := p.office.asked["pay"]; n < 20 || n > 60 {
		t.Errorf("clearing was asked %d times in three hours", n)
	}
	p.office.fault = nil
	p.clock.add(5 * time.Minute)
	outcomes, err := p.Resolve(t.Context())
	if err != nil || len(outcomes) != 1 || outcomes[0].State != terminal.Funded {
		t.Errorf("got %+v (%v)", outcomes, err)
	}
	p.wantStates()
	p.settled()
}

// The SAM is gone when the card has answered, and so is the card: what it answered
// is written down.
func TestSAMIsGoneAfterTheCardPaid(t *testing.T) {
	p := ready(t, 1)
	p.sam.tear = onlyAt(purse.Commit, before)
	if _, err := p.pay(p.cards[0], purposeOf(17)); !errors.Is(err, terminal.ErrUndecided) {
		t.Fatalf("got %v", err)
	}
	p.wantStates(terminal.Proved)
	p.cards[0].pull()
	p.sam.insert()
	for range 2 { // the record, and then what follows it
		if _, err := p.Resolve(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p.wantStates()
	if len(p.office.fundings) != 1 {
		t.Errorf("%d fundings", len(p.office.fundings))
	}
	p.settled()
}

// A batch is not closed while clearing is away: a SAM whose batch is closed takes
// no payments.
func TestTurnInWhileClearingIsAway(t *testing.T) {
	p := ready(t, 1)
	p.office.fault = always(before)
	if _, err := p.TurnIn(t.Context()); err == nil {
		t.Fatal("turned in to nobody")
	}
	if _, err := p.pay(p.cards[0], purposeOf(8)); err != nil {
		t.Errorf("after that no card can pay: %v", err)
	}
	// Clearing goes away after the batch was closed.
	p.office.fault = func(question string) fault {
		if question == "batch" {
			return after
		}
		return none
	}
	if _, err := p.TurnIn(t.Context()); err == nil {
		t.Fatal("turned in without an answer")
	}
	if _, err := p.pay(p.cards[0], purposeOf(8)); !errors.Is(err, terminal.ErrBatchClosed) {
		t.Errorf("got %v", err)
	}
	p.office.fault = nil
	if _, err := p.Resolve(t.Context()); err != nil {
		t.Error(err)
	}
	if r, err := p.pay(p.cards[0], purposeOf(8)); err != nil || r.TNo != 3 {
		t.Errorf("got %+v (%v)", r, err)
	}
	p.settled()
}

// A SAM that took as much as it may is turned in, and goes on.
func TestSAMLimit(t *testing.T) {
	p := newPlace(t, numbersOf(1), 20)
	if _, err := p.load(p.cards[0], 50_00); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := p.pay(p.cards[0], purposeOf(8)); err != nil {
			t.Fatal(err)
		}
	}
	if n := p.office.position[merchantID(9)]; n.Batch != 1 || n.TNo != 2 {
		t.Errorf("turned in up to %+v", n)
	}
	p.office.fault = always(before)
	if _, err := p.pay(p.cards[0], purposeOf(16)); !errors.Is(err, terminal.ErrSAMFull) {
		t.Errorf("got %v", err)
	}
	if balance := p.cards[0].data(t).Balance; balance != 50_00-24 {
		t.Errorf("the card has %d", balance)
	}
	p.office.fault = nil
	if _, err := p.pay(p.cards[0], purposeOf(24)); !errors.Is(err, purse.OverSAMLimit) {
		t.Errorf("more than the SAM takes at all: %v", err)
	}
	p.settled()
}

// The batch is to be turned in while a card may still come back.
func TestTurnInWithAnOpenTransaction(t *testing.T) {
	p := ready(t, 1)
	card := p.cards[0]
	card.tear = onlyAt(purse.Debit, before)
	if _, err := p.pay(card, purposeOf(16)); !errors.Is(err, terminal.ErrUndecided) {
		t.Fatalf("got %v", err)
	}
	if _, err := p.TurnIn(t.Context()); !errors.Is(err, terminal.ErrOccupied) {
		t.Errorf("got %v", err)
	}
	if err := p.Void(t.Context(), 2); err != nil {
		t.Error(err)
	}
	if turned, err := p.TurnIn(t.Context()); err != nil || turned.Payments != 1 || turned.Voids != 1 {
		t.Errorf("got %+v (%v)", turned, err)
	}
	p.wantStates(terminal.Unproved)
	card.tear = nil
	for range 3 { // the card says that it did not pay, and is asked no more
		card.insert()
		if _, err := p.Meet(t.Context(), card); err != nil {
			t.Fatal(err)
		}
	}
	p.wantStates()
	p.settled()
}

// onlyAt has something go wrong with a command, the first time.
func onlyAt(instruction purse.Instruction, how fault) func(*device, []byte) fault {
	return func(d *device, command []byte) fault {
		if command[1] != byte(instruction) {
			return none
		}
		d.tear = nil
		return how
	}
}

// A card on the hot list is refused after START: nothing is ordered. The list is
// known to a terminal that begins while clearing is away.
func TestHotList(t *testing.T) {
	p := ready(t, 1)
	p.office.hot = []purse.ID{cardID(1)}
	if _, err := p.Resolve(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	p.open()
	p.office.fault = always(before)
	if _, err := p.pay(p.cards[0], purposeOf(16)); refusalOf(err) != terminal.HotListed {
		t.Errorf("got %v", err)
	}
	p.wantStates()
	if _, err := p.pay(p.cards[3], purposeOf(16)); err != nil {
		t.Errorf("another card: %v", err)
	}
	p.office.fault, p.office.hot = nil, nil
	p.clock.add(time.Hour)
	if _, err := p.Resolve(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.pay(p.cards[0], purposeOf(16)); err != nil {
		t.Errorf("a card that was found again: %v", err)
	}
	p.settled()
}

// The journal is lost. What the SAM has is turned in, what is open in it is
// decided; what a payment was for, nobody knows any more.
func TestJournalIsLost(t *testing.T) {
	for _, how := range []fault{before, after} {
		p := ready(t, 1)
		if _, err := p.pay(p.cards[0], purposeOf(16)); err != nil {
			t.Fatal(err)
		}
		p.cards[0].tear = onlyAt(purse.Debit, how)
		if _, err := p.pay(p.cards[0], purposeOf(17)); !errors.Is(err, terminal.ErrUndecided) {
			t.Fatalf("got %v", err)
		}
		p.loseJournal()
		if _, err := p.Resolve(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.wantStates(terminal.Ordered)
		p.cards[0].insert()
		outcomes, err := p.Meet(t.Context(), p.cards[0])
		want := terminal.Voided
		if how == after {
			want = terminal.Recorded
		}
		if err != nil || len(outcomes) == 0 || outcomes[0].State != want || outcomes[0].TNo != 3 {
			t.Errorf("got %+v (%v)", outcomes, err)
		}
		p.wantStates()
		if r, err := p.pay(p.cards[0], purposeOf(8)); err != nil || r.TNo != 4 {
			t.Errorf("got %+v (%v)", r, err)
		}
		if turned, err := p.TurnIn(t.Context()); err != nil || turned.Last != 4 {
			t.Errorf("got %+v (%v)", turned, err)
		}
	}
}

func (p *place) loseJournal() {
	p.t.Helper()
	if err := p.Close(); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Remove(p.path); err != nil {
		p.t.Fatal(err)
	}
	p.open()
}

// A journal is one SAM's, and one process's.
func TestOtherSAM(t *testing.T) {
	p := ready(t, 1)
	own := p.sam.applet
	p.sam.applet = p.newSAM(numbersOf(3), 8, 500_00).applet
	if _, err := p.pay(p.cards[0], purposeOf(8)); !errors.Is(err, terminal.ErrOtherSAM) {
		t.Errorf("got %v", err)
	}
	p.sam.applet = own
	if _, err := p.pay(p.cards[0], purposeOf(8)); err != nil {
		t.Error(err)
	}
	// A second process does not get the same journal.
	if second, err := terminal.Open(t.Context(), terminal.Config{SAM: p.sam, Host: p.office, Journal: p.path}); err == nil {
		t.Error("the journal is opened twice", second.Close())
	}
	p.settled()
}

// A funding that the broker refuses after the card paid is asked for again. What
// clearing books online is not cancelled otherwise: a batch that took back what went
// on would be refused for ever.
func TestRefusedFundingWaits(t *testing.T) {
	p := ready(t, 1)
	card := p.cards[0]
	p.office.fault = func(question string) fault {
		p.office.closed["account-1"] = question == "fund"
		return none
	}
	r, err := p.pay(card, purposeOf(17))
	if err != nil || r.IsFunded || r.Waiting != "the account is closed" {
		t.Fatalf("got %+v (%v)", r, err)
	}
	p.wantStates(terminal.Booked)
	p.office.fault, p.office.closed["account-1"] = nil, false
	p.clock.add(time.Hour)
	if outcomes, err := p.Resolve(t.Context()); err != nil || len(outcomes) != 1 || outcomes[0].State != terminal.Funded {
		t.Errorf("got %+v (%v)", outcomes, err)
	}
	for _, amount := range []uint32{20, 16} {
		if _, err := p.pay(card, purposeOf(amount)); err != nil {
			t.Fatal(err)
		}
		if _, err := p.CancelLast(t.Context(), card); errors.Is(err, terminal.ErrNothingToCancel) != (amount == 20) {
			t.Errorf("cancelling a payment of %d: %v", amount, err)
		}
	}
	if _, err := p.CancelLast(t.Context(), card); !errors.Is(err, terminal.ErrNothingToCancel) {
		t.Errorf("cancelled twice: %v", err)
	}
	p.settled()
}

// A funding that the broker refuses after the card paid waits, and can be
// cancelled; one that may have taken place cannot.
func TestRefusedFunding(t *testing.T) {
	p := ready(t, 1)
	card := p.cards[0]
	if _, err := p.pay(card, purposeOf(17)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.CancelLast(t.Context(), card); !errors.Is(err, terminal.ErrNothingToCancel) {
		t.Errorf("a payment that funded is cancelled: %v", err)
	}
	p.office.fault = func(question string) fault {
		if question == "fund" {
			return after
		}
		return none
	}
	if _, err := p.pay(card, purposeOf(17)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.CancelLast(t.Context(), card); !errors.Is(err, terminal.ErrNothingToCancel) {
		t.Errorf("a payment that may have funded is cancelled: %v", err)
	}
	p.office.fault = func(question string) fault {
		p.office.closed["account-1"] = question == "fund"
		return none
	}
	r, err := p.pay(card, purposeOf(25))
	if err != nil || r.IsFunded || r.Waiting != "the account is closed" {
		t.Fatalf("got %+v (%v)", r, err)
	}
	if r, err := p.CancelLast(t.Context(), card); err != nil || r.CancelledTNo != 4 {
		t.Errorf("got %+v (%v)", r, err)
	}
	p.office.fault, p.office.closed["account-1"] = nil, false
	p.settled()
}

// While it is not known whether a payment was taken back, it does not go on. One
// that may have funded after it was refused cannot be taken back.
func TestCancellationStopsFunding(t *testing.T) {
	p := ready(t, 1)
	card := p.cards[0]
	refused := func(question string) fault {
		p.office.closed["account-1"] = question == "fund"
		return none
	}
	p.office.fault = refused
	if _, err := p.pay(card, purposeOf(17)); err != nil {
		t.Fatal(err)
	}
	p.office.fault, p.office.closed["account-1"] = nil, false
	card.tear = onlyAt(purse.CancelLast, after)
	if _, err := p.CancelLast(t.Context(), card); !errors.Is(err, terminal.ErrUndecided) {
		t.Fatalf("got %v", err)
	}
	p.clock.add(time.Minute)
	if _, err := p.Resolve(t.Context()); err != nil || len(p.office.fundings) > 0 {
		t.Errorf("%d fundings of what may be cancelled (%v)", len(p.office.fundings), err)
	}
	card.insert()
	if _, err := p.Meet(t.Context(), card); err != nil {
		t.Fatal(err)
	}
	p.office.fault = refused
	if _, err := p.pay(card, purposeOf(25)); err != nil {
		t.Fatal(err)
	}
	p.office.closed["account-1"] = false
	p.office.fault = func(question string) fault {
		if question == "fund" {
			return after
		}
		return none
	}
	p.clock.add(time.Minute)
	if _, err := p.Resolve(t.Context()); err == nil {
		t.Error("an answer that was lost is none")
	}
	p.office.fault = nil
	if _, err := p.CancelLast(t.Context(), card); !errors.Is(err, terminal.ErrNothingToCancel) {
		t.Errorf("a payment that may have funded is cancelled: %v", err)
	}
	p.settled()
}

// A payment that could not be booked online is booked by its batch, and goes on.
func TestBatchBooksWhatWaits(t *testing.T) {
	p := ready(t, 1)
	p.office.fault = func(question string) fault {
		if question == "pay" {
			return before
		}
		return none
	}
	if r, err := p.pay(p.cards[0], purposeOf(17)); err != nil || r.IsBooked {
		t.Fatalf("got %+v (%v)", r, err)
	}
	if _, err := p.TurnIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Resolve(t.Context()); err != nil || len(p.office.fundings) != 1 {
		t.Errorf("%d fundings (%v)", len(p.office.fundings), err)
	}
	p.settled()
}

// A receipt is told to clearing without the card; a card whose load is not
// decided has it decided before the next one.
func TestLoadAfterLoad(t *testing.T) {
	p := ready(t, 1)
	p.office.fault = func(question string) fault {
		if question == "confirm" {
			return before
		}
		return none
	}
	if r, err := p.load(p.cards[1], 10_00); err != nil || r.IsConfirmed || r.Balance != 10_00 {
		t.Fatalf("got %+v (%v)", r, err)
	}
	p.wantStates(terminal.Credited)
	p.office.fault = nil
	p.clock.add(time.Minute)
	if outcomes, err := p.Resolve(t.Context()); err != nil || len(outcomes) != 1 || outcomes[0].State != terminal.Loaded {
		t.Errorf("got %+v (%v)", outcomes, err)
	}
	for _, how := range []fault{before, after} {
		p.cards[0].tear = onlyAt(purse.Credit, how)
		if _, err := p.load(p.cards[0], 10_00); !errors.Is(err, terminal.ErrLoadUndecided) {
			t.Fatalf("got %v", err)
		}
		p.cards[0].insert()
		if _, err := p.load(p.cards[0], 10_00); err != nil {
			t.Errorf("after a load that was torn: %v", err)
		}
	}
	if balance := p.cards[0].data(t).Balance; balance != 50_00-8+30_00 {
		t.Errorf("the card has %d", balance)
	}
	p.settled()
}

// Who does not wait any longer gets nothing taken, or what was taken counted.
func TestContextEnds(t *testing.T) {
	for stop := 1; stop < 12; stop++ {
		p := ready(t, 1)
		card := p.cards[0]
		ctx, cancel := context.WithCancel(t.Context())
		sent := 0
		card.tear = func(*device, []byte) fault {
			if sent++; sent == stop {
				cancel()
			}
			return none
		}
		before := card.data(t).Balance
		_, err := p.Pay(ctx, card, terminal.Payment{Amount: 17, Unit: cents, Account: "account-1"})
		cancel()
		changed := before - card.data(t).Balance
		// SELECT, GET DATA and START come before the order.
		if want := uint32(17); stop <= 3 && changed != 0 || stop > 3 && changed != want || (err == nil) != (changed == want) || isUndecided(err) {
			t.Errorf("ended at command %d: %v, and %d are taken", stop, err, changed)
		}
		p.settled()
	}
}

// Cards at several readers pay at once: the SAM takes one after the other.
func TestSeveralAtOnce(t *testing.T) {
	p := newPlace(t, numbersOf(1), 500_00)
	var all sync.WaitGroup
	for _, card := range p.cards {
		all.Go(func() {
			if _, err := p.load(card, 50_00); err != nil {
				t.Error(err)
				return
			}
			for n := range uint32(8) {
				if _, err := p.pay(card, purposeOf(8*n+n%5)); err != nil && n > 0 {
					t.Error(err)
				}
				if _, err := p.Meet(t.Context(), card); err != nil {
					t.Error(err)
				}
				if _, err := p.Resolve(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	p.settled()
	if n := len(p.office.payments); n != 4*7 {
		t.Errorf("%d payments", n)
	}
}

// Nobody else reads the journal, and nothing secret is in it.
func TestJournalHoldsNoSecrets(t *testing.T) {
	p := ready(t, 1)
	for _, d := range deeds {
		card := p.cards[d.card]
		card.tear = onlyAt(purse.Debit, after)
		_ = d.do(p, card)
		card.insert()
		if _, err := p.Meet(t.Context(), card); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(p.path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v)", info.Mode(), err)
	}
	text, err := os.ReadFile(p.path)
	if err != nil || !bytes.Contains(text, []byte(`"state":"recorded"`)) {
		t.Fatalf("%d bytes (%v)", len(text), err)
	}
	keys := bytes.ToUpper(text)
	for _, secret := range []string{`"` + testPIN + `"`, "31313131", "1111111111111111", "2222222222222222", "3333333333333333"} {
		if bytes.Contains(keys, []byte(secret)) {
			t.Errorf("the journal holds %q", secret)
		}
	}
	p.settled()
}

// What is no purse, and what makes no sense, is refused with a sentence.
func TestWrongUse(t *testing.T) {
	p := ready(t, 1)
	card := p.cards[0]
	if _, err := p.Meet(t.Context(), p.newSAM(numbersOf(2), 8, 1)); !errors.Is(err, smartcard.ErrForeign) {
		t.Errorf("a SAM is met as a card: %v", err)
	}
	euros := purse.Unit{Currency: 0x0978}
	for name, payment := range map[string]terminal.Payment{
		"nothing":          {Unit: cents},
		"no unit":          {Amount: 8},
		"cash and account": {Amount: 8, Unit: cents, Cash: true, Account: "a"},
		"long account":     {Amount: 8, Unit: cents, Account: string(make([]byte, 200))},
		"another unit":     {Amount: 8, Unit: euros},
		"cash of a holder": {Amount: 8, Unit: cents, Cash: true},
		"too much":         {Amount: 60_00, Unit: cents},
	} {
		if _, err := p.Pay(t.Context(), card, payment); err == nil || isUndecided(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := p.load(card, 0); err == nil {
		t.Error("nothing is loaded")
	}
	if _, err := p.load(card, 200_00); !errors.Is(err, purse.OverBalance) {
		t.Errorf("got %v", err)
	}
	if _, err := p.Load(t.Context(), p.cards[1], 8); !isOrder(err) {
		t.Errorf("a load without SELECT and PIN: %v", err)
	}
	if _, err := terminal.Open(t.Context(), terminal.Config{}); err == nil {
		t.Error("a terminal without anything")
	}
	p.settled()
}

func isOrder(err error) bool {
	return errors.Is(err, purse.PINWanted) || errors.Is(err, purse.OutOfOrder)
}

// Clearing never heard of a load, and the card has since taken another one of the
// same number elsewhere: it is not asked about the first one any more, which would
// look as if the card went back.
func TestLoadOvertaken(t *testing.T) {
	p := ready(t, 1)
	card := p.cards[1]
	p.office.fault = func(question string) fault {
		if question == "authorise" {
			return before
		}
		return none
	}
	if _, err := p.load(card, 10_00); err == nil || isUndecided(err) {
		t.Fatalf("got %v", err)
	}
	p.wantStates(terminal.Asked)
	p.office.fault = nil
	other := &place{t: t, office: p.office, host: p.office, accounts: p.office, cards: p.cards, number: 8, clock: p.clock}
	other.equip(numbersOf(2), 500_00)
	if _, err := other.load(card, 20_00); err != nil {
		t.Fatal(err)
	}
	asked := p.office.asked["authorise"]
	card.insert()
	if outcomes, err := p.Meet(t.Context(), card); err != nil || len(outcomes) != 1 || outcomes[0].State != terminal.NotLoaded {
		t.Errorf("got %+v (%v)", outcomes, err)
	}
	if p.office.asked["authorise"] != asked {
		t.Error("clearing is asked about a load that another one overtook")
	}
	p.settled()
}

// faster is clearing that is told of a receipt by somebody else just before.
type faster struct {
	*office
	resolve func()
}

func (f *faster) ConfirmLoad(ctx context.Context, reference purse.ID, receipt []byte) error {
	if resolve := f.resolve; resolve != nil {
		f.resolve = nil
		resolve()
	}
	return f.office.ConfirmLoad(ctx, reference, receipt)
}

func TestResolveIsFasterThanLoad(t *testing.T) {
	p := ready(t, 1)
	clearing := &faster{office: p.office}
	p.host = clearing
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	p.open()
	clearing.resolve = func() {
		if _, err := p.Resolve(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if r, err := p.load(p.cards[1], 10_00); err != nil || !r.IsConfirmed || r.Balance != 10_00 {
		t.Errorf("got %+v (%v)", r, err)
	}
	p.settled()
}
