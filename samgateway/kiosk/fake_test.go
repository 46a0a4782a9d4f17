package kiosk_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/kiosk"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

var euro = purse.Unit{Currency: 0x0978, Exponent: -2}

// slot is a reader that a test puts cards into.
type slot struct {
	mu      sync.Mutex
	card    *fakeCard
	broken  error
	changed chan struct{} // closed at the next change
}

func newSlot() *slot { return &slot{changed: make(chan struct{})} }

func (s *slot) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *slot) insert(card *fakeCard) {
	s.change(func() { card.out = make(chan struct{}); card.verified = false; s.card = card })
}

func (s *slot) pull() {
	s.change(func() {
		if s.card != nil {
			close(s.card.out)
		}
		s.card = nil
	})
}

func (s *slot) fail(err error) { s.change(func() { s.broken = err }) }

func (s *slot) Name() string { return "a slot" }

func (s *slot) look() (card *fakeCard, changed chan struct{}, broken error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.card, s.changed, s.broken
}

func (s *slot) Wait(ctx context.Context, isPresent bool) error {
	for {
		card, changed, broken := s.look()
		if broken != nil {
			return broken
		}
		if (card != nil) == isPresent {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *slot) Connect(context.Context) (smartcard.Session, error) {
	card, _, broken := s.look()
	switch {
	case broken != nil:
		return nil, broken
	case card == nil:
		return nil, smartcard.ErrNoCard
	case card.connect != nil:
		return nil, card.connect
	case card.pad != nil:
		return &padCard{card}, nil
	}
	return card, nil
}

func (s *slot) find(context.Context) (smartcard.Reader, error) {
	if _, _, broken := s.look(); broken != nil {
		return nil, broken
	}
	return s, nil
}

// fakeCard is a card as the fake desk sees it.
type fakeCard struct {
	purse    kiosk.Purse
	pin      string
	connect  error // of Connect
	read     error // of Read
	payments []kiosk.Payment
	left     []kiosk.Outcome // open, until somebody meets the card
	pad      []uint16        // what the pad answers, one after the other

	verified bool
	out      chan struct{} // closed when it is pulled
}

func (c *fakeCard) Transmit(context.Context, []byte) ([]byte, error) {
	return nil, errors.New("nobody but the desk talks to cards")
}
func (c *fakeCard) Close() error { return nil }

type padCard struct{ *fakeCard }

func (c *padCard) VerifyPIN(context.Context) ([]byte, error) {
	if len(c.pad) == 0 {
		return nil, smartcard.ErrNoPINPad
	}
	status := c.pad[0]
	c.pad = c.pad[1:]
	c.verified = status == 0x9000
	return []byte{byte(status >> 8), byte(status)}, nil
}

func newCard() *fakeCard {
	return &fakeCard{pin: "1111", purse: kiosk.Purse{
		ID: purse.ID{0xC1, 7: 1}, Unit: euro, Balance: 1234, MaxBalance: 20000, MaxPayment: 10000, HasAccount: true, Tries: 3,
	}}
}

// fakeDesk moves money between numbers.
type fakeDesk struct {
	mu       sync.Mutex
	accounts map[string]uint32
	hold     chan struct{} // what moves money waits for it, if it is there
	checks   chan struct{} // what looks at accounts waits for it, if it is there
	tornDid  bool          // a card that was pulled meanwhile had done it
	finishes bool          // or it was done, and the card is not needed
	late     bool          // the account gets it later
	fail     error         // of whatever moves money
	meetFail error
	pinAgain bool // the card forgets once that it was shown its PIN
	log      []string
}

func newDesk() *fakeDesk { return &fakeDesk{accounts: map[string]uint32{goodAccount: 0}} }

const goodAccount = "qwertyuiop234567"

func asCard(card smartcard.Card) *fakeCard {
	if pad, is := card.(*padCard); is {
		return pad.fakeCard
	}
	return card.(*fakeCard)
}

// isOut reports whether a card was pulled.
func (c *fakeCard) isOut() bool {
	select {
	case <-c.out:
		return true
	default:
		return false
	}
}

func (d *fakeDesk) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = append(d.log, fmt.Sprintf(format, args...))
}

func (d *fakeDesk) Read(_ context.Context, card smartcard.Card) (kiosk.Purse, error) {
	c := asCard(card)
	if c.isOut() {
		return kiosk.Purse{}, smartcard.ErrTorn
	}
	return c.purse, c.read
}

func (d *fakeDesk) ReadAgain(ctx context.Context, card smartcard.Card) (kiosk.Purse, error) {
	return d.Read(ctx, card)
}

func (d *fakeDesk) Meet(_ context.Context, card smartcard.Card) ([]kiosk.Outcome, error) {
	c := asCard(card)
	if d.meetFail != nil {
		return nil, d.meetFail
	}
	left := c.left
	c.left = nil
	return left, nil
}

func (d *fakeDesk) Verify(_ context.Context, card smartcard.Card, digits []byte) (bool, int, error) {
	c := asCard(card)
	d.note("verify %d", len(digits))
	if c.purse.Tries == 0 {
		return false, 0, nil
	}
	c.purse.Tries--
	if string(digits) != c.pin {
		return false, c.purse.Tries, nil
	}
	c.purse.Tries, c.verified = 3, true
	return true, 3, nil
}

func (d *fakeDesk) Payments(_ context.Context, card smartcard.Card) ([]kiosk.Payment, error) {
	c := asCard(card)
	if !c.verified && c.purse.HasAccount {
		return nil, &kiosk.Refusal{Reason: kiosk.ReasonPINWanted}
	}
	return slices.Clone(c.payments), nil
}

// move does something with a card that can be pulled meanwhile.
func (d *fakeDesk) move(ctx context.Context, c *fakeCard, kind kiosk.Kind, amount uint32, do func()) error {
	d.note("%s %d", kind, amount)
	if d.fail != nil {
		return d.fail
	}
	if d.hold != nil {
		select {
		case <-d.hold:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.out:
			if d.finishes {
				do()
				return nil
			}
			if d.tornDid {
				do()
			}
			ending := kiosk.Undone
			if d.tornDid {
				ending = kiosk.Done
			}
			c.left = append(c.left, kiosk.Outcome{Kind: kind, Amount: amount, Unit: c.purse.Unit, Ending: ending})
			return fmt.Errorf("in the middle: %w", smartcard.ErrTorn)
		}
	}
	do()
	return nil
}

func (d *fakeDesk) Load(ctx context.Context, card smartcard.Card, amount uint32) error {
	c := asCard(card)
	if !c.verified || d.pinAgain {
		d.pinAgain, c.verified = false, false
		return &kiosk.Refusal{Reason: kiosk.ReasonPINWanted}
	}
	return d.move(ctx, c, kiosk.Loading, amount, func() { c.purse.Balance += amount })
}

func (d *fakeDesk) CheckAccount(ctx context.Context, account string, _ purse.Unit, _ uint32) error {
	if d.checks != nil {
		select {
		case <-d.checks:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if _, known := d.accounts[account]; !known {
		return &kiosk.Refusal{Reason: kiosk.ReasonNoAccount}
	}
	return nil
}

func (d *fakeDesk) Fund(ctx context.Context, card smartcard.Card, account string, _ purse.Unit, amount uint32) (bool, error) {
	c := asCard(card)
	c.verified = false
	return d.late, d.move(ctx, c, kiosk.Funding, amount, func() { c.purse.Balance -= amount; d.accounts[account] += amount })
}

func (d *fakeDesk) Unload(ctx context.Context, card smartcard.Card) (bool, error) {
	c := asCard(card)
	return d.late, d.move(ctx, c, kiosk.Unloading, c.purse.Balance, func() { c.purse.Balance = 0 })
}

var errForeign = fmt.Errorf("the card: %w", smartcard.ErrForeign)

var noon = time.Date(2026, time.November, 1, 12, 5, 0, 0, time.UTC)
