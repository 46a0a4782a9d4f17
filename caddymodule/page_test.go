package caddymodule_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/paywordhq/payword"
)

// reader is what a browser sends when somebody follows a link.
func reader(languages string) map[string]string {
	return map[string]string{
		"Accept":          "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
		"Accept-Language": languages, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document",
	}
}

// mustHold fails for each of the texts that a page does not hold.
func mustHold(t *testing.T, page string, wanted ...string) {
	t.Helper()
	page = strings.ReplaceAll(page, "\u00a0", " ")
	for _, want := range wanted {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not hold %q", want)
		}
	}
}

// The wording of each language is that of its file; one sentence of each is
// enough to know which was used.
func TestPageSpeaksTheReadersLanguage(t *testing.T) {
	gate := startGate(t, site{})
	cases := []struct {
		accepted, language string
		want               []string
	}{
		{"en-GB,en;q=0.9", "en", []string{"This page costs", "0.001 USD", "a tenth of a cent", "within one minute", "the payword extension"}},
		{"de-CH,de;q=0.9,en;q=0.5", "de", []string{"Diese Seite kostet", "0,001 USD", "ein zehntel Cent", "innerhalb von einer Minute", "die payword-Erweiterung"}},
		{"fr", "fr", []string{"Cette page coûte", "0,001 USD", "un dixième de cent", "l’extension payword"}},
		{"es-MX", "es", []string{"Esta página cuesta", "0,001 USD", "una décima de centavo", "la extensión payword"}},
		{"tlh", "en", []string{"This page costs"}},
	}
	for _, c := range cases {
		t.Run(c.accepted, func(t *testing.T) {
			response, body := gate.do(t, http.MethodGet, "/article", reader(c.accepted))
			if response.StatusCode != http.StatusPaymentRequired || response.Header.Get("Content-Language") != c.language {
				t.Fatalf("%s in %q, want 402 in %q", response.Status, response.Header.Get("Content-Language"), c.language)
			}
			if vary := strings.Join(response.Header.Values("Vary"), ","); !strings.Contains(vary, "Accept-Language") {
				t.Errorf("Vary: %s", vary)
			}
			mustHold(t, body, append(c.want, `<html lang="`+c.language+`" dir="ltr">`)...)
			if len(body) > 12<<10 {
				t.Errorf("the page has %d bytes", len(body))
			}
		})
	}
}

func TestLanguageCanBeFixed(t *testing.T) {
	gate := startGate(t, site{payword: "language fr"})
	response, body := gate.do(t, http.MethodGet, "/article", reader("de"))
	mustHold(t, body, "Cette page coûte")
	if vary := strings.Join(response.Header.Values("Vary"), ","); strings.Contains(vary, "Accept-Language") {
		t.Errorf("the page is the same for all, and says Vary: %s", vary)
	}
}

// The problem details are for programs, and stay in English.
func TestProblemDetailsAreEnglish(t *testing.T) {
	gate := startGate(t, site{})
	response, body := gate.do(t, http.MethodGet, "/article", map[string]string{"Accept-Language": "de"})
	if !strings.Contains(body, "This costs 0.001 USD.") || response.Header.Get("Content-Language") != "" {
		t.Errorf("%v: %s", response.Header, body)
	}
}

