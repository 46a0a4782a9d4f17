package caddymodule_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/caddymodule"
	"github.com/paywordhq/payword/money"
)

const reloads = 100

// buyer is a payer who goes on buying pages until he is told to stop.
type buyer struct {
	*payer
	bought uint64
}

// buy buys the next page. A server that is replaced closes the connections that
// it had accepted, so a request may have to be asked again, which is free.
func (b *buyer) buy(gate *testGate) error {
	number := b.bought + 1
	payment := b.payment(uint32(number), number)
	headers := b.header(payment)
	if number == 1 {
		headers = b.opening(payment)
	}
	target := fmt.Sprintf("/%d", number)
	for range 50 {
		response, err := gate.send(http.MethodGet, target, headers)
		if err != nil {
			continue
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s during a reload: %s, %s", target, response.Status, response.Header.Get(payword.HeaderState))
		}
		status, refusal := payword.ParseStatus(response.Header.Get(payword.HeaderState))
		if want := money.Amount(number) * testPrice; refusal.Refused() || status.Spent != want || status.Index != uint32(number) {
			return fmt.Errorf("%s: spent %s up to %d, want %s up to %d: %v", target, status.Spent, status.Index, want, number, refusal)
		}
		b.bought = number
		return nil
	}
	return fmt.Errorf("%s was never answered", target)
}

// TestHundredReloadsUnderLoad replaces the configuration a hundred times, by the
// admin endpoint, while many payers buy: every answer is right, every tail goes
// on, the store is opened once, counters go on, and nothing of the gate is left
// running that was not running before.
func TestHundredReloadsUnderLoad(t *testing.T) {
	admin := adminAddress(t)
	s := site{dir: t.TempDir(), vendor: freeOrigin(t), admin: admin, payword: "reread off",
		global: "redeem_interval 1h", options: "grace_period 5s"}
	gate := startGate(t, s)
	store := filepath.Join(s.dir, "store")
	buyers := make([]*buyer, 16)
	for k := range buyers {
		buyers[k] = &buyer{payer: newPayer(t, wish{name: fmt.Sprintf("reload %d", k), vendor: gate.vendor})}
		if err := buyers[k].buy(gate); err != nil {
			t.Fatal(err)
		}
	}
	opened := openSince(t, admin)
	running := gateGoroutines(t)
	if running == 0 {
		t.Fatal("no goroutine of the gate is seen, so none that leaks would be")
	}

	var group sync.WaitGroup
	var done atomic.Bool
	for _, b := range buyers {
		group.Go(func() {
			for !done.Load() && b.bought < 1990 {
				if err := b.buy(gate); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	defer func() {
		done.Store(true)
		group.Wait()
	}()
	counted := float64(0)
	for k := range reloads {
		s.payword = fmt.Sprintf("reread off\ndescription \"reload %d\"", k)
		if status := loadByAdmin(t, admin, configOf(t, s)); status != http.StatusOK {
			t.Fatalf("reload %d: %d", k, status)
		}
		now := scrapeOf(t, admin).requests(gate, "paid")
		if now < counted {
			t.Fatalf("after reload %d the counter fell from %v to %v", k, counted, now)
		}
		counted = now
	}
	done.Store(true)
	group.Wait()

	bought := uint64(0)
	for _, b := range buyers {
		bought += b.bought
	}
	if bought < reloads {
		t.Errorf("only %d pages were bought during %d reloads", bought, reloads)
	}
	if got := scrapeOf(t, admin).requests(gate, "paid"); got < float64(bought) {
		t.Errorf("counted %v, want at least %d", got, bought)
	}
	charged := fmt.Sprintf(`caddy_payword_charged_micros_total{currency="USD",vendor=%q}`, gate.vendor)
	if got, want := scrapeOf(t, admin)[charged], float64(bought)*float64(testPrice); got != want {
		t.Errorf("charged %v in all, want %v: each page once", got, want)
	}
	if again := openSince(t, admin); again != opened {
		t.Errorf("the store was opened at %s and again at %s", opened, again)
	}
	if now := gateGoroutines(t); now != running {
		t.Errorf("%d goroutines of the gate run after the reloads, %d before:\n%s", now, running, profile(t))
	}
	if err := caddymodule.TakeSample(store); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if left := gateGoroutines(t); left != 0 {
		t.Errorf("%d goroutines of the gate run after the end:\n%s", left, profile(t))
	}
	t.Logf("%d pages bought during %d reloads", bought, reloads)
}

// loadByAdmin gives the admin endpoint a configuration.
func loadByAdmin(t *testing.T, admin string, config []byte) int {
	t.Helper()
	response, err := persistAdmin(func() (*http.Response, error) {
		return oneConnection.Post("http://"+admin+"/load", "application/json", bytes.NewReader(config))
	})
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

// openSince returns since when the store is open.
func openSince(t *testing.T, admin string) string {
	t.Helper()
	var seen struct {
		Store struct {
			OpenSince string `json:"open_since"`
		}
	}
	_, body := adminGet(t, admin, "/payword/")
	if err := json.Unmarshal([]byte(body), &seen); err != nil {
		t.Fatal(err)
	}
	return seen.Store.OpenSince
}

// profile returns the stacks of all goroutines.
func profile(t *testing.T) string {
	t.Helper()
	var stacks bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
		t.Fatal(err)
	}
	return stacks.String()
}

// gateGoroutines counts the goroutines that the gate started: jobs, the writer
// of the journal, and whatever they wait for. Those of requests are not among
// them, which Caddy started.
func gateGoroutines(t *testing.T) (count int) {
	t.Helper()
	for stack := range strings.SplitSeq(profile(t), "\n\n") {
		_, starter, found := strings.Cut(stack, "created by ")
		if found && strings.HasPrefix(stack, "goroutine ") && (strings.HasPrefix(starter, "github.com/paywordhq/payword/caddymodule.") ||
			strings.HasPrefix(starter, "sync.(*WaitGroup).Go") && strings.Contains(stack, "payword/caddymodule.(*App)")) {
			count++
		}
	}
	return count
}

// TestReloadChangesDurability changes between sync and async while a payer buys:
// the store stays open, and the newest configuration decides.
func TestReloadChangesDurability(t *testing.T) {
	admin := adminAddress(t)
	s := site{dir: t.TempDir(), vendor: freeOrigin(t), admin: admin, payword: "reread off"}
	gate := startGate(t, s)
	b := &buyer{payer: newPayer(t, wish{name: "durability", vendor: gate.vendor})}
	opened := openSince(t, admin)
	for _, each := range []struct{ option, want string }{
		{"", "sync"}, {"durability async", "async"}, {"durability async", "async"}, {"durability sync", "sync"},
	} {
		s.global = each.option
		if status := loadByAdmin(t, admin, configOf(t, s)); status != http.StatusOK {
			t.Fatalf("%s: %d", each.option, status)
		}
		if err := b.buy(gate); err != nil {
			t.Fatal(err)
		}
		// Caddy lets go of the configuration before in the background.
		for got := ""; got != each.want; {
			var seen struct{ Store struct{ Durability string } }
			_, body := adminGet(t, admin, "/payword/")
			if err := json.Unmarshal([]byte(body), &seen); err != nil {
				t.Fatal(err)
			}
			got = seen.Store.Durability
			if got != each.want && each.want == "sync" {
				t.Fatalf("%q: the store is %s at once; want %s", each.option, got, each.want)
			}
		}
	}
	if again := openSince(t, admin); again != opened {
		t.Errorf("the store was opened at %s and again at %s", opened, again)
	}
}
