//go:build pcsc && (cgo || windows)

package pcsc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ebfe/scard"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

const (
	// answerTimeout is how long a card may take for one command. Cards that compute
	// a few MACs and write as many records take a tenth of a second.
	answerTimeout = 10 * time.Second
)

var errClosed = errors.New("the session with the card was closed")

// session is a card that is connected to exclusively. When a command fails it is
// lost: what comes after could reach another card.
type session struct {
	service  *scard.Context
	card     *scard.Card
	protocol scard.Protocol

	mu         sync.Mutex
	lost       error // why there are no more commands
	isLeft     bool  // a goroutine that was left behind has service and card
	isVerified bool  // the card was told its PIN
}

// Transmit sends a command and waits for the answer, ten seconds at most.
func (s *session) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	if len(command) < 4 {
		return nil, fmt.Errorf("command of %d bytes: want at least 4", len(command))
	}
	own := slices.Clone(command)
	answer, err := s.do(ctx, answerTimeout, func() ([]byte, error) {
		return exchange(s.protocol == scard.ProtocolT0, s.card.Transmit, own)
	})
	if err == nil && own[1] == byte(purse.Verify) {
		s.noteVerified(answer)
	}
	return answer, err
}

// do does what makes the card answer.
func (s *session) do(ctx context.Context, limit time.Duration, work func() ([]byte, error)) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost != nil {
		return nil, s.lost
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	answer, err := within(ctx, limit, work, func([]byte, error) { s.end(scard.LeaveCard) })
	if err != nil {
		s.isLeft = isAbandoned(err)
		s.lost = torn(err)
		return nil, s.lost
	}
	// A card that is pulled can answer nothing, without any error.
	if len(answer) < 2 {
		s.lost = smartcard.ErrTorn
		return nil, s.lost
	}
	// The library's answer is the beginning of 64 KB.
	return slices.Clone(answer), nil
}

func (s *session) noteVerified(answer []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isVerified = s.isVerified || slices.Equal(answer, []byte{0x90, 0x00})
}

// Close leaves the card as it is. A card that was told its PIN is reset, so that
// the next program finds it without.
func (s *session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.lost, errClosed) {
		return nil
	}
	disposition := scard.LeaveCard
	if s.isVerified && s.isThere() {
		disposition = scard.ResetCard
	}
	s.lost = smartcard.Torn(errClosed)
	if s.isLeft {
		return nil
	}
	_, err := within(context.Background(), serviceTimeout, func() (struct{}, error) {
		s.end(disposition)
		return struct{}{}, nil
	}, func(struct{}, error) {})
	return err
}

// isThere asks the card for anything. To reset a reader from which the card was
// just pulled makes pcscd forget the card while it still polls for it, so that the
// next one is not seen. s.mu is held.
func (s *session) isThere() bool {
	if s.lost != nil {
		return false
	}
	answer, err := within(context.Background(), answerTimeout, func() ([]byte, error) {
		return s.card.Transmit([]byte{0x00, byte(purse.Select), 0x04, 0x00, 0x00})
	}, func([]byte, error) { s.end(scard.LeaveCard) })
	s.isLeft = isAbandoned(err)
	return err == nil && len(answer) >= 2
}

// end gives card and context back. That the card is gone is no error, and any
// other ends with the context.
func (s *session) end(disposition scard.Disposition) {
	_ = s.card.Disconnect(disposition)
	release(s.service)
}
