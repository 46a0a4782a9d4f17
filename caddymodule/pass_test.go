package caddymodule_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/caddymodule"
	"github.com/paywordhq/payword/money"
)

// Thirty first requests at once buy one pass, and the rest is free.
func TestParallelRequestsBuyOnePass(t *testing.T) {
	s := site{payword: "reread off\npass 24h", dir: t.TempDir(), vendor: freeOrigin(t)}
	gate := startGate(t, s)
	p := newPayer(t, wish{name: "pass", vendor: gate.vendor})
	var wait sync.WaitGroup
	for number := uint64(1); number <= 30; number++ {
		wait.Go(func() {
			response, body := gate.do(t, http.MethodGet, fmt.Sprintf("/%d", number), p.opening(p.payment(1, number)))
			if response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Payword-Pass"), "until=") {
				t.Errorf("number %d: %s, Payword-Pass %q: %s", number, response.Status, response.Header.Get("Payword-Pass"), body)
			}
		})
	}
	wait.Wait()
	response, _ := gate.mustPay(t, "/another", p.header(p.payment(1, 31)))
	if got := statusOf(t, response); got.Spent != testPrice || got.Price != 0 {
		t.Errorf("spent %d, and the last one cost %d; want %d and 0", got.Spent, got.Price, testPrice)
	}
	until := response.Header.Get("Payword-Pass")

	// The pass is on disk.
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := gate.load(t, configOf(t, s)); err != nil {
		t.Fatal(err)
	}
	response, _ = gate.mustPay(t, "/more", p.header(p.payment(1, 32)))
	if got := statusOf(t, response); got.Spent != testPrice || response.Header.Get("Payword-Pass") != until {
		t.Errorf("after a restart: spent %d, Payword-Pass %q, want %d and %q", got.Spent, response.Header.Get("Payword-Pass"), testPrice, until)
	}
}

func TestPassIsTakenBackWithAnError(t *testing.T) {
	gate := startGate(t, site{payword: "reread off\npass 24h", rest: "respond /missing 404\nrespond content"})
	p := newPayer(t, wish{name: "pass error", vendor: gate.vendor})
	response, _ := gate.do(t, http.MethodGet, "/missing", p.opening(p.payment(1, 1)))
	if got := statusOf(t, response); response.StatusCode != http.StatusNotFound || got.Spent != 0 || response.Header.Get("Payword-Pass") != "" {
		t.Errorf("%s, spent %d, Payword-Pass %q, want 404, 0 and none", response.Status, got.Spent, response.Header.Get("Payword-Pass"))
	}
	for number := uint64(2); number <= 3; number++ {
		response, _ = gate.mustPay(t, fmt.Sprintf("/%d", number), p.header(p.payment(1, number)))
		if got := statusOf(t, response); got.Spent != testPrice {
			t.Errorf("number %d: spent %d, want %d", number, got.Spent, testPrice)
		}
	}
}

func TestFareCapAndScopes(t *testing.T) {
	gate := startGate(t, site{payword: "reread off\npass 1h 0.003\nprice 0.002 USD /dear"})
	p := newPayer(t, wish{name: "capped", vendor: gate.vendor})
	for k, want := range []money.Amount{1000, 3000, 3000, 3000} {
		payment := p.payment(3, uint64(k+1))
		payment.Max = 2 * testPrice
		target := "/dear"
		if k == 0 {
			target = "/a"
		}
		response, _ := gate.mustPay(t, target, p.opening(payment))
		if got := statusOf(t, response); got.Spent != want {
			t.Errorf("request %d: spent %d, want %d", k+1, got.Spent, want)
		}
	}
}

func TestDiscounts(t *testing.T) {
	gate := startGate(t, site{payword: "reread off\nprice 0.000999 USD\ndiscount 0.002 10\ndiscount 0.004 50"})
	p := newPayer(t, wish{name: "regular", vendor: gate.vendor})
	want := money.Amount(0)
	for number := uint64(1); number <= 8; number++ {
		payment := p.payment(10, number)
		price := money.Amount(999)
		switch {
		case want >= 4000:
			price = 499 // 499.5, in the payer's favour
			payment.Max = 499
		case want >= 2000:
			price = 899
		}
		want += price
		response, _ := gate.mustPay(t, fmt.Sprintf("/%d", number), p.opening(payment))
		if got := statusOf(t, response); got.Price != price || got.Spent != want {
			t.Errorf("request %d costs %d, %d in all, want %d and %d", number, got.Price, got.Spent, price, want)
		}
	}
	if got := gate.priceOf(t, http.MethodGet, "/a", nil); got != 999 {
		t.Errorf("the challenge names %d, want the full price", got)
	}
}

