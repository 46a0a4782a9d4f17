package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/paywordhq/payword/bench/faults"
	"github.com/paywordhq/payword/bench/report"
	"github.com/paywordhq/payword/bench/stats"
)

// groupFaults is the table of what is refused while something is broken.
const groupFaults = "Honest payments refused while something is broken"

// How long payments come in while something is broken.
const (
	quickFaults = 2 * time.Second
	fullFaults  = 15 * time.Second
)

// breakThings counts the honest payments that are refused while gates and stores
// are killed.
func (b *bench) breakThings(ctx context.Context) error {
	if !slices.ContainsFunc(faults.IDs(), b.chosen.MatchString) {
		return nil
	}
	program := filepath.Join(b.folder, "payword")
	b.say("building payword")
	if err := b.build(ctx, "build", "-C", "..", "-o", program, "./cmd/payword"); err != nil {
		return err
	}
	length := quickFaults
	if b.mode == full.mode {
		length = fullFaults
	}
	made, err := faults.Run(ctx, faults.Setup{
		Program: program, Folder: b.folder, Length: length, Chosen: b.chosen.MatchString, Say: b.say, Processors: b.processors.All,
	})
	for _, one := range made.Results {
		b.report.Rows = append(b.report.Rows, report.Row{
			ID: one.ID, Group: groupFaults, What: one.Name, Ratio: stats.Of([]float64{float64(one.Refused)}),
			Bar: report.AtMost(0), Note: fmt.Sprintf("of %d; broken %d times", one.Paid, one.Faults),
		})
	}
	return err
}
