package samgateway

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/host"
	"github.com/paywordhq/payword/samgateway/smartcard"
	"github.com/paywordhq/payword/samgateway/terminal"
)

// till is a SAM with its journal, and clearing and the broker: everything that
// moves money but the customer's card.
type till struct {
	terminal *terminal.Terminal
	sam      *samCard
	clearing *host.Clearing
	broker   *host.Broker
	unit     purse.Unit
	now      func() time.Time
	endings  endings
}

// openTill opens what the settings name. Only one process can have a journal.
// log takes what somebody should look at.
func (c *command) openTill(ctx context.Context, s *settings, log *slog.Logger) (*till, error) {
	t := &till{now: time.Now}
	var err error
	if t.unit, err = s.unit(); err != nil {
		return nil, err
	}
	if err := s.require("journal"); err != nil {
		return nil, err
	}
	if t.clearing, t.broker, err = c.openHosts(s, t); err != nil {
		return nil, err
	}
	t.sam = &samCard{find: func(ctx context.Context) (smartcard.Reader, error) {
		return c.reader(ctx, "sam", s.samReader, s.samFile)
	}}
	if err := t.sam.connect(ctx); err != nil {
		return nil, err
	}
	config := terminal.Config{
		SAM: t.sam, Journal: s.journal, Host: t.clearing, Accounts: t.broker, Now: t.now, Log: log,
	}
	if s.loadTerminal != "" {
		if config.LoadTerminal, err = purse.ParseID(s.loadTerminal); err != nil {
			return nil, errors.Join(err, t.sam.Close())
		}
	}
	if t.terminal, err = terminal.Open(ctx, config); err != nil {
		return nil, errors.Join(err, t.sam.Close())
	}
	return t, nil
}

// openHosts makes the clients of clearing and broker. One that is not named says
// so when it is asked.
func (c *command) openHosts(s *settings, t *till) (*host.Clearing, *host.Broker, error) {
	config := host.Config{Now: t.now}
	if s.clearing+s.broker != "" {
		if err := s.require("key"); err != nil {
			return nil, nil, err
		}
		var err error
		if config.Key, err = c.loadKey(s.keyFile, s.passphraseFile); err != nil {
			return nil, nil, err
		}
	}
	config.Origin = s.clearing
	clearing, err := host.NewClearing(config)
	if err != nil {
		return nil, nil, err
	}
	config.Origin = s.broker
	broker, err := host.NewBroker(config, t.unit.Currency.Money())
	return clearing, broker, err
}

// close closes journal and SAM.
func (t *till) close() error { return errors.Join(t.terminal.Close(), t.sam.Close()) }

// withTill opens the till for a command and does its work.
func (c *command) withTill(ctx context.Context, s *settings, work func(*till) error) error {
	t, err := c.openTill(ctx, s, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return errors.Join(work(t), t.close())
}

// errWhite means that a white card would be loaded or paid out where nobody
// takes or hands out cash.
var errWhite = errors.New("this is a white card: it is loaded and paid out for cash, at a till where somebody takes it")

// dataOf selects the purse of a card and asks it about itself. A PIN that was
// entered is forgotten.
func dataOf(ctx context.Context, card smartcard.Card) (purse.CardData, error) {
	client := smartcard.Purse{Card: card}
	if err := client.Select(ctx); err != nil {
		return purse.CardData{}, err
	}
	return client.Data(ctx)
}

// meetCard decides what is open about a card, and returns what is about this card
// alone: its holder is not to hear of others. A PIN that was entered is forgotten.
func (t *till) meetCard(ctx context.Context, card smartcard.Card) (outcomes []terminal.Outcome, err error) {
	data, err := dataOf(ctx, card)
	if err != nil {
		return nil, err
	}
	all, err := t.terminal.Meet(ctx, card)
	t.endings.keep(all)
	return t.endings.take(data.Card), err
}

// unloaded is what became of a card's whole balance.
type unloaded struct {
	receipts []terminal.Receipt
	account  string // "": it is handed out in cash
}

// maxUnloadPayments is how many payments an unloading takes at most; a card that
// has more left is unloaded once more. How much a card may pay at once is its word,
// and each payment is asked about at clearing and the broker.
const maxUnloadPayments = 50

// unload has a card pay all that is on it: into the account that it is loaded
// from, or for a white card in cash. A card that may not pay so much at once pays
// more than once. What it paid before an error is in the result.
func (t *till) unload(ctx context.Context, card smartcard.Card, data purse.CardData) (u unloaded, err error) {
	if u.account, err = t.clearing.CardAccount(ctx, data.Card); err != nil {
		return u, err
	}
	if u.account == "" && data.Holder != (purse.ID{}) { // it passes for a card that is not white
		return u, errWhite
	}
	for left := data.Balance; left > 0 && len(u.receipts) < maxUnloadPayments; {
		amount := left
		if data.MaxPayment > 0 {
			amount = min(left, data.MaxPayment)
		}
		receipt, err := t.terminal.Pay(ctx, card, terminal.Payment{Amount: amount, Unit: data.Unit, Account: u.account, Cash: u.account == ""})
		if err != nil {
			return u, err
		}
		u.receipts = append(u.receipts, receipt)
		left -= amount
	}
	return u, nil
}
