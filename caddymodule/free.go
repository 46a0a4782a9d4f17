package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Free says what is served without being paid for, whatever the prices are.
type Free struct {
	// "default" (the default) serves free what programs look for at fixed
	// places, such as robots.txt, the favicon, feeds and /.well-known/; "off"
	// sells them like everything else.
	List string `json:"list,omitempty"`

	// Path patterns, as Caddy's path matcher reads them. Default: none. At most
	// 1000.
	Paths []string `json:"paths,omitempty"`

	// Sets of Caddy's request matchers, of which any may match. Default: none.
	Match caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`

	paths    caddyhttp.MatchPath
	matchers caddyhttp.MatcherSets
}

// The values of Free.List.
const (
	freeListDefault = "default"
	freeListOff     = "off"
)

// maxFreePaths bounds the path patterns of a free list, which are asked one
// after the other for every request.
const maxFreePaths = 1000

// Why a request is free. These words stand in the log.
const (
	freeByList    = "list"     // the built-in list
	freeByPath    = "path"     // a path of the publisher's
	freeByMatcher = "matcher"  // a matcher of the publisher's
	freeByRule    = "rule"     // a price rule that asks for nothing
	freeByMap     = "map"      // an entry of the price map
	freeByQuota   = "quota"    // the client's free quota of the day
	freeByLogOnly = "log_only" // nothing is charged yet
)

// freeFiles are what programs look for at fixed places, to learn what a site
// allows, looks like, or has. They are compared as they are written.
var freeFiles = map[string]bool{
	"/robots.txt": true, "/ads.txt": true, "/app-ads.txt": true, "/sellers.json": true, "/humans.txt": true,
	"/security.txt": true, "/llms.txt": true, "/favicon.ico": true, "/favicon.svg": true, "/favicon.png": true,
	"/apple-touch-icon.png": true, "/apple-touch-icon-precomposed.png": true, "/browserconfig.xml": true,
	"/site.webmanifest": true, "/manifest.webmanifest": true, "/manifest.json": true, "/opensearch.xml": true,
	"/crossdomain.xml": true,
	"/sitemap.xml":     true, "/sitemap.xml.gz": true, "/sitemap.txt": true, "/sitemap_index.xml": true, "/sitemap-index.xml": true,
	"/feed": true, "/feed/": true, "/feed.xml": true, "/feed.json": true, "/feed.atom": true, "/feed.rss": true,
	"/rss": true, "/rss/": true, "/rss.xml": true, "/atom.xml": true, "/index.xml": true,
}

// wellKnown is where RFC 8615 puts what sites say of themselves.
const wellKnown = "/.well-known/"

func (f *Free) provision(ctx caddy.Context) error {
	if f.List == "" {
		f.List = freeListDefault
	}
	f.paths = append(caddyhttp.MatchPath(nil), f.Paths...)
	if err := f.paths.Provision(ctx); err != nil {
		return fmt.Errorf("payword: free: %w", err)
	}
	if len(f.Match) == 0 {
		return nil
	}
	loaded, err := ctx.LoadModule(f, "Match")
	if err != nil {
		return fmt.Errorf("payword: free: %w", err)
	}
	return f.matchers.FromInterface(loaded)
}

func (f *Free) validate() error {
	switch {
	case f.List != freeListDefault && f.List != freeListOff:
		return errors.New("payword: free: want default or off")
	case len(f.Paths) > maxFreePaths:
		return fmt.Errorf("payword: free: %d paths: at most %d; more belong in a price_map", len(f.Paths), maxFreePaths)
	}
	for _, set := range f.Match {
		if len(set) == 0 {
			return errors.New("payword: free: an empty set of matchers would make everything free")
		}
	}
	return nil
}

// freeOf says why a request is free, or "" if it is not. Only a path that
// stands as it is meant can be free: what is behind the gate may read another
// one differently than we do.
func (h *Handler) freeOf(r *http.Request, isPlain bool) (string, error) {
	free := h.Free
	if !isPlain {
		return "", nil
	}
	if free.List == freeListDefault && (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		(freeFiles[r.URL.Path] || strings.HasPrefix(r.URL.Path, wellKnown)) {
		return freeByList, nil
	}
	if len(free.paths) > 0 {
		matches, err := free.paths.MatchWithError(r)
		if err != nil {
			return "", fmt.Errorf("payword: free: %w", err)
		}
		if matches {
			return freeByPath, nil
		}
	}
	if len(free.matchers) == 0 {
		return "", nil
	}
	matches, err := free.matchers.AnyMatchWithError(r)
	if err != nil {
		return "", fmt.Errorf("payword: free: %w", err)
	}
	if matches {
		return freeByMatcher, nil
	}
	return "", nil
}

// isPlainPath reports whether a path means the same to everybody: no dot
// segments, doubled slashes, needless or doubled escapes, backslashes,
// parameters, control characters, or what is no UTF-8; and no segment that ends
// with a dot or a space.
func isPlainPath(r *http.Request) bool {
	path := r.URL.Path
	if r.URL.RawPath != "" || path == "" || path[0] != '/' {
		return false
	}
	before, isASCII := byte(0), true
	for k := range len(path) {
		c := path[k]
		switch {
		case c < 0x20, c == 0x7f, c == '\\', c == ';', c == '%':
			return false
		case c == '/' && (before == '/' || before == '.' || before == ' '):
			return false
		case c >= utf8.RuneSelf:
			isASCII = false
		}
		before = c
	}
	if before == '.' || before == ' ' {
		return false
	}
	return isASCII || utf8.ValidString(path) && !strings.ContainsAny(path, wideSeparators)
}

// serveFree lets the next handler answer a request that is free. Where that
// depends on who asks, caches may not hand the answer on; elsewhere they do as
// the upstream says.
func (h *Handler) serveFree(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, q quote) error {
	h.countFree(q.free)
	tellFree(r, q)
	caddyhttp.SetVar(r.Context(), grantedVariable, true)
	if q.free == freeByRule || q.free == freeByMatcher {
		w = &freeWriter{
			ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
			before:                func(header http.Header, _ int) { forceCaching(header) },
		}
	}
	return next.ServeHTTP(w, r)
}

// tellFree lets logs and later handlers know that a request was free, and why.
func tellFree(r *http.Request, q quote) {
	if fields, found := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); found {
		fields.Add(zap.Object("payword", zapcore.ObjectMarshalerFunc(func(encoder zapcore.ObjectEncoder) error {
			encoder.AddString("reason", "free")
			encoder.AddString("free", q.free)
			encoder.AddInt64("price_micros", 0)
			return nil
		})))
	}
	caddyhttp.SetVar(r.Context(), "payword.reason", "free")
	caddyhttp.SetVar(r.Context(), "payword.price", "0")
}

// readFree reads what is free. Syntax:
//
//	free default|off
//	free path <path pattern>...
//	free {
//	    <matcher>...
//	}
func readFree(h *Handler, d *caddyfile.Dispenser) error {
	if h.Free == nil {
		h.Free = new(Free)
	}
	arguments := d.RemainingArgs()
	switch {
	case len(arguments) == 0:
		match, err := caddyhttp.ParseCaddyfileNestedMatcherSet(d)
		if err != nil {
			return err
		}
		if len(match) == 0 {
			break
		}
		h.Free.Match = append(h.Free.Match, match)
		return nil
	case len(arguments) == 1 && (arguments[0] == freeListDefault || arguments[0] == freeListOff):
		h.Free.List = arguments[0]
		return nil
	case len(arguments) > 1 && arguments[0] == "path":
		if err := checkPathPatterns(d, arguments[1:]); err != nil {
			return err
		}
		h.Free.Paths = append(h.Free.Paths, arguments[1:]...)
		return nil
	}
	return d.Err("want free default|off, free path <path pattern>..., or free { <matcher>... }")
}
