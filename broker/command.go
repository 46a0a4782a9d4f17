package broker

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/internal/keyfile"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// The exit codes of Main.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

const help = `payword broker keeps users' accounts and pays vendors what they claim.

  payword broker key     --out FILE       make the key that the broker signs with
  payword broker key     --db FILE        list the keys, and when each may go
  payword broker serve   --db FILE --origin URL --key FILE   answer wallets and vendors
  payword broker fund    --db FILE --account ID --amount 10.00 --id PAYMENT
                                          put money that came in on an account
  payword broker account --db FILE        list the accounts, or change one
  payword broker revoke  --db FILE --account ID
                                          revoke the certificates of an account
  payword broker audit   --db FILE        list who changed what, and when
  payword broker vendor  --db FILE        list the vendors, block one or open it again
  payword broker payout  --db FILE        list the payouts that wait, or end one
  payword broker voucher --db FILE --id BATCH --count 100 --amount 10.00
                                          make vouchers and print their codes once
  payword broker gateway --db FILE        list the gateways, register or change one
  payword broker check   --db FILE        compare everything in the books

To begin, on a machine whose TLS proxy (such as Caddy) hands https://broker.example
on to port 8402:

  payword broker key --out broker.key
  payword broker serve --db broker.db --origin https://broker.example --key broker.key

All commands may run while the broker serves. Exit codes: 0 done, 1 failed, 2 wrong
usage. "payword broker serve -h" lists the flags.
`

// Main is the command "payword broker": args are the words after it, and stdin
// is read for passphrases, if it is a terminal. It returns the exit code: 0 done, 1 failed, 2 wrong usage. serve
// ends when ctx does.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, help)
		return exitUsage
	}
	c := &command{stdin: stdin, stdout: stdout, stderr: stderr, name: args[0]}
	switch args[0] {
	case "serve":
		return c.main(ctx, args[1:], c.serveFlags, c.serve)
	case "key":
		return c.main(ctx, args[1:], c.keyFlags, c.key)
	case "revoke":
		return c.main(ctx, args[1:], c.revokeFlags, c.revoke)
	case "fund":
		return c.main(ctx, args[1:], c.fundFlags, c.fund)
	case "account":
		return c.main(ctx, args[1:], c.accountFlags, c.account)
	case "audit":
		return c.main(ctx, args[1:], c.auditFlags, c.audited)
	case "vendor":
		return c.main(ctx, args[1:], c.vendorFlags, c.vendor)
	case "payout":
		return c.main(ctx, args[1:], c.payoutFlags, c.payout)
	case "voucher":
		return c.main(ctx, args[1:], c.voucherFlags, c.voucher)
	case "gateway":
		return c.main(ctx, args[1:], c.gatewayFlags, c.gateway)
	case "check":
		return c.main(ctx, args[1:], c.checkFlags, c.check)
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, help)
		return exitOK
	}
	fmt.Fprintf(stderr, "payword broker: there is no command %q: want serve, key, fund, account, payout, voucher, revoke, audit, vendor, gateway or check\n", args[0])
	return exitUsage
}

// command is one call of Main, with the values of its flags.
type command struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	name           string
	isSet          map[string]bool // the flags that were given

	database, accountID, amount, id, out, credit string
	age                                          int
	serving                                      servingFlags
	vendors                                      vendorFlags

	audit      adminpage.AuditFilter
	auditLimit int

	withdraw, subject, passphraseFile string
	encrypt                           bool
	keyFiles                          keyFiles
	accounts                          accountFlagValues
	gateways                          gatewayFlagValues
}

// usageError is a mistake of whoever called, in a sentence for them.
type usageError struct{ sentence string }

// Error returns the sentence.
func (e usageError) Error() string { return e.sentence }

func usage(format string, arguments ...any) error {
	return usageError{fmt.Sprintf(format, arguments...)}
}

// main parses the flags that define declares and does the work.
func (c *command) main(ctx context.Context, args []string, define func(*flag.FlagSet), work func(context.Context) error) int {
	ctx = withActor(ctx, "command")
	err := c.parse(args, define)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err == nil {
		err = work(ctx)
	}
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(c.stderr, "payword broker %s: %v\n", c.name, err)
	if mistake := (usageError{}); errors.As(err, &mistake) {
		return exitUsage
	}
	return exitFailure
}

