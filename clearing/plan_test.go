package clearing_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// A later plan takes the place of the one before, which cannot be run any more.
func TestLaterPlanDiscards(t *testing.T) {
	db, _ := openWithVendors(t)
	first := propose(t, db, clearing.Config{})
	second := propose(t, db, clearing.Config{})
	if first.PlanHash == second.PlanHash || second.RunID != "run-2026-11-22-2" {
		t.Errorf("got %s %s, then %s %s", first.RunID, first.PlanHash, second.RunID, second.PlanHash)
	}
	if s, err := clearing.LoadPlan(t.Context(), db, first.PlanHash); err != nil || s.State != clearing.StateDiscarded {
		t.Errorf("the first: got %s (%v), want that it is discarded", s.State, err)
	}
	config := clearing.Config{Directory: t.TempDir(), PlanHash: first.PlanHash}
	if _, err := clearing.Run(t.Context(), db, config, clearing.Operator{}); !errors.Is(err, clearing.ErrDiscarded) {
		t.Errorf("run the first: got %v, want ErrDiscarded", err)
	}
	if _, err := clearing.Approve(t.Context(), db, first.PlanHash, clearing.Operator{Name: "anna"}); !errors.Is(err, clearing.ErrDiscarded) {
		t.Errorf("approve the first: got %v, want ErrDiscarded", err)
	}
	config.PlanHash = strings.Repeat("a", 64)
	if _, err := clearing.Run(t.Context(), db, config, clearing.Operator{}); !errors.Is(err, clearing.ErrNoPlan) {
		t.Errorf("no such plan: got %v, want ErrNoPlan", err)
	}
	config.PlanHash = ""
	if _, err := clearing.Run(t.Context(), db, config, clearing.Operator{}); !errors.Is(err, clearing.ErrNoPlan) {
		t.Errorf("nothing to go on with: got %v, want ErrNoPlan", err)
	}
	if _, err := clearing.Propose(t.Context(), db, clearing.Config{RunID: first.RunID}, clearing.Operator{}); err == nil {
		t.Error("the id of an earlier run was taken again")
	}
	if count, _ := instructions(t, db); count != 0 || len(readFiles(t, config.Directory)) != 0 {
		t.Errorf("got %d orders and %v, want nothing", count, readFiles(t, config.Directory))
	}
	run(t, db, clearing.Config{PlanHash: second.PlanHash})
	wantPending(t, db, vendorsSent)
	newest, err := clearing.LoadRun(t.Context(), db, "")
	if err != nil || newest.RunID != second.RunID {
		t.Errorf("the newest: got %s (%v), want %s", newest.RunID, err, second.RunID)
	}
}

// A run that is started while a plan is made overtakes it: the plan is made anew,
// after that run.
func TestPlanIsOvertaken(t *testing.T) {
	db, _ := openWithVendors(t)
	first := propose(t, db, clearing.Config{})
	owe(t, db, vendorA, 5*money.Unit)
	drafts := 0
	var config clearing.Config
	second := propose(t, db, config.WithStep(func(name string) {
		if drafts++; drafts == 1 {
			run(t, db, clearing.Config{PlanHash: first.PlanHash})
			owe(t, db, vendorA, money.Unit)
		}
	}))
	if line := linesOf(t, db, second)[vendorA]; drafts != 2 || second.Since != first.Cutoff || line.Gross != 6*money.Unit+8_641 {
		t.Errorf("after %d drafts: got since %d and %+v, want since %d and what was earned after it", drafts, second.Since, line, first.Cutoff)
	}
	// Others go on writing meanwhile, and what they write is not in the plan.
	third := propose(t, db, config.WithStep(func(string) { owe(t, db, vendorA, money.Unit) }))
	if line := linesOf(t, db, third)[vendorA]; third.Cutoff != second.Cutoff || line.Gross != 6*money.Unit+8_641 {
		t.Errorf("got %+v, want what was there at the cut", line)
	}
}

