package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// headerStream names a stream: in its answer, and in the HEAD requests that
// bring payment for it.
const headerStream = "Payword-Stream"

// metering is the part of an exchange whose cost is known only when the answer
// begins, flows or has ended.
type metering struct {
	*Meter
	exchange *exchange
	price    money.Amount // of one unit, in micros

	mode   meterMode
	before http.Header // the answer's header before the next handler
	held   []byte      // of a JSON answer, or of an event that has not ended
	usage  *usage
	sent   int64 // bytes
	stream *stream
	out    flowWriter

	isFlowing atomic.Bool // m.stream is set: it ends with its configuration
	replaced  error       // what the handler returns in place of the next one's error
	ctx       context.Context
	cancel    context.CancelFunc
}

// meterMode is what is done with the content.
type meterMode uint8

const (
	meterPass     meterMode = iota // the cost is settled
	meterHold                      // held until its usage is known
	meterScan                      // passed on, and searched for usage
	meterFlow                      // charged piece by piece
	meterReplaced                  // thrown away: the gate answered itself
)

// errReplaced breaks the next handler off whose answer nobody gets.
var errReplaced = errors.New("the answer was replaced by a refusal")

// newMetering returns how an exchange is metered, or nil if it is not.
func (x *exchange) newMetering() *metering {
	if x.Meter == nil || x.quote.amount == 0 {
		return nil
	}
	m := &metering{Meter: x.Meter, exchange: x, price: x.quote.amount}
	if m.isCounted() && x.price > 0 && x.sent.payment.Max >= m.price {
		x.price = min(x.price, x.sent.payment.Max)
	}
	return m
}

// quoted takes over what an older quote said.
func (m *metering) quoted(q payword.PriceRequest, intent string) {
	x := m.exchange
	if intent == payword.IntentSession && q.Amount > 0 {
		m.price = q.Amount
	}
	ceiling := max(q.Amount, q.MethodDetails.Ceiling)
	if m.isCounted() && x.sent.payment.Max >= m.price {
		ceiling = min(ceiling, x.sent.payment.Max)
	}
	x.price = ceiling
}

// serveMetered lets the next handler answer a request whose cost is metered.
func (x *exchange) serveMetered(w *paidWriter, next func(http.ResponseWriter, *http.Request) error) (err error) {
	m := x.meter
	w.meter = m
	m.ctx, m.cancel = context.WithCancel(x.request.Context())
	defer m.cancel()
	defer context.AfterFunc(x.app.ctx, func() {
		if m.isFlowing.Load() {
			m.cancel()
		}
	})()
	m.before = x.writer.Header().Clone()
	request := x.request.WithContext(m.ctx)
	if m.readsBody() {
		request.Header.Set("Accept-Encoding", "identity")
	}
	if m.readsBody() && !m.isCounted() {
		request.Header.Del("Range") // the part without the usage would not tell its cost
	}
	if m.BothDirections && isExtendedConnect(request) {
		request.Body = &countedBody{ReadCloser: request.Body, metering: m}
	}
	finished := false
	defer func() {
		if m.stream != nil {
			defer x.gate.streams.remove(m.stream)
		}
		if finished {
			err = m.finish(w, err, false)
			return
		}
		err = m.finish(w, nil, true)
		if m.endsCleanly() {
			_ = recover() // the proxy breaks off because the gate ended the stream
		}
	}()
	err = next(w, request)
	finished = true
	return err
}

// endsCleanly reports whether the client has been told in the answer itself how
// it ended, so that its connection need not be cut.
func (m *metering) endsCleanly() bool {
	if m.mode == meterReplaced {
		return true
	}
	_, isEvents := m.out.(*eventFlow)
	return isEvents && m.stream.whyEnded() != errStreamClient
}

