package ledger_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/internal/ledger"
)

func TestOpenModes(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cases := []struct {
		name, path string
		mode       ledger.Mode
	}{
		{"missing", filepath.Join(folder, "missing.db"), ledger.Existing},
		{"missing, read-only", filepath.Join(folder, "missing.db"), ledger.ReadOnly},
		{"empty", write("empty.db", ""), ledger.Existing},
		{"not a database", write("text.db", strings.Repeat("not a database ", 100)), ledger.ReadOnly},
		{"a folder", folder, ledger.Existing},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			db, err := ledger.Open(t.Context(), c.path, ledger.Options{Mode: c.mode})
			if !errors.Is(err, ledger.ErrNoLedger) {
				t.Errorf("got %v, want ErrNoLedger", err)
			}
			if db != nil {
				t.Error("got a ledger, want none")
			}
		})
	}
	if _, err := os.Stat(filepath.Join(folder, "missing.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the missing file: got %v, want that it is still missing", err)
	}
}

// A password would stand in the process list, and in what Open says.
func TestOpenRefusesPassword(t *testing.T) {
	for _, location := range []string{
		"postgres://anna:hunter2hunter2@db.example/payword", "postgresql://db.example/payword?user=anna&password=hunter2hunter2",
	} {
		db, err := ledger.Open(t.Context(), location, ledger.Options{})
		if db != nil || err == nil || !strings.Contains(err.Error(), "passfile") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", location, err)
		}
	}
}

