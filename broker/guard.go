package broker

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/paywordhq/payword"
)

// access says who may call a route.
type access int

const (
	public        access = iota
	accountSigned        // signed by the key of an account
	vendorSigned         // signed by a key of a vendor
	newlySigned          // signed by the key in the body, which need not be known
	adminOnly            // the administration token
)

const (
	// bodyTimeout is how long a body may take to arrive: three megabytes over
	// a slow line.
	bodyTimeout = 30 * time.Second
	// requestTimeout is how long an answer may take after that: a full batch
	// of redemptions takes about two seconds of one processor.
	requestTimeout = 60 * time.Second
)

// guard reads the body within its limit and checks who sent the request before
// anything else looks at it.
type guard struct {
	broker *Broker
	mux    *http.ServeMux
	routes map[string]route // by pattern
}

// caller is who signed a request.
type caller struct {
	keyID   string
	key     ed25519.PublicKey
	account string // for accountSigned
}

type callerKey struct{}

// callerOf returns who signed the request. The guard has set it for every route
// that is signed.
func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// ServeHTTP implements http.Handler.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, pattern := g.mux.Handler(r)
	entry, found := g.routes[pattern]
	if !found {
		g.refuseRoute(w, r)
		return
	}
	body, p := readBody(w, r, entry.maxBody)
	if p != nil {
		writeProblem(w, p)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	ctx, refusal, err := g.admit(ctx, entry.access, r, body)
	if errors.Is(err, errNoToken) {
		writeProblem(w, newProblem(http.StatusUnauthorized, "want the administration token: Authorization: Bearer …"))
		return
	}
	if p := g.broker.problemOf(ctx, pattern, refusal, err); p != nil {
		writeProblem(w, p)
		return
	}
	r = r.WithContext(ctx)
	r.Body = io.NopCloser(bytes.NewReader(body))
	g.mux.ServeHTTP(w, r)
}

// refuseRoute answers for a path or a method that is not served.
func (g *guard) refuseRoute(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut} {
		if _, found := g.routes[method+" "+r.URL.Path]; found {
			allowed = append(allowed, method)
		}
	}
	if allowed == nil {
		writeProblem(w, newProblem(http.StatusNotFound, "Nothing is here. GET /openapi.json lists what is served."))
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	writeProblem(w, newProblem(http.StatusMethodNotAllowed, "This path is served for "+strings.Join(allowed, " and ")+" only."))
}

// readBody reads the whole body, which is signed as a whole. The deadline is
// for the body alone: left in place it would end the request's context later.
func readBody(w http.ResponseWriter, r *http.Request, maxBytes int64) ([]byte, *problem) {
	controller := http.NewResponseController(w)
	// A writer without deadlines, as in tests, has none to set.
	_ = controller.SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBytes))
	_ = controller.SetReadDeadline(time.Time{})
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, newProblem(http.StatusRequestEntityTooLarge,
			"The body is too large: at most "+formatBytes(maxBytes)+" here.")
	}
	if err != nil {
		return nil, newProblem(http.StatusBadRequest, "The body broke off.")
	}
	return body, nil
}

var errNoToken = errors.New("no administration token")

// admit checks that the request may use a route of this access and returns the
// context that names who sent it.
func (g *guard) admit(ctx context.Context, kind access, r *http.Request, body []byte) (context.Context, payword.Refusal, error) {
	switch kind {
	case public:
		return ctx, payword.Refusal{}, nil
	case adminOnly:
		if !g.broker.isAdmin(r) {
			return ctx, payword.Refusal{}, errNoToken
		}
		return ctx, payword.Refusal{}, nil
	}
	who, refusal, err := g.authenticate(ctx, kind, r, body)
	return context.WithValue(ctx, callerKey{}, who), refusal, err
}

// isAdmin compares the token in constant time.
func (b *Broker) isAdmin(r *http.Request) bool {
	token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	sum := sha256.Sum256([]byte(token))
	isSame := subtle.ConstantTimeCompare(sum[:], b.adminToken[:]) == 1
	return found && isSame && b.config.AdminToken != ""
}

// authenticate checks the signature of a request and takes its nonce. What is
// cheap comes first; the only thing it writes is a nonce under a good
// signature. It refuses with BadSignature, UnknownAccount, UnknownVendor or
// RateLimited.
func (g *guard) authenticate(ctx context.Context, kind access, r *http.Request, body []byte) (caller, payword.Refusal, error) {
	b := g.broker
	request, refusal := signedRequest(r, body, b.config.Issuer)
	if refusal.Refused() {
		return caller{}, refusal, nil
	}
	who, refusal, err := b.callerBy(ctx, kind, request.KeyID, body)
	if err != nil || refusal.Refused() {
		return caller{}, refusal, err
	}
	refusal = request.Verify(who.key, r.Header.Get(payword.HeaderSignature), b.now())
	if refusal.Refused() {
		return caller{}, refusal, nil
	}
	if kind == newlySigned && !b.openings.take() {
		return caller{}, refuse(payword.RateLimited, "too many new accounts and vendors at once; wait a minute"), nil
	}
	isNew, err := b.store.takeNonce(ctx, request.KeyID, request.Nonce, request.Created+payword.RequestMaxAgeSeconds)
	if err == nil && !isNew {
		return caller{}, refuse(payword.BadSignature, "the nonce was used before: sign every request anew"), nil
	}
	return who, payword.Refusal{}, err
}

// signedRequest takes from a request what its signature covers.
func signedRequest(r *http.Request, body []byte, issuer string) (payword.SignedRequest, payword.Refusal) {
	for _, name := range []string{payword.HeaderSignatureInput, payword.HeaderSignature, payword.HeaderContentDigest} {
		if len(r.Header.Values(name)) != 1 {
			return payword.SignedRequest{}, refuse(payword.BadSignature, "want one field %s: this route is for signed requests", name)
		}
	}
	request, refusal := payword.ParseSignatureInput(r.Header.Get(payword.HeaderSignatureInput))
	if refusal.Refused() {
		return payword.SignedRequest{}, refusal
	}
	request.Digest = r.Header.Get(payword.HeaderContentDigest)
	if request.Digest != payword.ContentDigest(body) {
		return payword.SignedRequest{}, refuse(payword.BadSignature, "Content-Digest is not the SHA-256 of the body")
	}
	request.Method, request.TargetURI = r.Method, issuer+r.RequestURI
	return request, payword.Refusal{}
}

// callerBy finds the key that a request names.
func (b *Broker) callerBy(ctx context.Context, kind access, keyID string, body []byte) (caller, payword.Refusal, error) {
	who := caller{keyID: keyID}
	var err error
	switch kind {
	case accountSigned:
		who.account, who.key, err = b.store.accountOf(ctx, keyID)
		if who.key == nil {
			return who, refuse(payword.UnknownAccount, "no account has that key: open one first"), err
		}
	case vendorSigned:
		who.key, err = b.store.vendorKey(ctx, keyID)
		if who.key == nil {
			return who, refuse(payword.UnknownVendor, "no vendor has registered that key"), err
		}
	default:
		var named struct {
			Key payword.PublicKey `json:"key"`
		}
		if json.Unmarshal(body, &named) != nil {
			return who, refuse(payword.BadSignature, "want a JSON object with the key that signed the request"), nil
		}
		key, keyErr := named.Key.Key()
		if keyErr != nil {
			return who, refuse(payword.BadSignature, "%v", keyErr), nil
		}
		who.key = key
	}
	return who, payword.Refusal{}, err
}
