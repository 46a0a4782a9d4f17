package broker_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/internal/dbtest"
)

// run calls the command and returns what it printed.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errors bytes.Buffer
	code = broker.Main(t.Context(), args, strings.NewReader(""), &out, &errors)
	return code, out.String(), errors.String()
}

func TestCommandUsage(t *testing.T) {
	directory := t.TempDir()
	key, database := filepath.Join(directory, "broker.key"), filepath.Join(directory, "broker.db")
	if code, _, stderr := run(t, "key", "--out", key); code != 0 {
		t.Fatal(stderr)
	}
	token := filepath.Join(directory, "token")
	if err := os.WriteFile(token, []byte("short\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	otherSecret := filepath.Join(directory, "secret")
	if err := os.WriteFile(otherSecret, []byte("sk_live_0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	serve := func(more ...string) []string {
		return append([]string{"serve", "--db", database, "--origin", issuer, "--key", key}, more...)
	}
	cases := []struct {
		name string
		args []string
		want string // in the sentence
	}{
		{"nothing", nil, "payword broker serve"},
		{"no such command", []string{"mint"}, `"mint"`},
		{"no such flag", serve("--tls"), "-tls"},
		{"a word", serve("now"), `"now"`},
		{"no database", []string{"serve", "--origin", issuer, "--key", key}, "--db is missing"},
		{"no origin", []string{"serve", "--db", database, "--key", key}, "--origin is missing"},
		{"no key", []string{"serve", "--db", database, "--origin", issuer}, "--key is missing"},
		{"an origin with a path", serve("--origin", issuer+"/"), "--origin"},
		{"plain HTTP", serve("--origin", "http://broker.example"), "--origin"},
		{"no currency", serve("--currency", "dollars"), "--currency"},
		{"no limit", serve("--limit", "0"), "--limit"},
		{"no grace", serve("--grace", "-1h"), "--grace"},
		{"no delay", serve("--destination-delay", "0s"), "--destination-delay"},
		{"no interval", serve("--pull-interval", "0s"), "--pull-interval"},
		{"days", serve("--grace", "7d"), "-grace: want a whole number, and for a time its unit, such as 168h"},
		{"no network", serve("--trusted-proxy", "127.0.0.1"), "want a network such as 127.0.0.1/32"},
		{"another secret than Stripe's", serve("--stripe-secret", otherSecret), "begins with whsec_"},
		{"no such state", []string{"vendor", "--db", database, "--state", "closed"}, "want open or blocked"},
		{"no vendor", []string{"vendor", "--db", database, "--state", "blocked", "--reason", "x"}, "--vendor is missing"},
		{"no reason", []string{"vendor", "--db", database, "--state", "blocked", "--vendor", issuer}, "--reason is missing"},
		{"no such key", serve("--key", key+"x"), "--key"},
		{"no such other key", serve("--other-key", key+"x"), "--other-key"},
		{"no token", serve("--admin-token", token+"x"), "--admin-token"},
		{"a short token", serve("--admin-token", token), "at least 16"},
		{"a key that is there", []string{"key", "--out", key}, "never overwritten"},
		{"a key without a name", []string{"key"}, "want --out FILE"},
		{"funding nothing", []string{"fund", "--db", database, "--account", "a", "--amount", "0", "--id", "x"}, "--amount"},
		{"funding a word", []string{"fund", "--db", database, "--account", "a", "--amount", "ten", "--id", "x"}, "--amount"},
		{"a funding id with a space", []string{"fund", "--db", database, "--account", "a", "--amount", "1", "--id", "a b"}, "--id"},
		{"funding without a database", []string{"fund", "--db", database, "--account", "a", "--amount", "1", "--id", "x"}, "no broker's database"},
		{"accounts without a database", []string{"account", "--db", database}, "no broker's database"},
		{"a key for a database", []string{"check", "--db", key}, "no broker's database"},
		{"an audit of a day that is none", []string{"audit", "--db", database, "--day", "yesterday"}, "--day"},
		{"an audit of nothing", []string{"audit", "--db", database, "--limit", "0"}, "--limit"},
		{"credit of nobody", []string{"account", "--db", database, "--credit", "1"}, "--account is missing"},
		{"a negative age", []string{"account", "--db", database, "--account", "a", "--age", "-1"}, "--age"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := run(t, c.args...)
			if code != 2 || !strings.Contains(stderr, c.want) || stdout != "" {
				t.Errorf("got exit %d, %q on stdout, %q on stderr; want 2 and %q on stderr", code, stdout, stderr, c.want)
			}
		})
	}
	for _, args := range [][]string{{"help"}, {"--help"}, {"serve", "-h"}, {"fund", "--help"}} {
		if code, stdout, stderr := run(t, args...); code != 0 || stdout == "" || stderr != "" {
			t.Errorf("%v: got exit %d, %d bytes on stdout, %q on stderr", args, code, len(stdout), stderr)
		}
	}
	if _, err := os.Stat(database); err == nil {
		t.Error("a command with a mistake made the database")
	}
}

// The commands work beside a broker that serves.
func TestCommands(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(0), b.newShop()
	expect := func(want int, contains string, args ...string) {
		t.Helper()
		code, stdout, stderr := run(t, args...)
		if code != want || !strings.Contains(stdout+stderr, contains) {
			t.Errorf("%v: got exit %d, %q, %q; want %d and %q", args, code, stdout, stderr, want, contains)
		}
	}
	database := b.config.Database
	fund := []string{"fund", "--db", database, "--account", u.account, "--id", "bank-1", "--amount"}
	expect(0, "2.50", append(fund, "2.50")...)
	expect(0, "2.50", append(fund, "2.5")...)
	expect(1, "booked before", append(fund, "3")...)
	expect(1, "no such account", "fund", "--db", database, "--account", "x", "--id", "y", "--amount", "1")
	expect(0, "7.50", "account", "--db", database, "--account", u.account, "--credit", "5", "--age", "21", "--holder", "customer 1")
	u.wantBalance(750*cent, 0)
	if c, _ := u.certificate(); c.Age != 21 {
		t.Errorf("got age %d, want 21", c.Age)
	}
	u.commit(s.origin, 600*cent).mustReserve(600 * cent)
	expect(1, "are drawn", "account", "--db", database, "--account", u.account, "--credit", "1")
	expect(0, u.account, "account", "--db", database)
	expect(0, "6.00", "account", "--db", database, "--account", u.account)
	expect(1, "no such account", "account", "--db", database, "--account", "x", "--age", "3")
	expect(0, "the books agree", "check", "--db", database)
}

// serve answers until it is told to stop, and then ends well.
func TestServe(t *testing.T) {
	directory := t.TempDir()
	key, other, old := filepath.Join(directory, "broker.key"), filepath.Join(directory, "next.key"), filepath.Join(directory, "old.pem")
	for _, path := range []string{key, other} {
		if code, _, stderr := run(t, "key", "--out", path); code != 0 {
			t.Fatal(stderr)
		}
	}
	encoded, err := x509.MarshalPKIXPublicKey(newKey().Public())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(old, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: encoded}), 0o644); err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(directory, "token")
	if err := os.WriteFile(token, []byte(adminToken[2:7]+strings.Repeat("x", 16)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	reader, writer := io.Pipe()
	var stderr bytes.Buffer
	ended := make(chan int)
	go func() {
		code := broker.Main(ctx, []string{"serve", "--db", dbtest.New(t), "--origin", issuer,
			"--key", key, "--other-key", other, "--other-key", old, "--admin-token", token, "--listen", "127.0.0.1:0"},
			strings.NewReader(""), writer, &stderr)
		_ = writer.Close()
		ended <- code
	}()
	line, err := bufio.NewReader(reader).ReadString('\n')
	if err != nil {
		t.Fatalf("it ended with %d: %s", <-ended, &stderr)
	}
	address := "http://" + strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:])
	response, err := http.Get(address + payword.PathBrokerKeys)
	if err != nil {
		t.Fatal(err)
	}
	set, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if keys, err := payword.ParseJWKS(set); err != nil || len(keys) != 3 {
		t.Errorf("got keys %s (%v), want three", set, err)
	}
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("it ended with %d: %s", code, &stderr)
	}
}
