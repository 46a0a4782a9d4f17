package payword

import (
	"crypto/ed25519"
	"crypto/sha512"
	"crypto/subtle"
	"sync"
	"sync/atomic"

	"filippo.io/edwards25519"
)

// Verifier checks the signatures of a few keys that sign much faster than
// crypto/ed25519 does, in less than half of the time, and decides the same: it
// solves the same equation, with multiples of the key that were computed before.
// Those take 655 KB and the time of 17 signatures for a key, and are made once
// the key has been used frequentUses times. The signatures of other keys are checked by
// crypto/ed25519.
//
// A nil Verifier knows no keys. One is safe for concurrent use.
type Verifier struct {
	keys map[[ed25519.PublicKeySize]byte]*frequentKey
}

// frequentUses is how often a key is used before its multiples are made: by then
// they would have saved what they cost.
const frequentUses = 32

// frequentKey is a key whose multiples are worth making.
type frequentKey struct {
	uses      atomic.Int64
	once      sync.Once
	multiples *multiples // of the negative of the key; nil: it is no point
}

// NewVerifier returns a verifier of the keys that sign much. Keys that are none
// are left out.
func NewVerifier(keys ...ed25519.PublicKey) *Verifier {
	v := &Verifier{keys: make(map[[ed25519.PublicKeySize]byte]*frequentKey, len(keys))}
	for _, key := range keys {
		if len(key) == ed25519.PublicKeySize {
			v.keys[[ed25519.PublicKeySize]byte(key)] = new(frequentKey)
		}
	}
	return v
}

// verify is that of signatureCheck.
func (v *Verifier) verify(key ed25519.PublicKey, message string, signature []byte) bool {
	if v == nil {
		return ed25519.Verify(key, []byte(message), signature)
	}
	frequent := v.keys[[ed25519.PublicKeySize]byte(key)]
	if frequent == nil || frequent.uses.Add(1) <= frequentUses {
		return ed25519.Verify(key, []byte(message), signature)
	}
	frequent.once.Do(func() {
		if point, err := new(edwards25519.Point).SetBytes(key); err == nil {
			frequent.multiples = multiplesOf(point.Negate(point))
		}
	})
	if frequent.multiples == nil {
		return ed25519.Verify(key, []byte(message), signature)
	}
	return frequent.multiples.verify(key, []byte(message), signature)
}

// isFrequent reports whether the key is one of those that sign much. It has
// ed25519.PublicKeySize bytes.
func (v *Verifier) isFrequent(key ed25519.PublicKey) bool {
	return v != nil && v.keys[[ed25519.PublicKeySize]byte(key)] != nil
}

// checkKey is that of signatureCheck.
func (v *Verifier) checkKey(key ed25519.PublicKey) error { return CheckPublicKey(key) }

// ParseCommitment is the function of that name.
func (v *Verifier) ParseCommitment(token string, brokers Brokers) (Commitment, Refusal) {
	return parseCommitment(token, brokers, v)
}

// ParseClaim is the function of that name.
func (v *Verifier) ParseClaim(token string, vendorKey ed25519.PublicKey) (Claim, Refusal) {
	return parseClaim(token, vendorKey, v)
}

const (
	// digitBits is how many bits of a scalar one multiple stands for. With one
	// less, the multiples would take half of the memory and of the time to make,
	// and a signature a tenth longer.
	digitBits = 8

	// scalarDigits is how many digits hold the 253 bits of a scalar and the
	// carry of the last one.
	scalarDigits = (254 + digitBits - 1) / digitBits
)

// multiples are those of one point P: [k][j-1] is j * 2^(digitBits*k) * P, with
// j up to half of 2^digitBits. A digit that is negative is subtracted.
type multiples [scalarDigits][1 << (digitBits - 1)]edwards25519.Point

// multiplesOf computes the multiples of a point.
func multiplesOf(point *edwards25519.Point) *multiples {
	m := new(multiples)
	unit := new(edwards25519.Point).Set(point)
	for k := range m {
		row := &m[k]
		row[0].Set(unit)
		for j := 1; j < len(row); j++ {
			row[j].Add(&row[j-1], unit)
		}
		unit.Add(&row[len(row)-1], &row[len(row)-1]) // twice half of 2^digitBits
	}
	return m
}

// addTimes adds scalar * P to sum. How long that takes depends on the scalar,
// which is no secret in a signature.
func (m *multiples) addTimes(sum *edwards25519.Point, scalar *edwards25519.Scalar) {
	digits := digitsOf(scalar)
	for k, digit := range digits {
		switch {
		case digit > 0:
			sum.Add(sum, &m[k][digit-1])
		case digit < 0:
			sum.Subtract(sum, &m[k][-digit-1])
		}
	}
}

// digitsOf writes a scalar with digits from -2^(digitBits-1) to
// 2^(digitBits-1)-1, the lowest first.
func digitsOf(scalar *edwards25519.Scalar) (digits [scalarDigits]int) {
	var encoded [len(digits)*digitBits/8 + 2]byte // little endian
	copy(encoded[:], scalar.Bytes())
	carry := 0
	for k := range digits {
		at := k * digitBits
		bits := int(encoded[at/8]) | int(encoded[at/8+1])<<8
		digit := bits>>(at%8)&(1<<digitBits-1) + carry
		carry = (digit + 1<<(digitBits-1)) >> digitBits
		digits[k] = digit - carry<<digitBits
	}
	return digits
}

// baseMultiples are those of the base point B of Ed25519.
var baseMultiples = sync.OnceValue(func() *multiples { return multiplesOf(edwards25519.NewGeneratorPoint()) })

// verify decides on [S]B - [k]A = R, as crypto/ed25519 does (RFC 8032 section
// 5.1.7 without the cofactor): S must be reduced, and what the equation gives
// must be encoded as the signature's R is, byte for byte. m is of -A.
func (m *multiples) verify(key ed25519.PublicKey, message, signature []byte) bool {
	if len(signature) != ed25519.SignatureSize {
		return false
	}
	s, err := new(edwards25519.Scalar).SetCanonicalBytes(signature[32:])
	if err != nil {
		return false
	}
	hash := sha512.New()
	hash.Write(signature[:32])
	hash.Write(key)
	hash.Write(message)
	k, err := new(edwards25519.Scalar).SetUniformBytes(hash.Sum(nil))
	if err != nil {
		return false // never: a SHA-512 has the length that is wanted
	}
	sum := edwards25519.NewIdentityPoint()
	baseMultiples().addTimes(sum, s)
	m.addTimes(sum, k)
	return subtle.ConstantTimeCompare(sum.Bytes(), signature[:32]) == 1
}
