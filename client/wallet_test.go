package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

// walletFiles returns the contents of a wallet that was used, in clear, and of one
// whose passphrase is "right".
func walletFiles(t *testing.T) (whole, encrypted string) {
	t.Helper()
	w := newWorld(t, 1000)
	w.mustGet("/a")
	if err := w.wallet.Close(); err != nil {
		t.Fatal(err)
	}
	clear, err := os.ReadFile(w.path)
	if err != nil {
		t.Fatal(err)
	}
	sealed := filepath.Join(t.TempDir(), "sealed.json")
	config := client.CheapPassphrase(client.WalletConfig{Path: sealed, Passphrase: []byte("right")})
	wallet, err := client.CreateWallet(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := wallet.Close(); err != nil {
		t.Fatal(err)
	}
	closed, err := os.ReadFile(sealed)
	if err != nil {
		t.Fatal(err)
	}
	return string(clear), string(closed)
}

func TestWalletFilesThatCannotBeOpened(t *testing.T) {
	whole, encrypted := walletFiles(t)
	changed := strings.Replace(whole, `"released":[1,`, `"released":[0,`, 1)
	if changed == whole {
		t.Fatal("the file does not hold what this test changes")
	}
	newer := strings.Replace(whole, `"version":1`, `"version":2`, 1)
	cases := []struct {
		name, content, passphrase string
		want                      error
	}{
		{"control", whole, "", nil},
		{"control, encrypted", encrypted, "right", nil},
		{"empty", "", "", client.ErrCorrupt},
		{"cut off", whole[:len(whole)/2], "", client.ErrCorrupt},
		{"cut off at the last byte", whole[:len(whole)-2], "", client.ErrCorrupt},
		{"something else", `{"name":"x"}`, "", client.ErrCorrupt},
		{"an index changed", changed, "", client.ErrCorrupt},
		{"a newer version", newer, "", client.ErrVersion},
		{"no passphrase", encrypted, "", client.ErrPassphrase},
		{"a wrong passphrase", encrypted, "wrong", client.ErrPassphrase},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "wallet.json")
			if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			wallet, err := client.OpenWallet(client.WalletConfig{Path: path, Passphrase: []byte(c.passphrase)})
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil {
				wallet.Close()
				return
			}
			if !strings.Contains(err.Error(), path) {
				t.Errorf("%q does not name the file", err)
			}
			after, readErr := os.ReadFile(path)
			if readErr != nil || string(after) != c.content {
				t.Errorf("the file was touched: %v", readErr)
			}
			if again, err := client.OpenWallet(client.WalletConfig{Path: path}); errors.Is(err, client.ErrLocked) {
				t.Error("a wallet that could not be opened is left locked")
			} else if err == nil {
				again.Close()
			}
		})
	}
}

func TestWalletIsOnePerProcess(t *testing.T) {
	w := newWorld(t, 1000)
	_, err := client.OpenWallet(client.WalletConfig{Path: w.path})
	if !errors.Is(err, client.ErrLocked) || !strings.Contains(err.Error(), w.path) {
		t.Errorf("got %v, want ErrLocked with the file's name", err)
	}
	if _, err := client.CreateWallet(client.WalletConfig{Path: w.path}); !errors.Is(err, client.ErrLocked) {
		t.Errorf("create: got %v, want ErrLocked", err)
	}
	w.reopen()
	w.mustGet("/a")
}

func TestCreateDoesNotReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wallet.json")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CreateWallet(client.WalletConfig{Path: path}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want fs.ErrExist", err)
	}
	if content, _ := os.ReadFile(path); string(content) != "precious" {
		t.Errorf("the file holds %q", content)
	}
	missing := filepath.Join(t.TempDir(), "none.json")
	if _, err := client.OpenWallet(client.WalletConfig{Path: missing}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
	if _, err := os.Stat(missing + ".lock"); err == nil {
		t.Error("a wrong path left a lock file")
	}
}

