package clearing

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// MaxLines is the most lines of one run; what does not fit waits for the next.
// The plan is recorded in one transaction, during which nobody else can write on
// SQLite: a hundred thousand lines keep it to a second or two, which is less than
// others wait, and a plan to some fifty megabytes of memory.
const MaxLines = 100_000

// maxRunsADay bounds the counter in the ids of runs.
const maxRunsADay = 10_000

// Reason says why a line moves nothing.
type Reason string

const (
	// ReasonTooSmall: the fee would take it all, or less than the smallest
	// unit that a bank moves would be left.
	ReasonTooSmall Reason = "too-small"
	// ReasonBelowMinimum: it is less than the policy moves.
	ReasonBelowMinimum Reason = "below-minimum"
	// ReasonOtherCurrency: the account is in another currency than the run.
	ReasonOtherCurrency Reason = "other-currency"
	// ReasonNoDestination: nobody has said where it goes.
	ReasonNoDestination Reason = "no-destination"
	// ReasonBlocked: the operator has blocked the party.
	ReasonBlocked Reason = "blocked"
	// ReasonGateway: the merchant's payments go on to a gateway when they are
	// booked, and nothing is paid out.
	ReasonGateway Reason = "gateway"
	// ReasonFraction: it is no whole number of what a bank moves, and nobody may
	// round what the owner of an account asked for.
	ReasonFraction Reason = "fraction"

	// ReasonNoMandate: the mandate of the direct debit does not hold any more.
	ReasonNoMandate Reason = "no-mandate"

	// What follows comes up only when the line's turn comes.

	// ReasonBalanceFell: less was left than planned.
	ReasonBalanceFell Reason = "balance-fell"
	// ReasonDestinationChanged: it would go elsewhere now.
	ReasonDestinationChanged Reason = "destination-changed"
	// ReasonPayoutEnded: the payout was paid by hand or refused meanwhile.
	ReasonPayoutEnded Reason = "payout-ended"
)

// draft is a plan that is being made, all of it in memory.
type draft struct {
	Settlement
	lines          []Line
	started        int64        // runs that were, before it was made
	moved, largest money.Amount // in all, out and in, and by one line
	byACH          money.Amount
}

// Propose plans a run: it freezes the cut-off, the positions, where they go and
// the policy, and records them under a hash. The plan that was proposed before
// and not started is discarded. Nothing is moved.
//
// by is the operator who has proven to be that one, or the zero value for
// whoever may open the database. ErrUnfinished means that a run was started and
// must be finished first, ErrNoBroker that this is no broker's database.
func Propose(ctx context.Context, db *ledger.DB, config Config, by Operator) (Settlement, error) {
	config, err := config.complete()
	if err != nil {
		return Settlement{}, err
	}
	if by.ReadOnly {
		return Settlement{}, fmt.Errorf("operator %s may look and not plan", by.Name)
	}
	ctx = withActor(ctx, actor(by))
	if err := migrate(ctx, db); err != nil {
		return Settlement{}, err
	}
	for range planAttempts {
		var d draft
		if d, err = draftAtCut(ctx, db, config); err == nil {
			config.step("drafted")
			err = db.Update(ctx, func(tx *ledger.Tx) error { return d.record(ctx, tx) })
		}
		if !errors.Is(err, errOvertaken) {
			if err != nil {
				return Settlement{}, fmt.Errorf("planning a run: %w", err)
			}
			return d.Settlement, nil
		}
	}
	return Settlement{}, fmt.Errorf("planning a run: %w", err)
}

// planAttempts is how often a plan is made anew because somebody else has planned
// or run in the same moment. Nobody does that five times in a row.
const planAttempts = 5

// errOvertaken means that a plan was made on what is not so any more.
var errOvertaken = errors.New("somebody else planned or ran at the same time: plan again")

// draftAtCut makes a plan on one state of the books without keeping others from
// writing, but for the moment of the cut.
func draftAtCut(ctx context.Context, db *ledger.DB, config Config) (d draft, err error) {
	err = db.View(ctx, func(tx *ledger.Tx) error {
		// The state that the View sees is that of its first query. No other
		// Update is under way then, so that what it sees up to the cut-off is
		// all that there will ever be.
		var cutoff int64
		err := db.UpdateAlone(ctx, func(*ledger.Tx) (err error) {
			cutoff, err = newestTransfer(ctx, tx)
			return err
		})
		if err != nil {
			return err
		}
		d, err = makeDraft(ctx, tx, config, cutoff)
		return err
	})
	return d, err
}

