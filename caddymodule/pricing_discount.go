package caddymodule

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/paywordhq/payword/money"
)

// Discount lowers what is charged to a commitment that has spent much here.
type Discount struct {
	// From which sum on, in the currency of the price: "5.00". Required.
	From string `json:"from,omitempty"`

	// By how many percent prices are lowered, 1 to 99. Required.
	Percent int `json:"percent,omitempty"`

	from money.Amount // in micros
}

// maxDiscounts bounds the steps of one directive: they are all looked at for
// every payment.
const maxDiscounts = 20

func (h *Handler) provisionDiscounts() error {
	for k := range h.Discounts {
		var err error
		if h.Discounts[k].from, err = money.ParseDecimal(h.Discounts[k].From); err != nil {
			return fmt.Errorf("payword: discount: %w", err)
		}
	}
	return nil
}

func (h *Handler) validateDiscounts() error {
	if len(h.Discounts) > maxDiscounts {
		return fmt.Errorf("payword: %d discounts: at most %d", len(h.Discounts), maxDiscounts)
	}
	for k := range h.Discounts {
		step := &h.Discounts[k]
		switch {
		case step.Percent < 1 || step.Percent > 99:
			return fmt.Errorf("payword: discount: %d percent: want 1 to 99", step.Percent)
		case k > 0 && step.from <= h.Discounts[k-1].from:
			return errors.New("payword: discount: want the steps in rising order of their amounts")
		}
	}
	return nil
}

// discounted returns what is charged for a price to who has spent a sum, both
// in micros: rounded down to a whole micro, in the payer's favour, and at least
// one.
func (h *Handler) discounted(price, spent money.Amount) money.Amount {
	percent := 0
	for k := range h.Discounts {
		if spent >= h.Discounts[k].from {
			percent = h.Discounts[k].Percent
		}
	}
	if percent == 0 || price < 1 {
		return price
	}
	high, low := bits.Mul64(uint64(price), uint64(100-percent))
	quotient, _ := bits.Div64(high, low, 100) // at most price
	return max(1, money.Amount(quotient))
}

// readDiscount reads one step. Syntax:
//
//	discount <from amount> <percent>
func readDiscount(h *Handler, d *caddyfile.Dispenser) error {
	arguments := d.RemainingArgs()
	if len(arguments) != 2 {
		return d.Err("want discount <from amount> <percent>, such as: discount 5.00 20")
	}
	percent, err := strconv.Atoi(arguments[1])
	if err != nil {
		return d.Errf("discount %s %q: want a number of percent, such as 20", arguments[0], arguments[1])
	}
	h.Discounts = append(h.Discounts, Discount{From: arguments[0], Percent: percent})
	return nil
}
