package clearing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// groupRow sums up lines or orders of one kind.
type groupRow struct {
	Name, Other        string // such as the kind and the method
	Count              int64
	Gross, Fee, Amount money.Amount // micros
}

// changeRow is a party whose amount differs from that of the run before.
type changeRow struct {
	Kind, Party    string
	Before, Amount money.Amount // micros
}

// Change is how much more it is than before, in micros.
func (r changeRow) Change() money.Amount { return r.Amount - r.Before }

type runView struct {
	Run      Settlement
	Previous *Settlement // the run before that was started, or nil
	Missing  int         // approvals
	Progress Progress
	// IsStarted says that the run is neither a plan nor done.
	IsStarted bool
	IsHere    bool // this server carries it out
	Last      taskState
	Actions   []*adminpage.Action
	Groups    []groupRow // lines by kind and method
	Carried   []groupRow // lines that move nothing, by reason
	Orders    []groupRow // to the bank, by state and direction
	Largest   []Line
	Changes   []changeRow
	Balances  []ClassBalance
	Files     []fileRow
	Audit     []adminpage.AuditRow
}

func (v *visit) runPage() {
	data, err := v.server.runView(v.R.Context(), v.R.PathValue("run"))
	if err != nil {
		v.Failed(err)
		return
	}
	if !v.Operator().ReadOnly {
		data.Actions = v.server.actionsOn(data, v.by())
	}
	v.Show(http.StatusOK, "run", adminpage.View{
		Title: "Run " + data.Run.RunID, Section: "runs", Data: data,
		Notice: adminpage.DoneNotice(v.R, v.server.approveAction(), v.server.settleByHandAction()),
	})
}

// actionsOn returns what an operator can do to a run as it is.
func (s *Server) actionsOn(data runView, by Operator) (possible []*adminpage.Action) {
	switch run := data.Run; {
	case run.State == StateProposed:
		if run.NeedsApproval && run.PlannedBy != actor(by) && !isApprovedBy(run, by.Name) {
			possible = append(possible, s.approveAction())
		}
		if data.Missing == 0 {
			possible = append(possible, s.startAction())
		}
	case data.IsStarted:
		if data.Progress.Holder == "" && !data.IsHere {
			resume := s.startAction()
			resume.Title = "Go on with it"
			possible = append(possible, resume)
		}
	case data.hasOpen():
		possible = append(possible, s.settleByHandAction())
	}
	return possible
}

// hasOpen says whether the bank has still to answer an order of the run.
func (d *runView) hasOpen() bool {
	for _, row := range d.Orders {
		if row.Other == InstructionSent {
			return true
		}
	}
	return false
}

func isApprovedBy(run Settlement, name string) bool {
	for _, approval := range run.Approvals {
		if approval.Operator == name {
			return true
		}
	}
	return false
}

func ignoreNoPlan(err error) error {
	if errors.Is(err, ErrNoPlan) {
		return nil
	}
	return err
}

// run returns a run by its id, or adminpage.ErrNotFound.
func (s *Server) run(ctx context.Context, id string) (Settlement, error) {
	run, err := LoadRun(ctx, s.db, id)
	if errors.Is(err, ErrNoPlan) {
		err = adminpage.ErrNotFound
	}
	return run, err
}

func (s *Server) runView(ctx context.Context, id string) (data runView, err error) {
	if data.Run, err = s.run(ctx, id); err != nil {
		return data, err
	}
	if data.Progress, err = LoadProgress(ctx, s.db, id); err != nil {
		return data, err
	}
	data.Missing = data.Run.ApprovalsMissing()
	data.IsStarted = data.Run.State == StateRunning || data.Run.State == StateClosed
	last, progress, _ := s.settling.lookAt()
	data.IsHere = last.IsGoing && progress.RunID == id
	if progress.RunID == id {
		data.Last = last
	}
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		return errors.Join(data.readPrevious(ctx, tx), data.readGroups(ctx, tx), data.readChanges(ctx, tx))
	})
	if err != nil {
		return data, err
	}
	if data.Balances, err = TrialBalance(ctx, s.db, id); err != nil {
		return data, err
	}
	if data.Files, err = s.filesOf(ctx, data.Run); err != nil {
		return data, err
	}
	log := adminpage.AuditLog{Table: "clearing_audit", View: s.db.View}
	found, err := log.Page(ctx, adminpage.AuditFilter{Subject: "run:" + id}, shortList)
	data.Audit = found.Rows
	return data, err
}

