// Package ledger keeps double-entry books over SQL: accounts with a floor,
// transfers that are never changed, and pending transfers that are later
// posted, voided or expired.
//
// A transfer takes an amount from its debit account and gives it to its credit
// account, so the balances of all accounts always sum to zero. Its id is chosen
// by the client and is the idempotency key: the same transfer again succeeds
// and does nothing.
//
// Callers keep tables of their own in the same database (Migrate) and change
// them in the same transaction as the transfers (Update). SQLite is the
// database here; what depends on it stands in sqlite.go and in the folder
// migrations/sqlite.
package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Mode says what Open may do to the file.
type Mode int

const (
	// Create opens the ledger and makes it where there is none.
	Create Mode = iota
	// Existing opens a ledger that must be there already.
	Existing
	// ReadOnly opens a ledger that must be there already and changes nothing
	// in it; Update and Migrate fail.
	ReadOnly
)

// Options are the choices of Open. The zero value is fit for production.
type Options struct {
	// Mode is Create unless it is set.
	Mode Mode
	// Now is the clock; nil is time.Now. It must be safe for concurrent use.
	Now func() time.Time
}

// DB is an open ledger. It is safe for concurrent use: any number of Views run
// beside one Update at a time.
type DB struct {
	writer *sql.DB // one connection: SQLite has one writer
	reader *sql.DB
	now    func() time.Time
	mode   Mode
}

// ErrNoLedger means that the file holds something else than a ledger, or, where
// the mode requires a ledger, that there is none.
var ErrNoLedger = errors.New("no ledger here")

// Open opens the ledger in the file at path and brings its tables up to date.
// It refuses an SQLite older than 3.51.3, which can corrupt a database in WAL
// mode. ErrNoLedger comes back as the mode says.
func Open(ctx context.Context, path string, options Options) (*DB, error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	db, err := openSQLite(ctx, path, options)
	if err != nil {
		return nil, fmt.Errorf("opening ledger %s: %w", path, err)
	}
	if err := db.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening ledger %s: %w", path, err), db.Close())
	}
	return db, nil
}

// prepare checks what is in the file against the mode and migrates it.
func (db *DB) prepare(ctx context.Context) error {
	if err := checkSQLiteVersion(ctx, db.reader); err != nil {
		return err
	}
	if db.mode != Create {
		found, err := db.hasLedger(ctx)
		if err != nil {
			return err
		}
		if !found {
			return ErrNoLedger
		}
	}
	return db.Migrate(ctx, "ledger", migrations)
}

// Close waits for what runs and closes the files.
func (db *DB) Close() error { return errors.Join(db.writer.Close(), db.reader.Close()) }

// Update runs change in one write transaction and commits it durably: when
// Update returns nil, everything that change did survives a crash. When change
// fails nothing of it is kept and its error comes back as it is, for errors.Is.
//
// Updates run one at a time, so change must be short and must not call Update
// (it would wait for itself). An error of the commit itself leaves open whether
// it took effect; the ids of the transfers make it safe to do it all again.
func (db *DB) Update(ctx context.Context, change func(tx *Tx) error) error {
	if db.mode == ReadOnly {
		return errors.New("this ledger was opened read-only")
	}
	return db.within(ctx, db.writer, change)
}

// View runs read in one read transaction, which sees one state of the books
// however long it takes. Nothing can be written in it.
func (db *DB) View(ctx context.Context, read func(tx *Tx) error) error {
	return db.within(ctx, db.reader, read)
}

func (db *DB) within(ctx context.Context, pool *sql.DB, work func(tx *Tx) error) (err error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return fmt.Errorf("waiting for the ledger: %w", err)
	}
	defer conn.Close()
	// The context ends statements, not the transaction: a commit that is cut
	// off half way would leave open whether the money moved.
	sqlTx, err := conn.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	defer func() {
		// After a commit this does nothing; after an error or a panic of work
		// it undoes everything.
		_ = sqlTx.Rollback()
	}()
	tx := &Tx{tx: sqlTx, now: db.now().UTC().Truncate(time.Microsecond)}
	if err := work(tx); err != nil {
		return err
	}
	if tx.failed != nil {
		return tx.failed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := sqlTx.Commit(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	return nil
}
