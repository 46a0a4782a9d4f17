package samgateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/pursetest"
	"github.com/paywordhq/payword/samgateway"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// chip is a card or a SAM in software: what purse.Card and purse.SAM are.
type chip = pursetest.Applet

// tear says when a card is pulled out: at the count-th command of an instruction,
// before the card has it or after it answered.
type tear struct {
	instruction purse.Instruction
	count       int
	isAfter     bool
}

// slot is a reader of a machine.
type slot struct {
	name string

	mutex  sync.Mutex // guards what follows
	chip   chip       // nil: no card is in it
	isOpen bool       // somebody has a session
	tears  []tear
	stays  bool    // out, after a tear, until somebody puts it in again
	torn   chip    // that was pulled out
	later  []error // what Connect says first after a tear
	fails  []error // what Connect says first
	asked  []purse.Instruction
	change chan struct{} // closed when a card came or went
}

// machine is a machine with readers. It outlives the processes on it.
type machine struct{ slots []*slot }

func newMachine(names ...string) *machine {
	m := &machine{}
	for _, name := range names {
		m.slots = append(m.slots, &slot{name: name, change: make(chan struct{})})
	}
	return m
}

// List implements smartcard.Readers.
func (m *machine) List(context.Context) ([]smartcard.Reader, error) {
	var readers []smartcard.Reader
	for _, s := range m.slots {
		readers = append(readers, s)
	}
	return readers, nil
}

// put puts a card into a reader, or takes it out (nil).
func (s *slot) put(c chip) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.insert(c)
}

func (s *slot) insert(c chip) {
	if s.chip != nil {
		s.chip.Reset()
	}
	s.chip, s.isOpen = c, false
	close(s.change)
	s.change = make(chan struct{})
}

// tearAt has the card be pulled out.
func (s *slot) tearAt(t ...tear) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.tears = append(s.tears, t...)
}

// Name implements smartcard.Reader.
func (s *slot) Name() string { return s.name }

// Connect implements smartcard.Reader.
func (s *slot) Connect(context.Context) (smartcard.Session, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if len(s.fails) > 0 {
		err := s.fails[0]
		s.fails = s.fails[1:]
		if errors.Is(err, smartcard.ErrTorn) { // the reader has not noticed that the card went
			return &slotSession{slot: s}, nil
		}
		return nil, err
	}
	switch {
	case s.chip == nil:
		return nil, smartcard.ErrNoCard
	case s.isOpen:
		return nil, smartcard.ErrBusy
	}
	s.isOpen = true
	s.chip.Reset()
	return &slotSession{slot: s, chip: s.chip}, nil
}

// Wait implements smartcard.Reader.
func (s *slot) Wait(ctx context.Context, isPresent bool) error {
	for {
		s.mutex.Lock()
		change, is := s.change, s.chip != nil
		s.mutex.Unlock()
		if is == isPresent {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-change:
		}
	}
}

// slotSession is a session with the card in a slot.
type slotSession struct {
	slot *slot
	chip chip
}

// Transmit implements smartcard.Card.
func (s *slotSession) Transmit(_ context.Context, command []byte) ([]byte, error) {
	s.slot.mutex.Lock()
	defer s.slot.mutex.Unlock()
	if s.chip == nil || s.slot.chip != s.chip || !s.slot.isOpen {
		return nil, smartcard.ErrTorn
	}
	instruction := purse.Instruction(command[1])
	s.slot.asked = append(s.slot.asked, instruction)
	pull := func(isAfter bool) bool {
		for k, t := range s.slot.tears {
			if t.instruction == instruction && t.isAfter == isAfter {
				s.slot.tears[k].count--
				if t.count <= 1 {
					s.slot.tears = slices.Delete(s.slot.tears, k, k+1)
					return true
				}
			}
		}
		return false
	}
	isTorn := pull(false)
	var answer []byte
	var err error
	if !isTorn {
		answer, err = s.chip.Transmit(command)
		isTorn = pull(true)
	}
	if isTorn {
		s.slot.fails = append(s.slot.fails, s.slot.later...)
		s.slot.insert(nil)
		if s.slot.torn = s.chip; !s.slot.stays {
			s.slot.insert(s.chip) // the holder puts it in again at once
		}
		return nil, fmt.Errorf("%w (test)", smartcard.ErrTorn)
	}
	return answer, err
}

// Close implements smartcard.Session.
func (s *slotSession) Close() error {
	s.slot.mutex.Lock()
	defer s.slot.mutex.Unlock()
	if s.slot.chip == s.chip && s.chip != nil {
		s.slot.isOpen = false
		s.chip.Reset()
	}
	return nil
}

// call is the command samgateway on the machine, a process of its own each time.
func (m *machine) call(t testing.TB, arguments ...string) said {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := samgateway.Main(t.Context(), m, arguments, bytes.NewReader(nil), &stdout, &stderr)
	return said{code, stdout.String(), stderr.String()}
}

// testUnit is what the cards count in.
var testUnit = purse.Unit{Currency: 0x0840, Exponent: -2}

// testPIN is that of every card.
const testPIN = pursetest.PIN

func cardID(number byte) purse.ID { return purse.ID{0xC1, 7: number} }

// newCard issues a card; a white one has no holder.
func newCard(t testing.TB, number byte, isWhite bool) *purse.Card {
	t.Helper()
	issue := purse.CardIssue{
		Keys: pursetest.Keys(t), KeyVersion: 1, Card: cardID(number), Holder: purse.ID{0xA0, 7: number}, Unit: testUnit,
		MaxBalance: 200_00, MaxPayment: 100_00, PIN: testPIN,
	}
	if isWhite {
		issue.Holder, issue.PIN = purse.ID{}, ""
	}
	return pursetest.NewCard(t, issue)
}

var merchantID = purse.ID{0x4D, 7: 9}

func newSAM(t testing.TB, limit uint64) *purse.SAM {
	t.Helper()
	return pursetest.NewSAM(t, purse.SAMIssue{Keys: pursetest.Keys(t), KeyVersion: 1, Merchant: merchantID, Unit: testUnit, Limit: limit})
}

// A test's machine does what a real one does.
func TestMachine(t *testing.T) {
	m := newMachine("Customer", "Merchant")
	customer := m.slots[0]
	if _, err := customer.Connect(t.Context()); !errors.Is(err, smartcard.ErrNoCard) {
		t.Errorf("an empty reader: %v", err)
	}
	card := newCard(t, 1, false)
	customer.put(card)
	session, err := customer.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := customer.Connect(t.Context()); !errors.Is(err, smartcard.ErrBusy) {
		t.Errorf("a second session: %v", err)
	}
	customer.tearAt(tear{instruction: purse.GetData, count: 2})
	client := smartcard.Purse{Card: session}
	if err := client.Select(t.Context()); err != nil {
		t.Fatal(err)
	}
	if data, err := client.Data(t.Context()); err != nil || data.Card != cardID(1) {
		t.Errorf("got %+v, %v", data, err)
	}
	if _, err := client.Data(t.Context()); !errors.Is(err, smartcard.ErrTorn) {
		t.Errorf("torn: %v", err)
	}
	if err := client.Select(t.Context()); !errors.Is(err, smartcard.ErrTorn) {
		t.Errorf("after it was torn: %v", err)
	}
}
