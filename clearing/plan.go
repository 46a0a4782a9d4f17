package clearing

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// MaxLines is the most vendors that one run settles. The plan is recorded in one
// transaction, during which nobody else can write: fifty thousand lines keep it
// to two seconds or so, less than the others wait.
const MaxLines = 50_000

// maxRunsADay ends the search for a free run id.
const maxRunsADay = 1000

// Reason says why a line pays nothing.
type Reason string

const (
	// ReasonTooSmall: the fee would take it all, or less than the smallest
	// unit that a bank moves would be left.
	ReasonTooSmall Reason = "too-small"
	// ReasonOtherCurrency: the account is in another currency than the run.
	ReasonOtherCurrency Reason = "other-currency"
	// ReasonBalanceFell: less was left than planned when the line's turn came.
	ReasonBalanceFell Reason = "balance-fell"
)

// Line is what a run does for one vendor.
type Line struct {
	Number   int            `json:"number"` // 1 and up, in the order of the accounts
	Vendor   string         `json:"vendor"` // the origin
	Account  string         `json:"account"`
	Currency money.Currency `json:"currency"`
	// Gross = Fee + Paid + Carried, in micros.
	Gross   money.Amount `json:"gross"`
	Fee     money.Amount `json:"fee"`
	Paid    money.Amount `json:"paid"`
	Carried money.Amount `json:"carried"`
	// Reason is "" where something is paid.
	Reason Reason `json:"reason,omitempty"`
	// PaymentID names the payment to the bank: 32 hexadecimal digits, never
	// used twice. It is "" where nothing is paid.
	PaymentID string `json:"paymentId,omitempty"`
}

// Plan is what a run will do, frozen when the run begins.
type Plan struct {
	RunID string `json:"runId"`
	// PeriodEnd is the last day that is settled, as 2026-11-22.
	PeriodEnd   string         `json:"periodEnd"`
	Currency    money.Currency `json:"currency"`
	Schedule    Schedule       `json:"-"`
	FeeRule     string         `json:"feeRule"` // the version of the schedule
	FeesAccount string         `json:"feesAccount"`
	BankAccount string         `json:"bankAccount"`
	Lines       []Line         `json:"lines"`
	// Hash is the SHA-256 of Text, in hexadecimal.
	Hash string `json:"planHash"`
	// State is where the run stands: "" (nothing is recorded yet), "planned",
	// "closed" (every line is done) or "final" (the files are written).
	State string `json:"state,omitempty"`
}

// Text is the canonical text of the plan, one fact a line. Its words hold no
// spaces, so that two plans never have the same text.
func (p Plan) Text() string {
	var text strings.Builder
	fmt.Fprintf(&text, "payword settlement plan 1\nrun %s\nperiod-end %s\ncurrency %s\n", p.RunID, p.PeriodEnd, p.Currency)
	fmt.Fprintf(&text, "fee %s %d/%d %s\n", p.Schedule.Version, p.Schedule.Numerator, p.Schedule.Denominator, p.Schedule.Minimum)
	fmt.Fprintf(&text, "accounts %s %s\n", p.FeesAccount, p.BankAccount)
	for _, line := range p.Lines {
		what := "pay"
		if line.Reason != "" {
			what = "carry:" + string(line.Reason)
		}
		fmt.Fprintf(&text, "line %d %s %s %s %s %s %s\n",
			line.Number, line.Account, line.Currency, line.Gross, line.Fee, line.Paid, what)
	}
	return text.String()
}

func (p Plan) hash() string {
	sum := sha256.Sum256([]byte(p.Text()))
	return hex.EncodeToString(sum[:])
}

// PlanRun returns the plan that Run would carry out now, and changes nothing:
// the plan of the run that the configuration names or that is not finished, or
// else a new one. Lines are as they were planned, whatever came of them.
func PlanRun(ctx context.Context, db *ledger.DB, config Config) (Plan, error) {
	config, err := config.complete()
	if err != nil {
		return Plan{}, err
	}
	var plan Plan
	err = db.View(ctx, func(tx *ledger.Tx) error {
		plan, err = findOrMake(ctx, tx, config)
		return err
	})
	return plan, err
}

// findOrMake returns the plan on record, or a new one that is not recorded.
func findOrMake(ctx context.Context, tx *ledger.Tx, config Config) (Plan, error) {
	id, err := currentRun(ctx, tx, config.RunID)
	if err != nil {
		return Plan{}, err
	}
	if id != "" {
		return loadPlan(ctx, tx, id)
	}
	return makePlan(ctx, tx, config)
}