// begin decides what to do with an answer that delivers something, before its
// header is sent. It reports whether the header can be sent now.
func (m *metering) begin(w *paidWriter) bool {
	x, header := m.exchange, w.Header()
	length, isKnown := contentLength(header)
	if x.request.Method == http.MethodHead {
		if m.isCounted() && m.countsBytes() && isKnown {
			x.price = m.costOf(length) // a GET would cost that
		}
		return true
	}
	if m.isCounted() {
		isWhole := m.countsBytes() && isKnown && w.status != http.StatusSwitchingProtocols
		if isWhole && (m.costOf(length) <= x.price || !isUnsafe(x.request)) {
			return m.settleAtOnce(w, m.costOf(length))
		}
		return m.beginStream(w)
	}
	m.usage = newUsage(m.Meter)
	m.usage.readHeaders(header)
	defer m.stripHeaders(header)
	if m.Unit == unitRequest && m.From[0].Header != "" {
		amount, err := amountIn(header, m.From[0].Header)
		return m.trueUp(w, amount, err)
	}
	kind := contentType(header)
	switch {
	case !m.readsBody():
		return m.trueUpUsage(w)
	case isEncoded(header):
		return m.trueUp(w, 0, errUnreadable)
	case isJSON(kind):
		m.mode = meterHold
		return false
	case kind == typeEventStream:
		m.mode = meterScan
		header.Del("Content-Length") // the receipt comes behind
		return true
	}
	return m.trueUp(w, 0, errUnreadable)
}

// stripHeaders takes the headers that tell the cost out of the answer.
func (m *metering) stripHeaders(header http.Header) {
	for _, source := range m.From {
		if source.Header != "" && !m.KeepHeader {
			header.Del(source.Header)
		}
	}
}

// costOf returns what a count of bytes, events or tokens costs, in micros.
func (m *metering) costOf(count int64) money.Amount {
	return m.price.MulCapped(uint64(m.units(count)), money.MaxAmount)
}

func contentLength(header http.Header) (int64, bool) {
	length, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64)
	return length, err == nil && length >= 0
}

// trueUpUsage lowers what was charged to what the usage says.
func (m *metering) trueUpUsage(w *paidWriter) bool {
	total, err := m.usage.total()
	cost := money.Amount(0)
	if err == nil {
		cost = m.costOf(total)
	}
	return m.trueUp(w, cost, err)
}

// trueUp lowers what was charged to the true cost. It reports whether the answer
// can be sent: where the store cannot tell, and nothing was sent yet, it is not.
func (m *metering) trueUp(w *paidWriter, cost money.Amount, unreadable error) bool {
	x := m.exchange
	m.mode = meterPass
	if unreadable != nil {
		x.logger.Warn("metering: the cost of an answer cannot be read", zap.String("charged", m.Unreadable), zap.Error(unreadable))
		if cost = x.price; m.Unreadable == unreadableNothing {
			cost = 0
		}
	}
	if cost > x.price {
		x.logger.Warn("metering: an answer cost more than its ceiling, which is charged",
			zap.Int64("cost_micros", int64(cost)), zap.Int64("ceiling_micros", int64(x.price)))
		cost = x.price
	}
	if x.outcome.Repeat || cost == x.price {
		return true
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.request.Context()), giveBackTimeout)
	defer cancel()
	payment := &x.sent.payment
	returned, after, err := x.gate.store.trueUp(ctx, payment.Commitment, payment.Number, cost, x.app.now().Unix())
	if err != nil {
		x.logger.Error("metering: giving the rest of a ceiling back", zap.Error(err))
		return m.replaceUnavailable(w, err)
	}
	x.price -= returned
	x.saw(&after)
	x.gate.collectReturned(ctx, payment.Commitment, returned, &x.view, x.logger)
	return true
}

// settleAtOnce charges an answer whose length is known in one step, before its
// first byte. If that was not agreed to, or the credit does not suffice, the
// answer is thrown away, nothing is charged, and the refusal names the price.
func (m *metering) settleAtOnce(w *paidWriter, cost money.Amount) bool {
	x := m.exchange
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.request.Context()), giveBackTimeout)
	defer cancel()
	payment := &x.sent.payment
	charged := x.outcome.Price
	x.price = cost
	if cost > payment.Max {
		w.giveBack()
		return m.replace(w, x.explain(payword.PriceOverMax))
	}
	var err error
	switch {
	case cost < charged && !x.outcome.Repeat:
		var returned money.Amount
		var after view
		returned, after, err = x.gate.store.trueUp(ctx, payment.Commitment, payment.Number, cost, x.app.now().Unix())
		x.saw(&after)
		x.price = charged - returned
		x.gate.collectReturned(ctx, payment.Commitment, returned, &x.view, x.logger)
	case cost <= charged:
		x.price = charged
	case !x.outcome.Repeat:
		return m.chargeAgain(ctx, w, cost)
	default:
		err = m.chargeRest(ctx, w, cost-charged)
	}
	if err != nil && !errors.Is(err, errReplaced) {
		return m.replaceUnavailable(w, err)
	}
	return err == nil
}

