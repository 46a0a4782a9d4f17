package client_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

// quote makes the gate edit what it asks for.
func quote(edit func(r *http.Request, quoted *payword.PriceRequest, c *payword.Challenge)) func(*world) {
	return func(w *world) { w.gate.editChallenge = edit }
}

// Each case is a server that lies.
var liars = []struct {
	name   string
	lie    func(w *world)
	reason payword.Reason // Accepted: the page is served
	most   money.Amount   // that may be released for one request, and if it is not 0 its budget
}{
	{"control: an honest server", func(*world) {}, payword.Accepted, 1000},
	{"a quote for another URL", quote(func(r *http.Request, q *payword.PriceRequest, _ *payword.Challenge) {
		q.MethodDetails.URL += "?cheap"
	}), payword.WrongResource, 0},
	{"a quote for another method", quote(func(r *http.Request, q *payword.PriceRequest, _ *payword.Challenge) {
		q.MethodDetails.HTTPMethod = http.MethodPost
	}), payword.WrongResource, 0},
	{"a quote on another origin", quote(func(r *http.Request, q *payword.PriceRequest, _ *payword.Challenge) {
		q.MethodDetails.URL = payword.CanonicalURL("https://other.example", r.URL.RequestURI())
	}), payword.WrongResource, 0},
	{"an expired quote", quote(func(_ *http.Request, _ *payword.PriceRequest, c *payword.Challenge) {
		c.Expires = "2026-05-04T11:00:00Z"
	}), payword.ChallengeExpired, 0},
	{"an end that is no time", quote(func(_ *http.Request, _ *payword.PriceRequest, c *payword.Challenge) {
		c.Expires = "soon"
	}), payword.ChallengeExpired, 0},
	{"another recipient", quote(func(_ *http.Request, q *payword.PriceRequest, _ *payword.Challenge) {
		q.Recipient = "http://127.0.0.1:1"
	}), payword.WrongVendor, 0},
	{"a foreign broker", quote(func(_ *http.Request, q *payword.PriceRequest, _ *payword.Challenge) {
		q.MethodDetails.Brokers = []string{"https://broker.example"}
	}), payword.UnknownBroker, 0},
	{"another currency", quote(func(_ *http.Request, q *payword.PriceRequest, _ *payword.Challenge) {
		q.Currency = "jpy-micro"
	}), payword.WrongCurrency, 0},
	{"a later version of the method", quote(func(_ *http.Request, q *payword.PriceRequest, _ *payword.Challenge) {
		q.MethodDetails.Version = 2
	}), payword.MethodUnsupported, 0},
	{"402 for ever, with a state", func(w *world) { w.gate.refuseAll = payword.PaymentRequired }, payword.PaymentRequired, 1000},
	{"402 for ever, without a state", func(w *world) {
		w.gate.refuseAll, w.gate.withState = payword.PaymentRequired, false
	}, payword.PaymentRequired, 1000},
	{"closed for ever", func(w *world) { w.gate.refuseAll = payword.CommitmentClosed }, payword.CommitmentClosed, 1000},
	{"numbers used for ever", func(w *world) { w.gate.refuseAll = payword.AlreadyUsed }, payword.AlreadyUsed, 1000},
	{"stale for ever", func(w *world) { w.gate.refuseAll = payword.StalePayword }, payword.StalePayword, 1000},
	{"steps too far for ever", func(w *world) { w.gate.refuseAll = payword.StepTooFar }, payword.StepTooFar, 1000},
	{"unknown for ever", func(w *world) { w.gate.refuseAll = payword.UnknownCommitment }, payword.UnknownCommitment, 1000},
	{"want of a credit that nobody spent", lieOfState(func(s *payword.Status) {
		s.Reason, s.Spent = payword.InsufficientCredit, s.Accepted
	}), payword.InsufficientCredit, 1000},
	{"want of a credit that is there", lieOfState(func(s *payword.Status) {
		s.Reason = payword.InsufficientCredit
	}), payword.InsufficientCredit, 1000},
	{"accepted less than was proved", lieOfState(func(s *payword.Status) {
		s.Reason, s.Accepted, s.Spent = payword.InsufficientCredit, 0, 0
	}), payword.InsufficientCredit, 1000},
	{"a tail far ahead", lieOfState(func(s *payword.Status) {
		s.Reason, s.Index, s.Spent = payword.InsufficientCredit, s.Index+400, s.Accepted
	}), payword.InsufficientCredit, 1000},
	{"a tail that is not ours", lieOfState(func(s *payword.Status) {
		s.Reason, s.TailHash[0] = payword.InsufficientCredit, s.TailHash[0]^1
	}), payword.InsufficientCredit, 1000},
	{"a price that rises with every attempt", func(w *world) {
		w.gate.before = func(http.ResponseWriter, *http.Request) bool { w.gate.price *= 2; return false }
	}, payword.PriceOverMax, 8000},
	{"a price over max that is not", lieOfState(func(s *payword.Status) {
		s.Reason = payword.PriceOverMax
	}), payword.PriceOverMax, 1000},
}

