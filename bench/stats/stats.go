// Package stats sums up what was measured in pairs.
package stats

import (
	"math"
	"slices"
)

// Summary is the middle and the spread of some values.
type Summary struct {
	Count  int     `json:"count"`
	Low    float64 `json:"low"` // the lower quartile
	Median float64 `json:"median"`
	High   float64 `json:"high"` // the upper quartile
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

// Of sums values up. Without values everything is 0.
func Of(values []float64) Summary {
	if len(values) == 0 {
		return Summary{}
	}
	sorted := slices.Sorted(slices.Values(values))
	return Summary{
		Count: len(sorted), Low: Quantile(sorted, 0.25), Median: Quantile(sorted, 0.5), High: Quantile(sorted, 0.75),
		Least: sorted[0], Most: sorted[len(sorted)-1],
	}
}

// Quantile returns what a share, from 0 to 1, of the sorted values stay under.
// Between two values it goes from one to the other in a straight line.
func Quantile(sorted []float64, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	position := share * float64(len(sorted)-1)
	below := int(math.Floor(position))
	above := min(below+1, len(sorted)-1)
	return sorted[below] + (position-float64(below))*(sorted[above]-sorted[below])
}

// Ratios divides each of values by the one of baselines that was measured beside
// it. A pair with a baseline of 0 measured nothing and is left out.
func Ratios(values, baselines []float64) []float64 {
	var ratios []float64
	for k := range min(len(values), len(baselines)) {
		if baselines[k] != 0 {
			ratios = append(ratios, values[k]/baselines[k])
		}
	}
	return ratios
}
