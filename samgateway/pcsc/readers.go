//go:build pcsc && (cgo || windows)

// Package pcsc reaches card readers by PC/SC: pcscd on Linux, and what Windows and
// macOS have of the same.
//
// PC/SC has calls that do not return while a card or a reader is silent, and then
// cannot be broken off either. So each is made by a goroutine of its own, with a
// context of PC/SC of its own, and is left behind with both when it takes too long.
package pcsc

import (
	"context"
	"slices"
	"time"

	"github.com/ebfe/scard"

	"github.com/paywordhq/payword/samgateway/smartcard"
)

const (
	// sliceTime is how long one call waits for a change. Waiting without an end and
	// breaking off from outside races with the call that is to be broken off.
	sliceTime = 500 * time.Millisecond
	// serviceTimeout bounds what the service, or the power of a card, takes: some
	// cards need a second or two to begin.
	serviceTimeout = 10 * time.Second
)

// Readers are those of this machine.
type Readers struct{}

// List returns the readers that are there now, in the order of their names.
func (Readers) List(ctx context.Context) ([]smartcard.Reader, error) {
	names, err := within(ctx, serviceTimeout, listReaders, func([]string, error) {})
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var readers []smartcard.Reader
	for _, name := range names {
		readers = append(readers, &reader{name: name})
	}
	return readers, nil
}

func listReaders() ([]string, error) {
	service, err := establish()
	if err != nil {
		return nil, err
	}
	defer release(service)
	names, err := service.ListReaders()
	if isError(err, scard.ErrNoReadersAvailable) {
		return nil, nil
	}
	return names, sentence(err)
}

// establish returns a context. pcscd that ends just then looks like one that
// refuses: so it is asked once more.
func establish() (*scard.Context, error) {
	service, err := scard.EstablishContext()
	if isError(err, scard.ErrSecurityViolation) {
		service, err = scard.EstablishContext()
	}
	return service, sentence(err)
}

// release gives a context back. What it says is no use to anybody: the context is
// gone in any case.
func release(service *scard.Context) { _ = service.Release() }

type reader struct{ name string }

// Name returns the name that PC/SC gives the reader.
func (r *reader) Name() string { return r.name }

// Connect begins a session that nobody else can get between.
func (r *reader) Connect(ctx context.Context) (smartcard.Session, error) {
	s, err := within(ctx, serviceTimeout, r.connect, func(s *session, err error) {
		if err == nil {
			s.end(scard.LeaveCard)
		}
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (r *reader) connect() (*session, error) {
	service, err := establish()
	if err != nil {
		return nil, gone(err)
	}
	card, err := service.Connect(r.name, scard.ShareExclusive, scard.ProtocolAny)
	if err != nil {
		release(service)
		return nil, gone(sentence(err))
	}
	s := &session{service: service, card: card, protocol: card.ActiveProtocol()}
	if s.protocol != scard.ProtocolT0 && s.protocol != scard.ProtocolT1 {
		s.end(scard.LeaveCard)
		return nil, smartcard.ErrMute // the library panics for any other
	}
	return s, nil
}

// Wait looks in slices of half a second, so that it returns at most so long after
// ctx is done. Those who wait at one reader take turns.
func (r *reader) Wait(ctx context.Context, isPresent bool) error {
	service, err := within(ctx, serviceTimeout, establish, func(service *scard.Context, err error) {
		if err == nil {
			release(service)
		}
	})
	if err != nil {
		return gone(err)
	}
	seen := scard.StateUnaware
	for {
		state, err := r.look(ctx, service, seen)
		if isAbandoned(err) {
			return err // and who is left behind has the context
		}
		isThere := state&scard.StatePresent != 0
		if err != nil || isThere == isPresent {
			release(service)
			return err
		}
		// With the bit for a change in it the next look would return at once.
		seen = state &^ scard.StateChanged
	}
}

// look returns the reader's state when it is another than what was seen, or after
// a slice.
func (r *reader) look(ctx context.Context, service *scard.Context, seen scard.StateFlag) (scard.StateFlag, error) {
	unlock, err := r.watchAlone(ctx)
	if err != nil {
		return 0, err
	}
	// A slice is short enough to be waited for when ctx is done.
	state, err := within(context.WithoutCancel(ctx), sliceTime+serviceTimeout, func() (scard.StateFlag, error) {
		return r.change(service, seen)
	}, func(scard.StateFlag, error) {
		release(service)
		unlock()
	})
	if !isAbandoned(err) {
		unlock()
	}
	return state, err
}

func (r *reader) change(service *scard.Context, seen scard.StateFlag) (scard.StateFlag, error) {
	states := []scard.ReaderState{{Reader: r.name, CurrentState: seen}}
	err := service.GetStatusChange(states, sliceTime)
	state := states[0].EventState
	switch {
	case isError(err, scard.ErrTimeout):
		return seen, nil
	case err != nil:
		return 0, gone(ended(err))
	case state&(scard.StateUnknown|scard.StateUnavailable|scard.StateIgnore) != 0:
		return 0, smartcard.ErrGone
	}
	return state, nil
}
