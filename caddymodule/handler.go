package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// Handler serves a request once it is paid for, and answers 402 with a price
// otherwise.
type Handler struct {
	// The site's origin: the name that commitments to it carry, such as
	// https://news.example. Required.
	Vendor string `json:"vendor,omitempty"`

	// What one request costs, as a number and a currency: "0.001 USD".
	// Required.
	Price string `json:"price,omitempty"`

	// What is bought, in a few words for people. It stands on the page that
	// asks for payment. Optional.
	Description string `json:"description,omitempty"`

	// How often and how long a page that was bought may be read again free.
	// Default: 5 times within 60s. "times": 0 turns it off.
	Reread *Reread `json:"reread,omitempty"`

	// Which header a credential of the Payment scheme is asked for in:
	// "Authorization" (the default), or "Payment-Authorization" for sites that
	// need Authorization themselves. Both are always read.
	CredentialHeader string `json:"credential_header,omitempty"`

	// What a credential of the Payment scheme is asked for: "session" (the
	// default), many requests on one commitment under a quote; or "charge", one
	// request, whose challenge can be used once.
	Intent string `json:"intent,omitempty"`

	// "builtin" (the default) answers with a page of our own; "error" leaves
	// the body to handle_errors.
	Page string `json:"page,omitempty"`

	app      *App
	logger   *zap.Logger
	price    money.Amount
	currency money.Currency
	realm    string
}

// CaddyModule returns the module's description.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.payword", New: func() caddy.Module { return new(Handler) }}
}

// Provision reads the price and finds the app.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	app, err := ctx.App("payword")
	if err != nil {
		return fmt.Errorf("payword: the global option payword is missing or wrong: %w", err)
	}
	h.app = app.(*App)
	if h.price, h.currency, err = parsePrice(h.Price); err != nil {
		return fmt.Errorf("payword: price: %w", err)
	}
	h.realm = strings.TrimPrefix(strings.TrimPrefix(h.Vendor, "https://"), "http://")
	if h.Intent == "" {
		h.Intent = payword.IntentSession
	}
	if h.Reread == nil {
		h.Reread = &Reread{Times: defaultRereadTimes}
	}
	if h.Reread.Times == 0 && h.Reread.Within != 0 {
		return errors.New("payword: reread: within without times; set times to 0 alone to turn it off")
	}
	if h.Reread.Within == 0 {
		h.Reread.Within = defaultRereadWithin
	}
	return nil
}

// Validate checks the configuration.
func (h *Handler) Validate() error {
	if err := payword.CheckOrigin(h.Vendor); err != nil {
		return fmt.Errorf("payword: vendor: %w", err)
	}
	switch {
	case h.price < 1:
		return errors.New("payword: price: want more than 0; what is free needs no payword directive")
	case h.CredentialHeader != "" && h.CredentialHeader != "Authorization" && h.CredentialHeader != payword.HeaderPaymentAuthorization:
		return errors.New("payword: credential_header: want Authorization or Payment-Authorization")
	case h.Intent != payword.IntentSession && h.Intent != payword.IntentCharge:
		return errors.New("payword: intent: want session or charge")
	case h.Page != "" && h.Page != pageBuiltin && h.Page != pageError:
		return errors.New("payword: page: want builtin or error")
	}
	return h.Reread.validate()
}

// parsePrice reads "0.001 USD".
func parsePrice(text string) (money.Amount, money.Currency, error) {
	number, code, found := strings.Cut(strings.TrimSpace(text), " ")
	if !found {
		return 0, "", fmt.Errorf("%q: want a number and a currency, such as 0.001 USD", text)
	}
	amount, err := money.ParseDecimal(number)
	if err != nil {
		return 0, "", err
	}
	currency, err := money.CurrencyFromCode(strings.TrimSpace(code))
	return amount, currency, err
}

