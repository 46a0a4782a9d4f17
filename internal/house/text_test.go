package house_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// The patterns and samples below are put together from parts, so that this file
// does not break its own rules.

// noteToSelf finds work that somebody meant to do later. Such work belongs in
// the tracker, where it can be found, or in docs/operations.md under what is
// not there yet.
var noteToSelf = regexp.MustCompile(`\b(` + "TO" + `DO|` + "FIX" + `ME)\b`)

// The paths of somebody's machine. Temporary files are made with t.TempDir or
// mktemp, which know where they belong; tests may name paths that do not exist.
var (
	machinePath = regexp.MustCompile(`(^|[^A-Za-z0-9_.~/-])/(work|root|home/[a-z]+)(/|[^A-Za-z0-9_./-]|$)`)
	tempPath    = regexp.MustCompile(`(^|[^A-Za-z0-9_.~/-])/tmp/[A-Za-z]`)
	outsidePath = regexp.MustCompile(`(^|[^A-Za-z0-9_.~/-])(\.\./)+shared/`)
)

// textFindings returns the breaches of a text, line by line.
func textFindings(name string, text []byte) (found []finding) {
	for number, line := range bytes.Split(text, []byte("\n")) {
		add := func(advice string) {
			found = append(found, finding{where: fmt.Sprintf("%s:%d", name, number+1), advice: advice})
		}
		if noteToSelf.Match(line) {
			add("a note to self: do it, or write it down where others look")
		}
		if machinePath.Match(line) || outsidePath.Match(line) {
			add("a path of somebody's machine: name it relative to the repository")
		}
		if tempPath.Match(line) && !strings.HasSuffix(name, "_test.go") {
			add("a fixed path for a temporary file: use t.TempDir, os.MkdirTemp or mktemp")
		}
	}
	return found
}

func TestTextSpeaksOfTheRepositoryAlone(t *testing.T) {
	for _, file := range tree(t).textFiles {
		report(t, textFindings(file.path, file.text))
	}
}

func TestTextRulesFindWhatTheyForbid(t *testing.T) {
	cases := []struct {
		name, path, text string
		want             int
	}{
		{"a note", "a.go", "x\n// TO" + "DO: later", 1},
		{"another note", "docs/a.md", "FIX" + "ME", 1},
		{"a word that holds one", "a.go", "MASTO" + "DON", 0},
		{"a folder of a machine", "a.md", "see /wor" + "k/main", 1},
		{"a folder in quotes", "a.go", `dir := "/roo` + `t"`, 1},
		{"somebody's home", "Makefile", "GO = /hom" + "e/me/go", 1},
		{"a part of a URL", "a.md", "https://news.example/wor" + "k/a", 0},
		{"a relative folder", "a.sh", "./wor" + "k/a", 0},
		{"a longer name", "a.md", "/wor" + "kshop", 0},
		{"a temporary file", "a.sh", "cat /tm" + "p/answer", 1},
		{"a temporary file in a test", "a_test.go", `"/tm` + `p/answer"`, 0},
		{"outside the repository", "a.md", "see ../sha" + "red/a.md", 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := len(textFindings(c.path, []byte(c.text))); got != c.want {
				t.Errorf("%d findings in %q of %s, want %d", got, c.text, c.path, c.want)
			}
		})
	}
}
