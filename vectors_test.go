package payword_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/vectors/cases"
)

const vectorDirectory = "testdata/vectors"

// vector is one file of the test vectors.
type vector struct {
	Name, Area, Comment, Expect string
	Input                       json.RawMessage
	Output                      json.RawMessage
}

// vectorFiles holds what readVectors read: every fuzz target asks for it.
var vectorFiles []vector

// readVectors returns the vectors of the areas that this package tests.
func readVectors(tb testing.TB) []vector {
	tb.Helper()
	if vectorFiles != nil {
		return vectorFiles
	}
	var vectors []vector
	for _, area := range cases.Areas() {
		names, err := fs.Glob(os.DirFS(vectorDirectory), area+"/*.json")
		if err != nil || len(names) == 0 {
			tb.Fatalf("no vectors of area %s (%v): run make vectors", area, err)
		}
		for _, name := range names {
			content, err := os.ReadFile(path.Join(vectorDirectory, name))
			if err != nil {
				tb.Fatal(err)
			}
			var v vector
			decodeStrictly(tb, content, &v)
			if got := v.Area + "/" + v.Name + ".json"; got != name {
				tb.Fatalf("%s says that it is %s", name, got)
			}
			vectors = append(vectors, v)
		}
	}
	vectorFiles = vectors
	return vectors
}

// decodeStrictly reads JSON that has no members but target's.
func decodeStrictly(tb testing.TB, document []byte, target any) {
	tb.Helper()
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(target); err != nil {
		tb.Fatalf("reading %.200s: %v", document, err)
	}
}

func TestVectors(t *testing.T) {
	for _, v := range readVectors(t) {
		t.Run(v.Area+"/"+v.Name, func(t *testing.T) {
			run := runners[v.Area]
			if run == nil {
				t.Fatal("no test reads this area")
			}
			expect, output := run(t, v.Input)
			if expect != v.Expect {
				t.Errorf("%s: got %s, want %s", v.Comment, expect, v.Expect)
			}
			if v.Output == nil {
				return
			}
			encoded, err := json.Marshal(output)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := plain(t, encoded), plain(t, v.Output); !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\n got %s\nwant %s", v.Comment, encoded, v.Output)
			}
		})
	}
}

// plain reads JSON into maps and slices, numbers as they are written.
func plain(tb testing.TB, document []byte) any {
	tb.Helper()
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		tb.Fatalf("reading %.200s: %v", document, err)
	}
	return value
}

func TestVectorsAreFresh(t *testing.T) {
	files, err := cases.Files()
	if err != nil {
		t.Fatal(err)
	}
	var stale []string
	for name, want := range files {
		got, err := os.ReadFile(path.Join(vectorDirectory, name))
		if err != nil || !bytes.Equal(got, want) {
			stale = append(stale, name)
		}
	}
	for _, v := range readVectors(t) {
		if name := v.Area + "/" + v.Name + ".json"; files[name] == nil {
			stale = append(stale, name)
		}
	}
	slices.Sort(stale)
	if len(stale) > 0 {
		t.Errorf("%d vectors differ from what the generator makes; run make vectors:\n%s", len(stale), strings.Join(stale, "\n"))
	}
}

func TestVectorsCoverTheProtocol(t *testing.T) {
	vectors := readVectors(t)
	refusals, expected := 0, make(map[string]bool)
	for _, v := range vectors {
		expected[v.Expect] = true
		if v.Expect != "accepted" {
			refusals++
		}
		if v.Expect == "accepted" || v.Expect == "error" {
			continue
		}
		if _, err := payword.ParseReason(v.Expect); err != nil {
			t.Errorf("%s/%s: %v", v.Area, v.Name, err)
		}
	}
	if len(vectors) < 60 || refusals*2 < len(vectors) {
		t.Errorf("%d vectors, %d of them refusals: want at least 60, and half of them", len(vectors), refusals)
	}
	own := ownReasons(t)
	if len(own) < 30 {
		t.Errorf("found only %d reasons in the source", len(own))
	}
	for _, reason := range own {
		if !expected[reason.String()] {
			t.Errorf("no vector expects %s", reason)
		}
	}
}

// ownReasons returns the reasons that the package refuses with itself: those
// that its source names outside the list and the table of problem types.
func ownReasons(t *testing.T) []payword.Reason {
	byName := make(map[string]payword.Reason)
	for _, reason := range payword.Reasons() {
		byName[strings.ReplaceAll(reason.String(), "-", "")] = reason
	}
	sources, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[payword.Reason]bool)
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") || source == "reason.go" || source == "problem.go" {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), source, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if name, isName := node.(*ast.Ident); isName && ast.IsExported(name.Name) {
				if reason, isReason := byName[strings.ToLower(name.Name)]; isReason {
					found[reason] = true
				}
			}
			return true
		})
	}
	var reasons []payword.Reason
	for reason := range found {
		reasons = append(reasons, reason)
	}
	slices.Sort(reasons)
	return reasons
}