// ServeHTTP serves r if it is paid for. It charges before it serves: the price
// is spent, durably, before the first byte of content, and given back if none
// comes. A refusal is 402; when we cannot tell it is 503, since a 402 would
// make people pay again.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	sent, refusal := readSubmission(r)
	switch {
	case r.URL.Path == payword.PathDiscovery:
		return h.serveDiscovery(w, r)
	case isPreflight(r):
		return servePreflight(w, r, next)
	case wasGranted(r):
		return next.ServeHTTP(w, r) // by another payword directive, whose price counts
	case isPrefetch(r):
		return refusePrefetch(w)
	}
	if err := h.app.open(); err != nil {
		return h.unavailable(w, err)
	}
	x := h.newExchange(w, r, sent)
	if !refusal.Refused() {
		var err error
		if refusal, err = x.process(r.Context()); err != nil {
			return h.unavailable(w, err)
		}
	}
	if refusal.Refused() {
		return x.refuse(refusal)
	}
	if sent.action != payword.ActionPay {
		return x.acknowledge()
	}
	return x.serve(next)
}

// exchange is one request on its way through the gate.
type exchange struct {
	*Handler
	gate    *gate
	writer  http.ResponseWriter
	request *http.Request
	sent    submission
	now     int64  // seconds since 1970
	url     string // canonical
	price   money.Amount

	asked    http.Header // the request's, before later handlers change them
	view     view        // of the commitment, after the newest step
	known    bool        // the store knows the commitment
	pending  *opening    // verified, to be remembered once the payword is proved
	proved   bool        // the caller proved a payword: the state may be told
	outcome  payword.Outcome
	returned bool // the price was given back
}

func (h *Handler) newExchange(w http.ResponseWriter, r *http.Request, sent submission) *exchange {
	x := &exchange{
		Handler: h, gate: h.app.gate, writer: w, request: r, sent: sent,
		now: h.app.now().Unix(), url: payword.CanonicalURL(h.Vendor, requestTarget(r)), price: h.price,
	}
	if r.Method == http.MethodHead {
		x.price = 0
	}
	return x
}

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

// process does what the submission asks for, up to the charge.
func (x *exchange) process(ctx context.Context) (payword.Refusal, error) {
	if refusal := x.checkCircumstances(); refusal.Refused() {
		return refusal, nil
	}
	if x.sent.form == formCredential {
		if refusal := x.checkChallenge(); refusal.Refused() {
			return refusal, nil
		}
	}
	refusal, err := x.findCommitment(ctx)
	if err != nil || refusal.Refused() {
		return refusal, err
	}
	if refusal := x.checkCommitment(); refusal.Refused() {
		return refusal, nil
	}
	switch x.sent.action {
	case payword.ActionPay:
		return x.pay(ctx)
	case payword.ActionClose:
		return x.close(ctx)
	}
	return payword.Refusal{}, x.open(ctx)
}

// checkCircumstances refuses what must not be looked at any further.
func (x *exchange) checkCircumstances() payword.Refusal {
	switch {
	case !isSecure(x.request):
		return payword.Refusal{Reason: payword.InsecureTransport, Detail: "paywords travel over https only: whoever sees one can use it"}
	case x.gate.strikes.exceeded(strikeSource{commitment: x.sent.payment.Commitment}, x.now):
		return tooManyFailed
	}
	return payword.Refusal{}
}

// checkChallenge checks the challenge that a credential answers, and honours
// the price that it quoted.
func (x *exchange) checkChallenge() payword.Refusal {
	resource := payword.Resource{HTTPMethod: quotedMethod(x.request), URL: x.url}
	quoted, refusal := payword.CheckChallenge(x.sent.challenge, [][]byte{x.gate.secret}, resource, x.now)
	if refusal.Refused() {
		return refusal
	}
	if quoted.Recipient != x.Vendor || quoted.Currency != x.currency || x.sent.challenge.Intent != x.Intent {
		return payword.Refusal{Reason: payword.InvalidChallenge, Detail: "the challenge was made for another site or intent"}
	}
	if x.price > 0 {
		x.price = quoted.Amount
	}
	return payword.Refusal{}
}

