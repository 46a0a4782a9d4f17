package kiosk

import (
	"context"
	"errors"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// Desk does with a card what a customer asks for. The kiosk asks for one thing at
// a time. A no for good is a *Refusal; an error that wraps ErrUndecided or
// smartcard.ErrTorn means that it is unknown whether it took place, and Meet will
// find out; any other error that nothing was moved.
type Desk interface {
	// Read says what is on a card, without its PIN. smartcard.ErrForeign means
	// that this is no purse.
	Read(ctx context.Context, card smartcard.Card) (Purse, error)
	// Meet finds out what became of everything that was left open with this card.
	Meet(ctx context.Context, card smartcard.Card) ([]Outcome, error)
	// Verify shows the card its PIN (4 to 8 digits) and returns how many tries are
	// left. It keeps no copy of the digits.
	Verify(ctx context.Context, card smartcard.Card, digits []byte) (isRight bool, tries int, err error)
	// Payments returns the last payments of a card whose PIN was verified, the
	// newest first.
	Payments(ctx context.Context, card smartcard.Card) ([]Payment, error)
	// Load puts an amount on a card whose PIN was verified.
	Load(ctx context.Context, card smartcard.Card, amount uint32) error
	// CheckAccount says by a *Refusal why an account could not be given an amount
	// now.
	CheckAccount(ctx context.Context, account string, unit purse.Unit, amount uint32) error
	// Fund pays an amount with the card, into an account of the broker.
	Fund(ctx context.Context, card smartcard.Card, account string, unit purse.Unit, amount uint32) error
	// Unload pays all that is on the card into the account that it belongs to.
	Unload(ctx context.Context, card smartcard.Card) error
}

// Purse is what is on a card. Amounts are in its unit.
type Purse struct {
	ID      purse.ID
	Unit    purse.Unit
	Balance uint32
	// BalanceLimit is the most that the card may hold, and PaymentLimit the most
	// that it pays at once.
	BalanceLimit, PaymentLimit uint32
	// HasAccount means that the card belongs to an account of the broker: it is
	// loaded from there, and unloaded there.
	HasAccount bool
	// IsBlocked means that the issuer has blocked the card.
	IsBlocked bool
	// ShowsBalanceOnly means that this kind of card can be read here and no more.
	ShowsBalanceOnly bool
	// Tries is how often the PIN may be tried, 0 to 3.
	Tries int
}

// loadable is the most that can be loaded on the card.
func (p Purse) loadable() uint32 {
	if p.BalanceLimit <= p.Balance {
		return 0
	}
	return p.BalanceLimit - p.Balance
}

// payable is the most that the card can pay at once.
func (p Purse) payable() uint32 { return min(p.Balance, p.PaymentLimit) }

// Payment is one that a card made.
type Payment struct {
	Time     time.Time
	Amount   uint32 // in the purse's unit
	Unit     purse.Unit
	Merchant purse.ID
}

// Kind is what was done with a card.
type Kind string

// What is done with cards.
const (
	Loading   Kind = "load"
	Funding   Kind = "fund"
	Unloading Kind = "unload"
	Paying    Kind = "pay"    // at a counter
	Changing  Kind = "change" // what the issuer had waiting for the card
)

// Outcome is how something ended that was left open.
type Outcome struct {
	Kind   Kind
	Amount uint32 // 0: it is not about an amount
	Unit   purse.Unit
	// IsDone says that it took place; if not, nothing was moved, or it was given
	// back.
	IsDone bool
}

// Reason says why something is refused. Each has a sentence in every language.
type Reason string

// The closed list of reasons.
const (
	ReasonTooLittle      Reason = "too-little"       // on the card
	ReasonOverLimit      Reason = "over-limit"       // more than the card may hold
	ReasonOverPayment    Reason = "over-payment"     // more than the card pays at once
	ReasonPINWanted      Reason = "pin-wanted"       // the card forgot that it was shown its PIN
	ReasonPINBlocked     Reason = "pin-blocked"      // wrong too often
	ReasonCardBlocked    Reason = "card-blocked"     // by the issuer
	ReasonAccountShort   Reason = "account-short"    // the account has too little to load from
	ReasonNoAccount      Reason = "no-account"       // there is no such account
	ReasonAccountRefuses Reason = "account-refuses"  // it takes nothing, or not so much
	ReasonTryLater       Reason = "try-later"        // such as while another card's payment is settled
	ReasonOther          Reason = "not-possible-now" // whatever customers can do nothing about
)

// Reasons returns all there are.
func Reasons() []Reason {
	return []Reason{
		ReasonTooLittle, ReasonOverLimit, ReasonOverPayment, ReasonPINWanted, ReasonPINBlocked, ReasonCardBlocked,
		ReasonAccountShort, ReasonNoAccount, ReasonAccountRefuses, ReasonTryLater, ReasonOther,
	}
}

// Refusal is a no for good: nothing was moved.
type Refusal struct {
	Reason Reason
	// Detail is for the operator's log.
	Detail string
}

// Error says it for the log.
func (r *Refusal) Error() string { return string(r.Reason) + ": " + r.Detail }

// ErrUndecided means that it is not known yet whether something took place.
var ErrUndecided = errors.New("it is not known yet how it ended")
