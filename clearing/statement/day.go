package statement

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// typeDay is the typ of a signed day.
const typeDay = "payword-day+jwt"

// MaxDayBytes bounds a signed day: two names of 270 bytes and two hashes in JSON,
// in base64url, with header and signature.
const MaxDayBytes = 2048

// Day is the broker's word on all statements of one run: a compact JWS (typ
// payword-day+jwt) under the rules of docs/protocol.md, section 6. Each names the
// one before it, so that whoever keeps them sees one that was left out or made
// twice.
type Day struct {
	Issuer    string         `json:"iss"`       // the broker's origin
	Number    int64          `json:"number"`    // from 1, without gaps
	Run       string         `json:"run"`       // the settlement run
	PeriodEnd string         `json:"periodEnd"` // a day, 2026-11-22
	Currency  money.Currency `json:"currency"`
	Leaves    int64          `json:"leaves"`   // number of statements
	Root      string         `json:"root"`     // of the tree, base64url
	Previous  string         `json:"previous"` // SHA-256 of the token of the day before, hexadecimal; "": it is the first
	IssuedAt  int64          `json:"iat"`      // seconds since 1970
}

func (d *Day) check() error {
	_, err := decodeHash(d.Root)
	previous, hexErr := hex.DecodeString(d.Previous)
	switch {
	case payword.CheckOrigin(d.Issuer) != nil:
		return errors.New("iss: want the broker's origin")
	case !isName(d.Run) || !isName(d.PeriodEnd) || d.Currency == "":
		return errors.New("run, periodEnd and currency: want all of them")
	case d.Number < 1 || d.Leaves < 0 || d.IssuedAt < 1:
		return errors.New("number, leaves and iat: want a day, a count and a time")
	case err != nil:
		return fmt.Errorf("root: %w", err)
	case hexErr != nil || (d.Number == 1) != (len(previous) == 0) || len(previous) != 0 && len(previous) != sha256.Size:
		return errors.New("previous: want the SHA-256 of the day before, and none for the first")
	}
	return nil
}

// dayHeader is all that a day's JWS header can be.
func dayHeader(keyID string) string {
	return `{"alg":"EdDSA","kid":"` + keyID + `","typ":"` + typeDay + `"}`
}

// SignDay signs a day and returns its token.
func SignDay(d Day, signer crypto.Signer) (string, error) {
	key, isEd25519 := signer.Public().(ed25519.PublicKey)
	if !isEd25519 {
		return "", fmt.Errorf("signing a day: want an Ed25519 key, not %T", signer.Public())
	}
	if err := d.check(); err != nil {
		return "", fmt.Errorf("signing a day: %w", err)
	}
	payload, err := encode(d)
	if err != nil {
		return "", err
	}
	payload = bytes.TrimSuffix(payload, []byte("\n"))
	signed := base64url.EncodeToString([]byte(dayHeader(payword.Thumbprint(key)))) + "." + base64url.EncodeToString(payload)
	signature, err := signer.Sign(nil, []byte(signed), crypto.Hash(0))
	if err != nil {
		return "", fmt.Errorf("signing a day: %w", err)
	}
	token := signed + "." + base64url.EncodeToString(signature)
	if len(token) > MaxDayBytes {
		return "", fmt.Errorf("signing a day: it takes %d bytes, at most %d", len(token), MaxDayBytes)
	}
	return token, nil
}

// HashDay returns what the next day names a day by.
func HashDay(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// ErrDayKey means that a day was signed by a key that is not among the keys given.
var ErrDayKey = errors.New("no key is known under the kid of the day")

// ParseDay reads a day and checks that one of the keys, by kid, signed it. Without
// keys (nil) the signature is not checked. Among the errors is ErrDayKey.
func ParseDay(token string, keys map[string]ed25519.PublicKey) (d Day, keyID string, err error) {
	parts := strings.Split(token, ".")
	if len(token) > MaxDayBytes || len(parts) != 3 {
		return d, "", fmt.Errorf("want a JWS of at most %d bytes", MaxDayBytes)
	}
	var decoded [3][]byte
	for k, part := range parts {
		if decoded[k], err = base64url.DecodeString(part); err != nil || strings.ContainsAny(part, "\r\n") {
			return d, "", errors.New("want three parts in base64url")
		}
	}
	_, rest, _ := strings.Cut(string(decoded[0]), `"kid":"`)
	keyID, _, _ = strings.Cut(rest, `"`)
	// Whoever wrote the file wrote the kid, and it is shown to people.
	if _, err := decodeHash(keyID); err != nil || string(decoded[0]) != dayHeader(keyID) {
		return d, "", fmt.Errorf("header: want alg EdDSA, kid, the thumbprint of a key, and typ %s alone", typeDay)
	}
	if err := decode(append(decoded[1], '\n'), &d); err != nil {
		return d, "", fmt.Errorf("payload: %w", err)
	}
	if err := d.check(); err != nil {
		return d, "", err
	}
	if keys == nil {
		return d, keyID, nil
	}
	key := keys[keyID]
	if key == nil {
		return d, keyID, ErrDayKey
	}
	if !ed25519.Verify(key, []byte(parts[0]+"."+parts[1]), decoded[2]) {
		return d, keyID, errors.New("the signature over the day is wrong")
	}
	return d, keyID, nil
}

// CheckDays reads days in their order, a token each, and checks that every one is
// signed and names the one before it. It returns how many there are; the error
// says which one disagrees.
func CheckDays(tokens []string, keys map[string]ed25519.PublicKey) ([]Day, error) {
	var days []Day
	for k, token := range tokens {
		day, _, err := ParseDay(token, keys)
		if err != nil {
			return days, fmt.Errorf("day in line %d: %w", k+1, err)
		}
		if k > 0 {
			before := days[k-1]
			if day.Issuer != before.Issuer || day.Number != before.Number+1 || day.Previous != HashDay(tokens[k-1]) {
				return days, fmt.Errorf("day %d in line %d does not follow day %d in the line before it: a day was left out or made twice",
					day.Number, k+1, before.Number)
			}
		}
		days = append(days, day)
	}
	return days, nil
}