func newestTransfer(ctx context.Context, tx *ledger.Tx) (seq int64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(seq), 0) FROM transfers`).Scan(&seq)
	return seq, err
}

// record writes a plan down, in the place of the one before. errOvertaken means
// that a run was started since the plan was made, or that its id was taken.
func (d *draft) record(ctx context.Context, tx *ledger.Tx) error {
	if err := refuseUnfinished(ctx, tx, d.Currency); err != nil {
		return err
	}
	_, started, err := startedRuns(ctx, tx, d.Currency)
	if err != nil {
		return err
	}
	var taken int64
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM clearing_runs WHERE id = ?`, d.RunID).Scan(&taken); err != nil {
		return err
	}
	if started != d.started || taken > 0 {
		return errOvertaken
	}
	if err := discardProposed(ctx, tx, d.Currency, d.RunID); err != nil {
		return err
	}
	return d.save(ctx, tx)
}

// startedRuns returns the cut-off of the newest run that was started, and how
// many there are.
func startedRuns(ctx context.Context, tx *ledger.Tx, currency money.Currency) (cutoff, count int64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(cutoff), 0), COUNT(*) FROM clearing_runs
		WHERE currency = ? AND state IN ('running', 'closed', 'final')`, string(currency)).Scan(&cutoff, &count)
	return cutoff, count, err
}

// DryRun calls do with the plan that Propose would make now, line by line, and
// returns it without its lines. Nothing is recorded, and the plan cannot be run.
func DryRun(ctx context.Context, db *ledger.DB, config Config, do func(Line) error) (Settlement, error) {
	config, err := config.complete()
	if err != nil {
		return Settlement{}, err
	}
	if err := migrate(ctx, db); err != nil {
		return Settlement{}, err
	}
	var d draft
	err = db.View(ctx, func(tx *ledger.Tx) error {
		cutoff, err := newestTransfer(ctx, tx)
		if err == nil {
			d, err = makeDraft(ctx, tx, config, cutoff)
		}
		return err
	})
	if err != nil {
		return Settlement{}, fmt.Errorf("planning a run: %w", err)
	}
	for _, line := range d.lines {
		if err := do(line); err != nil {
			return Settlement{}, err
		}
	}
	d.State = ""
	return d.Settlement, nil
}

// migrate makes the tables of clearing, beside those of a broker, and those of
// cards, whether there are any or not.
func migrate(ctx context.Context, db *ledger.DB) error {
	// The tables of the broker that are read here came with its tenth migration.
	const oldestBroker = 10
	err := db.View(ctx, func(tx *ledger.Tx) error {
		var newest int
		err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(number), 0) FROM payword_migrations WHERE namespace = 'broker'`).Scan(&newest)
		if err == nil && newest < oldestBroker {
			err = fmt.Errorf("%w: start the broker on it first", ErrNoBroker)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := cards.Migrate(ctx, db); err != nil {
		return err
	}
	return db.Migrate(ctx, namespace, migrations)
}

// makeDraft looks at what is owed after the transfer of the number cutoff.
func makeDraft(ctx context.Context, tx *ledger.Tx, config Config, cutoff int64) (draft, error) {
	d := draft{Settlement: Settlement{
		State: StateProposed, PeriodEnd: config.PeriodEnd, Policy: *config.Policy, FeeRule: config.Policy.Fee.Version,
		FeesAccount: config.FeesAccount, BankAccount: config.BankAccount, PlannedBy: plannedBy(ctx),
		Planned: tx.Now(), Cutoff: cutoff, Approvals: []Approval{},
	}}
	var err error
	if d.Currency, err = currencyOf(ctx, tx, config); err != nil {
		return draft{}, err
	}
	if err := refuseUnfinished(ctx, tx, d.Currency); err != nil {
		return draft{}, err
	}
	if d.PeriodEnd == "" {
		d.PeriodEnd = tx.Now().Format(time.DateOnly)
	}
	if d.RunID, err = newRunID(ctx, tx, config.RunID, d.PeriodEnd); err != nil {
		return draft{}, err
	}
	if d.Since, d.started, err = startedRuns(ctx, tx, d.Currency); err != nil {
		return draft{}, err
	}
	if err := d.collectLines(ctx, tx, config.maxLines); err != nil {
		return draft{}, err
	}
	if err := d.addUp(); err != nil {
		return draft{}, fmt.Errorf("adding up run %s: %w", d.RunID, err)
	}
	if d.NeedsApproval, err = d.needsApproval(ctx, tx); err != nil {
		return draft{}, err
	}
	d.PlanHash = d.hash()
	return d, nil
}

