package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/paywordhq/payword"
)

// Strip takes the payment headers, and what a client could pass off as our word
// of who paid, out of requests that nobody charges. The directive payword puts
// it behind itself for what its matcher does not name: wallets send a payment
// along to an origin that they paid before, and what is free must not hand it to
// the upstream.
type Strip struct {
	// What the names of the headers begin with that tell the upstream who paid;
	// as in the handler payword. Default: "Payword-".
	IdentityHeaders string `json:"identity_headers,omitempty"`

	// What is paid for: the matchers of the handler payword. A request that they
	// do not match, but would if its path were read more laxly, is refused with
	// 400: "/free/..;/paid" is the page /paid to some servers. None by default.
	Paid caddyhttp.RawMatcherSets `json:"paid,omitempty" caddy:"namespace=http.matchers"`

	identity identity
	paid     caddyhttp.MatcherSets
}

// CaddyModule returns the module's description.
func (*Strip) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.payword_strip", New: func() caddy.Module { return new(Strip) }}
}

// Provision reads the options.
func (s *Strip) Provision(ctx caddy.Context) (err error) {
	if s.identity, err = newIdentity(s.IdentityHeaders); err != nil || len(s.Paid) == 0 {
		return err
	}
	loaded, err := ctx.LoadModule(s, "Paid")
	if err != nil {
		return fmt.Errorf("payword_strip: paid: %w", err)
	}
	return s.paid.FromInterface(loaded)
}

// ServeHTTP passes the request on without them. A payword directive that comes
// later still finds the payment.
func (s *Strip) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if wasGranted(r) {
		return next.ServeHTTP(w, r)
	}
	if other := otherReading(r); other != nil && len(s.paid) > 0 {
		paid, err := s.paid.AnyMatchWithError(other)
		if err != nil {
			return err
		}
		if paid {
			return caddyhttp.Error(http.StatusBadRequest, errors.New("payword: to some servers the path is one that is paid for"))
		}
	}
	sent, refusal := takeSubmission(r, &s.identity)
	if refusal.Reason != payword.PaymentRequired || len(sent.cookies) > 0 {
		r = r.WithContext(context.WithValue(r.Context(), takenKey{}, taken{sent, refusal}))
	}
	return next.ServeHTTP(w, r)
}

// taken is what a request brought to pay with, when it was taken out of its
// headers for a handler that comes later. It is kept out of Caddy's variables,
// which logs can print.
type taken struct {
	sent    submission
	refusal payword.Refusal
}

type takenKey struct{}

// takeSubmission reads what the request pays with, and takes out of it what
// nothing behind us may see.
func takeSubmission(r *http.Request, id *identity) (submission, payword.Refusal) {
	if len(r.Trailer) > 0 && r.Body != nil {
		id.strip(r.Trailer)
		r.Body = &trailerStripper{ReadCloser: r.Body, request: r, identity: id}
	}
	own, cookies := takeOwnHeaders(r.Header), takeCookies(r.Header)
	id.stripOwnWords(r.Header)
	sent, refusal := readSubmission(r, &own)
	if refusal.Reason == payword.PaymentRequired {
		if earlier, found := r.Context().Value(takenKey{}).(taken); found {
			return earlier.sent, earlier.refusal
		}
	}
	sent.stream, sent.wantsCookie, sent.cookies = first(own.stream), first(own.cookie) == "?1", cookies
	return sent, refusal
}

// trailerStripper takes the same out of the trailers of a request, which are
// there when its body was read, announced or not.
type trailerStripper struct {
	io.ReadCloser
	request  *http.Request
	identity *identity
}

// Read implements io.Reader.
func (s *trailerStripper) Read(content []byte) (int, error) {
	n, err := s.ReadCloser.Read(content)
	if err == io.EOF {
		s.identity.strip(s.request.Trailer)
	}
	return n, err
}
