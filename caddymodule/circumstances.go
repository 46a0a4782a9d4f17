package caddymodule

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/paywordhq/payword"
)

// requestTarget returns the path and query that were asked for, before any
// rewrite.
func requestTarget(r *http.Request) string {
	original, found := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !found {
		return r.URL.RequestURI()
	}
	if strings.HasPrefix(original.RequestURI, "/") {
		return original.RequestURI
	}
	return original.URL.RequestURI()
}

// isPrefetch reports whether a browser fetches ahead of its user.
func isPrefetch(r *http.Request) bool {
	return strings.Contains(first(r.Header["Sec-Purpose"]), "prefetch") || first(r.Header["Purpose"]) == "prefetch"
}

// refusePrefetch answers a prefetch with nothing to pay: what nobody looks at
// must not be charged, and the browser asks again when somebody does.
func refusePrefetch(w http.ResponseWriter) error {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Add("Vary", "Sec-Purpose")
	w.WriteHeader(http.StatusForbidden)
	return nil
}

// isSecure reports whether what the request carries could not be seen on its
// way: it came over TLS, from this machine, or over TLS to a proxy that the
// server trusts.
func isSecure(r *http.Request, variables map[string]any) bool {
	if trusted, _ := variables[caddyhttp.TrustedProxyVarKey].(bool); trusted {
		return r.Header.Get("X-Forwarded-Proto") == "https"
	}
	if r.TLS != nil {
		return true
	}
	if address, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return address.Addr().IsLoopback()
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	return err == nil && payword.IsLoopbackHost(host)
}

// clientAddress returns the address of the client, seen past trusted proxies.
func clientAddress(r *http.Request) netip.Addr {
	text, found := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	if !found {
		text, _, _ = net.SplitHostPort(r.RemoteAddr)
	}
	address, _ := netip.ParseAddr(text)
	return address.Unmap()
}

// isUnsafe reports whether doing the request twice may differ from doing it
// once (RFC 9110, section 9.2.1). A body makes any method so.
func isUnsafe(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return r.ContentLength != 0
	}
	return true
}
