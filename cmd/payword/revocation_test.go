package main

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

// market is a broker and a gate in this process, with a clock of the broker's
// that can be put forward.
type market struct {
	t                   *testing.T
	broker              *broker.Broker
	key                 ed25519.PrivateKey
	ahead               atomic.Int64 // of the broker's clock, in seconds
	issuer, site, admin string       // origins; of the gate's administration the last
}

func newSigner(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newMarket(t *testing.T) *market {
	t.Helper()
	m := &market{t: t, key: newSigner(t)}
	server := httptest.NewUnstartedServer(nil)
	m.issuer = "http://" + server.Listener.Addr().String()
	var err error
	m.broker, err = broker.New(t.Context(), broker.Config{
		Issuer: m.issuer, Currency: "usd-micro", Database: filepath.Join(t.TempDir(), "broker.db"),
		Signer: m.key, KeyLead: time.Second, AdminToken: testToken, AllowLoopbackVendors: true,
		Now: func() time.Time { return time.Now().Add(time.Duration(m.ahead.Load()) * time.Second) },
	})
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = m.broker.Handler()
	server.Start()
	t.Cleanup(func() {
		server.Close()
		if err := m.broker.Close(); err != nil {
			t.Error(err)
		}
	})
	m.startGate()
	return m
}

// startGate runs Caddy in this process, with its administration open.
func (m *market) startGate() {
	m.t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "content of %s", r.URL.Path) }))
	m.t.Cleanup(upstream.Close)
	var addresses []string
	var listeners []net.Listener // both at once, so that they are two ports
	for range 2 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			m.t.Fatal(err)
		}
		addresses = append(addresses, listener.Addr().String())
		listeners = append(listeners, listener)
	}
	for _, listener := range listeners {
		listener.Close()
	}
	m.site, m.admin = "http://"+addresses[0], "http://"+addresses[1]
	text := fmt.Sprintf("{\nadmin %s\npersist_config off\nauto_https off\ndefault_bind 127.0.0.1\nlog {\nlevel ERROR\nformat payword\n}\n"+
		"payword {\nbroker %s\nstore %s\nclaim_delay 0s\nredeem_interval 0\n}\n}\n%s {\npayword %s 0.0001 USD\nreverse_proxy %s\n}\n",
		addresses[1], m.issuer, filepath.Join(m.t.TempDir(), "gate"), m.site, m.site, upstream.Listener.Addr())
	m.load(text)
	m.t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			m.t.Error(err)
		}
	})
}

func (m *market) load(text string) {
	m.t.Helper()
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err == nil {
		err = caddy.Load(adapted, true)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// post asks the gate's administration.
func (m *market) post(path string, target any) {
	m.t.Helper()
	request, err := http.NewRequestWithContext(m.t.Context(), http.MethodPost, m.admin+path, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		m.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err == nil {
		err = json.Unmarshal(content, target)
	}
	if err != nil || response.StatusCode != http.StatusOK {
		m.t.Fatalf("%s: %s %s (%v)", path, response.Status, content, err)
	}
}

// redeem has the gate claim what was spent.
func (m *market) redeem() (claims, refused int, due money.Amount) {
	m.t.Helper()
	var done struct {
		Claims, Refused int
		Due             money.Amount
	}
	m.post("/payword/redeem", &done)
	return done.Claims, done.Refused, done.Due
}

// listener notes why the gate refused requests.
type listener struct {
	mu      sync.Mutex
	reasons []payword.Reason
}

func (l *listener) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(request)
	if err == nil {
		if status, refusal := payword.ParseStatus(response.Header.Get(payword.HeaderState)); !refusal.Refused() {
			l.mu.Lock()
			l.reasons = append(l.reasons, status.Reason)
			l.mu.Unlock()
		}
	}
	return response, err
}

// payer opens a wallet file and pays with it.
func (m *market) payer(path string, base http.RoundTripper, brokerClient *http.Client) *client.Transport {
	m.t.Helper()
	wallet, err := client.OpenWallet(client.WalletConfig{Path: path, HTTPClient: brokerClient})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { wallet.Close() })
	limits := client.Budget{PerRequest: money.Unit, PerSite: money.Unit, PerDay: money.Unit, Total: money.Unit}
	return &client.Transport{Wallet: wallet, Budget: limits, Base: base}
}

func (m *market) get(payer http.RoundTripper, target string) error {
	request, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, m.site+target, nil)
	if err != nil {
		return err
	}
	response, err := payer.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode != http.StatusOK || string(content) != "content of "+target) {
		err = fmt.Errorf("%s: %s %q", target, response.Status, content)
	}
	return err
}

// offline is a connection to a broker that does not answer.
type offline struct{}

func (offline) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("there is no network")
}

