package client_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// fakeGate is a vendor's gate in memory, built from the protocol's core: it
// opens commitments, judges paywords and charges. Its hooks let it fail and lie.
type fakeGate struct {
	t       testing.TB
	server  *httptest.Server
	brokers payword.Brokers
	now     func() time.Time

	mu        sync.Mutex
	price     money.Amount
	prices    map[string]money.Amount // by path; -1: free
	maxStep   uint32
	opened    map[payword.CommitmentID]*gateCommitment
	served    map[string]int // by path
	executed  int            // unsafe requests
	numbers   map[string]int // how often each number of each commitment was served
	asked     int            // requests of all kinds
	carried   int            // requests that brought a commitment
	withState bool
	upstream  func(w http.ResponseWriter, r *http.Request) // serves what was paid for

	// What a dishonest or failing gate does.
	editChallenge func(r *http.Request, quoted *payword.PriceRequest, c *payword.Challenge)
	before        func(w http.ResponseWriter, r *http.Request) bool // true: it answered
	editState     func(s *payword.Status)
	loseAnswers   int // charges that many requests and breaks off
	breakBodies   int // charges that many requests and breaks off in the middle of the content
	loseOfEach    int // the same, for each path
	refuseAll     payword.Reason
	discovery     string
}

type gateCommitment struct {
	terms payword.Commitment
	state payword.State
}

func newFakeGate(t testing.TB, b *fakeBroker, price money.Amount) *fakeGate {
	t.Helper()
	g := &fakeGate{
		t: t, brokers: b.brokers(), now: b.now, price: price, prices: make(map[string]money.Amount),
		maxStep: payword.DefaultMaxStep, withState: true,
		opened: make(map[payword.CommitmentID]*gateCommitment), served: make(map[string]int), numbers: make(map[string]int),
		upstream: func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "content of %s", r.URL.Path) },
	}
	g.server = httptest.NewServer(g)
	t.Cleanup(g.server.Close)
	return g
}

func (g *fakeGate) origin() string { return g.server.URL }

func (g *fakeGate) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

// counted returns how many requests came, how many of them brought a commitment,
// and how many unsafe ones were executed.
func (g *fakeGate) counted() (asked, carried, executed int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked, g.carried, g.executed
}

// wantChargedOnce checks that no number was charged twice.
func (g *fakeGate) wantChargedOnce() {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	for number, times := range g.numbers {
		if times != 1 {
			g.t.Errorf("number %s was charged %d times", number, times)
		}
	}
}

// totals returns what was accepted and spent on all commitments, in micros.
func (g *fakeGate) totals() (accepted, spent money.Amount) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.opened {
		accepted += c.state.Accepted(&c.terms)
		spent += c.state.Spent()
	}
	return accepted, spent
}

func (g *fakeGate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked++
	if r.URL.Path == payword.PathDiscovery {
		io.WriteString(w, g.discovery)
		return
	}
	if g.before != nil && g.before(w, r) {
		return
	}
	price := g.price
	if listed, found := g.prices[r.URL.Path]; found {
		price = listed
	}
	if price < 0 {
		g.upstream(w, r)
		return
	}
	if r.Method == http.MethodHead {
		price = 0
	}
	if r.Header.Get(payword.HeaderPayword) == "" {
		g.refuse(w, r, payword.Status{Reason: payword.PaymentRequired, Price: price}, false)
		return
	}
	g.pay(w, r, body, price)
}

func (g *fakeGate) pay(w http.ResponseWriter, r *http.Request, body []byte, price money.Amount) {
	status := payword.Status{Price: price}
	refuse := func(reason payword.Reason) {
		status.Reason = reason
		g.refuse(w, r, status, true)
	}
	payment, refusal := payword.ParsePayment(r.Header.Get(payword.HeaderPayword))
	if refusal.Refused() {
		g.t.Errorf("the client sent %v", refusal)
		refuse(refusal.Reason)
		return
	}
	status.Number = payment.Number
	if g.refuseAll != payword.Accepted {
		refuse(g.refuseAll)
		return
	}
	c, reason := g.find(payment, r)
	if reason != payword.Accepted {
		refuse(reason)
		return
	}
	known := payword.Tail{}
	if int(payment.Chain) < len(c.terms.Chains) {
		known = c.state.Tails[payment.Chain]
	}
	verdict := payword.Judge(&c.terms, known, &payment, payword.Terms{Price: price, Now: g.now().Unix(), MaxStep: g.maxStep})
	if verdict.Proved {
		c.state.Advance(payment.Chain, verdict.Tail)
	}
	outcome := payword.Outcome{Reason: verdict.Reason}
	if verdict.Reason == payword.Accepted {
		outcome = c.state.Charge(&c.terms, &payword.Charge{
			Chain: payment.Chain, Tail: verdict.Tail, Number: payment.Number, Price: price, Now: g.now().Unix(),
			Unsafe:      r.Method == http.MethodPost,
			Fingerprint: payword.NewFingerprint(r.Method, r.URL.RequestURI(), payword.ContentDigest(body), ""),
		})
	}
	tell := func() {
		tail := c.state.Tails[payment.Chain]
		status.Known, status.Chain, status.Index, status.TailHash = verdict.Proved, payment.Chain, tail.Index, tail.Payword.TailHash()
		status.Accepted, status.Spent = c.state.Accepted(&c.terms), c.state.Spent()
	}
	tell()
	if outcome.Reason != payword.Accepted {
		refuse(outcome.Reason)
		return
	}
	g.serve(w, r, c, payment, outcome, &status, tell)
}

