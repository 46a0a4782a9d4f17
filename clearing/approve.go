package clearing

import (
	"context"
	"fmt"
	"strings"

	"github.com/paywordhq/payword/internal/ledger"
)

// operatorPrefix begins the actor of an operator.
const operatorPrefix = "operator:"

// ApprovalsMissing returns how many operators must still approve the plan before
// it can be run. Where the policy asks for approval two different operators must
// stand behind a plan: who planned it, if that one has proven to be an operator,
// and those who approved it. Whoever has the database alone is nobody's second.
func (s Settlement) ApprovalsMissing() int {
	if !s.NeedsApproval {
		return 0
	}
	behind := map[string]bool{}
	if name, isOperator := strings.CutPrefix(s.PlannedBy, operatorPrefix); isOperator {
		behind[name] = true
	}
	for _, approval := range s.Approvals {
		behind[approval.Operator] = true
	}
	return max(0, 2-len(behind))
}

// Approve records that an operator, who has proven to be that one, stands behind
// the plan of a hash. The same operator again changes nothing. It refuses
// operators who may only look, the one who planned it, and plans that are not
// proposed any more (ErrDiscarded, or a sentence that says how far the run is).
func Approve(ctx context.Context, db *ledger.DB, hash string, by Operator) (Settlement, error) {
	if err := checkHash(hash); err != nil {
		return Settlement{}, err
	}
	switch {
	case by.Name == "":
		return Settlement{}, fmt.Errorf("approving a plan takes an operator with a name")
	case by.ReadOnly:
		return Settlement{}, fmt.Errorf("operator %s may look and not approve", by.Name)
	}
	ctx = withActor(ctx, actor(by))
	if err := migrate(ctx, db); err != nil {
		return Settlement{}, err
	}
	var s Settlement
	err := db.Update(ctx, func(tx *ledger.Tx) (err error) {
		if s, err = findPlan(ctx, tx, hash); err != nil {
			return err
		}
		if err := approve(ctx, tx, s, by); err != nil {
			return fmt.Errorf("run %s: %w", s.RunID, err)
		}
		s.Approvals, err = loadApprovals(ctx, tx, s.RunID)
		return err
	})
	return s, err
}

func approve(ctx context.Context, tx *ledger.Tx, s Settlement, by Operator) error {
	switch {
	case s.State == StateDiscarded:
		return fmt.Errorf("%w: a later plan has taken its place", ErrDiscarded)
	case s.State != StateProposed:
		return fmt.Errorf("it is %s: there is nothing to approve any more", s.State)
	case s.PlannedBy == actor(by):
		return fmt.Errorf("%s has planned it: another operator must approve it", by.Name)
	}
	isNew, err := tx.ExecOne(ctx, `INSERT INTO clearing_approvals (run_id, operator, created) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
		s.RunID, by.Name, tx.Now().UnixMicro())
	if err != nil || !isNew {
		return err
	}
	return audit(ctx, tx, "approve", "run:"+s.RunID, "plan "+s.PlanHash)
}
