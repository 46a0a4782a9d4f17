package caddymodule_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// sources returns the package's files, without tests.
func sources(t *testing.T) []*ast.File {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// optionsIn returns the words that the tables of options know, by the name of
// the table.
func optionsIn(files []*ast.File) map[string][]string {
	tables := make(map[string][]string)
	for _, file := range files {
		ast.Inspect(file, func(node ast.Node) bool {
			spec, isValue := node.(*ast.ValueSpec)
			if !isValue || len(spec.Values) != 1 || !strings.HasSuffix(spec.Names[0].Name, "Options") {
				return true
			}
			table, isTable := spec.Values[0].(*ast.CompositeLit)
			if !isTable {
				return true
			}
			for _, each := range table.Elts {
				if pair, isPair := each.(*ast.KeyValueExpr); isPair {
					name := strings.Trim(pair.Key.(*ast.BasicLit).Value, `"`)
					tables[spec.Names[0].Name] = append(tables[spec.Names[0].Name], name)
				}
			}
			return true
		})
	}
	for _, names := range tables {
		slices.Sort(names)
	}
	return tables
}

var optionRow = regexp.MustCompile("(?m)^\\| `([a-z_]+)")

// Each option of a Caddyfile has one row in docs/gate.md, and no row is about
// an option that there is not.
func TestDocumentOfOptions(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "gate.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, options, found := strings.Cut(string(text), "\n## All options\n")
	if !found {
		t.Fatal("docs/gate.md has no section All options")
	}
	headings := map[string]string{
		"globalOptions": "Of the global option", "handlerOptions": "Of the directive", "meterOptions": "Of `meter`",
		"teaserOptions": "Of `teaser`", "hotListOptions": "Of `hot_list`", "blockListOptions": "Of `block`",
		"redisOptions": "Of `redis`",
	}
	tables := optionsIn(sources(t))
	if got, want := slices.Sorted(maps.Keys(tables)), slices.Sorted(maps.Keys(headings)); !slices.Equal(got, want) {
		t.Fatalf("the options are in %q, and this test looks at %q", got, want)
	}
	for table, heading := range headings {
		_, section, found := strings.Cut(options, "\n### "+heading+"\n")
		if !found {
			t.Errorf("docs/gate.md has no section %q", heading)
			continue
		}
		section, _, _ = strings.Cut(section, "\n### ")
		var rows []string
		for _, match := range optionRow.FindAllStringSubmatch(section, -1) {
			rows = append(rows, match[1])
		}
		slices.Sort(rows)
		if !slices.Equal(rows, tables[table]) {
			t.Errorf("docs/gate.md, %s: has rows for\n%q\nand the options are\n%q", heading, rows, tables[table])
		}
	}
}

// namesDefault finds what says what holds if a field is left away.
var namesDefault = regexp.MustCompile(`(?i)\b(defaults?|required)\b`)

// Each field of the configuration says what holds if it is left away.
func TestFieldsNameTheirDefault(t *testing.T) {
	structs := make(map[string]*ast.StructType)
	for _, file := range sources(t) {
		ast.Inspect(file, func(node ast.Node) bool {
			if spec, isType := node.(*ast.TypeSpec); isType {
				if fields, isStruct := spec.Type.(*ast.StructType); isStruct {
					structs[spec.Name.Name] = fields
				}
			}
			return true
		})
	}
	seen := 0
	var look func(name string)
	look = func(name string) {
		fields := structs[name]
		delete(structs, name)
		if fields == nil {
			return
		}
		for _, field := range fields.Fields.List {
			if field.Tag == nil || !strings.Contains(field.Tag.Value, "json:") {
				continue
			}
			seen++
			if !namesDefault.MatchString(field.Doc.Text()) {
				t.Errorf("the comment of %s.%s names no default, nor says that it is required", name, field.Names[0].Name)
			}
			ast.Inspect(field.Type, func(node ast.Node) bool {
				if used, isName := node.(*ast.Ident); isName {
					look(used.Name)
				}
				return true
			})
		}
	}
	for _, module := range []string{"App", "Handler", "Strip", "MatchBot"} {
		if structs[module] == nil {
			t.Errorf("found no struct %s", module)
		}
		look(module)
	}
	if seen < 80 {
		t.Errorf("looked at %d fields; there are more", seen)
	}
}
