package purse

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
)

// Memory keeps the state of a card or a SAM over resets and losses of power.
type Memory interface {
	// Load returns what was stored last, or nothing if nothing ever was. The bytes
	// are the caller's.
	Load() ([]byte, error)
	// Store replaces the state as a whole, or not at all, and returns when that is
	// durable. It does not keep the slice. An error means that it is unknown which
	// of the two states is there.
	Store(state []byte) error
}

var (
	// ErrNotIssued means that a memory holds no state: nobody issued the card or
	// the SAM.
	ErrNotIssued = errors.New("nothing was issued here: personalise it first")
	// ErrIssued means that a memory holds a state already, perhaps with money on
	// it.
	ErrIssued = errors.New("something was issued here before: it is not overwritten")
	errState  = errors.New("the stored state is damaged, or was made by a newer version")
)

// stateVersion is that of the layouts in card_state.go and sam_state.go.
const stateVersion = 1

// checksums finds states that were stored by halves. It keeps nobody from
// forging one: who can write to the memory can read the keys in it.
var checksums = crc32.MakeTable(crc32.Castagnoli)

// seal frames a state: magic of 4 bytes, version, body, checksum. body was
// appended to what openFrame returned.
func seal(framed []byte) []byte {
	return big.AppendUint32(framed, crc32.Checksum(framed, checksums))
}

func openFrame(to []byte, magic string) []byte { return append(append(to, magic...), stateVersion) }

// unseal returns the body of a framed state, or errState.
func unseal(framed []byte, magic string) ([]byte, error) {
	head := openFrame(nil, magic)
	end := len(framed) - 4
	if end < len(head) || !bytes.HasPrefix(framed, head) || crc32.Checksum(framed[:end], checksums) != big.Uint32(framed[end:]) {
		return nil, errState
	}
	return framed[len(head):end], nil
}

// IsCardState reports whether a stored state begins as that of a card.
func IsCardState(state []byte) bool { return bytes.HasPrefix(state, []byte(cardMagic)) }

// IsSAMState reports whether a stored state begins as that of a SAM.
func IsSAMState(state []byte) bool { return bytes.HasPrefix(state, []byte(samMagic)) }

// issueState stores a first state where none is.
func issueState(memory Memory, framed []byte) error {
	present, err := memory.Load()
	if err != nil {
		return fmt.Errorf("looking whether something was issued: %w", err)
	}
	if len(present) > 0 {
		return ErrIssued
	}
	return memory.Store(framed)
}
