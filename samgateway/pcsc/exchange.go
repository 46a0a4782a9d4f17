//go:build pcsc && (cgo || windows)

package pcsc

import (
	"errors"
	"slices"
)

const (
	// moreBytes and otherLength are first bytes of a status: so many bytes more wait
	// to be fetched, and the command is to be sent again with that length.
	moreBytes, otherLength = 0x61, 0x6C

	// maxParts bounds how often a card may say that there is more: 64 KB, which is
	// all that a command can ask for.
	maxParts = 256
)

var errEndless = errors.New("the card says of every part of an answer that there is more")

// exchange sends one command by transmit and returns the whole answer. Cards that
// speak T=0 take no length of the answer besides data, and let it be fetched by
// GET RESPONSE (ISO/IEC 7816-3, 12.2.1). An answer of less than two bytes comes
// back as it is.
func exchange(isT0 bool, transmit func([]byte) ([]byte, error), command []byte) ([]byte, error) {
	if isT0 {
		command = forT0(command)
	}
	answer, err := transmit(command)
	if err != nil || len(answer) < 2 {
		return answer, err
	}
	if status := answer[len(answer)-2:]; status[0] == otherLength && len(command) == 5 {
		command = append(slices.Clone(command[:4]), status[1])
		if answer, err = transmit(command); err != nil || len(answer) < 2 {
			return answer, err
		}
	}
	whole := slices.Clone(answer)
	for range maxParts {
		end := len(whole) - 2
		if whole[end] != moreBytes {
			return whole, nil
		}
		part, err := transmit([]byte{command[0] &^ 0x80, 0xC0, 0, 0, whole[end+1]})
		if err != nil || len(part) < 2 {
			return part, err
		}
		whole = append(whole[:end], part...)
	}
	return nil, errEndless
}

// forT0 returns a command as T=0 sends it: with a fifth byte in any case, and
// without the length of the answer after data.
func forT0(command []byte) []byte {
	switch {
	case len(command) == 4:
		return append(slices.Clone(command), 0)
	case len(command) > 5 && len(command) == 5+int(command[4])+1:
		return command[:len(command)-1]
	}
	return command
}
