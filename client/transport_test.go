package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

func TestOnePage(t *testing.T) {
	w := newWorld(t, 1000)
	w.mustGet("/a")
	w.wantSpent(1000)
	w.wantReleased(1000)
	if got := w.broker.count(payword.PathReservations); got != 1 {
		t.Errorf("%d reservations, want 1", got)
	}
	history := w.wallet.Summary().History
	if len(history) != 1 || history[0].Amount != 1000 || history[0].URL != w.gate.origin()+"/a" {
		t.Errorf("history: %+v", history)
	}
}

func TestThreeHundredPages(t *testing.T) {
	w := newWorld(t, 1000)
	for page := range 300 {
		w.mustGet(fmt.Sprintf("/page/%d", page))
	}
	w.wantSpent(300_000)
	w.wantReleased(300_000)
	asked, carried, _ := w.gate.counted()
	if asked != 301 {
		t.Errorf("%d requests for 300 pages, want 301: one to learn the price", asked)
	}
	if carried != 1 {
		t.Errorf("%d requests carried the commitment, want 1", carried)
	}
}

func TestThirtyAtATime(t *testing.T) {
	w := newWorld(t, 1000)
	const atOnce, each = 30, 20
	var group sync.WaitGroup
	for stream := range atOnce {
		group.Go(func() {
			for page := range each {
				if err := w.get(fmt.Sprintf("/%d/%d", stream, page)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	w.wantSpent(atOnce * each * 1000)
	w.wantReleased(atOnce * each * 1000)
	w.gate.wantChargedOnce()
	// 0.60 does not fit in one deposit of 0.50.
	if got := w.broker.count(payword.PathReservations); got != 2 {
		t.Errorf("%d reservations, want 2", got)
	}
}

func TestPricesBetween(t *testing.T) {
	w := newWorld(t, 1000)
	w.gate.set(func() {
		w.gate.prices = map[string]money.Amount{"/dear": 250_000, "/odd": 1700, "/cheap": 30, "/free": -1, "/mid": 16_000}
	})
	want := money.Amount(0)
	for range 3 {
		for _, page := range []struct {
			path  string
			price money.Amount
		}{{"/dear", 250_000}, {"/a", 1000}, {"/odd", 1700}, {"/cheap", 30}, {"/free", 0}, {"/mid", 16_000}} {
			w.mustGet(page.path)
			want += page.price
		}
	}
	w.wantSpent(want)
	// What was released beyond that waits as credit: less than a step of each
	// chain that was used.
	accepted, spent := w.gate.totals()
	if accepted-spent > 20_000 {
		t.Errorf("%s was released and not spent", (accepted - spent).Decimal())
	}
}

func TestManyAtOnceOfOddPrices(t *testing.T) {
	w := newWorld(t, 1000)
	const atOnce, each = 30, 10
	want := money.Amount(0)
	for stream := range atOnce {
		price := money.Amount(100 + 37*stream)
		w.gate.set(func() { w.gate.prices[fmt.Sprintf("/%d", stream)] = price })
		want += each * price
	}
	var group sync.WaitGroup
	for stream := range atOnce {
		group.Go(func() {
			for range each {
				if err := w.get(fmt.Sprintf("/%d", stream)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	w.wantSpent(want)
	w.gate.wantChargedOnce()
}

func TestPriceRises(t *testing.T) {
	w := newWorld(t, 1000)
	w.mustGet("/a")
	w.gate.set(func() { w.gate.price = 3000 })
	w.mustGet("/a")
	w.wantSpent(4000)
	w.Budget.PerRequest = 3500
	w.gate.set(func() { w.gate.price = 4000 })
	over := refusedBy[*client.BudgetError](t, w.get("/a"))
	if over.Limit != client.LimitPerRequest || over.Want != 4000 || over.Left != 3500 {
		t.Errorf("got %+v", over)
	}
	w.wantSpent(4000)
}

func TestPriceFalls(t *testing.T) {
	w := newWorld(t, 5000)
	w.mustGet("/a")
	w.gate.set(func() { w.gate.price = 1000 })
	w.mustGet("/a") // agrees to 5000, is charged 1000
	w.mustGet("/a")
	w.mustGet("/b")
	w.wantSpent(8000)
	w.wantReleased(10_000)
}

func TestDepositRollsOver(t *testing.T) {
	w := newWorld(t, 1000)
	w.Deposit = 5000
	for page := range 12 {
		w.mustGet(fmt.Sprintf("/%d", page))
	}
	w.wantSpent(12_000)
	w.wantReleased(12_000)
	if got := w.broker.count(payword.PathReservations); got != 3 {
		t.Errorf("%d commitments of 5 pages for 12 pages, want 3", got)
	}
	if w.broker.certificates != 4 {
		t.Errorf("%d certificates, want the first 4: one serves a vendor for all commitments", w.broker.certificates)
	}
}

func TestPriceRisesAtTheEndOfADeposit(t *testing.T) {
	w := newWorld(t, 1000)
	w.Deposit = 5000
	for page := range 4 {
		w.mustGet(fmt.Sprintf("/cheap/%d", page))
	}
	w.gate.set(func() { w.gate.price = 3000 })
	before, _, _ := w.gate.counted()
	for page := range 5 {
		w.mustGet(fmt.Sprintf("/%d", page))
	}
	w.wantSpent(19_000)
	after, _, _ := w.gate.counted()
	// The first because of its price, the second because that is new and takes
	// much of the deposit.
	if refused := after - before - 5; refused != 2 {
		t.Errorf("%d requests were refused, want two", refused)
	}
}

// A number belongs to one commitment: what was refused on the last one does not
// use one up on the next.
func TestNumbersAreOfOneCommitment(t *testing.T) {
	w := newWorld(t, 1000)
	w.Deposit = 3000
	w.mustGet("/a")
	w.mustGet("/a")
	w.gate.set(func() { w.gate.price = 1100 }) // refused as number 3; paid by a new commitment
	w.mustGet("/a")
	w.gate.set(func() { w.gate.price = 100 })
	w.mustGet("/a")
	before, _, _ := w.gate.counted()
	for range 9 {
		w.mustGet("/a")
	}
	if after, _, _ := w.gate.counted(); after != before+9 {
		t.Errorf("%d requests for 9 pages", after-before)
	}
	w.wantSpent(4100)
}

// One request takes long while three hundred overtake it, more than a payword
// may be behind the tail.
func TestSlowRequestIsNotOvertaken(t *testing.T) {
	w := newWorld(t, 1000)
	w.mustGet("/first")
	held, release := make(chan struct{}), make(chan struct{})
	w.Base = roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/slow" {
			close(held)
			<-release
		}
		return http.DefaultTransport.RoundTrip(r)
	})
	done := make(chan error)
	go func() { done <- w.get("/slow") }()
	<-held
	for range 300 {
		w.mustGet("/first")
	}
	before, _, _ := w.gate.counted()
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if after, _, _ := w.gate.counted(); after != before+1 {
		t.Errorf("the slow request was sent %d times", after-before)
	}
	w.wantSpent(302_000)
	if released := w.wallet.Summary().Released; released > 302_000+16_000 {
		t.Errorf("released %s", released.Decimal())
	}
}

func TestThirtyFailuresAtOnceAreCredit(t *testing.T) {
	w := newWorld(t, 1000)
	w.mustGet("/a")
	w.gate.set(func() {
		w.gate.upstream = func(rw http.ResponseWriter, r *http.Request) { http.Error(rw, "broken", http.StatusBadGateway) }
	})
	for range 3 {
		var group sync.WaitGroup
		for range 30 {
			group.Go(func() {
				if err := w.get("/a"); err == nil || !strings.Contains(err.Error(), "502") {
					t.Errorf("got %v, want the upstream's 502", err)
				}
			})
		}
		group.Wait()
	}
	w.wantSpent(1000)
	if released := w.wallet.Summary().Released; released > 31_000 {
		t.Errorf("released %s, want at most what thirty at once need", released.Decimal())
	}
}

// An answer that is read late does not make credit out of what was spent since.
func TestAnswerReadLate(t *testing.T) {
	w := newWorld(t, 5000)
	w.mustGet("/late")
	w.gate.set(func() { w.gate.price = 1000 })
	w.mustGet("/late") // agrees to 5000: 4000 are left
	answered, release := make(chan struct{}), make(chan struct{})
	w.Base = roundTrip(func(r *http.Request) (*http.Response, error) {
		answer, err := http.DefaultTransport.RoundTrip(r)
		if r.URL.Path == "/late" {
			close(answered)
			<-release
		}
		return answer, err
	})
	done := make(chan error)
	go func() { done <- w.get("/late") }()
	<-answered
	w.mustGet("/b")
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	before, _, _ := w.gate.counted()
	for page := range 4 {
		w.mustGet(fmt.Sprintf("/%d", page))
	}
	if after, _, _ := w.gate.counted(); after != before+4 {
		t.Errorf("%d requests for 4 pages", after-before)
	}
	w.wantSpent(12_000)
	w.wantReleased(12_000)
}

func TestFailedRequestIsCredit(t *testing.T) {
	w := newWorld(t, 1000)
	w.gate.set(func() {
		w.gate.upstream = func(rw http.ResponseWriter, r *http.Request) { http.Error(rw, "broken", http.StatusBadGateway) }
	})
	for range 5 {
		answer, err := w.http.Get(w.gate.origin() + "/a")
		if err != nil || answer.StatusCode != http.StatusBadGateway {
			t.Fatalf("got %v, %v; want the upstream's 502", answer, err)
		}
		answer.Body.Close()
	}
	w.wantSpent(0)
	w.wantReleased(1000)
}

func TestUnavailableIsPassedOn(t *testing.T) {
	w := newWorld(t, 1000)
	w.mustGet("/a")
	w.gate.set(func() {
		w.gate.before = func(rw http.ResponseWriter, r *http.Request) bool {
			rw.Header().Set("Retry-After", "3")
			rw.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
	})
	before, _, _ := w.gate.counted()
	answer, err := w.http.Get(w.gate.origin() + "/b")
	if err != nil || answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") != "3" {
		t.Fatalf("got %v, %v; want the 503 as it was", answer, err)
	}
	answer.Body.Close()
	if after, _, _ := w.gate.counted(); after != before+1 {
		t.Errorf("%d requests for one 503", after-before)
	}
	w.gate.set(func() { w.gate.before = nil })
	w.mustGet("/b") // the same number again
	w.wantSpent(2000)
	w.wantReleased(2000)
}

func TestHeadAndPost(t *testing.T) {
	w := newWorld(t, 1000)
	head, err := w.http.Head(w.gate.origin() + "/a")
	if err != nil || head.StatusCode != http.StatusOK {
		t.Fatalf("HEAD: %v, %v", head, err)
	}
	w.wantSpent(0)
	w.gate.set(func() {
		w.gate.upstream = func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, "done") }
	})
	bodies := map[string]io.Reader{
		"in memory, with GetBody":    bytes.NewReader(make([]byte, 3<<20)),
		"a stream, read into memory": io.LimitReader(strings.NewReader(strings.Repeat("x", 1000)), 1000),
		"no body":                    nil,
	}
	for name, content := range bodies {
		answer, err := w.http.Post(w.gate.origin()+"/"+strings.ReplaceAll(name, " ", "-"), "text/plain", content)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("POST, %s: %v, %v", name, answer, err)
		}
		answer.Body.Close()
	}
	w.wantSpent(3000)
	if _, _, executed := w.gate.counted(); executed != 3 {
		t.Errorf("%d requests executed, want 3", executed)
	}
}

func TestLongStreamIsSentOnce(t *testing.T) {
	w := newWorld(t, 1000)
	long := io.LimitReader(zeros{}, 2<<20)
	_, err := w.http.Post(w.gate.origin()+"/a", "text/plain", long)
	refused := refusedBy[*client.RefusedError](t, err)
	if !strings.Contains(refused.Error(), "GetBody") {
		t.Errorf("got %v, want a sentence that names GetBody", refused)
	}
	w.wantReleased(0)
	w.gate.set(func() { w.gate.prices["/free"] = -1 })
	answer, err := w.http.Post(w.gate.origin()+"/free", "text/plain", io.LimitReader(zeros{}, 2<<20))
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("a long stream to a free page: %v, %v", answer, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestCancelled(t *testing.T) {
	w := newWorld(t, 1000)
	w.mustGet("/a")
	ctx, cancel := context.WithCancel(t.Context())
	w.gate.set(func() {
		w.gate.before = func(http.ResponseWriter, *http.Request) bool { cancel(); return false }
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.gate.origin()+"/b", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := w.http.Do(request)
	if err == nil { // the answer may have been on its way
		_, err = io.ReadAll(answer.Body)
		answer.Body.Close()
	}
	w.gate.set(func() { w.gate.before = nil })
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	w.wantReleased(2000)
}

func TestNothingOfOursWithoutOurChallenge(t *testing.T) {
	w := newWorld(t, 1000)
	w.gate.set(func() {
		w.gate.before = func(rw http.ResponseWriter, r *http.Request) bool {
			rw.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			rw.WriteHeader(http.StatusPaymentRequired)
			return true
		}
	})
	answer, err := w.http.Get(w.gate.origin() + "/a")
	if err != nil || answer.StatusCode != http.StatusPaymentRequired {
		t.Errorf("got %v, %v; want the 402 as it was", answer, err)
	}
	w.wantReleased(0)
}
