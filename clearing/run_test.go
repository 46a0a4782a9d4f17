package clearing_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// What a run sends is set aside, and there is an order for each payment; the
// rest is carried, each for its reason.
func TestRunSendsAndCarries(t *testing.T) {
	db, _ := openWithVendors(t)
	directory := t.TempDir()
	plan := propose(t, db, clearing.Config{})
	wantTotals := clearing.Totals{Lines: 6, Payments: 3, Paid: 1_230_876_490_000, Fees: 3_703_750_707, Carried: 10_018_971}
	if plan.Totals != wantTotals || plan.RunID != "run-2026-11-22-1" || plan.State != clearing.StateProposed {
		t.Errorf("got %s of %+v, %s; want run-2026-11-22-1 of %+v, proposed", plan.RunID, plan.Totals, plan.State, wantTotals)
	}
	wantPending(t, db, map[string]money.Amount{payable(vendorA): 0, payable(vendorF): 0})
	s := run(t, db, clearing.Config{Directory: directory, PlanHash: plan.PlanHash})
	if s.State != clearing.StateFinal || s.PlanHash != plan.PlanHash || s.Totals != wantTotals {
		t.Errorf("got %+v, want the plan, final", s)
	}
	wantPending(t, db, vendorsSent)
	if count, sum := instructions(t, db); count != 3 || sum != wantTotals.Paid {
		t.Errorf("got %d orders of %s, want 3 of %s", count, sum, wantTotals.Paid)
	}
	wantReasons := map[string]clearing.Reason{vendorA: "", vendorB: "too-small", vendorC: "", vendorD: "no-destination", vendorE: "blocked", vendorF: ""}
	for party, line := range linesOf(t, db, s) {
		if line.Reason != wantReasons[party] || (line.Outcome == clearing.OutcomeSent) != (line.Reason == "") || line.Gross != line.Fee+line.Amount+line.Carried() {
			t.Errorf("%s: got %+v, want the reason %q", party, line, wantReasons[party])
		}
	}
	golden, err := os.ReadFile(filepath.Join("testdata", "statement.txt"))
	if err != nil {
		t.Fatal(err)
	}
	// The numbers of transfers have gaps on PostgreSQL, and the hash is of them, too.
	got := strings.NewReplacer(s.PlanHash, "HASH", fmt.Sprintf("transfer %d of", s.Cutoff), "transfer SEQ of").
		Replace(readFiles(t, directory)["statement-run-2026-11-22-1.txt"])
	if got != string(golden) {
		t.Errorf("statement: got\n%s\nwant\n%s", got, golden)
	}
}

