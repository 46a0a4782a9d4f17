package clearing

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/internal/bankaccount"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// bankFile is a kind of file for banks. A run has one for each of the orders of
// its method, or several where there are more of them than one may hold.
type bankFile struct {
	method string
	// name is the beginning of the file's name, and extension the end.
	name, extension string
	// mark stands in the message id, between run and part.
	mark  string
	write func(ctx context.Context, w io.Writer, r *record, p bankPart) error
}

// bankFiles are the files for banks, in the order in which they are written.
var bankFiles = []bankFile{
	{MethodCreditTransfer, "pain.001-", ".xml", "-c", writeCreditTransfers},
	{MethodDirectDebit, "pain.008-", ".xml", "-d", writeDirectDebits},
	{MethodACH, "ach-", ".txt", "-a", writeACH},
}

// bankPart is one of the files of a kind that a run has.
type bankPart struct {
	bankFile
	number int // 1 and up
	most   int // orders in each
}

// fileName is the name of the file for a run. Ids of runs have no full stop, so
// that no part has the name of another run's file.
func (p bankPart) fileName(runID string) string {
	if p.number == 1 {
		return p.name + runID + p.extension
	}
	return p.name + runID + "." + strconv.Itoa(p.number) + p.extension
}

// messageID is what the bank calls the file: up to 28 characters of the run, and
// at most five more.
func (p bankPart) messageID(runID string) string { return runID + p.mark + strconv.Itoa(p.number) }

// bankParts returns the files for banks that the run has, with at most so many
// orders in each.
func (r *record) bankParts(most int) (parts []bankPart) {
	for _, kind := range bankFiles {
		for number := 1; (number-1)*most < r.methods[kind.method]; number++ {
			parts = append(parts, bankPart{kind, number, most})
		}
	}
	return parts
}

// order is an order to the bank, as it is on record.
type order struct {
	endToEnd, kind, party, destination string
	amount                             money.Amount
	mandate                            mandate // of a direct debit
}

// mandate is what a direct debit says of its mandate.
type mandate struct {
	id, name, iban, bic, signed, scheme string
	// wasUsed is set if an order with it was sent before: then it is not the
	// first. Only what never changes says so, for the file may be made again when
	// there are later ones.
	wasUsed bool
}

// orders reads the orders of a file. Fewer than there should be are an error:
// somebody would be paid nothing.
func (r *record) orders(ctx context.Context, p bankPart) (orders []order, err error) {
	offset := (p.number - 1) * p.most
	err = r.db.View(ctx, func(tx *ledger.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT i.end_to_end, i.kind, i.party, i.destination, i.amount,
				COALESCE(m.id, ''), COALESCE(m.name, ''), COALESCE(m.iban, ''), COALESCE(m.bic, ''), COALESCE(m.signed, ''), COALESCE(m.scheme, ''),
				CASE WHEN m.id IS NOT NULL AND EXISTS (SELECT 1 FROM clearing_instructions e WHERE e.kind = i.kind AND e.party = i.party
					AND e.sent < i.sent AND e.destination = i.destination) THEN 1 ELSE 0 END
			FROM clearing_instructions i LEFT JOIN clearing_mandates m ON i.method = 'direct-debit' AND m.id = SUBSTR(i.destination, 9)
			WHERE i.run_id = ? AND i.method = ? ORDER BY i.number LIMIT ? OFFSET ?`, r.RunID, p.method, p.most, offset)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var o order
			var used int
			err := rows.Scan(&o.endToEnd, &o.kind, &o.party, &o.destination, (*int64)(&o.amount),
				&o.mandate.id, &o.mandate.name, &o.mandate.iban, &o.mandate.bic, &o.mandate.signed, &o.mandate.scheme, &used)
			if err != nil {
				return err
			}
			o.mandate.wasUsed = used == 1
			orders = append(orders, o)
		}
		return rows.Err()
	})
	if want := min(p.most, r.methods[p.method]-offset); err == nil && len(orders) != want {
		err = fmt.Errorf("%d orders by %s are on record, want %d", len(orders), p.method, want)
	}
	return orders, err
}

// writeCreditTransfers writes the payments in euros (pain.001).
func writeCreditTransfers(ctx context.Context, w io.Writer, r *record, p bankPart) error {
	orders, err := r.orders(ctx, p)
	if err != nil {
		return err
	}
	document := bankfile.CreditTransfers{
		Version: bankfile.PainVersion(r.Policy.PainVersion), MessageID: p.messageID(r.RunID), Created: r.Closed,
		Debtor: r.Policy.bankAccount(), Day: bankfile.BusinessDay(r.Closed, 1).Format(time.DateOnly),
	}
	for _, o := range orders {
		document.Payments = append(document.Payments, o.creditTransfer(r.PeriodEnd))
	}
	return document.Write(w)
}

// writeDirectDebits writes the collections in euros (pain.008).
func writeDirectDebits(ctx context.Context, w io.Writer, r *record, p bankPart) error {
	orders, err := r.orders(ctx, p)
	if err != nil {
		return err
	}
	document := bankfile.DirectDebits{
		Version: bankfile.PainVersion(r.Policy.PainVersion), MessageID: p.messageID(r.RunID), Created: r.Closed,
		Creditor: r.Policy.bankAccount(), CreditorID: r.Policy.CreditorID, Day: bankfile.BusinessDay(r.Closed, 2).Format(time.DateOnly),
	}
	for _, o := range orders {
		document.Debits = append(document.Debits, o.directDebit(r.PeriodEnd))
	}
	return document.Write(w)
}

// writeACH writes the payments in dollars (NACHA).
func writeACH(ctx context.Context, w io.Writer, r *record, p bankPart) error {
	orders, err := r.orders(ctx, p)
	if err != nil {
		return err
	}
	before, err := r.achFilesBefore(ctx, p)
	if err != nil {
		return err
	}
	document := bankfile.ACHCredits{
		Originator: r.Policy.originator(), Created: r.Closed, Number: (before + p.number - 1) % bankfile.ACHFilesADay,
	}
	for _, o := range orders {
		credit, err := o.achCredit()
		if err != nil {
			return fmt.Errorf("order %s: %w", o.endToEnd, err)
		}
		document.Payments = append(document.Payments, credit)
	}
	return document.Write(w)
}

// achFilesBefore counts the files for ACH of the runs that were closed on the same
// day before this one. More of them do not come up later.
func (r *record) achFilesBefore(ctx context.Context, p bankPart) (count int, err error) {
	day := r.Closed.Truncate(24 * time.Hour)
	err = r.db.View(ctx, func(tx *ledger.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT CAST(COALESCE(SUM((orders + ?) / ?), 0) AS BIGINT) FROM (
				SELECT COUNT(*) AS orders FROM clearing_runs r JOIN clearing_instructions i ON i.run_id = r.id AND i.method = 'ach'
				WHERE r.closed >= ? AND (r.closed < ? OR r.closed = ? AND r.id < ?) GROUP BY r.id) AS runs`,
			p.most-1, p.most, day.UnixMicro(), r.Closed.UnixMicro(), r.Closed.UnixMicro(), r.RunID).Scan(&count)
	})
	return count, err
}

