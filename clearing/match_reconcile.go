package clearing

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// Reconciliation is what is open between the books and the bank.
type Reconciliation struct {
	// At is when it was taken.
	At time.Time `json:"at"`
	// Open sums the instructions that the bank has not answered, by age,
	// direction and currency; Oldest are the first hundred of them.
	Open   []OpenAge     `json:"open"`
	Oldest []Instruction `json:"oldest"`
	// Unmatched counts the entries of the bank that belong to nothing, and
	// UnmatchedEntries are the oldest hundred.
	Unmatched        int64       `json:"unmatched"`
	UnmatchedEntries []BankEntry `json:"unmatchedEntries"`
	// Outcomes are what the broker was told and has not done.
	Outcomes OutcomeCounts `json:"outcomes"`
	// Days are the bank's statements, the newest hundred, the newest first.
	Days []BankDay `json:"days"`
	// Ledger are our accounts that stand for money at the bank.
	Ledger []BankPosition `json:"ledger"`
	// Reserves are what is kept for refunds, by the day on which it is due, the
	// next first.
	Reserves []ReserveDue `json:"reserves"`
}

// OpenAge sums instructions of an age.
type OpenAge struct {
	Age       string         `json:"age"` // in whole days: 0-1, 2-3, 4-7 or >7
	Direction string         `json:"direction"`
	Currency  money.Currency `json:"currency"`
	Count     int64          `json:"count"`
	Amount    money.Amount   `json:"amount"`
}

// OutcomeCounts are what the broker was told and has not done.
type OutcomeCounts struct {
	Waiting int64     `json:"waiting"`
	Failed  int64     `json:"failed"`
	List    []Outcome `json:"failedOutcomes"` // the newest hundred of the failed
}

// Outcome is what the broker was told of an account and could not do.
type Outcome struct {
	Seq     int64        `json:"seq"`
	Kind    string       `json:"kind"` // payout-paid, payout-refused, payout-returned, debit-collected or debit-returned
	Account string       `json:"account"`
	ID      string       `json:"id"` // of the payout, or the end-to-end id of the direct debit
	Amount  money.Amount `json:"amount"`
	Note    string       `json:"note"`   // what the bank said
	Detail  string       `json:"detail"` // why it failed
	Created time.Time    `json:"created"`
}

// BankDay compares a bank's statement of a day with what is known of its entries.
type BankDay struct {
	Document string         `json:"document"`
	Account  string         `json:"account"` // IBAN
	Day      string         `json:"day"`
	Currency money.Currency `json:"currency"`
	Opening  money.Amount   `json:"opening"`
	Closing  money.Amount   `json:"closing"`
	// Moved is closing less opening; Known what of that is of instructions, and
	// Unmatched of what is not. Missing is the rest, which no entry explains, and
	// should be 0.
	Moved     money.Amount `json:"moved"`
	Known     money.Amount `json:"known"`
	Unmatched money.Amount `json:"unmatched"`
	Missing   money.Amount `json:"missing"`
	// Gap is the opening less the closing of the statement before, 0 if there is
	// none: if it is not 0, a statement was not read.
	Gap money.Amount `json:"gap"`
}

// BankPosition is an account of ours that stands for money at the bank: what came
// in is below 0 in it, what went out above.
type BankPosition struct {
	Account  string         `json:"account"`
	Currency money.Currency `json:"currency"`
	Balance  money.Amount   `json:"balance"`
}

// ReserveDue is what is kept for refunds until the end of a day.
type ReserveDue struct {
	Day    string       `json:"day"`
	Count  int64        `json:"count"`
	Amount money.Amount `json:"amount"`
}

