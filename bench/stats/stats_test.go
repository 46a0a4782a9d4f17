package stats

import (
	"slices"
	"testing"
)

func TestOf(t *testing.T) {
	for _, test := range []struct {
		name   string
		values []float64
		want   Summary
	}{
		{"none", nil, Summary{}},
		{"one", []float64{3}, Summary{1, 3, 3, 3, 3, 3}},
		{"two", []float64{4, 2}, Summary{2, 2.5, 3, 3.5, 2, 4}},
		{"five, in any order", []float64{5, 1, 4, 2, 3}, Summary{5, 2, 3, 4, 1, 5}},
		{"one far out", []float64{1, 1, 1, 1, 1000}, Summary{5, 1, 1, 1, 1, 1000}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := slices.Clone(test.values)
			if got := Of(test.values); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if !slices.Equal(before, test.values) {
				t.Error("the values were sorted in place")
			}
		})
	}
}

func TestRatiosAreOfPairs(t *testing.T) {
	got := Ratios([]float64{2, 9, 3, 7}, []float64{1, 0, 6})
	if want := []float64{2, 0.5}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
