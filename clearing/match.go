package clearing

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const (
	// entriesPerUpdate is how many entries of a bank's file are matched in one
	// transaction: others wait some tens of milliseconds, and the commit is small
	// for each.
	entriesPerUpdate = 100

	// maxListed bounds the lists of a report; what is beyond is counted.
	maxListed = 100
)

// ErrMessageDiffers means that a bank's message id was read before in a file with
// other content.
var ErrMessageDiffers = errors.New("a file of that message id was read before, with other content")

// errTooManyEntries means that a file speaks of more payments than one import
// does.
var errTooManyEntries = fmt.Errorf("the file is of more than %d payments: ask the bank to split it", bankfile.MaxEntries)

// The states of a bank's entry.
const (
	EntryMatched   = "matched"   // it belongs to an instruction, which says so now
	EntryRepeated  = "repeated"  // the instruction said so before
	EntryUnmatched = "unmatched" // nobody knows what it is of, or it contradicts; the note says why
	EntryResolved  = "resolved"  // somebody has looked at it; the note says how it is resolved
)

// BankEntry is what a bank said of one payment, and what it was matched with.
type BankEntry struct {
	Seq       int64          `json:"seq"`
	Document  string         `json:"document"` // SHA-256 of the file, hexadecimal
	Number    int            `json:"number"`   // in the document, 1 and up
	EndToEnd  string         `json:"endToEnd,omitempty"`
	Says      bankfile.Says  `json:"says"`
	Account   string         `json:"account,omitempty"`
	Direction string         `json:"direction,omitempty"` // out, in, or "" where nothing is booked
	Amount    money.Amount   `json:"amount,omitempty"`    // 0: the bank does not say
	Currency  money.Currency `json:"currency,omitempty"`
	Day       string         `json:"day,omitempty"`
	Code      string         `json:"code,omitempty"`
	BankRef   string         `json:"bankReference,omitempty"`
	State     string         `json:"state"`
	Note      string         `json:"note,omitempty"`
	Created   time.Time      `json:"created"`

	text               string // of the bank, for people
	message, paymentID string // that an entry of several payments is about
	count              int    // of payments
}

// ImportReport is what came of a bank's file, or of what an operator said by
// hand.
type ImportReport struct {
	Document  string `json:"document"` // SHA-256 of the file, hexadecimal
	Kind      string `json:"kind"`     // pain.002, camt.053, camt.054 or manual
	MessageID string `json:"messageId"`
	// Known says that all of it was read before, and nothing is changed.
	Known   bool `json:"known"`
	Entries int  `json:"entries"`
	// Matched, Repeated and Unmatched are what was found now; of a file that is
	// known they are 0.
	Matched   int `json:"matched"`
	Repeated  int `json:"repeated"`
	Unmatched int `json:"unmatched"`
	// Open lists the first hundred of the unmatched.
	Open []BankEntry `json:"open"`
	// Released are the reserves for refunds whose time was over.
	Released       int          `json:"released"`
	ReleasedAmount money.Amount `json:"releasedAmount"`
}

// Import reads a file in which a bank answers (bankfile.Read says which), once:
// the same bytes again change nothing. It brings each instruction that the file
// names to what the bank says, with its money, in one transaction each: sent to
// booked or rejected, booked to returned, and never back. What belongs to no
// instruction, or contradicts one, is kept as unmatched with a sentence that says
// why. An import that was broken off goes on when the file is read again.
//
// ErrMessageDiffers means that nothing was changed.
func Import(ctx context.Context, db *ledger.DB, file []byte) (ImportReport, error) {
	return importFile(ctx, db, file, entriesPerUpdate, func(string) {})
}

// importFile is Import with so many entries in a transaction.
func importFile(ctx context.Context, db *ledger.DB, file []byte, perUpdate int, step func(string)) (ImportReport, error) {
	document, err := bankfile.Read(file)
	if err != nil {
		return ImportReport{}, err
	}
	sum := sha256.Sum256(file)
	m := &matching{db: db, step: step, perUpdate: perUpdate, id: hex.EncodeToString(sum[:]), kind: document.Kind, message: document.MessageID, balances: document.Balances}
	for k, e := range document.Entries {
		m.entries = append(m.entries, BankEntry{
			Document: m.id, Number: k + 1, EndToEnd: e.EndToEndID, Says: e.Says, Account: e.Account, Direction: e.Direction,
			Amount: e.Amount, Currency: e.Currency, Day: e.Day, Code: e.Code, BankRef: e.BankReference,
			text: e.Text, message: e.MessageID, paymentID: e.PaymentID, count: e.Count,
		})
	}
	if err := migrate(ctx, db); err != nil {
		return ImportReport{}, err
	}
	if m.entries, err = expand(ctx, db, m.entries); err != nil {
		return ImportReport{}, err
	}
	return m.run(ctx)
}

