package caddymodule_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/paywordhq/payword/caddymodule"
	"github.com/paywordhq/payword/money"
)

func TestRedisConfiguration(t *testing.T) {
	for _, each := range []struct{ redis, want string }{
		{"redis", "at least one address"},
		{"redis 127.0.0.1:1 127.0.0.1:2", "2 addresses of a single server"},
		{"redis 127.0.0.1:1 {\ncluster\nsentinel shop\n}", "cluster and sentinel"},
		{"redis 127.0.0.1:1 {\ncluster\ndatabase 1\n}", "a cluster has 0 alone"},
		{"redis 127.0.0.1:1 {\ndatabase x\n}", "want a number"},
		{"redis 127.0.0.1:1 {\ndatabase -1\n}", "database -1"},
		{"redis 127.0.0.1:1 {\ntimeout 1ms\n}", "timeout"},
		{"redis 127.0.0.1:1 {\nconnections 2\n}", "connections 2"},
		{"redis 127.0.0.1:1 {\nprefix a{b\n}", "prefix"},
		{"redis 127.0.0.1:1 {\npassword a\npassword_file b\n}", "want one of them"},
		{"redis 127.0.0.1:1 {\ntls_client a\n}", "tls_client <certificate file>"},
		{"redis 127.0.0.1:1 {\non_store_failure allow\n}", "want deny, or local"},
		{"redis 127.0.0.1:1 {\non_store_failure local 0 USD\n}", "more than 0"},
		{"redis 127.0.0.1:1 {\non_store_failure local 5\n}", "want a number and a currency"},
		{"redis 127.0.0.1:1 {\nwhatever\n}", "there is no option"},
	} {
		if err := globalError(t, each.redis); err == nil || !strings.Contains(err.Error(), each.want) {
			t.Errorf("%s: got %v; want %q in it", each.redis, err, each.want)
		}
	}
}

// TestRedisGate pays at a gate that keeps its commitments in Redis, which asks
// for a password, and closes: what was spent is known after a restart.
func TestRedisGate(t *testing.T) {
	server := caddymodule.StartRedis(t, "--requirepass", "very secret")
	t.Setenv("PAYWORD_TEST_REDIS_PASSWORD", "very secret")
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("very secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := site{dir: t.TempDir(), vendor: freeOrigin(t), payword: "reread off"}
	p := newPayer(t, wish{name: "redis", vendor: s.vendor})
	for k, password := range []string{"password {env.PAYWORD_TEST_REDIS_PASSWORD}", "password_file " + file} {
		s.global = fmt.Sprintf("redis %s {\n%s\n}", server.Address, password)
		gate := startGate(t, s)
		number := uint64(k + 1)
		response, _ := gate.mustPay(t, "/", p.opening(p.payment(uint32(number), number)))
		if got := statusOf(t, response).Spent; got != money.Amount(number)*testPrice {
			t.Errorf("with %s: spent %s, want %d prices", password, got, number)
		}
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "store", "vendor-key")); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(s.dir, "store", "journal*")); err != nil || len(left) > 0 {
		t.Errorf("the gate made %v in its directory; want the keys alone", left)
	}
}

// TestRedisIsAwayAtStart starts a gate before its Redis: it starts, answers 503,
// and serves once Redis is there.
func TestRedisIsAwayAtStart(t *testing.T) {
	origin := freeOrigin(t)
	address := strings.TrimPrefix(origin, "http://")
	gate := startGate(t, site{global: "redis " + address + " {\ntimeout 50ms\n}"})
	p := newPayer(t, wish{name: "early", vendor: gate.vendor})
	response, _ := gate.do(t, http.MethodGet, "/", p.opening(p.payment(1, 1)))
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
		t.Fatalf("without Redis: got %s, Retry-After %q; want 503 and when to try again", response.Status, response.Header.Get("Retry-After"))
	}
	if response, _ := gate.do(t, http.MethodGet, "/", nil); response.StatusCode != http.StatusPaymentRequired {
		t.Fatalf("a request without a payment: got %s; want 402, which needs no store", response.Status)
	}
	_, port, _ := strings.Cut(address, ":")
	caddymodule.StartRedis(t, "--port", port)
	deadline := time.Now().Add(time.Minute)
	for {
		response, _ := gate.do(t, http.MethodGet, "/", p.opening(p.payment(1, 1)))
		if response.StatusCode == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("Redis is there, and the gate still answers %s", response.Status)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// TestRedisRefusesOtherSecrets starts a gate whose secrets are not those of the
// gate that came first: it says which files to copy, and works with them.
func TestRedisRefusesOtherSecrets(t *testing.T) {
	server := caddymodule.StartRedis(t)
	first := site{dir: t.TempDir(), vendor: freeOrigin(t), global: "redis " + server.Address}
	gate := startGate(t, first)
	p := newPayer(t, wish{name: "first", vendor: gate.vendor})
	gate.mustPay(t, "/", p.opening(p.payment(1, 1)))
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	second := first
	second.dir = t.TempDir()
	log := filepath.Join(t.TempDir(), "log")
	second.options = "log of_this_test {\nformat payword\noutput file " + log + "\nlevel ERROR\n}"
	gate = startGate(t, second)
	response, _ := gate.do(t, http.MethodGet, "/", p.header(p.payment(2, 2)))
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("with other secrets: got %s; want 503", response.Status)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, want := range []string{"copy vendor-key and challenge-secret", filepath.Join(second.dir, "store")} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the log does not say %q:\n%s", want, text)
		}
	}
	copySecrets(t, first.dir, second.dir)
	gate = startGate(t, second)
	if got := statusOf(t, must(gate.mustPay(t, "/", p.header(p.payment(2, 2))))).Spent; got != 2*testPrice {
		t.Errorf("with the same secrets: spent %s; want two prices", got)
	}
}

func must(response *http.Response, _ string) *http.Response { return response }

// copySecrets does what the error says.
func copySecrets(t *testing.T, from, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(to, "store"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"vendor-key", "challenge-secret"} {
		secret, err := os.ReadFile(filepath.Join(from, "store", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, "store", name), secret, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
