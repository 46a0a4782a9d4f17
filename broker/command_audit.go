package broker

import (
	"context"
	"flag"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
)

// maxAuditLimit bounds what the command prints at a time.
const maxAuditLimit = 100_000

func (c *command) auditFlags(flags *flag.FlagSet) {
	c.databaseFlag(flags)
	flags.StringVar(&c.audit.Actor, "actor", "", "`WHO` did it, such as admin:anna or account:ID")
	flags.StringVar(&c.audit.Action, "action", "", "`WHAT` was done, such as fund")
	flags.StringVar(&c.audit.Subject, "subject", "", "to `WHAT`, such as account:ID or vendor:ORIGIN")
	flags.StringVar(&c.audit.Day, "day", "", "the UTC `DAY`, such as 2026-11-25")
	flags.IntVar(&c.auditLimit, "limit", 100, "how many `ENTRIES` at most, the newest")
}

// audited prints the newest entries of the audit log, the newest first.
func (c *command) audited(ctx context.Context) error {
	if c.audit.IsDayWrong() {
		return usage("--day %q: want a day such as 2026-11-25", c.audit.Day)
	}
	if c.auditLimit < 1 || c.auditLimit > maxAuditLimit {
		return usage("--limit %d: want 1 to %d", c.auditLimit, maxAuditLimit)
	}
	return c.withStore(ctx, ledger.ReadOnly, func(s *store) error {
		table := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "TIME\tWHO\tDID\tTO\tDETAIL")
		for filter, left := c.audit, c.auditLimit; left > 0; {
			found, err := s.auditLog().Page(ctx, filter, min(left, rowsPerPage))
			if err != nil {
				return err
			}
			for _, row := range found.Rows {
				// What others wrote is quoted where it could move the cursor.
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", time.UnixMicro(row.Created).UTC().Format(time.RFC3339),
					visible(row.Actor), visible(row.Action), visible(row.Subject), visible(row.Detail))
			}
			left -= len(found.Rows)
			if filter.Before = found.Next; found.Next == 0 {
				break
			}
		}
		return table.Flush()
	})
}

// visible returns text as it is if all of it can be printed, or quoted.
func visible(text string) string {
	if quoted := fmt.Sprintf("%q", text); quoted != `"`+text+`"` {
		return quoted
	}
	return text
}
