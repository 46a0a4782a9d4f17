package client_test

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

// copyOfWallet closes the wallet, copies its file and opens it again; restore
// puts the copy back in its place.
func copyOfWallet(w *world) (restore func()) {
	w.t.Helper()
	w.reopen()
	old, err := os.ReadFile(w.path)
	if err != nil {
		w.t.Fatal(err)
	}
	return func() {
		w.t.Helper()
		budget := w.Budget
		if err := w.wallet.Close(); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(w.path, old, 0o600); err != nil {
			w.t.Fatal(err)
		}
		wallet, err := client.OpenWallet(client.WalletConfig{Path: w.path, Now: w.clock.now})
		if err != nil {
			w.t.Fatal(err)
		}
		w.use(wallet)
		w.Budget = budget
	}
}

// A wallet is restored from a copy that is some pages old: it goes on with the
// commitment, and what it paid since the copy counts against the budgets again.
func TestWalletRestoredFromAnOldCopy(t *testing.T) {
	for _, between := range []int{2, 3, 20, 100} {
		t.Run(fmt.Sprintf("%d pages later", between), func(t *testing.T) {
			w := newWorld(t, 1000)
			w.Budget = client.Budget{PerRequest: 1000, PerSite: money.Unit, PerDay: money.Unit, Total: money.Unit}
			w.mustGet("/first")
			restore := copyOfWallet(w)
			for page := range between {
				w.mustGet(fmt.Sprintf("/between/%d", page))
			}
			w.clock.add(2 * time.Minute)
			restore()
			for page := range 10 {
				w.mustGet(fmt.Sprintf("/after/%d", page))
			}
			total := money.Amount(1+between+10) * 1000
			if _, spent := w.gate.totals(); spent != total {
				t.Errorf("the vendor charged %s, want %s", spent.Decimal(), total.Decimal())
			}
			w.wantReleased(total)
			w.gate.wantChargedOnce()
			if got := w.broker.count(payword.PathReservations); got != 1 {
				t.Errorf("%d reservations, want the one", got)
			}
		})
	}
}

// Credit that the vendor gave since the copy is not paid for again.
func TestRestoredWalletFindsItsCredit(t *testing.T) {
	w := newWorld(t, 1000)
	w.mustGet("/first")
	restore := copyOfWallet(w)
	for page := range 5 {
		w.mustGet(fmt.Sprintf("/between/%d", page))
	}
	serve := w.gate.upstream
	w.gate.set(func() {
		w.gate.upstream = func(rw http.ResponseWriter, r *http.Request) { http.NotFound(rw, r) }
	})
	if w.get("/missing") == nil {
		t.Fatal("404 was taken for content")
	}
	w.gate.set(func() { w.gate.upstream = serve })
	w.clock.add(2 * time.Minute)
	restore()
	for page := range 10 {
		w.mustGet(fmt.Sprintf("/after/%d", page))
	}
	if _, spent := w.gate.totals(); spent != 16_000 {
		t.Errorf("the vendor charged %s, want 0.016", spent.Decimal())
	}
	if released := w.wallet.Summary().Released; released > 17_000 {
		t.Errorf("released %s, want what sixteen pages cost and at most one more", released.Decimal())
	}
}

// However far behind a restored wallet is, and however many requests it makes at
// once, it goes on, and nothing is charged twice. With a limit per request that
// is the price, what a request lost to numbers that were used is not paid again
// for the same request: it is refused, and those after it are served.
func TestRestoredWalletAlwaysGoesOn(t *testing.T) {
	for _, between := range []int{1, 15, 30, 300} {
		for _, limit := range []money.Amount{1000, money.Unit} {
			t.Run(fmt.Sprintf("%d pages later, limit %s", between, limit.Decimal()), func(t *testing.T) {
				w := newWorld(t, 1000)
				w.Budget.PerRequest = limit
				w.mustGet("/first")
				restore := copyOfWallet(w)
				for page := range between {
					w.mustGet(fmt.Sprintf("/between/%d", page))
				}
				w.clock.add(2 * time.Minute)
				restore()
				served := manyAtOnce(t, w, 0, 30)
				for page := range 10 {
					if w.get(fmt.Sprintf("/after/%d", page)) == nil {
						served++
					}
				}
				if limit > 1000 && served < 30 {
					t.Errorf("%d of 40 pages were served", served)
				}
				for page := range 20 {
					w.mustGet(fmt.Sprintf("/last/%d", page))
				}
				w.gate.wantChargedOnce()
				pages := 1 + between + served + 20
				if _, spent := w.gate.totals(); spent != money.Amount(pages)*1000 {
					t.Errorf("the vendor charged %s for %d pages", spent.Decimal(), pages)
				}
				if accepted, spent := w.gate.totals(); accepted > spent+40_000 {
					t.Errorf("the vendor got %s for %s", accepted.Decimal(), spent.Decimal())
				}
			})
		}
	}
}
