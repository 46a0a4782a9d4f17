package clearing

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/clearing/fee"
	"github.com/paywordhq/payword/internal/commandline"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
)

// maxCardKeysBytes is more than the masters of every key version take.
const maxCardKeysBytes = 256 << 10

// cardsWord is a word after "payword clearing cards".
type cardsWord struct {
	name, arguments, summary string
	flags                    func(c *cardsCommand, flags *flag.FlagSet)
	check                    func(c *cardsCommand) error // may be nil
	work                     func(c *cardsCommand, ctx context.Context, clearing *cards.Clearing) error
}

// cardsWords are all there are.
var cardsWords = []cardsWord{
	{"issue", "--card CID --expires DAY [--account A --holder ANO]", "make a card known; without an account it is a white one", (*cardsCommand).issueFlags, (*cardsCommand).checkIssue, (*cardsCommand).issue},
	{"merchant", "--merchant MID --name NAME --destination D", "make a merchant known, or say where it is paid", (*cardsCommand).merchantFlags, (*cardsCommand).checkMerchant, (*cardsCommand).registerMerchant},
	{"load", "--request HEX --answer HEX", "authorise a load; confirm it with --load REF --receipt HEX", (*cardsCommand).loadFlags, (*cardsCommand).checkLoad, (*cardsCommand).load},
	{"loads", "", "list loads of which it is not known whether they took place", nil, nil, (*cardsCommand).openLoads},
	{"batch", "--file FILE", "take the batch of a SAM: its total, then its records", (*cardsCommand).batchFlags, (*cardsCommand).checkBatch, (*cardsCommand).submitBatch},
	{"lost", "--card CID [--broken] [--reference TEXT]", "report a card as lost or broken", (*cardsCommand).lostFlags, (*cardsCommand).checkCard, (*cardsCommand).report},
	{"found", "--card CID", "take that back", (*cardsCommand).cardFlag, (*cardsCommand).checkCard, (*cardsCommand).found},
	{"due", "", "pay back lost cards, and decide claims, whose days are over", nil, nil, (*cardsCommand).due},
	{"hotlist", "", "list the cards that are not to be taken", nil, nil, (*cardsCommand).hotList},
	{"alarms", "[--all] [--acknowledge N --note TEXT]", "list alarms, or acknowledge one", (*cardsCommand).alarmFlags, nil, (*cardsCommand).alarms},
	{"dispute", "[--all]", "list, open (--proof, --object) or decide (--for) a dispute", (*cardsCommand).disputeFlags, (*cardsCommand).checkDispute, (*cardsCommand).dispute},
	{"script", "--card CID --block|--unblock|--limits B,P|--new-pin-file FILE", "have a card block itself and the like, at its next terminal", (*cardsCommand).scriptFlags, (*cardsCommand).checkScript, (*cardsCommand).script},
	{"show", "--card CID", "show a card: its shadow, loads and payments", (*cardsCommand).cardFlag, (*cardsCommand).checkCard, (*cardsCommand).show},
	{"check", "", "compare everything about cards with the ledger", nil, nil, (*cardsCommand).checkAll},
}

func cardsHelp() string {
	var text strings.Builder
	text.WriteString("payword clearing cards clears purse cards. Every word takes --db FILE and --keys FILE.\n\n")
	for _, word := range cardsWords {
		fmt.Fprintf(&text, "  %-8s %s\n           %s\n", word.name, word.arguments, word.summary)
	}
	text.WriteString(`
The file of keys has a line "VERSION NAME HEX" for each master, such as
"1 KZD <64 hexadecimal digits>"; clearing needs MKL and KZD. Nobody but its owner
may read it. "payword clearing cards batch -h" lists the flags of batch.
`)
	return text.String()
}

