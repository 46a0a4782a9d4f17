package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

func TestLostAnswerIsAskedForAgainFree(t *testing.T) {
	w := newWorld(t, 1000)
	w.withoutReuse()
	w.mustGet("/a")
	w.gate.set(func() { w.gate.loseAnswers = 2 })
	w.mustGet("/b")
	w.wantSpent(2000)
	w.wantReleased(2000)
}

func TestLostAnswerThenTheCallerAsksAgain(t *testing.T) {
	for _, first := range []bool{true, false} {
		t.Run(fmt.Sprintf("first request of the wallet: %t", first), func(t *testing.T) {
			w := newWorld(t, 1000)
			w.withoutReuse()
			want := money.Amount(1000)
			if !first {
				w.mustGet("/before")
				want = 2000
			}
			w.gate.set(func() { w.gate.loseAnswers = 3 })
			if err := w.get("/a"); err == nil || !strings.Contains(err.Error(), "asking for the same again soon is free") {
				t.Errorf("got %v, want the loss with what to do about it", err)
			}
			w.mustGet("/a")
			w.wantSpent(want)
			w.wantReleased(want)
			w.gate.wantChargedOnce()
		})
	}
}

// TestBodyThatBreaksOffIsHadAgainFree loses the content of a page that was
// paid for, after its header came.
func TestBodyThatBreaksOffIsHadAgainFree(t *testing.T) {
	w := newWorld(t, 1000)
	w.withoutReuse()
	w.mustGet("/before")
	w.gate.set(func() { w.gate.breakBodies = 2 })
	for range 2 {
		if err := w.get("/a"); err == nil {
			t.Fatal("the body did not break off")
		}
	}
	w.mustGet("/a")
	w.wantSpent(2000)
	w.wantReleased(2000)
	w.gate.wantChargedOnce()
	w.mustGet("/a")
	w.wantSpent(3000)
}

func TestLostAnswersOfThirtyAtOnce(t *testing.T) {
	w := newWorld(t, 1000)
	w.withoutReuse()
	w.mustGet("/first")
	w.gate.set(func() { w.gate.loseOfEach = 4 })
	var group sync.WaitGroup
	for k := range 30 {
		group.Go(func() {
			for range 2 { // three are lost the first time, one the second
				if w.get(fmt.Sprintf("/%d", k)) == nil {
					return
				}
			}
			t.Errorf("page %d never came", k)
		})
	}
	group.Wait()
	w.wantSpent(31_000)
	w.wantReleased(31_000)
	w.gate.wantChargedOnce()
}

func TestLostAnswerToPostIsNotRepeated(t *testing.T) {
	w := newWorld(t, 1000)
	w.withoutReuse()
	w.mustGet("/first")
	w.gate.set(func() { w.gate.loseAnswers = 1 })
	_, err := w.http.Post(w.gate.origin()+"/order", "text/plain", strings.NewReader("one"))
	if err == nil || !strings.Contains(err.Error(), "may have been executed") {
		t.Errorf("got %v", err)
	}
	if _, _, executed := w.gate.counted(); executed != 1 {
		t.Errorf("executed %d times, want once", executed)
	}
	w.mustGet("/next")
	if _, spent := w.gate.totals(); spent != 3000 {
		t.Errorf("the vendor charged %s, want 0.003", spent.Decimal())
	}
	w.wantReleased(3000)
}

func TestLostLongAgoIsPaidAgain(t *testing.T) {
	w := newWorld(t, 1000)
	w.withoutReuse()
	w.mustGet("/first")
	w.gate.set(func() { w.gate.loseAnswers = 3 })
	if w.get("/a") == nil {
		t.Fatal("the answers were not lost")
	}
	w.clock.add(2 * payword.RepeatSeconds * time.Second)
	w.mustGet("/a")
	if _, spent := w.gate.totals(); spent != 3000 {
		t.Errorf("the vendor charged %s, want 0.003", spent.Decimal())
	}
}

// A gate repeats a request a few times only; after that it is a new one.
func TestLostTooOften(t *testing.T) {
	w := newWorld(t, 1000)
	w.withoutReuse()
	w.mustGet("/first")
	w.gate.set(func() { w.gate.loseAnswers = payword.MaxRepeats + 1 })
	tries := 0
	for w.get("/a") != nil {
		if tries++; tries > payword.MaxRepeats {
			t.Fatal("the page never came")
		}
	}
	before, _, _ := w.gate.counted()
	w.mustGet("/b")
	if after, _, _ := w.gate.counted(); after != before+1 {
		t.Errorf("%d requests for the next page: what was charged was taken for credit", after-before)
	}
	if _, spent := w.gate.totals(); spent != 4000 {
		t.Errorf("the vendor charged %s, want 0.004", spent.Decimal())
	}
	w.wantReleased(4000)
}

