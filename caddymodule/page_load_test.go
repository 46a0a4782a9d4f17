package caddymodule_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// certificateFor writes a certificate for this machine, and its key, into dir
// and returns who trusts it.
func certificateFor(t *testing.T, dir string) (certFile, keyFile string, trust *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gate"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "gate.pem"), filepath.Join(dir, "gate.key")
	writeTestFile(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	writeTestFile(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})))
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	trust = x509.NewCertPool()
	trust.AddCert(parsed)
	return certFile, keyFile, trust
}

// startTLSGate is startGate over TLS. Caddy speaks HTTP/1.1, 2 and 3 then.
func startTLSGate(t *testing.T, s site) (*testGate, *x509.CertPool) {
	t.Helper()
	s.dir = t.TempDir()
	certFile, keyFile, trust := certificateFor(t, s.dir)
	s.vendor = strings.Replace(freeOrigin(t), "http://", "https://", 1)
	s.rest = fmt.Sprintf("tls %s %s\n%s", certFile, keyFile, s.rest)
	gate := startGate(t, s)
	return gate, trust
}

// TestPageOfAHundredParts asks for a hundred parts of a page at once, on a
// commitment that the gate has never seen, over HTTP/2 and over HTTP/3: all are
// served, and each is paid for once.
func TestPageOfAHundredParts(t *testing.T) {
	const parts = 100
	protocols := map[string]func(*x509.CertPool) http.RoundTripper{
		"HTTP/2.0": func(trust *x509.CertPool) http.RoundTripper {
			return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, ForceAttemptHTTP2: true}
		},
		"HTTP/3.0": func(trust *x509.CertPool) http.RoundTripper {
			return &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}}
		},
	}
	for protocol, transport := range protocols {
		t.Run(protocol, func(t *testing.T) {
			var served [parts + 1]atomic.Int32
			gate, trust := startTLSGate(t, site{payword: "reread off", upstream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var part int
				fmt.Sscanf(r.URL.Path, "/part/%d", &part)
				served[part].Add(1)
				fmt.Fprintf(w, "part %d", part)
			})})
			gate.http.Transport = transport(trust)
			if closer, ok := gate.http.Transport.(io.Closer); ok {
				t.Cleanup(func() { closer.Close() })
			}
			p := newPayer(t, wish{name: "hundred " + protocol, vendor: gate.vendor, reserved: parts * testPrice})
			var group sync.WaitGroup
			for part := 1; part <= parts; part++ {
				group.Go(func() {
					response, body := gate.do(t, http.MethodGet, fmt.Sprintf("/part/%d", part), p.opening(p.payment(uint32(part), uint64(part))))
					if response.StatusCode != http.StatusOK || response.Proto != protocol || body != fmt.Sprintf("part %d", part) {
						t.Errorf("part %d over %s: %s %q %s", part, response.Proto, response.Status, body, response.Header.Get(payword.HeaderState))
					}
				})
			}
			group.Wait()
			for part := 1; part <= parts; part++ {
				if got := served[part].Load(); got != 1 {
					t.Errorf("part %d was served %d times", part, got)
				}
			}
			response, _ := gate.do(t, http.MethodHead, "/part/0", p.header(p.payment(parts, parts+1)))
			if got := statusOf(t, response); got.Spent != parts*testPrice || got.Accepted != got.Spent {
				t.Errorf("spent %s and accepted %s, want %s", got.Spent, got.Accepted, money.Amount(parts)*testPrice)
			}
		})
	}
}
