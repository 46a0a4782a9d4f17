package fee_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/paywordhq/payword/clearing/fee"
	"github.com/paywordhq/payword/money"
)

const (
	usd money.Currency = "usd-micro"
	jpy money.Currency = "jpy-micro"
	kwd money.Currency = "kwd-micro"
)

// graded is a price list of three tiers: 1 percent up to 100, 0.5 percent up to
// 10,000, 0.25 percent above.
func graded() fee.Schedule {
	return fee.Schedule{
		Version: "graded/1", Basis: fee.PerVendorRun, Minimum: 250_000, Rounding: fee.ToMicro,
		Tiers: []fee.Tier{{0, 10_000}, {100 * money.Unit, 5_000}, {10_000 * money.Unit, 2_500}},
	}
}

// flat is a rule with one rate.
func flat(ratePpm int64, minimum money.Amount, rounding fee.Rounding) fee.Schedule {
	return fee.Schedule{
		Version: "flat/1", Basis: fee.PerVendorRun, Minimum: minimum, Rounding: rounding,
		Tiers: []fee.Tier{{0, ratePpm}},
	}
}

func TestFee(t *testing.T) {
	cases := []struct {
		name     string
		schedule fee.Schedule
		currency money.Currency
		gross    money.Amount
		want     money.Amount
	}{
		{"standard, nothing", fee.Standard(), usd, 0, 10_000},
		{"standard, where the share is just the minimum", fee.Standard(), usd, 3_333_333, 10_000},
		{"standard, one micro more rounds down", fee.Standard(), usd, 3_333_499, 10_000},
		{"standard, half to even", fee.Standard(), usd, 3_333_500, 10_000},
		{"standard, half to even upwards", fee.Standard(), usd, 3_500_500, 10_502},
		{"standard, ten dollars", fee.Standard(), usd, 10 * money.Unit, 30_000},
		{"standard, the largest amount", fee.Standard(), usd, money.MaxAmount, 3_000_000_000_000},
		{"standard, all that 64 bits hold", fee.Standard(), usd, math.MaxInt64, 27_670_116_110_564_327},
		{"standard, yen: a cent is no amount", fee.Standard(), jpy, 100 * money.Unit, 1 * money.Unit},
		{"standard, yen: the share", fee.Standard(), jpy, 1000 * money.Unit, 3 * money.Unit},
		{"standard, dinar: ten thousandths", fee.Standard(), kwd, 1 * money.Unit, 10_000},
		{"purse, yen: at least one", fee.Purse(), jpy, 100 * money.Unit, 1 * money.Unit},
		{"purse, yen: 1.5 to even", fee.Purse(), jpy, 500 * money.Unit, 2 * money.Unit},
		{"purse, dinar: 15.015 thousandths", fee.Purse(), kwd, 5_005_000, 15_000},
		{"purse, dinar: 16.5 thousandths to even", fee.Purse(), kwd, 5_500_000, 16_000},
		{"graded, in the first tier", graded(), usd, 50 * money.Unit, 500_000},
		{"graded, the minimum", graded(), usd, 20 * money.Unit, 250_000},
		{"graded, the end of the first tier", graded(), usd, 100 * money.Unit, 1 * money.Unit},
		{"graded, in the second tier", graded(), usd, 300 * money.Unit, 2 * money.Unit},
		{"graded, in the third tier", graded(), usd, 20_000 * money.Unit, 75_500_000},
		{"free", flat(0, 0, fee.ToMinorUnit), usd, 5 * money.Unit, 0},
		{"a minimum below a cent", flat(0, 1, fee.ToMicro), usd, 5 * money.Unit, 10_000},
		{"a minimum between two cents, in micros", flat(0, 15_000, fee.ToMicro), usd, 5 * money.Unit, 15_000},
		{"a minimum between two cents, in cents", flat(0, 15_000, fee.ToMinorUnit), usd, 5 * money.Unit, 20_000},
		{"everything", flat(1_000_000, 0, fee.ToMicro), usd, math.MaxInt64, math.MaxInt64},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.schedule.Fee(c.gross, c.currency)
			if err != nil || got != c.want {
				t.Errorf("fee on %s by %s: got %s, %v; want %s", c.gross, c.schedule, got, err, c.want)
			}
		})
	}
}

// The rule of purse systems, in cents.
func TestPurseFee(t *testing.T) {
	want := map[money.Amount]money.Amount{
		500: 2, // 1.5
		501: 2, 833: 2, 834: 3, 1000: 3,
		1500:   4, // 4.5
		2500:   8, // 7.5
		20_000: 60,
	}
	for cents := money.Amount(1); cents <= 499; cents++ {
		want[cents] = 1
	}
	for cents, fee := range want {
		checkPurse(t, cents, fee)
	}
}

