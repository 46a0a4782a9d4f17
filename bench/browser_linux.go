package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/paywordhq/payword/bench/process"
	"github.com/paywordhq/payword/bench/report"
	"github.com/paywordhq/payword/bench/stats"
)

const (
	groupBrowser = "The wallet in a browser"
	browserID    = "browser/chain"
	// browserName is what the client's benchmark calls the walk of a long chain.
	browserName = "client-js/chromium/chain"
	browserTime = 5 * time.Minute
)

// browser measures a long chain in Chromium.
func (b *bench) browser(ctx context.Context) error {
	if !b.chosen.MatchString(browserID) {
		return nil
	}
	row := report.Row{ID: browserID, Group: groupBrowser, What: "1,000,000 steps in Chromium / @noble/hashes", Unit: "×", Bar: report.AtLeast(8)}
	limited, cancel := context.WithTimeout(ctx, browserTime)
	defer cancel()
	command := exec.CommandContext(limited, "npm", "run", "--silent", "bench", "--", "--rounds", fmt.Sprint(b.browserRounds), "chromium")
	command.Dir = filepath.Join(b.root, "..", "client-js")
	var output, problems bytes.Buffer
	command.Stdout, command.Stderr = &output, &problems
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	// npm starts others, which end with it only if the whole group is told to.
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = 5 * time.Second
	b.say("measuring in Chromium")
	err := process.RunOn(b.processors.All, command)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		row.Ratio, err = readBrowser(output.String())
	}
	if err != nil {
		row.Missing = "it failed"
		b.report.Warnings = append(b.report.Warnings, fmt.Sprintf("%s failed (make tools installs what it needs): %v: %.500s", browserID, err, problems.String()))
	}
	b.say("%-18s %s", row.ID, row.Text())
	b.report.Rows = append(b.report.Rows, row)
	return nil
}

// readBrowser finds the long chain's line of JSON in what the client's benchmark
// prints: {"name": …, "ratio": …, "median": …, "spread": …, "rounds": …}. ratio is
// the median of how many times as fast it is, spread that of the time, between its quartiles.
func readBrowser(output string) (stats.Summary, error) {
	for scanner := bufio.NewScanner(strings.NewReader(output)); scanner.Scan(); {
		var line struct {
			Name                  string
			Ratio, Median, Spread float64
			Rounds                int
		}
		if json.Unmarshal(scanner.Bytes(), &line) != nil || line.Name != browserName {
			continue
		}
		if line.Ratio <= 0 || line.Median <= 0 || line.Rounds < 1 {
			return stats.Summary{}, fmt.Errorf("want ratio, median and rounds in %s", scanner.Text())
		}
		part := line.Spread / 2 / line.Median
		return stats.Summary{Count: line.Rounds, Median: line.Ratio, Low: line.Ratio / (1 + part), High: line.Ratio * (1 + part)}, nil
	}
	return stats.Summary{}, fmt.Errorf("the benchmark printed no line of JSON with the name %s", browserName)
}