// chargeAgain takes the first charge back and charges the whole, so that all of
// it can be given back if the upstream breaks off.
func (m *metering) chargeAgain(ctx context.Context, w *paidWriter, cost money.Amount) bool {
	x := m.exchange
	payment := &x.sent.payment
	w.giveBack()
	x.returned = false
	outcome, after, err := x.gate.store.charge(ctx, payment.Commitment, payword.Charge{
		Chain: payment.Chain, Tail: x.view.tail, Number: payment.Number,
		Fingerprint: x.fingerprint(), Price: cost, Single: x.isCharge(), Now: x.app.now().Unix(),
	})
	if err != nil {
		return m.replaceUnavailable(w, err)
	}
	x.saw(&after)
	if outcome.Reason != payword.Accepted {
		x.returned = true
		return m.replace(w, x.explain(outcome.Reason))
	}
	x.outcome = outcome
	if outcome.Repeat && outcome.Price < cost { // the same number is being served beside us
		if err := m.chargeRest(ctx, w, cost-outcome.Price); err != nil {
			return !errors.Is(err, errReplaced) && m.replaceUnavailable(w, err)
		}
	}
	return true
}

// chargeRest charges what a repeat costs beyond what was charged for its number.
func (m *metering) chargeRest(ctx context.Context, w *paidWriter, rest money.Amount) error {
	x := m.exchange
	outcome, after, err := x.gate.store.flow(ctx, x.sent.payment.Commitment, rest)
	if err != nil {
		return err
	}
	x.saw(&after)
	if outcome.Reason != payword.Accepted {
		w.giveBack() // takes one grant of the repeat back
		m.replace(w, x.explain(outcome.Reason))
		return errReplaced
	}
	return nil
}

// replace answers with a refusal in place of what the next handler says. It
// returns false: the answer is not to be sent.
func (m *metering) replace(w *paidWriter, refusal payword.Refusal) bool {
	m.restoreHeader(w)
	m.mode = meterReplaced
	m.replaced = m.exchange.refuse(refusal)
	m.cancel() // an upstream that has more to say need not say it
	return false
}

// replaceUnavailable closes the gate because the store cannot tell.
func (m *metering) replaceUnavailable(w *paidWriter, cause error) bool {
	if m.mode == meterScan || m.sent > 0 {
		return true // it is sent already
	}
	w.giveBack() // what was charged, if the store can do that
	m.restoreHeader(w)
	m.mode = meterReplaced
	m.replaced = m.exchange.unavailable(m.exchange.writer, cause)
	m.cancel()
	return false
}

func (m *metering) restoreHeader(w *paidWriter) {
	header := w.Header()
	clear(header)
	maps.Copy(header, m.before)
}

// beginStream lets the answer flow.
func (m *metering) beginStream(w *paidWriter) bool {
	x := m.exchange
	s := &stream{
		Meter: m.Meter, id: newStreamID(), gate: x.gate, app: x.app, logger: x.logger,
		commitment: x.view.commitment, url: x.url, number: x.sent.payment.Number, price: m.price,
		ctx: m.ctx, cancel: m.cancel, limit: x.sent.payment.Max, view: x.view,
		began: x.app.now(), wake: make(chan struct{}),
	}
	if !x.outcome.Repeat { // what flows now is not what flowed then
		s.reserved = x.outcome.Price
	}
	if !x.gate.streams.add(s) {
		w.giveBack()
		return m.replace(w, payword.Refusal{Reason: payword.RateLimited, Detail: "too many streams are open"})
	}
	m.stream, m.mode = s, meterFlow
	m.isFlowing.Store(true)
	kind := contentType(w.Header())
	switch {
	case w.status == http.StatusSwitchingProtocols:
		m.out = &plainFlow{metering: m, writer: w} // until the connection is handed over
	case isExtendedConnect(x.request):
		m.out = newFrameFlow(m, rawWriter{w}, rawWriter{w}.flush)
	case kind == typeEventStream && !isEncoded(w.Header()):
		m.out = &eventFlow{metering: m, writer: w}
	default:
		m.out = &plainFlow{metering: m, writer: w}
	}
	s.say = m.out.say
	w.Header().Set(headerStream, s.id)
	if m.out.injects() {
		w.Header().Del("Content-Length")
	}
	return true
}

