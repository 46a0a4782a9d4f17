package house_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxFunctionLines is the most lines that a function takes, from its name to
// its closing brace: what a screen shows at once.
const maxFunctionLines = 70

// rule looks at one Go file.
type rule struct {
	name     string
	check    func(f *goFile) []finding
	breaches []sample // what it must find, so that it cannot be blind
	allowed  []sample // what it must let pass
}

type sample struct{ path, text string }

// rules is the list of what must hold in every Go file by itself.
var rules = []rule{
	{
		name: "FunctionsAreShort", check: longFunctions,
		breaches: []sample{{"broker/a.go", "package broker\n\nfunc long() {\n" + strings.Repeat("\t_ = 0\n", maxFunctionLines) + "}\n"}},
		allowed: []sample{
			{"broker/a.go", "package broker\n\nfunc short() {\n" + strings.Repeat("\t_ = 0\n", maxFunctionLines-2) + "}\n"},
			{"broker/a_test.go", "package broker\n\nfunc long() {\n" + strings.Repeat("\t_ = 0\n", maxFunctionLines) + "}\n"},
		},
	},
	{
		name: "ExportedNamesAreDocumented", check: undocumentedNames,
		breaches: []sample{
			{"broker/a.go", "package broker\n\nfunc Bare() {}\n"},
			{"broker/a.go", "package broker\n\ntype Bare int\n"},
			{"broker/a.go", "package broker\n\nvar Bare int\n"},
			{"broker/a.go", "package broker\n\nconst (\n\tBare = 1\n)\n"},
			{"broker/a.go", "package broker\n\n// T is documented.\ntype T int\n\nfunc (t *T) Bare() {}\n"},
			{"broker/a.go", "package broker\n\n// I is documented.\ntype I interface {\n\tBare()\n}\n"},
			{"broker/a.go", "package broker\n\n// Something else is said here.\nfunc Bare() {}\n"},
		},
		allowed: []sample{
			{"broker/a.go", "package broker\n\n// Said does what is said.\nfunc Said() {}\n\nfunc bare() {}\n"},
			{"broker/a.go", "package broker\n\n// The paths.\nconst (\n\tA = 1\n\tB = 2 // said beside it\n)\n"},
			{"broker/a.go", "package broker\n\ntype hidden int\n\nfunc (h hidden) String() string { return \"\" }\n"},
			{"broker/a.go", "package broker\n\n// G is general.\ntype G[T any] struct{}\n\n// Get gets.\nfunc (g *G[T]) Get() {}\n"},
		},
	},
	{
		name: "MoneyHasNoFloats", check: floats,
		breaches: []sample{
			{"money/a.go", "package money\n\nvar share float64\n"},
			{"internal/ledger/a.go", "package ledger\n\nvar share = 0.3\n"},
			{"clearing/fees/a.go", "package fees\n\nfunc f() { _ = float32(1) }\n"},
			{"a.go", "package payword\n\nvar share float64\n"},
		},
		allowed: []sample{
			{"caddymodule/a.go", "package caddymodule\n\nvar seconds float64\n"},
			{"broker/metrics.go", "package broker\n\nvar seconds float64\n"},
			{"money/a_test.go", "package money\n\nvar seconds float64\n"},
			{"broker/a.go", "package broker\n\n// A float64 in a comment, and \"0.3\" in a string.\nvar share = \"0.3\"\n"},
		},
	},
	{
		name: "PackagesAreNamedAfterWhatTheyDo", check: vagueNames,
		breaches: []sample{
			{"internal/util/a.go", "package util\n"}, {"broker/a.go", "package helpers\n"},
			{"internal/common/x/a.go", "package x\n"}, {"broker/a_test.go", "package manager_test\n"},
		},
		allowed: []sample{{"broker/a.go", "package broker\n"}},
	},
	{
		name: "TestsDoNotSkip", check: skips,
		breaches: []sample{
			{"broker/a_test.go", "package broker\n\nfunc TestA(t *testing.T) { t.Skip(\"no\") }\n"},
			{"broker/a_test.go", "package broker\n\nfunc BenchmarkA(b *testing.B) { b.SkipNow() }\n"},
			{"broker/a_test.go", "package broker\n\nfunc check(tb testing.TB) { tb.Skipf(\"%d\", 1) }\n"},
		},
		allowed: []sample{{"broker/a_test.go", "package broker\n\nfunc TestA(t *testing.T) { d.Skip() }\n"}},
	},
	{
		name: "TestsDoNotSleep", check: sleeps,
		breaches: []sample{
			{"broker/a_test.go", "package broker\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n"},
			{"broker/a_test.go", "package broker\n\nimport clock \"time\"\n\nfunc f() { wait(clock.Sleep) }\n"},
		},
		allowed: []sample{
			{"broker/a.go", "package broker\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n"},
			{"broker/a_test.go", "package broker\n\nfunc f() { time.Sleep(1) }\n"},
		},
	},
	{
		name: "SourceIsFormatted", check: unformatted,
		breaches: []sample{{"broker/a.go", "package broker\nvar  a int\n"}},
		allowed:  []sample{{"broker/a.go", "package broker\n\nvar a int\n"}},
	},
}

