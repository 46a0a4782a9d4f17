package payword

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json"

	"github.com/paywordhq/payword/money"
)

// The Payment authentication scheme (draft-httpauth-payment-01).
const (
	// Method is the payment method's name in the scheme.
	Method = "payword"
	// IntentSession asks for many requests on one commitment.
	IntentSession = "session"
	// IntentCharge asks for one request; its challenge can be used once.
	IntentCharge = "charge"

	// Scheme is the authentication scheme's name.
	Scheme = "Payment"
	// HeaderPaymentAuthorization carries a credential where a site needs
	// Authorization for itself.
	HeaderPaymentAuthorization = "Payment-Authorization"
	// HeaderPaymentReceipt carries a Receipt.
	HeaderPaymentReceipt = "Payment-Receipt"
	// HeaderAcceptPayment carries what payment methods a client can use.
	HeaderAcceptPayment = "Accept-Payment"
)

// Challenge is one Payment challenge of a WWW-Authenticate field. Its fields
// are the auth-params of section 5.1 of the draft, as text.
type Challenge struct {
	ID          string `json:"id"`
	Realm       string `json:"realm"`
	Method      string `json:"method"`
	Intent      string `json:"intent"`
	Request     string `json:"request"`               // base64url of canonical JSON (RFC 8785)
	Expires     string `json:"expires,omitempty"`     // RFC 3339; when the quote ends
	Digest      string `json:"digest,omitempty"`      // RFC 9530, of the request's body
	Description string `json:"description,omitempty"` // for people only; not bound by the id
	Opaque      string `json:"opaque,omitempty"`      // base64url of a flat JSON map
	Header      string `json:"header,omitempty"`      // "Payment-Authorization", or empty
}

// PriceRequest is what the request parameter of our challenges holds, in the
// terms of the session and charge intents. Its members are in the order of
// canonical JSON.
type PriceRequest struct {
	Amount        money.Amount   `json:"amount"` // of one unit, in micros
	Currency      money.Currency `json:"currency"`
	MethodDetails MethodDetails  `json:"methodDetails"`
	Recipient     string         `json:"recipient"` // V: what the commitment must name
	UnitType      string         `json:"unitType,omitempty"`
}

// MethodDetails is what the payword method adds to a PriceRequest.
type MethodDetails struct {
	Brokers    []string     `json:"brokers"`           // whose certificates the vendor takes
	Ceiling    money.Amount `json:"ceiling,omitempty"` // the most that is charged before the answer begins, in micros; 0: the amount
	HTTPMethod string       `json:"httpMethod"`
	MaxStep    uint32       `json:"maxStep"`              // most hashes for one request
	Unreserved bool         `json:"unreserved,omitempty"` // commitments on credit are taken too
	URL        string       `json:"url"`                  // canonical, of what is quoted
	Version    int          `json:"version"`              // of this method: 1
}

// MethodVersion is the version of the payword method.
const MethodVersion = 1

// Canonical returns r as canonical JSON (RFC 8785) in base64url, the form of a
// challenge's request parameter. The members hold no character that canonical
// JSON and encoding/json write differently: origins and escaped URLs are ASCII.
func (r PriceRequest) Canonical() (string, error) {
	for _, text := range append([]string{r.Recipient, r.UnitType, r.MethodDetails.URL, r.MethodDetails.HTTPMethod}, r.MethodDetails.Brokers...) {
		for _, c := range []byte(text) {
			if c < 0x21 || c > 0x7e || c == '<' || c == '>' || c == '\\' {
				return "", fmt.Errorf("canonical JSON: %q holds a character that a URL escapes", text)
			}
		}
	}
	if r.MethodDetails.Brokers == nil {
		r.MethodDetails.Brokers = []string{} // an empty list, not null
	}
	encoded, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("canonical JSON: %w", err)
	}
	// The encoder writes & as a Unicode escape for the sake of HTML; canonical JSON has it bare.
	return base64url.EncodeToString([]byte(strings.ReplaceAll(string(encoded), `\u0026`, "&"))), nil
}

