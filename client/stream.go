package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

const (
	headerStream = "Payword-Stream"

	// What a vendor says inside of an event stream.
	eventNeedVoucher = "payment-need-voucher"
	eventReceipt     = "payment-receipt"

	// maxStreamIDBytes bounds the name of a stream; a gate's has 22.
	maxStreamIDBytes = 64

	// maxNoticeBytes bounds a line that is looked at; a notice has a few hundred.
	maxNoticeBytes = 8192

	// maxFruitless is how often in a row a vendor may ask for more and send
	// nothing: other requests may have used what was brought.
	maxFruitless = 3

	// stallAfter is how long nothing came of a body that has used up what was
	// agreed to, until more is brought. Nothing can be said inside of it.
	stallAfter = 300 * time.Millisecond
)

// errStreamUnpaid means that a vendor asks for more again and again and sends
// nothing for it.
var errStreamUnpaid = errors.New("the stream asks to be paid again and again and sends nothing")

// followed is the body of an answer that is charged while it flows. It brings
// more payment, inside the budget, when the vendor waits for some.
type followed struct {
	io.ReadCloser
	trip   *trip
	ticket ticket // of the request
	id     string // of the stream; "" if it is not paid piece by piece
	meter  meter
	events bool // it is an event stream

	mutex     sync.Mutex // between Read and the timer
	agreed    money.Amount
	counted   money.Amount // what the wallet counts as spent on it
	received  int64        // bytes
	fruitless int
	kind      string // of the event that is being read
	line      []byte
	failed    error
	left      bool // the stream is over, or nobody reads it
}

// meter is what a quote says of how an answer is counted. Its zero value counts
// nothing.
type meter struct {
	unit  string
	price money.Amount // of one unit, in micros
}

// bytes returns how many bytes an amount pays for, or -1 if bytes are not what is
// counted.
func (m meter) bytes(amount money.Amount) int64 {
	switch {
	case m.price < 1:
		return -1
	case m.unit == "byte":
		return int64(amount / m.price)
	case m.unit == "kilobyte":
		return int64(amount/m.price) * 1000
	}
	return -1
}

// follow returns the body of a granted answer that counted as counted, which is
// followed if it is a stream, or an event stream that ends with what it cost.
func (t *trip) follow(answer *http.Response, counted money.Amount) io.ReadCloser {
	id := streamOf(answer)
	events := strings.HasPrefix(answer.Header.Get("Content-Type"), "text/event-stream")
	endsWithCost := events && t.offer.meter.price > 0
	if id == "" && !endsWithCost || answer.StatusCode == http.StatusSwitchingProtocols {
		return answer.Body
	}
	t.locked(func() { t.ticket.commitment.streams++ })
	return &followed{
		ReadCloser: answer.Body, trip: t, ticket: *t.ticket, id: id, meter: t.offer.meter, agreed: t.ticket.payment.Max,
		counted: counted, events: events,
	}
}

// streamOf returns the stream that an answer names, or "".
func streamOf(answer *http.Response) string {
	id := answer.Header.Get(headerStream)
	if len(id) > maxStreamIDBytes {
		return ""
	}
	return id
}

// Read implements io.Reader. What the vendor says of payment is content too, and
// passed on.
func (f *followed) Read(content []byte) (int, error) {
	if !f.events && f.meter.bytes(f.agreed) >= 0 {
		timer := time.AfterFunc(stallAfter, f.stalled)
		defer timer.Stop()
	}
	n, err := f.ReadCloser.Read(content)
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.received += int64(n)
	if n > 0 && !f.events {
		f.fruitless = 0
	}
	if f.events {
		f.look(content[:n])
	}
	if f.failed != nil && (err != nil || f.events) {
		err = f.failed
	}
	if err != nil {
		f.leave()
	}
	return n, err
}

// Close implements io.Closer.
func (f *followed) Close() error {
	err := f.ReadCloser.Close()
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.leave()
	return err
}

// leave notes once that the stream uses no more credit. The lock is held.
func (f *followed) leave() {
	if !f.left {
		f.left = true
		f.trip.locked(func() { f.ticket.commitment.streams-- })
	}
}

// stalled brings more for a body that has used up what was agreed to.
func (f *followed) stalled() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.id == "" || f.received < f.meter.bytes(f.agreed) || f.failed != nil {
		return
	}
	// If that fails, Read says why when the vendor closes the stream.
	f.bring(f.ticket.payment.Max)
}