func checkPurse(t *testing.T, cents, want money.Amount) {
	t.Helper()
	got, err := fee.Purse().Fee(cents*10_000, usd)
	if err != nil || got != want*10_000 {
		t.Errorf("fee on a payment of %d cents: got %s micros, %v; want %d cents", cents, got, err, want)
	}
}

func TestFeeRefuses(t *testing.T) {
	if got, err := fee.Standard().Fee(-1, usd); err == nil {
		t.Errorf("fee on a negative amount: got %s, want an error", got)
	}
	if got, err := (fee.Schedule{}).Fee(1, usd); err == nil {
		t.Errorf("fee by no rule: got %s, want an error", got)
	}
	got, err := flat(1_000_000, 0, fee.ToMinorUnit).Fee(math.MaxInt64, usd)
	if !errors.Is(err, money.ErrOverflow) || got != 0 {
		t.Errorf("rounded up past 64 bits: got %s, %v; want %v", got, err, money.ErrOverflow)
	}
}

func TestSplit(t *testing.T) {
	cases := []struct {
		name        string
		schedule    fee.Schedule
		currency    money.Currency
		payable     money.Amount
		fee, payout money.Amount
	}{
		{"nothing", fee.Standard(), usd, 0, 0, 0},
		{"less than the fee", fee.Standard(), usd, 9_999, 0, 0},
		{"the fee", fee.Standard(), usd, 10_000, 0, 0},
		{"less than a cent after the fee", fee.Standard(), usd, 19_999, 0, 0},
		{"a cent after the fee", fee.Standard(), usd, 20_000, 10_000, 10_000},
		{"a rest", fee.Standard(), usd, 29_999, 10_000, 10_000},
		{"share", fee.Standard(), usd, 12_345_678, 37_037, 12_300_000},
		{"yen have no cents", fee.Standard(), jpy, 1_999_999, 0, 0},
		{"a yen after the fee", fee.Standard(), jpy, 2_000_000, 1_000_000, 1_000_000},
		{"dinar have thousandths", fee.Standard(), kwd, 12_345_678, 37_037, 12_308_000},
		{"free", flat(0, 0, fee.ToMicro), usd, 10_000, 0, 10_000},
		{"free and too small", flat(0, 0, fee.ToMicro), usd, 9_999, 0, 0},
		{"all is fee", flat(1_000_000, 0, fee.ToMicro), usd, 50 * money.Unit, 0, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			fee, payout, err := c.schedule.Split(c.payable, c.currency)
			if err != nil || fee != c.fee || payout != c.payout {
				t.Errorf("got fee %s, payout %s, %v; want %s, %s", fee, payout, err, c.fee, c.payout)
			}
		})
	}
	if fee, payout, err := fee.Standard().Split(-1, usd); err == nil {
		t.Errorf("splitting -1: got %s and %s, want an error", fee, payout)
	}
}

// randomSchedule draws a rule with some tiers, often with the extremes of what
// a rule may say.
func randomSchedule(random *rand.Rand) fee.Schedule {
	s := fee.Schedule{
		Version: "random/1", Basis: fee.PerVendorRun, Rounding: fee.ToMicro,
		Minimum: randomAmount(random) % 1_000_000,
	}
	if random.IntN(4) == 0 {
		s.Minimum = 0
	}
	if random.IntN(2) == 0 {
		s.Rounding = fee.ToMinorUnit
	}
	from := money.Amount(0)
	most := 4
	if random.IntN(10) == 0 {
		most = fee.MaxTiers
	}
	for range 1 + random.IntN(most) {
		rate := random.Int64N(1_000_001)
		if random.IntN(3) == 0 {
			rate = random.Int64N(20_000) / 500 * 500 // what price lists say, where halves are common
		}
		s.Tiers = append(s.Tiers, fee.Tier{From: from, RatePpm: rate})
		from += 1 + randomAmount(random)>>16
		if from > money.MaxAmount {
			break
		}
	}
	return s
}

// randomAmount draws amounts of every size.
func randomAmount(random *rand.Rand) money.Amount {
	return money.Amount(random.Int64() >> random.IntN(63))
}

// exact computes fees again with integers of any size.
type exact struct {
	rates, from                      []*big.Int
	minimum, step, divisor           *big.Int
	sum, part, quotient, rest, gross big.Int
}

