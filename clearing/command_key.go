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
	"github.com/paywordhq/payword/internal/commandline"
	"github.com/paywordhq/payword/internal/keyfile"
)

const keyHelp = `payword clearing key makes the key that a run signs its day with.

  payword clearing key new --key FILE [--encrypt] [--passphrase-file FILE]
  payword clearing key public --key FILE [--passphrase-file FILE]

"new" writes a key that nobody but its owner may read, encrypted where a
passphrase is given. "public" prints the public half as a JSON Web Key Set: give it
to those who check statements, on another way than the statements themselves.
`

// keyCommand is one call of keyMain.
type keyCommand struct {
	stdout, stderr       io.Writer
	path, passphraseFile string
	encrypt              bool
}

// keyMain is "payword clearing key". It needs no database.
func keyMain(_ context.Context, args []string, stdout, stderr io.Writer) int {
	c := &keyCommand{stdout: stdout, stderr: stderr}
	if len(args) == 0 || args[0] != "new" && args[0] != "public" {
		if len(args) > 0 && (args[0] == "-h" || args[0] == "--help" || args[0] == "help") {
			fmt.Fprint(stdout, keyHelp)
			return exitOK
		}
		fmt.Fprint(stderr, "payword clearing key: want new or public, such as payword clearing key new --key clearing.key\n")
		return exitUsage
	}
	flags := flag.NewFlagSet("payword clearing key "+args[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard) // errors are printed once, below
	flags.StringVar(&c.path, "key", "", "`FILE` of the key")
	flags.StringVar(&c.passphraseFile, "passphrase-file", "", "`FILE` whose first line is its passphrase; without it a terminal is asked")
	work := c.showPublic
	if args[0] == "new" {
		flags.BoolVar(&c.encrypt, "encrypt", false, "encrypt it under a passphrase, which a terminal is asked for")
		work = c.make
	}
	err := commandline.Parse(flags, args[1:])
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(stdout, "%s\nFlags of payword clearing key %s:\n", keyHelp, args[0])
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return exitOK
	}
	if err == nil && c.path == "" {
		err = errors.New("--key is missing: name the file of the key, such as --key clearing.key")
	}
	if err != nil {
		fmt.Fprintf(stderr, "payword clearing key %s: %v\n", args[0], err)
		return exitUsage
	}
	if err := work(); err != nil {
		fmt.Fprintf(stderr, "payword clearing key %s: %v\n", args[0], err)
		if errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, keyfile.ErrNoTerminal) {
			return exitUsage
		}
		return exitFailure
	}
	return exitOK
}

func (c *keyCommand) make() (err error) {
	var passphrase []byte
	switch {
	case c.passphraseFile != "":
		passphrase, err = keyfile.ReadPassphrase(c.passphraseFile)
	case c.encrypt:
		passphrase, err = keyfile.PromptNew(os.Stdin, c.stderr)
	}
	if err != nil {
		return err
	}
	signer, err := keyfile.Create(c.path, passphrase, keyfile.WorkFactor)
	if err != nil {
		return err
	}
	key, _ := signer.Public().(ed25519.PublicKey) // Create makes no other
	protection := "It is in clear, for whoever can read the file."
	if passphrase != nil {
		protection = "It is encrypted; \"age --decrypt\" reads it, too."
	}
	_, err = fmt.Fprintf(c.stdout, "wrote %s\nkey id %s\n%s\n", c.path, payword.Thumbprint(key), protection)
	return err
}

func (c *keyCommand) showPublic() error {
	signer, err := loadSigner(c.path, c.passphraseFile, c.stderr)
	if err != nil {
		return err
	}
	key, _ := signer.Public().(ed25519.PublicKey) // Load reads no other
	set, err := payword.FormatJWKS(key)
	if err == nil {
		_, err = fmt.Fprintf(c.stdout, "%s\n", set)
	}
	return err
}
