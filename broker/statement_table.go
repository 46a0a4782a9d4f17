package broker

import (
	"context"
	"encoding/csv"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// statementTable returns a vendor's statement as CSV, which is written page by
// page. It refuses with UnknownVendor. A failure on the way breaks the answer
// off, before its last line, the closing balance.
func (b *Broker) statementTable(ctx context.Context, by caller, vendor string, during period) (*huma.StreamResponse, payword.Refusal, error) {
	first, refusal, err := b.statement(ctx, by, vendor, during, 0, b.store.statementPage)
	if err != nil || refusal.Refused() {
		return nil, refusal, err
	}
	return &huma.StreamResponse{Body: func(to huma.Context) {
		to.SetHeader("Content-Type", "text/csv; charset=utf-8; header=present")
		to.SetHeader("Content-Disposition", `attachment; filename="statement.csv"`)
		err := writeStatement(to.BodyWriter(), first, func(after int64) (statement, error) {
			page, refusal, err := b.statement(ctx, by, vendor, during, after, b.store.statementPage)
			if err == nil && refusal.Refused() {
				err = refused(refusal)
			}
			return page, err
		})
		if err != nil {
			b.log.WarnContext(ctx, "statement broken off", "vendor", vendor, "error", err)
			// The connection is cut, so that nobody takes a part for the whole.
			panic(http.ErrAbortHandler)
		}
	}}, payword.Refusal{}, nil
}

// writeStatement writes a statement as CSV. No cell begins with a character
// that a spreadsheet takes for a formula: texts begin with a letter, amounts are
// not negative, and credits and debits have columns of their own.
func writeStatement(w io.Writer, page statement, next func(after int64) (statement, error)) error {
	table := csv.NewWriter(w)
	table.UseCRLF = true
	_ = table.Write([]string{"time", "kind", "reference", "credit", "debit", "balance", "currency"})
	row := func(when, kind, reference string, credit, debit, balance money.Amount) {
		_ = table.Write([]string{when, kind, reference, credit.Decimal(), debit.Decimal(), balance.Decimal(), page.Currency.Code()})
	}
	balance, closing, to := page.Opening, page.Closing, page.To
	row(page.From, "opening", "", 0, 0, balance)
	for {
		for _, entry := range page.Entries {
			balance += entry.Credit - entry.Debit
			row(time.Unix(entry.Time, 0).UTC().Format(time.RFC3339), entry.Kind, entry.reference(), entry.Credit, entry.Debit, balance)
		}
		if page.Next == "" {
			break
		}
		var err error
		if page, err = next(page.Entries[len(page.Entries)-1].Number); err != nil {
			return err
		}
		closing = page.Closing
	}
	if balance != closing {
		return errors.New("the entries do not add up to the closing balance, " + balance.String() + " and " + closing.String())
	}
	row(to, "closing", "", 0, 0, closing)
	table.Flush()
	return table.Error()
}

// reference names what an entry is about; a word comes first, because an id may
// begin with a hyphen.
func (e statementEntry) reference() string {
	switch {
	case e.Commitment != "":
		return "commitment:" + e.Commitment
	case e.Payout != "":
		return "payout:" + e.Payout
	}
	return "transfer:" + strconv.FormatInt(e.Number, 10)
}