// quotedMethod is the method that a price is quoted for: a HEAD asks what a GET
// would cost.
func quotedMethod(r *http.Request) string {
	if r.Method == http.MethodHead {
		return http.MethodGet
	}
	return r.Method
}

// findCommitment looks the commitment up, or verifies it if it came along.
func (x *exchange) findCommitment(ctx context.Context) (payword.Refusal, error) {
	found, err := x.gate.store.find(ctx, x.sent.payment.Commitment)
	switch {
	case err == nil:
		x.view, x.known = found, true
	case !errors.Is(err, errUnknownCommitment):
		return payword.Refusal{}, err
	case x.sent.commitment == "":
		return payword.Refusal{Reason: payword.UnknownCommitment, Detail: "send the commitment along"}, nil
	}
	if x.known && (x.sent.reservation == "" || x.sent.reservation == x.view.reservation) {
		return payword.Refusal{}, nil
	}
	// Who is known is counted by the commitment alone, so that strangers behind
	// the same address do not lock them out.
	if !x.known && x.gate.strikes.exceeded(strikeSource{address: clientAddress(x.request)}, x.now) {
		return tooManyFailed, nil
	}
	return x.verify()
}

// verify checks a commitment that is not known yet, and its reservation; or a
// later reservation of a known one. Nothing is remembered of what fails.
func (x *exchange) verify() (payword.Refusal, error) {
	if x.sent.reservation == "" {
		return payword.Refusal{Reason: payword.ReservationRequired, Detail: "this site takes reserved commitments only: have the broker reserve it"}, nil
	}
	if !x.known {
		commitment, refusal, err := x.verifyCommitment()
		if err != nil || refusal.Refused() {
			return refusal, err
		}
		x.view.commitment = commitment
		for k, chain := range commitment.Chains {
			x.view.tails[k] = payword.Tail{Payword: chain.Root}
		}
	}
	commitment := x.view.commitment
	brokers, err := x.app.trusted(commitment.Certificate.Issuer)
	if err != nil {
		return payword.Refusal{}, err
	}
	reservation, refusal := payword.ParseReservation(x.sent.reservation, commitment, brokers)
	if refusal.Refused() {
		x.strike()
		return refusal, nil
	}
	x.pending = &opening{
		commitment: commitment, reservation: reservation.Token, amount: reservation.Amount,
		sequence: reservation.Sequence, redeemBy: reservation.RedeemBy,
	}
	return payword.Refusal{}, nil
}

// open remembers what verify found good. A known commitment is topped up.
func (x *exchange) open(ctx context.Context) error {
	if x.pending == nil {
		return nil
	}
	opened, err := x.gate.store.open(ctx, *x.pending)
	if err == nil {
		x.view, x.known, x.pending = opened, true, nil
	}
	return err
}

// verifyCommitment checks the commitment that came along: what is cheap first,
// on what it says of itself, then two signatures.
func (x *exchange) verifyCommitment() (*payword.Commitment, payword.Refusal, error) {
	claimed, err := payword.UnverifiedCommitment(x.sent.commitment)
	if err != nil {
		_, refusal := payword.ParseCommitment(x.sent.commitment, nil) // says which part is malformed
		return nil, refusal, nil
	}
	if refusal := claimed.CheckTerms(x.Vendor, x.currency, x.now); refusal.Refused() {
		return nil, refusal, nil
	}
	brokers, err := x.app.trusted(claimed.Certificate.Issuer)
	if err != nil {
		return nil, payword.Refusal{}, err
	}
	commitment, refusal := payword.ParseCommitment(x.sent.commitment, brokers)
	if refusal.Refused() {
		x.strike()
		return nil, refusal, nil
	}
	return &commitment, payword.Refusal{}, nil
}

// checkCommitment checks what may change between two requests: the time, the
// address, and which of several sites is asked.
func (x *exchange) checkCommitment() payword.Refusal {
	if refusal := x.view.commitment.CheckTerms(x.Vendor, x.currency, x.now); refusal.Refused() {
		return refusal
	}
	if !x.view.commitment.Certificate.Covers(clientAddress(x.request)) {
		return payword.Refusal{Reason: payword.WrongAddress, Detail: "the certificate is bound to other addresses"}
	}
	return payword.Refusal{}
}