// currentRun returns the id of the run to go on with, or "" for a new one.
func currentRun(ctx context.Context, tx *ledger.Tx, wanted string) (string, error) {
	migrated, err := hasTables(ctx, tx)
	if err != nil || !migrated {
		return "", err
	}
	if wanted != "" {
		state, err := runState(ctx, tx, wanted)
		if err != nil || state != "" {
			return wanted, err
		}
	}
	var unfinished string
	err = tx.QueryRowContext(ctx, `SELECT id FROM settlement_runs WHERE state <> 'final' ORDER BY planned, id LIMIT 1`).Scan(&unfinished)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err == nil && wanted != "" {
		return "", fmt.Errorf("run %s: %w: run %s comes first", wanted, ErrUnfinished, unfinished)
	}
	return unfinished, err
}

// hasTables says whether the settlement tables exist: a ledger that is only
// read may have none yet.
func hasTables(ctx context.Context, tx *ledger.Tx) (bool, error) {
	var count int
	err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM payword_migrations WHERE namespace = ?`, namespace).Scan(&count)
	return count > 0, err
}

// runState returns the state of a run, or "" where there is none.
func runState(ctx context.Context, tx *ledger.Tx, id string) (string, error) {
	var state string
	err := tx.QueryRowContext(ctx, `SELECT state FROM settlement_runs WHERE id = ?`, id).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return state, err
}

// makePlan looks at what is payable now.
func makePlan(ctx context.Context, tx *ledger.Tx, config Config) (Plan, error) {
	fees, err := tx.Account(ctx, config.FeesAccount)
	if err != nil {
		return Plan{}, fmt.Errorf("account for fees: %w", err)
	}
	bank, err := tx.Account(ctx, config.BankAccount)
	if err != nil {
		return Plan{}, fmt.Errorf("account for payouts: %w", err)
	}
	if fees.Currency != bank.Currency {
		return Plan{}, fmt.Errorf("account %s is in %s and account %s in %s: want one currency",
			fees.ID, fees.Currency.Code(), bank.ID, bank.Currency.Code())
	}
	plan := Plan{PeriodEnd: config.PeriodEnd, Currency: fees.Currency, Schedule: config.Schedule,
		FeeRule: config.Schedule.Version, FeesAccount: fees.ID, BankAccount: bank.ID}
	if plan.PeriodEnd == "" {
		plan.PeriodEnd = tx.Now().Format(time.DateOnly)
	}
	if plan.RunID, err = newRunID(ctx, tx, config.RunID, plan.PeriodEnd); err != nil {
		return Plan{}, err
	}
	if plan.Lines, err = payableLines(ctx, tx, plan); err != nil {
		return Plan{}, err
	}
	plan.Hash = plan.hash()
	return plan, nil
}

// newRunID returns the id asked for, or the first free one of the day.
func newRunID(ctx context.Context, tx *ledger.Tx, wanted, day string) (string, error) {
	if wanted != "" {
		return wanted, nil
	}
	migrated, err := hasTables(ctx, tx)
	if err != nil {
		return "", err
	}
	for counter := 1; counter <= maxRunsADay; counter++ {
		id := fmt.Sprintf("run-%s-%d", day, counter)
		if !migrated {
			return id, nil
		}
		if state, err := runState(ctx, tx, id); err != nil || state == "" {
			return id, err
		}
	}
	return "", fmt.Errorf("there are %d runs for %s already: give the run an id", maxRunsADay, day)
}

const (
	vendorPrefix  = "vendor:"
	payableSuffix = ":payable"
)

// payableLines makes a line for every vendor to whom something is owed.
func payableLines(ctx context.Context, tx *ledger.Tx, plan Plan) ([]Line, error) {
	lines := []Line{}
	for after := ""; ; {
		page, err := tx.Accounts(ctx, vendorPrefix, after, ledger.MaxPage)
		if err != nil || len(page) == 0 {
			return lines, err
		}
		after = page[len(page)-1].ID
		for _, account := range page {
			payable := account.Balance - account.Pending
			if !strings.HasSuffix(account.ID, payableSuffix) || payable <= 0 {
				continue
			}
			if len(lines) == MaxLines {
				return nil, fmt.Errorf("more than %d vendors are to be paid: one run takes no more", MaxLines)
			}
			line, err := planLine(plan, account, payable)
			if err != nil {
				return nil, err
			}
			line.Number = len(lines) + 1
			lines = append(lines, line)
		}
	}
}

func planLine(plan Plan, account ledger.Account, payable money.Amount) (Line, error) {
	line := Line{Vendor: vendorOf(account.ID), Account: account.ID, Currency: account.Currency, Gross: payable, Carried: payable}
	if account.Currency != plan.Currency {
		line.Reason = ReasonOtherCurrency
		return line, nil
	}
	// A transfer carries at most money.MaxAmount; the rest waits for the next run.
	fee, payout, err := plan.Schedule.split(min(payable, money.MaxAmount), plan.Currency)
	if err != nil {
		return Line{}, fmt.Errorf("account %s: %w", account.ID, err)
	}
	line.Fee, line.Paid, line.Carried = fee, payout, payable-fee-payout
	if payout == 0 {
		line.Reason = ReasonTooSmall
	} else {
		line.PaymentID = paymentID(plan.RunID, account.ID)
	}
	return line, nil
}

// vendorOf returns the origin in "vendor:<origin>:payable".
func vendorOf(account string) string {
	return strings.TrimSuffix(strings.TrimPrefix(account, vendorPrefix), payableSuffix)
}

// paymentID is the same for the same run and vendor, for ever: the transfers of
// a line are made of it, which is why no crash can pay twice. 128 bits of a
// hash keep it within the 35 characters of a bank's end-to-end id.
func paymentID(runID, account string) string {
	sum := sha256.Sum256([]byte(runID + "\n" + account))
	return hex.EncodeToString(sum[:16])
}

// savePlan records a plan, for good.
func savePlan(ctx context.Context, tx *ledger.Tx, p Plan) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO settlement_runs (id, state, period_end, currency, fee_rule, numerator,
		denominator, minimum, fees_account, bank_account, plan_hash, planned)
		VALUES (?, 'planned', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		p.RunID, p.PeriodEnd, string(p.Currency), p.Schedule.Version, p.Schedule.Numerator, p.Schedule.Denominator,
		int64(p.Schedule.Minimum), p.FeesAccount, p.BankAccount, p.Hash, tx.Now().UnixMicro())
	if err != nil {
		return err
	}
	for _, line := range p.Lines {
		_, err := tx.ExecContext(ctx, `INSERT INTO settlement_lines (run_id, number, account, currency, gross, fee, payout, reason)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, p.RunID, line.Number, line.Account, string(line.Currency),
			int64(line.Gross), int64(line.Fee), int64(line.Paid), string(line.Reason))
		if err != nil {
			return err
		}
	}
	return nil
}

