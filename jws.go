package payword

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4/json"
)

// The signed objects are compact JWS (RFC 7515) with one algorithm and three
// header members, so reading the header is a matter of refusing all else:
// "crit", "jwk", "jku", "x5c" and whatever comes after them. The JSON decoder
// refuses duplicate members and other letter case.

// The types of signed objects, in the typ member of their headers.
const (
	typeCertificate = "payword-certificate+jwt"
	typeCommitment  = "payword-commitment+jwt"
	typeReservation = "payword-reservation+jwt"
	typeClaim       = "payword-claim+jwt"
	typeStatusList  = "statuslist+jwt" // of draft-ietf-oauth-status-list
)

const algorithm = "EdDSA"

// jwsHeader is the header of every signed object.
type jwsHeader struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Type      string `json:"typ"`
}

// jws is a compact JWS taken apart, its signature not yet checked.
type jws struct {
	keyID     string
	signed    string // what the signature covers
	payload   []byte
	signature []byte
}

// signJWS returns claims as a compact JWS of the given type, signed by signer,
// which must hold an Ed25519 key; its kid is the key's thumbprint.
func signJWS(typ string, claims any, signer crypto.Signer) (string, error) {
	key, isEd25519 := signer.Public().(ed25519.PublicKey)
	if !isEd25519 {
		return "", fmt.Errorf("signing %s: want an Ed25519 key, not %T", typ, signer.Public())
	}
	header, err := json.Marshal(jwsHeader{Algorithm: algorithm, KeyID: Thumbprint(key), Type: typ})
	if err != nil {
		return "", fmt.Errorf("signing %s: %w", typ, err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("signing %s: %w", typ, err)
	}
	signed := base64url.EncodeToString(header) + "." + base64url.EncodeToString(payload)
	signature, err := signer.Sign(nil, []byte(signed), crypto.Hash(0))
	if err != nil {
		return "", fmt.Errorf("signing %s: %w", typ, err)
	}
	return signed + "." + base64url.EncodeToString(signature), nil
}

// splitJWS takes a token of at most maxBytes apart. The error says what is
// wrong with it.
func splitJWS(token, typ string, maxBytes int) (jws, error) {
	if len(token) > maxBytes {
		return jws{}, fmt.Errorf("%d bytes: at most %d", len(token), maxBytes)
	}
	header, rest, _ := strings.Cut(token, ".")
	body, last, isWhole := strings.Cut(rest, ".")
	if !isWhole || strings.Contains(last, ".") {
		return jws{}, errors.New("want three parts joined by dots")
	}
	headerBytes, err := decodeBase64url(header)
	if err != nil {
		return jws{}, fmt.Errorf("header: %w", err)
	}
	keyID, err := parseHeader(string(headerBytes), typ)
	if err != nil {
		return jws{}, fmt.Errorf("header: %w", err)
	}
	payload, err := decodeBase64url(body)
	if err != nil {
		return jws{}, fmt.Errorf("payload: %w", err)
	}
	signature := make([]byte, ed25519.SignatureSize)
	if err := decodeFixed(signature, last); err != nil {
		return jws{}, fmt.Errorf("signature: %w", err)
	}
	return jws{
		keyID:     keyID,
		signed:    token[:len(token)-len(last)-1],
		payload:   payload,
		signature: signature,
	}, nil
}

// parseHeader returns the kid of a header.
func parseHeader(text, typ string) (keyID string, err error) {
	// As signJWS writes it, which spares most tokens the decoder.
	before, isUsual := strings.CutPrefix(text, `{"alg":"`+algorithm+`","kid":"`)
	keyID, after, _ := strings.Cut(before, `"`)
	if isUsual && after == `,"typ":"`+typ+`"}` && len(keyID) == base64url.EncodedLen(sha256.Size) && isBase64url(keyID) {
		return strings.Clone(keyID), nil
	}
	var header map[string]string
	if err := json.Unmarshal([]byte(text), &header); err != nil || len(header) != 3 {
		return "", errors.New("want alg, kid and typ alone, once each")
	}
	if header["alg"] != algorithm || header["typ"] != typ || header["kid"] == "" {
		return "", fmt.Errorf("want alg %s, typ %s and a kid", algorithm, typ)
	}
	return header["kid"], nil
}

// isBase64url reports whether text has the characters of base64url only.
func isBase64url(text string) bool {
	for _, c := range []byte(text) {
		isWord := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
		if !isWord {
			return false
		}
	}
	return true
}

// verify reports whether key made the signature, as by finds.
func (j jws) verify(key ed25519.PublicKey, by signatureCheck) bool {
	return len(key) == ed25519.PublicKeySize && by.verify(key, j.signed, j.signature)
}

// signatureCheck is a way to check signatures: a Verifier at once, a Batch later.
type signatureCheck interface {
	// verify reports whether key made the signature of a message, as
	// ed25519.Verify does. The key has ed25519.PublicKeySize bytes.
	verify(key ed25519.PublicKey, message string, signature []byte) bool

	// checkKey reports what is wrong with a key, as CheckPublicKey does.
	checkKey(key ed25519.PublicKey) error
}

// oneByOne checks every signature with crypto/ed25519.
var oneByOne = (*Verifier)(nil)

// checkedBefore is for what was checked when it was stored: it takes every key, and
// no signature.
type checkedBefore struct{}

func (checkedBefore) verify(ed25519.PublicKey, string, []byte) bool { return false }
func (checkedBefore) checkKey(ed25519.PublicKey) error              { return nil }

// claims reads the payload into target. Members that target does not have are
// passed over, so that later versions can add some.
func (j jws) claims(target any) error {
	switch target := target.(type) {
	case *commitmentClaims:
		if isPlain(string(j.payload), target) {
			return nil
		}
		*target = commitmentClaims{}
	case *certificateClaims:
		if isPlain(string(j.payload), target) {
			return nil
		}
		*target = certificateClaims{}
	case *claimClaims:
		if isPlain(string(j.payload), target) {
			return nil
		}
		*target = claimClaims{}
	}
	if err := json.Unmarshal(j.payload, target); err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	return nil
}
