package broker

import (
	"bytes"
	"context"
	"crypto/ed25519"
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
	newAccount           // signed by the key in the body, which need not be known
	newVendor            // likewise
	adminOnly            // the administration token
	gatewaySigned        // signed by the key of a gateway
)

const (
	// bodyTimeout is how long a body may take to arrive, whether it is wanted or
	// not: three megabytes over a slow line.
	bodyTimeout = 30 * time.Second
	// requestTimeout is how long an answer may take beside that: a full batch of
	// redemptions takes about two seconds of one processor, and may wait for its
	// turn before.
	requestTimeout = 60 * time.Second
)

// guard checks who sent a request, as far as its head tells, before it reads
// the body, and the rest before anything else looks at it.
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
	gateway string // for gatewaySigned
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
	// What nobody reads has to arrive in time, too: the server drains it before
	// it takes the next request. A writer without deadlines, as in tests, has
	// none to set.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	_, pattern := g.mux.Handler(r)
	counted := &countedWriter{ResponseWriter: w}
	defer g.broker.metrics.countRequest(pattern, counted, time.Now())
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if entry, found := g.routes[pattern]; found && entry.isForPages() {
		allowPages(w.Header())
	}
	if p := g.broker.problemOf(r.Context(), pattern, g.broker.limitAddress(w.Header(), r), nil); p != nil {
		writeProblem(counted, p)
		return
	}
	g.admitted(counted, r, pattern)
}

// admitted serves a request from an address that may send one.
func (g *guard) admitted(w http.ResponseWriter, r *http.Request, pattern string) {
	entry, found := g.routes[pattern]
	if !found {
		if !g.servePreflight(w, r) {
			g.refuseRoute(w, r)
		}
		return
	}
	if p := checkTarget(r.URL); p != nil {
		writeProblem(w, p)
		return
	}
	ctx, cancel := context.WithTimeout(withActor(r.Context(), actorAnybody), bodyTimeout+requestTimeout)
	defer cancel()
	sender, refusal, err := g.admit(ctx, entry.access, r)
	if errors.Is(err, errNoToken) {
		writeProblem(w, newProblem(http.StatusUnauthorized, "Want the administration token: Authorization: Bearer …"))
		return
	}
	if errors.Is(err, errReadOnly) {
		writeProblem(w, newProblem(http.StatusForbidden, "This token may look and not change anything."))
		return
	}
	if err == nil && !refusal.Refused() {
		refusal = g.broker.limitSender(w.Header(), entry, sender)
	}
	if p := g.broker.problemOf(ctx, pattern, refusal, err); p != nil {
		writeProblem(w, p)
		return
	}
	if isStream(r) {
		g.serveStream(w, r, pattern, sender)
		return
	}
	if entry.maxBody > largeBody {
		leave, refusal := g.broker.enterLarge(ctx, sender.keyID)
		if p := g.broker.problemOf(ctx, pattern, refusal, nil); p != nil {
			writeProblem(w, p)
			return
		}
		defer leave()
	}
	g.serve(ctx, w, r, entry, sender)
}

// serve reads the body, checks it against the head, and hands both on.
func (g *guard) serve(ctx context.Context, w http.ResponseWriter, r *http.Request, entry route, sender sender) {
	body, p := readBody(w, r, entry.maxBody)
	if p == nil && !entry.hasRawBody {
		p = checkNUL(body)
	}
	// In large bodies stand tokens alone, which are checked when they are read.
	if p == nil && !entry.hasRawBody && entry.maxBody <= largeBody {
		p = checkMembers(body)
	}
	if p != nil {
		writeProblem(w, p)
		return
	}
	if sender.isSigned {
		refusal, err := g.authenticate(ctx, entry.access, &sender, body)
		if p := g.broker.problemOf(ctx, entry.pattern(), refusal, err); p != nil {
			writeProblem(w, p)
			return
		}
		ctx = context.WithValue(ctx, callerKey{}, sender.caller)
		ctx = withActor(ctx, sender.actor(entry.access))
	} else if entry.access == adminOnly {
		ctx = withActor(ctx, sender.operator)
	}
	r = r.WithContext(ctx)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if entry.keepsAnswers() && strings.Join(r.Header.Values(headerIdempotencyKey), ",") != "" {
		g.serveKept(w, r, entry, body)
		return
	}
	g.mux.ServeHTTP(w, r)
}

