package terminal

import (
	"bytes"
	"context"
	"fmt"

	"github.com/paywordhq/payword/internal/purse"
)

// TurnIn closes the batch, has clearing take it, and tells the SAM so. It is
// begun only if clearing can be reached: a SAM whose batch is closed takes no
// payments. ErrOccupied means that a transaction is not decided; an error that
// is a *purse.Refusal that clearing does not take the batch. Each step is
// repeated by the next TurnIn or Resolve, until all is done.
func (t *Terminal) TurnIn(ctx context.Context) (Turned, error) {
	release, err := t.acquire(ctx)
	if err != nil {
		return Turned{}, err
	}
	defer release()
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), exchangeTimeout)
	defer cancel()
	if _, err := t.settle(work, nil, false); err != nil {
		return Turned{}, err
	}
	return t.turnIn(ctx)
}

// closedBatch is what was read out of a SAM whose batch is closed: on a card it
// takes a minute, and the SAM says the same until it is acknowledged.
type closedBatch struct {
	total purse.Total
	text  []byte // total and records
}

// turnIn does it where nothing is undecided. t.turn is held.
func (t *Terminal) turnIn(ctx context.Context) (Turned, error) {
	data, err := t.samData(ctx)
	if err != nil {
		return Turned{}, err
	}
	if data.State.IsOpen() {
		return Turned{}, ErrOccupied
	}
	if data.State == purse.SAMIdle {
		if data.TNo < data.First { // nothing is in it
			return Turned{Merchant: data.Merchant}, nil
		}
		if err := t.refreshHotList(ctx); err != nil {
			return Turned{}, fmt.Errorf("clearing cannot be reached, and the batch stays open: %w", err)
		}
	}
	batch, err := t.readBatch(ctx)
	if err != nil {
		return Turned{}, err
	}
	asked, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	ack, err := t.config.Host.SubmitBatch(asked, batch.text)
	if err != nil {
		return Turned{}, fmt.Errorf("turning in batch %d: %w", batch.total.Batch, err)
	}
	return t.acknowledge(ctx, batch.total, ack)
}

// readBatch closes the batch, if it is open, and reads it.
func (t *Terminal) readBatch(ctx context.Context) (closedBatch, error) {
	text, err := t.sam.CloseBatch(ctx)
	if err != nil {
		return closedBatch{}, fmt.Errorf("closing the batch: %w", err)
	}
	if bytes.HasPrefix(t.closed.text, text) {
		return t.closed, nil
	}
	total, err := purse.ParseTotal(text)
	if err != nil {
		return closedBatch{}, err
	}
	if total.First == 0 || total.Last < total.First || total.Last-total.First >= purse.MaxRecords {
		return closedBatch{}, fmt.Errorf("the SAM closes a batch of transactions %d to %d: want at most %d", total.First, total.Last, purse.MaxRecords)
	}
	for number := uint64(total.First); number <= uint64(total.Last); number++ {
		record, err := t.sam.Record(ctx, uint32(number))
		if err != nil {
			return closedBatch{}, fmt.Errorf("reading record %d of the batch: %w", number, err)
		}
		text = append(text, record...)
	}
	t.closed = closedBatch{total, text}
	return t.closed, nil
}

// acknowledge tells the SAM that clearing has the batch, and forgets in the
// journal what is at its end.
func (t *Terminal) acknowledge(ctx context.Context, total purse.Total, ack purse.MAC) (Turned, error) {
	// The journal first: what clearing has taken stays true if the SAM is gone.
	if err := t.journal.turned(total.Last); err != nil {
		return Turned{}, err
	}
	if err := t.sam.Acknowledge(ctx, ack); err != nil {
		data, dataErr := t.samData(ctx)
		if dataErr != nil || data.Batch != total.Batch+1 { // its answer alone was not lost
			return Turned{}, fmt.Errorf("clearing has batch %d, and the SAM does not take that: %w", total.Batch, err)
		}
	}
	t.closed, t.chain = closedBatch{}, chainEnd{}
	return Turned{
		Merchant: total.Merchant, Batch: total.Batch, First: total.First, Last: total.Last,
		Payments: total.Payments, Voids: total.Voids, Sum: total.Sum,
	}, nil
}
