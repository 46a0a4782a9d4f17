package caddymodule_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/caddymodule"
)

var update = flag.Bool("update", false, "write the golden files again")

// runCommand runs a command and returns its exit status and what it wrote.
func runCommand(arguments ...string) (status int, stdout, stderr string) {
	var out, complaint bytes.Buffer
	status = caddymodule.Main(context.Background(), arguments, &out, &complaint)
	return status, out.String(), complaint.String()
}

// mustMatch compares text with a golden file.
func mustMatch(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "commands", name+".golden")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what the golden file says:\n%s\nwant:\n%s", name, got, want)
	}
}

// changing is what differs between two runs: pseudonyms, hashes, ports, times.
var changing = []struct {
	pattern *regexp.Regexp
	stands  string
}{
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "<hash>"},
	{regexp.MustCompile(`\b[0-9a-f]{16}\b`), "<pseudonym>"},
	{regexp.MustCompile(`(\d+/\d+) [0-9a-f]{8}\b`), "$1 <hash>"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "<address>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\dZ)?`), "<time>"},
	{regexp.MustCompile(` {2,}`), "  "},
}

func steady(text string) string {
	for _, c := range changing {
		text = c.pattern.ReplaceAllString(text, c.stands)
	}
	return text
}

func TestCommandHelp(t *testing.T) {
	for _, name := range []string{"tails", "redeem", "export", "verify"} {
		status, stdout, stderr := runCommand(name, "--help")
		if status != 0 || stderr != "" {
			t.Errorf("%s --help: %d %s", name, status, stderr)
		}
		mustMatch(t, "help-"+name, stdout)
	}
}

// TestCommandOutput runs every command against a gate, for people and for
// programs.
func TestCommandOutput(t *testing.T) {
	broker := newFakeBroker(t)
	gate, admin := startRedeemingGate(t, broker, "claim_delay 0s")
	p := newPayer(t, wish{name: "commands", vendor: gate.vendor, issuer: broker.URL})
	gate.mustPay(t, "/1", p.opening(p.payment(3, 1)))
	for _, test := range []struct {
		golden    string
		arguments []string
	}{
		{"tails", []string{"tails"}},
		{"tails-json", []string{"tails", "--json"}},
		{"redeem", []string{"redeem"}},
		{"redeem-json", []string{"redeem", "--json"}},
		{"export", []string{"export"}},
		{"export-day-json", []string{"export", "--by", "day", "--json"}},
		{"verify", []string{"verify"}},
		{"verify-json", []string{"verify", "--json"}},
	} {
		status, stdout, stderr := runCommand(append(test.arguments, "--address", admin)...)
		if status != 0 || stderr != "" {
			t.Errorf("%s: %d %s", test.golden, status, stderr)
		}
		mustMatch(t, test.golden, steady(stdout))
		isJSON := true
		for line := range strings.Lines(stdout) {
			isJSON = isJSON && json.Valid([]byte(line))
		}
		if wants := strings.HasSuffix(test.golden, "json"); isJSON != wants {
			t.Errorf("%s writes JSON: %v, want %v: %s", test.golden, isJSON, wants, stdout)
		}
	}
	broker.refuse(payword.ClaimTooLate)
	gate.mustPay(t, "/2", p.header(p.payment(3, 2)))
	if status, stdout, _ := runCommand("redeem", "--address", admin); status != 1 || !strings.Contains(stdout, "refused      1") {
		t.Errorf("with a claim refused: %d %s", status, stdout)
	}
}