// Of many plans at once one stays.
func TestManyPlansAtOnce(t *testing.T) {
	location := newDatabase(t)
	db, c := openAt(t, location)
	oweVendors(t, db)
	const planners = 4
	ended := make(chan error)
	for range planners {
		other := openWith(t, location, c)
		go func() {
			_, err := clearing.Propose(t.Context(), other, clearing.Config{}, clearing.Operator{})
			ended <- err
		}()
	}
	for range planners {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	var proposed, discarded int64
	scan(t, db, `SELECT COUNT(*) FROM clearing_runs WHERE state = 'proposed'`, &proposed)
	scan(t, db, `SELECT COUNT(*) FROM clearing_runs WHERE state = 'discarded'`, &discarded)
	if proposed != 1 || discarded != planners-1 {
		t.Errorf("%d are proposed and %d discarded, want 1 and %d", proposed, discarded, planners-1)
	}
}

// A look at a plan records nothing.
func TestDryRunRecordsNothing(t *testing.T) {
	db, _ := openWithVendors(t)
	var lines []clearing.Line
	dry, err := clearing.DryRun(t.Context(), db, clearing.Config{}, func(line clearing.Line) error {
		lines = append(lines, line)
		return nil
	})
	if err != nil || len(lines) != 6 || dry.State != "" || dry.Totals.Payments != 3 {
		t.Errorf("got %+v with %d lines (%v)", dry, len(lines), err)
	}
	var rows int64
	if scan(t, db, `SELECT (SELECT COUNT(*) FROM clearing_runs) + (SELECT COUNT(*) FROM clearing_lines) + (SELECT COUNT(*) FROM clearing_audit)`, &rows); rows != 0 {
		t.Errorf("%d rows were recorded", rows)
	}
}

// What does not fit waits, and what is carried anyway keeps nobody's money back.
func TestPlanOfTooManyLines(t *testing.T) {
	db, _ := open(t)
	for k := range 12 {
		origin, destination := fmt.Sprintf("https://v%02d.example", k), "ref:x"
		if k < 6 {
			destination = "" // they come first by name
		}
		register(t, db, origin, destination)
		owe(t, db, origin, money.Unit)
	}
	for round, want := range []clearing.Totals{
		{Lines: 4, Waiting: 8, Payments: 4}, // the first four who are paid
		{Lines: 4, Waiting: 4, Payments: 2}, // the other two, two of those who are not, and the remainders of nobody
		{Lines: 4, Waiting: 2},
	} {
		config := clearing.Config{Now: true, Directory: t.TempDir()}
		s := run(t, db, config.WithMaxLines(4))
		if s.Totals.Lines != want.Lines || s.Totals.Waiting != want.Waiting || s.Totals.Payments != want.Payments {
			t.Errorf("round %d: got %+v, want %+v", round, s.Totals, want)
		}
	}
}

// A version of a fee rule is one rule for ever.
func TestFeeRuleKeepsItsVersion(t *testing.T) {
	db, _ := openWithVendors(t)
	propose(t, db, clearing.Config{})
	other := clearing.DefaultPolicy()
	other.Fee.Minimum = 20_000
	_, err := clearing.Propose(t.Context(), db, clearing.Config{Policy: &other}, clearing.Operator{})
	wantError(t, err, "give the changed rule another version")
	other.Fee.Version = "mine/1"
	if s := propose(t, db, clearing.Config{Policy: &other}); s.FeeRule != "mine/1" || s.Totals.Fees != 3_703_740_707 {
		t.Errorf("got %+v, want the other rule", s)
	}
}

// What is below the policy's minimum is carried.
func TestMinimums(t *testing.T) {
	db, _ := openWithUsers(t)
	policy := collecting(t)
	policy.MinimumPayout, policy.MinimumCollection = 12_300_001, 32*money.Unit
	s := propose(t, db, clearing.Config{Policy: policy})
	lines := linesOf(t, db, s)
	for _, party := range []string{vendorA, "bbbbbbbbbbbbbbbb"} {
		if line := lines[party]; line.Reason != clearing.ReasonBelowMinimum || line.Fee != 0 || line.Amount != 0 {
			t.Errorf("%s: got %+v, want that it is below the minimum", party, line)
		}
	}
	// What the owner asked for is paid, however small.
	if line := lines["aaaaaaaaaaaaaaaa/rest"]; line.Amount != 5*money.Unit || s.Totals.Payments != 2 {
		t.Errorf("got %+v of %+v", line, s.Totals)
	}
}

// Which plan needs how many approvals.
func TestApprovals(t *testing.T) {
	anna, ben, carl := clearing.Operator{Name: "anna"}, clearing.Operator{Name: "ben"}, clearing.Operator{Name: "carl"}
	amount := func(value money.Amount) *money.Amount { return &value }
	const all = 1_230_876_490_000 // what the vendors are paid
	cases := []struct {
		name    string
		above   *money.Amount
		by      clearing.Operator
		approve []clearing.Operator
		missing int
	}{
		{"no policy", nil, clearing.Operator{}, nil, 0},
		{"just not above", amount(all), clearing.Operator{}, nil, 0},
		{"above, planned by a timer", amount(all - 1), clearing.Operator{}, nil, 2},
		{"one approval for a timer", amount(0), clearing.Operator{}, []clearing.Operator{anna}, 1},
		{"the same twice", amount(0), clearing.Operator{}, []clearing.Operator{anna, anna}, 1},
		{"two approvals for a timer", amount(0), clearing.Operator{}, []clearing.Operator{anna, ben}, 0},
		{"planned by an operator", amount(0), anna, nil, 1},
		{"and approved by another", amount(0), anna, []clearing.Operator{ben}, 0},
		{"by two", amount(0), anna, []clearing.Operator{ben, carl}, 0},
	}
	db, _ := openWithVendors(t)
	for k, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			policy := clearing.DefaultPolicy()
			policy.ApprovalAbove = c.above
			plan, err := clearing.Propose(t.Context(), db, clearing.Config{Policy: &policy}, c.by)
			for _, operator := range c.approve {
				if err == nil {
					plan, err = clearing.Approve(t.Context(), db, plan.PlanHash, operator)
				}
			}
			if err != nil || plan.ApprovalsMissing() != c.missing {
				t.Fatalf("got %d approvals missing (%v), want %d", plan.ApprovalsMissing(), err, c.missing)
			}
			if isLast := k == len(cases)-1; c.missing > 0 || isLast { // what is paid once is not there for the next case
				_, err = clearing.Run(t.Context(), db, clearing.Config{Directory: t.TempDir(), PlanHash: plan.PlanHash}, clearing.Operator{})
				if isLast && err != nil || !isLast && !errors.Is(err, clearing.ErrNotApproved) {
					t.Errorf("run: got %v", err)
				}
				if count, _ := instructions(t, db); (count > 0) != isLast {
					t.Errorf("got %d orders", count)
				}
			}
			if _, err := clearing.Approve(t.Context(), db, plan.PlanHash, clearing.Operator{}); err == nil {
				t.Error("nobody approved")
			}
		})
	}
}