// cardsCommand is one call of cardsMain.
type cardsCommand struct {
	*command
	keysFile, feeFile string
	db                *ledger.DB

	card, merchant, holder, account, name, destination, expires string
	keyVersion, exponent                                        int
	isBroken, isAll                                             bool
	blocks                                                      *bool // nil: nothing is said of it
	file, note, reference                                       string
	request, answer, loadName, receipt, status                  string
	isChallenge                                                 bool
	acknowledge, transaction                                    int64
	proof, macz, inFavour                                       string
	isObjection                                                 bool
	scriptOrder                                                 cards.ScriptOrder
	isBlock, isUnblock                                          bool
	limits, pinFile                                             string
}

// cardsMain is the command "payword clearing cards".
func cardsMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, cardsHelp())
		return exitUsage
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, cardsHelp())
		return exitOK
	}
	var names []string
	for _, word := range cardsWords {
		if word.name == args[0] {
			c := &cardsCommand{command: &command{stdout: stdout, stderr: stderr}}
			return c.command.main(ctx, c.subcommand(word), args[1:])
		}
		names = append(names, word.name)
	}
	fmt.Fprintf(stderr, "payword clearing cards: there is no command %.80q%s: want one of %s\n", args[0], commandline.Meant("", args[0], names), strings.Join(names, ", "))
	return exitUsage
}

// subcommand makes of a word what command.main does.
func (c *cardsCommand) subcommand(word cardsWord) subcommand {
	return subcommand{
		name: "cards " + word.name, mode: ledger.Existing,
		flags: func(_ *command, flags *flag.FlagSet) {
			flags.StringVar(&c.keysFile, "keys", "", "the `FILE` of the masters MKL and KZD, which only its owner may read")
			flags.StringVar(&c.feeFile, "fee", "", "the `FILE` of the fee rule in JSON (default: 0.3 percent of each payment, at least 0.01)")
			c.operatorFlags(flags)
			if word.flags != nil {
				word.flags(c, flags)
			}
		},
		check: func(*command) error {
			if c.keysFile == "" {
				return errors.New("--keys is missing: name the file of the masters MKL and KZD")
			}
			if word.check != nil {
				if err := word.check(c); err != nil {
					return err
				}
			}
			return c.proveOperator()
		},
		work: func(_ *command, ctx context.Context, db *ledger.DB) error {
			if c.by.ReadOnly {
				return fmt.Errorf("operator %s may only look", c.by.Name)
			}
			clearing, err := openCards(ctx, db, c.keysFile, c.feeFile)
			if err != nil {
				return err
			}
			c.db = db
			return word.work(c, ctx, clearing)
		},
	}
}

