package caddymodule

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/paywordhq/payword"
)

// maxChallengedURLBytes bounds the URLs that are sold: a challenge holds the
// URL, a credential holds it twice encoded, and both have a limit.
const maxChallengedURLBytes = 2048

// refuse answers a request that is not served: what it costs, why it was
// refused, and what it takes to go on.
func (x *exchange) refuse(refusal payword.Refusal) error {
	secure := isSecure(x.request, x.vars)
	if !secure { // whatever else is wrong: nothing is quoted there (section 11.2 of the draft)
		refusal = overPlainHTTP
	}
	x.tell(refusal)
	if len(x.url) > maxChallengedURLBytes {
		return caddyhttp.Error(http.StatusRequestURITooLong, errors.New("the URL is too long to be quoted a price"))
	}
	header := x.writer.Header()
	status := refusal.Reason.HTTPStatus()
	challenge, err := x.offerChallenges(header, status)
	if err != nil {
		return x.unavailable(x.writer, err)
	}
	if status == http.StatusPaymentRequired {
		x.writeCrawlerPrice(header)
	}
	if refusal.Reason != payword.PaymentRequired {
		x.writeStatusHeader(header, refusal.Reason)
	}
	if refusal.Reason == payword.RateLimited {
		header.Set("Retry-After", strconv.FormatInt(max(1, x.retryAfter), 10))
	}
	header.Set("Cache-Control", "no-store")
	addVary(header)
	header.Add("Vary", "Accept")
	exposeHeaders(x.request, header)
	if x.Page == pageError {
		if err := x.setPlaceholders(status, refusal, challenge); err != nil {
			return x.unavailable(x.writer, err)
		}
		return caddyhttp.Error(status, fmt.Errorf("payword: %s", refusal.Reason))
	}
	if secure && prefersHTML(x.request) {
		return x.writePage(status, refusal, challenge)
	}
	return x.writeProblem(status, refusal)
}

// challenge quotes the price of the request for an intent.
func (x *exchange) challenge(intent string) (payword.Challenge, error) {
	unit := ""
	if intent == payword.IntentSession {
		unit = x.quote.unit
	}
	amount, ceiling := x.quoted(intent)
	request, err := payword.PriceRequest{
		Amount: amount, Currency: x.currency, Recipient: x.Vendor, UnitType: unit,
		MethodDetails: payword.MethodDetails{
			Brokers: x.app.issuers(), HTTPMethod: quotedMethod(x.request), MaxStep: x.app.MaxStep,
			URL: x.url, Version: payword.MethodVersion, Unreserved: x.givesCredit(), Ceiling: ceiling,
		},
	}.Canonical()
	if err != nil {
		return payword.Challenge{}, err
	}
	challenge := payword.Challenge{
		Realm: x.realm, Method: payword.Method, Intent: intent, Request: request,
		Expires:     time.Unix(x.now, 0).Add(time.Duration(x.app.QuoteLife)).UTC().Format(time.RFC3339),
		Description: x.describe(),
	}
	if challenge.Opaque, err = x.opaque(intent); err != nil {
		return payword.Challenge{}, err
	}
	if x.CredentialHeader == payword.HeaderPaymentAuthorization {
		challenge.Header = payword.HeaderPaymentAuthorization
	}
	return challenge.Bind(x.gate.challenges.making())
}

// opaque says which class the price is of, and makes a challenge that can be
// used once differ from every other that quotes the same in the same second.
func (x *exchange) opaque(intent string) (string, error) {
	members := x.quotedClass()
	if intent == payword.IntentCharge {
		nonce := make([]byte, payword.NonceBytes)
		rand.Read(nonce)
		members["nonce"] = base64.RawURLEncoding.EncodeToString(nonce)
	}
	return formatOpaque(members)
}

func (x *exchange) writeProblem(status int, refusal payword.Refusal) error {
	problem := payword.NewProblem(refusal, x.status(refusal.Reason), x.currency)
	if refusal.Reason == payword.PaymentRequired {
		problem.Detail = fmt.Sprintf("This costs %s %s.", x.quote.amount.Decimal(), x.currency.Code())
	}
	if x.meter != nil {
		x.meter.describe(&problem)
	}
	if x.meter == nil || refusal.Reason == payword.PaymentRequired {
		problem.Price = &x.quote.amount
	}
	body, err := json.Marshal(problem)
	if err != nil {
		return x.unavailable(x.writer, err)
	}
	x.writer.Header().Set("Content-Type", "application/problem+json")
	return x.writeBody(status, body)
}

func (x *exchange) writeBody(status int, body []byte) error {
	x.writer.Header().Set("Content-Length", strconv.Itoa(len(body)))
	x.writer.WriteHeader(status)
	if x.request.Method == http.MethodHead {
		return nil
	}
	_, err := x.writer.Write(body)
	return err
}

// overPlainHTTP refuses what anybody on the way could have read.
var overPlainHTTP = payword.Refusal{Reason: payword.InsecureTransport, Detail: "paywords travel over https only: whoever sees one can use it"}

// explain makes a refusal of a reason, with what would be right.
func (x *exchange) explain(reason payword.Reason) payword.Refusal {
	refusal := payword.Refusal{Reason: reason}
	payment := &x.sent.payment
	switch reason {
	case payword.InsufficientCredit:
		refusal.Detail = fmt.Sprintf("the request costs %s %s, the credit is %s: release more",
			x.price.Decimal(), x.currency.Code(), (x.view.accepted - x.view.spent).Decimal())
	case payword.PriceOverMax:
		refusal.Detail = fmt.Sprintf("the request costs %s %s, you agreed to at most %s",
			x.price.Decimal(), x.currency.Code(), payment.Max.Decimal())
	case payword.StepTooFar:
		refusal.Detail = fmt.Sprintf("go at most %d steps at a time, with HEAD requests in between", x.app.MaxStep)
	case payword.StalePayword:
		refusal.Detail = fmt.Sprintf("the payword is more than %d steps behind: present a newer one", payword.MaxStale)
	case payword.ForgedPayword:
		refusal.Detail = "the payword does not lead to the chain by hashing"
	case payword.UnknownChain:
		refusal.Detail = fmt.Sprintf("the commitment has no chain %d", payment.Chain)
	case payword.ChainExhausted:
		refusal.Detail = "the index is past the end of the chain"
	case payword.CommitmentExpired:
		refusal.Detail = "the commitment has expired"
	case payword.CommitmentClosed:
		refusal.Detail = "the commitment was closed"
	case payword.AlreadyUsed:
		refusal.Detail = fmt.Sprintf("request number %d was used: take a new one", payment.Number)
	case payword.StaleNumber:
		refusal.Detail = fmt.Sprintf("request number %d is more than %d behind: take a new one", payment.Number, payword.WindowSize)
	case payword.ChallengeUsed:
		refusal.Detail = "the challenge was answered before: ask for a new one"
	case payword.AlreadyExecuted:
		refusal.Detail = "this request was executed before and is not repeated"
	}
	return refusal
}
