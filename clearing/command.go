package clearing

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/paywordhq/payword/internal/commandline"
	"github.com/paywordhq/payword/internal/ledger"
)

// The exit codes of Main.
const (
	exitOK       = 0
	exitFailure  = 1
	exitUsage    = 2  // a wrong flag, a file or folder that is not there, or a file that is and is not overwritten
	exitHeld     = 75 // EX_TEMPFAIL of sysexits: try again later
	exitApproval = 77 // EX_NOPERM of sysexits: somebody else must approve it first
)

// subcommand is a word after "payword clearing".
type subcommand struct {
	name, arguments, summary string
	mode                     ledger.Mode
	// flags adds the flags that are its own, and may be nil.
	flags func(c *command, flags *flag.FlagSet)
	// check says what is wrong with the flags together, and may be nil.
	check func(c *command) error
	work  func(c *command, ctx context.Context, db *ledger.DB) error
	// main takes the place of all that from mode on, for a word that opens its
	// database in a way of its own.
	main func(ctx context.Context, args []string, stdout, stderr io.Writer) int
}

// subcommands are all there are. They work on the broker's database, which must
// exist.
var subcommands = slices.Concat([]subcommand{
	{name: "plan", arguments: "--db FILE", summary: "freeze what a run would pay, and show it", mode: ledger.Existing,
		flags: (*command).planFlags, check: (*command).checkPlan, work: (*command).plan},
	{name: "approve", arguments: "--db FILE --plan HASH --as NAME", summary: "stand behind a plan that needs a second operator", mode: ledger.Existing,
		flags: (*command).approveFlags, check: (*command).checkApprove, work: (*command).approve},
	{name: "run", arguments: "--db FILE --out DIR --plan HASH", summary: "carry that plan out, and write its files", mode: ledger.Existing,
		flags: (*command).runFlags, check: (*command).checkRun, work: (*command).run},
	{name: "show", arguments: "--db FILE", summary: "show a run, the newest where none is named", mode: ledger.Existing,
		flags: (*command).showFlags, work: (*command).show},
	{name: "list", arguments: "--db FILE", summary: "list the runs, the newest first", mode: ledger.Existing, work: (*command).list},
	{name: "key", arguments: "new|public --key FILE", summary: "make a key for signing days, or show its public half", main: keyMain},
	{name: "statement", arguments: "--db FILE --vendor ORIGIN", summary: "write a statement that anybody can check", mode: ledger.ReadOnly,
		flags: (*command).statementFlags, check: (*command).checkStatement, work: (*command).statement},
	{name: "statements", arguments: "--db FILE --out DIR", summary: "write those of all vendors", mode: ledger.ReadOnly,
		flags: (*command).statementsFlags, check: (*command).checkStatements, work: (*command).statements},
	{name: "days", arguments: "--db FILE", summary: "print the days that were signed, a token each line", mode: ledger.ReadOnly, work: (*command).days},
	{name: "serve", arguments: "--db FILE --out DIR --operators FILE", summary: "serve the pages for operators", mode: ledger.Existing,
		flags: (*command).serveFlags, check: (*command).checkServe, work: (*command).serve},
	{name: "cards", arguments: "WORD --db FILE --keys FILE", summary: "purse cards: batches, loads, alarms, disputes, lost cards", main: cardsMain},
	{name: "check", arguments: "--db FILE", summary: "recompute every balance from the transfers", mode: ledger.ReadOnly, work: (*command).checkBooks},
	{name: "audit", arguments: "--db FILE", summary: "recompute everything from the signed evidence", main: auditMain},
}, matchCommands)

const helpHead = `payword clearing settles what the broker owes, and collects what it is owed.

`

const helpTail = `
A usual day: look at the plan, then run exactly that plan.

  payword clearing plan --db broker.db --config policy.json
  payword clearing run --db broker.db --out settlements --plan <plan hash>

A run that was broken off goes on when "run" is started without --plan, and pays
nobody twice. With --json there is one document of JSON on stdout, with --quiet
nothing else. Exit codes: 0 done, 1 failed or something disagrees, 2 wrong usage,
75 somebody else is running the settlement now, 77 another operator must approve
the plan first. "payword clearing run -h" lists the flags of run.
`

// help is what "payword clearing help" prints.
func help() string {
	var text strings.Builder
	text.WriteString(helpHead)
	for _, s := range subcommands {
		fmt.Fprintf(&text, "  payword clearing %-8s %s\n      %s\n", s.name, s.arguments, s.summary)
	}
	text.WriteString(helpTail)
	return text.String()
}

// Main is the command "payword clearing": args are the words after it. It
// returns the exit code: 0 done, 1 failed, 2 wrong usage or a missing file, 75
// somebody else is running the settlement, 77 another operator must approve the
// plan. Where stderr is a terminal a bar there shows how far a run is.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o := &output{stdout: stdout, stderr: stderr}
	return o.finish(args, dispatch(ctx, args, result{o}, messages{o}, stderr))
}

