package kiosk

import (
	"strconv"
	"strings"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// usual are the amounts that are offered, in whole units of the currency.
var usual = []money.Amount{5, 10, 20, 50, 100}

// maxAmountBytes bounds what is read as an amount: no card holds one that is
// longer.
const maxAmountBytes = 16

// choices returns the usual amounts that are possible, and the most itself.
func choices(unit purse.Unit, most uint32) (list []uint32) {
	for _, whole := range usual {
		count, err := unit.Count(whole * money.Unit)
		if err == nil && count < most {
			list = append(list, count)
		}
	}
	return append(list, most)
}

// readChoice reads an amount in units, as a button says it.
func readChoice(text string, most uint32) (amount uint32, notice string) {
	count, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, "amount.wrong"
	}
	return within(uint32(count), most)
}

// readAmount reads what people type: "20", "20.50" or "20,50". Nobody needs a
// thousand here, so either sign stands before the digits after the point.
// notice is the key of a text that says what is wrong.
func readAmount(typed string, unit purse.Unit, most uint32) (amount uint32, notice string) {
	typed = strings.TrimSpace(typed)
	if typed == "" || len(typed) > maxAmountBytes {
		return 0, "amount.wrong"
	}
	amountMicros, err := money.ParseDecimal(strings.Replace(typed, ",", ".", 1))
	if err != nil {
		return 0, "amount.wrong"
	}
	if amountMicros > unit.Amount(most) {
		return 0, "amount.too-much"
	}
	count, err := unit.Count(amountMicros)
	if err != nil {
		return 0, "amount.wrong"
	}
	return within(count, most)
}

func within(count, most uint32) (uint32, string) {
	switch {
	case count == 0:
		return 0, "amount.nothing"
	case count > most:
		return 0, "amount.too-much"
	}
	return count, ""
}
