package caddymodule_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/paywordhq/payword"
)

const article = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Storks</title></head>
<body><main><h1>Storks</h1><p>They came back early.</p>
<!-- payword:paid --><p class="body">SECRET</p><!-- payword:end -->
</main></body></html>`

// newsroom is an upstream that keeps what it was asked.
type newsroom struct {
	answer func(w http.ResponseWriter, r *http.Request)

	mu    sync.Mutex
	asked []*http.Request
}

// ServeHTTP implements http.Handler.
func (n *newsroom) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	n.asked = append(n.asked, r.Clone(r.Context()))
	n.mu.Unlock()
	if n.answer != nil {
		n.answer(w, r)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Content-Security-Policy", "img-src 'self'")
	header.Set("ETag", `"full"`)
	header.Set("Last-Modified", "Wed, 01 Jan 2025 00:00:00 GMT")
	header.Set("Set-Cookie", "session=1")
	header.Set("Cache-Control", "public, max-age=600")
	header.Set("X-Words", "1200")
	fmt.Fprint(w, article)
}

// last returns the newest question and how many there were.
func (n *newsroom) last(t *testing.T) (*http.Request, int) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.asked) == 0 {
		t.Fatal("the upstream was not asked")
	}
	return n.asked[len(n.asked)-1], len(n.asked)
}

func TestTeaser(t *testing.T) {
	news := &newsroom{}
	gate := startGate(t, site{payword: "teaser", upstream: news})
	headers := reader("de")
	for name, value := range map[string]string{
		"Cookie": "session=2", "Authorization": "Bearer x", "Range": "bytes=0-9", "If-None-Match": `"full"`,
		"If-Modified-Since": "Wed, 01 Jan 2025 00:00:00 GMT", "Accept-Encoding": "gzip", "X-Other": "1",
	} {
		headers[name] = value
	}
	response, body := gate.do(t, http.MethodGet, "/storks?a=1", headers)
	if response.StatusCode != http.StatusPaymentRequired || response.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("%s %v", response.Status, response.Header)
	}
	mustHold(t, body, "They came back early.", `"isAccessibleForFree":false`, `"cssSelector":".payword-paid"`,
		`<section class="payword-paid" lang="de" dir="ltr"`, "Der Rest dieser Seite kostet", "0,001&#xa0;USD", "ein zehntel Cent",
		testIssuer, "die payword-Erweiterung", `<script type="application/payword+json">{"id":"`, "</main>")
	if strings.Contains(body, "SECRET") || strings.Contains(body, "payword:paid") {
		t.Errorf("what is paid for is shown:\n%s", body)
	}
	asked, _ := news.last(t)
	for _, name := range []string{"Cookie", "Authorization", "Range", "If-None-Match", "If-Modified-Since", "X-Other", payword.HeaderPayword} {
		if asked.Header.Get(name) != "" {
			t.Errorf("the upstream was sent the reader's %s", name)
		}
	}
	if asked.Method != http.MethodGet || asked.URL.String() != "/storks?a=1" || asked.Header.Get("Accept-Language") != "de" ||
		asked.Header.Get("Accept-Encoding") != "identity" {
		t.Errorf("the upstream was asked %s %s %v", asked.Method, asked.URL, asked.Header)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": "img-src 'self'", "Cache-Control": "no-store",
		"ETag": "", "Last-Modified": "", "Set-Cookie": "", "X-Words": "", "Content-Length": fmt.Sprint(len(body)),
	} {
		if got := strings.Join(response.Header.Values(name), ","); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// A teaser delivers nothing that is paid for, and a payment is charged once.
func TestTeaserCostsNothing(t *testing.T) {
	news := &newsroom{}
	gate := startGate(t, site{payword: "teaser", upstream: news})
	p := newPayer(t, wish{name: "teased", vendor: gate.vendor})
	gate.do(t, http.MethodGet, "/one", reader("en"))
	response, body := gate.mustPay(t, "/one", p.opening(p.payment(1, 1)))
	if got := statusOf(t, response); got.Spent != testPrice || !strings.Contains(body, "SECRET") {
		t.Errorf("who paid spent %s for %s", got.Spent, body)
	}
	headers := reader("en")
	headers[payword.HeaderPayword] = payword.FormatPayment(p.payment(1, 2))
	response, body = gate.do(t, http.MethodGet, "/two", headers)
	if got := statusOf(t, response); got.Reason != payword.InsufficientCredit || got.Spent != testPrice {
		t.Errorf("%s, spent %s", got.Reason, got.Spent)
	}
	mustHold(t, body, "They came back early.", "does not cover this page", ">insufficient-credit</code>")
	if strings.Contains(body, "SECRET") {
		t.Error("what is paid for is shown to who did not pay")
	}
	if asked, _ := news.last(t); asked.Header.Get(payword.HeaderPayword) != "" {
		t.Error("the upstream saw the payment")
	}
}

func TestTeaserIsForReaders(t *testing.T) {
	news := &newsroom{}
	gate := startGate(t, site{payword: "teaser", upstream: news})
	gate.do(t, http.MethodGet, "/one", nil) // a program
	gate.do(t, http.MethodPost, "/one", reader("en"))
	news.mu.Lock()
	count := len(news.asked)
	news.mu.Unlock()
	if count != 0 {
		t.Errorf("the upstream was asked %d times for programs and posts", count)
	}
	_, body := gate.do(t, http.MethodGet, "/one", reader("en"))
	response, nothing := gate.do(t, http.MethodHead, "/one", reader("en"))
	if asked, count := news.last(t); asked.Method != http.MethodGet || count != 2 {
		t.Errorf("the upstream was asked %d times, the last with %s", count, asked.Method)
	}
	// The two differ in the challenge's time alone.
	if response.Header.Get("Content-Length") != fmt.Sprint(len(body)) || nothing != "" || response.Header.Get("ETag") != "" {
		t.Errorf("HEAD: %v, %q", response.Header, nothing)
	}
}

func TestTeaserForSearchEngines(t *testing.T) {
	gate := startGate(t, site{payword: "teaser {\nstatus 200\n}", upstream: &newsroom{}})
	refused, asking := reader("en"), reader("en")
	refused[payword.HeaderPayword] = "nonsense"
	asking[payword.HeaderAcceptPayment] = "payword/session"
	cases := []struct {
		name    string
		headers map[string]string
		status  int
	}{
		{"a crawler", reader("en"), 200},
		{"a wallet that says so", asking, 402},
		{"a payment that is refused", refused, 402},
		{"a program", nil, 402},
	}
	for _, c := range cases {
		response, body := gate.do(t, http.MethodGet, "/storks", c.headers)
		if response.StatusCode != c.status || strings.Contains(body, "SECRET") || response.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s got %s with a challenge %t", c.name, response.Status, response.Header.Get("WWW-Authenticate") != "")
		}
	}
}

func TestTeaserBySelector(t *testing.T) {
	gate := startGate(t, site{payword: "teaser {\nselector .body\n}", upstream: &newsroom{}})
	_, body := gate.do(t, http.MethodGet, "/storks", reader("en"))
	mustHold(t, body, "They came back early.", `<section class="payword-paid body"`, `"cssSelector":".body"`)
	if strings.Contains(body, "SECRET") {
		t.Error("what is paid for is shown")
	}
	match := regexp.MustCompile(`<script type="application/ld\+json">(.*?)</script>`).FindStringSubmatch(body)
	var document struct {
		Free bool `json:"isAccessibleForFree"`
		Part struct {
			Type     string `json:"@type"`
			Free     bool   `json:"isAccessibleForFree"`
			Selector string `json:"cssSelector"`
		} `json:"hasPart"`
	}
	document.Free, document.Part.Free = true, true
	if match == nil || json.Unmarshal([]byte(match[1]), &document) != nil || document.Free || document.Part.Free || document.Part.Type != "WebPageElement" {
		t.Errorf("the structured data says %+v", document)
	}
}

func gzipped(t *testing.T, text string) []byte {
	t.Helper()
	var compressed bytes.Buffer
	w := gzip.NewWriter(&compressed)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return compressed.Bytes()
}

// What cannot be cut for certain is not shown at all.
func TestTeaserShowsNothingInDoubt(t *testing.T) {
	compressed := gzipped(t, article)
	bomb := gzipped(t, strings.Repeat("SECRET", 1<<20)+"<!-- payword:paid -->")
	cases := []struct {
		name   string
		teaser bool
		answer func(w http.ResponseWriter)
	}{
		{"compressed all the same", true, func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(compressed)
		}},
		{"written in parts", true, func(w http.ResponseWriter) {
			for _, part := range strings.SplitAfter(article, "p") {
				fmt.Fprint(w, part)
				w.(http.Flusher).Flush()
			}
		}},
		{"an early hint", true, func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusEarlyHints)
			fmt.Fprint(w, article)
		}},
		{"no marker", false, func(w http.ResponseWriter) { fmt.Fprint(w, "SECRET") }},
		{"no HTML", false, func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/pdf")
			fmt.Fprint(w, article)
		}},
		{"no type", false, func(w http.ResponseWriter) {
			w.Header()["Content-Type"] = nil
			fmt.Fprint(w, article)
		}},
		{"an error", false, func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, article)
		}},
		{"a redirect", false, func(w http.ResponseWriter) {
			w.Header().Set("Location", "/SECRET")
			w.WriteHeader(http.StatusFound)
		}},
		{"a part", false, func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusPartialContent)
			fmt.Fprint(w, article)
		}},
		{"a compression that nobody asked for", false, func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "br")
			fmt.Fprint(w, article)
		}},
		{"a compression that is none", false, func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			fmt.Fprint(w, article)
		}},
		{"a compression that grows", false, func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(bomb)
		}},
		{"too large", false, func(w http.ResponseWriter) {
			fmt.Fprint(w, article+strings.Repeat("SECRET", 1<<16))
		}},
		{"broken off", false, func(w http.ResponseWriter) {
			fmt.Fprint(w, article)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			news := &newsroom{answer: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				c.answer(w)
			}}
			gate := startGate(t, site{payword: "teaser {\nmax_bytes 64KiB\n}", upstream: news})
			response, body := gate.do(t, http.MethodGet, "/storks", reader("en"))
			if response.StatusCode != http.StatusPaymentRequired || strings.Contains(body, "SECRET") || response.Header.Get("Content-Encoding") != "" {
				t.Errorf("%s %v\n%s", response.Status, response.Header, body)
			}
			want := "This page costs"
			if c.teaser {
				want = "The rest of this page costs"
			}
			mustHold(t, body, want)
			p := newPayer(t, wish{name: "doubt " + c.name, vendor: gate.vendor})
			if c.name == "no marker" {
				if _, body := gate.mustPay(t, "/storks", p.opening(p.payment(1, 1))); body != "SECRET" {
					t.Errorf("who pays got %q", body)
				}
			}
		})
	}
}

