package clearing

import (
	"bufio"
	"context"
	"crypto"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/paywordhq/payword/clearing/statement"
	"github.com/paywordhq/payword/internal/keyfile"
	"github.com/paywordhq/payword/internal/ledger"
)

// wantedStatement says which statements a command is to write, and where.
type wantedStatement struct{ vendor, user, out string }

func (c *command) signingFlags(flags *flag.FlagSet) {
	flags.StringVar(&c.keyFile, "key", "", "`FILE` of the key to sign the day with, which \"payword clearing key new\" makes")
	flags.StringVar(&c.passphraseFile, "passphrase-file", "", "`FILE` whose first line is the key's passphrase; without it a terminal is asked")
}

// readSigner reads the key of --key.
func (c *command) readSigner() (err error) {
	switch {
	case c.keyFile != "":
		if c.config.Signer, err = loadSigner(c.keyFile, c.passphraseFile, c.stderr); err != nil {
			return fmt.Errorf("--key: %w", err)
		}
	case c.passphraseFile != "":
		return errors.New("--passphrase-file goes with --key: name the key, too")
	}
	return nil
}

// loadSigner reads a key file, and asks for its passphrase where it has one and no
// file says it.
func loadSigner(path, passphraseFile string, stderr io.Writer) (signer crypto.Signer, err error) {
	var passphrase []byte
	if passphraseFile != "" {
		if passphrase, err = keyfile.ReadPassphrase(passphraseFile); err != nil {
			return nil, err
		}
	}
	signer, err = keyfile.Load(path, passphrase)
	if errors.Is(err, keyfile.ErrSealed) {
		if passphrase, err = keyfile.Prompt(os.Stdin, stderr, "Passphrase of the key: "); err != nil {
			return nil, err
		}
		signer, err = keyfile.Load(path, passphrase)
	}
	return signer, err
}

func (c *command) statementFlags(flags *flag.FlagSet) {
	c.showFlags(flags)
	flags.StringVar(&c.wanted.vendor, "vendor", "", "the vendor's `ORIGIN`")
	flags.StringVar(&c.wanted.user, "user", "", "the `ACCOUNT` of a user")
	flags.StringVar(&c.wanted.out, "out", "", "`FILE` to write it to, which must not exist (default: standard output)")
}

func (c *command) checkStatement() error {
	if (c.wanted.vendor == "") == (c.wanted.user == "") {
		return errors.New("want one party: --vendor ORIGIN or --user ACCOUNT")
	}
	return nil
}

func (c *command) statementsFlags(flags *flag.FlagSet) {
	c.showFlags(flags)
	flags.StringVar(&c.wanted.out, "out", "", "the `DIR` to write the files to, which must exist")
}

func (c *command) checkStatements() error {
	if c.wanted.out == "" {
		return errors.New("--out is missing: name the folder for the files, such as --out statements")
	}
	return nil
}

// openStatements opens those of --run, or of the newest run.
func (c *command) openStatements(ctx context.Context, db *ledger.DB) (*Statements, error) {
	if err := migrate(ctx, db); err != nil {
		return nil, err
	}
	s, err := LoadRun(ctx, db, c.config.RunID)
	if err != nil {
		return nil, err
	}
	return OpenStatements(ctx, db, s.RunID)
}

func (c *command) statement(ctx context.Context, db *ledger.DB) error {
	s, err := c.openStatements(ctx, db)
	if err != nil {
		return err
	}
	kind, name := statement.Vendor, c.wanted.vendor
	if name == "" {
		kind, name = statement.User, c.wanted.user
	}
	if c.wanted.out == "" {
		buffered := bufio.NewWriterSize(c.stdout, 64<<10)
		return errors.Join(s.Write(ctx, buffered, kind, name), buffered.Flush())
	}
	if _, err := os.Stat(c.wanted.out); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s exists already: choose another name (%w)", c.wanted.out, errors.Join(fs.ErrExist, err))
	}
	if err := writeStatementFile(ctx, s, c.wanted.out, kind, name); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.stdout, "wrote", c.wanted.out)
	return err
}

// writeStatementFile writes a file, whole or not at all.
func writeStatementFile(ctx context.Context, s *Statements, path string, kind statement.Kind, name string) error {
	beside := path + besideSuffix
	err := writeDurably(beside, func(w io.Writer) error { return s.Write(ctx, w, kind, name) })
	if err == nil {
		err = os.Rename(beside, path)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(beside))
	}
	return err
}

// writtenStatements is what "payword clearing statements" prints as JSON.
type writtenStatements struct {
	RunID string   `json:"runId"`
	Files []string `json:"files"`
}

// statements writes those of all vendors into files of their own. A file that is
// there is made again: it comes out the same.
func (c *command) statements(ctx context.Context, db *ledger.DB) error {
	if err := checkDirectory(c.wanted.out); err != nil {
		return err
	}
	s, err := c.openStatements(ctx, db)
	if err != nil {
		return err
	}
	written := writtenStatements{RunID: s.publication.run.id, Files: []string{}}
	for after := ""; ; {
		names, err := s.Parties(ctx, statement.Vendor, after, evidencePage)
		if err != nil {
			return err
		}
		for _, name := range names {
			path := filepath.Join(c.wanted.out, s.FileName(statement.Vendor, name))
			if err := writeStatementFile(ctx, s, path, statement.Vendor, name); err != nil {
				return err
			}
			written.Files, after = append(written.Files, path), name
		}
		if len(names) < evidencePage {
			break
		}
	}
	if c.json {
		return c.printJSON(written)
	}
	_, err = fmt.Fprintf(c.stdout, "wrote %d statements of run %s to %s\n", len(written.Files), written.RunID, c.wanted.out)
	return err
}

// days prints the days that were signed, the oldest first, for those who compare
// them with what they were shown.
func (c *command) days(ctx context.Context, db *ledger.DB) error {
	if err := migrate(ctx, db); err != nil {
		return err
	}
	all := []Day{}
	for after := int64(0); ; {
		days, err := Days(ctx, db, after, evidencePage)
		if err != nil {
			return err
		}
		for _, day := range days {
			after = day.Number
			if c.json {
				all = append(all, day)
			} else if _, err := fmt.Fprintln(c.stdout, day.Token); err != nil {
				return err
			}
		}
		if len(days) < evidencePage {
			break
		}
	}
	if c.json {
		return c.printJSON(struct {
			Days []Day `json:"days"`
		}{all})
	}
	return nil
}
