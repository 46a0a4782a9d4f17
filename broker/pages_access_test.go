package broker_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/paywordhq/payword/broker"
)

// securityHeaders are what every answer of the pages carries.
var securityHeaders = map[string]string{
	"Cache-Control":                "no-store",
	"Content-Security-Policy":      "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
	"X-Frame-Options":              "DENY",
	"X-Content-Type-Options":       "nosniff",
	"Referrer-Policy":              "same-origin",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
}

func TestPagesAreForOperators(t *testing.T) {
	b := newBusy(t)
	stranger := b.newOffice()
	signedIn := b.signedIn(annasToken)
	paths := []string{
		"/admin/", "/admin/accounts", "/admin/accounts/" + b.user.account, "/admin/accounts/" + b.user.account + "/fund",
		"/admin/vendors", "/admin/vendor?vendor=" + url.QueryEscape(b.shop.origin), "/admin/commitments",
		"/admin/commitments/" + b.purse.m.ID.String(), "/admin/frauds", "/admin/audit", "/admin/health", "/admin/find?q=x",
		"/admin/nothing",
	}
	for _, path := range paths {
		t.Run(path, func(t *testing.T) {
			got := stranger.get(path)
			location := got.header.Get("Location")
			if got.status != http.StatusSeeOther || !strings.HasPrefix(location, "/admin/sign-in") || strings.Contains(string(got.body), "<main") {
				t.Errorf("a stranger got status %d to %q: %s", got.status, location, got.body)
			}
			for name, want := range securityHeaders {
				if value := signedIn.get(path).header.Get(name); value != want {
					t.Errorf("got %s %q, want %q", name, value, want)
				}
			}
		})
	}
}

func TestPagesWithoutOperatorsAreClosed(t *testing.T) {
	b := newBankWith(t, func(c *broker.Config) { c.AdminToken = "" })
	want(t, b.plain("GET", "/admin/", nil), http.StatusNotFound, 0)
}

func TestSignIn(t *testing.T) {
	b := newOfficeBank(t)
	o := b.newOffice()
	got := o.post("/admin/sign-in", url.Values{"secret": {annasToken}, "next": {"/admin/accounts?after=x"}})
	if got.status != http.StatusSeeOther || got.header.Get("Location") != "/admin/accounts?after=x" {
		t.Fatalf("got status %d to %q", got.status, got.header.Get("Location"))
	}
	cookie := got.header.Get("Set-Cookie")
	for _, part := range []string{"payword-admin=", "HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"} {
		if !strings.Contains(cookie, part) {
			t.Errorf("the cookie %q lacks %s", cookie, part)
		}
	}
	if strings.Contains(cookie, "Domain") || strings.Contains(cookie, annasToken) {
		t.Errorf("got the cookie %q", cookie)
	}

	secure := o.form("/admin/sign-in", url.Values{"secret": {annasToken}})
	secure.Host = "broker.example"
	secure.Header.Set("Origin", "https://broker.example")
	if cookie := o.send(secure).header.Get("Set-Cookie"); !strings.HasPrefix(cookie, "__Host-payword-admin=") || !strings.Contains(cookie, "Secure") {
		t.Errorf("over TLS: got the cookie %q", cookie)
	}
}

func TestSignInRefuses(t *testing.T) {
	b := newOfficeBank(t)
	cases := []struct {
		name, host, origin, token string
		status                    int
	}{
		{"a wrong token", "", b.url, "not the token of anybody", http.StatusUnprocessableEntity},
		{"no token", "", b.url, "", http.StatusUnprocessableEntity},
		{"a prefix", "", b.url, annasToken[:20], http.StatusUnprocessableEntity},
		{"a foreign site", "", "https://evil.example", annasToken, http.StatusForbidden},
		{"no origin", "", "", annasToken, http.StatusForbidden},
		{"a hidden origin", "", "null", annasToken, http.StatusForbidden},
		{"plain HTTP to a name", "broker.example", "http://broker.example", annasToken, http.StatusForbidden},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			o := b.newOffice()
			request := o.form("/admin/sign-in", url.Values{"secret": {c.token}})
			request.Header.Set("Origin", c.origin)
			request.Host = c.host
			got := o.send(request)
			if got.status != c.status || got.header.Get("Set-Cookie") != "" {
				t.Errorf("got status %d and the cookie %q, want %d and none", got.status, got.header.Get("Set-Cookie"), c.status)
			}
			wantText(t, string(got.body), "There is a problem")
			if c.token != "" && strings.Contains(string(got.body), c.token) {
				t.Error("the page shows the token")
			}
		})
	}
}

