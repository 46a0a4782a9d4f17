package house_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// mayImport says which folders of the module each folder may import. Folders
// inside one share its row. Tests keep to the same row, but for what
// testsMayImport adds: a test that needs two neighbours belongs in cmd/payword.
var mayImport = map[string][]string{
	"money":                 {},
	".":                     {"money", "internal/sha256chain", "internal/ed25519batch"},
	"caddymodule":           {".", "money", "internal/filelock"},
	"client":                {".", "money", "internal/filelock", "internal/foreign"},
	"broker":                {".", "money", "internal/ledger", "internal/filelock", "internal/bankaccount", "internal/keyfile", "internal/adminpage"},
	"clearing":              {".", "money", "internal/ledger", "internal/purse", "internal/bankaccount", "internal/keyfile", "internal/adminpage", "internal/commandline", "internal/webserver", "clearing/audit"},
	"clearing/audit":        {".", "money", "internal/purse"}, // nothing of what it checks
	"samgateway":            {".", "money", "internal/purse", "internal/keyfile", "internal/filelock", "internal/commandline", "internal/foreign", "internal/webserver"},
	"internal/ledger":       {".", "money"},
	"internal/purse":        {".", "money"},
	"internal/ed25519batch": {}, // signatures, and nothing of what is signed
	"internal/sha256chain":  {}, // the hash function, and nothing of what it is for
	"internal/filelock":     {},
	"internal/bankaccount":  {},
	"internal/keyfile":      {},
	"internal/commandline":  {},
	"internal/foreign":      {},
	"internal/webserver":    {},
	"internal/adminpage":    {"money", "internal/ledger"},
	"internal/dbtest":       {},
	"internal/doctest":      {},
	"internal/browsertest":  {"internal/filelock"},
	"internal/pcsctest":     {},
	"internal/pursetest":    {"internal/purse"},
	"internal/vectors": {
		".", "money", "internal/purse",
	},
	"internal/simulation": {".", "money", "internal/ledger", "internal/dbtest", "broker", "clearing"},
	"internal/house":      {"."}, // to compare the documents with the code
	"cmd/payword": {
		".", "money", "caddymodule", "client", "broker", "clearing", "samgateway", "internal/purse",
	},
	"cmd/samgateway": {".", "money", "samgateway", "internal/purse", "internal/keyfile"},
	"bench":          {".", "money", "caddymodule", "client"}, // a module of its own
}

// testsMayImport is what the tests of a folder may import besides.
var testsMayImport = map[string][]string{
	".":               {"internal/vectors"}, // the files are what the generator makes
	"caddymodule":     {"internal/browsertest"},
	"broker":          {"internal/dbtest", "internal/doctest", "internal/browsertest", "clearing/audit"},               // every simulation ends with an audit
	"clearing":        {"internal/dbtest", "internal/doctest", "internal/browsertest", "internal/pursetest", "broker"}, // what it settles and explains is the broker's
	"clearing/audit":  {"internal/dbtest", "broker", "clearing", "internal/ledger"},
	"internal/ledger": {"internal/dbtest"},
	"internal/purse":  {"internal/pursetest"},
	"cmd/payword":     {"internal/dbtest"},
	// What a gateway does ends in the books of broker and clearing.
	"samgateway":     {"internal/dbtest", "internal/doctest", "internal/browsertest", "internal/pcsctest", "internal/pursetest", "internal/ledger", "broker", "clearing", "clearing/audit"},
	"cmd/samgateway": {"internal/dbtest", "internal/browsertest", "internal/pcsctest", "internal/pursetest", "internal/ledger", "broker", "clearing", "clearing/audit", "client"},
}

// caddyFolders are those that may import Caddy, or compile it at all.
var caddyFolders = []string{"caddymodule", "cmd/payword", "bench"}

const caddyPrefix = "github.com/caddyserver/"

// sqlDrivers are what the gate must not bring along, besides database/sql.
var sqlDrivers = []string{
	"database/sql", "modernc.org/sqlite", "github.com/jackc/pgx", "github.com/lib/pq",
	"github.com/mattn/go-sqlite3", "github.com/go-sql-driver/mysql", "github.com/ncruces/go-sqlite3",
}

// row returns the row of mayImport that a folder belongs to.
func row(folder string) (string, bool) {
	for name := folder; ; name = path.Dir(name) {
		if _, listed := mayImport[name]; listed && (name != "." || folder == ".") {
			return name, true
		}
		if name == "." {
			return "", false
		}
	}
}

// folderOf returns the folder of an import path of this module.
func folderOf(importPath string) (string, bool) {
	if importPath == modulePath {
		return ".", true
	}
	return strings.CutPrefix(importPath, modulePath+"/")
}

