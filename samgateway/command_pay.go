package samgateway

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway/smartcard"
	"github.com/paywordhq/payword/samgateway/terminal"
)

// receipt is a terminal.Receipt as commands print it.
type receipt struct {
	Merchant     string       `json:"merchant"`
	TNo          uint32       `json:"transaction"`
	Card         string       `json:"card"`
	AmountMicros money.Amount `json:"amountMicros"`
	Currency     string       `json:"currency"`
	Time         time.Time    `json:"time"`
	CancelledTNo uint32       `json:"cancelledTransaction,omitempty"`
	Account      string       `json:"account,omitempty"`
	IsBooked     bool         `json:"isBooked"`
	IsFunded     bool         `json:"isFunded"`
	IsCash       bool         `json:"isCash"`
	// Waiting is why something is not done yet; absent: all is.
	Waiting string `json:"waiting,omitempty"`
	// BalanceMicros is what is on the card afterwards, as it says; absent where it
	// was gone before it could be asked.
	BalanceMicros *money.Amount `json:"balanceMicros,omitempty"`
}

func receiptOf(r terminal.Receipt) receipt {
	return receipt{
		Merchant: r.Merchant.String(), TNo: r.TNo, Card: r.Card.String(), AmountMicros: r.Unit.Amount(r.Amount),
		Currency: r.Unit.Currency.Money().Code(), Time: r.Time.UTC().Truncate(time.Second), CancelledTNo: r.CancelledTNo, Account: r.Account,
		IsBooked: r.IsBooked, IsFunded: r.IsFunded, IsCash: r.IsCash, Waiting: r.Waiting,
	}
}

// definePay is the command pay.
func definePay(c *command, flags *flag.FlagSet) func(context.Context) error {
	s := c.settingsFlags(flags, cardSettings|samSettings|hostSettings)
	var isOnline bool
	flags.BoolVar(&isOnline, "online", false, "have clearing book it at once, instead of when the batch is turned in")
	return func(ctx context.Context) error {
		if err := s.complete(); err != nil {
			return err
		}
		if isOnline {
			if err := s.require("clearing"); err != nil {
				return err
			}
		}
		if s.broker != "" {
			c.tell("This names no account. At a merchant whose payments go on to a gateway the money then is on none: \"samgateway fund\" puts it on one.")
		}
		return c.payFromCard(ctx, s, c.arguments[0], terminal.Payment{Online: isOnline})
	}
}

// defineFund is the command fund.
func defineFund(c *command, flags *flag.FlagSet) func(context.Context) error {
	s := c.settingsFlags(flags, cardSettings|samSettings|hostSettings)
	return func(ctx context.Context) error {
		if err := s.complete("clearing", "broker"); err != nil {
			return err
		}
		return c.payFromCard(ctx, s, c.arguments[1], terminal.Payment{Account: c.arguments[0]})
	}
}

// payFromCard has the customer's card make one payment and says what became of
// it.
func (c *command) payFromCard(ctx context.Context, s *settings, written string, payment terminal.Payment) error {
	var err error
	if payment.Unit, err = s.unit(); err != nil {
		return err
	}
	if payment.Amount, err = parseAmount(written, payment.Unit); err != nil {
		return err
	}
	return c.withTill(ctx, s, func(t *till) error {
		return c.withCard(ctx, s, func(card *customer) error {
			if err := card.check(payment.Unit); err != nil {
				return err
			}
			to := ""
			if payment.Account != "" {
				if err := c.meet(ctx, t, card); err != nil {
					return err
				}
				to = " to account " + payment.Account
			}
			c.tell("Card %s has %s and pays %s%s.", card.data.Card, spoken(card.data.Balance, card.data.Unit), spoken(payment.Amount, payment.Unit), to)
			r, err := t.terminal.Pay(ctx, card, payment)
			if err != nil {
				return c.afterTear(ctx, t, card, err)
			}
			return c.sayReceipts(ctx, card, []terminal.Receipt{r})
		})
	})
}

// check says why a card cannot be used for amounts in a unit.
func (card *customer) check(unit purse.Unit) error {
	if card.data.Unit == unit {
		return nil
	}
	return usage("card %s counts in %s, and this gateway in %s: say with --currency and --exponent what is on the cards",
		card.data.Card, unitText(card.data.Unit), unitText(unit))
}

func unitText(unit purse.Unit) string {
	if unit.Check() != nil {
		return fmt.Sprintf("unit %04X/%d", uint16(unit.Currency), unit.Exponent)
	}
	return spoken(1, unit)
}

