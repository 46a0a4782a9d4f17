//go:build pcsc && (cgo || windows)

package pcsc

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/ebfe/scard"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// Of PC/SC part 10, how readers of class 2 are used.
const (
	featureRequest  = 3400 // the control code that lists what a reader can do
	verifyPINDirect = 0x06 // FEATURE_VERIFY_PIN_DIRECT

	// padSeconds is how long the reader waits for each key.
	padSeconds = 30
	// padTimeout is for all of them, at a reader that does not keep to that.
	padTimeout = 2 * time.Minute
)

var (
	errNotEntered = errors.New("no PIN was entered at the reader in time")
	errBrokenOff  = errors.New("the entry of the PIN was broken off at the reader")
	errPad        = errors.New("the reader did not take the PIN")
)

// VerifyPIN has the holder enter the PIN at the reader's own pad. The PIN goes from
// there to the card alone.
func (s *session) VerifyPIN(ctx context.Context) (status []byte, err error) {
	code, found := s.padCode(ctx)
	if !found {
		return nil, smartcard.ErrNoPINPad
	}
	status, err = s.do(ctx, padTimeout, func() ([]byte, error) { return s.card.Control(code, verifyStructure()) })
	if err != nil {
		return nil, err
	}
	if err := padError(status); err != nil {
		return nil, err
	}
	s.noteVerified(status)
	return status, nil
}

// padCode asks the reader whether it has a pad.
func (s *session) padCode(ctx context.Context) (code uint32, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost != nil {
		return 0, false
	}
	features, err := within(ctx, serviceTimeout, func() ([]byte, error) {
		return s.card.Control(scard.CtlCode(featureRequest), nil)
	}, func([]byte, error) { s.end(scard.LeaveCard) })
	if isAbandoned(err) {
		s.isLeft, s.lost = true, torn(err)
	}
	if err != nil {
		return 0, false
	}
	return feature(features, verifyPINDirect)
}

// feature finds the control code of a feature in what the reader lists: tag,
// length 4 and code for each.
func feature(list []byte, wanted byte) (code uint32, found bool) {
	for len(list) >= 2 {
		tag, length := list[0], int(list[1])
		if len(list) < 2+length {
			return 0, false
		}
		if tag == wanted && length == 4 {
			return binary.BigEndian.Uint32(list[2:6]), true
		}
		list = list[2+length:]
	}
	return 0, false
}

// verifyStructure is the PIN_VERIFY_STRUCTURE of a PIN of 4 to 8 ASCII digits,
// which the reader puts behind the head of VERIFY, with its length.
func verifyStructure() []byte {
	command := []byte{0x00, byte(purse.Verify), 0x00, 0x80, 0x00}
	structure := []byte{
		padSeconds, padSeconds, // to the first key, and between two
		0x82,                                   // in bytes, from the left, ASCII
		0x00,                                   // no block of a fixed length
		0x00,                                   // no length within the block
		purse.MaxPINDigits, purse.MinPINDigits, // a little-endian word
		0x02,       // the holder ends with the key for it
		0xFF,       // messages are the reader's own
		0x09, 0x04, // in English, where it has a choice
		0x00,             // the first of them
		0x00, 0x00, 0x00, // what T=1 makes by itself
	}
	return append(binary.LittleEndian.AppendUint32(structure, uint32(len(command))), command...)
}

// padError says what a status of the reader's own means.
func padError(status []byte) error {
	if len(status) != 2 || status[0] != 0x64 {
		return nil
	}
	switch status[1] {
	case 0x00:
		return errNotEntered
	case 0x01:
		return errBrokenOff
	}
	return errPad
}