// openCards makes the clearing of cards on a broker's database: keysFile holds
// the masters, feeFile the rule, or is "".
func openCards(ctx context.Context, db *ledger.DB, keysFile, feeFile string) (*cards.Clearing, error) {
	keys, err := readCardKeys(keysFile)
	if err != nil {
		return nil, err
	}
	config := cards.Config{Keys: keys, Audit: audit}
	if feeFile != "" {
		text, err := readSmall(feeFile, maxPolicyBytes)
		if err != nil {
			return nil, fmt.Errorf("--fee: %w", err)
		}
		if config.Fee, err = fee.Parse(text); err != nil {
			return nil, fmt.Errorf("--fee %s: %w", feeFile, err)
		}
	}
	if err := migrate(ctx, db); err != nil {
		return nil, err
	}
	err = db.View(ctx, func(tx *ledger.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT currency FROM broker_settings WHERE one = 1`).Scan((*string)(&config.Currency))
	})
	if err != nil {
		return nil, err
	}
	return cards.New(ctx, db, config)
}

// readCardKeys reads the masters of a file that nobody else may read.
func readCardKeys(name string) (*purse.Keys, error) {
	about, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("--keys: %w", err)
	}
	// Windows says nothing here about who may read a file.
	if runtime.GOOS != "windows" && about.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("--keys %s: others may read or change it: say chmod 600 %s", name, name)
	}
	text, err := readSmall(name, maxCardKeysBytes)
	if err != nil {
		return nil, fmt.Errorf("--keys: %w", err)
	}
	keys, err := purse.ParseKeys(string(text))
	if err != nil {
		return nil, fmt.Errorf("--keys %s: %w", name, err)
	}
	return keys, nil
}

// parseIDs reads ids of flags.
func parseIDs(flags map[string]string) (map[string]purse.ID, error) {
	ids := make(map[string]purse.ID)
	for name, text := range flags {
		id, err := purse.ParseID(text)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", name, err)
		}
		ids[name] = id
	}
	return ids, nil
}

func (c *cardsCommand) cardID() purse.ID     { return mustID(c.card) }
func (c *cardsCommand) merchantID() purse.ID { return mustID(c.merchant) }

// mustID reads an id that a check has read before.
func mustID(text string) purse.ID {
	id, err := purse.ParseID(text)
	if err != nil {
		panic(err)
	}
	return id
}

// refusedBy makes an error of a refusal.
func refusedBy(refusal *purse.Refusal, err error) error {
	if err == nil && refusal != nil {
		return *refusal
	}
	return err
}

// say prints a result: JSON where that was asked for, or else the sentence.
func (c *cardsCommand) say(value any, format string, args ...any) error {
	if c.json {
		return c.printJSON(value)
	}
	_, err := fmt.Fprintf(c.stdout, format+"\n", args...)
	return err
}

// cardsDone is the result of what only succeeds.
type cardsDone struct {
	Done string `json:"done"`
}

func (c *cardsCommand) sayDone(format string, args ...any) error {
	sentence := fmt.Sprintf(format, args...)
	return c.say(cardsDone{sentence}, "%s", sentence)
}

func (c *cardsCommand) cardFlag(flags *flag.FlagSet) {
	flags.StringVar(&c.card, "card", "", "the card's `CID`, 16 upper-case hexadecimal digits")
}

func (c *cardsCommand) checkCard() error {
	_, err := parseIDs(map[string]string{"card": c.card})
	return err
}

func (c *cardsCommand) issueFlags(flags *flag.FlagSet) {
	c.cardFlag(flags)
	c.keyVersionFlag(flags)
	flags.StringVar(&c.account, "account", "", "the broker's `ACCOUNT` that pays for loads; without it, a white card")
	flags.StringVar(&c.holder, "holder", "", "with --account: the `ANO` that the card says, 16 upper-case hexadecimal digits")
	flags.IntVar(&c.exponent, "exponent", -2, "power of ten of the card's unit: -2 is cents")
	flags.StringVar(&c.expires, "expires", "", "`DAY` from which it is loaded no more, such as 2028-12-31")
}

func (c *cardsCommand) keyVersionFlag(flags *flag.FlagSet) {
	flags.IntVar(&c.keyVersion, "key-version", 1, "`VERSION` of the masters that its keys come from")
}

func (c *cardsCommand) checkIssue() error {
	ids := map[string]string{"card": c.card}
	if c.account != "" {
		ids["holder"] = c.holder
	} else if c.holder != "" {
		return errors.New("--holder goes with --account: a white card has neither")
	}
	if _, err := parseIDs(ids); err != nil {
		return err
	}
	if _, err := time.Parse(time.DateOnly, c.expires); err != nil {
		return fmt.Errorf("--expires %.20q: want a day such as 2028-12-31", c.expires)
	}
	if c.exponent < purse.MinExponent || c.exponent > purse.MaxExponent {
		return fmt.Errorf("--exponent %d: want %d to %d", c.exponent, purse.MinExponent, purse.MaxExponent)
	}
	return c.checkKeyVersion()
}

func (c *cardsCommand) checkKeyVersion() error {
	if c.keyVersion < 0 || c.keyVersion > 255 {
		return fmt.Errorf("--key-version %d: want 0 to 255", c.keyVersion)
	}
	return nil
}

func (c *cardsCommand) issue(ctx context.Context, clearing *cards.Clearing) error {
	expires, err := time.Parse(time.DateOnly, c.expires)
	if err != nil {
		return err
	}
	card := cards.Card{ID: c.cardID(), KeyVersion: byte(c.keyVersion), Account: c.account, Exponent: int8(c.exponent), Expires: expires}
	if c.account != "" {
		card.Holder = mustID(c.holder)
	}
	if err := clearing.IssueCard(ctx, card); err != nil {
		return err
	}
	return c.sayDone("card %s is issued", card.ID)
}

func (c *cardsCommand) merchantFlags(flags *flag.FlagSet) {
	flags.StringVar(&c.merchant, "merchant", "", "the merchant's `MID`, 16 upper-case hexadecimal digits")
	c.keyVersionFlag(flags)
	flags.StringVar(&c.name, "name", "", "`NAME`, 1 to 70 characters")
	flags.StringVar(&c.destination, "destination", "", "where runs pay to: `iban:…`, ach:… or ref:…; gateway:NAME lets each payment go on to a gateway of the broker at once; without it, nowhere yet")
	flags.BoolFunc("blocked", "leave the merchant out of runs, its batches are taken; --blocked=false: no more (default: as it was)", func(text string) error {
		isBlocked, err := strconv.ParseBool(text)
		c.blocks = &isBlocked
		return err
	})
}

func (c *cardsCommand) checkMerchant() error {
	if _, err := parseIDs(map[string]string{"merchant": c.merchant}); err != nil {
		return err
	}
	kind, rest, _ := strings.Cut(c.destination, ":")
	if c.destination != "" && (rest == "" || kind != "iban" && kind != "ach" && kind != "ref" && kind != "gateway") {
		return fmt.Errorf("--destination %.60q: want iban:, ach:, ref: or gateway: and the rest", c.destination)
	}
	return c.checkKeyVersion()
}

func (c *cardsCommand) registerMerchant(ctx context.Context, clearing *cards.Clearing) error {
	id := c.merchantID()
	err := clearing.RegisterMerchant(ctx, cards.Merchant{ID: id, KeyVersion: byte(c.keyVersion), Name: c.name, Destination: c.destination})
	// Who changes the name of a merchant does not say that it may be paid again.
	if err == nil && c.blocks != nil {
		err = clearing.SetMerchantBlocked(ctx, id, *c.blocks)
	}
	if err != nil {
		return err
	}
	if gateway, is := cards.GatewayOf(c.destination); is {
		return c.sayDone("merchant %s is registered: its payments go on to gateway %s, and no run pays it", id, gateway)
	}
	return c.sayDone("merchant %s is registered", id)
}

func (c *cardsCommand) batchFlags(flags *flag.FlagSet) {
	flags.StringVar(&c.file, "file", "", "the `FILE` with the batch: its total of 68 bytes, and then its records")
}

func (c *cardsCommand) checkBatch() error {
	if c.file == "" {
		return errors.New("--file is missing: name the file with the batch")
	}
	return nil
}

func (c *cardsCommand) submitBatch(ctx context.Context, clearing *cards.Clearing) error {
	text, err := readSmall(c.file, purse.MaxBatchLength)
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	b, refusals, err := clearing.SubmitBatch(ctx, text)
	if err == nil && len(refusals) > 0 {
		err = refusals[0]
	}
	if err != nil {
		return err
	}
	return c.say(b, "batch %d of merchant %s: %d payments of %s, %d cancellations of %s, %d voids, fee %s\nacknowledgement %s",
		b.Batch, b.Merchant, b.Payments, b.Gross.Decimal(), b.Cancellations, b.Cancelled.Decimal(), b.Voids, b.Fee.Decimal(), b.Ack)
}

// unhex reads bytes of a flag.
func unhex(name, text string) ([]byte, error) {
	decoded, err := hex.DecodeString(text)
	if err != nil || len(decoded) == 0 {
		return nil, fmt.Errorf("--%s: want hexadecimal digits, two for each byte", name)
	}
	return decoded, nil
}
