package caddymodule

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// questionHeaders are the reader's headers that go along when the gate asks for
// a page on its own account. What says who the reader is, what was paid, or
// that only a part is wanted stays out, so that the upstream answers as it
// would anybody, with all of the page.
var questionHeaders = []string{
	"Accept-Language", "User-Agent", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
}

// teaserHeaders are the upstream's headers that a teaser keeps. Validators,
// lengths, ranges and cookies belong to the answer that was not given.
var teaserHeaders = []string{
	"Content-Type", "Content-Language", "Content-Security-Policy", "Content-Security-Policy-Report-Only",
	"Permissions-Policy", "Referrer-Policy", "Strict-Transport-Security", "X-Content-Type-Options",
	"X-Frame-Options", "X-Robots-Tag",
}

var errNoPage = errors.New("the answer is no HTML page")

// askForPage asks the handlers behind the gate for the page, as a reader would
// who has paid, and sells nothing.
func (x *exchange) askForPage() (*pageAnswer, error) {
	ctx, cancel := context.WithTimeout(x.request.Context(), time.Duration(x.Teaser.Timeout))
	defer cancel()
	answer := &pageAnswer{header: make(http.Header), limit: x.Teaser.MaxBytes, cancel: cancel}
	if err := x.ask(answer, x.question(ctx, answer)); err != nil && answer.failed == nil {
		answer.failed = err
	}
	if answer.failed != nil {
		return nil, answer.failed
	}
	if answer.status == 0 {
		return nil, errNoPage
	}
	return answer, answer.decode()
}

// ask calls the next handler. A proxy panics when its upstream, or the answer's
// limit, breaks it off.
func (x *exchange) ask(answer *pageAnswer, question *http.Request) (err error) {
	defer func() {
		if broken := recover(); broken != nil {
			err = fmt.Errorf("the upstream broke off: %v", broken)
		}
	}()
	return x.next.ServeHTTP(answer, question)
}

// question makes the request for the page. It has variables and placeholders of
// its own, so that the handlers behind see nothing of the reader's request.
func (x *exchange) question(ctx context.Context, w http.ResponseWriter) *http.Request {
	request := x.request.Clone(ctx)
	request.Method, request.Body, request.ContentLength = http.MethodGet, http.NoBody, 0
	request.TransferEncoding, request.Trailer = nil, nil
	request.Header = http.Header{"Accept": {"text/html"}, "Accept-Encoding": {"identity"}}
	for _, name := range questionHeaders {
		if values := x.request.Header.Values(name); len(values) > 0 {
			request.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	before := x.request.Context()
	server, _ := before.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	filler := caddy.NewReplacer()
	request = caddyhttp.PrepareRequest(request, filler, w, server)
	if original, found := before.Value(caddyhttp.OriginalRequestCtxKey).(http.Request); found {
		original.Method, original.Header = http.MethodGet, request.Header
		*request = *request.WithContext(context.WithValue(request.Context(), caddyhttp.OriginalRequestCtxKey, original))
	}
	// What handlers before the gate set stays known, but not what they saw.
	if outer, found := before.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); found {
		filler.Map(func(key string) (any, bool) {
			if strings.HasPrefix(key, "http.request.") {
				return nil, false
			}
			return outer.Get(key)
		})
	}
	// Which of several exclusive routes was taken is kept beside the variables.
	variables, _ := request.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	known, _ := before.Value(caddyhttp.VarsCtxKey).(map[string]any)
	maps.Copy(variables, known)
	groups, _ := request.Context().Value(routeGroups).(map[string]struct{})
	taken, _ := before.Value(routeGroups).(map[string]struct{})
	maps.Copy(groups, taken)
	caddyhttp.SetVar(request.Context(), grantedVariable, true)
	return request
}

// routeGroups is where Caddy keeps the groups of routes that are satisfied. The
// name is not exported; a test asks for a page behind such a group.
const routeGroups = caddy.CtxKey("route_group")

// pageAnswer takes the answer to the gate's own question. It takes a whole HTML
// page within the limit, and breaks anything else off.
type pageAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
	limit  int64
	failed error
	cancel context.CancelFunc
}

// Header implements http.ResponseWriter.
func (a *pageAnswer) Header() http.Header { return a.header }

// WriteHeader looks at what kind of answer comes.
func (a *pageAnswer) WriteHeader(status int) {
	if status < 200 || a.status != 0 {
		return
	}
	a.status = status
	kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if status != http.StatusOK || err != nil || kind != "text/html" {
		a.fail(errNoPage)
	}
}

// Write takes a part of the page.
func (a *pageAnswer) Write(content []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if a.failed == nil && int64(a.body.Len()+len(content)) > a.limit {
		a.fail(fmt.Errorf("the page has more than %d bytes", a.limit))
	}
	if a.failed != nil {
		return 0, a.failed
	}
	return a.body.Write(content)
}

// fail ends the question.
func (a *pageAnswer) fail(err error) {
	a.failed = err
	a.cancel()
}

// decode undoes a compression that the upstream chose although it was asked for
// none.
func (a *pageAnswer) decode() error {
	switch coding := strings.ToLower(strings.TrimSpace(a.header.Get("Content-Encoding"))); coding {
	case "", "identity":
		return nil
	case "gzip", "x-gzip":
		reader, err := gzip.NewReader(&a.body)
		if err != nil {
			return err
		}
		var plain bytes.Buffer
		if _, err := io.Copy(&plain, io.LimitReader(reader, a.limit+1)); err != nil {
			return err
		}
		if int64(plain.Len()) > a.limit {
			return fmt.Errorf("the page has more than %d bytes", a.limit)
		}
		a.body = plain
		return nil
	default:
		return fmt.Errorf("the page is compressed with %.20q although it was asked for without", coding)
	}
}
