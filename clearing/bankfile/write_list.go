package bankfile

import (
	"io"
	"strings"
	"unicode"
)

// WriteRow writes one row of a list of payments as CSV (RFC 4180). Every cell is
// in quotes, and none can be taken for a formula by a spreadsheet, whichever
// character the spreadsheet splits rows at.
func WriteRow(out io.Writer, cells ...string) error {
	var row strings.Builder
	for k, text := range cells {
		if k > 0 {
			row.WriteByte(',')
		}
		row.WriteString(`"` + strings.ReplaceAll(cell(text), `"`, `""`) + `"`)
	}
	row.WriteString("\r\n")
	_, err := io.WriteString(out, row.String())
	return err
}

// cell keeps a spreadsheet from taking a text for a formula: an apostrophe goes
// before a text that begins as one does, also behind what cannot be seen, and
// control characters become spaces.
func cell(text string) string {
	text = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || c == '\u2028' || c == '\u2029' {
			return ' '
		}
		return c
	}, text)
	seen := strings.TrimLeftFunc(text, func(c rune) bool { return unicode.IsSpace(c) || unicode.Is(unicode.Cf, c) })
	for _, sign := range []string{"=", "+", "-", "@", "＝", "＋", "－", "＠"} { // some take those of full width for the others
		if strings.HasPrefix(seen, sign) {
			return "'" + text
		}
	}
	return text
}
