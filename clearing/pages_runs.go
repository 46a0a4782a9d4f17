package clearing

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// chartRuns is how many runs the charts show: a month of days.
const chartRuns = 30

func registerRunPages(p *pages) {
	s := p.server
	p.page("GET "+pathRuns, (*visit).runList)
	p.action(pathRuns, s.proposeAction(), func(*visit) adminpage.Subject {
		return adminpage.Subject{Kind: "What is owed", ID: "now", Path: pathRuns, Section: "runs"}
	})
	const one = pathRuns + "/{run}"
	p.page("GET "+one, (*visit).runPage)
	p.page("GET "+one+"/lines", (*visit).lineList)
	p.page("GET "+one+"/progress", (*visit).progressPage)
	p.page("GET "+one+"/files/{name}", (*visit).download)
	p.page("GET "+one+"/statement", (*visit).statement)
	subject := func(v *visit) adminpage.Subject {
		id := v.R.PathValue("run")
		return adminpage.Subject{Kind: "Run", ID: id, Path: runPath(id), Section: "runs"}
	}
	p.action(one, s.approveAction(), subject)
	p.action(one, s.settleByHandAction(), subject)
	p.action(one, s.startAction(), func(v *visit) adminpage.Subject {
		about := subject(v)
		if v.R.Method == http.MethodPost && v.R.PostForm.Get("step") == "done" {
			about.Path += "/progress" // which says how far it is
		}
		return about
	})
}

type runListView struct {
	Runs   []Settlement
	Charts adminpage.Charts
	Next   int64 // microseconds since 1970 that the next page is before; 0: this is the last
	// IsFirst says that this is the first page, which has the charts.
	IsFirst bool
}

func (v *visit) runList() {
	s, ctx := v.server, v.R.Context()
	before := adminpage.NumberIn(v.R, "before")
	data := runListView{IsFirst: before == 0}
	var err error
	if data.Runs, err = Runs(ctx, s.db, timeOf(before), rowsPerPage+1); err != nil {
		v.Unavailable(err)
		return
	}
	if len(data.Runs) > rowsPerPage {
		data.Runs = data.Runs[:rowsPerPage]
		data.Next = data.Runs[rowsPerPage-1].Planned.UnixMicro()
	}
	if data.IsFirst {
		if data.Charts, err = s.runCharts(ctx); err != nil {
			v.Unavailable(err)
			return
		}
	}
	v.Show(http.StatusOK, "runs", adminpage.View{
		Title: "Settlement runs", Section: "runs", Data: data, Notice: adminpage.DoneNotice(v.R, s.proposeAction()),
	})
}

// runCharts draws the newest runs that were closed.
func (s *Server) runCharts(ctx context.Context) (adminpage.Charts, error) {
	var items []adminpage.Item
	var paid, fees, payments, seconds []money.Amount
	err := s.db.View(ctx, func(tx *ledger.Tx) error {
		items, paid, fees, payments, seconds = nil, nil, nil, nil, nil
		return tx.Each(ctx, func(scan func(...any) error) error {
			run, err := scanSettlement(scan)
			items = append(items, adminpage.Item{Name: run.RunID, Path: runPath(run.RunID)})
			paid, fees = append(paid, run.Totals.Paid), append(fees, run.Totals.Fees)
			payments = append(payments, money.Amount(run.Totals.Payments+run.Totals.Collections))
			seconds = append(seconds, money.Amount(run.Closed.Sub(run.Started)/time.Microsecond))
			return err
		}, settlementColumns+`WHERE closed > 0 AND currency = ? ORDER BY planned DESC, id DESC LIMIT ?`, string(s.currency), chartRuns)
	})
	if err != nil {
		return adminpage.Charts{}, err
	}
	for _, column := range [][]money.Amount{paid, fees, payments, seconds} {
		slices.Reverse(column)
	}
	slices.Reverse(items)
	return adminpage.ItemCharts("Run", "runs", items, []adminpage.Series{
		{ID: "settled", Title: "Settled", Amounts: paid},
		{ID: "fees", Title: "Fees", Amounts: fees},
		{ID: "orders", Title: "Orders", Amounts: payments, Format: func(n money.Amount) string { return adminpage.GroupedCount(int64(n)) }},
		{ID: "time", Title: "Time", Amounts: seconds, Format: func(n money.Amount) string { return formatTaken(time.Duration(n) * time.Microsecond) }},
	}), nil
}

