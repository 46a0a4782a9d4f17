package caddymodule_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// priceOf asks for a price and returns it, 0 where the request was served.
func (g *testGate) priceOf(t *testing.T, method, target string, headers map[string]string) money.Amount {
	t.Helper()
	response, body := g.do(t, method, target, headers)
	if response.StatusCode == http.StatusOK {
		return 0
	}
	if response.StatusCode != http.StatusPaymentRequired {
		t.Fatalf("%s %s: %s, want 200 or 402: %s", method, target, response.Status, body)
	}
	challenges, err := payword.ParseChallenges(response.Header.Values("WWW-Authenticate"))
	if err != nil || len(challenges) != 1 {
		t.Fatalf("%s %s: %d challenges (%v)", method, target, len(challenges), err)
	}
	request, err := payword.ParsePriceRequest(challenges[0].Request)
	if err != nil {
		t.Fatal(err)
	}
	return request.Amount
}

func TestPriceRules(t *testing.T) {
	t.Setenv("PAYWORD_TEST_PRICE", "0.007")
	gate := startGate(t, site{payword: `
		price 0.02 USD /premium/* /extra
		price 0.03 USD {
			method POST
			path /api/*
		}
		price 0.04 USD {
			expression {query.big} == "1"
		}
		price {env.PAYWORD_TEST_PRICE} USD /env
		price {header.X-Cost} USD /cost/*
		price 0.05 USD {
			header X-Tier gold
		}
		price free /open/*
	`})
	for _, test := range []struct {
		name, method, target string
		headers              map[string]string
		want                 money.Amount
	}{
		{"the price of the directive", "GET", "/", nil, 1000},
		{"a path pattern", "GET", "/premium/x", nil, 20_000},
		{"another one of the same rule", "GET", "/extra", nil, 20_000},
		{"case does not matter to paths", "GET", "/PREMIUM/x", nil, 20_000},
		{"a path that has to be cleaned", "GET", "/a/..//premium/x", nil, 20_000},
		{"an escaped path", "GET", "/%70remium/x", nil, 20_000},
		{"a HEAD is told the price of a GET", "HEAD", "/premium/x", nil, 20_000},
		{"method and path", "POST", "/api/x", nil, 30_000},
		{"path without the method", "GET", "/api/x", nil, 1000},
		{"an expression", "GET", "/a?big=1", nil, 40_000},
		{"the first that matches counts", "GET", "/premium/x?big=1", nil, 20_000},
		{"a price from the environment", "GET", "/env", nil, 7000},
		{"a price from a header", "GET", "/cost/x", map[string]string{"X-Cost": "0.123"}, 123_000},
		{"a header", "GET", "/a", map[string]string{"X-Tier": "gold"}, 50_000},
		{"a free rule", "GET", "/open/x", nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := gate.priceOf(t, test.method, test.target, test.headers); got != test.want {
				t.Errorf("%s %s costs %d, want %d", test.method, test.target, got, test.want)
			}
		})
	}
}

func TestPlaceholderWithoutAPriceClosesTheGate(t *testing.T) {
	gate := startGate(t, site{payword: "price {header.X-Cost} USD /cost/*"})
	for _, value := range []string{"", "0", "-1", "1e3", "0.0000001", "much", "{env.HOME}", strings.Repeat("9", 40)} {
		response, _ := gate.do(t, http.MethodGet, "/cost/x", map[string]string{"X-Cost": value})
		if response.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("X-Cost %q: %s, want 503", value, response.Status)
		}
	}
}

