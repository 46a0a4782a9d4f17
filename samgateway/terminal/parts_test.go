package terminal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/pursetest"
	"github.com/paywordhq/payword/samgateway/smartcard"
	"github.com/paywordhq/payword/samgateway/terminal"
)

const (
	testPIN = pursetest.PIN
	start   = 1_790_000_000
)

var cents = purse.Unit{Currency: 0x0978, Exponent: -2}

func cardID(number int) purse.ID     { return purse.ID{0xC1, 7: byte(number)} }
func merchantID(number int) purse.ID { return purse.ID{0x4D, 7: byte(number)} }

// memory is that of a card or a SAM. It may fail before or after it stored.
type memory struct {
	state []byte
	fault fault
}

func (m *memory) Load() ([]byte, error) { return bytes.Clone(m.state), nil }

func (m *memory) Store(state []byte) error {
	fault := m.fault
	m.fault = none
	if fault == unstored {
		return errTorn
	}
	m.state = append(m.state[:0], state...)
	if fault == stored {
		return errTorn
	}
	return nil
}

// fault is how a command goes wrong.
type fault int

const (
	none     fault = iota
	before         // the command does not come to the card
	after          // its answer does not come back
	empty          // an answer without any bytes does, and no error
	unstored       // the memory fails before it stored
	stored         // and after
	faults
)

var errTorn = fmt.Errorf("%w, says the test", smartcard.ErrTorn)

// numbers are random, and the same for a seed.
type numbers struct{ random *rand.Rand }

func (n numbers) Read(to []byte) (int, error) {
	for i := range to {
		to[i] = byte(n.random.Uint32())
	}
	return len(to), nil
}

func numbersOf(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// applet is a purse.Card or a purse.SAM.
type applet = pursetest.Applet

// device is an applet in a reader, out of which it can be pulled.
type device struct {
	applet
	memory *memory
	isOut  bool
	sent   int // commands since the last reset of the count
	// tear says what goes wrong with a command; nil: nothing ever does.
	tear func(d *device, command []byte) fault
	torn int // faults that there were
	// isLoose says that a fault pulls it out for a moment only.
	isLoose bool
}

// Transmit sends a command, unless the applet is out. It breaks the promise of
// smartcard.Card on purpose: a torn card can answer no bytes.
func (d *device) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if d.isOut {
		return nil, errTorn
	}
	d.sent++
	fault := none
	if d.tear != nil {
		fault = d.tear(d, command)
	}
	if fault == none {
		return d.applet.Transmit(bytes.Clone(command))
	}
	d.torn++
	if fault == unstored || fault == stored {
		d.memory.fault = fault
	}
	if fault != before {
		_, _ = d.applet.Transmit(bytes.Clone(command))
	}
	d.memory.fault = none
	d.pull()
	d.isOut = !d.isLoose
	if fault == empty {
		return nil, nil
	}
	return nil, errTorn
}

// pull takes it out, insert puts it in again.
func (d *device) pull()   { d.isOut = true; d.applet.Reset() }
func (d *device) insert() { d.isOut = false; d.applet.Reset() }

// data returns what is in the memory of a card.
func (d *device) data(t testing.TB) purse.CardData {
	t.Helper()
	card, err := purse.OpenCard(&memory{state: d.memory.state}, numbers{})
	if err != nil {
		t.Fatal(err)
	}
	p := smartcard.Purse{Card: &device{applet: card, memory: d.memory}}
	if err := p.Select(t.Context()); err != nil {
		t.Fatal(err)
	}
	data, err := p.Data(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// place is a terminal with its SAM, the cards that come to it, and the office
// behind it.
type place struct {
	*terminal.Terminal
	t      testing.TB
	office *office
	sam    *device
	cards  []*device
	number int
	path   string
	crash  func() // called around each write of the journal; nil: nothing crashes
	clock  *clock
	// host and accounts are those of the office, or real ones.
	host     terminal.Host
	accounts terminal.Accounts
}

// clock is that of a test.
type clock struct{ now time.Time }

func (c *clock) add(d time.Duration) { c.now = c.now.Add(d) }

// newPlace returns a terminal with a SAM and four cards, the last of them white.
func newPlace(t testing.TB, random *rand.Rand, limit uint64) *place {
	t.Helper()
	office := newOffice(t)
	var cards []*device
	for number := 1; number <= 4; number++ {
		cards = append(cards, newCard(t, office, random, number, number == 4))
	}
	p := &place{t: t, office: office, host: office, accounts: office, cards: cards, number: 9, clock: &clock{time.Unix(start, 0)}}
	p.equip(random, limit)
	return p
}

// equip gives a place its SAM and its journal, and opens it.
func (p *place) equip(random *rand.Rand, limit uint64) {
	p.t.Helper()
	p.path = filepath.Join(p.t.TempDir(), "journal")
	p.sam = p.newSAM(random, p.number, limit)
	content, err := emptyJournal()
	if err == nil {
		err = os.WriteFile(p.path, content, 0o600)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.open()
	p.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			p.t.Error(err)
		}
	})
}

