package broker

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"github.com/paywordhq/payword"
)

// discoveryTimeout bounds the whole fetch of a discovery document.
const discoveryTimeout = 10 * time.Second

// errAddress means that a vendor's name leads to an address that is not public.
var errAddress = errors.New("the address is not public")

// newDiscoveryClient returns the client that reads what vendors say of
// themselves. Whoever registers chooses where it connects to, so it looks at
// the address at the moment it connects, follows no redirects and uses no
// proxy.
func newDiscoveryClient(config Config) *http.Client {
	transport := config.Transport
	if transport == nil {
		dialer := &net.Dialer{
			Timeout: discoveryTimeout,
			Control: func(_, address string, _ syscall.RawConn) error {
				return checkAddress(address, config.AllowLoopbackVendors)
			},
		}
		transport = &http.Transport{
			DialContext: dialer.DialContext, DisableKeepAlives: true,
			TLSHandshakeTimeout: discoveryTimeout, ResponseHeaderTimeout: discoveryTimeout,
			MaxResponseHeaderBytes: payword.MaxDiscoveryBytes,
		}
	}
	return &http.Client{
		Transport: transport, Timeout: discoveryTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// notPublic lists the networks beyond those that package netip knows that are
// not public (RFC 6890 and the registries behind it), and those that embed an
// IPv4 address that would have to be looked at again.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("::ffff:0:0:0/96"),
	netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/23"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("3fff::/20"),
	netip.MustParsePrefix("5f00::/16"),
	netip.MustParsePrefix("fec0::/10"),
}

// checkAddress reports errAddress unless address ("ip:port") is public, or
// loopback where that is allowed.
func checkAddress(address string, allowLoopback bool) error {
	parsed, err := netip.ParseAddrPort(address)
	if err != nil {
		return errAddress
	}
	ip := parsed.Addr().Unmap()
	if ip.IsLoopback() && allowLoopback {
		return nil
	}
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.IsLoopback() {
		return errAddress
	}
	for _, network := range notPublic {
		if network.Contains(ip) {
			return errAddress
		}
	}
	return nil
}

// discover fetches the discovery document of a vendor, whose origin is well
// formed. It refuses with VendorNotProved, without telling more of the network
// than that it did not work.
func (b *Broker) discover(ctx context.Context, vendor string) (payword.Discovery, payword.Refusal) {
	origin, err := url.Parse(vendor)
	if err != nil || payword.IsLoopbackHost(origin.Hostname()) && !b.config.AllowLoopbackVendors {
		return payword.Discovery{}, refuse(payword.VendorNotProved, "a vendor has a public https origin")
	}
	document, err := b.fetch(ctx, vendor+payword.PathDiscovery)
	if err != nil {
		b.log.InfoContext(ctx, "discovery document not fetched", "vendor", vendor, "error", err)
		return payword.Discovery{}, refuse(payword.VendorNotProved,
			"%s%s could not be fetched: it must answer 200 at a public address within %d seconds, without redirects, in at most %d bytes",
			vendor, payword.PathDiscovery, discoveryTimeout/time.Second, payword.MaxDiscoveryBytes)
	}
	discovery, err := payword.ParseDiscovery(document)
	if err != nil {
		return payword.Discovery{}, refuse(payword.VendorNotProved, "%s%s is no discovery document", vendor, payword.PathDiscovery)
	}
	return discovery, payword.Refusal{}
}

func (b *Broker) fetch(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	response, err := b.discovery.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New("it answered " + response.Status)
	}
	document, err := io.ReadAll(io.LimitReader(response.Body, payword.MaxDiscoveryBytes+1))
	if err == nil && len(document) > payword.MaxDiscoveryBytes {
		return nil, errors.New("it is too large")
	}
	return document, err
}
