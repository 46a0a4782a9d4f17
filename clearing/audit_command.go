package clearing

import (
	"context"
	"crypto/ed25519"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/paywordhq/payword"
	auditor "github.com/paywordhq/payword/clearing/audit" // audit is the log of changes
	"github.com/paywordhq/payword/internal/commandline"
	"github.com/paywordhq/payword/internal/purse"
)

// maxKeysBytes bounds a key set: 64 keys take 9 KB.
const maxKeysBytes = 64 << 10

// auditMain is the command "payword clearing audit". It opens the database by
// code of its own, so that it does not rest on what it checks. The exit code is
// 0 where everything agrees and 1 where something does not.
func auditMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var call auditCall
	err := call.parse(args, stdout)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	code := exitUsage
	if err == nil {
		var report auditor.Report
		var b *bar
		if !call.quiet {
			b = newBar(stderr)
		}
		if b != nil {
			call.options.Progress = b.show
		}
		report, err = auditor.Run(ctx, call.options)
		b.clear()
		if err == nil {
			err = call.write(stdout, report)
		}
		code = auditCode(report, err)
	}
	if err != nil {
		fmt.Fprintf(stderr, "payword clearing audit: %s\n", explained(ctx, err))
	}
	return code
}

func auditCode(report auditor.Report, err error) int {
	switch {
	case errors.Is(err, auditor.ErrNoDatabase):
		return exitUsage
	case err != nil || !report.Clean():
		return exitFailure
	}
	return exitOK
}

// auditCall is one call of auditMain.
type auditCall struct {
	options     auditor.Options
	json, quiet bool
}

func (c *auditCall) parse(args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("payword clearing audit", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are printed once, by the caller
	keys := flags.String("keys", "", "the broker's published key set, a `FILE` of JSON with its old keys too; without it, those that the database names")
	dayKeys := flags.String("day-keys", "", "the key set that days are signed with, a `FILE` of JSON; without it, these signatures are not checked")
	cardKeys := flags.String("card-keys", "", "the keys of purse cards, a `FILE`; without it, the proofs of cards are not checked")
	flags.StringVar(&c.options.Database, "db", "", "the broker's `FILE`, or postgres://…, which must exist and is only read")
	flags.BoolVar(&c.json, "json", false, "print JSON instead of text; amounts are in micros")
	flags.BoolVar(&c.quiet, "quiet", false, "print nothing but JSON, errors, and what does not agree")
	err := commandline.Parse(flags, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(stdout, "Flags of payword clearing audit:")
		flags.SetOutput(stdout)
		flags.PrintDefaults()
	case err != nil:
	case c.options.Database == "":
		err = errors.New("--db is missing: name the broker's database, such as --db broker.db")
	default:
		err = c.readKeys(*keys, *dayKeys, *cardKeys)
	}
	return err
}

// readKeys reads the files of keys that are named.
func (c *auditCall) readKeys(keys, dayKeys, cardKeys string) (err error) {
	if keys != "" {
		c.options.Keys, err = readPublished("--keys", keys)
	}
	if err == nil && dayKeys != "" {
		c.options.DayKeys, err = readPublished("--day-keys", dayKeys)
	}
	if err != nil || cardKeys == "" {
		return err
	}
	text, err := readKeyFile("--card-keys", cardKeys)
	if err == nil {
		if c.options.CardKeys, err = purse.ParseKeys(string(text)); err != nil {
			err = fmt.Errorf("--card-keys %s: %w", cardKeys, err)
		}
	}
	return err
}

// readPublished reads a JSON Web Key Set.
func readPublished(flag, name string) (map[string]ed25519.PublicKey, error) {
	document, err := readKeyFile(flag, name)
	if err != nil {
		return nil, err
	}
	keys, err := payword.ParseJWKS(document)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, name, err)
	}
	return keys, nil
}

func readKeyFile(flag, name string) ([]byte, error) {
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: there is no file %s", flag, name)
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	document, err := io.ReadAll(io.LimitReader(file, maxKeysBytes+1))
	if err == nil && len(document) > maxKeysBytes {
		err = fmt.Errorf("more than %d bytes, which no file of keys has", maxKeysBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, name, err)
	}
	return document, nil
}

func (c *auditCall) write(stdout io.Writer, report auditor.Report) error {
	switch {
	case c.json:
		encoded, err := FormatJSON(report)
		if err == nil {
			_, err = stdout.Write(encoded)
		}
		return err
	case c.quiet:
		return report.WriteFindings(stdout)
	}
	return report.Write(stdout)
}
