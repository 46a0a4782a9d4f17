package caddymodule

import (
	"context"
	"fmt"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// maxProblems bounds the problems that a verification lists; the others are
// counted.
const maxProblems = 100

// Verification is what came of checking a store against the raw evidence that
// it holds: signatures, paywords and sums.
type Verification struct {
	Commitments int               `json:"commitments"`
	Signatures  int               `json:"signatures"` // that were good
	Tails       int               `json:"tails"`      // that lead to their roots
	Hashes      uint64            `json:"hashes"`     // computed for that
	Sums        []VerifiedSums    `json:"sums"`       // of what is proved, by currency
	Wrong       int               `json:"wrong"`      // commitments with a problem
	Problems    []WrongCommitment `json:"problems,omitempty"`
}

// VerifiedSums are the sums of one currency, in micros.
type VerifiedSums struct {
	Currency string       `json:"currency"`
	Accepted money.Amount `json:"accepted_micros"`
	Spent    money.Amount `json:"spent_micros"`
	Redeemed money.Amount `json:"redeemed_micros"`
}

// WrongCommitment is one with a problem.
type WrongCommitment struct {
	Pseudonym string   `json:"commitment"`
	Vendor    string   `json:"vendor"`
	Problems  []string `json:"problems"`
}

// keysOf returns what an issuer signs with, and false if no keys of it are
// known.
type keysOf func(issuer string) (payword.Brokers, bool)

// verifyAccounts checks everything that a store holds.
func verifyAccounts(ctx context.Context, from lister, keys keysOf, pseudonym func(payword.CommitmentID) string) (Verification, error) {
	var done Verification
	sums := make(map[money.Currency]VerifiedSums)
	err := from.accounts(ctx, func(a account) bool {
		done.Commitments++
		found := done.verify(&a, keys)
		m := a.commitment
		sum := sums[m.Currency]
		sum.Currency = m.Currency.Code()
		sum.Accepted += a.state.Accepted(m)
		sum.Spent += a.state.Spent()
		sum.Redeemed += a.state.Claimed
		sums[m.Currency] = sum
		if len(found) > 0 {
			done.Wrong++
			if len(done.Problems) < maxProblems {
				done.Problems = append(done.Problems, WrongCommitment{Pseudonym: pseudonym(m.ID), Vendor: m.Vendor, Problems: found})
			}
		}
		return ctx.Err() == nil
	})
	for _, currency := range sortedCurrencies(sums) {
		done.Sums = append(done.Sums, sums[currency])
	}
	return done, err
}

// verify returns what is wrong with a commitment.
func (v *Verification) verify(a *account, keys keysOf) []string {
	found := v.verifySignatures(a, keys)
	for k, chain := range a.commitment.Chains {
		tail := a.state.Tails[k]
		switch {
		case tail.Index > chain.Length:
			found = append(found, fmt.Sprintf("tail %d has index %d of a chain with %d steps", k, tail.Index, chain.Length))
		case !tail.Payword.Walk(tail.Index).Equal(chain.Root):
			found = append(found, fmt.Sprintf("tail %d does not lead to its root by %d hashes", k, tail.Index))
		default:
			v.Tails++
		}
		v.Hashes += uint64(min(tail.Index, chain.Length))
	}
	s := &a.state
	accepted := s.Accepted(a.commitment)
	for _, check := range []struct {
		wrong bool
		text  string
	}{
		{s.Cap > a.commitment.Limit, fmt.Sprintf("its cap is %s, over the limit of %s", s.Cap.Decimal(), a.commitment.Limit.Decimal())},
		{s.Returned > s.Charged, fmt.Sprintf("%s was given back of %s", s.Returned.Decimal(), s.Charged.Decimal())},
		{s.Spent() > accepted, fmt.Sprintf("%s was spent of %s", s.Spent().Decimal(), accepted.Decimal())},
		{s.Claimed > s.Charged, fmt.Sprintf("%s was redeemed of %s", s.Claimed.Decimal(), s.Charged.Decimal())},
	} {
		if check.wrong {
			found = append(found, check.text)
		}
	}
	return found
}

// verifySignatures checks the commitment, the certificate inside it, and the
// reservation.
func (v *Verification) verifySignatures(a *account, keys keysOf) []string {
	brokers, known := keys(a.commitment.Certificate.Issuer)
	if !known {
		return []string{"its signatures were not checked: there are no keys of " + a.commitment.Certificate.Issuer}
	}
	parsed, refusal := payword.ParseCommitment(a.commitment.Token, brokers)
	if refusal.Refused() {
		return []string{"the commitment: " + refusal.Reason.String()}
	}
	v.Signatures += 2 // the user's and the broker's
	if !isSameCommitment(&parsed, a.commitment) {
		return []string{"what is recorded of the commitment is not what it says"}
	}
	if a.reservation == "" {
		return nil
	}
	reservation, refusal := payword.ParseReservation(a.reservation, &parsed, brokers)
	switch {
	case refusal.Refused():
		return []string{"the reservation: " + refusal.Reason.String()}
	case reservation.Sequence != a.state.Sequence:
		return []string{fmt.Sprintf("the reservation has number %d, the state %d", reservation.Sequence, a.state.Sequence)}
	}
	v.Signatures++
	return nil
}

// isSameCommitment reports whether what is recorded of a commitment is what its
// token says that was parsed anew.
func isSameCommitment(parsed, recorded *payword.Commitment) bool {
	return string(appendTerms(nil, parsed)) == string(appendTerms(nil, recorded))
}