func TestFreeQuota(t *testing.T) {
	s := site{payword: "free_quota 3\nreread off", dir: t.TempDir(), vendor: freeOrigin(t), rest: "respond /missing 404\nheader Cache-Control public\nrespond content"}
	gate := startGate(t, s)
	p := newPayer(t, wish{name: "quota", vendor: gate.vendor})
	get := func(target string, headers map[string]string, wantStatus int, wantLeft string) *http.Response {
		t.Helper()
		response, _ := gate.do(t, http.MethodGet, target, headers)
		if got := response.Header.Get("Payword-Free-Left"); response.StatusCode != wantStatus || got != wantLeft {
			t.Errorf("GET %s: %s, %q left, want %d and %q", target, response.Status, got, wantStatus, wantLeft)
		}
		return response
	}
	response := get("/1", nil, 200, "2")
	if got := response.Header.Get("Cache-Control"); got != "private, no-store" {
		t.Errorf("Cache-Control %q, want private, no-store", got)
	}
	get("/missing", nil, 404, "2")
	if response, _ := gate.do(t, http.MethodHead, "/2", nil); response.StatusCode != http.StatusOK {
		t.Errorf("HEAD: %s, want 200", response.Status)
	}
	get("/robots.txt", nil, 200, "")
	response = get("/2", p.opening(p.payment(1, 1)), 200, "1")
	if got := statusOf(t, response); got.Price != 0 || got.Spent != 0 || got.Accepted != testPrice {
		t.Errorf("a payment while a quota is left: %+v, want a price of 0", got)
	}
	if err := gate.load(t, configOf(t, s)); err != nil {
		t.Fatal(err)
	}
	get("/3", nil, 200, "0")
	get("/4", nil, 402, "0")
	response = get("/4", p.header(p.payment(1, 2)), 200, "0")
	if got := statusOf(t, response); got.Spent != testPrice {
		t.Errorf("spent %d, want %d", got.Spent, testPrice)
	}
	if response, _ := gate.do(t, http.MethodHead, "/5", nil); response.StatusCode != http.StatusPaymentRequired {
		t.Errorf("HEAD without a quota: %s, want 402", response.Status)
	}
}

func TestParallelRequestsKeepWithinTheQuota(t *testing.T) {
	gate := startGate(t, site{payword: "free_quota 7"})
	var mutex sync.Mutex
	var wait sync.WaitGroup
	served := 0
	for k := range 40 {
		wait.Go(func() {
			response, _ := gate.do(t, http.MethodGet, fmt.Sprintf("/%d", k), nil)
			mutex.Lock()
			defer mutex.Unlock()
			if response.StatusCode == http.StatusOK {
				served++
			}
		})
	}
	wait.Wait()
	if served != 7 {
		t.Errorf("%d requests were free, want 7", served)
	}
}

func TestLogOnly(t *testing.T) {
	gate := startGate(t, site{payword: "mode log_only\nprice 0.02 USD /dear\nprice {header.X-Cost} USD /cost", rest: "respond /missing 404\nrespond content"})
	for _, request := range []struct {
		method, target string
		headers        map[string]string
		want           int
	}{
		{"GET", "/a", nil, 200},
		{"GET", "/dear", nil, 200},
		{"GET", "/dear", nil, 200},
		{"POST", "/dear", nil, 200},
		{"HEAD", "/dear", nil, 200},
		{"GET", "/missing", nil, 404},
		{"GET", "/robots.txt", nil, 200},
		{"GET", "/cost", nil, 200},
		{"GET", "/a", map[string]string{"Sec-Purpose": "prefetch"}, 200},
		{"GET", "/a", map[string]string{payword.HeaderPayword: "nonsense"}, 200},
	} {
		if response, _ := gate.do(t, request.method, request.target, request.headers); response.StatusCode != request.want {
			t.Errorf("%s %s: %s, want %d", request.method, request.target, response.Status, request.want)
		}
	}
	got := caddymodule.UnearnedOf(filepath.Join(gate.dir, "store"), gate.vendor)
	want := map[string]money.Amount{"price": 2000, "rule 1": 60_000}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("would have earned %v, want %v", got, want)
	}
}

// TestPassesOfDirectivesWithoutScope wants a configuration refused in which the
// cheaper pass would open what the dearer one is for.
func TestPassesOfDirectivesWithoutScope(t *testing.T) {
	tests := []struct {
		name, first, second string
		refused             bool
	}{
		{"other prices", "pass 24h", "price 1 USD\npass 24h", true},
		{"other amounts", "pass 24h 0.01", "price 0.001 USD\npass 24h 5", true},
		{"other times", "pass 1h", "price 0.001 USD\npass 24h", false},
		{"the same", "pass 24h 0.01", "price 0.001 USD\npass 24h 0.01", false},
		{"one has none", "pass 24h", "price 1 USD", false},
		{"scopes", "pass 24h\nscope one", "price 1 USD\npass 24h\nscope two", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			vendor := freeOrigin(t)
			config := configOf(t, site{
				vendor: vendor, dir: t.TempDir(), payword: test.first,
				rest: "handle /b/* {\npayword {\nvendor " + vendor + "\n" + test.second + "\n}\nrespond content\n}",
			})
			t.Cleanup(func() { caddy.Stop() })
			err := caddy.Load(config, true)
			if refused := err != nil && strings.Contains(err.Error(), "scope"); refused != test.refused || err != nil && !test.refused {
				t.Errorf("loading: %v, want it refused: %v", err, test.refused)
			}
		})
	}
}
