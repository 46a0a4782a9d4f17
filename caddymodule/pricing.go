package caddymodule

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/paywordhq/payword/money"
)

// maxPriceRules bounds the rules of one directive: they are asked one after the
// other for every request. What has more prices than that is a price map.
const maxPriceRules = 100

// priceFree is what stands in place of an amount where nothing is to be paid.
const priceFree = "free"

// PriceRule is a price for the requests that its matchers name.
type PriceRule struct {
	// What one unit costs, as a number and a currency: "0.01 USD". The number
	// may hold placeholders. "free" asks for nothing. Required.
	Price string `json:"price,omitempty"`

	// Which requests it is the price of: one set of Caddy's request matchers or
	// more, of which any may match. Required.
	Match caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`

	label       string // for logs and counters
	identity    string // of its matchers, whatever the price; "" for the price of the directive
	matchers    caddyhttp.MatcherSets
	amount      money.Amount // in micros, unless there is a placeholder
	currency    money.Currency
	placeholder string // what the amount is made of; "" if it is fixed
	perRequest  bool   // the placeholder can differ between two requests for one URL
	free        bool
}

// fixedPlaceholder are placeholders that no request has a say in.
var fixedPlaceholder = regexp.MustCompile(`\{(env|file|system)\.[^{}]*\}`)

// read reads the rule's price, as far as that can be done without a request.
func (p *PriceRule) read() error {
	text := strings.TrimSpace(p.Price)
	if p.free = text == priceFree; p.free {
		return nil
	}
	if !strings.Contains(text, "{") {
		var err error
		if p.amount, p.currency, err = parsePrice(text); err != nil {
			return err
		}
		if p.amount < 1 {
			return fmt.Errorf("%q: want more than 0; what is to be paid nothing for is named by free", text)
		}
		return nil
	}
	at := strings.LastIndexByte(text, ' ')
	if at < 0 {
		return fmt.Errorf("%q: want a number and a currency, such as {env.PRICE} USD", text)
	}
	var err error
	p.placeholder = strings.TrimSpace(text[:at])
	p.perRequest = strings.Contains(fixedPlaceholder.ReplaceAllString(p.placeholder, ""), "{")
	p.currency, err = money.CurrencyFromCode(text[at+1:])
	return err
}

// maxPriceText bounds what is shown of a price that makes no sense, in bytes.
const maxPriceText = 24

// resolve reads the amount that a placeholder stands for. What is no price is an
// error, never a free page.
func (p *PriceRule) resolve(replacer *caddy.Replacer) (money.Amount, error) {
	text := strings.TrimSpace(replacer.ReplaceAll(p.placeholder, ""))
	amount, err := money.ParseDecimal(text)
	if err != nil || amount < 1 {
		if len(text) > maxPriceText {
			text = text[:maxPriceText]
		}
		return 0, p.failed(fmt.Errorf("%s is %q: want a number more than 0, such as 0.001, with at most six digits after the point", p.placeholder, text))
	}
	return amount, nil
}

// failed says which rule could not tell a price, for the log.
func (p *PriceRule) failed(cause error) error { return fmt.Errorf("payword: %s: %w", p.label, cause) }

// provisionPrices reads the prices of the directive and loads their matchers.
func (h *Handler) provisionPrices(ctx caddy.Context) error {
	h.base = PriceRule{Price: h.Price, label: "price"}
	if err := h.base.read(); err != nil {
		return fmt.Errorf("payword: price: %w", err)
	}
	h.price, h.currency = h.base.amount, h.base.currency
	for k := range h.Prices {
		rule := &h.Prices[k]
		rule.label = fmt.Sprintf("rule %d", k+1)
		if err := rule.read(); err != nil {
			return fmt.Errorf("payword: price %s: %w", rule.label, err)
		}
		encoded, err := json.Marshal(rule.Match) // the keys of a matcher set are sorted
		if err != nil {
			return fmt.Errorf("payword: price %s: %w", rule.label, err)
		}
		rule.identity = digestOf(string(encoded))
		loaded, err := ctx.LoadModule(rule, "Match")
		if err != nil {
			return fmt.Errorf("payword: price %s: %w", rule.label, err)
		}
		if err := rule.matchers.FromInterface(loaded); err != nil {
			return fmt.Errorf("payword: price %s: %w", rule.label, err)
		}
	}
	if h.PriceMap != nil {
		if err := h.PriceMap.provision(ctx, h.app); err != nil {
			return fmt.Errorf("payword: price_map: %w", err)
		}
	}
	h.priceSet = h.digestPrices()
	h.app.priceSets.add(h.priceSet)
	if h.Scope == "" {
		h.unscoped = h.digestAmounts()
		h.app.priceSets.add(digestOf(h.priceSet, h.unscoped))
		h.app.priceSets.addUnscoped(h.Vendor, h.unscoped)
		if h.Pass != nil && !h.app.priceSets.addPass(h.Vendor, digestOf(h.unscoped, h.Pass.Amount)) {
			return errors.New("payword: pass: several directives of the vendor sell passes at different prices and have no scope, so the cheapest would open what the others sell: give each a scope")
		}
	}
	return nil
}

// validatePricing checks everything that decides what a request costs.
func (h *Handler) validatePricing() error {
	err := errors.Join(h.validatePrices(), h.Free.validate(), h.validateFreeQuota(), h.validateDiscounts(), h.validateMode(), h.PriceMap.validate())
	if h.Pass != nil {
		err = errors.Join(err, h.Pass.validate(h))
	}
	if h.Meter != nil && (h.Pass != nil || len(h.Discounts) > 0 || h.FreeQuota > 0 || h.isLogOnly()) {
		err = errors.Join(err, errors.New("payword: pass, discount, free_quota and log_only go with prices that are known beforehand: give what is metered a directive of its own"))
	}
	return err
}

// validatePrices checks what the prices have to do with each other.
func (h *Handler) validatePrices() error {
	if h.base.free {
		return errors.New("payword: price: want more than 0; what is free needs no payword directive, or is named by free")
	}
	if len(h.Prices) > maxPriceRules {
		return fmt.Errorf("payword: %d prices in one directive: at most %d; more belong in a price_map", len(h.Prices), maxPriceRules)
	}
	for k := range h.Prices {
		switch rule := &h.Prices[k]; {
		case len(rule.matchers) == 0:
			return fmt.Errorf("payword: price %s: no matcher, so nothing behind it counts; the price of the directive is the one without", rule.label)
		case !rule.free && rule.currency != h.currency:
			return fmt.Errorf("payword: price %s is in %s and the directive's in %s: want one currency per directive", rule.label, rule.currency.Code(), h.currency.Code())
		}
	}
	return nil
}

// digestPrices names everything that decides which price a request has, but not
// the prices: two directives, or a directive before and after its rules were
// changed, have different ones. "" is a directive without a scope and rules.
func (h *Handler) digestPrices() string {
	if h.Scope == "" && len(h.Prices) == 0 {
		return ""
	}
	parts := []string{"prices", h.Vendor, h.Scope}
	for k := range h.Prices {
		parts = append(parts, h.Prices[k].identity)
	}
	return digestOf(parts...)
}

// digestAmounts tells directives apart that nothing else does: those without a
// scope, which stand in blocks whose matchers they do not know.
func (h *Handler) digestAmounts() string {
	parts := []string{"amounts", h.Price}
	for k := range h.Prices {
		parts = append(parts, h.Prices[k].Price, h.Prices[k].identity)
	}
	return digestOf(parts...)
}

// apart returns what tells this directive from others of its site: its scope,
// or, where several have none and ask different prices, the prices.
func (h *Handler) apart() string {
	h.apartOnce.Do(func() {
		h.apartBy = h.Scope
		if h.Scope == "" && h.app.priceSets.isAmbiguous(h.Vendor) {
			h.apartBy, h.priceSet = h.unscoped, digestOf(h.priceSet, h.unscoped)
		}
	})
	return h.apartBy
}

// classOf names the class of a price. A quote, a retry and a re-read are good
// for the class that they were made in. The price is no part of it, so that a
// quote outlives a price rise; except where the request itself has a say in it.
// A path that was rewritten is part of it, since then the URL does not tell.
func (h *Handler) classOf(rule *PriceRule, r *http.Request, amount money.Amount) string {
	rewritten, apart := "", h.apart()
	if h.priceSet != "" || h.PriceMap != nil {
		original, found := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
		if found && original.URL != nil && original.URL.Path != r.URL.Path {
			rewritten = r.URL.Path
		}
	}
	if rule.identity == "" && apart == "" && rewritten == "" && !rule.perRequest {
		return ""
	}
	parts := []string{"class", apart, rule.identity, rewritten}
	if rule.perRequest {
		parts = append(parts, amount.String())
	}
	return digestOf(parts...)
}

// digestBytes is the size of what names a price class, in bytes. Classes are
// made by the publisher's own configuration, so that nobody looks for two alike.
const digestBytes = 9

func digestOf(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return base64.RawURLEncoding.EncodeToString(sum[:digestBytes])
}

// priceSets are the digests of all directives of a configuration. A quote of a
// digest that is none of them was made under an earlier configuration.
type priceSets struct {
	mu       sync.RWMutex
	seen     map[string]struct{}
	unscoped map[string]map[string]struct{} // by vendor: the different prices of directives without a scope
	passes   map[string]string              // by vendor: the prices of those directives without a scope that sell passes
}

// addPass notes the prices of a directive without a scope that sells passes, and
// reports whether all others of its vendor have the same: they share the passes.
func (s *priceSets) addPass(vendor, prices string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.passes == nil {
		s.passes = make(map[string]string)
	}
	known, found := s.passes[vendor]
	s.passes[vendor] = prices
	return !found || known == prices
}

func (s *priceSets) addUnscoped(vendor, amounts string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unscoped == nil {
		s.unscoped = make(map[string]map[string]struct{})
	}
	if s.unscoped[vendor] == nil {
		s.unscoped[vendor] = make(map[string]struct{})
	}
	s.unscoped[vendor][amounts] = struct{}{}
}

// isAmbiguous reports whether a vendor has several directives without a scope
// that ask different prices.
func (s *priceSets) isAmbiguous(vendor string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.unscoped[vendor]) > 1
}

func (s *priceSets) add(digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = make(map[string]struct{})
	}
	s.seen[digest] = struct{}{}
}

func (s *priceSets) contains(digest string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, found := s.seen[digest]
	return found
}

// The members of a challenge's opaque parameter. It is a flat map of strings, as
// the Payment scheme asks, and bound by the challenge's id.
const (
	opaqueClass  = "class"  // of the price
	opaquePrices = "prices" // the digest of the directive that quoted it
)

// quotedClass returns what a challenge is to say of its price's class.
func (x *exchange) quotedClass() map[string]string {
	members := make(map[string]string)
	if x.quote.class != "" {
		members[opaqueClass] = x.quote.class
	}
	if x.priceSet != "" {
		members[opaquePrices] = x.priceSet
	}
	return members
}

// isQuoteOf reports whether the price that a challenge quoted is one of the
// class that the request is in, so that it is honoured. A quote from before the
// rules were changed is honoured in any class: that was promised.
func (x *exchange) isQuoteOf(opaque map[string]string) bool {
	return opaque[opaqueClass] == x.quote.class && opaque[opaquePrices] == x.priceSet ||
		!x.app.priceSets.contains(opaque[opaquePrices])
}

// maxOpaqueBytes bounds what is read of a challenge's opaque parameter. Ours
// hold three short members.
const maxOpaqueBytes = 1024

// parseOpaque reads an opaque parameter that we wrote. What is none has no
// members.
func parseOpaque(text string) map[string]string {
	var members map[string]string
	document, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(document) > maxOpaqueBytes || json.Unmarshal(document, &members) != nil {
		return nil
	}
	return members
}

// formatOpaque writes an opaque parameter; "" for no members.
func formatOpaque(members map[string]string) (string, error) {
	if len(members) == 0 {
		return "", nil
	}
	document, err := json.Marshal(members) // with sorted keys
	return base64.RawURLEncoding.EncodeToString(document), err
}

// readPrice reads the price of the directive, or of what stands behind it.
// Syntax:
//
//	price <amount> <currency>
//	price <amount> <currency>|free <path pattern>...
//	price <amount> <currency>|free {
//	    <matcher>...
//	}
func readPrice(h *Handler, d *caddyfile.Dispenser) error {
	arguments := d.RemainingArgs()
	if len(arguments) > 0 && arguments[0] == priceFree {
		arguments = append([]string{priceFree, ""}, arguments[1:]...)
	}
	if len(arguments) < 2 {
		return d.Err("want price <amount> <currency> [<path pattern>...], such as: price 0.001 USD")
	}
	price := strings.TrimSpace(arguments[0] + " " + arguments[1])
	if err := checkWrittenPrice(price); err != nil {
		return d.Errf("price: %v", err)
	}
	match, err := readRuleMatchers(d, arguments[2:])
	if err != nil {
		return err
	}
	if match != nil {
		h.Prices = append(h.Prices, PriceRule{Price: price, Match: caddyhttp.RawMatcherSets{match}})
		return nil
	}
	if h.Price != "" {
		return d.Errf("the price for all there is stands here already, %s: want one, and path patterns or matchers behind others", h.Price)
	}
	h.Price = price
	return nil
}

// checkWrittenPrice checks a price as far as it can be while the Caddyfile is
// read, where the line is known: placeholders have no value yet.
func checkWrittenPrice(price string) error {
	if price == priceFree || strings.ContainsAny(price, "{}") {
		return nil
	}
	_, _, err := parsePrice(price)
	return err
}

// checkPathPatterns refuses what no path could match.
func checkPathPatterns(d *caddyfile.Dispenser, patterns []string) error {
	for _, pattern := range patterns {
		if !strings.HasPrefix(pattern, "/") && !strings.HasPrefix(pattern, "*") {
			return d.Errf("%q: want a path pattern that begins with / or *; other matchers stand in a block", pattern)
		}
	}
	return nil
}

// readRuleMatchers reads the path patterns and the block of matchers of a rule.
// Both together have to match. It returns nil if there are none.
func readRuleMatchers(d *caddyfile.Dispenser, patterns []string) (caddy.ModuleMap, error) {
	match, err := caddyhttp.ParseCaddyfileNestedMatcherSet(d)
	if err != nil {
		return nil, err
	}
	if len(match) == 0 {
		match = nil
	}
	if len(patterns) == 0 {
		return match, nil
	}
	if err := checkPathPatterns(d, patterns); err != nil {
		return nil, err
	}
	if match == nil {
		match = make(caddy.ModuleMap)
	}
	if _, twice := match["path"]; twice {
		return nil, d.Err("path patterns stand behind the price and in its block: want them in one place")
	}
	encoded, err := json.Marshal(caddyhttp.MatchPath(patterns))
	match["path"] = encoded
	return match, err
}
