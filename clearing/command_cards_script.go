package clearing

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/keyfile"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

// maxPINFileBytes is more than the longest PIN and the end of its line.
const maxPINFileBytes = 64

func (c *cardsCommand) scriptFlags(flags *flag.FlagSet) {
	c.cardFlag(flags)
	flags.BoolVar(&c.isBlock, "block", false, "have the card refuse everything but its issuer")
	flags.BoolVar(&c.isUnblock, "unblock", false, "take that back")
	flags.StringVar(&c.limits, "limits", "", "`BALANCE,PAYMENT`: the most on the card, and of one payment, such as 150,50")
	flags.StringVar(&c.pinFile, "new-pin-file", "", "`FILE` with a new PIN of 4 to 8 digits, which only its owner may read; all tries are there again")
}

// checkScript reads what the script is to do. A PIN stands in a file, because
// anybody on the machine can read the arguments of a process.
func (c *cardsCommand) checkScript() error {
	asked := 0
	for _, is := range []bool{c.isBlock, c.isUnblock, c.limits != "", c.pinFile != ""} {
		if is {
			asked++
		}
	}
	if asked != 1 {
		return errors.New("want one of --block, --unblock, --limits and --new-pin-file")
	}
	switch {
	case c.isBlock:
		c.scriptOrder.Kind = purse.BlockCard
	case c.isUnblock:
		c.scriptOrder.Kind = purse.UnblockCard
	case c.limits != "":
		if err := c.readLimits(); err != nil {
			return err
		}
	default:
		if err := c.readPIN(); err != nil {
			return err
		}
	}
	return c.checkCard()
}

func (c *cardsCommand) readLimits() error {
	balance, payment, found := strings.Cut(c.limits, ",")
	most, err := money.ParseDecimal(balance)
	atOnce, errAtOnce := money.ParseDecimal(payment)
	if !found || err != nil || errAtOnce != nil {
		return fmt.Errorf("--limits %.40q: want the most on the card and of one payment, such as 150,50", c.limits)
	}
	c.scriptOrder = cards.ScriptOrder{Kind: purse.SetLimits, MaxBalance: most, MaxPayment: atOnce}
	return nil
}

// readPIN reads the new PIN. No error says anything of it.
func (c *cardsCommand) readPIN() error {
	about, err := os.Stat(c.pinFile)
	if err == nil {
		err = keyfile.CheckPrivate(c.pinFile, about.Mode())
	}
	if err != nil {
		return fmt.Errorf("--new-pin-file: %w", err)
	}
	text, err := readSmall(c.pinFile, maxPINFileBytes)
	if err != nil {
		return fmt.Errorf("--new-pin-file: %w", err)
	}
	c.scriptOrder = cards.ScriptOrder{Kind: purse.SetPIN, PIN: strings.TrimRight(string(text), "\r\n")}
	return nil
}

// scriptMade is a script that waits.
type scriptMade struct {
	Card  string `json:"card"`
	Count uint32 `json:"count"`
	Kind  string `json:"kind"`
	State string `json:"state"`
}

func (c *cardsCommand) script(ctx context.Context, clearing *cards.Clearing) error {
	script, refusal, err := clearing.AddScript(ctx, c.cardID(), c.scriptOrder, actor(c.by))
	if err := refusedBy(refusal, err); err != nil {
		return err
	}
	made := scriptMade{script.Card.String(), script.Count, cards.KindName(script.Kind), script.State}
	return c.say(made, "script %d for card %s waits for a terminal: %s", made.Count, made.Card, made.Kind)
}
