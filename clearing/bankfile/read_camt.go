package bankfile

import (
	"errors"
	"fmt"
	"slices"

	"github.com/paywordhq/payword/money"
)

// statement is a statement of one account.
type statement struct {
	id               string
	opening, closing *balance
}

// balance is one of the balances of a statement.
type balance struct {
	amount   money.Amount
	currency money.Currency
	day      string
}

// readStatement reads what a statement says beside its entries.
func (r *reader) readStatement(n node) (err error) {
	switch n.name {
	case "Acct":
		if r.statement.id, err = n.id("Id", "IBAN"); err == nil && r.statement.id == "" {
			r.statement.id, err = n.id("Id", "Othr", "Id")
		}
		return err
	case "Bal":
		return r.readBalance(n)
	}
	return nil
}

func (r *reader) readBalance(n node) (err error) {
	var b balance
	if b.amount, b.currency, err = n.at("Amt").amount(); err != nil {
		return err
	}
	direction, err := n.at("CdtDbtInd").direction()
	if err != nil {
		return err
	}
	if direction == Out {
		b.amount = -b.amount
	}
	if b.day, err = n.at("Dt").day(); err != nil {
		return err
	}
	switch n.at("Tp", "CdOrPrtry", "Cd").text {
	case "OPBD", "PRCD": // at the opening, or when the day before closed
		if r.statement.opening == nil {
			r.statement.opening = &b
		}
	case "CLBD":
		r.statement.closing = &b
	}
	return nil
}

// endStatement keeps the balances of a statement that has both. Several
// statements of one day follow each other.
func (r *reader) endStatement() error {
	s := r.statement
	if s.opening == nil || s.closing == nil || s.id == "" || s.closing.day == "" {
		return nil
	}
	if s.opening.currency != s.closing.currency {
		return errors.New("a statement opens in one currency and closes in another")
	}
	next := Balance{Account: s.id, Day: s.closing.day, Currency: s.closing.currency, Opening: s.opening.amount, Closing: s.closing.amount}
	k := slices.IndexFunc(r.document.Balances, func(b Balance) bool { return b.Account == next.Account && b.Day == next.Day })
	if k < 0 {
		if len(r.document.Balances) >= MaxBalances {
			return fmt.Errorf("the file has statements of more than %d accounts and days: ask the bank to split it", MaxBalances)
		}
		r.document.Balances = append(r.document.Balances, next)
		return nil
	}
	before := &r.document.Balances[k]
	if before.Currency != next.Currency || before.Closing != next.Opening {
		return fmt.Errorf("two statements of %s on %s do not follow each other: one closes with %s, the next opens with %s",
			next.Account, next.Day, before.Closing.Decimal(), next.Opening.Decimal())
	}
	before.Closing = next.Closing
	return nil
}

// booking is an entry of an account, of one payment or of several.
type booking struct {
	whole    Entry
	status   string
	isBack   bool         // it takes something back
	detailed bool         // the details have payments one by one
	batch    bool         // the details have a batch without them
	sum      money.Amount // of that batch, micros; 0: the bank does not say
	added    int
}

func (r *reader) readEntry(n node) (err error) {
	b := &r.entry
	switch n.name {
	case "Amt":
		b.whole.Amount, b.whole.Currency, err = n.amount()
	case "CdtDbtInd":
		b.whole.Direction, err = n.direction()
	case "RvslInd":
		b.isBack = n.text == "true" || n.text == "1"
	case "Sts":
		b.status, err = n.code()
	case "BookgDt":
		b.whole.Day, err = n.day()
	case "ValDt":
		if b.whole.Day == "" {
			b.whole.Day, err = n.day()
		}
	case "AcctSvcrRef":
		b.whole.BankReference, err = visible(n.text), checkLength(n.name, n.text, maxID)
	case "BkTxCd":
		b.isBack = b.isBack || takesBack(n)
	case "AddtlNtryInf":
		b.whole.Text = forPeople(n.text)
	}
	return err
}

// takesBack reports whether a bank's transaction code says that an earlier
// booking is taken back: a return, an unpaid direct debit, or a reversal.
func takesBack(n node) bool {
	return slices.Contains([]string{"RRTN", "UPDD", "PRDD"}, n.at("Domn", "Fmly", "SubFmlyCd").text)
}

