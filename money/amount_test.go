package money_test

import (
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/paywordhq/payword/money"
)

// anyAmount draws amounts, often near the ends of their range.
func anyAmount() *rapid.Generator[money.Amount] {
	return rapid.Custom(func(t *rapid.T) money.Amount {
		return money.Amount(rapid.OneOf(rapid.Int64(), rapid.Int64Range(-3, 3),
			rapid.SampledFrom([]int64{math.MinInt64, math.MinInt64 + 1, math.MaxInt64 - 1, math.MaxInt64})).Draw(t, "amount"))
	})
}

// same reports whether a checked result is the exact one, or overflows just
// where that does not fit.
func same(got money.Amount, err error, exact *big.Int) bool {
	if !exact.IsInt64() {
		return errors.Is(err, money.ErrOverflow) && got == 0
	}
	return err == nil && int64(got) == exact.Int64()
}

func TestArithmeticIsExactOrOverflows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyAmount().Draw(t, "a"), anyAmount().Draw(t, "b")
		x, y := big.NewInt(int64(a)), big.NewInt(int64(b))
		if got, err := a.Add(b); !same(got, err, new(big.Int).Add(x, y)) {
			t.Errorf("%d + %d: got %d (%v)", a, b, got, err)
		}
		if got, err := a.Sub(b); !same(got, err, new(big.Int).Sub(x, y)) {
			t.Errorf("%d - %d: got %d (%v)", a, b, got, err)
		}
		if got, err := a.Mul(int64(b)); !same(got, err, new(big.Int).Mul(x, y)) {
			t.Errorf("%d * %d: got %d (%v)", a, b, got, err)
		}
	})
}

func TestMulCapped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := money.Amount(rapid.Int64Range(0, math.MaxInt64).Draw(t, "a"))
		n := rapid.Uint64().Draw(t, "n")
		ceiling := money.Amount(rapid.Int64Range(0, math.MaxInt64).Draw(t, "ceiling"))
		want := new(big.Int).Mul(big.NewInt(int64(a)), new(big.Int).SetUint64(n))
		if limit := big.NewInt(int64(ceiling)); want.Cmp(limit) > 0 {
			want = limit
		}
		if got := a.MulCapped(n, ceiling); int64(got) != want.Int64() {
			t.Errorf("%d * %d, at most %d: got %d, want %d", a, n, ceiling, got, want)
		}
	})
}

// exactShare is a*n/d rounded up.
func exactShare(a money.Amount, n, d int64) *big.Int {
	product := new(big.Int).Mul(big.NewInt(int64(a)), big.NewInt(n))
	quotient, remainder := new(big.Int).QuoRem(product, big.NewInt(d), new(big.Int))
	if remainder.Sign() > 0 {
		quotient.Add(quotient, big.NewInt(1))
	}
	return quotient
}

func TestShareRoundsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := money.Amount(rapid.Int64Range(0, math.MaxInt64).Draw(t, "a"))
		n := rapid.Int64Range(0, math.MaxInt64).Draw(t, "n")
		d := rapid.Int64Range(1, math.MaxInt64).Draw(t, "d")
		if got, err := a.Share(n, d); !same(got, err, exactShare(a, n, d)) {
			t.Errorf("%d * %d / %d: got %d (%v), want %d", a, n, d, got, err, exactShare(a, n, d))
		}
	})
}

func TestShare(t *testing.T) {
	for _, test := range []struct {
		name                   string
		amount                 money.Amount
		numerator, denominator int64
		want                   money.Amount
		overflows              bool
	}{
		{"0.3 % of ten dollars", 10_000_000, 3, 1000, 30_000, false},
		{"a fee never rounds to nothing", 1, 3, 1000, 1, false},
		{"nothing of nothing", 0, 3, 1000, 0, false},
		{"everything", math.MaxInt64, 1, 1, math.MaxInt64, false},
		{"one more than fits", math.MaxInt64, 2, 1, 0, true},
		{"rounded up past what fits", 1<<33 - 1, 1<<33 + 1, 8, 0, true},
		{"rounded up past 64 bits", 1<<33 - 1, 1<<33 + 1, 4, 0, true},
	} {
		got, err := test.amount.Share(test.numerator, test.denominator)
		if got != test.want || errors.Is(err, money.ErrOverflow) != test.overflows {
			t.Errorf("%s: got %d (%v), want %d, overflow %t", test.name, got, err, test.want, test.overflows)
		}
	}
	for _, bad := range [][3]int64{{-1, 1, 1}, {1, -1, 1}, {1, 1, 0}, {1, 1, -1}} {
		if got, err := money.Amount(bad[0]).Share(bad[1], bad[2]); err == nil {
			t.Errorf("%d * %d / %d: got %d, want an error", bad[0], bad[1], bad[2], got)
		}
	}
}

