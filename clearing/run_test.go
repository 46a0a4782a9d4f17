package clearing_test

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const usd = money.Currency("usd-micro")

var epoch = time.Date(2026, 11, 22, 22, 30, 0, 0, time.UTC)

// clock is a clock that only a test moves.
type clock struct{ offset atomic.Int64 }

func (c *clock) Now() time.Time          { return epoch.Add(time.Duration(c.offset.Load())) }
func (c *clock) Advance(d time.Duration) { c.offset.Add(int64(d)) }

// open makes a ledger with the broker's accounts.
func open(t testing.TB) (*ledger.DB, *clock) {
	t.Helper()
	return openAt(t, dbtest.New(t))
}

func openAt(t testing.TB, path string) (*ledger.DB, *clock) {
	t.Helper()
	c := new(clock)
	db, err := ledger.Open(t.Context(), path, ledger.Options{Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		return errors.Join(
			tx.CreateAccount(ctx, ledger.Account{ID: "broker:bank:in", Currency: usd, Floor: ledger.NoFloor}),
			tx.CreateAccount(ctx, ledger.Account{ID: "broker:bank:out", Currency: usd, Floor: ledger.NoFloor}),
			tx.CreateAccount(ctx, ledger.Account{ID: "broker:fees", Currency: usd}))
	})
	return db, c
}