// serve runs the upstream and gives the price back if it fails.
func (g *fakeGate) serve(w http.ResponseWriter, r *http.Request, c *gateCommitment, payment payword.Payment, outcome payword.Outcome, status *payword.Status, tell func()) {
	g.served[r.URL.Path]++
	if !outcome.Repeat {
		g.numbers[fmt.Sprintf("%s.%d", payment.Commitment, payment.Number)]++
	}
	if r.Method == http.MethodPost {
		g.executed++
	}
	if g.loseAnswers > 0 {
		g.loseAnswers--
		panic(http.ErrAbortHandler)
	}
	if g.served[r.URL.Path] <= g.loseOfEach {
		panic(http.ErrAbortHandler)
	}
	content := httptest.NewRecorder()
	g.upstream(content, r)
	if content.Code >= 300 {
		c.state.GiveBack(payment.Number, g.now().Unix())
		tell()
	}
	if g.editState != nil {
		g.editState(status)
	}
	for name, values := range content.Header() {
		w.Header()[name] = values
	}
	if g.withState {
		w.Header().Set(payword.HeaderState, payword.FormatStatus(*status))
	}
	if g.breakBodies > 0 && content.Body.Len() > 0 {
		g.breakBodies--
		w.Header().Set("Content-Length", strconv.Itoa(content.Body.Len()))
		w.Write(content.Body.Bytes()[:1])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(content.Code)
	w.Write(content.Body.Bytes())
}

// find returns the commitment of a payment, opening it if it came along.
func (g *fakeGate) find(payment payword.Payment, r *http.Request) (*gateCommitment, payword.Reason) {
	token := r.Header.Get(payword.HeaderCommitment)
	if token != "" {
		g.carried++
	}
	if c := g.opened[payment.Commitment]; c != nil {
		return c, payword.Accepted
	}
	if token == "" {
		return nil, payword.UnknownCommitment
	}
	m, refusal := payword.ParseCommitment(token, g.brokers)
	if refusal.Refused() {
		g.t.Errorf("the client sent a commitment that is refused: %v", refusal)
		return nil, refusal.Reason
	}
	if refusal := m.CheckTerms(g.origin(), usd, g.now().Unix()); refusal.Refused() {
		return nil, refusal.Reason
	}
	ceiling := m.Limit
	if word := r.Header.Get(payword.HeaderReservation); word != "" {
		reservation, refusal := payword.ParseReservation(word, &m, g.brokers)
		if refusal.Refused() {
			g.t.Errorf("the client sent a reservation that is refused: %v", refusal)
			return nil, refusal.Reason
		}
		ceiling = reservation.Amount
	}
	c := &gateCommitment{terms: m, state: payword.NewState(&m, ceiling, 1)}
	g.opened[m.ID] = c
	return c, payword.Accepted
}

// refuse answers 402 with a challenge.
func (g *fakeGate) refuse(w http.ResponseWriter, r *http.Request, status payword.Status, paid bool) {
	price := g.price
	if listed, found := g.prices[r.URL.Path]; found {
		price = listed
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	quoted := payword.PriceRequest{
		Amount: price, Currency: usd, Recipient: g.origin(), UnitType: "request",
		MethodDetails: payword.MethodDetails{
			HTTPMethod: method, MaxStep: g.maxStep, Version: payword.MethodVersion,
			URL: payword.CanonicalURL("http://"+r.Host, r.URL.RequestURI()),
		},
	}
	for issuer := range g.brokers {
		quoted.MethodDetails.Brokers = append(quoted.MethodDetails.Brokers, issuer)
	}
	challenge := payword.Challenge{
		Realm: "test", Method: payword.Method, Intent: payword.IntentSession,
		Expires: g.now().Add(time.Minute).UTC().Format(time.RFC3339),
	}
	if g.editChallenge != nil {
		g.editChallenge(r, &quoted, &challenge)
	}
	request, err := quoted.Canonical()
	if err != nil {
		g.t.Errorf("gate: %v", err)
		return
	}
	challenge.Request = request
	challenge, err = challenge.Bind([]byte("secret"))
	if err != nil {
		g.t.Errorf("gate: %v", err)
		return
	}
	if g.editState != nil {
		g.editState(&status)
	}
	w.Header().Set("WWW-Authenticate", challenge.Format())
	if paid && g.withState {
		w.Header().Set(payword.HeaderState, payword.FormatStatus(status))
	}
	w.WriteHeader(status.Reason.HTTPStatus())
	io.Copy(w, strings.NewReader("pay first"))
}