func TestSignInLeadsNowhereElse(t *testing.T) {
	b := newOfficeBank(t)
	for _, next := range []string{"https://evil.example/admin/", "//evil.example/admin/", "/\\evil.example", "/v1/account", "admin/", "/admin/sign-in", "", "javascript:alert(1)"} {
		got := b.newOffice().post("/admin/sign-in", url.Values{"secret": {annasToken}, "next": {next}})
		if got.header.Get("Location") != "/admin/" {
			t.Errorf("next %q led to %q", next, got.header.Get("Location"))
		}
	}
}

func TestGuessingTokens(t *testing.T) {
	b := newOfficeBank(t, func(c *broker.Config) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	})
	o := b.newOffice()
	try := func(token string) int {
		request := o.form("/admin/sign-in", url.Values{"secret": {token}})
		request.Header.Set("X-Forwarded-For", "192.0.2.1")
		return o.send(request).status
	}
	for range 15 { // right ones do not count
		if got := try(annasToken); got != http.StatusSeeOther {
			t.Fatalf("got status %d for a right token", got)
		}
	}
	for range 20 {
		if got := try("a wrong token of many letters"); got != http.StatusUnprocessableEntity {
			t.Fatalf("got status %d for a wrong token", got)
		}
	}
	if got := try(annasToken); got != http.StatusTooManyRequests {
		t.Errorf("got status %d after 20 wrong tokens, want 429", got)
	}
	b.clock.advance(60)
	if got := try(annasToken); got != http.StatusSeeOther {
		t.Errorf("got status %d a minute later", got)
	}
}

// Behind a proxy that is not configured all look alike: whoever guesses there
// keeps no operator out.
func TestGuessingTokensBehindAnUnknownProxy(t *testing.T) {
	b := newOfficeBank(t)
	o := b.newOffice()
	for range 30 {
		if got := o.post("/admin/sign-in", url.Values{"secret": {"a wrong token of many letters"}}); got.status != http.StatusUnprocessableEntity {
			t.Fatalf("got status %d for a wrong token", got.status)
		}
	}
	if got := o.post("/admin/sign-in", url.Values{"secret": {annasToken}}); got.status != http.StatusSeeOther {
		t.Errorf("got status %d after 30 wrong tokens", got.status)
	}
}

func TestSessionsEnd(t *testing.T) {
	const hour = 60 * 60
	cases := []struct {
		name string
		end  func(*bank, *office)
		live bool
	}{
		{"used each half hour", func(b *bank, o *office) {
			for range 20 {
				b.clock.advance(hour / 2)
				o.page("/admin/health")
			}
		}, true},
		{"left alone for an hour", func(b *bank, _ *office) { b.clock.advance(hour) }, false},
		{"twelve hours old", func(b *bank, o *office) {
			for range 23 {
				b.clock.advance(hour / 2)
				o.page("/admin/health")
			}
			b.clock.advance(hour / 2)
		}, false},
		{"after a restart", func(b *bank, o *office) { b.open(); o.moveTo(b.url) }, true},
		{"after another token", func(b *bank, o *office) {
			b.config.Operators = []broker.Operator{{Name: "anna", Token: "another-token-of-many-letters"}}
			b.open()
			o.moveTo(b.url)
		}, false},
		{"after signing out", func(_ *bank, o *office) { o.post("/admin/sign-out", url.Values{"token": {o.token()}}) }, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := newOfficeBank(t)
			o := b.signedIn(annasToken)
			c.end(b, o)
			if got := o.get("/admin/health").status == http.StatusOK; got != c.live {
				t.Errorf("the session lives: got %t, want %t", got, c.live)
			}
		})
	}
}

