package caddymodule_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// upstream answers as its path says.
func upstream(t *testing.T) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, values := range r.Header {
			spelled := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
			ours := strings.HasPrefix(spelled, "payword") || strings.HasPrefix(spelled, "payment")
			if ours && !slices.Contains(identityHeaders, name) || len(values) != 1 && ours {
				t.Errorf("the upstream sees %s: %q", name, values)
			}
		}
		switch r.URL.Path {
		case "/error":
			http.Error(w, "broken", http.StatusInternalServerError)
		case "/missing":
			http.NotFound(w, r)
		case "/unchanged":
			w.WriteHeader(http.StatusNotModified)
		case "/moved":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case "/public":
			w.Header().Set("Cache-Control", "public, max-age=600, s-maxage=900")
			w.Header().Set("CDN-Cache-Control", "max-age=900")
			io.WriteString(w, "public content")
		case "/breaks":
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, "some content")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/stream":
			for i := range 3 {
				fmt.Fprintf(w, "data: %d\n\n", i)
				w.(http.Flusher).Flush()
			}
		case "/varies":
			w.Header().Set("Vary", "Accept-Language")
			io.WriteString(w, "in "+r.Header.Get("Accept-Language"))
		default:
			io.WriteString(w, "content")
		}
	})
}

// TestOnlyWhatIsDeliveredIsSpent asks for what delivers something and for what
// does not.
func TestOnlyWhatIsDeliveredIsSpent(t *testing.T) {
	gate := startGate(t, site{upstream: upstream(t), payword: "reread off"})
	p := newPayer(t, wish{name: "delivered", vendor: gate.vendor})
	gate.mustPay(t, "/first", p.opening(p.payment(40, 1)))
	tests := []struct {
		method, target string
		status         int
		spent          money.Amount
	}{
		{http.MethodGet, "/content", 200, testPrice},
		{http.MethodGet, "/stream", 200, testPrice},
		{http.MethodPost, "/content", 200, testPrice},
		{http.MethodGet, "/error", 500, 0},
		{http.MethodGet, "/missing", 404, 0},
		{http.MethodGet, "/unchanged", 304, 0},
		{http.MethodGet, "/moved", 302, 0},
		{http.MethodHead, "/content", 200, 0},
	}
	number, spent := uint64(1), testPrice
	for _, test := range tests {
		number++
		spent += test.spent
		response, _ := gate.do(t, test.method, test.target, p.header(p.payment(40, number)))
		got := statusOf(t, response)
		if response.StatusCode != test.status || got.Spent != spent || got.Reason != payword.Accepted {
			t.Errorf("%s %s: %s, spent %s, want %d and %s", test.method, test.target, response.Status, got.Spent, test.status, spent)
		}
		if strings.Contains(response.Header.Get("Cache-Control"), "public") || !strings.Contains(response.Header.Get("Cache-Control"), "private") {
			t.Errorf("%s %s: Cache-Control is %q", test.method, test.target, response.Header.Get("Cache-Control"))
		}
	}
}

