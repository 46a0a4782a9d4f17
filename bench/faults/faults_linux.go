// Package faults breaks gates and their stores while honest payers pay, and counts
// the payments that were refused: none may be. Everything is a real process, killed
// with SIGKILL.
//
// An honest payer follows the protocol: what was not answered, or with 503, it sends
// again under the same number, and the commitment with it if the gate says that it
// does not know it. Any other 402 is a refusal.
package faults

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/paywordhq/payword/money"
)

// Setup says what the runs need.
type Setup struct {
	Program string        // payword, built
	Folder  string        // for the files of all processes
	Length  time.Duration // that each scenario has payments come in for, besides starting and repairing
	Chosen  func(id string) bool
	Say     func(format string, arguments ...any)

	Processors []int // for all processes; none is wherever this program runs
}

// Report is what came of all scenarios.
type Report struct {
	Results []Result `json:"results"`
}

// Result is what came of one scenario.
type Result struct {
	ID          string         `json:"id"` // such as "faults/reload"
	Name        string         `json:"name"`
	Paid        int            `json:"paid"`        // pages that were paid for and served
	Interrupted int            `json:"interrupted"` // requests that had no answer or 503, and were sent again
	Refused     int            `json:"refused"`     // payments that were refused for good, or never answered
	Reasons     map[string]int `json:"reasons,omitempty"`
	LostMicros  int64          `json:"lostMicros"` // charges that the gate forgot: none but with durability async
	Faults      int            `json:"faults"`     // how often something was broken
}

// String says what came of the scenario in one line.
func (r Result) String() string {
	text := fmt.Sprintf("%s: %d paid, broken %d times, %d sent again, %d refused", r.Name, r.Paid, r.Faults, r.Interrupted, r.Refused)
	for _, reason := range slices.Sorted(maps.Keys(r.Reasons)) {
		text += fmt.Sprintf(", %d %s", r.Reasons[reason], reason)
	}
	if r.LostMicros > 0 {
		text += fmt.Sprintf(", %s USD forgotten", money.Amount(r.LostMicros).Decimal())
	}
	return text
}

// ErrUnsound is why a result is worthless: pages were charged twice, or not.
var ErrUnsound = errors.New("the sums are wrong")

// scenario is one way to break things.
type scenario struct {
	id      string
	name    string
	nodes   int    // gates
	store   string // "" is the gate's own; else "redis"
	options string // of the global option payword
	mayLose bool   // the gate may forget charges
	redis   func(context.Context, *stage) error
	// disturb breaks something again and again until the context ends, and leaves
	// everything working.
	disturb func(context.Context, *stage) error
}

var scenarios = []scenario{
	{id: "faults/two-nodes", name: "two nodes on one commitment, one killed", nodes: 2, redis: oneRedis, disturb: killNodes},
	{id: "faults/redis-killed", name: "Redis killed, append-only file", nodes: 2, redis: oneRedis, disturb: killRedis},
	{id: "faults/failover", name: "Redis failover by sentinels", nodes: 2, redis: sentinels, disturb: killMaster},
	{id: "faults/sync", name: "gate killed, durability sync", nodes: 1, options: "durability sync", disturb: killNodes},
	{id: "faults/async", name: "gate killed, durability async", nodes: 1, options: "durability async", mayLose: true, disturb: killNodes},
	{id: "faults/reload", name: "Caddy reloaded", nodes: 1, disturb: reload},
}

// IDs are the ids of all scenarios.
func IDs() (ids []string) {
	for _, one := range scenarios {
		ids = append(ids, one.id)
	}
	return ids
}

// Run runs the scenarios that are chosen. Its error says what could not be run, or whose sums are
// wrong.
func Run(ctx context.Context, s Setup) (Report, error) {
	var report Report
	for k, one := range scenarios {
		if !s.Chosen(one.id) {
			continue
		}
		result, err := s.run(ctx, one, filepath.Join(s.Folder, fmt.Sprint("faults-", k)))
		if err != nil {
			return report, fmt.Errorf("%s: %w", one.name, err)
		}
		s.Say("%s", result)
		report.Results = append(report.Results, result)
	}
	return report, nil
}

func (s Setup) run(ctx context.Context, what scenario, folder string) (Result, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return Result{}, err
	}
	stage, err := s.open(ctx, what, folder)
	defer stage.close()
	if err != nil {
		return Result{}, err
	}
	paying, stop := context.WithTimeout(ctx, s.Length)
	defer stop()
	crowd := stage.startPaying(ctx, paying)
	disturbed := what.disturb(paying, stage)
	stop()
	result := crowd.wait()
	result.ID, result.Name, result.Faults = what.id, what.name, stage.faults
	if err := errors.Join(disturbed, ctx.Err()); err != nil {
		return result, err
	}
	return stage.audit(ctx, crowd, result)
}
