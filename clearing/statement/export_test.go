package statement

import "github.com/paywordhq/payword/money"

// NewFeeShares splits a fee over amounts that sum to whole.
func NewFeeShares(fee, whole Total) func(money.Amount) money.Amount {
	shares := &feeShares{fee: fee, whole: whole}
	return shares.next
}

// Check reports whether the path leads from a leaf to the root.
func (p *Proof) Check(leaf, root Digest) error { return p.check(leaf, root) }