func TestLostAnswerThenUnreachable(t *testing.T) {
	w := newWorld(t, 1000)
	w.mustGet("/first")
	sent := 0
	w.Base = roundTrip(func(r *http.Request) (*http.Response, error) {
		sent++
		if sent == 2 || sent == 3 {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
		}
		answer, err := http.DefaultTransport.RoundTrip(r)
		if sent == 1 {
			answer.Body.Close()
			return nil, errors.New("connection reset")
		}
		return answer, err
	})
	if w.get("/a") == nil {
		t.Fatal("the answer was not lost")
	}
	w.mustGet("/a")
	w.wantSpent(2000)
	w.wantReleased(2000)
	w.gate.wantChargedOnce()
}

// TestLostOnAConnectionThatWasReused loses the answer on a connection that was
// open, while no new one can be had: http.Transport dials by itself, and only
// says that this failed.
func TestLostOnAConnectionThatWasReused(t *testing.T) {
	w := newWorld(t, 1000)
	var refusing atomic.Bool
	base := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if refusing.Load() {
			return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("connection refused")}
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	t.Cleanup(base.CloseIdleConnections)
	w.Base = base
	w.mustGet("/first")
	w.gate.set(func() { w.gate.loseAnswers = 1 })
	refusing.Store(true)
	if w.get("/a") == nil {
		t.Fatal("the answer was not lost")
	}
	refusing.Store(false)
	w.mustGet("/a")
	w.wantSpent(2000)
	w.wantReleased(2000)
	w.gate.wantChargedOnce()
}

func TestUnreachableServerCostsNothing(t *testing.T) {
	w := newWorld(t, 1000)
	w.mustGet("/a")
	w.gate.server.Close()
	for range 3 {
		if w.get("/a") == nil {
			t.Fatal("a closed server answered")
		}
	}
	w.wantReleased(2000) // the second thousand waits for the next request
}

// What a gate can say no with, once, and what a client does about it.
func TestRefusalsThatCanBeMended(t *testing.T) {
	forget := func(w *world) { clear(w.gate.opened) }
	cases := []struct {
		name         string
		spoil        func(w *world)
		reservations int
	}{
		{"the gate forgot the commitment", forget, 1},
		{"the gate closed it", func(w *world) {
			for _, c := range w.gate.opened {
				c.state.Closed = true
			}
		}, 2},
		{"it expired", func(w *world) { w.clock.add(25 * time.Hour) }, 2},
		{"the numbers are far ahead", func(w *world) {
			for _, c := range w.gate.opened {
				c.state.Highest += 2
				c.state.Window[0] = 7
			}
		}, 1},
		{"the credit was eaten", func(w *world) {
			for _, c := range w.gate.opened {
				c.state.Charged += 700
			}
		}, 1},
		{"the chain is far ahead of the gate", func(w *world) {
			w.gate.maxStep = 2
			for _, c := range w.gate.opened {
				m := payword.NewState(&c.terms, c.state.Cap, 1)
				m.Highest, m.Window = c.state.Highest, c.state.Window
				c.state = m
			}
		}, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1000)
			w.gate.set(func() { w.gate.maxStep = 4 })
			for range 5 {
				w.mustGet("/a")
			}
			// A page that costs nothing in the end leaves room between what
			// was agreed to and what was spent.
			w.gate.set(func() {
				w.gate.upstream = func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(http.StatusNotFound) }
			})
			if w.get("/a") == nil {
				t.Fatal("404 was taken for content")
			}
			w.gate.set(func() {
				w.gate.upstream = func(rw http.ResponseWriter, r *http.Request) { fmt.Fprintf(rw, "content of %s", r.URL.Path) }
				c.spoil(w)
			})
			for range 4 {
				w.mustGet("/b")
			}
			if got := w.broker.count(payword.PathReservations); got != c.reservations {
				t.Errorf("%d reservations, want %d", got, c.reservations)
			}
			if released := w.wallet.Summary().Released; released > 11_000 {
				t.Errorf("released %s for nine pages", released.Decimal())
			}
		})
	}
}

func TestCertificateThatExpires(t *testing.T) {
	w := newWorld(t, 1000)
	w.broker.set(func() { w.broker.lifeSeconds = 3600 })
	w.mustGet("/a")
	w.clock.add(55 * time.Minute) // too little left to open with; enough to go on
	w.mustGet("/a")
	w.clock.add(time.Hour)
	w.mustGet("/a")
	w.wantSpent(3000)
	if w.broker.certificates != 4 || w.broker.count(payword.PathRenewals) == 0 {
		t.Errorf("%d pseudonyms, want the four of the beginning, renewed", w.broker.certificates)
	}
}

