package caddymodule_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/caddymodule"
)

// TestReloadKeepsEverything reloads the configuration again and again while
// requests come in: none is refused, and spent goes on from where it was.
func TestReloadKeepsEverything(t *testing.T) {
	s := site{dir: t.TempDir(), vendor: freeOrigin(t), payword: "reread off"}
	gate := startGate(t, s)
	p := newPayer(t, wish{name: "reload", vendor: gate.vendor})
	gate.mustPay(t, "/first", p.opening(p.payment(1, 1)))
	const workers, each = 4, 60
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for i := range each {
				number := uint64(2 + worker*each + i)
				if status := gate.persist(fmt.Sprintf("/%d", number), p.header(p.payment(255, number))); status != http.StatusOK {
					t.Errorf("number %d during a reload: %d", number, status)
				}
			}
		})
	}
	for i := range 20 {
		s.payword = fmt.Sprintf("reread off\ndescription \"reload %d\"", i)
		if err := gate.load(t, configOf(t, s)); err != nil {
			t.Fatalf("reload %d: %v", i, err)
		}
	}
	group.Wait()
	response, _ := gate.mustPay(t, "/last", p.header(p.payment(255, 1000)))
	if got := statusOf(t, response); got.Spent != (workers*each+2)*testPrice {
		t.Errorf("spent %s, want %s", got.Spent, (workers*each+2)*testPrice)
	}
}

// persist asks until an answer comes: a server that is replaced closes the
// connections it had accepted, and asking again is free.
func (g *testGate) persist(target string, headers map[string]string) (status int) {
	for range 20 {
		if response, err := g.send(http.MethodGet, target, headers); err == nil {
			response.Body.Close()
			return response.StatusCode
		}
	}
	return 0
}

// TestRestartKeepsEverything stops Caddy and starts it again on the same store.
func TestRestartKeepsEverything(t *testing.T) {
	s := site{dir: t.TempDir(), vendor: freeOrigin(t)}
	gate := startGate(t, s)
	p := newPayer(t, wish{name: "restart", vendor: gate.vendor})
	gate.mustPay(t, "/1", p.opening(p.payment(2, 1)))
	challenge := http.Header{}
	if response, _ := gate.do(t, http.MethodGet, "/2", nil); response != nil {
		challenge = response.Header
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	gate = startGate(t, s)
	response, _ := gate.do(t, http.MethodGet, "/2", p.header(p.payment(2, 1)))
	if got := statusOf(t, response); got.Reason != payword.AlreadyUsed || got.Spent != testPrice || got.Accepted != 2*testPrice {
		t.Errorf("after a restart a number was worth %+v", got)
	}
	// A quote from before the restart still holds.
	challenges, err := payword.ParseChallenges(challenge.Values("WWW-Authenticate"))
	if err != nil || len(challenges) != 1 {
		t.Fatalf("challenges: %v, %v", challenges, err)
	}
	credential, err := payword.Credential{Challenge: challenges[0], Payload: payword.NewPayload(p.payment(2, 2))}.Format()
	if err != nil {
		t.Fatal(err)
	}
	gate.mustPay(t, "/2", map[string]string{"Authorization": credential})
}

// TestStoreDownIs503 breaks the store: the gate closes, and asks nobody to pay
// again.
func TestStoreDownIs503(t *testing.T) {
	gate := startGate(t, site{})
	p := newPayer(t, wish{name: "down store", vendor: gate.vendor})
	gate.mustPay(t, "/1", p.opening(p.payment(1, 1)))
	if err := caddymodule.BreakStore(filepath.Join(gate.dir, "store")); err != nil {
		t.Fatal(err)
	}
	for _, headers := range []map[string]string{p.header(p.payment(2, 2)), p.opening(p.payment(2, 2))} {
		response, body := gate.do(t, http.MethodGet, "/2", headers)
		if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" || body != "" {
			t.Errorf("with the store down: %s %q", response.Status, body)
		}
		if response.Header.Get("WWW-Authenticate") != "" || response.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("headers: %v", response.Header)
		}
	}
	if response, _ := gate.do(t, http.MethodGet, "/2", nil); response.StatusCode != http.StatusPaymentRequired {
		t.Errorf("who brings nothing is told the price all the same: %s", response.Status)
	}
}