// A device was lost, and its owner revokes what it holds: the gate refuses it as
// soon as it has the next hot list. What was reserved is paid all the same, and
// the owner goes on.
func TestRevokedWalletIsRefused(t *testing.T) {
	m := newMarket(t)
	owner, thief := filepath.Join(t.TempDir(), "owner.json"), filepath.Join(t.TempDir(), "thief.json")
	openWallet(t, owner, m.issuer, testToken)
	first := m.payer(owner, nil, nil)
	if err := m.get(first, "/a"); err != nil {
		t.Fatal(err)
	}
	if err := first.Wallet.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(owner)
	if err == nil {
		err = os.WriteFile(thief, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}

	// The thief can pay until the gate knows.
	heard := &listener{}
	stolen := m.payer(thief, heard, &http.Client{Transport: offline{}})
	if err := m.get(stolen, "/b"); err != nil {
		t.Errorf("before it was revoked: %v", err)
	}
	var stdout, stderr strings.Builder
	if status := client.Main(t.Context(), []string{"wallet", "revoke", "--all", "--wallet", owner}, nil, &stdout, &stderr); status != 0 {
		t.Fatal(stderr.String())
	}
	m.ahead.Add(6) // the broker signs a list every five seconds at most
	var refreshed []struct{ Lists int }
	m.post("/payword/refresh", &refreshed)
	if len(refreshed) != 1 || refreshed[0].Lists != 1 {
		t.Fatalf("the gate has %+v", refreshed)
	}
	var failed *client.BrokerError
	if err := m.get(stolen, "/c"); !errors.As(err, &failed) {
		t.Errorf("after it was revoked: %v", err)
	}
	if !slices.Contains(heard.reasons, payword.CertificateRevoked) {
		t.Errorf("the gate said %v, want certificate-revoked", heard.reasons)
	}
	if claims, refused, due := m.redeem(); claims != 1 || refused != 0 || due != 200 {
		t.Errorf("%d claims, %d refused, %s due; want the two pages that were served", claims, refused, due)
	}
	again := m.payer(owner, nil, nil)
	if err := m.get(again, "/d"); err != nil {
		t.Errorf("the owner, under another pseudonym: %v", err)
	}
}

// A certificate that is bound to addresses pays from there alone, and one that is
// bound no more pays everywhere.
func TestCertificatesBoundToAddresses(t *testing.T) {
	m := newMarket(t)
	for bind, isRefused := range map[string]bool{"192.0.2.0/24": true, "192.0.2.0/24,127.0.0.0/8": false, "none": false} {
		path := filepath.Join(t.TempDir(), "wallet.json")
		openWallet(t, path, m.issuer, testToken)
		var stdout, stderr strings.Builder
		if status := client.Main(t.Context(), []string{"wallet", "certificates", "--bind", bind, "--wallet", path}, nil, &stdout, &stderr); status != 0 {
			t.Fatal(stderr.String())
		}
		err := m.get(m.payer(path, nil, nil), "/a")
		var refused *client.RefusedError
		if (err != nil) != isRefused || isRefused && (!errors.As(err, &refused) || refused.Reason != payword.WrongAddress) {
			t.Errorf("bound to %s, from 127.0.0.1: %v", bind, err)
		}
	}
}

// firstKey returns the id of the key that the broker signs with, which is the
// first in its set.
func (m *market) firstKey() string {
	m.t.Helper()
	response, err := http.Get(m.issuer + payword.PathBrokerKeys)
	if err != nil {
		m.t.Fatal(err)
	}
	defer response.Body.Close()
	var set struct{ Keys []struct{ Kid string } }
	if err := json.NewDecoder(response.Body).Decode(&set); err != nil || len(set.Keys) == 0 {
		m.t.Fatalf("%+v, %v", set, err)
	}
	return set.Keys[0].Kid
}

// The broker's key is replaced by another one while wallets pay: nobody notices,
// and everything is redeemed.
func TestKeysAreRotatedWhileWalletsPay(t *testing.T) {
	m := newMarket(t)
	next := newSigner(t)
	stop := make(chan struct{})
	var wait sync.WaitGroup
	var pages atomic.Int64
	pay := func(name string) {
		path := filepath.Join(t.TempDir(), name)
		openWallet(t, path, m.issuer, testToken)
		payer := m.payer(path, nil, nil)
		wait.Go(func() {
			for number := 0; ; number++ {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				if err := m.get(payer, fmt.Sprintf("/%s/%d", name, number)); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				pages.Add(1)
			}
		})
	}
	set := func(signers ...crypto.Signer) {
		t.Helper()
		if err := m.broker.SetKeys(t.Context(), signers, nil); err != nil {
			t.Fatal(err)
		}
	}
	pay("early")
	set(m.key, next)
	pay("ahead")
	var refreshed []struct{ Keys int }
	m.post("/payword/refresh", &refreshed) // which gates do by themselves within the lead
	if len(refreshed) != 1 || refreshed[0].Keys != 2 {
		t.Fatalf("the gate has %+v, want both keys", refreshed)
	}
	m.ahead.Add(2) // the lead is a second here
	set(m.key, next)
	if got := m.firstKey(); got != payword.Thumbprint(next.Public().(ed25519.PublicKey)) {
		t.Errorf("the broker signs with %s", got)
	}
	pay("after")
	set(next) // the old file is removed
	pay("late")
	m.post("/payword/refresh", &refreshed)
	before := pages.Load()
	for deadline := time.Now().Add(30 * time.Second); pages.Load() < before+40 && time.Now().Before(deadline); {
		<-time.After(10 * time.Millisecond)
	}
	close(stop)
	wait.Wait()
	claims, refused, due := m.redeem()
	if claims != 4 || refused != 0 || due != money.Amount(pages.Load())*100 || pages.Load() < before+40 {
		t.Errorf("%d claims, %d refused, %s due for %d pages", claims, refused, due, pages.Load())
	}
}
