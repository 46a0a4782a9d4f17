package caddymodule

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// giveBackTimeout bounds the store step that gives a price back. It runs on a
// context of its own, because the request's has often ended by then.
const giveBackTimeout = 5 * time.Second

// serve lets the next handler answer a granted request. The price is given back
// where nothing was delivered: an error, a redirect, 304, or no answer at all.
func (x *exchange) serve(next caddyhttp.Handler) error {
	x.tell(payword.Refusal{})
	x.setVariable(grantedVariable, true)
	x.identify(x.request.Header)
	w := &x.paid
	w.ResponseWriter, w.exchange = x.writer, x
	if x.request.Body != nil && x.request.Body != http.NoBody {
		w.body = &watchedBody{ReadCloser: x.request.Body}
		x.request.Body = w.body
	}
	if x.meter != nil {
		return x.serveMetered(w, next.ServeHTTP)
	}
	finished := false
	defer func() {
		if finished {
			return
		}
		// The next handler panicked, as a proxy does when its upstream breaks
		// off.
		w.giveBack()
	}()
	var err error
	if x.span == nil {
		err = next.ServeHTTP(w, x.request)
	} else {
		err = traceUpstream(next, w, x.request)
	}
	finished = true
	switch {
	case !w.wroteHeader:
		w.finishWithoutHeader()
	case err != nil && !w.clientLeft():
		w.giveBack()
	default:
		x.rememberReread(w)
	}
	return err
}

// finishWithoutHeader settles a request that was not answered: what comes next
// writes an error.
func (w *paidWriter) finishWithoutHeader() {
	w.giveBack()
	header := w.exchange.writer.Header()
	w.exchange.writeStatusHeader(header, payword.Accepted)
	forceCaching(header)
	exposeHeaders(w.exchange.request, header)
}

// giveBack returns the price of the request, unless the client left by itself or
// that was done before.
func (w *paidWriter) giveBack() {
	x := w.exchange
	if x.returned || w.clientLeft() {
		return
	}
	x.returned = true
	x.returnQuota()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.request.Context()), giveBackTimeout)
	defer cancel()
	payment := &x.sent.payment
	returned, after, err := x.gate.store.giveBack(ctx, payment.Commitment, payment.Number, x.app.now().Unix())
	if err != nil {
		x.logger.Error("giving a price back", zap.Error(err))
		return
	}
	x.saw(&after)
	x.gate.collectReturned(ctx, payment.Commitment, returned, &x.view, x.logger)
}

// paidWriter writes the answer to a granted request. It settles what the
// request costs and sets the headers of the payment when the status is known.
type paidWriter struct {
	caddyhttp.ResponseWriterWrapper
	exchange    *exchange
	wroteHeader bool
	status      int
	body        *watchedBody // the request's; nil if it has none
	meter       *metering    // nil if the price is known beforehand

	// writing is held while something is written: a WebSocket over HTTP/2 is
	// written to while its other direction waits for payment and says so.
	writing     sync.Mutex
	writeFailed bool
	stalled     bool // the client let a write wait for longer than clientPatience
}

// clientPatience is how long a write may wait for the client. An upstream that
// breaks off after that may have done so because nobody took its answer.
const clientPatience = 5 * time.Second

// clientLeft reports whether the client did not get everything through its own
// doing, and so is given nothing back: it went away, or it stopped reading, which
// lets the upstream give up when all but the end has come.
func (w *paidWriter) clientLeft() bool {
	w.writing.Lock()
	stalled := w.stalled
	w.writing.Unlock()
	return stalled || w.wasCut()
}

// wasCut reports whether the client went away, or what was written to it did not
// arrive. A failed write is often seen before the request's context ends, so one
// of them alone would let a client cut the connection at the last byte and have
// its money back.
func (w *paidWriter) wasCut() bool {
	w.writing.Lock()
	failed := w.writeFailed
	w.writing.Unlock()
	return failed || w.body != nil && w.body.failed.Load() || w.exchange.request.Context().Err() != nil
}

