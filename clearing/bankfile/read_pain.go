package bankfile

import (
	"fmt"
	"strconv"
)

// statuses are what ISO 20022's status codes say (ExternalPaymentTransactionStatus).
// The accepted ones differ in how far the bank has looked, and none of them is a
// booking.
var statuses = map[string]Says{
	"RCVD": Accepted, // received
	"ACTC": Accepted, // its form is right
	"ACCP": Accepted, // the customer may
	"ACSP": Accepted, // it is being carried out
	"ACSC": Accepted, // it is settled with the other bank
	"ACCC": Accepted, // it is on the other's account
	"ACWC": Accepted, // with a change, such as the day
	"PDNG": Accepted, // a check is not finished
	"RJCT": Rejected,
}

// part is a part of the file that a status is about, or all of it.
type part struct {
	message, payment string
	status           node // with reasons; empty: there is none of the part
	reason           node
	count            string
}

// readGroup reads the status of a whole file.
func (r *reader) readGroup(n node) (err error) {
	if r.part.message, err = n.id("OrgnlMsgId"); err != nil {
		return err
	}
	whole := part{message: r.part.message, status: n.at("GrpSts"), reason: n.at("StsRsnInf"), count: n.at("OrgnlNbOfTxs").text}
	return r.addPart(whole)
}

func (r *reader) readPart(n node) (err error) {
	switch n.name {
	case "OrgnlPmtInfId":
		r.part.payment = visible(n.text)
		return checkLength(n.name, n.text, maxID)
	case "OrgnlNbOfTxs":
		r.part.count = n.text
	case "PmtInfSts":
		r.part.status = n
	case "StsRsnInf":
		if r.part.reason.name == "" {
			r.part.reason = n
		}
	case "TxInfAndSts":
		return r.readTransaction(n)
	}
	return nil
}

func (r *reader) endPart() error { return r.addPart(r.part) }

// addPart keeps what is said of a whole file or a part of it, if something is
// that is not said of its payments one by one.
func (r *reader) addPart(p part) (err error) {
	if p.status.text == "" || p.status.text == "PART" {
		return nil
	}
	e := Entry{MessageID: p.message, PaymentID: p.payment, Says: saysOf(p.status.text)}
	if e.Code, err = p.reason.code("Rsn"); err != nil {
		return err
	}
	e.Text = forPeople(p.reason.at("AddtlInf").text)
	if e.Says == Other {
		e.Text = forPeople("status " + p.status.text + " " + e.Text)
	}
	if e.Count, err = readCount(p.count); err != nil {
		return err
	}
	return r.add(&r.groups, e)
}

func saysOf(status string) Says {
	if says, known := statuses[status]; known {
		return says
	}
	return Other
}

// readCount reads how many payments something is about; 0 if the bank does not
// say.
func readCount(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	count, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("a number of payments is %.20q: want digits", text)
	}
	return int(count), nil
}

// readTransaction reads the status of one payment.
func (r *reader) readTransaction(n node) (err error) {
	e := Entry{MessageID: r.part.message, PaymentID: r.part.payment, Count: 1}
	status := n.at("TxSts").text
	if status == "" { // the bank explains it, and says elsewhere what it is
		status = r.part.status.text
	}
	e.Says = saysOf(status)
	if e.EndToEndID, err = n.endToEnd("OrgnlEndToEndId"); err != nil {
		return err
	}
	if e.Code, err = n.code("StsRsnInf", "Rsn"); err != nil {
		return err
	}
	if e.BankReference, err = n.id("AcctSvcrRef"); err != nil {
		return err
	}
	e.Text = forPeople(n.at("StsRsnInf", "AddtlInf").text)
	if e.Says == Other {
		e.Text = forPeople("status " + status + " " + e.Text)
	}
	if amount := n.at("OrgnlTxRef", "Amt", "InstdAmt"); amount.name != "" {
		if e.Amount, e.Currency, err = amount.amount(); err != nil {
			return err
		}
	}
	return r.add(&r.document.Entries, e)
}

// endToEnd reads an end-to-end id, if the payer gave one.
func (n node) endToEnd(path ...string) (string, error) {
	id, err := n.id(path...)
	if id == NotProvided {
		id = ""
	}
	return id, err
}