// ParsePriceRequest reads a challenge's request parameter.
func ParsePriceRequest(text string) (PriceRequest, error) {
	if len(text) > MaxChallengeBytes {
		return PriceRequest{}, fmt.Errorf("request of %d bytes: at most %d", len(text), MaxChallengeBytes)
	}
	document, err := decodeBase64url(text)
	if err != nil {
		return PriceRequest{}, fmt.Errorf("request: %w", err)
	}
	var r PriceRequest
	if err := json.Unmarshal(document, &r); err != nil {
		return PriceRequest{}, fmt.Errorf("request: %w", err)
	}
	if r.Currency == "" {
		return PriceRequest{}, errors.New("request: no currency")
	}
	if err := CheckOrigin(r.Recipient); err != nil {
		return PriceRequest{}, fmt.Errorf("request: recipient: %w", err)
	}
	if len(r.MethodDetails.Brokers) > MaxBrokers {
		return PriceRequest{}, fmt.Errorf("request: more than %d brokers", MaxBrokers)
	}
	return r, nil
}

// Bind returns the challenge with its id: the HMAC-SHA256 under secret of seven
// slots joined by "|", and of an eighth if the credential is to come in another
// field (section 5.1.2.1.1). Nothing needs to be stored to recognise it again.
// A slot with "|" in it is an error, since it could pass for two.
func (c Challenge) Bind(secret []byte) (Challenge, error) {
	slots := []string{c.Realm, c.Method, c.Intent, c.Request, c.Expires, c.Digest, c.Opaque}
	if c.Header != "" {
		slots = append(slots, c.Header)
	}
	for _, slot := range slots {
		if strings.ContainsRune(slot, '|') {
			return Challenge{}, fmt.Errorf("challenge: %q holds the separator |", slot)
		}
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(strings.Join(slots, "|")))
	c.ID = base64url.EncodeToString(mac.Sum(nil))
	return c, nil
}

// Resource is what a challenge was made for, to compare with the request that
// answers it.
type Resource struct {
	HTTPMethod string
	URL        string // canonical
}

// CheckChallenge reports whether one of the secrets made the challenge, for
// this resource, and whether its quote still holds at now, in seconds since
// 1970. It returns what it quoted. It refuses with MethodUnsupported,
// InvalidChallenge, ChallengeExpired or WrongResource.
func CheckChallenge(c Challenge, secrets [][]byte, resource Resource, now int64) (PriceRequest, Refusal) {
	if c.Method != Method || c.Intent != IntentSession && c.Intent != IntentCharge {
		return PriceRequest{}, refuse(MethodUnsupported, "want method %s with intent %s or %s", Method, IntentSession, IntentCharge)
	}
	if !madeByOneOf(c, secrets) {
		return PriceRequest{}, refuse(InvalidChallenge, "the challenge was not made here, or was changed")
	}
	expires, err := time.Parse(time.RFC3339, c.Expires)
	if err != nil || now >= expires.Unix() {
		return PriceRequest{}, refuse(ChallengeExpired, "the challenge has expired")
	}
	quoted, err := ParsePriceRequest(c.Request)
	if err != nil {
		return PriceRequest{}, refuse(InvalidChallenge, "%v", err)
	}
	if quoted.MethodDetails.HTTPMethod != resource.HTTPMethod || quoted.MethodDetails.URL != resource.URL {
		return PriceRequest{}, refuse(WrongResource, "the challenge was made for %s %s", quoted.MethodDetails.HTTPMethod, quoted.MethodDetails.URL)
	}
	return quoted, Refusal{}
}

func madeByOneOf(c Challenge, secrets [][]byte) bool {
	for _, secret := range secrets {
		bound, err := c.Bind(secret)
		if err == nil && hmac.Equal([]byte(bound.ID), []byte(c.ID)) {
			return true
		}
	}
	return false
}

