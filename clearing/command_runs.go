package clearing

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/paywordhq/payword/internal/keyfile"
	"github.com/paywordhq/payword/internal/ledger"
)

func (c *command) planFlags(flags *flag.FlagSet) {
	c.policyFlag(flags)
	c.operatorFlags(flags)
	flags.StringVar(&c.config.RunID, "run", "", "`ID` of the run (default: of the day, with a number)")
	flags.StringVar(&c.config.PeriodEnd, "period-end", "", "last `DAY` of the period, such as 2026-11-22 (default today, UTC)")
	flags.BoolVar(&c.dryRun, "dry-run", false, "show what the plan would be, and record nothing")
}

func (c *command) checkPlan() error { return errors.Join(c.readPolicy(), c.proveOperator()) }

func (c *command) approveFlags(flags *flag.FlagSet) {
	c.hashFlag(flags)
	c.operatorFlags(flags)
}

func (c *command) checkApprove() error {
	if c.config.PlanHash == "" {
		return errors.New("--plan is missing: give the hash that \"payword clearing plan\" prints")
	}
	if c.as == "" {
		return errors.New("--as is missing: say which operator approves")
	}
	return c.proveOperator()
}

func (c *command) runFlags(flags *flag.FlagSet) {
	c.policyFlag(flags)
	c.hashFlag(flags)
	c.operatorFlags(flags)
	flags.StringVar(&c.config.Directory, "out", "", "the `DIR` to write the files to, which must exist")
	c.signingFlags(flags)
	flags.BoolVar(&c.config.Now, "now", false, "plan and run in one step, where no run is unfinished and no approval is needed")
	flags.StringVar(&c.config.RunID, "run", "", "with --now: `ID` of the run (default: of the day, with a number)")
	flags.StringVar(&c.config.PeriodEnd, "period-end", "", "with --now: last `DAY` of the period, such as 2026-11-22 (default today, UTC)")
}

func (c *command) checkRun() error {
	switch {
	case c.config.Directory == "":
		return errors.New("--out is missing: name the folder for the files, such as --out settlements")
	case c.config.PlanHash != "" && (c.config.Now || c.config.RunID != "" || c.config.PeriodEnd != "" || c.policyFile != ""):
		return errors.New("--plan names a plan on record: --now, --run, --period-end and --config are for a new one")
	case !c.config.Now && (c.config.RunID != "" || c.config.PeriodEnd != "" || c.policyFile != ""):
		return errors.New("--run, --period-end and --config are for a new plan: give --now as well, or \"plan\" first")
	}
	return errors.Join(c.readPolicy(), c.proveOperator(), c.readSigner())
}

func (c *command) showFlags(flags *flag.FlagSet) {
	flags.StringVar(&c.config.RunID, "run", "", "`ID` of the run (default: the newest that is not discarded)")
}

func (c *command) hashFlag(flags *flag.FlagSet) {
	flags.StringVar(&c.config.PlanHash, "plan", "", "the `HASH` of the plan, which \"payword clearing plan\" prints")
}

func (c *command) policyFlag(flags *flag.FlagSet) {
	flags.StringVar(&c.policyFile, "config", "", "`FILE` with the operator's policy in JSON (default: the standard fee, and all payments by hand)")
}

func (c *command) operatorFlags(flags *flag.FlagSet) {
	flags.StringVar(&c.as, "as", "", "`NAME` of the operator who does it; the token is read from the terminal or from "+operatorTokenVariable)
	flags.StringVar(&c.operatorsFile, "operators", "", "with --as: the `FILE` of operators, a line \"name token\" for each")
}

// readPolicy reads the policy of --config.
func (c *command) readPolicy() error {
	if c.policyFile == "" {
		return nil
	}
	text, err := readSmall(c.policyFile, maxPolicyBytes)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	policy, err := ParsePolicy(text)
	if err != nil {
		return fmt.Errorf("--config %s: %w", c.policyFile, err)
	}
	c.config.Policy = &policy
	return nil
}

// readSmall reads a file of at most limit bytes, and one byte more of a longer
// one, which parsers then refuse.
func readSmall(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	return text, errors.Join(err, file.Close())
}

// readOperators reads a file of operators, whose tokens nobody but its owner may
// read.
func readOperators(path string) ([]Operator, error) {
	about, err := os.Stat(path)
	if err == nil {
		err = keyfile.CheckPrivate(path, about.Mode())
	}
	if err != nil {
		return nil, fmt.Errorf("--operators: %w", err)
	}
	text, err := readSmall(path, maxOperatorsBytes)
	if err != nil {
		return nil, fmt.Errorf("--operators: %w", err)
	}
	operators, err := ParseOperators(text)
	if err != nil {
		return nil, fmt.Errorf("--operators %s: %w", path, err)
	}
	return operators, nil
}

