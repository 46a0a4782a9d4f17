package keyfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// What goes wrong with a key that is encrypted. The errors that wrap these name
// the file.
var (
	// ErrSealed means that a key is encrypted, and there is no passphrase.
	ErrSealed = errors.New("is encrypted: its passphrase is missing")
	// ErrPassphrase means that the passphrase is not the key's.
	ErrPassphrase = errors.New("is encrypted under another passphrase than the one that was given")
)

const (
	// WorkFactor is the logarithm of scrypt's cost for a key's passphrase:
	// about a second and 256 MB, age's own choice.
	WorkFactor = 18

	// maxWorkFactor is the most that is spent on opening a file that somebody
	// may have tampered with.
	maxWorkFactor = 20
)

// isSealed reports whether a key file is an age file.
func isSealed(content []byte) bool {
	return strings.HasPrefix(strings.TrimSpace(string(content)), armor.Header)
}

// seal encrypts a key file under a passphrase.
func seal(content, passphrase []byte, workFactor int) ([]byte, error) {
	recipient, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return nil, fmt.Errorf("encrypting: %w", err)
	}
	recipient.SetWorkFactor(workFactor)
	var sealed bytes.Buffer
	text := armor.NewWriter(&sealed)
	writer, err := age.Encrypt(text, recipient)
	if err != nil {
		return nil, fmt.Errorf("encrypting: %w", err)
	}
	_, err = writer.Write(content)
	if err = errors.Join(err, writer.Close(), text.Close()); err != nil {
		return nil, fmt.Errorf("encrypting: %w", err)
	}
	return sealed.Bytes(), nil
}

// unseal decrypts what seal encrypted. The errors go on from the file's name.
func unseal(sealed, passphrase []byte) ([]byte, error) {
	if len(passphrase) == 0 {
		return nil, ErrSealed
	}
	identity, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, fmt.Errorf("cannot be decrypted: %w", err)
	}
	identity.SetMaxWorkFactor(maxWorkFactor)
	reader, err := age.Decrypt(armor.NewReader(bytes.NewReader(sealed)), identity)
	if noMatch := (*age.NoIdentityMatchError)(nil); errors.As(err, &noMatch) {
		if !slices.Contains(noMatch.StanzaTypes, "scrypt") {
			return nil, errors.New("is encrypted to a key and not under a passphrase")
		}
		return nil, ErrPassphrase
	}
	if err != nil {
		return nil, errors.New("is a damaged age file")
	}
	content, err := io.ReadAll(io.LimitReader(reader, maxFileBytes+1))
	if err != nil || len(content) > maxFileBytes {
		return nil, errors.New("is a damaged age file")
	}
	return content, nil
}
