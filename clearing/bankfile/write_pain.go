package bankfile

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"time"

	"github.com/paywordhq/payword/internal/bankaccount"
	"github.com/paywordhq/payword/money"
)

// PainVersion is a version of the messages to a bank. Ours differ in the
// namespace alone.
type PainVersion string

// The versions, named after that of pain.001.
const (
	// PainSEPA is what the rulebooks of SEPA prescribe since 2024:
	// pain.001.001.09 and pain.008.001.08.
	PainSEPA PainVersion = "09"
	// PainISO is the next one of ISO 20022: pain.001.001.10 and pain.008.001.09.
	PainISO PainVersion = "10"
)

// painNamespaces are the namespaces of a version.
func (v PainVersion) namespaces() (creditTransfers, directDebits string, err error) {
	const prefix = "urn:iso:std:iso:20022:tech:xsd:"
	switch v {
	case PainSEPA:
		return prefix + "pain.001.001.09", prefix + "pain.008.001.08", nil
	case PainISO:
		return prefix + "pain.001.001.10", prefix + "pain.008.001.09", nil
	}
	return "", "", fmt.Errorf("version %.20q of pain.001: want %s or %s", string(v), PainSEPA, PainISO)
}

// maxSEPA is the most that one SEPA payment carries, in micros.
const maxSEPA = 999_999_999*money.Unit + 99*cent

const (
	maxName       = 70
	maxRemittance = 140
)

// CreditTransfers are payments in euros, from one account to many (pain.001).
type CreditTransfers struct {
	Version   PainVersion
	MessageID string // never used for another file; checked as the end-to-end ids are
	// Created is when the run that pays made them, not when they are written.
	Created  time.Time
	Debtor   Account
	Day      string // on which the debtor's bank is to pay, such as 2026-11-27
	Payments []CreditTransfer
}

// CreditTransfer is one payment in euros.
type CreditTransfer struct {
	EndToEndID string
	Amount     money.Amount // whole cents
	Creditor   Account
	Remittance string // for the creditor: any text, which Latin makes fit, or ""
}

// Check says why a bank would refuse the payment.
func (c CreditTransfer) Check() error {
	return cmp.Or(checkID("end-to-end id", c.EndToEndID), checkAmount(c.Amount, maxSEPA), c.Creditor.Check())
}

// Write writes the document. An error means that a value is wrong, and then
// nothing is written, or that out failed.
//
// Each payment is booked by itself, so that the bank's statement has each one's
// end-to-end id. The creditor's bank stands in it only where its BIC is known:
// the rules of SEPA take no other name for it.
func (c CreditTransfers) Write(out io.Writer) error {
	namespace, _, err := c.Version.namespaces()
	if err != nil {
		return err
	}
	var total tally
	err = cmp.Or(checkCount(len(c.Payments)), checkID("message id", c.MessageID), c.Debtor.Check(), checkDay("day", c.Day))
	for k := 0; err == nil && k < len(c.Payments); k++ {
		err = cmp.Or(c.Payments[k].Check(), total.add(c.Payments[k].EndToEndID, c.Payments[k].Amount))
	}
	if err != nil {
		return fmt.Errorf("credit transfers %.40s: %w", c.MessageID, err)
	}
	w := newPainWriter(out)
	w.open("Document", namespace)
	w.open("CstmrCdtTrfInitn", "")
	w.element("GrpHdr", groupHeader(c.MessageID, c.Created, c.Debtor.Name, total))
	w.open("PmtInf", "")
	w.text("PmtInfId", c.MessageID)
	w.text("PmtMtd", "TRF")
	w.totals(total)
	w.element("PmtTpInf", paymentType{ServiceLevel: code{"SEPA"}})
	w.element("ReqdExctnDt", date{c.Day})
	w.element("Dbtr", name{Latin(c.Debtor.Name, maxName)})
	w.element("DbtrAcct", account{c.Debtor.IBAN})
	w.element("DbtrAgt", bankOrNotProvided(c.Debtor.BIC))
	w.text("ChrgBr", "SLEV")
	for _, p := range c.Payments {
		w.element("CdtTrfTxInf", creditTransfer{
			EndToEndID: p.EndToEndID, Amount: euros(p.Amount), Bank: bankIfKnown(p.Creditor.BIC),
			Name: Latin(p.Creditor.Name, maxName), Account: account{p.Creditor.IBAN}, Remittance: remittanceOf(p.Remittance),
		})
	}
	return w.close()
}

