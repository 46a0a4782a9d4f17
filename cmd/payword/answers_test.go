package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

// fetched is what the command pay is to make of one page.
type fetched struct {
	target string
	status int    // of the command
	says   string // on standard error
}

// TestPayMeetsEveryKindOfAnswer runs the command on sites of all kinds: it pays
// what is to be paid, once, and says what it paid or why it did not.
func TestPayMeetsEveryKindOfAnswer(t *testing.T) {
	const paid, free = "Paid 0.0001 USD", "Paid nothing: the page is free."
	const before = "or was paid for before."
	tests := []struct {
		name, global, options string // with a slash before, a matcher
		pages                 []fetched
		spent                 money.Amount
	}{
		{"a pass", "", "pass 24h", []fetched{{"/a", 0, paid}, {"/b", 0, before}, {"/a", 0, before}}, 100},
		{"a quota", "", "free_quota 2", []fetched{{"/a", 0, free}, {"/b", 0, free}, {"/c", 0, paid}, {"/d", 0, paid}}, 200},
		{"two intents", "", "intent charge session", []fetched{{"/a", 0, paid}, {"/b", 0, paid}}, 200},
		{"charges alone", "", "intent charge", []fetched{{"/a", 1, "Paid nothing.\n"}, {"/a", 1, "402 Payment Required"}}, 0},
		{"over the budget", "", "price 1 USD /dear", []fetched{{"/dear", 1, "budget"}, {"/a", 0, paid}, {"/dear", 1, "budget"}}, 100},
		{"a ceiling over the budget", "", "meter {\nunit token\nfrom usage usage.total_tokens\nceiling 0.02\n}", []fetched{{"/chat", 1, "budget"}}, 0},
		{"who is blocked", "block {\naddress 127.0.0.1\n}", "", []fetched{{"/a", 1, "403 Forbidden"}, {"/a", 1, "Paid nothing.\n"}}, 0},
		{"odd paths", "", "/paid/*", []fetched{{"/paid/a", 0, paid}, {"/free", 0, before}, {"/x%5c..%5cpaid%5cb", 1, "400 Bad Request"}, {"/paid//c", 0, paid}}, 200},
		{"an error", "", "", []fetched{{"/a", 0, paid}, {"/missing", 1, "404 Not Found"}, {"/b", 0, paid}}, 200},
	}
	upstream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/missing" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprintf(w, "content of %s", r.URL.Path)
	})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			brokerOrigin := startBroker(t, testToken)
			matcher, options := "", test.options
			if strings.HasPrefix(options, "/") {
				matcher, options = options, ""
			}
			origin := startSite(t, brokerOrigin, test.global, matcher, options, upstream)
			path := filepath.Join(t.TempDir(), "wallet.json")
			openWallet(t, path, brokerOrigin, testToken)
			for _, page := range test.pages {
				var stdout, stderr bytes.Buffer
				status := client.Main(t.Context(), []string{"pay", origin + page.target, "--wallet", path, "--max", "0.01"}, nil, &stdout, &stderr)
				if status != page.status || !strings.Contains(stderr.String(), page.says) || (status == 0) != (stdout.String() == "content of "+page.target) {
					t.Errorf("%s: status %d, want %d, and %q in:\n%s\n%s", page.target, status, page.status, page.says, stderr.String(), stdout.String())
				}
			}
			wallet, err := client.OpenWallet(client.WalletConfig{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			defer wallet.Close()
			summary := wallet.Summary()
			if summary.Spent != test.spent || summary.Released > max(test.spent, 2*100) {
				t.Errorf("the wallet says that %s is spent of %s released, want %s", summary.Spent, summary.Released, test.spent)
			}
		})
	}
}

// TestClientMeetsRefusals is refused what it pays for: by a block that comes
// while it pays, because its own header is a second payment, and where one URL
// has two prices.
func TestClientMeetsRefusals(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "blocked")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	brokerOrigin := startBroker(t, testToken)
	origin := startSite(t, brokerOrigin, "block {\nfile "+blocked+"\n}", "", "price 0.0005 USD {\nheader X-Format full\n}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "content of %s", r.URL.Path)
	}))
	path := filepath.Join(t.TempDir(), "wallet.json")
	openWallet(t, path, brokerOrigin, testToken)
	wallet, err := client.OpenWallet(client.WalletConfig{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer wallet.Close()
	transport := &client.Transport{Wallet: wallet, Budget: client.Budget{PerRequest: money.Unit, PerSite: money.Unit, PerDay: money.Unit, Total: money.Unit}}
	get := func(target string, header ...string) (*http.Response, error) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, origin+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(header) > 0 {
			request.Header.Set(header[0], header[1])
		}
		response, err := transport.RoundTrip(request)
		if err == nil {
			response.Body.Close()
		}
		return response, err
	}
	spent := money.Amount(0)
	for _, page := range []struct {
		target, format string
		price          money.Amount
	}{{"/a", "", 100}, {"/a", "full", 500}, {"/b", "full", 500}, {"/b", "", 100}, {"/c", "", 100}} {
		response, err := get(page.target, "X-Format", page.format)
		spent += page.price
		if err != nil || response.StatusCode != http.StatusOK || wallet.Summary().Spent != spent {
			t.Fatalf("%s %q: %v, %v, spent %s, want %s", page.target, page.format, response, err, wallet.Summary().Spent, spent)
		}
	}
	var refused *client.RefusedError
	if _, err := get("/d", "Authorization", "Payment e30"); !errors.As(err, &refused) || refused.Reason != payword.SeveralPayments || refused.Status != http.StatusBadRequest {
		t.Errorf("with a payment of its own: %v", err)
	}
	if err := os.WriteFile(blocked, []byte("address 127.0.0.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for number := 0; ; number++ { // until the file was read
		<-time.After(10 * time.Millisecond)
		if _, err = get(fmt.Sprintf("/e/%d", number)); err != nil {
			break
		}
		spent += 100
	}
	if !errors.As(err, &refused) || refused.Reason != payword.Blocked || refused.Status != http.StatusForbidden || !strings.Contains(err.Error(), "blocked") {
		t.Errorf("who is blocked: %v", err)
	}
	if got := wallet.Summary().Spent; got != spent {
		t.Errorf("refusals cost %s", got-spent)
	}
}