// A price that depends on a header buys nothing that costs more, by quote, by
// retry, or by reading again.
func TestCheapClassBuysNothingDear(t *testing.T) {
	gate := startGate(t, site{payword: "price 0.05 USD {\nheader X-Format full\n}"})
	p := newPayer(t, wish{name: "launderer", vendor: gate.vendor})
	dear := func(headers map[string]string) map[string]string {
		headers["X-Format"] = "full"
		return headers
	}
	mustCost := func(what string, headers map[string]string, want payword.Reason) {
		t.Helper()
		response, _ := gate.do(t, http.MethodGet, "/a", headers)
		if got := statusOf(t, response); response.StatusCode != http.StatusPaymentRequired || got.Reason != want {
			t.Errorf("%s: %s, %s, want 402 and %s", what, response.Status, got.Reason, want)
		}
	}
	cheapQuote := gate.challengeFor(t, "/a", nil)
	gate.mustPay(t, "/a", p.opening(p.payment(1, 1)))
	mustCost("the retry of a cheap request", dear(p.header(p.payment(1, 1))), payword.AlreadyUsed)
	mustCost("reading a cheap page again", dear(p.header(p.payment(1, 2))), payword.PriceOverMax)

	response, _ := gate.do(t, http.MethodGet, "/a", dear(p.credential(t, cheapQuote, p.payment(2, 3))))
	if response.StatusCode == http.StatusOK {
		t.Error("a cheap quote bought the dear page")
	}
	if response, body := gate.do(t, http.MethodGet, "/a", p.credential(t, cheapQuote, p.payment(2, 4))); response.StatusCode != http.StatusOK {
		t.Errorf("the cheap quote for the cheap page: %s: %s", response.Status, body)
	}
	if response, _ := gate.do(t, http.MethodGet, "/a", p.header(p.payment(1, 5))); response.StatusCode != http.StatusOK {
		t.Errorf("reading the cheap page again: %s", response.Status)
	}
	payment := p.payment(52, 6)
	payment.Max = 50_000
	dearQuote := gate.challengeFor(t, "/a", map[string]string{"X-Format": "full"})
	if response, body := gate.do(t, http.MethodGet, "/a", dear(p.credential(t, dearQuote, payment))); response.StatusCode != http.StatusOK {
		t.Errorf("the dear quote for the dear page: %s: %s", response.Status, body)
	}
}

// The same of two directives in blocks whose matchers they do not know.
func TestCheapBlockBuysNothingDear(t *testing.T) {
	s := site{dir: t.TempDir(), vendor: freeOrigin(t)}
	gate := startGate(t, s)
	block := "payword {\nvendor " + s.vendor + "\nprice %s USD\n}\nrespond content\n"
	text := "{\nadmin off\npersist_config off\nauto_https off\ndefault_bind 127.0.0.1\nlog {\nlevel ERROR\nformat payword\n}\npayword {\nbroker " +
		testIssuer + " " + filepath.Join(s.dir, "broker-keys.json") + "\nstore " + filepath.Join(s.dir, "store") + "\nredeem_interval 0\n}\n}\n" +
		s.vendor + " {\n@full header X-Format full\nhandle @full {\n" + fmt.Sprintf(block, "0.05") + "}\nhandle {\n" + fmt.Sprintf(block, "0.001") + "}\n}\n"
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := gate.load(t, adapted); err != nil {
		t.Fatal(err)
	}
	p := newPayer(t, wish{name: "blocks", vendor: gate.vendor})
	cheapQuote := gate.challengeFor(t, "/a", nil)
	gate.mustPay(t, "/a", p.opening(p.payment(1, 1)))
	for what, headers := range map[string]map[string]string{
		"by a retry":           p.header(p.payment(1, 1)),
		"by reading again":     p.header(p.payment(1, 2)),
		"by the cheap quote":   p.credential(t, cheapQuote, p.payment(2, 3)),
		"by the cheap payment": p.header(p.payment(60, 4)),
	} {
		headers["X-Format"] = "full"
		if response, _ := gate.do(t, http.MethodGet, "/a", headers); response.StatusCode != http.StatusPaymentRequired {
			t.Errorf("%s: %s, want 402", what, response.Status)
		}
	}
	gate.mustPay(t, "/a", p.credential(t, cheapQuote, p.payment(3, 5)))
}

// challengeFor returns the challenge that a request is answered with.
func (g *testGate) challengeFor(t *testing.T, target string, headers map[string]string) payword.Challenge {
	t.Helper()
	response, _ := g.do(t, http.MethodGet, target, headers)
	challenges, err := payword.ParseChallenges(response.Header.Values("WWW-Authenticate"))
	if err != nil || len(challenges) != 1 {
		t.Fatalf("GET %s: %s, %d challenges (%v)", target, response.Status, len(challenges), err)
	}
	return challenges[0]
}