// write takes content of the next handler.
func (m *metering) write(w *paidWriter, content []byte) (int, error) {
	switch m.mode {
	case meterReplaced:
		return 0, errReplaced
	case meterHold:
		return m.hold(w, content)
	case meterFlow:
		return m.out.write(content)
	case meterScan:
		m.scan(content)
	}
	n, err := w.writeThrough(content)
	m.sent += int64(n)
	return n, err
}

// hold keeps a JSON answer back until its usage is known.
func (m *metering) hold(w *paidWriter, content []byte) (int, error) {
	if len(m.held)+len(content) <= maxHeldBytes {
		m.held = append(m.held, content...)
		return len(content), nil
	}
	if !m.trueUp(w, 0, errUnreadable) {
		return 0, errReplaced
	}
	if err := m.release(w); err != nil {
		return 0, err
	}
	n, err := w.writeThrough(content)
	m.sent += int64(n)
	return n, err
}

// release sends the header and what was held.
func (m *metering) release(w *paidWriter) error {
	m.mode = meterPass
	w.sendHeader()
	n, err := w.writeThrough(m.held)
	m.held, m.sent = nil, m.sent+int64(n)
	return err
}

// scan searches events for usage.
func (m *metering) scan(content []byte) {
	m.held = append(m.held, content...)
	for {
		end := eventEnd(m.held)
		if end == 0 {
			break
		}
		m.usage.readEvent(m.held[:end])
		m.held = m.held[end:]
	}
	if len(m.held) > maxUsageEventBytes {
		m.held = m.held[:0] // whatever it is, it is not usage
	}
}

// finish settles an answer that has ended. broken means that the next handler
// broke off.
func (m *metering) finish(w *paidWriter, err error, broken bool) error {
	x := m.exchange
	failed := (broken || err != nil) && !w.wasCut()
	switch {
	case m.mode == meterReplaced:
		return m.replaced
	case m.mode == meterHold && (broken || err != nil):
		w.giveBack()
		return err
	case m.mode == meterHold:
		return m.finishHeld(w)
	case !w.wroteHeader:
		w.finishWithoutHeader()
	case m.mode == meterFlow:
		m.finishStream(broken || err != nil)
	case failed && m.isCounted() && !x.returned && w.status < 300:
		m.trueUp(w, min(x.price, m.costOf(m.sent)), nil) // what came is paid
	case failed:
		w.giveBack()
	case m.mode == meterScan:
		m.finishScan(w)
	}
	m.writeTrailer(w)
	return err
}

// finishHeld sends an answer that was held.
func (m *metering) finishHeld(w *paidWriter) error {
	m.usage.readDocument(m.held)
	if !m.trueUpUsage(w) {
		return m.replaced
	}
	return m.release(w)
}

// finishScan settles an event stream by the usage that it told.
func (m *metering) finishScan(w *paidWriter) {
	m.usage.readEvent(m.held)
	m.trueUpUsage(w)
	event := &eventFlow{metering: m, writer: w, isPartial: len(m.held) > 0}
	event.say(notice{})
}

// finishStream settles what flowed and says so where that can be said.
func (m *metering) finishStream(broken bool) {
	x := m.exchange
	if !broken {
		m.out.end()
	}
	m.stream.settle()
	switch {
	case x.app.ctx.Err() != nil:
		m.stream.stop(errStreamStops)
	case broken:
		m.stream.stop(errStreamClient)
	}
	m.readStream()
	if why := m.stream.whyEnded(); why != nil {
		x.logger.Debug("a stream ended early", zap.Error(why))
	}
	m.out.say(notice{})
}

// readStream takes over what the stream says of the commitment.
func (m *metering) readStream() {
	if m.stream != nil {
		m.exchange.price, m.exchange.view = m.stream.state()
	}
}

// wantsTrailers reports whether the client takes trailers.
func wantsTrailers(r *http.Request) bool {
	for _, value := range r.Header.Values("Te") {
		for _, coding := range strings.Split(value, ",") {
			if strings.EqualFold(strings.TrimSpace(coding), "trailers") {
				return true
			}
		}
	}
	return false
}

