package payword_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// pocketGate is the least that a gate is: what was paid on each commitment, in
// memory, behind one lock.
type pocketGate struct {
	mutex       sync.Mutex
	commitments map[payword.CommitmentID]*pocketCommitment
	now         int64
}

type pocketCommitment struct {
	terms payword.Commitment
	state payword.State
}

// take does what a paid request is there for: it parses the header, judges the
// payword, and charges the request in one step.
func (g *pocketGate) take(header string, price money.Amount) payword.Reason {
	payment, refusal := payword.ParsePayment(header)
	if refusal.Refused() {
		return refusal.Reason
	}
	g.mutex.Lock()
	defer g.mutex.Unlock()
	known := g.commitments[payment.Commitment]
	if known == nil || int(payment.Chain) >= payword.MaxChains {
		return payword.UnknownCommitment
	}
	verdict := payword.Judge(&known.terms, known.state.Tails[payment.Chain], &payment, payword.Terms{
		Price: price, Now: g.now, MaxStep: payword.DefaultMaxStep,
	})
	if verdict.Reason != payword.Accepted {
		return verdict.Reason
	}
	return known.state.Charge(&known.terms, &payword.Charge{
		Chain: payment.Chain, Tail: verdict.Tail, Number: payment.Number, Price: price, Now: g.now,
	}).Reason
}

// pocketWallet returns the headers that pay for requests on some commitments in
// turn, and a function that returns a gate which was not paid yet.
func pocketWallet(payers int, length uint32) (headers []string, fresh func() *pocketGate) {
	const price = 1000
	chains := make([][]payword.Payword, payers)
	for k := range chains {
		chains[k] = make([]payword.Payword, length+1)
		chains[k][length] = payword.Payword{1, byte(k), byte(k >> 8)}
		for i := length; i > 0; i-- {
			chains[k][i-1] = chains[k][i].Walk(1)
		}
	}
	idOf := func(payer int) payword.CommitmentID { return payword.CommitmentID{byte(payer), byte(payer >> 8), 1} }
	for i := uint32(1); i <= length; i++ {
		for k := range chains {
			headers = append(headers, payword.FormatPayment(payword.Payment{
				Commitment: idOf(k), Index: i, Payword: chains[k][i], Number: uint64(i), Max: price,
			}))
		}
	}
	return headers, func() *pocketGate {
		g := &pocketGate{commitments: map[payword.CommitmentID]*pocketCommitment{}, now: 1_790_000_000}
		for k := range chains {
			known := &pocketCommitment{terms: payword.Commitment{
				Limit: money.MaxAmount, Expires: 1_790_086_400,
				Chains: []payword.ChainTerms{{Root: chains[k][0], Unit: price, Length: length}},
			}}
			known.state = payword.NewState(&known.terms, money.MaxAmount, 1)
			known.state.Recent = slices.Repeat([]payword.Request{{Number: 1}}, int(length))[:0] // as it is after a while
			g.commitments[idOf(k)] = known
		}
		return g
	}
}

// BenchmarkBarGateWork is what a paid request costs the gate at the least:
// parse, judge and charge, in SHA-256 of 32 bytes.
func BenchmarkBarGateWork(b *testing.B) {
	headers, fresh := pocketWallet(64, 2000)
	gate, next := fresh(), 0
	before := hashNanoseconds()
	b.ReportAllocs()
	for b.Loop() {
		if next == len(headers) {
			b.StopTimer()
			gate, next = fresh(), 0
			b.StartTimer()
		}
		if reason := gate.take(headers[next], 1000); reason != payword.Accepted {
			b.Fatal(reason)
		}
		next++
	}
	reportRatio(b, before, 1)
}
