package caddymodule_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword/caddymodule"
)

const pricedSite = `{
	auto_https off
	payword {
		broker https://broker.example
	}
}
news.example {
	encode
	redir /old /new
	forward_auth localhost:9091 {
		uri /check
	}
	payword /shop/* https://news.example 0.5 USD
	payword https://news.example 0.001 USD {
		price 0.01 USD /premium/*
		bots 0.02 USD
		free path /css/*
	}
	file_server
}
`

// runPriceLog runs the command in a directory that holds a Caddyfile.
func runPriceLog(t *testing.T, config, log string, arguments ...string) (status int, stdout, stderr string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, problems bytes.Buffer
	arguments = append([]string{"--config", file}, arguments...)
	status = caddymodule.PriceLogMain(t.Context(), arguments, strings.NewReader(log), &out, &problems)
	return status, out.String(), problems.String()
}

func combined(target string, status int, agent string) string {
	return fmt.Sprintf("192.0.2.7 - alice [25/Nov/2026:10:00:00 +0000] \"%s HTTP/2.0\" %d 1234 \"-\" \"%s\"\n", target, status, agent)
}

func jsonEntry(method, target string, status int, headers string) string {
	return fmt.Sprintf(`{"level":"info","ts":1795600000.5,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"192.0.2.9","remote_port":"1","client_ip":"192.0.2.9","proto":"HTTP/2.0","method":"%s","host":"news.example","uri":"%s","headers":{%s},"tls":{"version":772}},"duration":0.001,"size":100,"status":%d}`+"\n",
		method, target, headers, status)
}

func TestPriceLogGolden(t *testing.T) {
	log := combined("GET /a?x=1", 200, firefoxAgent) +
		combined("GET /premium/x", 200, firefoxAgent) +
		combined("GET /shop/1", 200, firefoxAgent) +
		combined("GET /a", 200, gptAgent) +
		combined("GET /a", 304, firefoxAgent) +
		combined("GET /missing", 404, firefoxAgent) +
		combined("HEAD /a", 200, firefoxAgent) +
		combined("GET /robots.txt", 200, gptAgent) +
		combined("GET /css/a.css", 200, firefoxAgent) +
		combined("GET /x/../robots.txt", 200, firefoxAgent) +
		"192.0.2.7 - - [26/Nov/2026:01:00:00 +0200] \"POST /b HTTP/1.1\" 201 -\n" +
		jsonEntry("GET", "/a", 200, `"User-Agent":["`+firefoxAgent+`"]`) +
		jsonEntry("GET", "/a", 200, `"Signature-Agent":["\"https://agent.example\""]`) +
		jsonEntry("GET", "/a", 200, `"Sec-Purpose":["prefetch"]`) +
		jsonEntry("OPTIONS", "/a", 204, `"Origin":["https://o.example"],"Access-Control-Request-Method":["GET"]`) +
		jsonEntry("GET", "/old", 302, "") +
		strings.Replace(jsonEntry("GET", "/a", 200, ""), "news.example", "other.example", 1) +
		"nonsense\n\n" + `{"level":"info","msg":"no request"}` + "\n"
	status, stdout, stderr := runPriceLog(t, pricedSite, log, "--top", "2", "-")
	if status != 0 || stderr != "" {
		t.Fatalf("status %d: %s", status, stderr)
	}
	want := `19 lines from 2026-11-25 to 2026-11-25
2 of them could not be read:
  line 18: want the common or combined log format: address - user [time] "GET /a HTTP/1.1" 200 1234
  line 20: it has no request: not an entry of an access log

would have been earned  requests  earned
  in all                8         0.554 USD

by rule                                   requests  earned
  https://news.example price (0.5 USD)    1         0.50 USD
  https://news.example rule 2 (0.02 USD)  2         0.04 USD
  https://news.example rule 1 (0.01 USD)  1         0.01 USD
  https://news.example price (0.001 USD)  4         0.004 USD

by day        requests  earned
  2026-11-25  8         0.554 USD

people and bots  requests  earned
  people         6         0.514 USD
  bots           2         0.04 USD

top paths              requests  earned
  news.example/shop/1  1         0.50 USD
  news.example/a       4         0.042 USD

free, because           requests
  no payword directive  2
  not delivered         2
  HEAD                  1
  list                  1
  path                  1
  prefetch              1
  preflight             1

At full prices: re-reads, discounts and passes are not taken off, and not all pay who read free.
`
	if stdout != want {
		t.Errorf("got\n%s\nwant\n%s", stdout, want)
	}
}