// How far a run is can be seen from outside and by whoever called it.
func TestProgress(t *testing.T) {
	db, _ := open(t)
	oweMany(t, db, 230)
	plan := propose(t, db, clearing.Config{})
	var told, seen []string
	config := clearing.Config{PlanHash: plan.PlanHash, Holder: "me", Progress: func(p clearing.Progress) {
		told = append(told, fmt.Sprintf("%s %d/%d", p.Phase, p.Done, p.Lines))
	}}
	look := func() {
		p, err := clearing.LoadProgress(t.Context(), db, plan.RunID)
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, fmt.Sprintf("%s %s %d/%d %s", p.State, p.Phase, p.Done, p.Lines, p.Holder))
	}
	look()
	run(t, db, config.WithStep(func(name string) {
		switch name {
		case "started", "lines to 200", "lines to 230", "closed":
			look()
		}
	}))
	look()
	wantTold := "check 0/230|lines 0/230|lines 100/230|lines 200/230|lines 230/230|close 230/230|publish 230/230|publish 230/230|files 230/230|final 230/230"
	if got := strings.Join(told, "|"); got != wantTold {
		t.Errorf("told: got %s, want %s", got, wantTold)
	}
	wantSeen := "proposed check 0/230 |running lines 0/230 me|running lines 200/230 me|running close 230/230 me|closed publish 230/230 me|final final 230/230 "
	if got := strings.Join(seen, "|"); got != wantSeen {
		t.Errorf("seen: got %s, want %s", got, wantSeen)
	}
}

// books is a model of what vendors are owed, what is on its way to them and what
// they have got, fees with it, in micros by origin.
type books struct {
	owed, sent, gone map[string]money.Amount
	orders           []sentOrder
}

// sentOrder is what the bank was told.
type sentOrder struct {
	endToEnd, party string
	total           money.Amount // with the fee
	state           bankfile.Says
}

