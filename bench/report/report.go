// Package report holds what was measured and shows it: as JSON, as tables and as
// plots.
package report

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/paywordhq/payword/bench/process"
	"github.com/paywordhq/payword/bench/stats"
)

// Report is everything that one run of the benchmarks found.
type Report struct {
	Began    string          `json:"began"` // RFC 3339
	Mode     string          `json:"mode"`  // "quick" or "full"
	Machine  process.Machine `json:"machine"`
	Versions []Version       `json:"versions"`
	Warnings []string        `json:"warnings,omitempty"`
	Ceiling  float64         `json:"ceiling,omitempty"` // requests a second that the generator can send
	Rows     []Row           `json:"rows"`
	Servers  []Server        `json:"servers,omitempty"`
}

// Version is which version of a program was measured.
type Version struct {
	Program string `json:"program"`
	Version string `json:"version"`
}

// Row is one comparison, or one figure.
type Row struct {
	ID    string        `json:"id"`            // such as "http/async"
	Group string        `json:"group"`         // the table that it stands in
	What  string        `json:"what"`          // in words
	Ratio stats.Summary `json:"ratio"`         // over the pairs; or the figure itself
	Unit  string        `json:"unit"`          // "×" for a ratio
	Bar   *Bar          `json:"bar,omitempty"` // nil: shown only
	Note  string        `json:"note,omitempty"`
	// Why there is no figure; empty: there is one.
	Missing string `json:"missing,omitempty"`
}

// Bar is what a figure should be.
type Bar struct {
	Value  float64 `json:"value"`
	IsMost bool    `json:"isMost"` // the figure should not be above; otherwise not below
	// Why this machine cannot be asked for it, such as "no AVX-512"; empty: it can.
	Skipped string `json:"skipped,omitempty"`
}

// AtLeast is a bar that a figure should reach.
func AtLeast(value float64) *Bar { return &Bar{Value: value} }

// AtMost is a bar that a figure should stay under.
func AtMost(value float64) *Bar { return &Bar{Value: value, IsMost: true} }

// Verdict says what became of a bar: "met", "missed", "within the spread" if the
// median misses it and a quartile does not, "skipped", "not measured", or nothing
// where there is no bar.
func (r Row) Verdict() string {
	switch {
	case r.Missing != "":
		return "not measured"
	case r.Bar == nil:
		return ""
	case r.Bar.Skipped != "":
		return "skipped"
	case r.Bar.isMet(r.Ratio.Median):
		return "met"
	case r.Bar.isMet(r.Ratio.Low) || r.Bar.isMet(r.Ratio.High):
		return "within the spread"
	}
	return "missed"
}

func (b Bar) isMet(value float64) bool {
	if b.IsMost {
		return value <= b.Value
	}
	return value >= b.Value
}

// Server is what one of the servers did, over all rounds.
type Server struct {
	Name      string        `json:"name"`
	Rate      stats.Summary `json:"rate"`                // answers a second, in closed loop
	Micros    stats.Summary `json:"micros"`              // processor time per answer, in microseconds
	Redis     stats.Summary `json:"redis"`               // that of Redis
	Foreign   stats.Summary `json:"foreign"`             // processors that others used meanwhile
	Answers   int           `json:"answers"`             // over all rounds
	IsPaid    bool          `json:"isPaid"`              // each of them was paid for
	Refused   int           `json:"refused"`             // of the answers, those that were not 200
	RatesEach []float64     `json:"ratesEach,omitempty"` // of each round
}

// WriteJSON writes the report for programs.
func (r Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// ReadJSON reads what WriteJSON wrote.
func ReadJSON(from io.Reader) (Report, error) {
	var r Report
	if err := json.NewDecoder(from).Decode(&r); err != nil {
		return r, fmt.Errorf("reading a report: %w", err)
	}
	return r, nil
}