// writeTrailer repeats the headers of the payment after the content, with what
// it came to.
func (m *metering) writeTrailer(w *paidWriter) {
	x := m.exchange
	if w.status >= 300 || w.status == http.StatusSwitchingProtocols || !wantsTrailers(x.request) {
		return
	}
	final := http.Header{}
	final.Set(payword.HeaderState, payword.FormatStatus(x.status(payword.Accepted)))
	if x.sent.form == formCredential {
		x.writeReceipt(final)
	}
	for name, values := range final {
		w.Header()[http.TrailerPrefix+name] = values
	}
}

// receipt is what the end of a stream says: a receipt of the Payment scheme.
func (m *metering) receipt() []byte {
	receipt := m.exchange.receipt
	if m.stream != nil { // a WebSocket says it from a goroutine of its own
		receipt = func() payword.Receipt { return m.exchange.receiptFor(m.stream.state()) }
	}
	encoded, err := json.Marshal(receipt())
	if err != nil {
		m.exchange.logger.Error("writing a receipt", zap.Error(err))
		return []byte("{}")
	}
	return encoded
}

// isForStream reports whether the request brings payment for a stream.
func (x *exchange) isForStream() bool {
	return x.sent.stream != "" && x.request.Method == http.MethodHead
}

// continueStream answers a HEAD that brought payment for a stream. It never
// reaches the upstream. The stream may be another node's, which finds the credit
// in the store by itself; then the answer does not name it.
func (x *exchange) continueStream() error {
	x.tell(payword.Refusal{})
	header := x.writer.Header()
	if s := x.gate.streams.find(x.sent.stream, x.sent.payment.Commitment); s != nil && s.url == x.url {
		s.extend(x.sent.payment.Max)
		header.Set(headerStream, s.id)
	}
	x.writeStatusHeader(header, payword.Accepted)
	if x.sent.form == formCredential {
		x.writeReceipt(header)
	}
	x.writeNoContent()
	return nil
}

// isExtendedConnect reports whether the request opens a WebSocket over HTTP/2 or
// HTTP/3 (RFC 8441, RFC 9220).
func isExtendedConnect(r *http.Request) bool {
	return r.Method == http.MethodConnect && (r.Header.Get(":protocol") == "websocket" || r.ProtoMajor == 3 && r.Proto == "websocket")
}

// rawWriter writes past the meter.
type rawWriter struct{ w *paidWriter }

// Write implements io.Writer.
func (r rawWriter) Write(content []byte) (int, error) { return r.w.writeThrough(content) }

func (r rawWriter) flush() {
	// A client that is gone is noticed by the next write.
	_ = r.w.flushThrough()
}

// onlyWriter hides ReadFrom, which would go past the meter.
type onlyWriter struct{ io.Writer }

// cost returns what the request cost so far, in micros.
func (m *metering) cost() money.Amount {
	x := m.exchange
	if m.stream != nil {
		charged, _ := m.stream.state()
		return charged
	}
	if x.outcome.Repeat || x.request.Method == http.MethodHead {
		return 0
	}
	return x.price
}

// quoted returns what a challenge names: the price of a unit and the ceiling. A
// challenge for one request names the ceiling alone, which is all that it can
// cost before the answer begins.
func (x *exchange) quoted(intent string) (amount, ceiling money.Amount) {
	switch {
	case x.meter == nil:
		return x.quote.amount, 0
	case intent == payword.IntentCharge:
		return x.quote.ceiling, 0
	}
	return x.quote.amount, x.quote.ceiling
}

// describe names the unit and the ceiling in problem details.
func (m *metering) describe(problem *payword.Problem) {
	x := m.exchange
	problem.UnitType, problem.Ceiling = x.quote.unit, &x.quote.ceiling
	if problem.Reason != payword.PaymentRequired {
		return
	}
	if m.Unit == unitRequest {
		problem.Detail = "What this costs is known when it is answered: " + x.quote.ceiling.Decimal() + " " + x.currency.Code() + " at most."
		return
	}
	problem.Detail = "This costs " + x.quote.amount.Decimal() + " " + x.currency.Code() + " per " + m.Unit + "; " +
		x.quote.ceiling.Decimal() + " " + x.currency.Code() + " are charged before it begins."
}
