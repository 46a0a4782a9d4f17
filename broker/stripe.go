package broker

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/keyfile"
	"github.com/paywordhq/payword/money"
)

const (
	headerStripeSignature = "Stripe-Signature"

	// stripeToleranceSeconds is how far a signature's time may be from ours, as
	// Stripe's own libraries have it: a copied event is worthless after that.
	stripeToleranceSeconds = 300

	// minStripeSecret is less than Stripe's secrets have, and more than anybody
	// guesses.
	minStripeSecret = 16

	// stripeSecretPrefix begins every signing secret that Stripe gives out. With
	// another word, such as an API key, no event would ever be taken.
	stripeSecretPrefix = "whsec_"

	// maxStripeSecrets is twice what a rotation needs, and maxStripeSignatures
	// what a header may hold of them: each costs a comparison.
	maxStripeSecrets    = 4
	maxStripeSignatures = 8
)

// Stripe reads Stripe's webhooks: the format of https://docs.stripe.com/webhooks,
// with the signature scheme v1.
type Stripe struct{ secrets [][]byte }

// NewStripe returns the adapter for an endpoint with these signing secrets
// (whsec_…), at least one: several while one replaces another.
func NewStripe(secrets ...string) (*Stripe, error) {
	if len(secrets) == 0 || len(secrets) > maxStripeSecrets {
		return nil, fmt.Errorf("stripe: %d signing secrets: want 1 to %d", len(secrets), maxStripeSecrets)
	}
	s := &Stripe{}
	for _, secret := range secrets {
		if len(secret) < minStripeSecret {
			return nil, fmt.Errorf("stripe: a signing secret of %d bytes: want at least %d", len(secret), minStripeSecret)
		}
		s.secrets = append(s.secrets, []byte(secret))
	}
	return s, nil
}

// Name returns "stripe".
func (s *Stripe) Name() string { return "stripe" }

// Read implements PaymentService.
func (s *Stripe) Read(header http.Header, body []byte, now time.Time) (PaymentEvent, payword.Refusal, error) {
	if refusal := s.verify(header.Values(headerStripeSignature), body, now); refusal.Refused() {
		return PaymentEvent{}, refusal, nil
	}
	event, err := readStripeEvent(body)
	return event, payword.Refusal{}, err
}

// verify refuses with BadSignature unless one of the secrets made one of the v1
// signatures over the time, a full stop and the body.
func (s *Stripe) verify(fields []string, body []byte, now time.Time) payword.Refusal {
	if len(fields) != 1 {
		return refuse(payword.BadSignature, "want one field %s", headerStripeSignature)
	}
	stamp, signatures, err := parseStripeSignature(fields[0])
	if err != nil {
		return refuse(payword.BadSignature, "%s: %v", headerStripeSignature, err)
	}
	isGood := 0
	for _, secret := range s.secrets {
		mac := hmac.New(sha256.New, secret)
		fmt.Fprintf(mac, "%d.", stamp)
		mac.Write(body)
		want := mac.Sum(nil)
		for _, signature := range signatures {
			if hmac.Equal(signature, want) { // in constant time
				isGood++
			}
		}
	}
	if isGood == 0 {
		return refuse(payword.BadSignature, "no signature in %s is by a secret of this endpoint", headerStripeSignature)
	}
	if age := now.Unix() - stamp; age > stripeToleranceSeconds || age < -stripeToleranceSeconds {
		return refuse(payword.BadSignature, "the event was signed more than %d seconds from now", stripeToleranceSeconds)
	}
	return payword.Refusal{}
}

// parseStripeSignature reads t=SECONDS,v1=HEX,v1=HEX. Other schemes, such as v0,
// prove nothing and are passed over.
func parseStripeSignature(field string) (stamp int64, signatures [][]byte, err error) {
	const maxBytes = 2048 // eight signatures of 68 bytes and what else there may be
	if len(field) > maxBytes {
		return 0, nil, fmt.Errorf("more than %d bytes", maxBytes)
	}
	for part := range strings.SplitSeq(field, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "t":
			// A sign or a leading zero would be signed text that reads alike.
			if stamp, err = strconv.ParseInt(value, 10, 64); err != nil || stamp < 1 || strconv.FormatInt(stamp, 10) != value {
				return 0, nil, errors.New("t: want seconds since 1970")
			}
		case "v1":
			signature, err := hex.DecodeString(value)
			if err == nil && len(signature) == sha256.Size && len(signatures) < maxStripeSignatures {
				signatures = append(signatures, signature)
			}
		}
	}
	if stamp == 0 || len(signatures) == 0 {
		return 0, nil, errors.New("want t=SECONDS and v1=HEX")
	}
	return stamp, signatures, nil
}

// stripeEvent is what is read of an event. Its object is a checkout session, a
// charge or a dispute.
type stripeEvent struct {
	Type string `json:"type"`
	Data struct {
		Object json.RawMessage `json:"object"`
	} `json:"data"`
}

type stripeObject struct {
	ID                string            `json:"id"`
	Amount            int64             `json:"amount"`          // of a dispute
	AmountRefunded    int64             `json:"amount_refunded"` // of a charge, in all
	AmountTotal       int64             `json:"amount_total"`    // of a session
	ClientReferenceID string            `json:"client_reference_id"`
	Currency          string            `json:"currency"`
	Metadata          map[string]string `json:"metadata"`
	PaymentIntent     stripeName        `json:"payment_intent"`
	PaymentStatus     string            `json:"payment_status"` // of a session
	Status            string            `json:"status"`         // of a dispute
}

// stripeName is the id of another object, or that object itself with its id, as
// an endpoint that expands it gets it.
type stripeName string

