package client_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/client"
)

// command runs a command and returns its status and what it wrote.
func command(t *testing.T, arguments ...string) (status int, stdout, stderr string) {
	t.Helper()
	return typing(t, "", arguments...)
}

// typing runs a command with something on its standard input.
func typing(t *testing.T, input string, arguments ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errors bytes.Buffer
	status = client.Main(t.Context(), arguments, strings.NewReader(input), &out, &errors)
	return status, out.String(), errors.String()
}

func TestCommands(t *testing.T) {
	broker := newFakeBroker(t, time.Now)
	gate := newFakeGate(t, broker, 1000)
	directory := t.TempDir()
	wallet := filepath.Join(directory, "wallet.json")
	page := filepath.Join(directory, "page")
	steps := []struct {
		name           string
		arguments      []string
		status         int
		stdout, stderr string // parts of what is written
	}{
		{"create", []string{"wallet", "create", "--wallet", wallet}, 0, "Created wallet", ""},
		{"create again", []string{"wallet", "create", "--wallet", wallet}, 1, "", "file already exists"},
		{"pay without an account", []string{"pay", gate.origin() + "/a", "--wallet", wallet}, 1, "", "no account"},
		{"show before", []string{"wallet", "show", "--wallet", wallet}, 0, "none yet", ""},
		{"open an account", []string{"wallet", "open-account", "--wallet", wallet, "--broker", broker.origin()}, 0, "account-1 at " + broker.origin(), ""},
		{"balance", []string{"wallet", "balance", "--wallet", wallet}, 0, "100.00 USD", ""},
		{"certificates", []string{"wallet", "certificates", "--wallet", wallet, "--count", "2"}, 0, "2 spare", ""},
		{"pay", []string{"pay", gate.origin() + "/a", "--wallet", wallet}, 0, "content of /a", "Paid 0.001 USD"},
		{"pay, flags first", []string{"pay", "--wallet", wallet, "--max", "0.001", gate.origin() + "/b"}, 0, "content of /b", "Paid 0.001 USD"},
		{"pay into a file", []string{"pay", gate.origin() + "/c", "--wallet", wallet, "-o", page}, 0, "", "Paid 0.001 USD"},
		{"over the most for one", []string{"pay", gate.origin() + "/d", "--wallet", wallet, "--max", "0.0009"}, 1, "", "over the budget per request"},
		{"over the budget", []string{"pay", gate.origin() + "/d", "--wallet", wallet, "--budget", "0.0035"}, 1, "", "over the budget in total"},
		{"no limit", []string{"pay", gate.origin() + "/d", "--wallet", wallet, "--max", "none", "--budget", "none"}, 0, "content of /d", "Paid 0.001 USD"},
		{"show", []string{"wallet", "show", "--wallet", wallet}, 0, "Spent               0.004 USD", ""},
		{"help", []string{"pay", "--help"}, 0, "payword wallet create", ""},
		{"help with a wallet", []string{"wallet", "help"}, 0, "payword wallet create", ""},
		{"no command", nil, 2, "", "want a command"},
		{"another command", []string{"steal"}, 2, "", `"steal" is no command`},
		{"no verb", []string{"wallet"}, 2, "", "want what to do"},
		{"another verb", []string{"wallet", "burn"}, 2, "", `"burn" is nothing to do with a wallet`},
		{"no wallet", []string{"pay", gate.origin()}, 2, "", "want --wallet FILE"},
		{"no URL", []string{"pay", "--wallet", wallet}, 2, "", "want a URL"},
		{"two URLs", []string{"pay", "--wallet", wallet, "https://a.example", "https://b.example"}, 2, "", "one argument too many"},
		{"no scheme", []string{"pay", "--wallet", wallet, "news.example"}, 2, "", "https://"},
		{"no such flag", []string{"pay", "--wallet", wallet, "--steal"}, 2, "", "not defined: -steal"},
		{"no amount", []string{"pay", "--wallet", wallet, "--max", "1e3", gate.origin()}, 2, "", "want a number such as 0.001"},
		{"a broker that is none", []string{"wallet", "open-account", "--wallet", wallet, "--broker", "example.com"}, 2, "", "https://"},
		{"another broker", []string{"wallet", "open-account", "--wallet", wallet, "--broker", "https://b.example"}, 1, "", "use another wallet"},
		{"no such file", []string{"wallet", "show", "--wallet", wallet + ".none"}, 1, "", "no such file"},
	}
	for _, s := range steps {
		status, stdout, stderr := command(t, s.arguments...)
		if status != s.status || !strings.Contains(stdout, s.stdout) || !strings.Contains(stderr, s.stderr) {
			t.Errorf("%s: got status %d\n%s\n%s\nwant %d with %q and %q", s.name, status, stdout, stderr, s.status, s.stdout, s.stderr)
		}
	}
	if content, _ := os.ReadFile(page); string(content) != "content of /c" {
		t.Errorf("-o wrote %q", content)
	}
	if _, spent := gate.totals(); spent != 4000 {
		t.Errorf("spent %s, want 0.004", spent.Decimal())
	}
}