// readPrevious finds the run before that was started.
func (d *runView) readPrevious(ctx context.Context, tx *ledger.Tx) error {
	d.Previous = nil
	previous, err := findSettlement(ctx, tx, `WHERE started > 0 AND planned < ? AND currency = ? ORDER BY planned DESC, id DESC LIMIT 1`,
		d.Run.Planned.UnixMicro(), string(d.Run.Currency))
	if err == nil {
		d.Previous = &previous
	}
	return ignoreNoPlan(err)
}

// readGroups sums up the lines and the orders.
func (d *runView) readGroups(ctx context.Context, tx *ledger.Tx) error {
	into := func(rows *[]groupRow) func(scan func(...any) error) error {
		*rows = nil
		return func(scan func(...any) error) error {
			var row groupRow
			err := scan(&row.Name, &row.Other, &row.Count, (*int64)(&row.Gross), (*int64)(&row.Fee), (*int64)(&row.Amount))
			*rows = append(*rows, row)
			return err
		}
	}
	const sums = `COUNT(*), CAST(SUM(gross) AS BIGINT), CAST(SUM(fee) AS BIGINT), CAST(SUM(amount) AS BIGINT) FROM clearing_lines
		WHERE run_id = ? AND currency = ? AND `
	id, code := d.Run.RunID, string(d.Run.Currency)
	err := tx.Each(ctx, into(&d.Groups), `SELECT kind, method, `+sums+`amount > 0 GROUP BY kind, method ORDER BY kind DESC, method`, id, code)
	if err != nil {
		return err
	}
	err = tx.Each(ctx, into(&d.Carried), `SELECT reason, '', `+sums+`amount = 0 GROUP BY reason ORDER BY reason`, id, code)
	if err != nil {
		return err
	}
	err = tx.Each(ctx, into(&d.Orders), `SELECT direction, state, COUNT(*), 0, CAST(SUM(fee) AS BIGINT), CAST(SUM(amount) AS BIGINT)
		FROM clearing_instructions WHERE run_id = ? GROUP BY direction, state ORDER BY direction DESC, state`, id)
	if err != nil {
		return err
	}
	d.Largest, err = selectLines(ctx, tx, `WHERE run_id = ? AND amount > 0 ORDER BY amount DESC, number LIMIT ?`, id, shortList)
	return err
}

// readChanges finds the parties whose amounts differ most from the run before.
func (d *runView) readChanges(ctx context.Context, tx *ledger.Tx) error {
	d.Changes = nil
	if d.Previous == nil {
		return nil
	}
	return tx.Each(ctx, func(scan func(...any) error) error {
		var row changeRow
		err := scan(&row.Kind, &row.Party, (*int64)(&row.Before), (*int64)(&row.Amount))
		d.Changes = append(d.Changes, row)
		return err
	}, `SELECT l.kind, l.party, COALESCE(p.amount, 0), l.amount FROM clearing_lines AS l
		LEFT JOIN clearing_lines AS p ON p.run_id = ? AND p.kind = l.kind AND p.party = l.party
		WHERE l.run_id = ? AND l.amount <> COALESCE(p.amount, 0)
		ORDER BY ABS(l.amount - COALESCE(p.amount, 0)) DESC, l.number LIMIT ?`, d.Previous.RunID, d.Run.RunID, shortList)
}

type lineListView struct {
	Run     Settlement
	Lines   []Line
	Reason  string // of those that are shown; "": all
	Next    int    // what the next page is after; 0: this is the last
	IsFirst bool
	Base    string // the address without the page
}

func (v *visit) lineList() {
	s, ctx, query := v.server, v.R.Context(), v.R.URL.Query()
	run, err := s.run(ctx, v.R.PathValue("run"))
	if err != nil {
		v.Failed(err)
		return
	}
	after := int(min(adminpage.NumberIn(v.R, "after"), MaxLines))
	data := lineListView{Run: run, Reason: query.Get("reason"), IsFirst: after == 0, Base: runPath(run.RunID) + "/lines?"}
	err = s.db.View(ctx, func(tx *ledger.Tx) (err error) {
		if data.Reason == "" {
			data.Lines, err = selectLines(ctx, tx, `WHERE run_id = ? AND number > ? ORDER BY number LIMIT ?`, run.RunID, after, rowsPerPage+1)
			return err
		}
		data.Lines, err = selectLines(ctx, tx, `WHERE run_id = ? AND number > ? AND reason = ? ORDER BY number LIMIT ?`,
			run.RunID, after, data.Reason, rowsPerPage+1)
		return err
	})
	if err != nil {
		v.Unavailable(err)
		return
	}
	if data.Reason != "" {
		data.Base += "reason=" + url.QueryEscape(data.Reason) + "&"
	}
	if len(data.Lines) > rowsPerPage {
		data.Lines = data.Lines[:rowsPerPage]
		data.Next = data.Lines[rowsPerPage-1].Number
	}
	v.Show(http.StatusOK, "lines", adminpage.View{Title: "Lines of " + run.RunID, Section: "runs", Data: data})
}

