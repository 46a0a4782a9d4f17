package samgateway

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway/profile"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// shownCard is what the command card show prints.
type shownCard struct {
	Profile          string       `json:"profile"`
	Card             string       `json:"card"`
	Holder           string       `json:"holder,omitempty"`
	Currency         string       `json:"currency"`
	BalanceMicros    money.Amount `json:"balanceMicros"`
	MaxBalanceMicros money.Amount `json:"maxBalanceMicros,omitempty"`
	MaxPaymentMicros money.Amount `json:"maxPaymentMicros,omitempty"`
	TriesLeft        *int         `json:"triesLeft,omitempty"` // of the PIN
	IsBlocked        bool         `json:"isBlocked"`
	// Payments and Loads are there with --log, the newest first.
	Payments []shownEntry `json:"payments,omitempty"`
	Loads    []shownEntry `json:"loads,omitempty"`
}

// shownEntry is a payment or a load.
type shownEntry struct {
	Kind         profile.Kind `json:"kind"`
	Number       uint32       `json:"number,omitempty"`
	Time         time.Time    `json:"time"`
	AmountMicros money.Amount `json:"amountMicros"`
	Merchant     string       `json:"merchant,omitempty"`
	Terminal     string       `json:"terminal,omitempty"`
	Transaction  uint32       `json:"transaction,omitempty"`
	CancelledTNo uint32       `json:"cancelledTransaction,omitempty"`
}

// defineShow is the command card show.
func defineShow(c *command, flags *flag.FlagSet) func(context.Context) error {
	s := c.settingsFlags(flags, cardSettings|pinSettings)
	withLog := flags.Bool("log", false, "show the last payments and loads, too, for which the card wants its PIN; --pin-file asks for the same")
	return func(ctx context.Context) (err error) {
		if err := s.complete(); err != nil {
			return err
		}
		reader, err := c.reader(ctx, "card", s.cardReader, s.cardFile)
		if err != nil {
			return err
		}
		session, err := c.connect(ctx, reader, insertTimeout)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, session.Close()) }()
		known, err := profile.Identify(ctx, session)
		if err != nil {
			return err
		}
		shown := &shownCard{Profile: known.Name()}
		summary, err := known.Read(ctx, session)
		if err != nil {
			return err
		}
		shown.add(summary)
		if *withLog || s.pinFile != "" {
			card := &customer{Session: session, reader: reader}
			if err := c.readLog(ctx, card, known, s.pinFile, shown); err != nil {
				return err
			}
		}
		return c.say(shown, "%s", shown)
	}
}

func (s *shownCard) add(summary profile.Summary) {
	s.Card, s.Holder, s.Currency, s.IsBlocked = summary.Number, summary.Holder, summary.Currency.Code(), summary.IsBlocked
	s.BalanceMicros, s.MaxBalanceMicros, s.MaxPaymentMicros = summary.Balance, summary.MaxBalance, summary.MaxPayment
	if summary.Tries >= 0 {
		s.TriesLeft = &summary.Tries
	}
}

// readLog reads the log, and asks for the PIN where the card wants it.
func (c *command) readLog(ctx context.Context, card *customer, known profile.Profile, pinFile string, shown *shownCard) error {
	payments, loads, err := known.Log(ctx, card)
	if errors.Is(err, purse.PINWanted) {
		if card.data, err = (smartcard.Purse{Card: card.Session}).Data(ctx); err != nil {
			return err
		}
		if err = c.verifyPIN(ctx, card, pinFile); err != nil {
			return err
		}
		if payments, loads, err = known.Log(ctx, card); err != nil {
			return err
		}
		var summary profile.Summary // the tries are others now
		if summary, err = known.Read(ctx, card); err == nil {
			shown.add(summary)
		}
	}
	if err != nil {
		return err
	}
	for _, p := range payments {
		shown.Payments = append(shown.Payments, shownEntry{
			Kind: p.Kind, Number: p.Number, Time: p.Time, AmountMicros: p.Amount, Merchant: p.Partner, Transaction: p.Transaction, CancelledTNo: p.CancelledTNo,
		})
	}
	for _, l := range loads {
		shown.Loads = append(shown.Loads, shownEntry{Kind: l.Kind, Number: l.Number, Time: l.Time, AmountMicros: l.Amount, Terminal: l.Partner})
	}
	return nil
}

// String is for people.
func (s *shownCard) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s card %s", s.Profile, s.Card)
	switch {
	case s.Holder != "":
		fmt.Fprintf(&text, " of holder %s", s.Holder)
	case s.TriesLeft == nil && s.Profile == profile.PWP1{}.Name():
		text.WriteString(", a white card")
	}
	fmt.Fprintf(&text, "\nBalance  %s %s", s.BalanceMicros.Decimal(), s.Currency)
	if s.MaxBalanceMicros > 0 {
		fmt.Fprintf(&text, "\nLimits   %s on the card, %s at once", s.MaxBalanceMicros.Decimal(), s.MaxPaymentMicros.Decimal())
	}
	if s.TriesLeft != nil {
		fmt.Fprintf(&text, "\nPIN      %s", triesLeft(*s.TriesLeft))
	}
	if s.IsBlocked {
		text.WriteString("\nThe issuer has blocked the card.")
	}
	for _, entry := range slices.Concat(s.Payments, s.Loads) {
		fmt.Fprintf(&text, "\n%s  %10s  %s", entry.Time.Format(time.DateTime), entry.AmountMicros.Decimal(), entry)
	}
	return text.String()
}

// String says what it is about, besides time and amount.
func (e shownEntry) String() string {
	text := string(e.Kind)
	if e.CancelledTNo > 0 {
		text += fmt.Sprintf(" of transaction %d", e.CancelledTNo)
	}
	if e.Merchant != "" {
		text += fmt.Sprintf(" at merchant %s, transaction %d", e.Merchant, e.Transaction)
	}
	if e.Terminal != "" {
		text += " at " + e.Terminal
	}
	return text
}

func triesLeft(tries int) string {
	switch tries {
	case 0:
		return "blocked: the issuer has to set a new one"
	case 1:
		return "the last try is left"
	}
	return fmt.Sprintf("%d tries are left", tries)
}