// Format returns the challenge as the value of a WWW-Authenticate field.
func (c Challenge) Format() string {
	var b strings.Builder
	b.WriteString(Scheme)
	separator := " "
	for _, parameter := range c.parameters() {
		if *parameter.value == "" && !parameter.required {
			continue
		}
		b.WriteString(separator)
		b.WriteString(parameter.name)
		b.WriteByte('=')
		b.WriteString(quote(*parameter.value))
		separator = ", "
	}
	return b.String()
}

type challengeParameter struct {
	name     string
	value    *string
	required bool
}

func (c *Challenge) parameters() []challengeParameter {
	return []challengeParameter{
		{"id", &c.ID, true}, {"realm", &c.Realm, true}, {"method", &c.Method, true},
		{"intent", &c.Intent, true}, {"request", &c.Request, true}, {"expires", &c.Expires, false},
		{"digest", &c.Digest, false}, {"description", &c.Description, false},
		{"opaque", &c.Opaque, false}, {"header", &c.Header, false},
	}
}

// quote returns text as a quoted-string (RFC 9110, section 5.6.4). Control
// characters, which it cannot hold, become spaces.
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(text) {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
		case isControl(c):
			c = ' '
		}
		b.WriteByte(c)
	}
	b.WriteByte('"')
	return b.String()
}

// isControl reports whether c may not stand in a quoted-string, not even after
// a backslash.
func isControl(c byte) bool { return c < 0x20 && c != '\t' || c == 0x7f }

// ParseChallenges returns the Payment challenges in the values of the
// WWW-Authenticate fields of an answer, in their order. Challenges of other
// schemes are passed over; a malformed field is an error.
func ParseChallenges(values []string) ([]Challenge, error) {
	var found []Challenge
	for _, value := range values {
		if len(value) > 4*MaxChallengeBytes {
			return nil, fmt.Errorf("WWW-Authenticate: %d bytes, at most %d", len(value), 4*MaxChallengeBytes)
		}
		scan := challengeScanner{text: value}
		challenges, err := scan.challenges()
		if err != nil {
			return nil, fmt.Errorf("WWW-Authenticate: %w", err)
		}
		found = append(found, challenges...)
	}
	return found, nil
}

// challengeScanner reads the challenges of one field (RFC 9110, section 11.6.1).
type challengeScanner struct {
	text string
	at   int
}

func (s *challengeScanner) challenges() ([]Challenge, error) {
	var found []Challenge
	for s.skip(" \t,"); s.at < len(s.text); s.skip(" \t,") {
		scheme := s.token()
		if scheme == "" {
			return nil, fmt.Errorf("want a scheme at byte %d", s.at)
		}
		c, seen, err := s.challenge()
		if err != nil {
			return nil, err
		}
		if strings.EqualFold(scheme, Scheme) {
			if c.ID == "" || !seen["realm"] || c.Method == "" || c.Intent == "" || c.Request == "" {
				return nil, errors.New("a Payment challenge needs id, realm, method, intent and request")
			}
			found = append(found, c)
		}
	}
	return found, nil
}

// challenge reads the parameters up to the next scheme or the end, and says
// which there were.
func (s *challengeScanner) challenge() (c Challenge, seen map[string]bool, err error) {
	fields := c.parameters()
	seen = make(map[string]bool)
	for {
		s.skip(" \t,")
		name, value, found, err := s.parameter()
		if err != nil {
			return c, seen, err
		}
		if !found {
			if len(seen) == 0 {
				s.skipToken68()
			}
			return c, seen, nil
		}
		if seen[name] {
			return c, seen, fmt.Errorf("parameter %.20q stands twice", name)
		}
		seen[name] = true
		for _, field := range fields {
			if field.name == name {
				*field.value = value
			}
		}
	}
}

