//go:build pcsc && (cgo || windows)

package pcsc

import (
	"errors"
	"fmt"

	"github.com/ebfe/scard"

	"github.com/paywordhq/payword/samgateway/smartcard"
)

// fault is an error with a sentence of its own that is of one or more kinds, for
// errors.Is.
type fault struct {
	sentence string
	kinds    []error
}

// Error returns the sentence.
func (f *fault) Error() string { return f.sentence }

// Unwrap returns the kinds.
func (f *fault) Unwrap() []error { return f.kinds }

var (
	errEnded  = &fault{"the service for card readers has ended: start pcscd", []error{smartcard.ErrNoService}}
	errDenied = errors.New("this user may not use card readers: allow org.debian.pcsc-lite.access_pcsc and access_card in polkit, or call this as root")
	errFull   = errors.New("the service for card readers takes no more programs: end some that use cards")
	errForced = errors.New("the card was reset by somebody else")
)

// meanings are those errors of PC/SC that people can do something about.
var meanings = map[scard.Error]error{
	scard.ErrNoSmartcard:       smartcard.ErrNoCard,
	scard.ErrRemovedCard:       smartcard.ErrNoCard,
	scard.ErrUnresponsiveCard:  smartcard.ErrMute,
	scard.ErrUnpoweredCard:     smartcard.ErrMute,
	scard.ErrUnsupportedCard:   smartcard.ErrMute,
	scard.ErrProtoMismatch:     smartcard.ErrMute,
	scard.ErrInvalidAtr:        smartcard.ErrMute,
	scard.ErrSharingViolation:  smartcard.ErrBusy,
	scard.ErrUnknownReader:     smartcard.ErrGone,
	scard.ErrReaderUnavailable: smartcard.ErrGone,
	scard.ErrNoService:         smartcard.ErrNoService,
	scard.ErrServiceStopped:    errEnded,
	scard.ErrShutdown:          errEnded,
	scard.ErrCommError:         errEnded, // what a call says within which pcscd ended
	scard.ErrInvalidHandle:     errEnded, // pcscd ended, and another was started
	scard.ErrNoAccess:          errDenied,
	scard.ErrSecurityViolation: errDenied,
	scard.ErrNoMemory:          errFull,
	scard.ErrServerTooBusy:     errFull,
	scard.ErrResetCard:         errForced,
}

// isError reports whether an error is one of PC/SC's.
func isError(err error, code scard.Error) bool {
	var said scard.Error
	return errors.As(err, &said) && said == code
}

// sentence makes an error for people of one of PC/SC's, and leaves others as they
// are.
func sentence(err error) error {
	var said scard.Error
	if !errors.As(err, &said) {
		return err
	}
	if meaning, known := meanings[said]; known {
		return meaning
	}
	return fmt.Errorf("the card reader failed: %w (%08X)", err, uint32(said))
}

// ended is sentence for a call by a context that was let in before: there pcscd
// that ends looks like one that refuses.
func ended(err error) error {
	if isError(err, scard.ErrSecurityViolation) {
		return errEnded
	}
	return sentence(err)
}

// gone makes an error of kind ErrGone, too, of one that says that the service is
// not there, or not for this program: there are no readers then.
func gone(err error) error {
	if errors.Is(err, smartcard.ErrNoService) || errors.Is(err, errDenied) {
		return &fault{err.Error(), []error{smartcard.ErrGone, err}}
	}
	return err
}

// torn is for a command of which it is unknown whether the card did it.
func torn(err error) error {
	err = ended(err)
	switch {
	case errors.Is(err, smartcard.ErrNoCard) || isError(err, scard.ErrNotTransacted):
		return smartcard.ErrTorn
	case isAbandoned(err):
		return smartcard.Torn(fmt.Errorf("the card stopped answering: %w", err))
	}
	return smartcard.Torn(err)
}
