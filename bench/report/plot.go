package report

import (
	"cmp"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
)

// The sizes of plots, in pixels.
const (
	plotWidth  = 760
	plotMargin = 16
	rowHeight  = 46
	axisHeight = 40
)

// A plot shows the rows of one group that have a bar. To the right is better,
// whatever is measured: each figure is divided by its bar, or the bar by it if it
// should be small. So the bar is the same line for all of them.
type plot struct {
	Width, Height, Left, Right, Top, Bottom int
	Bar                                     float64 // x of the bar
	Ticks                                   []tick
	Marks                                   []mark
}

type tick struct {
	X    float64
	Text string
}

type mark struct {
	Y                 int
	What, Text, Class string
	IsShown           bool
	X, Low, Wide      float64
}

// WritePlot draws the group's rows that have a bar as an SVG. It returns false,
// and draws nothing, if there is none.
func (r Report) WritePlot(w io.Writer, group string) (bool, error) {
	var rows []Row
	for _, row := range r.Rows {
		if row.Group == group && row.Bar != nil {
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return false, nil
	}
	return true, plotTemplate.Execute(w, plotOf(rows))
}

func plotOf(rows []Row) plot {
	p := plot{
		Width: plotWidth, Height: plotMargin + len(rows)*rowHeight + axisHeight, Left: plotMargin, Right: plotWidth - plotMargin,
		Top: plotMargin, Bottom: plotMargin + len(rows)*rowHeight,
	}
	low, high := 0.9, 1.1
	for _, row := range rows {
		if row.isDrawn() {
			low, high = min(low, row.goodness(row.worst())), max(high, row.goodness(row.best()))
		}
	}
	// Some room, so that marks do not stick out.
	room := math.Pow(high/low, 0.05)
	low, high = low/room, high*room
	x := func(value float64) float64 {
		share := math.Log(value/low) / math.Log(high/low)
		return float64(p.Left) + share*float64(p.Right-p.Left)
	}
	p.Bar = x(1)
	p.Ticks = ticks(low, high, x)
	for k, row := range rows {
		m := mark{Y: p.Top + k*rowHeight, What: row.What, Text: row.Text(), Class: row.class()}
		if row.isDrawn() {
			m.IsShown, m.X, m.Low = true, x(row.goodness(row.Ratio.Median)), x(row.goodness(row.worst()))
			m.Wide = x(row.goodness(row.best())) - m.Low
		}
		p.Marks = append(p.Marks, m)
	}
	return p
}

// isDrawn reports whether a row has a place on a scale of ratios. A bar of 0 has
// none.
func (r Row) isDrawn() bool { return r.Missing == "" && r.Bar.Value > 0 && r.Ratio.Low > 0 }

// goodness is how a figure compares with its bar: above 1 is better.
func (r Row) goodness(value float64) float64 {
	if r.Bar.IsMost {
		return r.Bar.Value / value
	}
	return value / r.Bar.Value
}

func (r Row) worst() float64 {
	if r.Bar.IsMost {
		return r.Ratio.High
	}
	return r.Ratio.Low
}

func (r Row) best() float64 {
	if r.Bar.IsMost {
		return r.Ratio.Low
	}
	return r.Ratio.High
}

func (r Row) class() string {
	switch r.Verdict() {
	case "met":
		return "met"
	case "missed":
		return "missed"
	case "within the spread":
		return "near"
	}
	return "none"
}

// tickValues are where a scale may have a line, the most important first.
var tickValues = []float64{1, 0.5, 2, 0.1, 10, 0.2, 5, 100, 0.01, 50, 20, 0.75, 1.5, 0.9, 1.1, 3, 0.8, 1.25, 0.95, 1.05}

// ticks returns the lines between low and high that are not too near each other.
func ticks(low, high float64, x func(float64) float64) (found []tick) {
	const apart = 48
	for _, value := range tickValues {
		at := x(value)
		isNear := slices.ContainsFunc(found, func(t tick) bool { return math.Abs(t.X-at) < apart })
		if value < low || value > high || isNear {
			continue
		}
		text := fmt.Sprint(value) + " ×"
		if value == 1 {
			text = "the bar"
		}
		found = append(found, tick{at, text})
	}
	return found
}

// serverBar is one server in the plot of all of them.
type serverBar struct {
	Y               int
	Name, Text      string
	Wide, Low, High float64
}

// WriteServerPlot draws how much each server answers as an SVG.
func (r Report) WriteServerPlot(w io.Writer) error {
	const left, right, height = 220, plotWidth - 190, 30
	most := slices.MaxFunc(r.Servers, func(a, b Server) int { return cmp.Compare(a.Rate.High, b.Rate.High) }).Rate.High
	wide := func(rate float64) float64 { return rate / max(most, 1) * (right - left) }
	var bars []serverBar
	for k, s := range r.Servers {
		bars = append(bars, serverBar{
			Y: plotMargin + k*height, Name: s.Name, Wide: wide(s.Rate.Median), Low: left + wide(s.Rate.Low), High: left + wide(s.Rate.High),
			Text: fmt.Sprintf("%s/s, %.0f µs CPU each", number(math.Round(s.Rate.Median)), s.Micros.Median),
		})
	}
	return serverTemplate.Execute(w, struct {
		Width, Height, Left, Right, Margin int
		Bars                               []serverBar
	}{plotWidth, 2*plotMargin + len(bars)*height, left, plotWidth - plotMargin, plotMargin, bars})
}

// style is that of all plots, on light and on dark pages.
const style = `<style>
text { font: 13px system-ui, sans-serif; fill: #24292f; stroke: #ffffff; stroke-width: 5px; paint-order: stroke }
.back { fill: #ffffff }
.small { font-size: 11px; fill: #57606a }
.grid { stroke: #d0d7de }
.bar { stroke: #57606a; stroke-width: 1.5; stroke-dasharray: 4 3 }
.met { fill: #0969da } .missed { fill: #bc4c00 } .near { fill: #9a6700 } .none { fill: #57606a } .whisker { stroke: #24292f; stroke-width: 1.5 }
.range { fill-opacity: .3 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; stroke: #0d1117 } .back { fill: #0d1117 } .small { fill: #9198a1 } .grid { stroke: #30363d } .bar { stroke: #9198a1 }
.met { fill: #58a6ff } .missed { fill: #f0883e } .near { fill: #d29922 } .none { fill: #9198a1 } .whisker { stroke: #e6edf3 }
}
</style>`

var plotTemplate = template.Must(template.New("plot").Parse(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{.Width}} {{.Height}}" width="{{.Width}}" height="{{.Height}}" role="img">
` + style + `
<rect class="back" width="{{.Width}}" height="{{.Height}}" rx="6"/>
{{range .Ticks}}<line class="grid" x1="{{printf "%.1f" .X}}" x2="{{printf "%.1f" .X}}" y1="{{$.Top}}" y2="{{$.Bottom}}"/>
<text class="small" x="{{printf "%.1f" .X}}" y="{{$.Bottom}}" dy="18" text-anchor="middle">{{.Text}}</text>
{{end}}<line class="bar" x1="{{printf "%.1f" .Bar}}" x2="{{printf "%.1f" .Bar}}" y1="{{.Top}}" y2="{{.Bottom}}"/>
{{range .Marks}}<text x="{{$.Left}}" y="{{.Y}}" dy="13">{{.What}}</text>
<text class="{{.Class}}" x="{{$.Right}}" y="{{.Y}}" dy="13" text-anchor="end">{{.Text}}</text>
{{if .IsShown}}<rect class="range {{.Class}}" x="{{printf "%.1f" .Low}}" y="{{.Y}}" width="{{printf "%.1f" .Wide}}" height="10" rx="3" transform="translate(0 22)"/>
<circle class="{{.Class}}" cx="{{printf "%.1f" .X}}" cy="{{.Y}}" r="5" transform="translate(0 27)"/>
{{end}}{{end}}</svg>
`))

var serverTemplate = template.Must(template.New("servers").Parse(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{.Width}} {{.Height}}" width="{{.Width}}" height="{{.Height}}" role="img">
` + style + `
<rect class="back" width="{{.Width}}" height="{{.Height}}" rx="6"/>
{{range .Bars}}<text x="{{$.Margin}}" y="{{.Y}}" dy="17">{{.Name}}</text>
<rect class="met" x="{{$.Left}}" y="{{.Y}}" width="{{printf "%.1f" .Wide}}" height="14" rx="2" transform="translate(0 5)"/>
<line class="whisker" x1="{{printf "%.1f" .Low}}" x2="{{printf "%.1f" .High}}" y1="{{.Y}}" y2="{{.Y}}" transform="translate(0 12)"/>
<text class="small" x="{{$.Right}}" y="{{.Y}}" dy="17" text-anchor="end">{{.Text}}</text>
{{end}}</svg>
`))