// TestPaywordsAreNotLogged runs with access logs of everything and looks for
// what was sent.
func TestPaywordsAreNotLogged(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	gate := startGate(t, site{dir: dir, options: fmt.Sprintf("log logs {\noutput file %s\nlevel DEBUG\nformat payword json\n}", path), rest: "log\nrespond ok"})
	p := newPayer(t, wish{name: "logged", vendor: gate.vendor})
	opening, paying := p.opening(p.payment(1, 1)), p.header(p.payment(2, 2))
	gate.mustPay(t, "/1", opening)
	gate.mustPay(t, "/2", paying)
	gate.do(t, http.MethodGet, "/3", p.header(p.payment(2, 2)))
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	logged, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(logged), `"payword":{"reason":"already-used"`) {
		t.Errorf("the access log does not say what became of the payment: %s", logged)
	}
	for _, headers := range []map[string]string{opening, paying} {
		for name, value := range headers {
			if strings.Contains(string(logged), value) || strings.Contains(string(logged), `"`+name+`":`) {
				t.Errorf("the log holds the header %s", name)
			}
		}
	}
}

// TestCaddyfileExample runs the example that ships with the project, as it is
// but for its addresses.
func TestCaddyfileExample(t *testing.T) {
	example, err := os.ReadFile(filepath.Join("..", "Caddyfile.example"))
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(strings.TrimSpace(withoutComments(string(example))), "\n") + 1; lines > 15 {
		t.Errorf("the example takes %d lines", lines)
	}
	vendor, dir := freeOrigin(t), t.TempDir()
	writeTestFile(t, filepath.Join(dir, "articles", "one.html"), "the article")
	writeTestFile(t, filepath.Join(dir, "index.html"), "free for all")
	configOf(t, site{dir: dir, vendor: vendor}) // writes the broker's keys
	text := strings.NewReplacer(
		"https://broker.example", testIssuer+" "+filepath.Join(dir, "broker-keys.json")+"\n\t\tstore "+filepath.Join(dir, "store"),
		"\nnews.example {", "\n"+vendor+" {\n\tbind 127.0.0.1",
		"https://news.example", vendor,
		"/srv/news", dir,
	).Replace(string(example))
	text = strings.Replace(text, "{\n", "{\n\tadmin off\n\tpersist_config off\n", 1)
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	gate := &testGate{vendor: vendor, dir: dir, http: http.DefaultClient}
	if err := caddy.Load(adapted, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { caddy.Stop() })
	if _, body := gate.mustPay(t, "/", nil); body != "free for all" {
		t.Errorf("the front page is %q", body)
	}
	if response, _ := gate.do(t, http.MethodGet, "/articles/one.html", nil); response.StatusCode != http.StatusPaymentRequired {
		t.Errorf("an article without payment: %s", response.Status)
	}
	if _, body := gate.mustPay(t, payword.PathDiscovery, nil); !strings.Contains(body, vendor) {
		t.Errorf("the discovery document is %q", body)
	}
	p := newPayer(t, wish{name: "example", vendor: vendor})
	if _, body := gate.mustPay(t, "/articles/one.html", p.opening(p.payment(1, 1))); body != "the article" {
		t.Errorf("the article is %q", body)
	}
}

