package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// world is a broker, a vendor, a wallet with an account, and a client.
type world struct {
	t      *testing.T
	clock  *clock
	broker *fakeBroker
	gate   *fakeGate
	path   string
	wallet *client.Wallet
	*client.Transport
	http *http.Client
}

// generous allows what the tests do that are not about budgets.
var generous = client.Budget{PerRequest: money.Unit, PerSite: 10 * money.Unit, PerDay: 10 * money.Unit, Total: client.NoLimit}

func newWorld(t *testing.T, price money.Amount) *world {
	t.Helper()
	clock := newClock()
	w := &world{t: t, clock: clock, broker: newFakeBroker(t, clock.now), path: filepath.Join(t.TempDir(), "wallet.json")}
	w.gate = newFakeGate(t, w.broker, price)
	wallet, err := client.CreateWallet(client.WalletConfig{Path: w.path, Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wallet.OpenAccount(t.Context(), w.broker.origin()); err != nil {
		t.Fatal(err)
	}
	w.use(wallet)
	t.Cleanup(func() { w.wallet.Close() })
	return w
}

// use makes w pay with a wallet.
func (w *world) use(wallet *client.Wallet) {
	w.wallet = wallet
	w.Transport = &client.Transport{Wallet: wallet, Budget: generous}
	w.http = &http.Client{Transport: w.Transport}
}

// withoutReuse makes every request use a connection of its own. On one that was
// used before, net/http sends a GET again by itself if no answer comes.
func (w *world) withoutReuse() {
	base := &http.Transport{DisableKeepAlives: true}
	w.t.Cleanup(base.CloseIdleConnections)
	w.Base = base
}

// reopen closes the wallet and opens it again, as the next process would.
func (w *world) reopen() {
	w.t.Helper()
	budget := w.Budget
	if err := w.wallet.Close(); err != nil {
		w.t.Fatal(err)
	}
	wallet, err := client.OpenWallet(client.WalletConfig{Path: w.path, Now: w.clock.now})
	if err != nil {
		w.t.Fatal(err)
	}
	w.use(wallet)
	w.Budget = budget
}

// get fetches a path and returns the error that came instead of its content.
func (w *world) get(path string) error {
	answer, err := w.http.Get(w.gate.origin() + path)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if want := "content of " + path; answer.StatusCode != http.StatusOK || string(content) != want {
		return fmt.Errorf("%s: got %s %q, want 200 %q", path, answer.Status, content, want)
	}
	return nil
}

func (w *world) mustGet(path string) {
	w.t.Helper()
	if err := w.get(path); err != nil {
		w.t.Fatal(err)
	}
}

// wantSpent checks what the vendor charged and what the wallet believes.
func (w *world) wantSpent(want money.Amount) {
	w.t.Helper()
	if _, spent := w.gate.totals(); spent != want {
		w.t.Errorf("the vendor charged %s, want %s", spent.Decimal(), want.Decimal())
	}
	if got := w.wallet.Summary().Spent; got != want {
		w.t.Errorf("the wallet says it spent %s, want %s", got.Decimal(), want.Decimal())
	}
}

// wantReleased checks what left the wallet, which is what a vendor can redeem.
func (w *world) wantReleased(want money.Amount) {
	w.t.Helper()
	if accepted, _ := w.gate.totals(); accepted > want {
		w.t.Errorf("the vendor got %s, want at most %s", accepted.Decimal(), want.Decimal())
	}
	if got := w.wallet.Summary().Released; got != want {
		w.t.Errorf("the wallet says it released %s, want %s", got.Decimal(), want.Decimal())
	}
}

// refusedBy returns the *T in an error, as callers of http.Client find it.
func refusedBy[T error](t *testing.T, err error) T {
	t.Helper()
	var target T
	if !errors.As(err, &target) {
		t.Fatalf("got error %v (%T), want %T", err, err, target)
	}
	return target
}