// watchedBody notes if reading the body of a request fails: a client that sends
// half of what it announced breaks the upstream's answer too.
type watchedBody struct {
	io.ReadCloser
	failed atomic.Bool // proxies read in a goroutine of their own
}

// Read implements io.Reader.
func (b *watchedBody) Read(content []byte) (int, error) {
	n, err := b.ReadCloser.Read(content)
	if err != nil && err != io.EOF && !errors.Is(err, http.ErrBodyReadAfterClose) {
		b.failed.Store(true)
	}
	return n, err
}

// WriteHeader settles the request when the final status is known.
func (w *paidWriter) WriteHeader(status int) {
	if w.wroteHeader || status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		w.ResponseWriterWrapper.WriteHeader(status)
		return
	}
	w.wroteHeader, w.status = true, status
	if status < 300 && w.meter != nil && !w.meter.begin(w) {
		return
	}
	w.sendHeader()
}

// sendHeader sends the header with what it says of the payment.
func (w *paidWriter) sendHeader() {
	x, status := w.exchange, w.status
	delivers := status < 300
	if !delivers {
		w.giveBack()
	}
	header := w.Header()
	x.writeStatusHeader(header, payword.Accepted)
	x.writePass(header)
	if delivers && x.sent.form == formCredential {
		x.writeReceipt(header)
	}
	forceCaching(header)
	exposeHeaders(x.request, header)
	w.ResponseWriterWrapper.WriteHeader(status)
}

// Write writes content, after the header.
func (w *paidWriter) Write(content []byte) (int, error) {
	if !w.wroteHeader {
		w.WriteHeader(http.StatusOK)
	}
	if w.meter != nil {
		return w.meter.write(w, content)
	}
	return w.writeThrough(content)
}

func (w *paidWriter) writeThrough(content []byte) (int, error) {
	w.writing.Lock()
	defer w.writing.Unlock()
	began := sinceStart()
	n, err := w.ResponseWriterWrapper.Write(content)
	w.noteWrite(began, err)
	return n, err
}

// noteWrite notes what came of a write that began at a time. The caller holds
// writing.
func (w *paidWriter) noteWrite(began time.Duration, err error) {
	w.writeFailed = w.writeFailed || err != nil
	w.stalled = w.stalled || sinceStart()-began > clientPatience
}

// ReadFrom copies content, after the header, the fast way where there is one.
func (w *paidWriter) ReadFrom(source io.Reader) (int64, error) {
	if !w.wroteHeader {
		w.WriteHeader(http.StatusOK)
	}
	if w.meter != nil && w.meter.mode != meterPass {
		return io.Copy(onlyWriter{w}, source)
	}
	n, err := w.ResponseWriterWrapper.ReadFrom(source)
	if w.meter != nil {
		w.meter.sent += n
	}
	// The error may be the source's. Telling would cost the fast way, and
	// proxies, whose sources break, copy by Write.
	w.writing.Lock()
	defer w.writing.Unlock()
	w.writeFailed = w.writeFailed || err != nil
	return n, err
}

// FlushError sends what was written so far, after the header.
func (w *paidWriter) FlushError() error {
	if !w.wroteHeader {
		w.WriteHeader(http.StatusOK)
	}
	if w.meter != nil && (w.meter.mode == meterHold || w.meter.mode == meterReplaced) {
		return nil
	}
	return w.flushThrough()
}

func (w *paidWriter) flushThrough() error {
	w.writing.Lock()
	defer w.writing.Unlock()
	began := sinceStart()
	err := http.NewResponseController(w.ResponseWriterWrapper.ResponseWriter).Flush()
	w.noteWrite(began, err)
	return err
}

// Hijack hands the connection over, which delivers whatever comes then.
func (w *paidWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	connection, buffered, err := http.NewResponseController(w.ResponseWriterWrapper.ResponseWriter).Hijack()
	w.wroteHeader = w.wroteHeader || err == nil
	if err == nil && w.meter != nil && w.meter.mode == meterFlow {
		connection, buffered = w.meter.handOver(connection, buffered)
	}
	return connection, buffered, err
}

