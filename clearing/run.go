package clearing

import (
	"context"
	"errors"
	"fmt"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// kinds of the transfers that a run makes.
const (
	kindFee    = "settlement-fee"
	kindPayout = "settlement-payout"
)

// Run settles what is payable and writes the files, or goes on with a run that
// was broken off. The same run again changes nothing, returns the same
// statement and writes the same bytes.
//
// Errors to branch on: *HeldError (somebody else runs the settlement now),
// *BooksError (the ledger's check finds faults; nothing more is paid),
// ErrUnfinished, ErrPlanDiffers. After any error the same call goes on where
// this one stopped.
func Run(ctx context.Context, db *ledger.DB, config Config) (Statement, error) {
	config, err := config.complete()
	if err != nil {
		return Statement{}, err
	}
	// Before anything is paid: a run whose files cannot be written would stop
	// half way.
	if err := checkDirectory(config.Directory); err != nil {
		return Statement{}, err
	}
	if err := db.Migrate(ctx, namespace, migrations); err != nil {
		return Statement{}, err
	}
	lease, err := acquire(ctx, db, config.Holder)
	if err != nil {
		return Statement{}, err
	}
	r := &run{db: db, config: config, lease: lease}
	statement, err := r.carryOut(ctx)
	return statement, errors.Join(err, lease.release(ctx))
}

// run is one call of Run. Its methods are the steps; each is safe to repeat.
type run struct {
	db     *ledger.DB
	config Config
	lease  *lease
	plan   Plan
}

func (r *run) carryOut(ctx context.Context) (Statement, error) {
	if err := r.freeze(ctx); err != nil {
		return Statement{}, err
	}
	r.config.step("planned")
	if r.plan.State == statePlanned {
		if err := r.execute(ctx); err != nil {
			return Statement{}, err
		}
		if err := r.close(ctx); err != nil {
			return Statement{}, err
		}
		r.config.step("closed")
	}
	statement, err := loadStatement(ctx, r.db, r.plan)
	if err != nil {
		return Statement{}, err
	}
	if err := r.writeFiles(statement); err != nil {
		return Statement{}, err
	}
	if err := r.finish(ctx); err != nil {
		return Statement{}, err
	}
	r.config.step("final")
	return statement, nil
}

// The states of a run, which only go forward.
const (
	statePlanned = "planned"
	stateClosed  = "closed"
	stateFinal   = "final"
)

// freeze finds the plan or makes and records one. Where something is still to
// be paid the books are checked first: no money leaves books that disagree.
func (r *run) freeze(ctx context.Context) error {
	err := r.db.View(ctx, func(tx *ledger.Tx) (err error) {
		r.plan, err = findOrMake(ctx, tx, r.config)
		return err
	})
	if err != nil {
		return err
	}
	if r.plan.State == "" || r.plan.State == statePlanned {
		if _, err := checkBooks(ctx, r.db); err != nil {
			return err
		}
	}
	// Found again in the transaction that records it: payables may have grown.
	return r.update(ctx, func(tx *ledger.Tx) (err error) {
		if r.plan, err = findOrMake(ctx, tx, r.config); err != nil {
			return err
		}
		if r.config.ExpectPlan != "" && r.config.ExpectPlan != r.plan.Hash {
			return fmt.Errorf("run %s: %w: its hash is %s", r.plan.RunID, ErrPlanDiffers, r.plan.Hash)
		}
		if r.plan.State != "" {
			return nil
		}
		if err := savePlan(ctx, tx, r.plan); err != nil {
			return fmt.Errorf("recording run %s: %w", r.plan.RunID, err)
		}
		r.plan.State = statePlanned
		return nil
	})
}

// update is a transaction of the run, in which it still holds its lease.
func (r *run) update(ctx context.Context, change func(tx *ledger.Tx) error) error {
	return r.db.Update(ctx, func(tx *ledger.Tx) error {
		if err := r.lease.renew(ctx, tx); err != nil {
			return err
		}
		return change(tx)
	})
}

func checkBooks(ctx context.Context, db *ledger.DB) (ledger.Report, error) {
	report, err := db.Check(ctx)
	if err != nil {
		return ledger.Report{}, fmt.Errorf("checking the books: %w", err)
	}
	if !report.Clean() {
		return ledger.Report{}, &BooksError{Report: report}
	}
	return report, nil
}

// execute does the lines that are not done yet, each in its own transaction.
func (r *run) execute(ctx context.Context) error {
	for _, line := range r.plan.Lines {
		err := r.update(ctx, func(tx *ledger.Tx) error { return r.executeLine(ctx, tx, line) })
		if err != nil {
			return fmt.Errorf("run %s, line %d (%s): %w", r.plan.RunID, line.Number, line.Vendor, err)
		}
		r.config.step(fmt.Sprintf("line %d", line.Number))
	}
	return nil
}

// executeLine pays one vendor and records it, both or neither.
func (r *run) executeLine(ctx context.Context, tx *ledger.Tx, line Line) error {
	outcome := "carried"
	if line.Reason == "" {
		enough, err := r.stillOwed(ctx, tx, line)
		if err != nil {
			return err
		}
		if enough {
			outcome = "paid"
			if err := r.pay(ctx, tx, line); err != nil {
				return err
			}
		}
	}
	// The row of a line that is done stays as it is.
	_, err := tx.ExecContext(ctx, `UPDATE settlement_lines SET outcome = ?, done = ?
		WHERE run_id = ? AND number = ? AND outcome = ''`, outcome, tx.Now().UnixMicro(), r.plan.RunID, line.Number)
	return err
}

// stillOwed says whether the line is to be paid now: it was not done before,
// and nothing took the vendor's money away since the plan was made.
func (r *run) stillOwed(ctx context.Context, tx *ledger.Tx, line Line) (bool, error) {
	var outcome string
	err := tx.QueryRowContext(ctx, `SELECT outcome FROM settlement_lines WHERE run_id = ? AND number = ?`,
		r.plan.RunID, line.Number).Scan(&outcome)
	if err != nil || outcome != "" {
		return false, err
	}
	account, err := tx.Account(ctx, line.Account)
	return account.Balance-account.Pending >= line.Fee+line.Paid, err
}

// pay posts the line's transfers. Their ids come from the run and the vendor
// alone, so that the ledger itself refuses to pay a second time.
func (r *run) pay(ctx context.Context, tx *ledger.Tx, line Line) error {
	transfers := []struct {
		kind, credit string
		amount       money.Amount
	}{
		{kindFee, r.plan.FeesAccount, line.Fee},
		{kindPayout, r.plan.BankAccount, line.Paid},
	}
	for _, t := range transfers {
		if t.amount == 0 {
			continue // a schedule may charge nothing
		}
		err := tx.Post(ctx, ledger.Transfer{
			ID: t.kind + "/" + line.PaymentID, Debit: line.Account, Credit: t.credit, Amount: t.amount,
			Currency: line.Currency, Kind: t.kind,
			Reference: fmt.Sprintf("run %s line %d plan %s fee %s", r.plan.RunID, line.Number, r.plan.Hash, r.plan.FeeRule),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// close takes the trial balance and ends the paying.
func (r *run) close(ctx context.Context) error {
	report, err := checkBooks(ctx, r.db)
	if err != nil {
		return err
	}
	err = r.update(ctx, func(tx *ledger.Tx) error {
		if err := saveTrialBalance(ctx, tx, r.plan.RunID); err != nil {
			return err
		}
		return r.advance(ctx, tx, `UPDATE settlement_runs SET state = 'closed', closed = ?, accounts = ?, transfers = ?
			WHERE id = ? AND state = 'planned' AND NOT EXISTS (
				SELECT 1 FROM settlement_lines WHERE run_id = settlement_runs.id AND outcome = '')`,
			tx.Now().UnixMicro(), report.Accounts, report.Transfers, r.plan.RunID)
	})
	if err != nil {
		return fmt.Errorf("closing run %s: %w", r.plan.RunID, err)
	}
	r.plan.State = stateClosed
	return nil
}

// finish marks the run final, now that its files are written.
func (r *run) finish(ctx context.Context) error {
	if r.plan.State == stateFinal {
		return nil
	}
	err := r.update(ctx, func(tx *ledger.Tx) error {
		return r.advance(ctx, tx, `UPDATE settlement_runs SET state = 'final', final = ? WHERE id = ? AND state = 'closed'`,
			tx.Now().UnixMicro(), r.plan.RunID)
	})
	if err != nil {
		return fmt.Errorf("finishing run %s: %w", r.plan.RunID, err)
	}
	return nil
}

// advance runs the compare-and-swap of a state, which must change one row.
func (r *run) advance(ctx context.Context, tx *ledger.Tx, query string, args ...any) error {
	result, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return err
	}
	changed, err := result.RowsAffected()
	if err == nil && changed != 1 {
		err = fmt.Errorf("the run is not %s any more, or not every line is done", r.plan.State)
	}
	return err
}
