package geldkarte

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// Virtual is a card of this layout in memory, for tests and demonstrations. It
// answers SELECT and READ RECORD, and nothing moves money on it. It is for one
// goroutine.
type Virtual struct {
	id         []byte
	balance    []byte
	payments   [][]byte
	isSelected bool
}

// NewVirtual returns a card with a number of 10 digits, a balance of at most
// 999,999 euro cents, and at most 15 entries, the newest first.
func NewVirtual(id ID, balance uint32, entries []Entry) (*Virtual, error) {
	if len(id.Number) != 2*idNumber || id.ExpiryYear < 2000 || id.ExpiryYear > 2099 || len(entries) > MaxEntries {
		return nil, errors.New("a card needs a number of 10 digits, an expiry from 2000 to 2099, and at most 15 entries")
	}
	v := &Virtual{id: make([]byte, idMonthAt+1), balance: appendDigits(nil, uint64(balance), amountBytes)}
	var number uint64
	if count, err := fmt.Sscanf(id.Number, "%d", &number); count != 1 || err != nil {
		return nil, errors.New("a card needs a number of 10 digits")
	}
	copy(v.id[idNumberAt:], appendDigits(nil, number, idNumber))
	v.id[idNumberAt+idNumber] = 0x0D // where the number ends on a magnetic stripe
	v.id[idYearAt], v.id[idMonthAt] = twoDigits(id.ExpiryYear-2000), twoDigits(id.ExpiryMonth)
	for _, entry := range entries {
		v.payments = append(v.payments, entry.record())
	}
	for _, record := range v.payments {
		if _, err := ParseEntry(record); err != nil {
			return nil, err
		}
	}
	if read, err := ParseID(v.id); err != nil || read != id {
		return nil, errors.New("a card needs a number of 10 digits and an expiry that is a month")
	}
	if read, err := ParseBalance(v.balance); err != nil || read != balance {
		return nil, errors.New("a card holds at most 9,999.99")
	}
	return v, nil
}

func (e Entry) record() []byte {
	record := make([]byte, entryLength)
	record[statusAt] = byte(e.Kind&kindMask) << 5
	copy(record[entryAmount:], appendDigits(nil, uint64(e.Amount), amountBytes))
	copy(record[entryDate:], appendDigits(nil, uint64(e.Time.Year()), 2))
	for i, number := range []int{int(e.Time.Month()), e.Time.Day(), e.Time.Hour(), e.Time.Minute(), e.Time.Second()} {
		record[entryDate+2+i] = twoDigits(number)
	}
	return record
}

func twoDigits(number int) byte { return byte(number/10%10)<<4 | byte(number%10) }

func appendDigits(to []byte, number uint64, count int) []byte {
	digits := make([]byte, count)
	for i := range slices.Backward(digits) {
		digits[i] = twoDigits(int(number % 100))
		number /= 100
	}
	return append(to, digits...)
}

// Reset is what taking the card out of a reader does.
func (v *Virtual) Reset() { v.isSelected = false }

// Transmit does one command. There is never an error.
func (v *Virtual) Transmit(command []byte) ([]byte, error) {
	if len(command) < 4 {
		return []byte{0x67, 0}, nil
	}
	if command[0] == 0 && command[1] == 0xA4 {
		return v.selectApplication(command), nil
	}
	if command[0] != 0 || command[1] != readRecord {
		return []byte{0x6D, 0}, nil
	}
	if !v.isSelected || len(command) > 5 {
		return []byte{0x69, 0x85}, nil
	}
	records := map[byte][][]byte{idFile: {v.id}, amountFile: {v.balance}, logFile: v.payments}
	record := int(command[2]) - 1
	file, isThere := records[command[3]]
	switch {
	case !isThere:
		return []byte{0x6A, 0x82}, nil
	case record < 0 || record >= len(file):
		return []byte{0x6A, 0x83}, nil
	default:
		return append(bytes.Clone(file[record]), 0x90, 0), nil
	}
}

func (v *Virtual) selectApplication(command []byte) []byte {
	data := append([]byte{byte(len(AID))}, AID...)
	if command[2] != 4 || len(command) < 5 || !bytes.HasPrefix(command[4:], data) || len(command) > 5+len(data) {
		return []byte{0x6A, 0x82}
	}
	v.isSelected = true
	name := append([]byte{0x84}, data...)
	return append(append([]byte{0x6F, byte(len(name))}, name...), 0x90, 0)
}