// importFindings returns the imports of a file that its row does not allow.
func importFindings(f *goFile) (found []finding) {
	own, listed := row(f.folder)
	if !listed {
		return []finding{f.at(f.syntax.Package, "folder %s is not in the table of who may import whom: add a row to internal/house/imports_test.go", f.folder)}
	}
	allowed := mayImport[own]
	if f.isTest {
		allowed = slices.Concat(allowed, testsMayImport[own])
	}
	for _, spec := range f.syntax.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return append(found, f.at(spec.Pos(), "import path: %v", err))
		}
		if strings.HasPrefix(imported, caddyPrefix) && !slices.Contains(caddyFolders, own) {
			found = append(found, f.at(spec.Pos(), "%s imports Caddy: only %s may", own, strings.Join(caddyFolders, " and ")))
		}
		folder, ours := folderOf(imported)
		if !ours {
			continue
		}
		target, listed := row(folder)
		if !listed || target != own && !slices.Contains(allowed, target) {
			found = append(found, f.at(spec.Pos(), "%s imports %s: it may import %s of this module; move what both need down, or the caller up",
				own, folder, orNothing(allowed)))
		}
	}
	return found
}

func orNothing(folders []string) string {
	if len(folders) == 0 {
		return "nothing"
	}
	return strings.Join(folders, ", ")
}

func TestImportsPointDown(t *testing.T) {
	seen := 0
	for _, file := range tree(t).goFiles {
		report(t, importFindings(file))
		for _, spec := range file.syntax.Imports {
			if spec.Path.Value == strconv.Quote(modulePath+"/money") {
				seen++
			}
		}
	}
	if seen == 0 {
		t.Error("no file imports the money package: the imports were not read")
	}
}

func TestImportRulesFindWhatTheyForbid(t *testing.T) {
	cases := []struct {
		name, path, imported string
		want                 int
	}{
		{"the heart imports money", "a.go", modulePath + "/money", 0},
		{"the heart imports a service", "a.go", modulePath + "/broker", 1},
		{"a test of the heart imports the vectors", "a_test.go", modulePath + "/internal/vectors/cases", 0},
		{"the heart imports the vectors", "a.go", modulePath + "/internal/vectors/cases", 1},
		{"money imports the heart", "money/a.go", modulePath, 1},
		{"the gate imports the heart", "caddymodule/a.go", modulePath, 0},
		{"the gate imports the broker", "caddymodule/a_test.go", modulePath + "/broker", 1},
		{"the gate imports Caddy", "caddymodule/a.go", caddyPrefix + "caddy/v2", 0},
		{"the broker imports Caddy", "broker/a_test.go", caddyPrefix + "certmagic", 1},
		{"the broker imports the ledger", "broker/a.go", modulePath + "/internal/ledger", 0},
		{"the client imports the ledger", "client/a.go", modulePath + "/internal/ledger", 1},
		{"the client imports the gate", "client/a.go", modulePath + "/caddymodule", 1},
		{"a part of the broker imports another", "broker/api/a.go", modulePath + "/broker/hotlist", 0},
		{"somebody imports a command", "client/a.go", modulePath + "/cmd/payword", 1},
		{"a command imports a command", "cmd/payword/a.go", modulePath + "/cmd/samgateway", 1},
		{"a folder that no row names", "internal/mystery/a.go", "fmt", 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			text := fmt.Sprintf("package a\n\nimport _ %q\n", c.imported)
			if got := len(importFindings(parseSample(t, sample{c.path, text}))); got != c.want {
				t.Errorf("%d findings where %s imports %s, want %d", got, c.path, c.imported, c.want)
			}
		})
	}
}

// listed is what go list says of one package.
type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
	CgoFiles   []string
	ForTest    string
}

// folder returns the folder of the module that a package, or a test of it,
// belongs to.
func (l listed) folder() (string, bool) {
	name, _, _ := strings.Cut(l.ImportPath, " ") // a variant for a test has it in brackets
	name = strings.TrimSuffix(name, ".test")
	if l.ForTest != "" {
		name = l.ForTest
	}
	return folderOf(name)
}

// listPackages returns every package that the module and its tests compile, by
// import path.
var listPackages = sync.OnceValues(func() (map[string]listed, error) {
	command := exec.Command("go", "list", "-deps", "-test", "-json=ImportPath,Standard,Imports,CgoFiles,ForTest", "./...")
	command.Dir = moduleRoot
	output, err := command.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			err = fmt.Errorf("%w:\n%.2000s", err, failed.Stderr)
		}
		return nil, fmt.Errorf("go list: %w", err)
	}
	packages := make(map[string]listed)
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var l listed
		if err := decoder.Decode(&l); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		packages[l.ImportPath] = l
	}
})

