package clearing

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"strings"
)

// writePayments writes the orders of a run as CSV (RFC 4180): one row for each,
// with exact decimal amounts in major units. Those whose method is "list" are to
// be paid by hand; the others stand in the bank files, too.
func writePayments(ctx context.Context, w io.Writer, r *record) error {
	writer := csv.NewWriter(w)
	writer.UseCRLF = true
	header := []string{"end_to_end", "run_id", "period_end", "kind", "direction", "party", "method", "destination",
		"currency", "amount", "fee", "fee_rule"}
	if err := writer.Write(header); err != nil {
		return err
	}
	err := r.eachLine(ctx, func(line Line) error {
		if line.Outcome != OutcomeSent {
			return nil
		}
		direction := "in"
		if line.IsOut() {
			direction = "out"
		}
		row := []string{line.EndToEnd, r.RunID, r.PeriodEnd, line.Kind, direction, line.Party, line.Method, line.Destination,
			line.Currency.Code(), line.Amount.Decimal(), line.Fee.Decimal(), r.FeeRule}
		for i := range row {
			row[i] = neutral(row[i])
		}
		return writer.Write(row)
	})
	if err != nil {
		return fmt.Errorf("encoding payments: %w", err)
	}
	writer.Flush()
	return writer.Error()
}

// neutral keeps a spreadsheet from taking a cell for a formula. Some of them
// take the full-width characters for the others, and pass over spaces before
// them.
func neutral(cell string) string {
	begin := strings.TrimLeft(cell, " \u00a0\u3000")
	for _, sign := range []string{"=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"} {
		if strings.HasPrefix(begin, sign) {
			return "'" + cell
		}
	}
	return cell
}
