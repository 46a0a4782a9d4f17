package clearing_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/clearing/statement"
)

// writeKeys writes public keys as a JWKS.
func writeKeys(t testing.TB, path string, keys ...ed25519.PrivateKey) string {
	t.Helper()
	var public []ed25519.PublicKey
	for _, key := range keys {
		public = append(public, publicOf(key))
	}
	set, err := payword.FormatJWKS(public...)
	if err == nil {
		err = os.WriteFile(path, set, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVerifyCommand(t *testing.T) {
	d, key := newDay(t), newKey()
	d.trade()
	d.insertRun("run-1")
	if err := clearing.Publish(t.Context(), d.db, "run-1", key, 500, noStep); err != nil {
		t.Fatal(err)
	}
	seller := d.sellers[0]
	text := d.published("run-1", key)[seller.origin]
	days, err := clearing.Days(t.Context(), d.db, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keys, dayKeys := writeKeys(t, filepath.Join(directory, "jwks.json"), d.key), writeKeys(t, filepath.Join(directory, "days.json"), key)
	vendorKeys, others := writeKeys(t, filepath.Join(directory, "vendor.json"), seller.key), writeKeys(t, filepath.Join(directory, "others.json"), newKey())
	good, bad := file("good.jsonl", text), file("bad.jsonl", strings.Replace(text, `"carried":`, `"carreid":`, 1)+"x")
	published, otherDays := file("published.txt", days[0].Token+"\n"), file("other.txt", "")
	cases := []struct {
		name string
		args []string
		want int
		says string
	}{
		{"all of it", []string{good, "--keys", keys, "--day-keys", dayKeys, "--vendor-keys", vendorKeys, "--days", published, "--issuer", bankIssuer}, 0, "All of it agrees."},
		{"what nobody signed", []string{good, "--keys", keys}, 0, "sums are as the file says"},
		{"flags first", []string{"--keys", keys, good}, 0, "not checked: give --day-keys"},
		{"standard input", []string{"--keys", keys, "-"}, 0, "see that it is yours"},
		{"a changed file", []string{bad, "--keys", keys}, 1, "DISAGREES in line"},
		{"keys of somebody else", []string{good, "--keys", others}, 1, "unknown-broker"},
		{"day keys of somebody else", []string{good, "--keys", keys, "--day-keys", others}, 1, "unknown-day-key"},
		{"vendor keys of somebody else", []string{good, "--keys", keys, "--vendor-keys", others}, 1, "unknown-vendor-key"},
		{"another broker", []string{good, "--keys", keys, "--issuer", "https://other.example"}, 1, "wrong-issuer"},
		{"a day that was not published", []string{good, "--keys", keys, "--day-keys", dayKeys, "--days", otherDays}, 1, "bad-day"},
		{"no keys", []string{good}, 2, "--keys is missing"},
		{"no file", []string{"--keys", keys}, 2, "want one statement"},
		{"two files", []string{good, bad, "--keys", keys}, 2, "want one statement"},
		{"a file that is not there", []string{filepath.Join(directory, "none"), "--keys", keys}, 2, "could not tell"},
		{"keys that are none", []string{good, "--keys", good}, 2, "no JSON Web Key Set"},
		{"an unknown flag", []string{good, "--kyes", keys}, 2, "-kyes"},
		{"days without their keys", []string{good, "--keys", keys, "--days", published}, 2, "--days goes with --day-keys"},
		{"help", []string{"--help"}, 0, "Exit codes"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			got := clearing.VerifyMain(t.Context(), c.args, strings.NewReader(text), &stdout, &stderr)
			if got != c.want || !strings.Contains(stdout.String()+stderr.String(), c.says) {
				t.Errorf("exit code %d, want %d with %q:\n%s%s", got, c.want, c.says, stdout.String(), stderr.String())
			}
			if c.want != 2 {
				return
			}
			stdout.Reset()
			var failure struct {
				Error    string
				ExitCode int
			}
			clearing.VerifyMain(t.Context(), append(c.args, "--json"), strings.NewReader(text), &stdout, io.Discard)
			if err := json.Unmarshal(stdout.Bytes(), &failure); err != nil || failure.ExitCode != 2 || !strings.Contains(failure.Error, c.says) {
				t.Errorf("with --json: %v in %q", err, stdout.String())
			}
		})
	}
	var stdout, stderr bytes.Buffer
	var verdict struct {
		Agrees bool
		Report statement.Report
	}
	clearing.VerifyMain(t.Context(), []string{good, "--keys", keys, "--json"}, nil, &stdout, &stderr)
	if err := json.Unmarshal(stdout.Bytes(), &verdict); err != nil || !verdict.Agrees || verdict.Report.Party != seller.origin {
		t.Errorf("got %s (%v)", stdout.String(), err)
	}
}