// packages returns what listPackages does, after a look that it found the
// module.
func packages(t *testing.T) map[string]listed {
	t.Helper()
	found, err := listPackages()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{modulePath, modulePath + "/money", "fmt"} {
		if _, seen := found[name]; !seen {
			t.Fatalf("go list found %d packages, and %s is not among them", len(found), name)
		}
	}
	return found
}

// reach returns how each package that from compiles is first come by: the
// package that imports it. It does not look behind what stop names.
func reach(all map[string]listed, from string, stop func(string) bool) map[string]string {
	importers := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		if stop(queue[0]) {
			continue
		}
		for _, imported := range all[queue[0]].Imports {
			if _, seen := importers[imported]; !seen {
				importers[imported] = queue[0]
				queue = append(queue, imported)
			}
		}
	}
	return importers
}

// chain returns the way from the start to a package, for a message.
func chain(importers map[string]string, to string) string {
	way := to
	for by := importers[to]; by != ""; by = importers[by] {
		way = by + " -> " + way
	}
	return way
}

func TestOnlyTheGateCompilesCaddy(t *testing.T) {
	all, looked := packages(t), 0
	for name, l := range all {
		folder, ours := l.folder()
		if !ours {
			continue
		}
		if own, _ := row(folder); slices.Contains(caddyFolders, own) {
			continue
		}
		looked++
		importers := reach(all, name, func(string) bool { return false })
		for imported := range importers {
			if strings.HasPrefix(imported, caddyPrefix) {
				t.Errorf("%s compiles Caddy: %s", folder, chain(importers, imported))
				break
			}
		}
	}
	if looked < 3 {
		t.Errorf("looked at %d packages only", looked)
	}
}

// What Caddy itself brings along is its own affair, so the look stops there.
func TestTheGateBringsNoDatabaseAndNoCgo(t *testing.T) {
	all := packages(t)
	isCaddy := func(name string) bool { return strings.HasPrefix(name, caddyPrefix) }
	for _, f := range gateFindings(all, isCaddy) {
		t.Errorf("%s: %s", f.where, f.advice)
	}
}

func gateFindings(all map[string]listed, stop func(string) bool) (found []finding) {
	for name, l := range all {
		folder, ours := l.folder()
		if own, _ := row(folder); !ours || own != "caddymodule" || l.ForTest != "" || strings.HasSuffix(name, ".test") {
			continue
		}
		importers := reach(all, name, stop)
		for imported := range importers {
			if l := all[imported]; !l.Standard && len(l.CgoFiles) > 0 {
				found = append(found, finding{folder, "the gate must build without cgo: " + chain(importers, imported)})
			}
			for _, driver := range sqlDrivers {
				if isWithin(imported, driver) {
					found = append(found, finding{folder, "the gate must run without a database: " + chain(importers, imported)})
				}
			}
		}
	}
	return found
}

func TestGateRuleFindsWhatItForbids(t *testing.T) {
	gate := modulePath + "/caddymodule"
	isCaddy := func(name string) bool { return strings.HasPrefix(name, caddyPrefix) }
	cases := []struct {
		name string
		all  map[string]listed
		want int
	}{
		{"nothing", map[string]listed{gate: {ImportPath: gate, Imports: []string{"fmt"}}}, 0},
		{"a driver behind another package", map[string]listed{
			gate:          {ImportPath: gate, Imports: []string{"example/a"}},
			"example/a":   {ImportPath: "example/a", Imports: []string{"github.com/jackc/pgx/v5"}},
			"example/not": {ImportPath: "example/not"},
		}, 1},
		{"cgo", map[string]listed{
			gate:        {ImportPath: gate, Imports: []string{"example/a"}},
			"example/a": {ImportPath: "example/a", CgoFiles: []string{"a.go"}},
		}, 1},
		{"a driver that Caddy brings", map[string]listed{
			gate:              {ImportPath: gate, Imports: []string{caddyPrefix + "a"}},
			caddyPrefix + "a": {ImportPath: caddyPrefix + "a", Imports: []string{"database/sql"}},
		}, 0},
		{"a driver in a test", map[string]listed{
			gate + ".test": {ImportPath: gate + ".test", Imports: []string{"database/sql"}},
		}, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := len(gateFindings(c.all, isCaddy)); got != c.want {
				t.Errorf("%d findings, want %d", got, c.want)
			}
		})
	}
}
