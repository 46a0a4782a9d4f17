package gobench

import (
	"maps"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, output string
		want         Result
		problem      string
	}{
		{"a benchmark", "goos: linux\nBenchmarkA/64/payword \t 100\t 12.5 ns/op\t 0 B/op\t 0 allocs/op\nPASS\n",
			Result{"ns/op": 12.5, "B/op": 0, "allocs/op": 0}, ""},
		{"on two processors, with a metric", "BenchmarkA-2   1   2e+06 ns/op   3.25 x-sha256\n", Result{"ns/op": 2e6, "x-sha256": 3.25}, ""},
		{"none", "goos: linux\nPASS\nok\n", nil, ""},
		{"what it printed itself", "BenchmarkA says nothing of note\nBenchmarkA 1 5 ns/op\n", Result{"ns/op": 5}, ""},
		{"a unit without value", "BenchmarkA 1 5 ns/op 7\n", nil, "pairs"},
		{"no number", "BenchmarkA 1 five ns/op\n", nil, "five"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse(test.output)
			if test.problem != "" {
				if err == nil || !strings.Contains(err.Error(), test.problem) {
					t.Errorf("got %v, want an error with %q", err, test.problem)
				}
				return
			}
			if err != nil || !maps.Equal(got, test.want) || (got == nil) != (test.want == nil) {
				t.Errorf("got %v, %v, want %v", got, err, test.want)
			}
		})
	}
}

func TestFaster(t *testing.T) {
	for _, test := range []struct {
		name             string
		result, baseline Result
		want             float64 // 0: an error
	}{
		{"by time", Result{"ns/op": 50}, Result{"ns/op": 100}, 2},
		{"by rate, whatever the time says", Result{"ns/op": 1, "ops/s": 30}, Result{"ns/op": 1, "ops/s": 20}, 1.5},
		{"one has a rate", Result{"ns/op": 50, "ops/s": 30}, Result{"ns/op": 25}, 0.5},
		{"nothing in common", Result{"ops/s": 30}, Result{"ns/op": 25}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Faster(test.result, test.baseline)
			if got != test.want || (err == nil) != (test.want != 0) {
				t.Errorf("got %v, %v, want %v", got, err, test.want)
			}
		})
	}
}

func TestPatternNamesOneBenchmark(t *testing.T) {
	if got, want := pattern("BenchmarkA/64/payword"), "^BenchmarkA$/^64$/^payword$"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