// An upstream that does not answer holds nobody up for longer than it may.
func TestTeaserOfASlowUpstream(t *testing.T) {
	done := make(chan struct{})
	news := &newsroom{answer: func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(done)
	}}
	gate := startGate(t, site{payword: "teaser {\ntimeout 50ms\n}", upstream: news})
	_, body := gate.do(t, http.MethodGet, "/storks", reader("en"))
	mustHold(t, body, "This page costs")
	<-done // the question was given up
}

// The gate's own question takes the way that the reader's request took, and
// another directive behind does not ask it to pay.
func TestTeaserTakesTheReadersWay(t *testing.T) {
	vendor := freeOrigin(t)
	gate := startGate(t, site{rest: `respond elsewhere
}
` + vendor + ` {
	vars /paid/* section news
	map {path} {shelf} {
		default "shelf 7"
	}
	handle /paid/* {
		route {
		payword {
			vendor ` + vendor + `
			price 0.002 USD
			teaser
		}
		uri strip_prefix /paid
		payword {
			vendor ` + vendor + `
			price 0.5 USD
		}
		header Content-Type text/html
		respond "{http.request.method} {http.request.uri} {http.request.orig_uri} {http.vars.section} {shelf} [{http.request.header.Cookie}]<!-- payword:paid -->SECRET"
		}
	}
	handle {
		respond "the wrong way"
	}`})
	gate.vendor = vendor
	headers := reader("en")
	headers["Cookie"] = "session=2"
	_, body := gate.do(t, http.MethodGet, "/paid/one?a=1", headers)
	mustHold(t, body, "GET /one?a=1 /paid/one?a=1 news shelf 7 []", "0.002&#xa0;USD")
	if strings.Contains(body, "SECRET") || strings.Contains(body, "the wrong way") {
		t.Errorf("the answer: %s", body)
	}
}

