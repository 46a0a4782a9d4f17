package payword_test

import (
	"testing"

	"github.com/paywordhq/payword"
)

// The way of a paid request does not allocate.
func TestHotPathDoesNotAllocate(t *testing.T) {
	m, known, p, terms := oneStepAhead()
	header := payword.FormatPayment(*p)
	charge := charging(t)
	for range 10 * payword.WindowSize { // until what is remembered has its full size
		charge()
	}
	word := payword.Payword{1}
	headers, fresh := pocketWallet(4, 2000)
	gate, next := fresh(), 0
	for _, test := range []struct {
		name string
		run  func()
	}{
		{"Walk", func() { word = word.Walk(10) }},
		{"Judge, one step ahead", func() {
			if verdict := payword.Judge(m, known, p, terms); !verdict.Proved {
				t.Fatal(verdict.Reason)
			}
		}},
		{"ParsePayment", func() {
			if got, refusal := payword.ParsePayment(header); refusal.Refused() || got != *p {
				t.Fatal(refusal)
			}
		}},
		{"State.Charge", charge},
		{"all of it", func() {
			if reason := gate.take(headers[next], 1000); reason != payword.Accepted {
				t.Fatal(reason)
			}
			next++
		}},
	} {
		if got := testing.AllocsPerRun(5000, test.run); got != 0 {
			t.Errorf("%s: got %v allocations, want 0", test.name, got)
		}
	}
}

// A header stays within its bounds, whatever its numbers.
func TestLongestHeader(t *testing.T) {
	p := payword.Payment{Chain: payword.MaxChains - 1, Index: payword.MaxChainLength, Number: payword.MaxNumber, Max: 999_999_999_999_999}
	if got, want := len(payword.FormatPayment(p)), 135; got != want || got > payword.MaxHeaderBytes {
		t.Errorf("the longest header has %d bytes, want %d, at most %d", got, want, payword.MaxHeaderBytes)
	}
}
