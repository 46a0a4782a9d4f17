package payword

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/paywordhq/payword/money"
)

// Claim is what a vendor asks the broker for on one commitment: a cumulative
// amount, and the tails that prove at least that much. It is a JWT
// (typ payword-claim+jwt) signed by the vendor's key. Claims only grow; asking
// twice for the same changes nothing.
type Claim struct {
	Token      string // the exact bytes, as signed
	Vendor     string // V: the vendor's origin
	Broker     string // B: the broker's origin
	Commitment CommitmentID
	Tails      []Tail       // one per chain of the commitment, in order; index 0 and no payword: unused
	Amount     money.Amount // spent so far and not to be given back, in micros
	Final      bool         // nothing more will be claimed: the broker releases what is left of a reservation
	IssuedAt   int64        // seconds since 1970
}

type claimClaims struct {
	Vendor     string       `json:"iss"`
	Broker     string       `json:"aud"`
	Commitment CommitmentID `json:"commitment"`
	Tails      []tailClaims `json:"tails"`
	Amount     money.Amount `json:"amount"`
	Final      bool         `json:"final,omitempty"`
	IssuedAt   int64        `json:"iat"`
}

type tailClaims struct {
	Index   uint32 `json:"index"`
	Payword string `json:"payword,omitempty"`
}

// SignClaim signs c with the vendor's key and returns it with its token.
func SignClaim(c Claim, vendor crypto.Signer) (Claim, error) {
	claims := claimClaims{
		Vendor: c.Vendor, Broker: c.Broker, Commitment: c.Commitment, Amount: c.Amount,
		Final: c.Final, IssuedAt: c.IssuedAt,
	}
	for _, tail := range c.Tails {
		member := tailClaims{Index: tail.Index}
		if tail.Index > 0 {
			member.Payword = base64url.EncodeToString(tail.Payword[:])
		}
		claims.Tails = append(claims.Tails, member)
	}
	if _, err := claims.claim(); err != nil {
		return Claim{}, fmt.Errorf("signing a claim: %w", err)
	}
	token, err := signJWS(typeClaim, claims, vendor)
	if err != nil {
		return Claim{}, err
	}
	if len(token) > MaxClaimBytes {
		return Claim{}, fmt.Errorf("signing a claim: it takes %d bytes, at most %d", len(token), MaxClaimBytes)
	}
	c.Token = token
	return c, nil
}

// ParseClaim reads a claim and checks that vendorKey signed it. It refuses with
// MalformedClaim or BadClaim.
func ParseClaim(token string, vendorKey ed25519.PublicKey) (Claim, Refusal) {
	return parseClaim(token, vendorKey, nil)
}

func parseClaim(token string, vendorKey ed25519.PublicKey, v *Verifier) (Claim, Refusal) {
	object, err := splitJWS(token, typeClaim, MaxClaimBytes)
	if err != nil {
		return Claim{}, refuse(MalformedClaim, "claim: %v", err)
	}
	var claims claimClaims
	if err := object.claims(&claims); err != nil {
		return Claim{}, refuse(MalformedClaim, "claim: %v", err)
	}
	claim, err := claims.claim()
	if err != nil {
		return Claim{}, refuse(MalformedClaim, "claim: %v", err)
	}
	if object.keyID != Thumbprint(vendorKey) || !object.verify(vendorKey, v) {
		return Claim{}, refuse(BadClaim, "the vendor's signature over the claim is wrong")
	}
	claim.Token = token
	return claim, Refusal{}
}

