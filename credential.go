package payword

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4/json"

	"github.com/paywordhq/payword/money"
)

// The actions of a credential's payload.
const (
	// ActionPay pays for the request. With a commitment it opens that first.
	ActionPay = "pay"
	// ActionOpen opens a commitment and pays for nothing.
	ActionOpen = "open"
	// ActionTopUp brings a later reservation.
	ActionTopUp = "topUp"
	// ActionClose ends the commitment: nothing is accepted on it any more.
	ActionClose = "close"
)

// Credential is what a client sends in Authorization or Payment-Authorization:
// the challenge it answers, as it came, and what proves the payment.
type Credential struct {
	Challenge Challenge `json:"challenge"`
	Source    string    `json:"source,omitempty"`
	Payload   Payload   `json:"payload"`
}

// Payload is the payload of a credential of the payword method, the long form
// of the compact headers.
type Payload struct {
	Action       string        `json:"action"`
	CommitmentID *CommitmentID `json:"commitmentId,omitempty"`
	Chain        uint8         `json:"chain"`
	Index        uint32        `json:"index,omitempty"`
	Payword      string        `json:"payword,omitempty"` // base64url
	Number       uint64        `json:"number,omitempty"`
	Max          *money.Amount `json:"max,omitempty"`         // in micros
	Commitment   string        `json:"commitment,omitempty"`  // JWS, to open it
	Reservation  string        `json:"reservation,omitempty"` // JWS, to open or top up
}

// NewPayload returns the payload that pays p.
func NewPayload(p Payment) Payload {
	return Payload{
		Action: ActionPay, CommitmentID: &p.Commitment, Chain: p.Chain, Index: p.Index,
		Payword: base64url.EncodeToString(p.Payword[:]), Number: p.Number, Max: &p.Max,
	}
}

// Format returns the credential as the value of an Authorization field.
func (c Credential) Format() (string, error) {
	encoded, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("writing a credential: %w", err)
	}
	value := Scheme + " " + base64url.EncodeToString(encoded)
	if len(value) > MaxCredentialBytes {
		return "", fmt.Errorf("writing a credential: it takes %d bytes, at most %d", len(value), MaxCredentialBytes)
	}
	return value, nil
}

// IsCredential reports whether the value of an Authorization field is for the
// Payment scheme.
func IsCredential(value string) bool {
	scheme, _, _ := strings.Cut(strings.TrimLeft(value, " "), " ")
	return strings.EqualFold(scheme, Scheme)
}

// ParseCredential reads the value of an Authorization or Payment-Authorization
// field. It refuses with MalformedCredential, or MethodUnsupported for a
// credential of another method. The challenge is for CheckChallenge.
func ParseCredential(value string) (Credential, Refusal) {
	if len(value) > MaxCredentialBytes {
		return Credential{}, refuse(MalformedCredential, "the credential has %d bytes: at most %d", len(value), MaxCredentialBytes)
	}
	scheme, encoded, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, Scheme) {
		return Credential{}, refuse(MalformedCredential, "want the scheme Payment")
	}
	document, err := decodeBase64url(strings.Trim(encoded, " "))
	if err != nil {
		return Credential{}, refuse(MalformedCredential, "credential: %v", err)
	}
	var named struct {
		Challenge struct {
			Method string `json:"method"`
		} `json:"challenge"`
	}
	if err := json.Unmarshal(document, &named); err != nil {
		return Credential{}, refuse(MalformedCredential, "credential: want a JSON object with challenge and payload")
	}
	if named.Challenge.Method != Method {
		return Credential{}, refuse(MethodUnsupported, "the credential is for method %.20q, want %s", named.Challenge.Method, Method)
	}
	var c Credential
	if err := json.Unmarshal(document, &c); err != nil {
		return Credential{}, refuse(MalformedCredential, "credential: %v", err)
	}
	return c, Refusal{}
}

// Payment returns what the payload pays, for the actions that carry a payword.
// A payload that brings the commitment itself need not name its id; if it does,
// the id must fit. It refuses with MalformedCredential.
func (p Payload) Payment() (Payment, Refusal) {
	payment := Payment{Chain: p.Chain, Index: p.Index, Number: p.Number}
	switch {
	case p.CommitmentID == nil && p.Commitment == "":
		return Payment{}, refuse(MalformedCredential, "payload: want commitmentId, or commitment")
	case p.Chain >= MaxChains:
		return Payment{}, refuse(MalformedCredential, "payload: chain: want 0 to %d", MaxChains-1)
	case p.Index < 1 || p.Index > MaxChainLength:
		return Payment{}, refuse(MalformedCredential, "payload: index: want 1 to %d", MaxChainLength)
	case p.Number < 1 || p.Number > MaxNumber:
		return Payment{}, refuse(MalformedCredential, "payload: number: want 1 to %d", uint64(MaxNumber))
	case p.Max == nil:
		return Payment{}, refuse(MalformedCredential, "payload: max: missing")
	}
	if err := decodeFixed(payment.Payword[:], p.Payword); err != nil {
		return Payment{}, refuse(MalformedCredential, "payload: payword: %v", err)
	}
	payment.Max = *p.Max
	if p.Commitment != "" {
		payment.Commitment = NewCommitmentID(p.Commitment)
	}
	if p.CommitmentID != nil {
		if p.Commitment != "" && *p.CommitmentID != payment.Commitment {
			return Payment{}, refuse(MalformedCredential, "payload: commitmentId is not the commitment's")
		}
		payment.Commitment = *p.CommitmentID
	}
	return payment, Refusal{}
}

// Receipt is what the Payment-Receipt field of a granted request holds. Success
// means settled: durably charged, in the vendor's redeemable balance.
type Receipt struct {
	Status      string         `json:"status"` // "success"
	Method      string         `json:"method"`
	Intent      string         `json:"intent,omitempty"`
	Timestamp   string         `json:"timestamp"` // RFC 3339
	Reference   string         `json:"reference"` // commitment id and request number, joined by a dot
	ChallengeID string         `json:"challengeId,omitempty"`
	Amount      money.Amount   `json:"amount"` // of this request, in micros; 0 for a repeat
	Currency    money.Currency `json:"currency"`
	Number      uint64         `json:"number,omitempty"`
	Accepted    money.Amount   `json:"accepted"` // in micros
	Spent       money.Amount   `json:"spent"`    // in micros
	Credit      money.Amount   `json:"credit"`   // in micros
	Final       bool           `json:"final,omitempty"`
}

// Format returns the receipt as the value of a Payment-Receipt field.
func (r Receipt) Format() (string, error) {
	encoded, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("writing a receipt: %w", err)
	}
	return base64url.EncodeToString(encoded), nil
}

// maxReceiptBytes bounds a receipt that a client reads.
const maxReceiptBytes = 4096

// ParseReceipt reads the value of a Payment-Receipt field. Its status must be
// "success", the only one there is.
func ParseReceipt(value string) (Receipt, error) {
	if len(value) > maxReceiptBytes {
		return Receipt{}, fmt.Errorf("receipt of %d bytes: at most %d", len(value), maxReceiptBytes)
	}
	document, err := decodeBase64url(value)
	if err != nil {
		return Receipt{}, fmt.Errorf("receipt: %w", err)
	}
	var r Receipt
	if err := json.Unmarshal(document, &r); err != nil {
		return Receipt{}, fmt.Errorf("receipt: %w", err)
	}
	if r.Status != "success" {
		return Receipt{}, fmt.Errorf("receipt: status %.20q, want success", r.Status)
	}
	if r.Currency == "" {
		return Receipt{}, errors.New("receipt: no currency")
	}
	return r, nil
}
