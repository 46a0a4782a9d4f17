package samgateway

import (
	"context"
	"flag"

	"github.com/paywordhq/payword/money"
)

// turnInResult is what the command turnin prints.
type turnInResult struct {
	Merchant  string       `json:"merchant"`
	Batch     uint32       `json:"batch"`    // 0: there was nothing to turn in
	Payments  uint32       `json:"payments"` // and cancellations
	Voids     uint32       `json:"voids"`
	SumMicros money.Amount `json:"sumMicros"`
	Currency  string       `json:"currency"`
}

// defineTurnIn is the command turnin.
func defineTurnIn(c *command, flags *flag.FlagSet) func(context.Context) error {
	s := c.settingsFlags(flags, samSettings|hostSettings)
	return func(ctx context.Context) error {
		if err := s.complete(); err != nil {
			return err
		}
		if err := s.require("clearing"); err != nil {
			return err
		}
		return c.withTill(ctx, s, func(t *till) error {
			turned, err := t.terminal.TurnIn(ctx)
			if err != nil {
				return err
			}
			result := turnInResult{turned.Merchant.String(), turned.Batch, turned.Payments, turned.Voids, amountOf(t.unit, turned.Sum), t.unit.Currency.Money().Code()}
			if turned.Batch == 0 {
				return c.say(result, "there is nothing to turn in")
			}
			return c.say(result, "Turned in batch %d: transactions %d to %d, %s and %s, %s %s together. Clearing has taken it.",
				turned.Batch, turned.First, turned.Last, counted(turned.Payments, "payment"), counted(turned.Voids, "void"), result.SumMicros.Decimal(), result.Currency)
		})
	}
}
