package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"modernc.org/sqlite" // the driver "sqlite", pure Go
	sqlite3 "modernc.org/sqlite/lib"
)

// sqliteEngine is SQLite: one connection writes, so that nobody is ever in the
// way of an Update.
type sqliteEngine struct{}

func (sqliteEngine) dialect() string                                 { return "sqlite" }
func (sqliteEngine) rebind(query string) string                      { return query }
func (sqliteEngine) options(kind) *sql.TxOptions                     { return nil }
func (sqliteEngine) enter(context.Context, *sql.Tx, kind, int) error { return nil }
func (sqliteEngine) isConflict(error) bool                           { return false }
func (sqliteEngine) check(ctx context.Context, pool *sql.DB) error {
	return checkSQLiteVersion(ctx, pool)
}

// execEach runs one after the other. An UPDATE that is joined with a list of rows
// is slower, and with many of them SQLite reads the whole table for it.
func (sqliteEngine) execEach(ctx context.Context, tx *Tx, statement string, lists [][]any) (changed int64, err error) {
	for _, list := range lists {
		result, err := tx.tx.ExecContext(ctx, statement, list...)
		if err != nil {
			return changed, err
		}
		count, err := result.RowsAffected()
		if err != nil {
			return changed, err
		}
		changed += count
	}
	return changed, nil
}

const (
	// busyTimeout is how long a write waits for another process that writes:
	// longer than any transaction here takes, shorter than a client waits.
	busyTimeout = 5 * time.Second

	// readerConnections bounds the Views that run at once.
	readerConnections = 4

	// cacheKilobytes is the page cache of each connection: what a transaction of
	// five hundred claims changes stays in memory until it commits.
	cacheKilobytes = 16 << 10

	// checkpointPages is how long the log grows, in pages of 4 KB, before its
	// pages are written to their places: those that many transactions change are
	// written there once.
	checkpointPages = 8 << 10
)

// oldestSQLite is the first version without the WAL reset bug, which can
// corrupt a database.
const oldestSQLite = "3.51.3"

// openSQLite opens the two pools: one connection that writes, BEGIN IMMEDIATE,
// and a few that only read.
func openSQLite(ctx context.Context, path string, options Options) (*DB, error) {
	if err := checkFile(path, options.Mode); err != nil {
		return nil, err
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	writer, err := openPool(absolute, options.Mode, "immediate", 1)
	if err != nil {
		return nil, err
	}
	reader, err := openPool(absolute, ReadOnly, "deferred", readerConnections)
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	db := &DB{writer: writer, reader: reader, engine: sqliteEngine{}, now: options.Now, mode: options.Mode}
	db.relay = &relay{db: db, runTwice: options.RunTwice}
	// The writer comes first: it makes the file that the readers then find.
	err = writer.PingContext(ctx)
	if err == nil {
		err = reader.PingContext(ctx)
	}
	if err != nil {
		return nil, errors.Join(notDatabase(err), db.Close())
	}
	return db, nil
}

// notDatabase turns SQLite's word for a file of another kind into ErrNoLedger.
func notDatabase(err error) error {
	if failure := (*sqlite.Error)(nil); errors.As(err, &failure) && failure.Code() == sqlite3.SQLITE_NOTADB {
		return fmt.Errorf("%w: the file is not an SQLite database", ErrNoLedger)
	}
	return err
}

func checkFile(path string, mode Mode) error {
	if mode == Create {
		return createPrivate(path)
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the file does not exist", ErrNoLedger)
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: it is not a regular file", ErrNoLedger)
	}
	return nil
}

// createPrivate makes the file, readable for its owner alone, where it is
// missing; the files that SQLite puts beside it get the same mode. A file that
// exists is not opened: closing it would drop the locks that this process holds
// on it by way of SQLite (https://sqlite.org/howtocorrupt.html, section 2.2).
func createPrivate(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("making the database: %w", err)
	}
	return file.Close()
}

func openPool(path string, mode Mode, lock string, connections int) (*sql.DB, error) {
	query := url.Values{
		"_txlock":       {lock},
		"_busy_timeout": {strconv.FormatInt(busyTimeout.Milliseconds(), 10)},
		"_foreign_keys": {"on"},
		"_synchronous":  {"FULL"},
		"_defensive":    {"1"},
		"_dqs":          {"0"},
		"_pragma":       {"cache_size(-" + strconv.Itoa(cacheKilobytes) + ")"},
		"mode":          {"rw"},
	}
	switch mode {
	case ReadOnly:
		query.Set("_query_only", "on")
	case Create:
		query.Set("mode", "rwc")
		fallthrough
	default:
		query.Set("_journal_mode", "WAL")
		query.Add("_pragma", "wal_autocheckpoint("+strconv.Itoa(checkpointPages)+")")
	}
	name := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: query.Encode()}
	connector, err := sqlite.NewConnector(name.String())
	if err != nil {
		return nil, err
	}
	pool := sql.OpenDB(preparingConnector{connector})
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	return pool, nil
}

func (sqliteEngine) hasLedger(ctx context.Context, pool *sql.DB) (bool, error) {
	var count int
	err := pool.QueryRowContext(ctx,
		`SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'payword_migrations'`).Scan(&count)
	return count > 0, notDatabase(err)
}

func checkSQLiteVersion(ctx context.Context, pool *sql.DB) error {
	var version string
	if err := pool.QueryRowContext(ctx, `SELECT sqlite_version()`).Scan(&version); err != nil {
		return fmt.Errorf("reading SQLite's version: %w", notDatabase(err))
	}
	return requireSQLite(version)
}

func requireSQLite(version string) error {
	got, err := parseVersion(version)
	if err != nil {
		return err
	}
	want, err := parseVersion(oldestSQLite)
	if err != nil {
		return err
	}
	for i := range got {
		if got[i] != want[i] {
			if got[i] > want[i] {
				return nil
			}
			return fmt.Errorf("SQLite %s can corrupt a database in WAL mode: want %s or newer", version, oldestSQLite)
		}
	}
	return nil
}

// parseVersion reads "3.51.3"; a fourth part, which branch releases have, is
// left out.
func parseVersion(version string) (parts [3]int, err error) {
	fields := strings.Split(version, ".")
	if len(fields) < len(parts) {
		return parts, fmt.Errorf("SQLite version %.20q: want a number such as %s", version, oldestSQLite)
	}
	for i := range parts {
		if parts[i], err = strconv.Atoi(fields[i]); err != nil || parts[i] < 0 {
			return parts, fmt.Errorf("SQLite version %.20q: want a number such as %s", version, oldestSQLite)
		}
	}
	return parts, nil
}
