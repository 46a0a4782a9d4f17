package fee

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"

	"github.com/paywordhq/payword/money"
)

// MaxWeights is the most that Allocate splits over: more than a vendor has
// commitments in a run, and few enough to hold and to sort in memory.
const MaxWeights = 1 << 20

// Allocate splits total in proportion to weights, in whole micros that add up
// to total exactly: each gets its share rounded down, and the micros left over
// go to the largest remainders, of equal ones to the first. A weight of 0 gets
// 0. Total, weights and their sum must be 0 or more and fit in 64 bits
// (money.ErrOverflow); where all weights are 0 or there are none, total must be
// 0 as well.
func Allocate(total money.Amount, weights []money.Amount) ([]money.Amount, error) {
	sum, err := weigh(total, weights)
	if err != nil {
		return nil, err
	}
	parts := make([]money.Amount, len(weights))
	if total == 0 {
		return parts, nil
	}
	remainders := make([]uint64, len(weights))
	order := make([]int, len(weights))
	left := total
	for i, weight := range weights {
		// weight <= sum, so that the quotient is at most total.
		high, low := bits.Mul64(uint64(total), uint64(weight))
		quotient, remainder := bits.Div64(high, low, uint64(sum))
		parts[i], remainders[i], order[i] = money.Amount(quotient), remainder, i
		left -= parts[i]
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(remainders[b], remainders[a]), cmp.Compare(a, b))
	})
	// What is left is the sum of the remainders divided by sum, and each is less
	// than sum: there are more remainders above 0 than micros left.
	for _, i := range order[:left] {
		parts[i]++
	}
	return parts, nil
}

// weigh checks what Allocate is given and returns the sum of the weights.
func weigh(total money.Amount, weights []money.Amount) (sum money.Amount, err error) {
	if total < 0 {
		return 0, fmt.Errorf("splitting %s micros: want 0 or more", total)
	}
	if len(weights) > MaxWeights {
		return 0, fmt.Errorf("splitting %s micros by %d weights: want at most %d", total, len(weights), MaxWeights)
	}
	for i, weight := range weights {
		if weight < 0 {
			return 0, fmt.Errorf("splitting %s micros: weight %d is %s: want 0 or more", total, i, weight)
		}
		if sum, err = sum.Add(weight); err != nil {
			return 0, fmt.Errorf("splitting %s micros: the sum of %d weights: %w", total, len(weights), err)
		}
	}
	if sum == 0 && total > 0 {
		return 0, fmt.Errorf("splitting %s micros: all of %d weights are 0: want one that is more", total, len(weights))
	}
	return sum, nil
}