// UnmarshalJSON reads both forms, and null as "".
func (n *stripeName) UnmarshalJSON(text []byte) error {
	var object struct {
		ID string `json:"id"`
	}
	if len(text) > 0 && text[0] == '{' {
		err := json.Unmarshal(text, &object)
		*n = stripeName(object.ID)
		return err
	}
	return json.Unmarshal(text, (*string)(n))
}

// The events that are read; every other one is answered and passed over.
const (
	stripeCompleted  = "checkout.session.completed"
	stripeSucceeded  = "checkout.session.async_payment_succeeded"
	stripeRefunded   = "charge.refunded"
	stripeDisputed   = "charge.dispute.created"
	stripeWithdrawn  = "charge.dispute.funds_withdrawn"
	stripeReinstated = "charge.dispute.funds_reinstated"
)

var stripeEvents = []string{stripeCompleted, stripeSucceeded, stripeRefunded, stripeDisputed, stripeWithdrawn, stripeReinstated}

var errNoStripeEvent = errors.New("the event is no JSON object of the form that Stripe documents")

// metadataAccount names the account in the metadata of a session, where
// client_reference_id is taken by something else.
const metadataAccount = "payword_account"

// readStripeEvent says what an event of Stripe means.
func readStripeEvent(body []byte) (PaymentEvent, error) {
	var event stripeEvent
	if err := json.Unmarshal(body, &event); err != nil {
		return PaymentEvent{}, errNoStripeEvent
	}
	// The objects of other events have other members.
	if !slices.Contains(stripeEvents, event.Type) {
		return PaymentEvent{}, nil
	}
	var object stripeObject
	if err := json.Unmarshal(event.Data.Object, &object); err != nil {
		return PaymentEvent{}, errNoStripeEvent
	}
	switch event.Type {
	case stripeCompleted, stripeSucceeded:
		// A session is completed before a slow payment succeeds; only paid is
		// paid. Nothing came in for a price of 0.
		if object.PaymentStatus != "paid" || object.AmountTotal == 0 {
			return PaymentEvent{}, nil
		}
		account := object.ClientReferenceID
		if account == "" {
			account = object.Metadata[metadataAccount]
		}
		return object.event(PaymentReceived, account, object.AmountTotal)
	case stripeRefunded:
		return object.event(PaymentRefunded, "", object.AmountRefunded)
	case stripeDisputed, stripeWithdrawn:
		// An inquiry is no dispute yet: no money has moved.
		if strings.HasPrefix(object.Status, "warning_") {
			return PaymentEvent{}, nil
		}
		return object.event(PaymentDisputed, "", object.Amount)
	}
	return object.event(PaymentDisputeWon, "", object.Amount)
}

func (o *stripeObject) event(kind PaymentKind, account string, amount int64) (PaymentEvent, error) {
	currency, err := money.CurrencyFromCode(o.Currency)
	if err != nil {
		return PaymentEvent{}, err
	}
	unit, err := stripeUnit(currency)
	if err != nil {
		return PaymentEvent{}, err
	}
	micros, err := unit.Mul(amount)
	if err != nil || micros < 1 {
		return PaymentEvent{}, fmt.Errorf("an amount of %d in %s cannot be", amount, currency.Code())
	}
	return PaymentEvent{
		Kind: kind, ID: o.ID, Payment: string(o.PaymentIntent), Account: account, Amount: micros, Currency: currency,
	}, nil
}

// The currencies whose smallest unit at Stripe is not a hundredth, after
// https://docs.stripe.com/currencies. It is not what ISO 4217 says: the
// Icelandic króna has hundredths there and the ariary has none.
var (
	stripeZeroDecimals  = strings.Fields("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF")
	stripeThreeDecimals = strings.Fields("BHD JOD KWD OMR TND")
)

// stripeUnit returns the smallest amount that Stripe counts in a currency. It
// refuses Uganda's shilling, of which Stripe says both that it has hundredths
// and that it has none: a hundred times too much is not guessed.
func stripeUnit(currency money.Currency) (money.Amount, error) {
	switch code := currency.Code(); {
	case code == "UGX":
		return 0, errors.New("amounts of Stripe in UGX can be read in two ways, and are not taken")
	case slices.Contains(stripeZeroDecimals, code):
		return money.Unit, nil
	case slices.Contains(stripeThreeDecimals, code):
		return money.Unit / 1000, nil
	}
	return money.Unit / 100, nil
}

// loadStripe reads the signing secrets of Stripe's endpoint from files.
func loadStripe(paths []string, currency money.Currency) ([]PaymentService, error) {
	if _, err := stripeUnit(currency); err != nil {
		return nil, usage("--stripe-secret: %v", err)
	}
	var secrets []string
	for _, path := range paths {
		secret, err := readSecret(path)
		if err != nil {
			return nil, usage("--stripe-secret: %v", err)
		}
		if !strings.HasPrefix(secret, stripeSecretPrefix) {
			return nil, usage("--stripe-secret: %s: want the endpoint's signing secret, which begins with %s", path, stripeSecretPrefix)
		}
		secrets = append(secrets, secret)
	}
	service, err := NewStripe(secrets...)
	if err != nil {
		return nil, usage("--stripe-secret: %v", err)
	}
	return []PaymentService{service}, nil
}

// readSecret reads a word from a file that its owner alone may read, without the
// line break at its end.
func readSecret(path string) (string, error) {
	content, mode, err := keyfile.ReadSmall(path)
	if err == nil {
		err = keyfile.CheckPrivate(path, mode)
	}
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(content), "\r\n")
	if strings.ContainsAny(secret, " \t\r\n") {
		return "", fmt.Errorf("%s must hold one word", path)
	}
	return secret, nil
}
