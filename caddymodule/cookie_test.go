package caddymodule_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// navigation is what a browser says of a page that its reader asks for.
var navigation = map[string]string{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}

// with returns headers and more of them; later ones count.
func with(headers ...map[string]string) map[string]string {
	all := make(map[string]string)
	for _, some := range headers {
		maps.Copy(all, some)
	}
	return all
}

// askForCookie brings a payment by HEAD to have it back in a cookie.
func (g *testGate) askForCookie(t *testing.T, target string, headers map[string]string) *http.Response {
	t.Helper()
	response, _ := g.do(t, http.MethodHead, target, with(headers, map[string]string{"Payword-Cookie": "?1"}))
	return response
}

// cookie returns the cookie that a payment came back in, as a browser sends it.
func (g *testGate) cookie(t *testing.T, target string, headers map[string]string) string {
	t.Helper()
	response := g.askForCookie(t, target, headers)
	cookies := response.Cookies()
	if response.StatusCode != http.StatusNoContent || len(cookies) != 1 || response.Header.Get("Payword-Cookie") != "?1" {
		t.Fatalf("HEAD %s: %s, cookies %v, Payword-Cookie %q", target, response.Status, cookies, response.Header.Get("Payword-Cookie"))
	}
	return cookies[0].Name + "=" + cookies[0].Value
}

// cookieSite counts what reaches the upstream and says what cookies it saw.
func cookieSite(t *testing.T, served *atomic.Int32) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		for name, values := range r.Header {
			if strings.Contains(strings.Join(values, " "), "__Host-payword") || strings.HasPrefix(name, "Payword-C") && name != "Payword-Currency" && name != "Payword-Credit" {
				t.Errorf("the upstream sees %s: %q", name, values)
			}
		}
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprintf(w, "cookies %q", r.Header["Cookie"])
	})
}

// TestCookieCarriesAPayment pays for a page by a HEAD and a cookie, and for
// another by the header, and compares.
func TestCookieCarriesAPayment(t *testing.T) {
	var served atomic.Int32
	gate := startGate(t, site{upstream: cookieSite(t, &served), payword: "reread off"})
	p := newPayer(t, wish{name: "cookie", vendor: gate.vendor})
	head := gate.askForCookie(t, "/page?q=1", p.opening(p.payment(1, 7)))
	if got := statusOf(t, head); got.Reason != payword.Accepted || got.Accepted != testPrice || got.Spent != 0 || got.Number != 7 {
		t.Errorf("the HEAD: %s, %+v", head.Status, got)
	}
	set := head.Header.Get("Set-Cookie")
	if !strings.HasPrefix(set, "__Host-payword=") || !strings.HasSuffix(set, "; Path=/; Max-Age=15; HttpOnly; Secure; SameSite=Strict") {
		t.Errorf("Set-Cookie: %q", set)
	}
	if cached := head.Header.Get("Cache-Control"); cached != "private, no-store" || served.Load() != 0 {
		t.Errorf("the HEAD: Cache-Control %q, %d requests reached the upstream", cached, served.Load())
	}
	cookie, _, _ := strings.Cut(set, ";")
	paid, body := gate.mustPay(t, "/page?q=1", with(navigation, map[string]string{"Cookie": "a=1;" + cookie + "; b=\"2\""}))
	if got := statusOf(t, paid); got.Reason != payword.Accepted || got.Spent != testPrice || got.Number != 7 {
		t.Errorf("the GET: %+v", got)
	}
	if want := fmt.Sprintf("cookies %q", []string{`a=1; b="2"`}); body != want {
		t.Errorf("the upstream saw %s, want %s", body, want)
	}
	again, body := gate.mustPay(t, "/page?q=1", with(navigation, map[string]string{"Cookie": cookie}))
	if got := statusOf(t, again); got.Spent != testPrice || body != "cookies []" {
		t.Errorf("the same once more: %+v, %s", got, body)
	}
	compared, _ := gate.mustPay(t, "/other", with(navigation, p.header(p.payment(2, 8))))
	for _, name := range []string{"Cache-Control", "Vary", "Set-Cookie"} {
		if got, want := strings.Join(paid.Header.Values(name), ", "), strings.Join(compared.Header.Values(name), ", "); got != want {
			t.Errorf("%s: %q; paid by the header it is %q", name, got, want)
		}
	}
}