// parameter reads name=value. If something else stands there it goes back to
// where it was.
func (s *challengeScanner) parameter() (name, value string, found bool, err error) {
	start := s.at
	name = strings.ToLower(s.token())
	s.skip(" \t")
	if name == "" || s.at >= len(s.text) || s.text[s.at] != '=' {
		s.at = start
		return "", "", false, nil
	}
	s.at++
	s.skip(" \t")
	if s.at < len(s.text) && s.text[s.at] == '"' {
		value, err = s.quotedString()
		return name, value, true, err
	}
	if value = s.token(); value == "" {
		s.at = start
		return "", "", false, nil
	}
	return name, value, true, nil
}

// skipToken68 passes over the single value that some schemes have instead of
// parameters. What has a space after it is the next scheme.
func (s *challengeScanner) skipToken68() {
	end := s.at
	for end < len(s.text) && (isTokenByte(s.text[end]) || s.text[end] == '/' || s.text[end] == '=') {
		end++
	}
	if end == len(s.text) || s.text[end] == ',' {
		s.at = end
	}
}

func (s *challengeScanner) quotedString() (string, error) {
	var b strings.Builder
	for s.at++; s.at < len(s.text); s.at++ {
		if s.text[s.at] == '"' {
			s.at++
			return b.String(), nil
		}
		if s.text[s.at] == '\\' {
			if s.at++; s.at == len(s.text) {
				break
			}
		}
		if isControl(s.text[s.at]) {
			return "", errors.New("a quoted string holds a control character")
		}
		b.WriteByte(s.text[s.at])
	}
	return "", errors.New("a quoted string has no end")
}

func (s *challengeScanner) token() string {
	start := s.at
	for s.at < len(s.text) && isTokenByte(s.text[s.at]) {
		s.at++
	}
	return s.text[start:s.at]
}

func (s *challengeScanner) skip(set string) {
	for s.at < len(s.text) && strings.IndexByte(set, s.text[s.at]) >= 0 {
		s.at++
	}
}

// isTokenByte reports whether c may stand in a token (RFC 9110, section 5.6.2).
func isTokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// PaymentPreference returns how much a client that sent these Accept-Payment
// fields wants to pay with the payword method and an intent, in thousandths: 0
// never, 1000 gladly. Without such a field it is 1000. A field that cannot be
// read counts as absent, since the 402 stays authoritative (section 7.4).
func PaymentPreference(fields []string, intent string) int {
	best, specific := -1, -1
	for _, item := range strings.Split(strings.Join(fields, ","), ",") {
		item = strings.Trim(item, " \t")
		if item == "" {
			continue
		}
		name, parameters, _ := strings.Cut(item, ";")
		method, wanted, found := strings.Cut(strings.Trim(name, " \t"), "/")
		quality, valid := parseQuality(parameters)
		if !found || !valid {
			return 1000
		}
		match := 0
		switch {
		case method == Method && wanted == intent:
			match = 4
		case method == Method && wanted == "*":
			match = 3
		case method == "*" && wanted == intent:
			match = 2
		case method == "*" && wanted == "*":
			match = 1
		default:
			best = max(best, 0)
		}
		if match > specific && match > 0 {
			specific, best = match, quality
		}
	}
	if best < 0 {
		return 1000
	}
	return best
}

// parseQuality reads ";q=0.5" as 500. Nothing is 1000.
func parseQuality(parameters string) (int, bool) {
	text := strings.Trim(parameters, " \t")
	if text == "" {
		return 1000, true
	}
	text, found := strings.CutPrefix(text, "q=")
	whole, fraction, _ := strings.Cut(text, ".")
	if !found || len(fraction) > 3 || whole != "0" && whole != "1" {
		return 0, false
	}
	thousandths, err := strconv.Atoi(whole + fraction + "000"[len(fraction):])
	return thousandths, err == nil && thousandths >= 0 && thousandths <= 1000
}
