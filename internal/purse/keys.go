package purse

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The masters that every other key is derived from, each of 32 bytes.
const (
	// PurseMaster (MKP) is in every SAM: it makes the key that a card and a SAM
	// know each other by.
	PurseMaster = "MKP"
	// LoadMaster (MKL) is the issuer's: it makes the key that a card is loaded by.
	LoadMaster = "MKL"
	// ClearingMaster (KZD) is clearing's alone: it makes the keys of proofs and
	// of batches.
	ClearingMaster = "KZD"
)

// MasterLength is the length of a master in bytes.
const MasterLength = 32

// Keys holds masters by version. A program is given those that it needs:
// clearing LoadMaster and ClearingMaster, a SAM PurseMaster. It is safe for
// concurrent use once it is filled.
type Keys struct {
	masters map[masterName]*Key
	// purses are the bytes of PurseMaster by version: they go into SAMs as they are.
	purses map[byte][]byte
}

type masterName struct {
	name    string
	version byte
}

// ErrNoMaster means that the master of that version is not among the keys.
var ErrNoMaster = errors.New("there is no master of this key version")

// maxKeysFile bounds the text of keys: 256 versions of three masters.
const maxKeysFile = 256 * 3 * 128

// ParseKeys reads masters: on each line the key version from 0 to 255, MKP, MKL
// or KZD, and 64 hexadecimal digits. Empty lines and those that begin with #
// count for nothing. No error names a key.
func ParseKeys(text string) (*Keys, error) {
	if len(text) > maxKeysFile {
		return nil, fmt.Errorf("keys of %d bytes: want at most %d", len(text), maxKeysFile)
	}
	keys := &Keys{}
	for number, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if err := keys.addLine(strings.Fields(line)); err != nil {
			return nil, fmt.Errorf("line %d of the keys: %w", number+1, err)
		}
	}
	if len(keys.masters) == 0 {
		return nil, errors.New("no keys: want lines such as: 1 KZD <64 hexadecimal digits>")
	}
	return keys, nil
}

func (k *Keys) addLine(fields []string) error {
	if len(fields) != 3 {
		return errors.New("want a key version, MKP, MKL or KZD, and 64 hexadecimal digits")
	}
	version, err := strconv.ParseUint(fields[0], 10, 8)
	if err != nil {
		return errors.New("the key version is not a number from 0 to 255")
	}
	secret, err := hex.DecodeString(fields[2])
	if err != nil {
		return errors.New("the key is not in hexadecimal digits")
	}
	return k.Add(fields[1], byte(version), secret)
}

// Add gives the keys one more master, of 32 bytes.
func (k *Keys) Add(name string, version byte, secret []byte) error {
	if name != PurseMaster && name != LoadMaster && name != ClearingMaster {
		return errors.New("the name of a key is MKP, MKL or KZD")
	}
	if len(secret) != MasterLength {
		return fmt.Errorf("%s of version %d has not %d bytes", name, version, MasterLength)
	}
	if _, exists := k.masters[masterName{name, version}]; exists {
		return fmt.Errorf("%s of version %d is there twice", name, version)
	}
	key, err := NewKey(secret)
	if err != nil {
		return err
	}
	if k.masters == nil {
		k.masters = make(map[masterName]*Key)
	}
	k.masters[masterName{name, version}] = key
	if name == PurseMaster {
		if k.purses == nil {
			k.purses = make(map[byte][]byte)
		}
		k.purses[version] = bytes.Clone(secret)
	}
	return nil
}

// Has reports whether a master of any version is there.
func (k *Keys) Has(name string) bool {
	for master := range k.masters {
		if master.name == name {
			return true
		}
	}
	return false
}

// String keeps keys out of logs and errors.
func (k *Keys) String() string { return "(keys)" }

// CardKey (SKC) is how a card and a SAM know each other. ErrNoMaster comes back,
// as of the functions below.
func (k *Keys) CardKey(version byte, card ID) (*Key, error) {
	return k.diversify(PurseMaster, "SKC", version, card)
}

// LoadKey (KLC) is the key of a card and its issuer.
func (k *Keys) LoadKey(version byte, card ID) (*Key, error) {
	return k.diversify(LoadMaster, "KLC", version, card)
}

// InitialPIN returns the PIN that a card is issued with: 4 digits, of LoadKey. So
// the issuer need not keep it, and can print the letter to the holder whenever
// it likes. It is a secret.
func (k *Keys) InitialPIN(version byte, card ID) (string, error) {
	key, err := k.LoadKey(version, card)
	if err != nil {
		return "", err
	}
	mac := key.MAC([]byte{0xE1, 1}, card[:])
	return fmt.Sprintf("%04d", big.Uint64(mac[:8])%10_000), nil // 2^64 is so much more that no PIN is likelier
}

// ProofKey (KZC) is the key of a card and clearing, which no SAM has.
func (k *Keys) ProofKey(version byte, card ID) (*Key, error) {
	return k.diversify(ClearingMaster, "KZC", version, card)
}

// MerchantKey (KZM) is the key of a SAM and clearing.
func (k *Keys) MerchantKey(version byte, merchant ID) (*Key, error) {
	return k.diversify(ClearingMaster, "KZM", version, merchant)
}

func (k *Keys) diversify(master, label string, version byte, id ID) (*Key, error) {
	derived, err := k.diversifySecret(master, label, version, id)
	if err != nil {
		return nil, err
	}
	return keyOf(derived), nil
}

// diversifySecret returns the bytes of such a key, for the memory of a card or a
// SAM.
func (k *Keys) diversifySecret(master, label string, version byte, id ID) (secret, error) {
	key, found := k.masters[masterName{master, version}]
	if !found {
		return secret{}, fmt.Errorf("%s of version %d: %w", master, version, ErrNoMaster)
	}
	return key.deriveSecret(label, []byte{version}, id[:]), nil
}