// bankAccount is the broker's own account in SEPA.
func (p Policy) bankAccount() bankfile.Account {
	return bankfile.Account{Name: p.Name, IBAN: p.IBAN, BIC: p.BIC}
}

// originator is the broker as its bank in America knows it. The policy has that.
func (p Policy) originator() bankfile.ACHOriginator {
	n := p.NACHA
	originator := bankfile.ACHOriginator{Name: p.Name, CompanyID: n.CompanyID, Bank: n.Destination, BankName: n.DestinationName, Origin: n.Origin}
	if n.Offset != "" {
		account, kind, _ := strings.Cut(n.Offset, "/")
		originator.Offset = &bankaccount.ACH{Routing: n.Destination, Account: account, Kind: kind}
	}
	return originator
}

// creditTransfer is what the bank is told of an order to an IBAN.
func (o order) creditTransfer(periodEnd string) bankfile.CreditTransfer {
	return bankfile.CreditTransfer{
		EndToEndID: o.endToEnd, Amount: o.amount, Remittance: "payword " + periodEnd + " " + o.party,
		Creditor: bankfile.Account{Name: o.payee(), IBAN: strings.TrimPrefix(o.destination, destinationIBAN)},
	}
}

// achCredit is what the bank is told of an order to an account in America.
func (o order) achCredit() (bankfile.ACHCredit, error) {
	account, err := bankaccount.ParseACH(strings.TrimPrefix(o.destination, destinationACH))
	return bankfile.ACHCredit{
		EndToEndID: o.endToEnd, Amount: o.amount, Name: o.payee(), Account: account, Personal: o.kind == KindAccountPayout,
	}, err
}

// directDebit is what the bank is told of a collection.
func (o order) directDebit(periodEnd string) bankfile.DirectDebit {
	m, sequence := o.mandate, bankfile.SequenceFirst
	if m.wasUsed {
		sequence = bankfile.SequenceRecurrent
	}
	return bankfile.DirectDebit{
		EndToEndID: o.endToEnd, Amount: o.amount, Debtor: bankfile.Account{Name: m.name, IBAN: m.iban, BIC: m.bic},
		MandateID: m.id, Signed: m.signed, Scheme: bankfile.Scheme(m.scheme), Sequence: sequence,
		Remittance: "payword " + periodEnd + " " + o.party,
	}
}

// payee is the name of who is paid, as far as it is known: the host of a
// vendor's site, or the id of a merchant or an account.
func (o order) payee() string {
	switch o.kind {
	case KindVendor:
		_, host, _ := strings.Cut(o.party, "://")
		return host
	case KindAccountPayout:
		account, _, _ := strings.Cut(o.party, "/")
		return account
	}
	return o.party
}

// bankMethod returns by which file the amount of a line reaches its destination,
// or MethodList where no bank of the policy's would take it there.
func bankMethod(p Policy, currency money.Currency, l Line) string {
	o := order{endToEnd: l.EndToEnd, kind: l.Kind, party: l.Party, destination: l.Destination, amount: l.Amount}
	switch code := currency.Code(); {
	case l.Kind == KindCollection:
		return MethodDirectDebit
	case strings.HasPrefix(l.Destination, destinationIBAN) && code == "EUR" && p.IBAN != "":
		if o.creditTransfer("").Check() == nil {
			return MethodCreditTransfer
		}
	case strings.HasPrefix(l.Destination, destinationACH) && code == "USD" && p.NACHA != nil:
		if credit, err := o.achCredit(); err == nil && credit.Check() == nil {
			return MethodACH
		}
	}
	return MethodList
}