// Whatever happens between the runs, at whatever step they die and whatever the
// bank says: what was ever earned is owed, on its way or gone, to the micro.
func TestModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	db, c := open(t)
	model := books{map[string]money.Amount{}, map[string]money.Amount{}, map[string]money.Amount{}, nil}
	var origins []string
	for k := range 8 {
		origin := fmt.Sprintf("https://v%d.example", k)
		origins = append(origins, origin)
		register(t, db, origin, []string{"", "ref:a", "ref:b"}[random.IntN(3)])
	}
	for range 10 {
		model.trade(t, db, random, origins)
		plan := propose(t, db, clearing.Config{})
		if random.IntN(3) == 0 { // late, and other facts
			origin := origins[random.IntN(len(origins))]
			owe(t, db, origin, 7)
			model.owed[origin] += 7
			execute(t, db, `UPDATE broker_vendors SET destination = 'ref:d' WHERE vendor = '`+origins[random.IntN(len(origins))]+`'`)
		}
		config := clearing.Config{PlanHash: plan.PlanHash, Directory: t.TempDir()}
		for runUntil(t, db, config, 1+random.IntN(20)) != "" {
			waitForLease(t, db, c)
		}
		for _, line := range linesOf(t, db, plan) {
			if line.Outcome == clearing.OutcomeSent {
				model.owed[line.Party] -= line.Fee + line.Amount
				model.sent[line.Party] += line.Fee + line.Amount
				model.orders = append(model.orders, sentOrder{line.EndToEnd, line.Party, line.Fee + line.Amount, "sent"})
			}
		}
		model.hear(t, db, random)
		model.want(t, db, origins)
		if t.Failed() {
			t.Fatal("after ", plan.RunID)
		}
	}
}

// trade lets vendors earn, move and be blocked.
func (m *books) trade(t *testing.T, db *ledger.DB, random *rand.Rand, origins []string) {
	t.Helper()
	for range 1 + random.IntN(6) {
		origin := origins[random.IntN(len(origins))]
		switch random.IntN(5) {
		case 0:
			execute(t, db, `UPDATE broker_vendors SET destination = 'ref:c' WHERE vendor = '`+origin+`'`)
		case 1:
			execute(t, db, `UPDATE broker_vendors SET state = CASE state WHEN 'open' THEN 'blocked' ELSE 'open' END WHERE vendor = '`+origin+`'`)
		default:
			amount := money.Amount(1 + random.IntN(50_000_000))
			owe(t, db, origin, amount)
			m.owed[origin] += amount
		}
	}
}

// hear lets the bank answer some of the orders.
func (m *books) hear(t *testing.T, db *ledger.DB, random *rand.Rand) {
	t.Helper()
	for k := range m.orders {
		o := &m.orders[k]
		says := bankfile.Says("")
		switch choice := random.IntN(6); {
		case o.state == "sent" && choice < 2:
			says = bankfile.Booked
			m.sent[o.party] -= o.total
			m.gone[o.party] += o.total
		case o.state == "sent" && choice == 2:
			says = bankfile.Rejected
			m.sent[o.party] -= o.total
			m.owed[o.party] += o.total
		case o.state == bankfile.Booked && choice == 0:
			says = bankfile.Returned
			m.gone[o.party] -= o.total
			m.owed[o.party] += o.total
		default:
			continue
		}
		o.state = says
		if _, err := clearing.SayByHand(t.Context(), db, clearing.ManualAnswer{Says: says, EndToEnd: o.endToEnd, Note: "seen"}); err != nil {
			t.Fatal(err)
		}
	}
}

// want compares the books with the model.
func (m *books) want(t *testing.T, db *ledger.DB, origins []string) {
	t.Helper()
	err := db.View(t.Context(), func(tx *ledger.Tx) error {
		for _, origin := range origins {
			account, err := tx.Account(t.Context(), payable(origin))
			if err != nil {
				return err
			}
			if account.Balance-account.Pending != m.owed[origin] || account.Pending != m.sent[origin] {
				t.Errorf("%s: %s are owed and %s on their way, want %s and %s",
					origin, account.Balance-account.Pending, account.Pending, m.owed[origin], m.sent[origin])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var sent, booked, out int64
	scan(t, db, `SELECT CAST(COALESCE(SUM(CASE state WHEN 'sent' THEN amount + fee ELSE 0 END), 0) AS BIGINT),
		CAST(COALESCE(SUM(CASE state WHEN 'booked' THEN amount + fee ELSE 0 END), 0) AS BIGINT) FROM clearing_instructions`, &sent, &booked)
	scan(t, db, `SELECT CAST(SUM(balance) AS BIGINT) FROM accounts WHERE id IN ('broker:bank:out', 'broker:fees')`, &out)
	if money.Amount(sent) != sumOf(m.sent) || money.Amount(booked) != sumOf(m.gone) || out != booked {
		t.Errorf("orders of %d sent and %d booked, and %d left the broker; want %s and %s", sent, booked, out, sumOf(m.sent), sumOf(m.gone))
	}
	wantSound(t, db)
}

func sumOf(amounts map[string]money.Amount) (sum money.Amount) {
	for _, amount := range amounts {
		sum += amount
	}
	return sum
}
