package clearing

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// lineSource calls do with lines in their order, each time it is called.
type lineSource func(do func(Line) error) error

// writeStatement writes the statement for a person: amounts in major units
// with their currency, in aligned columns.
func writeStatement(ctx context.Context, w io.Writer, r *record) error {
	text := bufio.NewWriter(w)
	fmt.Fprintf(text, "SETTLEMENT STATEMENT %s\n\n", r.RunID)
	fmt.Fprintf(text, "Planned      %s by %s\n", formatTime(r.Planned), r.PlannedBy)
	writeApprovals(text, r.Settlement)
	fmt.Fprintf(text, "Started      %s by %s\nClosed       %s\n", formatTime(r.Started), r.StartedBy, formatTime(r.Closed))
	writeHead(text, r.Settlement)
	done := func(do func(Line) error) error {
		return r.eachLine(ctx, func(line Line) error { return do(line.asDone()) })
	}
	if err := writeLines(text, r.Settlement, r.sent, done); err != nil {
		return err
	}
	writeTrialBalance(text, r)
	return text.Flush()
}

// WriteStatement writes the statement of a run that is closed for a person.
func WriteStatement(ctx context.Context, w io.Writer, db *ledger.DB, runID string) error {
	return WriteFile(ctx, db, runID, fileKinds[0].name(runID), w)
}

// WritePlan writes a run for a person who is to approve it, with its lines as
// they were planned.
func WritePlan(ctx context.Context, w io.Writer, db *ledger.DB, s Settlement) error {
	return writePlan(w, s, func(do func(Line) error) error { return eachLine(ctx, db, s.RunID, do) })
}

func writePlan(w io.Writer, s Settlement, lines lineSource) error {
	text := bufio.NewWriter(w)
	fmt.Fprintf(text, "SETTLEMENT PLAN %s\n\n", s.RunID)
	fmt.Fprintf(text, "State        %s\n", stateForPeople(s))
	fmt.Fprintf(text, "Planned      %s by %s\n", formatTime(s.Planned), s.PlannedBy)
	writeApprovals(text, s)
	writeHead(text, s)
	if err := writeLines(text, s, s.Totals, lines); err != nil {
		return err
	}
	return text.Flush()
}

func stateForPeople(s Settlement) string {
	switch s.State {
	case "":
		return "a look at what a plan would be; nothing is recorded, and it cannot be run"
	case StateProposed:
		if missing := s.ApprovalsMissing(); missing > 0 {
			return fmt.Sprintf("proposed; nothing is moved, and %d more must approve it", missing)
		}
		return "proposed; nothing is moved, and it can be run"
	case StateDiscarded:
		return "discarded; a later plan has taken its place"
	case StateRunning:
		return "running; some lines may be done already"
	case StateClosed:
		return "every line is done; not all is published and written"
	default:
		return "final"
	}
}

func writeApprovals(text io.Writer, s Settlement) {
	if !s.NeedsApproval {
		return
	}
	if len(s.Approvals) == 0 {
		fmt.Fprintln(text, "Approved     by nobody yet")
	}
	for _, a := range s.Approvals {
		fmt.Fprintf(text, "Approved     %s by %s\n", formatTime(a.Created), a.Operator)
	}
}

func writeHead(text io.Writer, s Settlement) {
	fmt.Fprintf(text, "Period end   %s\n", s.PeriodEnd)
	fmt.Fprintf(text, "Cut-off      after transfer %d of the ledger; the run before took those up to %d\n", s.Cutoff, s.Since)
	fmt.Fprintf(text, "Currency     %s\n", s.Currency.Code())
	fmt.Fprintf(text, "Fee rule     %s\n", s.Policy.Fee)
	fmt.Fprintf(text, "Policy       payouts from %s, collections from %s, approval above %s\n",
		s.Policy.MinimumPayout.Decimal(), s.Policy.MinimumCollection.Decimal(), approvalForPeople(s.Policy))
	fmt.Fprintf(text, "Accounts     fees to %s, payouts to %s\n", s.FeesAccount, s.BankAccount)
	fmt.Fprintf(text, "Plan hash    %s\n", s.PlanHash)
}