// A name with characters that a URI gives a meaning to is still that file.
func TestOpenTakesAnyFileName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?mode=ro#100%.db")
	db, err := ledger.Open(t.Context(), path, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestOpenReadOnlyChangesNothing(t *testing.T) {
	path := dbtest.New(t)
	db, err := ledger.Open(t.Context(), path, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	account := ledger.Account{ID: "broker:fees", Currency: usd}
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error { return tx.CreateAccount(ctx, account) })

	reading, err := ledger.Open(t.Context(), path, ledger.Options{Mode: ledger.ReadOnly})
	if err != nil {
		t.Fatal(err)
	}
	defer reading.Close()
	wantAccount(t, reading, "broker:fees", 0, 0)
	called := false
	err = reading.Update(t.Context(), func(*ledger.Tx) error { called = true; return nil })
	if err == nil || called {
		t.Errorf("update of a read-only ledger: got error %v, called %v; want an error, not called", err, called)
	}
	files := migrationFiles("0001_notes.sql", `CREATE TABLE notes (id TEXT)`)
	if err := reading.Migrate(t.Context(), "notes", files); err == nil {
		t.Error("migrating a read-only ledger: got no error")
	}
	if err := db.Migrate(t.Context(), "notes", files); err != nil {
		t.Fatal(err)
	}
	if err := reading.Migrate(t.Context(), "notes", files); err != nil {
		t.Errorf("checking migrations that are applied: %v", err)
	}
}

// What durability and safety rest on is really switched on.
func TestConnectionSettings(t *testing.T) {
	db, _ := open(t)
	cases := []struct{ pragma, want string }{
		{"journal_mode", "wal"}, {"synchronous", "2"}, {"foreign_keys", "1"}, {"busy_timeout", "5000"},
	}
	for _, c := range cases {
		for where, run := range map[string]func(context.Context, func(*ledger.Tx) error) error{"writer": db.Update, "reader": db.View} {
			var got string
			err := run(t.Context(), func(tx *ledger.Tx) error {
				return tx.QueryRowContext(t.Context(), `PRAGMA `+c.pragma).Scan(&got)
			})
			if err != nil || got != c.want {
				t.Errorf("%s of the %s: got %q, %v; want %q", c.pragma, where, got, err, c.want)
			}
		}
	}
}

func TestRequireSQLite(t *testing.T) {
	cases := []struct {
		version string
		ok      bool
	}{
		{"3.51.3", true}, {"3.51.4", true}, {"3.52.0", true}, {"4.0.0", true}, {"3.51.3.1", true}, {"3.100.0", true},
		{"3.51.2", false}, {"3.50.9", false}, {"2.99.99", false}, {"3.9.10", false},
		{"", false}, {"3", false}, {"3.51", false}, {"3.51.x", false}, {"3.-51.3", false},
	}
	for _, c := range cases {
		if err := ledger.RequireSQLite(c.version); (err == nil) != c.ok {
			t.Errorf("SQLite %q: got %v, want accepted %v", c.version, err, c.ok)
		}
	}
}

// migrationFiles makes a file system of pairs of name and text.
func migrationFiles(pairs ...string) fstest.MapFS {
	files := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		for _, dialect := range []string{"sqlite", "postgres"} {
			files[dialect+"/"+pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
		}
	}
	return files
}

func TestMigrateAppliesEachOnce(t *testing.T) {
	db, _ := open(t)
	first := []string{"0001_notes.sql", `CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('one');`}
	second := append(first[:2:2], "0002_more.sql", `INSERT INTO notes VALUES ('two');`)
	for _, files := range []fstest.MapFS{migrationFiles(first...), migrationFiles(first...), migrationFiles(second...), migrationFiles(second...)} {
		if err := db.Migrate(t.Context(), "notes", files); err != nil {
			t.Fatal(err)
		}
	}
	// Another package may use the same names.
	other := migrationFiles("0001_notes.sql", `CREATE TABLE other_notes (text TEXT)`)
	if err := db.Migrate(t.Context(), "other", other); err != nil {
		t.Fatal(err)
	}
	var count int
	err := db.View(t.Context(), func(tx *ledger.Tx) error {
		return tx.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM notes`).Scan(&count)
	})
	if err != nil || count != 2 {
		t.Errorf("got %d rows, %v; want 2", count, err)
	}
}

// A program that knows less goes on, and starts again, on a database that a
// newer one has added to.
func TestMigrateForwardWhileOldProgramRuns(t *testing.T) {
	location := dbtest.New(t)
	old, newer := openAt(t, location), openAt(t, location)
	first := []string{"0001_notes.sql", `CREATE TABLE notes (text TEXT)`}
	second := append(first[:2:2], "0002_stars.sql", `ALTER TABLE notes ADD COLUMN stars BIGINT NOT NULL DEFAULT 0`)
	if err := old.Migrate(t.Context(), "notes", migrationFiles(first...)); err != nil {
		t.Fatal(err)
	}
	write := func(db *ledger.DB, statement string) {
		t.Helper()
		update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
			_, err := tx.ExecContext(ctx, statement)
			return err
		})
	}
	write(old, `INSERT INTO notes (text) VALUES ('before')`)
	if err := newer.Migrate(t.Context(), "notes", migrationFiles(second...)); err != nil {
		t.Fatal(err)
	}
	write(newer, `INSERT INTO notes (text, stars) VALUES ('new', 5)`)
	write(old, `INSERT INTO notes (text) VALUES ('after')`)
	again := openAt(t, location)
	if err := again.Migrate(t.Context(), "notes", migrationFiles(first...)); err != nil {
		t.Errorf("the old program does not start again: %v", err)
	}
	var count, stars int
	err := again.View(t.Context(), func(tx *ledger.Tx) error {
		return tx.QueryRowContext(t.Context(), `SELECT COUNT(*), CAST(SUM(stars) AS BIGINT) FROM notes`).Scan(&count, &stars)
	})
	if err != nil || count != 3 || stars != 5 {
		t.Errorf("got %d notes with %d stars (%v), want 3 with 5", count, stars, err)
	}
}

func TestMigrateRefuses(t *testing.T) {
	const table = `CREATE TABLE notes (text TEXT)`
	applied := migrationFiles("0001_notes.sql", table, "0002_more.sql", `INSERT INTO notes VALUES ('two')`)
	cases := []struct {
		name, namespace string
		files           fstest.MapFS
		want            string
	}{
		{"edited", "notes", migrationFiles("0001_notes.sql", table+" ", "0002_more.sql", `INSERT INTO notes VALUES ('two')`), "changed after"},
		{"database is newer, and breaks", "breaks", migrationFiles("0001_a.sql", ""), "newer program"},
		{"gap", "gap", migrationFiles("0001_a.sql", "", "0003_c.sql", ""), "want number 0002"},
		{"begins at two", "gap", migrationFiles("0002_a.sql", ""), "want number 0001"},
		{"name", "name", migrationFiles("1.sql", ""), "want a name such as"},
		{"namespace", "Notes 2", migrationFiles("0001_a.sql", ""), "want a namespace"},
		{"no folder", "none", fstest.MapFS{}, "does not exist"},
		{"bad SQL", "bad", migrationFiles("0001_a.sql", `CREATE TABLE kept (a TEXT); NONSENSE;`), "applying 0001_a.sql"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			db, _ := open(t)
			breaking := migrationFiles("0001_a.sql", "", "0002_b_breaking.sql", "")
			if err := errors.Join(db.Migrate(t.Context(), "notes", applied), db.Migrate(t.Context(), "breaks", breaking)); err != nil {
				t.Fatal(err)
			}
			err := db.Migrate(t.Context(), c.namespace, c.files)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			// Nothing of a migration that failed is kept.
			var count int
			err = db.View(t.Context(), func(tx *ledger.Tx) error {
				query := `SELECT COUNT(*) FROM sqlite_master WHERE name = 'kept'`
				if dbtest.IsPostgreSQL() {
					query = `SELECT COUNT(*) FROM pg_class WHERE relname = 'kept'`
				}
				return tx.QueryRowContext(t.Context(), query).Scan(&count)
			})
			if err != nil || count != 0 {
				t.Errorf("tables left behind: got %d, %v; want 0", count, err)
			}
		})
	}
}

// Two programs on one file wait for one another.
func TestTwoProcessesShareTheFile(t *testing.T) {
	path := dbtest.New(t)
	var databases []*ledger.DB
	for range 2 {
		db, err := ledger.Open(t.Context(), path, ledger.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		databases = append(databases, db)
	}
	update(t, databases[0], func(ctx context.Context, tx *ledger.Tx) error {
		return errors.Join(
			tx.CreateAccount(ctx, ledger.Account{ID: "broker:bank:in", Currency: usd, Floor: ledger.NoFloor}),
			tx.CreateAccount(ctx, ledger.Account{ID: "broker:fees", Currency: usd}))
	})
	failures := make(chan error, len(databases))
	const each = 50
	for i, db := range databases {
		go func() {
			var err error
			for n := range each {
				id := string(rune('a'+i)) + strings.Repeat("i", n)
				err = errors.Join(err, db.Update(context.Background(), func(tx *ledger.Tx) error {
					return tx.Post(context.Background(), transfer(id, "broker:bank:in", "broker:fees", 1))
				}))
			}
			failures <- err
		}()
	}
	for range databases {
		if err := <-failures; err != nil {
			t.Error(err)
		}
	}
	wantAccount(t, databases[0], "broker:fees", 2*each, 0)
	wantClean(t, databases[1])
}

func TestDatabaseIsItsOwnersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "books.db")
	db, err := ledger.Open(t.Context(), path, ledger.Options{Mode: ledger.Create})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %04o, want 0600", info.Name(), info.Mode().Perm())
		}
	}
}
