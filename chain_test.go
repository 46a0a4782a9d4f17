package payword_test

import (
	"crypto/sha256"
	"testing"

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