// credential returns the headers that answer a challenge with a payment.
func (p *payer) credential(t *testing.T, challenge payword.Challenge, payment payword.Payment) map[string]string {
	t.Helper()
	value, err := payword.Credential{Challenge: challenge, Payload: payword.NewPayload(payment)}.Format()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"Authorization": value}
}

// A quote is good until it expires: after a price rise, and after the rules
// were changed.
func TestQuoteOutlivesAReload(t *testing.T) {
	s := site{payword: "reread off\nprice 0.001 USD /a", dir: t.TempDir(), vendor: freeOrigin(t)}
	gate := startGate(t, s)
	p := newPayer(t, wish{name: "quoted", vendor: gate.vendor})
	quoted := gate.challengeFor(t, "/a", nil)
	gate.mustPay(t, "/a", p.opening(p.payment(1, 1)))
	for number, rules := range map[uint64]string{
		2: "price 0.002 USD /a",
		3: "price 0.003 USD {\nheader X-No *\n}\nprice 0.002 USD /a",
		4: "price 0.003 USD /*",
		5: "price 0.003 USD",
	} {
		s.payword = "reread off\n" + rules
		if err := gate.load(t, configOf(t, s)); err != nil {
			t.Fatal(err)
		}
		if got := gate.priceOf(t, http.MethodGet, "/a", nil); got < 2000 {
			t.Fatalf("%q: the price is %d", rules, got)
		}
		response, body := gate.do(t, http.MethodGet, "/a", p.credential(t, quoted, p.payment(1+uint32(number), number)))
		if response.StatusCode != http.StatusOK {
			t.Errorf("%q: %s: %s", rules, response.Status, body)
		}
	}
}

func TestPricesThatAreRefused(t *testing.T) {
	for _, test := range []struct{ options, want string }{
		{"price 0.01 EUR /a", "one currency"},
		{"price 0 USD /a", "more than 0"},
		{"price 0.01", "want price <amount> <currency>"},
		{"price 0.01 USD /a {\npath /b\n}", "in one place"},
		{"price 0.01 USD {\nnosuchmatcher x\n}", "nosuchmatcher"},
		{"price 0.01 USD premium/*", "begins with /"},
		{"price free", "stands here already"},
		{"pass 24h\nmeter {\nunit byte\n}", "directive of its own"},
		{"pass 30s", "1m to 744h"},
		{"pass 24h\nprice 0.05 USD /dear", "the cheapest page"},
		{"pass 24h 0", "more than 0"},
		{"free_quota -1", "requests a day"},
		{"free_quota 10001", "0 to 10000"},
		{"discount 5.00 100", "1 to 99"},
		{"discount 5.00 10\ndiscount 5.00 20", "rising order"},
		{"mode off", "enforce or log_only"},
		{"free sometimes", "free default|off"},
		{strings.Repeat("price 0.01 USD /a\n", 101), "at most 100"},
	} {
		if err := refusedBy(t, test.options); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.40q: got %v, want an error with %q", test.options, err, test.want)
		}
	}
}

// refusedBy returns why a directive with options is refused, or nil.
func refusedBy(t *testing.T, options string) error {
	t.Helper()
	text := "{\n\tadmin off\n\tpersist_config off\n\tauto_https off\n\tlog {\n\t\tformat payword\n\t}\n\tpayword {\n\t\tbroker " + testIssuer + "\n\t\tstore " + t.TempDir() + "\n\t}\n}\n" +
		"http://127.0.0.1:1 {\n\tpayword {\n\t\tvendor http://127.0.0.1:1\n\t\tprice 0.001 USD\n" + options + "\n\t}\n}\n"
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		return err
	}
	var config caddy.Config
	if err := json.Unmarshal(adapted, &config); err != nil {
		t.Fatal(err)
	}
	return caddy.Validate(&config)
}

// rawGet sends a request target as it stands and returns the status.
func rawGet(t *testing.T, gate *testGate, target string) int {
	t.Helper()
	host := strings.TrimPrefix(gate.vendor, "http://")
	connection, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	fmt.Fprintf(connection, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target, host)
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}
