package payword_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// hashNanoseconds measures the baseline of all these figures on this machine at
// this moment: the SHA-256 of 32 bytes, in ns.
func hashNanoseconds() float64 {
	const hashes = 200_000
	word := [sha256.Size]byte{1}
	start := time.Now()
	for range hashes {
		word = sha256.Sum256(word[:])
	}
	elapsed := time.Since(start)
	if word == [sha256.Size]byte{} {
		panic("SHA-256 gave zeros")
	}
	return float64(elapsed.Nanoseconds()) / hashes
}

// reportRatio reports what one of b's operations, each of which does units of
// something, takes per unit in hashes. The baseline is measured before and
// after, because clocks of processors change.
func reportRatio(b *testing.B, before float64, units int) {
	baseline := (before + hashNanoseconds()) / 2
	each := float64(b.Elapsed().Nanoseconds()) / float64(b.N) / float64(units)
	b.ReportMetric(each/baseline, "x-sha256")
	if units > 1 {
		b.ReportMetric(each, "ns/step")
	}
}

func BenchmarkSHA256(b *testing.B) {
	before := hashNanoseconds()
	b.ReportAllocs()
	word := [sha256.Size]byte{1}
	for b.Loop() {
		word = sha256.Sum256(word[:])
	}
	reportRatio(b, before, 1)
}

func BenchmarkWalk(b *testing.B) {
	const steps = 1000
	before := hashNanoseconds()
	b.ReportAllocs()
	word := payword.Payword{1}
	for b.Loop() {
		word = word.Walk(steps)
	}
	reportRatio(b, before, steps)
}

// oneStepAhead returns what Judge is given for a payment one step ahead of the
// tail.
func oneStepAhead() (*payword.Commitment, payword.Tail, *payword.Payment, payword.Terms) {
	tip := payword.Payword{1}
	m := &payword.Commitment{Limit: money.MaxAmount, Expires: 1_790_086_400,
		Chains: []payword.ChainTerms{{Root: tip.Walk(1000), Unit: 1000, Length: 1000}}}
	known := payword.Tail{Index: 499, Payword: tip.Walk(501)}
	p := &payword.Payment{Index: 500, Payword: tip.Walk(500), Number: 1, Max: 1000}
	return m, known, p, payword.Terms{Price: 1000, Now: 1_790_000_000, MaxStep: payword.DefaultMaxStep}
}

func BenchmarkJudge(b *testing.B) {
	m, known, p, terms := oneStepAhead()
	before := hashNanoseconds()
	b.ReportAllocs()
	for b.Loop() {
		if verdict := payword.Judge(m, known, p, terms); verdict.Reason != payword.Accepted {
			b.Fatal(verdict.Reason)
		}
	}
	reportRatio(b, before, 1)
}

func BenchmarkParsePayment(b *testing.B) {
	_, _, p, _ := oneStepAhead()
	header := payword.FormatPayment(*p)
	before := hashNanoseconds()
	b.ReportAllocs()
	for b.Loop() {
		if _, refusal := payword.ParsePayment(header); refusal.Refused() {
			b.Fatal(refusal)
		}
	}
	reportRatio(b, before, 1)
}

// charging returns a state with much credit and a function that charges the
// next number on it; a second passes every ten requests.
func charging(tb testing.TB) func() {
	m, _, _, _ := oneStepAhead()
	m.Chains[0].Length, m.Chains[0].Unit = payword.MaxChainLength, money.MaxAmount/payword.MaxChainLength
	state := payword.NewState(m, money.MaxAmount, 1)
	state.Advance(0, payword.Tail{Index: payword.MaxChainLength})
	number := uint64(0)
	return func() {
		number++
		outcome := state.Charge(m, &payword.Charge{Number: number, Price: 1, Now: 1_790_000_000 + int64(number/10)})
		if outcome.Reason != payword.Accepted {
			tb.Fatal(outcome.Reason)
		}
	}
}

func BenchmarkCharge(b *testing.B) {
	charge := charging(b)
	before := hashNanoseconds()
	b.ReportAllocs()
	for b.Loop() {
		charge()
	}
	reportRatio(b, before, 1)
}

// BenchmarkMerge merges a node's last-seen state of a busy commitment into one
// that is one request further.
func BenchmarkMerge(b *testing.B) {
	m, _, _, _ := oneStepAhead()
	state := payword.NewState(m, money.MaxAmount, 1)
	state.Advance(0, payword.Tail{Index: 1000})
	var seen payword.State
	for number := uint64(1); number <= payword.WindowSize; number++ {
		seen = copyOf(&state)
		state.Charge(m, &payword.Charge{Number: number, Price: 1, Now: 1_790_000_000})
	}
	before := hashNanoseconds()
	b.ReportAllocs()
	for b.Loop() {
		if state.Merge(&seen) {
			b.Fatal("an older state changed a newer one")
		}
	}
	reportRatio(b, before, 1)
}

// BenchmarkNewChain makes the longest chain: what a wallet does once for each.
func BenchmarkNewChain(b *testing.B) {
	before := hashNanoseconds()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := payword.NewChain(payword.Payword{1}, payword.MaxChainLength, 0); err != nil {
			b.Fatal(err)
		}
	}
	reportRatio(b, before, payword.MaxChainLength)
}

// BenchmarkRelease releases the next payword of the longest chain.
func BenchmarkRelease(b *testing.B) {
	const length = payword.MaxChainLength
	chain, err := payword.NewChain(payword.Payword{1}, length, 0)
	if err != nil {
		b.Fatal(err)
	}
	before := hashNanoseconds()
	b.ReportAllocs()
	for b.Loop() {
		index, _ := chain.Released()
		if index == length {
			b.StopTimer()
			if chain, err = payword.NewChain(payword.Payword{1}, length, 0); err != nil {
				b.Fatal(err)
			}
			index = 0
			b.StartTimer()
		}
		if _, err := chain.Release(index + 1); err != nil {
			b.Fatal(err)
		}
	}
	reportRatio(b, before, 1)
}
