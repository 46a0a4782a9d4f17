package clearing

import (
	"context"
	"errors"
	"fmt"

	"github.com/paywordhq/payword/internal/ledger"
)

// Run carries out the plan of config.PlanHash, or goes on with the run that was
// started and broken off, and writes the files. The same plan again changes
// nothing and writes the same bytes.
//
// by is the operator who has proven to be that one, or the zero value for
// whoever may open the database.
//
// Errors to branch on: *HeldError (somebody else runs the settlement now),
// *BooksError (the ledger's check finds faults; nothing more is paid),
// ErrNoPlan, ErrDiscarded, ErrNotApproved, ErrUnfinished, ErrNoDirectory, ErrNoKey. After
// any error the same call goes on where this one stopped.
func Run(ctx context.Context, db *ledger.DB, config Config, by Operator) (Settlement, error) {
	config, err := config.complete()
	if err != nil {
		return Settlement{}, err
	}
	if by.ReadOnly {
		return Settlement{}, fmt.Errorf("operator %s may look and not run a settlement", by.Name)
	}
	ctx = withActor(ctx, actor(by))
	// Before anything is paid: a run whose files cannot be written would stop
	// half way.
	if err := checkDirectory(config.Directory); err != nil {
		return Settlement{}, err
	}
	if err := migrate(ctx, db); err != nil {
		return Settlement{}, err
	}
	if err := checkKey(ctx, db, config); err != nil {
		return Settlement{}, err
	}
	lease, err := acquire(ctx, db, config.Holder)
	if err != nil {
		return Settlement{}, err
	}
	r := &run{db: db, config: config, lease: lease}
	err = lease.keep(ctx, config.renewEvery, func(ctx context.Context) error { return r.carryOut(ctx, by) })
	return r.settlement, errors.Join(err, lease.release(ctx))
}

// run is one call of Run. Its methods are the steps; each is safe to repeat.
type run struct {
	db         *ledger.DB
	config     Config
	lease      *lease
	settlement Settlement
	done       int64 // lines
}

func (r *run) carryOut(ctx context.Context, by Operator) error {
	r.config.step("leased")
	if _, _, err := releaseReserves(ctx, r.db, r.config.step); err != nil {
		return fmt.Errorf("releasing what was kept for refunds: %w", err)
	}
	if err := r.choose(ctx, by); err != nil {
		return err
	}
	if err := r.start(ctx); err != nil {
		return err
	}
	if r.settlement.State == StateRunning {
		if err := r.execute(ctx); err != nil {
			return err
		}
		if err := r.close(ctx); err != nil {
			return err
		}
		r.config.step("closed")
	}
	if r.settlement.State == StateClosed {
		r.report(PhasePublish)
		if err := r.publish(ctx); err != nil {
			return fmt.Errorf("publishing run %s: %w", r.settlement.RunID, err)
		}
		r.config.step("published")
	}
	r.report(PhaseFiles)
	if err := r.writeFiles(ctx); err != nil {
		return err
	}
	if err := r.finish(ctx); err != nil {
		return err
	}
	r.report(PhaseFinal)
	r.config.step("final")
	return nil
}

// choose finds the run that is meant, or plans one where that is asked for.
func (r *run) choose(ctx context.Context, by Operator) error {
	err := r.db.View(ctx, func(tx *ledger.Tx) (err error) {
		if r.config.PlanHash != "" {
			r.settlement, err = findPlan(ctx, tx, r.config.PlanHash)
			return err
		}
		r.settlement, err = findSettlement(ctx, tx, `WHERE state IN ('running', 'closed') ORDER BY planned LIMIT 1`)
		return err
	})
	if r.config.PlanHash == "" && errors.Is(err, ErrNoPlan) {
		if !r.config.Now {
			return fmt.Errorf("%w to go on with: plan a run first, and give its hash", ErrNoPlan)
		}
		r.settlement, err = Propose(ctx, r.db, r.config, by)
		if err == nil {
			r.config.step("planned")
		}
	}
	if err != nil {
		return err
	}
	return verifyPlan(ctx, r.db, r.settlement)
}

// start makes a proposed plan the run that is going on. Where something is
// still to be paid the books are checked first: no money leaves books that
// disagree.
func (r *run) start(ctx context.Context) error {
	state := r.settlement.State
	if state == StateProposed || state == StateRunning {
		r.report(PhaseCheck)
		if err := r.checkBooks(ctx); err != nil {
			return err
		}
		r.config.step("checked")
	}
	err := r.update(ctx, func(tx *ledger.Tx) (err error) {
		if r.settlement, err = findPlan(ctx, tx, r.settlement.PlanHash); err != nil {
			return err
		}
		switch r.settlement.State {
		case StateProposed:
			return r.startIn(ctx, tx)
		case StateDiscarded:
			return fmt.Errorf("run %s: %w: a later plan has taken its place", r.settlement.RunID, ErrDiscarded)
		}
		return nil
	})
	if err == nil && state == StateProposed {
		r.config.step("started")
	}
	return err
}

