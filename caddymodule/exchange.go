package caddymodule

import (
	"context"
	"net/http"
	"slices"

	"go.opentelemetry.io/otel/trace"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// exchange is one request on its way through the gate.
type exchange struct {
	*Handler
	gate    *gate
	writer  http.ResponseWriter
	paid    paidWriter // what later handlers write to, once it is granted
	next    caddyhttp.Handler
	request *http.Request
	vars    map[string]any // Caddy's, of the request
	sent    submission
	now     int64        // seconds since 1970
	url     string       // canonical
	quote   quote        // what it costs today
	price   money.Amount // what is charged before it is served, in micros: today's, or what an older quote said

	asked      []askedHeader // the request's, before later handlers change them
	view       chainView     // of the commitment and the payment's chain, after the newest step
	known      bool          // the store knows the commitment
	pending    *opening      // verified, to be remembered once the payword is proved
	proved     bool          // the caller proved a payword: the state may be told
	outcome    payword.Outcome
	steps      uint32              // hashes computed to verify the payword
	span       trace.Span          // of the decision; nil if nothing is traced
	returned   bool                // the price was given back
	retryAfter int64               // seconds, where too much was asked for
	reread     bool                // the page was bought before
	rereadable bool                // the page may be read again free, once it was bought
	bought     payword.Fingerprint // of the page, if it is rereadable
	reason     payword.Reason
	result     string    // what became of the request, in a word
	timing     string    // what stands in Server-Timing of it; "" before anything does
	meter      *metering // nil: the price is known beforehand

	onQuota   bool // one of the client's free requests was taken for it
	quotaLeft int  // how many are left then

	// Room for what would be allocated otherwise.
	untraced   untraced
	identified [len(identityFields)]string // what the upstream is told
	answered   [2]string                   // Payword-State and Server-Timing
}

func (h *Handler) newExchange(w http.ResponseWriter, r *http.Request, variables map[string]any, sent submission, q quote) *exchange {
	x := &exchange{
		Handler: h, gate: h.app.gate, writer: w, request: r, vars: variables, sent: sent,
		now: h.app.now().Unix(), url: payword.CanonicalURL(h.Vendor, requestTarget(r)), quote: q, price: q.ceiling,
	}
	if r.Method == http.MethodHead {
		x.price = 0
		r.Header.Del("Upgrade") // a HEAD is free because no content comes of it
	}
	x.meter = x.newMetering()
	x.providePlaceholders()
	return x
}

// saw takes over what a step saw.
func (x *exchange) saw(seen *view) { x.view = seen.of(x.sent.payment.Chain) }

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
	if refusal := x.checkBlocked(); refusal.Refused() {
		return refusal, nil
	}
	if refusal, err := x.checkHotList(ctx); err != nil || refusal.Refused() {
		return refusal, err
	}
	switch {
	case x.wantsCookie():
		return x.proveForCookie(ctx)
	case x.sent.action == payword.ActionPay:
		return x.pay(ctx)
	case x.sent.action == payword.ActionClose:
		return x.close(ctx)
	}
	return x.open(ctx)
}

// checkCircumstances refuses what must not be looked at any further.
func (x *exchange) checkCircumstances() payword.Refusal {
	if !isSecure(x.request, x.vars) {
		return overPlainHTTP
	}
	return x.checkStrikes(source{commitment: x.sent.payment.Commitment})
}