// plannedBy is who plans under the context.
func plannedBy(ctx context.Context) string {
	if actor := actorOf(ctx); actor != actorClearing {
		return actor
	}
	return actorCommand
}

// currencyOf returns the currency of the accounts for fees and payouts.
func currencyOf(ctx context.Context, tx *ledger.Tx, config Config) (money.Currency, error) {
	fees, err := tx.Account(ctx, config.FeesAccount)
	if err != nil {
		return "", fmt.Errorf("account for fees: %w", err)
	}
	bank, err := tx.Account(ctx, config.BankAccount)
	if err != nil {
		return "", fmt.Errorf("account for payouts: %w", err)
	}
	if fees.Currency != bank.Currency {
		return "", fmt.Errorf("account %s is in %s and account %s in %s: want one currency",
			fees.ID, fees.Currency.Code(), bank.ID, bank.Currency.Code())
	}
	return fees.Currency, nil
}

// refuseUnfinished makes sure that no run is on its way: positions would be
// those in the middle of it.
func refuseUnfinished(ctx context.Context, tx *ledger.Tx, currency money.Currency) error {
	going, err := findSettlement(ctx, tx, `WHERE currency = ? AND state IN ('running', 'closed')`, string(currency))
	if errors.Is(err, ErrNoPlan) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("%w: run %s comes first; \"payword clearing run\" goes on with it", ErrUnfinished, going.RunID)
	}
	return err
}

// newRunID returns the id asked for, or the first free one of the day.
func newRunID(ctx context.Context, tx *ledger.Tx, wanted, day string) (string, error) {
	prefix := "run-" + day + "-"
	rows, err := tx.QueryContext(ctx, `SELECT id FROM clearing_runs WHERE id = ? OR id >= ? AND id < ?`, wanted, prefix, prefix+"\x7f")
	if err != nil {
		return "", err
	}
	defer rows.Close()
	newest := 0
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return "", err
		}
		if id == wanted {
			return "", fmt.Errorf("there is a run %s already: give this one another id, or none", wanted)
		}
		if number, err := strconv.Atoi(strings.TrimPrefix(id, prefix)); err == nil {
			newest = max(newest, number)
		}
	}
	if err := rows.Err(); err != nil || wanted != "" {
		return wanted, err
	}
	if newest >= maxRunsADay {
		return "", fmt.Errorf("there are %d runs for %s already: give the run an id", newest, day)
	}
	return prefix + strconv.Itoa(newest+1), nil
}

// addUp sums the lines in the run's currency.
func (d *draft) addUp() error {
	t := &d.Totals
	t.Lines = int64(len(d.lines))
	for _, line := range d.lines {
		if line.Currency != d.Currency {
			continue
		}
		sums := []addition{{&t.Fees, line.Fee}, {&d.moved, line.Amount}}
		if line.IsOut() {
			sums = append(sums, addition{&t.Paid, line.Amount}, addition{&t.Carried, line.Carried()})
		} else {
			sums = append(sums, addition{&t.Collected, line.Amount})
		}
		if err := addAll(sums); err != nil {
			return err
		}
		d.largest = max(d.largest, line.Amount)
		switch {
		case line.Amount == 0:
		case line.IsOut():
			t.Payments++
		default:
			t.Collections++
		}
	}
	return nil
}

// addition adds an amount to a sum.
type addition struct {
	sum    *money.Amount
	amount money.Amount
}

