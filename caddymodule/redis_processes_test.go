package caddymodule_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/caddymodule"
	"github.com/paywordhq/payword/money"
)

// startTwoGates runs two Caddy processes with a site on one Redis.
func startTwoGates(t *testing.T, s site) (gates [2]*gateProcess) {
	t.Helper()
	s.global += "\nredis " + caddymodule.StartRedis(t).Address
	for k := range gates {
		s.dir, s.vendor = t.TempDir(), freeOrigin(t)
		if k > 0 {
			copySecrets(t, gates[0].dir, s.dir)
		}
		gate := &gateProcess{config: filepath.Join(s.dir, "config.json"), testGate: &testGate{
			vendor: s.vendor, dir: s.dir,
			http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 20 * time.Second},
		}}
		if err := os.WriteFile(gate.config, configOf(t, s), 0o600); err != nil {
			t.Fatal(err)
		}
		gate.start(t)
		t.Cleanup(gate.kill)
		gates[k] = gate
	}
	return gates
}

// TestTwoGatesOnOneRedis runs two Caddy processes for one vendor. Clients send
// every payment to both, twice, in shuffled order: each number is charged once.
func TestTwoGatesOnOneRedis(t *testing.T) {
	vendor := freeOrigin(t)
	gates := startTwoGates(t, site{payword: "reread off\nvendor " + vendor})
	const numbers = 150
	p := newPayer(t, wish{name: "two gates", vendor: vendor, length: 2000})
	sends := []int{}
	for k := range 4 * numbers { // each number twice at each gate
		sends = append(sends, k)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rand.New(rand.NewPCG(seed, 1)).Shuffle(len(sends), func(a, b int) { sends[a], sends[b] = sends[b], sends[a] })
	var next atomic.Int64
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for k := int(next.Add(1)) - 1; k < len(sends); k = int(next.Add(1)) - 1 {
				number, gate := uint64(sends[k]/4+1), gates[sends[k]%2]
				headers := p.opening(p.payment(1000, number))
				response, err := gate.send(http.MethodGet, fmt.Sprintf("/page/%d", number), headers)
				if err != nil {
					t.Error(err)
					return
				}
				response.Body.Close()
				if response.StatusCode != http.StatusOK {
					t.Errorf("number %d: %s, %s", number, response.Status, response.Header.Get(payword.HeaderState))
				}
			}
		})
	}
	group.Wait()
	for k, gate := range gates {
		response, _ := gate.do(t, http.MethodGet, "/last", p.header(p.payment(1000, numbers+1+uint64(k))))
		if got, want := statusOf(t, response).Spent, money.Amount(numbers+1+k)*testPrice; got != want {
			t.Errorf("gate %d says that %s is spent; want %s, each number once", k, got, want)
		}
	}
	// The other gate was charged last: a quote and a number of it count here.
	response, _ := gates[0].do(t, http.MethodGet, "/elsewhere", p.header(p.payment(1000, numbers+2)))
	if got := statusOf(t, response).Reason; got != payword.AlreadyUsed {
		t.Errorf("a number that the other gate charged: got %v; want already-used", got)
	}
}
