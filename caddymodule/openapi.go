package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/paywordhq/payword"
)

// OpenAPI adds prices to the OpenAPI document of the site, so that programs find
// them before they ask (draft-payment-discovery-01). The document is served free.
type OpenAPI struct {
	// Where the site serves its document, in JSON. Default: /openapi.json, where
	// programs look for it.
	Path string `json:"path,omitempty"`

	// Answers with a document of one operation if the site serves none there.
	// Default: false.
	Minimal bool `json:"minimal,omitempty"`

	// Which requests are paid for: the matchers of the handler. Prices are added
	// to the operations that they match. Default: to all. The directive fills
	// this in.
	Match caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`

	matchers caddyhttp.MatcherSets
}

const (
	defaultOpenAPIPath = "/openapi.json"

	// maxOpenAPIBytes bounds the document, which is held in memory and read anew
	// for every request: the largest public ones have about eight megabytes.
	maxOpenAPIBytes = 8 << 20

	// maxOpenAPIOperations bounds how many operations are priced for one request.
	maxOpenAPIOperations = 4096

	// openAPICaching is what caches are told, as the draft recommends.
	openAPICaching = "public, max-age=300"
)

// The members that the draft adds to a document.
const (
	memberServiceInfo = "x-service-info"
	memberPaymentInfo = "x-payment-info"
)

// openAPIMethods are the members of a path that are operations.
var openAPIMethods = []string{"get", "put", "post", "delete", "options", "head", "patch", "trace"}

func (o *OpenAPI) provision(ctx caddy.Context) error {
	if o.Path == "" {
		o.Path = defaultOpenAPIPath
	}
	if len(o.Match) == 0 {
		return nil
	}
	loaded, err := ctx.LoadModule(o, "Match")
	if err != nil {
		return fmt.Errorf("payword: openapi: %w", err)
	}
	return o.matchers.FromInterface(loaded)
}

func (o *OpenAPI) validate() error {
	if o != nil && (!strings.HasPrefix(o.Path, "/") || strings.ContainsAny(o.Path, "*?#") || o.Path == payword.PathDiscovery || o.Path == payword.PathClaims) {
		return errors.New("payword: openapi: want a path, such as /openapi.json")
	}
	return nil
}

// isFor reports whether r asks for the document.
func (o *OpenAPI) isFor(r *http.Request) bool {
	return o != nil && r.URL.Path == o.Path && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// serveOpenAPI passes the site's document on with the prices in it. What is no
// such document is passed on as it is.
func (h *Handler) serveOpenAPI(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	// Another directive behind this one may add its prices first.
	offered := new(bool)
	outer, _ := r.Context().Value(offeredKey{}).(*bool)
	asked := r.Clone(context.WithValue(r.Context(), offeredKey{}, offered))
	asked.Method = http.MethodGet
	for _, name := range []string{"Accept-Encoding", "Range", "If-None-Match", "If-Modified-Since", "If-Range", "If-Match", "If-Unmodified-Since"} {
		asked.Header.Del(name) // the answer is not the one that they mean
	}
	held := &heldAnswer{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	err := next.ServeHTTP(held, asked)
	var failed caddyhttp.HandlerError
	missing := held.status == http.StatusNotFound || errors.As(err, &failed) && failed.StatusCode == http.StatusNotFound
	switch {
	case held.passed:
		return err
	case missing && h.OpenAPI.Minimal:
		return h.writeOpenAPI(w, r, h.minimalDocument(), false)
	case err != nil:
		return err
	}
	document, err := parseOpenAPI(held)
	if err != nil {
		h.logger.Warn("no prices were added to the OpenAPI document", zap.String("path", h.OpenAPI.Path), zap.Error(err))
		return held.pass()
	}
	if outer != nil {
		*outer = true
	}
	return h.writeOpenAPI(w, r, document, *offered)
}

// offeredKey is where a directive finds out whether the document that it gets
// holds prices of another directive.
type offeredKey struct{}

func parseOpenAPI(held *heldAnswer) (map[string]any, error) {
	if held.status != http.StatusOK {
		return nil, fmt.Errorf("the site answers %d", held.status)
	}
	if encoding := held.Header().Get("Content-Encoding"); encoding != "" {
		return nil, fmt.Errorf("the site encodes it, though nobody asked for %s", encoding)
	}
	var document map[string]any
	decoder := json.NewDecoder(&held.content)
	decoder.UseNumber()
	content := bytes.Clone(held.content.Bytes())
	err := decoder.Decode(&document)
	held.content = *bytes.NewBuffer(content)
	if err == nil && document["openapi"] == nil {
		err = errors.New("it is JSON, and no OpenAPI document of version 3")
	}
	return document, err
}

// minimalDocument is what is said of a site that says nothing of itself.
func (h *Handler) minimalDocument() map[string]any {
	return map[string]any{
		"openapi": "3.1.0",
		"info":    map[string]any{"title": h.realm, "version": "1"},
		"servers": []any{map[string]any{"url": h.Vendor}},
		"paths": map[string]any{"/{page}": map[string]any{
			"parameters": []any{map[string]any{"name": "page", "in": "path", "required": true, "schema": map[string]any{"type": "string"}}},
			"get":        map[string]any{"summary": "A page", "responses": map[string]any{"200": map[string]any{"description": "The page"}}},
		}},
	}
}

// writeOpenAPI adds the prices and answers.
func (h *Handler) writeOpenAPI(w http.ResponseWriter, r *http.Request, document map[string]any, offered bool) error {
	if err := h.addOffers(r, document, offered); err != nil {
		return h.unavailable(w, err)
	}
	body, err := json.Marshal(document)
	if err != nil {
		return h.unavailable(w, err)
	}
	header := w.Header()
	for _, name := range []string{"Etag", "Last-Modified", "Accept-Ranges", "Content-Encoding", "Content-Digest", "Repr-Digest", "Expires", "Set-Cookie"} {
		header.Del(name) // of another document, or of somebody
	}
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", openAPICaching)
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err = w.Write(body)
	return err
}

// addOffers adds what each operation costs. Where another directive has offered
// the same operation, the dearer offer stays, since one of the two charges.
func (h *Handler) addOffers(r *http.Request, document map[string]any, offered bool) error {
	if _, found := document[memberServiceInfo].(map[string]any); !found {
		document[memberServiceInfo] = map[string]any{"docs": map[string]any{"homepage": h.Vendor}}
	}
	paths, _ := document["paths"].(map[string]any)
	priced := 0
	for template, item := range paths {
		operations, _ := item.(map[string]any)
		for _, method := range openAPIMethods {
			operation, found := operations[method].(map[string]any)
			if !found {
				continue
			}
			if priced++; priced > maxOpenAPIOperations {
				h.logger.Warn("the OpenAPI document has more operations than are priced", zap.Int("priced", maxOpenAPIOperations))
				return nil
			}
			q, paid, err := h.quoteOperation(r, strings.ToUpper(method), basePath(document)+template)
			if err != nil {
				return fmt.Errorf("pricing %s %s for the OpenAPI document: %w", method, template, err)
			}
			if paid && !(offered && offersMore(operation, q)) {
				h.addOffer(operation, q)
			}
		}
	}
	return nil
}

// basePath is the path of the document's first server, which its paths follow.
func basePath(document map[string]any) string {
	servers, _ := document["servers"].([]any)
	if len(servers) == 0 {
		return ""
	}
	server, _ := servers[0].(map[string]any)
	text, _ := server["url"].(string)
	link, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(link.Path, "/")
}

// quoteOperation prices a request that is made up for an operation. paid is false
// if it would be free, or is not this directive's.
func (h *Handler) quoteOperation(r *http.Request, method, template string) (q quote, paid bool, err error) {
	link := &url.URL{Path: template}
	server, found := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !found {
		return quote{}, false, errors.New("the request came through no server")
	}
	request, err := http.NewRequestWithContext(r.Context(), method, link.EscapedPath(), nil)
	if err != nil || !strings.HasPrefix(template, "/") {
		return quote{}, false, nil // no path of ours
	}
	request.Host, request.RemoteAddr, request.TLS, request.RequestURI = r.Host, r.RemoteAddr, r.TLS, link.EscapedPath()
	request = caddyhttp.PrepareRequest(request, caddy.NewReplacer(), nil, server)
	if len(h.OpenAPI.matchers) > 0 {
		if ours, err := h.OpenAPI.matchers.AnyMatchWithError(request); err != nil || !ours {
			return quote{}, false, err
		}
	}
	if q, err = h.quote(request); err != nil || q.free != "" {
		return quote{}, false, err
	}
	return h.Meter.quote(q), true, nil
}

// offersMore reports whether an operation has an offer of ours that is dearer.
func offersMore(operation map[string]any, q quote) bool {
	info, _ := operation[memberPaymentInfo].(map[string]any)
	offers, _ := info["offers"].([]any)
	return slices.ContainsFunc(offers, func(offer any) bool {
		members, _ := offer.(map[string]any)
		text, _ := members["amount"].(string)
		amount, err := strconv.ParseInt(text, 10, 64)
		return err == nil && members["method"] == payword.Method && amount > int64(q.amount)
	})
}

// addOffer adds our offers to an operation, beside those of other methods, and
// the answer 402.
func (h *Handler) addOffer(operation map[string]any, q quote) {
	info, _ := operation[memberPaymentInfo].(map[string]any)
	offers, _ := info["offers"].([]any)
	if info != nil && info["offers"] == nil {
		offers = []any{info} // the short form of one offer
	}
	offers = slices.DeleteFunc(offers, func(offer any) bool {
		members, _ := offer.(map[string]any)
		return members["method"] == payword.Method
	})
	for _, intent := range h.intents {
		offer := map[string]any{
			"intent": intent, "method": payword.Method, "amount": q.amount.String(), "currency": string(h.currency),
		}
		if q.unit != "" && q.unit != "request" {
			offer["description"] = fmt.Sprintf("%s %s per %s, at most %s for a request", q.amount.Decimal(), h.currency.Code(), q.unit, q.ceiling.Decimal())
		} else if h.Description != "" && !strings.Contains(h.Description, "{") {
			offer["description"] = h.Description
		}
		offers = append(offers, offer)
	}
	operation[memberPaymentInfo] = map[string]any{"offers": offers}
	responses, found := operation["responses"].(map[string]any)
	if !found {
		responses = make(map[string]any)
		operation["responses"] = responses
	}
	if _, declared := responses["402"]; !declared {
		responses["402"] = map[string]any{"description": "Payment Required"}
	}
}

// heldAnswer holds an answer back until it is known, unless it is too long, or no
// document.
type heldAnswer struct {
	*caddyhttp.ResponseWriterWrapper
	status  int
	content bytes.Buffer
	passed  bool
}

// WriteHeader notes the final status.
func (w *heldAnswer) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
}

// Write holds content, as long as it is not too much.
func (w *heldAnswer) Write(content []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if !w.passed && w.content.Len()+len(content) > maxOpenAPIBytes {
		if err := w.pass(); err != nil {
			return 0, err
		}
	}
	if w.passed {
		return w.ResponseWriterWrapper.Write(content)
	}
	return w.content.Write(content)
}

// ReadFrom holds content in the same way.
func (w *heldAnswer) ReadFrom(source io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{w}, source)
}

// FlushError does nothing while the answer is held.
func (w *heldAnswer) FlushError() error {
	if !w.passed {
		return nil
	}
	return http.NewResponseController(w.ResponseWriterWrapper.ResponseWriter).Flush()
}

// Unwrap returns nothing: what is below would not be held.
func (w *heldAnswer) Unwrap() http.ResponseWriter { return nil }

// pass passes on what was held.
func (w *heldAnswer) pass() error {
	w.passed = true
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.ResponseWriterWrapper.WriteHeader(w.status)
	_, err := w.ResponseWriterWrapper.Write(w.content.Bytes())
	w.content.Reset()
	return err
}

// readOpenAPIOption reads the option. Syntax:
//
//	openapi [<path>] [minimal]
func readOpenAPIOption(h *Handler, d *caddyfile.Dispenser) error {
	h.OpenAPI = new(OpenAPI)
	for _, argument := range d.RemainingArgs() {
		switch {
		case strings.HasPrefix(argument, "/") && h.OpenAPI.Path == "":
			h.OpenAPI.Path = argument
		case argument == "minimal" && !h.OpenAPI.Minimal:
			h.OpenAPI.Minimal = true
		default:
			return d.Err("want openapi [<path>] [minimal], such as: openapi /openapi.json")
		}
	}
	return nil
}

// openAPIRoute is the path of the document and what is paid for, for the route
// that serves it.
func (h *Handler) openAPIRoute(paid caddy.ModuleMap) caddyhttp.MatchPath {
	if len(paid) > 0 {
		h.OpenAPI.Match = caddyhttp.RawMatcherSets{paid}
	}
	if h.OpenAPI.Path == "" {
		return caddyhttp.MatchPath{defaultOpenAPIPath}
	}
	return caddyhttp.MatchPath{h.OpenAPI.Path}
}