// sayReceipts prints what was paid. What the card paid and somebody else does not
// have yet is not known to be done: exit code 1.
func (c *command) sayReceipts(ctx context.Context, card *customer, receipts []terminal.Receipt) error {
	all := make([]receipt, 0, len(receipts))
	var sentences []string
	var waiting error
	for _, r := range receipts {
		all = append(all, receiptOf(r))
		sentences = append(sentences, sentenceOf(r))
		if r.Waiting != "" {
			waiting = saidError{fmt.Errorf("the card has paid, and the rest waits: %s. \"samgateway resolve\" goes on with it, and \"samgateway serve\" does by itself", strings.TrimSuffix(r.Waiting, "."))}
		}
	}
	// The balance is for people: a card that is gone by now has paid all the same.
	if data, err := (smartcard.Purse{Card: card.Session}).Data(ctx); err == nil && len(all) > 0 {
		micros := data.Unit.Amount(data.Balance)
		all[len(all)-1].BalanceMicros = &micros
		sentences = append(sentences, fmt.Sprintf("On the card now: %s.", spoken(data.Balance, data.Unit)))
	}
	var result any = all
	if len(all) == 1 {
		result = all[0]
	}
	return errors.Join(c.say(result, "%s", strings.Join(sentences, "\n")), waiting)
}

// sentenceOf says what a receipt is about.
func sentenceOf(r terminal.Receipt) string {
	amount := spoken(r.Amount, r.Unit)
	switch {
	case r.CancelledTNo != 0:
		return fmt.Sprintf("Cancelled transaction %d by transaction %d: %s went back to card %s.", r.CancelledTNo, r.TNo, amount, r.Card)
	case r.Account != "" && r.IsFunded:
		return fmt.Sprintf("Paid %s by transaction %d, and account %s has it.", amount, r.TNo, r.Account)
	case r.Account != "":
		return fmt.Sprintf("Paid %s by transaction %d; account %s has it NOT YET.", amount, r.TNo, r.Account)
	case r.IsCash:
		return fmt.Sprintf("Paid %s by transaction %d: hand it out in cash.", amount, r.TNo)
	case r.IsBooked:
		return fmt.Sprintf("Paid %s by transaction %d, and clearing has booked it.", amount, r.TNo)
	}
	return fmt.Sprintf("Paid %s by transaction %d.", amount, r.TNo)
}

// defineUnload is the command unload.
func defineUnload(c *command, flags *flag.FlagSet) func(context.Context) error {
	s := c.settingsFlags(flags, cardSettings|samSettings|hostSettings)
	return func(ctx context.Context) error {
		if err := s.complete("clearing", "broker"); err != nil {
			return err
		}
		return c.withTill(ctx, s, func(t *till) error {
			return c.withCard(ctx, s, func(card *customer) error { return c.unloadCard(ctx, t, card) })
		})
	}
}

func (c *command) unloadCard(ctx context.Context, t *till, card *customer) error {
	if err := card.check(t.unit); err != nil {
		return err
	}
	if err := c.meet(ctx, t, card); err != nil {
		return err
	}
	if card.data.Balance == 0 {
		return errors.New("there is nothing on the card")
	}
	c.tell("Card %s has %s and pays all of it out.", card.data.Card, spoken(card.data.Balance, card.data.Unit))
	u, err := t.unload(ctx, card, card.data)
	if err != nil {
		err = c.afterTear(ctx, t, card, err)
		if len(u.receipts) == 0 {
			return err
		}
		err = saidError{err}
	}
	return errors.Join(c.sayReceipts(ctx, card, u.receipts), err)
}

// defineCancel is the command cancel.
func defineCancel(c *command, flags *flag.FlagSet) func(context.Context) error {
	s := c.settingsFlags(flags, cardSettings|samSettings|hostSettings)
	return func(ctx context.Context) error {
		if err := s.complete(); err != nil {
			return err
		}
		return c.withTill(ctx, s, func(t *till) error {
			return c.withCard(ctx, s, func(card *customer) error {
				c.tell("Card %s has %s; its last payment is to be cancelled.", card.data.Card, spoken(card.data.Balance, card.data.Unit))
				r, err := t.terminal.CancelLast(ctx, card)
				if err != nil {
					return c.afterTear(ctx, t, card, err)
				}
				return c.sayReceipts(ctx, card, []terminal.Receipt{r})
			})
		})
	}
}