// checkChallenge checks the challenge that a credential answers, and honours
// the price that it quoted.
func (x *exchange) checkChallenge() payword.Refusal {
	resource := payword.Resource{HTTPMethod: quotedMethod(x.request), URL: x.url}
	quoted, refusal := payword.CheckChallenge(*x.sent.challenge, x.gate.challenges.recognised(x.now), resource, x.now)
	if refusal.Refused() {
		return refusal
	}
	if quoted.Recipient != x.Vendor || quoted.Currency != x.currency || !slices.Contains(x.intents, x.sent.challenge.Intent) {
		return payword.Refusal{Reason: payword.InvalidChallenge, Detail: "the challenge was made for another site or intent"}
	}
	if !x.isQuoteOf(parseOpaque(x.sent.challenge.Opaque)) {
		return payword.Refusal{Reason: payword.WrongResource, Detail: "the challenge quotes another of this URL's prices"}
	}
	switch {
	case x.price > 0 && x.meter != nil:
		x.meter.quoted(quoted, x.sent.challenge.Intent)
	case x.price > 0:
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

// checkCommitment checks what may change between two requests: the time, the
// address, and which of several sites is asked.
func (x *exchange) checkCommitment() payword.Refusal {
	if refusal := x.view.commitment.CheckTerms(x.Vendor, x.currency, x.now); refusal.Refused() {
		return refusal
	}
	if certificate := &x.view.commitment.Certificate; len(certificate.Prefixes) > 0 && !certificate.Covers(clientAddress(x.request)) {
		return payword.Refusal{Reason: payword.WrongAddress, Detail: "the certificate is bound to other addresses"}
	}
	return payword.Refusal{}
}

// judge verifies the payword against the tail that is known. What a request
// costs is settled after that, because only who proves a payword reads again
// free.
func (x *exchange) judge(ctx context.Context) (payword.Verdict, error) {
	verdict := x.verdict()
	if verdict.Reason == payword.StepTooFar && x.known {
		// Another gate may have seen a deeper tail.
		newest, err := x.gate.store.findNewest(ctx, x.sent.payment.Commitment)
		if err != nil {
			return payword.Verdict{}, err
		}
		x.saw(&newest)
		verdict = x.verdict()
	}
	x.proved, x.steps = verdict.Proved, verdict.Steps
	x.gate.metrics.steps.Observe(float64(verdict.Steps))
	if verdict.Reason == payword.ForgedPayword {
		x.strike()
	}
	return verdict, nil
}

func (x *exchange) verdict() payword.Verdict {
	payment := &x.sent.payment
	known := payword.Tail{}
	if int(payment.Chain) < len(x.view.commitment.Chains) {
		known = x.view.tail
	}
	return payword.Judge(x.view.commitment, known, payment, payword.Terms{Now: x.now, MaxStep: x.app.MaxStep})
}

// prove verifies the payword, remembers the commitment if it is new, and returns
// the tail that is proved.
func (x *exchange) prove(ctx context.Context) (payword.Tail, payword.Refusal, error) {
	verdict, err := x.judge(ctx)
	if err != nil || verdict.Reason != payword.Accepted {
		return payword.Tail{}, x.explain(verdict.Reason), err
	}
	refusal, err := x.open(ctx)
	return verdict.Tail, refusal, err
}

// pay charges the request. A genuine payword raises the tail even if the
// request is refused.
func (x *exchange) pay(ctx context.Context) (payword.Refusal, error) {
	tail, refusal, err := x.prove(ctx)
	if err != nil || refusal.Refused() {
		return refusal, err
	}
	payment := &x.sent.payment
	err = x.collectDebt(ctx, tail)
	if err != nil {
		return payword.Refusal{}, err
	}
	x.price = x.discounted(x.price, x.view.spent)
	switch {
	case x.price > 0 && x.isReread():
		x.price, x.reread = 0, true
	case x.price > 0 && x.takeQuota():
		x.price = 0
	}
	outcome, seen, err := x.gate.store.charge(ctx, payment.Commitment, payword.Charge{
		Chain: payment.Chain, Tail: tail, Number: payment.Number,
		Fingerprint: x.fingerprint(), Price: x.price,
		Unsafe: isUnsafe(x.request), Single: x.isCharge(), OverMax: x.price > payment.Max, Pass: x.passTerms(), Now: x.now,
	})
	x.outcome = outcome
	x.saw(&seen)
	if err == nil {
		x.gate.streams.credited(payment.Commitment)
	}
	x.settleCharge(err)
	return x.explain(x.outcome.Reason), err
}

// isCharge reports whether the request answers a challenge that can be used
// once. A HEAD asks what a GET would be answered, and uses nothing.
func (x *exchange) isCharge() bool {
	return x.request.Method != http.MethodHead && x.sent.form == formCredential && x.sent.challenge.Intent == payword.IntentCharge
}

// fingerprint tells the request from others, and the price classes of one URL
// apart. The answer to a charge challenge is told by that alone, so that a changed
// body makes no second one of it.
func (x *exchange) fingerprint() payword.Fingerprint {
	if x.isCharge() {
		return payword.NewFingerprint("", "", "", x.sent.challenge.ID)
	}
	digest := first(x.request.Header[payword.HeaderContentDigest])
	if x.rereadable && digest == "" {
		return x.bought
	}
	return payword.NewFingerprint(x.request.Method, x.url, digest, x.quote.class)
}

// close ends a commitment for who proves a payword of it.
func (x *exchange) close(ctx context.Context) (payword.Refusal, error) {
	tail, refusal, err := x.prove(ctx)
	if err != nil || refusal.Refused() {
		return refusal, err
	}
	payment := &x.sent.payment
	_, err = x.gate.store.advance(ctx, payment.Commitment, payment.Chain, tail)
	if err != nil {
		return payword.Refusal{}, err
	}
	seen, err := x.gate.store.finish(ctx, payment.Commitment)
	x.saw(&seen)
	return payword.Refusal{}, err
}
