package samgateway

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/paywordhq/payword/internal/keyfile"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway/softcard"
)

// softWarning is said of every card and SAM that is made in a file.
const softWarning = "It is a file, for tests and demonstrations: whoever reads it has its keys, and whoever copies it has it twice. Real money belongs on chips."

// issueSettings are what cards and SAMs are issued with.
type issueSettings struct {
	out, keysFile        string
	keyVersion, exponent int
	currency             string
}

func (s *issueSettings) define(flags *flag.FlagSet, what string) {
	flags.StringVar(&s.out, "out", "", "write the "+what+" to this `FILE`, which must not exist")
	flags.StringVar(&s.keysFile, "keys", "", "`FILE` of masters for tests, which only its owner may read: \"samgateway personalise keys\" makes it")
	flags.IntVar(&s.keyVersion, "key-version", 1, "`VERSION` of the masters that the "+what+"'s keys come from, 0 to 255")
	flags.StringVar(&s.currency, "currency", "", "`CODE` of its currency: USD, EUR, GBP or CHF")
	flags.IntVar(&s.exponent, "exponent", defaultExponent, "power of ten of its unit: -2 is cents")
}

// complete reads the keys and the unit.
func (s *issueSettings) complete() (keys *purse.Keys, unit purse.Unit, err error) {
	for _, one := range []struct{ flag, value, what string }{
		{"out", s.out, "the file that is to be made"}, {"keys", s.keysFile, "the file of masters"},
		{"currency", s.currency, "the currency: USD, EUR, GBP or CHF"},
	} {
		if one.value == "" {
			return nil, purse.Unit{}, usage("--%s is missing: name %s", one.flag, one.what)
		}
	}
	if s.keyVersion < 0 || s.keyVersion > 255 {
		return nil, purse.Unit{}, usage("--key-version %d: want 0 to 255", s.keyVersion)
	}
	if s.exponent < purse.MinExponent || s.exponent > purse.MaxExponent {
		return nil, purse.Unit{}, usage("--exponent %d: want %d to %d", s.exponent, purse.MinExponent, purse.MaxExponent)
	}
	currency, err := parseCurrency(s.currency)
	if err != nil {
		return nil, purse.Unit{}, usage("--currency: %v", err)
	}
	if keys, err = readMasters(s.keysFile); err != nil {
		return nil, purse.Unit{}, usage("--keys: %v", err)
	}
	return keys, purse.Unit{Currency: currency, Exponent: int8(s.exponent)}, nil
}

// readMasters reads a file of masters, as clearing has it. Errors do not quote it.
func readMasters(path string) (*purse.Keys, error) {
	text, mode, err := keyfile.ReadSmall(path)
	if err == nil {
		err = keyfile.CheckPrivate(path, mode)
	}
	if err != nil {
		return nil, err
	}
	keys, err := purse.ParseKeys(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

// issued makes an error of a card or a SAM that was not issued one for people.
func issued(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrExist):
		return usage("%s exists already, and perhaps there is money on it: choose another name", path)
	case errors.Is(err, purse.ErrNoMaster):
		return usage("--keys: %v", err)
	}
	return err
}

// cardIssued is what the command personalise card prints.
type cardIssued struct {
	File             string       `json:"file"`
	Card             string       `json:"card"`
	Holder           string       `json:"holder,omitempty"` // a white card has none
	KeyVersion       int          `json:"keyVersion"`
	Currency         string       `json:"currency"`
	Exponent         int          `json:"exponent"`
	MaxBalanceMicros money.Amount `json:"maxBalanceMicros"`
	MaxPaymentMicros money.Amount `json:"maxPaymentMicros"`
	PINFile          string       `json:"pinFile,omitempty"`
}

// newCard is what the command personalise card is told.
type newCard struct {
	issueSettings
	card, holder, maxBalance, maxPayment, pinFile string
}