func (c claimClaims) claim() (Claim, error) {
	claim := Claim{
		Vendor: c.Vendor, Broker: c.Broker, Commitment: c.Commitment, Amount: c.Amount,
		Final: c.Final, IssuedAt: c.IssuedAt,
	}
	switch {
	case CheckOrigin(c.Vendor) != nil || CheckOrigin(c.Broker) != nil:
		return Claim{}, errors.New("iss and aud: want the origins of vendor and broker")
	case c.Amount < 0 || c.Amount > money.MaxAmount:
		return Claim{}, fmt.Errorf("amount: want 0 to %d micros", money.MaxAmount)
	case len(c.Tails) < 1 || len(c.Tails) > MaxChains:
		return Claim{}, fmt.Errorf("tails: want 1 to %d", MaxChains)
	}
	for k, member := range c.Tails {
		tail := Tail{Index: member.Index}
		if member.Index > MaxChainLength || (member.Index == 0) != (member.Payword == "") {
			return Claim{}, fmt.Errorf("tail %d: want an index from 1 to %d with its payword, or index 0 without", k, MaxChainLength)
		}
		if member.Index > 0 {
			if err := decodeFixed(tail.Payword[:], member.Payword); err != nil {
				return Claim{}, fmt.Errorf("tail %d: %w", k, err)
			}
		}
		claim.Tails = append(claim.Tails, tail)
	}
	return claim, nil
}

// Redeemed is what a broker remembers of a commitment that was claimed on: what
// it paid, and the deepest payword of each chain that it has verified.
type Redeemed struct {
	Paid  money.Amount // in micros; only grows
	Tails [MaxChains]Tail
}

// NewRedeemed returns the state of a commitment that nothing was claimed on.
func NewRedeemed(m *Commitment) Redeemed {
	redeemed := Redeemed{}
	for k, chain := range m.Chains {
		redeemed.Tails[k] = Tail{Payword: chain.Root}
	}
	return redeemed
}

// JudgeClaim decides what a claim adds to what was paid before. ceiling is the
// most that may ever be paid on the commitment, in micros: what was reserved
// for it, or its limit. It hashes only from the tails that are known. The due
// amount, in micros, is 0 for a claim that repeats or undercuts an earlier one.
// It refuses with MalformedClaim, WrongVendor, UnknownChain, ChainExhausted,
// ForgedPayword, ClaimOverTails or ClaimOverLimit, and then nothing changes.
func JudgeClaim(m *Commitment, before Redeemed, c *Claim, ceiling money.Amount) (after Redeemed, due money.Amount, refusal Refusal) {
	switch {
	case c.Commitment != m.ID:
		return before, 0, refuse(MalformedClaim, "the claim is for another commitment")
	case c.Vendor != m.Vendor:
		return before, 0, refuse(WrongVendor, "the commitment is for %s, the claim is by %s", m.Vendor, c.Vendor)
	case c.Broker != m.Certificate.Issuer:
		return before, 0, refuse(MalformedClaim, "the claim is addressed to another broker")
	case len(c.Tails) > len(m.Chains):
		return before, 0, refuse(UnknownChain, "the commitment has %d chains, the claim %d tails", len(m.Chains), len(c.Tails))
	}
	after = before
	for k, tail := range c.Tails {
		reason := verifyTail(&after.Tails[k], m.Chains[k], tail)
		if reason != Accepted {
			return before, 0, refuse(reason, "the tail of chain %d is past its end, or does not lead to its root", k)
		}
	}
	switch proved := valueOf(m.Chains, &after.Tails, m.Limit); {
	case c.Amount > proved:
		return before, 0, refuse(ClaimOverTails, "the claim is for %s, its paywords prove %s", c.Amount.Decimal(), proved.Decimal())
	case c.Amount > ceiling:
		return before, 0, refuse(ClaimOverLimit, "the claim is for %s, at most %s can be paid", c.Amount.Decimal(), ceiling.Decimal())
	}
	if c.Amount > before.Paid {
		due = c.Amount - before.Paid
		after.Paid = c.Amount
	}
	return after, due, Refusal{}
}

// verifyTail checks a claimed tail against the known one and raises that.
func verifyTail(known *Tail, chain ChainTerms, claimed Tail) Reason {
	switch {
	case claimed.Index == 0:
		return Accepted
	case claimed.Index > chain.Length:
		return ChainExhausted
	case claimed.Index > known.Index:
		if claimed.Payword.Walk(claimed.Index-known.Index) != known.Payword {
			return ForgedPayword
		}
		*known = claimed
	default:
		if known.Payword.Walk(known.Index-claimed.Index) != claimed.Payword {
			return ForgedPayword
		}
	}
	return Accepted
}
