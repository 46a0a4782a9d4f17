package bankfile

import (
	"errors"
	"fmt"
	"time"

	"github.com/paywordhq/payword/money"
)

const (
	// MaxFileBytes bounds a file that Read takes: about 40,000 payments with
	// their details. Banks split longer answers.
	MaxFileBytes = 64 << 20

	// MaxEntries bounds the entries of one file, so that a small file of empty
	// entries does not fill the memory.
	MaxEntries = 100_000

	// MaxBalances bounds the accounts and days of one file: ten years of days of
	// one account, or a day of more accounts than anybody settles from.
	MaxBalances = 4000
)

// The kinds of documents that Read knows.
const (
	KindStatus       = "pain.002" // what a bank says of a file that it got
	KindStatement    = "camt.053" // what it booked in a day, with balances
	KindNotification = "camt.054" // what it booked, as it goes
)

// Says is what a bank says of a payment.
type Says string

// What a bank can say.
const (
	Accepted Says = "accepted" // it has the order, and has not booked it
	Rejected Says = "rejected" // it will not carry it out
	Booked   Says = "booked"   // it has moved the money
	Returned Says = "returned" // it has moved it back
	Other    Says = "other"    // something that needs a person
)

// The directions of a booking, as whose account it is sees them.
const (
	Out = "out"
	In  = "in"
)

// Document is what a file of a bank says.
type Document struct {
	Kind string
	// Version is that of the format, such as 001.08.
	Version string
	// MessageID is the bank's name for the file, 1 to 35 characters.
	MessageID string
	// Created is when the bank wrote it, and zero if it does not say in a way that
	// can be read.
	Created time.Time
	Entries []Entry
	// Balances are of a statement; at most one of an account and day.
	Balances []Balance
}

// Entry is what a bank says of one payment, or of several where it does not tell
// them apart.
type Entry struct {
	// EndToEndID is the payer's name for the payment, at most 35 characters; "" if
	// the bank does not say.
	EndToEndID string
	Says       Says
	// Account is the one that is booked on, by its IBAN or the bank's other name
	// for it; "" where nothing is booked.
	Account string
	// Direction of the booking: Out, In, or "" where nothing is booked.
	Direction string
	// Amount is in micros and above 0; 0 if the bank does not say.
	Amount   money.Amount
	Currency money.Currency
	// Day of the booking, as 2026-11-22, or "".
	Day string
	// Code is the bank's reason, such as AC04, or "".
	Code string
	// Text is what the bank says beside, for people, at most 140 characters.
	Text string
	// BankReference is the bank's name for the booking, or "".
	BankReference string
	// MessageID and PaymentID name the file and the part of it that an entry of
	// several payments is about, or are "".
	MessageID, PaymentID string
	// Count is how many payments it is of: 1, or more, or 0 if the bank does not
	// say.
	Count int
}

// Balance is what an account held at the beginning and at the end of a day, in
// micros; below 0 it is overdrawn.
type Balance struct {
	Account          string // IBAN, or the bank's other name for it
	Day              string // 2026-11-22
	Currency         money.Currency
	Opening, Closing money.Amount
}

// Read reads a file of a bank: pain.002 in the versions 001.03, 001.10 and
// 001.11, camt.053 and camt.054 in 001.02 and 001.08. It reads UTF-8 and
// expands no entities; a document type is refused. An error says what is wrong
// with the file, and nothing of the file is to be used then.
//
// What it does not know of a document it passes over. Characters that cannot be
// seen become "?".
func Read(file []byte) (Document, error) {
	if len(file) > MaxFileBytes {
		return Document{}, fmt.Errorf("the file has %d bytes: want at most %d, ask the bank to split it", len(file), MaxFileBytes)
	}
	r := &reader{}
	if err := scan(file, r); err != nil {
		return Document{}, err
	}
	if r.document.MessageID == "" {
		return Document{}, errors.New("the file has no message id (GrpHdr/MsgId)")
	}
	r.document.Entries = append(r.document.Entries, r.groups...)
	return r.document, nil
}

// versions are those that are read, by kind. Between them the parts that are read
// here differ only in how a status is written.
var versions = map[string][]string{
	KindStatus:       {"001.03", "001.10", "001.11"},
	KindStatement:    {"001.02", "001.08"},
	KindNotification: {"001.02", "001.08"},
}

// reader makes a document of what scan finds.
type reader struct {
	document Document
	groups   []Entry // of whole files or parts; they come after the single payments

	part      part      // of pain.002
	statement statement // of camt.053 and camt.054
	entry     booking
}

// add keeps an entry.
func (r *reader) add(to *[]Entry, e Entry) error {
	if len(r.document.Entries)+len(r.groups) >= MaxEntries {
		return fmt.Errorf("the file has more than %d entries: ask the bank to split it", MaxEntries)
	}
	*to = append(*to, e)
	return nil
}

// begin, end and unit take what scan finds.
func (r *reader) begin(name string) error {
	switch name {
	case "OrgnlPmtInfAndSts":
		r.part = part{message: r.part.message}
	case "Stmt", "Ntfctn":
		r.statement = statement{}
	case "Ntry":
		r.entry = booking{}
		r.entry.whole.Account = r.statement.id
	case "NtryDtls":
		r.entry.detailed, r.entry.batch, r.entry.sum = false, false, 0
	}
	return nil
}

func (r *reader) end(name string) error {
	switch name {
	case "OrgnlPmtInfAndSts":
		return r.endPart()
	case "Stmt":
		return r.endStatement()
	case "NtryDtls":
		return r.endDetails()
	case "Ntry":
		return r.endEntry()
	}
	return nil
}

func (r *reader) unit(parent string, n node) error {
	switch parent {
	case "CstmrPmtStsRpt", "BkToCstmrStmt", "BkToCstmrDbtCdtNtfctn":
		switch n.name {
		case "GrpHdr":
			return r.readHeader(n)
		case "OrgnlGrpInfAndSts":
			return r.readGroup(n)
		}
	case "OrgnlPmtInfAndSts":
		return r.readPart(n)
	case "Stmt", "Ntfctn":
		return r.readStatement(n)
	case "Ntry":
		return r.readEntry(n)
	case "NtryDtls":
		return r.readDetails(n)
	}
	return nil
}

func (r *reader) readHeader(n node) (err error) {
	if r.document.MessageID != "" {
		return errors.New("the file has two headers (GrpHdr)")
	}
	if r.document.MessageID, err = n.id("MsgId"); err != nil {
		return err
	}
	r.document.Created = readTime(n.at("CreDtTm").text)
	return nil
}

// readTime reads a time as banks write it, with a zone or, against the standard,
// without; then it is taken for UTC.
func readTime(text string) time.Time {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}
