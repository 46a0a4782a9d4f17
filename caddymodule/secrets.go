package caddymodule

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/paywordhq/payword/internal/filelock"
)

// secrets are the keys that a gate makes for itself when it first starts. They
// stand in the store's directory, readable by their owner alone.
type secrets struct {
	challenge []byte // HMAC-SHA256 secret of the challenges
	vendor    ed25519.PrivateKey
}

// challengeSecretName is the file of the challenge secret.
const challengeSecretName = "challenge-secret"

// vendorKeyName is the file of the vendor's key, its Ed25519 seed.
const vendorKeyName = "vendor-key"

func loadSecrets(directory string) (secrets, error) {
	challenge, err := loadOrCreate(filepath.Join(directory, challengeSecretName))
	if err != nil {
		return secrets{}, err
	}
	seed, err := loadOrCreate(filepath.Join(directory, vendorKeyName))
	if err != nil {
		return secrets{}, err
	}
	return secrets{challenge: challenge, vendor: ed25519.NewKeyFromSeed(seed)}, nil
}

// loadOrCreate returns the 32 bytes of a file, making it with random ones if it
// is not there.
func loadOrCreate(path string) ([]byte, error) {
	secret, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return createSecret(path)
	case err != nil:
		return nil, err
	case len(secret) != ed25519.SeedSize:
		return nil, fmt.Errorf("%s has %d bytes, not %d: restore it from a backup, or remove it to have a new one made", path, len(secret), ed25519.SeedSize)
	}
	return secret, nil
}

func createSecret(path string) ([]byte, error) {
	secret := make([]byte, ed25519.SeedSize)
	rand.Read(secret)
	return secret, writeWhole(path, secret)
}

// writeWhole writes a file whole or not at all, durably: half a key would be no
// key, and one that a power cut takes back was used already.
func writeWhole(path string, content []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	return filelock.SyncDirectory(filepath.Dir(path))
}

// fingerprint tells the vendor's key with a challenge secret from others, and
// does not tell them.
func fingerprint(vendor ed25519.PrivateKey, challenge []byte) string {
	hash := hmac.New(sha256.New, challenge)
	hash.Write([]byte("payword-gate-secrets-1\x00"))
	hash.Write(vendor.Public().(ed25519.PublicKey))
	return hex.EncodeToString(hash.Sum(nil))
}
