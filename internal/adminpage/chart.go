package adminpage

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/paywordhq/payword/money"
)

// Chart is one series of amounts by day or by run, as bars. Its text stands
// beside the drawing, so that it keeps its size however wide that is.
type Chart struct {
	ID          string // of the elements that say what it is
	Title       string
	Each        string // what a bar is for, such as "by day"
	Description string // what can be seen in it
	Total       string // for people, as is Most
	Most        string // the highest bar; "": there is none
	Span        string // what the bars are from left to right
	Width       int    // of the drawing, in its own units; its height is chartHeight
	Bars        []Bar
}

// Bar is one day or run of a chart.
type Bar struct{ X, Y, Width, Height int }

const (
	chartHeight = 100
	barWidth    = 8
	barStep     = 10
)

// bars draws amounts of at most most beside one another.
func bars(amounts []money.Amount, most money.Amount) (drawn []Bar) {
	for k, amount := range amounts {
		if amount <= 0 {
			continue
		}
		// The share is at most 100, and rounded up, so that what is there is
		// seen.
		height, err := amount.Share(chartHeight, int64(most))
		if err != nil {
			continue
		}
		drawn = append(drawn, Bar{X: k*barStep + (barStep-barWidth)/2, Y: chartHeight - int(height), Width: barWidth, Height: int(height)})
	}
	return drawn
}

// chartDays are the spans that charts by day can have, in days; the second one
// is shown first.
var chartDays = []int{7, 30, 90}

// DaysIn returns the span that a request for charts by day asks for, in days.
func DaysIn(r *http.Request) int {
	days, err := strconv.Atoi(r.URL.Query().Get("days"))
	if err != nil || !slices.Contains(chartDays, days) {
		return chartDays[1]
	}
	return days
}

// Series is what one chart draws: figures of days or other things that follow
// one another, 0 or more each.
type Series struct {
	ID, Title string
	Amounts   []money.Amount // micros, unless Format says something else
	// Format writes a figure, with its unit, for charts that are not by day; nil:
	// GroupedDecimal.
	Format func(money.Amount) string
}

// Charts is charts and the same figures as a table, the newest first.
type Charts struct {
	Days    int // 0: they are not by day
	Choices []int
	Base    string // what the links to other spans begin with
	Charts  []Chart
	Each    string // what a row of the table is, such as "Day"
	Rows    []ChartRow
	AsOf    int64 // microseconds since 1970; 0: now
}

// ChartRow is a line of the table beside the charts.
type ChartRow struct {
	Name, Path string // Path: of a page about it, or ""
	Cells      []Cell // in the order of the charts
}

// Cell is a figure of a table.
type Cell struct {
	Text   string
	IsNone bool
}

// DayCharts draws series of days that follow one another from the first one, in
// UTC days since 1970; all are equally long.
func DayCharts(code string, first int64, series []Series) (drawn Charts) {
	drawn = Charts{Days: len(series[0].Amounts), Choices: chartDays, Each: "Day"}
	for _, one := range series {
		drawn.Charts = append(drawn.Charts, dayChart(one, code, first))
	}
	for day := drawn.Days - 1; day >= 0; day-- {
		row := ChartRow{Name: FormatDay(first + int64(day))}
		for _, one := range series {
			row.Cells = append(row.Cells, Cell{GroupedDecimal(one.Amounts[day]), one.Amounts[day] == 0})
		}
		drawn.Rows = append(drawn.Rows, row)
	}
	return drawn
}

func dayChart(one Series, code string, first int64) Chart {
	days := len(one.Amounts)
	c := Chart{
		ID: one.ID, Title: one.Title, Each: "by day", Width: barStep * days, Span: fmt.Sprintf("%d days to today", days),
		Description: fmt.Sprintf("Nothing in %d days.", days),
	}
	var total, most money.Amount
	mostDay, empty := first, 0
	for k, amount := range one.Amounts {
		total += amount
		if amount > most {
			most, mostDay = amount, first+int64(k)
		}
		if amount == 0 {
			empty++
		}
	}
	c.Total, c.Bars = GroupedDecimal(total), bars(one.Amounts, most)
	if most > 0 {
		c.Most = GroupedDecimal(most) + " a day"
		c.Description = fmt.Sprintf("%s %s in %d days; the most in a day is %s, on %s; %d days have none.",
			c.Total, code, days, GroupedDecimal(most), FormatDay(mostDay), empty)
	}
	return c
}

// Item is what a bar of a chart stands for that is not by day.
type Item struct{ Name, Path string }

// ItemCharts draws series of items that follow one another, such as runs: each
// is what one is called and all what they are, such as "Run" and "runs". All
// series are as long as items.
func ItemCharts(each, all string, items []Item, series []Series) (drawn Charts) {
	drawn = Charts{Each: each}
	for k, one := range series {
		if one.Format == nil {
			series[k].Format = GroupedDecimal
		}
		drawn.Charts = append(drawn.Charts, itemChart(series[k], strings.ToLower(each), all, items))
	}
	for k := len(items) - 1; k >= 0; k-- {
		row := ChartRow{Name: items[k].Name, Path: items[k].Path}
		for _, one := range series {
			row.Cells = append(row.Cells, Cell{one.Format(one.Amounts[k]), one.Amounts[k] == 0})
		}
		drawn.Rows = append(drawn.Rows, row)
	}
	return drawn
}

func itemChart(one Series, each, all string, items []Item) Chart {
	c := Chart{
		ID: one.ID, Title: one.Title, Each: "by " + each, Width: barStep * max(1, len(items)),
		Span: fmt.Sprintf("%d %s, the newest at the end", len(items), all), Description: fmt.Sprintf("Nothing in %d %s.", len(items), all),
	}
	var total, most money.Amount
	mostItem := 0
	for k, amount := range one.Amounts {
		total += amount
		if amount > most {
			most, mostItem = amount, k
		}
	}
	c.Total, c.Bars = one.Format(total), bars(one.Amounts, most)
	if most > 0 {
		c.Most = one.Format(most)
		c.Description = fmt.Sprintf("%s in %d %s; the most is %s, of %s.", c.Total, len(items), all, c.Most, items[mostItem].Name)
	}
	return c
}
