package caddymodule_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/caddymodule"
	"github.com/paywordhq/payword/money"
)

// TestRedisClusterLosesAMaster kills a master of a cluster while people pay: until
// its replica is promoted they are answered 503, and never asked to pay again;
// then all of it is served, and each number is charged once.
func TestRedisClusterLosesAMaster(t *testing.T) {
	servers := caddymodule.StartCluster(t)
	gate := startGate(t, site{payword: "reread off", global: fmt.Sprintf("redis %s %s %s {\ncluster\ntimeout 250ms\n}",
		servers[0].Address, servers[1].Address, servers[2].Address)})
	const payers, numbers = 12, 40
	var served, unavailable atomic.Int64
	var group sync.WaitGroup
	var killed atomic.Bool
	var gone, back atomic.Int64 // milliseconds after the start
	started := time.Now()
	ends := started.Add(2 * time.Minute)
	for k := range payers {
		p := newPayer(t, wish{name: fmt.Sprintf("cluster %d", k), vendor: gate.vendor, length: 200})
		group.Go(func() {
			for number := uint64(1); number <= numbers && time.Now().Before(ends); {
				response, err := gate.pay(p, number)
				switch {
				case err != nil:
					t.Error(err)
					return
				case response.StatusCode == http.StatusOK:
					number++
					if served.Add(1) == payers*numbers/4 {
						killed.Store(true)
						gone.Store(time.Since(started).Milliseconds())
						servers[0].Kill()
					} else if unavailable.Load() > 0 {
						back.CompareAndSwap(0, time.Since(started).Milliseconds())
					}
				case response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") != "":
					unavailable.Add(1)
					<-time.After(20 * time.Millisecond)
				default:
					t.Errorf("number %d: %s, %s; want 200, or 503 with Retry-After", number, response.Status, response.Header.Get(payword.HeaderState))
					return
				}
			}
			response, _ := gate.do(t, http.MethodGet, "/last", p.header(p.payment(100, numbers+1)))
			// A busy machine may take longer than the 250 ms to answer.
			for response.StatusCode == http.StatusServiceUnavailable && time.Now().Before(ends) {
				<-time.After(20 * time.Millisecond)
				response, _ = gate.do(t, http.MethodGet, "/last", p.header(p.payment(100, numbers+1)))
			}
			if response.StatusCode != http.StatusOK {
				t.Errorf("in the end: %s", response.Status)
			} else if got, want := statusOf(t, response).Spent, money.Amount(numbers+1)*testPrice; got != want {
				t.Errorf("spent %s; want %s, each number once", got, want)
			}
		})
	}
	group.Wait()
	t.Logf("%d were served, %d answered 503, for %d ms", served.Load(), unavailable.Load(), back.Load()-gone.Load())
	if outage := back.Load() - gone.Load(); outage > 40_000 {
		t.Errorf("for %d ms nobody was served; the replica is promoted after some 4000", outage)
	}
	if !killed.Load() || unavailable.Load() == 0 {
		t.Error("nobody noticed that a master was killed: the test tells nothing")
	}
}

// pay sends a payment with all that opens the commitment.
func (g *testGate) pay(p *payer, number uint64) (*http.Response, error) {
	request, err := http.NewRequest(http.MethodGet, fmt.Sprintf("%s/page/%d", g.vendor, number), nil)
	if err != nil {
		return nil, err
	}
	for name, value := range p.opening(p.payment(100, number)) {
		request.Header.Set(name, value)
	}
	response, err := g.http.Do(request)
	if err == nil {
		response.Body.Close()
	}
	return response, err
}
