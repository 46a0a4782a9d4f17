package payword_test

import (
	"crypto/sha256"
	"math/bits"
	"testing"

	"pgregory.net/rapid"

	"github.com/paywordhq/payword"
)

// plainChain returns W_0 to W_length, made the obvious way.
func plainChain(tip payword.Payword, length uint32) []payword.Payword {
	words := make([]payword.Payword, length+1)
	words[length] = tip
	for i := length; i > 0; i-- {
		words[i-1] = sha256.Sum256(words[i][:])
	}
	return words
}

func TestChainEveryLengthAndStart(t *testing.T) {
	tip := payword.Payword{1, 2, 3}
	for length := uint32(1); length <= 70; length++ {
		want := plainChain(tip, length)
		for start := uint32(0); start <= length; start++ {
			chain, err := payword.NewChain(tip, length, start)
			if err != nil {
				t.Fatal(err)
			}
			if chain.Root() != want[0] {
				t.Fatalf("length %d: wrong root", length)
			}
			for i := start; i <= length; i++ {
				got, err := chain.Release(i)
				if err != nil || got != want[i] {
					t.Fatalf("length %d started at %d: payword %d is wrong (%v)", length, start, i, err)
				}
			}
		}
	}
}

func TestChainSkips(t *testing.T) {
	tip := payword.Payword{9}
	want := plainChain(tip, 1000)
	chain, err := payword.NewChain(tip, 1000, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, stride := uint32(0), uint32(1); i <= 1000; i, stride = i+stride, stride%17+1 {
		if got, err := chain.Release(i); err != nil || got != want[i] {
			t.Fatalf("payword %d is wrong (%v)", i, err)
		}
	}
	if _, err := chain.Release(3); err == nil {
		t.Error("a chain went back")
	}
	if _, err := chain.Release(1001); err == nil {
		t.Error("a chain went past its end")
	}
}

func TestChainRefuses(t *testing.T) {
	tip := payword.Payword{1}
	for _, test := range []struct{ length, index uint32 }{{0, 0}, {payword.MaxChainLength + 1, 0}, {10, 11}} {
		if _, err := payword.NewChain(tip, test.length, test.index); err == nil {
			t.Errorf("a chain of %d steps with %d released: want an error", test.length, test.index)
		}
	}
}

// A traversal gives the plain chain, wherever it begins and however it skips,
// and stays within its bounds of memory and time.
func TestChainTraversal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.OneOf(rapid.Uint32Range(1, 3000), rapid.SampledFrom([]uint32{1, 2, 3, 4, 1023, 1024, 1025, 4095, 4096})).Draw(t, "length")
		start := rapid.Uint32Range(0, length).Draw(t, "start")
		tip := payword.Payword{byte(length), byte(length >> 8), byte(start)}
		want := plainChain(tip, length)
		chain, err := payword.NewChain(tip, length, start)
		if err != nil {
			t.Fatal(err)
		}
		for index := start; ; {
			got, err := chain.Release(index)
			released, word := chain.Released()
			if err != nil || got != want[index] || released != index || word != got || chain.Root() != want[0] || chain.Length() != length {
				t.Fatalf("length %d from %d: payword %d is wrong (%v)", length, start, index, err)
			}
			if index == length {
				return
			}
			index = min(length, index+rapid.Uint32Range(1, 1+length/20).Draw(t, "skip"))
		}
	})
}

// checkBounds steps through a chain and checks what it stores and hashes.
func checkBounds(t *testing.T, length, from, to uint32) {
	t.Helper()
	chain, err := payword.NewChain(payword.Payword{7}, length, from)
	if err != nil {
		t.Fatal(err)
	}
	logarithm := uint32(bits.Len32(length - 1)) // log2, rounded up
	mostHashes, total := uint32(0), uint32(0)
	for index := from; index < to; index++ {
		hashes, missing := chain.NextStepHashes()
		if missing > 0 {
			t.Fatalf("length %d: no pebble stands where step %d needs one: %d hashes too many", length, index+1, missing)
		}
		if pebbles := chain.Pebbles(); pebbles > int(logarithm)+1 || pebbles > 20 {
			t.Fatalf("length %d: %d pebbles before step %d", length, pebbles, index+1)
		}
		mostHashes, total = max(mostHashes, hashes), total+hashes
		if _, err := chain.Release(index + 1); err != nil {
			t.Fatal(err)
		}
	}
	if mostHashes > 2*logarithm+1 {
		t.Errorf("length %d: a step hashes %d times, want at most %d", length, mostHashes, 2*logarithm+1)
	}
	if total > (to-from)*(logarithm+1) {
		t.Errorf("length %d: %d hashes for %d steps, want about %d for each", length, total, to-from, logarithm)
	}
}

func TestChainBounds(t *testing.T) {
	for length := uint32(1); length <= 130; length++ {
		checkBounds(t, length, 0, length)
	}
	for _, length := range []uint32{1000, 1024, 4095, 4096, 4097, 65536} {
		checkBounds(t, length, 0, length)
	}
	checkBounds(t, payword.MaxChainLength, 0, 3000)
	checkBounds(t, payword.MaxChainLength, 1<<19-1500, 1<<19+1500)
	checkBounds(t, payword.MaxChainLength-1, 1<<20-3000, 1<<20-1)
}

// The longest chain, against the plain one, near both ends.
func TestChainOfLargestLength(t *testing.T) {
	const length = payword.MaxChainLength
	tip := payword.Payword{42}
	want := plainChain(tip, length)
	chain, err := payword.NewChain(tip, length, length-5000)
	if err != nil {
		t.Fatal(err)
	}
	for index := uint32(length - 5000); index <= length; index++ {
		if got, err := chain.Release(index); err != nil || got != want[index] {
			t.Fatalf("payword %d is wrong (%v)", index, err)
		}
	}
	if chain, err = payword.NewChain(tip, length, 0); err != nil {
		t.Fatal(err)
	}
	for _, index := range []uint32{0, 1, 2, 77, 5000, 1<<15 - 1, 1 << 15, 1<<15 + 1} {
		if got, err := chain.Release(index); err != nil || got != want[index] {
			t.Fatalf("payword %d is wrong (%v)", index, err)
		}
	}
}
