package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/paywordhq/payword/money"
)

// The exit statuses of the commands.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

const helpText = `payword wallet create       --wallet FILE [--encrypt | --passphrase-file FILE]
payword wallet open-account --wallet FILE --broker ORIGIN
payword wallet certificates --wallet FILE [--count N] [--bind PREFIX,…|none]
payword wallet balance      --wallet FILE [--json]
payword wallet show         --wallet FILE [--json]
payword wallet revoke       --wallet FILE (--site ORIGIN | --all)
payword wallet seed         --wallet FILE
payword wallet restore      --wallet FILE --broker ORIGIN [--seed-file FILE] [--encrypt]
payword wallet status       --wallet FILE [--json]
payword wallet limits       --wallet FILE [--day AMOUNT] …
payword wallet device       list | add | rename | remove …
payword wallet join         [INVITATION] --wallet FILE [--encrypt]
payword wallet subaccount   open | list | transfer | limits | pause | close …
payword wallet voucher      --wallet FILE
payword wallet payout       --wallet FILE [--amount 5.00 --iban IBAN]
payword wallet close        --wallet FILE [--iban IBAN]
payword wallet export       --wallet FILE [-o FILE]
payword pay URL             --wallet FILE [--max 0.01] [--budget 1.00]
                            [--per-site AMOUNT] [--per-day AMOUNT] [--deposit 0.50]
                            [-o FILE] [--json]

A wallet is one file. create makes it, with its seed encrypted if a passphrase
is given: typed after --encrypt, or the first line of --passphrase-file, which
every other command takes too. open-account opens an account at a broker, which
then has to be funded. certificates gets spares, so that new sites can be paid
while the broker is down. They are renewed by themselves. --bind has
new ones bound to addresses, such as 192.0.2.0/24: sites take them from there alone.

revoke has the broker revoke what one site knows the wallet by, or everything,
such as what a lost device holds; sites refuse it within minutes, and the wallet
goes on under new pseudonyms. seed prints the wallet's secret, to be written down
and kept like money. restore makes the wallet anew from it, typed or from
--seed-file; the broker gives back what is reserved.

The commands from status to export look after the account at the broker: limits,
further machines, budgets for agents, money in and out. Each says more with --help,
such as payword wallet device --help.

pay fetches a page, pays for it inside the budget, writes the page to standard
output (or to -o FILE) and what was paid to standard error. Amounts are in whole
units of the wallet's currency, such as 0.01; "none" means no limit.
  --max       the most for one request (redirects are requests of their own)
  --budget    the most in all, over the life of the wallet
  --per-site  the most to one site, over the life of the wallet (default none)
  --per-day   the most on one day, UTC (default none)
  --deposit   how much is reserved at the broker for a site at a time

Exit status: 0 done, 1 failed, 2 wrong usage.
`

// usageError is a mistake in how a command was called.
type usageError struct{ sentence string }

func (e usageError) Error() string { return e.sentence }

// command is one call of Main.
type command struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	flags          *flag.FlagSet
	wallet         string
	passphraseFile string
	asJSON         bool

	topic      string        // of the help: the words of the command
	lines      *bufio.Reader // of standard input, once a line was read
	passphrase []byte        // that was typed, for when the wallet is opened again
}

// Main runs the command "wallet" or "pay", which is the first of the arguments,
// and returns its exit status: 0 done, 1 failed, 2 wrong usage. The arguments
// do not hold the program's name.
func Main(ctx context.Context, arguments []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &command{stdin: stdin, stdout: stdout, stderr: stderr, flags: flag.NewFlagSet("payword", flag.ContinueOnError)}
	c.flags.SetOutput(io.Discard)
	c.flags.StringVar(&c.wallet, "wallet", "", "")
	c.flags.StringVar(&c.passphraseFile, "passphrase-file", "", "")
	c.flags.BoolVar(&c.asJSON, "json", false, "")
	err := c.run(ctx, arguments)
	var wrong usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, flag.ErrHelp):
		text, found := helpTopics[c.topic]
		if !found {
			text = helpText
		}
		fmt.Fprint(stdout, text)
		return exitDone
	case errors.As(err, &wrong):
		fmt.Fprintf(stderr, "payword: %s\nTry payword %s --help.\n", wrong.sentence, c.topic)
		return exitUsage
	}
	fmt.Fprintf(stderr, "payword: %v\n", err)
	return exitFailed
}

