package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"math/big"
	"math/bits"
)

// sum is an exact sum of amounts in micros, in 128 bits: no number of transfers
// that a disk holds overflows it.
type sum struct {
	high int64
	low  uint64
}

func (s sum) plus(amount int64) sum {
	return s.add(sum{amount >> 63, uint64(amount)})
}

func (s sum) minus(amount int64) sum {
	return s.sub(sum{amount >> 63, uint64(amount)})
}

func (s sum) add(other sum) sum {
	low, carry := bits.Add64(s.low, other.low, 0)
	return sum{s.high + other.high + int64(carry), low}
}

func (s sum) sub(other sum) sum {
	low, borrow := bits.Sub64(s.low, other.low, 0)
	return sum{s.high - other.high - int64(borrow), low}
}

func (s sum) is(amount int64) bool { return s == sum{}.plus(amount) }

func (s sum) isZero() bool { return s == sum{} }

func (s sum) sign() int {
	switch {
	case s.high < 0:
		return -1
	case s.isZero():
		return 0
	}
	return 1
}

// String returns the sum in micros.
func (s sum) String() string {
	value := new(big.Int).Lsh(big.NewInt(s.high), 64)
	return value.Add(value, new(big.Int).SetUint64(s.low)).String()
}

// fingerprint stands for a name of any length in 16 bytes. Two names that share
// one cannot be made.
type fingerprint [16]byte

func fingerprintOf(name string) fingerprint {
	hash := sha256.Sum256([]byte(name))
	return fingerprint(hash[:])
}

// part is a share of all fingerprints: those whose number modulo count is index.
type part struct{ index, count uint32 }

func (p part) has(f fingerprint) bool {
	return p.count == 1 || binary.BigEndian.Uint32(f[:])%p.count == p.index
}
