package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/paywordhq/payword"
)

// originOf returns the origin of a URL in the form that names vendors, or false
// if paywords must not be sent there: plain http to another machine, or a host
// that is no ASCII name.
func originOf(link *url.URL) (string, bool) {
	scheme, host := strings.ToLower(link.Scheme), strings.ToLower(link.Host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	origin := scheme + "://" + strings.TrimSuffix(host, ":")
	return origin, payword.CheckOrigin(origin) == nil
}

// isQuoteFor reports whether a quote is for the request that was asked: its URL
// on the origin that was asked or on the vendor's own, and its method. A HEAD is
// quoted what a GET costs.
func isQuoteFor(quoted payword.MethodDetails, asked *http.Request, origins ...string) bool {
	sameURL := slices.ContainsFunc(origins, func(origin string) bool {
		return quoted.URL == payword.CanonicalURL(origin, asked.URL.RequestURI())
	})
	method := asked.Method
	if method == "" {
		method = http.MethodGet
	}
	sameMethod := quoted.HTTPMethod == method || method == http.MethodHead && quoted.HTTPMethod == http.MethodGet
	return sameURL && sameMethod
}

// readOffer reads what a 402 asks for and checks everything about it but the
// budget. found is false if the answer holds no challenge of ours. It returns a
// *RefusedError for an offer that must not be taken.
func (t *Transport) readOffer(ctx context.Context, asked *http.Request, digest string, answer *http.Response) (o offer, found bool, err error) {
	challenges, parseErr := payword.ParseChallenges(answer.Header.Values("WWW-Authenticate"))
	if parseErr != nil {
		return offer{}, false, nil // some other scheme's mistake, for the caller to see
	}
	for _, challenge := range challenges {
		if challenge.Method != payword.Method || challenge.Intent != payword.IntentSession {
			continue
		}
		found = true
		// Of several offers the first that can be taken is.
		if o, err = t.checkChallenge(ctx, asked, digest, challenge); err == nil {
			return o, true, nil
		}
	}
	return offer{}, found, err
}

// checkChallenge returns what one challenge offers.
func (t *Transport) checkChallenge(ctx context.Context, asked *http.Request, digest string, challenge payword.Challenge) (offer, error) {
	origin, payable := originOf(asked.URL)
	refused := func(reason payword.Reason, format string, arguments ...any) (offer, error) {
		return offer{}, &RefusedError{Origin: origin, Reason: reason, Detail: foreignText(fmt.Sprintf(format, arguments...))}
	}
	if !payable {
		return refused(payword.InsecureTransport, "paywords travel over https only, and over http to this machine itself")
	}
	expires, err := time.Parse(time.RFC3339, challenge.Expires)
	if challenge.Expires != "" && (err != nil || t.Wallet.now().Unix() >= expires.Unix()+payword.SkewSeconds) {
		return refused(payword.ChallengeExpired, "the quote ended at %s", challenge.Expires)
	}
	quoted, err := payword.ParsePriceRequest(challenge.Request)
	if err != nil {
		return refused(payword.InvalidChallenge, "%v", err)
	}
	details := quoted.MethodDetails
	broker, currency := t.Wallet.account()
	switch {
	case broker == "":
		return offer{}, ErrNoAccount
	case details.Version != payword.MethodVersion:
		return refused(payword.MethodUnsupported, "the quote is for version %d of the method, this is version %d", details.Version, payword.MethodVersion)
	case !isQuoteFor(details, asked, origin, quoted.Recipient):
		return refused(payword.WrongResource, "the quote is for %s %s", details.HTTPMethod, details.URL)
	case challenge.Digest != "" && digest != "" && challenge.Digest != digest:
		return refused(payword.WrongResource, "the quote is for another request body")
	case quoted.Currency != currency:
		return refused(payword.WrongCurrency, "the price is in %s, the wallet holds %s", quoted.Currency.Code(), currency.Code())
	case !slices.Contains(details.Brokers, broker):
		return refused(payword.UnknownBroker, "the vendor does not take certificates of %s", broker)
	}
	o := offer{
		origin: origin, vendor: quoted.Recipient, price: quoted.Amount, currency: quoted.Currency,
		maxStep: details.MaxStep, unreserved: details.Unreserved,
	}
	if ceiling := details.Ceiling; ceiling > 0 {
		o.price = max(ceiling, quoted.Amount)
		o.meter = meter{unit: quoted.UnitType, price: quoted.Amount}
	}
	if o.maxStep == 0 || o.maxStep > payword.MaxChainLength {
		o.maxStep = payword.DefaultMaxStep
	}
	if !t.speaksFor(ctx, o.vendor, origin) {
		return refused(payword.WrongVendor, "%s asks to pay %s, whose discovery document could not be had or does not list it", origin, o.vendor)
	}
	return o, nil
}

// How long it is remembered whom a vendor speaks for, and for how many vendors.
const (
	discoveryTTL = 10 * time.Minute
	maxDiscovery = 256
)

// discoveries remembers discovery documents. Its zero value is empty.
type discoveries struct {
	mu     sync.Mutex
	origin map[string]discovered // by vendor
}

type discovered struct {
	origins []string
	at      time.Time
}

// speaksFor reports whether origin is paid with commitments to the vendor: it is
// the vendor, or the vendor's discovery document lists it.
func (t *Transport) speaksFor(ctx context.Context, vendorOrigin, origin string) bool {
	if vendorOrigin == origin {
		return true
	}
	// A page must not make the wallet ask things of the machine it runs on.
	if isLoopbackOrigin(vendorOrigin) && !isLoopbackOrigin(origin) {
		return false
	}
	now := t.Wallet.now()
	t.discoveries.mu.Lock()
	known, found := t.discoveries.origin[vendorOrigin]
	t.discoveries.mu.Unlock()
	if !found || now.Sub(known.at) > discoveryTTL {
		origins, err := t.discover(ctx, vendorOrigin)
		if err != nil {
			return false
		}
		known = discovered{origins: origins, at: now}
		t.discoveries.mu.Lock()
		if len(t.discoveries.origin) >= maxDiscovery || t.discoveries.origin == nil {
			t.discoveries.origin = make(map[string]discovered)
		}
		t.discoveries.origin[vendorOrigin] = known
		t.discoveries.mu.Unlock()
	}
	return slices.Contains(known.origins, origin)
}

// discover asks a vendor whom it speaks for.
func (t *Transport) discover(ctx context.Context, vendorOrigin string) ([]string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, vendorOrigin+payword.PathDiscovery, nil)
	if err != nil {
		return nil, err
	}
	answer, err := t.base().RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("discovery document of %s: answer %d", vendorOrigin, answer.StatusCode)
	}
	document, err := io.ReadAll(io.LimitReader(answer.Body, payword.MaxDiscoveryBytes+1))
	if err != nil {
		return nil, err
	}
	d, err := payword.ParseDiscovery(document)
	if err != nil {
		return nil, err
	}
	if d.Vendor != vendorOrigin {
		return nil, fmt.Errorf("discovery document of %s: it is another vendor's", vendorOrigin)
	}
	return d.Origins, nil
}

func isLoopbackOrigin(origin string) bool {
	link, err := url.Parse(origin)
	return err == nil && payword.IsLoopbackHost(link.Hostname())
}