// DirectDebits are collections in euros, from many accounts to one (pain.008).
type DirectDebits struct {
	Version   PainVersion
	MessageID string // up to 33 characters, see CreditTransfers
	Created   time.Time
	Creditor  Account
	// CreditorID is what the creditor's bank lets it collect under.
	CreditorID string
	Day        string // on which the debtors' banks are to be debited
	Debits     []DirectDebit
}

// DirectDebit is one collection in euros.
type DirectDebit struct {
	EndToEndID string
	Amount     money.Amount // whole cents
	Debtor     Account
	MandateID  string // up to 35 characters, as end-to-end ids
	Signed     string // the day of the mandate's signature
	Scheme     Scheme
	Sequence   Sequence
	Remittance string
}

// Scheme is a scheme of direct debits: for everybody, or for companies, who
// cannot ask for their money back.
type Scheme string

// The schemes.
const (
	SchemeCore Scheme = "core"
	SchemeB2B  Scheme = "b2b"
)

// Sequence says which of a mandate's collections it is.
type Sequence string

// The sequence types of SEPA.
const (
	SequenceFirst     Sequence = "FRST"
	SequenceRecurrent Sequence = "RCUR"
	SequenceOnce      Sequence = "OOFF"
	SequenceFinal     Sequence = "FNAL"
)

// batchKind is what all collections of one block of a file have in common.
type batchKind struct {
	scheme   Scheme
	sequence Sequence
	suffix   string // of the block's id
}

// batchKinds are the blocks of a file, in their order.
var batchKinds = []batchKind{
	{SchemeCore, SequenceFirst, "CF"}, {SchemeCore, SequenceRecurrent, "CR"}, {SchemeCore, SequenceOnce, "CO"}, {SchemeCore, SequenceFinal, "CL"},
	{SchemeB2B, SequenceFirst, "BF"}, {SchemeB2B, SequenceRecurrent, "BR"}, {SchemeB2B, SequenceOnce, "BO"}, {SchemeB2B, SequenceFinal, "BL"},
}

func (d DirectDebit) kind() (batchKind, bool) {
	for _, kind := range batchKinds {
		if kind.scheme == d.Scheme && kind.sequence == d.Sequence {
			return kind, true
		}
	}
	return batchKind{}, false
}

// Check says why a bank would refuse the collection.
func (d DirectDebit) Check() error {
	err := cmp.Or(checkID("end-to-end id", d.EndToEndID), checkAmount(d.Amount, maxSEPA), d.Debtor.Check(),
		checkID("mandate id", d.MandateID), checkDay("day of the mandate's signature", d.Signed))
	if _, known := d.kind(); !known {
		err = cmp.Or(err, fmt.Errorf("scheme %.10q and sequence %.10q: want core or b2b, and FRST, RCUR, OOFF or FNAL", d.Scheme, d.Sequence))
	}
	return err
}

