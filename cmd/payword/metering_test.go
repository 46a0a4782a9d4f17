package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

// startBroker runs a broker in this process and returns its origin.
func startBroker(t *testing.T, adminToken string) string {
	t.Helper()
	_, origin := runBroker(t, adminToken)
	return origin
}

// runBroker is the same and returns the broker, too.
func runBroker(t *testing.T, adminToken string) (*broker.Broker, string) {
	t.Helper()
	key, err := broker.CreateKey(filepath.Join(t.TempDir(), "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	origin := "http://" + server.Listener.Addr().String()
	b, err := broker.New(t.Context(), broker.Config{
		Issuer: origin, Currency: "usd-micro", Database: filepath.Join(t.TempDir(), "broker.db"),
		Signer: key, AdminToken: adminToken, AllowLoopbackVendors: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = b.Handler()
	server.Start()
	t.Cleanup(func() {
		server.Close()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b, origin
}

// startMeteredSite runs Caddy in this process, with a meter before an upstream,
// and returns the site's origin.
func startMeteredSite(t *testing.T, brokerOrigin, meter string, upstream http.Handler) string {
	t.Helper()
	return startSite(t, brokerOrigin, "", "", "meter {\n"+meter+"\n}", upstream)
}

// startSite is the same with options of the gate, global and of the directive, and
// its matcher.
func startSite(t *testing.T, brokerOrigin, global, matcher, options string, upstream http.Handler) string {
	t.Helper()
	server := httptest.NewServer(upstream)
	t.Cleanup(server.Close)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	origin := "http://" + listener.Addr().String()
	listener.Close()
	interval := "redeem_interval 0"
	if strings.Contains(global, "redeem_interval ") {
		interval = ""
	}
	text := fmt.Sprintf("{\nadmin off\npersist_config off\nauto_https off\ndefault_bind 127.0.0.1\nlog {\nlevel ERROR\nformat payword\n}\n"+
		"payword {\nbroker %s\nstore %s\n%s\n%s\n}\n}\n%s {\nencode gzip\npayword %s %s 0.0001 USD {\n%s\n}\nreverse_proxy %s\n}\n",
		brokerOrigin, filepath.Join(t.TempDir(), "gate"), interval, global, origin, matcher, origin, options, server.Listener.Addr())
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err == nil {
		err = caddy.Load(adapted, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return origin
}

// openWallet makes a wallet in a file, with an account that holds money.
func openWallet(t *testing.T, path, brokerOrigin, adminToken string) {
	t.Helper()
	wallet, err := client.CreateWallet(client.WalletConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer wallet.Close()
	account, err := wallet.OpenAccount(t.Context(), brokerOrigin)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]string{"id": "test-" + account.Account, "account": account.Account, "amount": "5000000", "currency": "usd-micro"})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, brokerOrigin+"/v1/admin/fundings", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+adminToken)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode/100 != 2 {
		t.Fatalf("funding: %s", response.Status)
	}
}

// answering answers as its path says.
func answering(w http.ResponseWriter, r *http.Request) {
	flush := w.(http.Flusher).Flush
	switch r.URL.Path {
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		for k := range 25 {
			fmt.Fprintf(w, "data: %d\n\n", k)
			flush()
		}
	case "/tokens":
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: 24\n\n")
		flush()
		io.WriteString(w, "data: {\"usage\":{\"total_tokens\":7}}\n\n")
	case "/body":
		w.Header().Set("Content-Type", "application/octet-stream")
		for range 25 {
			io.WriteString(w, strings.Repeat("x", 1000))
			flush()
		}
	case "/file":
		io.WriteString(w, strings.Repeat("x", 2500))
	case "/chat":
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"usage":{"total_tokens":7}}`)
	}
}

const testToken = "a token for administration"

// TestClientPaysWhatIsMetered pays streams to their end, inside a budget, and
// keeps the credit of what cost less.
func TestClientPaysWhatIsMetered(t *testing.T) {
	tests := []struct {
		name, meter, path, content string
		spent                      money.Amount
		budget                     money.Amount // per request
		refused                    bool
	}{
		{"events", "unit event\nslice 4\ntimeout 5s", "/events", "data: 24\n\n", 2500, money.Unit, false},
		{"events over the budget", "unit event\nslice 4\ntimeout 1s", "/events", "", 2000, 2000, true},
		{"a long body", "unit kilobyte\nslice 10\ntimeout 5s", "/body", strings.Repeat("x", 25000), 2500, money.Unit, false},
		{"a file", "unit kilobyte\nslice 1", "/file", strings.Repeat("x", 2500), 300, money.Unit, false},
		{"tokens", "unit token\nfrom usage usage.total_tokens\nceiling 0.01", "/chat", "total_tokens", 700, money.Unit, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			brokerOrigin := startBroker(t, testToken)
			origin := startMeteredSite(t, brokerOrigin, test.meter, http.HandlerFunc(answering))
			path := filepath.Join(t.TempDir(), "wallet.json")
			openWallet(t, path, brokerOrigin, testToken)
			wallet, err := client.OpenWallet(client.WalletConfig{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			defer wallet.Close()
			payer := &http.Client{Timeout: 20 * time.Second, Transport: &client.Transport{Wallet: wallet, Budget: client.Budget{
				PerRequest: test.budget, PerSite: money.Unit, PerDay: money.Unit, Total: money.Unit,
			}}}
			response, err := payer.Get(origin + test.path)
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(response.Body)
			response.Body.Close()
			var over *client.BudgetError
			if errors.As(err, &over) != test.refused || !strings.Contains(string(content), test.content) {
				t.Errorf("%s: %v, %d bytes", response.Status, err, len(content))
			}
			released := wallet.Summary().Released
			if released < test.spent || released > max(test.spent, 10_000)+1000 || released > test.budget {
				t.Errorf("released %s for what cost %s", released, test.spent)
			}
			wantSpent(t, origin, wallet, test.spent)
		})
	}
}

// wantSpent asks the gate, by a request that costs nothing, what was spent.
func wantSpent(t *testing.T, origin string, wallet *client.Wallet, want money.Amount) {
	t.Helper()
	payer := &client.Transport{Wallet: wallet, Budget: client.Budget{PerRequest: money.Unit, PerSite: money.Unit, PerDay: money.Unit, Total: money.Unit}}
	last := ""
	for range 300 { // it notices at its own pace
		request, err := http.NewRequestWithContext(t.Context(), http.MethodHead, origin+"/nothing", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := payer.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if strings.Contains(response.Header.Get("Payword-State"), fmt.Sprintf("spent=%s,", want)) {
			return
		}
		last = response.Header.Get("Payword-State")
		<-time.After(10 * time.Millisecond)
	}
	t.Errorf("the gate says %q, want spent=%s", last, want)
}

// TestPayFollowsAStream runs the command on event streams. It tells what they cost
// in the end, which is less than the ceiling, or than the slices that were charged.
func TestPayFollowsAStream(t *testing.T) {
	tests := []struct {
		name, meter, path, paid string
		spent                   money.Amount
	}{
		{"events", "unit event\nslice 4\ntimeout 5s", "/events", "Paid 0.0025 USD to ", 2500},
		{"tokens", "unit token\nfrom usage usage.total_tokens\nceiling 0.01", "/tokens", "Paid 0.0007 USD to ", 700},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			brokerOrigin := startBroker(t, testToken)
			origin := startMeteredSite(t, brokerOrigin, test.meter, http.HandlerFunc(answering))
			path := filepath.Join(t.TempDir(), "wallet.json")
			openWallet(t, path, brokerOrigin, testToken)
			var stdout, stderr bytes.Buffer
			status := client.Main(context.Background(), []string{"pay", origin + test.path, "--wallet", path, "--max", "0.01"}, nil, &stdout, &stderr)
			if status != 0 || !strings.Contains(stdout.String(), "data: 24\n") {
				t.Errorf("status %d: %s\n%s", status, stderr.String(), stdout.String())
			}
			if got := stderr.String(); got != test.paid+origin+".\n" {
				t.Errorf("it says %q, want %q", got, test.paid)
			}
			wallet, err := client.OpenWallet(client.WalletConfig{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			defer wallet.Close()
			if got := wallet.Summary().Spent; got != test.spent {
				t.Errorf("the wallet has spent %s, want %s", got, test.spent)
			}
		})
	}
}
