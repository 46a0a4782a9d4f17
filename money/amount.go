// Package money holds the one type that every sum of money in payword has: a
// count of millionths of a currency's major unit ("micros"), and the currency
// that travels with it.
//
// There are no floats. Every operation that can overflow says so, and every
// operation that rounds names its rule. In JSON an amount is a string of
// digits, because a JavaScript number cannot hold every int64.
package money

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// Amount is a sum of money in micros: millionths of the currency's major unit,
// so that a tenth of a cent is 1000. The zero value is no money.
type Amount int64

const (
	// Unit is one major unit (one dollar, one euro), in micros.
	Unit Amount = 1_000_000

	// MaxAmount is the largest amount that the protocol carries, in micros. It
	// is the largest integer of a structured field (RFC 9651, section 3.3.1),
	// so that every amount fits the compact header, and it is exact as a
	// JavaScript number.
	MaxAmount Amount = 999_999_999_999_999
)

// ErrOverflow means that a result does not fit in an int64.
var ErrOverflow = errors.New("amount does not fit in 64 bits")

// Add returns a + b, or ErrOverflow.
func (a Amount) Add(b Amount) (Amount, error) {
	sum := a + b
	if (sum > a) != (b > 0) && b != 0 {
		return 0, ErrOverflow
	}
	return sum, nil
}

// Sub returns a - b, or ErrOverflow.
func (a Amount) Sub(b Amount) (Amount, error) {
	difference := a - b
	if (difference < a) != (b > 0) && b != 0 {
		return 0, ErrOverflow
	}
	return difference, nil
}

// Mul returns a * n, or ErrOverflow.
func (a Amount) Mul(n int64) (Amount, error) {
	if a == 0 || n == 0 {
		return 0, nil
	}
	product := int64(a) * n
	if product/n != int64(a) || (n == -1 && a == math.MinInt64) || (a == -1 && n == math.MinInt64) {
		return 0, ErrOverflow
	}
	return Amount(product), nil
}

// MulCapped returns a * n, or ceiling where the product would exceed it. a and
// ceiling must not be negative. It never fails, which makes it fit for adding
// up what chains prove: a value past the ceiling is the ceiling.
func (a Amount) MulCapped(n uint64, ceiling Amount) Amount {
	high, low := bits.Mul64(uint64(a), n)
	if high != 0 || low > uint64(ceiling) {
		return ceiling
	}
	return Amount(low)
}

// Share returns a * numerator / denominator, rounded up to a whole micro: the
// rule for fees, which must not round to nothing. a and numerator must not be
// negative and denominator must be positive. The product is exact (128 bits);
// ErrOverflow means that the quotient does not fit.
func (a Amount) Share(numerator, denominator int64) (Amount, error) {
	if a < 0 || numerator < 0 || denominator <= 0 {
		return 0, fmt.Errorf("share of %d: %d/%d is not a share", int64(a), numerator, denominator)
	}
	high, low := bits.Mul64(uint64(a), uint64(numerator))
	if high >= uint64(denominator) {
		return 0, ErrOverflow
	}
	quotient, remainder := bits.Div64(high, low, uint64(denominator))
	if quotient > math.MaxInt64 || quotient == math.MaxInt64 && remainder > 0 {
		return 0, ErrOverflow
	}
	if remainder > 0 {
		quotient++
	}
	return Amount(quotient), nil
}

// Floor returns a rounded down to a whole multiple of step, the rule for what
// is paid out: banks take whole cents, and what is left over is carried. a must
// not be negative and step must be positive.
func (a Amount) Floor(step Amount) Amount { return a - a%step }

// String returns a as digits, the form of the wire: "-1500".
func (a Amount) String() string { return strconv.FormatInt(int64(a), 10) }

// Decimal returns a in major units for people, with at least two digits after
// the point and no needless zeros: "0.001", "12.50".
func (a Amount) Decimal() string {
	sign, magnitude := "", uint64(a)
	if a < 0 {
		sign, magnitude = "-", -uint64(a)
	}
	whole, fraction := magnitude/uint64(Unit), magnitude%uint64(Unit)
	digits := fmt.Sprintf("%06d", fraction)
	for len(digits) > 2 && digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
	}
	return fmt.Sprintf("%s%d.%s", sign, whole, digits)
}

// ParseAmount reads the wire form: digits, no sign, no leading zero, at most
// MaxAmount. Anything else is an error that says what was wrong.
func ParseAmount(text string) (Amount, error) {
	if text == "" || len(text) > 15 {
		return 0, fmt.Errorf("amount %.20q: want 1 to 15 digits, counting millionths", text)
	}
	value := int64(0)
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("amount %q: want digits only, counting millionths", text)
		}
		value = value*10 + int64(c-'0')
	}
	if text[0] == '0' && len(text) > 1 {
		return 0, fmt.Errorf("amount %q: leading zero", text)
	}
	return Amount(value), nil
}

// ParseDecimal reads an amount in major units as people write it: "0.001",
// "12", "3.50". At most six digits may follow the point; nothing is rounded.
func ParseDecimal(text string) (Amount, error) {
	whole, fraction, found := strings.Cut(text, ".")
	if whole == "" || (found && fraction == "") || len(fraction) > 6 || len(whole) > 9 {
		return 0, fmt.Errorf("amount %.24q: want a number such as 0.001, with at most six digits after the point", text)
	}
	digits := whole + fraction + strings.Repeat("0", 6-len(fraction))
	digits = strings.TrimLeft(digits, "0")
	if digits == "" {
		return 0, nil
	}
	amount, err := ParseAmount(digits)
	if err != nil {
		return 0, fmt.Errorf("amount %.24q: want a number such as 0.001, with at most six digits after the point", text)
	}
	return amount, nil
}

// MarshalText writes the wire form. A negative amount is written with a minus
// sign: ledgers have them, the protocol does not, and UnmarshalText refuses it.
func (a Amount) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads the wire form, as ParseAmount does.
func (a *Amount) UnmarshalText(text []byte) error {
	amount, err := ParseAmount(string(text))
	if err != nil {
		return err
	}
	*a = amount
	return nil
}
