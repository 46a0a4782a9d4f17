package ed25519batch

import (
	"math/big"
	"math/rand/v2"
	"testing"

	"filippo.io/edwards25519"
)

// isProcessorEnough reports whether the processor has what a test is of. If not,
// it tests what there is in its place.
func isProcessorEnough(t *testing.T) bool {
	if !isUsable {
		t.Log("this processor has no AVX-512 IFMA: tested is that nothing is proved")
		if AllValid(make([]Signature, 1)) {
			t.Error("something is proved")
		}
	}
	return isUsable
}

var prime = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))

// number is one of the eight, as it stands.
func (e *element) number(lane int) *big.Int {
	sum := new(big.Int)
	for k := len(e) - 1; k >= 0; k-- {
		sum.Lsh(sum, 51).Add(sum, new(big.Int).SetUint64(e[k][lane]))
	}
	return sum
}

// mostLimb is the largest limb that is stored: see element_amd64.s.
const mostLimb = 1<<51 + 1<<15 - 1

// randomElement has limbs anywhere up to the largest, often at an end.
func randomElement(random *rand.Rand) (e element) {
	for k := range e {
		for lane := range e[k] {
			switch random.IntN(6) {
			case 0:
			case 1:
				e[k][lane] = mostLimb
			case 2:
				e[k][lane] = limbMask - uint64(random.IntN(20))
			default:
				e[k][lane] = random.Uint64N(mostLimb + 1)
			}
		}
	}
	return e
}

// check compares a result with the number that it must be, and its limbs with
// their limit.
func (e *element) check(t *testing.T, name string, want func(lane int) *big.Int) {
	t.Helper()
	for lane := range lanes {
		for k := range e {
			if e[k][lane] > mostLimb {
				t.Fatalf("%s: limb %d is %#x, more than %#x", name, k, e[k][lane], uint64(mostLimb))
			}
		}
		number := want(lane)
		number.Mod(number, prime)
		if new(big.Int).Mod(e.number(lane), prime).Cmp(number) != 0 {
			t.Fatalf("%s, lane %d: got %d, want %d modulo p", name, lane, e.number(lane), number)
		}
		encoded := e.bytes(lane)
		for k := range 16 {
			encoded[k], encoded[31-k] = encoded[31-k], encoded[k]
		}
		if new(big.Int).SetBytes(encoded[:]).Cmp(number) != 0 {
			t.Fatalf("%s, lane %d: encoded as %x, want %x", name, lane, encoded, number)
		}
	}
}

func TestElements(t *testing.T) {
	if !isProcessorEnough(t) {
		return
	}
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	all := func(limb uint64) (e element) {
		for k := range e {
			for lane := range e[k] {
				e[k][lane] = limb
			}
		}
		return e
	}
	for round := range 500 {
		a, b := randomElement(random), randomElement(random)
		if round < 9 { // the ends, against each other
			ends := []element{all(0), all(mostLimb), all(limbMask)}
			a, b = ends[round/3], ends[round%3]
		}
		var sum, difference, product, squared, same element
		add(&sum, &a, &b)
		sum.check(t, "sum", func(lane int) *big.Int { return new(big.Int).Add(a.number(lane), b.number(lane)) })
		subtract(&difference, &a, &b)
		difference.check(t, "difference", func(lane int) *big.Int { return new(big.Int).Sub(a.number(lane), b.number(lane)) })
		multiply(&product, &a, &b)
		product.check(t, "product", func(lane int) *big.Int { return new(big.Int).Mul(a.number(lane), b.number(lane)) })
		square(&squared, &a, 1)
		squared.check(t, "square", func(lane int) *big.Int { return new(big.Int).Mul(a.number(lane), a.number(lane)) })
		square(&squared, &a, 3)
		squared.check(t, "eighth power", func(lane int) *big.Int { return new(big.Int).Exp(a.number(lane), big.NewInt(8), prime) })
		same = a
		multiply(&same, &same, &b) // the result in the place of an operand
		same.check(t, "product in place", func(lane int) *big.Int { return new(big.Int).Mul(a.number(lane), b.number(lane)) })
	}
	exponent := new(big.Int).Rsh(new(big.Int).Sub(prime, big.NewInt(5)), 3)
	a := randomElement(random)
	var power element
	power.power(&a)
	power.check(t, "power", func(lane int) *big.Int { return new(big.Int).Exp(a.number(lane), exponent, prime) })
}

