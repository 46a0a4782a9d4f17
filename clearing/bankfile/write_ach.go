package bankfile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/moov-io/ach"
	"github.com/moov-io/base"

	"github.com/paywordhq/payword/internal/bankaccount"
	"github.com/paywordhq/payword/money"
)

// maxACH is the most that one payment of a NACHA file carries, in micros: ten
// digits of cents.
const maxACH = 99_999_999*money.Unit + 99*cent

// MaxACHTotal is the most that all payments of a NACHA file carry together, in
// micros: twelve digits of cents.
const MaxACHTotal = 9_999_999_999*money.Unit + 99*cent

// ACHFilesADay is how many files of a day are told apart, by one letter or digit
// in their head.
const ACHFilesADay = 36

// ACHCredits are payments in dollars through the Automated Clearing House (a
// NACHA file): one batch of corporate credits (CCD), then one of credits to
// people (PPD).
type ACHCredits struct {
	Originator ACHOriginator
	// Created is when the run that pays made them. The bank is to pay on the next
	// banking day of the Federal Reserve after its day, UTC.
	Created time.Time
	// Number of the file among those of its day, below ACHFilesADay: the file id
	// modifier.
	Number    int
	Reference string // for the bank's people, 0 to 8 letters and digits
	Payments  []ACHCredit
}

// ACHOriginator is who pays, as its bank knows it.
type ACHOriginator struct {
	Name string // any text; 16 to 23 characters of it are seen
	// CompanyID is what the bank lets it originate under: up to 10 letters and
	// digits, often 1 and the tax number.
	CompanyID string
	// Bank is the routing number of its bank, which takes the file and sends the
	// payments, and BankName that bank's name.
	Bank, BankName string
	// Origin stands in the file's head as where it comes from, up to 10 letters
	// and digits: most banks want the company id or their own routing number.
	Origin string
	// Offset is the account that the sum is taken from, at that bank, where the
	// bank wants balanced files: each batch then has debits of its sum. Most
	// banks take the sum by themselves and want none: nil.
	Offset *bankaccount.ACH
}

// ACHCredit is one payment in dollars.
type ACHCredit struct {
	EndToEndID string // as in SEPA; 15 characters of it are seen, see ACHIdentification
	Amount     money.Amount
	Name       string // of the receiver: any text; 22 characters of it are seen
	Account    bankaccount.ACH
	// Personal is set where a person is paid and not a company.
	Personal bool
}

// ACHIdentification returns what a NACHA file has instead of an end-to-end id:
// its first 15 characters, in capital letters. The way back is to look for the
// one end-to-end id that begins as ACHBeginning says. Of ids of 32 hexadecimal digits 60 bits are left: among a million
// payments two begin alike once in two million times. Then a file is not written
// if it holds both, and an answer that fits both fits none.
func ACHIdentification(endToEnd string) string {
	return strings.ToUpper(endToEnd[:min(achIdentification, len(endToEnd))])
}

// achIdentification is the width of the field.
const achIdentification = 15

// ACHBeginning returns how the end-to-end id of hexadecimal digits begins that
// ACHIdentification made an identification of. It reports false for what is none
// of such an id.
func ACHBeginning(identification string) (string, bool) {
	if len(identification) != achIdentification || strings.Trim(identification, "0123456789ABCDEF") != "" {
		return "", false
	}
	return strings.ToLower(identification), true
}

// Check says why a bank would refuse the payment.
func (c ACHCredit) Check() error {
	_, err := bankaccount.ParseACH(c.Account.String())
	return cmp.Or(checkID("end-to-end id", c.EndToEndID), checkAmount(c.Amount, maxACH), err)
}

// Check says what is wrong with the data of the originator.
func (o ACHOriginator) Check() error {
	err := cmp.Or(checkTen("company id", o.CompanyID), checkTen("origin", o.Origin), bankaccount.CheckRoutingNumber(o.Bank))
	if err != nil || o.Offset == nil {
		return err
	}
	if o.Offset.Routing != o.Bank {
		return errors.New("offset: want an account at the originator's bank")
	}
	_, err = bankaccount.ParseACH(o.Offset.String())
	return err
}

func checkTen(what, id string) error {
	if id == "" || len(id) > 10 || strings.ContainsFunc(id, func(c rune) bool { return !isLetterOrDigit(c) }) {
		return fmt.Errorf("%s %.20q: want 1 to 10 letters and digits", what, id)
	}
	return nil
}

// Write writes the file, in lines of 94 characters that end with CR LF, padded to
// blocks of ten. An error means that a value is wrong, and then nothing is
// written, or that out failed.
//
// Trace numbers count the entries of the file from 1, behind eight digits of the
// originator's bank.
func (c ACHCredits) Write(out io.Writer) error {
	if err := c.check(); err != nil {
		return fmt.Errorf("ACH credits: %w", err)
	}
	file := ach.NewFile()
	file.SetHeader(c.header())
	trace := 0
	for _, kind := range []struct {
		code     string
		personal bool
	}{{ach.CCD, false}, {ach.PPD, true}} {
		batch, err := c.batch(kind.code, kind.personal, len(file.Batches)+1, &trace)
		if err != nil {
			return fmt.Errorf("ACH credits: %w", err)
		}
		if batch != nil {
			file.AddBatch(batch)
		}
	}
	if err := file.Create(); err != nil {
		return fmt.Errorf("ACH credits: %w", err)
	}
	return ach.NewWriterWithOpts(out, &ach.WriteOpts{LineEnding: "\r\n"}).Write(file)
}

