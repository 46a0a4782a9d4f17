package caddymodule_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/caddymodule"
	"github.com/paywordhq/payword/money"
)

// writeMap writes a price map under another name first, as editors do.
func writeMap(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func TestPriceMap(t *testing.T) {
	file := filepath.Join(t.TempDir(), "prices.txt")
	writeMap(t, file, `# what things cost
/a            0.002
/a/*          0.003   # everything below
/a/long/*     0.004
/About        free
/a/open/*     free
/ruled        0.009
`)
	gate := startGate(t, site{payword: "price_map " + file + " 10ms\nprice 0.05 USD /ruled"})
	for target, want := range map[string]money.Amount{
		"/": 1000, "/a": 2000, "/A": 2000, "/a/": 3000, "/a/b": 3000, "/a/long/x": 4000, "/a/longer": 3000, "/ab": 1000,
		"/about": 0, "/a/open/x": 0, "/x/../a": 2000, "//a//b": 3000, "/%61": 2000, "/a/b?x=/about": 3000,
		"/ruled": 50_000,
	} {
		if got := gate.priceOf(t, http.MethodGet, target, nil); got != want {
			t.Errorf("GET %s costs %d, want %d", target, got, want)
		}
	}
	for _, target := range []string{"/x/../about", "//about", "/%61bout", "/about%00", "/a/open//x", "/a/open/..;/x", "/a/open/%2e%2e/secret"} {
		if status := rawGet(t, gate, target); status == http.StatusOK {
			t.Errorf("GET %s was served free", target)
		}
	}
}

// waitForPrice asks until a page costs what it should.
func waitForPrice(t *testing.T, gate *testGate, target string, want money.Amount) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for gate.priceOf(t, http.MethodGet, target, nil) != want {
		if time.Now().After(deadline) {
			t.Fatalf("GET %s does not come to cost %d", target, want)
		}
	}
}

func TestPriceMapIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "prices.txt")
	writeMap(t, file, "/a 0.002\n")
	gate := startGate(t, site{payword: "reread off\nprice_map " + file + " 10ms"})
	p := newPayer(t, wish{name: "map", vendor: gate.vendor})
	waitForPrice(t, gate, "/a", 2000)
	quoted := gate.challengeFor(t, "/a", nil)
	writeMap(t, file, "/a 0.003\n") // the same size
	waitForPrice(t, gate, "/a", 3000)
	// The old quote is honoured, and nothing else is sold at the old price.
	headers := p.credential(t, quoted, p.payment(2, 1))
	payment := p.payment(3, 2)
	payment.Max = 2000
	response, _ := gate.do(t, http.MethodGet, "/a", p.opening(payment))
	if got := statusOf(t, response); response.StatusCode != http.StatusPaymentRequired || got.Price != 3000 {
		t.Errorf("without the quote: %s, a price of %d, want 402 and 3000", response.Status, got.Price)
	}
	gate.mustPay(t, "/b", p.opening(p.payment(3, 3)))
	if response, body := gate.do(t, http.MethodGet, "/a", headers); response.StatusCode != http.StatusPaymentRequired {
		t.Errorf("over the max: %s: %s", response.Status, body)
	}
	payment = p.payment(3, 4)
	payment.Max = 2000
	response, _ = gate.do(t, http.MethodGet, "/a", p.credential(t, quoted, payment))
	if got := statusOf(t, response); response.StatusCode != http.StatusOK || got.Spent != 3000 {
		t.Errorf("with the quote: %s, spent %d, want 200 and 3000", response.Status, got.Spent)
	}
}

func TestBadPriceMapKeepsTheLastGoodOne(t *testing.T) {
	file := filepath.Join(t.TempDir(), "prices.txt")
	writeMap(t, file, "/a 0.002\n/b 0.002\n")
	gate := startGate(t, site{payword: "price_map " + file + " 10ms"})
	writeMap(t, file, "/a 0.003\n/b much\n")
	for range 20 {
		if got := gate.priceOf(t, http.MethodGet, "/a", nil); got != 2000 {
			t.Fatalf("with a bad map the price is %d, want the old one", got)
		}
	}
	writeMap(t, file, "/a 0.004\n")
	waitForPrice(t, gate, "/a", 4000)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if got := gate.priceOf(t, http.MethodGet, "/a", nil); got != 4000 {
			t.Fatalf("without a map the price is %d, want the old one", got)
		}
	}
}

func TestPriceMapErrors(t *testing.T) {
	for _, test := range []struct{ content, want string }{
		{"/a 0.01\n/b\n", "line 2: 1 words"},
		{"/a 0.01 USD", "line 1: 3 words"},
		{"a 0.01", "line 1: path \"a\""},
		{"\n\n/a/*/b 0.01", "line 3: path \"/a/*/b\": a * stands only at the end"},
		{"/a/../b 0.01", "without dots and doubled slashes: \"/b\""},
		{"/a 0.01\n# x\n/A 0.02", "line 3: path \"/A\": it stands in line 1 already"},
		{"/a 0", "more than 0, or free"},
		{"/a -1", "line 1: amount"},
		{"/a 0.0000001", "line 1: amount"},
		{"/" + strings.Repeat("a", 1024) + " 0.01", "at most 1024 bytes"},
		{"/a 0.01\n" + strings.Repeat("x", 70_000), "line 2: longer than"},
	} {
		if err := caddymodule.CheckPriceMap(test.content); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.40q: got %v, want an error with %q", test.content, err, test.want)
		}
	}
	file := filepath.Join(t.TempDir(), "prices.txt")
	writeMap(t, file, "/a 0.01\n/b\n")
	if err := refusedBy(t, "price_map "+file); err == nil || !strings.Contains(err.Error(), "prices.txt: line 2") {
		t.Errorf("got %v, want an error that names file and line", err)
	}
	if err := refusedBy(t, "price_map "+file+".missing"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v, want an error that says the file is missing", err)
	}
}

// A map is read without crashing whatever it holds, and what it takes it finds
// again.
func FuzzPriceMap(f *testing.F) {
	for _, seed := range []string{"/a 0.01\n/b/* free # x\n", "\ufeff/x 1", "/a\t2\r\n", "/* 0.5", "x", "/a 0.01\n/a 0.02"} {
		f.Add(seed, "/b/c")
	}
	f.Fuzz(func(t *testing.T, content, path string) {
		amount, found, err := caddymodule.LookupPriceMap(content, path)
		if err == nil && found && amount < 0 {
			t.Errorf("%q in %q costs %d", path, content, amount)
		}
		if err == nil || len(content) > 60_000 {
			return
		}
		if !strings.HasPrefix(err.Error(), "line ") {
			t.Errorf("%q: the error %q names no line", content, err)
		}
	})
}

func BenchmarkPriceMap(b *testing.B) {
	var content strings.Builder
	for k := range 100_000 {
		fmt.Fprintf(&content, "/articles/%d 0.01\n", k)
	}
	content.WriteString("/articles/* 0.02\n/* 0.03\n")
	lookup, err := caddymodule.PriceMapLookup(content.String())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		lookup("/articles/2026/november/a-page-that-is-not-in-the-map")
	}
}
