package clearing

import (
	"fmt"
	"strings"

	"github.com/paywordhq/payword/money"
)

// FormatStatement writes the statement for a person: amounts in major units
// with their currency, in aligned columns.
func FormatStatement(s Statement) string {
	var text strings.Builder
	fmt.Fprintf(&text, "SETTLEMENT STATEMENT %s\n\n", s.RunID)
	fmt.Fprintf(&text, "Planned      %s\nClosed       %s\n", formatTime(s.Planned), formatTime(s.Closed))
	writeHead(&text, s.Plan)
	writeLines(&text, s.Plan, s.Totals)
	writeTrialBalance(&text, s)
	return text.String()
}

// FormatPlan writes a plan for a person who is to approve it. An error means
// that the sums do not fit in 64 bits.
func FormatPlan(p Plan) (string, error) {
	totals, err := total(p)
	if err != nil {
		return "", fmt.Errorf("adding up run %s: %w", p.RunID, err)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "SETTLEMENT PLAN %s\n\n", p.RunID)
	fmt.Fprintf(&text, "State        %s\n", stateForPeople(p.State))
	writeHead(&text, p)
	writeLines(&text, p, totals)
	return text.String(), nil
}

func stateForPeople(state string) string {
	switch state {
	case "":
		return "a proposal; nothing is recorded and nothing is paid"
	case statePlanned:
		return "recorded and begun; some lines may be paid already"
	case stateClosed:
		return "every line is done; its files are not all written"
	default:
		return "final"
	}
}

func writeHead(text *strings.Builder, p Plan) {
	code := p.Currency.Code()
	fmt.Fprintf(text, "Period end   %s\n", p.PeriodEnd)
	fmt.Fprintf(text, "Currency     %s\n", code)
	fmt.Fprintf(text, "Fee rule     %s: %d/%d of the gross amount, rounded up to a millionth, at least %s %s\n",
		p.FeeRule, p.Schedule.Numerator, p.Schedule.Denominator, p.Schedule.Minimum.Decimal(), code)
	fmt.Fprintf(text, "Accounts     fees to %s, payouts to %s\n", p.FeesAccount, p.BankAccount)
	fmt.Fprintf(text, "Plan hash    %s\n", p.Hash)
}

func writeLines(text *strings.Builder, p Plan, totals Totals) {
	code := p.Currency.Code()
	rows := [][]string{{"Vendor", "Gross " + code, "Fee " + code, "Paid out " + code, "Carried " + code}}
	carried := [][]string{{"Vendor", "Carried", "Reason"}}
	for _, line := range p.Lines {
		if line.Currency == p.Currency {
			rows = append(rows, []string{line.Vendor, sixDigits(line.Gross), sixDigits(line.Fee), sixDigits(line.Paid), sixDigits(line.Carried)})
		}
		if line.Reason != "" {
			carried = append(carried, []string{line.Vendor, sixDigits(line.Carried) + " " + line.Currency.Code(), reasonForPeople(line.Reason)})
		}
	}
	rows = append(rows, []string{fmt.Sprintf("Total, %d paid", totals.Payments),
		sixDigits(totals.Gross), sixDigits(totals.Fee), sixDigits(totals.Paid), sixDigits(totals.Carried)})
	text.WriteByte('\n')
	writeTable(text, rows, "lrrrr", true)
	if len(carried) > 1 {
		text.WriteString("\nNot paid in this run, and carried to the next one\n\n")
		writeTable(text, carried, "lrl", false)
	}
}

func reasonForPeople(reason Reason) string {
	switch reason {
	case ReasonTooSmall:
		return "too small: nothing to pay out is left after the fee"
	case ReasonOtherCurrency:
		return "in another currency than this run"
	case ReasonBalanceFell:
		return "the balance fell after the plan was made"
	default:
		return string(reason)
	}
}

func writeTrialBalance(text *strings.Builder, s Statement) {
	for i := 0; i < len(s.TrialBalance); {
		currency, sum := s.TrialBalance[i].Currency, money.Amount(0)
		rows := [][]string{{"Accounts", "Number", "Balance " + currency.Code()}}
		for ; i < len(s.TrialBalance) && s.TrialBalance[i].Currency == currency; i++ {
			c := s.TrialBalance[i]
			sum += c.Balance // exact: the ledger found that it is zero in all
			rows = append(rows, []string{c.Class, fmt.Sprint(c.Accounts), sixDigits(c.Balance)})
		}
		rows = append(rows, []string{"Sum", "", sixDigits(sum)})
		fmt.Fprintf(text, "\nTrial balance in %s when the run was closed\n\n", currency.Code())
		writeTable(text, rows, "lrr", true)
	}
	fmt.Fprintf(text, "\nThe check of the ledger went over %d accounts and %d transfers: nothing disagrees.\n",
		s.CheckedAccounts, s.CheckedTransfers)
}

// writeTable aligns columns: sides has l or r for each. Where sum is set, a
// line of dashes stands above the last row.
func writeTable(text *strings.Builder, rows [][]string, sides string, sum bool) {
	widths := make([]int, len(sides))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	rule := make([]string, len(sides))
	for i, width := range widths {
		rule[i] = strings.Repeat("-", width)
	}
	for n, row := range rows {
		if n == 1 || sum && n == len(rows)-1 {
			writeRow(text, rule, widths, sides)
		}
		writeRow(text, row, widths, sides)
	}
}

func writeRow(text *strings.Builder, row []string, widths []int, sides string) {
	var line strings.Builder
	for i, cell := range row {
		padding := strings.Repeat(" ", widths[i]-len(cell))
		if i > 0 {
			line.WriteString("  ")
		}
		if sides[i] == 'r' {
			line.WriteString(padding + cell)
		} else {
			line.WriteString(cell + padding)
		}
	}
	text.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}

// sixDigits is an amount in major units with all its digits, so that the points
// of a column stand under one another.
func sixDigits(a money.Amount) string {
	decimal := a.Decimal()
	point := strings.IndexByte(decimal, '.')
	return decimal + strings.Repeat("0", 6-(len(decimal)-point-1))
}
