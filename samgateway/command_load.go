package samgateway

import (
	"context"
	"flag"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// loadResult is what the command load prints.
type loadResult struct {
	Card          string       `json:"card"`
	Load          string       `json:"load"`
	AmountMicros  money.Amount `json:"amountMicros"`
	BalanceMicros money.Amount `json:"balanceMicros"`
	Currency      string       `json:"currency"`
	// IsConfirmed says that clearing knows that the card took it.
	IsConfirmed bool `json:"isConfirmed"`
}

// defineLoad is the command load.
func defineLoad(c *command, flags *flag.FlagSet) func(context.Context) error {
	s := c.settingsFlags(flags, cardSettings|pinSettings|samSettings|hostSettings)
	return func(ctx context.Context) error {
		if err := s.complete("clearing", "load-terminal"); err != nil {
			return err
		}
		unit, err := s.unit()
		if err != nil {
			return err
		}
		amount, err := parseAmount(c.arguments[0], unit)
		if err != nil {
			return err
		}
		return c.withTill(ctx, s, func(t *till) error {
			return c.withCard(ctx, s, func(card *customer) error { return c.load(ctx, t, card, s.pinFile, amount) })
		})
	}
}

func (c *command) load(ctx context.Context, t *till, card *customer, pinFile string, amount uint32) error {
	if err := card.check(t.unit); err != nil {
		return err
	}
	if err := c.meet(ctx, t, card); err != nil { // it forgets a PIN: that comes afterwards
		return err
	}
	load := t.terminal.Load
	if card.data.Holder == (purse.ID{}) {
		c.tell("Card %s is a white card: take %s in cash.", card.data.Card, spoken(amount, t.unit))
	} else {
		load = t.loadFromAccount
		c.tell("Card %s has %s and takes %s from its account.", card.data.Card, spoken(card.data.Balance, t.unit), spoken(amount, t.unit))
		if err := c.verifyPIN(ctx, card, pinFile); err != nil {
			return err
		}
	}
	r, err := load(ctx, card, amount)
	if err != nil {
		return c.afterTear(ctx, t, card, err)
	}
	result := loadResult{r.Card.String(), r.Reference.String(), r.Unit.Amount(r.Amount), r.Unit.Amount(r.Balance), r.Unit.Currency.Money().Code(), r.IsConfirmed}
	more := ""
	if !r.IsConfirmed {
		more = "\nClearing does not know yet that the card took it: it is told as soon as it can be reached."
	}
	return c.say(result, "Loaded %s. On the card now: %s.%s", spoken(r.Amount, r.Unit), spoken(r.Balance, r.Unit), more)
}
