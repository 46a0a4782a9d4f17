package samgateway

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// samCard is the SAM for as long as the till is open. When it, or its reader, was
// pulled out it is connected to again at the next command. Another SAM is not
// taken for it.
type samCard struct {
	find func(ctx context.Context) (smartcard.Reader, error)

	mutex    sync.Mutex        // guards what follows: one command at a time
	session  smartcard.Session // nil: it was lost
	merchant purse.ID          // zero: it was not seen yet
}

var _ smartcard.Card = (*samCard)(nil)

// connect connects to the SAM if it was lost, or not found yet.
func (s *samCard) connect(ctx context.Context) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.connected(ctx)
}

func (s *samCard) connected(ctx context.Context) error {
	if s.session != nil {
		return nil
	}
	reader, err := s.find(ctx)
	if err != nil {
		return err
	}
	session, err := reader.Connect(ctx)
	if err == nil {
		if err = s.look(ctx, session); err != nil {
			err = errors.Join(err, session.Close())
		}
	}
	switch {
	case errors.Is(err, smartcard.ErrBusy):
		return fmt.Errorf("the SAM in %s: %w: is \"samgateway serve\" running? Use its kiosk or its readers at home, or end it first", reader.Name(), err)
	case err != nil:
		return fmt.Errorf("the SAM in %s: %w", reader.Name(), err)
	}
	s.session = session
	return nil
}

// look selects the SAM, which what comes next needs, and sees that it is the same
// as before.
func (s *samCard) look(ctx context.Context, session smartcard.Session) error {
	sam := smartcard.SAM{Card: session}
	if err := sam.Select(ctx); err != nil {
		if errors.Is(err, smartcard.ErrForeign) {
			return errors.New("it is no SAM: put the merchant's SAM in")
		}
		return err
	}
	data, err := sam.Data(ctx)
	if err != nil {
		return err
	}
	if s.merchant != (purse.ID{}) && s.merchant != data.Merchant {
		return fmt.Errorf("it is that of merchant %s now: put the one of %s back in", data.Merchant, s.merchant)
	}
	s.merchant = data.Merchant
	return nil
}

// Transmit implements smartcard.Card.
func (s *samCard) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if err := s.connected(ctx); err != nil {
		return nil, err
	}
	answer, err := s.session.Transmit(ctx, command)
	if err != nil {
		// A session that has missed an answer is of no more use.
		_ = s.session.Close()
		s.session = nil
	}
	return answer, err
}

// Close ends the session.
func (s *samCard) Close() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.session == nil {
		return nil
	}
	err := s.session.Close()
	s.session = nil
	return err
}
