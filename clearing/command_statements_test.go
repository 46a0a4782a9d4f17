package clearing_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/clearing/statement"
	"github.com/paywordhq/payword/internal/dbtest"
)

// A day of a broker that is settled and signed from the command line, as operator,
// vendor and user see it.
func TestStatementsFromTheCommandLine(t *testing.T) {
	d := newDay(t)
	d.trade()
	directory, keyFile := t.TempDir(), filepath.Join(t.TempDir(), "clearing.key")
	call := func(want int, args ...string) string {
		t.Helper()
		code, stdout, stderr := command(t, args...)
		if code != want {
			t.Fatalf("%q: exit code %d, want %d:\n%s%s", args, code, want, stdout, stderr)
		}
		return stdout + stderr
	}
	call(0, "key", "new", "--key", keyFile)
	call(2, "key", "new", "--key", keyFile)
	dayKeys := filepath.Join(directory, "day-keys.json")
	if err := os.WriteFile(dayKeys, []byte(call(0, "key", "public", "--key", keyFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := writeKeys(t, filepath.Join(directory, "jwks.json"), d.key)
	settlements := t.TempDir()
	call(0, "run", "--db", d.location, "--now", "--out", settlements, "--key", keyFile, "--run", "november")
	token := readFiles(t, settlements)["day-november.jwt"]
	if days := call(0, "days", "--db", d.location); days != token || len(token) < 300 {
		t.Errorf("the days are %q, the file of the day says %q", days, token)
	}
	call(0, "statements", "--db", d.location, "--out", directory)
	files, err := filepath.Glob(filepath.Join(directory, "statement-november-*.jsonl"))
	if err != nil || len(files) != len(d.sellers) {
		t.Fatalf("got %q (%v)", files, err)
	}
	for _, file := range files {
		var stdout, stderr bytes.Buffer
		code := clearing.VerifyMain(t.Context(), []string{file, "--keys", keys, "--day-keys", dayKeys, "--days", filepath.Join(settlements, "day-november.jwt")}, nil, &stdout, &stderr)
		if code != 0 || !strings.Contains(stdout.String(), "less a fee of 0.01 by rule") {
			t.Errorf("%s: exit code %d:\n%s%s", file, code, stdout.String(), stderr.String())
		}
	}
	// One by itself has the same bytes.
	want, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	header, _, _ := strings.Cut(string(want), `","run"`)
	vendor := header[strings.LastIndex(header, `"`)+1:]
	if got := call(0, "statement", "--db", d.location, "--run", "november", "--vendor", vendor); got != string(want) {
		t.Errorf("the statement of %s is not that of the file", vendor)
	}
	out := filepath.Join(directory, "user.jsonl")
	call(0, "statement", "--db", d.location, "--user", d.payers[0].account, "--out", out)
	call(2, "statement", "--db", d.location, "--user", d.payers[0].account, "--out", out)
	call(2, "statement", "--db", d.location, "--user", "nobody")
	call(2, "statement", "--db", d.location)
	// Whoever signed once is reminded, before anything is paid.
	if said := call(2, "run", "--db", d.location, "--now", "--out", settlements); !strings.Contains(said, "give the key with --key") {
		t.Errorf("got %q", said)
	}
}

// The fee of a vendor's line is split over its commitments.
func TestFeeSharesOfARun(t *testing.T) {
	d := newDay(t)
	d.trade()
	key := newKey()
	s := settle(t, d.db, clearing.Config{RunID: "november", Signer: key})
	lines := linesOf(t, d.db, s)
	for name, text := range d.published("november", key) {
		report, err := statement.Verify(strings.NewReader(text), statement.Options{Keys: d.keys()})
		if err != nil || report.Kind != statement.Vendor {
			continue
		}
		line := lines[name]
		if got := report.Settlement; int64(got.Fee) != int64(line.Fee) || int64(got.Gross) != int64(line.Gross) || int64(got.Payout) != int64(line.Amount) || got.Fee == 0 {
			t.Errorf("%s: got %+v, the line is %+v", name, got, line)
		}
		if !strings.Contains(text, `,"fee":"`) {
			t.Errorf("%s: no entry has a share of the fee", name)
		}
	}
	if _, err := clearing.Run(t.Context(), d.db, clearing.Config{Directory: t.TempDir(), Now: true}, clearing.Operator{}); !errors.Is(err, clearing.ErrNoKey) {
		t.Errorf("without the key: got %v, want ErrNoKey", err)
	}
}

// Evidence that was changed since is told, and comes out as no statement.
func TestChangedEvidence(t *testing.T) {
	d := newDay(t)
	d.isUnsound = true
	d.trade()
	settle(t, d.db, clearing.Config{RunID: "november"})
	s, err := clearing.OpenStatements(t.Context(), d.db, "november")
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{
		`UPDATE clearing_evidence SET amount = amount + 1, paid = paid + 1 WHERE commitment = (SELECT MIN(commitment) FROM clearing_evidence)`,
		`UPDATE clearing_evidence SET claim = 'x' WHERE commitment = (SELECT MIN(commitment) FROM clearing_evidence)`,
		`DELETE FROM clearing_evidence WHERE commitment = (SELECT MIN(commitment) FROM clearing_evidence)`,
	} {
		dbtest.Tamper(t, d.location, change)
		failed := 0
		for _, kind := range []statement.Kind{statement.Vendor, statement.User} {
			names, err := s.Parties(t.Context(), kind, "", 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if err := s.Write(t.Context(), new(bytes.Buffer), kind, name); err != nil {
					failed++
				}
			}
		}
		if failed < 2 {
			t.Errorf("%s: %d statements fail, want a vendor's and a user's", change, failed)
		}
	}
}
