package clearing

import (
	"fmt"
	"strings"
)

// FormatReconciliation writes what is open, for people.
func FormatReconciliation(r Reconciliation) string {
	var text strings.Builder
	fmt.Fprintf(&text, "OPEN BETWEEN BOOKS AND BANK, %s\n", formatTime(r.At))
	text.WriteString("\nThe bank has not answered\n")
	writeNone(&text, len(r.Open))
	for _, o := range r.Open {
		fmt.Fprintf(&text, "  %s days  %d %s  %s %s\n", o.Age, o.Count, o.Direction, o.Amount.Decimal(), o.Currency.Code())
	}
	for _, i := range r.Oldest[:min(len(r.Oldest), 10)] {
		fmt.Fprintf(&text, "  since %s  %s  %s %s  %s %s of run %s\n", dayAt(i.Sent), i.EndToEnd, i.Amount.Decimal(), i.Currency.Code(), i.Kind, i.Party, i.RunID)
	}
	fmt.Fprintf(&text, "\nOf the bank's entries %d belong to nothing\n", r.Unmatched)
	for _, e := range r.UnmatchedEntries {
		fmt.Fprintf(&text, "  %s\n", e.forPeople())
	}
	fmt.Fprintf(&text, "\nThe broker was told and has not done: %d wait, %d failed\n", r.Outcomes.Waiting, r.Outcomes.Failed)
	for _, o := range r.Outcomes.List {
		fmt.Fprintf(&text, "  %d: %s %s of account %s, %s: %s (the bank: %s)\n", o.Seq, o.Kind, o.ID, o.Account, o.Amount.Decimal(), o.Detail, o.Note)
	}
	writeBank(&text, r)
	text.WriteString("\nKept for refunds, by the day on which it is due\n")
	writeNone(&text, len(r.Reserves))
	for _, d := range r.Reserves {
		fmt.Fprintf(&text, "  %s  %d  %s\n", d.Day, d.Count, d.Amount.Decimal())
	}
	return text.String()
}

// writeNone says that a part has nothing in it, so that nobody looks for it.
func writeNone(text *strings.Builder, count int) {
	if count == 0 {
		text.WriteString("  none\n")
	}
}

func writeBank(text *strings.Builder, r Reconciliation) {
	text.WriteString("\nStatements of the bank, the newest first\n")
	writeNone(text, len(r.Days))
	for _, d := range r.Days {
		fmt.Fprintf(text, "  %s  %s  %s to %s %s: moved %s, of that ours %s, unmatched %s\n", d.Day, d.Account,
			d.Opening.Decimal(), d.Closing.Decimal(), d.Currency.Code(), d.Moved.Decimal(), d.Known.Decimal(), d.Unmatched.Decimal())
		if d.Missing != 0 {
			fmt.Fprintf(text, "    WRONG: no entry explains %s of what moved\n", d.Missing.Decimal())
		}
		if d.Gap != 0 {
			fmt.Fprintf(text, "    WRONG: it opens %s away from where the statement before closed: one was not read\n", d.Gap.Decimal())
		}
	}
	text.WriteString("\nOur accounts that stand for money at the bank\n")
	for _, p := range r.Ledger {
		fmt.Fprintf(text, "  %s  %s %s\n", p.Account, p.Balance.Decimal(), p.Currency.Code())
	}
}
