package samgateway

import (
	"context"
	"flag"
	"fmt"
	"strings"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// statusResult is what the command status prints.
type statusResult struct {
	Merchant    string       `json:"merchant"`
	Batch       uint32       `json:"batch"`
	IsClosed    bool         `json:"isClosed"` // the batch: it has to be turned in
	Payments    uint32       `json:"payments"` // and cancellations
	Voids       uint32       `json:"voids"`
	SumMicros   money.Amount `json:"sumMicros"`
	LimitMicros money.Amount `json:"limitMicros"`
	Currency    string       `json:"currency"`
	Undecided   []matter     `json:"undecided"`
}

// defineStatus is the command status.
func defineStatus(c *command, flags *flag.FlagSet) func(context.Context) error {
	s := c.settingsFlags(flags, samSettings|hostSettings)
	return func(ctx context.Context) error {
		if err := s.complete(); err != nil {
			return err
		}
		return c.withTill(ctx, s, func(t *till) error { return c.status(ctx, t) })
	}
}

func (c *command) status(ctx context.Context, t *till) error {
	data, err := t.terminal.SAM(ctx)
	if err != nil {
		return err
	}
	undecided, err := t.terminal.Undecided(ctx)
	if err != nil {
		return err
	}
	result := statusResult{
		Merchant: data.Merchant.String(), Batch: data.Batch, IsClosed: data.State == purse.SAMClosed,
		Payments: data.Payments, Voids: data.Voids, SumMicros: amountOf(t.unit, data.Sum),
		LimitMicros: amountOf(t.unit, data.Limit), Currency: t.unit.Currency.Money().Code(), Undecided: make([]matter, 0, len(undecided)),
	}
	state := "is open"
	if result.IsClosed {
		state = "is closed and has to be turned in"
	}
	lines := []string{fmt.Sprintf("merchant %s: batch %d %s, with %s and %s, %s of at most %s %s",
		result.Merchant, result.Batch, state, counted(result.Payments, "payment"), counted(result.Voids, "void"), result.SumMicros.Decimal(), result.LimitMicros.Decimal(), result.Currency)}
	for _, u := range undecided {
		m := matterOf(u.Matter, u.State, u.Reason, u.Due)
		result.Undecided = append(result.Undecided, m)
		lines = append(lines, m.line())
	}
	if len(undecided) == 0 {
		lines = append(lines, "nothing is undecided, and nothing waits")
	}
	return c.say(result, "%s", strings.Join(lines, "\n"))
}

// counted is a number of things, for people.
func counted(count uint32, thing string) string {
	if count == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", count, thing)
}

// amountOf is a SAM's sum as money: no SAM is near the most that money can be.
func amountOf(unit purse.Unit, sum uint64) money.Amount {
	amount, err := unit.Amount(1).Mul(int64(min(sum, 1<<62)))
	if err != nil {
		return money.MaxAmount
	}
	return amount
}
