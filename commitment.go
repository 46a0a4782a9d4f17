package payword

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/paywordhq/payword/money"
)

// CommitmentIDBytes is the size of a commitment's id, in bytes.
const CommitmentIDBytes = 16

// CommitmentID names a commitment: the first 16 bytes of the SHA-256 of its
// exact bytes. So nobody can choose one, and a commitment that was changed has
// another.
type CommitmentID [CommitmentIDBytes]byte

// NewCommitmentID returns the id of a commitment's token.
func NewCommitmentID(token string) CommitmentID {
	sum := sha256.Sum256([]byte(token))
	return CommitmentID(sum[:CommitmentIDBytes])
}

// String returns the id in base64url, its form in JSON.
func (id CommitmentID) String() string { return base64url.EncodeToString(id[:]) }

// MarshalText writes the form of String.
func (id CommitmentID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the form of String.
func (id *CommitmentID) UnmarshalText(text []byte) error { return decodeFixed(id[:], string(text)) }

// ChainTerms is what a commitment says of one chain.
type ChainTerms struct {
	Root   Payword      // W_0
	Unit   money.Amount // what one step is worth, in micros
	Length uint32       // N, steps
}

// Commitment is M = {V, C_U, W_0, D, I_M}: the user's promise to pay one vendor
// for every payword released to it before D. It is a JWT
// (typ payword-commitment+jwt) signed by the key in the certificate inside.
type Commitment struct {
	ID          CommitmentID // of Token
	Token       string       // the exact bytes, as signed
	Vendor      string       // V: the vendor's origin
	Certificate Certificate  // C_U
	IssuedAt    int64        // seconds since 1970
	Expires     int64        // D, seconds since 1970: paywords are taken while now < D
	Nonce       Nonce        // jti, from which with the seed the chains were made
	Currency    money.Currency
	Limit       money.Amount // the most that all its chains together pay, in micros
	Chains      []ChainTerms // 1 to MaxChains
}

type commitmentClaims struct {
	Vendor      string         `json:"aud"`
	Subject     string         `json:"iss"`
	IssuedAt    int64          `json:"iat"`
	Expires     int64          `json:"exp"`
	ID          string         `json:"jti"`
	Currency    money.Currency `json:"currency"`
	Limit       money.Amount   `json:"limit"`
	Chains      []chainClaims  `json:"chains"`
	Certificate string         `json:"certificate"`
}

type chainClaims struct {
	Root   string       `json:"root"`
	Unit   money.Amount `json:"unit"`
	Length uint32       `json:"length"`
}

// SignCommitment signs m, whose certificate must hold the signer's public key,
// and returns it with its token and id. It refuses to sign what ParseCommitment
// would not take.
func SignCommitment(m Commitment, user crypto.Signer) (Commitment, error) {
	key, isEd25519 := user.Public().(ed25519.PublicKey)
	if !isEd25519 || !key.Equal(m.Certificate.Key) {
		return Commitment{}, errors.New("signing a commitment: the certificate is for another key")
	}
	claims := commitmentClaims{
		Vendor: m.Vendor, Subject: m.Certificate.Subject, IssuedAt: m.IssuedAt, Expires: m.Expires,
		ID: base64url.EncodeToString(m.Nonce[:]), Currency: m.Currency, Limit: m.Limit,
		Certificate: m.Certificate.Token,
	}
	for _, chain := range m.Chains {
		claims.Chains = append(claims.Chains, chainClaims{
			Root: base64url.EncodeToString(chain.Root[:]), Unit: chain.Unit, Length: chain.Length,
		})
	}
	if _, err := claims.commitment(m.Certificate); err != nil {
		return Commitment{}, fmt.Errorf("signing a commitment: %w", err)
	}
	token, err := signJWS(typeCommitment, claims, user)
	if err != nil {
		return Commitment{}, err
	}
	if len(token) > MaxCommitmentBytes {
		return Commitment{}, fmt.Errorf("signing a commitment: it takes %d bytes, at most %d", len(token), MaxCommitmentBytes)
	}
	m.Token, m.ID = token, NewCommitmentID(token)
	return m, nil
}

// ParseCommitment reads a commitment and the certificate inside it and checks
// both signatures. It refuses with MalformedCommitment, MalformedCertificate,
// UnknownBroker, BadCertificate, BadCommitment or OverCertificateLimit. Times,
// vendor and currency are for CheckTerms.
func ParseCommitment(token string, brokers Brokers) (Commitment, Refusal) {
	return parseCommitment(token, brokers, oneByOne)
}

func parseCommitment(token string, brokers Brokers, by signatureCheck) (Commitment, Refusal) {
	object, err := splitJWS(token, typeCommitment, MaxCommitmentBytes)
	if err != nil {
		return Commitment{}, refuse(MalformedCommitment, "commitment: %v", err)
	}
	var claims commitmentClaims
	if err := object.claims(&claims); err != nil {
		return Commitment{}, refuse(MalformedCommitment, "commitment: %v", err)
	}
	certificate, refusal := parseCertificate(claims.Certificate, brokers, by)
	if refusal.Refused() {
		return Commitment{}, refusal
	}
	commitment, err := claims.commitment(certificate)
	if err != nil {
		return Commitment{}, refuse(MalformedCommitment, "commitment: %v", err)
	}
	if object.keyID != Thumbprint(certificate.Key) || !object.verify(certificate.Key, by) {
		return Commitment{}, refuse(BadCommitment, "the user's signature is wrong")
	}
	if commitment.Limit > certificate.Limit {
		return Commitment{}, refuse(OverCertificateLimit, "the commitment's limit is %s %s, the certificate allows %s",
			commitment.Limit.Decimal(), commitment.Currency.Code(), certificate.Limit.Decimal())
	}
	commitment.Token, commitment.ID = token, NewCommitmentID(token)
	return commitment, Refusal{}
}

// commitment checks the claims against the limits of the protocol and against
// the certificate, and returns them as a Commitment without token and id.
func (c commitmentClaims) commitment(certificate Certificate) (Commitment, error) {
	m := Commitment{
		Vendor: c.Vendor, Certificate: certificate, IssuedAt: c.IssuedAt, Expires: c.Expires,
		Currency: c.Currency, Limit: c.Limit,
	}
	if err := CheckOrigin(c.Vendor); err != nil {
		return Commitment{}, fmt.Errorf("aud: %w", err)
	}
	if err := decodeFixed(m.Nonce[:], c.ID); err != nil {
		return Commitment{}, fmt.Errorf("jti: %w", err)
	}
	switch {
	case c.Subject != certificate.Subject:
		return Commitment{}, errors.New("iss: want the certificate's sub")
	case c.Currency == "" || c.Currency != certificate.Currency:
		return Commitment{}, errors.New("currency: want the certificate's")
	case c.Limit < 1 || c.Limit > money.MaxAmount:
		return Commitment{}, fmt.Errorf("limit: want 1 to %d micros", money.MaxAmount)
	case c.IssuedAt <= 0 || c.Expires <= c.IssuedAt:
		return Commitment{}, errors.New("exp: want a time after iat")
	case c.Expires > certificate.Expires:
		return Commitment{}, errors.New("exp: the certificate expires before it")
	case len(c.Chains) < 1 || len(c.Chains) > MaxChains:
		return Commitment{}, fmt.Errorf("chains: want 1 to %d", MaxChains)
	}
	m.Chains = make([]ChainTerms, len(c.Chains))
	for k, chain := range c.Chains {
		terms, err := chain.terms()
		if err != nil {
			return Commitment{}, fmt.Errorf("chain %d: %w", k, err)
		}
		for j := range k {
			if m.Chains[j].Root == terms.Root {
				return Commitment{}, fmt.Errorf("chains %d and %d have the same root", j, k)
			}
		}
		m.Chains[k] = terms
	}
	return m, nil
}

func (c chainClaims) terms() (ChainTerms, error) {
	terms := ChainTerms{Unit: c.Unit, Length: c.Length}
	if err := decodeFixed(terms.Root[:], c.Root); err != nil {
		return ChainTerms{}, fmt.Errorf("root: %w", err)
	}
	if c.Unit < 1 || c.Unit > money.MaxAmount {
		return ChainTerms{}, fmt.Errorf("unit: want 1 to %d micros", money.MaxAmount)
	}
	if c.Length < 1 || c.Length > MaxChainLength {
		return ChainTerms{}, fmt.Errorf("length: want 1 to %d steps", MaxChainLength)
	}
	return terms, nil
}

// CheckTerms reports whether the vendor may take the commitment at a time, in
// seconds since 1970: it names that vendor and currency, has not expired, and
// was not made in the future. It refuses with WrongVendor, WrongCurrency,
// CommitmentNotYetValid, CommitmentExpired or CertificateExpired.
func (m *Commitment) CheckTerms(vendor string, currency money.Currency, now int64) Refusal {
	switch {
	case m.Vendor != vendor:
		return refuse(WrongVendor, "the commitment is for %s, this is %s", m.Vendor, vendor)
	case m.Currency != currency:
		return refuse(WrongCurrency, "the commitment is in %s, prices here are in %s", m.Currency.Code(), currency.Code())
	case m.IssuedAt > now+SkewSeconds || m.Certificate.IssuedAt > now+SkewSeconds:
		return refuse(CommitmentNotYetValid, "the commitment says it was made in the future")
	case now >= m.Certificate.Expires:
		return refuse(CertificateExpired, "the certificate has expired")
	case now >= m.Expires:
		return refuse(CommitmentExpired, "the commitment has expired")
	}
	return Refusal{}
}

// UnverifiedCommitment reads a commitment without checking any signature, for
// its owner, who signed it and keeps it. Nobody may grant anything on it.
func UnverifiedCommitment(token string) (Commitment, error) {
	return readCommitment(NewCommitmentID(token), token, oneByOne)
}

// StoredCommitment reads a commitment that its caller has stored under its id since
// ParseCommitment took it. What takes arithmetic is not done again: it checks no
// signature, nor the user's key, nor that the id is that of the token. Whoever gives
// it a token from anywhere else takes what is forged, and under any id.
func StoredCommitment(id CommitmentID, token string) (Commitment, error) {
	return readCommitment(id, token, checkedBefore{})
}

// readCommitment reads a commitment without checking any signature; the user's key
// is checked as by does.
func readCommitment(id CommitmentID, token string, by signatureCheck) (Commitment, error) {
	object, err := splitJWS(token, typeCommitment, MaxCommitmentBytes)
	if err != nil {
		return Commitment{}, fmt.Errorf("reading a commitment: %w", err)
	}
	var claims commitmentClaims
	if err := object.claims(&claims); err != nil {
		return Commitment{}, fmt.Errorf("reading a commitment: %w", err)
	}
	certificate, err := readCertificate(claims.Certificate, by)
	if err != nil {
		return Commitment{}, fmt.Errorf("reading a commitment: %w", err)
	}
	m, err := claims.commitment(certificate)
	if err != nil {
		return Commitment{}, fmt.Errorf("reading a commitment: %w", err)
	}
	m.Token, m.ID = token, id
	return m, nil
}

// UnverifiedCertificate reads a certificate without checking the broker's
// signature, for the wallet that was given it over a secure channel.
func UnverifiedCertificate(token string) (Certificate, error) {
	return readCertificate(token, oneByOne)
}

// readCertificate reads a certificate without checking its signature, and its key
// as by does.
func readCertificate(token string, by signatureCheck) (Certificate, error) {
	object, err := splitJWS(token, typeCertificate, MaxCertificateBytes)
	if err != nil {
		return Certificate{}, fmt.Errorf("reading a certificate: %w", err)
	}
	var claims certificateClaims
	if err := object.claims(&claims); err != nil {
		return Certificate{}, fmt.Errorf("reading a certificate: %w", err)
	}
	certificate, err := claims.certificate(by)
	if err != nil {
		return Certificate{}, fmt.Errorf("reading a certificate: %w", err)
	}
	certificate.Token = token
	return certificate, nil
}
