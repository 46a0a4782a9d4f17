package clearing_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// command runs "payword clearing" and returns its exit code and output.
func command(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, failures bytes.Buffer
	code = clearing.Main(t.Context(), args, &out, &failures)
	return code, out.String(), failures.String()
}

// databaseFile makes a broker's database that owes something to vendors.
func databaseFile(t testing.TB) string {
	t.Helper()
	location := newDatabase(t)
	db, err := ledger.Open(t.Context(), location, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	oweVendors(t, db)
	return location
}

// reopen reads a database that a command has worked on.
func reopen(t testing.TB, path string) *ledger.DB {
	t.Helper()
	db, err := ledger.Open(t.Context(), path, ledger.Options{Mode: ledger.ReadOnly})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// writeFile makes a file for a flag.
func writeFile(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommandUsage(t *testing.T) {
	database, folder := databaseFile(t), t.TempDir()
	missing := filepath.Join(folder, "missing")
	text := writeFile(t, strings.Repeat("notes ", 1000))
	hash := strings.Repeat("0", 64)
	unused := filepath.Join(t.TempDir(), "ledger.db")
	db, err := ledger.Open(t.Context(), unused, ledger.Options{})
	if err != nil || db.Close() != nil {
		t.Fatal(err)
	}
	cases := []struct {
		args []string
		want string
	}{
		{nil, "payword clearing settles"},
		{[]string{"payouts"}, `there is no command "payouts": want one of plan, approve, run`},
		{[]string{"run"}, "--db is missing: name the broker's database"},
		{[]string{"plan"}, "--db is missing"},
		{[]string{"check"}, "--db is missing"},
		{[]string{"plan", "--db", missing}, "the file does not exist"},
		{[]string{"plan", "--db", unused}, "no broker of this version"},
		{[]string{"plan", "--db", database, "--config", missing}, "no such file"},
		{[]string{"plan", "--db", database, "--config", text}, "policy: invalid character"},
		{[]string{"plan", "--db", database, "--as", "anna"}, "--operators is missing"},
		{[]string{"plan", "--db", database, "--operators", text}, "--operators goes with --as"},
		{[]string{"plan", "--db", database, "--operators", text, "--as", "anna"}, "line 1: want"},
		{[]string{"plan", "--db", database, "--run", "../x"}, "run id"},
		{[]string{"plan", "--db", database, "--period-end", "tomorrow"}, "want a day such as"},
		{[]string{"approve", "--db", database}, "--plan is missing"},
		{[]string{"approve", "--db", database, "--plan", hash}, "--as is missing"},
		{[]string{"run", "--db", database}, "--out is missing: name the folder"},
		{[]string{"run", "--db", database, "--out", missing}, "does not exist"},
		{[]string{"run", "--db", database, "--out", text}, "is not a folder"},
		{[]string{"run", "--db", missing, "--out", folder}, "the file does not exist"},
		{[]string{"run", "--db", database, "--out", folder, "--plan", "abc"}, "want the 64 hexadecimal digits"},
		{[]string{"run", "--db", database, "--out", folder, "--plan", hash, "--now"}, "--plan names a plan on record"},
		{[]string{"run", "--db", database, "--out", folder, "--run", "x"}, "give --now as well"},
		{[]string{"run", "--db", database, "--out", folder, "now"}, `"now" is not a flag`},
		{[]string{"check", "--db", missing}, "the file does not exist"},
		{[]string{"check", "--db", text}, "not an SQLite database"},
		{[]string{"check", "--db", folder}, "not a regular file"},
		{[]string{"check", "--db", database, "--out", folder}, `there is no flag --out; "payword clearing check" has --db, --json, --quiet`},
	}
	for _, c := range cases {
		code, stdout, stderr := command(t, c.args...)
		if code != 2 || !strings.Contains(stderr, c.want) || stdout != "" {
			t.Errorf("%q: got exit code %d, %q, %q; want 2 and %q", c.args, code, stdout, stderr, c.want)
		}
	}
	if _, err := os.Stat(missing); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the missing file: got %v, want that it is still missing", err)
	}
	wantPending(t, reopen(t, database), map[string]money.Amount{payable(vendorA): 0})
}

func TestCommandHelp(t *testing.T) {
	cases := []struct {
		args []string
		want string
	}{
		{[]string{"help"}, "A usual day"},
		{[]string{"--help"}, "stand behind a plan"},
		{[]string{"run", "-h"}, "-plan HASH"},
		{[]string{"plan", "--help"}, "-period-end DAY"},
		{[]string{"check", "-h"}, "-db FILE"},
	}
	for _, c := range cases {
		code, stdout, stderr := command(t, c.args...)
		if code != 0 || !strings.Contains(stdout, c.want) || stderr != "" {
			t.Errorf("%q: got exit code %d, %q, %q; want 0 and %q", c.args, code, stdout, stderr, c.want)
		}
	}
}

// The usual day: look, plan, run that plan, look again, check.
func TestCommandDay(t *testing.T) {
	database, folder := databaseFile(t), t.TempDir()
	at := func(args ...string) []string { return append(args, "--db", database) }
	code, dry, stderr := command(t, at("plan", "--dry-run")...)
	if code != 0 || !strings.Contains(dry, "nothing is recorded") || !strings.Contains(dry, vendorF) {
		t.Fatalf("dry run: got exit code %d, %s%s", code, dry, stderr)
	}
	if code, _, stderr := command(t, at("show")...); code != 1 || !strings.Contains(stderr, "there is no such plan") {
		t.Errorf("show before any plan: got exit code %d, %s", code, stderr)
	}
	if code, _, stderr := command(t, at("run", "--out", folder)...); code != 1 || !strings.Contains(stderr, "plan a run first") {
		t.Errorf("run before any plan: got exit code %d, %s", code, stderr)
	}
	code, planned, stderr := command(t, at("plan", "--run", "monday", "--period-end", "2026-11-22")...)
	if code != 0 {
		t.Fatalf("plan: got exit code %d, %s", code, stderr)
	}
	for _, want := range []string{"SETTLEMENT PLAN monday", "nothing is moved", "https://c.example:8443", "Paid out, 3 payments"} {
		if !strings.Contains(planned, want) {
			t.Errorf("the plan does not say %q:\n%s", want, planned)
		}
	}
	if _, shown, _ := command(t, at("show", "--run", "monday")...); shown != planned {
		t.Errorf("show: got\n%s\nwant\n%s", shown, planned)
	}
	hash := planHash(t, planned)
	code, _, stderr = command(t, at("run", "--out", folder, "--plan", strings.Repeat("0", 64))...)
	if code != 1 || !strings.Contains(stderr, "there is no such plan") {
		t.Errorf("another hash: got exit code %d, %s; want 1", code, stderr)
	}
	wantPending(t, reopen(t, database), map[string]money.Amount{payable(vendorA): 0})
	code, stdout, stderr := command(t, at("run", "--out", folder, "--plan", hash)...)
	if code != 0 || !strings.Contains(stdout, "SETTLEMENT STATEMENT monday") || !strings.Contains(stdout, filepath.Join(folder, "payments-monday.csv")) {
		t.Fatalf("run: got exit code %d, %s%s", code, stdout, stderr)
	}
	wantPending(t, reopen(t, database), vendorsSent)
	files := readFiles(t, folder)
	if len(files) != 3 || !strings.HasPrefix(stdout, files["statement-monday.txt"]) {
		t.Errorf("got %d files, and on the terminal\n%s", len(files), stdout)
	}
	if _, shown, _ := command(t, at("show")...); shown != files["statement-monday.txt"] {
		t.Errorf("show: got\n%s\nwant the statement", shown)
	}
	if _, listed, _ := command(t, at("list")...); !strings.Contains(listed, "monday  final") || !strings.Contains(listed, "1230876.49 EUR") {
		t.Errorf("list: got\n%s", listed)
	}
	code, stdout, stderr = command(t, at("check")...)
	if code != 0 || !strings.Contains(stdout, "balances in EUR sum to 0.00\nnothing disagrees\n") {
		t.Errorf("check: got exit code %d, %s%s", code, stdout, stderr)
	}
}

// planHash finds the hash in what a person reads.
func planHash(t testing.TB, text string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, "Plan hash    ")
	if !found || len(rest) < 64 {
		t.Fatalf("there is no plan hash in\n%s", text)
	}
	return rest[:64]
}

func TestCommandJSON(t *testing.T) {
	database, folder := databaseFile(t), t.TempDir()
	decode := func(text string) (value struct {
		RunID, PlanHash, State string
		Lines                  []struct{ Amount string }
		Clean                  bool
		Accounts               int
		Disagreements          []struct{ Subject, What string }
	}) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		return value
	}
	_, stdout, _ := command(t, "plan", "--db", database, "--json", "--dry-run")
	if dry := decode(stdout); len(dry.Lines) != 6 || dry.State != "" {
		t.Errorf("dry run: got %+v", dry)
	}
	_, stdout, _ = command(t, "plan", "--db", database, "--json")
	plan := decode(stdout)
	if len(plan.Lines) != 6 || plan.Lines[0].Amount != "12300000" || plan.State != "proposed" {
		t.Errorf("plan: got %+v", plan)
	}
	_, stdout, _ = command(t, "run", "--db", database, "--out", folder, "--json", "--plan", plan.PlanHash)
	if statement := decode(stdout); statement.PlanHash != plan.PlanHash || stdout != readFiles(t, folder)["statement-"+plan.RunID+".json"] {
		t.Errorf("run: got %s, want the plan %s, and the same as in the file", stdout, plan.PlanHash)
	}
	_, stdout, _ = command(t, "show", "--db", database, "--json", "--run", plan.RunID)
	if again := decode(stdout); again.State != "final" || again.PlanHash != plan.PlanHash {
		t.Errorf("a run that is final: got %+v", again)
	}
	_, stdout, _ = command(t, "list", "--db", database, "--json")
	var list struct{ Runs []struct{ RunID string } }
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || len(list.Runs) != 1 || list.Runs[0].RunID != plan.RunID {
		t.Errorf("list: got %s (%v)", stdout, err)
	}
	_, stdout, _ = command(t, "check", "--db", database, "--json")
	if report := decode(stdout); !report.Clean || report.Accounts != 9 || report.Disagreements == nil {
		t.Errorf("check: got %s", stdout)
	}
}