// judge verifies the payword against the tail that is known. What a request
// costs is settled after that, because only who proves a payword reads again
// free.
func (x *exchange) judge() payword.Verdict {
	payment := &x.sent.payment
	known := payword.Tail{}
	if int(payment.Chain) < len(x.view.commitment.Chains) {
		known = x.view.tails[payment.Chain]
	}
	terms := payword.Terms{Now: x.now, MaxStep: x.app.MaxStep}
	verdict := payword.Judge(x.view.commitment, known, payment, terms)
	x.proved = verdict.Proved
	if verdict.Reason == payword.ForgedPayword {
		x.strike()
	}
	return verdict
}

// pay charges the request. A genuine payword raises the tail even if the
// request is refused.
func (x *exchange) pay(ctx context.Context) (payword.Refusal, error) {
	verdict := x.judge()
	if verdict.Reason != payword.Accepted {
		return x.explain(verdict.Reason), nil
	}
	if x.price > 0 && x.isReread() {
		x.price = 0
	}
	if err := x.open(ctx); err != nil {
		return payword.Refusal{}, err
	}
	payment := &x.sent.payment
	var err error
	x.outcome, x.view, err = x.gate.store.charge(ctx, payment.Commitment, payword.Charge{
		Chain: payment.Chain, Tail: verdict.Tail, Number: payment.Number,
		Fingerprint: x.fingerprint(), Price: x.price,
		Unsafe: isUnsafe(x.request), Single: x.isCharge(), OverMax: x.price > payment.Max, Now: x.now,
	})
	return x.explain(x.outcome.Reason), err
}

// isCharge reports whether the request answers a challenge that can be used
// once. A HEAD asks what a GET would be answered, and uses nothing.
func (x *exchange) isCharge() bool {
	return x.request.Method != http.MethodHead && x.sent.form == formCredential && x.sent.challenge.Intent == payword.IntentCharge
}

// fingerprint tells the request from others. The answer to a charge challenge
// is told by that alone, so that a changed body makes no second one of it.
func (x *exchange) fingerprint() payword.Fingerprint {
	if x.isCharge() {
		return payword.NewFingerprint("", "", "", x.sent.challenge.ID)
	}
	return payword.NewFingerprint(x.request.Method, x.url, x.request.Header.Get(payword.HeaderContentDigest), "")
}

// close ends a commitment for who proves a payword of it.
func (x *exchange) close(ctx context.Context) (payword.Refusal, error) {
	verdict := x.judge()
	if verdict.Reason != payword.Accepted {
		return x.explain(verdict.Reason), nil
	}
	if err := x.open(ctx); err != nil {
		return payword.Refusal{}, err
	}
	payment := &x.sent.payment
	_, err := x.gate.store.advance(ctx, payment.Commitment, payment.Chain, verdict.Tail)
	if err != nil {
		return payword.Refusal{}, err
	}
	x.view, err = x.gate.store.finish(ctx, payment.Commitment)
	return payword.Refusal{}, err
}

// tooManyFailed refuses to look at any more for a while.
var tooManyFailed = payword.Refusal{Reason: payword.RateLimited, Detail: "too many payments failed: wait a minute"}

// strike counts a failed verification against the address it came from.
func (x *exchange) strike() {
	x.gate.strikes.add(clientAddress(x.request), x.sent.payment.Commitment, x.now)
}

