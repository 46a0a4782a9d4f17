package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// Transport is an http.RoundTripper that pays for what it is asked to pay for,
// inside a budget. It answers a 402 that offers the payword method with the intent
// session, and no other; a request with any other answer is passed through
// untouched; so are a 503, and any other 5xx that does not say what became of the
// payment: it may have been charged, and a GET for the same soon costs no more.
//
// A redirect is a request of its own to RoundTrip: what is sent to one origin is
// never sent on to another. Paywords travel over https only, and over plain http
// to the machine itself.
//
// Where an origin was paid before, the payment goes along at once, at the price
// that was paid last for the URL, or else one that is likely at that vendor; a
// server that wants more says so and is paid that, if the budget allows it. One
// request is tried at most three times with a payment.
//
// If the answer to a GET, HEAD or OPTIONS does not come, it is asked for again
// under the same number, which costs nothing more. Where that fails too, or the
// body breaks off, asking RoundTrip for the same again within fifty seconds costs
// nothing more either. Other methods are not repeated.
//
// A body is needed again after a 402. Request.GetBody gives it; without that, up
// to 1 MiB is read into memory before the request is sent. A longer body can be
// sent once only: if a 402 is the answer, that is a *RefusedError.
//
// The errors, found with errors.As through the *url.Error of an http.Client, are
// *BudgetError, *RefusedError, *StalledError and *BrokerError; with errors.Is ErrNoAccount,
// ErrClosed and those of the context.
//
// It is safe for concurrent use and must not be copied.
type Transport struct {
	Wallet  *Wallet
	Budget  Budget            // the zero value allows nothing
	Base    http.RoundTripper // nil: http.DefaultTransport
	Deposit money.Amount      // limit of a new commitment, in micros; 0: DefaultDeposit
	// Paid is nil, or called for every granted request, before RoundTrip returns;
	// and while a stream is read, for what is brought for it and what it did not cost.
	Paid func(Receipt)

	discoveries discoveries
	prices      prices
}

// maxAttempts is how often one request is sent with a payment.
const maxAttempts = 3

// maxDrainedBytes is how much of an answer that nobody will see is read, so that
// its connection can be used again.
const maxDrainedBytes = 64 << 10

// trip is one request on its way.
type trip struct {
	*Transport
	request   *http.Request
	body      *body
	origin    string
	safe      bool // it may be sent twice
	abandoned bool // a commitment was given up for it
	offer     offer
	sent      reach
	ticket    *ticket     // nil: take one
	number    uint64      // that the next ticket has again; 0: a new one
	numbered  *commitment // whose number that is

	paidOn    *commitment  // that the trip was debited from last
	released  money.Amount // for the trip, in micros
	forfeited money.Amount // part of released that cannot pay for the trip any more
}

// forfeit notes that what was released for the trip is gone, or a part of it.
func (t *trip) forfeit(amount money.Amount) {
	t.forfeited += min(amount, t.released-t.forfeited)
}

// RoundTrip sends a request and pays for it if need be.
func (t *Transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := t.check(); err != nil {
		if request.Body != nil {
			request.Body.Close()
		}
		return nil, err
	}
	body, err := newBody(request)
	if err != nil {
		return nil, err
	}
	defer body.close()
	origin, payable := originOf(request.URL)
	trip := &trip{Transport: t, request: request, body: body, origin: origin, safe: isSafe(request.Method)}
	if payable && trip.guess() {
		answer, err := trip.pay()
		// The guess may have been too high, or wrong of a page that is free.
		if !isRefusedHere(err) || !body.canSend() {
			return answer, err
		}
	}
	return trip.probe()
}

// isRefusedHere reports whether the wallet did not release anything for what was
// guessed of a page: the budget, what the vendor left unserved, or the broker, of
// whom a new commitment was wanted, is in the way.
func isRefusedHere(err error) bool {
	var over *BudgetError
	var stalled *StalledError
	var broker *BrokerError
	return errors.As(err, &over) || errors.As(err, &stalled) || errors.As(err, &broker)
}

