package caddymodule_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paywordhq/payword"
)

// TestThirtyAtOnce sends 10,000 requests from 30 goroutines on one commitment,
// in shuffled order and with duplicates: every number is charged exactly once,
// and what was served is what was spent.
func TestThirtyAtOnce(t *testing.T) {
	const (
		goroutines = 30
		numbers    = 8000
		requests   = 10_000
	)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	var served [numbers + 1]atomic.Int32 // how often each number's page was delivered
	upstream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var number int
		fmt.Sscanf(r.URL.Path, "/page/%d", &number)
		served[number].Add(1)
		fmt.Fprint(w, "content")
	})
	gate := startGate(t, site{upstream: upstream, payword: "reread off"})
	p := newPayer(t, wish{name: "thirty", vendor: gate.vendor, length: numbers, reserved: numbers * testPrice})
	// Numbers come in windows that overlap, as a browser's do: each request
	// presents any index that is at most MaxStale behind what all before it did.
	order := make([]uint64, 0, requests)
	for number := uint64(1); number <= numbers; number++ {
		order = append(order, number)
		if len(order) < requests && number%4 == 0 {
			order = append(order, number-random.Uint64N(4)) // a duplicate
		}
	}
	for i := range order {
		j := min(len(order)-1, i+random.IntN(60))
		order[i], order[j] = order[j], order[i]
	}
	if response, _ := gate.do(t, http.MethodHead, "/page/0", p.opening(p.payment(1, 1))); response.StatusCode != http.StatusOK {
		t.Fatalf("opening: %s", response.Status)
	}

	var next atomic.Int64
	var granted, refused atomic.Int64
	var group sync.WaitGroup
	for range goroutines {
		group.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= int64(len(order)) {
					return
				}
				// Every index from here on proves enough for all before it.
				index := uint32(min(int64(numbers), i+150))
				payment := p.payment(index, order[i]+1)
				response, _ := gate.do(t, http.MethodGet, fmt.Sprintf("/page/%d", order[i]), p.header(payment))
				if response.StatusCode == http.StatusOK {
					granted.Add(1)
				} else {
					refused.Add(1)
					t.Errorf("request %d, number %d: %s %s", i, order[i], response.Status, response.Header.Get(payword.HeaderState))
				}
			}
		})
	}
	group.Wait()
	if refused.Load() != 0 || granted.Load() != int64(len(order)) {
		t.Errorf("%d granted and %d refused of %d", granted.Load(), refused.Load(), len(order))
	}
	deliveries := 0
	for number := 1; number <= numbers; number++ {
		if served[number].Load() == 0 {
			t.Errorf("number %d was not served", number)
		}
		deliveries += int(served[number].Load())
	}
	if deliveries != len(order) {
		t.Errorf("%d deliveries for %d requests", deliveries, len(order))
	}
	response, _ := gate.do(t, http.MethodHead, "/page/0", p.header(p.payment(numbers, numbers+2)))
	if got := statusOf(t, response); got.Spent != numbers*testPrice || got.Accepted != got.Spent {
		t.Errorf("spent %s and accepted %s for %d pages, want %s", got.Spent, got.Accepted, numbers, numbers*testPrice)
	}
}
