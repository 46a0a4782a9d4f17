// Package dbtest gives each test a database of its own, and runs the tests of a
// package twice: on SQLite, and on a PostgreSQL server that it starts.
//
// A package calls Main from its TestMain, takes databases from New, and has one
// test that calls OnPostgreSQL. With PAYWORD_TEST_DATABASE=postgres all of its
// tests run on PostgreSQL at once, for whoever looks for a fault there.
package dbtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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
// of PostgreSQL is to begin with; it is called once, which spares the time that
// each would take.
func Main(m *testing.M, prepare func(location string) error) int {
	if !IsPostgreSQL() {
		return m.Run()
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

var databases atomic.Int64

// New returns the location of an empty database, as ledger.Open reads it.
func New(t testing.TB) string {
	t.Helper()
	if running == nil {
		if IsPostgreSQL() {
			t.Fatal("TestMain does not call dbtest.Main")
		}
		return filepath.Join(t.TempDir(), "books.db")
	}
	location, err := running.NewDatabase("test" + strconv.FormatInt(databases.Add(1), 10))
	if err != nil {
		t.Fatal(err)
	}
	return location
}

// OnPostgreSQL runs all tests of the package again, in a process of their own,
// on PostgreSQL; but for itself and those that skip, a pattern as of go test
// -skip, names: tests of what only a file can be.
func OnPostgreSQL(t *testing.T, skip string) {
	t.Helper()
	if IsPostgreSQL() {
		return // this is that process, and somebody has asked for this test too
	}
	pattern := "^" + t.Name() + "$"
	if skip != "" {
		pattern += "|" + skip
	}
	arguments := []string{"-test.skip=" + pattern, "-test.timeout=15m"}
	if testing.Verbose() {
		arguments = append(arguments, "-test.v")
	}
	command := exec.CommandContext(t.Context(), os.Args[0], arguments...)
	command.Env = append(os.Environ(), variable+"=postgres")
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Run(); err != nil {
		t.Fatalf("on PostgreSQL (%s=postgres go test ./... runs it alone): %v\n%s", variable, err, output.String())
	}
	if !strings.Contains(output.String(), "PASS") {
		t.Fatalf("on PostgreSQL nothing ran:\n%s", output.String())
	}
}
