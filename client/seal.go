package client

import (
	"bytes"
	"fmt"
	"io"

	"filippo.io/age"

	"github.com/paywordhq/payword"
)

// defaultWorkFactor is the logarithm of scrypt's cost for a wallet's
// passphrase: about a second and 256 MB on today's machines, age's own choice.
const defaultWorkFactor = 18

// maxWorkFactor is the most that is spent on opening a file that somebody may
// have tampered with.
const maxWorkFactor = 20

// newSecret returns the seed as the file holds it: encrypted if there is a
// passphrase.
func newSecret(seed payword.Seed, passphrase []byte, workFactor int) (secret, error) {
	if len(passphrase) == 0 {
		return secret{Seed: base64url.EncodeToString(seed[:])}, nil
	}
	recipient, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return secret{}, fmt.Errorf("encrypting the seed: %w", err)
	}
	recipient.SetWorkFactor(workFactor)
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipient)
	if err != nil {
		return secret{}, fmt.Errorf("encrypting the seed: %w", err)
	}
	if _, err := w.Write(seed[:]); err != nil {
		return secret{}, fmt.Errorf("encrypting the seed: %w", err)
	}
	if err := w.Close(); err != nil {
		return secret{}, fmt.Errorf("encrypting the seed: %w", err)
	}
	return secret{Sealed: base64url.EncodeToString(sealed.Bytes())}, nil
}

// open returns the seed. It returns ErrPassphrase or ErrCorrupt.
func (s secret) open(passphrase []byte) (payword.Seed, error) {
	var seed payword.Seed
	encoded, sealed := s.Seed, s.Sealed != ""
	if sealed {
		encoded = s.Sealed
	}
	plain, err := base64url.DecodeString(encoded)
	if err != nil {
		return seed, fmt.Errorf("%w: the seed is not base64url", ErrCorrupt)
	}
	if sealed {
		if plain, err = unseal(plain, passphrase); err != nil {
			return seed, err
		}
	}
	if copy(seed[:], plain) != len(seed) || len(plain) != len(seed) {
		return seed, fmt.Errorf("%w: the seed has %d bytes, not %d", ErrCorrupt, len(plain), len(seed))
	}
	return seed, nil
}

func unseal(sealed, passphrase []byte) ([]byte, error) {
	if len(passphrase) == 0 {
		return nil, ErrPassphrase
	}
	identity, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, fmt.Errorf("decrypting the seed: %w", err)
	}
	identity.SetMaxWorkFactor(maxWorkFactor)
	r, err := age.Decrypt(bytes.NewReader(sealed), identity)
	if err != nil {
		// What age says of a wrong passphrase and of a broken file is alike,
		// and the checksum was right.
		return nil, ErrPassphrase
	}
	plain, err := io.ReadAll(io.LimitReader(r, 1024))
	if err != nil {
		return nil, fmt.Errorf("%w: the encrypted seed is damaged", ErrCorrupt)
	}
	return plain, nil
}
