package smartcard

import (
	"context"
	"fmt"
	"time"

	"github.com/paywordhq/payword/internal/purse"
)

const (
	samDataLength     = 46
	samOpenLength     = 24 // more, while a transaction is open
	cancellationBytes = 98 // of a record of type 03
)

// SAM is a merchant's SAM, by the commands of PWP1. Errors are as those of Purse.
type SAM struct{ Card }

// Select selects the SAM: ErrForeign if the card is none.
func (s SAM) Select(ctx context.Context) error {
	return selectApplication(ctx, s, purse.SAMAID)
}

// SAMState is what a SAM is in the middle of.
type SAMState byte

// The states of a SAM.
const (
	SAMIdle    SAMState = 0
	SAMBegun   SAMState = 1 // INIT took place: no order left the SAM yet
	SAMOrdered SAMState = 2 // an order may have left it
	SAMClosed  SAMState = 3 // the batch is closed, and not acknowledged
)

// OpenTransaction is what a SAM says of the transaction that is open.
type OpenTransaction struct {
	IsCancellation bool
	Amount         uint32 // in units
	Unit           purse.Unit
	Time           uint32 // seconds since 1970
	Card           purse.ID
	SNo            uint32
}

// SAMData is what a SAM says of itself.
type SAMData struct {
	State      SAMState
	Merchant   purse.ID
	KeyVersion byte
	Batch      uint32
	TNo        uint32 // the last that was used
	First      uint32 // TNo of the batch's first record
	Count      uint32 // of payments and cancellations in it
	Voids      uint32
	Sum        uint64 // of payments less cancellations, in units
	Limit      uint64 // of that sum
	Open       OpenTransaction
}

// Data asks the SAM about itself.
func (s SAM) Data(ctx context.Context) (SAMData, error) {
	answer, err := exchange(ctx, s, purse.GetData, 0, 0, nil)
	if err != nil {
		return SAMData{}, err
	}
	if len(answer) != samDataLength && len(answer) != samDataLength+samOpenLength {
		return SAMData{}, fmt.Errorf("the SAM tells of itself in %d bytes: want %d, or %d with an open transaction", len(answer), samDataLength, samDataLength+samOpenLength)
	}
	f := fields(answer)
	data := SAMData{
		State: SAMState(f.byte()), Merchant: f.id(), KeyVersion: f.byte(), Batch: f.uint32(), TNo: f.uint32(), First: f.uint32(),
		Count: f.uint32(), Voids: f.uint32(), Sum: f.uint64(), Limit: f.uint64(),
	}
	isOpen := data.State == SAMBegun || data.State == SAMOrdered
	if data.State > SAMClosed || isOpen != (len(f) > 0) {
		return SAMData{}, fmt.Errorf("the SAM tells of state %d in %d bytes, which makes no sense", data.State, len(answer))
	}
	if isOpen {
		data.Open = OpenTransaction{IsCancellation: f.byte() == 2, Amount: f.uint32(), Unit: f.unit(), Time: f.uint32(), Card: f.id(), SNo: f.uint32()}
	}
	return data, nil
}

// Init begins a payment and uses up a transaction number. purse.OverSAMLimit
// means that the batch has to be turned in first.
func (s SAM) Init(ctx context.Context, amount uint32, unit purse.Unit, when time.Time) (Begun, error) {
	data := big.AppendUint16(big.AppendUint32(nil, amount), uint16(unit.Currency))
	return s.begin(ctx, purse.InitPay, big.AppendUint32(append(data, byte(unit.Exponent)), uint32(when.Unix())))
}

// InitCancel begins to cancel the payment tno, which must be in the open batch.
func (s SAM) InitCancel(ctx context.Context, tno uint32, when time.Time) (Begun, error) {
	return s.begin(ctx, purse.InitCancel, big.AppendUint32(big.AppendUint32(nil, tno), uint32(when.Unix())))
}

func (s SAM) begin(ctx context.Context, instruction purse.Instruction, data []byte) (Begun, error) {
	answer, err := fixed(ctx, s, instruction, data, BegunLength)
	if err != nil {
		return Begun{}, err
	}
	return ParseBegun(answer)
}

// Authorize checks who the card is, and returns the order for it: 51 bytes for
// DEBIT, or 59 for CANCEL LAST.
func (s SAM) Authorize(ctx context.Context, started Started) ([]byte, error) {
	order, err := exchange(ctx, s, purse.Authorize, 0, 0, started.Append(nil))
	if err == nil && len(order) != OrderLength && len(order) != CancelOrderLength {
		err = fmt.Errorf("the answer to AUTHORIZE has %d bytes: want %d or %d", len(order), OrderLength, CancelOrderLength)
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
// denied, a card's answer to RECOVER with random, the SAM checks that the card
// never will pay; without (nil), it says so itself if no order left it, and else
// that nothing is proved.
func (s SAM) Void(ctx context.Context, tno uint32, denied []byte, random purse.Random) ([]byte, error) {
	data := big.AppendUint32(nil, tno)
	if denied != nil {
		data = append(append(append(data, 0), denied...), random[:]...)
	}
	return recordOf(exchange(ctx, s, purse.VoidPay, 0, 0, data))
}

// Record returns a record of the open batch. purse.NoRecord means that there is
// none of that number.
func (s SAM) Record(ctx context.Context, tno uint32) ([]byte, error) {
	return recordOf(exchange(ctx, s, purse.GetRecord, 0, 0, big.AppendUint32(nil, tno)))
}

func recordOf(answer []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	switch len(answer) {
	case purse.PaymentLength, purse.VoidLength, cancellationBytes:
		return answer, nil
	}
	return nil, fmt.Errorf("record of %d bytes: want %d, %d or %d", len(answer), purse.PaymentLength, purse.VoidLength, cancellationBytes)
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
