package samgateway

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"flag"
	"fmt"
	"io/fs"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/keyfile"
)

// keyResult is what the command key prints.
type keyResult struct {
	File  string            `json:"file"`
	KeyID string            `json:"keyId"`
	Key   payword.PublicKey `json:"key"`
}

// defineKey is the command key, which makes the gateway's key or shows its public
// half: that is what the broker's operator registers the gateway with.
func defineKey(c *command, flags *flag.FlagSet) func(context.Context) error {
	var out, path, passphraseFile string
	var isEncrypted bool
	flags.StringVar(&out, "out", "", "make a key and write it to this `FILE`, which must not exist")
	flags.StringVar(&path, "key", "", "show the public half of the key in this `FILE`")
	flags.BoolVar(&isEncrypted, "encrypt", false, "with --out: encrypt it under a passphrase, which a terminal is asked for")
	flags.StringVar(&passphraseFile, "passphrase-file", "", "`FILE` whose first line is the key's passphrase")
	return func(context.Context) error {
		switch {
		case (out == "") == (path == ""):
			return usage("want --out FILE to make a key, such as --out gateway.key, or --key FILE to show the public half of one")
		case out == "" && isEncrypted:
			return usage("--encrypt goes with --out")
		case out == "":
			signer, err := c.loadKey(path, passphraseFile)
			if err != nil {
				return err
			}
			return c.sayKey(path, signer, "")
		}
		return c.makeKey(out, passphraseFile, isEncrypted)
	}
}

func (c *command) makeKey(path, passphraseFile string, isEncrypted bool) (err error) {
	var passphrase []byte
	switch {
	case passphraseFile != "":
		passphrase, err = keyfile.ReadPassphrase(passphraseFile)
	case isEncrypted:
		passphrase, err = keyfile.PromptNew(c.stdin, c.stderr)
	}
	if err != nil {
		return usage("%v", err)
	}
	signer, err := keyfile.Create(path, passphrase, keyfile.WorkFactor)
	if errors.Is(err, fs.ErrExist) {
		return usage("%s exists already, and a key is never overwritten: choose another name", path)
	}
	if err != nil {
		return err
	}
	protection := "It is in clear, for whoever can read the file."
	if passphrase != nil {
		protection = "It is encrypted; \"age --decrypt\" reads it, too."
	}
	return c.sayKey(path, signer, "\n"+protection)
}

func (c *command) sayKey(path string, signer crypto.Signer, more string) error {
	key, _ := signer.Public().(ed25519.PublicKey) // keyfile makes and reads no other
	public := payword.NewPublicKey(key)
	return c.say(keyResult{path, payword.Thumbprint(key), public}, "key %s\nkey id %s%s\n"+
		`To register the gateway, give the broker's operator what "samgateway key --key %s --json" prints.`,
		path, payword.Thumbprint(key), more, path)
}

// loadKey reads a key. It asks for a passphrase where the key has one and no file
// says it.
func (c *command) loadKey(path, passphraseFile string) (crypto.Signer, error) {
	var passphrase []byte
	var err error
	if passphraseFile != "" {
		if passphrase, err = keyfile.ReadPassphrase(passphraseFile); err != nil {
			return nil, usage("--passphrase-file: %v", err)
		}
	}
	signer, err := keyfile.Load(path, passphrase)
	if errors.Is(err, keyfile.ErrSealed) && passphrase == nil {
		if passphrase, err = keyfile.Prompt(c.stdin, c.stderr, fmt.Sprintf("Passphrase of %s: ", path)); err != nil {
			return nil, usage("%v", err)
		}
		signer, err = keyfile.Load(path, passphrase)
	}
	if err != nil {
		return nil, usage("--key: %v", err)
	}
	return signer, nil
}
