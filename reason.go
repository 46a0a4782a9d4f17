package payword

import "fmt"

// Reason says why something was refused. The list is closed: its words are the
// same in Go, in problem details, in metrics, in logs, in test vectors and in
// the JavaScript client. Accepted, the zero value, is no refusal.
type Reason uint8

// The reasons. The comment of each says what a client does about it.
const (
	Accepted Reason = iota

	// What was sent cannot be read. Mend the client.

	PaymentRequired      // nothing was sent: pay
	MalformedHeader      // the Payword header does not parse
	MalformedCredential  // the Payment credential does not parse
	MalformedCommitment  // the commitment does not parse, or breaks a limit
	MalformedCertificate // the same of the certificate inside
	MalformedReservation // the same of the reservation
	MalformedClaim       // the same of a vendor's claim
	SeveralPayments      // more than one payment came: send one
	MethodUnsupported    // the credential is for another payment method
	InsecureTransport    // paywords came over plain HTTP: use https

	// The challenge of a Payment credential does not fit. Ask for a new one.

	InvalidChallenge // the challenge was not made here, or was changed
	ChallengeExpired // it is too old
	ChallengeUsed    // a charge challenge was used before
	WrongResource    // it was made for another method, URL or body

	// The commitment cannot be opened. Make a new one.

	UnknownBroker         // the vendor does not trust the certificate's issuer or key
	BadCertificate        // the broker's signature is wrong
	CertificateExpired    // E has passed
	CertificateRevoked    // the certificate is on the hot list
	WrongAddress          // the certificate is bound to other addresses (A_U)
	Blocked               // the vendor does not serve this user, certificate or address, or the broker this account: ask it why
	BadCommitment         // the user's signature is wrong
	CommitmentExpired     // D has passed
	CommitmentNotYetValid // it was made more than SkewSeconds in the future
	OverCertificateLimit  // its limit exceeds what the certificate allows
	WrongVendor           // it names another vendor
	WrongCurrency         // it is in another currency than the price
	BadReservation        // the broker's signature over the reservation is wrong
	ReservationMismatch   // the reservation is for another commitment, or does not fit it
	ReservationRequired   // the vendor takes no credit: reserve first
	CreditLimit           // the vendor's cap on unreserved commitments is reached
	UnknownCommitment     // send the commitment itself along
	CommitmentClosed      // the user closed it

	// The payword does not pay. Release another.

	UnknownChain   // the commitment has no such chain
	ChainExhausted // the index is past the chain's end
	StalePayword   // more than MaxStale steps behind the tail
	StepTooFar     // more than max_step ahead of the tail: go in several HEAD requests
	ForgedPayword  // hashing does not lead from it to the chain

	// The payword is genuine, and the request is refused all the same.

	StaleNumber        // n is more than WindowSize behind the highest: take a new one
	AlreadyUsed        // n was used for a different request: take a new one
	AlreadyExecuted    // the request is unsafe and was executed once under this n
	PriceOverMax       // the price exceeds what the client agreed to pay
	InsufficientCredit // release more

	// A broker refuses.

	BadClaim           // the vendor's signature over the claim is wrong
	UnknownVendor      // no such vendor is registered
	UnknownAccount     // no such account
	ClaimOverTails     // the claim exceeds what its paywords prove
	ClaimOverLimit     // the claim exceeds the limit or the reservation
	ClaimTooLate       // redeem_by has passed
	InsufficientFunds  // the balance does not suffice to reserve that
	RootReused         // a root was reserved before
	BadSignature       // a request to the broker is not signed by the key it names
	VendorNotProved    // the vendor's origin does not list the key
	RateLimited        // too many refused attempts: wait
	IdempotencyDiffers // the key was used for another request
	VendorBlocked      // the broker has blocked the vendor: make no commitment to it
	AccountClosed      // the account is closing or closed
	OverAccountLimit   // a limit of the account is reached
	NotPermitted       // this kind of account may not do that
	UnknownDevice      // no such device of the account
	UnknownPayout      // no such payout, or it has ended otherwise
	BadVoucher         // the code is mistyped, unknown, spent or expired

	reasonCount
)