// Write writes the document, with one block for each scheme and sequence type,
// in the order core before b2b and FRST, RCUR, OOFF, FNAL. An error means that a
// value is wrong, and then nothing is written, or that out failed.
//
// A debtor's bank whose BIC is not known stands in it as NOTPROVIDED, for the
// schema wants one.
func (d DirectDebits) Write(out io.Writer) error {
	_, namespace, err := d.Version.namespaces()
	if err != nil {
		return err
	}
	var total tally
	totals := make(map[batchKind]*tally)
	err = cmp.Or(checkCount(len(d.Debits)), checkID("message id", d.MessageID), checkID("message id", d.MessageID+batchKinds[0].suffix),
		d.Creditor.Check(), bankaccount.CheckCreditorID(d.CreditorID), checkDay("day", d.Day))
	for k := 0; err == nil && k < len(d.Debits); k++ {
		debit := d.Debits[k]
		kind, _ := debit.kind()
		if totals[kind] == nil {
			totals[kind] = new(tally)
		}
		err = cmp.Or(debit.Check(), total.add(debit.EndToEndID, debit.Amount), totals[kind].add(debit.EndToEndID, debit.Amount))
	}
	if err != nil {
		return fmt.Errorf("direct debits %.40s: %w", d.MessageID, err)
	}
	w := newPainWriter(out)
	w.open("Document", namespace)
	w.open("CstmrDrctDbtInitn", "")
	w.element("GrpHdr", groupHeader(d.MessageID, d.Created, d.Creditor.Name, total))
	for _, kind := range batchKinds {
		if totals[kind] != nil {
			d.writeBatch(w, kind, *totals[kind])
		}
	}
	return w.close()
}

// writeBatch writes the block of one scheme and sequence type.
func (d DirectDebits) writeBatch(w *painWriter, kind batchKind, total tally) {
	scheme := map[Scheme]string{SchemeCore: "CORE", SchemeB2B: "B2B"}[kind.scheme]
	w.open("PmtInf", "")
	w.text("PmtInfId", d.MessageID+kind.suffix)
	w.text("PmtMtd", "DD")
	w.totals(total)
	w.element("PmtTpInf", paymentType{ServiceLevel: code{"SEPA"}, Instrument: &code{scheme}, Sequence: string(kind.sequence)})
	w.text("ReqdColltnDt", d.Day)
	w.element("Cdtr", name{Latin(d.Creditor.Name, maxName)})
	w.element("CdtrAcct", account{d.Creditor.IBAN})
	w.element("CdtrAgt", bankOrNotProvided(d.Creditor.BIC))
	w.text("ChrgBr", "SLEV")
	w.element("CdtrSchmeId", creditorScheme{ID: d.CreditorID, Scheme: "SEPA"})
	for _, debit := range d.Debits {
		if debit.Scheme != kind.scheme || debit.Sequence != kind.sequence {
			continue
		}
		w.element("DrctDbtTxInf", directDebit{
			EndToEndID: debit.EndToEndID, Amount: euros(debit.Amount), MandateID: debit.MandateID, Signed: debit.Signed,
			Bank: bankOrNotProvided(debit.Debtor.BIC), Name: Latin(debit.Debtor.Name, maxName), Account: account{debit.Debtor.IBAN},
			Remittance: remittanceOf(debit.Remittance),
		})
	}
	w.end()
}

// painWriter writes elements as they come, and keeps the first error.
type painWriter struct {
	out     io.Writer
	encoder *xml.Encoder
	opened  []xml.StartElement
	err     error
}

func newPainWriter(out io.Writer) *painWriter {
	_, err := io.WriteString(out, xml.Header)
	w := &painWriter{out: out, encoder: xml.NewEncoder(out), err: err}
	w.encoder.Indent("", " ")
	return w
}

func (w *painWriter) open(tag, namespace string) {
	start := xml.StartElement{Name: xml.Name{Local: tag}}
	if namespace != "" {
		start.Attr = []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: namespace}}
	}
	w.opened = append(w.opened, start)
	if w.err == nil {
		w.err = w.encoder.EncodeToken(start)
	}
}

func (w *painWriter) end() {
	last := len(w.opened) - 1
	if w.err == nil {
		w.err = w.encoder.EncodeToken(w.opened[last].End())
	}
	w.opened = w.opened[:last]
}

func (w *painWriter) element(tag string, value any) {
	if w.err == nil {
		w.err = w.encoder.EncodeElement(value, xml.StartElement{Name: xml.Name{Local: tag}})
	}
}

