package purse

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/hex"
	"errors"
)

const block = aes.BlockSize

// MAC is an AES-CMAC: 16 bytes, never cut.
type MAC [block]byte

// equal compares without telling by its time where two MACs differ.
func (m MAC) equal(other MAC) bool { return subtle.ConstantTimeCompare(m[:], other[:]) == 1 }

// String returns the MAC in hexadecimal digits. It is no secret.
func (m MAC) String() string { return hex.EncodeToString(m[:]) }

// Key computes AES-CMAC (RFC 4493, NIST SP 800-38B) under one key. It is safe for
// concurrent use. Its zero value is no key.
type Key struct {
	cipher       cipher.Block
	whole, ended [block]byte // K1 and K2: what is added to a last block
}

// NewKey returns the key of 16 or 32 bytes, for AES-128 or AES-256. The bytes
// are not kept.
func NewKey(secret []byte) (*Key, error) {
	if len(secret) != 16 && len(secret) != 32 {
		return nil, errors.New("a key of this length: want 16 or 32 bytes")
	}
	c, err := aes.NewCipher(secret)
	if err != nil {
		return nil, errors.New("making a key failed") // the error is not to name the key
	}
	k := &Key{cipher: c}
	var zero [block]byte
	c.Encrypt(k.whole[:], zero[:])
	k.whole = double(k.whole)
	k.ended = double(k.whole)
	return k, nil
}

// String keeps a key out of logs and errors.
func (k *Key) String() string { return "(key)" }

// double multiplies by x in GF(2^128), without a branch on what is secret.
func double(b [block]byte) [block]byte {
	var result [block]byte
	carry := byte(0)
	for i := block - 1; i >= 0; i-- {
		result[i] = b[i]<<1 | carry
		carry = b[i] >> 7
	}
	result[block-1] ^= 0x87 & -carry
	return result
}

// MAC returns the MAC over the parts, one after the other.
func (k *Key) MAC(parts ...[]byte) MAC {
	var state, last [block]byte
	held := 0 // bytes of last; a full block waits until it is known whether more come
	for _, part := range parts {
		for len(part) > 0 {
			if held == block {
				subtle.XORBytes(state[:], state[:], last[:])
				k.cipher.Encrypt(state[:], state[:])
				held = 0
			}
			count := copy(last[held:], part)
			held, part = held+count, part[count:]
		}
	}
	mask := &k.whole
	if held < block {
		mask = &k.ended
		last[held] = 0x80
		clear(last[held+1:])
	}
	subtle.XORBytes(state[:], state[:], last[:])
	subtle.XORBytes(state[:], state[:], mask[:])
	k.cipher.Encrypt(state[:], state[:])
	return state
}

// derive makes a key of another one for a label and a context: SP 800-108r1 in
// counter mode with CMAC. Keys of 128 bits are one block.
func (k *Key) derive(label string, context ...[]byte) *Key {
	return keyOf(k.deriveSecret(label, context...))
}

// deriveSecret returns the bytes of such a key, for the memory of a card.
func (k *Key) deriveSecret(label string, context ...[]byte) secret {
	parts := append([][]byte{{1}, []byte(label), {0}}, context...)
	return secret(k.MAC(append(parts, []byte{0, 8 * block})...))
}

// secret is the bytes of a key of 128 bits.
type secret [block]byte

// String keeps it out of logs and errors.
func (s secret) String() string { return "(key)" }

func keyOf(s secret) *Key {
	derived, err := NewKey(s[:])
	if err != nil {
		panic(err) // a MAC has the length of a key
	}
	return derived
}
