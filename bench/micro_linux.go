package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/paywordhq/payword/bench/gobench"
	"github.com/paywordhq/payword/bench/report"
	"github.com/paywordhq/payword/bench/stats"
)

// micro runs the Go benchmarks that are chosen, those that are compared in turns.
func (b *bench) micro(ctx context.Context) error {
	binaries := map[string]*gobench.Binary{}
	for _, one := range benchmarks {
		if !b.chosen.MatchString(one.id) {
			continue
		}
		row := report.Row{ID: one.id, Group: one.group, What: one.what, Unit: one.unit, Bar: one.bar}
		if row.Missing = b.leavesOut(one); row.Missing != "" {
			b.report.Rows = append(b.report.Rows, row)
			continue
		}
		if one.baseline == nil {
			one.baseline = &place{one.folder, one.name + "/baseline"}
		}
		for _, folder := range []string{one.folder, one.baseline.folder} {
			if binaries[folder] != nil {
				continue
			}
			b.say("compiling the benchmarks of %s", folder)
			binary, err := gobench.Compile(ctx, b.processors.All, filepath.Join(b.root, "..", folder), b.folder)
			if err != nil {
				return err
			}
			binaries[folder] = binary
		}
		values, err := b.runs(ctx, one, binaries)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, gobench.ErrMissing):
			row.Missing = one.name + " does not exist"
		case err != nil:
			row.Missing = "it failed"
			b.report.Warnings = append(b.report.Warnings, fmt.Sprintf("%s failed: %v", one.id, err))
		}
		row.Ratio = stats.Of(values)
		b.skip(&row, one.needs)
		b.say("%-18s %s", one.id, row.Text())
		b.report.Rows = append(b.report.Rows, row)
	}
	return nil
}

// leavesOut says why the mode leaves a benchmark out that nobody has asked for by
// name, or nothing.
func (b *bench) leavesOut(one benchmark) string {
	if one.isFull && b.mode != full.mode && b.chosen.String() == "" {
		return "the quick mode leaves it out; -full or -only " + one.id + " measures it"
	}
	return ""
}

// skip takes a bar back that depends on what this processor has not.
func (b *bench) skip(row *report.Row, needs []string) {
	for _, feature := range needs {
		if !slices.Contains(b.report.Machine.Flags, feature) {
			bar := *row.Bar
			bar.Skipped = "this processor has no " + feature
			row.Bar = &bar
			return
		}
	}
}

// runs runs one benchmark as often as the plan says, and its baseline beside it.
func (b *bench) runs(ctx context.Context, one benchmark, binaries map[string]*gobench.Binary) (values []float64, err error) {
	processors := []int{b.processors.Server}
	if one.isOnAll {
		processors = b.processors.All
	}
	run := func(at place) (gobench.Result, error) {
		return binaries[at.folder].Run(ctx, processors, at.name, b.goLength)
	}
	for k := range b.goRounds {
		if one.metric != "" {
			if k >= b.metricRounds {
				break
			}
			result, err := run(place{one.folder, one.name})
			if err != nil {
				return values, err
			}
			value, found := result[one.metric]
			if !found {
				return values, fmt.Errorf("%s reports no %s: %v", one.name, one.metric, result)
			}
			values = append(values, value)
			continue
		}
		own := place{one.folder, one.name + "/payword"}
		if one.baseline.folder != one.folder {
			own.name = one.name
		}
		pair := []place{own, *one.baseline}
		results := make([]gobench.Result, len(pair))
		for turn := range pair {
			which := (turn + k) % len(pair)
			if results[which], err = run(pair[which]); err != nil {
				return values, err
			}
		}
		ratio, err := gobench.Faster(results[0], results[1])
		if err != nil {
			return values, err
		}
		values = append(values, ratio)
	}
	return values, nil
}
