package clearing

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/internal/ledger"
)

// match finds the instruction that an entry is of and does what the entry says
// of it, or says why not. It never guesses: what is not exactly an instruction's
// is unmatched.
func (m *matching) match(ctx context.Context, tx *ledger.Tx, e *BankEntry) error {
	if e.EndToEnd == "" {
		e.unmatched("%s", e.unnamed())
		return nil
	}
	i, found, err := findInstruction(ctx, tx, e.EndToEnd)
	if err != nil {
		return err
	}
	if !found {
		e.unmatched("no instruction has this end-to-end id")
		return nil
	}
	e.EndToEnd = i.EndToEnd // of which a NACHA file has the beginning
	if why := e.contradiction(i); why != "" {
		e.unmatched("%s", why)
		return nil
	}
	switch e.Says {
	case bankfile.Accepted:
		if i.State == InstructionRejected {
			e.unmatched("the bank accepts what it rejected before: ask it which counts")
			return nil
		}
		e.State, e.Note = EntryMatched, e.text
		return nil
	case bankfile.Rejected:
		return m.matchRejected(ctx, tx, e, i)
	case bankfile.Booked:
		return m.matchBooked(ctx, tx, e, i)
	case bankfile.Returned:
		return m.matchReturned(ctx, tx, e, i)
	}
	e.unmatched("it says neither that the payment was booked nor that it was not: look at it at the bank")
	return nil
}

// unnamed says why an entry without an end-to-end id is unmatched.
func (e *BankEntry) unnamed() string {
	what := "it names no end-to-end id"
	if e.count > 1 || e.message != "" {
		what = fmt.Sprintf("the bank names no single payments, only file %q, part %q, of %d", e.message, e.paymentID, e.count)
	}
	switch e.Says {
	case bankfile.Rejected:
		return what + `: if all of a run is rejected, say so with "payword clearing rejected --run ID"`
	case bankfile.Booked:
		return what + `: if it is no payment of clearing resolve it with a note; of a batch ask the bank for its details, or say "payword clearing booked --run ID"`
	}
	return what
}

// contradiction says what of an entry is not the instruction's, or "".
func (e *BankEntry) contradiction(i Instruction) string {
	isMoney := e.Says == bankfile.Booked || e.Says == bankfile.Returned
	switch {
	case e.Currency != "" && e.Currency != i.Currency:
		return fmt.Sprintf("it is in %s, and the instruction in %s", e.Currency.Code(), i.Currency.Code())
	case e.Amount != 0 && e.Amount != i.Amount:
		return fmt.Sprintf("it is of %s, and the instruction of %s", e.Amount.Decimal(), i.Amount.Decimal())
	case isMoney && e.Amount == 0:
		return "it says no amount of this payment"
	case e.Says == bankfile.Booked && e.Direction != i.Direction:
		return fmt.Sprintf("the money went %s, and the instruction is %s: if it came back, the bank does not say so", e.Direction, i.Direction)
	case e.Says == bankfile.Returned && e.Direction == i.Direction:
		return fmt.Sprintf("it is a return, and the money went %s as the instruction says", e.Direction)
	}
	return ""
}

func (m *matching) matchRejected(ctx context.Context, tx *ledger.Tx, e *BankEntry, i Instruction) error {
	switch i.State {
	case InstructionSent:
		e.State, e.Note = EntryMatched, e.text
		return m.reject(ctx, tx, i, e)
	case InstructionBooked:
		e.unmatched("the bank rejects what it booked on %s: if the money came back, its statement says so", dayAt(i.Booked))
	default:
		e.State, e.Note = EntryRepeated, e.text
	}
	return nil
}

func (m *matching) matchBooked(ctx context.Context, tx *ledger.Tx, e *BankEntry, i Instruction) error {
	switch i.State {
	case InstructionSent:
		e.State, e.Note = EntryMatched, e.text
		return m.book(ctx, tx, i, e)
	case InstructionRejected:
		e.unmatched("the bank books what it rejected on %s: ask it whether the money moved", dayAt(i.Ended))
		return nil
	}
	return m.repeat(ctx, tx, e)
}

func (m *matching) matchReturned(ctx context.Context, tx *ledger.Tx, e *BankEntry, i Instruction) error {
	switch i.State {
	case InstructionSent:
		// What comes back has left: the statement with its booking is read later,
		// or was not sent.
		if err := m.book(ctx, tx, i, e); err != nil {
			return err
		}
		i.State, i.version = InstructionBooked, i.version+1
		fallthrough
	case InstructionBooked:
		e.State, e.Note = EntryMatched, e.text
		return m.giveBack(ctx, tx, i, e)
	case InstructionRejected:
		e.unmatched("the bank returns what it rejected on %s: ask it whether the money moved", dayAt(i.Ended))
		return nil
	}
	return m.repeat(ctx, tx, e)
}

// repeat decides whether the same was said again, or the money moved again.
func (m *matching) repeat(ctx context.Context, tx *ledger.Tx, e *BankEntry) error {
	inThis, err := countOf(ctx, tx, `SELECT COUNT(*) FROM clearing_bank_entries WHERE end_to_end = ? AND document = ? AND says = ?
		AND state IN ('matched', 'repeated')`, e.EndToEnd, e.Document, string(e.Says))
	if err != nil {
		return err
	}
	other := int64(0)
	if e.BankRef != "" {
		other, err = countOf(ctx, tx, `SELECT COUNT(*) FROM clearing_bank_entries b JOIN clearing_bank_documents d ON d.id = b.document
			WHERE b.end_to_end = ? AND b.says = ? AND b.state IN ('matched', 'repeated') AND d.kind = ? AND b.bank_ref <> '' AND b.bank_ref <> ?`,
			e.EndToEnd, string(e.Says), m.kind, e.BankRef)
	}
	switch {
	case err != nil:
		return err
	case inThis > 0:
		e.unmatched("it stands twice in this file: ask the bank whether the money moved twice")
	case other > 0:
		e.unmatched("it was %s before under another reference of the bank: ask it whether the money moved twice", e.Says)
	default:
		e.State, e.Note = EntryRepeated, e.text
	}
	return nil
}

// dayAt is the day of a time, UTC.
func dayAt(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// words is what the bank said, in one line of 1 to 200 characters.
func (e *BankEntry) words() string {
	var parts []string
	for _, part := range []string{e.Code, e.text, e.BankRef} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		return string(e.Says) + " by the bank"
	}
	const longest = 200
	words := []rune(strings.Join(parts, " "))
	return string(words[:min(len(words), longest)])
}
