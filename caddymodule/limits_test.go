package caddymodule_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
)

// trustLoopback makes every request look like that of a proxy which says for whom
// it asks.
const trustLoopback = "servers {\ntrusted_proxies static 127.0.0.1/32\n}"

// from adds the headers of a proxy to those of a payment.
func from(address string, headers map[string]string) map[string]string {
	if headers == nil {
		headers = map[string]string{}
	}
	headers["X-Forwarded-For"], headers["X-Forwarded-Proto"] = address, "https"
	return headers
}

// wantRateLimited sends a request that must be refused as too many, with a
// Retry-After within a time.
func (g *testGate) wantRateLimited(t *testing.T, headers map[string]string, within int) {
	t.Helper()
	response := g.wantRefusal(t, headers, http.StatusTooManyRequests, payword.RateLimited)
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err != nil || seconds < 1 || seconds > within {
		t.Errorf("Retry-After is %q; want 1 to %d", response.Header.Get("Retry-After"), within)
	}
}

func TestOpeningsAreLimited(t *testing.T) {
	s := site{global: "rate_limit openings 3 1h", options: trustLoopback}
	g := startGate(t, s)
	payers := make([]*payer, 6)
	for k := range payers {
		payers[k] = newPayer(t, wish{name: fmt.Sprint("payer ", k), vendor: g.vendor})
	}
	for k := range 3 {
		g.mustPay(t, "/", from("192.0.2.1", payers[k].opening(payers[k].payment(1, 1))))
		// The requests of one page bring the same commitment along.
		g.mustPay(t, "/", from("192.0.2.1", payers[k].opening(payers[k].payment(2, 2))))
	}
	g.wantRateLimited(t, from("192.0.2.1", payers[3].opening(payers[3].payment(1, 1))), 3600)
	// A configuration that is loaded anew forgets no count.
	s.dir, s.vendor = g.dir, g.vendor
	g = startGate(t, s)
	g.wantRateLimited(t, from("192.0.2.1", payers[3].opening(payers[3].payment(1, 1))), 3600)
	// Who is known goes on, and who comes from elsewhere opens.
	g.mustPay(t, "/", from("192.0.2.1", payers[0].header(payers[0].payment(3, 3))))
	g.mustPay(t, "/", from("192.0.2.2", payers[3].opening(payers[3].payment(1, 1))))
	// A subscriber has a /64 of IPv6.
	for k := range 4 {
		p := newPayer(t, wish{name: fmt.Sprint("v6 payer ", k), vendor: g.vendor})
		address := fmt.Sprintf("2001:db8:0:7::%d", k+1)
		if k == 3 {
			g.wantRateLimited(t, from(address, p.opening(p.payment(1, 1))), 3600)
			g.mustPay(t, "/", from("2001:db8:0:8::1", p.opening(p.payment(1, 1))))
			continue
		}
		g.mustPay(t, "/", from(address, p.opening(p.payment(1, 1))))
	}
}

func TestRefusalsAreLimited(t *testing.T) {
	g := startGate(t, site{global: "rate_limit refusals 5 1h", options: trustLoopback})
	known := newPayer(t, wish{name: "known", vendor: g.vendor})
	g.mustPay(t, "/", from("192.0.2.1", known.opening(known.payment(1, 1))))
	forger := newPayer(t, wish{name: "forger", vendor: g.vendor})
	for k := range 5 {
		// The broker's key, another signature over the reservation.
		bad := forger.opening(forger.payment(1, uint64(k+1)))
		token := bad[payword.HeaderReservation]
		bad[payword.HeaderReservation] = token[:len(token)-10] + "AAAAAAAAAA"
		response, body := g.do(t, http.MethodGet, "/", from("192.0.2.1", bad))
		if response.StatusCode != http.StatusPaymentRequired {
			t.Fatalf("forgery %d: %s: %s", k, response.Status, body)
		}
	}
	stranger := newPayer(t, wish{name: "stranger", vendor: g.vendor})
	g.wantRateLimited(t, from("192.0.2.1", stranger.opening(stranger.payment(1, 1))), 3600)
	g.mustPay(t, "/", from("192.0.2.1", known.header(known.payment(2, 2))))
	g.mustPay(t, "/", from("192.0.2.9", stranger.opening(stranger.payment(1, 1))))
}