// Every encoding decodes to the point that filippo.io/edwards25519 finds, or to
// none as there.
func TestDecode(t *testing.T) {
	if !isProcessorEnough(t) {
		return
	}
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	points, none := 0, 0
	for range 200 {
		var encoded [32]byte
		for k := range encoded {
			encoded[k] = byte(random.Uint32())
		}
		if random.IntN(8) == 0 { // small numbers
			encoded = [32]byte{0: 2 + byte(random.IntN(250)), 31: encoded[31] & 0x80}
		}
		var got [1]affine
		isPoint := decode(got[:], [][32]byte{encoded})
		want, err := new(edwards25519.Point).SetBytes(encoded[:])
		if isPoint != (err == nil) {
			t.Fatalf("%x: decodes: %t, and there: %v", encoded, isPoint, err)
		}
		if !isPoint {
			none++
			continue
		}
		points++
		// Once, through all of bitSums and total.
		bits := bitSums(got[:], []byte{1, 0, 0, 0, 0, 0, 0, 0}, 8)
		sum, err := total(&bits, edwards25519.NewIdentityPoint())
		if err != nil || sum.Equal(want) != 1 {
			t.Fatalf("%x: another point, %v", encoded, err)
		}
	}
	if points == 0 || none == 0 {
		t.Fatalf("%d points and %d that are none: want some of both", points, none)
	}
}

// Sums of points times coefficients, against filippo.io/edwards25519.
func TestBitSums(t *testing.T) {
	if !isProcessorEnough(t) {
		return
	}
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for _, count := range []int{1, 2, 9, 127, 128, 129, 300} {
		encodings, coefficients := make([][32]byte, count), make([]byte, 16*count)
		want := edwards25519.NewIdentityPoint()
		for k := range count {
			var wide [64]byte
			for n := range wide {
				wide[n] = byte(random.Uint32())
			}
			secret, err := new(edwards25519.Scalar).SetUniformBytes(wide[:])
			if err != nil {
				t.Fatal(err)
			}
			point := new(edwards25519.Point).ScalarBaseMult(secret)
			if k%5 == 4 { // the same again, which doubles
				point.SetBytes(encodings[k-1][:])
			}
			encodings[k] = [32]byte(point.Bytes())
			var padded [32]byte
			for n := range 8 {
				padded[n] = byte(random.Uint32()) & byte(random.Uint32()) // zeros among them
			}
			copy(coefficients[16*k+8:], padded[:8])
			times, err := new(edwards25519.Scalar).SetCanonicalBytes(padded[:])
			if err != nil {
				t.Fatal(err)
			}
			want.Add(want, new(edwards25519.Point).ScalarMult(times, point))
		}
		points, areAll := decodeAll(encodings)
		if !areAll {
			t.Fatal("points do not decode")
		}
		bits := bitSums(points, coefficients[8:], 16)
		got, err := total(&bits, edwards25519.NewIdentityPoint())
		if err != nil || got.Equal(want) != 1 {
			t.Fatalf("%d points: another sum, %v", count, err)
		}
	}
}

func TestIsTorsionFree(t *testing.T) {
	if !isProcessorEnough(t) {
		return
	}
	eighth, err := new(edwards25519.Point).SetBytes([]byte{
		0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
	})
	if err != nil {
		t.Fatal(err)
	}
	for k := range 8 {
		for lane := range lanes {
			encodings := make([][32]byte, lanes)
			for n := range encodings {
				encodings[n] = [32]byte(edwards25519.NewGeneratorPoint().Bytes())
			}
			point := edwards25519.NewGeneratorPoint()
			for range k {
				point.Add(point, eighth)
			}
			encodings[lane] = [32]byte(point.Bytes())
			points, areAll := decodeAll(encodings)
			if !areAll {
				t.Fatal("points do not decode")
			}
			coefficients := make([]byte, 8*lanes)
			for n := range lanes {
				coefficients[8*n+n] = 1 // each in a lane of its own
			}
			bits := bitSums(points, coefficients, 8)
			if got := bits[0].isTorsionFree(); got != (k == 0) {
				t.Errorf("%d eighths in lane %d: free of them: %t", k, lane, got)
			}
		}
	}
}