func (r *reader) readDetails(n node) error {
	switch n.name {
	case "Btch":
		r.entry.batch = true
		return r.readBatch(n)
	case "TxDtls":
		r.entry.detailed = true
		if err := r.entry.check(); err != nil {
			return err
		}
		return r.readDetail(n)
	}
	return nil
}

// readBatch reads which file, or which part of one, a booking is of.
func (r *reader) readBatch(n node) (err error) {
	whole := &r.entry.whole
	if whole.MessageID, err = n.id("MsgId"); err != nil {
		return err
	}
	if whole.PaymentID, err = n.id("PmtInfId"); err != nil {
		return err
	}
	if total := n.at("TtlAmt"); total.name != "" {
		if r.entry.sum, _, err = total.amount(); err != nil {
			return err
		}
	}
	whole.Count, err = readCount(n.at("NbOfTxs").text)
	return err
}

// readDetail reads one payment of a booking.
func (r *reader) readDetail(n node) (err error) {
	e := r.entry.whole
	e.Count = 1
	if e.EndToEndID, err = n.endToEnd("Refs", "EndToEndId"); err != nil {
		return err
	}
	if reference, err := n.id("Refs", "AcctSvcrRef"); err != nil {
		return err
	} else if reference != "" {
		e.BankReference = reference
	}
	if e.Amount, e.Currency, err = n.ownAmount(); err != nil {
		return err
	}
	if indicator := n.at("CdtDbtInd"); indicator.name != "" {
		if e.Direction, err = indicator.direction(); err != nil {
			return err
		}
	}
	if e.Code, err = n.code("RtrInf", "Rsn"); err != nil {
		return err
	}
	if text := n.at("RtrInf", "AddtlInf").text; text != "" {
		e.Text = forPeople(text)
	}
	e.Says = r.entry.says(n.has("RtrInf") || takesBack(n.at("BkTxCd")))
	r.entry.added++
	return r.add(&r.document.Entries, e)
}

// ownAmount is what the details say that was moved; 0 if they do not.
func (n node) ownAmount() (money.Amount, money.Currency, error) {
	for _, path := range [][]string{{"Amt"}, {"AmtDtls", "TxAmt", "Amt"}, {"AmtDtls", "InstdAmt", "Amt"}} {
		if amount := n.at(path...); amount.name != "" {
			return amount.amount()
		}
	}
	return 0, "", nil
}

// says returns what a booking of that status says of a payment in it.
func (b booking) says(isBack bool) Says {
	switch {
	case b.status == "PDNG":
		return Accepted
	case b.status != "BOOK":
		return Other
	case isBack || b.isBack:
		return Returned
	}
	return Booked
}

// endDetails keeps a batch whose payments the bank does not tell apart.
func (r *reader) endDetails() error {
	if !r.entry.batch || r.entry.detailed {
		return nil
	}
	r.entry.batch = false
	return r.addWhole(r.entry.sum)
}

// endEntry keeps a booking without details.
func (r *reader) endEntry() error {
	b := &r.entry
	if err := b.check(); err != nil {
		return err
	}
	if b.added == 1 {
		// The one payment in it is all of it.
		last := &r.document.Entries[len(r.document.Entries)-1]
		if last.Amount == 0 {
			last.Amount, last.Currency = b.whole.Amount, b.whole.Currency
		}
	}
	if b.added > 0 {
		return nil
	}
	return r.addWhole(b.whole.Amount)
}

// check makes sure that everything is known that the payments of a booking share.
func (b booking) check() error {
	if b.whole.Direction == "" || b.whole.Currency == "" || b.status == "" {
		return errors.New("an entry (Ntry) has no amount, no direction or no status before its details")
	}
	return nil
}

// addWhole keeps a booking, or a batch in it, whose payments the bank does not
// tell apart.
func (r *reader) addWhole(amount money.Amount) error {
	e := r.entry.whole
	e.Amount = amount
	e.Says = r.entry.says(false)
	r.entry.added++
	return r.add(&r.document.Entries, e)
}
