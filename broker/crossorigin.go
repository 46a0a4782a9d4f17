package broker

import (
	"net/http"
	"strings"
)

// What scripts of any web page are let do (the Fetch standard, "CORS protocol"):
// ask for what needs no proof, or is proved by a signature. Nothing here counts a
// cookie or anything else that a browser adds by itself, so a page learns and does
// nothing that it could not by itself (decision 55).
const (
	corsOrigin  = "Access-Control-Allow-Origin"
	corsMethods = "Access-Control-Allow-Methods"
	corsHeaders = "Access-Control-Allow-Headers"
	corsExposed = "Access-Control-Expose-Headers"
	corsMaxAge  = "Access-Control-Max-Age"

	// corsRequestHeaders are what a signed request needs. The administration
	// token's Authorization is not among them.
	corsRequestHeaders = "Content-Type, Content-Digest, Signature, Signature-Input, Idempotency-Key, If-None-Match"
	corsAnswerHeaders  = "Retry-After, ETag, Allow, Idempotency-Replayed, RateLimit, RateLimit-Policy"

	// corsSeconds is how long a browser remembers what a preflight said: the most
	// that Chromium does.
	corsSeconds = "7200"
)

// isForPages reports whether scripts of web pages may call a route.
func (r route) isForPages() bool { return r.access != adminOnly }

// allowPages lets scripts of any page read the answer.
func allowPages(header http.Header) {
	header.Set(corsOrigin, "*")
	header.Set(corsExposed, corsAnswerHeaders)
}

// isPreflight reports whether a browser asks if a page may send a request.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// servePreflight answers a preflight for a path that pages may call, and reports
// whether it did.
func (g *guard) servePreflight(w http.ResponseWriter, r *http.Request) bool {
	if !isPreflight(r) {
		return false
	}
	var methods []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		asked := *r
		asked.Method = method
		_, pattern := g.mux.Handler(&asked)
		if entry, found := g.routes[pattern]; found && entry.isForPages() {
			methods = append(methods, method)
		}
	}
	if methods == nil {
		return false
	}
	header := w.Header()
	header.Set(corsOrigin, "*")
	header.Set(corsMethods, strings.Join(methods, ", "))
	header.Set(corsHeaders, corsRequestHeaders)
	header.Set(corsMaxAge, corsSeconds)
	w.WriteHeader(http.StatusNoContent)
	return true
}
