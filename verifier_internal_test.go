package payword

import (
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"math/rand/v2"
	"testing"

	"filippo.io/edwards25519"
)

// verifiesBoth checks a signature with crypto/ed25519 and with the multiples of
// the key, which must agree.
func verifiesBoth(t *testing.T, key ed25519.PublicKey, message, signature []byte) bool {
	t.Helper()
	point, err := new(edwards25519.Point).SetBytes(key)
	if err != nil {
		t.Fatal(err)
	}
	want := ed25519.Verify(key, message, signature)
	if got := multiplesOf(point.Negate(point)).verify(key, message, signature); got != want {
		t.Fatalf("key %x, message %x, signature %x: got %t, crypto/ed25519 says %t", key, message, signature, got, want)
	}
	return want
}

// groupOrder is L, the order of the base point.
func groupOrder() *big.Int {
	order, _ := new(big.Int).SetString("27742317777372353535851937790883648493", 10)
	return order.Add(order, new(big.Int).Lsh(big.NewInt(1), 252))
}

// littleEndian returns 32 bytes.
func littleEndian(number *big.Int) []byte {
	bytes := number.FillBytes(make([]byte, 32))
	for k := range 16 {
		bytes[k], bytes[31-k] = bytes[31-k], bytes[k]
	}
	return bytes
}

func TestVerifierDecidesAsTheStandardLibrary(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 20 {
		var secret [ed25519.SeedSize]byte
		for k := range 4 {
			binary.LittleEndian.PutUint64(secret[8*k:], random.Uint64())
		}
		private := ed25519.NewKeyFromSeed(secret[:])
		key := private.Public().(ed25519.PublicKey)
		message := secret[:random.IntN(32)]
		signature := ed25519.Sign(private, message)
		if !verifiesBoth(t, key, message, signature) {
			t.Fatal("a good signature is refused")
		}
		if verifiesBoth(t, key, append([]byte("x"), message...), signature) {
			t.Fatal("a signature of another message is taken")
		}
		for _, bit := range []int{random.IntN(256), 256 + random.IntN(256), 511} {
			changed := append([]byte(nil), signature...)
			changed[bit/8] ^= 1 << (bit % 8)
			if verifiesBoth(t, key, message, changed) {
				t.Fatalf("bit %d changed: the signature is taken", bit)
			}
		}
		// The same number, not reduced.
		swapped := append([]byte(nil), signature[32:]...)
		for k := range 16 {
			swapped[k], swapped[31-k] = swapped[31-k], swapped[k]
		}
		longer := new(big.Int).Add(new(big.Int).SetBytes(swapped), groupOrder())
		if verifiesBoth(t, key, message, append(signature[:32:32], littleEndian(longer)...)) {
			t.Fatal("a signature that is not reduced is taken")
		}
		for _, length := range []int{0, 32, 63, 65} {
			if verifiesBoth(t, key, message, append(signature[:len(signature):len(signature)], 0)[:length]) {
				t.Fatalf("a signature of %d bytes is taken", length)
			}
		}
	}
}