func TestCommandCheckFindsFaults(t *testing.T) {
	database := databaseFile(t)
	dbtest.Tamper(t, database, `UPDATE accounts SET balance = balance + 7 WHERE id = 'broker:fees'`)
	for _, args := range [][]string{{"check", "--db", database}, {"check", "--db", database, "--json"}, {"run", "--now", "--db", database, "--out", t.TempDir()}} {
		code, stdout, stderr := command(t, args...)
		if code != 1 || !strings.Contains(stderr, "broker:fees: balance is 7, its transfers give 0") {
			t.Errorf("%q: got exit code %d, %s%s; want 1", args, code, stdout, stderr)
		}
	}
}

func TestCommandWhileHeld(t *testing.T) {
	database, folder := databaseFile(t), t.TempDir()
	db, err := ledger.Open(t.Context(), database, ledger.Options{Mode: ledger.Existing})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	config := clearing.Config{Directory: folder, Holder: "the night job"}
	called := false
	settle(t, db, config.WithStep(func(name string) {
		if name != "lines to 6" {
			return
		}
		called = true
		code, _, stderr := command(t, "run", "--db", database, "--out", folder)
		if code != 75 || !strings.Contains(stderr, "the settlement is being run by the night job, until ") {
			t.Errorf("got exit code %d, %s; want 75 and who", code, stderr)
		}
	}))
	if !called {
		t.Fatal("the run did no lines")
	}
}

