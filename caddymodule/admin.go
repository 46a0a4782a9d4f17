package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// adminAPI adds routes to Caddy's admin endpoint, which listens to this machine
// alone unless it is configured otherwise:
//
//	GET  /payword/             what runs: sites, prices, brokers, sums
//	GET  /payword/commitments  the commitments, page by page
//	GET  /payword/export       what was earned, as CSV or JSON lines
//	POST /payword/verify       checks the store against its raw evidence
//	POST /payword/redeem       claims from the brokers now and says what came of it
//	POST /payword/refresh      fetches the brokers' keys and hot lists now
//	POST /payword/rotate-secret  binds challenges with another secret from now on
type adminAPI struct{}

// CaddyModule returns the module's description.
func (*adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.payword", New: func() caddy.Module { return new(adminAPI) }}
}

// Routes returns the admin routes.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/payword/", Handler: a.route(http.MethodGet, a.overview)},
		{Pattern: "/payword/commitments", Handler: a.route(http.MethodGet, a.commitments)},
		{Pattern: "/payword/export", Handler: a.route(http.MethodGet, a.export)},
		{Pattern: "/payword/verify", Handler: a.route(http.MethodPost, a.verify)},
		{Pattern: "/payword/redeem", Handler: a.route(http.MethodPost, a.redeem)},
		{Pattern: "/payword/refresh", Handler: a.route(http.MethodPost, a.refresh)},
		{Pattern: "/payword/rotate-secret", Handler: a.route(http.MethodPost, a.rotateSecret)},
	}
}

// route finds the app for a handler, with its store open. The endpoint comes with a
// configuration, answers while that is still made, and stays if it fails to start:
// so the app is that of the configuration that runs, which nothing changes any more.
func (a *adminAPI) route(method string, serve func(http.ResponseWriter, *http.Request, *App) error) caddy.AdminHandler {
	return caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != method {
			w.Header().Set("Allow", method)
			return adminError(http.StatusMethodNotAllowed, fmt.Errorf("want %s", method))
		}
		active := caddy.ActiveContext()
		if active.Context == nil {
			w.Header().Set("Retry-After", "1")
			return adminError(http.StatusServiceUnavailable, errors.New("Caddy is starting: ask again in a second"))
		}
		module, err := active.AppIfConfigured("payword")
		if err != nil {
			return adminError(http.StatusNotFound, errors.New("payword is not configured"))
		}
		app := module.(*App)
		if err := app.open(); err != nil {
			return adminError(http.StatusServiceUnavailable, err)
		}
		w.Header().Set("Cache-Control", "no-store")
		return serve(w, r, app)
	})
}

func adminError(status int, err error) error { return caddy.APIError{HTTPStatus: status, Err: err} }

// errCannotList is answered where the store cannot list what it knows.
var errCannotList = errors.New("this kind of store cannot list its commitments")

func (a *App) lister() (lister, error) {
	from, can := asStore[lister](a.gate.store)
	if !can {
		return nil, adminError(http.StatusNotImplemented, errCannotList)
	}
	return from, nil
}

func writeJSON(w http.ResponseWriter, answer any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(answer)
}

func (a *adminAPI) redeem(w http.ResponseWriter, r *http.Request, app *App) error {
	done, err := app.redeem(r.Context(), true)
	if err != nil {
		return adminError(http.StatusBadGateway, err)
	}
	return writeJSON(w, done)
}

// soldSite is one directive in the overview.
type soldSite struct {
	Vendor string `json:"vendor"`
	Price  string `json:"price"`
	Scope  string `json:"scope,omitempty"`
}

// addSite makes the overview show a directive. Two routes are made of one
// directive of a Caddyfile.
func (h *Handler) addSite() {
	sold := soldSite{Vendor: h.Vendor, Price: h.Price, Scope: h.Scope}
	for _, known := range h.app.sites {
		if known == sold {
			return
		}
	}
	h.app.sites = append(h.app.sites, sold)
}

// overview is what GET /payword/ answers.
type overview struct {
	Store       storeOverview    `json:"store"`
	Sites       []soldSite       `json:"sites"`
	Brokers     []brokerOverview `json:"brokers"`
	RedeemedAt  string           `json:"redeemed_at,omitempty"`
	SampledAt   string           `json:"sampled_at,omitempty"`
	Commitments int              `json:"commitments"`
	Oldest      int64            `json:"unredeemed_oldest_seconds"`
	Totals      []totalOverview  `json:"totals"`
}

type storeOverview struct {
	Kind       string `json:"kind"`
	Location   string `json:"location"`
	OpenSince  string `json:"open_since"`
	Up         bool   `json:"up"`
	Durability string `json:"durability,omitempty"` // "" with Redis
}

type brokerOverview struct {
	Issuer     string `json:"issuer"`
	Keys       int    `json:"keys"`
	AgeSeconds int64  `json:"keys_age_seconds"`
	Rests      bool   `json:"rests"` // it failed, and is left alone for a while
}

type totalOverview struct {
	Currency   string       `json:"currency"`
	Open       int          `json:"commitments_open"`
	Accepted   money.Amount `json:"accepted_micros"`
	Spent      money.Amount `json:"spent_micros"`
	Credit     money.Amount `json:"credit_outstanding_micros"`
	Redeemed   money.Amount `json:"redeemed_micros"`
	Unredeemed money.Amount `json:"unredeemed_micros"`
	Claimable  money.Amount `json:"claimable_micros"`
}

