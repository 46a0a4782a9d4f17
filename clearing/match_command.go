package clearing

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/internal/ledger"
)

// matchCommands are about what comes back from the bank.
var matchCommands = []subcommand{
	{name: "import", arguments: "--db FILE --file ANSWER", summary: "read the bank's answers, once: pain.002, camt.053 and camt.054", mode: ledger.Existing,
		flags: (*command).importFlags, check: (*command).checkImport, work: (*command).importFiles},
	{name: "booked", arguments: "--db FILE --run ID", summary: "say by hand that the bank has moved the money", mode: ledger.Existing,
		flags: (*command).manualFlags, check: manualCheck(bankfile.Booked), work: (*command).sayByHand},
	{name: "rejected", arguments: "--db FILE --run ID", summary: "say by hand that the bank will not move the money", mode: ledger.Existing,
		flags: (*command).manualFlags, check: manualCheck(bankfile.Rejected), work: (*command).sayByHand},
	{name: "returned", arguments: "--db FILE --instruction ID --code CODE", summary: "say by hand that money came back", mode: ledger.Existing,
		flags: (*command).manualFlags, check: manualCheck(bankfile.Returned), work: (*command).sayByHand},
	{name: "reconcile", arguments: "--db FILE", summary: "show what is open between the books and the bank", mode: ledger.Existing, work: (*command).reconcile},
	{name: "resolve", arguments: "--db FILE --entry N --note TEXT", summary: "say what became of an entry that belongs to nothing", mode: ledger.Existing,
		flags: (*command).resolveFlags, check: (*command).checkResolve, work: (*command).resolve},
	{name: "mandate-add", arguments: "--db FILE --mandate ID --account ID --name NAME --iban IBAN --signed DAY",
		summary: "keep a mandate for direct debits", mode: ledger.Existing,
		flags: (*command).mandateFlags, check: (*command).checkMandateAdd, work: (*command).mandateAdd},
	{name: "mandate-withdraw", arguments: "--db FILE --mandate ID", summary: "collect nothing more with a mandate", mode: ledger.Existing,
		flags: (*command).withdrawFlags, check: (*command).checkWithdraw, work: (*command).mandateWithdraw},
	{name: "mandates", arguments: "--db FILE", summary: "list the mandates", mode: ledger.Existing, work: (*command).mandates},
}

// matchFlags are the flags of matchCommands.
type matchFlags struct {
	files   []string
	answer  ManualAnswer
	entry   int64
	note    string
	mandate Mandate
}

// mayChange refuses what an operator who may only look would change.
func (c *command) mayChange() error {
	if err := c.proveOperator(); err != nil {
		return err
	}
	if c.by.ReadOnly {
		return fmt.Errorf("operator %s may look and not change anything", c.by.Name)
	}
	return nil
}

func (c *command) importFlags(flags *flag.FlagSet) {
	c.operatorFlags(flags)
	flags.Func("file", "`FILE` of the bank (repeatable; they are read in this order)", func(path string) error {
		c.match.files = append(c.match.files, path)
		return nil
	})
}

func (c *command) checkImport() error {
	if len(c.match.files) == 0 {
		return errors.New("--file is missing: name what the bank sent, such as --file camt.053.xml")
	}
	return c.mayChange()
}

func (c *command) importFiles(ctx context.Context, db *ledger.DB) error {
	reports := []ImportReport{}
	var failed error
	for _, path := range c.match.files {
		content, err := readSmall(path, bankfile.MaxFileBytes)
		if err == nil {
			var report ImportReport
			if report, err = Import(ctx, db, content); err == nil {
				reports = append(reports, report)
				if !c.json {
					fmt.Fprint(c.stdout, path+": "+FormatImport(report))
				}
			}
		}
		if err != nil {
			failed = fmt.Errorf("%s: %w", path, err)
			break
		}
	}
	if c.json && len(reports) > 0 {
		failed = errors.Join(failed, c.printJSON(struct {
			Files []ImportReport `json:"files"`
		}{reports}))
	}
	return failed
}

// FormatImport says what came of a file, for people.
func FormatImport(r ImportReport) string {
	var text strings.Builder
	switch {
	case r.Kind == kindManual && r.Known && r.Document == "":
		text.WriteString("nothing is open: nothing is changed\n")
	case r.Known:
		fmt.Fprintf(&text, "%s %s was read before: nothing is changed\n", r.Kind, r.MessageID)
	default:
		fmt.Fprintf(&text, "%s %s: %d entries, %d matched, %d repeated, %d unmatched\n", r.Kind, r.MessageID, r.Entries, r.Matched, r.Repeated, r.Unmatched)
	}
	for _, e := range r.Open {
		fmt.Fprintf(&text, "  unmatched %s\n", e.forPeople())
	}
	if rest := r.Unmatched - len(r.Open); rest > 0 {
		fmt.Fprintf(&text, "  and %d more: payword clearing reconcile lists what is open\n", rest)
	}
	if r.Released > 0 {
		fmt.Fprintf(&text, "  %d reserves for refunds are released, %s\n", r.Released, r.ReleasedAmount.Decimal())
	}
	return text.String()
}

// forPeople is an entry in one line.
func (e BankEntry) forPeople() string {
	parts := []string{fmt.Sprintf("entry %d:", e.Seq)}
	for _, part := range []string{e.Day, string(e.Says), e.Direction} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if e.Amount != 0 {
		parts = append(parts, e.Amount.Decimal(), e.Currency.Code())
	}
	if e.EndToEnd != "" {
		parts = append(parts, e.EndToEnd)
	}
	return strings.Join(append(parts, "--", e.Note), " ")
}

