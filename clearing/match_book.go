package clearing

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// The kinds of transfers that give back what a bank returned. Corrections are
// new entries: nothing is taken out of the books.
const (
	kindReturn    = "settlement-return"
	kindFeeReturn = "settlement-fee-return"
)

// The kinds of outcomes that the broker is told of.
const (
	outcomePayoutPaid     = "payout-paid"
	outcomePayoutRefused  = "payout-refused"
	outcomePayoutReturned = "payout-returned"
	outcomeDebitCollected = "debit-collected"
	outcomeDebitReturned  = "debit-returned"
)

// book does what follows from the bank's having booked an instruction.
func (m *matching) book(ctx context.Context, tx *ledger.Tx, i Instruction, e *BankEntry) error {
	err := advanceInstruction(ctx, tx, i, `UPDATE clearing_instructions SET state = 'booked', booked = ?, version = version + 1
		WHERE end_to_end = ? AND state = 'sent' AND version = ?`, tx.Now().UnixMicro(), i.EndToEnd, i.version)
	if err != nil {
		return err
	}
	switch i.Kind {
	case KindVendor, KindMerchant:
		err = endPending(ctx, tx, i, "booked", tx.PostPending)
	case KindAccountPayout:
		err = m.tellBroker(ctx, tx, outcomePayoutPaid, i, e)
	case KindCollection:
		err = m.tellBroker(ctx, tx, outcomeDebitCollected, i, e)
		if err == nil {
			err = m.reserve(ctx, tx, i)
		}
	}
	return m.logged(ctx, tx, err, "book", i, e)
}

// reject gives back what was set aside for an instruction that the bank does not
// carry out.
func (m *matching) reject(ctx context.Context, tx *ledger.Tx, i Instruction, e *BankEntry) error {
	err := advanceInstruction(ctx, tx, i, `UPDATE clearing_instructions SET state = 'rejected', ended = ?, code = ?, version = version + 1
		WHERE end_to_end = ? AND state = 'sent' AND version = ?`, tx.Now().UnixMicro(), e.Code, i.EndToEnd, i.version)
	if err != nil {
		return err
	}
	switch i.Kind {
	case KindVendor, KindMerchant:
		err = endPending(ctx, tx, i, "rejected", tx.VoidPending)
	case KindAccountPayout:
		err = m.tellBroker(ctx, tx, outcomePayoutRefused, i, e)
	case KindCollection:
		err = endMandate(ctx, tx, i, e.Code)
	}
	return m.logged(ctx, tx, err, "reject", i, e)
}

// giveBack books that the money of an instruction came back, or was taken back.
func (m *matching) giveBack(ctx context.Context, tx *ledger.Tx, i Instruction, e *BankEntry) error {
	err := advanceInstruction(ctx, tx, i, `UPDATE clearing_instructions SET state = 'returned', ended = ?, code = ?, version = version + 1
		WHERE end_to_end = ? AND state = 'booked' AND version = ?`, tx.Now().UnixMicro(), e.Code, i.EndToEnd, i.version)
	if err != nil {
		return err
	}
	switch i.Kind {
	case KindVendor, KindMerchant:
		err = returnTransfers(ctx, tx, i)
	case KindAccountPayout:
		err = m.tellBroker(ctx, tx, outcomePayoutReturned, i, e)
	case KindCollection:
		err = m.tellBroker(ctx, tx, outcomeDebitReturned, i, e)
		if err == nil {
			err = useReserve(ctx, tx, i.EndToEnd)
		}
		if err == nil {
			err = endMandate(ctx, tx, i, e.Code)
		}
	}
	return m.logged(ctx, tx, err, "return", i, e)
}

// logged writes the audit log, if there is no error.
func (m *matching) logged(ctx context.Context, tx *ledger.Tx, err error, action string, i Instruction, e *BankEntry) error {
	if err != nil {
		return fmt.Errorf("instruction %s: %w", i.EndToEnd, err)
	}
	return audit(ctx, tx, action, "instruction:"+i.EndToEnd, fmt.Sprintf("%s of %s %s for %s %s, %s %s entry %d: %s",
		i.Direction, i.Amount.Decimal(), i.Currency.Code(), i.Kind, i.Party, m.kind, m.message, e.Number, e.words()))
}

// advanceInstruction runs a statement that compares the state of an instruction
// and swaps it.
func advanceInstruction(ctx context.Context, tx *ledger.Tx, i Instruction, statement string, arguments ...any) error {
	swapped, err := tx.ExecOne(ctx, statement, arguments...)
	if err == nil && !swapped {
		err = fmt.Errorf("instruction %s changed within a transaction", i.EndToEnd)
	}
	return err
}

// endPending ends the pending transfers of an instruction: payment and fee.
func endPending(ctx context.Context, tx *ledger.Tx, i Instruction, word string, end func(context.Context, ledger.Ending) error) error {
	for _, part := range i.parts() {
		err := end(ctx, ledger.Ending{ID: part.id + "/" + word, PendingID: part.id, Amount: part.amount, Reference: i.reference()})
		if err != nil {
			return err
		}
	}
	return nil
}

// instructionPart is one of the two transfers of an instruction.
type instructionPart struct {
	id, returnKind string
	amount         money.Amount
}

func (i Instruction) parts() []instructionPart {
	parts := []instructionPart{{"settle/" + i.EndToEnd, kindReturn, i.Amount}}
	if i.Fee > 0 {
		parts = append(parts, instructionPart{"settle/" + i.EndToEnd + "/fee", kindFeeReturn, i.Fee})
	}
	return parts
}

// reference names the line of the run.
func (i Instruction) reference() string { return fmt.Sprintf("run %s line %d", i.RunID, i.Number) }

// returnTransfers moves payment and fee back to where they came from: who was not
// paid is owed all of it again.
func returnTransfers(ctx context.Context, tx *ledger.Tx, i Instruction) error {
	for _, part := range i.parts() {
		paid, err := tx.Transfer(ctx, part.id)
		if err != nil {
			return err
		}
		err = tx.Post(ctx, ledger.Transfer{
			ID: part.id + "/returned", Debit: paid.Credit, Credit: i.Account, Amount: part.amount,
			Currency: i.Currency, Kind: part.returnKind, Reference: i.reference(),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// errToldBefore means that the broker was told the same of another instruction.
var errToldBefore = fmt.Errorf("%w: the broker was told that before, of another instruction: it may have been paid twice", ledger.ErrTransferDiffers)

// tellBroker leaves word for the broker, whose accounts are its own.
func (m *matching) tellBroker(ctx context.Context, tx *ledger.Tx, kind string, i Instruction, e *BankEntry) error {
	account, id := i.Party, i.EndToEnd
	if i.Kind == KindAccountPayout {
		var found bool
		if account, id, found = strings.Cut(i.Party, "/"); !found {
			return errors.New("the party of an account's payout is no ACCOUNT/ID")
		}
	}
	isNew, err := tx.ExecOne(ctx, `INSERT INTO broker_outcomes (kind, account, id, amount, note, created) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT DO NOTHING`, kind, account, id, int64(i.Amount), e.words(), tx.Now().UnixMicro())
	if err == nil && !isNew {
		err = errToldBefore
	}
	return err
}