func (a *adminAPI) overview(w http.ResponseWriter, r *http.Request, app *App) error {
	if r.URL.Path != "/payword/" {
		return adminError(http.StatusNotFound, errors.New("there is no such route"))
	}
	return writeJSON(w, app.overview())
}

func (a *App) overview() overview {
	seen := overview{
		Store: storeOverview{
			Kind: storeKind(a.gate.store), Location: a.storeLocation(),
			OpenSince: a.gate.openedAt.UTC().Format(time.RFC3339Nano), Up: !isDown(a.gate.store),
			Durability: a.gate.durability.String(),
		},
		Sites: append([]soldSite{}, a.sites...), Brokers: []brokerOverview{}, Totals: []totalOverview{},
	}
	ages := a.gate.keys.installedAt()
	for _, broker := range a.Brokers {
		one := brokerOverview{
			Issuer: broker.Issuer, Keys: len(a.gate.keys.of(broker.Issuer)), Rests: a.gate.turns.rests(broker.Issuer, a.now()),
		}
		if at, known := ages[broker.Issuer]; known {
			one.AgeSeconds = int64(time.Since(at) / time.Second)
		}
		seen.Brokers = append(seen.Brokers, one)
	}
	if at := a.gate.redeemedAt.Load(); at != nil {
		seen.RedeemedAt = at.UTC().Format(time.RFC3339)
	}
	if taken := a.gate.metrics.sample.newest.Load(); taken != nil {
		seen.SampledAt = taken.at.UTC().Format(time.RFC3339)
		seen.Commitments, seen.Oldest = taken.commitments, int64(taken.oldest/time.Second)
		for _, currency := range sortedCurrencies(taken.byCurrency) {
			sum := taken.byCurrency[currency]
			seen.Totals = append(seen.Totals, totalOverview{
				Currency: currency.Code(), Open: sum.open, Accepted: sum.accepted, Spent: sum.spent, Credit: sum.credit,
				Redeemed: sum.claimed, Unredeemed: sum.unredeemed, Claimable: sum.claimable,
			})
		}
	}
	return seen
}

// storeKind names the kind of a store for people.
// storeLocation says where commitments are: the directory, or the addresses of
// Redis as the configuration names them.
func (a *App) storeLocation() string {
	if a.Redis != nil {
		return strings.Join(a.Redis.Addresses, " ")
	}
	return a.Store
}

func storeKind(s store) string {
	if _, isFile := asStore[*fileStore](s); isFile {
		return "file"
	}
	return "redis"
}

func isDown(s store) bool {
	measured, isMeasured := s.(*measuredStore)
	return isMeasured && measured.down.Load()
}

func (a *adminAPI) commitments(w http.ResponseWriter, r *http.Request, app *App) error {
	query := r.URL.Query()
	want := listing{
		vendor: query.Get("vendor"), pseudonym: query.Get("commitment"), after: query.Get("after"), limit: defaultPage,
	}
	if text := query.Get("limit"); text != "" {
		limit, err := strconv.Atoi(text)
		if err != nil || limit < 1 || limit > maxPage {
			return adminError(http.StatusBadRequest, fmt.Errorf("limit %.20q: want 1 to %d", text, maxPage))
		}
		want.limit = limit
	}
	from, err := app.lister()
	if err != nil {
		return err
	}
	page, next, err := app.gate.page(r.Context(), from, want)
	if err != nil {
		return adminError(http.StatusServiceUnavailable, err)
	}
	return writeJSON(w, struct {
		Commitments []listedCommitment `json:"commitments"`
		Next        string             `json:"next,omitempty"`
	}{append([]listedCommitment{}, page...), next})
}

func (a *adminAPI) export(w http.ResponseWriter, r *http.Request, app *App) error {
	format, by := r.URL.Query().Get("format"), r.URL.Query().Get("by")
	if format == "" {
		format = "csv"
	}
	if by == "" {
		by = exportByCommitment
	}
	if by != exportByCommitment && by != exportByDay && by != exportByVendor {
		return adminError(http.StatusBadRequest, fmt.Errorf("by %.20q: want commitment, day or vendor", by))
	}
	if format != "csv" && format != "jsonl" {
		return adminError(http.StatusBadRequest, fmt.Errorf("format %.20q: want csv or jsonl", format))
	}
	from, err := app.lister()
	if err != nil {
		return err
	}
	contentType := "text/csv; charset=utf-8"
	if format == "jsonl" {
		contentType = "application/jsonl"
	}
	w.Header().Set("Content-Type", contentType)
	rows, err := newExporter(w, format)
	if err == nil {
		err = errors.Join(app.gate.export(r.Context(), from, rows, by), rows.close())
	}
	if err != nil {
		// The answer has begun; cutting it off is what tells that it is not whole.
		app.logger.Error("exporting", zap.Error(err))
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (a *adminAPI) verify(w http.ResponseWriter, r *http.Request, app *App) error {
	from, err := app.lister()
	if err != nil {
		return err
	}
	keys := func(issuer string) (payword.Brokers, bool) {
		known := app.gate.keys.of(issuer)
		return payword.Brokers{issuer: known}, known != nil
	}
	done, err := verifyAccounts(r.Context(), from, keys, app.gate.pseudonym)
	if err != nil {
		return adminError(http.StatusServiceUnavailable, err)
	}
	return writeJSON(w, done)
}