func (c *command) manualFlags(flags *flag.FlagSet) {
	c.operatorFlags(flags)
	a := &c.match.answer
	flags.StringVar(&a.RunID, "run", "", "`ID` of the run; without --instruction it is about all of it that the bank has not answered")
	flags.StringVar(&a.Method, "method", "", "of the run only what went by this `METHOD`: credit-transfer, direct-debit, ach or list")
	flags.StringVar(&a.EndToEnd, "instruction", "", "end-to-end `ID` of one payment")
	flags.StringVar(&a.Code, "code", "", "the bank's reason, a `CODE` such as AC04")
	flags.StringVar(&a.Note, "note", "", "how you know, a `TEXT` of one line")
}

func manualCheck(says bankfile.Says) func(*command) error {
	return func(c *command) error {
		c.match.answer.Says = says
		if err := c.match.answer.check(); err != nil {
			return err
		}
		return c.mayChange()
	}
}

func (c *command) sayByHand(ctx context.Context, db *ledger.DB) error {
	report, err := SayByHand(ctx, db, c.match.answer)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(report)
	}
	fmt.Fprint(c.stdout, FormatImport(report))
	return nil
}

func (c *command) reconcile(ctx context.Context, db *ledger.DB) error {
	found, err := Reconcile(ctx, db)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(found)
	}
	fmt.Fprint(c.stdout, FormatReconciliation(found))
	return nil
}

func (c *command) resolveFlags(flags *flag.FlagSet) {
	c.operatorFlags(flags)
	flags.Int64Var(&c.match.entry, "entry", 0, "`NUMBER` of the entry, which \"payword clearing reconcile\" lists")
	flags.StringVar(&c.match.note, "note", "", "what became of it, a `TEXT` of one line")
}

func (c *command) checkResolve() error {
	switch {
	case c.match.entry < 1:
		return errors.New("--entry is missing: give the number that \"payword clearing reconcile\" lists")
	case c.match.note == "":
		return errors.New("--note is missing: say what became of the entry")
	}
	return c.mayChange()
}

func (c *command) resolve(ctx context.Context, db *ledger.DB) error {
	e, err := Resolve(ctx, db, c.match.entry, c.match.note)
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(e)
	}
	fmt.Fprintln(c.stdout, e.forPeople())
	return nil
}

func (c *command) withdrawFlags(flags *flag.FlagSet) {
	c.operatorFlags(flags)
	flags.StringVar(&c.match.mandate.ID, "mandate", "", "the mandate's `ID`, up to 35 letters, digits and + ? / : ( ) . , ' -")
}

func (c *command) mandateFlags(flags *flag.FlagSet) {
	c.withdrawFlags(flags)
	m := &c.match.mandate
	flags.StringVar(&m.Account, "account", "", "`ID` of the broker's account that owes")
	flags.StringVar(&m.Name, "name", "", "the debtor's `NAME`, as its bank knows it")
	flags.StringVar(&m.IBAN, "iban", "", "the debtor's `IBAN`")
	flags.StringVar(&m.BIC, "bic", "", "the `BIC` of its bank, if it is known")
	flags.StringVar(&m.Signed, "signed", "", "the `DAY` of the signature, such as 2026-11-22")
	flags.StringVar(&m.Scheme, "scheme", "core", "`core`, or b2b between businesses")
}

func (c *command) checkWithdraw() error {
	if c.match.mandate.ID == "" {
		return errors.New("--mandate is missing: give the mandate's id, which \"payword clearing mandates\" lists")
	}
	return c.mayChange()
}

func (c *command) checkMandateAdd() error {
	c.match.mandate.IBAN = strings.ToUpper(strings.ReplaceAll(c.match.mandate.IBAN, " ", ""))
	if err := c.match.mandate.check(); err != nil {
		return err
	}
	return c.mayChange()
}

func (c *command) mandateAdd(ctx context.Context, db *ledger.DB) error {
	return c.mandateDone(AddMandate(ctx, db, c.match.mandate), "active")
}

func (c *command) mandateWithdraw(ctx context.Context, db *ledger.DB) error {
	return c.mandateDone(WithdrawMandate(ctx, db, c.match.mandate.ID), "withdrawn")
}

// mandateDone says what state a mandate is in, if there is no error.
func (c *command) mandateDone(err error, state string) error {
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(struct {
			ID    string `json:"id"`
			State string `json:"state"`
		}{c.match.mandate.ID, state})
	}
	fmt.Fprintf(c.stdout, "mandate %s is %s\n", c.match.mandate.ID, state)
	return nil
}

func (c *command) mandates(ctx context.Context, db *ledger.DB) error {
	all := []Mandate{}
	for after := ""; ; {
		page, err := Mandates(ctx, db, after, ledger.MaxPage)
		if err != nil {
			return err
		}
		all = append(all, page...)
		if len(page) < ledger.MaxPage {
			break
		}
		after = page[len(page)-1].ID
	}
	if c.json {
		return c.printJSON(struct {
			Mandates []Mandate `json:"mandates"`
		}{all})
	}
	for _, m := range all {
		fmt.Fprintf(c.stdout, "%s  %s  %s  account %s  %s  signed %s  %d collections\n", m.ID, m.State, m.Scheme, m.Account, m.IBAN, m.Signed, m.Used)
	}
	return nil
}
