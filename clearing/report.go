package clearing

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// The states of a run, which only go forward.
const (
	StateProposed  = "proposed"  // it is planned, and nothing is moved
	StateDiscarded = "discarded" // another plan has taken its place
	StateRunning   = "running"   // its lines are being done
	StateClosed    = "closed"    // every line is done and the trial balance taken
	StateFinal     = "final"     // it is published and its files are written
)

// Settlement is a settlement run as it is on record. What its plan says never
// changes.
type Settlement struct {
	RunID string `json:"runId"`
	// State is one of StateProposed and the others.
	State string `json:"state,omitempty"`
	// PeriodEnd is the last day that is settled, as 2026-11-22.
	PeriodEnd string         `json:"periodEnd"`
	Currency  money.Currency `json:"currency"`
	// Cutoff is the Seq of the last transfer of the ledger that is in it, and
	// Since that of the run before, 0 if there is none.
	Cutoff int64 `json:"cutoff"`
	Since  int64 `json:"since"`
	// Policy is what the operator had decided when it was planned.
	Policy      Policy `json:"-"`
	FeeRule     string `json:"feeRule"` // the version of the rule in Policy
	FeesAccount string `json:"feesAccount"`
	BankAccount string `json:"bankAccount"`
	// PlanHash is the SHA-256 of the plan's text, in hexadecimal.
	PlanHash string `json:"planHash"`
	// PlannedBy and StartedBy are who did it: operator:NAME for one who proved it,
	// command for whoever may open the database. StartedBy is "" before that.
	PlannedBy string `json:"plannedBy"`
	StartedBy string `json:"startedBy,omitempty"`
	// NeedsApproval says that two operators must stand behind the plan.
	NeedsApproval bool       `json:"needsApproval"`
	Approvals     []Approval `json:"approvals"`
	// Planned is the time of the cut-off; the others are zero as long as it has
	// not come so far.
	Planned time.Time `json:"planned"`
	Started time.Time `json:"started,omitzero"`
	Closed  time.Time `json:"closed,omitzero"`
	Final   time.Time `json:"-"`
	// Totals are what the plan sums to, in the run's currency.
	Totals Totals `json:"totals"`
	// CheckedAccounts and CheckedTransfers are what the ledger's check counted
	// before the run was closed. It found nothing that disagrees.
	CheckedAccounts  int64 `json:"checkedAccounts,omitempty"`
	CheckedTransfers int64 `json:"checkedTransfers,omitempty"`
}

// Approval is an operator who stands behind a plan.
type Approval struct {
	Operator string    `json:"operator"` // the name alone
	Created  time.Time `json:"created"`
}

// Totals are sums over lines, in micros.
type Totals struct {
	Lines int64 `json:"lines"`
	// Waiting is how many positions did not fit and wait for the next run.
	Waiting int64 `json:"waiting"`
	// Payments and Collections count the lines that move something, Paid and
	// Collected are what they move, and Fees what the broker keeps of it.
	Payments    int64        `json:"payments"`
	Paid        money.Amount `json:"paid"`
	Collections int64        `json:"collections"`
	Collected   money.Amount `json:"collected"`
	Fees        money.Amount `json:"fees"`
	// Carried is what stays owed to others.
	Carried money.Amount `json:"carried"`
}

// The kinds of lines.
const (
	KindVendor        = "vendor"         // what a vendor is owed
	KindMerchant      = "merchant"       // what a merchant who takes cards is owed
	KindAccountPayout = "account-payout" // what the owner of an account asked to be paid out
	KindCollection    = "collection"     // what an account owes, by direct debit
)

// The ways in which money goes.
const (
	MethodCreditTransfer = "credit-transfer" // pain.001
	MethodDirectDebit    = "direct-debit"    // pain.008
	MethodACH            = "ach"             // NACHA
	MethodList           = "list"            // paid by hand
)

// The outcomes of a line.
const (
	OutcomeSent    = "sent"    // there is an order to the bank
	OutcomeCarried = "carried" // nothing was moved
)

