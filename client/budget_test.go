package client_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

func TestEveryLimitOfTheBudget(t *testing.T) {
	const price = 1000
	cases := []struct {
		name   string
		limit  func(b *client.Budget)
		want   client.Limit
		pages  int // that are served
		second int // that another site serves afterwards
	}{
		{"per request", func(b *client.Budget) { b.PerRequest = 999 }, client.LimitPerRequest, 0, 0},
		{"exactly per request", func(b *client.Budget) { b.PerRequest = 1000; b.PerSite = 2000 }, client.LimitPerSite, 2, 2},
		{"per site", func(b *client.Budget) { b.PerSite = 3999 }, client.LimitPerSite, 3, 3},
		{"per day", func(b *client.Budget) { b.PerDay = 4000 }, client.LimitPerDay, 4, 0},
		{"in total", func(b *client.Budget) { b.Total = 5000 }, client.LimitTotal, 5, 0},
		{"zero per site", func(b *client.Budget) { b.PerSite = 0 }, client.LimitPerSite, 0, 0},
		{"zero everything", func(b *client.Budget) { *b = client.Budget{} }, client.LimitPerRequest, 0, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, price)
			c.limit(&w.Budget)
			first := w.gate
			if got := pagesUntil(t, w, c.want); got != c.pages {
				t.Errorf("%d pages were served, want %d", got, c.pages)
			}
			w.gate = newFakeGate(t, w.broker, price)
			if got := pagesUntil(t, w, c.want); got != c.second {
				t.Errorf("another site served %d pages, want %d", got, c.second)
			}
			for name, gate := range map[string]*fakeGate{"first": first, "second": w.gate} {
				want := money.Amount(map[string]int{"first": c.pages, "second": c.second}[name] * price)
				if accepted, _ := gate.totals(); accepted != want {
					t.Errorf("the %s site got %s, want %s", name, accepted.Decimal(), want.Decimal())
				}
			}
		})
	}
}

// pagesUntil fetches pages until the budget says no, and returns how many came.
func pagesUntil(t *testing.T, w *world, limit client.Limit) int {
	t.Helper()
	for page := range 10 {
		err := w.get(fmt.Sprintf("/%d", page))
		if err == nil {
			continue
		}
		over := refusedBy[*client.BudgetError](t, err)
		if over.Limit != limit || over.Want != 1000 || over.Left >= over.Want || over.Currency != usd {
			t.Errorf("got %+v, want one of the limit %s", over, limit)
		}
		return page
	}
	t.Fatal("the budget never said no")
	return 0
}

func TestBudgetOfADayIsNewTheNextDay(t *testing.T) {
	w := newWorld(t, 1000)
	w.Budget.PerDay = 2000
	for range 2 {
		w.mustGet("/a")
	}
	refusedBy[*client.BudgetError](t, w.get("/a"))
	w.clock.add(13 * time.Hour) // it was noon
	w.mustGet("/a")
	w.clock.add(-13 * time.Hour)
	w.mustGet("/a")
	refusedBy[*client.BudgetError](t, w.get("/a")) // setting the clock back gives nothing
	w.wantSpent(4000)
}

func TestBudgetHoldsForThirtyAtOnceAndAfterReopening(t *testing.T) {
	w := newWorld(t, 1000)
	w.Budget.Total = 17_000
	served := 0
	for range 3 {
		var group sync.WaitGroup
		var mu sync.Mutex
		for k := range 30 {
			group.Go(func() {
				err := w.get(fmt.Sprintf("/%d", k))
				var over *client.BudgetError
				if err != nil && !errors.As(err, &over) {
					t.Error(err)
				}
				if err == nil {
					mu.Lock()
					served++
					mu.Unlock()
				}
			})
		}
		group.Wait()
		w.reopen()
	}
	if served != 17 {
		t.Errorf("%d pages for a budget of 17", served)
	}
	w.wantSpent(17_000)
	w.wantReleased(17_000)
}

func TestDepositIsNeverMoreThanTheBudgetHasLeft(t *testing.T) {
	w := newWorld(t, 1000)
	w.Budget.Total = 5500
	w.mustGet("/a")
	for _, amount := range w.broker.reservations {
		if amount != 5000 {
			t.Errorf("reserved %s, want 0.005: what the budget covers in whole pages", amount.Decimal())
		}
	}
}

// Sites that are paid for one page and never again tie up what the budget has in
// total, and a few pages' worth each beyond that.
func TestManySitesTieUpLittle(t *testing.T) {
	const sites = 20
	w := newWorld(t, 1000)
	w.Budget.Total = money.Unit
	for range sites {
		w.mustGet("/a")
		w.gate = newFakeGate(t, w.broker, 1000)
	}
	reserved := money.Amount(0)
	for _, amount := range w.broker.reservations {
		reserved += amount
	}
	if most := money.Unit + sites*16_000; reserved > most {
		t.Errorf("%d sites tied up %s, want at most %s", sites, reserved.Decimal(), most.Decimal())
	}
	for page := range 100 { // the last site goes on
		w.mustGet(fmt.Sprintf("/%d", page))
	}
}