var reasonWords = [reasonCount]string{
	Accepted:              "accepted",
	PaymentRequired:       "payment-required",
	MalformedHeader:       "malformed-header",
	MalformedCredential:   "malformed-credential",
	MalformedCommitment:   "malformed-commitment",
	MalformedCertificate:  "malformed-certificate",
	MalformedReservation:  "malformed-reservation",
	MalformedClaim:        "malformed-claim",
	SeveralPayments:       "several-payments",
	MethodUnsupported:     "method-unsupported",
	InsecureTransport:     "insecure-transport",
	InvalidChallenge:      "invalid-challenge",
	ChallengeExpired:      "challenge-expired",
	ChallengeUsed:         "challenge-used",
	WrongResource:         "wrong-resource",
	UnknownBroker:         "unknown-broker",
	BadCertificate:        "bad-certificate",
	CertificateExpired:    "certificate-expired",
	CertificateRevoked:    "certificate-revoked",
	WrongAddress:          "wrong-address",
	Blocked:               "blocked",
	BadCommitment:         "bad-commitment",
	CommitmentExpired:     "commitment-expired",
	CommitmentNotYetValid: "commitment-not-yet-valid",
	OverCertificateLimit:  "over-certificate-limit",
	WrongVendor:           "wrong-vendor",
	WrongCurrency:         "wrong-currency",
	BadReservation:        "bad-reservation",
	ReservationMismatch:   "reservation-mismatch",
	ReservationRequired:   "reservation-required",
	CreditLimit:           "credit-limit",
	UnknownCommitment:     "unknown-commitment",
	CommitmentClosed:      "commitment-closed",
	UnknownChain:          "unknown-chain",
	ChainExhausted:        "chain-exhausted",
	StalePayword:          "stale-payword",
	StepTooFar:            "step-too-far",
	ForgedPayword:         "forged-payword",
	StaleNumber:           "stale-number",
	AlreadyUsed:           "already-used",
	AlreadyExecuted:       "already-executed",
	PriceOverMax:          "price-over-max",
	InsufficientCredit:    "insufficient-credit",
	BadClaim:              "bad-claim",
	UnknownVendor:         "unknown-vendor",
	UnknownAccount:        "unknown-account",
	ClaimOverTails:        "claim-over-tails",
	ClaimOverLimit:        "claim-over-limit",
	ClaimTooLate:          "claim-too-late",
	InsufficientFunds:     "insufficient-funds",
	RootReused:            "root-reused",
	BadSignature:          "bad-signature",
	VendorNotProved:       "vendor-not-proved",
	RateLimited:           "rate-limited",
	IdempotencyDiffers:    "idempotency-differs",
	VendorBlocked:         "vendor-blocked",
	AccountClosed:         "account-closed",
	OverAccountLimit:      "over-account-limit",
	NotPermitted:          "not-permitted",
	UnknownDevice:         "unknown-device",
	UnknownPayout:         "unknown-payout",
	BadVoucher:            "bad-voucher",
}

// String returns the reason's word, such as "forged-payword".
func (r Reason) String() string {
	if r < reasonCount {
		return reasonWords[r]
	}
	return fmt.Sprintf("reason-%d", uint8(r))
}

// ParseReason returns the reason that word names.
func ParseReason(word string) (Reason, error) {
	for reason, known := range reasonWords {
		if known == word {
			return Reason(reason), nil
		}
	}
	return Accepted, fmt.Errorf("reason %.40q is not in the list", word)
}

// MarshalText writes the reason's word.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the reason's word, as ParseReason does.
func (r *Reason) UnmarshalText(text []byte) error {
	reason, err := ParseReason(string(text))
	if err != nil {
		return err
	}
	*r = reason
	return nil
}

// Reasons returns every reason but Accepted, in the order of the list, for
// those who label metrics or write documentation.
func Reasons() []Reason {
	list := make([]Reason, 0, reasonCount-1)
	for reason := Accepted + 1; reason < reasonCount; reason++ {
		list = append(list, reason)
	}
	return list
}

// Refusal is a reason with a sentence for the person who has to act on it. The
// sentence repeats nothing secret. The zero value refuses nothing.
type Refusal struct {
	Reason Reason
	Detail string
}

// Refused reports whether r refuses anything.
func (r Refusal) Refused() bool { return r.Reason != Accepted }

// String returns the reason's word and the sentence.
func (r Refusal) String() string {
	if r.Detail == "" {
		return r.Reason.String()
	}
	return r.Reason.String() + ": " + r.Detail
}

// refuse makes a refusal with a formatted sentence.
func refuse(reason Reason, format string, arguments ...any) Refusal {
	return Refusal{Reason: reason, Detail: fmt.Sprintf(format, arguments...)}
}
