package samgateway

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway/profile"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// readerResult is a reader and what is in it.
type readerResult struct {
	Reader string `json:"reader"`
	// Card is what was recognised, if anything.
	Card *foundCard `json:"card"`
	// Problem says why nothing was recognised, where a card is there.
	Problem string `json:"problem,omitempty"`
}

// foundCard is a card that was recognised.
type foundCard struct {
	Kind          string        `json:"kind"` // purse or sam
	Profile       string        `json:"profile"`
	Number        string        `json:"number"` // of the card, or of the SAM's merchant
	BalanceMicros *money.Amount `json:"balanceMicros,omitempty"`
	Currency      string        `json:"currency,omitempty"`
}

// String is for people.
func (r readerResult) String() string {
	switch {
	case r.Problem != "":
		return r.Problem
	case r.Card == nil:
		return "empty"
	case r.Card.BalanceMicros == nil:
		return fmt.Sprintf("SAM of merchant %s", r.Card.Number)
	}
	return fmt.Sprintf("%s card %s with %s %s", r.Card.Profile, r.Card.Number, r.Card.BalanceMicros.Decimal(), r.Card.Currency)
}

// defineReaders is the command readers.
func defineReaders(c *command, _ *flag.FlagSet) func(context.Context) error {
	return func(ctx context.Context) error {
		readers, err := c.readers.List(ctx)
		if err != nil {
			return err
		}
		results := make([]readerResult, 0, len(readers))
		var lines []string
		for _, reader := range readers {
			result := lookInto(ctx, reader)
			results = append(results, result)
			lines = append(lines, fmt.Sprintf("%s: %s", result.Reader, result))
		}
		if len(lines) == 0 {
			lines = append(lines, "No reader is connected: plug one in.")
		}
		return c.say(results, "%s", strings.Join(lines, "\n"))
	}
}

// lookInto asks the card in a reader what it is. Any program that has the card
// keeps it.
func lookInto(ctx context.Context, reader smartcard.Reader) readerResult {
	result := readerResult{Reader: reader.Name()}
	session, err := reader.Connect(ctx)
	if err == nil {
		result.Card, err = recognise(ctx, session)
		err = errors.Join(err, session.Close())
	}
	if err != nil && !errors.Is(err, smartcard.ErrNoCard) {
		result.Problem = err.Error()
	}
	return result
}

// recognise finds out whether a card is a purse or a SAM.
func recognise(ctx context.Context, card smartcard.Card) (*foundCard, error) {
	known, err := profile.Identify(ctx, card)
	if errors.Is(err, smartcard.ErrForeign) {
		sam := smartcard.SAM{Card: card}
		if sam.Select(ctx) != nil {
			return nil, err // of the purse, which is what people have
		}
		data, err := sam.Data(ctx)
		if err != nil {
			return nil, err
		}
		return &foundCard{Kind: "sam", Profile: profile.PWP1{}.Name(), Number: data.Merchant.String()}, nil
	}
	if err != nil {
		return nil, err
	}
	summary, err := known.Read(ctx, card)
	if err != nil {
		return nil, err
	}
	return &foundCard{
		Kind: "purse", Profile: known.Name(), Number: summary.Number,
		BalanceMicros: &summary.Balance, Currency: summary.Currency.Code(),
	}, nil
}