func TestCommandsInJSON(t *testing.T) {
	broker := newFakeBroker(t, time.Now)
	gate := newFakeGate(t, broker, 1000)
	wallet := filepath.Join(t.TempDir(), "wallet.json")
	command(t, "wallet", "create", "--wallet", wallet)
	_, stdout, _ := command(t, "wallet", "open-account", "--wallet", wallet, "--broker", broker.origin(), "--json")
	var account payword.Account
	if err := json.Unmarshal([]byte(stdout), &account); err != nil || account.Account != "account-1" {
		t.Errorf("open-account: %v in %s", err, stdout)
	}
	_, _, stderr := command(t, "pay", gate.origin()+"/a", "--wallet", wallet, "--json")
	var paid struct {
		Status   int
		Paid     string
		Receipts []client.Receipt
	}
	if err := json.Unmarshal([]byte(stderr), &paid); err != nil || paid.Status != 200 || paid.Paid != "1000" || len(paid.Receipts) != 1 {
		t.Errorf("pay: %v in %s", err, stderr)
	}
	_, stdout, _ = command(t, "wallet", "show", "--wallet", wallet, "--json")
	var summary client.Summary
	if err := json.Unmarshal([]byte(stdout), &summary); err != nil || summary.Spent != 1000 || len(summary.Sites) != 1 {
		t.Errorf("show: %v in %s", err, stdout)
	}
}

func TestCommandsWithAPassphrase(t *testing.T) {
	directory := t.TempDir()
	wallet, secret := filepath.Join(directory, "wallet.json"), filepath.Join(directory, "passphrase")
	if err := os.WriteFile(secret, []byte("correct horse\nsecond line"), 0o600); err != nil {
		t.Fatal(err)
	}
	made, err := client.CreateWallet(client.CheapPassphrase(client.WalletConfig{Path: wallet, Passphrase: []byte("correct horse")}))
	if err != nil {
		t.Fatal(err)
	}
	if err := made.Close(); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := command(t, "wallet", "show", "--wallet", wallet, "--passphrase-file", secret); status != 0 {
		t.Errorf("with the passphrase: %s", stderr)
	}
	if status, _, stderr := command(t, "wallet", "show", "--wallet", wallet); status != 1 || !strings.Contains(stderr, "--passphrase-file") {
		t.Errorf("without: status %d, %s", status, stderr)
	}
	if err := os.WriteFile(secret, []byte("battery staple"), 0o600); err != nil {
		t.Fatal(err)
	}
	status, _, stderr := command(t, "wallet", "show", "--wallet", wallet, "--passphrase-file", secret)
	if status != 1 || !strings.Contains(stderr, "missing or wrong") || strings.Contains(stderr, "battery") {
		t.Errorf("with a wrong one: status %d, %s", status, stderr)
	}
}
