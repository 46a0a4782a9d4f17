package ed25519batch_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"filippo.io/edwards25519"

	"github.com/paywordhq/payword/internal/ed25519batch"
)

type signature = ed25519batch.Signature

// seeded returns random numbers, and prints how to have the same again.
func seeded(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Log("seed", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func randomBytes(random *rand.Rand, count int) []byte {
	made := make([]byte, count)
	for k := range made {
		made[k] = byte(random.Uint32())
	}
	return made
}

// signatures makes good ones, by as many keys.
func signatures(random *rand.Rand, count, keys int) (made []signature) {
	signers := make([]ed25519.PrivateKey, min(count, keys))
	for k := range signers {
		signers[k] = ed25519.NewKeyFromSeed(randomBytes(random, ed25519.SeedSize))
	}
	for k := range count {
		signer, message := signers[k%keys], randomBytes(random, random.IntN(300))
		made = append(made, signature{Key: signer.Public().(ed25519.PublicKey), Message: string(message), Signature: ed25519.Sign(signer, message)})
	}
	return made
}

func isTaken(one signature) bool { return ed25519.Verify(one.Key, []byte(one.Message), one.Signature) }

// proves runs AllValid, which on a processor that it cannot use proves nothing.
func proves(t testing.TB, batch []signature) bool {
	t.Helper()
	isProved := ed25519batch.AllValid(batch)
	if !ed25519batch.IsUsable() {
		t.Log("this processor has no AVX-512 IFMA: tested is only that nothing is proved")
		if isProved {
			t.Fatal("something is proved all the same")
		}
		return false
	}
	return isProved
}

func TestGoodSignaturesAreProved(t *testing.T) {
	random := seeded(t)
	for _, count := range []int{1, 8, 9, 130} {
		for _, keys := range []int{1, 130} {
			if proves(t, signatures(random, count, keys)) != ed25519batch.IsUsable() {
				t.Errorf("%d signatures of %d keys are not proved", count, keys)
			}
		}
	}
	if ed25519batch.AllValid(signatures(random, 1, 1)[:0]) != ed25519batch.IsUsable() {
		t.Error("no signatures at all are not proved")
	}
	if ed25519batch.AllValid(make([]signature, ed25519batch.MaxSignatures+1)) {
		t.Error("more than the limit is proved")
	}
}

// One signature of a batch that is changed in one bit of anything, anywhere.
func TestOneBadSignatureIsNotProved(t *testing.T) {
	random := seeded(t)
	batch := signatures(random, 20, 5)
	for range 60 {
		changed := slices.Clone(batch)
		one := &changed[random.IntN(len(changed))]
		message := []byte(one.Message + "!")
		part, name := &message, "message"
		switch random.IntN(4) {
		case 0:
			part, name = (*[]byte)(&one.Key), "key"
		case 1, 2:
			part, name = &one.Signature, "signature"
		}
		*part = bytes.Clone(*part)
		bit := random.IntN(8 * len(*part))
		(*part)[bit/8] ^= 1 << (bit % 8)
		if name == "message" {
			one.Message = string(message)
		}
		if isTaken(*one) {
			t.Fatalf("%s, bit %d: crypto/ed25519 takes it", name, bit)
		}
		if proves(t, changed) {
			t.Fatalf("%s, bit %d of %+v: proved", name, bit, *one)
		}
	}
	for _, length := range []int{0, 32, 63, 65} {
		changed := slices.Clone(batch)
		changed[3].Signature = append(bytes.Clone(changed[3].Signature), 0)[:length]
		if proves(t, changed) {
			t.Errorf("a signature of %d bytes is proved", length)
		}
		changed = slices.Clone(batch)
		changed[3].Key = append(bytes.Clone(changed[3].Key), make([]byte, 40)...)[:length]
		if length != 32 && proves(t, changed) {
			t.Errorf("a key of %d bytes is proved", length)
		}
	}
}

// groupOrder is L, the order of the base point.
func groupOrder() *big.Int {
	order, _ := new(big.Int).SetString("27742317777372353535851937790883648493", 10)
	return order.Add(order, new(big.Int).Lsh(big.NewInt(1), 252))
}

// reversed turns little endian into big endian and back.
func reversed(number []byte) []byte {
	turned := bytes.Clone(number)
	slices.Reverse(turned)
	return turned
}

func TestUnreducedSignatureIsNotProved(t *testing.T) {
	batch := signatures(seeded(t), 10, 3)
	last := batch[9]
	s := new(big.Int).SetBytes(reversed(last.Signature[32:]))
	for range 3 { // S + L to S + 3L, after the same signature with S
		s.Add(s, groupOrder())
		last.Signature = append(last.Signature[:32:32], reversed(s.FillBytes(make([]byte, 32)))...)
		if isTaken(last) || proves(t, append(batch[:10:10], last)) {
			t.Errorf("S = %s is taken", s)
		}
	}
}

// small returns the eight points of small order: k times one of order 8.
func small(t testing.TB) (points []*edwards25519.Point) {
	t.Helper()
	encoded, _ := hex.DecodeString("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
	step, err := new(edwards25519.Point).SetBytes(encoded)
	if err != nil {
		t.Fatal(err)
	}
	points = append(points, edwards25519.NewIdentityPoint())
	for len(points) < 8 {
		points = append(points, new(edwards25519.Point).Add(points[len(points)-1], step))
	}
	return points
}

func randomScalar(random *rand.Rand) *edwards25519.Scalar {
	s, err := new(edwards25519.Scalar).SetUniformBytes(randomBytes(random, 64))
	if err != nil {
		panic(err)
	}
	return s
}

// signed signs as whoever knows the secret may: with any parts of small order in
// the key and in R.
func signed(secret, nonce *edwards25519.Scalar, ofKey, ofFirst *edwards25519.Point, message []byte) signature {
	key := new(edwards25519.Point).ScalarBaseMult(secret)
	key.Add(key, ofKey)
	first := new(edwards25519.Point).ScalarBaseMult(nonce)
	first.Add(first, ofFirst)
	return completed(secret, nonce, key.Bytes(), first.Bytes(), message)
}

// completed computes S for encodings of key and R.
func completed(secret, nonce *edwards25519.Scalar, key, first, message []byte) signature {
	hash := sha512.Sum512(slices.Concat(first, key, message))
	challenge, err := new(edwards25519.Scalar).SetUniformBytes(hash[:])
	if err != nil {
		panic(err)
	}
	last := new(edwards25519.Scalar).MultiplyAdd(challenge, secret, nonce)
	return signature{Key: key, Message: string(message), Signature: append(bytes.Clone(first), last.Bytes()...)}
}

// Parts of small order in keys and in R, one signature among good ones:
// crypto/ed25519 takes some, and what it refuses is never proved.
func TestPartsOfSmallOrder(t *testing.T) {
	random := seeded(t)
	good := signatures(random, 9, 3)
	taken, refused := 0, 0
	for k := range 128 {
		secret, parts := randomScalar(random), small(t)
		if k < 64 {
			secret = edwards25519.NewScalar() // then the key itself is of small order
		}
		one := signed(secret, randomScalar(random), parts[k%8], parts[k/8%8], []byte{byte(k)})
		isProved := proves(t, append(good[:9:9], one))
		if isTaken(one) {
			taken++
		} else {
			refused++
		}
		if isProved && !isTaken(one) {
			t.Fatalf("%+v is proved, crypto/ed25519 refuses it", one)
		}
		if k >= 64 && k%8 == 0 && k/8%8 == 0 && isProved != ed25519batch.IsUsable() {
			t.Fatalf("%+v has no part of small order and is not proved", one)
		}
	}
	if taken == 0 || refused == 0 {
		t.Fatalf("%d are taken and %d refused: want some of both", taken, refused)
	}
}

// Parts of small order that cancel each other in the sum over the batch, or in
// every sum of an even number: none may be proved, as each is refused by itself.
func TestPartsOfSmallOrderThatCancel(t *testing.T) {
	random := seeded(t)
	parts := small(t)
	cases := []struct {
		name    string
		ofFirst []int // the part of R of each, in eighths
		ofKey   []int
	}{
		{"two of order 2", []int{4, 4}, nil},
		{"two of order 4", []int{2, 6}, nil},
		{"two of order 8", []int{1, 7}, nil},
		{"four of order 8", []int{1, 3, 5, 7}, nil},
		{"eight of order 8", []int{1, 1, 1, 1, 1, 1, 1, 1}, nil},
		{"sixteen of order 2", []int{4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4}, nil},
		{"two keys of order 2", nil, []int{4, 4}},
		{"two keys of order 8", nil, []int{3, 5}},
		{"a key and another's R", []int{4, 0}, []int{0, 4}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for range 3 {
				batch := signatures(random, 8, 4)
				refused := 0
				for k := range max(len(c.ofFirst), len(c.ofKey)) {
					first, key := 0, 0
					if c.ofFirst != nil {
						first = c.ofFirst[k]
					}
					if c.ofKey != nil {
						key = c.ofKey[k]
					}
					one := signed(randomScalar(random), randomScalar(random), parts[key], parts[first], randomBytes(random, 8))
					if !isTaken(one) {
						refused++
					}
					batch = append(batch, one)
				}
				if c.ofKey == nil && refused != len(c.ofFirst) {
					t.Fatalf("crypto/ed25519 refuses %d of %d", refused, len(c.ofFirst))
				}
				if proves(t, batch) {
					t.Fatalf("proved: %+v", batch[8:])
				}
			}
		})
	}
}

// The encodings of y from p to 2^255 - 1, and of the other sign of x = 0, are
// second spellings: as R they are refused, as a key crypto/ed25519 takes them.
func TestSecondSpellings(t *testing.T) {
	random := seeded(t)
	good := signatures(random, 9, 3)
	nobody := edwards25519.NewScalar()
	seen := 0
	for low := range 256 {
		if low > 8 && low < 0xe4 {
			continue // far from where spellings begin
		}
		for _, top := range []byte{0x00, 0x80, 0x7f, 0xff} {
			middle := byte(0)
			if top&0x7f != 0 {
				middle = 0xff
			}
			encoded := bytes.Repeat([]byte{middle}, 32)
			encoded[0], encoded[31] = byte(low), top
			isSecond := top&0x7f != 0 && low >= 0xed
			point, err := new(edwards25519.Point).SetBytes(encoded)
			if err != nil {
				continue
			}
			seen++
			isSecond = isSecond || !bytes.Equal(point.Bytes(), encoded)
			isSmall := new(edwards25519.Point).MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 1
			// Nobody knows a secret for most of these, so they do not sign well.
			// The identity does: its secret is 0.
			nonce := randomScalar(random)
			asKey := completed(nobody, nonce, encoded, new(edwards25519.Point).ScalarBaseMult(nonce).Bytes(), []byte("m"))
			asFirst := completed(randomScalar(random), nobody, good[0].Key, encoded, []byte("m"))
			for _, one := range []signature{asKey, asFirst} {
				if isProved := proves(t, append(good[:9:9], one)); isProved && (isSecond || isSmall || !isTaken(one)) {
					t.Fatalf("%x: proved", encoded)
				}
			}
		}
	}
	if seen < 30 {
		t.Fatalf("%d encodings were points", seen)
	}
	// R is the identity, in its two spellings: S = k*a fits both, one is taken.
	signer := randomScalar(random)
	key := new(edwards25519.Point).ScalarBaseMult(signer).Bytes()
	for _, c := range []struct {
		first string
		want  bool
	}{
		{"0100000000000000000000000000000000000000000000000000000000000000", true},
		{"0100000000000000000000000000000000000000000000000000000000000080", false},
		{"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", false},
		{"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", false},
	} {
		first, _ := hex.DecodeString(c.first)
		one := completed(signer, nobody, key, first, []byte("message"))
		if isTaken(one) != c.want {
			t.Fatalf("R is %s: crypto/ed25519 takes it: %t", c.first, !c.want)
		}
		if proves(t, append(good[:9:9], one)) && !c.want {
			t.Errorf("R is %s: proved", c.first)
		}
	}
}

// FuzzAllValid signs with whatever parts of small order, changes what it is told
// to, and never sees proved what crypto/ed25519 refuses.
func FuzzAllValid(f *testing.F) {
	f.Add(uint64(1), []byte{})
	f.Add(uint64(2), []byte{0, 0x11, 1, 0x77, 2, 0x80, 3, 0x01})
	f.Fuzz(func(t *testing.T, seed uint64, changes []byte) {
		random := rand.New(rand.NewPCG(seed, 0))
		batch, parts := signatures(random, 5, 2), small(t)
		for len(changes) >= 2 && len(batch) < 24 {
			kind, what := changes[0], changes[1]
			changes = changes[2:]
			one := signed(randomScalar(random), randomScalar(random), parts[what%8], parts[what/8%8], randomBytes(random, 4))
			if kind%4 == 0 {
				one.Signature[kind/4] ^= what
			}
			batch = append(batch, one)
		}
		areTaken := true
		for _, one := range batch {
			areTaken = areTaken && isTaken(one)
		}
		if ed25519batch.AllValid(batch) && !areTaken {
			t.Fatalf("proved: %+v", batch)
		}
	})
}

// BenchmarkAllValid compares a batch with crypto/ed25519, by as many keys as
// signatures and by one. Without AVX-512 IFMA it says how long it takes to prove
// nothing.
func BenchmarkAllValid(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 0))
	for _, count := range []int{64, 256, 1024, 4096} {
		for _, keys := range []int{1, count} {
			made := signatures(random, count, keys)
			report := func(b *testing.B) {
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(count), "ns/signature")
			}
			b.Run(fmt.Sprintf("%d of %d keys/payword", count, keys), func(b *testing.B) {
				for b.Loop() {
					if ed25519batch.AllValid(made) != ed25519batch.IsUsable() {
						b.Fatal("not proved")
					}
				}
				report(b)
			})
			b.Run(fmt.Sprintf("%d of %d keys/baseline", count, keys), func(b *testing.B) {
				for b.Loop() {
					for _, one := range made {
						if !isTaken(one) {
							b.Fatal("refused")
						}
					}
				}
				report(b)
			})
		}
	}
}
