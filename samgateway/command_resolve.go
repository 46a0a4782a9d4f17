package samgateway

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway/smartcard"
	"github.com/paywordhq/payword/samgateway/terminal"
)

// meet decides what is open about the card, and gives it what its issuer has for
// it, before what its holder came for. That what is open cannot be decided now is
// said, and the terminal knows what it keeps the card from.
func (c *command) meet(ctx context.Context, t *till, card *customer) error {
	outcomes, err := t.terminal.Meet(ctx, card)
	for _, o := range outcomes {
		c.tell("%s.", upperFirst(strings.TrimSuffix(o.Sentence, ".")))
	}
	if err != nil {
		c.tell("%s.", upperFirst(strings.TrimSuffix(err.Error(), ".")))
	}
	return card.look(ctx)
}

// afterTear is what a command does when the card was pulled out: it asks for it
// once more and finds out what became of what was begun. It returns what there is
// to say about that in place of the error.
func (c *command) afterTear(ctx context.Context, t *till, card *customer, err error) error {
	isUndecided := errors.Is(err, terminal.ErrUndecided) || errors.Is(err, terminal.ErrLoadUndecided)
	switch {
	case errors.Is(err, smartcard.ErrTorn) && !isUndecided:
		return fmt.Errorf("nothing was moved: %w; put it in and begin again", err)
	case !isUndecided || ctx.Err() != nil:
		return err
	}
	c.tell("%s.", upperFirst(err.Error()))
	outcomes, again := c.meetAgain(ctx, t, card)
	if len(outcomes) > 0 {
		return fmt.Errorf("the card was pulled out, and it is known now: %s", sentencesOf(t.goOn(ctx, outcomes)))
	}
	if again != nil {
		err = fmt.Errorf("%w (%w)", err, again)
	}
	return fmt.Errorf("%w: put the card in and say \"samgateway resolve\"; \"samgateway status\" shows what waits", err)
}

// goOn does what is left to do about what was decided, such as to put on an account
// what the card has paid for it. What is not possible now waits in the journal.
func (t *till) goOn(ctx context.Context, decided []terminal.Outcome) []terminal.Outcome {
	more, _ := t.terminal.ResolveAll(ctx) // "samgateway status" says why something waits
	for k, o := range decided {
		for _, later := range more {
			if later.Kind == o.Kind && later.TNo == o.TNo && later.Load == o.Load {
				decided[k] = later
			}
		}
	}
	return decided
}

// meetAgain meets a card that was pulled out, once it is in again. For a moment
// the reader may not have noticed that it went, and then another program may look
// at it.
func (c *command) meetAgain(ctx context.Context, t *till, card *customer) (outcomes []terminal.Outcome, err error) {
	for deadline := time.Now().Add(reinsertTimeout); ; {
		_ = card.Close() // it is torn already
		var session smartcard.Session
		if session, err = c.connect(ctx, card.reader, time.Until(deadline)); err == nil {
			card.Session = session
			if err = card.look(ctx); err == nil {
				outcomes, err = t.terminal.Meet(ctx, card)
			}
		}
		isPassing := errors.Is(err, smartcard.ErrTorn) || errors.Is(err, smartcard.ErrBusy) || errors.Is(err, smartcard.ErrNoCard)
		if len(outcomes) > 0 || !isPassing || time.Until(deadline) < lookInterval || !pause(ctx, lookInterval) {
			return outcomes, err
		}
	}
}

func upperFirst(text string) string {
	first := min(1, len(text))
	return strings.ToUpper(text[:first]) + text[first:]
}

func sentencesOf(outcomes []terminal.Outcome) string {
	var all []string
	for _, o := range outcomes {
		all = append(all, o.Sentence)
	}
	return strings.Join(all, "; ")
}

// matter is something of the journal as commands print it.
type matter struct {
	Kind         terminal.Kind  `json:"kind"`
	State        terminal.State `json:"state"`
	TNo          uint32         `json:"transaction,omitempty"`
	Load         string         `json:"load,omitempty"`
	Card         string         `json:"card,omitempty"`
	AmountMicros money.Amount   `json:"amountMicros"`
	Currency     string         `json:"currency,omitempty"`
	Account      string         `json:"account,omitempty"`
	Began        time.Time      `json:"began"`
	// Sentence is what became of it, or why it waits.
	Sentence string     `json:"sentence,omitempty"`
	Due      *time.Time `json:"due,omitempty"`
}