// hashPrefix is how many digits of a plan's hash an operator types: enough to
// show that it was looked at, and that it is this one.
const hashPrefix = 8

// approveAction makes an operator stand behind a plan.
func (s *Server) approveAction() *adminpage.Action {
	return &adminpage.Action{
		Word: "approve", Title: "Approve the plan", Button: "Approve it", Done: "You stand behind the plan.",
		Fields: []adminpage.Field{{Name: "hash", Label: "The first 8 digits of the plan’s hash",
			Hint: "As they stand on the page of the run, and in the mail or note of whoever planned it."}},
		Foresee: func(ctx context.Context, id string, values map[string]string) ([]adminpage.Consequence, error) {
			run, err := s.approvable(ctx, id, values)
			if err != nil {
				return nil, err
			}
			return append(moves(run),
				adminpage.Consequence{What: "Operators behind the plan", Before: behind(run), After: strings.TrimPrefix(behind(run)+", "+operatorOf(ctx).Name, "nobody, ")}), nil
		},
		Perform: func(ctx context.Context, id string, values map[string]string) error {
			run, err := s.approvable(ctx, id, values)
			if err != nil {
				return err
			}
			_, err = Approve(ctx, s.db, run.PlanHash, operatorOf(ctx))
			return refuse(err)
		},
	}
}

// approvable returns a plan that the operator may approve, or a refusal. values
// is nil for the form that is still empty.
func (s *Server) approvable(ctx context.Context, id string, values map[string]string) (Settlement, error) {
	run, err := s.run(ctx, id)
	if err != nil {
		return run, err
	}
	no := func(text string) (Settlement, error) {
		return run, &adminpage.Refused{Status: http.StatusConflict, Text: text}
	}
	switch {
	case run.State == StateDiscarded:
		return no("A later plan has taken the place of this one.")
	case run.State != StateProposed:
		return no("This run was started already: there is nothing to approve any more.")
	case run.PlannedBy == actor(operatorOf(ctx)):
		return no("You have planned this run. Another operator must approve it.")
	case values != nil && values["hash"] != run.PlanHash[:hashPrefix]:
		return no("That is not how the hash of this plan begins. Look at the plan that you want to approve, and type the digits that stand there.")
	}
	return run, nil
}

// moves says what a run moves.
func moves(run Settlement) []adminpage.Consequence {
	code, totals := " "+run.Currency.Code(), run.Totals
	changes := []adminpage.Consequence{
		{What: "Is paid", After: adminpage.GroupedDecimal(totals.Paid) + code + " in " + adminpage.Things(totals.Payments, "payment")},
		{What: "Is kept as fees", After: adminpage.GroupedDecimal(totals.Fees) + code},
	}
	if totals.Collections > 0 {
		changes = append(changes, adminpage.Consequence{What: "Is collected",
			After: adminpage.GroupedDecimal(totals.Collected) + code + " in " + adminpage.Things(totals.Collections, "direct debit")})
	}
	return append(changes, adminpage.Consequence{What: "By the plan", After: run.PlanHash})
}

// behind names the operators who stand behind a plan.
func behind(run Settlement) string {
	var names []string
	if name, isOperator := strings.CutPrefix(run.PlannedBy, operatorPrefix); isOperator {
		names = append(names, name)
	}
	for _, approval := range run.Approvals {
		names = append(names, approval.Operator)
	}
	return cmp.Or(strings.Join(names, ", "), "nobody")
}

