package bankfile

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/paywordhq/payword/money"
)

// Payment is one row of a list of what is paid by hand.
type Payment struct {
	EndToEndID  string
	RunID       string
	PeriodEnd   string // a day
	Kind        string // of the line of the run
	Party       string // who is paid
	Currency    money.Currency
	Amount      money.Amount
	Fee         money.Amount
	Destination string
}

// WriteList writes payments as CSV (RFC 4180): a row of names, then one for each
// payment, with exact decimal amounts in major units. Every cell is in quotes,
// and none can be taken for a formula by a spreadsheet, whichever character the
// spreadsheet splits cells at.
func WriteList(out io.Writer, payments []Payment) error {
	err := writeRow(out, "payment_id", "run_id", "period_end", "kind", "party", "currency", "amount", "fee", "destination")
	for k := 0; err == nil && k < len(payments); k++ {
		p := payments[k]
		err = writeRow(out, p.EndToEndID, p.RunID, p.PeriodEnd, p.Kind, p.Party,
			p.Currency.Code(), p.Amount.Decimal(), p.Fee.Decimal(), p.Destination)
	}
	if err != nil {
		return fmt.Errorf("list of payments: %w", err)
	}
	return nil
}

func writeRow(out io.Writer, cells ...string) error {
	for k, text := range cells {
		cells[k] = `"` + strings.ReplaceAll(Cell(text), `"`, `""`) + `"`
	}
	_, err := io.WriteString(out, strings.Join(cells, ",")+"\r\n")
	return err
}

// Cell keeps a spreadsheet from taking a text for a formula: an apostrophe goes
// before a text that begins as one does, also behind spaces, and control
// characters become spaces.
func Cell(text string) string {
	text = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || c == '\u2028' || c == '\u2029' {
			return ' '
		}
		return c
	}, text)
	for _, c := range strings.TrimLeftFunc(text, func(c rune) bool { return unicode.IsSpace(c) || unicode.Is(unicode.Cf, c) }) {
		if strings.ContainsRune("=+-@\uff1d\uff0b\uff0d\uff20", c) { // and those of full width
			return "'" + text
		}
		break
	}
	return text
}