// emptyJournal is what bbolt makes of a new file, for which it waits for the
// disk.
var emptyJournal = sync.OnceValues(func() ([]byte, error) {
	folder, err := os.MkdirTemp("", "payword-journal")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "journal")
	db, err := bbolt.Open(path, 0o600, nil)
	if err == nil {
		err = db.Close()
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func (p *place) newSAM(random *rand.Rand, number int, limit uint64) *device {
	p.t.Helper()
	m := &memory{}
	err := purse.IssueSAM(m, purse.SAMIssue{Keys: p.office.keys, KeyVersion: 1, Merchant: merchantID(number), Unit: cents, Limit: limit})
	if err != nil {
		p.t.Fatal(err)
	}
	sam, err := purse.OpenSAM(m, numbers{numbersOf(random.Uint64())})
	if err != nil {
		p.t.Fatal(err)
	}
	return &device{applet: sam, memory: m}
}

func newCard(t testing.TB, office *office, random *rand.Rand, number int, isWhite bool) *device {
	t.Helper()
	m := &memory{}
	issue := purse.CardIssue{Keys: office.keys, KeyVersion: 1, Card: cardID(number), Unit: cents, MaxBalance: 200_00, MaxPayment: 200_00}
	if !isWhite {
		issue.Holder, issue.PIN = purse.ID{0xA0, 7: byte(number)}, testPIN
	}
	if err := purse.IssueCard(m, issue); err != nil {
		t.Fatal(err)
	}
	card, err := purse.OpenCard(m, numbers{numbersOf(random.Uint64())})
	if err != nil {
		t.Fatal(err)
	}
	office.issue(cardID(number))
	return &device{applet: card, memory: m}
}

// open opens the terminal with the journal that is there.
func (p *place) open() {
	p.t.Helper()
	opened, err := terminal.Open(p.t.Context(), terminal.Config{
		SAM: p.sam, Journal: p.path, Host: p.host, Accounts: p.accounts, LoadTerminal: merchantID(p.number),
		Now: func() time.Time { return p.clock.now },
	}.ForTest(func() {
		if p.crash != nil {
			p.crash()
		}
	}))
	if err != nil {
		p.t.Fatal(err)
	}
	p.Terminal = opened
}

// errCrash is what a process dies of.
var errCrash = errors.New("the process is killed")

// run does something in a process that may be killed, and begins a new one then.
func (p *place) run(work func()) (isKilled bool) {
	p.t.Helper()
	defer func() {
		if cause := recover(); cause != nil {
			if cause != any(errCrash) {
				panic(cause)
			}
			p.crash = nil
			if err := p.Close(); err != nil {
				p.t.Fatal(err)
			}
			p.open()
			isKilled = true
		}
	}()
	work()
	return false
}

// load loads a card, as a kiosk does: the card is met, the PIN is entered.
func (p *place) load(card *device, amount uint32) (terminal.LoadReceipt, error) {
	c := smartcard.Purse{Card: card}
	if err := c.Select(p.t.Context()); err != nil {
		return terminal.LoadReceipt{}, err
	}
	data, err := c.Data(p.t.Context())
	if err != nil {
		return terminal.LoadReceipt{}, err
	}
	if data.Holder != (purse.ID{}) {
		if err := c.Verify(p.t.Context(), []byte(testPIN)); err != nil {
			return terminal.LoadReceipt{}, err
		}
	}
	return p.Load(p.t.Context(), card, amount)
}

func (p *place) pay(card *device, payment terminal.Payment) (terminal.Receipt, error) {
	payment.Unit = cents
	return p.Pay(p.t.Context(), card, payment)
}

// mend puts everything in again, brings clearing and broker back, and resolves
// until nothing is left, with every card.
func (p *place) mend() {
	p.t.Helper()
	p.office.fault, p.crash = nil, nil
	p.sam.tear = nil
	p.sam.insert()
	for _, card := range p.cards {
		card.tear = nil
	}
	for _, card := range p.cards {
		card.insert()
		if _, err := p.Meet(p.t.Context(), card); err != nil {
			p.t.Fatalf("meeting %s: %v", card.data(p.t).Card, err)
		}
	}
	for range 2 {
		p.clock.add(10 * time.Minute)
		if _, err := p.Resolve(p.t.Context()); err != nil {
			p.t.Fatal(err)
		}
	}
}

// settled turns in what there is, and fails unless every cent is where it
// belongs.
func (p *place) settled() {
	p.t.Helper()
	p.mend()
	if _, err := p.TurnIn(p.t.Context()); err != nil {
		p.t.Fatalf("turning in: %v", err)
	}
	p.mend()
	left, err := p.Undecided(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	for _, u := range left {
		p.t.Errorf("left: %+v", u)
	}
	p.office.wantAccounted(p.t, p.cards...)
}

var big = binary.BigEndian
