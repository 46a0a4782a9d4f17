package caddymodule

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/paywordhq/payword/money"
)

const (
	// maxReportDays bounds the days of a report: ten years.
	maxReportDays = 3660

	// maxTopPaths bounds the paths that are counted. Past it the smaller half is
	// forgotten, so that the largest are right unless very many are alike.
	maxTopPaths = 20_000

	// maxBadLines is how many lines that could not be read are shown.
	maxBadLines = 5
)

// logSum is what some requests would have earned.
type logSum struct {
	Requests int64        `json:"requests"`
	Earned   money.Amount `json:"earned"` // in micros
	Currency string       `json:"currency,omitempty"`
}

func (s *logSum) add(price *logPrice) {
	s.Requests++
	s.Earned += price.amount // requests in a file times MaxAmount stay far from overflow: amounts are prices
	s.Currency = price.currency.Code()
}

// logGroup is a sum of what has the same name.
type logGroup struct {
	Name string `json:"name"`
	logSum
}

// logReport is what a log would have earned. Amounts are full prices: nobody
// knows which requests would have been re-reads, or whose a discount or a pass.
type logReport struct {
	lines, bad int64
	badLines   []string
	from, to   time.Time

	rules, days, paths, people map[string]*logSum
	forgotten                  bool // paths were
	free                       map[string]int64

	bots *MatchBot
}

func newLogReport() *logReport {
	r := &logReport{
		rules: make(map[string]*logSum), days: make(map[string]*logSum), paths: make(map[string]*logSum),
		people: make(map[string]*logSum), free: make(map[string]int64), bots: new(MatchBot),
	}
	r.bots.build()
	return r
}

// addBad counts a line that could not be read.
func (r *logReport) addBad(number int64, err error) {
	r.bad++
	if len(r.badLines) < maxBadLines {
		r.badLines = append(r.badLines, fmt.Sprintf("line %d: %v", number, err))
	}
}

// add counts a request.
func (r *logReport) add(line *logLine, price *logPrice) {
	r.lines++
	if r.from.IsZero() || line.at.Before(r.from) {
		r.from = line.at
	}
	if line.at.After(r.to) {
		r.to = line.at
	}
	if price.free != "" {
		r.free[price.free]++
		return
	}
	who := "people"
	if isBot, _ := r.bots.MatchWithError(&http.Request{Header: line.header}); isBot {
		who = "bots"
	}
	code := price.currency.Code()
	sumIn(r.rules, price.vendor+" "+price.rule, maxUnearnedRules).add(price)
	sumIn(r.days, line.at.Format(time.DateOnly)+" "+code, maxReportDays).add(price)
	sumIn(r.people, who+" "+code, maxUnearnedRules).add(price)
	if len(r.paths) >= maxTopPaths {
		r.forgetPaths()
	}
	sumIn(r.paths, line.host+line.uri.Path+" "+code, maxTopPaths).add(price)
}

// sumIn returns the sum of a name, and of "others" where there are too many.
func sumIn(sums map[string]*logSum, name string, limit int) *logSum {
	if sums[name] == nil && len(sums) >= limit {
		name = "others"
	}
	if sums[name] == nil {
		sums[name] = new(logSum)
	}
	return sums[name]
}

func (r *logReport) forgetPaths() {
	r.forgotten = true
	for _, group := range groupsOf(r.paths)[maxTopPaths/2:] {
		delete(r.paths, group.Name)
	}
}

// groupsOf returns the sums, what earned most first.
func groupsOf(sums map[string]*logSum) []logGroup {
	groups := make([]logGroup, 0, len(sums))
	for name, sum := range sums {
		groups = append(groups, logGroup{Name: name, logSum: *sum})
	}
	slices.SortFunc(groups, func(a, b logGroup) int {
		return cmp.Or(cmp.Compare(b.Earned, a.Earned), cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Name, b.Name))
	})
	return groups
}

// totals returns the sums in each currency.
func (r *logReport) totals() []logGroup {
	all := make(map[string]*logSum)
	for _, sum := range r.rules {
		if all[sum.Currency] == nil {
			all[sum.Currency] = &logSum{Currency: sum.Currency}
		}
		all[sum.Currency].Requests += sum.Requests
		all[sum.Currency].Earned += sum.Earned
	}
	return groupsOf(all)
}

