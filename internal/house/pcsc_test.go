package house_test

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
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

// listTagged returns every package that the module compiles with the tag.
var listTagged = sync.OnceValues(func() (map[string]listed, error) {
	command := exec.Command("go", "list", "-tags", pcscTag, "-deps", "-json=ImportPath,Standard,Imports,CgoFiles", "./...")
	command.Dir = moduleRoot
	command.Env = append(os.Environ(), "CGO_ENABLED=1") // listing needs no compiler
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list -tags %s: %w", pcscTag, err)
	}
	found := make(map[string]listed)
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var l listed
		if err := decoder.Decode(&l); errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list -tags %s: %w", pcscTag, err)
		}
		found[l.ImportPath] = l
	}
})

// With the tag one command links libpcsclite, and no other.
func TestWithTheTagOneCommandReachesReaders(t *testing.T) {
	all, err := listTagged()
	if err != nil {
		t.Fatal(err)
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

// Without the tag the command builds without cgo, and has nothing of PC/SC in it.
func TestTheGatewayBuildsWithoutCgo(t *testing.T) {
	program := filepath.Join(t.TempDir(), "samgateway")
	build := exec.Command("go", "build", "-o", program, "./"+pcscCommand)
	build.Dir = moduleRoot
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("CGO_ENABLED=0 go build ./%s: %v\n%s", pcscCommand, err, output)
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	if info.Path != modulePath+"/"+pcscCommand {
		t.Fatalf("built %s", info.Path)
	}
	for _, module := range info.Deps {
		if module.Path == pcscLibrary {
			t.Errorf("the program that was built without the tag %s has %s in it", pcscTag, pcscLibrary)
		}
	}
}
