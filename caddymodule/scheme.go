package caddymodule

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/paywordhq/payword"
)

// readIntents reads the option intent: one or both, the first preferred.
func readIntents(option string) ([]string, error) {
	intents := strings.Fields(option)
	if len(intents) == 0 {
		return []string{payword.IntentSession}, nil
	}
	for k, intent := range intents {
		known := intent == payword.IntentSession || intent == payword.IntentCharge
		if !known || slices.Contains(intents[:k], intent) {
			return nil, errors.New("payword: intent: want session or charge, or both with the preferred one first")
		}
	}
	return intents, nil
}

// offers returns the intents to offer to who sent these Accept-Payment fields,
// what it likes best first. Who likes none is offered all the same: a 402 without
// a challenge would not say what to do (sections 4.3.2 and 7.4 of the draft).
func (h *Handler) offers(accepted []string) []string {
	preference := func(intent string) int { return payword.PaymentPreference(accepted, intent) }
	liked := slices.DeleteFunc(slices.Clone(h.intents), func(intent string) bool { return preference(intent) == 0 })
	if len(liked) == 0 {
		return h.intents
	}
	slices.SortStableFunc(liked, func(a, b string) int { return preference(b) - preference(a) })
	return liked
}

// offerChallenges adds the challenges to an answer, beside those of other
// schemes that stand there, and returns the one that the client likes best.
func (x *exchange) offerChallenges(header http.Header, status int) (payword.Challenge, error) {
	var first payword.Challenge
	for k, intent := range x.offers(x.request.Header.Values(payword.HeaderAcceptPayment)) {
		challenge, err := x.challenge(intent)
		if err != nil {
			return payword.Challenge{}, err
		}
		if k == 0 {
			first = challenge
		}
		if status == http.StatusPaymentRequired {
			header.Add("WWW-Authenticate", challenge.Format())
		}
	}
	return first, nil
}

// selectedField is the header field that a challenge asks for its credential in.
func selectedField(challenge payword.Challenge) string {
	if challenge.Header == "" {
		return headerAuthorization
	}
	return challenge.Header
}

const headerAuthorization = "Authorization"

// readIntentOption reads the option intent of the directive.
func readIntentOption(h *Handler, d *caddyfile.Dispenser) error {
	arguments := d.RemainingArgs()
	if len(arguments) < 1 || len(arguments) > 2 {
		return d.Err("want intent session, intent charge, or both with the preferred one first")
	}
	h.Intent = strings.Join(arguments, " ")
	return nil
}