func addAll(additions []addition) (err error) {
	for _, a := range additions {
		if *a.sum, err = a.sum.Add(a.amount); err != nil {
			return err
		}
	}
	return nil
}

// discardProposed makes room for another plan.
func discardProposed(ctx context.Context, tx *ledger.Tx, currency money.Currency, by string) error {
	old, err := findSettlement(ctx, tx, `WHERE currency = ? AND state = 'proposed'`, string(currency))
	if errors.Is(err, ErrNoPlan) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := advance(ctx, tx, old.RunID, `UPDATE clearing_runs SET state = 'discarded' WHERE id = ? AND state = 'proposed'`, old.RunID); err != nil {
		return err
	}
	return audit(ctx, tx, "discard", "run:"+old.RunID, "run "+by+" was planned in its place")
}

// save records a plan, for good.
func (d *draft) save(ctx context.Context, tx *ledger.Tx) error {
	if err := saveFeeRule(ctx, tx, d.Policy); err != nil {
		return err
	}
	needs := 0
	if d.NeedsApproval {
		needs = 1
	}
	t := d.Totals
	arguments := []any{
		d.RunID, d.State, d.PeriodEnd, string(d.Currency), d.Cutoff, d.Since, d.Policy.String(), d.FeeRule, d.FeesAccount, d.BankAccount,
		d.PlanHash, d.PlannedBy, needs, d.Planned.UnixMicro(), t.Lines, t.Waiting, t.Payments, int64(t.Paid), t.Collections,
		int64(t.Collected), int64(t.Fees), int64(t.Carried),
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO clearing_runs (id, state, period_end, currency, cutoff, since, policy, fee_rule, fees_account,
		bank_account, plan_hash, planned_by, needs, planned, lines, waiting, payments, paid, collections, collected, fees, carried)
		VALUES `+ledger.Rows(1, len(arguments)), arguments...)
	if err != nil {
		return err
	}
	if err := d.saveLines(ctx, tx); err != nil {
		return err
	}
	return audit(ctx, tx, "plan", "run:"+d.RunID, fmt.Sprintf("plan %s, cut-off %d: %d payments of %s %s, %d collections of %s, fees %s",
		d.PlanHash, d.Cutoff, t.Payments, t.Paid.Decimal(), d.Currency.Code(), t.Collections, t.Collected.Decimal(), t.Fees.Decimal()))
}

func (d *draft) saveLines(ctx context.Context, tx *ledger.Tx) error {
	const columns = 12
	for from, to := range ledger.Spans(len(d.lines)) {
		arguments := make([]any, 0, (to-from)*columns)
		for _, l := range d.lines[from:to] {
			arguments = append(arguments, d.RunID, l.Number, l.Kind, l.Party, l.Account, string(l.Currency),
				int64(l.Gross), int64(l.Fee), int64(l.Amount), l.Destination, l.Method, string(l.Reason))
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO clearing_lines (run_id, number, kind, party, account, currency, gross, fee, amount,
			destination, method, reason) VALUES `+ledger.Rows(to-from, columns), arguments...)
		if err != nil {
			return err
		}
	}
	return nil
}

// saveFeeRule keeps the rule under its version, which names it for ever.
func saveFeeRule(ctx context.Context, tx *ledger.Tx, policy Policy) error {
	rule := policy.Fee.String()
	_, err := tx.ExecContext(ctx, `INSERT INTO clearing_fee_rules (version, rule, created) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
		policy.Fee.Version, rule, tx.Now().UnixMicro())
	if err != nil {
		return err
	}
	var known string
	err = tx.QueryRowContext(ctx, `SELECT rule FROM clearing_fee_rules WHERE version = ?`, policy.Fee.Version).Scan(&known)
	if err == nil && known != rule {
		err = fmt.Errorf("fee rule %s was another rule in an earlier plan: give the changed rule another version", policy.Fee.Version)
	}
	return err
}

// advance runs the compare-and-swap of a run's state, which must change one row.
func advance(ctx context.Context, tx *ledger.Tx, runID, query string, arguments ...any) error {
	changed, err := tx.ExecOne(ctx, query, arguments...)
	if err == nil && !changed {
		err = fmt.Errorf("run %s is not in the state any more that this needs", runID)
	}
	return err
}