// refuseRoute answers for a path or a method that is not served.
func (g *guard) refuseRoute(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
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
	if counted, isCounted := w.(*countedWriter); isCounted {
		w = counted.ResponseWriter // which MaxBytesReader closes the connection of
	}
	// Anew, because the request may have waited for its turn.
	_ = controller.SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBytes))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, newProblem(http.StatusRequestEntityTooLarge,
			"The body is too large: at most "+formatBytes(maxBytes)+" here.")
	}
	if err != nil {
		return nil, newProblem(http.StatusBadRequest, "The body broke off.")
	}
	_ = controller.SetReadDeadline(time.Time{})
	return body, nil
}

var (
	errNoToken  = errors.New("no administration token")
	errReadOnly = errors.New("the token of a read-only operator")
)

// admitOperator checks the administration token of a request.
func (b *Broker) admitOperator(r *http.Request) (sender, payword.Refusal, error) {
	// Through a proxy that is not configured all clients look like one, and
	// nobody shall keep the others out.
	client := b.clientOf(r)
	isCounted := client != "" && r.Header.Get("Authorization") != ""
	if isCounted && !b.failures.take(client) {
		return sender{}, refuse(payword.RateLimited, "too many wrong tokens in a minute: wait for the next"), nil
	}
	o, found := b.bearerOf(r)
	if isCounted && found {
		b.failures.forgive(client)
	}
	switch {
	case !found:
		return sender{}, payword.Refusal{}, errNoToken
	case o.ReadOnly && r.Method != http.MethodGet:
		return sender{}, payword.Refusal{}, errReadOnly
	}
	return sender{operator: actorOfOperator(o)}, payword.Refusal{}, nil
}

// sender is who sent a request, as far as its head tells.
type sender struct {
	caller
	isSigned  bool
	operator  string                // the actor, for adminOnly
	request   payword.SignedRequest // as the head says
	signature string
}

// actor returns who the audit log names for what a signed request does.
func (s *sender) actor(kind access) string {
	switch kind {
	case accountSigned:
		return "account:" + s.account
	case gatewaySigned:
		return sourceGateway + s.gateway
	}
	return "key:" + s.keyID
}

// admit checks everything in the head of a request that can be checked without
// its body: the administration token, or the signature, which covers a digest
// of the body. A key that stands in the body is for authenticate. It refuses
// with BadSignature, UnknownAccount or UnknownVendor.
func (g *guard) admit(ctx context.Context, kind access, r *http.Request) (sender, payword.Refusal, error) {
	b := g.broker
	switch {
	case kind == public:
		return sender{}, payword.Refusal{}, nil
	case kind == adminOnly:
		return b.admitOperator(r)
	}
	request, refusal := signedRequest(r, b.config.Issuer)
	if refusal.Refused() {
		return sender{}, refusal, nil
	}
	from := sender{
		caller: caller{keyID: request.KeyID}, isSigned: true,
		request: request, signature: r.Header.Get(payword.HeaderSignature),
	}
	if kind == newAccount || kind == newVendor {
		return from, checkForm(from, b.now()), nil
	}
	var err error
	switch kind {
	case accountSigned:
		refusal = refuse(payword.UnknownAccount, "no account has that key: open one first")
		from.account, from.key, err = b.store.accountOf(ctx, request.KeyID)
	case gatewaySigned:
		refusal = refuse(payword.BadSignature, "no gateway is registered with that key")
		from.gateway, from.key, err = b.store.gatewayOf(ctx, request.KeyID)
	default:
		refusal = refuse(payword.UnknownVendor, "no vendor has registered that key")
		from.key, err = b.store.vendorKey(ctx, request.KeyID)
	}
	if err != nil || from.key == nil {
		return sender{}, refusal, err
	}
	return from, request.Verify(from.key, from.signature, b.now()), nil
}