// TestVerifierWithPointsOfSmallOrder adds points of small order to keys and to
// the first halves of signatures, where ways to verify come apart.
func TestVerifierWithPointsOfSmallOrder(t *testing.T) {
	encoded, _ := hex.DecodeString("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a") // of order 8
	step, err := new(edwards25519.Point).SetBytes(encoded)
	if err != nil {
		t.Fatal(err)
	}
	small := []*edwards25519.Point{edwards25519.NewIdentityPoint()}
	for len(small) < 8 {
		small = append(small, new(edwards25519.Point).Add(small[len(small)-1], step))
	}
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	scalar := func() *edwards25519.Scalar {
		var wide [64]byte
		for k := range 8 {
			binary.LittleEndian.PutUint64(wide[8*k:], random.Uint64())
		}
		s, err := new(edwards25519.Scalar).SetUniformBytes(wide[:])
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	taken, refused := 0, 0
	for k := range 256 {
		secret, nonce := scalar(), scalar()
		if k < 64 {
			secret = edwards25519.NewScalar() // then the key itself is of small order
		}
		key := new(edwards25519.Point).ScalarBaseMult(secret)
		key.Add(key, small[k%8])
		first := new(edwards25519.Point).ScalarBaseMult(nonce)
		first.Add(first, small[k/8%8])
		message := []byte{byte(k)}
		hash := sha512.New()
		hash.Write(first.Bytes())
		hash.Write(key.Bytes())
		hash.Write(message)
		challenge, err := new(edwards25519.Scalar).SetUniformBytes(hash.Sum(nil))
		if err != nil {
			t.Fatal(err)
		}
		last := new(edwards25519.Scalar).MultiplyAdd(challenge, secret, nonce)
		if verifiesBoth(t, key.Bytes(), message, append(first.Bytes(), last.Bytes()...)) {
			taken++
		} else {
			refused++
		}
	}
	if taken == 0 || refused == 0 {
		t.Fatalf("%d are taken and %d refused: want some of both", taken, refused)
	}
}

func TestDigitsOfScalars(t *testing.T) {
	largest := new(big.Int).Sub(groupOrder(), big.NewInt(1))
	numbers := []*big.Int{big.NewInt(0), big.NewInt(1), big.NewInt(31), big.NewInt(32), big.NewInt(63), big.NewInt(64), largest}
	for bit := range uint(252) {
		power := new(big.Int).Lsh(big.NewInt(1), bit)
		numbers = append(numbers, power, new(big.Int).Sub(power, big.NewInt(1)), new(big.Int).Sub(largest, power))
	}
	for _, number := range numbers {
		scalar, err := new(edwards25519.Scalar).SetCanonicalBytes(littleEndian(number))
		if err != nil {
			t.Fatal(err)
		}
		sum := new(big.Int)
		for k, digit := range digitsOf(scalar) {
			if digit < -(1<<(digitBits-1)) || digit > 1<<(digitBits-1) {
				t.Fatalf("%s: digit %d is %d", number, k, digit)
			}
			sum.Add(sum, new(big.Int).Lsh(big.NewInt(int64(digit)), uint(digitBits*k)))
		}
		if sum.Cmp(number) != 0 {
			t.Fatalf("the digits of %s are those of %s", number, sum)
		}
	}
}

func TestVerifierMakesMultiplesOfFrequentKeysOnly(t *testing.T) {
	private, other := ed25519.NewKeyFromSeed(make([]byte, 32)), ed25519.NewKeyFromSeed([]byte("another key, of thirty-two bytes"))
	key := private.Public().(ed25519.PublicKey)
	v := NewVerifier(key, nil, make([]byte, 31))
	signature := ed25519.Sign(private, []byte("word"))
	for use := range frequentUses + 2 {
		if isMade := v.keys[[32]byte(key)].multiples != nil; isMade != (use > frequentUses) {
			t.Fatalf("after %d uses: multiples are made: %t", use, isMade)
		}
		if !v.verify(key, "word", signature) {
			t.Fatalf("use %d: a good signature is refused", use)
		}
		if !v.verify(other.Public().(ed25519.PublicKey), "word", ed25519.Sign(other, []byte("word"))) {
			t.Fatal("another key's signature is refused")
		}
	}
	if v.verify(key, "ward", signature) {
		t.Fatal("a signature of another message is taken")
	}
	if len(v.keys) != 1 {
		t.Fatalf("%d keys are kept, want 1", len(v.keys))
	}
	// What is no point of the curve verifies nothing, and is no trouble.
	none := make([]byte, 32)
	none[0] = 2
	broken := NewVerifier(none)
	for range frequentUses + 2 {
		if broken.verify(none, "word", signature) {
			t.Fatal("a key that is no point has signed")
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	private := ed25519.NewKeyFromSeed(make([]byte, 32))
	key := private.Public().(ed25519.PublicKey)
	message := make([]byte, 500)
	signature := ed25519.Sign(private, message)
	b.Run("standard library", func(b *testing.B) {
		for b.Loop() {
			ed25519.Verify(key, message, signature)
		}
	})
	b.Run("multiples", func(b *testing.B) {
		point, _ := new(edwards25519.Point).SetBytes(key)
		m := multiplesOf(point.Negate(point))
		baseMultiples()
		for b.Loop() {
			m.verify(key, message, signature)
		}
	})
	b.Run("making multiples", func(b *testing.B) {
		for b.Loop() {
			multiplesOf(edwards25519.NewGeneratorPoint())
		}
	})
}
