// Package stores does in other embedded stores what the gate's own does for each
// payment: go forward on a chain, durably, if nobody was faster. They are
// compared with it by benchmarks.
package stores

import (
	"encoding/binary"
	"errors"
)

// A tail is the payword of a chain that was accepted last, behind its index.
const (
	wordBytes = 32
	tailBytes = 8 + wordBytes
)

// errBehind says that a chain has been where somebody wants to go.
var errBehind = errors.New("the chain is there already")

// store keeps the tail of every chain.
type store interface {
	// advance sets the tail of a chain if index is above that of the one that is
	// kept, and returns errBehind otherwise. When it returns nil the tail is on the
	// disk.
	advance(chain, index uint64, word [wordBytes]byte) error
	Close() error
}

func key(chain uint64) []byte { return binary.BigEndian.AppendUint64(nil, chain) }

func tail(index uint64, word [wordBytes]byte) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, tailBytes), index), word[:]...)
}

// isBehind reports whether an index does not go beyond a tail that is kept; nil
// is none.
func isBehind(index uint64, kept []byte) bool {
	return len(kept) >= 8 && index <= binary.BigEndian.Uint64(kept)
}