// Whatever a server says, it gets at most what the budget allows for one
// request; the control is an honest one, which is paid.
func TestLiars(t *testing.T) {
	for _, c := range liars {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1000)
			w.Budget.PerRequest = max(c.most, 1000)
			w.gate.set(func() { c.lie(w) })
			err := w.get("/a")
			if c.reason == payword.Accepted {
				if err != nil {
					t.Error(err)
				}
			} else if refused := refusedBy[*client.RefusedError](t, err); refused.Reason != c.reason {
				t.Errorf("got %v, want %s", refused, c.reason)
			}
			if accepted, _ := w.gate.totals(); accepted > c.most {
				t.Errorf("the vendor got %s, want at most %s", accepted.Decimal(), c.most.Decimal())
			}
			if released := w.wallet.Summary().Released; released > c.most {
				t.Errorf("released %s, want at most %s", released.Decimal(), c.most.Decimal())
			}
			if asked, _, _ := w.gate.counted(); asked > 5 {
				t.Errorf("%d requests for one page", asked)
			}
		})
	}
}

// What a server can say to be paid again for the same request, each time with
// paywords that were not released before.
var againAndAgain = []struct {
	name string
	lie  func(w *world)
}{
	{"closed for ever", func(w *world) { w.gate.refuseAll = payword.CommitmentClosed }},
	{"another recipient each time", recipients},
	{"lost, then used", func(w *world) { loseThen(w, payword.AlreadyUsed) }},
	{"lost, then too dear", func(w *world) { loseThen(w, payword.PriceOverMax) }},
	{"lost, then closed", func(w *world) { loseThen(w, payword.CommitmentClosed) }},
	{"dearer by less than a step", dearer},
}

// dearer makes the gate ask for a little more each time that it is paid.
func dearer(w *world) {
	w.gate.refuseAll = payword.PriceOverMax
	w.gate.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get(payword.HeaderPayword) != "" {
			w.gate.price += 450
		}
		return false
	}
}

// recipients makes the gate ask for another vendor at each request and say
// nothing of what it was paid.
func recipients(w *world) {
	document := func(vendor string) string {
		listed, err := json.Marshal(payword.Discovery{Vendor: vendor, Origins: []string{w.gate.origin()}})
		if err != nil {
			w.t.Fatal(err)
		}
		return string(listed)
	}
	vendors := []string{w.gate.origin()}
	for range 3 {
		other := newFakeGate(w.t, w.broker, 1000)
		other.discovery = document(other.origin())
		vendors = append(vendors, other.origin())
	}
	w.gate.refuseAll, w.gate.withState = payword.PaymentRequired, false
	w.gate.editChallenge = func(_ *http.Request, q *payword.PriceRequest, _ *payword.Challenge) {
		q.Recipient = vendors[w.gate.asked%len(vendors)]
	}
}

// loseThen makes the gate break off every other paid request and refuse the
// rest, at a price that grows.
func loseThen(w *world, reason payword.Reason) {
	w.withoutReuse()
	w.gate.refuseAll = reason
	paid := 0
	w.gate.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get(payword.HeaderPayword) == "" {
			return false
		}
		if paid++; paid%2 == 1 {
			panic(http.ErrAbortHandler)
		}
		w.gate.price += 200
		return false
	}
}

// The limit per request holds for all that one RoundTrip releases, on every
// commitment and to every vendor that it takes.
func TestOneRequestReleasesAtMostItsLimit(t *testing.T) {
	for _, c := range againAndAgain {
		for _, limit := range []money.Amount{1000, 1500, 2999, 10_000} {
			t.Run(c.name+" "+limit.Decimal(), func(t *testing.T) {
				w := newWorld(t, 1000)
				w.Budget.PerRequest = limit
				w.gate.set(func() { c.lie(w) })
				for range 3 {
					before := w.wallet.Summary().Released
					if w.get("/a") == nil {
						t.Fatal("the liar served a page")
					}
					if released := w.wallet.Summary().Released - before; released > limit {
						t.Errorf("one request released %s, the limit is %s", released.Decimal(), limit.Decimal())
					}
				}
				if released := w.wallet.Summary().Released; released < 1000 {
					t.Errorf("released %s: the server was never paid", released.Decimal())
				}
			})
		}
	}
}