func TestPriceLogAsJSON(t *testing.T) {
	dir := t.TempDir()
	packed := filepath.Join(dir, "access.log.gz")
	var content bytes.Buffer
	writer := gzip.NewWriter(&content)
	for range 1000 {
		fmt.Fprint(writer, jsonEntry("GET", "/a", 200, ""))
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(packed, content.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(pricedSite, "bots 0.02 USD", "free_quota 10", 1)
	status, stdout, stderr := runPriceLog(t, config, "", "--json", packed, packed)
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	var report struct {
		Lines int64
		Total []struct {
			Requests int64
			Earned   string
			Currency string
		}
		Free []struct {
			Reason   string
			Requests int64
		}
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("%v: %s", err, stdout)
	}
	want := "{2000 [{1990 1990000 USD}] [{quota 10}]}"
	if got := fmt.Sprint(report); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPriceLogOfAMeter(t *testing.T) {
	config := strings.Replace(pricedSite, "bots 0.02 USD", "meter {\nunit kilobyte\n}", 1)
	status, stdout, stderr := runPriceLog(t, config, combined("GET /a", 200, firefoxAgent), "-")
	if status != 0 || !strings.Contains(stdout, "0.002 USD") {
		t.Errorf("1234 bytes at 0.001 a started kilobyte: status %d, %s%s", status, stdout, stderr)
	}
}

func TestPriceLogArguments(t *testing.T) {
	for _, test := range []struct {
		arguments []string
		config    string
		status    int
		want      string
	}{
		{nil, pricedSite, 2, "name the access log: payword price-log --config Caddyfile access.log"},
		{[]string{"--colour", "-"}, pricedSite, 2, "there are --config, --site, --top and --json"},
		{[]string{"--top", "1001", "-"}, pricedSite, 2, "want 0 to 1000"},
		{[]string{"--site", "https://x", "-"}, pricedSite, 2, "want a host"},
		{[]string{"-", "--json"}, pricedSite, 2, "flags come first"},
		{[]string{"nowhere.log"}, pricedSite, 1, "nowhere.log: no such file"},
		{[]string{"-"}, ":80 {\nrespond x\n}\n", 1, "no site with a payword directive"},
		{[]string{"-"}, strings.Replace(pricedSite, "0.001", "much", 1), 1, "want a number such as 0.001"},
	} {
		status, _, stderr := runPriceLog(t, test.config, "", test.arguments...)
		if status != test.status || !strings.Contains(stderr, test.want) {
			t.Errorf("%q: status %d, %q, want %d and %q", test.arguments, status, stderr, test.status, test.want)
		}
	}
	status, stdout, _ := runPriceLog(t, pricedSite, "", "--help")
	if status != 0 || !strings.Contains(stdout, "payword price-log [--config") {
		t.Errorf("--help: status %d, %q", status, stdout)
	}
}

// A log without hosts says so where there are several sites.
func TestPriceLogOfSeveralSites(t *testing.T) {
	config := pricedSite + "other.example {\n\tpayword https://other.example 0.1 USD\n\trespond x\n}\n"
	log := combined("GET /a", 200, firefoxAgent)
	if _, stdout, _ := runPriceLog(t, config, log, "-"); !strings.Contains(stdout, "say which with --site") {
		t.Errorf("without --site: %s", stdout)
	}
	if _, stdout, _ := runPriceLog(t, config, log, "--site", "other.example", "-"); !strings.Contains(stdout, "0.10 USD") {
		t.Errorf("with --site: %s", stdout)
	}
}

// Whatever stands in a log, reading it fails with a word or gives something
// that can be priced.
func FuzzLogLine(f *testing.F) {
	f.Add(strings.TrimSpace(combined("GET /a", 200, firefoxAgent)))
	f.Add(`192.0.2.7 - - [26/Nov/2026:01:00:00 +0200] "POST /b HTTP/1.1" 201 -`)
	f.Add(`::1 - "a b" [26/Nov/2026:01:00:00 +0200] "GET http://x/%zz HTTP/1.1" 200 1 "\"" "\\"`)
	f.Add(strings.TrimSpace(jsonEntry("GET", "/a", 200, `"A":["b"]`)))
	f.Add(`{"ts":"2026-11-25T10:00:00Z","request":{"remote_ip":"::1","method":"GET","uri":"//a/../b"},"status":200}`)
	f.Add(`{"ts":1e300,"request":{}}`)
	price, err := caddymodule.LinePricer(f.TempDir(), pricedSite)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		amount, err := price(text)
		if err != nil && err.Error() == "" {
			t.Error("an error without a word")
		}
		if amount < 0 {
			t.Errorf("%q costs %d", text, amount)
		}
	})
}

func BenchmarkPriceLogLine(b *testing.B) {
	price, err := caddymodule.LinePricer(b.TempDir(), pricedSite)
	if err != nil {
		b.Fatal(err)
	}
	line := combined("GET /a?x=1", 200, firefoxAgent)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := price(line); err != nil {
			b.Fatal(err)
		}
	}
}
