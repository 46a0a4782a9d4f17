package broker

import (
	"fmt"

	"github.com/paywordhq/payword/money"
)

// chart is one series of amounts by day, as bars. Its text stands beside the
// drawing, so that it keeps its size however wide that is.
type chart struct {
	ID          string // of the elements that say what it is
	Title       string
	Description string // what can be seen in it
	Total       money.Amount
	Most        money.Amount // the highest bar
	Width       int          // of the drawing, in its own units; its height is chartHeight
	Bars        []bar
}

// bar is one day of a chart.
type bar struct{ X, Y, Width, Height int }

const (
	chartHeight = 100
	barWidth    = 8
	barStep     = 10
)

// newChart draws the amounts, in micros, of days that follow one another from
// the first one, in UTC days since 1970.
func newChart(id, title, code string, first int64, amounts []money.Amount) chart {
	c := chart{ID: id, Title: title, Width: barStep * len(amounts)}
	mostDay, empty := first, 0
	for k, amount := range amounts {
		c.Total += amount
		if amount > c.Most {
			c.Most, mostDay = amount, first+int64(k)
		}
		if amount == 0 {
			empty++
		}
	}
	for k, amount := range amounts {
		if amount <= 0 {
			continue
		}
		// The share is at most 100, and rounded up, so that what is there is
		// seen.
		height, err := amount.Share(chartHeight, int64(c.Most))
		if err != nil {
			continue
		}
		c.Bars = append(c.Bars, bar{X: k*barStep + (barStep-barWidth)/2, Y: chartHeight - int(height), Width: barWidth, Height: int(height)})
	}
	c.Description = fmt.Sprintf("Nothing in %d days.", len(amounts))
	if c.Most > 0 {
		c.Description = fmt.Sprintf("%s %s in %d days; the most in a day is %s, on %s; %d days have none.",
			groupedDecimal(c.Total), code, len(amounts), groupedDecimal(c.Most), formatDay(mostDay), empty)
	}
	return c
}
