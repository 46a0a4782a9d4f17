// Package gobench compiles the benchmarks of Go packages, runs single ones of
// them and reads what they print.
package gobench

import (
	"fmt"
	"strconv"
	"strings"
)

// Result is what a benchmark printed: its values by unit, such as "ns/op". Of a
// unit that several sub-benchmarks printed, it has the last.
type Result map[string]float64

// Parse reads the output of a test binary. It returns nil if no benchmark ran.
func Parse(output string) (Result, error) {
	var result Result
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		if _, err := strconv.Atoi(fields[1]); err != nil {
			continue // what the benchmark itself printed
		}
		if len(fields)%2 != 0 {
			return nil, fmt.Errorf("the benchmark's line %q: want a name, a count, and pairs of value and unit", strings.TrimSpace(line))
		}
		if result == nil {
			result = Result{}
		}
		for k := 2; k < len(fields); k += 2 {
			value, err := strconv.ParseFloat(fields[k], 64)
			if err != nil {
				return nil, fmt.Errorf("the benchmark's line %q: %w", strings.TrimSpace(line), err)
			}
			result[fields[k+1]] = value
		}
	}
	return result, nil
}

// Faster returns how many times as fast one benchmark is as another: by ops/s if
// both say it, otherwise by ns/op.
func Faster(result, baseline Result) (float64, error) {
	const rate, each = "ops/s", "ns/op"
	switch {
	case result[rate] > 0 && baseline[rate] > 0:
		return result[rate] / baseline[rate], nil
	case result[each] > 0 && baseline[each] > 0:
		return baseline[each] / result[each], nil
	}
	return 0, fmt.Errorf("want %s or %s of both, and not %v and %v", rate, each, result, baseline)
}

// pattern returns what -test.bench takes for one benchmark: its name, level by
// level.
func pattern(name string) string {
	levels := strings.Split(name, "/")
	for k, level := range levels {
		levels[k] = "^" + level + "$"
	}
	return strings.Join(levels, "/")
}
