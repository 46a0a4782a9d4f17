// Package purse is the purse protocol PWP1 (docs/purse.md): what a purse card, a
// merchant's SAM (security application module) and clearing tell each other, byte
// by byte.
//
// A card holds a balance. It pays a SAM offline and proves it with a MAC, MACZ,
// under a key that the SAM does not have. The SAM chains what happened by MACs of
// its own, MACM, and closes a batch with a signed total, MACB. Clearing has the
// keys of both and checks everything with CheckBatch.
//
// Card and SAM are state machines over APDUs, with a Memory that survives. The
// types with an Append and a Parse function are what stands in commands and
// answers, for whoever talks to them. SoftCard and SoftSAM make records without
// any of that.
//
// Integers are big-endian. The layouts, by field and length in bytes:
//
//	PROOF         01 M4 CUR2 EXP1 DT4 MID8 TNo4 CID8 ANo8 KV1 SNo4 LNo4 BALX4     53
//	CPROOF        02, the same fields, TNo4 and SNo4 of what is taken back        61
//	payment       01 BNo4 PROOF MACZ16 MACM16                                     90
//	void          02 BNo4 MID8 TNo4 M4 DT4 CID8 SNo4 PROVED1 MACM16               54
//	cancellation  03 BNo4 CPROOF MACZ16 MACM16                                    98
//	total         MID8 BNo4 First4 Last4 Count4 Voids4 Sum8 Chain16 MACB16        68
//
// The layouts of commands and their answers are in docs/purse.md.
//
// M is an amount in the unit that CUR (ISO 4217 number, BCD) and EXP (power of
// ten) name, DT is in seconds since 1970, LDA names the load terminal. Every MAC
// is AES-CMAC, begins with a type and a version, and is never cut.
//
// Nothing here reads a clock, a file or a source of randomness but the one that a
// card or a SAM is given.
package purse

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/paywordhq/payword/money"
)

// ID names a card (CID), its holder (ANo), a merchant (MID), a load terminal
// (LDA) or a load (REF): 8 bytes, for people 16 upper-case hexadecimal digits.
type ID [8]byte

// String returns the 16 digits.
func (id ID) String() string { return strings.ToUpper(hex.EncodeToString(id[:])) }

// ParseID reads 16 upper-case hexadecimal digits, the only spelling there is.
func ParseID(text string) (ID, error) {
	var id ID
	if len(text) != 16 {
		return ID{}, fmt.Errorf("id %.40q: want 16 upper-case hexadecimal digits, such as C100000000000001", text)
	}
	_, err := hex.Decode(id[:], []byte(text))
	if err != nil || id.String() != text {
		return ID{}, fmt.Errorf("id %q: want 16 upper-case hexadecimal digits, such as C100000000000001", text)
	}
	return id, nil
}

// FundingID is what a gateway calls, at the broker, the funding of an account that
// a merchant's transaction pays for: each is funded once, however often it is
// asked for. Clearing looks there whether the money of a payment went on.
func FundingID(merchant ID, tno uint32) string { return fmt.Sprintf("%s-%d", merchant, tno) }

// Currency is the number of a currency of ISO 4217 in binary-coded decimal:
// 0x0840 is the US dollar.
type Currency uint16

// currencies are those that a card can hold here.
var currencies = map[Currency]money.Currency{
	0x0840: "usd-micro", 0x0978: "eur-micro", 0x0826: "gbp-micro", 0x0756: "chf-micro",
}

// Money returns the currency as the rest of payword spells it, or "" for one that
// no card here can hold.
func (c Currency) Money() money.Currency { return currencies[c] }

// CurrencyOf returns the number of a currency. An error means that no card here
// can hold it.
func CurrencyOf(currency money.Currency) (Currency, error) {
	for number, name := range currencies {
		if name == currency {
			return number, nil
		}
	}
	return 0, fmt.Errorf("currency %.20q: a card holds USD, EUR, GBP or CHF", currency.Code())
}

// The least and the largest exponent of a unit: a millionth, and the major unit.
const (
	MinExponent = -6
	MaxExponent = 0
)

// Unit is what a card counts in: a currency and a power of ten of its major
// unit. Exponent -2 are cents, -5 thousandths of a cent.
type Unit struct {
	Currency Currency
	Exponent int8
}

// Check says what is wrong with a unit that no card can count in.
func (u Unit) Check() error {
	if u.Currency.Money() == "" || u.Exponent < MinExponent || u.Exponent > MaxExponent {
		return fmt.Errorf("unit %04X/%d: want the number of USD, EUR, GBP or CHF, and an exponent from %d to %d",
			uint16(u.Currency), u.Exponent, MinExponent, MaxExponent)
	}
	return nil
}

// Amount returns count units in micros. The unit must be one that Check takes;
// no count of 32 bits overflows.
func (u Unit) Amount(count uint32) money.Amount {
	micros := int64(count)
	for exponent := u.Exponent; exponent > MinExponent; exponent-- {
		micros *= 10
	}
	return money.Amount(micros)
}

// Count returns how many units an amount is. An error means that it is not a
// whole number of them from 0 to 2^32-1.
func (u Unit) Count(amount money.Amount) (uint32, error) {
	one := u.Amount(1)
	if amount < 0 || amount%one != 0 || amount/one > 1<<32-1 {
		return 0, fmt.Errorf("amount %s: want a whole number of %s micros, at most %d of them", amount, one, uint32(1<<32-1))
	}
	return uint32(amount / one), nil
}

// reader takes fields off bytes whose length was checked before.
type reader []byte

func (r *reader) take(count int) []byte {
	field := (*r)[:count]
	*r = (*r)[count:]
	return field
}

func (r *reader) byte() byte     { return r.take(1)[0] }
func (r *reader) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) id() (id ID)    { copy(id[:], r.take(8)); return id }
func (r *reader) uint64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) random() (n Random) {
	copy(n[:], r.take(16))
	return n
}
func (r *reader) mac() (m MAC) { copy(m[:], r.take(16)); return m }
func (r *reader) unit() Unit {
	return Unit{Currency(binary.BigEndian.Uint16(r.take(2))), int8(r.byte())}
}

// big writes integers.
var big = binary.BigEndian

func (u Unit) append(to []byte) []byte {
	return append(big.AppendUint16(to, uint16(u.Currency)), byte(u.Exponent))
}

// lengthError says that something has not its length.
func lengthError(what string, got, want int) error {
	return fmt.Errorf("%s of %d bytes: want %d", what, got, want)
}
