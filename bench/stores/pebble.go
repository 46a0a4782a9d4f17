package stores

import (
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// pebbleStore is pebble, which writes what several callers commit at once with one sync.
type pebbleStore struct {
	*pebble.DB
	chains [64]sync.Mutex // pebble has no conditional write
}

func openPebble(folder string) (store, error) {
	db, err := pebble.Open(folder, &pebble.Options{Logger: silent{}})
	return &pebbleStore{DB: db}, err
}

func (s *pebbleStore) advance(chain, index uint64, word [wordBytes]byte) error {
	mutex := &s.chains[chain%uint64(len(s.chains))]
	mutex.Lock()
	defer mutex.Unlock()
	kept, closer, err := s.Get(key(chain))
	if err == nil {
		behind := isBehind(index, kept)
		if err := closer.Close(); err != nil {
			return err
		}
		if behind {
			return errBehind
		}
	} else if !errors.Is(err, pebble.ErrNotFound) {
		return err
	}
	return s.Set(key(chain), tail(index, word), pebble.Sync)
}

// silent keeps pebble from writing about its files between the results.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(format string, _ ...any) {
	panic(format)
}
