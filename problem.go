package payword

import (
	"encoding/base64"
	"net/http"

	"github.com/paywordhq/payword/money"
)

// ProblemBase is where the problem types of the Payment scheme live (section
// 8.2 of the draft).
const ProblemBase = "https://paymentauth.org/problems/"

// Problem is a refusal as problem details (RFC 9457), media type
// application/problem+json. Type is the scheme's, which general clients know;
// Reason is ours.
type Problem struct {
	Type     string         `json:"type"`
	Title    string         `json:"title"`
	Status   int            `json:"status"`
	Detail   string         `json:"detail,omitempty"`
	Reason   Reason         `json:"reason"`
	Price    *money.Amount  `json:"price,omitempty"`    // of the request, in micros; with payment-required, of one unit
	UnitType string         `json:"unitType,omitempty"` // what is counted, if that is not requests
	Ceiling  *money.Amount  `json:"ceiling,omitempty"`  // the most that is charged before the answer begins, in micros
	Currency money.Currency `json:"currency,omitempty"`
	Number   uint64         `json:"number,omitempty"`
	Accepted *money.Amount  `json:"accepted,omitempty"` // in micros; told to who proved a payword
	Spent    *money.Amount  `json:"spent,omitempty"`
	Chain    *uint8         `json:"chain,omitempty"`
	Index    *uint32        `json:"index,omitempty"` // of the chain's tail
	TailHash string         `json:"tailHash,omitempty"`
}

// NewProblem returns the problem details of a refusal. status is what the
// Payword-State header of the same answer says.
func NewProblem(refusal Refusal, status Status, currency money.Currency) Problem {
	kind := problemKinds[refusal.Reason]
	if kind.name == "" {
		kind = problemKind{"verification-failed", "The payment was refused", http.StatusPaymentRequired}
	}
	problem := Problem{
		Type: ProblemBase + kind.name, Title: kind.title, Status: kind.status,
		Detail: refusal.Detail, Reason: refusal.Reason, Currency: currency, Number: status.Number,
	}
	if currency != "" {
		problem.Price = &status.Price
	}
	if status.Known {
		problem.Accepted, problem.Spent = &status.Accepted, &status.Spent
		problem.Chain, problem.Index = &status.Chain, &status.Index
		problem.TailHash = base64.RawURLEncoding.EncodeToString(status.TailHash[:])
	}
	return problem
}

// HTTPStatus returns the status code that a refusal for r is answered with.
func (r Reason) HTTPStatus() int {
	if kind, listed := problemKinds[r]; listed {
		return kind.status
	}
	return http.StatusPaymentRequired
}

type problemKind struct {
	name, title string
	status      int
}

// problemKinds holds the reasons that the scheme gives a type or a status of
// their own (sections 4.2 and 8.2). All others are verification-failed, 402.
var problemKinds = map[Reason]problemKind{
	PaymentRequired:     {"payment-required", "Payment required", http.StatusPaymentRequired},
	PriceOverMax:        {"payment-insufficient", "The price is higher than agreed", http.StatusPaymentRequired},
	InsufficientCredit:  {"payment-insufficient", "The credit does not cover the price", http.StatusPaymentRequired},
	ChallengeExpired:    {"payment-expired", "The quote has expired", http.StatusPaymentRequired},
	CommitmentExpired:   {"payment-expired", "The commitment has expired", http.StatusPaymentRequired},
	CertificateExpired:  {"payment-expired", "The certificate has expired", http.StatusPaymentRequired},
	SeveralPayments:     {"bad-request", "More than one payment came", http.StatusBadRequest},
	MethodUnsupported:   {"method-unsupported", "This payment method is not taken here", http.StatusBadRequest},
	MalformedHeader:     {"malformed-credential", "The payment cannot be read", http.StatusPaymentRequired},
	MalformedCredential: {"malformed-credential", "The payment cannot be read", http.StatusPaymentRequired},
	InvalidChallenge:    {"invalid-challenge", "The challenge is not known", http.StatusPaymentRequired},
	ChallengeUsed:       {"invalid-challenge", "The challenge was used before", http.StatusPaymentRequired},
	WrongResource:       {"invalid-challenge", "The challenge is for something else", http.StatusPaymentRequired},
	InsecureTransport:   {"verification-failed", "Paywords travel over https only", http.StatusForbidden},
	WrongAddress:        {"verification-failed", "The certificate is bound to another address", http.StatusForbidden},
	Blocked:             {"verification-failed", "This payer is not served here", http.StatusForbidden},
	AlreadyExecuted:     {"verification-failed", "The request was executed before", http.StatusConflict},
	IdempotencyDiffers:  {"verification-failed", "The key was used for another request", http.StatusConflict},
	RateLimited:         {"verification-failed", "Too many refused attempts", http.StatusTooManyRequests},
}
