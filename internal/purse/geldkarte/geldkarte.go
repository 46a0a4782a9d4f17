// Package geldkarte reads what a GeldKarte tells everybody: its number, its
// balance and its last payments. It is the second kind of purse card here, and
// shows that the kind is chosen by its AID. It cannot pay: the commands that
// load and debit a GeldKarte, and its keys, are not public.
//
// Where the fields are comes from the source of public readers (devnied's EMV
// reader, cardpeek), and was not checked on a real card. What no source says is
// not read: who was paid, the sequence numbers, and the MACs.
package geldkarte

import (
	"errors"
	"fmt"
	"time"
)

// AID is what a GeldKarte is selected by.
const AID = "\xD2\x76\x00\x00\x25\x45\x50\x02\x00"

const (
	// MaxEntries is how many entries EF_BLOG has.
	MaxEntries = 15

	readRecord = 0xB2
	idFile     = 0xBC // EF_ID, SFI 17, by record number
	amountFile = 0xC4 // EF_BETRAG, SFI 18
	logFile    = 0xEC // EF_BLOG, SFI 1D
)

// IDCommand returns the command that reads EF_ID.
func IDCommand() []byte { return []byte{0, readRecord, 1, idFile, 0} }

// BalanceCommand returns the command that reads EF_BETRAG.
func BalanceCommand() []byte { return []byte{0, readRecord, 1, amountFile, 0} }

// EntryCommand returns the command that reads a record of EF_BLOG, 1 to 15.
func EntryCommand(record byte) []byte { return []byte{0, readRecord, record, logFile, 0} }

// ID is what EF_ID says.
type ID struct {
	// Number is the card's: 10 digits.
	Number string
	// ExpiryYear is from 2000 to 2099 and ExpiryMonth from 1 to 12; both are 0 if
	// the record is too short to say them.
	ExpiryYear, ExpiryMonth int
}

const (
	idNumberAt = 4
	idNumber   = 5 // bytes
	idYearAt   = 10
	idMonthAt  = 11
)

// ParseID reads EF_ID, without its status.
func ParseID(record []byte) (ID, error) {
	if len(record) < idNumberAt+idNumber {
		return ID{}, fmt.Errorf("EF_ID of %d bytes: want %d at least", len(record), idNumberAt+idNumber)
	}
	number := record[idNumberAt : idNumberAt+idNumber]
	if _, err := digits(number); err != nil {
		return ID{}, fmt.Errorf("EF_ID: %w", err)
	}
	id := ID{Number: fmt.Sprintf("%X", number)}
	if len(record) <= idMonthAt {
		return id, nil
	}
	year, yearErr := digits(record[idYearAt : idYearAt+1])
	month, monthErr := digits(record[idMonthAt : idMonthAt+1])
	if yearErr != nil || monthErr != nil || month < 1 || month > 12 {
		return ID{}, errors.New("EF_ID: the expiry is no year and month")
	}
	id.ExpiryYear, id.ExpiryMonth = 2000+year, month
	return id, nil
}

const amountBytes = 3

// ParseBalance reads EF_BETRAG, without its status, in euro cents: at most
// 999,999.
func ParseBalance(record []byte) (uint32, error) {
	if len(record) < amountBytes {
		return 0, fmt.Errorf("EF_BETRAG of %d bytes: want %d at least", len(record), amountBytes)
	}
	cents, err := digits(record[:amountBytes])
	if err != nil {
		return 0, fmt.Errorf("EF_BETRAG: %w", err)
	}
	return uint32(cents), nil // 6 digits
}

// Kind is what an entry of EF_BLOG is about.
type Kind byte

// The kinds of entries, of two bits of the status.
const (
	Load     Kind = 0
	Unload   Kind = 1
	Purchase Kind = 2
	Refund   Kind = 3
)

// String is the kind in one word.
func (k Kind) String() string {
	return [...]string{"load", "unload", "purchase", "refund"}[k&kindMask]
}

const kindMask = 3

// Entry is a record of EF_BLOG.
type Entry struct {
	Kind   Kind
	Amount uint32 // in euro cents
	// Time is by the clock of whoever was paid. No zone is said; it is here as if it
	// were UTC.
	Time time.Time
}

const (
	statusAt    = 0
	entryAmount = 21 // to 23
	entryDate   = 29 // to 32: year in two bytes, month, day
	entryTime   = 33 // to 35: hour, minute, second
	entryLength = 36
)

// ErrUnused means that a record of EF_BLOG has no date: nothing was written to
// it.
var ErrUnused = errors.New("EF_BLOG: the record is unused")

// ParseEntry reads a record of EF_BLOG, without its status.
func ParseEntry(record []byte) (Entry, error) {
	if len(record) < entryLength {
		return Entry{}, fmt.Errorf("EF_BLOG with a record of %d bytes: want %d at least", len(record), entryLength)
	}
	amount, err := digits(record[entryAmount : entryAmount+amountBytes])
	if err != nil {
		return Entry{}, fmt.Errorf("EF_BLOG: %w", err)
	}
	year, err := digits(record[entryDate : entryDate+2])
	if err != nil {
		return Entry{}, fmt.Errorf("EF_BLOG: %w", err)
	}
	var rest [5]int // month, day, hour, minute, second
	for i := range rest {
		if rest[i], err = digits(record[entryDate+2+i : entryDate+3+i]); err != nil {
			return Entry{}, fmt.Errorf("EF_BLOG: %w", err)
		}
	}
	if year == 0 && rest[0] == 0 && rest[1] == 0 {
		return Entry{}, ErrUnused
	}
	at := time.Date(year, time.Month(rest[0]), rest[1], rest[2], rest[3], rest[4], 0, time.UTC)
	if at.Month() != time.Month(rest[0]) || at.Day() != rest[1] || at.Hour() != rest[2] || at.Minute() != rest[3] || at.Second() != rest[4] {
		return Entry{}, errors.New("EF_BLOG: the record has a date or a time that is none")
	}
	return Entry{Kind: Kind(record[statusAt]>>5) & kindMask, Amount: uint32(amount), Time: at}, nil
}

// digits reads binary-coded decimal, two digits in each byte.
func digits(bcd []byte) (int, error) {
	number := 0
	for _, b := range bcd {
		if b>>4 > 9 || b&15 > 9 {
			return 0, fmt.Errorf("byte %02X is not two decimal digits", b)
		}
		number = number*100 + int(b>>4)*10 + int(b&15)
	}
	return number, nil
}
