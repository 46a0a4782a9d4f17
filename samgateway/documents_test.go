package samgateway_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/paywordhq/payword/internal/doctest"
)

var (
	pageCommand = regexp.MustCompile(`(?m)^### samgateway ([a-z -]+)$`)
	helpCommand = regexp.MustCompile(`(?m)^  samgateway ([a-z]+(?: [a-z]+)?)`)
	helpFlag    = regexp.MustCompile(`(?m)^  -([a-z-]+)`)
)

// commandNames returns the commands that the help lists, sorted.
func commandNames(t *testing.T) (names []string) {
	t.Helper()
	for _, match := range helpCommand.FindAllStringSubmatch(call(t, "help").stdout, -1) {
		names = append(names, match[1])
	}
	if !slices.Contains(names, "key") {
		t.Fatalf("the help lists the commands %q", names)
	}
	slices.Sort(names)
	return names
}

// commandFlags returns the flags of a command, each with its dashes, sorted.
func commandFlags(t *testing.T, name string) (flags []string) {
	t.Helper()
	got := call(t, append(strings.Fields(name), "-h")...)
	for _, match := range helpFlag.FindAllStringSubmatch(got.stdout, -1) {
		flags = append(flags, "--"+match[1])
	}
	if got.code != 0 || len(flags) == 0 {
		t.Fatalf("samgateway %s -h: %+v", name, got)
	}
	slices.Sort(flags)
	return flags
}

// Every command and each of its flags stands in docs/samgateway.md, and nothing
// else does.
func TestDocumentOfCommands(t *testing.T) {
	section := doctest.Section(t, "samgateway.md", "## Commands and flags")
	var headings []string
	for _, match := range pageCommand.FindAllStringSubmatch(section, -1) {
		headings = append(headings, match[1])
	}
	slices.Sort(headings)
	if names := commandNames(t); !slices.Equal(headings, names) {
		t.Fatalf("docs/samgateway.md has commands\n%q\nand there are\n%q", headings, names)
	}
	ofAll, _, _ := strings.Cut(section, "\n### ")
	for _, name := range headings {
		want := commandFlags(t, name)
		described := doctest.Named(doctest.Section(t, "samgateway.md", "### samgateway "+name))
		for _, flag := range doctest.Named(ofAll) {
			if slices.Contains(want, flag) {
				described = append(described, flag)
			}
		}
		slices.Sort(described)
		if !slices.Equal(described, want) {
			t.Errorf("docs/samgateway.md has for samgateway %s\n%q\nand the flags are\n%q", name, described, want)
		}
	}
}

// spoken are the folders whose sentences come to people who use the gateway.
var spoken = []string{".", "../internal/purse", "../clearing/cards"}

// sentences returns the text of every string in the folders' code.
func sentences(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, folder := range spoken {
		err := filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(node ast.Node) bool {
				if literal, is := node.(*ast.BasicLit); is && literal.Kind == token.STRING {
					if text, err := strconv.Unquote(literal.Value); err == nil {
						all.WriteString(text + "\n")
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

// What docs/samgateway.md says that the program says, the program says.
func TestDocumentOfSentences(t *testing.T) {
	all := sentences(t)
	rows := doctest.Named(doctest.Section(t, "samgateway.md", "## What it says, and what to do"))
	if len(rows) < 10 {
		t.Errorf("found %d sentences", len(rows))
	}
	for _, sentence := range rows {
		for _, part := range strings.Split(sentence, "…") {
			if part = strings.TrimSpace(part); !strings.Contains(all, part) {
				t.Errorf("docs/samgateway.md says that the program says %q, and it does not", part)
			}
		}
	}
}

// The settings in docs/samgateway.md are settings.
func TestDocumentOfSettings(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(doctest.Page(t, "samgateway.md"), -1)
	if len(blocks) < 2 {
		t.Errorf("found %d examples in JSON", len(blocks))
	}
	for _, block := range blocks {
		file := filepath.Join(t.TempDir(), "settings.json")
		if err := os.WriteFile(file, []byte(block[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		// There is no such key: that is what is wrong with it, and nothing before.
		if got := call(t, "serve", "--config", file); got.code != 2 || !strings.Contains(got.stderr, "gateway.key: no such file") {
			t.Errorf("got %+v for\n%s", got, block[1])
		}
	}
}

// Every metric stands in docs/operations.md, and nothing else does.
func TestDocumentOfMetrics(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Watching a SAM gateway\n")
	section, _, _ = strings.Cut(section, "\n## ")
	s := newHouse(t).serve()
	var want []string
	_, printed := s.get("/metrics")
	for _, match := range regexp.MustCompile(`(?m)^# TYPE (\w+) `).FindAllStringSubmatch(printed, -1) {
		want = append(want, match[1])
	}
	s.end()
	slices.Sort(want)
	if described := doctest.Named(section); len(want) < 5 || !slices.Equal(described, want) {
		t.Errorf("docs/operations.md has metrics\n%q\nand there are\n%q", described, want)
	}
}
