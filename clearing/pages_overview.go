package clearing

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// figure is a sum with its name.
type figure struct {
	Name   string
	Amount money.Amount // micros
	Hint   string
}

// duty is something that waits for somebody.
type duty struct{ Text, Path, Link string }

type overviewView struct {
	Figures []figure
	Duties  []duty
	Ages    []ageRow
	Runs    []Settlement
	Last    *Settlement // the newest run that was closed; nil: none was
	Check   taskState   // of the books, asked for here
	Audit   taskState   // of the evidence, asked for here
	// CanAudit says that an audit can be asked for.
	CanAudit bool
}

func (v *visit) overview() {
	s, ctx := v.server, v.R.Context()
	data := overviewView{Check: s.checking.look(), Audit: s.auditing.look(), CanAudit: s.database != ""}
	err := s.db.View(ctx, func(tx *ledger.Tx) (err error) {
		if data.Figures, err = s.figures(ctx, tx); err != nil {
			return err
		}
		if data.Ages, err = s.openByAge(ctx, tx); err != nil {
			return err
		}
		if data.Last, err = lastClosed(ctx, tx); err != nil {
			return err
		}
		data.Duties, err = s.duties(ctx, tx)
		return err
	})
	if err == nil {
		data.Runs, err = Runs(ctx, s.db, time.Time{}, shortList)
	}
	if err != nil {
		v.Unavailable(err)
		return
	}
	notice := map[string]string{
		"check":     "A check of the books was asked for. Load the page again to see what it found.",
		"recompute": "An audit was asked for. It may take minutes; load the page again to see what it found.",
	}[v.R.URL.Query().Get("done")]
	v.Show(http.StatusOK, "overview", adminpage.View{Title: "Overview", Section: "overview", Notice: notice, Data: data})
}

// startCheck asks for a check of the books, which may take minutes. There is one
// at a time.
func (v *visit) startCheck() {
	v.server.checkBooks(v.R.Context())
	v.Redirect(pathPages + "?done=check#books")
}

// startAudit asks for an audit, which may take minutes. There is one at a time.
func (v *visit) startAudit() {
	if v.server.database != "" {
		v.server.audit(v.R.Context())
	}
	v.Redirect(pathPages + "?done=recompute#evidence")
}

func checkedText(accounts, transfers int64) string {
	return adminpage.Things(accounts, "account") + " and " + adminpage.Things(transfers, "transfer") + ": nothing disagrees."
}

// count returns how many rows a query finds and what they sum to.
func countAndSum(ctx context.Context, tx *ledger.Tx, query string, arguments ...any) (count int64, sum money.Amount, err error) {
	err = tx.QueryRowContext(ctx, query, arguments...).Scan(&count, (*int64)(&sum))
	return count, sum, err
}

// figures are the sums of now.
func (s *Server) figures(ctx context.Context, tx *ledger.Tx) (figures []figure, err error) {
	code := string(s.currency)
	for _, one := range []struct {
		name, hint string // hint: has the count
		query      string
		arguments  []any
	}{
		{"Payable to vendors", "vendors: %s", `SELECT COUNT(*), COALESCE(CAST(SUM(balance - pending) AS BIGINT), 0) FROM accounts
			WHERE id >= 'vendor:' AND id < 'vendor;' AND id LIKE 'vendor:%:payable' AND balance - pending > 0 AND currency = ?`, []any{code}},
		{"Payable to merchants", "merchants who take cards: %s", `SELECT COUNT(*), COALESCE(CAST(SUM(balance - pending) AS BIGINT), 0) FROM accounts
			WHERE id >= 'merchant:' AND id < 'merchant;' AND id LIKE 'merchant:%:payable' AND balance - pending > 0 AND currency = ?`, []any{code}},
		{"Payouts that accounts asked for", "waiting: %s", `SELECT COUNT(*), COALESCE(CAST(SUM(amount) AS BIGINT), 0) FROM broker_payouts WHERE state = 'pending'`, nil},
		{"On its way out", "orders that the bank has not booked: %s", openOrders, []any{"out", code}},
		{"On its way in", "direct debits that the bank has not booked: %s", openOrders, []any{"in", code}},
		{"Kept for refunds", "direct debits that may still come back: %s", `SELECT COUNT(*), COALESCE(CAST(SUM(amount) AS BIGINT), 0) FROM clearing_reserves WHERE state = 'held'`, nil},
	} {
		count, sum, err := countAndSum(ctx, tx, one.query, one.arguments...)
		if err != nil {
			return nil, err
		}
		figures = append(figures, figure{one.name, sum, fmt.Sprintf(one.hint, adminpage.GroupedCount(count))})
	}
	return figures, nil
}

const openOrders = `SELECT COUNT(*), COALESCE(CAST(SUM(amount) AS BIGINT), 0) FROM clearing_instructions
	WHERE state = 'sent' AND direction = ? AND currency = ?`

// lastClosed returns the newest run that was closed, or nil.
func lastClosed(ctx context.Context, tx *ledger.Tx) (*Settlement, error) {
	last, err := findSettlement(ctx, tx, `WHERE closed > 0 ORDER BY planned DESC, id DESC LIMIT 1`)
	if errors.Is(err, ErrNoPlan) {
		return nil, nil
	}
	return &last, err
}

