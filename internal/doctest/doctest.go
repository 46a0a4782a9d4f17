// Package doctest reads pages of docs for the tests that hold them to the code.
// The tests are those of a folder at the top of the module.
package doctest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Page returns the text of a page of docs, such as "broker.md".
func Page(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Section returns a section of a page, without its heading, which is given as it
// is written: "## Routes". The test ends where there is none.
func Section(t testing.TB, name, heading string) string {
	t.Helper()
	_, section, found := strings.Cut(Page(t, name), "\n"+heading+"\n")
	if !found {
		t.Fatalf("docs/%s has no section %q", name, heading)
	}
	for level := range strings.Index(heading, " ") { // up to one of the same level or above
		section, _, _ = strings.Cut(section, "\n"+strings.Repeat("#", level+1)+" ")
	}
	return section
}

var (
	row      = regexp.MustCompile("(?m)^\\| (`[^|]*) \\|")
	inQuotes = regexp.MustCompile("`([^`]*)`")
)

// Named returns what stands in quotes in the first column of a section's tables,
// sorted.
func Named(section string) (names []string) {
	for _, match := range row.FindAllStringSubmatch(section, -1) {
		for _, name := range inQuotes.FindAllStringSubmatch(match[1], -1) {
			names = append(names, name[1])
		}
	}
	slices.Sort(names)
	return names
}
