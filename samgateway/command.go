// Package samgateway is the gateway between purse cards and the rest: it holds
// a merchant's SAM, takes payments, loads cards and funds accounts of the
// broker, and turns its batches in at clearing.
package samgateway

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/paywordhq/payword/internal/commandline"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// The exit codes of Main.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// word is a command: what stands after "samgateway".
type word struct {
	name      string // a word, or two, such as "card show"
	arguments string // what it takes besides flags, a name for each, such as "ACCOUNT AMOUNT"
	summary   string
	// define adds the flags that are its own, and returns what is done when they
	// are parsed. c.arguments then has as many as arguments names. An error made
	// by usage is a mistake of whoever called, any other a failure.
	define func(c *command, flags *flag.FlagSet) (work func(ctx context.Context) error)
}

// words are all the commands there are, in the order of the help. Each has its
// code in a file of its own, or with those that do much the same, named
// command_….go; that of serve is in serve.go.
func words() []word {
	return []word{
		{"serve", "", "hold the SAM, decide what waits, turn batches in, and let readers at home in", defineServe},
		{"load", "AMOUNT", "put money from its account on a card, such as 20.00", defineLoad},
		{"pay", "AMOUNT", "have a card pay, without a network", definePay},
		{"fund", "ACCOUNT AMOUNT", "have a card pay, and put it on an account of the broker", defineFund},
		{"unload", "", "have a card pay all that is on it, to its account or in cash", defineUnload},
		{"cancel", "", "cancel the card's last payment", defineCancel},
		{"status", "", "show the batch, what is not decided, and what waits", defineStatus},
		{"resolve", "", "find out what became of what is not decided, with its card if it is there", defineResolve},
		{"void", "TRANSACTION", "end a payment whose card does not come back", defineVoid},
		{"turnin", "", "close the batch and have clearing take it", defineTurnIn},
		{"agent", "", "let sites in your browser ask the card in your reader, and say yes or no on a page", defineAgent},
		{"readers", "", "list the card readers, and what is in them", defineReaders},
		{"card show", "", "show a card: its balance, and its last payments and loads", defineShow},
		{"watch", "", "print what happens at the readers, with --json a document on each line", defineWatch},
		{"personalise keys", "", "make masters at random, for tests and demonstrations", definePersonaliseKeys},
		{"personalise card", "", "make a card in a file, for tests and demonstrations", definePersonaliseCard},
		{"personalise sam", "", "make a SAM in a file, for tests and demonstrations", definePersonaliseSAM},
		{"key", "", "make the key that the gateway signs its requests with, or show its public half", defineKey},
	}
}

const helpHead = `samgateway takes payments of purse cards, loads them and funds accounts with them.

`

const helpTail = `
"samgateway COMMAND -h" lists the flags of a command. With --json there is one
document of JSON on stdout. Exit codes: 0 done, 1 failed or not known yet, 2 wrong
usage.
`

// isHelp reports whether somebody asks for help by an argument.
func isHelp(argument string) bool {
	return slices.Contains([]string{"help", "-h", "-help", "--help"}, argument)
}

// wordsOf are the commands of two words that begin with that one.
func wordsOf(first string) (of []word) {
	for _, w := range words() {
		if strings.HasPrefix(w.name, first+" ") {
			of = append(of, w)
		}
	}
	return of
}

// help is what "samgateway help" prints, of these commands.
func help(of []word) string {
	var text strings.Builder
	text.WriteString(helpHead)
	for _, w := range of {
		fmt.Fprintf(&text, "  samgateway %s\n      %s\n", strings.TrimSpace(w.name+" "+w.arguments), w.summary)
	}
	text.WriteString(helpTail)
	return text.String()
}

// command is one call of Main. What only one command knows is kept in its
// define.
type command struct {
	readers        smartcard.Readers
	stdin          io.Reader
	stdout, stderr io.Writer
	name           string   // of the command
	arguments      []string // as many as the command takes
	json           bool
}

// Main is the command samgateway: arguments are the words after it, readers are
// those of the machine, and stdin is read for a PIN or a passphrase if it is a
// terminal. It returns the exit code: 0 done, 1 failed or not known yet, 2 wrong
// usage. What serves ends when ctx does.
func Main(ctx context.Context, readers smartcard.Readers, arguments []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &command{readers: readers, stdin: stdin, stdout: stdout, stderr: stderr}
	if len(arguments) == 0 {
		fmt.Fprint(stderr, help(words()))
		return exitUsage
	}
	if isHelp(arguments[0]) {
		fmt.Fprint(stdout, help(words()))
		return exitOK
	}
	if of := wordsOf(arguments[0]); len(of) > 0 && (len(arguments) == 1 || isHelp(arguments[1])) {
		if len(arguments) == 1 {
			fmt.Fprint(stderr, help(of))
			return exitUsage
		}
		fmt.Fprint(stdout, help(of))
		return exitOK
	}
	w, rest, err := wordOf(arguments)
	if err == nil {
		c.name = w.name
		err = explained(ctx, c.do(ctx, w, rest))
	}
	return c.finish(arguments, err)
}

