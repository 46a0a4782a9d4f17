package audit_test

import (
	"strings"
	"testing"
	"unicode"

	"github.com/paywordhq/payword/clearing/audit"
)

// Whoever can change the books cannot have the report say something else on a
// terminal, or make it long without an end.
func TestReportShowsWhatCannotBeSeen(t *testing.T) {
	for _, subject := range []string{
		"user:x\neverything agrees", "user:x\r\x1b[2K\x1b[1A", "user:\u009b31m", "user:\u202egnirts", "user:\xff\xfe", "user:" + strings.Repeat("x", 1<<20),
	} {
		for _, report := range []audit.Report{
			audit.Told(audit.AccountUnknown, subject, "a", "b"), audit.Told(audit.AccountUnknown, "a", subject, "b"), audit.Told(audit.AccountUnknown, "a", "b", subject),
		} {
			var text strings.Builder
			if err := report.Write(&text); err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
			last := lines[len(lines)-1]
			if len(text.String()) > 10_000 || last != "1 things do not agree" || !strings.HasPrefix(lines[len(lines)-2], "WRONG account-unknown ") {
				t.Errorf("%.40q: got %.400q", subject, text.String())
			}
			for _, line := range lines {
				if strings.ContainsFunc(line, func(c rune) bool { return !unicode.IsPrint(c) || c == unicode.ReplacementChar }) {
					t.Errorf("%.40q: got %q", subject, line)
				}
			}
		}
	}
	if got := audit.Told(audit.AccountUnknown, `a "b"`, "ü", "c").Findings[0]; got.Subject != `a "b"` || got.Evidence != "ü" {
		t.Errorf("got %+v", got)
	}
}