func approvalForPeople(p Policy) string {
	if p.ApprovalAbove == nil {
		return "no amount"
	}
	return p.ApprovalAbove.Decimal()
}

// titles are what the kinds of lines are called, and the columns of each.
var titles = map[string]struct{ title, gross, amount string }{
	KindVendor:        {"Vendors", "Gross", "Paid out"},
	KindMerchant:      {"Merchants", "Gross", "Paid out"},
	KindAccountPayout: {"Payouts of accounts", "Asked for", "Paid out"},
	KindCollection:    {"Direct debits", "Owed", "Collected"},
}

func lineHeader(kind, code string) []string {
	t := titles[kind]
	return []string{t.title, t.gross + " " + code, "Fee " + code, t.amount + " " + code, "Carried " + code, "How", "To"}
}

func lineRow(l Line) []string {
	return []string{l.Party, sixDigits(l.Gross), sixDigits(l.Fee), sixDigits(l.Amount), sixDigits(l.Carried()), l.Method, l.Destination}
}

const lineSides = "lrrrrll"

// writeLines writes the lines, a table for each kind, and then why some of them
// move nothing. It goes over them three times, so that none is kept.
func writeLines(text io.Writer, s Settlement, totals Totals, lines lineSource) error {
	code := s.Currency.Code()
	tables := map[string]*table{}
	carried := &table{sides: "lrl"}
	carried.measure([]string{"Party", "Carried", "Reason"})
	isAnyCarried := false
	err := lines(func(l Line) error {
		if l.Reason != "" {
			isAnyCarried = true
			carried.measure(carriedRow(l))
		}
		if l.Currency != s.Currency {
			return nil
		}
		if tables[l.Kind] == nil {
			tables[l.Kind] = &table{sides: lineSides}
			tables[l.Kind].measure(lineHeader(l.Kind, code))
		}
		tables[l.Kind].measure(lineRow(l))
		return nil
	})
	if err != nil {
		return err
	}
	kind := ""
	err = lines(func(l Line) error {
		if l.Currency != s.Currency {
			return nil
		}
		if l.Kind != kind {
			kind = l.Kind
			fmt.Fprintln(text)
			tables[kind].write(text, lineHeader(kind, code))
			tables[kind].rule(text)
		}
		tables[l.Kind].write(text, lineRow(l))
		return nil
	})
	if err != nil {
		return err
	}
	writeTotals(text, s, totals)
	if !isAnyCarried {
		return nil
	}
	fmt.Fprint(text, "\nNot moved in this run, and carried to the next one\n\n")
	carried.write(text, []string{"Party", "Carried", "Reason"})
	carried.rule(text)
	return lines(func(l Line) error {
		if l.Reason != "" {
			carried.write(text, carriedRow(l))
		}
		return nil
	})
}

func carriedRow(l Line) []string {
	return []string{l.Party, sixDigits(l.Carried()) + " " + l.Currency.Code(), reasonForPeople(l.Reason)}
}

func writeTotals(text io.Writer, s Settlement, t Totals) {
	code := s.Currency.Code()
	rows := &table{sides: "lr"}
	all := [][]string{
		{fmt.Sprintf("Paid out, %d payments", t.Payments), sixDigits(t.Paid) + " " + code},
		{fmt.Sprintf("Collected, %d direct debits", t.Collections), sixDigits(t.Collected) + " " + code},
		{"Fees", sixDigits(t.Fees) + " " + code},
		{"Carried to the next run", sixDigits(t.Carried) + " " + code},
	}
	if t.Waiting > 0 {
		all = append(all, []string{"Did not fit, and wait for the next run", fmt.Sprintf("%d positions", t.Waiting)})
	}
	for _, row := range all {
		rows.measure(row)
	}
	fmt.Fprintln(text, "\nTotals")
	for _, row := range all {
		rows.write(text, row)
	}
}

