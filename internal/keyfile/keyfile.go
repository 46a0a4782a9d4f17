// Package keyfile keeps Ed25519 keys in files: PKCS#8 in PEM, in clear for their
// owner alone or encrypted under a passphrase as an age file.
package keyfile

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
)

const (
	privateBlock = "PRIVATE KEY"
	publicBlock  = "PUBLIC KEY"

	// maxFileBytes bounds a key file: an Ed25519 key in PEM takes about 120
	// bytes, and some tools write comments around it.
	maxFileBytes = 16 << 10
)

// Create makes a new Ed25519 key and writes it to path as PKCS#8 in PEM, readable
// for its owner alone. Where there is a passphrase the key is encrypted under it,
// as an age file in its armor, which the command age reads, too; workFactor is the
// logarithm of scrypt's cost, WorkFactor but in tests. It never overwrites: an
// error that is fs.ErrExist comes back if the file is there.
func Create(path string, passphrase []byte, workFactor int) (crypto.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	content := pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: encoded})
	if len(passphrase) > 0 {
		if content, err = seal(content, passphrase, workFactor); err != nil {
			return nil, fmt.Errorf("making a key: %w", err)
		}
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s exists already; a key is never overwritten: %w", path, fs.ErrExist)
	}
	if err != nil {
		return nil, fmt.Errorf("writing a key: %w", err)
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return nil, fmt.Errorf("writing a key: %w", err)
	}
	return key, nil
}

// Load reads an Ed25519 key that Create or another tool wrote as PKCS#8 in PEM. A
// key in clear needs no passphrase. It refuses a file that others than its owner
// may read. Among the errors are ErrSealed and ErrPassphrase.
func Load(path string, passphrase []byte) (crypto.Signer, error) {
	content, mode, err := ReadSmall(path)
	if err != nil {
		return nil, fmt.Errorf("reading a key: %w", err)
	}
	if err := CheckPrivate(path, mode); err != nil {
		return nil, err
	}
	key, err := Parse(content, passphrase)
	if err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	return key, nil
}

// Parse reads what a key file holds. The error goes on from the file's name.
func Parse(content, passphrase []byte) (ed25519.PrivateKey, error) {
	if isSealed(content) {
		var err error
		if content, err = unseal(content, passphrase); err != nil {
			return nil, err
		}
	}
	block, _ := pem.Decode(content)
	switch {
	case block == nil:
		return nil, errors.New("holds no key in PEM")
	case block.Type != privateBlock:
		return nil, fmt.Errorf("holds a %.40q: want a %q in PEM", block.Type, privateBlock)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("holds no PKCS#8 key") // the parser's error may quote the key
	}
	key, isEd25519 := parsed.(ed25519.PrivateKey)
	if !isEd25519 {
		return nil, fmt.Errorf("holds a key of another kind (%T): want Ed25519", parsed)
	}
	return key, nil
}

// LoadPublic reads an Ed25519 public key in PEM, or the public half of a private
// one, under the rules of Load.
func LoadPublic(path string, passphrase []byte) (ed25519.PublicKey, error) {
	content, _, err := ReadSmall(path)
	if err != nil {
		return nil, fmt.Errorf("reading a key: %w", err)
	}
	block, _ := pem.Decode(content)
	if isSealed(content) || block != nil && block.Type == privateBlock {
		signer, err := Load(path, passphrase)
		if err != nil {
			return nil, err
		}
		key, _ := signer.Public().(ed25519.PublicKey) // Load returns no other
		return key, nil
	}
	if block == nil {
		return nil, fmt.Errorf("%s holds no key in PEM", path)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	key, isEd25519 := parsed.(ed25519.PublicKey)
	if err != nil || !isEd25519 {
		return nil, fmt.Errorf("%s holds no Ed25519 public key: want a %q in PEM", path, publicBlock)
	}
	return key, nil
}

// ReadSmall reads a file of at most 16 KB, a key, a passphrase or another secret,
// and returns its mode, for CheckPrivate.
func ReadSmall(path string) ([]byte, fs.FileMode, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, 0, err
	}
	content, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err == nil && len(content) > maxFileBytes {
		err = fmt.Errorf("%s has more than %d bytes", path, maxFileBytes)
	}
	return content, info.Mode(), err
}

// CheckPrivate refuses a file that others than its owner may read. Windows
// keeps that elsewhere than in the mode.
func CheckPrivate(path string, mode fs.FileMode) error {
	if runtime.GOOS != "windows" && mode.Perm()&0o077 != 0 {
		return fmt.Errorf("%s may be read by others (mode %04o): make it 0600", path, mode.Perm())
	}
	return nil
}