// Line is what a run does for one party.
type Line struct {
	Number int    `json:"number"` // 1 and up, in the order of kind and account
	Kind   string `json:"kind"`
	// Party is the vendor's origin, the merchant's id or the account; of an
	// account-payout ACCOUNT/ID.
	Party    string         `json:"party"`
	Account  string         `json:"account"` // of the ledger
	Currency money.Currency `json:"currency"`
	// Gross is the position at the cut-off: what is owed to the party, of a
	// collection what it owes. Gross = Fee + Amount + what is carried, in micros.
	Gross  money.Amount `json:"gross"`
	Fee    money.Amount `json:"fee"`
	Amount money.Amount `json:"amount"` // to be paid or collected
	// Destination is iban:, ach:, ref: or mandate: and the rest; "" is none.
	Destination string `json:"destination,omitempty"`
	// Method is how it goes; "" where nothing is moved.
	Method string `json:"method,omitempty"`
	// Reason says why the plan moves nothing; "" where it moves something.
	Reason Reason `json:"reason,omitempty"`
	// Outcome is "" as long as the line is not done. Where it is OutcomeCarried
	// against the plan, Note says why.
	Outcome string `json:"outcome,omitempty"`
	Note    Reason `json:"note,omitempty"`
	// EndToEnd is the bank's end-to-end id of the order: 32 hexadecimal digits,
	// never used twice. It is "" where the plan moves nothing.
	EndToEnd string `json:"endToEnd,omitempty"`
}

// IsOut says whether the money of the line goes out, to its party.
func (l Line) IsOut() bool { return l.Kind != KindCollection }

// Carried is what the plan leaves of the position for the next run, in micros.
func (l Line) Carried() money.Amount { return l.Gross - l.Fee - l.Amount }

// ClassBalance is the balance of all accounts of one class.
type ClassBalance struct {
	// Class is the account's id, with a star for the part that differs:
	// "user:*:available". The broker's own accounts stand alone.
	Class    string         `json:"class"`
	Currency money.Currency `json:"currency"`
	Accounts int64          `json:"accounts"`
	Balance  money.Amount   `json:"balance"` // micros
	// Pending is what of it is on its way out, in micros.
	Pending money.Amount `json:"pending"`
}

const settlementColumns = `SELECT id, state, period_end, currency, cutoff, since, policy, fee_rule, fees_account, bank_account,
	plan_hash, planned_by, started_by, needs, planned, started, closed, final,
	lines, waiting, payments, paid, collections, collected, fees, carried, accounts, transfers FROM clearing_runs `

func scanSettlement(scan func(targets ...any) error) (s Settlement, err error) {
	var policy string
	var needs, planned, started, closed, final int64
	err = scan(&s.RunID, &s.State, &s.PeriodEnd, (*string)(&s.Currency), &s.Cutoff, &s.Since, &policy, &s.FeeRule, &s.FeesAccount, &s.BankAccount,
		&s.PlanHash, &s.PlannedBy, &s.StartedBy, &needs, &planned, &started, &closed, &final,
		&s.Totals.Lines, &s.Totals.Waiting, &s.Totals.Payments, (*int64)(&s.Totals.Paid), &s.Totals.Collections,
		(*int64)(&s.Totals.Collected), (*int64)(&s.Totals.Fees), (*int64)(&s.Totals.Carried), &s.CheckedAccounts, &s.CheckedTransfers)
	if err != nil {
		return Settlement{}, err
	}
	s.NeedsApproval = needs == 1
	s.Planned, s.Started, s.Closed, s.Final = timeOf(planned), timeOf(started), timeOf(closed), timeOf(final)
	if s.Policy, err = ParsePolicy([]byte(policy)); err != nil {
		return Settlement{}, fmt.Errorf("run %s: %w", s.RunID, err)
	}
	return s, nil
}

