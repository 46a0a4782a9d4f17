package caddymodule

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// MatchBot matches requests of programs that say that they are one: by the
// User-Agent of a known crawler, or by the Signature-Agent of Web Bot Auth. Both
// can be left out and forged, and neither is verified.
type MatchBot struct {
	// More product tokens of a User-Agent that are bots, such as "ExampleFetch".
	// Case does not matter. Default: none. At most 1000.
	Agents []string `json:"agents,omitempty"`

	// Product tokens that are not bots, whatever else says so. Default: none. At
	// most 1000.
	Except []string `json:"except,omitempty"`

	agents map[string]bool // in lower case; false for the exceptions
}

const (
	// maxAgentBytes bounds what is read of a User-Agent. Real ones are shorter.
	maxAgentBytes = 1024

	// maxAgents bounds the publisher's own tokens. They are looked up in a map.
	maxAgents = 1000
)

//go:embed bots.txt
var botsFile string

// knownBots are the tokens of the built-in list.
var knownBots = func() []string {
	var tokens []string
	for line := range strings.Lines(botsFile) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			tokens = append(tokens, line)
		}
	}
	return tokens
}()

// botEndings are how the tokens of most crawlers end.
var botEndings = []string{"bot", "crawler", "spider", "scraper"}

// CaddyModule returns the module's description.
func (MatchBot) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.matchers.payword_bot", New: func() caddy.Module { return new(MatchBot) }}
}

// Provision puts the tokens together.
func (m *MatchBot) Provision(caddy.Context) error {
	m.build()
	return nil
}

func (m *MatchBot) build() {
	m.agents = make(map[string]bool, len(knownBots)+len(m.Agents)+len(m.Except))
	for _, token := range knownBots {
		m.agents[token] = true
	}
	for _, token := range m.Agents {
		m.agents[strings.ToLower(token)] = true
	}
	for _, token := range m.Except {
		m.agents[strings.ToLower(token)] = false
	}
}

// Validate checks the publisher's tokens.
func (m *MatchBot) Validate() error {
	if len(m.Agents) > maxAgents || len(m.Except) > maxAgents {
		return fmt.Errorf("payword_bot: at most %d agents and %d exceptions", maxAgents, maxAgents)
	}
	for _, list := range [][]string{m.Agents, m.Except} {
		for _, token := range list {
			if token == "" || strings.ContainsFunc(token, func(c rune) bool { return !isAgentByte(c) }) {
				return fmt.Errorf("payword_bot: %q: want one product token of a User-Agent, such as ExampleFetch", token)
			}
		}
	}
	return nil
}

// isAgentByte reports whether c may stand in a product token as we read it.
func isAgentByte(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '!'
}

// Match reports whether a request says that it comes from a program.
func (m *MatchBot) Match(r *http.Request) bool {
	matches, _ := m.MatchWithError(r)
	return matches
}

// MatchWithError reports whether a request says that it comes from a program.
// An exception counts more than anything.
func (m *MatchBot) MatchWithError(r *http.Request) (bool, error) {
	agent := r.Header.Get("User-Agent")
	if len(agent) > maxAgentBytes {
		agent = agent[:maxAgentBytes]
	}
	found := r.Header.Get("Signature-Agent") != ""
	for token := range strings.FieldsFuncSeq(strings.ToLower(agent), func(c rune) bool { return !isAgentByte(c) }) {
		isBot, listed := m.agents[token]
		if listed && !isBot {
			return false, nil
		}
		found = found || isBot || endsLikeBot(token)
	}
	return found, nil
}

func endsLikeBot(token string) bool {
	for _, ending := range botEndings {
		if strings.HasSuffix(token, ending) {
			return true
		}
	}
	return false
}

// UnmarshalCaddyfile reads the matcher. Syntax:
//
//	payword_bot [<agent>...] {
//	    except <agent>...
//	}
func (m *MatchBot) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		m.Agents = append(m.Agents, d.RemainingArgs()...)
		for d.NextBlock(0) {
			if d.Val() != "except" || !d.NextArg() {
				return d.Err("want except <agent>...")
			}
			m.Except = append(m.Except, append([]string{d.Val()}, d.RemainingArgs()...)...)
		}
	}
	return nil
}

// readBots reads the price of bots, which is a price rule like any other.
// Syntax:
//
//	bots <amount> <currency>|free [<agent>...]
func readBots(h *Handler, d *caddyfile.Dispenser) error {
	arguments := d.RemainingArgs()
	price := ""
	switch {
	case len(arguments) > 0 && arguments[0] == priceFree:
		price, arguments = priceFree, arguments[1:]
	case len(arguments) > 1:
		price, arguments = arguments[0]+" "+arguments[1], arguments[2:]
	default:
		return d.Err("want bots <amount> <currency> [<agent>...], such as: bots 0.01 USD; or bots free")
	}
	if err := checkWrittenPrice(price); err != nil {
		return d.Errf("bots: %v", err)
	}
	encoded, err := json.Marshal(MatchBot{Agents: arguments})
	if err != nil {
		return err
	}
	h.Prices = append(h.Prices, PriceRule{Price: price, Match: caddyhttp.RawMatcherSets{{"payword_bot": encoded}}})
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner                 = (*MatchBot)(nil)
	_ caddy.Validator                   = (*MatchBot)(nil)
	_ caddyhttp.RequestMatcherWithError = (*MatchBot)(nil)
	_ caddyfile.Unmarshaler             = (*MatchBot)(nil)
)