// A cookie that somebody kept is worth nothing once its owner has signed out.
func TestSigningOutEndsACopiedCookie(t *testing.T) {
	b := newOfficeBank(t)
	o := b.signedIn(annasToken)
	thief := &office{b, &http.Client{Jar: b.newOffice().client.Jar, CheckRedirect: o.client.CheckRedirect}}
	thief.takeCookies(o)
	thief.page("/admin/health")
	if got := o.post("/admin/sign-out", url.Values{"token": {o.token()}}); got.status != http.StatusSeeOther {
		t.Fatalf("got status %d", got.status)
	}
	if got := thief.get("/admin/health"); got.status != http.StatusSeeOther {
		t.Errorf("the copy still gets status %d", got.status)
	}
}

func (o *office) takeCookies(from *office) {
	address, err := url.Parse(o.url)
	if err != nil {
		o.t.Fatal(err)
	}
	o.client.Jar.SetCookies(address, from.client.Jar.Cookies(address))
}

// moveTo lets a browser talk to another server under the same name.
func (o *office) moveTo(address string) {
	o.url = address // cookies know hosts and not ports
}

// token returns what the forms carry.
func (o *office) token() string { return hidden(o.page("/admin/")).Get("token") }

func TestFormsOfOthersAreRefused(t *testing.T) {
	b := newOfficeBank(t)
	u := b.newUser(0)
	o := b.signedIn(annasToken)
	path := "/admin/accounts/" + u.account + "/fund"
	whole := func() url.Values {
		return url.Values{"token": {o.token()}, "form": {"aaaaaaaaaaaaaaaa"}, "step": {"done"}, "amount": {"5.00"}, "payment": {"x"}}
	}
	cases := []struct {
		name   string
		change func(url.Values, *http.Request)
		status int
	}{
		{"no token", func(v url.Values, _ *http.Request) { v.Del("token") }, http.StatusForbidden},
		{"a wrong token", func(v url.Values, _ *http.Request) { v.Set("token", strings.Repeat("a", 43)) }, http.StatusForbidden},
		{"another's token", func(v url.Values, _ *http.Request) { v.Set("token", b.signedIn(annasToken).token()) }, http.StatusForbidden},
		{"a foreign origin", func(_ url.Values, r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, http.StatusForbidden},
		{"no origin", func(_ url.Values, r *http.Request) { r.Header.Del("Origin") }, http.StatusForbidden},
		{"another port", func(_ url.Values, r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:1") }, http.StatusForbidden},
		{"no cookie", func(_ url.Values, r *http.Request) { r.Header.Set("X-No-Cookie", "1") }, http.StatusSeeOther},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			values := whole()
			request := o.form(path, values)
			c.change(values, request)
			again := o.form(path, values)
			again.Header = request.Header
			sender := o
			if request.Header.Get("X-No-Cookie") != "" {
				sender = b.newOffice()
			}
			if got := sender.send(again); got.status != c.status {
				t.Errorf("got status %d, want %d: %s", got.status, c.status, got.body)
			}
		})
	}
	t.Run("a reader", func(t *testing.T) {
		reader := b.signedIn(benosToken)
		values := whole()
		values.Set("token", reader.token())
		got := reader.post(path, values)
		if got.status != http.StatusForbidden {
			t.Errorf("got status %d, want 403", got.status)
		}
		if page := reader.page("/admin/accounts/" + u.account); strings.Contains(page, `/fund"`) {
			t.Error("the page offers what a reader may not do")
		}
	})
	u.wantBalance(0, 0)
	if got := o.post(path, whole()); got.status != http.StatusSeeOther {
		t.Errorf("the whole form: got status %d: %s", got.status, got.body)
	}
	u.wantBalance(5_000_000, 0)
}

func TestLargeFormsAreRefused(t *testing.T) {
	b := newOfficeBank(t)
	got := b.newOffice().post("/admin/sign-in", url.Values{"secret": {strings.Repeat("a", 20_000)}})
	if got.status != http.StatusBadRequest {
		t.Errorf("got status %d, want 400", got.status)
	}
}

// The database away: nothing is shown of why, and what was typed is not lost.
func TestPagesWithoutADatabase(t *testing.T) {
	b := newOfficeBank(t)
	u := b.newUser(0)
	o := b.signedIn(annasToken)
	path := "/admin/accounts/" + u.account + "/fund"
	asked := o.fill(path, map[string]string{"amount": "5.00", "payment": "transfer-9"})
	b.SetFault(func(point string) error {
		if point == "after fund" {
			return errors.New("SECRET of the database")
		}
		return nil
	})
	got := o.post(path, hidden(string(asked.body)))
	b.SetFault(nil)
	if got.status != http.StatusServiceUnavailable || strings.Contains(string(got.body), "SECRET") {
		t.Fatalf("got status %d: %s", got.status, got.body)
	}
	wantText(t, string(got.body), `value="5.00"`, `value="transfer-9"`, "it is done once")
	// The answer was lost and the money was booked: sending it again changes nothing.
	values := hidden(string(got.body))
	values.Set("amount", "5.00")
	values.Set("payment", "transfer-9")
	wantText(t, string(o.post(path, values).body), "this payment was booked already")
	values.Set("step", "done")
	if again := o.post(path, values); again.status != http.StatusSeeOther {
		t.Errorf("got status %d: %s", again.status, again.body)
	}
	u.wantBalance(5_000_000, 0)
	b.wantSound()
}

func TestAdministrationApart(t *testing.T) {
	b := newOfficeBank(t)
	for _, c := range []struct {
		path                  string
		public, administrator int
	}{
		{"/admin/sign-in", 404, 200}, {"/admin", 404, 308}, {"/admin/style.css", 404, 200}, {"/v1/admin/fundings", 404, 401},
		{"/healthz", 200, 200}, {"/readyz", 200, 200}, {"/openapi.json", 200, 404}, {"/v1/account", 401, 404},
	} {
		request, _ := b.request("GET", c.path, nil)
		public, administrator := httptest.NewRecorder(), httptest.NewRecorder()
		b.PublicHandler().ServeHTTP(public, request)
		b.AdminHandler().ServeHTTP(administrator, request)
		if public.Code != c.public || administrator.Code != c.administrator {
			t.Errorf("%s: got status %d and %d, want %d and %d", c.path, public.Code, administrator.Code, c.public, c.administrator)
		}
	}
}

// Whoever guesses keeps out those at the same address alone, on the pages and in
// the API together.
func TestGuessingTokensByAddress(t *testing.T) {
	b := newOfficeBank(t, func(c *broker.Config) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	})
	o := b.newOffice()
	signIn := func(address, token string) int {
		request := o.form("/admin/sign-in", url.Values{"secret": {token}})
		request.Header.Set("X-Forwarded-For", address)
		return o.send(request).status
	}
	call := func(address, token string) int {
		request, _ := b.request("GET", "/v1/admin/fundings", nil)
		request.Header.Set("X-Forwarded-For", address)
		request.Header.Set("Authorization", "Bearer "+token)
		return b.do(request).status
	}
	const guesser, other = "192.0.2.1", "192.0.2.2"
	for range 10 {
		if got := call(guesser, "a wrong token of many letters"); got != http.StatusUnauthorized {
			t.Fatalf("got status %d", got)
		}
		if got := signIn(guesser, "a wrong token of many letters"); got != http.StatusUnprocessableEntity {
			t.Fatalf("got status %d", got)
		}
	}
	for range 30 { // right ones do not count
		if got := call(other, annasToken); got != http.StatusOK {
			t.Fatalf("another address got status %d", got)
		}
	}
	if got := signIn(guesser, annasToken); got != http.StatusTooManyRequests {
		t.Errorf("signing in after 20 guesses: got status %d", got)
	}
	if got := call(guesser, annasToken); got != http.StatusTooManyRequests {
		t.Errorf("calling after 20 guesses: got status %d", got)
	}
	if got := signIn(other, annasToken); got != http.StatusSeeOther {
		t.Errorf("another address got status %d", got)
	}
	b.clock.advance(60)
	if got := call(guesser, annasToken); got != http.StatusOK {
		t.Errorf("a minute later: got status %d", got)
	}
}