// duties are what waits for somebody.
func (s *Server) duties(ctx context.Context, tx *ledger.Tx) (all []duty, err error) {
	plan, err := findSettlement(ctx, tx, `WHERE state = 'proposed' AND currency = ?`, string(s.currency))
	switch missing := plan.ApprovalsMissing(); {
	case errors.Is(err, ErrNoPlan):
	case err != nil:
		return nil, err
	case missing > 0:
		all = append(all, duty{"A plan waits for approval", runPath(plan.RunID), plan.RunID})
	default:
		all = append(all, duty{"A plan can be run", runPath(plan.RunID), plan.RunID})
	}
	holder, err := holderOf(ctx, tx)
	if err != nil {
		return nil, err
	}
	going, err := findSettlement(ctx, tx, `WHERE state IN ('running', 'closed') AND currency = ?`, string(s.currency))
	switch {
	case errors.Is(err, ErrNoPlan):
	case err != nil:
		return nil, err
	case holder != "":
		all = append(all, duty{"A run is going on", runPath(going.RunID), going.RunID})
	default:
		all = append(all, duty{"A run was broken off and can be gone on with", runPath(going.RunID), going.RunID})
	}
	late := s.clock().Add(-agesOfOrders[lateAge].from).UnixMicro()
	for _, one := range []struct{ text, path, link, query string }{
		{"Entries of the bank that match nothing", pathBank + "#unmatched", "Look at them", `SELECT COUNT(*) FROM clearing_bank_entries WHERE state = 'unmatched'`},
		{"What the broker could not do with the bank’s answers", pathBank + "#outcomes", "Look at it", `SELECT COUNT(*) FROM broker_outcomes WHERE state = 'failed'`},
		{"Alarms about cards", pathCards + "#alarms", "Look at them", `SELECT COUNT(*) FROM cards_alarms WHERE state = 'open'`},
		{"Batches of cards that were refused and not taken since", pathCards + "#refusals", "Look at them", refusedBatches},
		{"Disputes about cards", pathCards + "#disputes", "Look at them", `SELECT (SELECT COUNT(*) FROM cards_disputes WHERE state = 'open' AND due = 0)
			+ (SELECT COUNT(*) FROM cards_cancellations WHERE state = 'open')`},
	} {
		all, err = addDuty(ctx, tx, all, one.text, one.path, one.link, one.query)
		if err != nil {
			return nil, err
		}
	}
	return addDuty(ctx, tx, all, "Orders that the bank has not booked for 4 days and longer", pathBank+"#open", "Look at them",
		`SELECT COUNT(*) FROM clearing_instructions WHERE state = 'sent' AND sent <= ?`, late)
}

// addDuty adds a duty if the query counts something.
func addDuty(ctx context.Context, tx *ledger.Tx, all []duty, text, path, link, query string, arguments ...any) ([]duty, error) {
	var count int64
	err := tx.QueryRowContext(ctx, query, arguments...).Scan(&count)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	if count > 0 {
		all = append(all, duty{text + ": " + adminpage.GroupedCount(count), path, link})
	}
	return all, nil
}

// agesOfOrders are the classes of what is open, the youngest first.
var agesOfOrders = []struct {
	name string
	from time.Duration
}{
	{"less than 2 days", 0},
	{"2 to 3 days", 2 * 24 * time.Hour},
	{"4 to 7 days", 4 * 24 * time.Hour},
	{"more than 7 days", 8 * 24 * time.Hour},
}

// lateAge is the class from which on somebody should ask the bank: a transfer
// takes a day or two, over a weekend three.
const lateAge = 2

// ageRow is what is open of one age.
type ageRow struct {
	Name          string
	IsLate        bool
	Out, In       int64
	OutSum, InSum money.Amount // micros
}

// openByAge counts the orders that the bank has not booked. There is a row for
// each age.
func (s *Server) openByAge(ctx context.Context, tx *ledger.Tx) ([]ageRow, error) {
	rows, now := make([]ageRow, len(agesOfOrders)), s.clock()
	for k, age := range agesOfOrders {
		rows[k] = ageRow{Name: age.name, IsLate: k >= lateAge}
		latest, earliest := now.Add(-age.from).UnixMicro(), int64(0)
		if k == 0 {
			latest = 1<<63 - 1
		}
		if k+1 < len(agesOfOrders) {
			earliest = now.Add(-agesOfOrders[k+1].from).UnixMicro()
		}
		err := tx.Each(ctx, func(scan func(...any) error) error {
			var direction string
			var count int64
			var sum money.Amount
			err := scan(&direction, &count, (*int64)(&sum))
			if direction == "out" {
				rows[k].Out, rows[k].OutSum = count, sum
			} else {
				rows[k].In, rows[k].InSum = count, sum
			}
			return err
		}, `SELECT direction, COUNT(*), CAST(SUM(amount) AS BIGINT) FROM clearing_instructions
			WHERE state = 'sent' AND sent > ? AND sent <= ? AND currency = ? GROUP BY direction`, earliest, latest, string(s.currency))
		if err != nil {
			return nil, err
		}
	}
	return rows, nil
}
