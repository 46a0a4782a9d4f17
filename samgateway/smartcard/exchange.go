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
	if len(data) > maxData {
		return nil, fmt.Errorf("command %02X with %d bytes: want at most %d", byte(instruction), len(data), maxData)
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

// maxData is the most bytes of data in a command of short form.
const maxData = 255

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

// fields takes fields off bytes whose length was checked before.
type fields []byte

func (f *fields) take(count int) []byte {
	field := (*f)[:count]
	*f = (*f)[count:]
	return field
}

func (f *fields) byte() byte           { return f.take(1)[0] }
func (f *fields) uint32() uint32       { return big.Uint32(f.take(4)) }
func (f *fields) uint64() uint64       { return big.Uint64(f.take(8)) }
func (f *fields) id() purse.ID         { return purse.ID(f.take(8)) }
func (f *fields) mac() purse.MAC       { return purse.MAC(f.take(16)) }
func (f *fields) random() purse.Random { return purse.Random(f.take(16)) }
func (f *fields) unit() purse.Unit {
	return purse.Unit{Currency: purse.Currency(big.Uint16(f.take(2))), Exponent: int8(f.byte())}
}