// matching is one reading of a document.
type matching struct {
	db                *ledger.DB
	step              func(name string) // called after every step that a crash can follow
	perUpdate         int
	id, kind, message string
	entries           []BankEntry
	balances          []bankfile.Balance

	refused map[int]string // by number: what the ledger would not book, and why
}

// run keeps the document, matches what is not matched yet, and releases what is
// due.
func (m *matching) run(ctx context.Context) (report ImportReport, err error) {
	report = ImportReport{Document: m.id, Kind: m.kind, MessageID: m.message, Entries: len(m.entries), Open: []BankEntry{}}
	done, isKnown, err := m.begin(ctx)
	if err != nil {
		return report, err
	}
	report.Known = isKnown && done == len(m.entries)
	m.step("document")
	for done < len(m.entries) {
		matched, err := m.part(ctx, done)
		if err != nil {
			return report, err
		}
		for _, e := range matched {
			report.count(e)
		}
		done = min(done+m.perUpdate, len(m.entries))
		m.step(fmt.Sprintf("entries to %d", done))
	}
	report.Released, report.ReleasedAmount, err = releaseReserves(ctx, m.db, m.step)
	return report, err
}

func (r *ImportReport) count(e BankEntry) {
	switch e.State {
	case EntryMatched:
		r.Matched++
	case EntryRepeated:
		r.Repeated++
	default:
		r.Unmatched++
		if len(r.Open) < maxListed {
			r.Open = append(r.Open, e)
		}
	}
}

// begin keeps the document, unless it is known, and returns how many of its
// entries are done.
func (m *matching) begin(ctx context.Context) (done int, isKnown bool, err error) {
	err = m.db.Update(ctx, func(tx *ledger.Tx) error {
		var known, differs int
		err := tx.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM clearing_bank_documents WHERE id = ?),
			(SELECT COUNT(*) FROM clearing_bank_documents WHERE kind = ? AND message_id = ? AND id <> ?),
			(SELECT COUNT(*) FROM clearing_bank_entries WHERE document = ?)`, m.id, m.kind, m.message, m.id, m.id).Scan(&known, &differs, &done)
		if err != nil {
			return err
		}
		isKnown = known > 0
		switch {
		case isKnown:
			return nil
		case differs > 0:
			return fmt.Errorf("%w: %s %.40q: ask the bank which of the two counts", ErrMessageDiffers, m.kind, m.message)
		}
		return m.insert(ctx, tx)
	})
	return done, isKnown, err
}

func (m *matching) insert(ctx context.Context, tx *ledger.Tx) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO clearing_bank_documents (id, kind, message_id, operator, entries, created) VALUES (?, ?, ?, ?, ?, ?)`,
		m.id, m.kind, m.message, actorOf(ctx), len(m.entries), tx.Now().UnixMicro())
	if err != nil {
		return err
	}
	for _, b := range m.balances {
		_, err := tx.ExecContext(ctx, `INSERT INTO clearing_bank_balances (document, iban, day, opening, closing, currency) VALUES (?, ?, ?, ?, ?, ?)`,
			m.id, b.Account, b.Day, int64(b.Opening), int64(b.Closing), string(b.Currency))
		if err != nil {
			return err
		}
	}
	return audit(ctx, tx, "import", "document:"+m.id, fmt.Sprintf("%s %s, %d entries", m.kind, m.message, len(m.entries)))
}

// part matches the next entries after the first done ones in one transaction. An
// entry that the ledger would not book is unmatched, and the others are matched
// all the same.
func (m *matching) part(ctx context.Context, done int) (matched []BankEntry, err error) {
	for {
		err := m.db.Update(ctx, func(tx *ledger.Tx) error {
			matched = nil
			for _, e := range m.entries[done:min(done+m.perUpdate, len(m.entries))] {
				isNew, err := m.entry(ctx, tx, &e)
				if err != nil {
					return err
				}
				if isNew {
					matched = append(matched, e)
				}
			}
			return nil
		})
		var refusal *ledgerRefusal
		if !errors.As(err, &refusal) || m.refused[refusal.number] != "" {
			return matched, err
		}
		if m.refused == nil {
			m.refused = make(map[int]string)
		}
		m.refused[refusal.number] = refusal.Error()
	}
}

// ledgerRefusal is why the ledger would not book an entry. What was booked of it
// is undone with its transaction.
type ledgerRefusal struct {
	number int
	cause  error
}

// Error says what the ledger said.
func (r *ledgerRefusal) Error() string { return "the books do not allow it: " + r.cause.Error() }

// Unwrap returns the error of the ledger.
func (r *ledgerRefusal) Unwrap() error { return r.cause }

