package caddymodule_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/paywordhq/payword"
)

// testPublisher is a broker as far as it publishes keys and a hot list, over
// HTTP.
type testPublisher struct {
	*httptest.Server
	key ed25519.PrivateKey

	mutex     sync.Mutex
	keys      []ed25519.PublicKey
	list      *payword.StatusList
	answer    func(w http.ResponseWriter, r *http.Request) bool // answers in place of what follows, if it returns true
	requests  map[string]int                                    // by path
	unchanged int                                               // answers of 304
}

// startPublisher starts a broker with one key and a list of 1000 certificates.
func startPublisher(t *testing.T, name string) *testPublisher {
	t.Helper()
	p := &testPublisher{key: ed25519.NewKeyFromSeed(seedOf(name)), requests: make(map[string]int)}
	p.keys = []ed25519.PublicKey{p.key.Public().(ed25519.PublicKey)}
	p.Server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.Close)
	list, err := payword.NewStatusList(p.listURI(), 1, 1000)
	if err != nil {
		t.Fatal(err)
	}
	list.IssuedAt, list.Expires, list.TTLSeconds = time.Now().Unix()-10, time.Now().Unix()+86400, 60
	p.list = list
	return p
}

func (p *testPublisher) listURI() string { return p.URL + "/v1/status/1" }

func (p *testPublisher) serve(w http.ResponseWriter, r *http.Request) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.requests[r.URL.Path]++
	if p.answer != nil && p.answer(w, r) {
		return
	}
	body, mediaType := []byte(nil), "application/json"
	var err error
	if r.URL.Path == payword.PathBrokerKeys {
		body, err = payword.FormatJWKS(p.keys...)
	} else {
		var token string
		token, err = payword.SignStatusList(p.list, p.key)
		body, mediaType = []byte(token), "application/statuslist+jwt"
	}
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, seedOf(string(body))))
	w.Header().Set("Content-Type", mediaType)
	before := w.Header().Get("ETag")
	if r.Header.Get("If-None-Match") == before {
		p.unchanged++
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// change changes what is published.
func (p *testPublisher) change(run func()) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	run()
}

// revoke puts a certificate on the list, which is made anew.
func (p *testPublisher) revoke(t *testing.T, index uint32) {
	t.Helper()
	p.change(func() {
		p.list.IssuedAt++
		if err := p.list.Set(index, payword.StatusInvalid); err != nil {
			t.Error(err)
		}
	})
}

// wish is a payer with a certificate of p at a place in its list.
func (p *testPublisher) wish(name, vendor string, index uint32) wish {
	return wish{name: name, vendor: vendor, issuer: p.URL, broker: p.key, certificate: func(c *payword.Certificate) {
		c.Status = &payword.StatusEntry{Index: index, URI: p.listURI()}
	}}
}

// refresh has the gate fetch keys and lists now, and returns what it says.
func refresh(t *testing.T, admin string) string {
	t.Helper()
	response := postAdmin(t, admin, "/payword/refresh")
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("refresh: %s, %v: %s", response.Status, err, body)
	}
	return string(body)
}

// freeAddress returns an address on this machine that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	return strings.TrimPrefix(freeOrigin(t), "http://")
}

func TestRevocationUnderTraffic(t *testing.T) {
	p := startPublisher(t, "revokes")
	admin := freeAddress(t)
	g := startGate(t, site{global: "broker " + p.URL, admin: admin})
	refresh(t, admin)
	stolen, honest := newPayer(t, p.wish("stolen", g.vendor, 7)), newPayer(t, p.wish("honest", g.vendor, 8))
	g.mustPay(t, "/", stolen.opening(stolen.payment(1, 1)))
	g.mustPay(t, "/", honest.opening(honest.payment(1, 1)))

	var stop, refused atomic.Bool
	var group sync.WaitGroup
	failures := make(chan string, 8)
	for _, each := range []*payer{stolen, honest} {
		group.Go(func() {
			for number := uint64(2); !stop.Load() && number < 1900; number++ {
				request, _ := http.NewRequest(http.MethodGet, g.vendor+"/", nil)
				request.Header.Set(payword.HeaderPayword, payword.FormatPayment(each.payment(uint32(number), number)))
				response, err := g.http.Do(request)
				if err != nil {
					failures <- err.Error()
					return
				}
				response.Body.Close()
				status, _ := payword.ParseStatus(response.Header.Get(payword.HeaderState))
				switch {
				case each == stolen && status.Reason == payword.CertificateRevoked:
					refused.Store(true)
				case response.StatusCode != http.StatusOK || each == stolen && refused.Load():
					failures <- fmt.Sprintf("number %d: %s, %v", number, response.Status, status.Reason)
					return
				}
			}
		})
	}
	p.revoke(t, 7)
	refresh(t, admin)
	g.wantRefusal(t, stolen.header(stolen.payment(1950, 1950)), http.StatusPaymentRequired, payword.CertificateRevoked)
	stop.Store(true)
	group.Wait()
	g.mustPay(t, "/", honest.header(honest.payment(1950, 1950)))
	select {
	case failure := <-failures:
		t.Error(failure)
	default:
	}
	again := newPayer(t, p.wish("stolen", g.vendor, 7))
	g.wantRefusal(t, again.opening(again.payment(1, 1)), http.StatusPaymentRequired, payword.CertificateRevoked)
	if asked := p.requests["/v1/status/1"]; asked > 4 {
		t.Errorf("the broker was asked %d times for the list", asked)
	}
}

