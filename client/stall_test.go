package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

// onlyPaid makes the gate treat requests with a payword in its own way.
func onlyPaid(w *world, answer http.HandlerFunc) {
	w.gate.before = func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get(payword.HeaderPayword) == "" {
			return false
		}
		answer(rw, r)
		return true
	}
}

func unavailable(rw http.ResponseWriter, _ *http.Request) {
	rw.WriteHeader(http.StatusServiceUnavailable)
}

func reset(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// Ways to take paywords and serve nothing.
var takers = []struct {
	name string
	take func(w *world)
}{
	{"resets every paid connection", func(w *world) { onlyPaid(w, reset) }},
	{"answers 503 when it is paid", func(w *world) { onlyPaid(w, unavailable) }},
	{"breaks off every body", func(w *world) { w.gate.breakBodies = 1 << 30 }},
	{"closes every commitment", func(w *world) { w.gate.refuseAll = payword.CommitmentClosed }},
}

// A site that takes and does not serve gets its allowance and one page more.
func TestSiteThatServesNothing(t *testing.T) {
	for _, c := range takers {
		t.Run(c.name, func(t *testing.T) {
			const price, most = 1000, 33_000
			w := newWorld(t, price)
			w.withoutReuse()
			w.gate.set(func() { c.take(w) })
			var stalled *client.StalledError
			for page := range 100 {
				if err := w.get(fmt.Sprintf("/%d", page)); err == nil {
					t.Fatal("a page was served")
				} else if stalled == nil {
					errors.As(err, &stalled)
				}
			}
			if released := w.wallet.Summary().Released; released > most {
				t.Errorf("released %s, want at most %s", released.Decimal(), money.Amount(most).Decimal())
			}
			if stalled == nil {
				t.Fatal("never refused")
			}
			if stalled.Origin != w.gate.origin() || stalled.Allowance != 32*price || stalled.Unserved+price <= stalled.Allowance {
				t.Errorf("got %+v", stalled)
			}
			w.reopen()
			w.withoutReuse()
			refusedBy[*client.StalledError](t, w.get("/reopened"))
			wantOnePageAfterAWhile(t, w)
		})
	}
}

// wantOnePageAfterAWhile checks that a stalled vendor is paid for one page, and
// once that is served for all of them.
func wantOnePageAfterAWhile(t *testing.T, w *world) {
	t.Helper()
	w.clock.add(6 * time.Minute)
	before := w.wallet.Summary().Released
	for page := range 10 {
		if w.get(fmt.Sprintf("/later/%d", page)) == nil {
			t.Fatal("a page was served")
		}
	}
	if released := w.wallet.Summary().Released - before; released != 1000 {
		t.Errorf("released %s after a while, want the price of a page", released.Decimal())
	}
	w.clock.add(6 * time.Minute)
	w.gate.set(func() { w.gate.before, w.gate.breakBodies, w.gate.refuseAll = nil, 0, payword.Accepted })
	for page := range 100 {
		w.mustGet(fmt.Sprintf("/honest/%d", page))
	}
}

// Pages that are free are had from a vendor that is paid no more.
func TestStalledSiteStillServesWhatIsFree(t *testing.T) {
	w := newWorld(t, 1000)
	w.mustGet("/first")
	w.gate.set(func() { w.gate.prices["/free"] = -1; onlyPaid(w, unavailable) })
	for page := range 50 {
		if w.get(fmt.Sprintf("/%d", page)) == nil {
			t.Fatal("a page was served")
		}
	}
	refusedBy[*client.StalledError](t, w.get("/more"))
	w.mustGet("/free")
}

// An honest site is never refused: not with a hundred requests at once, of which
// half fail, in whatever way a failing upstream or network has.
func TestHonestSiteThatFailsHalfOfTheTime(t *testing.T) {
	ways := map[string]func(rw http.ResponseWriter, r *http.Request){
		"the upstream answers 500": func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusInternalServerError) },
		"the upstream answers 503": unavailable,
		"the connection breaks":    reset,
	}
	for name, fail := range ways {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1000)
			w.mustGet("/first")
			asked := 0
			w.gate.set(func() {
				serve := w.gate.upstream
				w.gate.upstream = func(rw http.ResponseWriter, r *http.Request) {
					if asked++; asked%2 == 0 {
						fail(rw, r)
						return
					}
					serve(rw, r)
				}
			})
			served := 0
			for round := range 4 {
				served += manyAtOnce(t, w, round, 100)
			}
			if served < 150 {
				t.Errorf("%d of 400 pages were served", served)
			}
		})
	}
}

// manyAtOnce asks for many pages and returns how many were served.
func manyAtOnce(t *testing.T, w *world, round, count int) int {
	t.Helper()
	var group sync.WaitGroup
	var mu sync.Mutex
	served := 0
	for page := range count {
		group.Go(func() {
			err := w.get(fmt.Sprintf("/%d/%d", round, page))
			var stalled *client.StalledError
			if errors.As(err, &stalled) {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				served++
			}
		})
	}
	group.Wait()
	return served
}