// TestCommandErrors wants the cause named, and the right exit status.
func TestCommandErrors(t *testing.T) {
	dir := t.TempDir()
	nobody := adminAddress(t)
	off := filepath.Join(dir, "Caddyfile")
	writeTestFile(t, off, "{\nadmin off\n}\n")
	bare := adminAddress(t)
	if err := loadCaddyfile(t, "{\nadmin "+bare+"\npersist_config off\nlog {\nlevel ERROR\n}\n}\n"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name      string
		arguments []string
		status    int
		want      string
	}{
		{"nobody listens", []string{"tails", "--address", nobody}, 3, "is Caddy running"},
		{"admin off", []string{"tails", "--config", off, "--adapter", "caddyfile"}, 3, "turns the admin endpoint off"},
		{"another Caddy", []string{"redeem", "--address", bare}, 3, "has no payword gate"},
		{"no address at all", []string{"export", "--address", "one two three"}, 3, "one two three"},
		{"an unknown flag", []string{"tails", "--fast"}, 2, "--fast"},
		{"an argument too many", []string{"tails", "now"}, 2, "now"},
		{"an unknown command", []string{"heads"}, 2, "heads"},
		{"no store", []string{"verify", "--store", dir}, 3, "holds no store"},
		{"keys of nobody", []string{"verify", "--store", dir, "--keys", "file"}, 3, "want <issuer>=<file>"},
	} {
		status, stdout, stderr := runCommand(test.arguments...)
		if status != test.status || !strings.Contains(stderr, test.want) || stdout != "" {
			t.Errorf("%s: %d %q %q, want %d and %q", test.name, status, stdout, stderr, test.status, test.want)
		}
	}
}

// TestVerifyStoppedStore verifies a directory: refused while the gate runs, good
// afterwards, even after a crash, and nothing in it is changed by that.
func TestVerifyStoppedStore(t *testing.T) {
	s := site{dir: t.TempDir(), vendor: freeOrigin(t), payword: "reread off"}
	gate := startGate(t, s)
	p := newPayer(t, wish{name: "offline", vendor: gate.vendor})
	gate.mustPay(t, "/1", p.opening(p.payment(3, 1)))
	store := filepath.Join(gate.dir, "store")
	keys := testIssuer + "=" + filepath.Join(gate.dir, "broker-keys.json")
	if status, _, stderr := runCommand("verify", "--store", store, "--keys", keys); status != 3 || !strings.Contains(stderr, "is in use") {
		t.Errorf("while the gate runs: %d %s", status, stderr)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	tear(t, store)
	before := contentOf(t, store)
	status, stdout, stderr := runCommand("verify", "--store", store, "--keys", keys, "--json")
	var done caddymodule.Verification
	if err := json.Unmarshal([]byte(stdout), &done); err != nil || status != 0 {
		t.Fatalf("a stopped store: %d %s %s", status, stdout, stderr)
	}
	if done.Commitments != 1 || done.Signatures != 3 || done.Hashes != 3 || done.Wrong != 0 {
		t.Errorf("a stopped store: %+v", done)
	}
	if status, stdout, _ := runCommand("verify", "--store", store); status != 1 || !strings.Contains(stdout, "were not checked") {
		t.Errorf("without the broker's keys: %d %s", status, stdout)
	}
	if after := contentOf(t, store); after != before {
		t.Error("verifying changed the directory")
	}
}

// tear cuts the journal as a crash does that comes while a record is written.
func tear(t *testing.T, store string) {
	t.Helper()
	path := filepath.Join(store, "journal-0000000001")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	end := len(bytes.TrimRight(content, "\x00"))
	if err := os.WriteFile(path, append(content[:end:end], content[64:100]...), 0o600); err != nil {
		t.Fatal(err)
	}
}

func contentOf(t *testing.T, directory string) string {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(directory, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(entry.Name())
		all.Write(content)
	}
	return all.String()
}

// TestPlainCell keeps a spreadsheet from taking text for a formula.
func TestPlainCell(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "https://news.example": "https://news.example", "=1+1": "'=1+1", "@SUM(A1)": "'@SUM(A1)",
		"-2": "'-2", "+2": "'+2", "\t=1": "'\t=1", "\r=1": "'\r=1",
	} {
		if got := caddymodule.PlainCell(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