// status returns what the answer says of the commitment.
func (x *exchange) status(reason payword.Reason) payword.Status {
	status := payword.Status{Reason: reason, Price: x.price, Number: x.sent.payment.Number}
	if !x.known || !x.proved || int(x.sent.payment.Chain) >= payword.MaxChains {
		return status
	}
	tail := x.view.tail
	status.Known = true
	status.Accepted, status.Spent = x.view.accepted, x.view.spent
	status.Chain, status.Index, status.TailHash = x.sent.payment.Chain, tail.Index, tail.Payword.TailHash()
	return status
}

func (x *exchange) writeStatusHeader(header http.Header, reason payword.Reason) {
	const before, behind = `payword;desc="`, `"`
	var room [payword.MaxHeaderBytes + len(before) + len(behind)]byte
	// One is a part of the other, so both are written at once.
	timing := string(append(payword.AppendStatus(append(room[:0], before...), x.status(reason)), behind...))
	x.answered[0] = timing[len(before) : len(timing)-len(behind)]
	header[payword.HeaderState] = x.answered[0:1:1]
	if x.sent.form == formCompact {
		x.writeTiming(header, timing)
	}
}

// headerTiming is the field (W3C Server Timing) that scripts of a page read what
// is said of its payment by: the other fields of a navigation's answer are out of
// their reach.
const headerTiming = "Server-Timing"

// writeTiming repeats a Payword-State for scripts of the page, before what the
// upstream says there: the first metric of a name counts.
func (x *exchange) writeTiming(header http.Header, timing string) {
	others := header[headerTiming]
	if len(others) > 0 {
		others = slices.DeleteFunc(others, func(value string) bool { return value == x.timing })
	}
	x.timing, x.answered[1] = timing, timing
	header[headerTiming] = append(x.answered[1:2:2], others...)
}

// receipt returns the receipt of the request, as things stand.
func (x *exchange) receipt() payword.Receipt { return x.receiptFor(x.charged(), x.view) }

// receiptFor returns the receipt of a request that cost an amount, in micros.
func (x *exchange) receiptFor(charged money.Amount, seen chainView) payword.Receipt {
	challenge := payword.Challenge{}
	if x.sent.challenge != nil {
		challenge = *x.sent.challenge
	}
	return payword.Receipt{
		Status: "success", Method: payword.Method, Intent: challenge.Intent,
		Timestamp:   time.Unix(x.now, 0).UTC().Format(time.RFC3339),
		Reference:   fmt.Sprintf("%s.%d", x.sent.payment.Commitment, x.sent.payment.Number),
		ChallengeID: challenge.ID, Currency: x.currency, Number: x.sent.payment.Number,
		Accepted: seen.accepted, Spent: seen.spent, Credit: seen.accepted - seen.spent,
		Amount: charged, Final: seen.closed,
	}
}

func (x *exchange) writeReceipt(header http.Header) {
	value, err := x.receipt().Format()
	if err != nil {
		x.logger.Error("writing a receipt", zap.Error(err))
		return
	}
	header.Set(payword.HeaderPaymentReceipt, value)
}

// acknowledge answers open, topUp and close, which never reach the upstream.
func (x *exchange) acknowledge() error {
	x.tell(payword.Refusal{})
	if x.proved { // a receipt tells the state
		x.writeReceipt(x.writer.Header())
	}
	x.writeNoContent()
	return nil
}

// writeNoContent ends the answer to a request that brought something and asked
// for nothing.
func (x *exchange) writeNoContent() {
	header := x.writer.Header()
	header.Set("Cache-Control", "private, no-store")
	exposeHeaders(x.request, header)
	x.writer.WriteHeader(http.StatusNoContent)
}

// tell lets logs and later handlers know what was decided. It names no payword.
func (x *exchange) tell(refusal payword.Refusal) {
	x.reason, x.result = refusal.Reason, x.resultOf(refusal)
	x.count(refusal)
	x.noteRefused(refusal)
	if x.isLogged() {
		fields, _ := x.request.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields)
		if fields != nil {
			fields.Add(zap.Object("payword", (*loggedExchange)(x)))
		}
	}
	x.setVariable("payword.reason", x.reasonWord())
	x.setVariable("payword.price", x.writePrice(x.price).text)
}