// explain makes a refusal of a reason, with what would be right.
func (x *exchange) explain(reason payword.Reason) payword.Refusal {
	refusal := payword.Refusal{Reason: reason}
	payment := &x.sent.payment
	switch reason {
	case payword.InsufficientCredit:
		refusal.Detail = fmt.Sprintf("the request costs %s %s, the credit is %s: release more",
			x.price.Decimal(), x.currency.Code(), (x.view.accepted - x.view.spent).Decimal())
	case payword.PriceOverMax:
		refusal.Detail = fmt.Sprintf("the request costs %s %s, you agreed to at most %s",
			x.price.Decimal(), x.currency.Code(), payment.Max.Decimal())
	case payword.StepTooFar:
		refusal.Detail = fmt.Sprintf("go at most %d steps at a time, with HEAD requests in between", x.app.MaxStep)
	case payword.StalePayword:
		refusal.Detail = fmt.Sprintf("the payword is more than %d steps behind: present a newer one", payword.MaxStale)
	case payword.ForgedPayword:
		refusal.Detail = "the payword does not lead to the chain by hashing"
	case payword.UnknownChain:
		refusal.Detail = fmt.Sprintf("the commitment has no chain %d", payment.Chain)
	case payword.ChainExhausted:
		refusal.Detail = "the index is past the end of the chain"
	case payword.CommitmentExpired:
		refusal.Detail = "the commitment has expired"
	case payword.CommitmentClosed:
		refusal.Detail = "the commitment was closed"
	case payword.AlreadyUsed:
		refusal.Detail = fmt.Sprintf("request number %d was used: take a new one", payment.Number)
	case payword.StaleNumber:
		refusal.Detail = fmt.Sprintf("request number %d is more than %d behind: take a new one", payment.Number, payword.WindowSize)
	case payword.ChallengeUsed:
		refusal.Detail = "the challenge was answered before: ask for a new one"
	case payword.AlreadyExecuted:
		refusal.Detail = "this request was executed before and is not repeated"
	}
	return refusal
}

// unavailable closes the gate because we cannot tell. Nothing of the cause
// reaches the client.
func (h *Handler) unavailable(w http.ResponseWriter, cause error) error {
	w.Header().Set("Retry-After", "5")
	w.Header().Set("Cache-Control", "no-store")
	return caddyhttp.Error(http.StatusServiceUnavailable, cause)
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

// grantedVariable marks a request that a payword directive granted.
const grantedVariable = "payword.granted"

func wasGranted(r *http.Request) bool {
	granted, _ := caddyhttp.GetVar(r.Context(), grantedVariable).(bool)
	return granted
}

// isPreflight reports whether a browser asks leave for a cross-origin request.
// It cannot carry a payment.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" &&
		r.Header.Get("Access-Control-Request-Method") != "" &&
		r.ContentLength == 0 && r.Header.Get("Upgrade") == ""
}

// servePreflight lets the site answer a preflight, in headers alone: what looks
// at no method would answer with its content.
func servePreflight(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return next.ServeHTTP(&headersOnly{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}, r)
}

// headersOnly writes the header of an answer and none of its content.
type headersOnly struct {
	*caddyhttp.ResponseWriterWrapper
	wroteHeader bool
}

// WriteHeader writes the header without what describes content.
func (w *headersOnly) WriteHeader(status int) {
	w.wroteHeader = true
	for _, name := range []string{"Content-Length", "Content-Encoding", "Content-Type", "Etag"} {
		w.Header().Del(name)
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

// Write drops the content.
func (w *headersOnly) Write(content []byte) (int, error) {
	if !w.wroteHeader {
		w.WriteHeader(http.StatusOK)
	}
	return len(content), nil
}

// ReadFrom drops the content.
func (w *headersOnly) ReadFrom(source io.Reader) (int64, error) {
	if !w.wroteHeader {
		w.WriteHeader(http.StatusOK)
	}
	return io.Copy(io.Discard, source)
}

// Unwrap returns nothing: what is below would write content.
func (w *headersOnly) Unwrap() http.ResponseWriter { return nil }

// isPrefetch reports whether a browser fetches ahead of its user.
func isPrefetch(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Sec-Purpose"), "prefetch") || r.Header.Get("Purpose") == "prefetch"
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
func isSecure(r *http.Request) bool {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		return r.Header.Get("X-Forwarded-Proto") == "https"
	}
	if r.TLS != nil {
		return true
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
