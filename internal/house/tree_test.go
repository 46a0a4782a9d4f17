package house_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// modulePath is the path of the module, and of package payword.
const modulePath = "github.com/paywordhq/payword"

// The least that a look at the source tree must find. A rule that looked at
// less looked in the wrong place, and its silence means nothing.
const (
	leastGoFiles   = 20
	leastTextFiles = 25
)

// goFile is one Go file of the module, parsed, whatever its build tags say.
type goFile struct {
	path   string // relative to the module, with slashes
	folder string // "." for the module's own
	isTest bool
	text   []byte
	fset   *token.FileSet
	syntax *ast.File
}

// textFile is one file that people write.
type textFile struct {
	path string
	text []byte
}

// finding is one breach of a rule, and what to do about it.
type finding struct {
	where  string // file:line
	advice string
}

// at returns a finding at a position of f.
func (f *goFile) at(position token.Pos, format string, arguments ...any) finding {
	return finding{
		where:  fmt.Sprintf("%s:%d", f.path, f.fset.Position(position).Line),
		advice: fmt.Sprintf(format, arguments...),
	}
}

// parseGo parses one file.
func parseGo(name string, text []byte) (*goFile, error) {
	fset := token.NewFileSet()
	syntax, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parsing: %w", err)
	}
	return &goFile{
		path: name, folder: path.Dir(name), isTest: strings.HasSuffix(name, "_test.go"),
		text: text, fset: fset, syntax: syntax,
	}, nil
}

// sourceTree is everything that the rules look at.
type sourceTree struct {
	goFiles   []*goFile
	textFiles []textFile
}

var loadTree = sync.OnceValues(func() (sourceTree, error) {
	var found sourceTree
	err := fs.WalkDir(os.DirFS(moduleRoot), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if isForeign(name) {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() || !isText(name) {
			return nil
		}
		text, err := os.ReadFile(filepath.Join(moduleRoot, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		found.textFiles = append(found.textFiles, textFile{path: name, text: text})
		if path.Ext(name) != ".go" {
			return nil
		}
		file, err := parseGo(name, text)
		if err != nil {
			return err
		}
		found.goFiles = append(found.goFiles, file)
		return nil
	})
	return found, err
})

// moduleRoot is the folder of go.mod, seen from this package.
var moduleRoot = filepath.Join("..", "..")

// isForeign reports whether a folder holds nothing that people of this project
// write: version control, installed packages, what was built, and generated
// test data.
func isForeign(folder string) bool {
	base := path.Base(folder)
	if strings.HasPrefix(base, ".") {
		return base != "." && base != ".ci"
	}
	return slices.Contains([]string{"node_modules", "bin", "dist", "testdata"}, base) ||
		folder == "client-js/build" || folder == "bench/out"
}

// isText reports whether people write a file of that name.
func isText(name string) bool {
	if strings.HasPrefix(name, ".ci/") {
		return true
	}
	base := path.Base(name)
	if base == "Makefile" || strings.HasPrefix(base, "Caddyfile") {
		return true
	}
	return slices.Contains([]string{
		".go", ".md", ".sh", ".sql", ".lua", ".js", ".mjs", ".ts", ".html", ".css", ".yml", ".yaml", ".toml",
	}, path.Ext(base))
}

// tree returns the source tree, after a look that it is the right one.
func tree(t *testing.T) sourceTree {
	t.Helper()
	found, err := loadTree()
	if err != nil {
		t.Fatalf("could not read the source tree: %v", err)
	}
	if len(found.goFiles) < leastGoFiles || len(found.textFiles) < leastTextFiles {
		t.Fatalf("found %d Go files and %d files in all, want at least %d and %d: is %s the module?",
			len(found.goFiles), len(found.textFiles), leastGoFiles, leastTextFiles, moduleRoot)
	}
	isHeart := func(f *goFile) bool { return f.folder == "." && f.syntax.Name.Name == "payword" }
	if !slices.ContainsFunc(found.goFiles, isHeart) {
		t.Fatalf("found no file of package payword in %s", moduleRoot)
	}
	return found
}

// report fails the test once for every finding.
func report(t *testing.T, findings []finding) {
	t.Helper()
	for _, f := range findings {
		t.Errorf("%s: %s", f.where, f.advice)
	}
}
