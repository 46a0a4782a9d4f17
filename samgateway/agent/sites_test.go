package agent_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/pursetest"
	"github.com/paywordhq/payword/samgateway/agent"
)

// What a page in the holder's browser can try without being paired, or in
// another's name.
func TestHostileSites(t *testing.T) {
	card := newCard(t, pursetest.Keys(t), cardID, 100_00)
	h := newHome(t, card, "", nil)
	h.pair()
	text, err := json.Marshal(payment("wss://gateway.example/relay"))
	if err != nil {
		t.Fatal(err)
	}
	body, requests, port := string(text), h.origin+"/v1/requests", h.origin[strings.LastIndex(h.origin, ":"):]
	cases := []struct {
		name, method, address, body string
		headers                     map[string]string
		status                      int
	}{
		{"another site", "POST", requests, body, map[string]string{"Origin": "https://evil.example"}, 403},
		{"another site with the token", "POST", requests, body, map[string]string{"Origin": "https://shop.example.evil.example"}, 403},
		{"the same name without TLS", "POST", requests, body, map[string]string{"Origin": "http://shop.example"}, 403},
		{"another port", "POST", requests, body, map[string]string{"Origin": shop + ":8443"}, 403},
		{"no origin", "POST", requests, body, map[string]string{"Origin": ""}, 403},
		{"a file or a frame without a home", "POST", requests, body, map[string]string{"Origin": "null"}, 403},
		{"the agent's own origin", "POST", requests, body, map[string]string{"Origin": h.origin}, 403},
		{"no token", "POST", requests, body, map[string]string{"Authorization": ""}, 401},
		{"a wrong token", "POST", requests, body, map[string]string{"Authorization": "Bearer " + h.token + "a"}, 401},
		{"the token as a password", "POST", requests, body, map[string]string{"Authorization": "Basic " + h.token}, 401},
		{"a form", "POST", requests, body, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, 400},
		{"a form of text", "POST", requests, body, map[string]string{"Content-Type": "text/plain"}, 400},
		{"GET of what is asked", "GET", requests, "", nil, 405},
		{"PUT", "PUT", requests, body, nil, 405},
		{"a name that points here", "POST", strings.Replace(requests, "127.0.0.1", "127.0.0.1", 1), body, map[string]string{"Host": "shop.example" + port}, 421},
		{"a name that points here, without a port", "POST", requests, body, map[string]string{"Host": "shop.example"}, 421},
		{"the address without its port", "POST", requests, body, map[string]string{"Host": "127.0.0.1"}, 421},
		{"a name that begins like the address", "POST", requests, body, map[string]string{"Host": "127.0.0.1.evil.example" + port}, 421},
		{"another of the machine's addresses", "POST", requests, body, map[string]string{"Host": "127.0.0.2" + port}, 421},
		{"the page by another name", "GET", h.page, "", map[string]string{"Host": "evil.example" + port, "Origin": ""}, 421},
		{"too large", "POST", requests, `{"intent":"pay","reference":"` + strings.Repeat("a", 8192) + `"}`, nil, 400},
		{"an unknown member", "POST", requests, `{"intent":"pay","pin":"1111"}`, nil, 400},
		{"two objects", "POST", requests, body + body, nil, 400},
		{"no such request", "GET", requests + "/abc", "", nil, 404},
		{"a guessed page", "GET", h.origin + "/holder/guess/", "", nil, 404},
		{"a yes to a guessed page", "POST", h.origin + "/holder/guess/yes", "agreed=yes", nil, 404},
		{"a yes of the site", "POST", h.page + "yes", "agreed=yes", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, 403},
		{"a yes of a frame", "POST", h.page + "yes", "agreed=yes", map[string]string{"Origin": "null"}, 403},
		{"a yes of another site's form", "POST", h.page + "yes", "agreed=yes", map[string]string{"Origin": h.origin, "Sec-Fetch-Site": "cross-site"}, 403},
		{"a yes by GET", "GET", h.page + "yes", "", nil, 405},
		{"a code of the site", "POST", h.page + "pair", "", nil, 403},
		{"pairing without a code", "POST", h.origin + "/v1/pairings", `{"code":""}`, map[string]string{"Origin": "https://evil.example"}, 403},
		{"somewhere else", "GET", h.origin + "/v2/", "", nil, 404},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := h.send(c.method, c.address, c.body, h.asSite(c.headers))
			if got.status != c.status {
				t.Errorf("got %d %q, want %d", got.status, got.body, c.status)
			}
			if allowed := got.header.Get("Access-Control-Allow-Origin"); allowed != "" && allowed != shop {
				t.Errorf("%q may read the answer", allowed)
			}
			if c.status == 403 && got.header.Get("Access-Control-Allow-Origin") != "" {
				t.Error("a site that is turned away may read the answer")
			}
		})
	}
	if text := h.look(); !strings.Contains(text, "No site asks for anything") {
		t.Errorf("something waits:\n%s", text)
	}
	if len(card.asked) != 0 {
		t.Errorf("%d commands reached the card", len(card.asked))
	}
}