func (t *Transport) check() error {
	if t.Wallet == nil {
		return errors.New("client.Transport: Wallet is missing")
	}
	if t.Deposit < 0 || t.Deposit > money.MaxAmount {
		return errors.New("client.Transport: Deposit is out of range")
	}
	return t.Budget.check()
}

func (t *Transport) base() http.RoundTripper {
	if t.Base == nil {
		return http.DefaultTransport
	}
	return t.Base
}

// isSafe reports whether a request of this method may be executed twice.
func isSafe(method string) bool {
	return method == "" || method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// probe sends the request without a payment and pays if it is asked to.
func (t *trip) probe() (*http.Response, error) {
	answer, err := t.send(nil)
	if err != nil || answer.StatusCode != http.StatusPaymentRequired {
		return answer, err
	}
	offer, found, err := t.readOffer(t.request.Context(), t.request, t.body.digest, answer)
	if !found {
		return answer, nil
	}
	discard(answer)
	if err != nil {
		return nil, err
	}
	if !t.body.canSend() {
		return nil, t.refusal(payword.PaymentRequired, offer.price, answer.StatusCode,
			"the body is too long to be sent again: set Request.GetBody")
	}
	t.offer = offer
	return t.pay()
}

// guess fills in the offer from what is known of the origin and reports whether
// the request is to be paid for at once.
func (t *trip) guess() bool {
	vendorOrigin := t.prices.vendor(t.origin, t.Wallet.now())
	t.Wallet.mu.Lock()
	defer t.Wallet.mu.Unlock()
	v := t.Wallet.doc.Vendors[vendorOrigin]
	if v == nil || !v.Open.usable(t.Wallet.now().Unix()) {
		return false
	}
	price, counted, known := t.prices.price(t.request)
	if !known {
		price = v.likelyPrice()
		known = price > 0
	}
	t.offer = offer{
		origin: t.origin, vendor: vendorOrigin, price: price, currency: v.Open.terms.Currency, maxStep: v.Open.MaxStep,
		unreserved: v.Open.Unreserved, meter: counted,
	}
	if found, isLost := t.Wallet.findLost(v, t.fingerprint()); isLost {
		t.ticket = &found
		return true
	}
	return known && price > 0
}

// fingerprint tells the request from others, for the wallet's own use.
func (t *trip) fingerprint() payword.Fingerprint {
	return payword.NewFingerprint(t.request.Method, t.request.URL.String(), t.body.digest, "")
}

// pay sends the request with a payment until it is granted or refused for good.
func (t *trip) pay() (*http.Response, error) {
	var refusal error
	last := payword.PaymentRequired
	for attempt := range maxAttempts {
		if err := t.take(); err != nil {
			var over *BudgetError
			if errors.As(err, &over) && over.Limit == LimitPerRequest && t.forfeited > 0 {
				err = t.refusal(last, t.offer.price, 0, "paying once more would take more than the budget allows for one request")
			}
			return nil, err
		}
		answer, err := t.send(t.ticket)
		if err != nil {
			if retry := t.lost(err, attempt); retry != nil {
				return nil, retry
			}
			continue
		}
		status, stated := statusOf(answer, t.ticket.payment)
		switch {
		case couldNotTell(answer, stated):
			t.locked(func() { t.Wallet.lose(*t.ticket, t.safe) })
			return answer, nil
		case answer.StatusCode != http.StatusPaymentRequired && (!stated || status.Reason == payword.Accepted):
			t.granted(answer, status, stated)
			return answer, nil
		}
		if stated {
			last = status.Reason
		}
		refusal = t.mend(answer, status, stated)
		discard(answer)
		if refusal != nil || !t.body.canSend() {
			break
		}
	}
	t.dropTicket()
	if refusal == nil {
		refusal = t.refusal(last, t.offer.price, http.StatusPaymentRequired, "so the server says each time it is paid")
	}
	return nil, refusal
}

// dropTicket gives the ticket back, if there is one. What a request that may
// have been charged agreed to spend is counted as spent.
func (t *trip) dropTicket() {
	if t.ticket == nil {
		return
	}
	t.locked(func() {
		if t.ticket.repeat {
			t.Wallet.lose(*t.ticket, false)
			t.forfeit(t.released)
			return
		}
		t.Wallet.takeBack(t.ticket)
	})
	t.ticket = nil
}

// take debits the wallet for the request, opening a commitment if need be, and
// returns when that is durable.
func (t *trip) take() error {
	w := t.Wallet
	if t.ticket != nil {
		return t.saveRefreshed()
	}
	deposit := t.Deposit
	if deposit == 0 {
		deposit = DefaultDeposit
	}
	for range maxAttempts {
		wanted := terms{offer: t.offer, budget: t.Budget, deposit: deposit, forfeited: t.forfeited}
		if err := w.ensureOpen(t.request.Context(), wanted); err != nil {
			return err
		}
		taken, err := t.debit()
		if errors.Is(err, errExhausted) {
			continue
		}
		if err != nil {
			return err
		}
		if err := w.save(); err != nil {
			t.locked(func() { w.takeBack(&taken) }) // it never left
			t.released -= taken.released
			return err
		}
		t.ticket = &taken
		return nil
	}
	return t.refusal(payword.ChainExhausted, t.offer.price, 0, "no commitment that can be opened covers the price")
}

// saveRefreshed makes the index of a ticket that was taken before durable.
func (t *trip) saveRefreshed() error {
	if !t.ticket.refreshed {
		return nil
	}
	if err := t.Wallet.save(); err != nil {
		t.locked(func() { t.Wallet.lose(*t.ticket, t.safe) })
		t.ticket = nil
		return err
	}
	t.ticket.refreshed = false
	return nil
}

// debit takes a ticket from the open commitment, and puts that aside if it is
// exhausted.
func (t *trip) debit() (ticket, error) {
	w := t.Wallet
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ticket{}, ErrClosed
	}
	v := w.doc.Vendors[t.offer.vendor]
	if v == nil || !v.Open.usable(w.now().Unix()) {
		return ticket{}, errExhausted
	}
	number := t.number
	if v.Open != t.numbered {
		number = 0
	}
	if v.Open != t.paidOn {
		t.forfeit(t.released) // what is left of it pays for other requests at best
	}
	taken, err := w.debit(v, t.offer.price, t.released, number, t.Budget)
	if err != nil {
		if errors.Is(err, errExhausted) {
			w.retire(v)
			t.forfeit(t.released)
		}
		return ticket{}, err
	}
	taken.fingerprint = t.fingerprint()
	t.paidOn = taken.commitment
	t.released += taken.released
	return taken, nil
}