// explained is the error for people. One who has broken a command off wants to know
// what became of it, and not what a context is.
func explained(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return errors.New("it was broken off; what is not decided is in the journal, and \"samgateway status\" shows it")
	}
	return err
}

// wordOf returns the command that the arguments begin with, and the rest of them.
func wordOf(arguments []string) (w word, rest []string, err error) {
	var names []string
	for _, w := range words() {
		parts := strings.Fields(w.name)
		if len(arguments) >= len(parts) && slices.Equal(arguments[:len(parts)], parts) {
			return w, arguments[len(parts):], nil
		}
		names = append(names, w.name)
	}
	written := arguments[0]
	if len(arguments) > 1 && slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, written+" ") }) {
		written += " " + arguments[1]
	}
	return word{}, nil, usage("there is no command %.80q%s: want one of %s", written, commandline.Meant("", written, names), strings.Join(names, ", "))
}

// do parses the flags and arguments of a command and does its work.
func (c *command) do(ctx context.Context, w word, rest []string) error {
	flags := flag.NewFlagSet("samgateway "+w.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are printed once, by finish
	flags.BoolVar(&c.json, "json", false, "print JSON instead of text; amounts are in micros")
	work := w.define(c, flags)
	arguments, err := commandline.ParseMixed(flags, rest)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(c.stdout, "samgateway %s: %s\n\nFlags:\n", strings.TrimSpace(w.name+" "+w.arguments), w.summary)
		flags.SetOutput(c.stdout)
		flags.PrintDefaults()
		return nil
	}
	if err != nil {
		if at := slices.IndexFunc(rest, isNegative); at >= 0 && strings.Contains(w.arguments, "AMOUNT") {
			_, err = parseAmount(rest[at], purse.Unit{})
			return err
		}
		return usage("%v", err)
	}
	if names := strings.Fields(w.arguments); len(arguments) != len(names) {
		return wrongCount(w, arguments, names)
	}
	c.arguments = arguments
	return work(ctx)
}

// isNegative reports whether an argument, which package flag takes for a flag, is a
// number below 0.
func isNegative(argument string) bool {
	return len(argument) > 1 && argument[0] == '-' && argument[1] >= '0' && argument[1] <= '9'
}

func wrongCount(w word, arguments, names []string) error {
	switch {
	case len(arguments) < len(names):
		return usage("%s is missing: want samgateway %s %s", names[len(arguments)], w.name, w.arguments)
	case len(names) == 0:
		return usage("%.80q is not a flag: everything is said with flags; \"samgateway %s -h\" lists them", arguments[0], w.name)
	}
	return usage("%.80q is too much: want samgateway %s %s", arguments[len(names)], w.name, w.arguments)
}

// usageError is a mistake of whoever called, in a sentence for them.
type usageError struct{ sentence string }

// Error returns the sentence.
func (e usageError) Error() string { return e.sentence }

// usage makes an error of a mistake of whoever called: exit code 2. The sentence
// says what is wrong and what would be right.
func usage(format string, arguments ...any) error {
	return usageError{fmt.Sprintf(format, arguments...)}
}

// failure is what a command prints with --json where it has no result.
type failure struct {
	// Error is the sentence that stands on stderr as well.
	Error    string `json:"error"`
	ExitCode int    `json:"exitCode"`
}

// saidError is the failure of a command that has printed its result already:
// with --json it is not printed once more.
type saidError struct{ error }

// Unwrap returns the failure.
func (e saidError) Unwrap() error { return e.error }

// finish says how a command ended and returns the exit code. The arguments may be
// such that --json was never parsed.
func (c *command) finish(arguments []string, err error) int {
	if err == nil {
		return exitOK
	}
	prefix := strings.TrimSpace("samgateway " + c.name)
	fmt.Fprintf(c.stderr, "%s: %s\n", prefix, err)
	code := exitFailure
	if mistake := (usageError{}); errors.As(err, &mistake) {
		code = exitUsage
	}
	if said := (saidError{}); wantsJSON(arguments) && !errors.As(err, &said) {
		if err := c.printJSON(failure{Error: err.Error(), ExitCode: code}); err != nil {
			fmt.Fprintf(c.stderr, "%s: %v\n", prefix, err)
		}
	}
	return code
}

// wantsJSON says whether JSON was asked for, of arguments that may not even be
// understood.
func wantsJSON(arguments []string) bool {
	return slices.ContainsFunc(arguments, func(argument string) bool {
		return slices.Contains([]string{"--json", "-json", "--json=true", "-json=true"}, argument)
	})
}

// say prints the result of a command: value where JSON was asked for, or else the
// sentences. What a command says besides its result goes to stderr.
func (c *command) say(value any, format string, arguments ...any) error {
	if c.json {
		return c.printJSON(value)
	}
	_, err := fmt.Fprintf(c.stdout, format+"\n", arguments...)
	return err
}

func (c *command) printJSON(value any) error {
	encoded, err := json.MarshalIndent(value, "", "  ")
	if err == nil {
		_, err = c.stdout.Write(append(encoded, '\n'))
	}
	return err
}