func TestLimitsCanBeTurnedOff(t *testing.T) {
	g := startGate(t, site{global: "rate_limit openings off\nrate_limit refusals off"})
	for k := range 80 {
		p := newPayer(t, wish{name: fmt.Sprint("payer ", k), vendor: g.vendor})
		bad := p.opening(p.payment(1, 1))
		token := bad[payword.HeaderReservation]
		bad[payword.HeaderReservation] = token[:len(token)-10] + "AAAAAAAAAA"
		if response, _ := g.do(t, http.MethodGet, "/", bad); response.StatusCode != http.StatusPaymentRequired {
			t.Fatalf("forgery %d: %s", k, response.Status)
		}
	}
}

func TestLimitsConfiguration(t *testing.T) {
	for _, each := range []struct{ option, want string }{
		{"rate_limit openings", "want rate_limit"},
		{"rate_limit visits 3", "want rate_limit"},
		{"rate_limit openings -3", "want rate_limit"},
		{"rate_limit openings 3 soon", "want rate_limit"},
		{"rate_limit refusals 3 2h", "1s to 1h"},
		{"block {\naddress nowhere\n}", "want an address or a prefix"},
		{"block {\naddress ::ffff:192.0.2.1\n}", "IPv4"},
		{"block {\nuser somebody\n}", "want user"},
		{"block {\nuser broker.example u1\n}", "begins with https://"},
		{"block {\ncertificate short\n}", "certificate"},
		{"block {\ncommitment short\n}", "commitment"},
		{"block {\nfile /nowhere/at/all\n}", "no such file"},
	} {
		if err := globalError(t, each.option); err == nil || !strings.Contains(err.Error(), each.want) {
			t.Errorf("%s: got %v; want %q in it", each.option, err, each.want)
		}
	}
}

// boundTo binds a payer's certificate to prefixes.
func boundTo(prefixes ...string) func(*payword.Certificate) {
	return func(c *payword.Certificate) {
		for _, prefix := range prefixes {
			c.Prefixes = append(c.Prefixes, netip.MustParsePrefix(prefix))
		}
	}
}

// TestAddressBoundCertificates asks from several addresses, with and without a
// proxy that is trusted.
func TestAddressBoundCertificates(t *testing.T) {
	for _, each := range []struct {
		name, options, forwarded string
		prefixes                 []string
		status                   int
	}{
		{"from there", "", "", []string{"127.0.0.0/8"}, 200},
		{"from elsewhere", "", "", []string{"192.0.2.0/24"}, 403},
		{"a claim of the client's own", "", "192.0.2.1", []string{"192.0.2.0/24"}, 403},
		{"a claim against itself", "", "198.51.100.1", []string{"127.0.0.0/8"}, 200},
		{"behind a proxy", trustLoopback, "192.0.2.1", []string{"192.0.2.0/24"}, 200},
		{"behind a proxy, from elsewhere", trustLoopback, "198.51.100.1", []string{"192.0.2.0/24"}, 403},
		{"behind a proxy, one of two", trustLoopback, "2001:db8::1", []string{"192.0.2.0/24", "2001:db8::/32"}, 200},
		{"behind a proxy that is not the one trusted", "servers {\ntrusted_proxies static 203.0.113.1/32\n}", "192.0.2.1", []string{"192.0.2.0/24"}, 403},
		{"a claim to the proxy", "servers {\ntrusted_proxies static 127.0.0.1/32\ntrusted_proxies_strict\n}", "192.0.2.1, 198.51.100.1", []string{"192.0.2.0/24"}, 403},
	} {
		t.Run(each.name, func(t *testing.T) {
			g := startGate(t, site{options: each.options})
			p := newPayer(t, wish{name: each.name, vendor: g.vendor, certificate: boundTo(each.prefixes...)})
			headers := p.opening(p.payment(1, 1))
			if each.forwarded != "" {
				headers = from(each.forwarded, headers)
			}
			if each.status == 200 {
				g.mustPay(t, "/", headers)
				return
			}
			g.wantRefusal(t, headers, each.status, payword.WrongAddress)
		})
	}
}

