// Command vectors writes the test vectors, one file per case, and removes the
// files of cases that no longer exist:
//
//	go run ./internal/vectors [directory]
//
// The directory is testdata/vectors unless another is named.
package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/paywordhq/payword/internal/vectors/cases"
)

func main() {
	directory := filepath.Join("testdata", "vectors")
	if len(os.Args) > 1 {
		directory = os.Args[1]
	}
	if err := run(directory); err != nil {
		fmt.Fprintln(os.Stderr, "vectors:", err)
		os.Exit(1)
	}
}

// run makes the files under directory those of the cases. It leaves the areas
// alone that others make.
func run(directory string) error {
	files, err := cases.Files()
	if err != nil {
		return err
	}
	for _, area := range slices.Concat(cases.Areas(), cases.PurseAreas()) {
		if err := removeOthers(directory, area, files); err != nil {
			return err
		}
	}
	for name, content := range files {
		path := filepath.Join(directory, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	fmt.Printf("%d vectors in %s\n", len(files), directory)
	return nil
}

// removeOthers removes the JSON files of an area that are not among files.
func removeOthers(directory, area string, files map[string][]byte) error {
	present, err := fs.Glob(os.DirFS(directory), area+"/*.json")
	if err != nil {
		return err
	}
	for _, name := range present {
		if files[name] != nil {
			continue
		}
		if err := os.Remove(filepath.Join(directory, filepath.FromSlash(name))); err != nil {
			return err
		}
	}
	return nil
}
