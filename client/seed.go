package client

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"strings"

	"github.com/paywordhq/payword"
)

// A seed is written down as 14 groups of 4 letters and digits: its 32 bytes and
// the first 3 of their SHA-256, in base32, so that a slip of the pen is noticed.
const (
	seedSumBytes = 3
	seedLetters  = (payword.SeedBytes + seedSumBytes) * 8 / 5
	seedGroup    = 4
)

// FormatSeed returns a seed as people write it down.
func FormatSeed(seed payword.Seed) string {
	sum := sha256.Sum256(seed[:])
	letters := base32.StdEncoding.EncodeToString(append(seed[:], sum[:seedSumBytes]...))
	var groups []string
	for start := 0; start < len(letters); start += seedGroup {
		groups = append(groups, letters[start:start+seedGroup])
	}
	return strings.Join(groups, "-")
}

// ParseSeed reads what FormatSeed wrote, in either case, with any spaces,
// hyphens and line breaks between.
func ParseSeed(text string) (payword.Seed, error) {
	var seed payword.Seed
	letters := strings.ToUpper(strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -\t\r\n", r) {
			return -1
		}
		return r
	}, text))
	if len(letters) != seedLetters {
		return seed, errors.New("want a seed of 14 groups of 4 letters and digits")
	}
	raw, err := base32.StdEncoding.DecodeString(letters)
	if err != nil {
		return seed, errors.New("a seed has the letters A to Z and the digits 2 to 7")
	}
	copy(seed[:], raw)
	sum := sha256.Sum256(seed[:])
	if string(raw[payword.SeedBytes:]) != string(sum[:seedSumBytes]) {
		return payword.Seed{}, errors.New("the seed has a mistake in it: compare it letter by letter")
	}
	return seed, nil
}

// Seed returns the wallet's secret. With it and the broker's origin
// RestoreWallet makes the wallet anew; whoever else has it has the account.
func (w *Wallet) Seed() payword.Seed { return w.seed }