// startIn is the start of a run within its transaction.
func (r *run) startIn(ctx context.Context, tx *ledger.Tx) error {
	s := &r.settlement
	if err := refuseUnfinished(ctx, tx, s.Currency); err != nil {
		return err
	}
	if missing := s.ApprovalsMissing(); missing > 0 {
		return fmt.Errorf("run %s: %w: two operators must stand behind it, and %d more has to: payword clearing approve --plan %s",
			s.RunID, ErrNotApproved, missing, s.PlanHash)
	}
	s.State, s.Started, s.StartedBy = StateRunning, tx.Now(), plannedBy(ctx)
	err := advance(ctx, tx, s.RunID, `UPDATE clearing_runs SET state = 'running', started = ?, started_by = ? WHERE id = ? AND state = 'proposed'`,
		s.Started.UnixMicro(), s.StartedBy, s.RunID)
	if err != nil {
		return err
	}
	return audit(ctx, tx, "start", "run:"+s.RunID, "plan "+s.PlanHash)
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

// report tells whoever started the run how far it is.
func (r *run) report(phase Phase) {
	s := r.settlement
	r.config.Progress(Progress{RunID: s.RunID, State: s.State, Phase: phase, Done: r.done, Lines: s.Totals.Lines})
}

func (r *run) checkBooks(ctx context.Context) error {
	report, err := r.db.Check(ctx)
	if err != nil {
		return fmt.Errorf("checking the books: %w", err)
	}
	if !report.Clean() {
		return &BooksError{Report: report}
	}
	return nil
}

// close takes the trial balance and ends the paying. Check and balance see one
// state of the books, and stop nobody.
func (r *run) close(ctx context.Context) error {
	r.report(PhaseClose)
	var report ledger.Report
	var classes []ClassBalance
	err := r.db.View(ctx, func(tx *ledger.Tx) (err error) {
		if report, err = tx.Check(ctx); err != nil {
			return fmt.Errorf("checking the books: %w", err)
		}
		classes, err = takeTrialBalance(ctx, tx)
		return err
	})
	if err == nil && !report.Clean() {
		err = &BooksError{Report: report}
	}
	if err != nil {
		return err
	}
	id := r.settlement.RunID
	err = r.update(ctx, func(tx *ledger.Tx) error {
		err := advance(ctx, tx, id, `UPDATE clearing_runs SET state = 'closed', closed = ?, accounts = ?, transfers = ?
			WHERE id = ? AND state = 'running' AND NOT EXISTS (
				SELECT 1 FROM clearing_lines WHERE run_id = clearing_runs.id AND outcome = '')`,
			tx.Now().UnixMicro(), report.Accounts, report.Transfers, id)
		if err != nil {
			return err
		}
		if err := saveTrialBalance(ctx, tx, id, classes); err != nil {
			return err
		}
		sent, err := sentTotals(ctx, tx, id)
		if err != nil {
			return err
		}
		err = audit(ctx, tx, "close", "run:"+id, fmt.Sprintf("%d payments of %s, %d collections of %s, fees %s",
			sent.Payments, sent.Paid.Decimal(), sent.Collections, sent.Collected.Decimal(), sent.Fees.Decimal()))
		if err != nil {
			return err
		}
		r.settlement, err = findSettlement(ctx, tx, `WHERE id = ?`, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("closing run %s: %w", id, err)
	}
	return nil
}

// finish marks the run final, now that it is published and its files are written.
func (r *run) finish(ctx context.Context) error {
	if r.settlement.State == StateFinal {
		return nil
	}
	id := r.settlement.RunID
	err := r.update(ctx, func(tx *ledger.Tx) error {
		err := advance(ctx, tx, id, `UPDATE clearing_runs SET state = 'final', final = ? WHERE id = ? AND state = 'closed'`,
			tx.Now().UnixMicro(), id)
		if err != nil {
			return err
		}
		if err := audit(ctx, tx, "finish", "run:"+id, "published, and its files are written"); err != nil {
			return err
		}
		r.settlement, err = findSettlement(ctx, tx, `WHERE id = ?`, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("finishing run %s: %w", id, err)
	}
	return nil
}