func TestWhoGetsThePage(t *testing.T) {
	gate := startGate(t, site{})
	const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	cases := []struct {
		name    string
		headers map[string]string
		page    bool
	}{
		{"a browser that navigates", reader("en"), true},
		{"a browser that navigates and accepts anything", map[string]string{"Accept": "*/*", "Sec-Fetch-Mode": "navigate"}, true},
		{"a frame", map[string]string{"Accept": browser, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, true},
		{"a browser of before fetch metadata", map[string]string{"Accept": browser}, true},
		{"a crawler", map[string]string{"Accept": "text/html,*/*;q=0.1"}, true},
		{"a script that wants HTML", map[string]string{"Accept": "text/html", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, true},
		{"XHTML alone", map[string]string{"Accept": "application/xhtml+xml"}, true},
		{"curl", map[string]string{"Accept": "*/*"}, false},
		{"no Accept at all", nil, false},
		{"a script's fetch", map[string]string{"Accept": "*/*", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, false},
		{"an image", map[string]string{"Accept": "image/avif,image/webp,*/*;q=0.8", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, false},
		{"an image that accepts HTML", map[string]string{"Accept": browser, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, false},
		{"an API client", map[string]string{"Accept": "application/json"}, false},
		{"JSON rather than HTML", map[string]string{"Accept": "application/json, text/html;q=0.9"}, false},
		{"problem details rather than HTML", map[string]string{"Accept": "text/html;q=0.5, application/problem+json"}, false},
		{"HTML rather than JSON", map[string]string{"Accept": "application/json;q=0.2, text/html"}, true},
		{"no HTML, said so", map[string]string{"Accept": "text/html;q=0, */*"}, false},
		{"a weight that is none", map[string]string{"Accept": "text/html;q=high"}, false},
		{"a long Accept", map[string]string{"Accept": "text/html," + strings.Repeat("a/b,", 500)}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			response, _ := gate.do(t, http.MethodGet, "/article", c.headers)
			want := "application/problem+json"
			if c.page {
				want = "text/html; charset=utf-8"
			}
			if got := response.Header.Get("Content-Type"); got != want || response.StatusCode != http.StatusPaymentRequired {
				t.Errorf("%s %s, want 402 %s", response.Status, got, want)
			}
		})
	}
}

func TestPageTellsWhyAPaymentWasRefused(t *testing.T) {
	gate := startGate(t, site{})
	headers := reader("de")
	headers[payword.HeaderPayword] = "nonsense"
	_, body := gate.do(t, http.MethodGet, "/article", headers)
	mustHold(t, body, "Die Zahlung wurde nicht angenommen.", "das diese Website nicht lesen kann", ">malformed-header</code>")

	p := newPayer(t, wish{name: "poor reader", vendor: gate.vendor, reserved: testPrice})
	gate.mustPay(t, "/one", p.opening(p.payment(1, 1)))
	headers = reader("en")
	headers[payword.HeaderPayword] = payword.FormatPayment(p.payment(1, 2))
	_, body = gate.do(t, http.MethodGet, "/two", headers)
	mustHold(t, body, "does not cover this page", ">insufficient-credit</code>")
}

// The path is the client's own text. It stands in the page as text, and nothing
// of it that cannot be seen does.
func TestDescriptionHasPlaceholders(t *testing.T) {
	gate := startGate(t, site{payword: `description "The article {http.request.uri.path}"`})
	_, body := gate.do(t, http.MethodGet, "/a%3Cb%3E%22%0d%0aX:%E2%80%AEc?q=1", reader("en"))
	mustHold(t, body, "The article /a&lt;b&gt;&#34;  X:c")
	response, _ := gate.do(t, http.MethodGet, "/a%0d%0aX-Made:%20up", nil)
	if response.Header.Get("X-Made") != "" || !strings.Contains(response.Header.Get("WWW-Authenticate"), `description="The article /a  X-Made: up"`) {
		t.Errorf("headers: %v", response.Header)
	}
	_, body = gate.do(t, http.MethodGet, "/"+strings.Repeat("%C3%A9", 300), reader("en"))
	mustHold(t, body, strings.Repeat("é", 187)+"…</bdi></p>")
}

// What a reader copies into a shell is one command, whatever the link held.
func TestCommandIsOneCommand(t *testing.T) {
	gate := startGate(t, site{})
	_, body := gate.do(t, http.MethodGet, "/a';touch%20x;'?b=$(id)&c", reader("en"))
	mustHold(t, body, `payword pay &#39;`+gate.vendor+`/a&#39;\&#39;&#39;;touch%20x;&#39;\&#39;&#39;?b=$(id)&amp;c&#39; --max 0.001`)
}

func TestPublishersTemplate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.html")
	source := `<!doctype html><html lang="{{.Language}}" dir="{{.Direction}}"><title>{{.Text "title"}}</title>
<p>{{.Site}}|{{.Status}}|{{.Description}}|{{.Price.Amount}}|{{.Price.Currency}}|{{.Price.Full}}|{{.Price.InWords}}|{{.Price.Micros}}
<p>{{.FormatPrice 5000}}|{{.PriceInWords 5000}}|{{.FormatPrice .Price.Micros}}|{{.Reread}}|{{.Reason}}{{range .Brokers}}|{{.}}{{end}}
<script type="application/payword+json">{{.Challenge}}</script>`
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	gate := startGate(t, site{payword: "page " + file + "\ndescription <i>one</i>"})
	response, body := gate.do(t, http.MethodGet, "/article", reader("de"))
	mustHold(t, body, `<html lang="de" dir="ltr"><title>0,001 USD, um diese Seite zu lesen</title>`,
		strings.TrimPrefix(gate.vendor, "http://")+"|402|&lt;i&gt;one&lt;/i&gt;|0,001|USD|0,001 USD|ein zehntel Cent|1000",
		"0,005 USD|ein halber Cent|0,001 USD|einer Minute||"+testIssuer, `+json">{"id":"`)
	if response.StatusCode != http.StatusPaymentRequired || response.Header.Get("Content-Security-Policy") != "" {
		t.Errorf("%s %v", response.Status, response.Header)
	}
	if response, _ = gate.do(t, http.MethodGet, "/article", nil); response.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("a program got %s", response.Header.Get("Content-Type"))
	}
}

// A template that fails at a reader's request only is stood in for.
func TestTemplateThatFailsLater(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, []byte(`half a page {{if .Site}}{{.Text "no such text"}}{{end}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	gate := startGate(t, site{payword: "page " + file})
	_, body := gate.do(t, http.MethodGet, "/article", reader("en"))
	if !strings.Contains(body, "This page costs") || strings.Contains(body, "half a page") {
		t.Errorf("the page: %s", body)
	}
}

func TestMistakesInThePageAreFoundAtStart(t *testing.T) {
	dir := t.TempDir()
	write := func(name, source string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	cases := []struct {
		name, options string
		want          []string
	}{
		{"no such file", "page " + filepath.Join(dir, "none.html"), []string{"none.html", "want builtin, error, or the file"}},
		{"a broken template", "page " + write("broken.html", "one\ntwo\n{{if}}"), []string{"broken.html:3"}},
		{"a field that is none", "page " + write("field.html", "one\n{{.Prize}}"), []string{"field.html:2", "Prize"}},
		{"a field of refusals that is none", "page " + write("late.html", "\n\n{{if .Reason}}\n{{.Because}}{{end}}"), []string{"late.html:4", "Because"}},
		{"too large a file", "page " + write("large.html", strings.Repeat("x", 1<<20+1)), []string{"at most"}},
		{"a language that is none", "language tlh", []string{`"tlh"`, "want one of en, de, es, fr"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := site{dir: t.TempDir(), vendor: freeOrigin(t), admin: "off", payword: c.options}
			err := caddy.Load(configOf(t, s), true)
			if err == nil {
				t.Cleanup(func() { _ = caddy.Stop() })
				t.Fatal("the configuration was taken")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
		})
	}
}

func TestErrorRoutesShowThePage(t *testing.T) {
	gate := startGate(t, site{
		payword: "page error\ndescription \"The article {http.request.uri.path}\"",
		rest: `respond content
	handle_errors 402 {
		header Content-Type text/html
		respond "{http.error.status_code}|{http.error.status_text}|{payword.language}|{payword.price}|{payword.amount}|{payword.currency}|{payword.price_in_words}|{payword.description}|{payword.reason}|{payword.problem}|{payword.brokers}|{payword.challenge}"
	}`,
	})
	response, body := gate.do(t, http.MethodGet, "/a%3Cb%3E", reader("de"))
	mustHold(t, body, "402|Payment Required|de|0,001 USD|0,001|USD|ein zehntel Cent|The article /a&lt;b&gt;|payment-required||"+testIssuer+`|{"id":"`)
	if response.StatusCode != http.StatusPaymentRequired || response.Header.Get("WWW-Authenticate") == "" ||
		response.Header.Get("Cache-Control") != "no-store" || !slices.Contains(response.Header.Values("Vary"), "Accept-Language") {
		t.Errorf("%s %v", response.Status, response.Header)
	}
	headers := reader("en")
	headers[payword.HeaderPayword] = "nonsense"
	_, body = gate.do(t, http.MethodGet, "/article", headers)
	mustHold(t, body, "|malformed-header|Your wallet sent something that this site cannot read.")
	p := newPayer(t, wish{name: "error page", vendor: gate.vendor})
	if _, body := gate.mustPay(t, "/article", p.opening(p.payment(1, 1))); body != "content" {
		t.Errorf("who pays gets %q", body)
	}
}

// A HEAD is answered with the headers of the page.
func TestPageLetsExtensionsAskItsOwnSite(t *testing.T) {
	response, _ := startGate(t, site{}).do(t, http.MethodGet, "/article", reader("en"))
	if policy := response.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none';") || !strings.Contains(policy, " connect-src 'self';") {
		t.Errorf("the page's policy is %q", policy)
	}
}

func TestHeadOfThePage(t *testing.T) {
	gate := startGate(t, site{})
	_, body := gate.do(t, http.MethodGet, "/article", reader("en"))
	response, nothing := gate.do(t, http.MethodHead, "/article", reader("en"))
	if response.StatusCode != http.StatusPaymentRequired || nothing != "" || response.Header.Get("Content-Length") != fmt.Sprint(len(body)) {
		t.Errorf("%s, %d bytes announced, want %d", response.Status, response.ContentLength, len(body))
	}
}

// A price of a unit says so, and the most that an answer can cost if that is
// known beforehand.
func TestPageTellsMeteredPrices(t *testing.T) {
	cases := []struct {
		meter string
		want  []string
		not   string
	}{
		{"meter {\nunit kilobyte\n}", []string{"Diese Seite kostet", "0,001 USD", ">ein zehntel Cent je angefangenem Kilobyte</p>"}, "höchstens"},
		{"meter {\nunit token\nfrom header X-Tokens\nceiling 0.5\n}", []string{">ein zehntel Cent je Token, höchstens 0,50 USD</p>"}, ""},
		{"price 2 USD\nmeter {\nunit request\nfrom header X-Cost\nceiling 5\n}", []string{"2,00 USD", ">höchstens 5,00 USD</p>"}, ""},
		{"price 2 USD\nmeter {\nunit token\nfrom header X-Tokens\nceiling 5\n}", []string{">je Token, höchstens 5,00 USD</p>"}, ""},
		{"meter {\nunit image\nfrom header X-Images\nceiling 0.5\n}", []string{">ein zehntel Cent je image, höchstens 0,50 USD</p>"}, ""},
	}
	for _, c := range cases {
		gate := startGate(t, site{payword: c.meter})
		_, body := gate.do(t, http.MethodGet, "/article", reader("de"))
		mustHold(t, body, c.want...)
		if c.not != "" && strings.Contains(body, c.not) {
			t.Errorf("the page holds %q", c.not)
		}
	}
}

// example returns the first block of code in a language below a heading of
// docs/gate.md.
func example(t *testing.T, heading, language string) string {
	t.Helper()
	document, err := os.ReadFile(filepath.Join("..", "docs", "gate.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(document), "\n"+heading+"\n")
	_, rest, opened := strings.Cut(section, "\n```"+language+"\n")
	code, _, closed := strings.Cut(rest, "\n```\n")
	if !found || !opened || !closed {
		t.Fatalf("docs/gate.md has no %s below %q", language, heading)
	}
	return code
}

// The template in the documentation is one that works.
func TestDocumentedTemplate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, []byte(example(t, "### A page of your own", "html")), 0o600); err != nil {
		t.Fatal(err)
	}
	gate := startGate(t, site{payword: "page " + file})
	headers := reader("fr")
	headers[payword.HeaderPayword] = "nonsense"
	_, body := gate.do(t, http.MethodGet, "/article", headers)
	mustHold(t, body, `<html lang="fr" dir="ltr">`, "<h1>Cette page coûte 0,001 USD, un dixième de cent</h1>",
		"<code>malformed-header</code>", "Ten articles: 0,01 USD.", `+json">{"id":"`)
}

// The error route in the documentation serves a file with placeholders in it.
func TestDocumentedErrorRoute(t *testing.T) {
	root := t.TempDir()
	page := `<h1>{{placeholder "payword.price"}}</h1><p>{{placeholder "payword.description"}}`
	if err := os.WriteFile(filepath.Join(root, "402.html"), []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	gate := startGate(t, site{payword: "page error\ndescription <i>{path}</i>", rest: `respond content
	handle_errors 402 {
		root * ` + root + `
		rewrite /402.html
		templates
		file_server
	}`})
	response, body := gate.do(t, http.MethodGet, "/article", reader("de"))
	mustHold(t, body, "<h1>0,001 USD</h1><p>&lt;i&gt;/article&lt;/i&gt;")
	if response.StatusCode != http.StatusPaymentRequired || response.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("%s %v", response.Status, response.Header)
	}
}

// TestErrorRoutesRunNoTemplateOfTheClient has an error route whose answer is a
// template, and a client who sends one in the URL: it is shown, and not run.
func TestErrorRoutesRunNoTemplateOfTheClient(t *testing.T) {
	gate := startGate(t, site{payword: "page error\ndescription {query}", rest: `respond content
	handle_errors 402 {
		header Content-Type text/html
		templates
		respond "{payword.url} {payword.description} {payword.challenge}"
	}`})
	_, body := gate.do(t, http.MethodGet, "/article?x={{1}}", reader("en"))
	mustHold(t, body, "x=&#123;&#123;1&#125;&#125;", "article?x=", `{"id":"`)
	if strings.Contains(body, "x=1") {
		t.Errorf("the client's template was run: %s", body)
	}
}
