package caddymodule_test

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/caddymodule"
)

// adminAddress returns an address for the admin endpoint.
func adminAddress(t *testing.T) string {
	t.Helper()
	return strings.TrimPrefix(freeOrigin(t), "http://")
}

// oneConnection uses a connection once: the admin endpoint is replaced with every
// configuration.
var oneConnection = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// persistAdmin asks the admin endpoint until an answer comes: one that is being
// replaced closes connections that it had accepted.
func persistAdmin(ask func() (*http.Response, error)) (response *http.Response, err error) {
	for range 20 {
		if response, err = ask(); err == nil {
			return response, nil
		}
	}
	return nil, err
}

// adminGet asks the admin endpoint and returns the answer's status and body.
func adminGet(t *testing.T, admin, path string) (int, string) {
	t.Helper()
	response, err := persistAdmin(func() (*http.Response, error) { return oneConnection.Get("http://" + admin + path) })
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// scrape is what a Prometheus server sees: values by series as they are written.
type scrape map[string]float64

func scrapeOf(t *testing.T, admin string) scrape {
	t.Helper()
	status, body := adminGet(t, admin, "/metrics")
	if status != http.StatusOK {
		t.Fatalf("GET /metrics: %d", status)
	}
	seen := scrape{}
	for _, line := range strings.Split(body, "\n") {
		if !strings.HasPrefix(line, "caddy_payword_") {
			continue
		}
		series, value, _ := strings.Cut(line, " ")
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		seen[series] = number
	}
	return seen
}

// requests returns how many requests to the gate ended so.
func (s scrape) requests(gate *testGate, result string) float64 {
	return s[fmt.Sprintf("caddy_payword_requests_total{result=%q,vendor=%q}", result, gate.vendor)]
}

func (s scrape) refusals(gate *testGate, reason payword.Reason) float64 {
	return s[fmt.Sprintf("caddy_payword_refusals_total{reason=%q,vendor=%q}", reason, gate.vendor)]
}

// TestMetricsOfRequests sends one request of every kind and finds each counted
// once.
func TestMetricsOfRequests(t *testing.T) {
	admin := adminAddress(t)
	gate := startGate(t, site{admin: admin, payword: "reread 1 60s", rest: "@gone path /gone\nerror @gone 404\nrespond ok"})
	p := newPayer(t, wish{name: "metered", vendor: gate.vendor})
	gate.mustPay(t, "/1", p.opening(p.payment(3, 1)))                                             // charged, 3 hashes
	gate.mustPay(t, "/1", p.header(p.payment(3, 2)))                                              // reread
	gate.do(t, http.MethodGet, "/gone", p.header(p.payment(3, 3)))                                // charged, returned
	gate.mustPay(t, "/2", p.header(p.payment(3, 4)))                                              // charged
	gate.do(t, http.MethodHead, "/2", p.header(p.payment(3, 5)))                                  // free
	gate.mustPay(t, "/2", p.header(p.payment(3, 4)))                                              // repeat
	gate.do(t, http.MethodGet, "/3", nil)                                                         // payment-required
	gate.do(t, http.MethodGet, "/3", p.header(p.payment(3, 1)))                                   // already-used
	gate.do(t, http.MethodGet, "/3", map[string]string{payword.HeaderPayword: "what"})            // malformed
	gate.do(t, http.MethodGet, "/3", map[string]string{"Sec-Purpose": "prefetch"})                // prefetch
	gate.do(t, http.MethodOptions, "/3", map[string]string{"Origin": "https://elsewhere.example", // preflight
		"Access-Control-Request-Method": "GET"})
	forged := p.payment(9, 9)
	forged.Payword = p.words[8]
	gate.do(t, http.MethodGet, "/3", p.header(forged))
	if err := caddymodule.TakeSample(filepath.Join(gate.dir, "store")); err != nil {
		t.Fatal(err)
	}
	seen := scrapeOf(t, admin)
	for result, want := range map[string]float64{
		"paid": 3, "reread": 1, "free": 1, "repeat": 1, "refused": 4, "prefetch": 1, "preflight": 1, "unavailable": 0, "managed": 0,
	} {
		if got := seen.requests(gate, result); got != want {
			t.Errorf("requests %s: %v, want %v", result, got, want)
		}
	}
	for reason, want := range map[payword.Reason]float64{
		payword.PaymentRequired: 1, payword.AlreadyUsed: 1, payword.MalformedHeader: 1, payword.ForgedPayword: 1, payword.BadClaim: 0,
	} {
		if got := seen.refusals(gate, reason); got != want {
			t.Errorf("refusals %s: %v, want %v", reason, got, want)
		}
	}
	money := fmt.Sprintf(`{currency="USD",vendor=%q}`, gate.vendor)
	for series, want := range map[string]float64{
		"caddy_payword_charged_micros_total" + money:                                  3 * float64(testPrice),
		"caddy_payword_returned_micros_total" + money:                                 float64(testPrice),
		fmt.Sprintf("caddy_payword_commitments_opened_total{vendor=%q}", gate.vendor): 1,
		`caddy_payword_verifications_total{kind="commitment",outcome="accepted"}`:     1,
		`caddy_payword_verifications_total{kind="reservation",outcome="accepted"}`:    1,
		`caddy_payword_credit_outstanding_micros{currency="USD"}`:                     float64(testPrice),
		`caddy_payword_accepted_micros{currency="USD"}`:                               3 * float64(testPrice),
		`caddy_payword_spent_micros{currency="USD"}`:                                  2 * float64(testPrice),
		`caddy_payword_unredeemed_micros{currency="USD"}`:                             2 * float64(testPrice),
		`caddy_payword_commitments_open{currency="USD"}`:                              1,
		"caddy_payword_store_up":                                                      1,
		`caddy_payword_store_step_seconds_count{step="open"}`:                         1,
		`caddy_payword_store_step_seconds_count{step="give_back"}`:                    1,
	} {
		if got, found := seen[series]; !found || got != want {
			t.Errorf("%s: %v, %v, want %v", series, got, found, want)
		}
	}
	if age, found := seen[fmt.Sprintf("caddy_payword_broker_keys_age_seconds{broker=%q}", testIssuer)]; !found || age < 0 || age > 3600 {
		t.Errorf("age of the broker's keys: %v, %v", age, found)
	}
}

// TestMetricsOfBrokenStore finds a store that is down in the metrics.
func TestMetricsOfBrokenStore(t *testing.T) {
	admin := adminAddress(t)
	gate := startGate(t, site{admin: admin})
	p := newPayer(t, wish{name: "metered without a store", vendor: gate.vendor})
	gate.mustPay(t, "/1", p.opening(p.payment(1, 1)))
	if err := caddymodule.BreakStore(filepath.Join(gate.dir, "store")); err != nil {
		t.Fatal(err)
	}
	gate.do(t, http.MethodGet, "/2", p.header(p.payment(2, 2)))
	seen := scrapeOf(t, admin)
	if seen["caddy_payword_store_up"] != 0 || seen[`caddy_payword_store_errors_total{step="find"}`] != 1 || seen.requests(gate, "unavailable") != 1 {
		t.Errorf("a store that is down: up %v, errors %v, unavailable %v", seen["caddy_payword_store_up"],
			seen[`caddy_payword_store_errors_total{step="find"}`], seen.requests(gate, "unavailable"))
	}
}

// TestUnsafeLogsAreRefused wants a configuration refused if one of its logs
// would hold paywords, however that log came to be.
func TestUnsafeLogsAreRefused(t *testing.T) {
	tests := []struct {
		name, global, logs, site string
		refused                  bool
	}{
		{"no log at all", "", "", "", true},
		{"default log with the format", "", "log {\nformat payword\n}", "", false},
		{"the format around another encoder", "", "log {\nformat payword console\n}", "", false},
		{"another format", "", "log {\nformat json\n}", "", true},
		{"a site's log of its own without the format", "", "log {\nformat payword\n}", "log {\noutput discard\nformat json\n}", false},
		{"a site's log in a file without the format", "", "log {\nformat payword\n}", "log {\noutput file %DIR%/access\n}", true},
		{"a site's log in a file with the format", "", "log {\nformat payword\n}", "log {\noutput file %DIR%/access\nformat payword\n}", false},
		{"filters of one's own", "", "log {\nformat filter {\nrequest>headers>Payword delete\nrequest>headers>Payword-Commitment delete\nrequest>headers>Payword-Reservation delete\nrequest>headers>Payment-Authorization delete\n}\n}", "", false},
		{"filters that forget one", "", "log {\nformat filter {\nrequest>headers>Payword delete\n}\n}", "", true},
		{"meant so", "unsafe_logs", "", "", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			err := loadCaddyfile(t, fmt.Sprintf("{\nadmin off\npersist_config off\n%s\npayword {\nbroker %s\nstore %s\n%s\n}\n}\n%s {\nbind 127.0.0.1\npayword https://news.example 0.001 USD\n%s\n}\n",
				test.logs, testIssuer, filepath.Join(dir, "store"), test.global, freeOrigin(t), strings.ReplaceAll(test.site, "%DIR%", dir)))
			if got := err != nil && strings.Contains(err.Error(), "format payword"); got != test.refused {
				t.Errorf("got %v, want it refused: %v", err, test.refused)
			}
		})
	}
}
