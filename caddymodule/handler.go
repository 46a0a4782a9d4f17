package caddymodule

import (
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// Handler serves a request once it is paid for, and answers 402 with a price
// otherwise.
type Handler struct {
	// The site's origin: the name that commitments to it carry, such as
	// https://news.example. Required.
	Vendor string `json:"vendor,omitempty"`

	// What one request costs, as a number and a currency: "0.001 USD". The
	// number may hold placeholders. Required.
	Price string `json:"price,omitempty"`

	// Prices of the requests that their matchers name. The first that matches
	// counts; where none does, the price above. All are in one currency. At most
	// 100. Default: none.
	Prices []PriceRule `json:"prices,omitempty"`

	// A file of prices by path, which is read again when it changes. It counts
	// where no rule of Prices matches. Default: none.
	PriceMap *PriceMap `json:"price_map,omitempty"`

	// What is served without being paid for. Default: the built-in list.
	Free *Free `json:"free,omitempty"`

	// How many requests a day each client has free: one address of IPv4, or a
	// /64 of IPv6, per UTC day. Default: 0. At most 10000.
	FreeQuota int `json:"free_quota,omitempty"`

	// How much less is charged to a commitment that has spent much here, in
	// rising steps. Default: none. At most 20.
	Discounts []Discount `json:"discounts,omitempty"`

	// A pass that is sold. Default: none.
	Pass *PassOffer `json:"pass,omitempty"`

	// "enforce" (the default), or "log_only": everything is served free, and what
	// would have been earned is counted.
	Mode string `json:"mode,omitempty"`

	// A name for what this directive sells: quotes and passes are good for it
	// alone. Default, in a Caddyfile: a digest of the directive's matcher.
	Scope string `json:"scope,omitempty"`

	// What is bought, in a few words for people, with placeholders. It stands on
	// the page that asks for payment, and at most 200 characters of it are
	// shown. Default: "One page of" the site.
	Description string `json:"description,omitempty"`

	// How often and how long a page that was bought may be read again free.
	// Default: 5 times within 60s. "times": 0 turns it off.
	Reread *Reread `json:"reread,omitempty"`

	// Which header a credential of the Payment scheme is asked for in:
	// "Authorization" (the default), or "Payment-Authorization" for sites that
	// need Authorization themselves. Both are always read.
	CredentialHeader string `json:"credential_header,omitempty"`

	// What a credential of the Payment scheme is asked for: "session" (the
	// default), many requests on one commitment under a quote; "charge", one
	// request, whose challenge can be used once; or both with a space between,
	// "session charge", the preferred one first.
	Intent string `json:"intent,omitempty"`

	// What the names of the headers begin with that tell the upstream who paid
	// what, or "off". What clients send under such names never reaches it.
	// Default: "Payword-".
	IdentityHeaders string `json:"identity_headers,omitempty"`

	// "on" (the default) names the price in the header crawler-price too, where
	// crawlers that know nothing of payword look for one; "off" does not.
	CrawlerPrice string `json:"crawler_price,omitempty"`

	// Adds the prices to the site's OpenAPI document. Default: it does not.
	OpenAPI *OpenAPI `json:"openapi,omitempty"`

	// Other origins of the site that are paid with commitments to the vendor, as
	// the discovery document tells wallets. At most 16. None by default.
	Origins []string `json:"origins,omitempty"`

	// What people see instead of the page: "builtin" (the default) is a page of
	// our own; "error" leaves the body to handle_errors; anything else is the
	// file of an html/template, which is given a Page.
	Page string `json:"page,omitempty"`

	// Shows people who have not paid the beginning of the page itself. Default:
	// off.
	Teaser *Teaser `json:"teaser,omitempty"`

	// The one language that the page speaks: "en", "de", "es" or "fr". Default:
	// what the reader's browser asks for, and English where that is none of
	// these.
	Language string `json:"language,omitempty"`

	// How the cost of an answer is metered. Default: the price is for one
	// request, whatever the answer.
	Meter *Meter `json:"meter,omitempty"`

	app      *App
	logger   *zap.Logger
	sale     payword.PassScope
	base     PriceRule // the price of the directive
	priceSet string    // a digest of what decides between its prices

	unscoped  string    // a digest of the prices, if it has no scope
	apartOnce sync.Once // guards apartBy: all directives are provisioned before a request comes
	apartBy   string
	price     money.Amount
	currency  money.Currency
	realm     string
	intents   []string
	identity  identity
	counters  atomic.Pointer[vendorMetrics] // of the vendor, once it was looked up
	written   atomic.Pointer[writtenPrice]  // the price that was written last

	texts        *phrases           // of Language; nil lets the reader choose
	pageTemplate *template.Template // the publisher's page; nil for ours
}

// CaddyModule returns the module's description.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.payword", New: func() caddy.Module { return new(Handler) }}
}

