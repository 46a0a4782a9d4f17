package broker

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/keyfile"
	"github.com/paywordhq/payword/internal/ledger"
)

func (c *command) keyFlags(flags *flag.FlagSet) {
	c.databaseFlag(flags)
	flags.StringVar(&c.out, "out", "", "make a key and write it to this `FILE`, which must not exist")
	flags.BoolVar(&c.encrypt, "encrypt", false, "with --out: encrypt it under a passphrase, which a terminal is asked for")
	flags.StringVar(&c.passphraseFile, "passphrase-file", "", "with --out: encrypt it under the first line of this `FILE`")
	flags.StringVar(&c.withdraw, "withdraw", "", "with --db: do not trust the key with this `ID` any more, because it was stolen")
}

// key makes a key, lists those of a database, or withdraws one.
func (c *command) key(ctx context.Context) error {
	switch {
	case c.isSet["out"] == c.isSet["db"]:
		return usage("want --out FILE to make a key, or --db DATABASE to list those that are published")
	case c.isSet["out"] && c.isSet["withdraw"], c.isSet["db"] && (c.encrypt || c.isSet["passphrase-file"]):
		return usage("--withdraw goes with --db, --encrypt and --passphrase-file with --out")
	case c.isSet["out"]:
		return c.makeKey()
	case c.isSet["withdraw"]:
		return c.withStore(ctx, ledger.Existing, func(s *store) error { return c.withdrawKey(ctx, s) })
	}
	return c.withStore(ctx, ledger.ReadOnly, func(s *store) error { return c.listKeys(ctx, s) })
}

func (c *command) makeKey() error {
	passphrase, err := c.newPassphrase()
	if err != nil {
		return err
	}
	signer, err := keyfile.Create(c.out, passphrase, keyfile.WorkFactor)
	if errors.Is(err, fs.ErrExist) {
		return usage("%s exists already, and a key is never overwritten: choose another name", c.out)
	}
	if err != nil {
		return err
	}
	key, _ := signer.Public().(ed25519.PublicKey) // Create makes no other
	protection := "It is in clear, for whoever can read the file."
	if passphrase != nil {
		protection = "It is encrypted; \"age --decrypt\" reads it, too."
	}
	_, err = fmt.Fprintf(c.stdout, "wrote %s\nkey id %s\n%s\nKeep a copy offline: what it signed is worth money.\n", c.out, payword.Thumbprint(key), protection)
	return err
}

// newPassphrase returns the passphrase for a new key, or nil if it is to be in
// clear.
func (c *command) newPassphrase() ([]byte, error) {
	if c.passphraseFile != "" {
		return c.readPassphrase()
	}
	if !c.encrypt {
		return nil, nil
	}
	passphrase, err := keyfile.PromptNew(c.stdin, c.stderr)
	return passphrase, asUsage(err)
}

func (c *command) readPassphrase() ([]byte, error) {
	passphrase, err := keyfile.ReadPassphrase(c.passphraseFile)
	if err != nil {
		return nil, usage("--passphrase-file: %v", err)
	}
	return passphrase, nil
}

// asUsage makes wrong usage of it that there is no terminal to ask at.
func asUsage(err error) error {
	if errors.Is(err, keyfile.ErrNoTerminal) {
		return usage("%v", err)
	}
	return err
}

// loadKeys reads the key files into a config, asking for the passphrase if they
// need one.
func (c *command) loadKeys(config *Config) (err error) {
	c.keyFiles = keyFiles{path: c.serving.keyFile, others: c.serving.otherKeys}
	if c.passphraseFile != "" {
		if c.keyFiles.passphrase, err = c.readPassphrase(); err != nil {
			return err
		}
	}
	keys, err := c.keyFiles.load()
	if errors.Is(err, ErrSealedKey) {
		if c.keyFiles.passphrase, err = keyfile.Prompt(c.stdin, c.stderr, "Passphrase of the keys: "); err != nil {
			return asUsage(err)
		}
		keys, err = c.keyFiles.load()
	}
	if err != nil {
		return usage("--key and --other-key: %v", err)
	}
	config.Signer, config.NextSigners, config.Published = keys.signers[0], keys.signers[1:], keys.published
	return nil
}

// listKeys prints the keys, the first one first.
func (c *command) listKeys(ctx context.Context, s *store) error {
	known, err := s.brokerKeys(ctx)
	if err != nil {
		return err
	}
	keys := slices.SortedFunc(maps.Values(known), func(a, b brokerKey) int {
		return cmp.Or(cmp.Compare(a.created, b.created), cmp.Compare(a.id, b.id))
	})
	table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KEY\tPUBLISHED SINCE\tSTATE")
	now := time.Now().Unix()
	for _, key := range keys {
		fmt.Fprintf(table, "%s\t%s\t%s\n", key.id, time.UnixMicro(key.created).UTC().Format(time.DateTime), key.state(now))
	}
	return table.Flush()
}

// state says in words what becomes of a key.
func (k brokerKey) state(now int64) string {
	switch {
	case k.withdrawn:
		return "withdrawn: not trusted any more"
	case k.signedUntil == 0:
		return "signed nothing yet"
	case k.isNeeded(now):
		return "needed until " + time.Unix(k.signedUntil, 0).UTC().Format(time.DateTime)
	}
	return "all that it signed has expired: its file may go"
}

func (c *command) withdrawKey(ctx context.Context, s *store) error {
	found, err := s.withdrawKey(ctx, c.withdraw)
	if err == nil && !found {
		return usage("--withdraw: there is no key %.64q; \"payword broker key --db …\" lists them", c.withdraw)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.stdout, "%s is withdrawn: brokers that run stop to sign with it and to publish it within %d seconds\n", c.withdraw, keyReadInterval)
	return err
}

func (c *command) revokeFlags(flags *flag.FlagSet) {
	c.databaseFlag(flags)
	flags.StringVar(&c.accountID, "account", "", "the account's `ID`")
	flags.StringVar(&c.subject, "subject", "", "one `PSEUDONYM` of the account; without it all are revoked")
}

func (c *command) revoke(ctx context.Context) error {
	if err := c.require("db", "account"); err != nil {
		return err
	}
	return c.withStore(ctx, ledger.Existing, func(s *store) error {
		count, refusal, err := s.revokeAccount(ctx, c.accountID, c.subject)
		if err != nil {
			return err
		}
		if refusal.Refused() {
			return errors.New(refusal.Detail)
		}
		_, err = fmt.Fprintf(c.stdout, "%d pseudonyms were revoked; gates know within about two minutes\n", count)
		return err
	})
}