// Another paired site has a token, but not this one's.
func TestTokensAreOfOneSite(t *testing.T) {
	h := newHome(t, newCard(t, pursetest.Keys(t), cardID, 100_00), "", nil)
	h.pair()
	const other = "https://other.example"
	first := h.token
	got := h.send("POST", h.origin+"/v1/pairings", `{"code":"`+h.code()+`"}`, h.asSite(map[string]string{"Origin": other}))
	if got.status != http.StatusCreated || got.header.Get("Access-Control-Allow-Origin") != other {
		t.Fatalf("got %d %s", got.status, got.body)
	}
	asked := h.ask(payment("wss://gateway.example/relay"))
	if got := h.send("GET", h.origin+"/v1/requests/"+asked.Request, "", h.asSite(map[string]string{"Origin": other})); got.status != http.StatusUnauthorized {
		t.Errorf("with the token of another: got %d", got.status)
	}
	var read struct{ Token string }
	if err := json.Unmarshal([]byte(got.body), &read); err != nil {
		t.Fatal(err)
	}
	own := map[string]string{"Origin": other, "Authorization": "Bearer " + read.Token}
	for _, method := range []string{"GET", "DELETE"} {
		if got := h.send(method, h.origin+"/v1/requests/"+asked.Request, "", h.asSite(own)); got.status != http.StatusNotFound {
			t.Errorf("%s of another site's request: got %d %s", method, got.status, got.body)
		}
	}
	// Paired once more, a site has a new token, and the old one is nobody's.
	h.press("no", url.Values{"request": {asked.Request}})
	h.pair()
	if h.token == first {
		t.Fatal("the token is the old one")
	}
	if got := h.send("GET", h.origin+"/v1/requests/"+asked.Request, "", h.asSite(map[string]string{"Authorization": "Bearer " + first})); got.status != http.StatusUnauthorized {
		t.Errorf("with the old token: got %d", got.status)
	}
	if got := h.stateOf(asked.Request); got.Phase != agent.Declined {
		t.Errorf("got %+v, want declined", got)
	}
	// And one that is removed has none, nor waits for a yes.
	h.ask(payment("wss://gateway.example/relay"))
	h.press("unpair", url.Values{"origin": {shop}})
	if text := h.look(); strings.Contains(text, "asks for this") {
		t.Errorf("a site that was removed still asks:\n%s", text)
	}
	if got := h.send("GET", h.origin+"/v1/requests/"+asked.Request, "", h.asSite(nil)); got.status != http.StatusForbidden {
		t.Errorf("removed: got %d", got.status)
	}
}

// An extension that may read all of this machine's pages looks without an Origin,
// and sends one with whatever changes something.
func TestExtensionsLookWithoutAnOrigin(t *testing.T) {
	h := newHome(t, newCard(t, pursetest.Keys(t), cardID, 100_00), "", nil)
	h.pair()
	asked := h.ask(payment("wss://gateway.example/relay"))
	address := h.origin + "/v1/requests/" + asked.Request
	cases := []struct {
		name, method, token string
		status              int
	}{
		{"with its token", "GET", h.token, http.StatusOK},
		{"with a wrong one", "GET", h.token + "a", http.StatusForbidden},
		{"with none", "GET", "", http.StatusForbidden},
		{"to take the request back", "DELETE", h.token, http.StatusForbidden},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := h.send(c.method, address, "", map[string]string{"Authorization": "Bearer " + c.token})
			if got.status != c.status || got.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("got %d %q %v, want %d, and that no page may read it", got.status, got.body, got.header, c.status)
			}
		})
	}
}

