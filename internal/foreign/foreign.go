// Package foreign makes what another program wrote fit to be shown.
package foreign

import (
	"strings"
	"unicode"
)

// Text returns a text as it may stand in a line for people: at most so many
// bytes of it, and a space for every letter that cannot be printed, since such
// could move the cursor of whoever reads it, or begin a line of its own.
func Text(text string, maxBytes int) string {
	if len(text) > maxBytes {
		text = text[:maxBytes]
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))
}
