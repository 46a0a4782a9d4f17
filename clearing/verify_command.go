package clearing

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/clearing/statement"
)

const (
	// maxKeySetBytes bounds a file of keys: 64 keys of 200 bytes, and room for what
	// else a discovery document says.
	maxKeySetBytes = 64 << 10

	// maxDaysBytes bounds a file of days: a thousand bytes each, for some decades.
	maxDaysBytes = 32 << 20

	// progressEntries is how many entries are checked between two signs of life.
	progressEntries = 1000
)

const verifyHelp = `payword verify-statement checks a statement of a broker, without asking it.

  payword verify-statement FILE --keys JWKS [--day-keys JWKS]

FILE is what the broker's clearing gave out, "-" for the standard input. JWKS are
files with public keys, got from whom you trust for them:

  --keys         of the broker: https://<broker>/.well-known/jwks.json
  --day-keys     of its clearing, which signs the days
  --vendor-keys  of the vendor: https://<vendor>/.well-known/payword
  --days         the days that were published, a token each line: the statement's
                 is to be among them, and each is to name the one before it
  --issuer       the broker whose keys they are, such as https://broker.example
  --json         print one document of JSON

Every signature is checked, every chain is hashed from its tail to its root, and
all sums are made again. Exit codes: 0 all of it agrees, 1 something disagrees and
is said in words, 2 wrong usage, or a file that cannot be read.
`

// verification is one call of VerifyMain.
type verification struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	file, days     string
	json           bool
	options        statement.Options
}

// VerifyMain is the command "payword verify-statement": args are the words after
// it. It returns the exit code: 0 all of it agrees, 1 something disagrees, 2 wrong
// usage or a file that cannot be read.
func VerifyMain(_ context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	v := &verification{stdin: stdin, stdout: stdout, stderr: stderr}
	err := v.parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, verifyHelp)
		return exitOK
	}
	if err != nil {
		return v.fail(args, err)
	}
	report, err := v.verify()
	disagreement := (*statement.Disagreement)(nil)
	if err != nil && !errors.As(err, &disagreement) {
		return v.fail(args, fmt.Errorf("could not tell: %w", err))
	}
	if err := v.print(report, disagreement); err != nil {
		fmt.Fprintf(stderr, "payword verify-statement: %v\n", err)
		return exitUsage
	}
	if disagreement != nil {
		return exitFailure
	}
	return exitOK
}

// fail says why nothing was found out, with --json as one document as well.
func (v *verification) fail(args []string, why error) int {
	fmt.Fprintf(v.stderr, "payword verify-statement: %v\n", why)
	if !wantsJSON(args) {
		return exitUsage
	}
	encoded, err := FormatJSON(failure{Error: why.Error(), ExitCode: exitUsage})
	if err == nil {
		_, err = v.stdout.Write(encoded)
	}
	if err != nil {
		fmt.Fprintf(v.stderr, "payword verify-statement: %v\n", err)
	}
	return exitUsage
}

