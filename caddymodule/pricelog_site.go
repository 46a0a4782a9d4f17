package caddymodule

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// logSite prices the requests of a log as the sites of a configuration would.
// It runs Caddy's own routes, with everything taken out that does more than
// decide which handler comes next.
type logSite struct {
	servers []logServer
	vendors []string
	quotas  *freeQuotas
}

type logServer struct {
	server *caddyhttp.Server
	routes caddyhttp.Handler
}

// logPrice is what a request would have cost.
type logPrice struct {
	sold     bool // a payword directive named it
	vendor   string
	rule     string
	free     string // why it was free; "" if it was not
	amount   money.Amount
	currency money.Currency
}

// The words for what was free beside those of free.go.
const (
	freeNotSold      = "no payword directive"
	freeNotDelivered = "not delivered" // an error, a redirect or 304
	freeHead         = "HEAD"
	freePreflight    = "preflight"
	freePrefetch     = "prefetch"
	freeMetered      = "metered"   // what it cost stood in an answer that is gone
	freeUnpriced     = "no answer" // 503: no price could be told
)

// openLogSite reads a Caddyfile, or Caddy's JSON, and prepares its routes. It
// opens no store and listens nowhere.
func openLogSite(file string) (*logSite, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if !json.Valid(content) {
		adapter := caddyconfig.GetAdapter("caddyfile")
		if adapter == nil {
			return nil, errors.New("this program was built without the Caddyfile adapter")
		}
		if content, _, err = adapter.Adapt(content, map[string]any{"filename": file}); err != nil {
			return nil, err
		}
	}
	config, err := configToPrice(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	ctx, err := caddy.ProvisionContext(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	app, err := ctx.App("http")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	site := &logSite{quotas: newFreeQuotas()}
	servers := app.(*caddyhttp.App).Servers
	for _, name := range sortedKeys(servers) {
		server := servers[name]
		nothing := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
		site.servers = append(site.servers, logServer{server: server, routes: server.Routes.Compile(nothing)})
	}
	site.vendors = vendorsIn(content)
	return site, nil
}

func sortedKeys[V any](of map[string]V) []string {
	keys := make([]string, 0, len(of))
	for key := range of {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// configToPrice keeps of a configuration what decides on prices.
func configToPrice(content []byte) (*caddy.Config, error) {
	var document struct {
		Apps struct {
			HTTP struct {
				Servers map[string]map[string]any `json:"servers"`
			} `json:"http"`
			Payword json.RawMessage `json:"payword"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(content, &document); err != nil {
		return nil, err
	}
	if len(document.Apps.Payword) == 0 || len(document.Apps.HTTP.Servers) == 0 {
		return nil, errors.New("it has no site with a payword directive, or no global option payword")
	}
	servers := make(map[string]any)
	for name, server := range document.Apps.HTTP.Servers {
		servers[name] = map[string]any{
			"listen": server["listen"], "routes": routesToPrice(server["routes"]),
			"automatic_https": map[string]any{"disable": true},
		}
	}
	encoded, err := json.Marshal(map[string]any{"servers": servers})
	if err != nil {
		return nil, err
	}
	return &caddy.Config{
		Admin: &caddy.AdminConfig{Disabled: true},
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{
			Level: "FATAL", EncoderRaw: json.RawMessage(`{"format":"payword"}`),
		}}}},
		AppsRaw: caddy.ModuleMap{"http": encoded, "payword": document.Apps.Payword},
	}, nil
}

// routesToPrice replaces the handlers of routes: the gate's by one that only
// prices, those that answer by one that answers nothing, and those that change
// an answer by none.
func routesToPrice(routes any) any {
	list, _ := routes.([]any)
	for _, route := range list {
		route, _ := route.(map[string]any)
		handlers, _ := route["handle"].([]any)
		kept := make([]any, 0, len(handlers))
		for _, handler := range handlers {
			handler, _ := handler.(map[string]any)
			switch handler["handler"] {
			case "subroute":
				handler["routes"] = routesToPrice(handler["routes"])
				delete(handler, "errors")
				kept = append(kept, handler)
			case "payword":
				handler["handler"] = "payword_price"
				kept = append(kept, handler)
			case "vars", "map", "rewrite", "static_response":
				kept = append(kept, handler)
			case "reverse_proxy":
				if handler["handle_response"] == nil { // forward_auth has it, and goes on
					kept = append(kept, map[string]any{"handler": "static_response"})
				}
			case "file_server", "error", "acme_server", "metrics":
				kept = append(kept, map[string]any{"handler": "static_response"})
			}
		}
		route["handle"] = kept
	}
	return routes
}

// vendorsIn returns the vendors of all payword handlers of a configuration.
func vendorsIn(content []byte) []string {
	var document any
	if json.Unmarshal(content, &document) != nil {
		return nil
	}
	found := make(map[string]bool)
	var walk func(any)
	walk = func(value any) {
		switch value := value.(type) {
		case []any:
			for _, item := range value {
				walk(item)
			}
		case map[string]any:
			if vendor, _ := value["vendor"].(string); vendor != "" && value["handler"] == "payword" {
				found[vendor] = true
			}
			for _, item := range value {
				walk(item)
			}
		}
	}
	walk(document)
	return sortedKeys(found)
}

// priceKey is where priceHandler finds what it is asked.
type priceKey struct{}

// asked is one request that is priced, and what came of it.
type asked struct {
	line   *logLine
	quotas *freeQuotas
	price  logPrice
}

// price returns what a request would have cost.
func (s *logSite) price(line *logLine) logPrice {
	for k := range s.servers {
		question := &asked{line: line, quotas: s.quotas}
		request := line.request(context.WithValue(context.Background(), priceKey{}, question))
		w := httptest.NewRecorder()
		request = caddyhttp.PrepareRequest(request, caddy.NewReplacer(), w, s.servers[k].server)
		err := s.servers[k].routes.ServeHTTP(w, request)
		if question.price.sold {
			return question.price
		}
		if err != nil {
			return logPrice{free: freeUnpriced}
		}
	}
	return logPrice{free: freeNotSold}
}

// request makes the request of a line again.
func (l *logLine) request(ctx context.Context) *http.Request {
	target := *l.uri
	target.Scheme, target.Host = "", ""
	r := &http.Request{
		Method: l.method, URL: &target, RequestURI: target.RequestURI(), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: l.header.Clone(), Host: l.host, RemoteAddr: net.JoinHostPort(l.client.String(), "0"), Body: http.NoBody,
	}
	if l.overTLS {
		r.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	return r.WithContext(ctx)
}

// priceHandler stands for a Handler while a log is priced: it quotes by the same
// rules, and serves nothing.
type priceHandler struct{ Handler }

// CaddyModule returns the module's description.
func (*priceHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.payword_price", New: func() caddy.Module { return new(priceHandler) }}
}

// ServeHTTP notes what the request would have cost. Anything else that comes
// here is passed on.
func (h *priceHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	question, found := r.Context().Value(priceKey{}).(*asked)
	if !found {
		return next.ServeHTTP(w, r)
	}
	question.price = h.priceLine(question, r)
	question.price.sold, question.price.vendor, question.price.currency = true, h.Vendor, h.currency
	return nil
}

// priceLine decides in the order of Handler.ServeHTTP, and then by what the log
// says was delivered.
func (h *priceHandler) priceLine(question *asked, r *http.Request) logPrice {
	line := question.line
	if r.URL.Path == payword.PathDiscovery || r.URL.Path == payword.PathClaims {
		return logPrice{free: freeByList}
	}
	if isPreflight(r) {
		return logPrice{free: freePreflight}
	}
	q, err := h.quote(r)
	switch {
	case err != nil:
		return logPrice{free: freeUnpriced}
	case q.free != "":
		return logPrice{free: q.free}
	case isPrefetch(r):
		return logPrice{free: freePrefetch}
	case r.Method == http.MethodHead:
		return logPrice{free: freeHead}
	case line.status >= http.StatusMultipleChoices || line.status < http.StatusOK:
		return logPrice{free: freeNotDelivered}
	}
	if h.FreeQuota > 0 && r.Method == http.MethodGet {
		client := quotaClient{sale: h.sale, address: grouped(line.client)}
		if _, taken := question.quotas.take(client, h.FreeQuota, line.at.Unix()); taken {
			return logPrice{free: freeByQuota}
		}
	}
	if h.Meter == nil {
		return logPrice{rule: h.ruleName(q.rule), amount: q.amount}
	}
	if !h.Meter.countsBytes() {
		return logPrice{free: freeMetered}
	}
	units := h.Meter.units(line.bytes)
	return logPrice{rule: h.ruleName(q.rule), amount: q.amount.MulCapped(uint64(units), money.MaxAmount)}
}

// ruleName says which rule it was, with its price: a site may have several
// directives, which all count from one.
func (h *Handler) ruleName(label string) string {
	if label == h.base.label {
		return label + " (" + h.Price + ")"
	}
	for k := range h.Prices {
		if h.Prices[k].label == label {
			return label + " (" + h.Prices[k].Price + ")"
		}
	}
	return label
}