func TestBodyThatBreaksOffIsMadeGood(t *testing.T) {
	gate := startGate(t, site{upstream: upstream(t), payword: "reread off"})
	p := newPayer(t, wish{name: "breaks", vendor: gate.vendor})
	gate.mustPay(t, "/first", p.opening(p.payment(10, 1)))
	request, err := http.NewRequest(http.MethodGet, gate.vendor+"/breaks", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(payword.HeaderPayword, payword.FormatPayment(p.payment(10, 2)))
	response, err := gate.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(response.Body); err == nil {
		t.Fatal("the body did not break off")
	}
	response.Body.Close()
	if got := statusOf(t, response); got.Spent != 2*testPrice {
		t.Errorf("when it began, spent was %s", got.Spent)
	}
	next, _ := gate.mustPay(t, "/next", p.header(p.payment(10, 3)))
	if got := statusOf(t, next); got.Spent != 2*testPrice {
		t.Errorf("after it broke off and another page, spent is %s, want %s", got.Spent, 2*testPrice)
	}
}

// TestClientThatCutsTheConnectionPays resets the connection in the middle of a
// long answer: what it did not get is its own doing.
func TestClientThatCutsTheConnectionPays(t *testing.T) {
	long := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/long" {
			return
		}
		chunk := make([]byte, 64<<10)
		for range 1000 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	gate := startGate(t, site{upstream: long, payword: "reread off"})
	p := newPayer(t, wish{name: "cuts", vendor: gate.vendor})
	gate.mustPay(t, "/first", p.opening(p.payment(20, 1)))
	for number := uint64(2); number < 12; number++ {
		connection, err := net.Dial("tcp", strings.TrimPrefix(gate.vendor, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(connection, "GET /long HTTP/1.1\r\nHost: %s\r\nPayword: %s\r\n\r\n",
			strings.TrimPrefix(gate.vendor, "http://"), payword.FormatPayment(p.payment(20, number)))
		if _, err := io.ReadFull(connection, make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		connection.(*net.TCPConn).SetLinger(0) // close with a reset
		connection.Close()
	}
	// The gate notices at its own pace; nothing may come back meanwhile or later.
	for number := uint64(12); number < 20; number++ {
		response, _ := gate.mustPay(t, "/after", p.header(p.payment(20, number)))
		if got, want := statusOf(t, response).Spent, testPrice*money.Amount(number); got != want {
			t.Errorf("after ten cut connections and %d more pages, spent is %s, want %s", number-11, got, want)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestUpstreamDownIsNotCharged(t *testing.T) {
	gate := startGate(t, site{rest: "reverse_proxy 127.0.0.1:1"})
	p := newPayer(t, wish{name: "down", vendor: gate.vendor})
	response, _ := gate.do(t, http.MethodGet, "/page", p.opening(p.payment(1, 1)))
	if got := statusOf(t, response); response.StatusCode != http.StatusBadGateway || got.Spent != 0 || got.Accepted != testPrice {
		t.Errorf("%s, %+v", response.Status, got)
	}
	// The same number may be used again: nothing was delivered for it.
	response, _ = gate.do(t, http.MethodGet, "/page", p.header(p.payment(1, 1)))
	if got := statusOf(t, response); response.StatusCode != http.StatusBadGateway || got.Reason != payword.Accepted {
		t.Errorf("the retry: %s, %+v", response.Status, got)
	}
}

func TestRetryIsFreeAndRepeatBuysNothing(t *testing.T) {
	var counter atomic.Int32
	counting := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { counter.Add(1); io.WriteString(w, "content") })
	gate := startGate(t, site{upstream: counting, payword: "reread off"})
	p := newPayer(t, wish{name: "retry", vendor: gate.vendor})
	gate.mustPay(t, "/page", p.opening(p.payment(9, 1)))
	response, _ := gate.mustPay(t, "/page", p.header(p.payment(9, 1)))
	if got := statusOf(t, response); got.Spent != testPrice || counter.Load() != 2 {
		t.Errorf("a retry: spent %s, served %d times", got.Spent, counter.Load())
	}
	response, _ = gate.do(t, http.MethodGet, "/other", p.header(p.payment(9, 1)))
	if got := statusOf(t, response); got.Reason != payword.AlreadyUsed || counter.Load() != 2 {
		t.Errorf("the number for another page: %s, served %d times", got.Reason, counter.Load())
	}
	for range 2 {
		response, _ = gate.do(t, http.MethodPost, "/order", p.header(p.payment(9, 2)))
	}
	if got := statusOf(t, response); response.StatusCode != http.StatusConflict || got.Reason != payword.AlreadyExecuted || counter.Load() != 3 {
		t.Errorf("an order sent twice: %s, %s, served %d times", response.Status, got.Reason, counter.Load())
	}
}

// TestRetriesUseNoRereadUp repeats the purchase and a re-read under their own
// numbers, as a client does whose answer was lost.
func TestRetriesUseNoRereadUp(t *testing.T) {
	gate := startGate(t, site{upstream: upstream(t), payword: "reread 2 60s"})
	p := newPayer(t, wish{name: "retried reread", vendor: gate.vendor})
	gate.mustPay(t, "/page", p.opening(p.payment(20, 1)))
	for k, step := range []struct {
		number uint64
		want   money.Amount
	}{{1, testPrice}, {1, testPrice}, {2, testPrice}, {2, testPrice}, {3, testPrice}, {3, testPrice}, {4, 2 * testPrice}} {
		response, _ := gate.mustPay(t, "/page", p.header(p.payment(20, step.number)))
		if got := statusOf(t, response).Spent; got != step.want {
			t.Errorf("request %d, number %d: spent %s, want %s", k, step.number, got, step.want)
		}
	}
}

func TestRereadIsFreeForAWhile(t *testing.T) {
	gate := startGate(t, site{upstream: upstream(t), payword: "reread 2 60s"})
	p := newPayer(t, wish{name: "reread", vendor: gate.vendor})
	headers := p.opening(p.payment(20, 1))
	headers["Accept-Language"] = "en"
	gate.mustPay(t, "/varies", headers)
	number := uint64(1)
	again := func(target, language string, extra ...string) money.Amount {
		number++
		headers := p.header(p.payment(20, number))
		headers["Accept-Language"] = language
		for i := 0; i+1 < len(extra); i += 2 {
			headers[extra[i]] = extra[i+1]
		}
		response, _ := gate.mustPay(t, target, headers)
		return statusOf(t, response).Spent
	}
	steps := []struct {
		what, target, language string
		want                   money.Amount
		extra                  []string
	}{
		{"the same again", "/varies", "en", testPrice, nil},
		{"another representation", "/varies", "de", 2 * testPrice, nil},
		{"another page", "/public", "en", 3 * testPrice, nil},
		{"a range of it", "/public", "en", 4 * testPrice, []string{"Range", "bytes=0-3"}},
		{"the page again", "/public", "en", 4 * testPrice, nil},
		{"and again", "/public", "en", 4 * testPrice, nil},
		{"a third time", "/public", "en", 5 * testPrice, nil},
	}
	for _, step := range steps {
		if got := again(step.target, step.language, step.extra...); got != step.want {
			t.Errorf("%s: spent %s, want %s", step.what, got, step.want)
		}
	}
	// Who cannot prove a payword reads nothing again.
	other := newPayer(t, wish{name: "reread other", vendor: gate.vendor})
	forged := p.payment(20, number+1)
	forged.Payword = other.words[20]
	if response, _ := gate.do(t, http.MethodGet, "/public", p.header(forged)); response.StatusCode != http.StatusPaymentRequired {
		t.Errorf("a forged payword for a page that was bought: %s", response.Status)
	}
}

func TestCachingRulesWinOverTheUpstreams(t *testing.T) {
	gate := startGate(t, site{upstream: upstream(t), rest: "encode gzip"})
	p := newPayer(t, wish{name: "caching", vendor: gate.vendor})
	response, _ := gate.mustPay(t, "/public", p.opening(p.payment(1, 1)))
	if got := response.Header.Values("Cache-Control"); len(got) != 1 || got[0] != "private, max-age=600" {
		t.Errorf("Cache-Control is %q", got)
	}
	if got := response.Header.Get("CDN-Cache-Control"); got != "" {
		t.Errorf("CDN-Cache-Control is %q", got)
	}
	for _, name := range []string{"Payword", "Authorization", "Payment-Authorization"} {
		if !strings.Contains(strings.Join(response.Header.Values("Vary"), ","), name) {
			t.Errorf("Vary does not name %s: %q", name, response.Header.Values("Vary"))
		}
	}
}

func TestLaterHandlersKnowThePrice(t *testing.T) {
	gate := startGate(t, site{rest: `respond "{http.vars.payword.reason} for {http.vars.payword.price}"`})
	p := newPayer(t, wish{name: "variables", vendor: gate.vendor})
	if _, body := gate.mustPay(t, "/page", p.opening(p.payment(1, 1))); body != "accepted for 1000" {
		t.Errorf("the placeholders give %q", body)
	}
}

// TestHeadersUnderOtherSpellings sends what an upstream behind FastCGI or WSGI
// would take for a payment header; upstream fails the test if it sees one.
func TestHeadersUnderOtherSpellings(t *testing.T) {
	gate := startGate(t, site{upstream: upstream(t)})
	p := newPayer(t, wish{name: "spelling", vendor: gate.vendor})
	headers := p.opening(p.payment(1, 1))
	for _, name := range []string{"Payword_State", "payword_commitment", "Payment_Authorization", "Payment-Receipt", "PAYWORD-STATE"} {
		headers[name] = "forged"
	}
	gate.mustPay(t, "/page", headers)
}

func TestServerSentEventsAreNotHeldBack(t *testing.T) {
	release := make(chan struct{})
	events := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: first\n\n")
		w.(http.Flusher).Flush()
		<-release
		io.WriteString(w, "data: second\n\n")
	})
	gate := startGate(t, site{upstream: events, rest: "encode gzip"})
	p := newPayer(t, wish{name: "events", vendor: gate.vendor})
	request, err := http.NewRequest(http.MethodGet, gate.vendor+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range p.opening(p.payment(1, 1)) {
		request.Header.Set(name, value)
	}
	response, err := gate.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	if !lines.Scan() || lines.Text() != "data: first" {
		t.Fatalf("first event: %q, %v", lines.Text(), lines.Err())
	}
	close(release) // only now may the second come: the first was not held back
	rest, err := io.ReadAll(response.Body)
	if err != nil || strings.Contains(string(rest), "first") {
		t.Errorf("the rest: %q, %v", rest, err)
	}
}

func TestPageForPeople(t *testing.T) {
	gate := startGate(t, site{payword: `description "An <article> & more"`})
	response, body := gate.do(t, http.MethodGet, "/article", map[string]string{"Accept": "text/html,application/xhtml+xml"})
	if response.StatusCode != http.StatusPaymentRequired || !strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("%s %s", response.Status, response.Header.Get("Content-Type"))
	}
	for _, want := range []string{"0.001", "USD", "An &lt;article&gt; &amp; more", "within one minute", testIssuer, `<html lang="en"`, `type="application/payword+json"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	if response.Header.Get("WWW-Authenticate") == "" || response.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers: %v", response.Header)
	}
}

func TestPrefetchPreflightAndDiscovery(t *testing.T) {
	gate := startGate(t, site{})
	p := newPayer(t, wish{name: "prefetch", vendor: gate.vendor})
	headers := p.opening(p.payment(1, 1))
	headers["Sec-Purpose"] = "prefetch;prerender"
	response, body := gate.do(t, http.MethodGet, "/page", headers)
	if response.StatusCode != http.StatusForbidden || response.Header.Get("WWW-Authenticate") != "" || body != "" {
		t.Errorf("prefetch: %s %v", response.Status, response.Header)
	}
	response, _ = gate.do(t, http.MethodOptions, "/page", map[string]string{
		"Origin": "https://app.example", "Access-Control-Request-Method": "GET",
	})
	if response.StatusCode == http.StatusPaymentRequired {
		t.Error("a CORS preflight was asked to pay")
	}
	if response, _ = gate.do(t, http.MethodOptions, "/page", nil); response.StatusCode != http.StatusPaymentRequired {
		t.Errorf("an OPTIONS request that is no preflight: %s", response.Status)
	}
	response, body = gate.do(t, http.MethodGet, payword.PathDiscovery, nil)
	discovery, err := payword.ParseDiscovery([]byte(body))
	if err != nil || response.StatusCode != http.StatusOK || discovery.Vendor != gate.vendor || len(discovery.Keys) != 1 {
		t.Errorf("discovery: %s %+v, %v", response.Status, discovery, err)
	}
	response, _ = gate.mustPay(t, "/page", p.opening(p.payment(1, 1)))
	if got := statusOf(t, response); got.Spent != testPrice {
		t.Errorf("after all that, one page: spent %s", got.Spent)
	}
}