func TestRules(t *testing.T) {
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			for _, file := range tree(t).goFiles {
				report(t, rule.check(file))
			}
		})
	}
}

func TestRulesFindWhatTheyForbid(t *testing.T) {
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			if len(rule.breaches) == 0 || len(rule.allowed) == 0 {
				t.Fatal("a rule needs samples of what it forbids and of what it allows")
			}
			for _, sample := range rule.breaches {
				if len(rule.check(parseSample(t, sample))) == 0 {
					t.Errorf("found nothing in %s:\n%s", sample.path, sample.text)
				}
			}
			for _, sample := range rule.allowed {
				for _, f := range rule.check(parseSample(t, sample)) {
					t.Errorf("found %s (%s) in what is allowed:\n%s", f.where, f.advice, sample.text)
				}
			}
		})
	}
}

func parseSample(t *testing.T, s sample) *goFile {
	t.Helper()
	file, err := parseGo(s.path, []byte(s.text))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// Every package says what it is for, in one of its files.
func TestPackagesAreDocumented(t *testing.T) {
	documented := make(map[string]bool)
	for _, file := range tree(t).goFiles {
		if !file.isTest {
			documented[file.folder] = documented[file.folder] || file.syntax.Doc != nil
		}
	}
	for folder, found := range documented {
		if !found {
			t.Errorf("%s: no file has a comment above its package clause: say there what the package is for", folder)
		}
	}
}

// longFunctions finds functions that take more lines than a screen. Tests may
// hold long tables.
func longFunctions(f *goFile) (found []finding) {
	if f.isTest {
		return nil
	}
	for _, declaration := range f.syntax.Decls {
		function, isFunction := declaration.(*ast.FuncDecl)
		if !isFunction {
			continue
		}
		lines := f.fset.Position(function.End()).Line - f.fset.Position(function.Pos()).Line + 1
		if lines > maxFunctionLines {
			found = append(found, f.at(function.Pos(), "%s has %d lines, at most %d: take out a part that has a name of its own",
				function.Name.Name, lines, maxFunctionLines))
		}
	}
	return found
}

// undocumentedNames finds exported names without a doc comment. In a group of
// constants or variables the comment of the group will do; fields of structs
// are documented where their names do not say it all.
func undocumentedNames(f *goFile) (found []finding) {
	if f.isTest {
		return nil
	}
	for _, declaration := range f.syntax.Decls {
		switch declaration := declaration.(type) {
		case *ast.FuncDecl:
			if declaration.Name.IsExported() && isReachable(declaration) && !saysWhatItIs(declaration.Name.Name, declaration.Doc) {
				found = append(found, f.undocumented(declaration.Name))
			}
		case *ast.GenDecl:
			for _, spec := range declaration.Specs {
				found = append(found, f.undocumentedSpecs(declaration, spec)...)
			}
		}
	}
	return found
}

func (f *goFile) undocumentedSpecs(group *ast.GenDecl, spec ast.Spec) (found []finding) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if !spec.Name.IsExported() {
			return nil
		}
		if !saysWhatItIs(spec.Name.Name, spec.Doc) && !saysWhatItIs(spec.Name.Name, group.Doc) {
			found = append(found, f.undocumented(spec.Name))
		}
		contract, isInterface := spec.Type.(*ast.InterfaceType)
		if !isInterface {
			return found
		}
		for _, method := range contract.Methods.List {
			if len(method.Names) > 0 && method.Names[0].IsExported() && method.Doc == nil {
				found = append(found, f.undocumented(method.Names[0]))
			}
		}
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			if name.IsExported() && spec.Doc == nil && spec.Comment == nil && group.Doc == nil {
				found = append(found, f.undocumented(name))
			}
		}
	}
	return found
}

func (f *goFile) undocumented(name *ast.Ident) finding {
	return f.at(name.Pos(), "%s is exported and has no doc comment that begins with its name: say what it is, its units, range and errors", name.Name)
}

// isReachable reports whether a function, or the type whose method it is, can
// be named from another package.
func isReachable(function *ast.FuncDecl) bool {
	if function.Recv == nil {
		return true
	}
	receiver := function.Recv.List[0].Type
	for {
		switch typ := receiver.(type) {
		case *ast.StarExpr:
			receiver = typ.X
		case *ast.IndexExpr:
			receiver = typ.X
		case *ast.IndexListExpr:
			receiver = typ.X
		case *ast.Ident:
			return typ.IsExported()
		default:
			return true
		}
	}
}

