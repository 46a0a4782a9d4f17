package broker

import (
	"crypto"
	"errors"

	"github.com/paywordhq/payword/internal/keyfile"
)

// What goes wrong with a key that is encrypted. The errors that wrap these name
// the file.
var (
	// ErrSealedKey means that a key is encrypted, and there is no passphrase.
	ErrSealedKey = keyfile.ErrSealed
	// ErrKeyPassphrase means that the passphrase is not the key's.
	ErrKeyPassphrase = keyfile.ErrPassphrase
)

// CreateKey makes a new Ed25519 key and writes it to path as PKCS#8 in PEM,
// readable for its owner alone. It never overwrites: an error that is
// fs.ErrExist comes back if the file is there.
func CreateKey(path string) (crypto.Signer, error) { return keyfile.Create(path, nil, 0) }

// CreateSealedKey is CreateKey with the key encrypted under a passphrase, as an
// age file in its armor, which the command age reads, too.
func CreateSealedKey(path string, passphrase []byte) (crypto.Signer, error) {
	if len(passphrase) == 0 {
		return nil, errors.New("making a key: the passphrase is empty")
	}
	return keyfile.Create(path, passphrase, keyfile.WorkFactor)
}

// LoadKey reads an Ed25519 key that CreateKey or another tool wrote as PKCS#8
// in PEM. It refuses a file that others than its owner may read, and one that is
// encrypted with ErrSealedKey.
func LoadKey(path string) (crypto.Signer, error) { return LoadSealedKey(path, nil) }

// LoadSealedKey is LoadKey for a key that CreateSealedKey wrote, or the command
// age. A key in clear needs no passphrase. Among the errors are ErrSealedKey and
// ErrKeyPassphrase.
func LoadSealedKey(path string, passphrase []byte) (crypto.Signer, error) {
	return keyfile.Load(path, passphrase)
}