func matterOf(m terminal.Matter, state terminal.State, sentence string, due time.Time) matter {
	printed := matter{Kind: m.Kind, State: state, TNo: m.TNo, Account: m.Account, Began: m.Began.UTC(), Sentence: sentence}
	if m.Load != (purse.ID{}) {
		printed.Load = m.Load.String()
	}
	if m.Card != (purse.ID{}) {
		printed.Card = m.Card.String()
	}
	if m.Unit.Check() == nil {
		printed.AmountMicros, printed.Currency = m.Unit.Amount(m.Amount), m.Unit.Currency.Money().Code()
	}
	if !due.IsZero() {
		due = due.UTC()
		printed.Due = &due
	}
	return printed
}

// line writes a matter for people.
func (m matter) line() string {
	text := string(m.Kind)
	for _, part := range []struct {
		is   bool
		text string
	}{
		{m.TNo != 0, fmt.Sprintf(" %d", m.TNo)},
		{m.Load != "", " " + m.Load},
		{m.Currency != "", " of " + m.AmountMicros.Decimal() + " " + m.Currency},
		{m.Card != "", ", card " + m.Card},
		{m.Account != "", ", to account " + m.Account},
		{true, ", since " + m.Began.Format(time.DateTime) + " UTC: " + string(m.State)},
		{m.Sentence != "", ", " + m.Sentence},
		{m.Due != nil, "; tried again"},
		{m.Due == nil && m.Sentence == "", "; the card has to be put in"},
	} {
		if part.is {
			text += part.text
		}
	}
	return text
}

// defineResolve is the command resolve.
func defineResolve(c *command, flags *flag.FlagSet) func(context.Context) error {
	s := c.settingsFlags(flags, cardSettings|samSettings|hostSettings)
	return func(ctx context.Context) error {
		if err := s.complete(); err != nil {
			return err
		}
		return c.withTill(ctx, s, func(t *till) error {
			var outcomes []terminal.Outcome
			var err error
			if s.cardFile+s.cardReader != "" {
				err = c.withCard(ctx, s, func(card *customer) error {
					outcomes, err = t.terminal.Meet(ctx, card)
					return err
				})
			}
			if err == nil {
				var more []terminal.Outcome
				more, err = t.terminal.ResolveAll(ctx)
				outcomes = append(outcomes, more...)
			}
			return errors.Join(c.sayOutcomes(outcomes), err)
		})
	}
}

func (c *command) sayOutcomes(outcomes []terminal.Outcome) error {
	list := make([]matter, 0, len(outcomes))
	lines := make([]string, 0, len(outcomes))
	for _, o := range outcomes {
		m := matterOf(o.Matter, o.State, o.Sentence, time.Time{})
		list = append(list, m)
		lines = append(lines, m.line())
	}
	if len(lines) == 0 {
		lines = []string{"nothing was decided: \"samgateway status\" shows what waits"}
	}
	return c.say(struct {
		Outcomes []matter `json:"outcomes"`
	}{list}, "%s", strings.Join(lines, "\n"))
}

// defineVoid is the command void.
func defineVoid(c *command, flags *flag.FlagSet) func(context.Context) error {
	s := c.settingsFlags(flags, samSettings|hostSettings)
	return func(ctx context.Context) error {
		if err := s.complete(); err != nil {
			return err
		}
		number, err := strconv.ParseUint(c.arguments[0], 10, 32)
		if err != nil || number == 0 {
			return usage("%.20q: want the number of a transaction, as \"samgateway status\" shows it", c.arguments[0])
		}
		return c.withTill(ctx, s, func(t *till) error {
			if err := t.terminal.Void(ctx, uint32(number)); err != nil {
				return err
			}
			return c.say(struct {
				TNo uint32 `json:"transaction"`
			}{uint32(number)}, "Voided transaction %d. If its card has paid, it gets its money back when it is put in again.", number)
		})
	}
}