// TestFirstNamedList wants the first request that names a list to be served:
// it waits for the list.
func TestFirstNamedList(t *testing.T) {
	p := startPublisher(t, "first list")
	admin := freeAddress(t)
	g := startGate(t, site{global: "broker " + p.URL, admin: admin})
	refresh(t, admin) // its keys
	first := newPayer(t, p.wish("first", g.vendor, 1))
	g.mustPay(t, "/", first.opening(first.payment(1, 1)))
	p.revoke(t, 2)
	second := newPayer(t, p.wish("second", g.vendor, 2))
	g.mustPay(t, "/", second.opening(second.payment(1, 1))) // not asked again so soon
	refresh(t, admin)
	g.wantRefusal(t, second.header(second.payment(2, 2)), http.StatusPaymentRequired, payword.CertificateRevoked)
}

// TestHotListOverRestart restarts the gate while its broker is away.
func TestHotListOverRestart(t *testing.T) {
	p := startPublisher(t, "goes away")
	admin := freeAddress(t)
	s := site{global: "broker " + p.URL, admin: admin}
	g := startGate(t, s)
	s.dir, s.vendor = g.dir, g.vendor
	refresh(t, admin)
	p.revoke(t, 7)
	payers := make([]*payer, 3)
	for k := range payers {
		payers[k] = newPayer(t, p.wish(fmt.Sprint("payer ", k), g.vendor, uint32(6+k)))
	}
	g.mustPay(t, "/", payers[0].opening(payers[0].payment(1, 1)))
	g.wantRefusal(t, payers[1].opening(payers[1].payment(1, 1)), http.StatusPaymentRequired, payword.CertificateRevoked)
	p.Close()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	g = startGate(t, s)
	g.mustPay(t, "/", payers[0].header(payers[0].payment(2, 2)))
	g.wantRefusal(t, payers[1].opening(payers[1].payment(1, 1)), http.StatusPaymentRequired, payword.CertificateRevoked)
	g.mustPay(t, "/", payers[2].opening(payers[2].payment(1, 1)))

	// What is kept is signed: nobody who can write there takes a name off.
	files, err := filepath.Glob(filepath.Join(g.dir, "store", "hotlist_*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("kept lists: %v, %v", files, err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, files[0], strings.Replace(string(content), `"token":"ey`, `"token":"eY`, 1))
	g = startGate(t, s)
	g.mustPay(t, "/", payers[0].header(payers[0].payment(3, 3)))
	fresh := newPayer(t, p.wish("fresh", g.vendor, 20))
	response, _ := g.do(t, http.MethodGet, "/", fresh.opening(fresh.payment(1, 1)))
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a new commitment without a list: %s, want 503", response.Status)
	}
}

// TestStaleHotList tries both policies where the list cannot be had.
func TestStaleHotList(t *testing.T) {
	for _, each := range []struct {
		policy string
		status int
	}{{"", http.StatusServiceUnavailable}, {"hot_list {\non_stale deny\n}", http.StatusServiceUnavailable}, {"hot_list {\non_stale allow\nmax_age 1h\n}", http.StatusOK}} {
		t.Run(each.policy, func(t *testing.T) {
			p := startPublisher(t, "has no list")
			p.answer = func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == payword.PathBrokerKeys {
					return false
				}
				w.WriteHeader(http.StatusNotFound)
				return true
			}
			admin := freeAddress(t)
			g := startGate(t, site{global: "broker " + p.URL + "\n" + each.policy, admin: admin})
			refresh(t, admin)
			payer := newPayer(t, p.wish("without list", g.vendor, 1))
			response, body := g.do(t, http.MethodGet, "/", payer.opening(payer.payment(1, 1)))
			if response.StatusCode != each.status {
				t.Fatalf("got %s, want %d: %s", response.Status, each.status, body)
			}
			if response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
			// Who names no list is no concern of it.
			other := newPayer(t, wish{name: "names none", vendor: g.vendor, issuer: p.URL, broker: p.key})
			g.mustPay(t, "/", other.opening(other.payment(1, 1)))
		})
	}
}

// TestRevokedIsRedeemed wants what a certificate paid before it was revoked to be
// claimed all the same.
func TestRevokedIsRedeemed(t *testing.T) {
	p := startPublisher(t, "revokes and pays")
	admin := freeAddress(t)
	g := startGate(t, site{global: "claim_delay 0s\nbroker " + p.URL, admin: admin})
	refresh(t, admin)
	payer := newPayer(t, p.wish("paid before", g.vendor, 7))
	g.mustPay(t, "/", payer.opening(payer.payment(1, 1)))
	p.revoke(t, 7)
	refresh(t, admin)
	g.wantRefusal(t, payer.header(payer.payment(2, 2)), http.StatusPaymentRequired, payword.CertificateRevoked)
	var claimed []payword.Redemption
	p.change(func() {
		p.answer = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != payword.PathRedemptions {
				return false
			}
			var request payword.RedemptionRequest
			if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
				t.Error(err)
			}
			claimed = append(claimed, request.Redemptions...)
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
	})
	redeemNow(t, admin)
	p.change(func() {
		if len(claimed) != 1 || claimed[0].Commitment != payer.commitment.Token || claimed[0].Reservation != payer.reservation.Token {
			t.Errorf("%d commitments were claimed on; want the one that was paid", len(claimed))
		}
	})
}

func TestHotListConfiguration(t *testing.T) {
	for _, each := range []struct{ option, want string }{
		{"hot_list 24h", "want its options in a block"},
		{"hot_list {\nmax_age 1s\n}", "want 1m to 720h"},
		{"hot_list {\non_stale perhaps\n}", "want deny or allow"},
		{"hot_list {\nspeed 9\n}", "want one of max_age, on_stale"},
	} {
		if err := globalError(t, each.option); err == nil || !strings.Contains(strings.ToLower(err.Error()), each.want) {
			t.Errorf("%s: got %v; want %q in it", each.option, err, each.want)
		}
	}
}
