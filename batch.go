package payword

import (
	"crypto/ed25519"

	"github.com/paywordhq/payword/internal/ed25519batch"
)

// Batch reads commitments and claims, and checks all of their signatures, and the
// keys in certificates, together afterwards, in a fraction of the time. It reads
// each as if they were valid. If Verify says so of all that came up in reading
// something, what was read, or refused, is what the functions of this package
// give; if not, they are to be asked.
//
// Whether a signature is valid is what crypto/ed25519 says, always: what cannot
// be proved valid in a batch is checked by itself. Where the processor has no
// AVX-512 IFMA nothing can be, and each is checked by the Verifier.
//
// A Batch is not safe for concurrent use.
type Batch struct {
	verifier   *Verifier
	count      int // of what came up
	signatures []ed25519batch.Signature
	numbers    []int // of each signature, among what came up
	keys       []numberedKey
}

// numberedKey is a key for CheckPublicKey.
type numberedKey struct {
	number int
	key    [ed25519.PublicKeySize]byte
}

// IsBatchFaster reports whether this processor checks many signatures faster in a
// Batch than one by one. Where it does not, parts of the work are better given to
// several processors.
func IsBatchFaster() bool { return ed25519batch.IsUsable() }

// NewBatch returns an empty batch. What it cannot prove is checked by v, which
// may be nil.
func (v *Verifier) NewBatch() *Batch { return &Batch{verifier: v} }

// ParseCommitment is the function of that name, but for the checks that Verify
// does.
func (b *Batch) ParseCommitment(token string, brokers Brokers) (Commitment, Refusal) {
	return parseCommitment(token, brokers, b)
}

// ParseClaim is the function of that name, but for the check that Verify does.
func (b *Batch) ParseClaim(token string, vendorKey ed25519.PublicKey) (Claim, Refusal) {
	return parseClaim(token, vendorKey, b)
}

// Len returns how many checks have come up so far. Those of what is read next
// have the numbers from there on.
func (b *Batch) Len() int { return b.count }

// verify notes a signature.
func (b *Batch) verify(key ed25519.PublicKey, message string, signature []byte) bool {
	b.signatures = append(b.signatures, ed25519batch.Signature{Key: key, Message: message, Signature: signature})
	b.numbers = append(b.numbers, b.count)
	b.count++
	return true
}

// checkKey notes a key.
func (b *Batch) checkKey(key ed25519.PublicKey) error {
	if len(key) != ed25519.PublicKeySize || !ed25519batch.IsUsable() {
		return CheckPublicKey(key)
	}
	b.keys = append(b.keys, numberedKey{b.count, [ed25519.PublicKeySize]byte(key)})
	b.count++
	return nil
}

// Verify does the checks, and says of each whether it found what it checked
// valid.
func (b *Batch) Verify() []bool {
	areValid := make([]bool, b.count)
	proved := make(map[[ed25519.PublicKeySize]byte]bool, len(b.keys)) // the keys that were noted
	for _, noted := range b.keys {
		proved[noted.key] = false
	}
	b.verifyPart(0, len(b.signatures), leastWhole, areValid, proved)
	for _, noted := range b.keys {
		areValid[noted.number] = proved[noted.key] || CheckPublicKey(noted.key[:]) == nil
	}
	return areValid
}

// How much one by one would have to take for a batch to be worth its fixed cost,
// in signatures of a key whose multiples are kept. Halves of a batch with bad
// signatures have to save more, because there may be bad ones in each of them.
const (
	leastWhole = 150
	leastHalf  = 3 * leastWhole
)

// isWorthBatch reports whether one by one would take that much. A signature of
// another key takes three times as long.
func (b *Batch) isWorthBatch(part []ed25519batch.Signature, least int) bool {
	for _, one := range part {
		if least--; !b.verifier.isFrequent(one.Key) {
			least -= 2
		}
	}
	return least <= 0 && ed25519batch.IsUsable()
}

// verifyPart checks some of the signatures. If they cannot be proved together,
// each half is tried by itself, so that a few bad ones cost little. Who has signed
// in a batch that is proved has a valid key.
func (b *Batch) verifyPart(from, to, least int, areValid []bool, proved map[[ed25519.PublicKeySize]byte]bool) {
	part := b.signatures[from:to]
	switch {
	case !b.isWorthBatch(part, least):
		for k, one := range part {
			areValid[b.numbers[from+k]] = b.verifier.verify(one.Key, one.Message, one.Signature)
		}
	case ed25519batch.AllValid(part):
		for k, one := range part {
			areValid[b.numbers[from+k]] = true
			if _, isNoted := proved[[ed25519.PublicKeySize]byte(one.Key)]; isNoted {
				proved[[ed25519.PublicKeySize]byte(one.Key)] = true
			}
		}
	default:
		half := (from + to) / 2
		b.verifyPart(from, half, leastHalf, areValid, proved)
		b.verifyPart(half, to, leastHalf, areValid, proved)
	}
}
