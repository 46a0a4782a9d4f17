package clearing

import (
	"context"

	"github.com/paywordhq/payword/internal/ledger"
)

// Phase is what a run is doing.
type Phase string

// The phases of a run, in their order.
const (
	PhaseCheck   Phase = "check"   // the books are checked before anything moves
	PhaseLines   Phase = "lines"   // lines are done
	PhaseClose   Phase = "close"   // the books are checked again, and the trial balance taken
	PhasePublish Phase = "publish" // statements are made
	PhaseFiles   Phase = "files"   // files are written
	PhaseFinal   Phase = "final"   // nothing is left to do
)

// Progress is how far a run is.
type Progress struct {
	RunID string `json:"runId"`
	// State is that of the run.
	State string `json:"state"`
	Phase Phase  `json:"phase"`
	// Done of Lines lines are done.
	Done  int64 `json:"done"`
	Lines int64 `json:"lines"`
	// Step of Steps are done of what is published, while Phase is PhasePublish: half
	// of them are for the evidence, half for the statements.
	Step  int64 `json:"step,omitempty"`
	Steps int64 `json:"steps,omitempty"`
	// Holder is who works on a run now, "" for nobody. Only LoadProgress says it.
	Holder string `json:"holder,omitempty"`
}

// LoadProgress says how far a run is, from what it has committed, so that any
// process can look. The phase is the one that comes next or is going on.
func LoadProgress(ctx context.Context, db *ledger.DB, runID string) (p Progress, err error) {
	err = db.View(ctx, func(tx *ledger.Tx) error {
		s, err := findSettlement(ctx, tx, `WHERE id = ?`, runID)
		if err != nil {
			return err
		}
		p = Progress{RunID: runID, State: s.State, Lines: s.Totals.Lines}
		err = tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM clearing_lines WHERE run_id = ? AND outcome <> ''`, runID).Scan(&p.Done)
		if err != nil {
			return err
		}
		p.Phase = phaseOf(s.State, p.Done == p.Lines)
		p.Holder, err = holderOf(ctx, tx)
		return err
	})
	return p, err
}

func phaseOf(state string, isDone bool) Phase {
	switch {
	case state == StateFinal:
		return PhaseFinal
	case state == StateClosed:
		return PhasePublish
	case state == StateRunning && isDone:
		return PhaseClose
	case state == StateRunning:
		return PhaseLines
	}
	return PhaseCheck
}