func (r *logReport) byDay() []logGroup {
	days := groupsOf(r.days)
	slices.SortFunc(days, func(a, b logGroup) int { return cmp.Compare(a.Name, b.Name) })
	return days
}

// withoutCode takes the currency off the names, which it keeps apart.
func withoutCode(groups []logGroup) []logGroup {
	for k := range groups {
		groups[k].Name = strings.TrimSuffix(groups[k].Name, " "+groups[k].Currency)
	}
	return groups
}

// freeGroup is how many requests were free for one reason.
type freeGroup struct {
	Reason   string `json:"reason"`
	Requests int64  `json:"requests"`
}

func (r *logReport) freeGroups() []freeGroup {
	groups := make([]freeGroup, 0, len(r.free))
	for reason, requests := range r.free {
		groups = append(groups, freeGroup{reason, requests})
	}
	slices.SortFunc(groups, func(a, b freeGroup) int {
		return cmp.Or(cmp.Compare(b.Requests, a.Requests), cmp.Compare(a.Reason, b.Reason))
	})
	return groups
}

// writeJSON writes the report for programs.
func (r *logReport) writeJSON(w io.Writer, top int) error {
	paths := groupsOf(r.paths)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(struct {
		Lines      int64       `json:"lines"`
		Bad        int64       `json:"badLines"`
		BadSamples []string    `json:"badSamples,omitempty"`
		From       time.Time   `json:"from"`
		To         time.Time   `json:"to"`
		Total      []logGroup  `json:"total"`
		Rules      []logGroup  `json:"rules"`
		Days       []logGroup  `json:"days"`
		People     []logGroup  `json:"peopleAndBots"`
		Paths      []logGroup  `json:"topPaths"`
		Estimated  bool        `json:"topPathsEstimated,omitempty"`
		Free       []freeGroup `json:"free"`
	}{
		r.lines + r.bad, r.bad, r.badLines, r.from, r.to, r.totals(), groupsOf(r.rules), withoutCode(r.byDay()),
		withoutCode(groupsOf(r.people)), withoutCode(paths[:min(top, len(paths))]), r.forgotten, r.freeGroups(),
	})
}

// writeText writes the report for people.
func (r *logReport) writeText(w io.Writer, top int) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "%d lines", r.lines+r.bad)
	if r.lines > 0 {
		fmt.Fprintf(table, " from %s to %s", r.from.Format(time.DateOnly), r.to.Format(time.DateOnly))
	}
	fmt.Fprintln(table)
	if r.bad > 0 {
		fmt.Fprintf(table, "%d of them could not be read:\n", r.bad)
		for _, sample := range r.badLines {
			fmt.Fprintf(table, "  %s\n", sample)
		}
	}
	section := func(title string, groups []logGroup) {
		if len(groups) == 0 {
			return
		}
		fmt.Fprintf(table, "\n%s\trequests\tearned\n", title)
		for _, group := range groups {
			fmt.Fprintf(table, "  %s\t%d\t%s %s\n", plainText(group.Name), group.Requests, group.Earned.Decimal(), group.Currency)
		}
	}
	total := r.totals()
	for k := range total {
		total[k].Name = "in all"
	}
	if len(total) == 0 {
		fmt.Fprintln(table, "\nNothing would have been earned.")
	}
	section("would have been earned", total)
	section("by rule", groupsOf(r.rules))
	section("by day", withoutCode(r.byDay()))
	section("people and bots", withoutCode(groupsOf(r.people)))
	paths := groupsOf(r.paths)
	title := "top paths"
	if r.forgotten {
		title = "top paths, about"
	}
	section(title, withoutCode(paths[:min(top, len(paths))]))
	if len(r.free) > 0 {
		fmt.Fprintf(table, "\nfree, because\trequests\n")
	}
	for _, group := range r.freeGroups() {
		fmt.Fprintf(table, "  %s\t%d\n", group.Reason, group.Requests)
	}
	fmt.Fprintln(table, "\nAt full prices: re-reads, discounts and passes are not taken off, and not all pay who read free.")
	return table.Flush()
}

// plainText makes text from a log fit for a terminal.
func plainText(text string) string {
	if len(text) > 80 {
		text = text[:77] + "..."
	}
	return strings.Map(func(c rune) rune {
		if c < 0x20 || c == 0x7f || c == 0xfffd || c >= 0x80 && c < 0xa0 {
			return '?'
		}
		return c
	}, text)
}