func TestWalletFileIsPrivateAndHoldsNoSecretsWhenEncrypted(t *testing.T) {
	w := newWorld(t, 1000)
	path := filepath.Join(t.TempDir(), "sealed.json")
	wallet, err := client.CreateWallet(client.CheapPassphrase(client.WalletConfig{Path: path, Passphrase: []byte("a passphrase"), Now: w.clock.now}))
	if err != nil {
		t.Fatal(err)
	}
	defer wallet.Close()
	if _, err := wallet.OpenAccount(t.Context(), w.broker.origin()); err != nil {
		t.Fatal(err)
	}
	w.Transport.Wallet = wallet
	w.mustGet("/a")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if content, _ := os.ReadFile(path); strings.Contains(string(content), `"seed"`) || !strings.Contains(string(content), `"sealed"`) {
		t.Error("an encrypted wallet holds a seed in clear")
	}
	if !wallet.Summary().Encrypted {
		t.Error("the summary says that the wallet is in clear")
	}
	if err := wallet.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := client.OpenWallet(client.WalletConfig{Path: path, Passphrase: []byte("a passphrase"), Now: w.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	w.Transport.Wallet = again
	w.mustGet("/b")
	if _, spent := w.gate.totals(); spent != 2000 {
		t.Errorf("spent %s, want 0.002: one commitment goes on after opening", spent.Decimal())
	}
}

func TestClosedWalletPaysNothing(t *testing.T) {
	w := newWorld(t, 1000)
	w.mustGet("/a")
	if err := w.wallet.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.wallet.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	if err := w.get("/a"); !errors.Is(err, client.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

func TestClosedWhileACommitmentIsBeingOpened(t *testing.T) {
	w := newWorld(t, 1000)
	if err := w.wallet.Certificates(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	w.broker.mu.Lock() // the broker answers when this is given back
	done := make(chan error)
	go func() { done <- w.get("/a") }()
	for w.opening() {
		runtime.Gosched()
	}
	err := w.wallet.Close()
	closed, readErr := os.ReadFile(w.path)
	w.broker.mu.Unlock()
	if err != nil || readErr != nil {
		t.Fatal(err, readErr)
	}
	if err := <-done; !errors.Is(err, client.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if after, _ := os.ReadFile(w.path); !bytes.Equal(after, closed) {
		t.Error("the file was written after the wallet was closed")
	}
}

// opening reports whether no commitment was saved yet.
func (w *world) opening() bool {
	content, err := os.ReadFile(w.path)
	return err == nil && !bytes.Contains(content, []byte(`"open":`))
}

// What cannot be saved is not paid.
func TestFullDisk(t *testing.T) {
	w := newWorld(t, 1000)
	w.mustGet("/a")
	// A directory in the place of the file that is written first.
	if err := os.Mkdir(w.path+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	before, _, _ := w.gate.counted()
	if err := w.get("/a"); err == nil || !strings.Contains(err.Error(), "saving the wallet") {
		t.Errorf("got %v, want that the wallet could not be saved", err)
	}
	if after, _, _ := w.gate.counted(); after != before {
		t.Error("a request left though its payment could not be saved")
	}
	if err := os.Remove(w.path + ".new"); err != nil {
		t.Fatal(err)
	}
	w.mustGet("/a")
	w.wantSpent(2000)
	w.wantReleased(2000)
}

// crashing is a RoundTripper that copies the wallet file just before a request
// leaves, as a crash at that moment would leave it.
type crashing struct {
	path string
	copy string
	seen func(*http.Request)
}

func (c *crashing) RoundTrip(r *http.Request) (*http.Response, error) {
	content, err := os.ReadFile(c.path)
	if err == nil {
		err = os.WriteFile(c.copy, content, 0o600)
	}
	if err != nil {
		return nil, err
	}
	c.seen(r)
	return http.DefaultTransport.RoundTrip(r)
}

// A process dies between saving and sending, or after sending, again and again.
// What the file says was released always covers what the vendor got, no index is
// used for two numbers beyond what was debited for them, and the budget holds.
func TestCrashes(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(t, 1000)
	w.Budget = client.Budget{PerRequest: 5000, PerSite: 150_000, PerDay: 150_000, Total: 150_000}
	numbers := make(map[string]string) // number to path
	served := 0
	for life := range 40 {
		crash := &crashing{path: w.path, copy: fmt.Sprintf("%s.%d", w.path, life)}
		crash.seen = func(r *http.Request) {
			payment, refusal := payword.ParsePayment(r.Header.Get(payword.HeaderPayword))
			if refusal.Refused() {
				return // no payment
			}
			key := fmt.Sprintf("%s.%d", payment.Commitment, payment.Number)
			if path, used := numbers[key]; used && path != r.URL.Path {
				t.Errorf("number %s went with %s and with %s", key, path, r.URL.Path)
			}
			numbers[key] = r.URL.Path
		}
		w.Base = crash
		for page := range 1 + random.IntN(4) {
			price := money.Amount(500 + 500*random.IntN(4))
			path := fmt.Sprintf("/%d/%d", life, page)
			w.gate.set(func() { w.gate.prices[path] = price })
			err := w.get(path)
			var over *client.BudgetError
			if err != nil && !errors.As(err, &over) {
				t.Fatal(err)
			}
			if err == nil {
				served++
			}
		}
		accepted, _ := w.gate.totals()
		if accepted > 150_000 {
			t.Fatalf("the vendor got %s, over the budget", accepted.Decimal())
		}
		if released := w.wallet.Summary().Released; accepted > released {
			t.Fatalf("the vendor got %s, the wallet released %s", accepted.Decimal(), released.Decimal())
		}
		// The next life starts from the file as it was when the last request left.
		budget := w.Budget
		if err := w.wallet.Close(); err != nil {
			t.Fatal(err)
		}
		w.path = crash.copy
		wallet, err := client.OpenWallet(client.WalletConfig{Path: w.path, Now: w.clock.now})
		if err != nil {
			t.Fatal(err)
		}
		w.use(wallet)
		w.Budget = budget
		if released := wallet.Summary().Released; accepted > released {
			t.Fatalf("after the crash the file says %s was released, the vendor got %s", released.Decimal(), accepted.Decimal())
		}
	}
	if served < 30 {
		t.Errorf("only %d pages were served", served)
	}
}

func TestSecretsStayOutOfErrors(t *testing.T) {
	w := newWorld(t, 1000)
	var sent []string
	w.Base = roundTrip(func(r *http.Request) (*http.Response, error) {
		for _, name := range []string{payword.HeaderPayword, payword.HeaderCommitment, payword.HeaderReservation} {
			if value := r.Header.Get(name); value != "" {
				sent = append(sent, value)
			}
		}
		return http.DefaultTransport.RoundTrip(r)
	})
	w.gate.set(func() { w.gate.refuseAll = payword.ForgedPayword })
	err := w.get("/a")
	if err == nil || len(sent) < 2 {
		t.Fatalf("got %v after sending %d headers", err, len(sent))
	}
	for _, value := range sent {
		for _, part := range strings.FieldsFunc(value, func(r rune) bool { return r == ':' || r == ',' || r == ' ' }) {
			if len(part) > 20 && strings.Contains(err.Error(), part) {
				t.Errorf("the error holds what was sent: %v", err)
			}
		}
	}
}

func TestSummaryWhilePaying(t *testing.T) {
	w := newWorld(t, 1000)
	var group sync.WaitGroup
	for k := range 10 {
		group.Go(func() {
			if err := w.get(fmt.Sprintf("/%d", k)); err != nil {
				t.Error(err)
			}
			if s := w.wallet.Summary(); s.Released < s.Spent {
				t.Errorf("released %s, spent %s", s.Released.Decimal(), s.Spent.Decimal())
			}
		})
	}
	group.Wait()
}

func TestHistoryIsBounded(t *testing.T) {
	w := newWorld(t, 1)
	w.Deposit = money.Unit
	var group sync.WaitGroup
	for stream := range 30 {
		group.Go(func() {
			for page := range 40 {
				if err := w.get(fmt.Sprintf("/%d/%d", stream, page)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if got := len(w.wallet.Summary().History); got != 1000 {
		t.Errorf("%d receipts, want the last 1000", got)
	}
	w.wantSpent(1200)
}

func TestRedirectToAnotherOriginCarriesNothing(t *testing.T) {
	w := newWorld(t, 1000)
	w.mustGet("/a")
	other := newFakeGate(t, w.broker, -1)
	other.before = func(_ http.ResponseWriter, r *http.Request) bool {
		for name := range r.Header {
			if strings.HasPrefix(name, "Payword") {
				t.Errorf("%s went to another origin", name)
			}
		}
		return false
	}
	w.gate.set(func() {
		w.gate.upstream = func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, other.origin()+"/b", http.StatusFound)
		}
	})
	answer, err := w.http.Get(w.gate.origin() + "/a")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if content, _ := io.ReadAll(answer.Body); string(content) != "content of /b" {
		t.Errorf("got %q", content)
	}
	w.wantSpent(1000)
}