// operatorTokenVariable is the environment variable that an operator's token is
// read from where there is no terminal. Arguments are for everybody to see.
const operatorTokenVariable = "PAYWORD_OPERATOR_TOKEN"

// proveOperator reads the token of the operator of --as and compares it.
func (c *command) proveOperator() error {
	if c.as == "" {
		if c.operatorsFile != "" {
			return errors.New("--operators goes with --as: say which operator you are")
		}
		return nil
	}
	if c.operatorsFile == "" {
		return errors.New("--operators is missing: name the file that the operators stand in")
	}
	operators, err := readOperators(c.operatorsFile)
	if err != nil {
		return err
	}
	token, err := readToken(c.as, c.stderr)
	if err != nil {
		return err
	}
	if c.by, err = ProveOperator(operators, c.as, token); err != nil {
		return fmt.Errorf("--as %.40q: %w", c.as, err)
	}
	return nil
}

func (c *command) plan(ctx context.Context, db *ledger.DB) error {
	if c.dryRun {
		return c.showDryRun(ctx, db)
	}
	s, err := Propose(ctx, db, c.config, c.by)
	if err != nil {
		return err
	}
	return c.printPlan(ctx, db, s)
}

func (c *command) showDryRun(ctx context.Context, db *ledger.DB) error {
	var lines []Line // at most MaxLines, as in the plan itself
	s, err := DryRun(ctx, db, c.config, func(line Line) error {
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		return err
	}
	source := func(do func(Line) error) error {
		for _, line := range lines {
			if err := do(line); err != nil {
				return err
			}
		}
		return nil
	}
	if c.json {
		return writeWithLines(c.stdout, planHead(s), source)
	}
	return writePlan(c.stdout, s, source)
}

func (c *command) printPlan(ctx context.Context, db *ledger.DB, s Settlement) error {
	if c.json {
		return WritePlanJSON(ctx, c.stdout, db, s)
	}
	return WritePlan(ctx, c.stdout, db, s)
}

func (c *command) approve(ctx context.Context, db *ledger.DB) error {
	s, err := Approve(ctx, db, c.config.PlanHash, c.by)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(planHead(s))
	}
	fmt.Fprintf(c.stdout, "%s stands behind run %s: %s\n", c.by.Name, s.RunID, stateForPeople(s))
	return nil
}

func (c *command) run(ctx context.Context, db *ledger.DB) error {
	var b *bar
	if !c.quiet {
		b = newBar(c.terminal)
	}
	c.config.Progress = b.report
	s, err := Run(ctx, db, c.config, c.by)
	b.clear()
	if err != nil {
		return err
	}
	names, err := FileNames(ctx, db, s.RunID)
	if err != nil {
		return err
	}
	if c.json {
		return WriteFile(ctx, db, s.RunID, names[1], c.stdout)
	}
	if err := WriteStatement(ctx, c.stdout, db, s.RunID); err != nil {
		return err
	}
	fmt.Fprint(c.stdout, "\nFiles\n")
	for _, name := range names {
		fmt.Fprintln(c.stdout, filepath.Join(c.config.Directory, name))
	}
	return nil
}

func (c *command) show(ctx context.Context, db *ledger.DB) error {
	if err := migrate(ctx, db); err != nil {
		return err
	}
	s, err := LoadRun(ctx, db, c.config.RunID)
	if err != nil {
		return err
	}
	if !c.json && (s.State == StateClosed || s.State == StateFinal) {
		return WriteStatement(ctx, c.stdout, db, s.RunID)
	}
	return c.printPlan(ctx, db, s)
}

// listed is how many runs "payword clearing list" shows: three months of days,
// with plans that were discarded among them.
const listed = 100

func (c *command) list(ctx context.Context, db *ledger.DB) error {
	if err := migrate(ctx, db); err != nil {
		return err
	}
	runs, err := Runs(ctx, db, time.Time{}, listed)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(struct {
			Runs []Settlement `json:"runs"`
		}{append([]Settlement{}, runs...)})
	}
	rows := [][]string{{"Run", "State", "Planned", "Payments", "Paid out", "Collected", "Fees", "Plan hash"}}
	for _, s := range runs {
		code := " " + s.Currency.Code()
		rows = append(rows, []string{s.RunID, s.State, formatTime(s.Planned), fmt.Sprint(s.Totals.Payments),
			s.Totals.Paid.Decimal() + code, s.Totals.Collected.Decimal() + code, s.Totals.Fees.Decimal() + code, s.PlanHash})
	}
	t := &table{sides: "lllrrrrl"}
	for _, row := range rows {
		t.measure(row)
	}
	for _, row := range rows {
		t.write(c.stdout, row)
	}
	return nil
}