func newExact(s fee.Schedule, currency money.Currency) *exact {
	e := &exact{step: big.NewInt(1), minimum: new(big.Int)}
	unit := map[money.Currency]int64{usd: 10_000, jpy: 1_000_000, kwd: 1_000}[currency]
	for _, tier := range s.Tiers {
		e.rates = append(e.rates, big.NewInt(tier.RatePpm))
		e.from = append(e.from, big.NewInt(int64(tier.From)))
	}
	if s.Minimum > 0 {
		e.minimum.SetInt64(max(int64(s.Minimum), unit))
	}
	if s.Rounding == fee.ToMinorUnit {
		e.step.SetInt64(unit)
		above := new(big.Int).Add(e.minimum, big.NewInt(unit-1))
		e.minimum.Sub(above, new(big.Int).Rem(above, e.step))
	}
	e.divisor = new(big.Int).Mul(e.step, big.NewInt(1_000_000))
	return e
}

// fee adds up the tiers the other way round than the package: each tier's rate
// less that of the one before, on all that lies above where it begins.
func (e *exact) fee(gross money.Amount) *big.Int {
	e.gross.SetInt64(int64(gross))
	e.sum.SetInt64(0)
	for i := range e.rates {
		if e.gross.Cmp(e.from[i]) <= 0 {
			break
		}
		e.part.Sub(&e.gross, e.from[i])
		e.rest.Set(e.rates[i])
		if i > 0 {
			e.rest.Sub(&e.rest, e.rates[i-1])
		}
		e.sum.Add(&e.sum, e.part.Mul(&e.part, &e.rest))
	}
	e.quotient.QuoRem(&e.sum, e.divisor, &e.rest)
	if c := e.rest.Lsh(&e.rest, 1).Cmp(e.divisor); c > 0 || c == 0 && e.quotient.Bit(0) == 1 {
		e.quotient.Add(&e.quotient, e.part.SetInt64(1))
	}
	e.quotient.Mul(&e.quotient, e.step)
	if e.quotient.Cmp(e.minimum) < 0 {
		e.quotient.Set(e.minimum)
	}
	return &e.quotient
}

// A million random amounts, of every size and by a thousand rules, against
// arithmetic without limits.
func TestFeeAgreesWithBigIntegers(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for k := range 1000 {
		s, currency := randomSchedule(random), []money.Currency{usd, jpy, kwd}[random.IntN(3)]
		switch k % 4 {
		case 0:
			s = fee.Standard()
		case 1:
			s = fee.Purse()
		}
		e := newExact(s, currency)
		for i := range 1000 {
			gross := randomAmount(random)
			want := e.fee(gross)
			got, err := s.Fee(gross, currency)
			if err != nil || !want.IsInt64() || want.Int64() != int64(got) {
				t.Fatalf("fee on %s %s by %s: got %s, %v; want %s", gross, currency, s, got, err, want)
			}
			if i%10 == 0 {
				checkSplit(t, s, currency, gross, got)
			}
		}
	}
}

// checkSplit checks that fee, payout and rest are what was payable, whatever it
// was, and that the rest is as small as it can be.
func checkSplit(t *testing.T, s fee.Schedule, currency money.Currency, payable, fee money.Amount) {
	t.Helper()
	gotFee, payout, err := s.Split(payable, currency)
	if err != nil {
		t.Fatal(err)
	}
	unit := currency.MinorUnit()
	rest := payable - gotFee - payout
	switch {
	case payout == 0 && (gotFee != 0 || payable-fee >= unit):
		t.Fatalf("payable %s by %s: nothing is paid, fee %s", payable, s, gotFee)
	case payout != 0 && (gotFee != fee || payout < 0 || payout%unit != 0 || rest < 0 || rest >= unit):
		t.Fatalf("payable %s by %s: got fee %s, payout %s, rest %s", payable, s, gotFee, payout, rest)
	}
}

// Who is owed more pays no smaller fee, at the ends of tiers above all.
func TestFeeIsMonotonic(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 500 {
		s, currency := randomSchedule(random), []money.Currency{usd, jpy, kwd}[random.IntN(3)]
		for _, tier := range s.Tiers {
			for _, around := range []money.Amount{tier.From, randomAmount(random) >> 4} {
				low := max(0, around-money.Amount(random.Int64N(20_000)))
				high := around + money.Amount(random.Int64N(20_000))
				less, err := s.Fee(low, currency)
				if err != nil {
					t.Fatal(err)
				}
				more, err := s.Fee(high, currency)
				if err != nil || more < less {
					t.Fatalf("by %s: fee %s on %s and %s on %s (%v)", s, less, low, more, high, err)
				}
			}
		}
	}
}

func ExampleSchedule_Split() {
	fee, payout, err := fee.Standard().Split(12_345_678, "eur-micro")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("fee", fee.Decimal(), "paid", payout.Decimal(), "carried", (12_345_678 - fee - payout).Decimal())
	// Output: fee 0.037037 paid 12.30 carried 0.008641
}
