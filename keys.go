package payword

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"filippo.io/edwards25519"
	"github.com/go-jose/go-jose/v4/json"
)

// base64url is RFC 4648 section 5 without padding, refusing stray bits at the
// end. It still skips line breaks, which decode refuses.
var base64url = base64.RawURLEncoding.Strict()

// decodeBase64url decodes text, refusing every spelling but the canonical one.
func decodeBase64url(text string) ([]byte, error) {
	decoded, err := base64url.DecodeString(text)
	if err != nil || base64url.EncodedLen(len(decoded)) != len(text) {
		return nil, errors.New("not canonical base64url without padding")
	}
	return decoded, nil
}

// decodeFixed decodes text into target and reports whether it filled it
// exactly.
func decodeFixed(target []byte, text string) error {
	if len(text) != base64url.EncodedLen(len(target)) {
		return fmt.Errorf("want %d bytes in base64url, %d characters", len(target), base64url.EncodedLen(len(target)))
	}
	decoded, err := decodeBase64url(text)
	if err != nil {
		return err
	}
	copy(target, decoded)
	return nil
}

// CheckPublicKey reports what is wrong with an Ed25519 public key: its size, an
// encoding that is not the canonical one, or a point of small order, under
// which one signature fits many messages.
func CheckPublicKey(key ed25519.PublicKey) error {
	if len(key) != ed25519.PublicKeySize {
		return fmt.Errorf("an Ed25519 key has %d bytes, not %d", ed25519.PublicKeySize, len(key))
	}
	point, err := new(edwards25519.Point).SetBytes(key)
	if err != nil {
		return errors.New("not a point of the curve")
	}
	if !isReduced(key) {
		return errors.New("not the canonical encoding of its point")
	}
	if new(edwards25519.Point).MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return errors.New("a point of small order")
	}
	return nil
}

// isReduced reports whether the coordinate that a key encodes, little endian and
// without the sign bit, is below 2^255-19. One that is not has a second,
// shorter spelling. The other points with two spellings are of small order.
func isReduced(key ed25519.PublicKey) bool {
	const lowest = 0xed // of the prime's bytes; the others are all ones
	if key[31]&0x7f != 0x7f || key[0] < lowest {
		return true
	}
	for _, b := range key[1:31] {
		if b != 0xff {
			return true
		}
	}
	return false
}

// jwk is an Ed25519 public key as a JSON Web Key (RFC 8037). Its members are in
// the order that RFC 7638 hashes them in.
type jwk struct {
	Curve string `json:"crv"`
	KeyID string `json:"kid,omitempty"`
	Type  string `json:"kty"`
	X     string `json:"x"`
}

func jwkOf(key ed25519.PublicKey) jwk {
	return jwk{Curve: "Ed25519", Type: "OKP", X: base64url.EncodeToString(key)}
}

func (j jwk) publicKey(by signatureCheck) (ed25519.PublicKey, error) {
	if j.Type != "OKP" || j.Curve != "Ed25519" {
		return nil, fmt.Errorf("key of type %.20q on curve %.20q: want OKP on Ed25519", j.Type, j.Curve)
	}
	key := make(ed25519.PublicKey, ed25519.PublicKeySize)
	if err := decodeFixed(key, j.X); err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	if err := by.checkKey(key); err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return key, nil
}

// Thumbprint returns the RFC 7638 thumbprint of an Ed25519 key in base64url:
// the kid of every key in the protocol.
func Thumbprint(key ed25519.PublicKey) string {
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64url.EncodeToString(key) + `"}`))
	return base64url.EncodeToString(sum[:])
}

// FormatJWKS returns the keys as a JSON Web Key Set (RFC 7517), each under its
// thumbprint.
func FormatJWKS(keys ...ed25519.PublicKey) ([]byte, error) {
	set := struct {
		Keys []jwk `json:"keys"`
	}{Keys: []jwk{}}
	for _, key := range keys {
		member := jwkOf(key)
		member.KeyID = Thumbprint(key)
		set.Keys = append(set.Keys, member)
	}
	return json.Marshal(set)
}

// maxKeys bounds a key set: a broker that rotates daily and keeps keys for a
// month has half as many.
const maxKeys = 64

// ParseJWKS reads a JSON Web Key Set and returns its Ed25519 keys by kid. Keys
// of other types are passed over, as RFC 7517 asks.
func ParseJWKS(document []byte) (map[string]ed25519.PublicKey, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(document, &set); err != nil {
		return nil, fmt.Errorf("reading a key set: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("key set with %d keys: at most %d", len(set.Keys), maxKeys)
	}
	keys := make(map[string]ed25519.PublicKey)
	for _, member := range set.Keys {
		if member.Type != "OKP" || member.Curve != "Ed25519" {
			continue
		}
		key, err := member.publicKey(oneByOne)
		if err != nil {
			return nil, fmt.Errorf("key set: %w", err)
		}
		if member.KeyID == "" || keys[member.KeyID] != nil {
			return nil, fmt.Errorf("key set: kid %.60q is empty or stands twice", member.KeyID)
		}
		keys[member.KeyID] = key
	}
	return keys, nil
}

// Brokers holds the keys of the brokers that a vendor trusts, by issuer and
// kid. A broker's key speaks for that broker alone. It must not be changed
// while others read it.
type Brokers map[string]map[string]ed25519.PublicKey

// Key returns the key that issuer published under kid, or nil.
func (b Brokers) Key(issuer, kid string) ed25519.PublicKey { return b[issuer][kid] }