// timeOf reads a time of the database; 0 is none.
func timeOf(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

// findSettlement returns the run that the rest of a query chooses, or ErrNoPlan.
func findSettlement(ctx context.Context, tx *ledger.Tx, where string, arguments ...any) (Settlement, error) {
	s, err := scanSettlement(tx.QueryRowContext(ctx, settlementColumns+where, arguments...).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return Settlement{}, ErrNoPlan
	}
	if err != nil {
		return Settlement{}, err
	}
	s.Approvals, err = loadApprovals(ctx, tx, s.RunID)
	return s, err
}

// findPlan returns the run of a plan's hash.
func findPlan(ctx context.Context, tx *ledger.Tx, hash string) (Settlement, error) {
	s, err := findSettlement(ctx, tx, `WHERE plan_hash = ?`, hash)
	if errors.Is(err, ErrNoPlan) {
		err = fmt.Errorf("plan %s: %w: \"payword clearing list\" shows those there are", hash, err)
	}
	return s, err
}

func loadApprovals(ctx context.Context, tx *ledger.Tx, runID string) ([]Approval, error) {
	rows, err := tx.QueryContext(ctx, `SELECT operator, created FROM clearing_approvals WHERE run_id = ? ORDER BY created, operator`, runID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	approvals := []Approval{}
	for rows.Next() {
		var a Approval
		var created int64
		if err := rows.Scan(&a.Operator, &created); err != nil {
			return nil, err
		}
		a.Created = timeOf(created)
		approvals = append(approvals, a)
	}
	return approvals, rows.Err()
}

// LoadRun returns a run by its id. An empty id is the newest run that was not
// discarded. ErrNoPlan means that there is none.
func LoadRun(ctx context.Context, db *ledger.DB, id string) (s Settlement, err error) {
	err = db.View(ctx, func(tx *ledger.Tx) error {
		if id == "" {
			s, err = findSettlement(ctx, tx, `WHERE state <> 'discarded' ORDER BY planned DESC, id DESC LIMIT 1`)
		} else {
			s, err = findSettlement(ctx, tx, `WHERE id = ?`, id)
		}
		return err
	})
	if err != nil {
		return Settlement{}, fmt.Errorf("run %s: %w", id, err)
	}
	return s, nil
}

// LoadPlan returns a run by the hash of its plan. ErrNoPlan means that there is
// none.
func LoadPlan(ctx context.Context, db *ledger.DB, hash string) (s Settlement, err error) {
	if err := checkHash(hash); err != nil {
		return Settlement{}, err
	}
	err = db.View(ctx, func(tx *ledger.Tx) error {
		s, err = findPlan(ctx, tx, hash)
		return err
	})
	return s, err
}

// MaxPage is the most rows that one page of a listing here holds.
const MaxPage = 1000

func checkPage(limit int) error {
	if limit < 1 || limit > MaxPage {
		return fmt.Errorf("page of %d: want 1 to %d rows", limit, MaxPage)
	}
	return nil
}

// Runs returns runs, the newest first, planned before the time given (zero: of
// all), at most limit of them (1 to MaxPage). Discarded plans are among them.
// Their Approvals are not read.
func Runs(ctx context.Context, db *ledger.DB, before time.Time, limit int) (runs []Settlement, err error) {
	if err := checkPage(limit); err != nil {
		return nil, err
	}
	latest := int64(1<<63 - 1)
	if !before.IsZero() {
		latest = before.UnixMicro()
	}
	err = db.View(ctx, func(tx *ledger.Tx) error {
		if runs, err = selectRuns(ctx, tx, latest, limit); err != nil {
			return err
		}
		for k := range runs {
			if runs[k].Approvals = []Approval{}; runs[k].NeedsApproval {
				if runs[k].Approvals, err = loadApprovals(ctx, tx, runs[k].RunID); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return runs, err
}

// selectRuns returns runs without their approvals.
func selectRuns(ctx context.Context, tx *ledger.Tx, latest int64, limit int) (runs []Settlement, err error) {
	rows, err := tx.QueryContext(ctx, settlementColumns+`WHERE planned < ? ORDER BY planned DESC, id DESC LIMIT ?`, latest, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		s, err := scanSettlement(rows.Scan)
		if err != nil {
			return nil, err
		}
		runs = append(runs, s)
	}
	return runs, rows.Err()
}

// Lines returns lines of a run in their order, from the first one after the
// number given (0 for the first page), at most limit of them (1 to MaxPage).
func Lines(ctx context.Context, db *ledger.DB, runID string, after, limit int) (lines []Line, err error) {
	if err := checkPage(limit); err != nil {
		return nil, err
	}
	err = db.View(ctx, func(tx *ledger.Tx) error {
		lines, err = selectLines(ctx, tx, `WHERE run_id = ? AND number > ? ORDER BY number LIMIT ?`, runID, after, limit)
		return err
	})
	return lines, err
}

const lineColumns = `SELECT run_id, number, kind, party, account, currency, gross, fee, amount, destination, method,
	reason, outcome, note FROM clearing_lines `

func scanLine(scan func(targets ...any) error) (line Line, err error) {
	var runID string
	err = scan(&runID, &line.Number, &line.Kind, &line.Party, &line.Account, (*string)(&line.Currency), (*int64)(&line.Gross),
		(*int64)(&line.Fee), (*int64)(&line.Amount), &line.Destination, &line.Method,
		(*string)(&line.Reason), &line.Outcome, (*string)(&line.Note))
	if line.Amount > 0 {
		line.EndToEnd = endToEnd(runID, line)
	}
	return line, err
}

func selectLines(ctx context.Context, tx *ledger.Tx, where string, arguments ...any) (lines []Line, err error) {
	rows, err := tx.QueryContext(ctx, lineColumns+where, arguments...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		line, err := scanLine(rows.Scan)
		if err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, rows.Err()
}

// eachLine calls do with the lines of a run in their order. It reads a page at
// a time, so that no transaction is open as long as do takes.
func eachLine(ctx context.Context, db *ledger.DB, runID string, do func(Line) error) error {
	for after := 0; ; {
		page, err := Lines(ctx, db, runID, after, MaxPage)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, line := range page {
			if err := do(line); err != nil {
				return err
			}
		}
		after = page[len(page)-1].Number
	}
}

// SentTotals returns what came of the lines of a run so far: sums over those
// that were sent, and over what was carried.
func SentTotals(ctx context.Context, db *ledger.DB, runID string) (totals Totals, err error) {
	err = db.View(ctx, func(tx *ledger.Tx) error {
		totals, err = sentTotals(ctx, tx, runID)
		return err
	})
	return totals, err
}

func sentTotals(ctx context.Context, tx *ledger.Tx, runID string) (t Totals, err error) {
	var planned Settlement
	if planned, err = findSettlement(ctx, tx, `WHERE id = ?`, runID); err != nil {
		return Totals{}, err
	}
	err = tx.QueryRowContext(ctx, `SELECT COUNT(*),
		COALESCE(CAST(SUM(CASE WHEN kind <> 'collection' THEN 1 ELSE 0 END) AS BIGINT), 0),
		COALESCE(CAST(SUM(CASE WHEN kind <> 'collection' THEN amount ELSE 0 END) AS BIGINT), 0),
		COALESCE(CAST(SUM(CASE WHEN kind = 'collection' THEN 1 ELSE 0 END) AS BIGINT), 0),
		COALESCE(CAST(SUM(CASE WHEN kind = 'collection' THEN amount ELSE 0 END) AS BIGINT), 0),
		COALESCE(CAST(SUM(fee) AS BIGINT), 0)
		FROM clearing_lines WHERE run_id = ? AND outcome = 'sent'`, runID).
		Scan(&t.Lines, &t.Payments, (*int64)(&t.Paid), &t.Collections, (*int64)(&t.Collected), (*int64)(&t.Fees))
	if err != nil {
		return Totals{}, err
	}
	// What was planned and not sent stays owed.
	t.Lines, t.Waiting = planned.Totals.Lines, planned.Totals.Waiting
	t.Carried, err = planned.Totals.Carried.Add(planned.Totals.Paid - t.Paid + planned.Totals.Fees - t.Fees)
	return t, err
}