// asDone is the line as it was done, where that is not as it was planned.
func (l Line) asDone() Line {
	if l.Note != "" {
		l.Fee, l.Amount, l.Method, l.Reason, l.EndToEnd = 0, 0, "", l.Note, ""
	}
	return l
}

// reasonSentences says for people why a line moves nothing.
var reasonSentences = map[Reason]string{
	ReasonTooSmall:           "too small: nothing to pay out is left after the fee",
	ReasonBelowMinimum:       "less than the policy moves",
	ReasonOtherCurrency:      "in another currency than this run",
	ReasonNoDestination:      "no destination is known, or none that counts yet",
	ReasonBlocked:            "blocked by the operator",
	ReasonGateway:            "payments go on to a gateway of the broker, and no run pays them out",
	ReasonFraction:           "not whole minor units, which a bank cannot move: pay it by hand or refuse it",
	ReasonBalanceFell:        "the balance fell after the plan was made",
	ReasonDestinationChanged: "the destination changed after the plan was made",
	ReasonPayoutEnded:        "it was paid by hand or refused after the plan was made",
	ReasonNoMandate:          "the mandate does not hold any more",
}

func reasonForPeople(reason Reason) string {
	if sentence, found := reasonSentences[reason]; found {
		return sentence
	}
	return string(reason)
}

func writeTrialBalance(text io.Writer, r *record) {
	for i := 0; i < len(r.balances); {
		currency, sum, pending := r.balances[i].Currency, money.Amount(0), money.Amount(0)
		rows := [][]string{{"Accounts", "Number", "Balance " + currency.Code(), "Of that pending"}}
		for ; i < len(r.balances) && r.balances[i].Currency == currency; i++ {
			c := r.balances[i]
			sum += c.Balance // exact: the ledger found that it is zero in all
			pending += c.Pending
			rows = append(rows, []string{c.Class, fmt.Sprint(c.Accounts), sixDigits(c.Balance), sixDigits(c.Pending)})
		}
		rows = append(rows, []string{"Sum", "", sixDigits(sum), sixDigits(pending)})
		t := &table{sides: "lrrr"}
		for _, row := range rows {
			t.measure(row)
		}
		fmt.Fprintf(text, "\nTrial balance in %s when the run was closed\n\n", currency.Code())
		for n, row := range rows {
			if n == 1 || n == len(rows)-1 {
				t.rule(text)
			}
			t.write(text, row)
		}
	}
	fmt.Fprintf(text, "\nThe check of the ledger went over %d accounts and %d transfers: nothing disagrees.\n",
		r.CheckedAccounts, r.CheckedTransfers)
}

// table aligns columns: sides has l or r for each. All rows are measured before
// the first is written.
type table struct {
	sides  string
	widths [8]int
}

func (t *table) measure(row []string) {
	for i, cell := range row {
		t.widths[i] = max(t.widths[i], utf8.RuneCountInString(cell))
	}
}

func (t *table) rule(w io.Writer) {
	row := make([]string, len(t.sides))
	for i := range row {
		row[i] = strings.Repeat("-", t.widths[i])
	}
	t.write(w, row)
}

func (t *table) write(w io.Writer, row []string) {
	var line strings.Builder
	for i, cell := range row {
		padding := strings.Repeat(" ", t.widths[i]-utf8.RuneCountInString(cell))
		if i > 0 {
			line.WriteString("  ")
		}
		if t.sides[i] == 'r' {
			line.WriteString(padding + cell)
		} else {
			line.WriteString(cell + padding)
		}
	}
	fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
}

// sixDigits is an amount in major units with all its digits, so that the points
// of a column stand under one another.
func sixDigits(a money.Amount) string {
	decimal := a.Decimal()
	point := strings.IndexByte(decimal, '.')
	return decimal + strings.Repeat("0", 6-(len(decimal)-point-1))
}
