package clearing_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword/clearing"
)

var (
	helpCommand = regexp.MustCompile(`(?m)^  payword clearing ([a-z-]+)\s`)
	helpFlag    = regexp.MustCompile(`(?m)^  -([a-z-]+)(.*)$`)
)

// commandNames returns the words that help lists.
func commandNames(t *testing.T) (names []string) {
	t.Helper()
	code, stdout, _ := command(t, "help")
	for _, match := range helpCommand.FindAllStringSubmatch(stdout, -1) {
		if !slices.Contains(names, match[1]) {
			names = append(names, match[1])
		}
	}
	if code != 0 || len(names) < 7 {
		t.Fatalf("help ends with %d and lists %q", code, names)
	}
	return names
}

// commandFlags returns the flags of a command, each with what it takes, "" for
// one that stands alone.
func commandFlags(t *testing.T, name string) map[string]string {
	t.Helper()
	args := []string{name, "-h"}
	if name == "key" {
		args = []string{name, "new", "-h"} // its words have flags of their own
	}
	code, stdout, stderr := command(t, args...)
	flags := make(map[string]string)
	for _, match := range helpFlag.FindAllStringSubmatch(stdout, -1) {
		flags[match[1]] = strings.TrimSpace(match[2])
	}
	if code != 0 || stderr != "" || len(flags) == 0 {
		t.Fatalf("%s -h: got exit code %d, %q, %q", name, code, stdout, stderr)
	}
	return flags
}

// Whatever is typed wrong gets one sentence that says what would be right, exit
// code 2, and with --json an object that says the same.
func TestEveryCommandTypedWrong(t *testing.T) {
	for _, name := range commandNames(t) {
		if name == "key" || name == "cards" {
			continue // their flags are those of their own words
		}
		t.Run(name, func(t *testing.T) {
			flags := commandFlags(t, name)
			for _, always := range []string{"db", "json", "quiet"} {
				if _, exists := flags[always]; !exists && name != "serve" {
					t.Errorf("it has no --%s", always)
				}
			}
			wantUsage(t, []string{name}, "--db is missing: name the broker's database, such as --db broker.db")
			wantUsage(t, []string{name, "--nothing"}, `there is no flag --nothing; "payword clearing `+name+`" has `)
			wantUsage(t, []string{name, "--" + strings.Repeat("x", 500)}, "there is no flag --xxxx")
			wantUsage(t, []string{name, "--dbb", "broker.db"}, "there is no flag --dbb (did you mean --db?)")
			wantUsage(t, []string{name, "today"}, `"today" is not a flag: everything is said with flags; "payword clearing `+name+`" has `)
			wantUsage(t, []string{name, "---db"}, "bad flag syntax: ---db")
			for flag, takes := range flags {
				if takes == "" {
					wantUsage(t, []string{name, "--" + flag + "=perhaps"}, `--`+flag+` "perhaps": want it alone, without a value`)
				} else {
					wantUsage(t, []string{name, "--" + flag}, "--"+flag+" needs a value: ")
				}
			}
		})
	}
}

// wantUsage checks that the arguments are refused, with and without --json.
func wantUsage(t *testing.T, args []string, want string) {
	t.Helper()
	code, stdout, stderr := command(t, args...)
	if code != 2 || stdout != "" || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 || len(stderr) > 1000 {
		t.Errorf("%q: got exit code %d, %q, %q; want 2 and %q", args, code, stdout, stderr, want)
	}
	args = slices.Insert(slices.Clone(args), 1, "--json")
	code, stdout, stderr = command(t, args...)
	wantFailure(t, args, 2, code, stdout, stderr)
	if !strings.Contains(stderr, want) {
		t.Errorf("%q: got %q, want %q", args, stderr, want)
	}
}

// wantFailure checks that JSON says the same as the sentence and the exit code.
func wantFailure(t *testing.T, args []string, want, code int, stdout, stderr string) {
	t.Helper()
	var failure struct {
		Error    string
		ExitCode int
	}
	decoder := json.NewDecoder(strings.NewReader(stdout))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&failure); err != nil || code != want || failure.ExitCode != want ||
		failure.Error == "" || !strings.HasSuffix(stderr, ": "+failure.Error+"\n") {
		t.Errorf("%q: got exit code %d, %q, %q (%v); want %d and the same in JSON", args, code, stdout, stderr, err, want)
	}
	if rest, err := io.ReadAll(decoder.Buffered()); err != nil || len(bytes.TrimSpace(rest)) != 0 {
		t.Errorf("%q: after the object comes %q (%v)", args, rest, err)
	}
}

func TestWrongCommands(t *testing.T) {
	for _, c := range []struct{ word, want string }{
		{"paln", `there is no command "paln" (did you mean plan?): want one of plan, approve, run`},
		{"aprove", "(did you mean approve?)"},
		{"xyzzy", `there is no command "xyzzy": want one of`},
		{"", `there is no command "": want one of`},
		{"--db", `there is no command "--db": want one of`},
		{strings.Repeat("x", 500), `": want one of`},
	} {
		wantUsage(t, []string{c.word}, c.want)
	}
}

// What fails for other reasons says so in JSON as well.
func TestFailuresInJSON(t *testing.T) {
	database, folder := databaseFile(t), t.TempDir()
	policy := writeFile(t, `{"approvalAboveMicros":"0"}`)
	_, stdout, _ := command(t, "plan", "--db", database, "--config", policy, "--json")
	var plan struct{ PlanHash string }
	if err := json.Unmarshal([]byte(stdout), &plan); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"run", "--json", "--db", database, "--out", folder, "--plan", plan.PlanHash}, 77},
		{[]string{"run", "--json", "--db", database, "--out", folder}, 1},
		{[]string{"show", "--json", "--db", database, "--run", "none"}, 1},
		{[]string{"check", "--json", "--db", folder}, 2},
	} {
		code, stdout, stderr := command(t, c.args...)
		wantFailure(t, c.args, c.want, code, stdout, stderr)
	}
	// Where there is a result, it is the one document.
	code, stdout, _ := command(t, "list", "--json", "--quiet", "--db", database)
	var list struct{ Runs []any }
	if err := json.Unmarshal([]byte(stdout), &list); code != 0 || err != nil || len(list.Runs) != 1 {
		t.Errorf("list: got exit code %d, %s (%v)", code, stdout, err)
	}
}

// Who breaks a command off is told what became of it.
func TestBrokenOff(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the operator pressed a key"))
	var stdout, stderr bytes.Buffer
	code := clearing.Main(ctx, []string{"run", "--now", "--db", databaseFile(t), "--out", t.TempDir()}, &stdout, &stderr)
	if code != 1 || stderr.String() != "payword clearing run: it was broken off; what is recorded stays, and the same command goes on from there\n" {
		t.Errorf("got exit code %d, %q, %q", code, stdout.String(), stderr.String())
	}
}

// A script that looks at the exit code alone can have silence.
func TestQuiet(t *testing.T) {
	database := databaseFile(t)
	for _, args := range [][]string{{"plan", "--dry-run"}, {"plan"}, {"show"}, {"list"}, {"check"}} {
		args = append(args, "--quiet", "--db", database)
		if code, stdout, stderr := command(t, args...); code != 0 || stdout+stderr != "" {
			t.Errorf("%q: got exit code %d, %q, %q; want nothing", args, code, stdout, stderr)
		}
	}
}