// definePersonaliseCard is the command personalise card.
func definePersonaliseCard(c *command, flags *flag.FlagSet) func(context.Context) error {
	n := &newCard{}
	n.define(flags, "card")
	flags.StringVar(&n.card, "card", "", "the card's number `CID`, 16 upper-case hexadecimal digits, as clearing knows it")
	flags.StringVar(&n.holder, "holder", "", "its holder's number `ANO`, 16 upper-case hexadecimal digits; without it, a white card, which has no PIN")
	flags.StringVar(&n.maxBalance, "max-balance", "200.00", "the most that it holds, at most 200.00")
	flags.StringVar(&n.maxPayment, "max-payment", "", "the most that it pays at once (default: as much as it holds)")
	flags.StringVar(&n.pinFile, "pin-out", "", "write the PIN to this `FILE`, which must not exist; without it the terminal shows it, once")
	return func(context.Context) error {
		keys, unit, err := n.complete()
		if err != nil {
			return err
		}
		issue, err := n.issue(keys, unit)
		if err != nil {
			return err
		}
		return c.personaliseCard(n, issue)
	}
}

// issue reads the rest of what a card is issued with.
func (n *newCard) issue(keys *purse.Keys, unit purse.Unit) (issue purse.CardIssue, err error) {
	issue = purse.CardIssue{Keys: keys, KeyVersion: byte(n.keyVersion), Unit: unit}
	if issue.Card, err = purse.ParseID(n.card); err != nil {
		return issue, usage("--card: %v", err)
	}
	if issue.MaxBalance, err = parseAmount(n.maxBalance, unit); err != nil {
		return issue, usage("--max-balance: %v", err)
	}
	issue.MaxPayment = issue.MaxBalance
	if n.maxPayment != "" {
		if issue.MaxPayment, err = parseAmount(n.maxPayment, unit); err != nil {
			return issue, usage("--max-payment: %v", err)
		}
	}
	if most := purse.MaxBalance(unit); issue.MaxBalance > most {
		return issue, usage("--max-balance %s: a card holds at most %s", n.maxBalance, spoken(most, unit))
	}
	if issue.MaxPayment > issue.MaxBalance {
		return issue, usage("--max-payment %s: a card pays at most %s at once, which is all that it holds", n.maxPayment, spoken(issue.MaxBalance, unit))
	}
	if n.holder == "" {
		if n.pinFile != "" {
			return issue, usage("--pin-out goes with --holder: a white card has no PIN")
		}
		return issue, nil
	}
	if issue.Holder, err = purse.ParseID(n.holder); err != nil {
		return issue, usage("--holder: %v", err)
	}
	if issue.PIN, err = keys.InitialPIN(issue.KeyVersion, issue.Card); err != nil {
		return issue, usage("--keys: %v", err)
	}
	return issue, nil
}

func (c *command) personaliseCard(n *newCard, issue purse.CardIssue) error {
	tellPIN, forget, err := c.pinTeller(n.pinFile, issue.PIN)
	if err != nil {
		return err
	}
	if err := softcard.CreateCard(n.out, issue); err != nil {
		return errors.Join(issued(n.out, err), forget())
	}
	tellPIN()
	result := cardIssued{
		n.out, issue.Card.String(), n.holder, n.keyVersion, n.currency, n.exponent,
		issue.Unit.Amount(issue.MaxBalance), issue.Unit.Amount(issue.MaxPayment), n.pinFile,
	}
	kind := "card " + result.Card + " of holder " + n.holder
	if n.holder == "" {
		kind = "white card " + result.Card
	}
	c.tell(softWarning)
	return c.say(result, "Made the %s in %s. It holds at most %s, and pays at most %s at once.",
		kind, n.out, spoken(issue.MaxBalance, issue.Unit), spoken(issue.MaxPayment, issue.Unit))
}

