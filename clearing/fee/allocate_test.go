package fee_test

import (
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/paywordhq/payword/clearing/fee"
	"github.com/paywordhq/payword/money"
)

func TestAllocate(t *testing.T) {
	amounts := func(list ...money.Amount) []money.Amount { return list }
	cases := []struct {
		name    string
		total   money.Amount
		weights []money.Amount
		want    []money.Amount
	}{
		{"one", 7, amounts(3), amounts(7)},
		{"even", 6, amounts(1, 1, 1), amounts(2, 2, 2)},
		{"what is left goes to the first of equals", 7, amounts(1, 1, 1), amounts(3, 2, 2)},
		{"two left", 8, amounts(1, 1, 1), amounts(3, 3, 2)},
		{"the largest remainder", 10, amounts(3, 5, 3), amounts(3, 4, 3)},    // 2.73, 4.55, 2.73
		{"the first of the largest", 10, amounts(1, 5, 1), amounts(2, 7, 1)}, // 1.43, 7.14, 1.43
		{"nothing for nothing", 5, amounts(0, 2, 0, 2, 0), amounts(0, 3, 0, 2, 0)},
		{"less than there are", 1, amounts(1, 2, 1), amounts(0, 1, 0)},
		{"nothing to split", 0, amounts(1, 2), amounts(0, 0)},
		{"nothing over nothing", 0, amounts(0, 0), amounts(0, 0)},
		{"nothing over nobody", 0, nil, amounts()},
		{"large", math.MaxInt64, amounts(math.MaxInt64-1, 1), amounts(math.MaxInt64-1, 1)},
		{"large and uneven", math.MaxInt64, amounts(1, 1), amounts(1<<62, 1<<62-1)},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := fee.Allocate(c.total, c.weights)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s by %v: got %v, %v; want %v", c.total, c.weights, got, err, c.want)
			}
		})
	}
}

func TestAllocateRefuses(t *testing.T) {
	cases := []struct {
		name    string
		total   money.Amount
		weights []money.Amount
		is      error
	}{
		{"negative total", -1, []money.Amount{1}, nil},
		{"negative weight", 1, []money.Amount{2, -1}, nil},
		{"nobody", 1, nil, nil},
		{"nobody with a weight", 1, []money.Amount{0, 0}, nil},
		{"too many", 0, make([]money.Amount, fee.MaxWeights+1), nil},
		{"a sum past 64 bits", 1, []money.Amount{math.MaxInt64, 1}, money.ErrOverflow},
	}
	for _, c := range cases {
		got, err := fee.Allocate(c.total, c.weights)
		if err == nil || got != nil || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: got %v, %v; want an error", c.name, got, err)
		}
	}
}

// Every part is its exact share, rounded down or up, and they add up.
func TestAllocateAddsUp(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 1000 {
		weights := make([]money.Amount, 1+random.IntN(40))
		size := random.IntN(57)
		for i := range weights {
			weights[i] = money.Amount(random.Int64()>>6) >> size // 60 of them fit in 64 bits
			if random.IntN(4) == 0 {
				weights[i] = 0
			}
		}
		weights[random.IntN(len(weights))]++
		total := randomAmount(random)
		parts, err := fee.Allocate(total, weights)
		if err != nil {
			t.Fatalf("%s by %v: %v", total, weights, err)
		}
		checkParts(t, total, weights, parts)
	}
}

func checkParts(t *testing.T, total money.Amount, weights, parts []money.Amount) {
	t.Helper()
	sum, given := new(big.Int), money.Amount(0)
	for i, weight := range weights {
		sum.Add(sum, big.NewInt(int64(weight)))
		given += parts[i]
	}
	if len(parts) != len(weights) || given != total {
		t.Fatalf("%s by %v: %v add up to %s", total, weights, parts, given)
	}
	remainders := make([]*big.Int, len(parts)) // of those rounded up, less the sum
	for i, part := range parts {
		share := new(big.Int).Mul(big.NewInt(int64(total)), big.NewInt(int64(weights[i])))
		remainders[i] = share.Sub(share, new(big.Int).Mul(big.NewInt(int64(part)), sum))
		if weights[i] == 0 && part != 0 || remainders[i].CmpAbs(sum) >= 0 {
			t.Fatalf("%s by %v: part %d is %s", total, weights, i, part)
		}
	}
	for i, up := range remainders {
		for k, down := range remainders {
			// Who was rounded up had no smaller remainder than who was rounded
			// down, and of two equal ones the first was.
			if up.Sign() < 0 && down.Sign() >= 0 {
				c := new(big.Int).Add(up, sum).Cmp(down)
				if c < 0 || c == 0 && i > k {
					t.Fatalf("%s by %v: got %v: %d was rounded up and %d down", total, weights, parts, i, k)
				}
			}
		}
	}
}

func BenchmarkFee(b *testing.B) {
	for b.Loop() {
		if _, err := fee.Standard().Fee(12_345_678, usd); err != nil {
			b.Fatal(err)
		}
	}
}
