package caddymodule

import (
	"net/http"
	"slices"
	"strings"

	"github.com/paywordhq/payword"
)

// submission is what a request brought to pay with, in either form.
type submission struct {
	form        form
	action      string // payword.ActionPay and so on; "" if nothing was sent
	payment     payword.Payment
	commitment  string
	reservation string
	challenge   *payword.Challenge // that a credential answers; nil in the compact form
	stream      string             // that the payment is for; "" if none is named
	cookies     []string           // the values of our cookie
	wantsCookie bool               // the payment is to come back in a cookie
}

// form is how a payment came.
type form uint8

const (
	formNone       form = iota
	formCompact         // the Payword header
	formCredential      // the Payment scheme
)

// ownHeaders are the values of the request headers that are ours alone.
type ownHeaders struct {
	payment, commitment, reservation, authorization, stream, cookie []string
}

// takeOwnHeaders removes the payment headers under every spelling that something
// behind us could take for them: FastCGI and WSGI cannot tell Payword_State from
// Payword-State. It returns those that are spelled as they are.
func takeOwnHeaders(header http.Header) (own ownHeaders) {
	for name, values := range header {
		if len(name) < len("Payword") || name[0] != 'P' && name[0] != 'p' {
			continue
		}
		switch name {
		case payword.HeaderPayword:
			own.payment = values
		case payword.HeaderCommitment:
			own.commitment = values
		case payword.HeaderReservation:
			own.reservation = values
		case payword.HeaderPaymentAuthorization:
			own.authorization = values
		case headerStream:
			own.stream = values
		case headerCookie:
			own.cookie = values
		default:
			if alike := spelledAlike(name); !strings.HasPrefix(alike, "payword") && !strings.HasPrefix(alike, "payment-") {
				continue
			}
		}
		delete(header, name)
	}
	return own
}

// first returns the first of the values of a header; "" if there are none.
func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// readSubmission reads what the request pays with and takes the credentials out
// of Authorization, which is the site's own otherwise.
func readSubmission(r *http.Request, own *ownHeaders) (submission, payword.Refusal) {
	compact, commitment, reservation := own.payment, own.commitment, own.reservation
	credentials := takeCredentials(r.Header, own.authorization)
	switch {
	case len(compact)+len(credentials) == 0 && len(commitment)+len(reservation) == 0:
		return submission{}, payword.Refusal{Reason: payword.PaymentRequired}
	case len(credentials) > 1 || len(credentials) == 1 && len(compact)+len(commitment)+len(reservation) > 0:
		return submission{}, payword.Refusal{Reason: payword.SeveralPayments, Detail: "send one payment, in one form"}
	case len(credentials) == 1:
		return readCredential(credentials[0])
	case len(compact) != 1 || len(commitment) > 1 || len(reservation) > 1:
		return submission{}, payword.Refusal{Reason: payword.MalformedHeader, Detail: "send one Payword header, and at most one Payword-Commitment and Payword-Reservation beside it"}
	}
	payment, refusal := payword.ParsePayment(compact[0])
	sent := submission{form: formCompact, action: payword.ActionPay, payment: payment}
	if len(commitment) == 1 {
		sent.commitment = commitment[0]
	}
	if len(reservation) == 1 {
		sent.reservation = reservation[0]
	}
	if !refusal.Refused() && sent.commitment != "" && payword.NewCommitmentID(sent.commitment) != payment.Commitment {
		refusal = payword.Refusal{Reason: payword.MalformedHeader, Detail: "id in the Payword header is not the commitment's"}
	}
	return sent, refusal
}

// sentCredential is a credential and the field that it came in.
type sentCredential struct{ field, value string }

// takeCredentials removes and returns the Payment credentials of a request. An
// Authorization of another scheme is the site's own and stays.
func takeCredentials(header http.Header, own []string) []sentCredential {
	var credentials []sentCredential
	for _, value := range own {
		credentials = append(credentials, sentCredential{payword.HeaderPaymentAuthorization, value})
	}
	both := header[headerAuthorization]
	if !slices.ContainsFunc(both, payword.IsCredential) {
		return credentials
	}
	var others []string
	for _, value := range both {
		if payword.IsCredential(value) {
			credentials = append(credentials, sentCredential{headerAuthorization, value})
		} else {
			others = append(others, value)
		}
	}
	header.Del(headerAuthorization)
	for _, value := range others {
		header.Add(headerAuthorization, value)
	}
	return credentials
}

func readCredential(came sentCredential) (submission, payword.Refusal) {
	credential, refusal := payword.ParseCredential(came.value)
	if refusal.Refused() {
		return submission{}, refusal
	}
	if field := selectedField(credential.Challenge); !strings.EqualFold(field, came.field) {
		return submission{}, payword.Refusal{Reason: payword.MalformedCredential, Detail: "send the credential in the field that its challenge selected"}
	}
	payload := credential.Payload
	sent := submission{
		form: formCredential, action: payload.Action, challenge: &credential.Challenge,
		commitment: payload.Commitment, reservation: payload.Reservation,
	}
	switch payload.Action {
	case payword.ActionPay, payword.ActionClose:
		sent.payment, refusal = payload.Payment()
	case payword.ActionOpen:
		if payload.Commitment == "" {
			return sent, payword.Refusal{Reason: payword.MalformedCredential, Detail: "payload: open needs a commitment"}
		}
		sent.payment.Commitment = payword.NewCommitmentID(payload.Commitment)
	case payword.ActionTopUp:
		if payload.CommitmentID == nil || payload.Reservation == "" {
			return sent, payword.Refusal{Reason: payword.MalformedCredential, Detail: "payload: topUp needs a commitmentId and a reservation"}
		}
		sent.payment.Commitment = *payload.CommitmentID
	default:
		return sent, payword.Refusal{Reason: payword.MalformedCredential, Detail: "payload: action: want pay, open, topUp or close"}
	}
	return sent, refusal
}
