package clearing

import (
	"context"
	"errors"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// needsApproval decides whether two operators must stand behind a plan: where it
// moves more than the policy lets pass, together with what moved on the same day
// (UTC) without approval, so that nothing is gained by small runs; and where the
// run before would have needed approval earlier, so that nobody alone lifts the
// limit, or leaves it out by mistake.
func (d *draft) needsApproval(ctx context.Context, tx *ledger.Tx) (bool, error) {
	above := d.Policy.ApprovalAbove
	const started = `WHERE currency = ? AND state IN ('running', 'closed', 'final')`
	last, err := findSettlement(ctx, tx, started+` ORDER BY cutoff DESC, planned DESC, id DESC LIMIT 1`, string(d.Currency))
	if err != nil && !errors.Is(err, ErrNoPlan) {
		return false, err
	}
	if err == nil && isLater(above, last.Policy.ApprovalAbove) {
		return true, nil
	}
	if above == nil {
		return false, nil
	}
	var alone money.Amount
	err = tx.QueryRowContext(ctx, `SELECT CAST(COALESCE(SUM(paid + collected), 0) AS BIGINT) FROM clearing_runs `+started+`
		AND needs = 0 AND planned >= ?`, string(d.Currency), d.Planned.Truncate(24*time.Hour).UnixMicro()).Scan((*int64)(&alone))
	if err != nil {
		return false, err
	}
	all, err := alone.Add(d.moved)
	return all > *above || d.largest > *above, err
}

// isLater reports whether a limit lets more pass than another; nil lets all.
func isLater(limit, than *money.Amount) bool {
	return than != nil && (limit == nil || *limit > *than)
}
