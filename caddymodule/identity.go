package caddymodule

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http/httpguts"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

const (
	// defaultIdentityPrefix begins the names of the headers that tell the
	// upstream who paid.
	defaultIdentityPrefix = "Payword-"

	identityOff = "off"

	// minIdentityPrefixBytes keeps a prefix from naming half of all headers,
	// which are all taken out of what clients send.
	minIdentityPrefixBytes = 4
)

// identity names the headers that tell the upstream who paid what. Its zero
// value tells nothing.
type identity struct {
	prefix string                      // as configured; "" tells nothing
	alike  string                      // the prefix in the spelling that all are compared in
	names  [len(identityFields)]string // canonical, in the order of identityFields
}

// identityFields are what the headers are called after the prefix.
var identityFields = [7]string{"Account", "Issuer", "Result", "Price", "Currency", "Credit", "Spent"}

// newIdentity reads the option identity_headers.
func newIdentity(option string) (identity, error) {
	switch {
	case option == identityOff:
		return identity{}, nil
	case option == "":
		option = defaultIdentityPrefix
	case len(option) < minIdentityPrefixBytes || !strings.HasSuffix(option, "-") || !httpguts.ValidHeaderFieldName(option):
		return identity{}, errors.New("payword: identity_headers: want off, or what the names of the headers begin with: at least four characters that end with a hyphen, such as X-Payword-")
	}
	id := identity{prefix: option, alike: spelledAlike(option)}
	for k, field := range identityFields {
		id.names[k] = http.CanonicalHeaderKey(option + field)
	}
	return id, nil
}

// strip removes what a client could pass off as our word, in every spelling.
func (id *identity) strip(header http.Header) {
	takeOwnHeaders(header)
	id.stripOwnWords(header)
}

// stripOwnWords is strip for who has taken out the payment headers.
func (id *identity) stripOwnWords(header http.Header) {
	if id.prefix == "" || id.prefix == defaultIdentityPrefix {
		return // our own prefix is a payment header's
	}
	for name := range header {
		if strings.HasPrefix(spelledAlike(name), id.alike) {
			delete(header, name)
		}
	}
}

// spelledAlike returns a header's name as those see it that keep letters and
// digits alone: FastCGI and WSGI make one character of "-" and "_", and PHP of
// "." too.
func spelledAlike(name string) string {
	alike := []byte(name)
	for k, c := range alike {
		switch {
		case c >= 'A' && c <= 'Z':
			alike[k] = c + 'a' - 'A'
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		default:
			alike[k] = '-'
		}
	}
	return string(alike)
}

// identify tells the upstream who paid what. Nothing of the kind that a client
// sent is left by then.
func (x *exchange) identify(header http.Header) {
	if x.identity.prefix == "" {
		return
	}
	certificate := &x.view.commitment.Certificate
	var room [2 * maxDigits]byte
	credit := strconv.AppendInt(room[:0], int64(x.credit()), 10)
	both := string(strconv.AppendInt(credit, int64(x.view.spent), 10))
	x.identified = [...]string{
		certificate.Subject, certificate.Issuer, x.result, x.writePrice(x.charged()).text.(string), string(x.currency),
		both[:len(credit)], both[len(credit):],
	}
	for k, name := range x.identity.names {
		header[name] = x.identified[k : k+1 : k+1]
	}
}

// charged is what was charged for this very request, in micros: nothing for a
// repeat, and nothing any more once it was given back.
func (x *exchange) charged() money.Amount {
	switch {
	case x.sent.action == payword.ActionPay && x.meter != nil && !x.returned:
		return x.meter.cost()
	case x.sent.action != payword.ActionPay || x.outcome.Repeat || x.returned:
		return 0
	}
	return x.outcome.Price
}

// credit is what was accepted and not spent, in micros.
func (x *exchange) credit() money.Amount { return max(0, x.view.accepted-x.view.spent) }

// The words that placeholders and identity headers have for what became of a
// request.
const (
	resultPaid    = "paid"
	resultFree    = "free"   // it costs nothing: a HEAD
	resultRepeat  = "repeat" // it was paid for before, under the same number
	resultReread  = "reread" // the page was bought before
	resultRefused = "refused"
)

// resultOf says what became of a request.
func (x *exchange) resultOf(refusal payword.Refusal) string {
	switch {
	case refusal.Refused():
		return resultRefused
	case x.outcome.Repeat:
		return resultRepeat
	case x.reread:
		return resultReread
	case x.price == 0:
		return resultFree
	}
	return resultPaid
}

// placeholderPrefix begins the names of our placeholders.
const placeholderPrefix = "http.payword."

// maxDigits is how many a number of 64 bits has, with its sign.
const maxDigits = 20

// providePlaceholders lets later handlers and logs use what is known of the
// payment. They are computed when asked for, so that after a price was given
// back they say so.
func (x *exchange) providePlaceholders() {
	replacer, found := x.request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !found {
		return
	}
	replacer.Map(x.placeholder)
}

// placeholder returns the value of http.payword.<field>. What is told of the
// commitment is told only once its owner proved a payword of it.
func (x *exchange) placeholder(name string) (any, bool) {
	field, ours := strings.CutPrefix(name, placeholderPrefix)
	if !ours {
		return nil, false
	}
	switch field {
	case "result":
		return x.result, true
	case "reason":
		return x.reason.String(), true
	case "price":
		return x.price.String(), true
	case "currency":
		return string(x.currency), true
	case "unit":
		return x.quote.unit, true
	case "charged":
		return x.charged().String(), true
	}
	known := x.known && x.proved
	switch field {
	case "account", "issuer", "commitment", "accepted", "spent", "credit":
		if !known {
			return "", true
		}
	}
	switch field {
	case "account":
		return x.view.commitment.Certificate.Subject, true
	case "issuer":
		return x.view.commitment.Certificate.Issuer, true
	case "commitment":
		return x.view.commitment.ID.String(), true
	case "accepted":
		return x.view.accepted.String(), true
	case "spent":
		return x.view.spent.String(), true
	case "credit":
		return x.credit().String(), true
	}
	return nil, false
}
