package house_test

import (
	"encoding/hex"
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
)

// section returns a section of docs/protocol.md, from its heading to the next
// of the same level.
func section(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(moduleRoot, "docs", "protocol.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n"+heading+"\n")
	if !found {
		t.Fatalf("docs/protocol.md has no section %q", heading)
	}
	level, _, _ := strings.Cut(heading, " ")
	body, _, _ := strings.Cut(rest, "\n"+level+" ")
	return body
}

var reasonRow = regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|")

func TestProtocolListsEveryReason(t *testing.T) {
	var got, want []string
	for _, match := range reasonRow.FindAllStringSubmatch(section(t, "## 11. Reasons"), -1) {
		got = append(got, match[1])
	}
	for _, reason := range payword.Reasons() {
		want = append(want, reason.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("docs/protocol.md section 11 lists\n%q\nand reason.go\n%q", got, want)
	}
}

var (
	problemRow  = regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| (.*) \\| ([0-9]+) \\|$")
	quotedWords = regexp.MustCompile("`([a-z-]+)`")
)

func TestProtocolMapsReasonsToProblems(t *testing.T) {
	kinds := make(map[string]string) // of a reason: type and status
	rest := ""
	for _, match := range problemRow.FindAllStringSubmatch(section(t, "### 8.4 Problem details [8.2]"), -1) {
		kind := match[1] + " " + match[3]
		words := quotedWords.FindAllStringSubmatch(match[2], -1)
		if len(words) == 0 {
			rest = kind
		}
		for _, word := range words {
			kinds[word[1]] = kind
		}
	}
	for _, reason := range payword.Reasons() {
		problem := payword.NewProblem(payword.Refusal{Reason: reason}, payword.Status{}, "")
		want := strings.TrimPrefix(problem.Type, payword.ProblemBase) + " " + strconv.Itoa(problem.Status)
		got, listed := kinds[reason.String()]
		if !listed {
			got = rest
		}
		if got != want {
			t.Errorf("docs/protocol.md section 8.4 answers %s with %q, problem.go with %q", reason, got, want)
		}
	}
}

// The worked example of section 5 is what the package computes.
func TestProtocolExampleOfAChain(t *testing.T) {
	var seed payword.Seed
	for i := range seed {
		seed[i] = byte(i)
	}
	var nonce payword.Nonce
	for i := range nonce {
		nonce[i] = 0xa0 + byte(i)
	}
	const length = 10
	tip, err := seed.Tip("https://news.example", nonce, 0, length)
	if err != nil {
		t.Fatal(err)
	}
	text := section(t, "## 5. Chains")
	for i := range uint32(length + 1) {
		word := tip.Walk(length - i)
		line := fmt.Sprintf("\n%-4s %s\n", fmt.Sprintf("W_%d", i), hex.EncodeToString(word[:]))
		if !strings.Contains(text, line) {
			t.Errorf("docs/protocol.md section 5 does not have the line%s", line)
		}
	}
	hash := tip.Walk(length - 3).TailHash()
	if !strings.Contains(text, hex.EncodeToString(hash[:])) {
		t.Errorf("docs/protocol.md section 5 does not have the tail hash %x", hash)
	}
}

// The tests that CONTRIBUTING.md names are there, by these names.
func TestNamedTestsExist(t *testing.T) {
	there := map[string]bool{}
	for _, f := range tree(t).goFiles {
		for _, declared := range f.syntax.Decls {
			if function, is := declared.(*ast.FuncDecl); is {
				there[function.Name.Name] = true
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(moduleRoot, "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test[A-Z][A-Za-z0-9]*)`").FindAllSubmatch(text, -1)
	if len(named) < 20 {
		t.Errorf("CONTRIBUTING.md names %d tests", len(named))
	}
	for _, name := range named {
		if !there[string(name[1])] {
			t.Errorf("CONTRIBUTING.md names %s, and there is no such test", name[1])
		}
	}
}

// Links between documents lead somewhere.
func TestDocumentsLinkToWhatExists(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)
	seen := 0
	for _, file := range tree(t).textFiles {
		if filepath.Ext(file.path) != ".md" {
			continue
		}
		for _, match := range link.FindAllStringSubmatch(string(file.text), -1) {
			seen++
			target := filepath.Join(moduleRoot, filepath.Dir(file.path), filepath.FromSlash(match[1]))
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which does not exist", file.path, match[1])
			}
		}
	}
	if seen == 0 {
		t.Error("found no link in any document")
	}
}

var (
	headingLine     = regexp.MustCompile("(?m)^#+ (.*)$")
	notInAnchors    = regexp.MustCompile(`[^\p{L}\p{N}_\- ]`)
	linkWithAnchor  = regexp.MustCompile(`\]\(([^)#:\s]*)#([^)\s]+)\)`)
	linksOfHeadings = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// anchors returns what the headings of a document can be linked by.
func anchors(text string) map[string]bool {
	found := make(map[string]bool)
	for _, match := range headingLine.FindAllStringSubmatch(text, -1) {
		heading := linksOfHeadings.ReplaceAllString(strings.ToLower(match[1]), "$1")
		found[strings.ReplaceAll(notInAnchors.ReplaceAllString(heading, ""), " ", "-")] = true
	}
	return found
}

// Links to a heading lead to one.
func TestDocumentsLinkToHeadings(t *testing.T) {
	texts := make(map[string]string)
	for _, file := range tree(t).textFiles {
		if filepath.Ext(file.path) == ".md" {
			texts[filepath.Clean(file.path)] = string(file.text)
		}
	}
	seen := 0
	for path, text := range texts {
		for _, match := range linkWithAnchor.FindAllStringSubmatch(text, -1) {
			seen++
			target := path
			if match[1] != "" {
				target = filepath.Join(filepath.Dir(path), filepath.FromSlash(match[1]))
			}
			if !anchors(texts[target])[match[2]] {
				t.Errorf("%s links to #%s, and %s has no such heading", path, match[2], target)
			}
		}
	}
	if seen == 0 {
		t.Error("found no link to a heading")
	}
}

var decisionHeading = regexp.MustCompile(`^# ([0-9]{2}): `)

// A decision is numbered, in its name and its heading alike, and a document that
// is not a decision itself links to it.
func TestDecisionsAreNumberedAndLinked(t *testing.T) {
	linked := make(map[string]bool)
	link := regexp.MustCompile(`\]\((?:docs/)?(decisions/[^)#]+)[)#]`)
	decisions := make(map[string]string) // their text by their path below docs/
	for _, file := range tree(t).textFiles {
		path := filepath.ToSlash(file.path)
		if below, found := strings.CutPrefix(path, "docs/decisions/"); found {
			decisions["decisions/"+below] = string(file.text)
			continue
		}
		if filepath.Ext(path) != ".md" {
			continue
		}
		for _, match := range link.FindAllStringSubmatch(string(file.text), -1) {
			linked[match[1]] = true
		}
	}
	if len(decisions) < 20 {
		t.Errorf("found %d decisions; there are more", len(decisions))
	}
	for path, text := range decisions {
		heading := decisionHeading.FindStringSubmatch(text)
		if heading == nil || !strings.HasPrefix(path, "decisions/"+heading[1]+"-") {
			t.Errorf("docs/%s does not begin with its number, such as: # 07: What we build on", path)
		}
		if !linked[path] {
			t.Errorf("no document links to docs/%s", path)
		}
	}
}
