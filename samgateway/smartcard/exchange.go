package smartcard

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/paywordhq/payword/internal/purse"
)

var big = binary.BigEndian

// exchange sends a command and returns the data of the answer. A status other
// than 9000 is a purse.StatusWord: the card said no. Any other error means that
// it is unknown what the card did.
func exchange(ctx context.Context, card Card, instruction purse.Instruction, p1, p2 byte, data []byte) ([]byte, error) {
	if len(data) > purse.MaxCommandData {
		return nil, fmt.Errorf("command %02X with %d bytes: want at most %d", byte(instruction), len(data), purse.MaxCommandData)
	}
	answer, err := card.Transmit(ctx, purse.Command(instruction, p1, p2, data))
	if err != nil {
		return nil, err
	}
	// Readers promise two bytes at least. A card that is torn can answer none, and
	// whoever breaks the promise shall not be believed to have said yes.
	content, status, err := purse.Answer(answer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTorn, err)
	}
	if status != purse.Done {
		return nil, status
	}
	return content, nil
}

// fixed is exchange for an answer of one length. An answer of another length
// says nothing.
func fixed(ctx context.Context, card Card, instruction purse.Instruction, data []byte, length int) ([]byte, error) {
	answer, err := exchange(ctx, card, instruction, 0, 0, data)
	if err == nil && len(answer) != length {
		err = fmt.Errorf("the answer to command %02X has %d bytes: want %d", byte(instruction), len(answer), length)
	}
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// selectApplication selects an application by its AID. ErrForeign means that
// the card has none of that name.
func selectApplication(ctx context.Context, card Card, aid string) error {
	_, err := exchange(ctx, card, purse.Select, 4, 0, []byte(aid))
	if status := purse.StatusWord(0); errors.As(err, &status) {
		return fmt.Errorf("%w: to SELECT it says: %w", ErrForeign, status)
	}
	return err
}
