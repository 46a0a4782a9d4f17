package foreign_test

import (
	"testing"

	"github.com/paywordhq/payword/internal/foreign"
)

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"as it is":               "as it is",
		"":                       "",
		"two\nlines\r":           "two lines ",
		"\x1b[2Jgone":            " [2Jgone",
		"turned \u202eround":     "turned  round",
		"no UTF-8 \xff\xfe.":     "no UTF-8  .",
		"0123456789012345678901": "01234567890123456789",
		"012345678901234567ä9":   "012345678901234567ä",
		"0123456789012345678ä":   "0123456789012345678 ",
	} {
		if got := foreign.Text(text, 20); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