// TestCookieIsPassedOverElsewhere sends a good cookie with requests that it is not
// for, and bad ones with the request that it is for: all are answered as without
// it, and nothing of it is used up.
func TestCookieIsPassedOverElsewhere(t *testing.T) {
	var served atomic.Int32
	gate := startGate(t, site{upstream: cookieSite(t, &served), matcher: "/paid/*", payword: "reread off"})
	p := newPayer(t, wish{name: "cookie elsewhere", vendor: gate.vendor})
	good := gate.cookie(t, "/paid/page", p.opening(p.payment(3, 1)))
	name, value, _ := strings.Cut(good, "=")
	altered := value[:20] + string(value[20]^1) + value[21:]
	tests := []struct {
		what, method, target string
		headers              map[string]string
		status               int
	}{
		{"another page", "GET", "/paid/other", with(navigation, map[string]string{"Cookie": good}), 402},
		{"another query", "GET", "/paid/page?x", with(navigation, map[string]string{"Cookie": good}), 402},
		{"no navigation", "GET", "/paid/page", map[string]string{"Cookie": good}, 402},
		{"a part of a page", "GET", "/paid/page", map[string]string{"Cookie": good, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 402},
		{"a script's request", "GET", "/paid/page", map[string]string{"Cookie": good, "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 402},
		{"a frame", "GET", "/paid/page", map[string]string{"Cookie": good, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 402},
		{"HEAD", "HEAD", "/paid/page", with(navigation, map[string]string{"Cookie": good}), 402},
		{"a form", "POST", "/paid/page", with(navigation, map[string]string{"Cookie": good}), 402},
		{"ahead of the reader", "GET", "/paid/page", with(navigation, map[string]string{"Cookie": good, "Sec-Purpose": "prefetch;prerender"}), 403},
		{"two of them", "GET", "/paid/page", with(navigation, map[string]string{"Cookie": good + "; " + good}), 402},
		{"a word", "GET", "/paid/page", with(navigation, map[string]string{"Cookie": name + "=1"}), 402},
		{"nothing", "GET", "/paid/page", with(navigation, map[string]string{"Cookie": name}), 402},
		{"an altered one", "GET", "/paid/page", with(navigation, map[string]string{"Cookie": name + "=" + altered}), 402},
		{"a cut one", "GET", "/paid/page", with(navigation, map[string]string{"Cookie": good[:len(good)-2]}), 402},
		{"a long one", "GET", "/paid/page", with(navigation, map[string]string{"Cookie": good + strings.Repeat("A", 4000)}), 402},
		{"quotes", "GET", "/paid/page", with(navigation, map[string]string{"Cookie": name + `="` + value + `"`}), 402},
		{"another name", "GET", "/paid/page", with(navigation, map[string]string{"Cookie": "payword=" + value}), 402},
		{"what is free", "GET", "/free", with(navigation, map[string]string{"Cookie": good}), 200},
	}
	for _, test := range tests {
		response, _ := gate.do(t, test.method, test.target, test.headers)
		if response.StatusCode != test.status || response.Header.Get(payword.HeaderState) != "" {
			t.Errorf("%s: %s, Payword-State %q; want %d and none", test.what, response.Status, response.Header.Get(payword.HeaderState), test.status)
		}
	}
	if served.Load() != 1 {
		t.Errorf("%d requests reached the upstream, want the free one", served.Load())
	}
	response, _ := gate.mustPay(t, "/paid/page", with(navigation, map[string]string{"Cookie": good}))
	if got := statusOf(t, response); got.Spent != testPrice {
		t.Errorf("then the page itself: %+v", got)
	}
}

// TestHeaderCountsBeforeTheCookie sends both.
func TestHeaderCountsBeforeTheCookie(t *testing.T) {
	gate := startGate(t, site{payword: "reread off"})
	p := newPayer(t, wish{name: "cookie and header", vendor: gate.vendor})
	cookie := map[string]string{"Cookie": gate.cookie(t, "/page", p.opening(p.payment(3, 1)))}
	for k, step := range []struct {
		headers map[string]string
		reason  payword.Reason
		number  uint64
		spent   money.Amount
	}{
		{with(navigation, cookie, p.header(p.payment(3, 2))), payword.Accepted, 2, testPrice},
		{with(navigation, cookie), payword.Accepted, 1, 2 * testPrice},
		{with(navigation, cookie, p.header(p.payment(3, 3))), payword.Accepted, 3, 3 * testPrice},
		{with(navigation, cookie, p.header(p.payment(3, 4))), payword.InsufficientCredit, 4, 3 * testPrice},
		{with(navigation, cookie), payword.Accepted, 1, 3 * testPrice},
	} {
		response, _ := gate.do(t, http.MethodGet, "/page", step.headers)
		if got := statusOf(t, response); got.Reason != step.reason || got.Number != step.number || got.Spent != step.spent {
			t.Errorf("request %d: %s, %+v, want %+v", k, response.Status, got, step)
		}
	}
}

// TestCookieOfWhatIsNotPaid asks for cookies that are not given, and uses one that
// does not pay for the page.
func TestCookieOfWhatIsNotPaid(t *testing.T) {
	gate := startGate(t, site{payword: "reread off\nprice 0.005 USD /dear"})
	p := newPayer(t, wish{name: "cookie refused", vendor: gate.vendor})
	gate.mustPay(t, "/page", p.opening(p.payment(1, 1)))
	forged := p.payment(9, 2)
	forged.Payword = p.words[8]
	stranger := newPayer(t, wish{name: "cookie stranger", vendor: gate.vendor})
	for what, headers := range map[string]map[string]string{
		"nothing paid": nil, "a forged payword": p.header(forged), "an unknown commitment": stranger.header(stranger.payment(1, 1)),
	} {
		response := gate.askForCookie(t, "/page", headers)
		if response.StatusCode != http.StatusPaymentRequired || len(response.Cookies()) > 0 || response.Header.Get("Payword-Cookie") != "" {
			t.Errorf("%s: %s, %v", what, response.Status, response.Header)
		}
	}
	for what, value := range map[string]string{"no": "?0", "a word": "yes", "no boolean": "1"} {
		response, _ := gate.do(t, http.MethodHead, "/page", with(p.header(p.payment(2, 3)), map[string]string{"Payword-Cookie": value}))
		if len(response.Cookies()) > 0 {
			t.Errorf("%s: %v", what, response.Header)
		}
	}
	dear := p.payment(3, 4)
	dear.Max = 5 * testPrice
	cookie := gate.cookie(t, "/dear", p.header(dear))
	response, _ := gate.do(t, http.MethodGet, "/dear", with(navigation, map[string]string{"Cookie": cookie}))
	if got := statusOf(t, response); response.StatusCode != http.StatusPaymentRequired || got.Reason != payword.InsufficientCredit {
		t.Errorf("a page that costs more: %s, %+v", response.Status, got)
	}
}

// TestCookieTakesNoFreePageAway has a page of the day free, with a cookie that
// could not pay for it.
func TestCookieTakesNoFreePageAway(t *testing.T) {
	gate := startGate(t, site{payword: "reread off\nfree_quota 2"})
	p := newPayer(t, wish{name: "cookie quota", vendor: gate.vendor})
	spent := gate.cookie(t, "/page", p.opening(p.payment(1, 1)))
	gate.mustPay(t, "/first", with(navigation))
	gate.mustPay(t, "/page", with(navigation, map[string]string{"Cookie": spent}))
	response, _ := gate.mustPay(t, "/page", with(navigation, map[string]string{"Cookie": spent}))
	if got := statusOf(t, response); got.Spent != testPrice {
		t.Errorf("with the quota used up: %+v", got)
	}
}

// TestServerTimingTellsTheState reads what a script of the page can read.
func TestServerTimingTellsTheState(t *testing.T) {
	busy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Server-Timing", `db;dur=53, payword;desc="not the gate"`)
		w.Header().Add("Server-Timing", "cache;desc=miss")
		if r.URL.Path == "/broken" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		io.WriteString(w, "content")
	})
	gate := startGate(t, site{upstream: busy, payword: "reread off"})
	p := newPayer(t, wish{name: "timing", vendor: gate.vendor})
	ours := func(response *http.Response) string {
		return `payword;desc="` + response.Header.Get(payword.HeaderState) + `"`
	}
	for _, step := range []struct {
		what, target string
		payment      payword.Payment
		status       int
		upstream     []string
	}{
		{"granted", "/page", p.payment(1, 1), 200, []string{`db;dur=53, payword;desc="not the gate"`, "cache;desc=miss"}},
		{"given back", "/broken", p.payment(2, 2), 500, []string{`db;dur=53, payword;desc="not the gate"`, "cache;desc=miss"}},
		{"refused", "/page", p.payment(1, 3), 200, []string{`db;dur=53, payword;desc="not the gate"`, "cache;desc=miss"}},
		{"no credit left", "/page", p.payment(1, 4), 402, nil},
	} {
		response, _ := gate.do(t, http.MethodGet, step.target, p.opening(step.payment))
		got, want := response.Header.Values("Server-Timing"), append([]string{ours(response)}, step.upstream...)
		if response.StatusCode != step.status || strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%s: %s, Server-Timing %q, want %q", step.what, response.Status, got, want)
		}
	}
	unpaid, _ := gate.do(t, http.MethodGet, "/page", nil)
	challenge := gate.quoted(t, http.MethodGet, "/page", nil)[0]
	credential, _ := gate.mustPay(t, "/page", map[string]string{"Authorization": p.answering(t, challenge, p.payment(4, 5))})
	for what, response := range map[string]*http.Response{"unpaid": unpaid, "paid by a credential": credential} {
		for _, value := range response.Header.Values("Server-Timing") {
			if strings.HasPrefix(value, "payword") {
				t.Errorf("%s: Server-Timing %q", what, value)
			}
		}
	}
	down := startGate(t, site{rest: "reverse_proxy 127.0.0.1:1"})
	p = newPayer(t, wish{name: "timing down", vendor: down.vendor})
	response, _ := down.do(t, http.MethodGet, "/page", p.opening(p.payment(1, 1)))
	if got := response.Header.Values("Server-Timing"); response.StatusCode != http.StatusBadGateway || len(got) != 1 || got[0] != ours(response) {
		t.Errorf("the upstream is down: %s, Server-Timing %q", response.Status, got)
	}
}
