package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/paywordhq/payword/internal/filelock"
	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway/relay"
)

const (
	// maxSites is how many sites can be paired: more than a person keeps in mind.
	maxSites = 64
	// maxOpen is how much may be undecided. Whoever has so much open should find
	// out before he goes on.
	maxOpen = 16
	// maxStateBytes is what 64 sites and 16 open sessions take at most.
	maxStateBytes = 128 << 10
	stateVersion  = 1
)

// site is one that the holder has paired.
type site struct {
	Origin string    `json:"origin"`
	Token  string    `json:"token"` // SHA-256 of it
	Paired time.Time `json:"paired"`
}

// opening is a session of which it is not known what it moved.
type opening struct {
	Request   string         `json:"request"` // id
	Origin    string         `json:"origin"`
	Gateway   string         `json:"gateway"`
	Merchant  string         `json:"merchant"`
	Payee     string         `json:"payee"`
	Intent    relay.Intent   `json:"intent"`
	Amount    money.Amount   `json:"amount"`
	Currency  money.Currency `json:"currency"`
	Account   string         `json:"account,omitempty"`
	Card      string         `json:"card"`
	SNo       uint32         `json:"sno"` // of the card's last payment before it
	LNo       uint32         `json:"lno"` // of its last load before it
	Began     time.Time      `json:"began"`
	Reference string         `json:"reference,omitempty"`
}

// state is what the file has.
type state struct {
	Version int       `json:"version"`
	Sites   []site    `json:"sites"`
	Open    []opening `json:"open"`
}

// store keeps the state in a file that is replaced as a whole.
type store struct {
	path string
	lock io.Closer

	mutex sync.Mutex // guards state and the file
	state state
}

func openStore(path string) (*store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("the folder of the agent's state: %w", err)
	}
	lock, err := filelock.Lock(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("the agent's state %s: %w", path, err)
	}
	s := &store{path: path, lock: lock, state: state{Version: stateVersion}}
	if err := s.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("the agent's state %s: %w", path, err), lock.Close())
	}
	return s, nil
}

func (s *store) read() error {
	file, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxStateBytes+1))
	if err != nil {
		return err
	}
	if len(content) > maxStateBytes {
		return fmt.Errorf("it has more than %d bytes", maxStateBytes)
	}
	if err := json.Unmarshal(content, &s.state); err != nil {
		return errors.New("it is not the JSON that it should be: move it away to begin anew, after you looked what is open in it")
	}
	if s.state.Version != stateVersion || len(s.state.Sites) > maxSites || len(s.state.Open) > maxOpen {
		return fmt.Errorf("it is of version %d with %d sites and %d open: this agent reads version %d, %d sites and %d open",
			s.state.Version, len(s.state.Sites), len(s.state.Open), stateVersion, maxSites, maxOpen)
	}
	return nil
}

func (s *store) close() error { return s.lock.Close() }

// change replaces the state by what edit makes of it, durably, before anybody
// sees it. If edit fails nothing changes.
func (s *store) change(edit func(*state) error) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	next := state{Version: stateVersion, Sites: slices.Clone(s.state.Sites), Open: slices.Clone(s.state.Open)}
	if err := edit(&next); err != nil {
		return err
	}
	if err := s.write(next); err != nil {
		return fmt.Errorf("writing the agent's state: %w", err)
	}
	s.state = next
	return nil
}

func (s *store) write(next state) error {
	content, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(s.path), filepath.Base(s.path)+".*")
	if err != nil {
		return err
	}
	// Once it has its name there is nothing left to remove.
	defer os.Remove(file.Name())
	_, err = file.Write(append(content, '\n'))
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), s.path); err != nil {
		return err
	}
	return filelock.SyncDirectory(filepath.Dir(s.path))
}

// sites returns the paired sites, and open what is undecided. Neither is changed
// afterwards.
func (s *store) sites() []site {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.state.Sites
}

func (s *store) open() []opening {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.state.Open
}

// pair puts a site in place of what was there for its origin.
func (s *store) pair(added site) error {
	return s.change(func(next *state) error {
		next.Sites = slices.DeleteFunc(next.Sites, func(one site) bool { return one.Origin == added.Origin })
		if len(next.Sites) >= maxSites {
			return fmt.Errorf("%d sites are paired: remove one first", maxSites)
		}
		next.Sites = append(next.Sites, added)
		return nil
	})
}

func (s *store) unpair(origin string) error {
	return s.change(func(next *state) error {
		next.Sites = slices.DeleteFunc(next.Sites, func(one site) bool { return one.Origin == origin })
		return nil
	})
}

var errTooMuchOpen = fmt.Errorf("%d sessions are not decided: find out what became of them first", maxOpen)

func (s *store) begin(o opening) error {
	return s.change(func(next *state) error {
		if len(next.Open) >= maxOpen {
			return errTooMuchOpen
		}
		next.Open = append(next.Open, o)
		return nil
	})
}

// end forgets what is decided.
func (s *store) end(isDecided func(opening) bool) error {
	return s.change(func(next *state) error {
		next.Open = slices.DeleteFunc(next.Open, isDecided)
		return nil
	})
}