// send sends the request, with a payment if there is a ticket.
func (t *trip) send(paid *ticket) (*http.Response, error) {
	content, err := t.body.next()
	if err != nil {
		return nil, fmt.Errorf("getting the request's body again: %w", err)
	}
	outgoing := t.request.Clone(t.request.Context())
	outgoing.Body = content
	if outgoing.Header == nil {
		outgoing.Header = make(http.Header)
	}
	if t.body.length >= 0 {
		outgoing.ContentLength = t.body.length
	}
	for _, name := range []string{payword.HeaderPayword, payword.HeaderCommitment, payword.HeaderReservation} {
		outgoing.Header.Del(name)
	}
	if paid != nil {
		outgoing = outgoing.WithContext(t.sent.watch(outgoing.Context()))
		outgoing.Header.Set(payword.HeaderPayword, payword.FormatPayment(paid.payment))
		if paid.commitToken != "" {
			outgoing.Header.Set(payword.HeaderCommitment, paid.commitToken)
		}
		if paid.commitToken != "" && paid.reservation != "" {
			outgoing.Header.Set(payword.HeaderReservation, paid.reservation)
		}
	}
	return t.base().RoundTrip(outgoing)
}

// lost decides what to do after an error in place of an answer: nil to send the
// same again, or the error to return.
func (t *trip) lost(err error, attempt int) error {
	w := t.Wallet
	if t.sent.nowhere() && !t.ticket.repeat {
		t.locked(func() { w.takeBack(t.ticket) }) // it was never sent
		return err
	}
	if t.safe && attempt+1 < maxAttempts && t.request.Context().Err() == nil && t.body.canSend() {
		t.ticket.repeat = true
		return nil
	}
	t.locked(func() { w.lose(*t.ticket, t.safe) })
	if t.safe {
		return fmt.Errorf("the answer to a paid request was lost; asking for the same again soon is free: %w", err)
	}
	return fmt.Errorf("the answer to a paid request was lost; it may have been executed, and the wallet counts it as paid: %w", err)
}

