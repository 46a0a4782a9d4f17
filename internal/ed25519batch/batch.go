// Package ed25519batch proves many Ed25519 signatures valid at once, in the sense
// of crypto/ed25519: it never says so of one that crypto/ed25519 refuses. It
// takes a tenth of the time of checking them one by one, on processors that have
// AVX-512 IFMA; on others it proves nothing.
//
// Why it is sound. A signature (R, S) by the key A over M is valid if
// E = [S]B - [k]A - R is the identity, with k = SHA-512(R, A, M), S below the
// order L of B, and R in its one canonical encoding (RFC 8032, without the
// cofactor, as crypto/ed25519 has it). A point of the curve is a sum of one in
// the group of B, which has the prime order L, and one of small order: 1, 2, 4
// or 8. It is proved of the signatures of a batch
//
//   - that all S are below L and all R and A canonical, one by one;
//   - that no R and no A has a part of small order. 64 times, a random half of all
//     of them is added up, and L times each sum must be the identity. If some have
//     such a part, then consider the last of them: of the two sums, with it and
//     without it, at most one has none. So each time finds it with a probability
//     of at least one half, and all miss it with at most 2^-64;
//   - that the sum of z*E over all signatures is the identity, for random z of 128
//     bits. Without parts of small order every E is in the group of B, where, if
//     some E is not the identity, at most one value of its z makes the sum so. That
//     happens with a probability of at most 2^-128.
//
// The chances are those of the random numbers of one call, which nobody knows
// before the signatures are there. A key or an R with a part of small order, which
// a signer can make, is valid or not by crypto/ed25519, and not proved here.
//
// The 128 bits of z are random halves already: adding up z*R is adding up the R
// of each bit (see bitSums), so that the first 64 of those sums are at hand. The
// keys, each of them once, get 64 random bits of their own.
package ed25519batch

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"

	"filippo.io/edwards25519"
)

// Signature is one signature to prove.
type Signature struct {
	Key       ed25519.PublicKey
	Message   string
	Signature []byte
}

// MaxSignatures bounds a batch: its memory, 600 bytes for a signature. The fixed
// cost of one is that of 45 signatures of crypto/ed25519.
const MaxSignatures = 4096

const (
	encodedBytes     = 32
	coefficientBytes = 16 // of z
	halvesBytes      = 8  // of random halves
)

// IsUsable reports whether the processor has what this package needs.
func IsUsable() bool { return isUsable }

// AllValid reports whether it could prove that crypto/ed25519 takes every one of
// the signatures, at most MaxSignatures. Then their keys are valid, too: each is
// the only encoding of a point, which is not of small order. If it could not, it
// says nothing about any of them.
func AllValid(signatures []Signature) bool {
	if !isUsable || len(signatures) > MaxSignatures {
		return false
	}
	if len(signatures) == 0 {
		return true
	}
	b, isUsual := newBatch(signatures)
	if !isUsual {
		return false
	}
	firsts, areAll := decodeAll(b.firsts)
	if !areAll {
		return false
	}
	keys, areAll := decodeAll(b.keys)
	if !areAll {
		return false
	}
	return b.prove(firsts, keys)
}

// batch is a batch of signatures, taken apart.
type batch struct {
	firsts       [][encodedBytes]byte   // R of each
	coefficients []byte                 // z of each, coefficientBytes
	keys         [][encodedBytes]byte   // A, each once
	keyTimes     []*edwards25519.Scalar // the sum of z*k for each key
	baseTimes    *edwards25519.Scalar   // the sum of z*S
}

// newBatch takes signatures apart, and reports whether each is reduced and of the
// encodings that can be proved here.
func newBatch(signatures []Signature) (*batch, bool) {
	b := &batch{
		firsts:       make([][encodedBytes]byte, len(signatures)),
		coefficients: make([]byte, len(signatures)*coefficientBytes),
		baseTimes:    edwards25519.NewScalar(),
	}
	_, _ = rand.Read(b.coefficients) // it never fails
	places := make(map[[encodedBytes]byte]int)
	var hashed []byte
	var padded [encodedBytes]byte
	s, k, z := edwards25519.NewScalar(), edwards25519.NewScalar(), edwards25519.NewScalar()
	for n, one := range signatures {
		if len(one.Key) != ed25519.PublicKeySize || len(one.Signature) != ed25519.SignatureSize {
			return nil, false
		}
		key := [encodedBytes]byte(one.Key)
		b.firsts[n] = [encodedBytes]byte(one.Signature)
		place, isKnown := places[key]
		if !isKnown {
			place = len(b.keys)
			places[key] = place
			b.keys = append(b.keys, key)
			b.keyTimes = append(b.keyTimes, edwards25519.NewScalar())
		}
		hashed = append(append(append(hashed[:0], one.Signature[:encodedBytes]...), one.Key...), one.Message...)
		sum := sha512.Sum512(hashed)
		copy(padded[:], b.coefficients[n*coefficientBytes:(n+1)*coefficientBytes])
		_, badZ := z.SetCanonicalBytes(padded[:])
		_, badK := k.SetUniformBytes(sum[:])
		_, badS := s.SetCanonicalBytes(one.Signature[encodedBytes:])
		if badZ != nil || badK != nil || badS != nil || !isUsual(&b.firsts[n]) || !isKnown && !isUsual(&key) {
			return nil, false
		}
		b.baseTimes.MultiplyAdd(z, s, b.baseTimes)
		b.keyTimes[place].MultiplyAdd(z, k, b.keyTimes[place])
	}
	return b, true
}

// prove reports whether no point has a part of small order, and the sum of z*E is
// the identity.
func (b *batch) prove(firsts, keys []affine) bool {
	halves := make([]byte, len(keys)*halvesBytes)
	_, _ = rand.Read(halves)
	low, high := bitSums(firsts, b.coefficients, coefficientBytes), bitSums(firsts, b.coefficients[lanes:], coefficientBytes)
	sums := bitSums(keys, halves, halvesBytes)
	for k := range sums {
		if sums[k].add(&sums[k], &low[k]); !sums[k].isTorsionFree() {
			return false
		}
	}
	var times []byte // of the keys
	for _, scalar := range b.keyTimes {
		times = append(times, scalar.Bytes()...)
	}
	ofFirsts, ofKeys := edwards25519.NewIdentityPoint(), edwards25519.NewIdentityPoint()
	var err error
	for _, bits := range []*[digitBits]point{&high, &low} {
		if ofFirsts, err = total(bits, ofFirsts); err != nil {
			return false
		}
	}
	for from := encodedBytes - lanes; from >= 0; from -= lanes {
		bits := bitSums(keys, times[from:], encodedBytes)
		if ofKeys, err = total(&bits, ofKeys); err != nil {
			return false
		}
	}
	ofBase := new(edwards25519.Point).ScalarBaseMult(b.baseTimes)
	return ofBase.Equal(new(edwards25519.Point).Add(ofFirsts, ofKeys)) == 1
}
