package clearing

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"

	"github.com/paywordhq/payword/internal/ledger"
)

// The exit codes of Main.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2  // a wrong flag, or a file or folder that is not there
	exitHeld    = 75 // EX_TEMPFAIL of sysexits: try again later
)

const help = `payword clearing settles what the broker owes to vendors.

  payword clearing plan  --db FILE              show what a run would pay, and change nothing
  payword clearing run   --db FILE --out DIR    pay, and write statement and payout files
  payword clearing check --db FILE              recompute every balance from the transfers
  payword clearing audit --db FILE              recompute everything from the signed evidence

A usual day: look at the plan, then run exactly that plan.

  payword clearing plan --db broker.db
  payword clearing run --db broker.db --out settlements --expect <plan hash>

A run that was broken off goes on when it is started again, and pays nobody
twice. Exit codes: 0 done, 1 failed, 2 wrong usage, 75 somebody else is running
the settlement now. "payword clearing run -h" lists the flags.
`

// Main is the command "payword clearing": args are the words after it. It
// returns the exit code: 0 done, 1 failed, 2 wrong usage or a missing file, 75
// somebody else is running the settlement.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, help)
		return exitUsage
	}
	c := &command{stdout: stdout, stderr: stderr}
	switch args[0] {
	case "run":
		return c.main(ctx, args[0], args[1:], ledger.Existing, c.run)
	case "plan":
		return c.main(ctx, args[0], args[1:], ledger.ReadOnly, c.plan)
	case "check":
		return c.main(ctx, args[0], args[1:], ledger.ReadOnly, c.check)
	case "audit":
		return auditMain(ctx, args[1:], stdout, stderr)
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, help)
		return exitOK
	default:
		fmt.Fprintf(stderr, "payword clearing: there is no command %q: want run, plan, check or audit\n", args[0])
		return exitUsage
	}
}

// command is one call of Main.
type command struct {
	stdout, stderr io.Writer
	database       string
	json           bool
	config         Config
}

// main parses the flags, opens the ledger and does the work.
func (c *command) main(ctx context.Context, name string, args []string, mode ledger.Mode,
	work func(context.Context, *ledger.DB) error) int {
	if err := c.parse(name, args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		fmt.Fprintf(c.stderr, "payword clearing %s: %v\n", name, err)
		return exitUsage
	}
	db, err := ledger.Open(ctx, c.database, ledger.Options{Mode: mode})
	if err == nil {
		err = errors.Join(work(ctx, db), db.Close())
	}
	if err != nil {
		fmt.Fprintf(c.stderr, "payword clearing %s: %v\n", name, err)
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
	case errors.Is(err, ledger.ErrNoLedger), errors.Is(err, ErrNoDirectory):
		return exitUsage
	default:
		return exitFailure
	}
}

// parse reads the flags of a command. flag.ErrHelp means that the help was
// asked for and printed.
func (c *command) parse(name string, args []string) error {
	flags := flag.NewFlagSet("payword clearing "+name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are printed once, by main
	flags.StringVar(&c.database, "db", "", "the broker's `FILE`, which must exist")
	flags.BoolVar(&c.json, "json", false, "print JSON instead of text; amounts are in micros")
	if name != "check" {
		flags.StringVar(&c.config.RunID, "run", "", "`ID` of the run; without it, the run that is not finished, or else a new one")
		flags.StringVar(&c.config.PeriodEnd, "period-end", "", "last `DAY` of the period, such as 2026-11-22 (default today, UTC)")
	}
	if name == "run" {
		flags.StringVar(&c.config.Directory, "out", "", "the `DIR` to write the files to, which must exist")
		flags.StringVar(&c.config.ExpectPlan, "expect", "", "pay only if the plan has this `HASH`, which \"payword clearing plan\" prints")
	}
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(c.stdout, "Flags of payword clearing %s:\n", name)
		flags.SetOutput(c.stdout)
		flags.PrintDefaults()
	}
	if err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("%q is not a flag: everything is said with flags", flags.Arg(0))
	case c.database == "":
		return errors.New("--db is missing: name the broker's database, such as --db broker.db")
	case name == "run" && c.config.Directory == "":
		return errors.New("--out is missing: name the folder for the files, such as --out settlements")
	}
	_, err = c.config.complete()
	return err
}

func (c *command) run(ctx context.Context, db *ledger.DB) error {
	statement, err := Run(ctx, db, c.config)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(statement)
	}
	fmt.Fprint(c.stdout, FormatStatement(statement), "\nFiles\n")
	for _, name := range FileNames(statement.RunID) {
		fmt.Fprintln(c.stdout, filepath.Join(c.config.Directory, name))
	}
	return nil
}

func (c *command) plan(ctx context.Context, db *ledger.DB) error {
	plan, err := PlanRun(ctx, db, c.config)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(plan)
	}
	text, err := FormatPlan(plan)
	fmt.Fprint(c.stdout, text)
	return err
}

// checkReport is the report of the ledger's check in JSON.
type checkReport struct {
	Clean         bool                  `json:"clean"`
	Accounts      int64                 `json:"accounts"`
	Transfers     int64                 `json:"transfers"`
	Disagreements []ledger.Disagreement `json:"disagreements"`
}

func (c *command) check(ctx context.Context, db *ledger.DB) error {
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
