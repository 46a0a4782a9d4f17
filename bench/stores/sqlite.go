package stores

import (
	"database/sql"
	"errors"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver
)

// sqliteStore is SQLite with a write-ahead log that is synced by every commit.
type sqliteStore struct {
	*sql.DB
	write *sql.Stmt
}

func openSQLite(folder string) (store, error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(folder, "tails.db")+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // SQLite has one writer; others would only try again
	if _, err := db.Exec("CREATE TABLE tails (chain INTEGER PRIMARY KEY, step INTEGER NOT NULL, word BLOB NOT NULL)"); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	write, err := db.Prepare(`INSERT INTO tails (chain, step, word) VALUES (?, ?, ?)
		ON CONFLICT (chain) DO UPDATE SET step = excluded.step, word = excluded.word WHERE tails.step < excluded.step`)
	return &sqliteStore{db, write}, err
}

func (s *sqliteStore) advance(chain, index uint64, word [wordBytes]byte) error {
	result, err := s.write.Exec(int64(chain), int64(index), word[:])
	if err != nil {
		return err
	}
	changed, err := result.RowsAffected()
	if err == nil && changed == 0 {
		return errBehind
	}
	return err
}