// parse reads the flags. flag.ErrHelp means that the help was asked for and
// printed.
func (c *command) parse(args []string, define func(*flag.FlagSet)) error {
	flags := flag.NewFlagSet("payword broker "+c.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are printed once, by main
	define(flags)
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(c.stdout, "Flags of payword broker %s:\n", c.name)
		flags.SetOutput(c.stdout)
		flags.PrintDefaults()
		return err
	}
	if err != nil {
		return usage("%s", readable(err))
	}
	if flags.NArg() > 0 {
		return usage("%q is not a flag: everything is said with flags", flags.Arg(0))
	}
	c.isSet = make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { c.isSet[f.Name] = true })
	return nil
}

// readable says what would be right where package flag says "parse error" of a
// number or a time.
func readable(err error) string {
	text, isShort := strings.CutSuffix(err.Error(), "parse error")
	if isShort {
		text += "want a whole number, and for a time its unit, such as 168h, 30m or 10s"
	}
	return text
}

// require reports the first of the flags that was not given.
func (c *command) require(names ...string) error {
	for _, name := range names {
		if !c.isSet[name] {
			return usage("--%s is missing; \"payword broker %s -h\" lists the flags", name, c.name)
		}
	}
	return nil
}

func (c *command) databaseFlag(flags *flag.FlagSet) {
	flags.StringVar(&c.database, "db", "", "the broker's `DATABASE`: an SQLite file, or postgres://user@host/name with the password in a file (passfile=… or PGPASSFILE)")
}

// withStore opens an existing database for work.
func (c *command) withStore(ctx context.Context, mode ledger.Mode, work func(*store) error) error {
	if err := c.require("db"); err != nil {
		return err
	}
	s, err := openStore(ctx, c.database, mode, time.Now)
	if errors.Is(err, ledger.ErrNoLedger) {
		return usage("%s is no broker's database: name the one that \"payword broker serve\" was given", c.database)
	}
	if err != nil {
		return err
	}
	return errors.Join(work(s), s.Close())
}

func (c *command) fundFlags(flags *flag.FlagSet) {
	c.databaseFlag(flags)
	flags.StringVar(&c.accountID, "account", "", "the account's `ID`")
	flags.StringVar(&c.amount, "amount", "", "the `AMOUNT` in the broker's currency, such as 10.00")
	flags.StringVar(&c.id, "id", "", "names the `PAYMENT`, such as a bank's reference; the same one is booked once")
	flags.StringVar(&c.gateways.name, "gateway", "", "take it from what clearing has booked to the gateway of this `NAME`, as the gateway itself does; --id is then MID-TRANSACTION")
}

func (c *command) fund(ctx context.Context) error {
	if err := c.require("db", "account", "amount", "id"); err != nil {
		return err
	}
	amount, err := money.ParseDecimal(c.amount)
	if err != nil || amount < 1 {
		return usage("--amount %q: want a number above 0 such as 10.00, with at most six digits after the point", c.amount)
	}
	if !isFundingID(c.id) {
		return usage("--id %q: want 1 to 100 letters, digits and . _ : -", c.id)
	}
	return c.withStore(ctx, ledger.Existing, func(s *store) error {
		if c.gateways.name != "" {
			refusal, err := s.fundForGateway(ctx, c.gateways.name, funding{ID: c.id, Account: c.accountID, Amount: amount, Currency: s.currency})
			if err != nil || refusal.Refused() {
				return c.report(payword.Account{}, refusal, err)
			}
			account, refusal, err := s.account(ctx, c.accountID)
			return c.report(account, refusal, err)
		}
		account, refusal, err := s.fund(ctx, c.id, c.accountID, amount)
		return c.report(account, refusal, err)
	})
}

// report prints an account after a change, or why there was none.
func (c *command) report(account payword.Account, refusal payword.Refusal, err error) error {
	if err != nil {
		return err
	}
	if refusal.Refused() {
		return errors.New(refusal.Detail)
	}
	return c.printAccounts([]payword.Account{account})
}

