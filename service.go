package payword

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"

	"github.com/paywordhq/payword/money"
)

// What wallets and gates exchange with a broker, as JSON over HTTP. The tags
// describe the members in the broker's OpenAPI document.

// The paths of a broker.
const (
	PathBrokerKeys   = "/.well-known/jwks.json"
	PathChallenges   = "/v1/challenges"
	PathAccounts     = "/v1/accounts"
	PathAccount      = "/v1/account"
	PathCertificates = "/v1/certificates"
	PathRenewals     = "/v1/renewals"
	PathRevocations  = "/v1/revocations"
	PathReservations = "/v1/reservations"
	PathVendors      = "/v1/vendors"
	PathRedemptions  = "/v1/redemptions"

	// PathDiscovery is where a gate describes itself, at the vendor's origin.
	PathDiscovery = "/.well-known/payword"
	// PathClaims is where a gate that allows it hands its claims to a broker
	// that asks, at the vendor's origin.
	PathClaims = "/.well-known/payword/claims"
)

const (
	// MaxCertificatesPerRequest bounds how many certificates one request asks
	// for: a wallet holds a few spares.
	MaxCertificatesPerRequest = 16
	// MaxRedemptionsPerRequest bounds a batch of redemptions, at about 6 KB
	// each a few megabytes.
	MaxRedemptionsPerRequest = 500
)

// PublicKey is an Ed25519 public key as a JSON Web Key (RFC 8037).
type PublicKey struct {
	Curve string `json:"crv" enum:"Ed25519"`
	Type  string `json:"kty" enum:"OKP"`
	X     string `json:"x" maxLength:"43" doc:"the key, base64url"`
}

// NewPublicKey returns key in its JSON form.
func NewPublicKey(key ed25519.PublicKey) PublicKey {
	return PublicKey{Curve: "Ed25519", Type: "OKP", X: base64url.EncodeToString(key)}
}

// Key returns the key, which is canonical and not of small order.
func (k PublicKey) Key() (ed25519.PublicKey, error) {
	return jwk{Curve: k.Curve, Type: k.Type, X: k.X}.publicKey(oneByOne)
}

// AccountChallenge is a broker's fresh challenge for opening an account.
type AccountChallenge struct {
	Challenge string `json:"challenge" maxLength:"64" doc:"send it back in the request that opens the account"`
	Expires   int64  `json:"expires" doc:"seconds since 1970"`
}

// OpenAccount asks for an account. The request is signed with the key.
type OpenAccount struct {
	Key       PublicKey `json:"key" doc:"the account's key; every request of the account is signed with it"`
	Challenge string    `json:"challenge" maxLength:"64"`
}

// Account is what its owner is told of an account.
type Account struct {
	Account   string         `json:"account" doc:"the account's id at this broker; never told to vendors"`
	Currency  money.Currency `json:"currency"`
	Available money.Amount   `json:"available" doc:"can be reserved, in micros"`
	Reserved  money.Amount   `json:"reserved" doc:"set aside for commitments, in micros"`
	Credit    money.Amount   `json:"credit" doc:"credit line, in micros; included in available"`
	Payouts   money.Amount   `json:"payouts" doc:"set aside for payouts, in micros"`
	Owed      money.Amount   `json:"owed" doc:"taken back after it was spent, in micros; what comes in pays it first"`

	State      string `json:"state" enum:"open,blocked,closing,closed"`
	SubAccount bool   `json:"subAccount" doc:"it belongs to another account, which gives it money"`
	Paused     bool   `json:"paused" doc:"a sub-account that its parent has paused"`
}

// CertificateRequest asks for one certificate per key.
type CertificateRequest struct {
	Keys     []PublicKey `json:"keys" minItems:"1" maxItems:"16" doc:"one certificate is issued for each"`
	Prefixes []string    `json:"prefixes,omitempty" maxItems:"4" doc:"bind the certificates to these address prefixes"`
}

// CertificateAnswer holds the certificates in the order of the keys.
type CertificateAnswer struct {
	Certificates []string `json:"certificates"`
}

// RenewalRequest asks for another certificate for each pseudonym.
type RenewalRequest struct {
	Subjects []string `json:"subjects" minItems:"1" maxItems:"16" maxLength:"64" doc:"the pseudonyms, from the certificates' sub"`
}

// RevocationRequest asks that certificates count for nothing any more.
type RevocationRequest struct {
	Subjects []string `json:"subjects,omitempty" maxItems:"16" maxLength:"64" doc:"the pseudonyms, from the certificates' sub"`
	All      bool     `json:"all,omitempty" doc:"every one of the account, in place of subjects"`
}

