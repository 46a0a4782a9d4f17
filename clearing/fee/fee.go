// Package fee computes what a broker keeps for itself: a share of an amount by
// a rule, and how a fee is split over what it was taken for.
//
// A rule is a Schedule: marginal tiers, each with a rate in parts per million,
// and a minimum. Its version stands beside every fee, and a version names one
// rule for ever, so that years later anybody can compute the fee again.
//
//	{"version":"0.3pct-min-0.01/2","basis":"vendor-run",
//	 "tiers":[{"fromMicros":"0","ratePpm":3000}],
//	 "minimumMicros":"10000","rounding":"micro"}
//
// Marginal means that a rate holds for the part of the amount inside its tier,
// as with income tax, so that no amount costs less than a smaller one. Products
// and their sum are exact; there is one rounding, at the end, half to even, and
// then the minimum. Nothing here reads a clock, a file or a database.
package fee

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/paywordhq/payword/money"
)

// Basis says what one fee is taken of.
type Basis string

const (
	// PerVendorRun: once of all that a vendor is owed in a settlement run. Of a
	// page for a cent, a minimum of a cent would leave nothing.
	PerVendorRun Basis = "vendor-run"
	// PerPurseTransaction: of every payment with a purse card by itself, as
	// purse systems charge it.
	PerPurseTransaction Basis = "purse-transaction"
)

// Rounding says to what a fee is rounded, half to even.
type Rounding string

const (
	// ToMicro rounds to whole micros: what is paid out is whole minor units
	// anyway, and the rest of one is carried and not lost.
	ToMicro Rounding = "micro"
	// ToMinorUnit rounds to the currency's minor unit, as where a fee by itself
	// is shown or billed.
	ToMinorUnit Rounding = "minor-unit"
)

// Tier is a part of the scale.
type Tier struct {
	// From is where the tier begins, in micros; it ends where the next begins.
	From money.Amount
	// RatePpm is the share of what lies in the tier, in parts per million from
	// 0 to 1,000,000: 3000 are 0.3 percent.
	RatePpm int64
}

// Schedule is a rule for fees. Its zero value is no valid rule.
type Schedule struct {
	// Version names the rule for ever: 1 to 64 letters, digits and . _ - / +,
	// beginning with a letter or a digit. A changed rule gets another version.
	Version string
	Basis   Basis
	// Tiers are 1 to MaxTiers, the first from 0, each from more than the one
	// before.
	Tiers []Tier
	// Minimum is the least fee in micros, 0 to money.MaxAmount. One above 0 is
	// never below the currency's minor unit: less could not be told from none.
	Minimum  money.Amount
	Rounding Rounding
}

// Standard returns the rule that holds where no other is given: 0.3 percent, at
// least 0.01 of the major unit, once for each vendor and run.
func Standard() Schedule {
	return Schedule{
		Version: "0.3pct-min-0.01/2", Basis: PerVendorRun,
		Tiers: []Tier{{From: 0, RatePpm: 3000}}, Minimum: money.Unit / 100, Rounding: ToMicro,
	}
}

// Purse returns the rule of purse systems: 0.3 percent of every payment, in
// whole minor units, and at least 0.01 of the major unit.
func Purse() Schedule {
	return Schedule{
		Version: "purse-0.3pct-min-0.01/1", Basis: PerPurseTransaction,
		Tiers: []Tier{{From: 0, RatePpm: 3000}}, Minimum: money.Unit / 100, Rounding: ToMinorUnit,
	}
}

const million = 1_000_000 // what rates are parts of

// Fee returns the fee on gross in micros, never negative, and never less than
// on a smaller amount. The minimum can exceed gross: Split decides what then
// happens. A negative gross, and a rule that Check refuses, is an error;
// money.ErrOverflow means that rounding up to a minor unit left 64 bits.
func (s Schedule) Fee(gross money.Amount, currency money.Currency) (money.Amount, error) {
	if err := s.Check(); err != nil {
		return 0, err
	}
	if gross < 0 {
		return 0, fmt.Errorf("fee by %s on %s micros: want an amount of 0 or more", s.Version, gross)
	}
	step := uint64(1)
	if s.Rounding == ToMinorUnit {
		step = uint64(currency.MinorUnit())
	}
	high, low := s.product(uint64(gross))
	// gross < 2^63 and rates up to 2^20 leave high below 2^19, and the divisor
	// is a million or more: the quotient fits in 64 bits.
	divisor := million * step
	quotient, remainder := bits.Div64(high, low, divisor)
	if half := divisor - remainder; remainder > half || remainder == half && quotient%2 == 1 {
		quotient++
	}
	high, low = bits.Mul64(quotient, step)
	if high != 0 || low > math.MaxInt64 {
		return 0, fmt.Errorf("fee by %s on %s micros: %w", s.Version, gross, money.ErrOverflow)
	}
	return max(money.Amount(low), s.minimum(currency)), nil
}

// product returns the sum of what lies in each tier times the tier's rate, in
// 128 bits. The parts add up to gross and no rate is more than a million, so
// the sum is at most a million times gross, however many tiers there are.
func (s Schedule) product(gross uint64) (high, low uint64) {
	for i, tier := range s.Tiers {
		end := gross
		if i+1 < len(s.Tiers) {
			end = min(end, uint64(s.Tiers[i+1].From))
		}
		if end <= uint64(tier.From) {
			break
		}
		partHigh, partLow := bits.Mul64(end-uint64(tier.From), uint64(tier.RatePpm))
		var carry uint64
		low, carry = bits.Add64(low, partLow, 0)
		high, _ = bits.Add64(high, partHigh, carry)
	}
	return high, low
}

// minimum returns the least fee in a currency. Where fees are whole minor units
// it is rounded up to one.
func (s Schedule) minimum(currency money.Currency) money.Amount {
	if s.Minimum == 0 {
		return 0
	}
	unit := currency.MinorUnit()
	least := max(s.Minimum, unit)
	if s.Rounding == ToMinorUnit {
		least = (least + unit - 1).Floor(unit)
	}
	return least
}

// Split divides what is payable into fee and payout. The payout is whole minor
// units of the currency. What is left over is less than one of them and is
// carried; where the fee would leave less than a minor unit, nothing is taken,
// fee and payout are 0, and all is carried.
func (s Schedule) Split(payable money.Amount, currency money.Currency) (fee, payout money.Amount, err error) {
	fee, err = s.Fee(payable, currency)
	if err != nil || fee >= payable {
		return 0, 0, err
	}
	payout = (payable - fee).Floor(currency.MinorUnit())
	if payout == 0 {
		return 0, 0, nil
	}
	return fee, payout, nil
}
