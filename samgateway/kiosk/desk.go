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
	// Read finds out what card it is, and what is on it. smartcard.ErrForeign means
	// that this is no purse. A PIN that was shown is forgotten.
	Read(ctx context.Context, card smartcard.Card) (Purse, error)
	// ReadAgain reads what may have changed on a card that Read has read.
	ReadAgain(ctx context.Context, card smartcard.Card) (Purse, error)
	// Meet finds out what became of everything that was left open with this card,
	// and of nothing else. A PIN that was shown is forgotten.
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
	// Fund pays an amount with the card, into an account of the broker. isLate
	// means that the card has paid, and that the account gets it later. A PIN that
	// was shown is forgotten, as by Unload.
	Fund(ctx context.Context, card smartcard.Card, account string, unit purse.Unit, amount uint32) (isLate bool, err error)
	// Unload pays all that is on the card into the account that it belongs to.
	Unload(ctx context.Context, card smartcard.Card) (isLate bool, err error)
}

// Purse is what is on a card. Amounts are in its unit.
type Purse struct {
	ID      purse.ID
	Unit    purse.Unit
	Balance uint32
	// MaxBalance is the most that the card may hold, and MaxPayment the most
	// that it pays at once.
	MaxBalance, MaxPayment uint32
	// HasAccount means that the card belongs to an account of the broker: it is
	// loaded from there, and unloaded there. One that has none has no PIN.
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
	if p.MaxBalance <= p.Balance {
		return 0
	}
	return p.MaxBalance - p.Balance
}

// payable is the most that the card can pay at once.
func (p Purse) payable() uint32 { return min(p.Balance, p.MaxPayment) }

// Payment is one that a card made.
type Payment struct {
	Time     time.Time
	Amount   uint32 // in the purse's unit
	Unit     purse.Unit
	Merchant purse.ID
	// IsBack says that an earlier payment was cancelled: the card got the amount
	// back.
	IsBack bool
}

// Kind is what was done with a card.
type Kind string

// What is done with cards.
const (
	Loading   Kind = "load"
	Funding   Kind = "fund"
	Unloading Kind = "unload"
	Paying    Kind = "pay"    // at a counter
	Cancelled Kind = "cancel" // the last payment, at a counter
	Changing  Kind = "change" // what the issuer had waiting for the card
)

// Ending is how something ended.
type Ending string

// The endings.
const (
	Done     Ending = "done"     // it took place
	Late     Ending = "late"     // the card has paid, and the account gets it later
	Undone   Ending = "undone"   // nothing was moved
	Returned Ending = "returned" // the card paid, or may have: if so its holder gets it back
	Unclear  Ending = "unclear"  // people have to look
)

// Outcome is how something ended that was left open.
type Outcome struct {
	Kind   Kind
	Amount uint32 // 0: it is not about an amount
	Unit   purse.Unit
	Ending Ending
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
	ReasonAccountState   Reason = "account-state"    // the card's account is blocked or closed
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
		ReasonAccountState, ReasonAccountShort, ReasonNoAccount, ReasonAccountRefuses, ReasonTryLater, ReasonOther,
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