// checkForm refuses with BadSignature what no key can have signed at about now,
// in seconds since 1970, before its body is read.
func checkForm(from sender, now int64) payword.Refusal {
	const length = len("sig=::") + (ed25519.SignatureSize+2)/3*4
	if len(from.signature) != length {
		return refuse(payword.BadSignature, "Signature: want sig=:…: with 64 bytes in base64")
	}
	if created := from.request.Created; created < now-payword.RequestMaxAgeSeconds || created > now+payword.RequestMaxAgeSeconds {
		return refuse(payword.BadSignature, "the request was signed more than %d seconds from now", payword.RequestMaxAgeSeconds)
	}
	return payword.Refusal{}
}

// authenticate checks the body of a request against its head, takes the key
// from it where it stands there, and takes the nonce. What is cheap comes
// first; the only thing it writes is a nonce under a good signature. It refuses
// with BadSignature or RateLimited.
func (g *guard) authenticate(ctx context.Context, kind access, from *sender, body []byte) (payword.Refusal, error) {
	b := g.broker
	if from.request.Digest != payword.ContentDigest(body) {
		return refuse(payword.BadSignature, "Content-Digest is not the SHA-256 of the body"), nil
	}
	if kind == newAccount || kind == newVendor {
		refusal := from.takeKey(body, b.now())
		if refusal.Refused() {
			return refusal, nil
		}
		if refusal, err := b.checkOpening(ctx, kind, from.keyID); err != nil || refusal.Refused() {
			return refusal, err
		}
	}
	isNew, err := b.store.takeNonce(ctx, from.keyID, from.request)
	if err == nil && !isNew {
		return refuse(payword.BadSignature, "the nonce was used before: sign every request anew"), nil
	}
	return payword.Refusal{}, err
}

// takeKey reads the key in the body and checks the signature with it. It
// refuses with BadSignature.
func (s *sender) takeKey(body []byte, now int64) payword.Refusal {
	var named struct {
		Key payword.PublicKey `json:"key"`
	}
	if json.Unmarshal(body, &named) != nil {
		return refuse(payword.BadSignature, "want a JSON object with the key that signed the request")
	}
	var err error
	if s.key, err = named.Key.Key(); err != nil {
		return refuse(payword.BadSignature, "%v", err)
	}
	return s.request.Verify(s.key, s.signature, now)
}

// checkOpening counts a request by a key that is not known yet. Keys that are
// known have made their rows already, and strangers must not keep them out. It
// refuses with RateLimited.
func (b *Broker) checkOpening(ctx context.Context, kind access, keyID string) (payword.Refusal, error) {
	var known ed25519.PublicKey
	var err error
	openings := b.accountOpenings
	if kind == newVendor {
		openings = b.vendorOpenings
		known, err = b.store.vendorKey(ctx, keyID)
	} else {
		_, known, err = b.store.accountOf(ctx, keyID)
	}
	if err == nil && known == nil && !openings.take() {
		return refuse(payword.RateLimited, "too many keys that are not known yet at once; wait a minute"), nil
	}
	return payword.Refusal{}, err
}

// signedRequest takes from the head of a request what its signature covers.
func signedRequest(r *http.Request, issuer string) (payword.SignedRequest, payword.Refusal) {
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
	if len(request.Digest) != len(payword.ContentDigest(nil)) {
		return payword.SignedRequest{}, refuse(payword.BadSignature, "Content-Digest: want sha-256=:…: with 32 bytes in base64")
	}
	request.Method, request.TargetURI = r.Method, issuer+r.RequestURI
	return request, payword.Refusal{}
}
