package clearing_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/internal/browsertest"
	"github.com/paywordhq/payword/money"
)

// leastBrowserChecks is the least that the browser must have looked at.
const leastBrowserChecks = 150

// openHistory serves a clearing with two weeks in its books, and returns the
// newest run, an order that came back, and a plan that waits for approval.
func openHistory(t *testing.T) (o *backOffice, run, plan clearing.Settlement, order string) {
	t.Helper()
	db, c := open(t)
	register(t, db, vendorA, "iban:DE89370400440532013000")
	register(t, db, vendorD, "")
	register(t, db, vendorF, "ref:customer-19")
	owe(t, db, vendorA, 12_345_678)
	owe(t, db, vendorD, 7*money.Unit)
	const long = "https://a-vendor-with-a-name-that-is-as-long-as-names-on-the-internet-may-be.of-many-labels.and-more-of-them.example"
	register(t, db, long, "iban:DE89370400440532013000")
	clearer := addCard(t, db)
	o = serveOffice(t, db, c, func(config *clearing.ServerConfig) { config.Cards = clearer })
	for day := range 14 {
		owe(t, db, long, money.Amount(day*day%11+1)*40*money.Unit)
		owe(t, db, vendorF, money.Amount(day%5+1)*90*money.Unit)
		run = settle(t, db, clearing.Config{Directory: o.directory, Progress: func(clearing.Progress) { c.Advance(7 * time.Second) }})
		c.Advance(24 * time.Hour)
	}
	scan(t, db, `SELECT end_to_end FROM clearing_instructions WHERE party = '`+vendorA+`'`, &order)
	now := fmt.Sprint(c.Now().UnixMicro())
	execute(t, db,
		`UPDATE clearing_instructions SET state = 'booked', booked = `+now+` WHERE party = '`+long+`'`,
		`UPDATE clearing_instructions SET state = 'rejected', code = 'AC04', ended = `+now+` WHERE end_to_end = '`+order+`'`,
		`INSERT INTO clearing_bank_documents (id, kind, message_id, operator, entries, created) VALUES ('d', 'camt.053', 'STATEMENT-2026-11-30', 'anna', 2, `+now+`)`,
		`INSERT INTO clearing_bank_entries (document, number, end_to_end, says, direction, amount, currency, day, code, bank_ref, state, note, created) VALUES
		('d', 1, '`+order+`', 'rejected', 'out', 12300000, 'eur-micro', '2026-11-30', 'AC04', 'BANK-1', 'matched', '', `+now+`),
		('d', 2, 'NOTPROVIDED', 'booked', 'in', 40000000, 'eur-micro', '2026-11-30', '', 'BANK-2', 'unmatched', 'it names no order', `+now+`)`)
	owe(t, db, long, 333*money.Unit)
	bert := o.signedIn(bertsToken)
	return o, run, bert.plan(), order
}

// TestPagesInABrowser has Chromium look at the pages: with axe for
// accessibility, and for what they ask for, complain of, and do to those who
// enlarge, print, use the keyboard alone, or have no script.
func TestPagesInABrowser(t *testing.T) {
	o, run, plan, order := openHistory(t)
	going := goingRun(t, o)
	one, planned := "/clearing/runs/"+run.RunID, "/clearing/runs/"+plan.RunID
	type walk struct {
		Page   string            `json:"page"`
		Link   string            `json:"link"`
		Typed  map[string]string `json:"typed"`
		Button string            `json:"button"`
		Notice string            `json:"notice"`
	}
	browsertest.Run(t, "browser/pages.mjs", leastBrowserChecks, map[string]any{
		"origin": o.url, "base": "/clearing/", "token": annasToken, "readerToken": carlsToken, "hash": plan.PlanHash, "run": run.RunID,
		"going": "/clearing/runs/" + going + "/progress",
		"pages": map[string]string{
			"overview": "/clearing/", "runs": "/clearing/runs", "run": one, "plan": planned, "lines": planned + "/lines",
			"progress": "/clearing/runs/" + going + "/progress?refresh=no", "bank": "/clearing/bank", "order": "/clearing/instructions/" + order,
			"balance": "/clearing/balance?run=" + run.RunID, "approve": planned + "/approve", "cards": "/clearing/cards", "card": "/clearing/cards/card/" + whiteCard,
		},
		"few": []string{"overview", "plan"}, // looked at in every way
		"walks": map[string]walk{
			"approve": {"plan", "Approve the plan", map[string]string{"The first 8 digits": plan.PlanHash[:8]}, "Approve it", "You stand behind the plan."},
		},
	})
	if approved, err := clearing.LoadRun(t.Context(), o.db, plan.RunID); err != nil || len(approved.Approvals) != 1 {
		t.Errorf("got %+v, %v; want one approval", approved, err)
	}
}

// goingRun makes a run in another currency that another process carries out, as
// far as anybody can tell, and returns its id.
func goingRun(t *testing.T, o *backOffice) string {
	t.Helper()
	const id = "run-2026-12-06-9"
	execute(t, o.db,
		`INSERT INTO clearing_runs (id, state, period_end, currency, cutoff, since, fee_rule, policy, fees_account, bank_account, plan_hash, planned_by, needs,
			planned, started, lines, payments, paid)
		SELECT '`+id+`', 'running', period_end, 'usd-micro', cutoff, since, fee_rule, policy, fees_account, bank_account, '`+strings.Repeat("0", 64)+`', planned_by, 0,
			planned, started, 2, 2, 5000000 FROM clearing_runs WHERE closed > 0 LIMIT 1`,
		`INSERT INTO clearing_lines (run_id, number, kind, party, account, currency, gross, fee, amount, destination, method, reason, outcome) VALUES
		('`+id+`', 1, 'vendor', 'https://eu.example', 'vendor:https://eu.example:payable', 'usd-micro', 3000000, 0, 3000000, 'ref:1', 'list', '', 'sent'),
		('`+id+`', 2, 'vendor', 'https://fr.example', 'vendor:https://fr.example:payable', 'usd-micro', 2000000, 0, 2000000, 'ref:2', 'list', '', '')`,
		fmt.Sprintf(`INSERT INTO settlement_leases (name, token, holder, until) VALUES ('settlement', 'x', 'another host, process 17', %d)`,
			o.clock.Now().Add(time.Hour).UnixMicro()))
	return id
}