// RevocationAnswer says what came of it.
type RevocationAnswer struct {
	Revoked int64 `json:"revoked" doc:"how many pseudonyms were not revoked before"`
}

// ReservationRequest asks that an amount be set aside for a commitment, or that
// what is set aside be raised to it.
type ReservationRequest struct {
	Commitment string       `json:"commitment" maxLength:"3072" doc:"the commitment, a JWS"`
	Amount     money.Amount `json:"amount" doc:"in micros, at most the commitment's limit"`
}

// ReservationAnswer holds the broker's word.
type ReservationAnswer struct {
	Reservation string `json:"reservation" doc:"a JWS; the vendor gets it with the first payment"`
}

// VendorRequest registers the key of a vendor, which the vendor's origin must
// list. The request is signed with the key.
type VendorRequest struct {
	Vendor string    `json:"vendor" maxLength:"270" doc:"the vendor's origin"`
	Key    PublicKey `json:"key"`
}

// Vendor is what a vendor is told of itself.
type Vendor struct {
	Vendor   string         `json:"vendor"`
	Currency money.Currency `json:"currency"`
	Payable  money.Amount   `json:"payable" doc:"redeemed and not yet settled, in micros"`
}

// RedemptionRequest is a batch of claims of one vendor.
type RedemptionRequest struct {
	Vendor      string       `json:"vendor" maxLength:"270"`
	Redemptions []Redemption `json:"redemptions" minItems:"1" maxItems:"500"`
}

// Redemption is a claim with its evidence.
type Redemption struct {
	Commitment  string `json:"commitment" maxLength:"3072"`
	Reservation string `json:"reservation,omitempty" maxLength:"640"`
	Claim       string `json:"claim" maxLength:"2048"`
}

// RedemptionAnswer holds the results in the order of the claims.
type RedemptionAnswer struct {
	Results []RedemptionResult `json:"results"`
}

// RedemptionResult is what came of one claim. Asking again gives the same
// cumulative amount for ever.
type RedemptionResult struct {
	Commitment CommitmentID `json:"commitment"`
	Reason     Reason       `json:"reason"`
	Detail     string       `json:"detail,omitempty"`
	Paid       money.Amount `json:"paid" doc:"ever paid on the commitment, in micros"`
	Due        money.Amount `json:"due" doc:"paid by this claim, in micros"`
}

// ClaimsRequest is what a broker asks a gate for, signed with one of the
// broker's keys: claims on what was spent. It says what came of the claims that
// the gate handed out before. The gate answers with a RedemptionRequest, which
// has no redemptions once nothing can be claimed any more.
type ClaimsRequest struct {
	Vendor  string        `json:"vendor"`
	Results []ClaimResult `json:"results,omitempty"` // at most MaxRedemptionsPerRequest
}

// ClaimResult is what came of one claim that a broker has fetched.
type ClaimResult struct {
	RedemptionResult
	Final bool `json:"final,omitempty"` // the claim said that it was the last one
}

// Discovery is what a gate says of itself at PathDiscovery.
type Discovery struct {
	Vendor     string         `json:"vendor"`             // V
	Origins    []string       `json:"origins,omitempty"`  // others that are paid with commitments to V
	Keys       []PublicKey    `json:"keys"`               // what the vendor's claims are signed with
	Brokers    []string       `json:"brokers"`            // whose certificates are taken
	Currency   money.Currency `json:"currency,omitempty"` // of the prices
	MaxStep    uint32         `json:"maxStep"`            // most hashes for one request
	Unreserved bool           `json:"unreserved"`         // commitments on credit are taken too
	Claims     bool           `json:"claims,omitempty"`   // brokers may ask for claims at PathClaims
	Version    int            `json:"version"`            // of the payword method
}

// MaxDiscoveryBytes bounds a discovery document that somebody reads.
const MaxDiscoveryBytes = 16 << 10

// ParseDiscovery reads a discovery document.
func ParseDiscovery(document []byte) (Discovery, error) {
	var d Discovery
	if len(document) > MaxDiscoveryBytes {
		return d, fmt.Errorf("discovery document of %d bytes: at most %d", len(document), MaxDiscoveryBytes)
	}
	if err := json.Unmarshal(document, &d); err != nil {
		return Discovery{}, fmt.Errorf("discovery document: %w", err)
	}
	if err := CheckOrigin(d.Vendor); err != nil {
		return Discovery{}, fmt.Errorf("discovery document: vendor: %w", err)
	}
	return d, nil
}
