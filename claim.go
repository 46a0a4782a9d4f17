package payword

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/paywordhq/payword/internal/sha256chain"
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
	return parseClaim(token, vendorKey, oneByOne)
}

func parseClaim(token string, vendorKey ed25519.PublicKey, by signatureCheck) (Claim, Refusal) {
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
	if object.keyID != Thumbprint(vendorKey) || !object.verify(vendorKey, by) {
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
	one := [1]ClaimCase{{Commitment: m, Before: before, Claim: c, Ceiling: ceiling}}
	JudgeClaims(one[:])
	return one[0].After, one[0].Due, one[0].Refusal
}

// ClaimCase is one claim for JudgeClaims: what JudgeClaim takes, and what it
// returns.
type ClaimCase struct {
	Commitment *Commitment
	Before     Redeemed
	Claim      *Claim
	Ceiling    money.Amount // in micros

	After   Redeemed
	Due     money.Amount // in micros
	Refusal Refusal
}

// JudgeClaims judges each claim as JudgeClaim does, and writes what comes of it
// beside it. It hashes the chains of all side by side, which takes a fraction of
// the time.
func JudgeClaims(cases []ClaimCase) {
	walks := make([]sha256chain.Job, 0, len(cases))
	for k := range cases {
		c := &cases[k]
		if c.Refusal = c.misfit(); !c.Refusal.Refused() {
			walks = c.appendWalks(walks)
		}
	}
	sha256chain.WalkAll(walks)
	for k := range cases {
		c := &cases[k]
		if !c.Refusal.Refused() {
			walks = c.decide(walks)
		}
		if c.Refusal.Refused() {
			c.After, c.Due = c.Before, 0
		}
	}
}

// misfit refuses a claim that is not for the commitment.
func (c *ClaimCase) misfit() Refusal {
	switch m := c.Commitment; {
	case c.Claim.Commitment != m.ID:
		return refuse(MalformedClaim, "the claim is for another commitment")
	case c.Claim.Vendor != m.Vendor:
		return refuse(WrongVendor, "the commitment is for %s, the claim is by %s", m.Vendor, c.Claim.Vendor)
	case c.Claim.Broker != m.Certificate.Issuer:
		return refuse(MalformedClaim, "the claim is addressed to another broker")
	case len(c.Claim.Tails) > len(m.Chains):
		return refuse(UnknownChain, "the commitment has %d chains, the claim %d tails", len(m.Chains), len(c.Claim.Tails))
	}
	return Refusal{}
}

// appendWalks appends the walk between the known and the claimed tail of each
// chain, from the deeper one on.
func (c *ClaimCase) appendWalks(walks []sha256chain.Job) []sha256chain.Job {
	for k, claimed := range c.Claim.Tails {
		known := &c.Before.Tails[k]
		switch {
		case claimed.Index > c.Commitment.Chains[k].Length: // no walk is needed
			walks = append(walks, sha256chain.Job{})
		case claimed.Index > known.Index:
			walks = append(walks, sha256chain.Job{Word: claimed.Payword, Steps: claimed.Index - known.Index})
		case claimed.Index == 0:
			walks = append(walks, sha256chain.Job{})
		default:
			walks = append(walks, sha256chain.Job{Word: known.Payword, Steps: known.Index - claimed.Index})
		}
	}
	return walks
}

// decide judges a claim from where its walks, the first ones, have led, and
// returns the others.
func (c *ClaimCase) decide(walks []sha256chain.Job) (others []sha256chain.Job) {
	own, others := walks[:len(c.Claim.Tails)], walks[len(c.Claim.Tails):]
	m := c.Commitment
	c.After, c.Due = c.Before, 0
	for k, tail := range c.Claim.Tails {
		reason := raiseTail(&c.After.Tails[k], m.Chains[k].Length, tail, Payword(own[k].Word))
		if reason != Accepted {
			c.Refusal = refuse(reason, "the tail of chain %d is past its end, or does not lead to its root", k)
			return others
		}
	}
	amount := c.Claim.Amount
	switch proved := valueOf(m.Chains, &c.After.Tails, m.Limit); {
	case amount > proved:
		c.Refusal = refuse(ClaimOverTails, "the claim is for %s, its paywords prove %s", amount.Decimal(), proved.Decimal())
	case amount > c.Ceiling:
		c.Refusal = refuse(ClaimOverLimit, "the claim is for %s, at most %s can be paid", amount.Decimal(), c.Ceiling.Decimal())
	case amount > c.Before.Paid:
		c.Due = amount - c.Before.Paid
		c.After.Paid = amount
	}
	return others
}

// raiseTail checks a claimed tail against the known one, of a chain of that
// length, and raises that. reached is where the walk from the deeper one of the
// two led, to the index of the other.
func raiseTail(known *Tail, length uint32, claimed Tail, reached Payword) Reason {
	switch {
	case claimed.Index == 0:
		return Accepted
	case claimed.Index > length:
		return ChainExhausted
	case claimed.Index > known.Index:
		if reached != known.Payword {
			return ForgedPayword
		}
		*known = claimed
	default:
		if reached != claimed.Payword {
			return ForgedPayword
		}
	}
	return Accepted
}