// lieOfState makes the gate refuse what it has proved, with an edited state.
func lieOfState(edit func(s *payword.Status)) func(*world) {
	return func(w *world) {
		w.gate.editState = func(s *payword.Status) {
			if s.Known {
				edit(s)
			}
		}
	}
}

// A server that goes on lying gets what the budget allows, and not more.
func TestLiarNeverGetsMoreThanTheBudget(t *testing.T) {
	w := newWorld(t, 1000)
	w.Budget = client.Budget{PerRequest: 3000, PerSite: 20_000, PerDay: 30_000, Total: 30_000}
	honest := w.gate
	w.gate = newFakeGate(t, w.broker, 1000)
	w.gate.before = func(http.ResponseWriter, *http.Request) bool {
		w.gate.price = w.gate.price*3/2 + 1
		if w.gate.price > 3000 {
			w.gate.price = 700
		}
		return false
	}
	w.gate.editState = func(s *payword.Status) {
		if s.Known {
			s.Reason, s.Spent = payword.InsufficientCredit, s.Accepted
		}
	}
	for range 100 {
		if w.get("/a") == nil {
			t.Fatal("the liar served a page")
		}
	}
	if accepted, _ := w.gate.totals(); accepted > 20_000 {
		t.Errorf("the liar got %s of a budget of 0.02 for a site", accepted.Decimal())
	}
	w.gate = honest
	w.mustGet("/a")
}

// Once a vendor gave a price back, its word that it did not after all may be true,
// and is believed: but only beside our own tail, and once.
func TestVendorThatTakesBackWhatItGaveBack(t *testing.T) {
	for _, c := range []struct {
		name string
		flip byte
		most money.Amount
	}{{"with our tail", 0, 2000}, {"with another tail", 1, 1000}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1000)
			w.gate.set(func() {
				w.gate.upstream = func(rw http.ResponseWriter, r *http.Request) { http.NotFound(rw, r) }
			})
			if w.get("/a") == nil {
				t.Fatal("404 was taken for content")
			}
			w.gate.set(func() {
				w.gate.editState = func(s *payword.Status) {
					if s.Known {
						s.Reason, s.Spent, s.TailHash[0] = payword.InsufficientCredit, s.Accepted, s.TailHash[0]^c.flip
					}
				}
			})
			for range 10 {
				refusedBy[*client.RefusedError](t, w.get("/a"))
			}
			if accepted, _ := w.gate.totals(); accepted > c.most {
				t.Errorf("the vendor got %s, want at most %s", accepted.Decimal(), c.most.Decimal())
			}
		})
	}
}

func TestLiarTiesUpLittle(t *testing.T) {
	w := newWorld(t, 1000)
	w.gate.set(func() { w.gate.refuseAll = payword.CommitmentClosed })
	refusedBy[*client.RefusedError](t, w.get("/a"))
	if got := w.broker.count(payword.PathReservations); got != 2 {
		t.Errorf("%d commitments for one page, want 2", got)
	}
	for range 30 {
		refusedBy[*client.RefusedError](t, w.get("/a"))
	}
	reserved := money.Amount(0)
	for _, amount := range w.broker.reservations {
		reserved += amount
	}
	if reserved > 1_100_000 {
		t.Errorf("a vendor that closes every commitment tied up %s", reserved.Decimal())
	}
}

