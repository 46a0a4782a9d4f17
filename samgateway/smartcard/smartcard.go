// Package smartcard is what everything here knows of a card, wherever it is: in
// a reader, in software, or in a reader at the other end of a network.
package smartcard

import (
	"context"
	"errors"

	"github.com/paywordhq/payword/internal/purse"
)

// Card is a card that somebody may talk to alone, for now.
type Card interface {
	// Transmit sends a command (at least 4 bytes) and returns the answer, whose
	// last two bytes are the status word. Any error means that it is unknown
	// whether the card received the command and what it did. It never returns
	// less than two bytes without an error. The answer is the caller's.
	Transmit(ctx context.Context, command []byte) ([]byte, error)
}

// Session is a card in a reader, until it is closed.
type Session interface {
	Card
	// Close leaves the card as it is, but that it forgets that it was told its PIN.
	// It is not an error that the card is gone.
	Close() error
}

// PINPad is a Session of a reader with a pad of its own: the PIN never comes to
// this machine.
type PINPad interface {
	// VerifyPIN has the holder enter the PIN at the reader, and returns the status
	// word of VERIFY. ErrNoPINPad means that the reader has none.
	VerifyPIN(ctx context.Context) (status []byte, err error)
}

// VerifyAtPad has the holder enter the PIN at the reader. ErrNoPINPad means that
// the reader has no pad, or the session is no reader's. A status other than 9000
// is a purse.StatusWord: the PIN was wrong, or not entered.
func VerifyAtPad(ctx context.Context, session Session) error {
	pad, has := session.(PINPad)
	if !has {
		return ErrNoPINPad
	}
	answer, err := pad.VerifyPIN(ctx)
	if err != nil {
		return err
	}
	_, status, err := purse.Answer(answer)
	if err == nil && status != purse.Done {
		err = status
	}
	return err
}

// Reader is where a card can be put.
type Reader interface {
	// Name is the reader's, as PC/SC says it.
	Name() string
	// Connect begins a session with the card that is there: ErrNoCard, ErrMute,
	// ErrBusy or ErrGone may come back.
	Connect(ctx context.Context) (Session, error)
	// Wait returns when a card is there (isPresent) or none is, or ctx is done.
	// ErrGone means that the reader, or the service for readers, is gone.
	Wait(ctx context.Context, isPresent bool) error
}

// Readers are those of a machine.
type Readers interface {
	// List returns the readers that are there now, in the order of their names.
	// ErrNoService means that the service for readers (pcscd) does not run;
	// ErrNotBuilt that this program was built without PC/SC.
	List(ctx context.Context) ([]Reader, error)
}

// What can be wrong with readers and cards. Errors that wrap them say which.
var (
	ErrNoCard    = errors.New("no card is in the reader")
	ErrMute      = errors.New("the card does not answer: put it in the other way round, or clean it")
	ErrBusy      = errors.New("another program is using the card")
	ErrGone      = errors.New("the reader is gone")
	ErrNoService = errors.New("the service for card readers does not run: start pcscd")
	ErrNotBuilt  = errors.New("this program was built without PC/SC: build it with -tags pcsc, cgo and libpcsclite-dev, or use a card in a file")
	ErrNoPINPad  = errors.New("the reader has no pad for the PIN")
	// ErrTorn means that the card was pulled, or stopped answering, within a
	// command: it is unknown what it did.
	ErrTorn = errors.New("the card was pulled out")
	// ErrForeign means that the card has no application that is known here.
	ErrForeign = errors.New("this is no purse card")
)

// Torn returns an error of kind ErrTorn that says no more than why.
func Torn(why error) error { return tornError{why} }

type tornError struct{ why error }

// Error says why.
func (t tornError) Error() string { return t.why.Error() }

// Unwrap returns both kinds.
func (t tornError) Unwrap() []error { return []error{ErrTorn, t.why} }
