package clearing

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/internal/ledger"
)

// kindManual is the kind of a document that is an operator's word.
const kindManual = "manual"

// ManualAnswer is what an operator says that the bank did, where the bank sends
// no files.
type ManualAnswer struct {
	// Says is bankfile.Booked, Rejected or Returned.
	Says bankfile.Says
	// RunID names a run, all of whose instructions that are open it is about, at
	// most 100,000 at a time.
	RunID string
	// Method, such as MethodCreditTransfer, leaves it at those that went so. It
	// must be named where there are others: a bank answers one file.
	Method string
	// EndToEnd names one instruction; with it RunID may be "".
	EndToEnd string
	// Code is the bank's reason, such as AC04: up to 35 letters, digits and "-",
	// or "".
	Code string
	// Note is how the operator knows, in up to 200 characters.
	Note string
}

func (a ManualAnswer) check() error {
	const longestCode, longestNote = 35, 200
	isCode := func(c rune) bool { return c < 0x80 && (unicode.IsLetter(c) || unicode.IsDigit(c) || c == '-') }
	switch {
	case a.Says != bankfile.Booked && a.Says != bankfile.Rejected && a.Says != bankfile.Returned:
		return fmt.Errorf("says %.20q: want booked, rejected or returned", a.Says)
	case a.EndToEnd == "" && a.RunID == "":
		return errors.New("name a run, or an instruction by its end-to-end id")
	case a.Method != "" && !slices.Contains([]string{MethodCreditTransfer, MethodDirectDebit, MethodACH, MethodList}, a.Method):
		return fmt.Errorf("method %.40q: want credit-transfer, direct-debit, ach or list", a.Method)
	case a.EndToEnd == "" && a.Says == bankfile.Returned:
		return errors.New("name the instruction that was returned by its end-to-end id: a whole run does not come back")
	case len(a.Code) > longestCode || strings.ContainsFunc(a.Code, func(c rune) bool { return !isCode(c) }):
		return fmt.Errorf("code %.40q: want up to %d letters, digits and -, such as AC04", a.Code, longestCode)
	case utf8.RuneCountInString(a.Note) > longestNote || !utf8.ValidString(a.Note) || strings.ContainsFunc(a.Note, func(c rune) bool { return !unicode.IsPrint(c) }):
		return fmt.Errorf("note: want one line of at most %d characters", longestNote)
	}
	return nil
}

// ErrNoInstruction means that there is no instruction of that name.
var ErrNoInstruction = errors.New("there is no such instruction")

// SayByHand does what Import does, on an operator's word. The same word again
// changes nothing. ErrNoInstruction means that it is about nothing that there is.
func SayByHand(ctx context.Context, db *ledger.DB, answer ManualAnswer) (ImportReport, error) {
	return sayByHand(ctx, db, answer, func(string) {})
}

func sayByHand(ctx context.Context, db *ledger.DB, answer ManualAnswer, step func(string)) (ImportReport, error) {
	if err := answer.check(); err != nil {
		return ImportReport{}, err
	}
	if err := migrate(ctx, db); err != nil {
		return ImportReport{}, err
	}
	about, err := answer.about(ctx, db)
	if err != nil {
		return ImportReport{}, err
	}
	if len(about) == 0 {
		return ImportReport{Kind: kindManual, Known: true, Open: []BankEntry{}}, nil
	}
	m := &matching{db: db, step: step, perUpdate: entriesPerUpdate, kind: kindManual, id: answer.id(about)}
	m.message = m.id[:32]
	for k, i := range about {
		e := BankEntry{Document: m.id, Number: k + 1, EndToEnd: i.EndToEnd, Says: answer.Says, Currency: i.Currency,
			Amount: i.Amount, Code: answer.Code, text: answer.Note, count: 1}
		switch {
		case answer.Says == bankfile.Booked:
			e.Direction = i.Direction
		case answer.Says == bankfile.Returned && i.Direction == bankfile.Out:
			e.Direction = bankfile.In
		case answer.Says == bankfile.Returned:
			e.Direction = bankfile.Out
		}
		m.entries = append(m.entries, e)
	}
	return m.run(ctx)
}

// about returns the instructions that the answer is about: the one that it
// names, or those of the run that are open.
func (a ManualAnswer) about(ctx context.Context, db *ledger.DB) (about []Instruction, err error) {
	err = db.View(ctx, func(tx *ledger.Tx) error {
		about = nil
		if a.EndToEnd != "" {
			i, found, err := findInstruction(ctx, tx, a.EndToEnd)
			if err == nil && (!found || a.RunID != "" && a.RunID != i.RunID) {
				err = fmt.Errorf("%w: %.40q", ErrNoInstruction, a.EndToEnd)
			}
			about = append(about, i)
			return err
		}
		all, err := countOf(ctx, tx, `SELECT COUNT(*) FROM clearing_instructions WHERE run_id = ?`, a.RunID)
		if err == nil && all == 0 {
			err = fmt.Errorf("%w of run %.40q", ErrNoInstruction, a.RunID)
		}
		if err == nil {
			about, err = selectInstructions(ctx, tx, `WHERE run_id = ? AND state = 'sent' ORDER BY number LIMIT ?`, a.RunID, bankfile.MaxEntries)
		}
		if err == nil {
			about, err = a.byMethod(about)
		}
		return err
	})
	return about, err
}

// byMethod returns those of a run's instructions that went by the method of the
// answer, or by one and the same.
func (a ManualAnswer) byMethod(all []Instruction) (about []Instruction, err error) {
	for _, i := range all {
		switch {
		case a.Method == "" && i.Method != all[0].Method:
			return nil, fmt.Errorf("run %s has orders by %s and by %s: say which are meant by the method", a.RunID, all[0].Method, i.Method)
		case a.Method == "" || i.Method == a.Method:
			about = append(about, i)
		}
	}
	return about, nil
}

// id names what was said: the same again has the same.
func (a ManualAnswer) id(about []Instruction) string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s\n%s\n%s\n", a.Says, a.RunID, a.Code, a.Note)
	for _, i := range about {
		fmt.Fprintln(sum, i.EndToEnd)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