// reach tells how far a request got. An error that names a failed connection
// does not: an http.Transport sends a request again by itself when the
// connection it used breaks, and the error is that of its last attempt.
type reach struct{ asked, connected atomic.Bool }

// watch returns a context under which the request is watched.
func (r *reach) watch(ctx context.Context) context.Context {
	r.asked.Store(false)
	r.connected.Store(false)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { r.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { r.connected.Store(true) },
	})
}

// nowhere reports whether the request certainly never left: a connection was
// asked for, and none was had. A Base that does not say counts as having sent.
func (r *reach) nowhere() bool { return r.asked.Load() && !r.connected.Load() }

// couldNotTell reports whether an answer leaves open what became of the payment:
// the gate's store failed, or something between. A proxy that waited for the gate
// in vain says so with 502 or 504, and the gate may have charged.
func couldNotTell(answer *http.Response, stated bool) bool {
	return answer.StatusCode == http.StatusServiceUnavailable || answer.StatusCode >= 500 && !stated
}

// statusOf returns what the answer to a payment says of the commitment.
func statusOf(answer *http.Response, sent payword.Payment) (payword.Status, bool) {
	values := answer.Header.Values(payword.HeaderState)
	if len(values) != 1 {
		return payword.Status{}, false
	}
	status, refusal := payword.ParseStatus(values[0])
	// What a cache kept is of another payment.
	if refusal.Refused() || status.Number != 0 && status.Number != sent.Number {
		return payword.Status{}, false
	}
	return status, true
}

// granted settles the account of a request that was granted.
func (t *trip) granted(answer *http.Response, status payword.Status, stated bool) {
	amount, paid := t.charged(answer, status, stated)
	_, _, known := t.prices.price(t.request)
	var receipt Receipt
	t.locked(func() {
		receipt = t.Wallet.settle(t.ticket, amount, status, t.request.URL)
		if v := t.Wallet.doc.Vendors[t.offer.vendor]; v != nil && paid && status.Price > 0 && t.offer.meter == (meter{}) {
			v.sawPrice(status.Price, !known)
		}
	})
	body := t.follow(answer, receipt.Amount)
	if t.safe && answer.StatusCode != http.StatusSwitchingProtocols {
		paid := *t.ticket
		answer.Body = &watchedBody{
			ReadCloser: body, brokeOff: t.brokeOff(paid),
			ended: func() { t.locked(func() { t.Wallet.served(&paid, amount) }) },
		}
	} else {
		answer.Body = body
		t.locked(func() { t.Wallet.served(t.ticket, amount) })
	}
	price := status.Price
	if t.offer.meter != (meter{}) && paid {
		price = t.ticket.payment.Max // what has to be agreed to, whatever it cost
	}
	t.prices.remember(t.request, price, t.offer.meter, paid, answer.StatusCode)
	t.prices.belongs(t.origin, t.offer.vendor, t.Wallet.now())
	if t.Paid != nil {
		t.Paid(receipt)
	}
}

// brokeOff returns what to do if the body of the answer does not come whole: as
// after a lost answer, asking for the same again soon sends the same number.
func (t *trip) brokeOff(granted ticket) func() {
	granted.settled = true
	return func() {
		t.locked(func() {
			granted.commitment.rememberLost(granted)
			if t.request.Context().Err() == nil { // the reader did not want the rest
				t.Wallet.failed(granted.vendor, granted.payment.Max)
			}
		})
	}
}

