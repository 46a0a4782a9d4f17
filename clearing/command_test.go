package clearing_test

import (
	"bytes"
	"context"
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
	path := dbtest.New(t)
	db, err := ledger.Open(t.Context(), path, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		return errors.Join(
			tx.CreateAccount(ctx, ledger.Account{ID: "broker:bank:in", Currency: usd, Floor: ledger.NoFloor}),
			tx.CreateAccount(ctx, ledger.Account{ID: "broker:bank:out", Currency: usd, Floor: ledger.NoFloor}),
			tx.CreateAccount(ctx, ledger.Account{ID: "broker:fees", Currency: usd}))
	})
	oweVendors(t, db)
	return path
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

func TestCommandUsage(t *testing.T) {
	database, folder := databaseFile(t), t.TempDir()
	missing := filepath.Join(folder, "missing")
	text := filepath.Join(folder, "notes.txt")
	if err := os.WriteFile(text, []byte(strings.Repeat("notes ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		args []string
		want string
	}{
		{nil, "payword clearing settles"},
		{[]string{"pay"}, `there is no command "pay": want run, plan or check`},
		{[]string{"run"}, "--db is missing: name the broker's database"},
		{[]string{"plan"}, "--db is missing"},
		{[]string{"check"}, "--db is missing"},
		{[]string{"run", "--db", database}, "--out is missing: name the folder"},
		{[]string{"run", "--db", database, "--out", missing}, "does not exist"},
		{[]string{"run", "--db", database, "--out", text}, "is not a folder"},
		{[]string{"run", "--db", missing, "--out", folder}, "the file does not exist"},
		{[]string{"plan", "--db", missing}, "the file does not exist"},
		{[]string{"check", "--db", missing}, "the file does not exist"},
		{[]string{"check", "--db", text}, "not an SQLite database"},
		{[]string{"check", "--db", folder}, "not a regular file"},
		{[]string{"check", "--db", database, "--out", folder}, "flag provided but not defined: -out"},
		{[]string{"run", "--db", database, "--out", folder, "--run", "../x"}, "run id"},
		{[]string{"run", "--db", database, "--out", folder, "--period-end", "tomorrow"}, "want a day such as"},
		{[]string{"run", "--db", database, "--out", folder, "--expect", "abc"}, "want 64 hexadecimal digits"},
		{[]string{"run", "--db", database, "--out", folder, "now"}, `"now" is not a flag`},
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
	wantBalances(t, reopen(t, database), map[string]money.Amount{"broker:bank:out": 0})
}

func TestCommandHelp(t *testing.T) {
	cases := []struct {
		args []string
		want string
	}{
		{[]string{"help"}, "A usual day"},
		{[]string{"--help"}, "A usual day"},
		{[]string{"run", "-h"}, "-expect HASH"},
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

// The usual day: plan, look, run that plan, check.
func TestCommandDay(t *testing.T) {
	database, folder := databaseFile(t), t.TempDir()
	code, planned, stderr := command(t, "plan", "--db", database, "--run", "monday", "--period-end", "2026-11-22")
	if code != 0 {
		t.Fatalf("plan: got exit code %d, %s", code, stderr)
	}
	for _, want := range []string{"SETTLEMENT PLAN monday", "nothing is paid", "https://c.example:8443", "Total, 3 paid"} {
		if !strings.Contains(planned, want) {
			t.Errorf("the plan does not say %q:\n%s", want, planned)
		}
	}
	wantBalances(t, reopen(t, database), map[string]money.Amount{"broker:bank:out": 0, "broker:fees": 0})
	hash := planHash(t, planned)

	run := []string{"run", "--db", database, "--out", folder, "--run", "monday", "--period-end", "2026-11-22", "--expect"}
	code, _, stderr = command(t, append(run, strings.Repeat("0", 64))...)
	if code != 1 || !strings.Contains(stderr, "not the one that was approved") {
		t.Errorf("another hash: got exit code %d, %s; want 1", code, stderr)
	}
	code, stdout, stderr := command(t, append(run, hash)...)
	if code != 0 || !strings.Contains(stdout, "SETTLEMENT STATEMENT monday") || !strings.Contains(stdout, filepath.Join(folder, "payout-monday.csv")) {
		t.Fatalf("run: got exit code %d, %s%s", code, stdout, stderr)
	}
	if planHash(t, stdout) != hash {
		t.Errorf("the statement has another plan hash:\n%s", stdout)
	}
	wantBalances(t, reopen(t, database), vendorBalances)
	files := readFiles(t, folder)
	if len(files) != 3 || !strings.HasPrefix(stdout, files["statement-monday.txt"]) {
		t.Errorf("got %d files, and on the terminal\n%s", len(files), stdout)
	}
	code, stdout, stderr = command(t, "check", "--db", database)
	if code != 0 || !strings.Contains(stdout, "balances in USD sum to 0.00\nnothing disagrees\n") {
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
		Lines                  []struct{ Paid string }
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
	_, stdout, _ := command(t, "plan", "--db", database, "--json")
	plan := decode(stdout)
	if len(plan.Lines) != 4 || plan.Lines[0].Paid != "12300000" || plan.State != "" {
		t.Errorf("plan: got %+v", plan)
	}
	_, stdout, _ = command(t, "run", "--db", database, "--out", folder, "--json", "--run", plan.RunID)
	if statement := decode(stdout); statement.PlanHash != plan.PlanHash || stdout != readFiles(t, folder)["statement-"+plan.RunID+".json"] {
		t.Errorf("run: got %s, want the plan %s, and the same as in the file", stdout, plan.PlanHash)
	}
	_, stdout, _ = command(t, "plan", "--db", database, "--json", "--run", plan.RunID)
	if again := decode(stdout); again.State != "final" || again.PlanHash != plan.PlanHash {
		t.Errorf("plan of a run that is final: got %+v", again)
	}
	_, stdout, _ = command(t, "check", "--db", database, "--json")
	if report := decode(stdout); !report.Clean || report.Accounts != 7 || report.Disagreements == nil {
		t.Errorf("check: got %s", stdout)
	}
}

func TestCommandCheckFindsFaults(t *testing.T) {
	database := databaseFile(t)
	dbtest.Tamper(t, database, `UPDATE accounts SET balance = balance + 7 WHERE id = 'broker:fees'`)
	for _, args := range [][]string{{"check", "--db", database}, {"check", "--db", database, "--json"}, {"run", "--db", database, "--out", t.TempDir()}} {
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
		if name != "line 2" {
			return
		}
		called = true
		code, _, stderr := command(t, "run", "--db", database, "--out", folder)
		if code != 75 || !strings.Contains(stderr, "the settlement is being run by the night job, until ") {
			t.Errorf("got exit code %d, %s; want 75 and who", code, stderr)
		}
	}))
	if !called {
		t.Fatal("the run had no second line")
	}
}
