package dbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// Server is a PostgreSQL server in a folder of its own. It listens on a socket
// there and on no port.
type Server struct {
	folder  string
	process *exec.Cmd
	pool    *sql.DB

	isPrepared bool // new databases are copies of one that holds the tables
}

// startTimeout is how long a server may take to answer: it does in a second,
// but for a machine under load.
const startTimeout = time.Minute

// Start makes and starts a server. PostgreSQL does not run as root: for root it
// runs as the user postgres, whom Debian's package makes. Settings such as
// "fsync=on" come after those that make tests fast.
func Start(settings ...string) (*Server, error) {
	folder, err := os.MkdirTemp("", "postgres")
	if err != nil {
		return nil, err
	}
	s := &Server{folder: folder}
	if err := s.start(settings); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) start(settings []string) error {
	identity, err := identityFor(s.folder)
	if err != nil {
		return err
	}
	data := filepath.Join(s.folder, "data")
	initialize, err := program("initdb")
	if err != nil {
		return err
	}
	command := exec.Command(initialize, "--pgdata", data, "--username=payword", "--auth=trust",
		"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	command.SysProcAttr, command.Dir = identity, s.folder
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, output)
	}
	serve, err := program("postgres")
	if err != nil {
		return err
	}
	// What the tests kill is the broker, never the server: it need not wait for
	// a disk. The many small databases of the tests need more locks.
	arguments := []string{"-D", data, "-k", s.folder}
	for _, setting := range append([]string{"listen_addresses=", "fsync=off", "max_connections=300",
		"max_pred_locks_per_transaction=256", "log_min_messages=fatal"}, settings...) {
		arguments = append(arguments, "-c", setting)
	}
	s.process = exec.Command(serve, arguments...)
	s.process.SysProcAttr, s.process.Dir = identity, s.folder
	log, err := os.Create(filepath.Join(s.folder, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		s.process = nil
		return err
	}
	return s.awaitAnswer()
}

// program finds a program of PostgreSQL: in PATH, or where Debian puts it.
func program(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	found, err := filepath.Glob(filepath.Join("/usr/lib/postgresql/*/bin", name))
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("%s is neither in PATH nor in /usr/lib/postgresql: install PostgreSQL (on Debian: postgresql), as \"make tools\" does", name)
	}
	return found[len(found)-1], nil
}

func (s *Server) location(database string) string {
	return (&url.URL{Scheme: "postgres", User: url.User("payword"), Path: "/" + database,
		RawQuery: url.Values{"host": {s.folder}}.Encode()}).String()
}

func (s *Server) awaitAnswer() (err error) {
	if s.pool, err = sql.Open("pgx", s.location("postgres")); err != nil {
		return err
	}
	s.pool.SetMaxOpenConns(2)
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		if err = s.pool.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(s.folder, "log"))
			return fmt.Errorf("the server does not answer: %w\n%s", err, log)
		}
	}
}

// NewDatabase makes an empty database, of a name of letters and digits, and
// returns its location. Databases go with the server.
func (s *Server) NewDatabase(name string) (string, error) {
	statement := `CREATE DATABASE "` + name + `"`
	if s.isPrepared {
		statement += ` TEMPLATE "` + prepared + `"`
	}
	if _, err := s.pool.Exec(statement); err != nil {
		return "", err
	}
	return s.location(name), nil
}

// prepared is the database that others are copies of.
const prepared = "prepared"

func (s *Server) prepare(fill func(location string) error) error {
	location, err := s.NewDatabase(prepared)
	if err == nil {
		err = fill(location)
	}
	s.isPrepared = err == nil
	return err
}

// Stop ends the server and removes its folder.
func (s *Server) Stop() error {
	var errs []error
	if s.pool != nil {
		errs = append(errs, s.pool.Close())
	}
	if s.process != nil {
		errs = append(errs, s.process.Process.Signal(os.Interrupt), ignoreExit(s.process.Wait()))
	}
	return errors.Join(append(errs, os.RemoveAll(s.folder))...)
}

// ignoreExit leaves out that a process ended as it was told to.
func ignoreExit(err error) error {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil
	}
	return err
}