func (w *painWriter) text(tag, value string) { w.element(tag, value) }

// totals writes how many payments a block has, and their sum.
func (w *painWriter) totals(t tally) {
	w.text("BtchBookg", "false")
	w.element("NbOfTxs", t.count)
	w.text("CtrlSum", inCents(t.sum))
}

// close ends what is open, and the document.
func (w *painWriter) close() error {
	for len(w.opened) > 0 {
		w.end()
	}
	if w.err == nil {
		w.err = w.encoder.Close()
	}
	if w.err == nil {
		_, w.err = io.WriteString(w.out, "\n")
	}
	return w.err
}

// The elements of both documents, in the order of the schemas.
type (
	header struct {
		MessageID string `xml:"MsgId"`
		Created   string `xml:"CreDtTm"`
		Count     int    `xml:"NbOfTxs"`
		Sum       string `xml:"CtrlSum"`
		Initiator string `xml:"InitgPty>Nm"`
	}
	code struct {
		Code string `xml:"Cd"`
	}
	paymentType struct {
		ServiceLevel code   `xml:"SvcLvl"`
		Instrument   *code  `xml:"LclInstrm"`
		Sequence     string `xml:"SeqTp,omitempty"`
	}
	date struct {
		Day string `xml:"Dt"`
	}
	name struct {
		Name string `xml:"Nm"`
	}
	account struct {
		IBAN string `xml:"Id>IBAN"`
	}
	bank struct {
		BIC   string `xml:"FinInstnId>BICFI,omitempty"`
		Other *other `xml:"FinInstnId>Othr"`
	}
	other struct {
		ID string `xml:"Id"`
	}
	remittance struct {
		Text string `xml:"Ustrd"`
	}
	amount struct {
		Currency string `xml:"Ccy,attr"`
		Value    string `xml:",chardata"`
	}
	creditTransfer struct {
		EndToEndID string      `xml:"PmtId>EndToEndId"`
		Amount     amount      `xml:"Amt>InstdAmt"`
		Bank       *bank       `xml:"CdtrAgt"`
		Name       string      `xml:"Cdtr>Nm"`
		Account    account     `xml:"CdtrAcct"`
		Remittance *remittance `xml:"RmtInf"`
	}
	creditorScheme struct {
		ID     string `xml:"Id>PrvtId>Othr>Id"`
		Scheme string `xml:"Id>PrvtId>Othr>SchmeNm>Prtry"`
	}
	directDebit struct {
		EndToEndID string      `xml:"PmtId>EndToEndId"`
		Amount     amount      `xml:"InstdAmt"`
		MandateID  string      `xml:"DrctDbtTx>MndtRltdInf>MndtId"`
		Signed     string      `xml:"DrctDbtTx>MndtRltdInf>DtOfSgntr"`
		Bank       bank        `xml:"DbtrAgt"`
		Name       string      `xml:"Dbtr>Nm"`
		Account    account     `xml:"DbtrAcct"`
		Remittance *remittance `xml:"RmtInf"`
	}
)

func groupHeader(messageID string, created time.Time, initiator string, total tally) header {
	return header{MessageID: messageID, Created: created.UTC().Format("2006-01-02T15:04:05Z"),
		Count: total.count, Sum: inCents(total.sum), Initiator: Latin(initiator, maxName)}
}

func euros(value money.Amount) amount { return amount{Currency: "EUR", Value: inCents(value)} }

// remittanceOf returns nil, which leaves the element out, for no text.
func remittanceOf(text string) *remittance {
	if text == "" {
		return nil
	}
	return &remittance{Latin(text, maxRemittance)}
}

// bankIfKnown returns nil, which leaves the element out, without a BIC.
func bankIfKnown(bic string) *bank {
	if bic == "" {
		return nil
	}
	return &bank{BIC: bic}
}

func bankOrNotProvided(bic string) bank {
	if bic == "" {
		return bank{Other: &other{NotProvided}}
	}
	return bank{BIC: bic}
}