func withoutComments(text string) string {
	var kept []string
	for _, line := range strings.Split(text, "\n") {
		if trimmed := strings.TrimSpace(line); trimmed != "" && !strings.HasPrefix(trimmed, "#") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

func writeTestFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestCaddyfileMistakes wants an error that says what would be right.
func TestCaddyfileMistakes(t *testing.T) {
	tests := []struct{ name, global, directive, want string }{
		{"no broker", "", "payword http://127.0.0.1:1 0.001 USD", "at least one broker"},
		{"broker that is no origin", "broker broker.example", "payword http://127.0.0.1:1 0.001 USD", "begins with https://"},
		{"unknown global option", "broker https://broker.example\nspeed 9", "payword http://127.0.0.1:1 0.001 USD", "there is no option \"speed\": want one of"},
		{"no price", "broker https://broker.example", "payword {\nvendor https://news.example\n}", "such as 0.001 USD"},
		{"price with a sign", "broker https://broker.example", "payword https://news.example -1 USD", "want a number"},
		{"price of nothing", "broker https://broker.example", "payword https://news.example 0 USD", "more than 0"},
		{"vendor with a slash", "broker https://broker.example", "payword https://news.example/ 0.001 USD", "vendor"},
		{"unknown option", "broker https://broker.example", "payword https://news.example 0.001 USD {\nprize 1\n}", "there is no option \"prize\": want one of"},
		{"twice", "broker https://broker.example\nquote_life 1m\nquote_life 2m", "payword https://news.example 0.001 USD", "quote_life stands here twice: want it once, at Caddyfile:12"},
		{"two prices for all", "broker https://broker.example", "payword https://news.example 0.001 USD {\nprice 0.002 USD\n}", "stands here already, 0.001 USD: want one"},
		{"two vendors", "broker https://broker.example", "payword https://news.example 0.001 USD {\nvendor https://other.example\n}", "stands here already, https://news.example"},
		{"no argument", "broker https://broker.example", "payword https://news.example 0.001 USD {\nmode\n}", "want mode enforce|log_only, one argument and not 0"},
		{"an argument too many", "broker https://broker.example\nmax_step 1 2", "payword https://news.example 0.001 USD", "want max_step <hashes>, one argument and not 2"},
		{"an argument where none belongs", "broker https://broker.example\nunsafe_logs yes", "payword https://news.example 0.001 USD", "want unsafe_logs alone on its line"},
		{"free path without a slash", "broker https://broker.example", "payword https://news.example 0.001 USD {\nfree path css\n}", "begins with / or *"},
		{"a comma, with the line", "broker https://broker.example", "payword https://news.example 0,001 USD", "with at most six digits after the point, at Caddyfile:15"},
		{"a slash, with the line", "broker https://broker.example/", "payword https://news.example 0.001 USD", "the slash too, at Caddyfile:10"},
		{"redis without a port", "broker https://broker.example\nredis localhost", "payword https://news.example 0.001 USD", "such as 127.0.0.1:6379"},
		{"another durability", "broker https://broker.example\ndurability maybe", "payword https://news.example 0.001 USD", "durability \"maybe\": want sync or async"},
		{"a durability of redis", "broker https://broker.example\nredis 127.0.0.1:1\ndurability async", "payword https://news.example 0.001 USD", "is set there, by appendfsync"},
		{"a unit in the plural", "broker https://broker.example", "payword https://news.example 0.001 USD {\nmeter {\nunit bytes\n}\n}", "how many of \"bytes\" there are"},
		{"duration", "broker https://broker.example\nquote_life soon", "payword https://news.example 0.001 USD", "such as 5m"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			text := fmt.Sprintf("{\nadmin off\npersist_config off\nlog {\nlevel ERROR\nformat payword\n}\npayword {\nstore %s\n%s\n}\n}\n%s {\nbind 127.0.0.1\n%s\n}\n",
				t.TempDir(), test.global, freeOrigin(t), test.directive)
			adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
			if err == nil {
				err = caddy.Load(adapted, true)
				t.Cleanup(func() { caddy.Stop() })
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error that says %q", err, test.want)
			}
		})
	}
}
