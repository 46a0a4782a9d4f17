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
	caddyhttp.SetVar(x.request.Context(), grantedVariable, true)
	if x.canReread() {
		x.asked = x.request.Header.Clone()
	}
	x.identify(x.request.Header)
	w := &paidWriter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: x.writer},
		exchange:              x,
	}
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
	endTrace := traceUpstream(x.request)
	err := next.ServeHTTP(w, x.request)
	finished = true
	endTrace(err)
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
	x.view = after
	x.gate.collectReturned(ctx, payment.Commitment, returned, &x.view, x.logger)
}

// paidWriter writes the answer to a granted request. It settles what the
// request costs and sets the headers of the payment when the status is known.
type paidWriter struct {
	*caddyhttp.ResponseWriterWrapper
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
	began := time.Now()
	n, err := w.ResponseWriterWrapper.Write(content)
	w.noteWrite(began, err)
	return n, err
}

// noteWrite notes what came of a write that began at a time. The caller holds
// writing.
func (w *paidWriter) noteWrite(began time.Time, err error) {
	w.writeFailed = w.writeFailed || err != nil
	w.stalled = w.stalled || time.Since(began) > clientPatience
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
	began := time.Now()
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
	tail := x.view.tails[x.sent.payment.Chain]
	status.Known = true
	status.Accepted, status.Spent = x.view.accepted, x.view.spent
	status.Chain, status.Index, status.TailHash = x.sent.payment.Chain, tail.Index, tail.Payword.TailHash()
	return status
}

func (x *exchange) writeStatusHeader(header http.Header, reason payword.Reason) {
	state := payword.FormatStatus(x.status(reason))
	header.Set(payword.HeaderState, state)
	if x.sent.form == formCompact {
		x.writeTiming(header, state)
	}
}

// headerTiming is the field (W3C Server Timing) that scripts of a page read what
// is said of its payment by: the other fields of a navigation's answer are out of
// their reach.
const headerTiming = "Server-Timing"

// writeTiming repeats a Payword-State for scripts of the page, before what the
// upstream says there: the first metric of a name counts.
func (x *exchange) writeTiming(header http.Header, state string) {
	others := slices.DeleteFunc(header.Values(headerTiming), func(value string) bool { return value == x.timing })
	x.timing = `payword;desc="` + state + `"`
	header[headerTiming] = append([]string{x.timing}, others...)
}

// receipt returns the receipt of the request, as things stand.
func (x *exchange) receipt() payword.Receipt { return x.receiptFor(x.charged(), x.view) }

// receiptFor returns the receipt of a request that cost an amount, in micros.
func (x *exchange) receiptFor(charged money.Amount, seen view) payword.Receipt {
	return payword.Receipt{
		Status: "success", Method: payword.Method, Intent: x.sent.challenge.Intent,
		Timestamp:   time.Unix(x.now, 0).UTC().Format(time.RFC3339),
		Reference:   fmt.Sprintf("%s.%d", x.sent.payment.Commitment, x.sent.payment.Number),
		ChallengeID: x.sent.challenge.ID, Currency: x.currency, Number: x.sent.payment.Number,
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
	result := refusal.Reason.String()
	if x.outcome.Repeat {
		result = "repeat"
	}
	if fields, found := x.request.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); found {
		fields.Add(zap.Object("payword", zapcore.ObjectMarshalerFunc(func(encoder zapcore.ObjectEncoder) error {
			encoder.AddString("reason", result)
			encoder.AddInt64("price_micros", int64(x.price))
			encoder.AddString("rule", x.quote.rule)
			x.logPayment(encoder)
			return nil
		})))
	}
	caddyhttp.SetVar(x.request.Context(), "payword.reason", result)
	caddyhttp.SetVar(x.request.Context(), "payword.price", x.price.String())
}

// forceCaching keeps paid content out of shared caches, whatever the upstream
// says of it. A private cache may keep it as long as the upstream allows.
func forceCaching(header http.Header) {
	kept := []string{"private"}
	for _, directive := range strings.Split(strings.Join(header.Values("Cache-Control"), ","), ",") {
		directive = strings.TrimSpace(directive)
		name, _, _ := strings.Cut(strings.ToLower(directive), "=")
		switch name {
		case "", "public", "private", "s-maxage", "proxy-revalidate":
		default:
			kept = append(kept, directive)
		}
	}
	header.Set("Cache-Control", strings.Join(kept, ", "))
	// Caches that listen to these would not look at Cache-Control.
	for name := range header {
		if strings.HasSuffix(name, "-Cache-Control") || slices.Contains(cacheHeaders, name) {
			delete(header, name)
		}
	}
	addVary(header)
}

// cacheHeaders are the headers, besides those that end in -Cache-Control (RFC
// 9213), by which an upstream tells some cache before us to keep an answer: those
// of Surrogate caches, nginx and Akamai.
var cacheHeaders = []string{"Surrogate-Control", "X-Accel-Expires", "Edge-Control", "Expires"}

// addVary names the headers that an answer depends on.
func addVary(header http.Header) {
	header.Add("Vary", "Authorization, Payment-Authorization, Payword")
}

// exposeHeaders lets scripts of other origins, where the site allows them at
// all, read the headers of the payment.
func exposeHeaders(r *http.Request, header http.Header) {
	if r.Header.Get("Origin") != "" {
		header.Add("Access-Control-Expose-Headers", "WWW-Authenticate, Payment-Receipt, Payword-State, Payword-Stream, Payword-Pass, Payword-Free-Left, Crawler-Price, Retry-After")
	}
}