// dispatch does what the first word says. terminal is where stderr goes in the
// end, which may be one.
func dispatch(ctx context.Context, args []string, stdout, stderr, terminal io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, help())
		return exitUsage
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, help())
		return exitOK
	}
	var names []string
	for _, s := range subcommands {
		switch {
		case s.name != args[0]:
		case s.main != nil:
			return s.main(ctx, args[1:], stdout, stderr)
		default:
			return (&command{stdout: stdout, stderr: stderr, terminal: terminal}).main(ctx, s, args[1:])
		}
		names = append(names, s.name)
	}
	fmt.Fprintf(stderr, "payword clearing: there is no command %.80q%s: want one of %s\n", args[0], commandline.Meant("", args[0], names), strings.Join(names, ", "))
	return exitUsage
}

// command is one call of Main.
type command struct {
	stdout, stderr io.Writer
	terminal       io.Writer // where stderr goes in the end
	database       string
	json, quiet    bool
	config         Config
	policyFile     string
	dryRun         bool
	as             string // an operator's name
	operatorsFile  string
	by             Operator // who has proven to be that one

	keyFile, passphraseFile string // to sign days with
	wanted                  wantedStatement
	serving                 servingFlags
	match                   matchFlags
}

// main parses the flags, opens the ledger and does the work.
func (c *command) main(ctx context.Context, s subcommand, args []string) int {
	if err := c.parse(s, args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		fmt.Fprintf(c.stderr, "payword clearing %s: %v\n", s.name, err)
		return exitUsage
	}
	if c.quiet && !c.json {
		c.stdout = io.Discard
	}
	db, err := ledger.Open(ctx, c.database, ledger.Options{Mode: s.mode})
	if err == nil {
		err = errors.Join(s.work(c, withActor(ctx, actor(c.by)), db), db.Close())
	}
	if err != nil {
		fmt.Fprintf(c.stderr, "payword clearing %s: %s\n", s.name, explained(ctx, err))
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var held *HeldError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &held):
		return exitHeld
	case errors.Is(err, ErrNotApproved):
		return exitApproval
	case errors.Is(err, ledger.ErrNoLedger), errors.Is(err, ErrNoDirectory), errors.Is(err, ErrNoBroker),
		errors.Is(err, ErrNoKey), errors.Is(err, ErrNoStatement), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrExist):
		return exitUsage
	default:
		return exitFailure
	}
}

// parse reads the flags of a command. flag.ErrHelp means that the help was
// asked for and printed.
func (c *command) parse(s subcommand, args []string) error {
	flags := flag.NewFlagSet("payword clearing "+s.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are printed once, by main
	flags.StringVar(&c.database, "db", "", "the broker's `FILE`, or postgres://…, which must exist")
	flags.BoolVar(&c.json, "json", false, "print JSON instead of text; amounts are in micros")
	flags.BoolVar(&c.quiet, "quiet", false, "print nothing but JSON and errors")
	if s.flags != nil {
		s.flags(c, flags)
	}
	err := commandline.Parse(flags, args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(c.stdout, "Flags of payword clearing %s:\n", s.name)
		flags.SetOutput(c.stdout)
		flags.PrintDefaults()
	}
	if err != nil {
		return err
	}
	if c.database == "" {
		return errors.New("--db is missing: name the broker's database, such as --db broker.db")
	}
	if s.check != nil {
		if err := s.check(c); err != nil {
			return err
		}
	}
	_, err = c.config.complete()
	return err
}

// checkReport is the report of the ledger's check in JSON.
type checkReport struct {
	Clean         bool                  `json:"clean"`
	Accounts      int64                 `json:"accounts"`
	Transfers     int64                 `json:"transfers"`
	Disagreements []ledger.Disagreement `json:"disagreements"`
}

func (c *command) checkBooks(ctx context.Context, db *ledger.DB) error {
	report, err := db.Check(ctx)
	if err != nil {
		return err
	}
	if c.json {
		err = c.printJSON(checkReport{report.Clean(), report.Accounts, report.Transfers, append([]ledger.Disagreement{}, report.Disagreements...)})
	} else {
		c.printReport(report)
	}
	if err == nil && !report.Clean() {
		err = &BooksError{Report: report}
	}
	return err
}

func (c *command) printReport(report ledger.Report) {
	fmt.Fprintf(c.stdout, "%d accounts, %d transfers\n", report.Accounts, report.Transfers)
	for _, sum := range report.Sums {
		fmt.Fprintf(c.stdout, "balances in %s sum to %s\n", sum.Currency.Code(), sum.Amount.Decimal())
	}
	for _, d := range report.Disagreements {
		fmt.Fprintf(c.stdout, "WRONG %s: %s\n", d.Subject, d.What)
	}
	if report.Clean() {
		fmt.Fprintln(c.stdout, "nothing disagrees")
	}
}

func (c *command) printJSON(value any) error {
	encoded, err := FormatJSON(value)
	if err == nil {
		_, err = c.stdout.Write(encoded)
	}
	return err
}