// parse reads the flags, which may stand before or after the file, and the keys.
func (v *verification) parse(args []string) error {
	flags := flag.NewFlagSet("payword verify-statement", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are printed once, by VerifyMain
	var keys, dayKeys, vendorKeys string
	flags.StringVar(&keys, "keys", "", "")
	flags.StringVar(&dayKeys, "day-keys", "", "")
	flags.StringVar(&vendorKeys, "vendor-keys", "", "")
	flags.StringVar(&v.days, "days", "", "")
	flags.StringVar(&v.options.Issuer, "issuer", "", "")
	flags.BoolVar(&v.json, "json", false, "")
	var files []string
	for rest := args; ; {
		if err := flags.Parse(rest); err != nil {
			return err
		}
		if flags.NArg() == 0 {
			break
		}
		files, rest = append(files, flags.Arg(0)), flags.Args()[1:]
	}
	switch {
	case len(files) != 1:
		return errors.New("want one statement, such as payword verify-statement statement.jsonl --keys jwks.json")
	case keys == "":
		return errors.New("--keys is missing: give the broker's keys, which its /.well-known/jwks.json lists")
	case v.days != "" && dayKeys == "":
		return errors.New("--days goes with --day-keys: give the keys that the days are signed with")
	}
	v.file = files[0]
	for _, of := range []struct {
		flag, path string
		keys       *map[string]ed25519.PublicKey
	}{{"keys", keys, &v.options.Keys}, {"day-keys", dayKeys, &v.options.DayKeys}, {"vendor-keys", vendorKeys, &v.options.VendorKeys}} {
		if of.path == "" {
			continue
		}
		var err error
		if *of.keys, err = readKeySet(of.path); err != nil {
			return fmt.Errorf("--%s: %w", of.flag, err)
		}
	}
	return nil
}

// readKeySet reads the Ed25519 keys of a JWKS, or of a vendor's discovery document,
// which lists them in the same way without names.
func readKeySet(path string) (map[string]ed25519.PublicKey, error) {
	text, err := readUpTo(path, maxKeySetBytes)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []payword.PublicKey `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("%s holds no JSON Web Key Set", path)
	}
	keys := map[string]ed25519.PublicKey{}
	for _, member := range set.Keys {
		if member.Type != "OKP" || member.Curve != "Ed25519" {
			continue // as RFC 7517 asks
		}
		key, err := member.Key()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		keys[payword.Thumbprint(key)] = key
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s lists no Ed25519 key", path)
	}
	return keys, nil
}

// readUpTo reads a file of at most limit bytes.
func readUpTo(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err = errors.Join(err, file.Close()); err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return text, err
}

// verify checks the statement, and the days that are given.
func (v *verification) verify() (statement.Report, error) {
	reader := v.stdin
	if v.file != "-" {
		file, err := os.Open(v.file)
		if err != nil {
			return statement.Report{}, err
		}
		defer file.Close()
		reader = file
	}
	if terminal, isFile := v.stderr.(*os.File); isFile && !v.json && term.IsTerminal(int(terminal.Fd())) {
		v.options.Progress = func(done, all int64) {
			if done == all {
				fmt.Fprint(v.stderr, "\r\x1b[K")
			} else if done%progressEntries == 0 {
				fmt.Fprintf(v.stderr, "\r%d of %d commitments", done, all)
			}
		}
	}
	report, err := statement.Verify(reader, v.options)
	if err != nil || v.days == "" {
		return report, err
	}
	return report, v.checkDays(report)
}

// checkDays checks the chain of days, and that the statement's is one of them.
func (v *verification) checkDays(report statement.Report) error {
	text, err := readUpTo(v.days, maxDaysBytes)
	if err != nil {
		return err
	}
	tokens := strings.Fields(string(text))
	if _, err := statement.CheckDays(tokens, v.options.DayKeys); err != nil {
		return &statement.Disagreement{Word: statement.BadDay, Detail: fmt.Sprintf("%s: %v", v.days, err)}
	}
	if !slices.Contains(tokens, report.DayToken) {
		return &statement.Disagreement{Word: statement.BadDay, Detail: fmt.Sprintf("the statement's day %d is not the one of %s", report.Day.Number, v.days)}
	}
	return nil
}

// verdict is what --json prints.
type verdict struct {
	Agrees       bool                    `json:"agrees"`
	Disagreement *statement.Disagreement `json:"disagreement,omitempty"`
	Report       statement.Report        `json:"report"`
}

func (v *verification) print(report statement.Report, disagreement *statement.Disagreement) error {
	if v.json {
		encoded, err := FormatJSON(verdict{Agrees: disagreement == nil, Disagreement: disagreement, Report: report})
		if err == nil {
			_, err = v.stdout.Write(encoded)
		}
		return err
	}
	var text strings.Builder
	writeReport(&text, report, v.options)
	switch {
	case disagreement != nil:
		fmt.Fprintf(&text, "\nDISAGREES in %v.\nNothing after it was checked.\n", disagreement)
	case v.options.DayKeys == nil: // nobody signs the sums of the settlement but by the day
		fmt.Fprint(&text, "\nWhat users, vendor and broker signed agrees. The settlement's sums are as the file says them.\n")
	default:
		fmt.Fprint(&text, "\nAll of it agrees.\n")
	}
	_, err := io.WriteString(v.stdout, text.String())
	return err
}

// writeReport says for people what was found, line by line.
func writeReport(text *strings.Builder, r statement.Report, o statement.Options) {
	if r.Format == "" {
		return // it has no header
	}
	code := r.Currency.Code()
	fmt.Fprintf(text, "Statement of %s %s\n", r.Kind, r.Party)
	fmt.Fprintf(text, "By           %s, run %s, period to %s\n", r.Issuer, r.Run, r.PeriodEnd)
	fmt.Fprintf(text, "Commitments  %d\n", r.Commitments)
	fmt.Fprintf(text, "Paid         %s %s in this period, %s %s on these commitments ever\n", r.Paid.Decimal(), code, r.Cumulative.Decimal(), code)
	fmt.Fprintf(text, "Chains       %d steps hashed from the tails to the roots\n", r.Hashes)
	if s := r.Settlement; s != nil {
		fmt.Fprintf(text, "Settlement   %s %s payable, less a fee of %s by rule %s: %s paid out, %s carried\n",
			s.Gross.Decimal(), code, s.Fee.Decimal(), s.FeeRule, s.Payout.Decimal(), s.Carried.Decimal())
	}
	if r.UncheckedClaims > 0 {
		fmt.Fprintf(text, "Claims       %d could not be checked: their keys were withdrawn\n", r.UncheckedClaims)
	}
	if o.VendorKeys == nil && r.Kind == statement.Vendor {
		for _, kid := range r.ClaimKeys[r.Party] {
			fmt.Fprintf(text, "Claims       signed by key %s: see that it is yours\n", kid)
		}
	}
	switch {
	case r.Day == nil:
		fmt.Fprint(text, "Day          in no signed day\n")
	case r.DayKey == "":
		fmt.Fprintf(text, "Day          %d of this broker, with %d statements; its signature was not checked: give --day-keys\n", r.Day.Number, r.Day.Leaves)
	default:
		fmt.Fprintf(text, "Day          %d of this broker, with %d statements, root %s, signed by key %s\n", r.Day.Number, r.Day.Leaves, r.Day.Root, r.DayKey)
	}
}