// isFinal reports whether an error of the ledger stays the same however often it
// is tried.
func isFinal(err error) bool {
	for _, final := range []error{ledger.ErrNotFound, ledger.ErrInsufficient, ledger.ErrTransferDiffers, ledger.ErrPendingEnded,
		ledger.ErrPendingExpired, ledger.ErrCurrency, ledger.ErrAccountDiffers, money.ErrOverflow} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

// entry matches one entry and keeps it, with what it moves. It reports false if
// somebody else has done it meanwhile.
func (m *matching) entry(ctx context.Context, tx *ledger.Tx, e *BankEntry) (isNew bool, err error) {
	var known int
	err = tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM clearing_bank_entries WHERE document = ? AND number = ?`, e.Document, e.Number).Scan(&known)
	if err != nil || known > 0 {
		return false, err
	}
	if m.kind == kindManual {
		e.Day = tx.Now().Format(time.DateOnly)
	}
	if why, isRefused := m.refused[e.Number]; isRefused {
		e.unmatched("%s", why)
	} else if err := m.match(ctx, tx, e); isFinal(err) {
		return false, &ledgerRefusal{e.Number, err}
	} else if err != nil {
		return false, err
	}
	e.Created = tx.Now()
	err = tx.QueryRowContext(ctx, `INSERT INTO clearing_bank_entries (document, number, end_to_end, says, account, direction, amount, currency, day,
		code, bank_ref, state, note, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq`,
		e.Document, e.Number, e.EndToEnd, string(e.Says), e.Account, e.Direction, int64(e.Amount), string(e.Currency), e.Day,
		e.Code, e.BankRef, e.State, e.Note, e.Created.UnixMicro()).Scan(&e.Seq)
	return true, err
}

func (e *BankEntry) unmatched(format string, arguments ...any) {
	e.State, e.Note = EntryUnmatched, fmt.Sprintf(format, arguments...)
	if e.text != "" {
		e.Note += "; the bank writes: " + e.text
	}
}

// Instruction is an order to the bank.
type Instruction struct {
	EndToEnd    string         `json:"endToEnd"`
	RunID       string         `json:"runId"`
	Number      int            `json:"number"`    // of the line
	Direction   string         `json:"direction"` // out, or in
	Kind        string         `json:"kind"`      // of the line
	Party       string         `json:"party"`
	Account     string         `json:"account"` // of the ledger
	Currency    money.Currency `json:"currency"`
	Amount      money.Amount   `json:"amount"`
	Fee         money.Amount   `json:"fee"`
	Destination string         `json:"destination"`
	Method      string         `json:"method"`
	State       string         `json:"state"` // sent, booked, rejected or returned
	Code        string         `json:"code,omitempty"`
	Sent        time.Time      `json:"sent"`
	Booked      time.Time      `json:"booked,omitzero"`
	Ended       time.Time      `json:"ended,omitzero"` // rejected or returned

	version int64
}

// The states of an instruction.
const (
	InstructionSent     = "sent"
	InstructionBooked   = "booked"
	InstructionRejected = "rejected"
	InstructionReturned = "returned"
)

// selectInstructions returns the instructions that the rest of a query chooses.
func selectInstructions(ctx context.Context, tx *ledger.Tx, where string, arguments ...any) (all []Instruction, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT end_to_end, run_id, number, direction, kind, party, account, currency, amount, fee,
		destination, method, state, code, sent, booked, ended, version FROM clearing_instructions `+where, arguments...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var i Instruction
		var sent, booked, ended int64
		err := rows.Scan(&i.EndToEnd, &i.RunID, &i.Number, &i.Direction, &i.Kind, &i.Party, &i.Account, (*string)(&i.Currency),
			(*int64)(&i.Amount), (*int64)(&i.Fee), &i.Destination, &i.Method, &i.State, &i.Code, &sent, &booked, &ended, &i.version)
		if err != nil {
			return nil, err
		}
		i.Sent, i.Booked, i.Ended = timeAt(sent), timeAt(booked), timeAt(ended)
		all = append(all, i)
	}
	return all, rows.Err()
}

// timeAt is a time in microseconds since 1970, of which 0 is none.
func timeAt(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// findInstruction returns the instruction of that end-to-end id, and whether
// there is one.
func findInstruction(ctx context.Context, tx *ledger.Tx, endToEnd string) (Instruction, bool, error) {
	all, err := selectInstructions(ctx, tx, `WHERE end_to_end = ?`, endToEnd)
	if begin, isACH := bankfile.ACHBeginning(endToEnd); err == nil && len(all) == 0 && isACH {
		all, err = selectInstructions(ctx, tx, `WHERE end_to_end >= ? AND end_to_end < ? AND method = 'ach' LIMIT 2`, begin, begin+"g")
	}
	if err != nil || len(all) != 1 {
		return Instruction{}, false, err
	}
	return all[0], true, nil
}

// countOf returns the number that a query counts.
func countOf(ctx context.Context, tx *ledger.Tx, query string, arguments ...any) (count int64, err error) {
	err = tx.QueryRowContext(ctx, query, arguments...).Scan(&count)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return count, err
}