// TestBoundCertificateMovesOn pays from home, then shows the open commitment
// from elsewhere.
func TestBoundCertificateMovesOn(t *testing.T) {
	g := startGate(t, site{options: trustLoopback})
	p := newPayer(t, wish{name: "moves", vendor: g.vendor, certificate: boundTo("192.0.2.0/24")})
	g.mustPay(t, "/", from("192.0.2.1", p.opening(p.payment(1, 1))))
	g.wantRefusal(t, from("198.51.100.1", p.header(p.payment(2, 2))), http.StatusForbidden, payword.WrongAddress)
	g.mustPay(t, "/", from("192.0.2.2", p.header(p.payment(2, 2))))
}

func TestBlockList(t *testing.T) {
	vendor := freeOrigin(t)
	named := func(name string) *payer { return newPayer(t, wish{name: name, vendor: vendor}) }
	open, user, certificate, commitment := named("open"), named("user"), newPayer(t, wish{name: "certificate", vendor: vendor,
		certificate: func(c *payword.Certificate) { c.ID[0] = 7 }}), named("commitment")
	id := payword.CommitmentID(certificate.commitment.Certificate.ID)
	file := filepath.Join(t.TempDir(), "blocked")
	writeTestFile(t, file, fmt.Sprintf("# by hand\n\ncommitment %s  # a thief\n", commitment.commitment.ID))
	g := startGate(t, site{vendor: vendor, options: trustLoopback, global: fmt.Sprintf(
		"block {\naddress 203.0.113.0/24 2001:db8:bad::/48 198.51.100.7\nuser %s %s\ncertificate %s\nfile %s\n}",
		testIssuer, user.commitment.Certificate.Subject, id, file)})
	for name, p := range map[string]*payer{"user": user, "certificate": certificate, "commitment": commitment} {
		t.Run(name, func(t *testing.T) {
			g.wantRefusal(t, from("192.0.2.1", p.opening(p.payment(1, 1))), http.StatusForbidden, payword.Blocked)
		})
	}
	g.mustPay(t, "/", from("192.0.2.1", open.opening(open.payment(1, 1))))
	for _, address := range []string{"203.0.113.9", "2001:db8:bad:1::1", "198.51.100.7", "::ffff:203.0.113.9"} {
		g.wantRefusal(t, from(address, open.header(open.payment(2, 2))), http.StatusForbidden, payword.Blocked)
		response, _ := g.do(t, http.MethodGet, "/", from(address, nil))
		if response.StatusCode != http.StatusForbidden || response.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s without payment: %s", address, response.Status)
		}
	}
	for _, address := range []string{"203.0.114.9", "2001:db8:baf::1", "198.51.100.8"} {
		g.mustPay(t, "/", from(address, open.header(open.payment(2, 2))))
	}
}

// TestLoopbackAddressesAreTheirOwn opens connections from many loopback addresses,
// which need no proxy.
func TestLoopbackAddressesAreTheirOwn(t *testing.T) {
	g := startGate(t, site{global: "rate_limit openings 1 1h"})
	for k := range 3 {
		p := newPayer(t, wish{name: fmt.Sprint("payer ", k), vendor: g.vendor})
		transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+k/2))}}
			return dialer.DialContext(ctx, network, address)
		}}
		t.Cleanup(transport.CloseIdleConnections)
		own := *g
		own.http = &http.Client{Transport: transport}
		if k == 1 {
			own.wantRateLimited(t, p.opening(p.payment(1, 1)), 3600)
		} else {
			own.mustPay(t, "/", p.opening(p.payment(1, 1)))
		}
	}
}