func TestCodesAreGuessedInVain(t *testing.T) {
	h := newHome(t, newCard(t, pursetest.Keys(t), cardID, 0+1), "", nil)
	try := func(origin, code string) int {
		return h.send("POST", h.origin+"/v1/pairings", `{"code":"`+code+`"}`, map[string]string{"Origin": origin, "Content-Type": "application/json"}).status
	}
	code := h.code()
	wrong := fmt.Sprintf("%08d", 99_999_999)
	if code == wrong {
		wrong = "00000000"
	}
	// Tries of different sites count together.
	for _, origin := range []string{"https://a.example", "https://b.example", "https://c.example"} {
		if got := try(origin, wrong); got != http.StatusForbidden {
			t.Errorf("a wrong code: got %d", got)
		}
	}
	if got := try(shop, code); got != http.StatusForbidden {
		t.Errorf("the right code after three wrong ones: got %d", got)
	}
	if text := h.look(); !strings.Contains(text, "https://c.example") || strings.Contains(text, code[:4]+" "+code[4:]) {
		t.Errorf("the page does not tell who guessed, or still shows the code:\n%s", text)
	}
	code = h.code()
	h.clock.advance(2 * time.Minute)
	if got := try(shop, code); got != http.StatusForbidden {
		t.Errorf("an old code: got %d", got)
	}
	old := h.code()
	if code = h.code(); code == old {
		t.Fatal("two codes are the same")
	}
	if got := try(shop, old); got != http.StatusForbidden {
		t.Errorf("the code before: got %d", got)
	}
	if got := try("null", code); got != http.StatusForbidden {
		t.Errorf("a code from nowhere: got %d", got)
	}
	if got := try(shop, code); got != http.StatusCreated {
		t.Errorf("the right code: got %d", got)
	}
	if got := try("https://other.example", code); got != http.StatusForbidden {
		t.Errorf("the code once more: got %d", got)
	}
}

// The pages of an extension have no https origin, and are paired like a site.
func TestExtensionsArePaired(t *testing.T) {
	cases := []struct {
		name, origin string
		status       int
	}{
		{"Chromium's", "chrome-extension://" + strings.Repeat("abcdefgp", 4), http.StatusCreated},
		{"Firefox's", "moz-extension://0b1d4d6e-9a3f-4c52-8e77-2f1c8a9b6d05", http.StatusCreated},
		{"letters that no id has", "chrome-extension://" + strings.Repeat("abcdefgq", 4), http.StatusForbidden},
		{"an id that is too long", "chrome-extension://" + strings.Repeat("a", 33), http.StatusForbidden},
		{"with a path", "chrome-extension://" + strings.Repeat("a", 32) + "/popup.html", http.StatusForbidden},
		{"of another browser", "safari-web-extension://0b1d4d6e-9a3f-4c52-8e77-2f1c8a9b6d05", http.StatusForbidden},
		{"a file", "file://", http.StatusForbidden},
	}
	h := newHome(t, newCard(t, pursetest.Keys(t), cardID, 1), "", nil)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := h.send("POST", h.origin+"/v1/pairings", `{"code":"`+h.code()+`"}`, map[string]string{"Origin": c.origin, "Content-Type": "application/json"})
			allowed := got.header.Get("Access-Control-Allow-Origin")
			if got.status != c.status || (c.status == http.StatusCreated) != (allowed == c.origin) {
				t.Errorf("got %d %q, readable by %q, want %d", got.status, got.body, allowed, c.status)
			}
		})
	}
}