// A page may be free that the wallet wanted to pay by guessing.
func TestFreePageWhileTheBrokerIsDown(t *testing.T) {
	w := newWorld(t, 1000)
	w.Deposit = 3000
	w.gate.set(func() { w.gate.prices["/free"] = -1 })
	for page := range 3 {
		w.mustGet(fmt.Sprintf("/%d", page))
	}
	w.broker.set(func() { w.broker.down = true })
	w.mustGet("/free")
	refusedBy[*client.BrokerError](t, w.get("/more"))
	w.wantReleased(3000)
}

func TestBrokerDown(t *testing.T) {
	w := newWorld(t, 1000)
	if err := w.wallet.Certificates(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	w.mustGet("/a")
	w.broker.set(func() { w.broker.down = true })
	for range 5 {
		w.mustGet("/a") // an open commitment needs no broker
	}
	w.reopen()
	w.mustGet("/a")

	strict := newFakeGate(t, w.broker, 1000)
	w.gate = strict
	failed := refusedBy[*client.BrokerError](t, w.get("/a"))
	if failed.Status != http.StatusServiceUnavailable || failed.Broker != w.broker.origin() || failed.Reason != payword.Accepted {
		t.Errorf("got %+v", failed)
	}
	if accepted, _ := strict.totals(); accepted != 0 {
		t.Errorf("released %s without a reservation", accepted.Decimal())
	}

	lenient := newFakeGate(t, w.broker, 1000)
	lenient.editChallenge = func(_ *http.Request, q *payword.PriceRequest, _ *payword.Challenge) {
		q.MethodDetails.Unreserved = true
	}
	w.gate = lenient
	w.mustGet("/a") // a new vendor that gives credit, with a spare certificate

	w.broker.set(func() { w.broker.down = false })
	w.gate = strict
	w.mustGet("/a") // with the commitment that was made before
	if got := len(w.broker.reservations); got != 2 {
		t.Errorf("%d reservations, want 2", got)
	}
}

func TestReservationAnswerLost(t *testing.T) {
	w := newWorld(t, 1000)
	w.broker.set(func() { w.broker.loseAnswer = true })
	refusedBy[*client.BrokerError](t, w.get("/a"))
	w.reopen()
	w.mustGet("/a")
	if got := len(w.broker.reservations); got != 1 {
		t.Errorf("%d commitments reserved, want the one: it was asked for again", got)
	}
}

func TestBalanceSmallerThanTheDeposit(t *testing.T) {
	w := newWorld(t, 1000)
	w.broker.set(func() { w.broker.balance = 2500 })
	w.mustGet("/a")
	w.mustGet("/b")
	refused := refusedBy[*client.BrokerError](t, w.get("/c"))
	if refused.Reason != payword.InsufficientFunds {
		t.Errorf("got %v", refused)
	}
	w.wantSpent(2000)
}

func TestNoAccount(t *testing.T) {
	w := newWorld(t, 1000)
	wallet, err := client.CreateWallet(client.WalletConfig{Path: w.path + ".other", Now: w.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	defer wallet.Close()
	w.Transport.Wallet = wallet
	if err := w.get("/a"); !errors.Is(err, client.ErrNoAccount) {
		t.Errorf("got %v, want ErrNoAccount", err)
	}
	if _, err := wallet.Balance(t.Context()); !errors.Is(err, client.ErrNoAccount) {
		t.Errorf("balance: got %v, want ErrNoAccount", err)
	}
}

func TestOneOpeningForAllWhoWait(t *testing.T) {
	w := newWorld(t, 1000)
	var group sync.WaitGroup
	for k := range 30 {
		group.Go(func() {
			if err := w.get(fmt.Sprintf("/%d", k)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := w.broker.count(payword.PathReservations); got != 1 {
		t.Errorf("%d reservations, want 1", got)
	}
	w.wantSpent(30_000)
}

// A lost request is asked for again with the newest payword. If that is not on
// disk, because it was released for a request that could not be saved, it does
// not leave.
func TestRepeatPresentsWhatIsDurable(t *testing.T) {
	w := newWorld(t, 1000)
	w.withoutReuse()
	w.mustGet("/first")
	w.gate.set(func() { w.gate.loseAnswers = 3 })
	if w.get("/a") == nil {
		t.Fatal("the answers were not lost")
	}
	if err := os.Mkdir(w.path+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	before, _, _ := w.gate.counted()
	for _, path := range []string{"/b", "/a"} {
		if err := w.get(path); err == nil || !strings.Contains(err.Error(), "saving the wallet") {
			t.Errorf("%s: got %v, want that the wallet could not be saved", path, err)
		}
	}
	if after, _, _ := w.gate.counted(); after != before {
		t.Errorf("%d requests left with a payword that is not on disk", after-before)
	}
	if err := os.Remove(w.path + ".new"); err != nil {
		t.Fatal(err)
	}
	w.mustGet("/a")
	w.mustGet("/b")
	w.wantSpent(3000)
	w.wantReleased(3000)
	w.gate.wantChargedOnce()
}
