// Package bankfile writes the files in which a bank is told whom to pay and from
// whom to collect, and reads those in which it answers. It is values in and
// bytes out: no clock, no files, no network. The same values give the same bytes.
package bankfile

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/paywordhq/payword/internal/bankaccount"
	"github.com/paywordhq/payword/money"
)

// MaxTransactions is the most payments or collections of one file: with every
// text at its longest that is about 50 MB of XML, which banks still take. Split
// more by slices.Chunk, so that the same ones come into the same file.
const MaxTransactions = 50_000

// cent is what banks count in, in euros and in dollars.
const cent = money.Unit / 100

// Account is an account in SEPA, and whose it is.
type Account struct {
	// Name may be any text; Latin makes it fit. Banks compare it with the
	// account's holder.
	Name string
	IBAN string // in capital letters, without spaces, of a country of SEPA
	BIC  string // or ""
}

// Check says what is wrong with the account.
func (a Account) Check() error {
	if err := bankaccount.CheckIBAN(a.IBAN); err != nil {
		return err
	}
	if !bankaccount.InSEPA(a.IBAN) {
		return fmt.Errorf("IBAN: SEPA payments do not reach %s", a.IBAN[:2])
	}
	if a.BIC == "" {
		return nil
	}
	return bankaccount.CheckBIC(a.BIC)
}

// checkAmount says whether an amount is one that a bank moves: whole cents, more
// than none, at most largest.
func checkAmount(amount, largest money.Amount) error {
	if amount <= 0 || amount > largest || amount%cent != 0 {
		return fmt.Errorf("amount %s: want whole cents, 0.01 to %s", amount.Decimal(), largest.Decimal())
	}
	return nil
}

// checkID says what is wrong with an identification that a bank is to hand on
// (EPC230-15): what is not carried as it is cannot be matched.
func checkID(what, id string) error {
	const longest = 35
	if id == "" || len(id) > longest || strings.ContainsFunc(id, func(c rune) bool { return !isLatin(c) || c == ' ' }) {
		return fmt.Errorf("%s %.40q: want 1 to %d letters, digits and / - ? : ( ) . , ' +", what, id, longest)
	}
	if strings.HasPrefix(id, "/") || strings.HasSuffix(id, "/") || strings.Contains(id, "//") {
		return fmt.Errorf("%s %q: want no / at its ends and no two together", what, id)
	}
	return nil
}

func checkDay(what, day string) error {
	if _, err := time.Parse(time.DateOnly, day); err != nil {
		return fmt.Errorf("%s %.20q: want a day such as 2026-11-27", what, day)
	}
	return nil
}

// tally counts what is in a file, and finds end-to-end ids that stand twice.
type tally struct {
	count int
	sum   money.Amount
	seen  map[string]bool
}

func (t *tally) add(endToEnd string, amount money.Amount) (err error) {
	if t.seen == nil {
		t.seen = make(map[string]bool)
	}
	if t.seen[endToEnd] {
		return fmt.Errorf("end-to-end id %s stands twice", endToEnd)
	}
	t.seen[endToEnd] = true
	t.count++
	t.sum, err = t.sum.Add(amount)
	return err
}

// checkCount says whether a file may hold so many.
func checkCount(count int) error {
	if count == 0 {
		return errors.New("nothing is to be moved: a file holds at least one transaction")
	}
	if count > MaxTransactions {
		return fmt.Errorf("%d transactions: a file holds at most %d", count, MaxTransactions)
	}
	return nil
}

// inCents writes an amount of whole cents in major units, with two digits.
func inCents(amount money.Amount) string {
	return fmt.Sprintf("%d.%02d", amount/money.Unit, amount%money.Unit/cent)
}
