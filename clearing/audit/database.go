package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"
)

// ErrNoDatabase means that there is no database of a broker at the location.
var ErrNoDatabase = errors.New("no broker's database here")

// snapshot is one state of a database. It is for one goroutine.
type snapshot struct {
	pool         *sql.DB
	tx           *sql.Tx
	isPostgreSQL bool
	tables       map[string]bool
}

// openSnapshot begins a transaction that reads one state and writes nothing.
func openSnapshot(ctx context.Context, location string) (*snapshot, error) {
	s := &snapshot{isPostgreSQL: strings.HasPrefix(location, "postgres://") || strings.HasPrefix(location, "postgresql://")}
	driver, options := "pgx", &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	if s.isPostgreSQL {
		if parsed, err := url.Parse(location); err != nil || isTold(parsed) {
			return nil, errors.New("want postgres://user@host:port/database, without a password: put that into a file (PGPASSFILE)")
		}
	} else {
		name, err := fileName(location)
		if err != nil {
			return nil, err
		}
		driver, options, location = "sqlite", nil, name
	}
	var err error
	if s.pool, err = sql.Open(driver, location); err != nil {
		return nil, err
	}
	s.pool.SetMaxOpenConns(1)
	if s.tx, err = s.pool.BeginTx(ctx, options); err == nil {
		err = s.loadTables(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// isTold reports whether a location tells a password to everybody who sees it.
func isTold(location *url.URL) bool {
	_, told := location.User.Password()
	return told || location.Query().Has("password")
}

// fileName returns the name under which the driver opens an SQLite file to read
// it alone.
func fileName(path string) (string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return "", fmt.Errorf("%w: there is no file %s", ErrNoDatabase, path)
	}
	if err != nil {
		return "", err
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	query := url.Values{"mode": {"rw"}, "_query_only": {"on"}, "_busy_timeout": {"5000"}, "_dqs": {"0"}}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: query.Encode()}).String(), nil
}

func (s *snapshot) close() error {
	var err error
	if s.tx != nil {
		if err = s.tx.Rollback(); errors.Is(err, sql.ErrTxDone) {
			err = nil // the context ended it
		}
	}
	return errors.Join(err, s.pool.Close())
}

func (s *snapshot) loadTables(ctx context.Context) error {
	query := `SELECT name FROM sqlite_master WHERE type = 'table'`
	if s.isPostgreSQL {
		query = `SELECT tablename FROM pg_tables WHERE schemaname = current_schema()`
	}
	s.tables = make(map[string]bool)
	err := s.each(ctx, func(scan scanner) error {
		var name string
		err := scan(&name)
		s.tables[name] = true
		return err
	}, query)
	if err != nil && strings.Contains(err.Error(), "not a database") {
		return fmt.Errorf("%w: the file is not an SQLite database", ErrNoDatabase)
	}
	if err == nil && !s.tables["transfers"] {
		return fmt.Errorf("%w: it has no table of transfers", ErrNoDatabase)
	}
	return err
}

// missing returns those of the tables that are not there.
func (s *snapshot) missing(tables []string) (missing []string) {
	for _, name := range tables {
		if !s.tables[name] {
			missing = append(missing, name)
		}
	}
	return missing
}

// scanner reads the columns of a row.
type scanner func(targets ...any) error

// each gives every row of a query to read, one after the other, as the database
// sends them.
func (s *snapshot) each(ctx context.Context, read func(scan scanner) error, query string, args ...any) error {
	rows, err := s.tx.QueryContext(ctx, s.rebind(query), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := read(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// one reads the one row of a query.
func (s *snapshot) one(ctx context.Context, query string, targets ...any) error {
	return s.tx.QueryRowContext(ctx, query).Scan(targets...)
}

// rebind numbers the arguments as PostgreSQL reads them. No query here has a ?
// that is none.
func (s *snapshot) rebind(query string) string {
	if !s.isPostgreSQL {
		return query
	}
	parts := strings.Split(query, "?")
	var numbered strings.Builder
	for k, part := range parts {
		if k > 0 {
			numbered.WriteString("$" + strconv.Itoa(k))
		}
		numbered.WriteString(part)
	}
	return numbered.String()
}

// blobs returns an argument that is bytes, in a place where the database does
// not know that by itself.
func (s *snapshot) blob() string {
	if s.isPostgreSQL {
		return "CAST(? AS BYTEA)"
	}
	return "CAST(? AS BLOB)"
}

// text is the same for text.
func (s *snapshot) text() string { return "CAST(? AS TEXT)" }