// saysWhatItIs reports whether a doc comment begins with the name, after an
// article at most.
func saysWhatItIs(name string, doc *ast.CommentGroup) bool {
	words := strings.Fields(doc.Text())
	if len(words) > 1 && slices.Contains([]string{"A", "An", "The"}, words[0]) {
		words = words[1:]
	}
	return len(words) > 1 && strings.TrimRight(words[0], ",.:'s") == strings.TrimRight(name, "s")
}

// exactFolders hold sums of money; so do the folders in them.
var exactFolders = []string{"money", "internal/ledger", "broker", "clearing"}

// metricsFile tells Prometheus, which takes nothing else than floating point,
// what was counted. Nothing there is money that moves.
const metricsFile = "broker/metrics.go"

// floats finds floating point where money is counted.
func floats(f *goFile) (found []finding) {
	counts := f.folder == "." || slices.ContainsFunc(exactFolders, func(folder string) bool { return isWithin(f.folder, folder) })
	if f.isTest || !counts || f.path == metricsFile {
		return nil
	}
	ast.Inspect(f.syntax, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.Ident:
			if node.Name == "float64" || node.Name == "float32" {
				found = append(found, f.at(node.Pos(), "%s where money is counted: use money.Amount, or an integer", node.Name))
			}
		case *ast.BasicLit:
			if node.Kind == token.FLOAT {
				found = append(found, f.at(node.Pos(), "%s where money is counted: use a ratio of integers (money.Amount.Share)", node.Value))
			}
		}
		return true
	})
	return found
}

// isWithin reports whether a folder is another or lies in it.
func isWithin(folder, outer string) bool {
	return folder == outer || strings.HasPrefix(folder, outer+"/")
}

var vagueName = regexp.MustCompile(`^(utils?|commons?|helpers?|managers?)$`)

// vagueNames finds packages and folders whose names do not say what they do.
func vagueNames(f *goFile) (found []finding) {
	names := append(strings.Split(path.Dir(f.path), "/"), strings.TrimSuffix(f.syntax.Name.Name, "_test"))
	for _, name := range names {
		if vagueName.MatchString(name) {
			found = append(found, f.at(f.syntax.Package, "%q does not say what the package does: name it after that", name))
		}
	}
	return found
}

// skips finds tests that can pass by not running.
func skips(f *goFile) (found []finding) {
	if !f.isTest {
		return nil
	}
	ast.Inspect(f.syntax, func(node ast.Node) bool {
		selector, isSelector := node.(*ast.SelectorExpr)
		if !isSelector {
			return true
		}
		receiver, isIdent := selector.X.(*ast.Ident)
		if isIdent && slices.Contains([]string{"t", "b", "f", "tb", "rt"}, receiver.Name) &&
			slices.Contains([]string{"Skip", "SkipNow", "Skipf"}, selector.Sel.Name) {
			found = append(found, f.at(selector.Pos(), "%s.%s: a test that cannot run fails and says what is missing", receiver.Name, selector.Sel.Name))
		}
		return true
	})
	return found
}

// sleeps finds tests that wait for time to pass instead of for what they test.
func sleeps(f *goFile) (found []finding) {
	clock := f.importName("time")
	if !f.isTest || clock == "" {
		return nil
	}
	ast.Inspect(f.syntax, func(node ast.Node) bool {
		selector, isSelector := node.(*ast.SelectorExpr)
		if !isSelector || selector.Sel.Name != "Sleep" {
			return true
		}
		if receiver, isIdent := selector.X.(*ast.Ident); isIdent && receiver.Name == clock {
			found = append(found, f.at(selector.Pos(), "a test sleeps: wait for the event, pass the time in, or use testing/synctest"))
		}
		return true
	})
	return found
}

// importName returns the name that a file has for an imported package, or "".
func (f *goFile) importName(wanted string) string {
	for _, spec := range f.syntax.Imports {
		switch {
		case spec.Path.Value != fmt.Sprintf("%q", wanted):
		case spec.Name != nil:
			return spec.Name.Name
		default:
			return path.Base(wanted)
		}
	}
	return ""
}

// unformatted finds files that gofmt would change.
func unformatted(f *goFile) []finding {
	formatted, err := format.Source(f.text)
	if err != nil {
		return []finding{f.at(f.syntax.Package, "gofmt cannot read the file: %v", err)}
	}
	if !bytes.Equal(formatted, f.text) {
		return []finding{f.at(f.syntax.Package, "not formatted: run gofmt -w %s", f.path)}
	}
	return nil
}