// look reads what the vendor says between events. The lock is held.
func (f *followed) look(content []byte) {
	for len(content) > 0 {
		end := bytes.IndexByte(content, '\n')
		if end < 0 {
			f.line = append(f.line, content[:min(len(content), maxNoticeBytes-min(len(f.line), maxNoticeBytes))]...)
			return
		}
		if len(f.line)+end <= maxNoticeBytes {
			f.lookAtLine(string(append(f.line, content[:end]...)))
		}
		f.line, content = f.line[:0], content[end+1:]
	}
}

// lookAtLine reads one line of an event stream.
func (f *followed) lookAtLine(line string) {
	line = strings.TrimSuffix(line, "\r")
	if kind, found := strings.CutPrefix(line, "event:"); found {
		f.kind = strings.TrimSpace(kind)
		return
	}
	data, found := strings.CutPrefix(line, "data:")
	switch {
	case line == "":
		f.kind = ""
	case !found:
	case f.kind == eventNeedVoucher:
		var n struct {
			Stream                             string
			Required, Accepted, Spent, Charged money.Amount
		}
		if json.Unmarshal([]byte(data), &n) == nil && f.id != "" && n.Stream == f.id && f.failed == nil {
			f.bring(max(f.ticket.payment.Max, min(n.Required-min(n.Spent, n.Required), money.MaxAmount)))
		}
	case f.kind == eventReceipt:
		var r payword.Receipt
		if json.Unmarshal([]byte(data), &r) == nil {
			f.settle(r.Amount)
		}
	default:
		f.fruitless = 0
	}
}

// settle takes back what was counted for the stream and it did not cost. All
// else that was agreed to is credit already.
func (f *followed) settle(cost money.Amount) {
	f.agreed = min(f.agreed, cost)
	unspent := f.counted - min(cost, f.counted)
	f.counted -= unspent
	var receipt Receipt
	f.trip.locked(func() {
		if !f.ticket.overtaken() {
			f.ticket.commitment.Surplus[f.ticket.payment.Chain] += unspent
			f.trip.Wallet.unsaved = true
		}
		receipt = f.trip.Wallet.unspend(f.ticket, unspent, f.trip.request.URL)
	})
	if unspent > 0 && f.trip.Paid != nil {
		f.trip.Paid(receipt)
	}
}

// bring sends a HEAD that names the stream, with payment for an amount more.
// What the budget does not allow ends the stream. The lock is held.
func (f *followed) bring(amount money.Amount) {
	if f.fruitless++; f.fruitless > maxFruitless {
		f.failed = errStreamUnpaid
		return
	}
	t := f.trip
	t.offer.price = amount
	t.forfeited = t.released // counts against the budget per request
	t.numbered = nil         // the HEAD is a request of its own, with a number of its own
	taken, err := t.debit()
	if err != nil {
		f.failed = fmt.Errorf("paying for a stream: %w", err)
		return
	}
	if taken.commitment != f.ticket.commitment {
		t.locked(func() { t.Wallet.takeBack(&taken) })
		f.failed = fmt.Errorf("paying for a stream: %w", errExhausted)
		return
	}
	if err := t.Wallet.save(); err != nil {
		t.locked(func() { t.Wallet.takeBack(&taken) })
		f.failed = err
		return
	}
	answer, err := f.send(taken)
	if err != nil {
		t.locked(func() { t.Wallet.lose(taken, false) })
		f.failed = fmt.Errorf("paying for a stream: %w", err)
		return
	}
	defer discard(answer)
	status, stated := statusOf(answer, taken.payment)
	if !stated || status.Reason != payword.Accepted {
		t.locked(func() { t.Wallet.lose(taken, false) })
		f.failed = t.refusal(status.Reason, amount, answer.StatusCode, "payment for a stream was refused")
		return
	}
	f.agreed += amount
	f.counted += amount
	var receipt Receipt
	t.locked(func() { receipt = t.Wallet.settle(&taken, amount, status, t.request.URL) })
	if t.Paid != nil {
		t.Paid(receipt)
	}
}

// send sends the HEAD. It agrees to what was agreed to before and is brought
// now.
func (f *followed) send(taken ticket) (*http.Response, error) {
	outgoing := f.trip.request.Clone(f.trip.request.Context())
	outgoing.Method, outgoing.Body, outgoing.GetBody, outgoing.ContentLength = http.MethodHead, nil, nil, 0
	payment := taken.payment
	payment.Max += f.agreed
	outgoing.Header = http.Header{}
	outgoing.Header.Set(payword.HeaderPayword, payword.FormatPayment(payment))
	outgoing.Header.Set(headerStream, f.id)
	return f.trip.base().RoundTrip(outgoing)
}