func (c *command) run(ctx context.Context, arguments []string) error {
	c.topic = "pay"
	if len(arguments) == 0 {
		return usageError{"want a command: wallet or pay"}
	}
	rest := arguments[1:]
	switch arguments[0] {
	case "pay":
		return c.pay(ctx, rest)
	case "wallet":
		c.topic = "wallet"
		if len(rest) == 0 {
			return usageError{"want what to do with the wallet, such as create, open-account, status or show"}
		}
		return c.walletVerb(ctx, rest[0], rest[1:])
	case "help", "-h", "-help", "--help":
		return flag.ErrHelp
	}
	return usageError{fmt.Sprintf("%.40q is no command: want wallet or pay", arguments[0])}
}

func (c *command) walletVerb(ctx context.Context, verb string, arguments []string) error {
	switch verb {
	case "create":
		return c.create(arguments)
	case "open-account":
		return c.openAccount(ctx, arguments)
	case "certificates":
		return c.certificates(ctx, arguments)
	case "balance":
		return c.balance(ctx, arguments)
	case "show":
		return c.show(arguments)
	case "revoke":
		return c.revoke(ctx, arguments)
	case "seed":
		return c.seed(arguments)
	case "restore":
		return c.restore(ctx, arguments)
	case "help", "-h", "-help", "--help":
		return flag.ErrHelp
	}
	if do, found := ownerVerbs[verb]; found {
		c.topic = "wallet " + verb
		return do(c, ctx, arguments)
	}
	return usageError{fmt.Sprintf("%.40q is nothing to do with a wallet: want a command such as create, open-account, status or show", verb)}
}

// verbs are what can be done, by the word for it.
type verbs map[string]func(*command, context.Context, []string) error

// ownerVerbs are the commands that look after an account at its broker.
var ownerVerbs = verbs{
	"status": (*command).status, "limits": (*command).limits, "join": (*command).join,
	"device": (*command).device, "subaccount": (*command).subAccount,
	"voucher": (*command).voucher, "payout": (*command).payout, "close": (*command).close, "export": (*command).export,
}

// choose runs the one of several verbs that the first argument says.
func (c *command) choose(ctx context.Context, of string, choices verbs, arguments []string) error {
	known := strings.Join(slices.Sorted(maps.Keys(choices)), ", ")
	if len(arguments) == 0 {
		return usageError{fmt.Sprintf("want what to do with %s: one of %s", of, known)}
	}
	switch verb := arguments[0]; verb {
	case "help", "-h", "-help", "--help":
		return flag.ErrHelp
	default:
		if do, found := choices[verb]; found {
			return do(c, ctx, arguments[1:])
		}
		return usageError{fmt.Sprintf("%.40q is nothing to do with %s: want one of %s", verb, of, known)}
	}
}

// parse reads flags, which may stand before and after the other arguments, of
// which there must be exactly as many as names.
func (c *command) parse(arguments []string, names ...string) ([]string, error) {
	return c.parseSome(arguments, len(names), names...)
}

// parseSome is parse where only the first least of the others must be there; those
// that are not are "".
func (c *command) parseSome(arguments []string, least int, names ...string) ([]string, error) {
	var others []string
	for {
		if err := c.flags.Parse(arguments); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, usageError{err.Error()}
		}
		arguments = c.flags.Args()
		if len(arguments) == 0 {
			break
		}
		others, arguments = append(others, arguments[0]), arguments[1:]
	}
	switch {
	case len(others) < least:
		return nil, usageError{"want " + strings.Join(names[len(others):least], " ")}
	case len(others) > len(names):
		return nil, usageError{fmt.Sprintf("%.40q is one argument too many", others[len(names)])}
	case c.wallet == "":
		return nil, usageError{"want --wallet FILE"}
	}
	return append(others, make([]string, len(names)-len(others))...), nil
}