// Above an amount a plan takes two operators: who planned it and another one.
func TestCommandApproval(t *testing.T) {
	database, folder := databaseFile(t), t.TempDir()
	const annas, bens, carls = "token-of-anna-1234", "token-of-ben-12345", "token-of-carl-1234"
	operators := writeFile(t, "# who\nanna "+annas+"\nben "+bens+"\ncarl "+carls+" read-only\n")
	policy := writeFile(t, `{"approvalAboveMicros":"1000000"}`)
	as := func(name, token string, args ...string) (int, string, string) {
		t.Helper()
		t.Setenv("PAYWORD_OPERATOR_TOKEN", token)
		code, stdout, stderr := command(t, append(args, "--db", database, "--as", name, "--operators", operators)...)
		for _, token := range []string{annas, bens, carls} {
			if strings.Contains(stdout+stderr, token) {
				t.Errorf("%q: a token is told: %s%s", args, stdout, stderr)
			}
		}
		return code, stdout, stderr
	}
	if code, _, stderr := as("anna", bens, "plan"); code != 2 || !strings.Contains(stderr, "no operator of that name with that token") {
		t.Errorf("the token of another: got exit code %d, %s", code, stderr)
	}
	code, stdout, stderr := as("anna", annas, "plan", "--config", policy)
	if code != 0 || !strings.Contains(stdout, "1 more must approve it") || !strings.Contains(stdout, "by operator:anna") {
		t.Fatalf("plan: got exit code %d, %s%s", code, stdout, stderr)
	}
	hash := planHash(t, stdout)
	for _, refused := range []struct{ name, token, want string }{
		{"anna", annas, "anna has planned it"}, {"carl", carls, "may look and not approve"},
	} {
		if code, _, stderr := as(refused.name, refused.token, "approve", "--plan", hash); code != 1 || !strings.Contains(stderr, refused.want) {
			t.Errorf("approved by %s: got exit code %d, %s", refused.name, code, stderr)
		}
	}
	if code, _, stderr := as("anna", annas, "run", "--out", folder, "--plan", hash); code != 77 || !strings.Contains(stderr, "not approved") {
		t.Errorf("run before approval: got exit code %d, %s", code, stderr)
	}
	if _, listed, _ := command(t, "list", "--json", "--db", database); !strings.Contains(listed, `"approvals": []`) {
		t.Errorf("list before approval: got %s", listed)
	}
	for range 2 {
		if code, stdout, stderr := as("ben", bens, "approve", "--plan", hash); code != 0 || !strings.Contains(stdout, "it can be run") {
			t.Errorf("approve: got exit code %d, %s%s", code, stdout, stderr)
		}
	}
	if _, listed, _ := command(t, "list", "--json", "--db", database); !strings.Contains(listed, `"operator": "ben"`) {
		t.Errorf("list after approval: got %s", listed)
	}
	code, stdout, stderr = command(t, "run", "--db", database, "--out", folder, "--plan", hash)
	if code != 0 || !strings.Contains(stdout, "UTC by ben\n") {
		t.Errorf("run: got exit code %d, %s%s", code, stdout, stderr)
	}
	if code, _, stderr := as("ben", bens, "approve", "--plan", hash); code != 1 || !strings.Contains(stderr, "nothing to approve any more") {
		t.Errorf("approve a run that is final: got exit code %d, %s", code, stderr)
	}
}
