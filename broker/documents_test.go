package broker_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword/internal/doctest"
)

var (
	commandLine    = regexp.MustCompile(`(?m)^  payword broker ([a-z-]+)\s`)
	commandHeading = regexp.MustCompile(`(?m)^### payword broker ([a-z-]+)$`)
	flagLine       = regexp.MustCompile(`(?m)^  -([a-z-]+)`)
	flagRow        = regexp.MustCompile("(?m)^\\| `--([a-z-]+)` \\|")
	routeRow       = regexp.MustCompile("(?m)^\\| `([A-Z]+ /[^`]*)` \\| ([^|]*) \\|")
)

// printed calls the command and returns what it printed.
func printed(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := run(t, args...)
	if code != 0 {
		t.Fatalf("payword broker %q: exit %d: %s", args, code, stderr)
	}
	return stdout
}

// first returns the first submatch of each match, sorted, each once.
func first(pattern *regexp.Regexp, text string) []string {
	found := make(map[string]bool)
	for _, match := range pattern.FindAllStringSubmatch(text, -1) {
		found[match[1]] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// Every command and each of its flags stands in docs/broker.md, and nothing
// else does.
func TestDocumentOfCommands(t *testing.T) {
	commands := first(commandLine, printed(t, "help"))
	section := doctest.Section(t, "broker.md", "## Commands and flags")
	if got := first(commandHeading, section); !slices.Equal(got, commands) {
		t.Errorf("docs/broker.md has commands\n%q\nand there are\n%q", got, commands)
	}
	for _, command := range commands {
		flags := first(flagLine, printed(t, command, "-h"))
		if len(flags) == 0 {
			t.Errorf("payword broker %s -h lists no flag", command)
		}
		got := first(flagRow, doctest.Section(t, "broker.md", "### payword broker "+command))
		if !slices.Equal(got, flags) {
			t.Errorf("docs/broker.md has for payword broker %s\n%q\nand the flags are\n%q", command, got, flags)
		}
	}
}

// callers says by what those prove who they are whom docs/broker.md calls so.
var callers = map[string]string{
	"anybody": "", "payment service": "", "new key": "requestSignature", "account": "requestSignature",
	"vendor": "requestSignature", "gateway": "requestSignature", "administration": "administrationToken",
}

// Every route stands in docs/broker.md with who may call it, and nothing else
// does.
func TestDocumentOfRoutes(t *testing.T) {
	var document struct {
		Paths map[string]map[string]struct{ Security []map[string]any }
	}
	newBank(t).plain("GET", "/openapi.json", nil).into(t, 200, &document)
	described := make(map[string]string)
	for path, operations := range document.Paths {
		for method, operation := range operations {
			scheme := ""
			for _, way := range operation.Security {
				scheme = strings.Join(slices.Sorted(maps.Keys(way)), " ")
			}
			described[strings.ToUpper(method)+" "+path] = scheme
		}
	}
	for _, row := range routeRow.FindAllStringSubmatch(doctest.Section(t, "broker.md", "## Routes"), -1) {
		scheme, isDescribed := described[row[1]]
		want, isKnown := callers[row[2]]
		if !isDescribed || !isKnown || scheme != want {
			t.Errorf("docs/broker.md has %s for %q; served: %t, security %q, want %q", row[1], row[2], isDescribed, scheme, want)
		}
		delete(described, row[1])
	}
	for route := range described {
		t.Errorf("docs/broker.md has no row for %s", route)
	}
}
