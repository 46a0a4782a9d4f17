package clearing

import (
	"context"
	"io"

	"github.com/paywordhq/payword/clearing/bankfile"
)

// writePayments writes the orders of a run as CSV (RFC 4180): one row for each,
// with exact decimal amounts in major units. Those whose method is "list" are to
// be paid by hand; the others stand in the bank files, too.
func writePayments(ctx context.Context, w io.Writer, r *record) error {
	err := bankfile.WriteRow(w, "end_to_end", "run_id", "period_end", "kind", "direction", "party", "method", "destination",
		"currency", "amount", "fee", "fee_rule")
	if err != nil {
		return err
	}
	return r.eachLine(ctx, func(line Line) error {
		if line.Outcome != OutcomeSent {
			return nil
		}
		direction := "in"
		if line.IsOut() {
			direction = "out"
		}
		return bankfile.WriteRow(w, line.EndToEnd, r.RunID, r.PeriodEnd, line.Kind, direction, line.Party, line.Method, line.Destination,
			line.Currency.Code(), line.Amount.Decimal(), line.Fee.Decimal(), r.FeeRule)
	})
}