func (c ACHCredits) check() error {
	if c.Number < 0 || c.Number >= ACHFilesADay {
		return fmt.Errorf("file number %d of its day: want 0 to %d", c.Number, ACHFilesADay-1)
	}
	if len(c.Reference) > 8 || strings.ContainsFunc(c.Reference, func(r rune) bool { return !isLetterOrDigit(r) }) {
		return fmt.Errorf("reference %.20q: want up to 8 letters and digits", c.Reference)
	}
	var total tally
	err := cmp.Or(checkCount(len(c.Payments)), c.Originator.Check())
	for k := 0; err == nil && k < len(c.Payments); k++ {
		p := c.Payments[k]
		if err = p.Check(); err == nil {
			err = total.add(ACHIdentification(p.EndToEndID), p.Amount)
		}
	}
	if err == nil && total.sum > MaxACHTotal {
		err = fmt.Errorf("%s in all: a file holds at most %s", total.sum.Decimal(), MaxACHTotal.Decimal())
	}
	return err
}

func (c ACHCredits) header() ach.FileHeader {
	header := ach.NewFileHeader()
	header.ImmediateDestination = c.Originator.Bank
	header.ImmediateDestinationName = upperLatin(c.Originator.BankName, 23)
	header.ImmediateOrigin = c.Originator.Origin
	header.ImmediateOriginName = upperLatin(c.Originator.Name, 23)
	header.FileCreationDate = c.Created.UTC().Format("060102")
	header.FileCreationTime = c.Created.UTC().Format("1504")
	header.FileIDModifier = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"[c.Number : c.Number+1]
	header.ReferenceCode = strings.ToUpper(c.Reference)
	return header
}

// batch returns the batch of the payments to companies or to people, or nil if
// there is none.
func (c ACHCredits) batch(code string, personal bool, number int, trace *int) (ach.Batcher, error) {
	odfi := c.Originator.Bank[:8]
	header := ach.NewBatchHeader()
	header.ServiceClassCode = ach.CreditsOnly
	if c.Originator.Offset != nil {
		header.ServiceClassCode = ach.MixedDebitsAndCredits
	}
	header.CompanyName = upperLatin(c.Originator.Name, 16)
	header.CompanyIdentification = strings.ToUpper(c.Originator.CompanyID)
	header.StandardEntryClassCode = code
	header.CompanyEntryDescription = "PAYOUT"
	header.EffectiveEntryDate = base.NewTime(c.Created.UTC()).AddBankingDay(1).Format("060102")
	header.ODFIIdentification = odfi
	header.BatchNumber = number
	batch, err := ach.NewBatch(header)
	if err != nil {
		return nil, err
	}
	sum := money.Amount(0)
	for _, p := range c.Payments {
		if p.Personal == personal {
			*trace++
			sum += p.Amount // their sum was checked
			batch.AddEntry(entry(p.Account, achCredit, p.Amount, ACHIdentification(p.EndToEndID), p.Name, odfi, *trace))
		}
	}
	if len(batch.GetEntries()) == 0 {
		return nil, nil
	}
	// Not by WithOffset of the library: it takes every entry to somebody who is
	// called "offset" for its own, and drops it.
	if offset := c.Originator.Offset; offset != nil {
		for ; sum > 0; sum -= min(sum, maxACH) { // one entry carries no more
			*trace++
			batch.AddEntry(entry(*offset, achDebit, min(sum, maxACH), "", "OFFSET", odfi, *trace))
		}
	}
	return batch, batch.Create()
}

// The transaction codes by kind of account.
var (
	achCredit = map[string]int{bankaccount.KindChecking: ach.CheckingCredit, bankaccount.KindSavings: ach.SavingsCredit}
	achDebit  = map[string]int{bankaccount.KindChecking: ach.CheckingDebit, bankaccount.KindSavings: ach.SavingsDebit}
)

func entry(account bankaccount.ACH, codes map[string]int, amount money.Amount, id, name, odfi string, trace int) *ach.EntryDetail {
	e := ach.NewEntryDetail()
	e.TransactionCode = codes[account.Kind]
	e.SetRDFI(account.Routing)
	e.DFIAccountNumber = account.Account
	e.Amount = int(amount / cent)
	e.IdentificationNumber = id
	e.IndividualName = upperLatin(name, 22)
	e.SetTraceNumber(odfi, trace)
	return e
}

// upperLatin writes a text in the letters that every American bank takes.
func upperLatin(text string, longest int) string { return strings.ToUpper(Latin(text, longest)) }
