// Package softcard has purse cards and SAMs in files, for tests and
// demonstrations. They do what chips do, command by command, and lose nothing when
// the power goes. But whoever reads such a file has its keys, and whoever copies it
// has the card twice: clearing sees that only when both were spent.
package softcard

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// CreateCard issues a card into a file of mode 0600. fs.ErrExist comes back where
// there is a file: it may hold money.
func CreateCard(path string, issue purse.CardIssue) error {
	return create(path, func(memory purse.Memory) error { return purse.IssueCard(memory, issue) })
}

// CreateSAM is CreateCard for a SAM.
func CreateSAM(path string, issue purse.SAMIssue) error {
	return create(path, func(memory purse.Memory) error { return purse.IssueSAM(memory, issue) })
}

func create(path string, issue func(purse.Memory) error) error {
	memory, err := open(path)
	if err != nil {
		return err
	}
	if _, err = os.Lstat(memory.path); err == nil {
		err = fmt.Errorf("%s is there already, and perhaps money on it: choose another name: %w", path, fs.ErrExist)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = issue(memory)
	}
	return errors.Join(err, memory.Close())
}

// Reader returns a file as a reader with a card in it. While there is no file, the
// reader is empty: so to move the file away is to take the card out.
func Reader(path string) smartcard.Reader { return reader(path) }

type reader string

// Name is the name of the file.
func (r reader) Name() string { return string(r) }

// pollInterval is how often a reader looks whether there is a file, as often as
// pcscd does.
const pollInterval = 400 * time.Millisecond

// Wait returns when there is a file, or none.
func (r reader) Wait(ctx context.Context, isPresent bool) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		_, err := os.Stat(string(r))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %w", smartcard.ErrGone, err)
		}
		if (err == nil) == isPresent {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// chip is a card or a SAM.
type chip interface {
	Transmit(command []byte) ([]byte, error)
	Reset()
}

// Connect begins a session with the card or the SAM in the file. Nobody else has
// it until that is closed.
func (r reader) Connect(ctx context.Context) (smartcard.Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// Without a file there shall be no lock beside it either.
	if _, err := os.Stat(string(r)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: there is no file %s", smartcard.ErrNoCard, string(r))
	}
	memory, err := open(string(r))
	if err != nil {
		return nil, err
	}
	inserted, err := chipIn(memory)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", string(r), err), memory.Close())
	}
	return &session{memory: memory, chip: inserted}, nil
}

func chipIn(memory *file) (chip, error) {
	state, err := memory.Load()
	if err != nil {
		return nil, err
	}
	ofSAM, err := isSAM(state)
	switch {
	case err != nil:
		return nil, err
	case ofSAM:
		return purse.OpenSAM(memory, rand.Reader)
	}
	return purse.OpenCard(memory, rand.Reader)
}

var errClosed = errors.New("the session with the card was closed")

// session is safe for concurrent use. After a command that failed there are no
// more, as with a card that was pulled.
type session struct {
	mu     sync.Mutex
	memory *file
	chip   chip
	lost   error
}

// Transmit has the card do a command.
func (s *session) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost != nil {
		return nil, s.lost
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	answer, err := s.chip.Transmit(command)
	if err != nil {
		s.chip.Reset()
		s.lost = smartcard.Torn(fmt.Errorf("the card in %s gave no answer: %w", s.memory.path, err))
		return nil, s.lost
	}
	return answer, nil
}

// Close takes the power from the card and lets others have the file.
func (s *session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.lost, errClosed) {
		return nil
	}
	s.chip.Reset()
	s.lost = smartcard.Torn(errClosed)
	return s.memory.Close()
}
