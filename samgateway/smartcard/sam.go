package smartcard

import (
	"context"
	"fmt"
	"time"

	"github.com/paywordhq/payword/internal/purse"
)

// SAM is a merchant's SAM, by the commands of PWP1. Errors are as those of Purse.
type SAM struct{ Card }

// Select selects the SAM: ErrForeign if the card is none.
func (s SAM) Select(ctx context.Context) error {
	return selectApplication(ctx, s, purse.SAMAID)
}

// Data asks the SAM about itself.
func (s SAM) Data(ctx context.Context) (purse.SAMData, error) {
	answer, err := exchange(ctx, s, purse.GetData, 0, 0, nil)
	if err != nil {
		return purse.SAMData{}, err
	}
	return purse.ParseSAMData(answer)
}

// Init begins a payment and uses up a transaction number. purse.OverSAMLimit
// means that the batch has to be turned in first.
func (s SAM) Init(ctx context.Context, amount uint32, unit purse.Unit, when time.Time) (purse.Opening, error) {
	data := big.AppendUint16(big.AppendUint32(nil, amount), uint16(unit.Currency))
	return s.begin(ctx, purse.InitPay, big.AppendUint32(append(data, byte(unit.Exponent)), uint32(when.Unix())))
}

// InitCancel begins to cancel the payment tno, which must be in the open batch.
func (s SAM) InitCancel(ctx context.Context, tno uint32, when time.Time) (purse.Opening, error) {
	return s.begin(ctx, purse.InitCancel, big.AppendUint32(big.AppendUint32(nil, tno), uint32(when.Unix())))
}

func (s SAM) begin(ctx context.Context, instruction purse.Instruction, data []byte) (purse.Opening, error) {
	answer, err := exchange(ctx, s, instruction, 0, 0, data)
	if err != nil {
		return purse.Opening{}, err
	}
	return purse.ParseOpening(answer)
}

// Authorize takes the card's answer to START, checks who the card is, and returns
// the order for it: 51 bytes for DEBIT, or 59 for CANCEL LAST.
func (s SAM) Authorize(ctx context.Context, started Started) ([]byte, error) {
	order, err := exchange(ctx, s, purse.Authorize, 0, 0, started.Append(nil))
	if err == nil && len(order) != purse.DebitLength && len(order) != purse.CancelOrderLength {
		err = fmt.Errorf("the answer to AUTHORIZE has %d bytes: want %d or %d", len(order), purse.DebitLength, purse.CancelOrderLength)
	}
	if err != nil {
		return nil, err
	}
	return order, nil
}

// Commit takes the card's answer to DEBIT or CANCEL LAST and returns the record.
func (s SAM) Commit(ctx context.Context, paid []byte) ([]byte, error) {
	return recordOf(exchange(ctx, s, purse.Commit, 0, 0, paid))
}

// Void ends the open transaction without a payment and returns the record. With
// denied, a card's answer to RECOVER with random (21 bytes), the SAM checks that
// the card never will pay; without (nil), it says so itself if no order left it,
// and else that nothing is proved.
func (s SAM) Void(ctx context.Context, tno uint32, denied []byte, random purse.Random) ([]byte, error) {
	data := big.AppendUint32(nil, tno)
	if denied != nil {
		data = append(append(data, denied...), random[:]...)
	}
	return recordOf(exchange(ctx, s, purse.VoidPay, 0, 0, data))
}

// Record returns a record of the batch that is open or closed. purse.NoRecord
// means that there is none of that number.
func (s SAM) Record(ctx context.Context, tno uint32) ([]byte, error) {
	return recordOf(exchange(ctx, s, purse.GetRecord, 0, 0, big.AppendUint32(nil, tno)))
}

func recordOf(answer []byte, err error) ([]byte, error) {
	if err == nil {
		_, err = purse.ParseRecord(answer)
	}
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// CloseBatch closes the batch and returns its total, 68 bytes, as often as it is
// asked.
func (s SAM) CloseBatch(ctx context.Context) ([]byte, error) {
	return fixed(ctx, s, purse.CloseBatch, nil, purse.TotalLength)
}

// Acknowledge takes clearing's acknowledgement: the SAM forgets the batch and
// opens the next one.
func (s SAM) Acknowledge(ctx context.Context, ack purse.MAC) error {
	_, err := exchange(ctx, s, purse.AckBatch, 0, 0, ack[:])
	return err
}
