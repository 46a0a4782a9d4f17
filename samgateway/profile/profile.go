// Package profile knows kinds of purse cards. A card says by which application
// identifier (AID) it is selected, of ISO/IEC 7816-4, what it understands.
package profile

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// Profile is a kind of purse card, which is selected already when it is asked.
// Errors are those of smartcard.Purse.
type Profile interface {
	// Name is for people.
	Name() string
	// AID is what the card is selected by.
	AID() string
	// Read reads what a card tells everybody.
	Read(ctx context.Context, card smartcard.Card) (Summary, error)
	// Log reads the last payments and loads, the newest first. purse.PINWanted
	// means that the card wants its PIN before.
	Log(ctx context.Context, card smartcard.Card) (payments, loads []Entry, err error)
}

// Summary is what a card tells everybody about itself. Nothing proves it.
type Summary struct {
	Number   string // of the card
	Holder   string // "": nobody, or it is not said
	Currency money.Currency
	Balance  money.Amount
	// MaxBalance and MaxPayment are 0 where the card does not say them.
	MaxBalance, MaxPayment money.Amount
	Tries                  int // of the PIN that are left; -1: there is none, or it is not said
	IsBlocked              bool
	// IsPayable says that cards of this kind can pay and be loaded here.
	IsPayable bool
}

// Kind is what an entry in a log is about.
type Kind string

// The kinds of entries.
const (
	Payment      Kind = "payment"
	Cancellation Kind = "cancellation" // a payment was taken back
	Refund       Kind = "refund"
	Load         Kind = "load"
	Unload       Kind = "unload"
)

// Entry is a payment or a load in a card's log.
type Entry struct {
	Kind        Kind
	Number      uint32    // the card's own; 0: it is not said
	Time        time.Time // by whoever was paid, or loaded the card
	Amount      money.Amount
	Partner     string // merchant or load terminal; "": it is not said
	Transaction uint32 // the merchant's number; 0: there is none
	// CancelledTNo is the merchant's number of the payment that this one takes back;
	// 0: none.
	CancelledTNo uint32
}

// All are the profiles that are known, in the order in which a card is asked for
// them.
func All() []Profile { return []Profile{PWP1{}, GeldKarte{}} }

// Identify selects the first application that a card has of those that are known.
// smartcard.ErrForeign means that it has none; the error says what the card
// answered to each. Any other error means that it is not known what the card is.
func Identify(ctx context.Context, card smartcard.Card) (Profile, error) {
	var refusals []string
	for _, p := range All() {
		status, err := selectAID(ctx, card, p.AID())
		if err != nil {
			return nil, err
		}
		if status == purse.Done {
			return p, nil
		}
		refusals = append(refusals, fmt.Sprintf("%04X to %s (%s)", uint16(status), p.Name(), purse.AID(p.AID())))
	}
	return nil, fmt.Errorf("%w: it answers %s", smartcard.ErrForeign, strings.Join(refusals, ", "))
}

func selectAID(ctx context.Context, card smartcard.Card, aid string) (purse.StatusWord, error) {
	answer, err := card.Transmit(ctx, purse.Command(purse.Select, 4, 0, []byte(aid)))
	if err != nil {
		return 0, err
	}
	_, status, err := purse.Answer(answer)
	if err != nil {
		return 0, smartcard.Torn(err)
	}
	return status, nil
}
