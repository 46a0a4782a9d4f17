//go:build !pcsc

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/paywordhq/payword/samgateway"
	"github.com/paywordhq/payword/samgateway/pcsc"
)

// Without the build tag a command that wants a reader says what is missing, and
// what works without.
func TestWithoutReadersItSaysWhatIsMissing(t *testing.T) {
	for _, arguments := range [][]string{
		{"readers"}, {"card", "show", "--card-reader", "a"},
		{"pay", "1.00", "--card-file", "card", "--sam-reader", "a", "--journal", t.TempDir() + "/journal", "--currency", "USD"},
	} {
		var stdout, stderr bytes.Buffer
		code := samgateway.Main(t.Context(), pcsc.Readers{}, arguments, strings.NewReader(""), &stdout, &stderr)
		for _, want := range []string{"-tags pcsc", "libpcsclite-dev", "a card in a file"} {
			if code != 1 || !strings.Contains(stderr.String(), want) {
				t.Errorf("samgateway %s: exit code %d, %q; want 1 and %q", strings.Join(arguments, " "), code, stderr.String(), want)
			}
		}
	}
}