// pinTeller makes ready what tells the PIN, before there is a card: tell is called
// when there is one, forget when there is not. A PIN goes to nothing but a
// terminal or a new file of its own.
func (c *command) pinTeller(path, pin string) (tell func(), forget func() error, err error) {
	nothing := func() error { return nil }
	if pin == "" {
		return func() {}, nothing, nil
	}
	if path == "" {
		screen, isFile := c.stderr.(*os.File)
		if !isFile || !term.IsTerminal(int(screen.Fd())) {
			return nil, nil, usage("the PIN is shown on a terminal alone: call this from one, or name a new file with --pin-out")
		}
		return func() { c.tell("The PIN is %s. It is not shown again.", pin) }, nothing, nil
	}
	if err := writeSecret(path, pin+"\n"); err != nil {
		return nil, nil, usage("--pin-out: %v", err)
	}
	return func() {}, func() error { return os.Remove(path) }, nil
}

// writeSecret writes a new file that only its owner may read.
func writeSecret(path, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already: choose another name", path)
	}
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Sync(), file.Close())
}

// samIssued is what the command personalise sam prints.
type samIssued struct {
	File        string       `json:"file"`
	Merchant    string       `json:"merchant"`
	KeyVersion  int          `json:"keyVersion"`
	Currency    string       `json:"currency"`
	Exponent    int          `json:"exponent"`
	LimitMicros money.Amount `json:"limitMicros"`
}

// definePersonaliseSAM is the command personalise sam.
func definePersonaliseSAM(c *command, flags *flag.FlagSet) func(context.Context) error {
	var s issueSettings
	var merchant, limit string
	s.define(flags, "SAM")
	flags.StringVar(&merchant, "merchant", "", "the merchant's number `MID`, 16 upper-case hexadecimal digits, as clearing knows it")
	flags.StringVar(&limit, "limit", "10000.00", "the most that it takes before its batch is turned in")
	return func(context.Context) error {
		keys, unit, err := s.complete()
		if err != nil {
			return err
		}
		issue := purse.SAMIssue{Keys: keys, KeyVersion: byte(s.keyVersion), Unit: unit}
		if issue.Merchant, err = purse.ParseID(merchant); err != nil {
			return usage("--merchant: %v", err)
		}
		count, err := parseAmount(limit, unit)
		if err != nil {
			return usage("--limit: %v", err)
		}
		issue.Limit = uint64(count)
		if err := softcard.CreateSAM(s.out, issue); err != nil {
			return issued(s.out, err)
		}
		c.tell(softWarning)
		return c.say(samIssued{s.out, merchant, s.keyVersion, s.currency, s.exponent, unit.Amount(count)},
			"Made the SAM of merchant %s in %s. It takes at most %s before it is turned in.", merchant, s.out, spoken(count, unit))
	}
}

// keysMade is what the command personalise keys prints.
type keysMade struct {
	File       string `json:"file"`
	KeyVersion int    `json:"keyVersion"`
}

// definePersonaliseKeys is the command personalise keys.
func definePersonaliseKeys(c *command, flags *flag.FlagSet) func(context.Context) error {
	var out string
	var version int
	flags.StringVar(&out, "out", "", "write the masters to this `FILE`, which must not exist; clearing takes the same file")
	flags.IntVar(&version, "key-version", 1, "their `VERSION`, 0 to 255")
	return func(context.Context) error {
		switch {
		case out == "":
			return usage("--out is missing: name the file that is to be made")
		case version < 0 || version > 255:
			return usage("--key-version %d: want 0 to 255", version)
		}
		var text strings.Builder
		text.WriteString("# Masters for tests and demonstrations, made at random: key version, name, 32 bytes.\n")
		for _, name := range []string{purse.PurseMaster, purse.LoadMaster, purse.ClearingMaster} {
			secret := make([]byte, purse.MasterLength)
			if _, err := rand.Read(secret); err != nil {
				return err
			}
			fmt.Fprintf(&text, "%d %s %x\n", version, name, secret)
		}
		if err := writeSecret(out, text.String()); err != nil {
			return usage("--out: %v", err)
		}
		return c.say(keysMade{out, version}, "Made masters of key version %d in %s, for tests and demonstrations: those of real cards are made and kept in hardware.", version, out)
	}
}
