package payword

import "github.com/paywordhq/payword/money"

// Payment is P = {W_i, i} and what a request needs besides: "I have released up
// to index Index of chain Chain; take up to Max for request Number."
type Payment struct {
	Commitment CommitmentID
	Chain      uint8  // 0 to MaxChains-1
	Index      uint32 // 1 to MaxChainLength
	Payword    Payword
	Number     uint64       // of this request within the commitment, 1 to MaxNumber
	Max        money.Amount // the most that the client agrees to pay for this request, in micros
}

// Terms are what a vendor holds against a payment.
type Terms struct {
	Price   money.Amount // of the request, in micros
	Now     int64        // seconds since 1970
	MaxStep uint32       // the most hashes to compute; DefaultMaxStep unless configured
}

// Verdict is what Judge found. Its zero value accepts.
type Verdict struct {
	Reason Reason
	Proved bool   // the payword is genuine: the tail may be raised, and the state told to the caller
	Tail   Tail   // the deeper of the known tail and the payword, if Proved
	Steps  uint32 // hashes computed
}

// Judge checks a payment against a tail of its chain that was verified before,
// the deeper the better: every cheap check first, then at most terms.MaxStep
// hashes (at most MaxStale for a payword behind the tail). It is pure and does
// not allocate.
//
// It refuses with CommitmentExpired, UnknownChain, ChainExhausted,
// StalePayword, StepTooFar, ForgedPayword or PriceOverMax. With the last one
// the payword is genuine all the same, and Proved is set. Before a vendor says
// StepTooFar it looks whether its store knows a deeper tail. Whether the credit
// suffices is for State.Charge to say.
func Judge(m *Commitment, known Tail, p *Payment, terms Terms) (verdict Verdict) {
	switch {
	case terms.Now >= m.Expires:
		return Verdict{Reason: CommitmentExpired}
	case int(p.Chain) >= len(m.Chains):
		return Verdict{Reason: UnknownChain}
	case p.Index < 1 || p.Index > m.Chains[p.Chain].Length:
		return Verdict{Reason: ChainExhausted}
	}
	verdict = prove(&known, p, terms.MaxStep)
	if verdict.Reason == Accepted && terms.Price > p.Max {
		verdict.Reason = PriceOverMax
	}
	return verdict
}

// prove hashes between the payword of a payment and the known tail.
func prove(known *Tail, p *Payment, maxStep uint32) (verdict Verdict) {
	var upper, lower *Payword
	switch {
	case p.Index > known.Index:
		verdict.Steps = p.Index - known.Index
		verdict.Tail.Index, verdict.Tail.Payword = p.Index, p.Payword
		upper, lower = &p.Payword, &known.Payword
		if verdict.Steps > maxStep {
			return Verdict{Reason: StepTooFar}
		}
	default:
		verdict.Steps = known.Index - p.Index
		verdict.Tail = *known
		upper, lower = &known.Payword, &p.Payword
		if verdict.Steps > MaxStale {
			return Verdict{Reason: StalePayword}
		}
	}
	if !upper.Walk(verdict.Steps).Equal(*lower) {
		return Verdict{Reason: ForgedPayword, Steps: verdict.Steps}
	}
	verdict.Proved = true
	return verdict
}