// startAction carries out a plan, or goes on with a run that was broken off.
func (s *Server) startAction() *adminpage.Action {
	return &adminpage.Action{
		Word: "run", Title: "Run it", Button: "Run it", Done: "The run was started.",
		Fields: []adminpage.Field{{Name: "hash", Label: "The first 8 digits of the plan’s hash", Hint: "As they stand on the page of the run."}},
		Foresee: func(ctx context.Context, id string, values map[string]string) ([]adminpage.Consequence, error) {
			run, err := s.runnable(ctx, id, values)
			if err != nil {
				return nil, err
			}
			return append(moves(run), adminpage.Consequence{What: "The run", Before: stateNames[run.State], After: "goes on in the server until it is done"}), nil
		},
		Perform: func(ctx context.Context, id string, values map[string]string) error {
			run, err := s.runnable(ctx, id, values)
			if err != nil {
				return err
			}
			if run.State != StateFinal && !s.settle(ctx, run.PlanHash, operatorOf(ctx)) {
				if _, progress, _ := s.settling.lookAt(); progress.RunID != "" && progress.RunID != id {
					return &adminpage.Refused{Status: http.StatusConflict, Text: "Another run is going on here. Wait for it."}
				}
			}
			return nil
		},
	}
}

// runnable returns a run that can be carried out, or a refusal.
func (s *Server) runnable(ctx context.Context, id string, values map[string]string) (Settlement, error) {
	run, err := s.run(ctx, id)
	if err != nil {
		return run, err
	}
	no := func(text string) (Settlement, error) {
		return run, &adminpage.Refused{Status: http.StatusConflict, Text: text}
	}
	isSentAgain := values["form"] != "" && run.State == StateFinal
	switch {
	case run.State == StateDiscarded:
		return no("A later plan has taken the place of this one.")
	case run.State == StateFinal && !isSentAgain:
		return no("This run is done.")
	case run.State == StateProposed && run.ApprovalsMissing() > 0:
		return no("Another operator must approve this plan first.")
	case values != nil && values["hash"] != run.PlanHash[:hashPrefix]:
		return no("That is not how the hash of this plan begins. Type the digits that stand on the page of the run.")
	}
	return run, nil
}

// operatorOf returns the operator who acts under the context.
func operatorOf(ctx context.Context) Operator {
	name, _ := strings.CutPrefix(actorOf(ctx), operatorPrefix)
	return Operator{Name: name}
}

// refreshSeconds is how often the page of a run that is going on is loaded again.
const refreshSeconds = 3

type progressView struct {
	Run       Settlement
	Progress  Progress
	Percent   int64 // of the lines
	Left      string
	State     taskState
	IsHere    bool // this server carries it out
	IsGoing   bool
	IsStopped bool // the page is not loaded again by itself
	Path      string
}

// progressPage says how far a run is. It loads itself again until the run is
// done, unless somebody stops that.
func (v *visit) progressPage() {
	s, ctx := v.server, v.R.Context()
	id := v.R.PathValue("run")
	run, err := s.run(ctx, id)
	if err != nil {
		v.Failed(err)
		return
	}
	data := progressView{Run: run, Path: runPath(id) + "/progress", IsStopped: v.R.URL.Query().Get("refresh") == "no"}
	if data.Progress, err = LoadProgress(ctx, s.db, id); err != nil {
		v.Unavailable(err)
		return
	}
	state, here, left := s.settling.lookAt()
	// Before the run says which one it is, what was started here is this one.
	if here.RunID == id || here.RunID == "" && state.IsGoing {
		data.IsHere, data.State = true, state
		if here.RunID == id {
			data.Progress.Phase = here.Phase
		}
	}
	data.IsGoing = data.IsHere && state.IsGoing || data.Progress.Holder != "" && run.State != StateFinal && run.State != StateProposed
	if data.IsHere && left > 0 {
		data.Left = formatLeft(left)
	}
	if data.Progress.Lines > 0 {
		data.Percent = data.Progress.Done * 100 / data.Progress.Lines
	}
	view := adminpage.View{Title: "Run " + id + ", going on", Section: "runs", Data: data, Notice: adminpage.DoneNotice(v.R, s.startAction())}
	if !data.IsGoing {
		view.Title = "Run " + id + ": " + stateNames[run.State]
	} else if !data.IsStopped {
		view.RefreshSeconds, view.Refresh = refreshSeconds, data.Path
	}
	v.Show(http.StatusOK, "progress", view)
}

// formatLeft writes for people how long something still takes, as it seems.
func formatLeft(left time.Duration) string {
	switch {
	case left < time.Minute:
		return "less than a minute"
	case left < time.Hour:
		return fmt.Sprintf("about %d minutes", int64(left/time.Minute)+1)
	}
	return fmt.Sprintf("about %d hours", int64(left/time.Hour)+1)
}