// Provision reads the price and finds the app.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	app, err := ctx.App("payword")
	if err != nil {
		return fmt.Errorf("payword: the global option payword is missing or wrong: %w", err)
	}
	h.app = app.(*App)
	h.addSite()
	if err := h.provisionPrices(ctx); err != nil {
		return err
	}
	if h.Free == nil {
		h.Free = new(Free)
	}
	if err := h.Free.provision(ctx); err != nil {
		return err
	}
	if h.Meter != nil {
		if err := h.Meter.provision(h.price); err != nil {
			return err
		}
	}
	h.sale = h.saleScope()
	if h.Pass != nil {
		if err := h.Pass.provision(); err != nil {
			return err
		}
	}
	if err := h.provisionDiscounts(); err != nil {
		return err
	}
	h.realm = strings.TrimPrefix(strings.TrimPrefix(h.Vendor, "https://"), "http://")
	if h.intents, err = readIntents(h.Intent); err != nil {
		return err
	}
	if h.identity, err = newIdentity(h.IdentityHeaders); err != nil {
		return err
	}
	if h.OpenAPI != nil {
		if err := h.OpenAPI.provision(ctx); err != nil {
			return err
		}
	}
	h.app.vendors.add(h)
	if h.Reread == nil {
		h.Reread = &Reread{Times: defaultRereadTimes}
	}
	if h.Reread.Times == 0 && h.Reread.Within != 0 {
		return errors.New("payword: reread: within without times; set times to 0 alone to turn it off")
	}
	if h.Reread.Within == 0 {
		h.Reread.Within = defaultRereadWithin
	}
	return h.provisionPage()
}

// Validate checks the configuration.
func (h *Handler) Validate() error {
	if err := payword.CheckOrigin(h.Vendor); err != nil {
		return fmt.Errorf("payword: vendor: %w", err)
	}
	if err := h.validatePricing(); err != nil {
		return err
	}
	if err := errors.Join(h.OpenAPI.validate(), h.validateOrigins()); err != nil {
		return err
	}
	switch {
	case h.CredentialHeader != "" && h.CredentialHeader != "Authorization" && h.CredentialHeader != payword.HeaderPaymentAuthorization:
		return errors.New("payword: credential_header: want Authorization or Payment-Authorization")
	case h.CrawlerPrice != "" && h.CrawlerPrice != crawlerPriceOn && h.CrawlerPrice != crawlerPriceOff:
		return errors.New("payword: crawler_price: want on or off")
	}
	if h.Meter != nil {
		if err := h.Meter.validate(h.price); err != nil {
			return err
		}
	}
	return errors.Join(h.Reread.validate(), h.Teaser.validate(h.Page))
}

// parsePrice reads "0.001 USD".
func parsePrice(text string) (money.Amount, money.Currency, error) {
	number, code, found := strings.Cut(strings.TrimSpace(text), " ")
	if !found {
		return 0, "", fmt.Errorf("%q: want a number and a currency, such as 0.001 USD", text)
	}
	amount, err := money.ParseDecimal(number)
	if err != nil {
		return 0, "", err
	}
	currency, err := money.CurrencyFromCode(strings.TrimSpace(code))
	return amount, currency, err
}

// ServeHTTP serves r if it is paid for. It charges before it serves: the price
// is spent, durably, before the first byte of content, and given back if none
// comes. A refusal is 402; when we cannot tell it is 503, since a 402 would
// make people pay again.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	variables := variablesOf(r)
	if granted, _ := variables[grantedVariable].(bool); granted {
		return next.ServeHTTP(w, r) // by another payword directive, whose price counts
	}
	sent, refusal := takeSubmission(r, &h.identity)
	switch {
	case r.URL.Path == payword.PathDiscovery:
		return h.serveDiscovery(w, r)
	case r.URL.Path == payword.PathClaims:
		return h.serveClaims(w, r)
	case h.OpenAPI.isFor(r):
		return h.serveOpenAPI(w, r, next)
	case isPreflight(r):
		h.countUndecided(resultPreflight)
		return servePreflight(w, r, next)
	}
	q, err := h.quote(r)
	switch {
	case err != nil && h.isLogOnly():
		h.logger.Error("pricing a request that is served free", zap.Error(err))
		return next.ServeHTTP(w, r)
	case err != nil:
		return h.unavailable(w, err)
	case q.free != "":
		return h.serveFree(w, r, next, q)
	case h.isLogOnly():
		return h.serveLogOnly(w, r, next, q)
	case isPrefetch(r):
		h.countUndecided(resultPrefetch)
		return refusePrefetch(w)
	}
	if err := h.app.open(); err != nil {
		return h.unavailable(w, err)
	}
	x := h.newExchange(w, r, variables, sent, h.Meter.quote(q))
	x.next = next
	if blocked := x.checkAddress(); blocked.Refused() {
		return x.refuse(blocked)
	}
	if refusal.Reason == payword.PaymentRequired && x.hasQuota() {
		return x.serveOnQuota(next)
	}
	if refusal.Reason == payword.PaymentRequired && x.useCookie() {
		refusal = payword.Refusal{}
	}
	if !refusal.Refused() {
		ctx := x.traceDecision(r.Context())
		refusal, err = x.process(ctx)
		x.endDecision(refusal, err)
		if err != nil {
			return h.unavailable(w, err)
		}
	}
	if refusal.Refused() {
		return x.refuse(refusal)
	}
	if x.sent.action != payword.ActionPay {
		return x.acknowledge()
	}
	if x.wantsCookie() {
		return x.giveCookie()
	}
	if x.isForStream() {
		return x.continueStream()
	}
	return x.serve(next)
}

// unavailable closes the gate because we cannot tell. Nothing of the cause
// reaches the client.
func (h *Handler) unavailable(w http.ResponseWriter, cause error) error {
	h.countUndecided(resultUnavailable)
	w.Header().Set("Retry-After", "5")
	w.Header().Set("Cache-Control", "no-store")
	return caddyhttp.Error(http.StatusServiceUnavailable, cause)
}

// grantedVariable marks a request that a payword directive granted.
const grantedVariable = "payword.granted"

func wasGranted(r *http.Request) bool {
	granted, _ := variablesOf(r)[grantedVariable].(bool)
	return granted
}

// variablesOf returns Caddy's variables of a request; nil if there are none.
func variablesOf(r *http.Request) map[string]any {
	variables, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	return variables
}
