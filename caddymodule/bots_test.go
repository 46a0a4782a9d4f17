package caddymodule_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/paywordhq/payword/money"
)

const (
	firefoxAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	chromeAgent  = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
	safariAgent  = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
	gptAgent     = "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; GPTBot/1.3; +https://openai.com/gptbot"
	googleAgent  = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
)

func TestPeopleAndBots(t *testing.T) {
	gate := startGate(t, site{payword: `
		bots 0.01 USD ExampleFetch
		price 0.05 USD {
			path /bots-only
			not {
				payword_bot {
					except GoogleBot
				}
			}
		}
	`})
	for _, test := range []struct {
		name, agent, signature string
		want                   money.Amount
	}{
		{"Firefox", firefoxAgent, "", testPrice},
		{"Chrome", chromeAgent, "", testPrice},
		{"Safari", safariAgent, "", testPrice},
		{"GPTBot", gptAgent, "", 10_000},
		{"Googlebot", googleAgent, "", 10_000},
		{"in capitals", "CCBOT/2.0", "", 10_000},
		{"a fetcher", "python-requests/2.32.3", "", 10_000},
		{"ends like a crawler", "AcmeCrawler/1.0", "", 10_000},
		{"the publisher's own", "examplefetch/1", "", 10_000},
		{"a word in passing", "Mozilla/5.0 (Cubotics Phone)", "", testPrice},
		{"Web Bot Auth", firefoxAgent, `"https://agent.example"`, 10_000},
		{"what stands past the limit", firefoxAgent + strings.Repeat(" x", 600) + " GPTBot", "", testPrice},
	} {
		t.Run(test.name, func(t *testing.T) {
			headers := map[string]string{"User-Agent": test.agent}
			if test.signature != "" {
				headers["Signature-Agent"] = test.signature
			}
			if got := gate.priceOf(t, http.MethodGet, "/a", headers); got != test.want {
				t.Errorf("%s pays %d, want %d", test.agent, got, test.want)
			}
		})
	}
}

func TestBotExceptions(t *testing.T) {
	gate := startGate(t, site{payword: "price 0.01 USD {\npayword_bot {\nexcept Googlebot\n}\n}\nprice free {\nheader User-Agent *Googlebot*\n}"})
	for agent, want := range map[string]money.Amount{gptAgent: 10_000, googleAgent: 0, firefoxAgent: testPrice} {
		if got := gate.priceOf(t, http.MethodGet, "/a", map[string]string{"User-Agent": agent}); got != want {
			t.Errorf("%s pays %d, want %d", agent, got, want)
		}
	}
	response, _ := gate.do(t, http.MethodGet, "/a", map[string]string{"User-Agent": googleAgent})
	if got := response.Header.Get("Cache-Control"); !strings.Contains(got, "private") {
		t.Errorf("what is free for some has Cache-Control %q, want private", got)
	}
	for options, want := range map[string]string{
		"bots 0.01":               "want bots <amount> <currency>",
		"bots 0.01 USD two/parts": "one product token",
		"price 0.01 USD {\npayword_bot {\nonly x\n}\n}": "want except",
	} {
		if err := refusedBy(t, options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want an error with %q", options, err, want)
		}
	}
}