// A browser asks before it sends anything across origins.
func TestPreflights(t *testing.T) {
	h := newHome(t, newCard(t, pursetest.Keys(t), cardID, 1), "", nil)
	ask := func(origin string) answer {
		return h.send("OPTIONS", h.origin+"/v1/requests", "", map[string]string{
			"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type",
			"Access-Control-Request-Private-Network": "true",
		})
	}
	wantNo := func(what, origin string) {
		t.Helper()
		got := ask(origin)
		if got.status != http.StatusForbidden || got.header.Get("Access-Control-Allow-Origin") != "" || got.header.Get("Access-Control-Allow-Private-Network") != "" {
			t.Errorf("%s: got %d %v, want that nothing is said", what, got.status, got.header)
		}
	}
	wantNo("a stranger", shop)
	h.pair()
	got := ask(shop)
	if got.status != http.StatusNoContent || got.header.Get("Access-Control-Allow-Origin") != shop || got.header.Get("Access-Control-Allow-Private-Network") != "true" ||
		!strings.Contains(got.header.Get("Access-Control-Allow-Headers"), "Authorization") || got.header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("a paired site: got %d %v", got.status, got.header)
	}
	wantNo("a stranger beside it", "https://evil.example")
	wantNo("nobody", "null")
	h.code()
	if got := ask("https://new.example"); got.status != http.StatusNoContent {
		t.Errorf("while a code waits: got %d", got.status)
	}
	wantNo("nobody, while a code waits", "null")
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	h := newHome(t, newCard(t, pursetest.Keys(t), cardID, 1), "", nil)
	h.pair()
	for name, change := range map[string]func(*agent.RequestBody){
		"no intent":             func(b *agent.RequestBody) { b.Intent = "" },
		"an unknown intent":     func(b *agent.RequestBody) { b.Intent = "cancel" },
		"nothing":               func(b *agent.RequestBody) { b.Amount = 0 },
		"a yen":                 func(b *agent.RequestBody) { b.Currency = "jpy-micro" },
		"a gateway without TLS": func(b *agent.RequestBody) { b.Gateway = "ws://gateway.example/relay" },
		"no gateway":            func(b *agent.RequestBody) { b.Gateway = "" },
		"no merchant":           func(b *agent.RequestBody) { b.Merchant = "4d" },
		"no payee":              func(b *agent.RequestBody) { b.Payee = "" },
		"a payee of two lines":  func(b *agent.RequestBody) { b.Payee = "A\nB" },
		"a payee turned round":  func(b *agent.RequestBody) { b.Payee = "A\u202eB" },
		"a long payee":          func(b *agent.RequestBody) { b.Payee = strings.Repeat("a", 65) },
		"an account to pay":     func(b *agent.RequestBody) { b.Account = "u-1" },
		"no account to fund":    func(b *agent.RequestBody) { b.Intent = "fund" },
		"a part of an unload":   func(b *agent.RequestBody) { b.Intent = "unload" },
		"an amount to resolve":  func(b *agent.RequestBody) { b.Intent = "resolve" },
	} {
		body := payment("wss://gateway.example/relay")
		change(&body)
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		got := h.send("POST", h.origin+"/v1/requests", string(text), h.asSite(nil))
		if got.status != http.StatusBadRequest || len(got.body) < 30 {
			t.Errorf("%s: got %d %s, want 400 and a sentence", name, got.status, got.body)
		}
	}
	// What a page sends as text is shown as text.
	body := payment("wss://gateway.example/relay")
	body.Payee, body.Reference = "<script>alert(1)</script>", `"><b>`
	h.ask(body)
	got := h.send("GET", h.page, "", nil)
	if strings.Contains(got.body, "<script") || strings.Contains(got.body, "<b>") || !strings.Contains(got.body, "&lt;script&gt;") {
		t.Errorf("the page has the site's markup:\n%s", got.body)
	}
	for name, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'", "X-Frame-Options": "DENY", "Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin", "X-Content-Type-Options": "nosniff",
	} {
		if !strings.Contains(got.header.Get(name), want) {
			t.Errorf("%s: got %q, want %q", name, got.header.Get(name), want)
		}
	}
}

// One request waits at a time, and not for ever.
func TestRequestsWaitForTheHolder(t *testing.T) {
	card := newCard(t, pursetest.Keys(t), cardID, 100_00)
	h := newHome(t, card, "", nil)
	h.pair()
	text, err := json.Marshal(payment("wss://gateway.example/relay"))
	if err != nil {
		t.Fatal(err)
	}
	again := func() int { return h.send("POST", h.origin+"/v1/requests", string(text), h.asSite(nil)).status }
	first := h.ask(payment("wss://gateway.example/relay"))
	if got := again(); got != http.StatusConflict {
		t.Errorf("a second one: got %d", got)
	}
	if got := h.stateOf(first.Request); got.Phase != agent.Waiting {
		t.Errorf("got %+v, want waiting", got)
	}
	old := shownPattern.FindStringSubmatch(h.look())[1]
	h.clock.advance(3 * time.Minute)
	h.press("yes", url.Values{"shown": {old}, "agreed": {"yes"}})
	if got := h.stateOf(first.Request); got.Phase != agent.Expired {
		t.Errorf("a yes that came too late: got %+v, want expired", got)
	}
	second := h.ask(payment("wss://gateway.example/relay"))
	h.look()
	h.press("yes", url.Values{"shown": {old}, "agreed": {"yes"}})
	if got := h.stateOf(second.Request); got.Phase != agent.Waiting {
		t.Errorf("a yes to another request: got %+v, want waiting", got)
	}
	shown := shownPattern.FindStringSubmatch(h.look())[1]
	h.press("yes", url.Values{"shown": {shown}})
	if got := h.stateOf(second.Request); got.Phase != agent.Waiting {
		t.Errorf("a yes without the tick: got %+v, want waiting", got)
	}
	if got := h.read(h.send("DELETE", h.origin+"/v1/requests/"+second.Request, "", h.asSite(nil))); got.Phase != agent.Withdrawn {
		t.Errorf("got %+v, want withdrawn", got)
	}
	third := h.ask(payment("wss://gateway.example/relay"))
	h.press("no", url.Values{"request": {third.Request}, "forget": {"yes"}})
	if got := again(); got != http.StatusForbidden {
		t.Errorf("a site that was removed: got %d", got)
	}
	for _, instruction := range []byte{0x32, 0x36, 0x50, 0x52, 0x20} {
		for _, command := range card.asked {
			if command[1] == instruction {
				t.Errorf("%02X reached the card without a yes", instruction)
			}
		}
	}
}