// isLogged reports whether an access log may be written of the request.
func (x *exchange) isLogged() bool {
	server, found := x.request.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return !found || server.Logs != nil
}

// loggedExchange is an exchange as the access log shows it.
type loggedExchange exchange

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (l *loggedExchange) MarshalLogObject(encoder zapcore.ObjectEncoder) error {
	x := (*exchange)(l)
	encoder.AddString("reason", x.reasonWord().(string))
	encoder.AddInt64("price_micros", int64(x.price))
	encoder.AddString("rule", x.quote.rule)
	x.logPayment(encoder)
	return nil
}

// reasonWord says what was decided: a reason, or that the request is a repeat.
func (x *exchange) reasonWord() any {
	if x.outcome.Repeat {
		return resultRepeat
	}
	return reasonWords[x.reason]
}

// reasonWords are the reasons as variables of Caddy hold them.
var reasonWords = func() []any {
	words := []any{payword.Accepted.String()}
	for _, reason := range payword.Reasons() {
		words = append(words, reason.String())
	}
	return words
}()

// setVariable sets one of Caddy's variables of the request.
func (x *exchange) setVariable(name string, value any) {
	if x.vars != nil {
		x.vars[name] = value
	}
}

// writtenPrice is a price as it is written down.
type writtenPrice struct {
	price money.Amount
	text  any // a string
}

// writePrice returns how a price is written. Most requests cost the same as the
// one before.
func (h *Handler) writePrice(price money.Amount) *writtenPrice {
	if last := h.written.Load(); last != nil && last.price == price {
		return last
	}
	written := &writtenPrice{price: price, text: price.String()}
	h.written.Store(written)
	return written
}

// forceCaching keeps paid content out of shared caches, whatever the upstream
// says of it. A private cache may keep it as long as the upstream allows.
func forceCaching(header http.Header) {
	fixed := &[2]string{"private", varied}
	if upstream := header["Cache-Control"]; len(upstream) > 0 {
		fixed[0] = privately(upstream)
	}
	// Caches that listen to these would not look at Cache-Control.
	for name := range header {
		if strings.HasSuffix(name, "-Cache-Control") || slices.Contains(cacheHeaders, name) {
			delete(header, name)
		}
	}
	header["Cache-Control"] = fixed[0:1:1]
	if others := header["Vary"]; len(others) > 0 {
		header["Vary"] = append(others, varied)
	} else {
		header["Vary"] = fixed[1:2:2]
	}
}

// privately returns what an upstream says in Cache-Control for a private cache
// alone.
func privately(upstream []string) string {
	kept := []string{"private"}
	for _, directive := range strings.Split(strings.Join(upstream, ","), ",") {
		directive = strings.TrimSpace(directive)
		name, _, _ := strings.Cut(strings.ToLower(directive), "=")
		switch name {
		case "", "public", "private", "s-maxage", "proxy-revalidate":
		default:
			kept = append(kept, directive)
		}
	}
	return strings.Join(kept, ", ")
}

// cacheHeaders are the headers, besides those that end in -Cache-Control (RFC
// 9213), by which an upstream tells some cache before us to keep an answer: those
// of Surrogate caches, nginx and Akamai.
var cacheHeaders = []string{"Surrogate-Control", "X-Accel-Expires", "Edge-Control", "Expires"}

// varied are the headers that an answer depends on.
const varied = "Authorization, Payment-Authorization, Payword"

var variedNames = strings.Split(varied, ", ")

// addVary names them.
func addVary(header http.Header) { header.Add("Vary", varied) }

// exposeHeaders lets scripts of other origins, where the site allows them at
// all, read the headers of the payment.
func exposeHeaders(r *http.Request, header http.Header) {
	if first(r.Header["Origin"]) != "" {
		header.Add("Access-Control-Expose-Headers", "WWW-Authenticate, Payment-Receipt, Payword-State, Payword-Stream, Payword-Pass, Payword-Free-Left, Crawler-Price, Retry-After")
	}
}