func update(t testing.TB, db *ledger.DB, work func(ctx context.Context, tx *ledger.Tx) error) {
	t.Helper()
	if err := db.Update(t.Context(), func(tx *ledger.Tx) error { return work(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

// payable is the account of what is owed to a vendor.
func payable(origin string) string { return "vendor:" + origin + ":payable" }

var owed atomic.Int64

// owe makes an amount payable to a vendor.
func owe(t testing.TB, db *ledger.DB, origin string, amount money.Amount) {
	t.Helper()
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		return errors.Join(
			tx.CreateAccount(ctx, ledger.Account{ID: payable(origin), Currency: usd}),
			tx.Post(ctx, ledger.Transfer{ID: fmt.Sprintf("owe-%d", owed.Add(1)), Debit: "broker:bank:in",
				Credit: payable(origin), Amount: amount, Currency: usd, Kind: "redemption"}))
	})
}

// openWithVendors makes a ledger that owes something to a few vendors.
func openWithVendors(t testing.TB) (*ledger.DB, *clock) {
	t.Helper()
	db, c := open(t)
	oweVendors(t, db)
	return db, c
}

func oweVendors(t testing.TB, db *ledger.DB) {
	t.Helper()
	owe(t, db, "https://a.example", 12_345_678)
	owe(t, db, "https://b.example", 4_000)
	owe(t, db, "https://c.example:8443", 20_000)
	owe(t, db, "https://long-name.of-a-vendor.example", 1_234_567_890_000)
}

func wantBalances(t testing.TB, db *ledger.DB, want map[string]money.Amount) {
	t.Helper()
	err := db.View(t.Context(), func(tx *ledger.Tx) error {
		for id, balance := range want {
			account, err := tx.Account(t.Context(), id)
			if err != nil {
				return err
			}
			if account.Balance != balance {
				t.Errorf("balance of %s: got %s, want %s", id, account.Balance, balance)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	report, err := db.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range report.Disagreements {
		t.Errorf("check: %s: %s", d.Subject, d.What)
	}
}

// vendorBalances is what there is after the vendors of openWithVendors are paid.
var vendorBalances = map[string]money.Amount{
	"broker:fees":                                    37_038 + 10_000 + 3_703_703_670,
	"broker:bank:out":                                12_300_000 + 10_000 + 1_230_864_180_000,
	payable("https://a.example"):                     8_640,
	payable("https://b.example"):                     4_000,
	payable("https://c.example:8443"):                0,
	payable("https://long-name.of-a-vendor.example"): 6_330,
}

// settle runs the settlement, which must succeed.
func settle(t testing.TB, db *ledger.DB, config clearing.Config) clearing.Statement {
	t.Helper()
	statement, err := clearing.Run(t.Context(), db, config)
	if err != nil {
		t.Fatal(err)
	}
	return statement
}

// readFiles returns the files of a folder by name.
func readFiles(t testing.TB, directory string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(directory, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = string(content)
	}
	return files
}

func wantSameFiles(t testing.TB, got, want map[string]string) {
	t.Helper()
	for name, content := range want {
		if got[name] != content {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got[name], content)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("there is a file %s too many", name)
		}
	}
}

func TestRunPaysAndCarries(t *testing.T) {
	db, _ := openWithVendors(t)
	directory := t.TempDir()
	s := settle(t, db, clearing.Config{Directory: directory})
	if s.RunID != "run-2026-11-22-1" || s.PeriodEnd != "2026-11-22" {
		t.Errorf("got run %s of %s, want run-2026-11-22-1 of 2026-11-22", s.RunID, s.PeriodEnd)
	}
	wantTotals := clearing.Totals{Gross: 1_234_580_259_678, Fee: 3_703_750_708, Paid: 1_230_876_490_000, Carried: 18_970, Payments: 3}
	if s.Totals != wantTotals {
		t.Errorf("totals: got %+v, want %+v", s.Totals, wantTotals)
	}
	for _, line := range s.Lines {
		if line.Gross != line.Fee+line.Paid+line.Carried {
			t.Errorf("line %d does not add up: %+v", line.Number, line)
		}
	}
	wantBalances(t, db, vendorBalances)
	golden, err := os.ReadFile(filepath.Join("testdata", "statement.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if got := readFiles(t, directory)["statement-run-2026-11-22-1.txt"]; got != string(golden) {
		t.Errorf("statement: got\n%s\nwant\n%s", got, golden)
	}
}

// The transfers of a run name it, its line, its plan and the fee rule.
func TestRunLeavesEvidence(t *testing.T) {
	db, _ := openWithVendors(t)
	s := settle(t, db, clearing.Config{Directory: t.TempDir(), RunID: "november"})
	err := db.View(t.Context(), func(tx *ledger.Tx) error {
		entries, err := tx.Entries(t.Context(), payable("https://a.example"), 0, 10)
		if err != nil {
			return err
		}
		var got []string
		for _, entry := range entries[1:] {
			got = append(got, fmt.Sprintf("%s %s %s %s", entry.Kind, entry.Credit, entry.Amount, entry.Reference))
		}
		evidence := " run november line 1 plan " + s.Hash + " fee 0.3pct-min-0.01/1"
		want := []string{"settlement-fee broker:fees 37038" + evidence, "settlement-payout broker:bank:out 12300000" + evidence}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRunAgainChangesNothing(t *testing.T) {
	db, c := openWithVendors(t)
	first, second := t.TempDir(), t.TempDir()
	want := settle(t, db, clearing.Config{Directory: first})
	owe(t, db, "https://a.example", 50_000_000) // for the next run
	c.Advance(25 * time.Hour)
	got := settle(t, db, clearing.Config{Directory: second, RunID: want.RunID, PeriodEnd: "2026-11-30"})
	wantJSON, gotJSON := marshal(t, want), marshal(t, got)
	if gotJSON != wantJSON {
		t.Errorf("statement: got\n%s\nwant\n%s", gotJSON, wantJSON)
	}
	wantSameFiles(t, readFiles(t, second), readFiles(t, first))
	wantBalances(t, db, map[string]money.Amount{payable("https://a.example"): 50_008_640, "broker:bank:out": 1_230_876_490_000})

	// Into the same folder: files that somebody changed are made anew.
	for name := range readFiles(t, first) {
		if err := os.WriteFile(filepath.Join(first, name), []byte("changed"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, db, clearing.Config{Directory: first, RunID: want.RunID})
	wantSameFiles(t, readFiles(t, first), readFiles(t, second))
}

func marshal(t testing.TB, s clearing.Statement) string {
	t.Helper()
	encoded, err := clearing.FormatJSON(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// What was carried is paid as soon as it is enough.
func TestCarriedIsPaidLater(t *testing.T) {
	db, c := openWithVendors(t)
	settle(t, db, clearing.Config{Directory: t.TempDir()})
	owe(t, db, "https://b.example", 16_000)
	s := settle(t, db, clearing.Config{Directory: t.TempDir()})
	if s.RunID != "run-2026-11-22-2" || s.Totals.Paid != 10_000 {
		t.Errorf("got run %s that paid %s, want run-2026-11-22-2 and 10000", s.RunID, s.Totals.Paid)
	}
	wantBalances(t, db, map[string]money.Amount{payable("https://b.example"): 0, payable("https://a.example"): 8_640})
	c.Advance(24 * time.Hour)
	s = settle(t, db, clearing.Config{Directory: t.TempDir()})
	if s.RunID != "run-2026-11-23-1" || s.Totals.Payments != 0 {
		t.Errorf("got run %s with %d payments, want run-2026-11-23-1 with none", s.RunID, s.Totals.Payments)
	}
}

func TestRunOfNothing(t *testing.T) {
	db, _ := open(t)
	directory := t.TempDir()
	s := settle(t, db, clearing.Config{Directory: directory})
	if len(s.Lines) != 0 || s.Totals != (clearing.Totals{}) {
		t.Errorf("got %d lines, totals %+v; want none", len(s.Lines), s.Totals)
	}
	files := readFiles(t, directory)
	if got := strings.Count(files["payout-run-2026-11-22-1.csv"], "\n"); got != 1 {
		t.Errorf("payouts: got %d rows, want the heading alone", got)
	}
	if !strings.Contains(files["statement-run-2026-11-22-1.json"], `"lines": []`) {
		t.Error("the JSON has no empty list of lines")
	}
}

// One run is in one currency; others are listed and left alone.
func TestOtherCurrencyIsCarried(t *testing.T) {
	db, _ := openWithVendors(t)
	const eur = money.Currency("eur-micro")
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		return errors.Join(
			tx.CreateAccount(ctx, ledger.Account{ID: "broker:bank:in:eur", Currency: eur, Floor: ledger.NoFloor}),
			tx.CreateAccount(ctx, ledger.Account{ID: "broker:bank:out:eur", Currency: eur, Floor: ledger.NoFloor}),
			tx.CreateAccount(ctx, ledger.Account{ID: "broker:fees:eur", Currency: eur}),
			tx.CreateAccount(ctx, ledger.Account{ID: payable("https://eu.example"), Currency: eur}),
			tx.Post(ctx, ledger.Transfer{ID: "eur", Debit: "broker:bank:in:eur", Credit: payable("https://eu.example"),
				Amount: 5 * money.Unit, Currency: eur, Kind: "redemption"}))
	})
	s := settle(t, db, clearing.Config{Directory: t.TempDir()})
	line := s.Lines[3]
	if line.Vendor != "https://eu.example" || line.Reason != clearing.ReasonOtherCurrency || line.Carried != 5*money.Unit {
		t.Errorf("got %+v, want 5 EUR carried", line)
	}
	if s.Totals.Paid != 1_230_876_490_000 {
		t.Errorf("paid: got %s, want as without it", s.Totals.Paid)
	}
	text := clearing.FormatStatement(s)
	for _, want := range []string{"https://eu.example", "5.000000 EUR", "Trial balance in EUR", "Trial balance in USD"} {
		if !strings.Contains(text, want) {
			t.Errorf("the statement does not say %q:\n%s", want, text)
		}
	}
	s = settle(t, db, clearing.Config{Directory: t.TempDir(), FeesAccount: "broker:fees:eur", BankAccount: "broker:bank:out:eur"})
	if s.Currency != eur || s.Totals.Paid != 4_980_000 {
		t.Errorf("got %s %s, want %s 4980000", s.Currency, s.Totals.Paid, eur)
	}
	_, err := clearing.Run(t.Context(), db, clearing.Config{Directory: t.TempDir(), FeesAccount: "broker:fees:eur"})
	if err == nil || !strings.Contains(err.Error(), "want one currency") {
		t.Errorf("fees in EUR, payouts in USD: got %v, want an error", err)
	}
}

// What is pending is not owed yet, and one transfer has a largest amount.
func TestPayableIsWhatIsFree(t *testing.T) {
	db, _ := open(t)
	owe(t, db, "https://held.example", 5*money.Unit)
	for range 2 {
		owe(t, db, "https://large.example", money.MaxAmount)
	}
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		return tx.Pend(ctx, ledger.Transfer{ID: "dispute", Debit: payable("https://held.example"), Credit: "broker:fees",
			Amount: 4 * money.Unit, Currency: usd, Kind: "dispute"})
	})
	s := settle(t, db, clearing.Config{Directory: t.TempDir()})
	if got := s.Lines[0]; got.Gross != money.Unit || got.Paid != 990_000 {
		t.Errorf("held: got %+v, want 0.99 of 1.00 paid", got)
	}
	got := s.Lines[1]
	if got.Gross != 2*money.MaxAmount || got.Fee != 3_000_000_000_000 || got.Fee+got.Paid > money.MaxAmount || got.Carried < money.MaxAmount {
		t.Errorf("large: got %+v, want one largest transfer paid", got)
	}
	wantBalances(t, db, map[string]money.Amount{payable("https://held.example"): 4 * money.Unit})
}

// Money that leaves a vendor's account between plan and payment stops that line
// and no other.
func TestBalanceThatFellIsCarried(t *testing.T) {
	db, _ := openWithVendors(t)
	config := clearing.Config{Directory: t.TempDir()}
	taken := false
	s := settle(t, db, config.WithStep(func(name string) {
		if name != "planned" {
			return
		}
		taken = true
		update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
			return tx.Post(ctx, ledger.Transfer{ID: "chargeback", Debit: payable("https://a.example"), Credit: "broker:bank:in",
				Amount: 1_000_000, Currency: usd, Kind: "chargeback"})
		})
	}))
	if !taken {
		t.Fatal("there was no step \"planned\"")
	}
	line := s.Lines[0]
	if line.Reason != clearing.ReasonBalanceFell || line.Paid != 0 || line.Fee != 0 || line.Carried != line.Gross || line.PaymentID != "" {
		t.Errorf("got %+v, want that the line is carried", line)
	}
	if s.Totals.Payments != 2 {
		t.Errorf("got %d payments, want 2", s.Totals.Payments)
	}
	wantBalances(t, db, map[string]money.Amount{payable("https://a.example"): 11_345_678, payable("https://c.example:8443"): 0})
	again := settle(t, db, clearing.Config{Directory: t.TempDir(), RunID: s.RunID})
	if marshal(t, again) != marshal(t, s) {
		t.Errorf("again: got %s, want %s", marshal(t, again), marshal(t, s))
	}
}

// What becomes payable after the plan waits for the next run.
func TestLateItemsWait(t *testing.T) {
	db, _ := openWithVendors(t)
	config := clearing.Config{Directory: t.TempDir()}
	s := settle(t, db, config.WithStep(func(name string) {
		switch name {
		case "planned", "line 1", "closed":
			owe(t, db, "https://a.example", money.Unit)
			owe(t, db, "https://new.example", money.Unit)
		}
	}))
	if s.Totals.Gross != 1_234_580_259_678 || len(s.Lines) != 4 {
		t.Errorf("got %s for %d vendors, want 1234580259678 for 4", s.Totals.Gross, len(s.Lines))
	}
	wantBalances(t, db, map[string]money.Amount{payable("https://a.example"): 3_008_640, payable("https://new.example"): 3_000_000,
		"broker:bank:out": vendorBalances["broker:bank:out"]})
	if s := settle(t, db, clearing.Config{Directory: t.TempDir()}); s.Totals.Payments != 2 {
		t.Errorf("the next run: got %d payments, want 2", s.Totals.Payments)
	}
}

func TestPlanIsApproved(t *testing.T) {
	db, _ := openWithVendors(t)
	before, err := db.TrialBalance(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	plan, err := clearing.PlanRun(t.Context(), db, clearing.Config{})
	if err != nil {
		t.Fatal(err)
	}
	after, err := db.TrialBalance(t.Context())
	if err != nil || fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the plan changed the books: got %v, %v; want %v", after, err, before)
	}
	owe(t, db, "https://a.example", 1)
	_, err = clearing.Run(t.Context(), db, clearing.Config{Directory: t.TempDir(), ExpectPlan: plan.Hash})
	if !errors.Is(err, clearing.ErrPlanDiffers) {
		t.Errorf("another plan: got %v, want ErrPlanDiffers", err)
	}
	wantBalances(t, db, map[string]money.Amount{"broker:bank:out": 0, "broker:fees": 0})
	if plan, err = clearing.PlanRun(t.Context(), db, clearing.Config{}); err != nil {
		t.Fatal(err)
	}
	s := settle(t, db, clearing.Config{Directory: t.TempDir(), ExpectPlan: plan.Hash})
	if s.Hash != plan.Hash || s.RunID != plan.RunID {
		t.Errorf("got run %s, plan %s; want %s, %s", s.RunID, s.Hash, plan.RunID, plan.Hash)
	}
	if recorded, err := clearing.PlanRun(t.Context(), db, clearing.Config{RunID: plan.RunID}); err != nil || recorded.Text() != plan.Text() {
		t.Errorf("recorded plan: got\n%s%v\nwant\n%s", recorded.Text(), err, plan.Text())
	}
}

// Two plans that differ in anything have other hashes.
func TestPlanHashCoversEverything(t *testing.T) {
	base := clearing.Plan{RunID: "r", PeriodEnd: "2026-11-22", Currency: usd, Schedule: clearing.StandardSchedule(),
		FeesAccount: "f", BankAccount: "b", Lines: []clearing.Line{{Number: 1, Account: "a", Currency: usd, Gross: 3, Fee: 1, Paid: 2}}}
	changes := map[string]func(p *clearing.Plan){
		"run":         func(p *clearing.Plan) { p.RunID = "s" },
		"period":      func(p *clearing.Plan) { p.PeriodEnd = "2026-11-23" },
		"currency":    func(p *clearing.Plan) { p.Currency = "eur-micro" },
		"rule":        func(p *clearing.Plan) { p.Schedule.Version = "other" },
		"numerator":   func(p *clearing.Plan) { p.Schedule.Numerator++ },
		"denominator": func(p *clearing.Plan) { p.Schedule.Denominator++ },
		"minimum":     func(p *clearing.Plan) { p.Schedule.Minimum++ },
		"fees":        func(p *clearing.Plan) { p.FeesAccount = "g" },
		"bank":        func(p *clearing.Plan) { p.BankAccount = "c" },
		"no line":     func(p *clearing.Plan) { p.Lines = nil },
		"account":     func(p *clearing.Plan) { p.Lines[0].Account = "b" },
		"line's":      func(p *clearing.Plan) { p.Lines[0].Currency = "eur-micro" },
		"gross":       func(p *clearing.Plan) { p.Lines[0].Gross++ },
		"fee":         func(p *clearing.Plan) { p.Lines[0].Fee++ },
		"paid":        func(p *clearing.Plan) { p.Lines[0].Paid++ },
		"reason":      func(p *clearing.Plan) { p.Lines[0].Reason = clearing.ReasonTooSmall },
	}
	seen := map[string]string{base.Text(): "base"}
	for name, change := range changes {
		plan := base
		plan.Lines = append([]clearing.Line(nil), base.Lines...)
		change(&plan)
		if other, found := seen[plan.Text()]; found {
			t.Errorf("%s: the text is that of %s", name, other)
		}
		seen[plan.Text()] = name
	}
}

func TestPayoutFile(t *testing.T) {
	db, _ := openWithVendors(t)
	owe(t, db, "=cmd|'/c'!A1\"", 2*money.Unit)
	directory := t.TempDir()
	s := settle(t, db, clearing.Config{Directory: directory})
	text := readFiles(t, directory)["payout-"+s.RunID+".csv"]
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"payment_id", "run_id", "period_end", "vendor", "currency", "amount", "fee", "fee_rule"},
		{"", s.RunID, "2026-11-22", "'=cmd|'/c'!A1\"", "USD", "1.99", "0.01", "0.3pct-min-0.01/1"},
		{"", s.RunID, "2026-11-22", "https://a.example", "USD", "12.30", "0.037038", "0.3pct-min-0.01/1"},
		{"", s.RunID, "2026-11-22", "https://c.example:8443", "USD", "0.01", "0.01", "0.3pct-min-0.01/1"},
		{"", s.RunID, "2026-11-22", "https://long-name.of-a-vendor.example", "USD", "1230864.18", "3703.70367", "0.3pct-min-0.01/1"},
	}
	seen := map[string]bool{}
	for i, row := range rows[1:] {
		if len(row[0]) != 32 || seen[row[0]] {
			t.Errorf("row %d: payment id %q: want 32 digits, once", i, row[0])
		}
		seen[row[0]], row[0] = true, ""
	}
	if fmt.Sprint(rows) != fmt.Sprint(want) {
		t.Errorf("got\n%q\nwant\n%q", rows, want)
	}
}

func TestNeutral(t *testing.T) {
	cases := map[string]string{
		"": "", "a": "a", "1.50": "1.50", "'a": "'a", "a=1": "a=1",
		"=1": "'=1", "+1": "'+1", "-1": "'-1", "@a": "'@a", "\ta": "'\ta", "\ra": "'\ra",
	}
	for cell, want := range cases {
		if got := clearing.Neutral(cell); got != want {
			t.Errorf("cell %q: got %q, want %q", cell, got, want)
		}
	}
}

func TestClassOf(t *testing.T) {
	cases := map[string]string{
		"user:17:available":                   "user:*:available",
		"vendor:https://a.example:80:payable": "vendor:*:payable",
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
		RunID, PlanHash, Currency, FeeRule string
		Closed                             time.Time
		Lines                              []struct{ Vendor, Gross, Fee, Paid, Carried, Reason, PaymentID string }
		Totals                             struct{ Gross, Paid string }
		TrialBalance                       []struct{ Class, Balance string }
	}
	if err := json.Unmarshal([]byte(readFiles(t, directory)["statement-"+s.RunID+".json"]), &got); err != nil {
		t.Fatal(err)
	}
	if got.RunID != s.RunID || got.PlanHash != s.Hash || got.Currency != "usd-micro" || got.FeeRule != "0.3pct-min-0.01/1" || !got.Closed.Equal(epoch) {
		t.Errorf("got %+v", got)
	}
	line := got.Lines[0]
	if line.Vendor != "https://a.example" || line.Gross != "12345678" || line.Fee != "37038" || line.Paid != "12300000" || line.Carried != "8640" {
		t.Errorf("line 1: got %+v", line)
	}
	if got.Lines[1].Reason != "too-small" || got.Totals.Paid != "1230876490000" {
		t.Errorf("line 2: got %+v; paid %s", got.Lines[1], got.Totals.Paid)
	}
	if len(got.TrialBalance) != 4 || got.TrialBalance[0].Class != "broker:bank:in" || got.TrialBalance[0].Balance != "-1234580259678" {
		t.Errorf("trial balance: got %+v", got.TrialBalance)
	}
}
