package clearing_test

import (
	"errors"
	"testing"
	"time"

	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/money"
)

// Nobody alone moves more than the limit by small runs, or by another limit.
func TestApprovalCannotBeGoneRound(t *testing.T) {
	db, clock := open(t)
	register(t, db, vendorA, "ref:1")
	policy := func(above money.Amount) *clearing.Policy {
		p := clearing.DefaultPolicy()
		p.ApprovalAbove = &above
		return &p
	}
	anna, ben := clearing.Operator{Name: "anna"}, clearing.Operator{Name: "ben"}
	const limit = 100 * money.Unit
	for _, c := range []struct {
		name   string
		after  time.Duration
		owed   money.Amount
		policy *clearing.Policy
		needs  bool
	}{
		{"below the limit", 0, 60 * money.Unit, policy(limit), false},
		{"below it, but not with the run before", 0, 60 * money.Unit, policy(limit), true},
		{"what was approved does not count", 0, 30 * money.Unit, policy(limit), false},
		{"nor does what is of another day", 24 * time.Hour, 60 * money.Unit, policy(limit), false},
		{"a higher limit", 24 * time.Hour, money.Unit, policy(2 * limit), true},
		{"which holds from then on", 0, 150 * money.Unit, policy(2 * limit), false},
		{"no policy", 24 * time.Hour, money.Unit, nil, true},
		{"nor is one missed after that", 0, 500 * money.Unit, nil, false},
		{"a limit again, on the day of what moved without", 0, money.Unit, policy(limit), true},
	} {
		clock.Advance(c.after + time.Second)
		owe(t, db, vendorA, c.owed)
		config := clearing.Config{Policy: c.policy, Directory: t.TempDir()}
		plan, err := clearing.Propose(t.Context(), db, config, anna)
		if err != nil || plan.NeedsApproval != c.needs {
			t.Fatalf("%s: approval is needed: %t (%v), want %t", c.name, plan.NeedsApproval, err, c.needs)
		}
		config.PlanHash = plan.PlanHash
		if c.needs {
			if _, err := clearing.Run(t.Context(), db, config, anna); !errors.Is(err, clearing.ErrNotApproved) {
				t.Errorf("%s: run alone: got %v, want ErrNotApproved", c.name, err)
			}
			if _, err := clearing.Approve(t.Context(), db, plan.PlanHash, ben); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := clearing.Run(t.Context(), db, config, anna); err != nil {
			t.Fatal(err)
		}
	}
}
