package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/quic-go/quic-go/http3"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// TestWalletPaysAPageOfAHundredParts has the wallet ask for a hundred parts of a
// page at once, at a vendor that it never paid before, over HTTP/2 and over
// HTTP/3, with a real broker: all are served, and each is paid for once.
func TestWalletPaysAPageOfAHundredParts(t *testing.T) {
	protocols := map[string]func(*tls.Config) http.RoundTripper{
		"HTTP/2.0": func(trust *tls.Config) http.RoundTripper {
			return &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}
		},
		"HTTP/3.0": func(trust *tls.Config) http.RoundTripper { return &http3.Transport{TLSClientConfig: trust} },
	}
	for protocol, transport := range protocols {
		t.Run(protocol, func(t *testing.T) { payHundredParts(t, protocol, transport) })
	}
}

func payHundredParts(t *testing.T, protocol string, transport func(*tls.Config) http.RoundTripper) {
	const parts = 100
	ctx := t.Context()
	var served [parts]atomic.Int32
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var part int
		fmt.Sscanf(r.URL.Path, "/part/%d", &part)
		served[part].Add(1)
		fmt.Fprintf(w, "part %d", part)
	}))
	defer upstream.Close()
	d := &demo{report: newReport(io.Discard), directory: t.TempDir(), http: http.DefaultClient}
	defer d.end()
	startTLSGate(t, d, upstream.Listener.Addr().String())
	trust, err := os.ReadFile(d.path("gate.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(trust)
	base := transport(&tls.Config{RootCAs: pool})
	if closer, ok := base.(io.Closer); ok {
		defer closer.Close()
	}
	if err := d.openAccount(ctx); err != nil {
		t.Fatal(err)
	}
	payer := d.paying(d.wallet, base)
	var group sync.WaitGroup
	var spoken sync.Map
	for part := range parts {
		group.Go(func() {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/part/%d", d.siteURL, part), nil)
			if err != nil {
				t.Error(err)
				return
			}
			response, err := payer.Do(request)
			if err != nil {
				t.Errorf("part %d: %v", part, err)
				return
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != http.StatusOK || string(body) != fmt.Sprintf("part %d", part) {
				t.Errorf("part %d: %s %q, %v", part, response.Status, body, err)
			}
			spoken.Store(response.Proto, true)
			if status, refusal := payword.ParseStatus(response.Header.Get(payword.HeaderState)); refusal.Refused() || status.Reason != payword.Accepted {
				t.Errorf("part %d: %+v, %s", part, status, refusal)
			}
		})
	}
	group.Wait()
	for part := range parts {
		if got := served[part].Load(); got != 1 {
			t.Errorf("part %d was served %d times", part, got)
		}
	}
	if _, ok := spoken.Load(protocol); !ok {
		t.Errorf("nothing was spoken over %s", protocol)
	}
	if got, want := spentAfter(t, payer, d), money.Amount(parts+1)*demoPrice; got != want {
		t.Errorf("%s was spent, want %s", got, want)
	}
}

// spentAfter pays for one more part and returns what was spent in all by then.
func spentAfter(t *testing.T, payer *http.Client, d *demo) money.Amount {
	t.Helper()
	response, err := payer.Get(d.siteURL + "/part/0?again")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	status, refusal := payword.ParseStatus(response.Header.Get(payword.HeaderState))
	if refusal.Refused() || !status.Known {
		t.Fatalf("%s: %+v, %s", response.Status, status, refusal)
	}
	return status.Spent
}

// startTLSGate starts a broker, and a gate with TLS in this process.
func startTLSGate(t *testing.T, d *demo, upstream string) {
	t.Helper()
	var ports [2]int
	for k := range ports {
		port, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		ports[k] = port
	}
	d.brokerOrigin = fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	d.siteURL = fmt.Sprintf("https://127.0.0.1:%d", ports[1])
	if err := d.prepareBroker(); err != nil {
		t.Fatal(err)
	}
	if err := d.broker.start(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	writeCertificate(t, d)
	text := fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	default_bind 127.0.0.1
	log {
		level ERROR
		format payword
	}
	payword {
		broker %s
		store %s
		redeem_interval 0
	}
}
%s {
	tls %s %s
	payword %s %s USD {
		reread off
	}
	reverse_proxy %s
}`, d.brokerOrigin, d.path("gate"), d.siteURL, d.path("gate.pem"), d.path("gate.key"), d.siteURL, demoPrice.Decimal(), upstream)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// writeCertificate writes a certificate for this machine, and its key.
func writeCertificate(t *testing.T, d *demo) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"gate.pem": {Type: "CERTIFICATE", Bytes: certificate}, "gate.key": {Type: "PRIVATE KEY", Bytes: encoded},
	} {
		if err := os.WriteFile(d.path(name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
