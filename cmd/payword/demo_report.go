package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// report shows the demo as it goes, and sums it up at the end.
type report struct {
	out      io.Writer
	terminal bool
	failed   []string
	rows     [][2]string
	checks   int
}

func newReport(out io.Writer) *report {
	terminal := false
	if file, isFile := out.(*os.File); isFile {
		info, err := file.Stat()
		terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return &report{out: out, terminal: terminal}
}

// title begins a step.
func (r *report) title(text string) { fmt.Fprintf(r.out, "\n%s\n", text) }

// say tells something that happened.
func (r *report) say(format string, arguments ...any) {
	fmt.Fprintf(r.out, "  %s\n", fmt.Sprintf(format, arguments...))
}

// progress shows a count that grows, on a terminal only.
func (r *report) progress(done, total int, what string) {
	if !r.terminal {
		return
	}
	fmt.Fprintf(r.out, "\r  %d of %d %s", done, total, what)
	if done == total {
		fmt.Fprint(r.out, "\r\x1b[K")
	}
}

// expect checks something that must be so. The demo goes on, and fails at the
// end, if it is not.
func (r *report) expect(holds bool, format string, arguments ...any) {
	r.checks++
	text := fmt.Sprintf(format, arguments...)
	mark := "ok"
	if !holds {
		mark = "WRONG"
		r.failed = append(r.failed, text)
	}
	fmt.Fprintf(r.out, "  %-5s %s\n", mark, text)
}

// verdict is an error if anything was not as it must be.
func (r *report) verdict() error {
	if len(r.failed) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d expectations failed, the first: %s", len(r.failed), r.checks, r.failed[0])
}

// row adds a line to the table at the end.
func (r *report) row(name, format string, arguments ...any) {
	r.rows = append(r.rows, [2]string{name, fmt.Sprintf(format, arguments...)})
}

// table prints the rows.
func (r *report) table() {
	width := 0
	for _, row := range r.rows {
		width = max(width, len(row[0]))
	}
	fmt.Fprintln(r.out, "\nWhat happened")
	for _, row := range r.rows {
		fmt.Fprintf(r.out, "  %s%s  %s\n", row[0], strings.Repeat(" ", width-len(row[0])), row[1])
	}
}

// median returns the middle duration.
func median(durations []time.Duration) time.Duration {
	if len(durations) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(durations))
	return sorted[len(sorted)/2]
}
