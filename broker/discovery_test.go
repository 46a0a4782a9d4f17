package broker_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
)

// The broker connects to public addresses only: whoever registers chooses the
// name, and a name can lead anywhere.
func TestCheckAddress(t *testing.T) {
	cases := []struct {
		address           string
		isOpen, isLocalOK bool
	}{
		{"93.184.215.14:443", true, true},
		{"[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:443", true, true},
		{"127.0.0.1:80", false, true},
		{"127.8.9.1:80", false, true},
		{"[::1]:443", false, true},
		{"[::ffff:127.0.0.1]:80", false, true},
		{"10.1.2.3:443", false, false},
		{"172.16.0.1:443", false, false},
		{"192.168.1.1:443", false, false},
		{"169.254.169.254:80", false, false},
		{"100.64.0.1:443", false, false},
		{"0.0.0.0:80", false, false},
		{"192.0.0.8:80", false, false},
		{"198.18.0.1:80", false, false},
		{"224.0.0.1:80", false, false},
		{"255.255.255.255:80", false, false},
		{"[::]:80", false, false},
		{"[fe80::1]:443", false, false},
		{"[fc00::1]:443", false, false},
		{"[ff02::1]:443", false, false},
		{"[::ffff:10.0.0.1]:443", false, false},
		{"[::a00:1]:443", false, false},
		{"[64:ff9b::a00:1]:443", false, false},
		{"[2002:a00:1::1]:443", false, false},
		{"[2001:db8::1]:443", false, false},
		{"[::ffff:0:a00:1]:443", false, false},
		{"[3fff:123::1]:443", false, false},
		{"[5f00::1]:443", false, false},
		{"broker.example:443", false, false},
		{"", false, false},
	}
	for _, c := range cases {
		if got := broker.CheckAddress(c.address, false) == nil; got != c.isOpen {
			t.Errorf("%s: got %t, want %t", c.address, got, c.isOpen)
		}
		if got := broker.CheckAddress(c.address, true) == nil; got != c.isLocalOK {
			t.Errorf("%s with loopback: got %t, want %t", c.address, got, c.isLocalOK)
		}
	}
}

// A discovery document comes at once, whole, in its size, from where it was
// asked for.
func TestDiscoveryDocuments(t *testing.T) {
	b := newBank(t)
	good := b.newSite()
	document := func(s *shop) string {
		text, err := json.Marshal(payword.Discovery{Vendor: s.origin, Keys: s.listed, Brokers: []string{issuer}, Version: 1})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	cases := []struct {
		name  string
		serve func(w http.ResponseWriter, s *shop)
		want  int
	}{
		{"as it should be", func(w http.ResponseWriter, s *shop) { _, _ = w.Write([]byte(document(s))) }, http.StatusOK},
		{"with room", func(w http.ResponseWriter, s *shop) {
			text := document(s)
			_, _ = w.Write([]byte(text + strings.Repeat(" ", payword.MaxDiscoveryBytes-len(text))))
		}, http.StatusOK},
		{"too large", func(w http.ResponseWriter, s *shop) {
			text := document(s)
			_, _ = w.Write([]byte(text + strings.Repeat(" ", payword.MaxDiscoveryBytes+1-len(text))))
		}, http.StatusForbidden},
		{"a redirect", func(w http.ResponseWriter, s *shop) {
			w.Header().Set("Location", good.origin+payword.PathDiscovery)
			w.WriteHeader(http.StatusFound)
			_, _ = w.Write([]byte(document(s)))
		}, http.StatusForbidden},
		{"an error page", func(w http.ResponseWriter, s *shop) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte(document(s)))
		}, http.StatusForbidden},
		{"no JSON", func(w http.ResponseWriter, _ *shop) { _, _ = w.Write([]byte("<html>")) }, http.StatusForbidden},
		{"nothing", func(http.ResponseWriter, *shop) {}, http.StatusForbidden},
		{"a bad key beside the good one", func(w http.ResponseWriter, s *shop) {
			s.listed = append(s.listed, payword.PublicKey{Curve: "Ed25519", Type: "OKP", X: "AAAA"})
			_, _ = w.Write([]byte(document(s)))
		}, http.StatusForbidden},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := &shop{bank: b, key: newKey()}
			s.listed = []payword.PublicKey{payword.NewPublicKey(publicKey(s.key))}
			site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { c.serve(w, s) }))
			defer site.Close()
			s.origin = site.URL
			a := s.register()
			if a.status != c.want {
				t.Errorf("got %d %s, want %d", a.status, a.body, c.want)
			}
			if c.want != http.StatusOK {
				want(t, a, c.want, payword.VendorNotProved)
			}
		})
	}
}
