package adminpage

import (
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/paywordhq/payword/money"
)

const secondsPerDay = 24 * 60 * 60

// functions are what templates can do with values.
func (s *Site) functions() template.FuncMap {
	return template.FuncMap{
		"amount":  GroupedDecimal,
		"count":   GroupedCount,
		"things":  Things,
		"seconds": func(at int64) time.Time { return time.Unix(at, 0).UTC() },
		"micros":  func(at int64) time.Time { return time.UnixMicro(at).UTC() },
		"iso":     func(at time.Time) string { return at.Format(time.RFC3339) },
		"clock":   func(at time.Time) string { return at.Format("2006-01-02 15:04:05") },
		"date":    FormatDay,
		// base is where the pages are.
		"base": func() string { return s.Path },
		"subjectPath": func(subject string) string {
			if s.SubjectPath == nil {
				return ""
			}
			return s.SubjectPath(subject)
		},
	}
}

// GroupedDecimal writes an amount with commas between thousands.
func GroupedDecimal(amount money.Amount) string {
	text := amount.Decimal()
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "\u2212", text[1:]
	}
	whole, fraction, _ := strings.Cut(text, ".")
	return sign + groupThousands(whole) + "." + fraction
}

// GroupedCount writes a number of things, 0 or more, with commas between
// thousands.
func GroupedCount(count int64) string { return groupThousands(strconv.FormatInt(count, 10)) }

// Things writes a number of things, 0 or more, such as "1 payment" and "2,000
// payments".
func Things(count int64, one string) string {
	if count == 1 {
		return "1 " + one
	}
	return GroupedCount(count) + " " + one + "s"
}

func groupThousands(digits string) string {
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// FormatDay writes a day, in UTC days since 1970.
func FormatDay(day int64) string {
	return time.Unix(day*secondsPerDay, 0).UTC().Format(time.DateOnly)
}

// NumberIn returns a number of the query of a request; 0: there is none of that
// name.
func NumberIn(r *http.Request, name string) int64 {
	number, err := strconv.ParseInt(r.URL.Query().Get(name), 10, 64)
	if err != nil || number < 0 {
		return 0
	}
	return number
}
