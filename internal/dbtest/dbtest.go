// Package dbtest gives each test a database of its own, and runs the tests of a
// package twice: on SQLite, and on a PostgreSQL server that it starts.
//
// A package calls Main from its TestMain, takes databases from New, and has one
// test that calls OnPostgreSQL. With PAYWORD_TEST_DATABASE=postgres all of its
// tests run on PostgreSQL at once, for whoever looks for a fault there.
package dbtest

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// variable says which database the tests of this process use: empty or postgres.
const variable = "PAYWORD_TEST_DATABASE"

// IsPostgreSQL reports whether New gives out databases of PostgreSQL.
func IsPostgreSQL() bool { return os.Getenv(variable) == "postgres" }

// running is the server of this process, if it has one.
var running *Server

// Main runs the tests of a package, with a server if they need one, and returns
// the exit code. prepare, if it is not nil, makes the tables that every database
// is to begin with; it is called once, which spares the time that each would
// take. skip is a pattern as of go test -skip, or empty: tests of what
// only a file can be.
//
// Where all tests of the package are run, those on PostgreSQL begin at once, in a
// process of their own beside this one, and Main fails if they do.
func Main(m *testing.M, prepare func(location string) error, skip string) int {
	if !IsPostgreSQL() {
		onPostgreSQL.skip = skip
		if prepare != nil {
			firstContent = sync.OnceValues(func() ([]byte, error) { return contentOf(prepare) })
		}
		if !isWhole() {
			return m.Run()
		}
		onPostgreSQL.start()
		code := m.Run()
		// Not in a test: everything that comes after it would wait as well.
		if complaint := onPostgreSQL.wait(); complaint != "" {
			fmt.Fprintln(os.Stderr, complaint)
			return 1
		}
		return code
	}
	server, err := Start()
	if err == nil && prepare != nil {
		err = server.prepare(prepare)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting PostgreSQL:", err)
		return 1
	}
	running = server
	code := m.Run()
	if err := server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stopping PostgreSQL:", err)
		return 1
	}
	return code
}

// isWhole reports whether go test was asked for nothing less than the package.
func isWhole() bool {
	if !flag.Parsed() {
		flag.Parse()
	}
	for _, name := range []string{"run", "skip", "list", "bench", "fuzz", "fuzzworker"} {
		if f := flag.Lookup("test." + name); f != nil && f.Value.String() != f.DefValue {
			return false
		}
	}
	return true
}

var databases atomic.Int64

// New returns the location of an empty database, as ledger.Open reads it.
func New(t testing.TB) string {
	t.Helper()
	if running == nil {
		if IsPostgreSQL() {
			t.Fatal("TestMain does not call dbtest.Main")
		}
		return newFile(t)
	}
	location, err := running.NewDatabase("test" + strconv.FormatInt(databases.Add(1), 10))
	if err != nil {
		t.Fatal(err)
	}
	return location
}

// firstContent is what files of SQLite begin with; nil: they are missing.
var firstContent func() ([]byte, error)

// contentOf returns what prepare makes of a file.
func contentOf(prepare func(location string) error) ([]byte, error) {
	folder, err := os.MkdirTemp("", "books")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, "books.db")
	if err := prepare(path); err != nil {
		return nil, err
	}
	if _, err := os.Stat(path + "-wal"); err == nil {
		return nil, errors.New("what prepares a database has to close it: part of it is in the log still")
	}
	return os.ReadFile(path)
}

func newFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "books.db")
	if firstContent == nil {
		return path
	}
	content, err := firstContent()
	if err == nil {
		err = os.WriteFile(path, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// twin is the process that runs the tests on PostgreSQL.
type twin struct {
	skip    string
	command *exec.Cmd // nil before start
	output  bytes.Buffer
	failed  error // to start
}

// onPostgreSQL is the one of this process.
var onPostgreSQL twin

func (w *twin) start() {
	arguments := []string{"-test.timeout=40m"}
	if w.skip != "" {
		arguments = append(arguments, "-test.skip="+w.skip)
	}
	if testing.Verbose() {
		arguments = append(arguments, "-test.v")
	}
	w.command = exec.Command(os.Args[0], arguments...)
	w.command.Env = append(os.Environ(), variable+"=postgres")
	w.command.Stdout, w.command.Stderr = &w.output, &w.output
	w.failed = w.command.Start()
}

// wait waits until the process ends and returns what is wrong, or "".
func (w *twin) wait() (complaint string) {
	err := w.failed
	if err == nil {
		err = w.command.Wait()
	}
	switch {
	case err != nil:
		return fmt.Sprintf("on PostgreSQL (%s=postgres go test ./... runs it alone): %v\n%s", variable, err, w.output.String())
	case !strings.Contains(w.output.String(), "PASS"):
		return "on PostgreSQL nothing ran:\n" + w.output.String()
	}
	return ""
}

// OnPostgreSQL makes sure that all tests of the package pass on PostgreSQL, too,
// but for those that Main was told to skip. Where Main has begun with them it
// sees to that itself.
func OnPostgreSQL(t *testing.T) {
	t.Helper()
	if IsPostgreSQL() || onPostgreSQL.command != nil {
		return
	}
	onPostgreSQL.start() // some tests alone were asked for, and this is one of them
	if complaint := onPostgreSQL.wait(); complaint != "" {
		t.Fatal(complaint)
	}
}
