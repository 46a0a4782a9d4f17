package broker_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/internal/doctest"
)

// metrics returns what the broker's metrics say.
func (b *bank) metrics() string {
	w := httptest.NewRecorder()
	b.MetricsHandler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(100*cent), b.newShop()
	p := u.commit(s.origin, 10*cent)
	p.mustReserve(10 * cent)
	s.wantResult(s.claim(p, 3, 3*cent), payword.Accepted, 3*cent, 3*cent)
	s.wantResult(s.claim(p, 3, 4*cent), payword.ClaimOverTails, 3*cent, 0)
	want(t, u.commit(s.origin, 200*cent).reserve(150*cent), http.StatusConflict, payword.InsufficientFunds)
	b.plain("GET", "/nothing", nil)
	b.stripe(paidSession("1", "nobody", 700, "eur"))
	b.stripe(paidSession("2", u.account, 100, "usd"))
	u.commit(s.origin, 190*cent).mustReserve(190 * cent)
	b.stripe(refunded("2", 100, "usd"))
	b.clock.advance(90)
	got := b.metrics()
	for _, line := range []string{
		`payword_broker_requests_total{route="POST /v1/redemptions",status="200"} 2`,
		`payword_broker_requests_total{route="POST /v1/reservations",status="409"} 1`,
		`payword_broker_requests_total{route="none",status="404"} 1`,
		`payword_broker_request_seconds_count{route="POST /v1/redemptions"} 2`,
		`payword_broker_refusals_total{reason="insufficient-funds"} 1`,
		`payword_broker_claims_total{reason="accepted"} 1`,
		`payword_broker_claims_total{reason="claim-over-tails"} 1`,
		`payword_broker_redeemed_micros_total 30000`,
		`payword_broker_transaction_seconds_count{transaction="reserve"} 3`,
		`payword_broker_background_age_seconds 90`,
		`payword_broker_unassigned_micros{currency="EUR"} 7e+06`,
		`payword_broker_owing_accounts 1`,
		`payword_broker_deliveries_waiting 0`,
	} {
		if !strings.Contains(got, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(got, u.account) || strings.Contains(got, s.origin) {
		t.Error("the metrics name an account or a vendor")
	}
	for _, name := range first(regexp.MustCompile(`(?m)^# HELP (payword_[a-z_]+)`), got) {
		if !strings.Contains(doctest.Section(t, "broker.md", "## Metrics"), "`"+name) {
			t.Errorf("docs/broker.md does not describe %s", name)
		}
	}
}

// The background work is young again after each round.
func TestBackgroundAge(t *testing.T) {
	b := newBank(t)
	b.clock.advance(500)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- b.Run(ctx) }()
	for !strings.Contains(b.metrics(), "payword_broker_background_age_seconds 0\n") {
		select {
		case <-t.Context().Done():
			t.Fatal("the background work never ended a round")
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A broker that is about to end says so, and serves what still comes.
func TestDraining(t *testing.T) {
	b := newBank(t)
	want(t, b.plain("GET", "/readyz", nil), http.StatusOK, payword.Accepted)
	b.Drain()
	a := b.plain("GET", "/readyz", nil)
	want(t, a, http.StatusServiceUnavailable, payword.Accepted)
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	want(t, b.plain("GET", "/healthz", nil), http.StatusOK, payword.Accepted)
	want(t, b.plain("POST", payword.PathChallenges, nil), http.StatusOK, payword.Accepted)
}

// The command serves metrics on a listener of their own, and not on the other.
func TestMetricsListener(t *testing.T) {
	directory := t.TempDir()
	key := filepath.Join(directory, "broker.key")
	if code, _, stderr := run(t, "key", "--out", key); code != 0 {
		t.Fatal(stderr)
	}
	log := &journal{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int)
	go func() {
		ended <- broker.Main(ctx, []string{"serve", "--db", filepath.Join(directory, "broker.db"), "--origin", issuer, "--key", key,
			"--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"}, strings.NewReader(""), log, log)
	}()
	find := func(pattern string) string {
		for {
			if match := regexp.MustCompile(pattern).FindStringSubmatch(log.String()); match != nil {
				return match[1]
			}
			select {
			case code := <-ended:
				t.Fatalf("it ended with %d: %s", code, log)
			case <-time.After(time.Millisecond):
			}
		}
	}
	get := func(url string) (int, string) {
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		content, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(content)
	}
	if status, text := get("http://" + find(`listens for metrics on ([0-9.:]+)`) + "/metrics"); status != 200 || !strings.Contains(text, "payword_broker_background_age_seconds") {
		t.Errorf("got %d %s", status, text)
	}
	if status, _ := get("http://" + find(`listens on ([0-9.:]+)`) + "/metrics"); status != 404 {
		t.Errorf("got %d for the metrics on the public listener", status)
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("got exit code %d: %s", code, log)
	}
}