func TestFloor(t *testing.T) {
	for _, test := range []struct{ amount, step, want money.Amount }{
		{12_345_678, 10_000, 12_340_000}, {9_999, 10_000, 0}, {10_000, 10_000, 10_000}, {0, 10_000, 0},
	} {
		if got := test.amount.Floor(test.step); got != test.want {
			t.Errorf("%d down to a multiple of %d: got %d, want %d", test.amount, test.step, got, test.want)
		}
	}
}

func TestAmountInJSON(t *testing.T) {
	var document struct {
		Amount money.Amount `json:"amount"`
	}
	if err := json.Unmarshal([]byte(`{"amount":"1500"}`), &document); err != nil || document.Amount != 1500 {
		t.Errorf("got %d (%v), want 1500", document.Amount, err)
	}
	encoded, err := json.Marshal(document)
	if err != nil || string(encoded) != `{"amount":"1500"}` {
		t.Errorf("got %s (%v), want the amount as a string", encoded, err)
	}
	for _, bad := range []string{`{"amount":1500}`, `{"amount":"-1"}`, `{"amount":""}`, `{"amount":"1e3"}`, `{"amount":" 1"}`} {
		document.Amount = 7
		if err := json.Unmarshal([]byte(bad), &document); err == nil || document.Amount != 7 {
			t.Errorf("%s: got %d (%v), want an error and nothing changed", bad, document.Amount, err)
		}
	}
	if text, err := money.Amount(-5).MarshalText(); err != nil || string(text) != "-5" {
		t.Errorf("got %s (%v), want -5: ledgers write negative amounts", text, err)
	}
}

func TestDecimal(t *testing.T) {
	for _, test := range []struct {
		amount money.Amount
		want   string
	}{
		{0, "0.00"}, {1, "0.000001"}, {1000, "0.001"}, {12_500_000, "12.50"}, {-1_230_000, "-1.23"},
		{money.MaxAmount, "999999999.999999"}, {math.MinInt64, "-9223372036854.775808"},
	} {
		if got := test.amount.Decimal(); got != test.want {
			t.Errorf("%d: got %s, want %s", int64(test.amount), got, test.want)
		}
	}
}

// FuzzParseAmount: what is accepted has one spelling and is within bounds.
func FuzzParseAmount(f *testing.F) {
	for _, text := range []string{"0", "1500", "999999999999999", "1000000000000000", "01", "-1", "", "1e3", "١"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		amount, err := money.ParseAmount(text)
		if err != nil {
			if amount != 0 {
				t.Errorf("%q: an error and %d", text, amount)
			}
			return
		}
		if amount.String() != text || amount < 0 || amount > money.MaxAmount {
			t.Errorf("%q is read as %d", text, amount)
		}
		if again, err := money.ParseDecimal(amount.Decimal()); err != nil || again != amount {
			t.Errorf("%s through %s: %d (%v)", text, amount.Decimal(), again, err)
		}
	})
}

// FuzzParseDecimal: what is accepted is read exactly, as rational numbers say.
func FuzzParseDecimal(f *testing.F) {
	for _, text := range []string{"0", "0.001", "12", "3.50", "999999999.999999", "1000000000", "0.0000001", ".5", "5.", "1.2.3", "-1", "1/3", "1e3", "0x1", "1_0"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		amount, err := money.ParseDecimal(text)
		if err != nil {
			return
		}
		exact, valid := new(big.Rat).SetString(text)
		if !valid || strings.ContainsAny(text, "/eExXpP_+-") {
			t.Fatalf("accepted %q", text)
		}
		if exact.Mul(exact, big.NewRat(int64(money.Unit), 1)); exact.Cmp(big.NewRat(int64(amount), 1)) != 0 {
			t.Errorf("%q is read as %d micros, which are %s", text, amount, exact)
		}
		if again, err := money.ParseDecimal(amount.Decimal()); err != nil || again != amount {
			t.Errorf("%q through %s: %d (%v)", text, amount.Decimal(), again, err)
		}
	})
}
