package ed25519batch

import (
	"encoding/binary"
	"encoding/hex"
)

// lanes is how many numbers are computed with at a time.
const lanes = 8

// element is eight numbers modulo p = 2^255 - 19: five limbs of 51 bits, the
// lowest first, each of all eight.
type element [5][lanes]uint64

const limbMask = 1<<51 - 1

// limbs takes a little-endian number of 255 bits apart; the highest bit is
// passed over.
func limbs(bytes *[32]byte) [5]uint64 {
	word := func(at int) uint64 { return binary.LittleEndian.Uint64(bytes[at:]) }
	return [5]uint64{
		word(0) & limbMask, word(6) >> 3 & limbMask, word(12) >> 6 & limbMask,
		word(19) >> 1 & limbMask, word(24) >> 12 & limbMask,
	}
}

// set writes one of the eight numbers.
func (e *element) set(lane int, number [5]uint64) {
	for k, limb := range number {
		e[k][lane] = limb
	}
}

// get reads one of the eight numbers, the one below p.
func (e *element) get(lane int) (number [5]uint64) {
	carry := uint64(19) // so that what is p or more carries
	for k := range e {
		carry = (e[k][lane] + carry) >> 51
	}
	carry *= 19
	for k := range e {
		carry += e[k][lane]
		number[k] = carry & limbMask
		carry >>= 51
	}
	return number
}

// isZero reports whether one of the eight numbers is zero.
func (e *element) isZero(lane int) bool { return e.get(lane) == [5]uint64{} }

// bytes returns one of the eight numbers, little endian.
func (e *element) bytes(lane int) (encoded [32]byte) {
	n := e.get(lane)
	binary.LittleEndian.PutUint64(encoded[0:], n[0]|n[1]<<51)
	binary.LittleEndian.PutUint64(encoded[8:], n[1]>>13|n[2]<<38)
	binary.LittleEndian.PutUint64(encoded[16:], n[2]>>26|n[3]<<25)
	binary.LittleEndian.PutUint64(encoded[24:], n[3]>>39|n[4]<<12)
	return encoded
}

// everywhere is the same number eight times, from its hexadecimal digits, the
// highest first.
func everywhere(digits string) (e element) {
	decoded, err := hex.DecodeString(digits)
	if err != nil {
		panic(err)
	}
	var bytes [32]byte
	for k, b := range decoded {
		bytes[len(decoded)-1-k] = b
	}
	for lane := range lanes {
		e.set(lane, limbs(&bytes))
	}
	return e
}

// The constants of Ed25519 (RFC 8032 section 5.1).
var (
	zero        element
	one         = everywhere("01")
	curveD      = everywhere("52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3")
	rootOfMinus = everywhere("2b8324804fc1df0b2b4d00993dfbd7a72f431806ad2fe478c4ee1b274a0ea0b0") // of -1
)

// power sets e to a^((p-5)/8), which is a^(2^252 - 3). A comment says which
// exponent has been reached.
func (e *element) power(a *element) {
	var t0, t1, t2 element
	square(&t0, a, 1)
	square(&t1, &t0, 2)
	multiply(&t1, a, &t1)   // 9
	multiply(&t0, &t0, &t1) // 11
	square(&t0, &t0, 1)
	multiply(&t0, &t1, &t0) // 2^5 - 1
	square(&t1, &t0, 5)
	multiply(&t0, &t1, &t0) // 2^10 - 1
	square(&t1, &t0, 10)
	multiply(&t1, &t1, &t0) // 2^20 - 1
	square(&t2, &t1, 20)
	multiply(&t1, &t2, &t1) // 2^40 - 1
	square(&t1, &t1, 10)
	multiply(&t0, &t1, &t0) // 2^50 - 1
	square(&t1, &t0, 50)
	multiply(&t1, &t1, &t0) // 2^100 - 1
	square(&t2, &t1, 100)
	multiply(&t1, &t2, &t1) // 2^200 - 1
	square(&t1, &t1, 50)
	multiply(&t0, &t1, &t0) // 2^250 - 1
	square(&t0, &t0, 2)
	multiply(e, &t0, a)
}
