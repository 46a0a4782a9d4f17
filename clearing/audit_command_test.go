package clearing_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/clearing/audit"
	"github.com/paywordhq/payword/internal/dbtest"
)

func TestAuditCommand(t *testing.T) {
	location := newDatabase(t)
	openAt(t, location)
	directory := t.TempDir()
	keys := filepath.Join(directory, "keys.json")
	noKeys := filepath.Join(directory, "none.json")
	if err := os.WriteFile(keys, []byte(`{"keys":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(noKeys, []byte(`[]`), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		arguments string
		code      int
		wantOut   string
		wantError string
	}{
		{"--db " + location, 0, "everything agrees", ""},
		{"--db " + location + " --keys " + keys, 0, "everything agrees", ""},
		{"--db " + location + " --keys " + noKeys, 2, "", "reading a key set"},
		{"--db " + location + " --keys missing.json", 2, "", "there is no file missing.json"},
		{"--db " + location + " now", 2, "", `"now" is not a flag`},
		{"--db missing.db", 2, "", "there is no file missing.db"},
		{"--db " + keys, 2, "", "no broker's database"},
		{"--db postgres://me:word@host/books", 1, "", "without a password"},
		{"", 2, "", "--db is missing"},
		{"--nothing", 2, "", "there is no flag --nothing"},
		{"--quiet --db " + location, 0, "", ""},
		{"-h", 0, "--keys FILE", ""},
	}
	for _, c := range cases {
		var stdout, stderr bytes.Buffer
		code := clearing.Main(t.Context(), append([]string{"audit"}, strings.Fields(c.arguments)...), &stdout, &stderr)
		isSaid := strings.Contains(strings.ReplaceAll(stdout.String(), "  -", "  --"), c.wantOut) && strings.Contains(stderr.String(), c.wantError)
		if code != c.code || !isSaid || (c.wantError == "") != (stderr.Len() == 0) {
			t.Errorf("audit %s: got %d, %q and %q; want %d, %q and %q", c.arguments, code, stdout.String(), stderr.String(), c.code, c.wantOut, c.wantError)
		}
	}
	dbtest.Tamper(t, location, `UPDATE accounts SET balance = 5 WHERE id = 'broker:fees'`)
	var stdout, stderr bytes.Buffer
	code := clearing.Main(t.Context(), []string{"audit", "--db", location, "--quiet"}, &stdout, &stderr)
	if code != 1 || !strings.HasPrefix(stdout.String(), "WRONG account-balance broker:fees: ") || !strings.HasSuffix(stdout.String(), "\n2 things do not agree\n") {
		t.Errorf("--quiet: got %d and %q, want 1 and what is wrong alone", code, stdout.String())
	}
	stdout.Reset()
	code = clearing.Main(t.Context(), []string{"audit", "--db", location, "--json"}, &stdout, &stderr)
	var report audit.Report
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatalf("%v in %s", err, stdout.String())
	}
	if code != 1 || report.Wrong != 2 || report.Findings[0].Kind != audit.AccountBalance || report.Findings[0].Subject != "broker:fees" {
		t.Errorf("got %d and %+v, want 1 and that the balance of broker:fees is wrong", code, report)
	}
}