func (c *command) printAccounts(accounts []payword.Account) error {
	table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ACCOUNT\tAVAILABLE\tRESERVED\tCREDIT\tOWED\tCURRENCY\tSTATE")
	for _, account := range accounts {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", account.Account, account.Available.Decimal(),
			account.Reserved.Decimal(), account.Credit.Decimal(), account.Owed.Decimal(), account.Currency.Code(), account.State)
	}
	return table.Flush()
}

func (c *command) accountFlags(flags *flag.FlagSet) {
	c.databaseFlag(flags)
	flags.StringVar(&c.accountID, "account", "", "the `ID` of one account; without it all are listed")
	flags.StringVar(&c.credit, "credit", "", "set the account's credit line to this `AMOUNT`, such as 20.00")
	c.stateFlags(flags)
	flags.IntVar(&c.age, "age", 0, "record that the owner has proved to be `YEARS` old; 0: nothing proved")
}

func (c *command) account(ctx context.Context) error {
	var credit money.Amount
	if c.isSet["credit"] {
		var err error
		if credit, err = money.ParseDecimal(c.credit); err != nil {
			return usage("--credit: %v", err)
		}
	}
	if c.age < 0 || c.age > 150 {
		return usage("--age %d: want 0 to 150 years", c.age)
	}
	changes, err := c.stateChanges()
	if err != nil {
		return err
	}
	isChange := c.isSet["credit"] || c.isSet["age"] || slices.ContainsFunc(changes, func(change stateChange) bool { return c.isSet[change.flag] })
	if isChange && !c.isSet["account"] {
		return usage("--account is missing: say which account is to change")
	}
	if !isChange {
		return c.withStore(ctx, ledger.ReadOnly, func(s *store) error { return c.listAccounts(ctx, s) })
	}
	return c.withStore(ctx, ledger.Existing, func(s *store) error { return c.changeAccount(ctx, s, changes, credit) })
}

func (c *command) changeAccount(ctx context.Context, s *store, changes []stateChange, credit money.Amount) error {
	for _, change := range changes {
		if !c.isSet[change.flag] {
			continue
		}
		if refusal, err := change.apply(ctx, s); err != nil || refusal.Refused() {
			return c.report(payword.Account{}, refusal, err)
		}
	}
	if c.isSet["age"] {
		if refusal, err := s.setAge(ctx, c.accountID, c.age); err != nil || refusal.Refused() {
			return c.report(payword.Account{}, refusal, err)
		}
	}
	if c.isSet["credit"] {
		return c.report(s.setCredit(ctx, c.accountID, credit))
	}
	return c.report(s.account(ctx, c.accountID))
}

// accountsPerPage is how many accounts are read at a time.
const accountsPerPage = 500

func (c *command) listAccounts(ctx context.Context, s *store) error {
	if c.isSet["account"] {
		return c.report(s.account(ctx, c.accountID))
	}
	var all []payword.Account
	for after := ""; ; {
		page, err := s.accounts(ctx, after, accountsPerPage)
		if err != nil {
			return err
		}
		all = append(all, page...)
		if len(page) < accountsPerPage {
			return c.printAccounts(all)
		}
		after = page[len(page)-1].Account
	}
}

func (c *command) checkFlags(flags *flag.FlagSet) { c.databaseFlag(flags) }

func (c *command) check(ctx context.Context) error {
	return c.withStore(ctx, ledger.ReadOnly, func(s *store) error {
		wrong, err := s.check(ctx)
		if err != nil {
			return err
		}
		for _, sentence := range wrong {
			fmt.Fprintln(c.stdout, sentence)
		}
		if len(wrong) > 0 {
			return errors.New(strconv.Itoa(len(wrong)) + " things in the books disagree")
		}
		_, err = fmt.Fprintln(c.stdout, "the books agree")
		return err
	})
}

// readTokens reads the administration tokens from a file.
func readTokens(path string) (adminToken string, operators []Operator, err error) {
	content, mode, err := keyfile.ReadSmall(path)
	if err == nil {
		err = keyfile.CheckPrivate(path, mode)
	}
	if err != nil {
		return "", nil, usage("--admin-token: %v", err)
	}
	if adminToken, operators, err = adminpage.ReadOperators(string(content)); err != nil {
		return "", nil, usage("--admin-token: %s: %v", path, err)
	}
	return adminToken, operators, nil
}