// charged returns what a granted request cost, in micros, never more than was
// agreed to: what the receipt says, or else the price, for the answers that cost
// anything. A stream may take all that was agreed to, whatever it begins with:
// that is no credit for others until it ends. paid is false if the answer says
// nothing of a payment.
func (t *trip) charged(answer *http.Response, status payword.Status, stated bool) (amount money.Amount, paid bool) {
	most := t.ticket.payment.Max
	if receipt, err := payword.ParseReceipt(answer.Header.Get(payword.HeaderPaymentReceipt)); err == nil {
		// A repeat's receipt is for nothing, but the request agreed to pay once.
		if t.ticket.repeat && stated {
			return min(status.Price, most), true
		}
		return min(receipt.Amount, most), true
	}
	delivers := answer.StatusCode/100 == 2 || answer.StatusCode == http.StatusSwitchingProtocols
	if !stated || !delivers || t.request.Method == http.MethodHead {
		return 0, stated
	}
	if streamOf(answer) != "" {
		return most, true
	}
	return min(status.Price, most), true
}

// refusal returns a *RefusedError for the request.
func (t *trip) refusal(reason payword.Reason, price money.Amount, status int, detail string) error {
	return &RefusedError{
		Origin: t.origin, Reason: reason, Detail: detail, Price: price, Currency: t.offer.currency, Status: status,
	}
}

// locked runs change with the wallet's lock held.
func (t *trip) locked(change func()) {
	t.Wallet.mu.Lock()
	defer t.Wallet.mu.Unlock()
	change()
}

// discard reads the rest of an answer that nobody will see.
func discard(answer *http.Response) {
	// What is not read costs a connection, nothing else.
	_, _ = io.CopyN(io.Discard, answer.Body, maxDrainedBytes)
	answer.Body.Close()
}

// prices remembers what URLs cost, and which vendor an origin belongs to. Its
// zero value is empty.
type prices struct {
	mu      sync.Mutex
	byURL   map[string]knownPrice // by method and URL
	vendors map[string]belonging  // by origin
}

// knownPrice is what a request had to agree to, and how its answer is counted.
type knownPrice struct {
	price money.Amount // in micros; 0: it is free
	meter meter
}

// belonging is the vendor that an origin was found to belong to.
type belonging struct {
	vendor string
	at     time.Time
}

// maxPrices bounds the memory; when it is full it begins anew.
const maxPrices = 4096

// price returns what a request cost last, in micros.
func (p *prices) price(request *http.Request) (price money.Amount, counted meter, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found, known := p.byURL[request.Method+" "+request.URL.String()]
	return found.price, found.meter, known
}

// vendor returns the vendor that an origin belongs to. Another than the origin
// itself is forgotten after a while, and its discovery document asked again.
func (p *prices) vendor(origin string, now time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, found := p.vendors[origin]
	if !found {
		return origin
	}
	if known.vendor != origin && now.Sub(known.at) > discoveryTTL {
		delete(p.vendors, origin)
		return origin
	}
	return known.vendor
}

// belongs notes the vendor that an origin was paid as. Paying it again makes it
// no newer.
func (p *prices) belongs(origin, vendor string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.vendors[origin].vendor == vendor {
		return
	}
	if p.vendors == nil || len(p.vendors) >= maxPrices {
		p.vendors = make(map[string]belonging)
	}
	p.vendors[origin] = belonging{vendor: vendor, at: now}
}

// remember notes what an answer cost. One that was delivered and says nothing of
// a payment was free.
func (p *prices) remember(request *http.Request, price money.Amount, counted meter, paid bool, status int) {
	if paid && price == 0 || !paid && status/100 != 2 {
		return // a page read again, or an error: it says nothing of the next time
	}
	if !paid {
		price = 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byURL == nil || len(p.byURL) >= maxPrices {
		p.byURL = make(map[string]knownPrice)
	}
	p.byURL[request.Method+" "+request.URL.String()] = knownPrice{price: price, meter: counted}
}

var _ http.RoundTripper = (*Transport)(nil)
