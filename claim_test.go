package payword_test

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// Claims that are judged together have the results that they have alone, also
// where some are for other commitments, forged, or too long.
func TestJudgeClaimsIsJudgeClaim(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	reasons := make(map[payword.Reason]int)
	for range 100 {
		cases := make([]payword.ClaimCase, random.IntN(60))
		for k := range cases {
			cases[k] = randomCase(random)
		}
		together := append([]payword.ClaimCase(nil), cases...)
		payword.JudgeClaims(together)
		for k, c := range cases {
			c.After, c.Due, c.Refusal = payword.JudgeClaim(c.Commitment, c.Before, c.Claim, c.Ceiling)
			if !reflect.DeepEqual(together[k], c) {
				t.Fatalf("case %d of %d: together %+v, alone %+v", k, len(cases), together[k], c)
			}
			if c.Refusal.Refused() && (c.After != c.Before || c.Due != 0) {
				t.Fatalf("a refused claim changes something: %+v", c)
			}
			reasons[c.Refusal.Reason]++
		}
	}
	for _, wanted := range []payword.Reason{
		payword.Accepted, payword.MalformedClaim, payword.WrongVendor, payword.UnknownChain, payword.ChainExhausted,
		payword.ForgedPayword, payword.ClaimOverTails, payword.ClaimOverLimit,
	} {
		if reasons[wanted] == 0 {
			t.Errorf("no case had the reason %q", wanted)
		}
	}
}

// randomCase is a claim on up to three chains of which some was claimed before.
func randomCase(random *rand.Rand) payword.ClaimCase {
	m := &payword.Commitment{ID: payword.CommitmentID{1}, Vendor: "https://v.example", Limit: 1000}
	m.Certificate.Issuer = "https://b.example"
	c := payword.ClaimCase{Commitment: m, Claim: &payword.Claim{Commitment: m.ID, Vendor: m.Vendor, Broker: "https://b.example"}}
	proved := money.Amount(0)
	var tips [3]payword.Payword
	for k := range 1 + random.IntN(3) {
		tip, length := payword.Payword{byte(random.Uint32()), byte(k)}, 1+random.Uint32N(40)
		tips[k] = tip
		m.Chains = append(m.Chains, payword.ChainTerms{Root: tip.Walk(length), Unit: 3, Length: length})
		known, claimed := random.Uint32N(length+1), random.Uint32N(length+1)
		c.Before.Tails[k] = payword.Tail{Index: known, Payword: tip.Walk(length - known)}
		tail := payword.Tail{Index: claimed}
		if claimed > 0 {
			tail.Payword = tip.Walk(length - claimed)
		}
		c.Claim.Tails = append(c.Claim.Tails, tail)
		proved += 3 * money.Amount(max(known, claimed))
	}
	c.Claim.Amount, c.Ceiling = min(proved, m.Limit), m.Limit
	c.Before.Paid = money.Amount(random.Int64N(int64(c.Claim.Amount) + 2))
	chain := random.IntN(len(m.Chains))
	switch random.IntN(12) {
	case 0:
		c.Claim.Tails[chain] = payword.Tail{Index: 1, Payword: payword.Payword{0xff}}
	case 1:
		c.Claim.Tails[chain].Index = m.Chains[chain].Length + 1
	case 2:
		c.Claim.Vendor = "https://w.example"
	case 3:
		c.Claim.Broker = "https://c.example"
	case 4:
		c.Claim.Commitment[0]++
	case 5:
		c.Claim.Tails = append(c.Claim.Tails, make([]payword.Tail, 3)...)
	case 6:
		c.Claim.Amount++
	case 7:
		c.Ceiling = c.Claim.Amount - 1
	}
	return c
}