// The pending transfers of a run name it, its line, its plan and the fee rule.
func TestRunLeavesEvidence(t *testing.T) {
	db, _ := openWithVendors(t)
	s := settle(t, db, clearing.Config{RunID: "november"})
	line := linesOf(t, db, s)[vendorA]
	err := db.View(t.Context(), func(tx *ledger.Tx) error {
		entries, err := tx.Entries(t.Context(), payable(vendorA), 0, 10)
		if err != nil {
			return err
		}
		var got []string
		for _, entry := range entries[1:] {
			got = append(got, fmt.Sprintf("%s %s %s %s %s %s", entry.ID, entry.Phase, entry.Kind, entry.Credit, entry.Amount, entry.Reference))
		}
		evidence := " run november line 1 plan " + s.PlanHash + " fee " + s.FeeRule
		want := []string{"settle/" + line.EndToEnd + " pending settlement-payout broker:bank:out 12300000" + evidence,
			"settle/" + line.EndToEnd + "/fee pending settlement-fee broker:fees 37037" + evidence}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var actions string
	err = db.View(t.Context(), func(tx *ledger.Tx) error {
		rows, err := tx.QueryContext(t.Context(), `SELECT actor, action FROM clearing_audit WHERE subject = 'run:november' ORDER BY seq`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var actor, action string
			if err := rows.Scan(&actor, &action); err != nil {
				return err
			}
			actions += actor + " " + action + "|"
		}
		return rows.Err()
	})
	if want := "command plan|command start|command close|command evidence-missing|command publish|command finish|"; err != nil || actions != want {
		t.Errorf("audit log: got %s (%v), want %s", actions, err, want)
	}
}

// The same plan again is the same run: nothing is paid, and the files are the
// same to the byte.
func TestSamePlanAgain(t *testing.T) {
	db, c := openWithVendors(t)
	first, second := t.TempDir(), t.TempDir()
	want := settle(t, db, clearing.Config{Directory: first})
	owe(t, db, vendorA, 50*money.Unit) // for the next run
	// What the bank says later is not in the files.
	execute(t, db, `UPDATE clearing_instructions SET state = 'booked', booked = 1`)
	c.Advance(25 * time.Hour)
	got := run(t, db, clearing.Config{Directory: second, PlanHash: want.PlanHash})
	if got.RunID != want.RunID || !got.Final.Equal(want.Final) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	wantSameFiles(t, readFiles(t, second), readFiles(t, first))
	wantPending(t, db, vendorsSent)

	// Into the same folder: files that somebody changed are made anew.
	for name := range readFiles(t, first) {
		if err := os.WriteFile(filepath.Join(first, name), []byte("changed"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, db, clearing.Config{Directory: first, PlanHash: want.PlanHash})
	wantSameFiles(t, readFiles(t, first), readFiles(t, second))
	var text bytes.Buffer
	if err := clearing.WriteFile(t.Context(), db, want.RunID, "payments-"+want.RunID+".csv", &text); err != nil || text.String() != readFiles(t, first)["payments-"+want.RunID+".csv"] {
		t.Errorf("read alone: got %s, %v; want the same", text.String(), err)
	}
	wantError(t, clearing.WriteFile(t.Context(), db, want.RunID, "../broker.db", &text), "no file")
}

// What becomes payable after the cut-off waits for the next run.
func TestLateItemsWait(t *testing.T) {
	db, _ := openWithVendors(t)
	register(t, db, "https://new.example", "ref:new")
	plan := propose(t, db, clearing.Config{})
	late := func() {
		owe(t, db, vendorA, money.Unit)
		owe(t, db, "https://new.example", money.Unit)
	}
	late()
	config := clearing.Config{PlanHash: plan.PlanHash}
	calls := 0
	s := run(t, db, config.WithStep(func(name string) {
		switch name {
		case "started", "lines to 6", "closed":
			calls++
			late()
		}
	}))
	if calls != 3 || s.Totals != plan.Totals {
		t.Errorf("got %d late payments, %+v; want 3, %+v", calls, s.Totals, plan.Totals)
	}
	wantPending(t, db, vendorsSent)
	next := propose(t, db, clearing.Config{})
	if next.Since != plan.Cutoff || next.Cutoff <= next.Since {
		t.Errorf("the next run is from %d to %d, want from %d", next.Since, next.Cutoff, plan.Cutoff)
	}
	lines := linesOf(t, db, next)
	if got := lines[vendorA].Gross; got != 4*money.Unit+8_641 {
		t.Errorf("next run: got %s for the first vendor, want 4.008641 units", got)
	}
	if got := lines["https://new.example"].Gross; got != 4*money.Unit {
		t.Errorf("next run: got %s for the new vendor, want 4 units", got)
	}
}

// What was carried is paid as soon as it is enough.
func TestCarriedIsPaidLater(t *testing.T) {
	db, c := openWithVendors(t)
	settle(t, db, clearing.Config{})
	owe(t, db, vendorB, 16_000)
	s := settle(t, db, clearing.Config{})
	if s.RunID != "run-2026-11-22-2" || s.Totals.Paid != 10_000 || s.Totals.Payments != 1 {
		t.Errorf("got run %s of %+v, want run-2026-11-22-2 and 10000", s.RunID, s.Totals)
	}
	wantPending(t, db, map[string]money.Amount{payable(vendorB): 20_000})
	c.Advance(24 * time.Hour)
	if s := settle(t, db, clearing.Config{}); s.RunID != "run-2026-11-23-1" || s.Totals.Payments != 0 {
		t.Errorf("a day with nothing to pay: got %s of %+v", s.RunID, s.Totals)
	}
	runs, err := clearing.Runs(t.Context(), db, time.Time{}, 10)
	if err != nil || len(runs) != 3 || runs[0].RunID != "run-2026-11-23-1" {
		t.Errorf("got %+v, %v; want three runs, the newest first", runs, err)
	}
}

// Facts that the plan was not made on stop a line and no other.
func TestObstacles(t *testing.T) {
	const at = "iban:DE02120300000000202051"
	cases := []struct {
		name  string
		after func(t *testing.T, db *ledger.DB)
		party string
		want  clearing.Reason
	}{
		{"the money went back", func(t *testing.T, db *ledger.DB) {
			move(t, db, payable(vendorA), "broker:bank:in", money.Unit)
		}, vendorA, "balance-fell"},
		{"the vendor was blocked", func(t *testing.T, db *ledger.DB) {
			execute(t, db, `UPDATE broker_vendors SET state = 'blocked' WHERE vendor = '`+vendorA+`'`)
		}, vendorA, "blocked"},
		{"the vendor moved", func(t *testing.T, db *ledger.DB) {
			execute(t, db, `UPDATE broker_vendors SET destination = '`+at+`' WHERE vendor = '`+vendorA+`'`)
		}, vendorA, "destination-changed"},
		{"the payout was refused", func(t *testing.T, db *ledger.DB) {
			execute(t, db, `UPDATE broker_payouts SET state = 'refused'`)
		}, "aaaaaaaaaaaaaaaa/rest", "payout-ended"},
		{"its account was blocked", func(t *testing.T, db *ledger.DB) {
			execute(t, db, `UPDATE broker_accounts SET state = 'blocked'`)
		}, "aaaaaaaaaaaaaaaa/rest", "blocked"},
		{"the mandate was withdrawn", func(t *testing.T, db *ledger.DB) {
			execute(t, db, `UPDATE clearing_mandates SET state = 'withdrawn'`)
		}, "bbbbbbbbbbbbbbbb", "no-mandate"},
		{"the debt was paid", func(t *testing.T, db *ledger.DB) {
			move(t, db, "broker:bank:in", "user:bbbbbbbbbbbbbbbb:available", 30*money.Unit)
		}, "bbbbbbbbbbbbbbbb", "balance-fell"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			db, _ := openWithUsers(t)
			plan := propose(t, db, clearing.Config{Policy: collecting(t)})
			before := linesOf(t, db, plan)
			if before[c.party].Amount == 0 {
				t.Fatalf("the plan moves nothing: %+v", before[c.party])
			}
			c.after(t, db)
			directory := t.TempDir()
			s := run(t, db, clearing.Config{PlanHash: plan.PlanHash, Directory: directory})
			for party, line := range linesOf(t, db, s) {
				wantOutcome, wantNote := clearing.OutcomeSent, clearing.Reason("")
				if party == c.party {
					wantOutcome, wantNote = clearing.OutcomeCarried, c.want
				} else if line.Reason != "" {
					wantOutcome = clearing.OutcomeCarried
				}
				planned := before[party]
				planned.Outcome, planned.Note = wantOutcome, wantNote
				if line != planned {
					t.Errorf("%s: got %+v, want %+v", party, line, planned)
				}
			}
			sent, err := clearing.SentTotals(t.Context(), db, s.RunID)
			if err != nil || sent.Payments+sent.Collections != plan.Totals.Payments+plan.Totals.Collections-1 {
				t.Errorf("got %+v, %v; want one less than %+v", sent, err, plan.Totals)
			}
			if count, _ := instructions(t, db); count != sent.Payments+sent.Collections {
				t.Errorf("got %d orders, want %d", count, sent.Payments+sent.Collections)
			}
			for name, content := range readFiles(t, directory) {
				if strings.HasSuffix(name, ".csv") && strings.Contains(content, before[c.party].EndToEnd) {
					t.Errorf("%s has the payment that was not made:\n%s", name, content)
				}
			}
			wantSound(t, db)
		})
	}
}

// collecting is a policy that collects by direct debit.
func collecting(t testing.TB) *clearing.Policy {
	t.Helper()
	policy, err := clearing.ParsePolicy([]byte(`{"name":"Broker","iban":"DE89370400440532013000","creditorId":"DE98ZZZ09999999999"}`))
	if err != nil {
		t.Fatal(err)
	}
	return &policy
}

// openWithUsers makes a database with vendors, a payout that waits, and a user
// who owes.
func openWithUsers(t testing.TB) (*ledger.DB, *clock) {
	t.Helper()
	db, c := open(t)
	oweUsers(t, db)
	return db, c
}

func oweUsers(t testing.TB, db *ledger.DB) {
	t.Helper()
	oweVendors(t, db)
	user(t, db, "aaaaaaaaaaaaaaaa", "")
	move(t, db, "broker:bank:in", "user:aaaaaaaaaaaaaaaa:available", 12*money.Unit)
	askPayout(t, db, "aaaaaaaaaaaaaaaa", "rest", "iban", "DE89370400440532013000", 5*money.Unit)
	register(t, db, vendorG, "")
	user(t, db, "bbbbbbbbbbbbbbbb", "M-1")
	// Of what the account owes a part is only reserved.
	move(t, db, "user:bbbbbbbbbbbbbbbb:available", payable(vendorG), 31*money.Unit)
	move(t, db, "user:bbbbbbbbbbbbbbbb:available", "user:bbbbbbbbbbbbbbbb:reserved", 4*money.Unit)
}

// Payouts of accounts and direct debits are lines of a run, too: each payout is
// sent once for ever, and what is being collected is not collected again.
func TestAccountsAreSettled(t *testing.T) {
	db, _ := openWithUsers(t)
	askPayout(t, db, "aaaaaaaaaaaaaaaa", "odd", "reference", "at the till", 1_234_567)
	s := settle(t, db, clearing.Config{Policy: collecting(t)})
	lines := linesOf(t, db, s)
	payout, odd, debit := lines["aaaaaaaaaaaaaaaa/rest"], lines["aaaaaaaaaaaaaaaa/odd"], lines["bbbbbbbbbbbbbbbb"]
	if payout.Amount != 5*money.Unit || payout.Fee != 0 || payout.Destination != "iban:DE89370400440532013000" || payout.Method != clearing.MethodCreditTransfer {
		t.Errorf("payout: got %+v", payout)
	}
	if odd.Reason != clearing.ReasonFraction || odd.Destination != "ref:at the till" {
		t.Errorf("payout of a fraction: got %+v", odd)
	}
	if debit.Amount != 31*money.Unit || debit.Method != clearing.MethodDirectDebit || debit.Destination != "mandate:M-1" || debit.IsOut() {
		t.Errorf("direct debit: got %+v", debit)
	}
	// The broker holds the payout already, and a debit is credited when it came.
	wantPending(t, db, map[string]money.Amount{"user:aaaaaaaaaaaaaaaa:available": 5*money.Unit + 1_234_567, "user:bbbbbbbbbbbbbbbb:available": 0})
	var held string
	if scan(t, db, `SELECT instruction FROM broker_payouts WHERE id = 'rest'`, &held); held != payout.EndToEnd {
		t.Errorf("the broker's payout is held for %q, want %q", held, payout.EndToEnd)
	}
	var used int64
	if scan(t, db, `SELECT used FROM clearing_mandates`, &used); used != 1 {
		t.Errorf("the mandate was used %d times, want once", used)
	}
	again := linesOf(t, db, propose(t, db, clearing.Config{Policy: collecting(t)}))
	if len(again) != 7 { // the rests of six vendors, and the odd payout
		t.Errorf("the next run has %d lines, want 7: %+v", len(again), again)
	}
	for _, party := range []string{"aaaaaaaaaaaaaaaa/rest", "bbbbbbbbbbbbbbbb"} {
		if line, found := again[party]; found {
			t.Errorf("settled again: %+v", line)
		}
	}
	// What the bank has booked and the broker not yet credited is in flight, too.
	execute(t, db, `UPDATE clearing_instructions SET state = 'booked' WHERE kind = 'collection'`,
		`INSERT INTO broker_outcomes (kind, account, id, amount, note, created) SELECT 'debit-collected', party, end_to_end, amount, 'booked', 0
			FROM clearing_instructions WHERE kind = 'collection'`)
	move(t, db, "user:bbbbbbbbbbbbbbbb:available", payable(vendorG), 2*money.Unit)
	again = linesOf(t, db, propose(t, db, clearing.Config{Policy: collecting(t)}))
	if got := again["bbbbbbbbbbbbbbbb"]; got.Amount != 2*money.Unit {
		t.Errorf("got %+v, want what is not in flight", got)
	}
}

// Merchants who take cards are lines, too. Each payment has paid its fee already.
func TestMerchantsAreSettled(t *testing.T) {
	db, _ := open(t)
	const kiosk, baker, blocked, forwarding = "00000000000000A1", "00000000000000B2", "00000000000000C3", "00000000000000D4"
	merchant(t, db, kiosk, "iban:DE89370400440532013000")
	merchant(t, db, baker, "")
	merchant(t, db, blocked, "ref:17")
	merchant(t, db, forwarding, "gateway:purse")
	for _, mid := range []string{kiosk, baker, blocked, forwarding} {
		move(t, db, "broker:bank:in", "merchant:"+mid+":payable", 1_234_567)
	}
	execute(t, db, `UPDATE cards_merchants SET state = 'blocked' WHERE mid = '`+blocked+`'`)
	plan := propose(t, db, clearing.Config{Policy: collecting(t)})
	lines := linesOf(t, db, plan)
	if line := lines[kiosk]; line.Amount != 1_230_000 || line.Fee != 0 || line.Method != clearing.MethodCreditTransfer || line.Kind != clearing.KindMerchant {
		t.Errorf("got %+v, want 1.23 by credit transfer, without a fee", line)
	}
	if lines[baker].Reason != clearing.ReasonNoDestination || lines[blocked].Reason != clearing.ReasonBlocked {
		t.Errorf("got %+v and %+v", lines[baker], lines[blocked])
	}
	if line := lines[forwarding]; line.Reason != clearing.ReasonGateway || line.Amount != 0 {
		t.Errorf("got %+v, want that a gateway has its money", line)
	}
	run(t, db, clearing.Config{PlanHash: plan.PlanHash})
	wantPending(t, db, map[string]money.Amount{"merchant:" + kiosk + ":payable": 1_230_000, "merchant:" + baker + ":payable": 0})
	move(t, db, "broker:bank:in", "merchant:"+kiosk+":payable", money.Unit)
	plan = propose(t, db, clearing.Config{})
	execute(t, db, `UPDATE cards_merchants SET destination = 'ref:moved' WHERE mid = '`+kiosk+`'`)
	run(t, db, clearing.Config{PlanHash: plan.PlanHash})
	if line := linesOf(t, db, plan)[kiosk]; line.Outcome != clearing.OutcomeCarried || line.Note != clearing.ReasonDestinationChanged {
		t.Errorf("got %+v, want that the destination changed", line)
	}
}

// What is pending is not owed any more, and one transfer has a largest amount.
func TestPayableIsWhatIsFree(t *testing.T) {
	db, _ := open(t)
	register(t, db, "https://held.example", "ref:1")
	register(t, db, "https://large.example", "ref:2")
	owe(t, db, "https://held.example", 5*money.Unit)
	for range 2 {
		owe(t, db, "https://large.example", money.MaxAmount)
	}
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		return tx.Pend(ctx, ledger.Transfer{ID: "dispute", Debit: payable("https://held.example"), Credit: "broker:fees",
			Amount: 4 * money.Unit, Currency: eur, Kind: "dispute"})
	})
	lines := linesOf(t, db, settle(t, db, clearing.Config{}))
	if got := lines["https://held.example"]; got.Gross != money.Unit || got.Amount != 990_000 {
		t.Errorf("held: got %+v, want 0.99 of 1.00 paid", got)
	}
	got := lines["https://large.example"]
	if got.Gross != 2*money.MaxAmount || got.Fee != 3_000_000_000_000 || got.Fee+got.Amount > money.MaxAmount || got.Carried() < money.MaxAmount {
		t.Errorf("large: got %+v, want one largest transfer paid", got)
	}
	wantSound(t, db)
}

// An account in another currency is carried, and shown.
func TestOtherCurrency(t *testing.T) {
	db, _ := openWithVendors(t)
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		for _, account := range []ledger.Account{{ID: "broker:bank:in:usd", Currency: usd, Floor: ledger.NoFloor},
			{ID: "broker:bank:out:usd", Currency: usd, Floor: ledger.NoFloor}, {ID: "broker:fees:usd", Currency: usd},
			{ID: payable("https://us.example"), Currency: usd}} {
			if err := tx.CreateAccount(ctx, account); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO broker_vendors (vendor, created, destination) VALUES ('https://us.example', 0, 'ach:021000021/1/checking')`)
		return err
	})
	move(t, db, "broker:bank:in:usd", payable("https://us.example"), 5*money.Unit)
	s := settle(t, db, clearing.Config{})
	line := linesOf(t, db, s)["https://us.example"]
	if line.Reason != clearing.ReasonOtherCurrency || line.Carried() != 5*money.Unit || s.Totals.Paid != 1_230_876_490_000 {
		t.Errorf("got %+v, want 5 USD carried; paid %s", line, s.Totals.Paid)
	}
	var text strings.Builder
	if err := clearing.WriteStatement(t.Context(), &text, db, s.RunID); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"https://us.example", "5.000000 USD", "Trial balance in USD", "Trial balance in EUR"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the statement does not say %q:\n%s", want, text.String())
		}
	}
	s = settle(t, db, clearing.Config{Policy: bankPolicy(t), FeesAccount: "broker:fees:usd", BankAccount: "broker:bank:out:usd"})
	line = linesOf(t, db, s)["https://us.example"]
	if s.Currency != usd || s.Totals.Paid != 4_980_000 || line.Method != clearing.MethodACH {
		t.Errorf("got %s %s by %s, want %s 4980000 by ACH", s.Currency, s.Totals.Paid, line.Method, usd)
	}
	_, err := clearing.Propose(t.Context(), db, clearing.Config{FeesAccount: "broker:fees:usd"}, clearing.Operator{})
	wantError(t, err, "want one currency")
}

func TestPaymentsFile(t *testing.T) {
	db, _ := openWithVendors(t)
	register(t, db, "=cmd|'/c'!A1\"", "ref:-2")
	owe(t, db, "=cmd|'/c'!A1\"", 2*money.Unit)
	directory := t.TempDir()
	s := settle(t, db, clearing.Config{Directory: directory})
	text := readFiles(t, directory)["payments-"+s.RunID+".csv"]
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	row := func(party, destination, amount, fee string) []string {
		return []string{"", s.RunID, "2026-11-22", "vendor", "out", party, "list", destination, "EUR", amount, fee, s.FeeRule}
	}
	want := [][]string{
		{"end_to_end", "run_id", "period_end", "kind", "direction", "party", "method", "destination", "currency", "amount", "fee", "fee_rule"},
		row("'=cmd|'/c'!A1\"", "ref:-2", "1.99", "0.01"),
		row(vendorA, "iban:DE89370400440532013000", "12.30", "0.037037"),
		row(vendorC, "ref:customer-17", "0.01", "0.01"),
		row(vendorF, "ref:customer-19", "1230864.18", "3703.70367"),
	}
	seen := map[string]bool{}
	for i, row := range rows[1:] {
		if len(row[0]) != 32 || seen[row[0]] {
			t.Errorf("row %d: end-to-end id %q: want 32 digits, once", i, row[0])
		}
		seen[row[0]], row[0] = true, ""
	}
	if fmt.Sprint(rows) != fmt.Sprint(want) {
		t.Errorf("got\n%q\nwant\n%q", rows, want)
	}
}

func TestClassOf(t *testing.T) {
	cases := map[string]string{
		"user:17:available":                   "user:*:available",
		"vendor:https://a.example:80:payable": "vendor:*:payable",
		"card:17:shadow":                      "card:*:shadow",
		"broker:bank:in":                      "broker:bank:in",
		"broker:fees":                         "broker:fees",
		"alone":                               "alone",
		"two:words":                           "two:words",
	}
	for account, want := range cases {
		if got := clearing.ClassOf(account); got != want {
			t.Errorf("class of %s: got %s, want %s", account, got, want)
		}
	}
}

// The JSON file holds amounts as strings of micros, and adds up.
func TestStatementFileForPrograms(t *testing.T) {
	db, _ := openWithVendors(t)
	directory := t.TempDir()
	s := settle(t, db, clearing.Config{Directory: directory})
	var got struct {
		RunID, PlanHash, Currency, FeeRule, PlannedBy string
		Policy                                        struct{ Fee struct{ Version string } }
		Closed                                        time.Time
		Lines                                         []struct{ Party, Gross, Fee, Amount, Reason, Outcome, EndToEnd, Destination string }
		Totals, Sent                                  struct{ Paid, Carried string }
		TrialBalance                                  []struct{ Class, Balance, Pending string }
	}
	if err := json.Unmarshal([]byte(readFiles(t, directory)["statement-"+s.RunID+".json"]), &got); err != nil {
		t.Fatal(err)
	}
	if got.RunID != s.RunID || got.PlanHash != s.PlanHash || got.Currency != "eur-micro" || got.FeeRule != "0.3pct-min-0.01/2" ||
		got.PlannedBy != "command" || got.Policy.Fee.Version != got.FeeRule || !got.Closed.Equal(epoch) {
		t.Errorf("got %+v", got)
	}
	line := got.Lines[0]
	if line.Party != vendorA || line.Gross != "12345678" || line.Fee != "37037" || line.Amount != "12300000" || line.Outcome != "sent" || len(line.EndToEnd) != 32 {
		t.Errorf("line 1: got %+v", line)
	}
	if got.Lines[1].Reason != "too-small" || got.Totals.Paid != "1230876490000" || got.Sent != got.Totals {
		t.Errorf("line 2: got %+v; paid %s, sent %s", got.Lines[1], got.Totals.Paid, got.Sent.Paid)
	}
	balances := map[string]string{}
	for _, b := range got.TrialBalance {
		balances[b.Class] = b.Balance + " " + b.Pending
	}
	if len(balances) != 4 || balances["vendor:*:payable"] != "1234590259678 1234580240707" {
		t.Errorf("trial balance: got %+v", balances)
	}
}