// open opens the wallet, asking for the passphrase if it needs one and somebody
// is there to type it.
func (c *command) open() (*Wallet, error) {
	config := WalletConfig{Path: c.wallet}
	var err error
	if config.Passphrase, err = c.readPassphraseFile(); err != nil {
		return nil, err
	}
	if config.Passphrase == nil {
		config.Passphrase = c.passphrase
	}
	wallet, err := OpenWallet(config)
	if !errors.Is(err, ErrPassphrase) || len(config.Passphrase) > 0 {
		return wallet, err
	}
	if config.Passphrase, err = c.prompt("Passphrase: "); err != nil {
		return nil, err
	}
	c.passphrase = config.Passphrase
	return OpenWallet(config)
}

// readLine asks for a line of standard input, which may be typed or piped in.
func (c *command) readLine(question string) (string, error) {
	if c.lines == nil {
		input := c.stdin
		if input == nil {
			input = strings.NewReader("")
		}
		c.lines = bufio.NewReaderSize(io.LimitReader(input, maxInputBytes), maxLineBytes)
	}
	fmt.Fprint(c.stderr, question)
	line, isPrefix, err := c.lines.ReadLine()
	if !c.isTyped() {
		fmt.Fprintln(c.stderr) // as whoever types ends the line
	}
	switch {
	case isPrefix:
		return "", fmt.Errorf("reading standard input: want lines of at most %d bytes", maxLineBytes)
	case errors.Is(err, io.EOF):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("reading standard input: %w", err)
	}
	return strings.TrimSpace(string(line)), nil
}

// maxInputBytes bounds what is read of standard input: a few lines.
const maxInputBytes = 64 << 10

// errNotConfirmed means that the user thought better of it.
var errNotConfirmed = errors.New("nothing was done: answer yes, or give --yes, to do it")

// confirm asks about what cannot be undone, unless yes was given as a flag.
func (c *command) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	answer, err := c.readLine(question + " [yes/no] ")
	if err != nil {
		return err
	}
	if answer = strings.ToLower(answer); answer != "yes" && answer != "y" {
		return errNotConfirmed
	}
	return nil
}

// maxPassphraseBytes bounds a passphrase.
const maxPassphraseBytes = 1024

// readPassphraseFile returns the first line of the passphrase file, if one was
// named.
func (c *command) readPassphraseFile() ([]byte, error) {
	if c.passphraseFile == "" {
		return nil, nil
	}
	return readFirstLine(c.passphraseFile)
}

// readFirstLine returns the first line of a file that holds a secret.
func readFirstLine(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading a secret: %w", err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxPassphraseBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading a secret: %w", err)
	}
	line, _, _ := bytes.Cut(content, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 || len(line) > maxPassphraseBytes {
		return nil, fmt.Errorf("%s: want 1 to %d bytes in its first line", path, maxPassphraseBytes)
	}
	return line, nil
}

// prompt asks for a passphrase on the terminal, without showing it.
func (c *command) prompt(question string) ([]byte, error) {
	if !c.isTyped() {
		return nil, errors.New("the wallet needs a passphrase: use --passphrase-file, or a terminal")
	}
	terminal := c.stdin.(*os.File)
	fmt.Fprint(c.stderr, question)
	passphrase, err := term.ReadPassword(int(terminal.Fd()))
	fmt.Fprintln(c.stderr)
	if err != nil {
		return nil, fmt.Errorf("reading the passphrase: %w", err)
	}
	return passphrase, nil
}

// isTyped reports whether standard input is a terminal.
func (c *command) isTyped() bool {
	file, isFile := c.stdin.(*os.File)
	return isFile && term.IsTerminal(int(file.Fd()))
}

// limitFlag is an amount in major units, or "none".
type limitFlag struct{ amount *money.Amount }

// String returns the limit as it is typed.
func (f limitFlag) String() string {
	switch {
	case f.amount == nil:
		return ""
	case *f.amount == NoLimit:
		return "none"
	}
	return f.amount.Decimal()
}

// Set reads a limit.
func (f limitFlag) Set(text string) error {
	if text == "none" {
		*f.amount = NoLimit
		return nil
	}
	amount, err := money.ParseDecimal(text)
	if err != nil {
		return err
	}
	*f.amount = amount
	return nil
}