// Reconcile returns what is open between the books and the bank, all of it as of
// one moment. It stops nobody.
func Reconcile(ctx context.Context, db *ledger.DB) (Reconciliation, error) {
	var found Reconciliation
	if err := migrate(ctx, db); err != nil {
		return found, err
	}
	err := db.View(ctx, func(tx *ledger.Tx) (err error) {
		found = Reconciliation{At: tx.Now(), Open: []OpenAge{}, Oldest: []Instruction{}, UnmatchedEntries: []BankEntry{},
			Outcomes: OutcomeCounts{List: []Outcome{}}, Days: []BankDay{}, Ledger: []BankPosition{}, Reserves: []ReserveDue{}}
		for _, part := range []func(context.Context, *ledger.Tx) error{
			found.loadOpen, found.loadUnmatched, found.loadOutcomes, found.loadDays, found.loadLedger, found.loadReserves,
		} {
			if err := part(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
	return found, err
}

const secondsPerDay = 24 * 60 * 60

func (r *Reconciliation) loadOpen(ctx context.Context, tx *ledger.Tx) error {
	err := tx.Each(ctx, func(scan func(...any) error) error {
		var o OpenAge
		err := scan(&o.Age, &o.Direction, (*string)(&o.Currency), &o.Count, (*int64)(&o.Amount))
		o.Age = o.Age[2:]
		r.Open = append(r.Open, o)
		return err
	}, `SELECT age, direction, currency, COUNT(*), CAST(SUM(amount) AS BIGINT) FROM (
			SELECT CASE WHEN days <= 1 THEN '1 0-1' WHEN days <= 3 THEN '2 2-3' WHEN days <= 7 THEN '3 4-7' ELSE '4 >7' END AS age,
				direction, currency, amount
			FROM (SELECT (CAST(? AS BIGINT) - sent) / 86400000000 AS days, direction, currency, amount
				FROM clearing_instructions WHERE state = 'sent') AS ages) AS grouped
		GROUP BY age, direction, currency ORDER BY age, direction, currency`, tx.Now().UnixMicro())
	if err != nil {
		return err
	}
	oldest, err := selectInstructions(ctx, tx, `WHERE state = 'sent' ORDER BY sent, end_to_end LIMIT ?`, maxListed)
	r.Oldest = append(r.Oldest, oldest...)
	return err
}

const entryColumns = `SELECT seq, document, number, end_to_end, says, account, direction, amount, currency, day, code, bank_ref, state, note, created
	FROM clearing_bank_entries `

func scanBankEntry(scan func(...any) error) (e BankEntry, err error) {
	var created int64
	err = scan(&e.Seq, &e.Document, &e.Number, &e.EndToEnd, (*string)(&e.Says), &e.Account, &e.Direction, (*int64)(&e.Amount), (*string)(&e.Currency),
		&e.Day, &e.Code, &e.BankRef, &e.State, &e.Note, &created)
	e.Created = timeAt(created)
	return e, err
}

func (r *Reconciliation) loadUnmatched(ctx context.Context, tx *ledger.Tx) (err error) {
	r.Unmatched, err = countOf(ctx, tx, `SELECT COUNT(*) FROM clearing_bank_entries WHERE state = 'unmatched'`)
	if err != nil {
		return err
	}
	return tx.Each(ctx, func(scan func(...any) error) error {
		e, err := scanBankEntry(scan)
		r.UnmatchedEntries = append(r.UnmatchedEntries, e)
		return err
	}, entryColumns+`WHERE state = 'unmatched' ORDER BY created, seq LIMIT ?`, maxListed)
}

func (r *Reconciliation) loadOutcomes(ctx context.Context, tx *ledger.Tx) (err error) {
	if r.Outcomes.Waiting, err = countOf(ctx, tx, `SELECT COUNT(*) FROM broker_outcomes WHERE state = 'waiting'`); err != nil {
		return err
	}
	if r.Outcomes.Failed, err = countOf(ctx, tx, `SELECT COUNT(*) FROM broker_outcomes WHERE state = 'failed'`); err != nil {
		return err
	}
	return tx.Each(ctx, func(scan func(...any) error) error {
		var o Outcome
		var created int64
		err := scan(&o.Seq, &o.Kind, &o.Account, &o.ID, (*int64)(&o.Amount), &o.Note, &o.Detail, &created)
		o.Created = timeAt(created)
		r.Outcomes.List = append(r.Outcomes.List, o)
		return err
	}, `SELECT seq, kind, account, id, amount, note, detail, created FROM broker_outcomes WHERE state = 'failed' ORDER BY seq DESC LIMIT ?`, maxListed)
}

func (r *Reconciliation) loadDays(ctx context.Context, tx *ledger.Tx) error {
	return tx.Each(ctx, func(scan func(...any) error) error {
		var d BankDay
		var before int64
		err := scan(&d.Document, &d.Account, &d.Day, (*string)(&d.Currency), (*int64)(&d.Opening), (*int64)(&d.Closing),
			(*int64)(&d.Known), (*int64)(&d.Unmatched), &before)
		d.Moved = d.Closing - d.Opening
		d.Missing = d.Moved - d.Known - d.Unmatched
		d.Gap = d.Opening - money.Amount(before)
		r.Days = append(r.Days, d)
		return err
	}, `SELECT b.document, b.iban, b.day, b.currency, b.opening, b.closing,
			(SELECT CAST(COALESCE(SUM(CASE direction WHEN 'in' THEN amount ELSE -amount END), 0) AS BIGINT) FROM clearing_bank_entries e
				WHERE e.document = b.document AND e.account = b.iban AND e.currency = b.currency
				AND (e.day = b.day OR 1 = (SELECT COUNT(*) FROM clearing_bank_balances x WHERE x.document = b.document AND x.iban = b.iban))
				AND e.says IN ('booked', 'returned') AND e.state IN ('matched', 'repeated')),
			(SELECT CAST(COALESCE(SUM(CASE direction WHEN 'in' THEN amount ELSE -amount END), 0) AS BIGINT) FROM clearing_bank_entries e
				WHERE e.document = b.document AND e.account = b.iban AND e.currency = b.currency
				AND (e.day = b.day OR 1 = (SELECT COUNT(*) FROM clearing_bank_balances x WHERE x.document = b.document AND x.iban = b.iban))
				AND e.says IN ('booked', 'returned') AND e.state IN ('unmatched', 'resolved')),
			COALESCE((SELECT p.closing FROM clearing_bank_balances p WHERE p.iban = b.iban AND p.currency = b.currency AND p.day < b.day
				ORDER BY p.day DESC, p.document LIMIT 1), b.opening)
		FROM clearing_bank_balances b ORDER BY b.day DESC, b.iban, b.document LIMIT ?`, maxListed)
}

func (r *Reconciliation) loadLedger(ctx context.Context, tx *ledger.Tx) error {
	return tx.Each(ctx, func(scan func(...any) error) error {
		var p BankPosition
		err := scan(&p.Account, (*string)(&p.Currency), (*int64)(&p.Balance))
		r.Ledger = append(r.Ledger, p)
		return err
	}, `SELECT id, currency, balance FROM accounts
		WHERE id IN ('broker:bank:in', 'broker:bank:out', 'broker:direct-debit:in') ORDER BY id`)
}

func (r *Reconciliation) loadReserves(ctx context.Context, tx *ledger.Tx) error {
	return tx.Each(ctx, func(scan func(...any) error) error {
		var d ReserveDue
		var day int64
		err := scan(&day, &d.Count, (*int64)(&d.Amount))
		d.Day = dayAt(time.Unix(day*secondsPerDay, 0))
		r.Reserves = append(r.Reserves, d)
		return err
	}, `SELECT until / 86400 AS day, COUNT(*), CAST(SUM(amount) AS BIGINT) FROM clearing_reserves WHERE state = 'held'
		GROUP BY until / 86400 ORDER BY until / 86400 LIMIT ?`, maxRefundDays+1)
}

var (
	// ErrNoEntry means that the bank has no entry of that number.
	ErrNoEntry = errors.New("there is no entry of that number")
	// ErrEntryMatched means that the entry belongs to an instruction, so that there
	// is nothing to resolve.
	ErrEntryMatched = errors.New("the entry is not unmatched")
)

// Resolve says of an unmatched entry what became of it, in one line of 1 to 200
// characters. It moves nothing. ErrNoEntry and ErrEntryMatched mean that nothing
// was changed.
func Resolve(ctx context.Context, db *ledger.DB, seq int64, note string) (e BankEntry, err error) {
	const longest = 200
	if note == "" || utf8.RuneCountInString(note) > longest || !utf8.ValidString(note) ||
		strings.ContainsFunc(note, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return e, fmt.Errorf("note: want one line of 1 to %d characters that says what became of it", longest)
	}
	if err := migrate(ctx, db); err != nil {
		return e, err
	}
	err = db.Update(ctx, func(tx *ledger.Tx) error {
		found := 0
		err := tx.Each(ctx, func(scan func(...any) error) (err error) {
			found++
			e, err = scanBankEntry(scan)
			return err
		}, entryColumns+`WHERE seq = ?`, seq)
		switch {
		case err != nil:
			return err
		case found == 0:
			return fmt.Errorf("%w: %d", ErrNoEntry, seq)
		case e.State != EntryUnmatched:
			return fmt.Errorf("%w: it is %s", ErrEntryMatched, e.State)
		}
		why := e.Note
		e.State, e.Note = EntryResolved, "resolved: "+note+"; it was unmatched because "+why
		swapped, err := tx.ExecOne(ctx, `UPDATE clearing_bank_entries SET state = 'resolved', note = ? WHERE seq = ? AND state = 'unmatched'`, e.Note, seq)
		if err == nil && !swapped {
			err = fmt.Errorf("entry %d changed within a transaction", seq)
		}
		if err != nil {
			return err
		}
		return audit(ctx, tx, "resolve", fmt.Sprintf("entry:%d", seq), fmt.Sprintf("%s %s %s: %s", e.Says, e.Amount.Decimal(), e.EndToEnd, note))
	})
	return e, err
}
