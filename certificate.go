package payword

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"

	"github.com/paywordhq/payword/money"
)

// Certificate is C_U = {B, U, A_U, PK_U, E, I_U}: the broker's word that a user
// may spend. It is a JWT (typ payword-certificate+jwt) signed by the broker.
// One certificate serves one vendor, each with its own subject, key and id, so
// that vendors cannot join what they know of a user.
type Certificate struct {
	Token    string            // the exact bytes, as signed; set by parsing and signing
	Issuer   string            // B: the broker's origin
	Subject  string            // U: an opaque pseudonym, 1 to MaxSubjectBytes
	Key      ed25519.PublicKey // PK_U, what commitments are signed with
	IssuedAt int64             // seconds since 1970
	Expires  int64             // E, seconds since 1970: valid while now < E
	ID       Nonce             // jti

	Currency money.Currency
	Limit    money.Amount   // the most that one vendor may accept on it in a day, in micros
	Prefixes []netip.Prefix // A_U: where goods may be delivered to; empty: anywhere
	Age      int            // the user's proven least age in years; 0: nothing proven
	Status   *StatusEntry   // where the hot list tells of it; nil: not listed anywhere
}

// StatusEntry points into a Token Status List, the hot list.
type StatusEntry struct {
	Index uint32 `json:"idx"`
	URI   string `json:"uri"`
}

type certificateClaims struct {
	Issuer       string             `json:"iss"`
	Subject      string             `json:"sub"`
	Confirmation confirmation       `json:"cnf"`
	IssuedAt     int64              `json:"iat"`
	Expires      int64              `json:"exp"`
	ID           string             `json:"jti"`
	Currency     money.Currency     `json:"currency"`
	Limit        money.Amount       `json:"limit"`
	Prefixes     []netip.Prefix     `json:"prefixes,omitempty"`
	Age          int                `json:"age,omitempty"`
	Status       *certificateStatus `json:"status,omitempty"`
}

// confirmation is RFC 7800's cnf claim.
type confirmation struct {
	JWK jwk `json:"jwk"`
}

type certificateStatus struct {
	List StatusEntry `json:"status_list"`
}

// SignCertificate signs c with the broker's key and returns it with its token.
// It refuses to sign what ParseCertificate would not take.
func SignCertificate(c Certificate, broker crypto.Signer) (Certificate, error) {
	claims := certificateClaims{
		Issuer: c.Issuer, Subject: c.Subject, Confirmation: confirmation{JWK: jwkOf(c.Key)},
		IssuedAt: c.IssuedAt, Expires: c.Expires, ID: base64url.EncodeToString(c.ID[:]),
		Currency: c.Currency, Limit: c.Limit, Prefixes: c.Prefixes, Age: c.Age,
	}
	if c.Status != nil {
		claims.Status = &certificateStatus{List: *c.Status}
	}
	if _, err := claims.certificate(oneByOne); err != nil {
		return Certificate{}, fmt.Errorf("signing a certificate: %w", err)
	}
	token, err := signJWS(typeCertificate, claims, broker)
	if err != nil {
		return Certificate{}, err
	}
	if len(token) > MaxCertificateBytes {
		return Certificate{}, fmt.Errorf("signing a certificate: it takes %d bytes, at most %d", len(token), MaxCertificateBytes)
	}
	c.Token = token
	return c, nil
}

// ParseCertificate reads a certificate and checks the broker's signature. It
// refuses with MalformedCertificate, UnknownBroker or BadCertificate. Whether
// it has expired is for the caller to say.
func ParseCertificate(token string, brokers Brokers) (Certificate, Refusal) {
	return parseCertificate(token, brokers, oneByOne)
}

func parseCertificate(token string, brokers Brokers, by signatureCheck) (Certificate, Refusal) {
	object, err := splitJWS(token, typeCertificate, MaxCertificateBytes)
	if err != nil {
		return Certificate{}, refuse(MalformedCertificate, "certificate: %v", err)
	}
	var claims certificateClaims
	if err := object.claims(&claims); err != nil {
		return Certificate{}, refuse(MalformedCertificate, "certificate: %v", err)
	}
	certificate, err := claims.certificate(by)
	if err != nil {
		return Certificate{}, refuse(MalformedCertificate, "certificate: %v", err)
	}
	key := brokers.Key(claims.Issuer, object.keyID)
	if key == nil {
		return Certificate{}, refuse(UnknownBroker, "no key of broker %s is known under that kid", claims.Issuer)
	}
	if !object.verify(key, by) {
		return Certificate{}, refuse(BadCertificate, "the broker's signature is wrong")
	}
	certificate.Token = token
	return certificate, Refusal{}
}

// certificate checks the claims, the key as by does, and returns them as a
// Certificate without its token.
func (c certificateClaims) certificate(by signatureCheck) (Certificate, error) {
	if err := CheckOrigin(c.Issuer); err != nil {
		return Certificate{}, fmt.Errorf("iss: %w", err)
	}
	if err := checkSubject(c.Subject); err != nil {
		return Certificate{}, fmt.Errorf("sub: %w", err)
	}
	key, err := c.Confirmation.JWK.publicKey(by)
	if err != nil {
		return Certificate{}, fmt.Errorf("cnf: %w", err)
	}
	certificate := Certificate{
		Issuer: c.Issuer, Subject: c.Subject, Key: key, IssuedAt: c.IssuedAt, Expires: c.Expires,
		Currency: c.Currency, Limit: c.Limit, Prefixes: c.Prefixes, Age: c.Age,
	}
	if err := decodeFixed(certificate.ID[:], c.ID); err != nil {
		return Certificate{}, fmt.Errorf("jti: %w", err)
	}
	if c.Status != nil {
		certificate.Status = &c.Status.List
	}
	return certificate, certificate.check()
}

// check reports which limit of the protocol a certificate breaks.
func (c Certificate) check() error {
	switch {
	case c.Currency == "":
		return errors.New("currency: missing")
	case c.Limit < 1 || c.Limit > money.MaxAmount:
		return fmt.Errorf("limit: want 1 to %d micros", money.MaxAmount)
	case c.IssuedAt <= 0 || c.Expires <= c.IssuedAt:
		return errors.New("exp: want a time after iat")
	case len(c.Prefixes) > MaxAddressPrefixes:
		return fmt.Errorf("prefixes: at most %d", MaxAddressPrefixes)
	case c.Age < 0 || c.Age > 150:
		return errors.New("age: want 0 to 150 years")
	}
	if c.Status != nil {
		if err := CheckStatusURI(c.Issuer, c.Status.URI); err != nil {
			return fmt.Errorf("status: %w", err)
		}
	}
	for _, prefix := range c.Prefixes {
		if !prefix.IsValid() || prefix != prefix.Masked() {
			return fmt.Errorf("prefixes: %s has bits set past its length", prefix)
		}
	}
	return nil
}

// Covers reports whether goods may be delivered to address under A_U.
func (c Certificate) Covers(address netip.Addr) bool {
	if len(c.Prefixes) == 0 {
		return true
	}
	for _, prefix := range c.Prefixes {
		if prefix.Contains(address.Unmap()) {
			return true
		}
	}
	return false
}

// checkSubject wants printable ASCII without spaces, so that a subject can be
// logged, compared and put in a URL as it is.
func checkSubject(subject string) error {
	if subject == "" || len(subject) > MaxSubjectBytes {
		return fmt.Errorf("want 1 to %d bytes", MaxSubjectBytes)
	}
	for _, c := range []byte(subject) {
		isWord := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
		if !isWord {
			return errors.New("want letters, digits, - and _ only")
		}
	}
	return nil
}