// formatTaken writes how long something took, as exactly as it matters.
func formatTaken(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// proposals remembers which forms have planned a run, so that one that is sent
// twice plans once.
type proposals struct {
	mutex sync.Mutex
	runs  map[string]string // guarded by mutex; the run by the id of the form
}

// maxProposals bounds what is remembered; a form is sent twice within seconds.
const maxProposals = 100

// proposeAction plans a run.
func (s *Server) proposeAction() *adminpage.Action {
	return &adminpage.Action{
		Word: "propose", Title: "Plan a run", Button: "Plan it", Done: "The run is planned. Nothing is paid yet.",
		Fields: []adminpage.Field{{Name: "period_end", Label: "Last day of the period", IsOptional: true,
			Hint: "Such as 2026-11-22; it names the run. Empty: today. What is owed now is settled whatever it says."}},
		Read: func(values map[string]string) map[string]string {
			if _, err := time.Parse(time.DateOnly, values["period_end"]); values["period_end"] != "" && err != nil {
				return map[string]string{"period_end": "Want a day such as 2026-11-22."}
			}
			return nil
		},
		Foresee: func(ctx context.Context, _ string, values map[string]string) ([]adminpage.Consequence, error) {
			if values == nil {
				return nil, s.refuseGoing(ctx)
			}
			return s.foreseeProposal(ctx, values["period_end"])
		},
		Perform: func(ctx context.Context, _ string, values map[string]string) error {
			return s.propose(ctx, values)
		},
	}
}

// refuse makes a refusal of a known error, and leaves others as they are.
func refuse(err error) error {
	if text, isTold := sentenceOf(err); err != nil && isTold {
		return &adminpage.Refused{Status: http.StatusConflict, Text: text}
	}
	return err
}

// refuseGoing says whether a run is on its way, before which nothing is planned.
func (s *Server) refuseGoing(ctx context.Context) error {
	return s.db.View(ctx, func(tx *ledger.Tx) error { return refuse(refuseUnfinished(ctx, tx, s.currency)) })
}

// configFor returns the configuration of a plan for a period.
func (s *Server) configFor(periodEnd string) Config {
	config := s.config
	config.PeriodEnd = periodEnd
	return config
}

// foreseeProposal says what a plan would be that is made now.
func (s *Server) foreseeProposal(ctx context.Context, periodEnd string) ([]adminpage.Consequence, error) {
	plan, err := DryRun(ctx, s.db, s.configFor(periodEnd), func(Line) error { return nil })
	if err != nil {
		return nil, refuse(err)
	}
	code, totals := " "+plan.Currency.Code(), plan.Totals
	changes := []adminpage.Consequence{
		{What: "Period", After: "up to " + plan.PeriodEnd},
		{What: "Would be paid", After: adminpage.GroupedDecimal(totals.Paid) + code + " in " + adminpage.Things(totals.Payments, "payment")},
		{What: "Would be kept as fees", After: adminpage.GroupedDecimal(totals.Fees) + code},
		{What: "Would stay owed", After: adminpage.GroupedDecimal(totals.Carried) + code},
	}
	if totals.Collections > 0 {
		changes = append(changes, adminpage.Consequence{What: "Would be collected",
			After: adminpage.GroupedDecimal(totals.Collected) + code + " in " + adminpage.Things(totals.Collections, "direct debit")})
	}
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		earlier, err := findSettlement(ctx, tx, `WHERE state = 'proposed' AND currency = ?`, string(s.currency))
		if err == nil {
			changes = append(changes, adminpage.Consequence{What: "The plan " + earlier.RunID, Before: "proposed", After: "discarded"})
		}
		return ignoreNoPlan(err)
	})
	return append(changes, adminpage.Consequence{What: "Then", After: "the figures are frozen as they are at that moment, and nothing is paid"}), err
}

func (s *Server) propose(ctx context.Context, values map[string]string) error {
	s.proposed.mutex.Lock()
	defer s.proposed.mutex.Unlock()
	if s.proposed.runs[values["form"]] != "" {
		return nil
	}
	plan, err := Propose(ctx, s.db, s.configFor(values["period_end"]), operatorOf(ctx))
	if err != nil {
		return refuse(err)
	}
	if len(s.proposed.runs) >= maxProposals || s.proposed.runs == nil {
		s.proposed.runs = make(map[string]string)
	}
	s.proposed.runs[values["form"]] = plan.RunID
	return nil
}
