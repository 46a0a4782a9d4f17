package broker

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// A voucher's code is 19 random characters of Crockford's base 32, 95 bits, and
// a check character, written in groups of four. Letters that are taken for
// others are read as those.
const (
	voucherAlphabet  = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	voucherLength    = 20
	voucherGroup     = 4
	voucherCodeBytes = voucherLength + voucherLength/voucherGroup - 1 // as printed
)

// newVoucherCode makes a code, in the form in which it is printed.
func newVoucherCode() string {
	raw := make([]byte, voucherLength-1)
	_, _ = rand.Read(raw) // never fails
	for k := range raw {
		raw[k] &= 31
	}
	return formatVoucherCode(append(raw, checkSymbol(raw)))
}

func formatVoucherCode(symbols []byte) string {
	var text strings.Builder
	for k, symbol := range symbols {
		if k > 0 && k%voucherGroup == 0 {
			text.WriteByte('-')
		}
		text.WriteByte(voucherAlphabet[symbol])
	}
	return text.String()
}

// parseVoucherCode reads a code as somebody typed it and returns it in the form
// in which it was printed, or what is wrong with it.
func parseVoucherCode(typed string) (string, error) {
	var symbols []byte
	for _, c := range strings.ToUpper(typed) {
		switch c {
		case ' ', '-', '\t':
			continue
		case 'O':
			c = '0'
		case 'I', 'L':
			c = '1'
		}
		symbol := strings.IndexRune(voucherAlphabet, c)
		if symbol < 0 {
			return "", errors.New("there is a character in it that no voucher has: digits and letters without U")
		}
		if len(symbols) == voucherLength {
			return "", fmt.Errorf("it has more than %d characters", voucherLength)
		}
		symbols = append(symbols, byte(symbol))
	}
	if len(symbols) != voucherLength {
		return "", fmt.Errorf("it has %d characters: a voucher has %d", len(symbols), voucherLength)
	}
	if checkSymbol(symbols[:voucherLength-1]) != symbols[voucherLength-1] {
		return "", errors.New("a character is mistyped, or two are swapped: look again")
	}
	return formatVoucherCode(symbols), nil
}

// checkSymbol returns the symbol that makes the sum of all symbols, each times
// another power of the generator of GF(32), zero. As all powers differ, one
// wrong symbol and two swapped ones are always found.
func checkSymbol(symbols []byte) byte {
	sum := byte(0)
	for _, symbol := range symbols {
		sum = timesGenerator(sum ^ symbol)
	}
	return sum
}

// timesGenerator multiplies in GF(32) by x, modulo x^5 + x^2 + 1, which is
// primitive: the first 31 powers of x differ.
func timesGenerator(symbol byte) byte {
	symbol <<= 1
	if symbol&32 != 0 {
		symbol ^= 0b100101
	}
	return symbol
}

// voucherID is what is kept of a code: its 95 random bits are too many to be
// found from it.
func voucherID(code string) string {
	sum := sha256.Sum256([]byte("payword-voucher:" + code))
	return hex.EncodeToString(sum[:])
}