// loadPlan reads a plan and checks it against its hash.
func loadPlan(ctx context.Context, tx *ledger.Tx, id string) (Plan, error) {
	p := Plan{RunID: id, Lines: []Line{}}
	err := tx.QueryRowContext(ctx, `SELECT state, period_end, currency, fee_rule, numerator, denominator, minimum,
		fees_account, bank_account, plan_hash FROM settlement_runs WHERE id = ?`, id).
		Scan(&p.State, &p.PeriodEnd, (*string)(&p.Currency), &p.Schedule.Version, &p.Schedule.Numerator, &p.Schedule.Denominator,
			(*int64)(&p.Schedule.Minimum), &p.FeesAccount, &p.BankAccount, &p.Hash)
	if err != nil {
		return Plan{}, fmt.Errorf("reading run %s: %w", id, err)
	}
	p.FeeRule = p.Schedule.Version
	rows, err := tx.QueryContext(ctx, `SELECT number, account, currency, gross, fee, payout, reason
		FROM settlement_lines WHERE run_id = ? ORDER BY number`, id)
	if err != nil {
		return Plan{}, fmt.Errorf("reading the lines of run %s: %w", id, err)
	}
	defer rows.Close()
	for rows.Next() {
		line, err := scanLine(rows, id)
		if err != nil {
			return Plan{}, fmt.Errorf("reading the lines of run %s: %w", id, err)
		}
		p.Lines = append(p.Lines, line)
	}
	if err := rows.Err(); err != nil {
		return Plan{}, fmt.Errorf("reading the lines of run %s: %w", id, err)
	}
	if p.hash() != p.Hash {
		return Plan{}, fmt.Errorf("run %s: the plan on record does not have its hash %s: it was changed", id, p.Hash)
	}
	return p, nil
}

func scanLine(rows *sql.Rows, runID string) (Line, error) {
	var line Line
	err := rows.Scan(&line.Number, &line.Account, (*string)(&line.Currency), (*int64)(&line.Gross),
		(*int64)(&line.Fee), (*int64)(&line.Paid), (*string)(&line.Reason))
	line.Vendor, line.Carried = vendorOf(line.Account), line.Gross-line.Fee-line.Paid
	if line.Paid > 0 {
		line.PaymentID = paymentID(runID, line.Account)
	}
	return line, err
}
