package clearing

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strconv"

	"github.com/paywordhq/payword/internal/ledger"
)

// The canonical text of a plan holds everything that an approver must see, one
// fact a line. Its words hold no spaces, but for JSON and quoted texts at the
// end of what they stand in, so that two plans never have the same text.

// writePlanHead writes what comes before the lines.
func writePlanHead(w io.Writer, s Settlement) {
	fmt.Fprintf(w, "payword settlement plan 2\nrun %s\nperiod-end %s\ncurrency %s\n", s.RunID, s.PeriodEnd, s.Currency)
	fmt.Fprintf(w, "cutoff %d since %d\nplanned %d by %s\n", s.Cutoff, s.Since, s.Planned.UnixMicro(), s.PlannedBy)
	fmt.Fprintf(w, "accounts %s %s\n", s.FeesAccount, s.BankAccount)
	// The fee rule is a part of the policy.
	fmt.Fprintf(w, "policy %s\n", s.Policy)
	t := s.Totals
	fmt.Fprintf(w, "totals lines %d waiting %d payments %d %s collections %d %s fees %s carried %s approval %t\n",
		t.Lines, t.Waiting, t.Payments, t.Paid, t.Collections, t.Collected, t.Fees, t.Carried, s.NeedsApproval)
}

// writePlanLine writes one line as it was planned.
func writePlanLine(w io.Writer, l Line) {
	what := l.Method
	if l.Reason != "" {
		what = "carry:" + string(l.Reason)
	}
	fmt.Fprintf(w, "line %d %s %s %s %s %s %s %s %s\n", l.Number, l.Kind, l.Account, l.Currency,
		l.Gross, l.Fee, l.Amount, what, strconv.QuoteToASCII(l.Party)+" "+strconv.QuoteToASCII(l.Destination))
}

func (d *draft) hash() string {
	sum := sha256.New()
	writePlanHead(sum, d.Settlement)
	for _, line := range d.lines {
		writePlanLine(sum, line)
	}
	return hashOf(sum)
}

func hashOf(sum hash.Hash) string { return hex.EncodeToString(sum.Sum(nil)) }

// verifyPlan checks a plan on record against its hash, a page at a time.
func verifyPlan(ctx context.Context, db *ledger.DB, s Settlement) error {
	sum := sha256.New()
	writePlanHead(sum, s)
	err := eachLine(ctx, db, s.RunID, func(line Line) error {
		writePlanLine(sum, line)
		return nil
	})
	if err == nil && hashOf(sum) != s.PlanHash {
		err = fmt.Errorf("run %s: the plan on record does not have its hash %s: it was changed", s.RunID, s.PlanHash)
	}
	return err
}

// endToEnd is the same for the same run and party, for ever: the transfers of a
// line are made of it, which is one reason why no crash can pay twice. 128 bits
// of a hash keep it within the 35 characters of a bank's end-to-end id.
func endToEnd(runID string, l Line) string {
	sum := sha256.Sum256([]byte(runID + "\n" + l.Kind + "\n" + l.Party))
	return hex.EncodeToString(sum[:16])
}