// Files are the commonest upstream: they have validators, ranges and compressed
// siblings, and encode stands behind the gate.
func TestTeaserOfAFile(t *testing.T) {
	root := t.TempDir()
	for name, content := range map[string][]byte{"storks.html": []byte(article), "storks.html.gz": gzipped(t, article)} {
		if err := os.WriteFile(filepath.Join(root, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	gate := startGate(t, site{payword: "teaser", rest: `
	root * ` + root + `
	encode gzip
	file_server {
		precompressed gzip
	}`})
	for _, name := range []string{"Range", "Accept-Encoding", "If-Modified-Since"} {
		headers := reader("en")
		headers[name] = map[string]string{"Range": "bytes=0-99", "Accept-Encoding": "gzip", "If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}[name]
		response, body := gate.do(t, http.MethodGet, "/storks.html", headers)
		mustHold(t, body, "They came back early.", "The rest of this page costs")
		if response.StatusCode != http.StatusPaymentRequired || strings.Contains(body, "SECRET") || response.Header.Get("ETag") != "" ||
			response.Header.Get("Last-Modified") != "" || response.Header.Get("Accept-Ranges") != "" || response.Header.Get("Content-Encoding") != "" {
			t.Errorf("with %s: %s %v", name, response.Status, response.Header)
		}
	}
	_, body := gate.do(t, http.MethodGet, "/none.html", reader("en"))
	mustHold(t, body, "This page costs")
}

func TestTeaserConfiguration(t *testing.T) {
	cases := []struct{ name, options, want string }{
		{"another status", "teaser {\nstatus 403\n}", "want 402 or 200"},
		{"a selector of another kind", "teaser {\nselector \"div > p\"\n}", "want a class or an id"},
		{"a long time", "teaser {\ntimeout 2h\n}", "at most 1m"},
		{"the page of errors", "teaser\npage error", "take one of the two"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := caddy.Load(configOf(t, site{dir: t.TempDir(), vendor: freeOrigin(t), admin: "off", payword: c.options}), true)
			if err == nil {
				t.Cleanup(func() { _ = caddy.Stop() })
				t.Fatal("the configuration was taken")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error does not say %q: %v", c.want, err)
			}
		})
	}
}
