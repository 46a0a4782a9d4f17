package house_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// migrationFolders returns the folders that hold migrations, each with a folder
// for SQLite and one for PostgreSQL.
func migrationFolders(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(moduleRoot, "*", "migrations"))
	if err != nil {
		t.Fatal(err)
	}
	inner, err := filepath.Glob(filepath.Join(moduleRoot, "*", "*", "migrations"))
	if err != nil || len(found) < 2 || len(inner) < 2 {
		t.Fatalf("found %q and %q (%v)", found, inner, err)
	}
	return append(found, inner...)
}

// Both databases have the same migrations.
func TestMigrationsInPairs(t *testing.T) {
	for _, folder := range migrationFolders(t) {
		var names [2][]string
		for k, dialect := range []string{"sqlite", "postgres"} {
			entries, err := os.ReadDir(filepath.Join(folder, dialect))
			if err != nil {
				t.Fatal(err)
			}
			for _, entry := range entries {
				names[k] = append(names[k], entry.Name())
			}
		}
		if !slices.Equal(names[0], names[1]) {
			t.Errorf("%s: SQLite has %q, PostgreSQL %q", folder, names[0], names[1])
		}
	}
}

var (
	sqlComment = regexp.MustCompile(`--[^\n]*`)
	addColumn  = regexp.MustCompile(`(?i)ADD\s+COLUMN[^;]*`)
	takesAway  = regexp.MustCompile(`(?i)\bDROP\s+(TABLE|COLUMN|VIEW)\b|\bRENAME\b|\bALTER\s+COLUMN\b|\bDELETE\s+FROM\b|\bSET\s+NOT\s+NULL\b`)
)

// breaks returns why a program that does not know the migration could not go on
// beside it, or "".
func breaks(text string) string {
	text = sqlComment.ReplaceAllString(text, "")
	if match := takesAway.FindString(text); match != "" {
		return match + " takes away what an older program uses"
	}
	for _, column := range addColumn.FindAllString(text, -1) {
		upper := strings.ToUpper(column)
		if strings.Contains(upper, "NOT NULL") && !strings.Contains(upper, "DEFAULT") {
			return column + " has no default, and an older program does not write it"
		}
	}
	return ""
}

// Migrations add, so that brokers can be replaced one after the other; one that
// does more says so in its name.
func TestMigrationsOnlyAdd(t *testing.T) {
	for _, folder := range migrationFolders(t) {
		err := filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || strings.HasPrefix(path.Base(file), "0001_") || strings.HasSuffix(file, "_breaking.sql") {
				return err
			}
			text, err := os.ReadFile(file)
			if why := breaks(string(text)); why != "" {
				t.Errorf("%s: %s", file, why)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestBreaks(t *testing.T) {
	cases := []struct {
		text   string
		breaks bool
	}{
		{"CREATE TABLE a (b BIGINT NOT NULL);", false},
		{"ALTER TABLE a ADD COLUMN b TEXT NOT NULL DEFAULT '';", false},
		{"ALTER TABLE a ADD COLUMN b TEXT;", false},
		{"ALTER TABLE a ADD COLUMN b TEXT NOT NULL;", true},
		{"-- drop table a\nCREATE INDEX a_b ON a (b);", false},
		{"DROP TABLE a;", true}, {"alter table a drop column b;", true}, {"ALTER TABLE a RENAME TO b;", true},
		{"DELETE FROM a;", true}, {"ALTER TABLE a ALTER COLUMN b SET NOT NULL;", true},
	}
	for _, c := range cases {
		if got := breaks(c.text); (got != "") != c.breaks {
			t.Errorf("%s: got %q, want that it breaks %t", c.text, got, c.breaks)
		}
	}
}