func TestOriginThatAVendorSpeaksFor(t *testing.T) {
	w := newWorld(t, 1000)
	other := newFakeGate(t, w.broker, 1000)
	cases := []struct {
		name   string
		listed payword.Discovery
		reason payword.Reason
	}{
		{"not listed", payword.Discovery{Vendor: w.gate.origin(), Origins: []string{"https://third.example"}}, payword.WrongVendor},
		{"another vendor's document", payword.Discovery{Vendor: other.origin(), Origins: []string{other.origin()}}, payword.WrongVendor},
		{"listed", payword.Discovery{Vendor: w.gate.origin(), Origins: []string{other.origin()}}, payword.Accepted},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			document, err := json.Marshal(c.listed)
			if err != nil {
				t.Fatal(err)
			}
			w.gate.set(func() { w.gate.discovery = string(document) })
			other.set(func() {
				other.editChallenge = func(_ *http.Request, q *payword.PriceRequest, _ *payword.Challenge) {
					q.Recipient = w.gate.origin()
				}
				// What answers for the vendor is the vendor's gate.
				other.before = func(rw http.ResponseWriter, r *http.Request) bool {
					if r.Header.Get(payword.HeaderPayword) == "" {
						return false
					}
					w.gate.ServeHTTP(rw, r)
					return true
				}
			})
			for range 3 {
				answer, err := w.http.Get(other.origin() + "/a")
				if c.reason == payword.Accepted {
					if err != nil || answer.StatusCode != http.StatusOK {
						t.Fatalf("got %v, %v", answer, err)
					}
					answer.Body.Close()
				} else if refused := refusedBy[*client.RefusedError](t, err); refused.Reason != c.reason {
					t.Errorf("got %v, want %s", refused, c.reason)
				}
			}
			w.clock.add(2 * time.Hour) // past the memory of the document
		})
	}
	w.gate.set(func() { w.gate.discovery = `{}` }) // it does not list the other any more
	refused := refusedBy[*client.RefusedError](t, wantError(t, w.http, other.origin()+"/a"))
	if refused.Reason != payword.WrongVendor {
		t.Errorf("no longer listed: got %v, want %s", refused, payword.WrongVendor)
	}
	w.wantSpent(3000)
	if sites := w.wallet.Summary().Sites; len(sites) != 1 || sites[0].Vendor != w.gate.origin() {
		t.Errorf("sites: %+v", sites)
	}
}

// wantError fetches a page that must not come and returns why it did not.
func wantError(t *testing.T, client *http.Client, url string) error {
	t.Helper()
	answer, err := client.Get(url)
	if err == nil {
		answer.Body.Close()
		t.Fatalf("got %s, want an error", answer.Status)
	}
	return err
}

// While it is paid all the time, an origin is asked again whose it is.
func TestVendorIsAskedAgainWhomItSpeaksFor(t *testing.T) {
	w := newWorld(t, 1000)
	other := newFakeGate(t, w.broker, 1000)
	document, err := json.Marshal(payword.Discovery{Vendor: w.gate.origin(), Origins: []string{other.origin()}})
	if err != nil {
		t.Fatal(err)
	}
	w.gate.set(func() { w.gate.discovery = string(document) })
	other.set(func() {
		other.editChallenge = func(_ *http.Request, q *payword.PriceRequest, _ *payword.Challenge) {
			q.Recipient = w.gate.origin()
		}
		other.before = func(rw http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get(payword.HeaderPayword) == "" {
				return false
			}
			w.gate.ServeHTTP(rw, r)
			return true
		}
	})
	paid := 0
	for minute := range 30 {
		answer, err := w.http.Get(other.origin() + "/a")
		if err != nil {
			refusedBy[*client.RefusedError](t, err)
			break
		}
		answer.Body.Close()
		paid++
		w.clock.add(time.Minute)
		if minute == 4 {
			w.gate.set(func() { w.gate.discovery = `{}` })
		}
	}
	if paid < 5 || paid > 15 {
		t.Errorf("paid for %d minutes; it was listed for five, which may be remembered for ten", paid)
	}
}

// A payword that the server saw on plain http is not used again.
func TestPaywordSeenOnPlainHTTPIsNoCredit(t *testing.T) {
	w := newWorld(t, 1000)
	w.gate.set(func() { w.gate.refuseAll = payword.InsecureTransport })
	for page := range 2 {
		refused := refusedBy[*client.RefusedError](t, w.get("/a"))
		if refused.Reason != payword.InsecureTransport {
			t.Errorf("got %v", refused)
		}
		if got, want := w.wallet.Summary().Released, money.Amount(page+1)*1000; got != want {
			t.Errorf("released %s, want %s: a payword of its own for each", got.Decimal(), want.Decimal())
		}
	}
	w.gate.set(func() { w.gate.refuseAll = payword.Accepted })
	w.mustGet("/b")
}

func TestPlainHTTPIsNotPaid(t *testing.T) {
	w := newWorld(t, 1000)
	w.Base = roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Header.Get(payword.HeaderPayword) != "" {
			t.Error("a payword left over plain http")
		}
		r = r.Clone(r.Context())
		r.URL.Host = w.gate.server.Listener.Addr().String()
		return http.DefaultTransport.RoundTrip(r)
	})
	_, err := w.http.Get("http://news.example/a")
	if refused := refusedBy[*client.RefusedError](t, err); refused.Reason != payword.InsecureTransport {
		t.Errorf("got %v", refused)
	}
	w.wantReleased(0)
}

// roundTrip is a function as a RoundTripper.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
