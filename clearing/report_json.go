package clearing

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/paywordhq/payword/internal/ledger"
)

// statementHead is what stands in a statement for a program before its lines.
type statementHead struct {
	Settlement
	Policy       json.RawMessage `json:"policy"`
	Sent         Totals          `json:"sent"`
	TrialBalance []ClassBalance  `json:"trialBalance"`
}

// writeStatementJSON writes the statement for a program. Amounts are strings of
// digits, in micros.
func writeStatementJSON(ctx context.Context, w io.Writer, r *record) error {
	head := statementHead{Settlement: r.Settlement, Policy: json.RawMessage(r.Policy.String()), Sent: r.sent, TrialBalance: r.balances}
	head.State = "" // the file is the same whether its run is final already or not
	return writeWithLines(w, head, func(do func(Line) error) error { return r.eachLine(ctx, do) })
}

// writeWithLines writes an object of JSON and puts its lines, of which there may
// be more than memory should hold, at its end.
func writeWithLines(w io.Writer, head any, eachLine func(do func(Line) error) error) error {
	encoded, err := json.MarshalIndent(head, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding: %w", err)
	}
	out := bufio.NewWriter(w)
	out.Write(encoded[:len(encoded)-len("\n}")])
	out.WriteString(",\n  \"lines\": [")
	separator := "\n    "
	err = eachLine(func(line Line) error {
		encoded, err := json.Marshal(line)
		if err != nil {
			return fmt.Errorf("encoding line %d: %w", line.Number, err)
		}
		out.WriteString(separator)
		separator = ",\n    "
		_, err = out.Write(encoded)
		return err
	})
	if err != nil {
		return err
	}
	out.WriteString("\n  ]\n}\n")
	return out.Flush()
}

// WritePlanJSON writes a run and its lines as they are now, as JSON.
func WritePlanJSON(ctx context.Context, w io.Writer, db *ledger.DB, s Settlement) error {
	return writeWithLines(w, planHead(s), func(do func(Line) error) error { return eachLine(ctx, db, s.RunID, do) })
}

func planHead(s Settlement) any {
	return struct {
		Settlement
		Policy json.RawMessage `json:"policy"`
	}{s, json.RawMessage(s.Policy.String())}
}

// FormatJSON writes a value as indented JSON. Amounts are strings of digits, in
// micros.
func FormatJSON(value any) ([]byte, error) {
	encoded, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding: %w", err)
	}
	return append(encoded, '\n'), nil
}
