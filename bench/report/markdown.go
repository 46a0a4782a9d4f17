package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/paywordhq/payword/bench/stats"
)

// WriteMarkdown writes the report's tables.
func (r Report) WriteMarkdown(w io.Writer) error {
	var text strings.Builder
	text.WriteString(r.Heading())
	text.WriteString("\n" + r.BarTable())
	for _, group := range r.Groups() {
		fmt.Fprintf(&text, "\n### %s\n\n%s", group, r.Table(group))
	}
	if len(r.Servers) > 0 {
		fmt.Fprintf(&text, "\n### The servers\n\n%s", r.ServerTable())
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// Heading says what was measured on.
func (r Report) Heading() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s, mode %s. %d × %s (%s), %s, %s, %s", r.Began, r.Mode, r.Machine.Count, r.Machine.Processor,
		strings.Join(r.Machine.Flags, " "), r.Machine.Memory, r.Machine.Kernel, r.Machine.Go)
	for _, v := range r.Versions {
		fmt.Fprintf(&text, ", %s %s", v.Program, v.Version)
	}
	text.WriteString(".\n")
	for _, warning := range r.Warnings {
		fmt.Fprintf(&text, "\nNote: %s.\n", warning)
	}
	return text.String()
}

// BarTable returns what became of all bars as a Markdown table.
func (r Report) BarTable() string {
	var text strings.Builder
	text.WriteString("| what | result | bar | |\n|---|---|---|---|\n")
	for _, row := range r.Rows {
		if row.Bar == nil {
			continue
		}
		result := ""
		if row.Missing == "" {
			result = strings.TrimSpace(number(row.Ratio.Median) + " " + row.Unit)
		}
		fmt.Fprintf(&text, "| %s | %s | %s | %s |\n", row.What, result, row.barText(), row.Verdict())
	}
	return text.String()
}

// Groups returns the tables' names in order.
func (r Report) Groups() (groups []string) {
	for _, row := range r.Rows {
		if !slices.Contains(groups, row.Group) {
			groups = append(groups, row.Group)
		}
	}
	return groups
}

// Table returns the rows of a group as a Markdown table.
func (r Report) Table(group string) string {
	var text strings.Builder
	text.WriteString("| what | bar | median (quartiles) | pairs | |\n|---|---|---|---|---|\n")
	for _, row := range r.Rows {
		if row.Group != group {
			continue
		}
		note := row.Note
		if row.Missing != "" {
			note = row.Missing
		} else if row.Bar != nil && row.Bar.Skipped != "" {
			note = row.Bar.Skipped
		}
		verdict := row.Verdict()
		if note != "" && verdict != "" {
			verdict += ": "
		}
		fmt.Fprintf(&text, "| %s | %s | %s | %d | %s%s |\n", row.What, row.barText(), row.figure(), row.Ratio.Count, verdict, note)
	}
	return text.String()
}

// Text returns the median with its bar and the verdict, in plain text.
func (r Row) Text() string {
	text := strings.TrimSpace(number(r.Ratio.Median) + " " + r.Unit)
	if r.Missing != "" {
		text = r.Missing
	}
	if r.Bar != nil {
		text += fmt.Sprintf(", bar %s, %s", r.Bar.text(), r.Verdict())
	}
	return text
}

func (r Row) barText() string {
	if r.Bar == nil {
		return ""
	}
	return strings.TrimSpace(r.Bar.text() + " " + r.Unit)
}

func (b Bar) text() string {
	value := fmt.Sprint(b.Value)
	if b.Value >= 1000 {
		value = number(b.Value)
	}
	if b.IsMost {
		return "≤ " + value
	}
	return "≥ " + value
}

func (r Row) figure() string {
	if r.Missing != "" {
		return ""
	}
	text := "**" + number(r.Ratio.Median) + "** " + r.Unit
	if r.Ratio.Count > 1 {
		text += fmt.Sprintf(" (%s to %s)", number(r.Ratio.Low), number(r.Ratio.High))
	}
	return strings.TrimSpace(text)
}

// number writes a figure with as many digits as it is worth.
func number(value float64) string {
	switch {
	case value >= 1000:
		return thousands(int64(value + 0.5))
	case value == math.Trunc(value):
		return fmt.Sprintf("%.0f", value)
	case value >= 100:
		return fmt.Sprintf("%.0f", value)
	case value >= 10:
		return fmt.Sprintf("%.1f", value)
	}
	return fmt.Sprintf("%.3f", value)
}

// thousands writes a whole number with a comma before every three digits.
func thousands(n int64) string {
	text := fmt.Sprint(n)
	for k := len(text) - 3; k > 0; k -= 3 {
		text = text[:k] + "," + text[k:]
	}
	return text
}

// ServerTable returns what each server did as a Markdown table.
func (r Report) ServerTable() string {
	var text strings.Builder
	text.WriteString("| server | requests/s (quartiles) | CPU µs/request | Redis CPU µs/request | others' CPUs | paid | refused |\n|---|---|---|---|---|---|---|\n")
	for _, s := range r.Servers {
		paid := ""
		if s.IsPaid {
			paid = thousands(int64(s.Answers))
		}
		redis := ""
		if s.Redis.Median > 0 {
			redis = spread(s.Redis)
		}
		fmt.Fprintf(&text, "| %s | %s | %s | %s | %.2f | %s | %d |\n", s.Name, spread(s.Rate), spread(s.Micros), redis, s.Foreign.Median, paid, s.Refused)
	}
	return text.String()
}

func spread(s stats.Summary) string {
	return fmt.Sprintf("%s (%s to %s)", number(s.Median), number(s.Low), number(s.High))
}
