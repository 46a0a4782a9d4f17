package house_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What reaches card readers links libpcsclite, which needs cgo, a C compiler and
// a header that most machines do not have. So it is behind a build tag, in one
// folder, which one command compiles.
const (
	pcscTag     = "pcsc"
	pcscLibrary = "github.com/ebfe/scard"
	pcscFolder  = "samgateway/pcsc"
	pcscCommand = "cmd/samgateway"
)

// pcscImportFindings returns the imports of a file, whatever its build tags say,
// that would bring PC/SC where it does not belong.
func pcscImportFindings(f *goFile) (found []finding) {
	for _, spec := range f.syntax.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return append(found, f.at(spec.Pos(), "import path: %v", err))
		}
		switch {
		case imported == "C":
			found = append(found, f.at(spec.Pos(), "cgo: payword is pure Go, but for what %s imports", pcscFolder))
		case isWithin(imported, pcscLibrary) && f.folder != pcscFolder:
			found = append(found, f.at(spec.Pos(), "%s imports %s: only %s may; take a smartcard.Readers", f.folder, pcscLibrary, pcscFolder))
		case imported == modulePath+"/"+pcscFolder && f.folder != pcscCommand && !f.isTest:
			found = append(found, f.at(spec.Pos(), "%s imports %s: only %s may; take a smartcard.Readers", f.folder, pcscFolder, pcscCommand))
		}
	}
	return found
}

func TestOneFolderReachesReaders(t *testing.T) {
	seen := false
	for _, file := range tree(t).goFiles {
		report(t, pcscImportFindings(file))
		seen = seen || file.folder == pcscFolder
	}
	if !seen {
		t.Errorf("found no file in %s", pcscFolder)
	}
}

// The gateway starts no other program, so that nothing it knows can become an
// argument of one.
func TestTheGatewayStartsNoProgram(t *testing.T) {
	looked := 0
	for _, file := range tree(t).goFiles {
		if file.isTest || !isWithin(file.folder, "samgateway") && file.folder != pcscCommand {
			continue
		}
		looked++
		for _, spec := range file.syntax.Imports {
			if spec.Path.Value == `"os/exec"` {
				report(t, []finding{file.at(spec.Pos(), "%s starts other programs: arguments can be read by everybody on the machine", file.folder)})
			}
		}
	}
	if looked < 10 {
		t.Errorf("looked at %d files alone", looked)
	}
}

func TestReaderRuleFindsWhatItForbids(t *testing.T) {
	own := modulePath + "/" + pcscFolder
	cases := []struct {
		name, path, imported string
		want                 int
	}{
		{"where it belongs", "samgateway/pcsc/a.go", pcscLibrary, 0},
		{"beside it", "samgateway/a.go", pcscLibrary, 1},
		{"in a test elsewhere", "internal/pcsctest/a_test.go", pcscLibrary, 1},
		{"the command", "cmd/samgateway/main.go", own, 0},
		{"another command", "cmd/payword/main.go", own, 1},
		{"the gateway itself", "samgateway/a.go", own, 1},
		{"a test of the gateway", "samgateway/a_test.go", own, 0},
		{"a longer name", "samgateway/a.go", pcscLibrary + "2", 0},
		{"cgo", "samgateway/pcsc/a.go", "C", 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			text := fmt.Sprintf("package a\n\nimport _ %q\n", c.imported)
			if got := len(pcscImportFindings(parseSample(t, sample{c.path, text}))); got != c.want {
				t.Errorf("%d findings where %s imports %s, want %d", got, c.path, c.imported, c.want)
			}
		})
	}
}

// Without the tag nothing that the module compiles, tests included, is cgo, but
// for what the standard library can do without.
func TestWithoutTheTagNothingIsCgo(t *testing.T) {
	for name, l := range packages(t) {
		if len(l.CgoFiles) > 0 && !l.Standard {
			t.Errorf("%s is cgo (%s): everything but %s must build without", name, strings.Join(l.CgoFiles, ", "), pcscFolder)
		}
		if isWithin(name, pcscLibrary) {
			t.Errorf("%s is compiled without the build tag %s", name, pcscTag)
		}
	}
}

// compiled is what go list says of a package that a build compiles.
type compiled struct {
	listed
	GoFiles []string
	Error   *struct{ Err string }
}

// listCompiled returns every package that the module compiles, without tests, with
// cgo ("1") or without ("0"). Listing needs no compiler.
func listCompiled(t *testing.T, cgo string, flags ...string) map[string]compiled {
	t.Helper()
	arguments := append([]string{"list", "-e", "-deps", "-json=ImportPath,Standard,Imports,CgoFiles,GoFiles,Error"}, flags...)
	command := exec.Command("go", append(arguments, "./...")...)
	command.Dir = moduleRoot
	command.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	output, err := command.Output()
	if err != nil {
		t.Fatalf("go list %q: %v", flags, err)
	}
	found := make(map[string]compiled)
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var c compiled
		if err := decoder.Decode(&c); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list %q: %v", flags, err)
		}
		if c.Error != nil {
			t.Errorf("CGO_ENABLED=%s go list %q: %s: %s", cgo, flags, c.ImportPath, c.Error.Err)
		}
		found[c.ImportPath] = c
	}
	if _, seen := found[modulePath+"/"+pcscCommand]; !seen {
		t.Fatalf("go list %q found %d packages, and %s is not among them", flags, len(found), pcscCommand)
	}
	return found
}

// Without the tag the same files are compiled with cgo and without it, and none is
// cgo: so what compiles for these tests builds with CGO_ENABLED=0.
func TestWithoutTheTagEverythingBuildsWithoutCgo(t *testing.T) {
	with, without := listCompiled(t, "1"), listCompiled(t, "0")
	for name, c := range with {
		if c.Standard {
			continue // the standard library does without, in its own way
		}
		if other := without[name]; !slices.Equal(c.GoFiles, other.GoFiles) || len(other.GoFiles) == 0 {
			t.Errorf("%s compiles %q with cgo, and %q without", name, c.GoFiles, other.GoFiles)
		}
	}
}

// With the tag one command links libpcsclite, and no other.
func TestWithTheTagOneCommandReachesReaders(t *testing.T) {
	all := make(map[string]listed)
	for name, c := range listCompiled(t, "1", "-tags", pcscTag) {
		all[name] = c.listed
	}
	var reaching []string
	for name := range all {
		folder, ours := folderOf(name)
		if !ours {
			continue
		}
		if importers := reach(all, name, func(string) bool { return false }); importers[pcscLibrary] != "" {
			reaching = append(reaching, folder)
		}
	}
	slices.Sort(reaching)
	if want := []string{pcscCommand, pcscFolder}; !slices.Equal(reaching, want) {
		t.Errorf("with the build tag %s these reach %s: %q, want %q", pcscTag, pcscLibrary, reaching, want)
	}
}
