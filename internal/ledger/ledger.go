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
// them in the same transaction as the transfers (Update). The database is an
// SQLite file or PostgreSQL; what only one of them knows stands in sqlite.go,
// postgres.go and the folders migrations/sqlite and migrations/postgres.
package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
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
	// RunTwice, if it is set, is asked at every Update whether its function is to
	// run twice, the first time undone, where the database is SQLite. It is for
	// tests of the rule that a function may run again.
	RunTwice func() bool
}

// DB is an open ledger. It is safe for concurrent use.
type DB struct {
	writer *sql.DB
	reader *sql.DB
	engine engine
	now    func() time.Time
	mode   Mode
	relay  *relay // for a database with one writer
}

// engine is what differs between the databases.
type engine interface {
	// dialect is the folder of migrations that it reads.
	dialect() string
	// rebind writes the arguments of a query, ?, as the database reads them.
	rebind(query string) string
	// check refuses a database of a version or setting that is not safe.
	check(ctx context.Context, pool *sql.DB) error
	// hasLedger reports whether there is a ledger.
	hasLedger(ctx context.Context, pool *sql.DB) (bool, error)
	// options are those of a transaction.
	options(k kind) *sql.TxOptions
	// enter is run first in a transaction, before it reads anything: it waits
	// for others as the kind and the number of the attempt (from 0) ask for.
	enter(ctx context.Context, tx *sql.Tx, k kind, attempt int) error
	// execEach runs a statement, which rebind has written, as ExecEach does.
	execEach(ctx context.Context, tx *Tx, statement string, lists [][]any) (changed int64, err error)
	// isConflict reports whether an error only means that another transaction
	// was in the way, so that the same again may succeed.
	isConflict(err error) bool
}

// kind is what a transaction is for.
type kind int

const (
	reading kind = iota
	writing
	migrating
)

// ErrNoLedger means that the file or database holds something else than a
// ledger, or, where the mode requires a ledger, that there is none.
var ErrNoLedger = errors.New("no ledger here")

// ErrContended means that others were in the way of every attempt of an Update.
// Nothing was changed.
var ErrContended = errors.New("other transactions kept getting in the way")

// Open opens the ledger at location and brings its tables up to date. A
// location that begins with postgres:// is a PostgreSQL database, in the form
// of libpq without a password in it; any other is the path of an SQLite file.
//
// It refuses an SQLite older than 3.51.3, which can corrupt a database in WAL
// mode, a PostgreSQL older than 14, and one that does not make commits durable.
// ErrNoLedger comes back as the mode says.
func Open(ctx context.Context, location string, options Options) (*DB, error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	open, name := openSQLite, location
	if IsPostgreSQL(location) {
		open, name = openPostgreSQL, "in PostgreSQL"
	}
	db, err := open(ctx, location, options)
	if err != nil {
		return nil, fmt.Errorf("opening ledger %s: %w", name, err)
	}
	if err := db.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening ledger %s: %w", name, err), db.Close())
	}
	return db, nil
}

// prepare checks what is in the database against the mode and migrates it.
func (db *DB) prepare(ctx context.Context) error {
	if err := db.engine.check(ctx, db.reader); err != nil {
		return err
	}
	if db.mode != Create {
		found, err := db.engine.hasLedger(ctx, db.reader)
		if err != nil {
			return err
		}
		if !found {
			return ErrNoLedger
		}
	}
	return db.Migrate(ctx, "ledger", migrations)
}

// Close waits for what runs and closes the connections.
func (db *DB) Close() error { return errors.Join(db.writer.Close(), db.reader.Close()) }

// maxAttempts is how often an Update is tried. From the third on it has the
// database for itself, so that more attempts are needed only if something else
// than Updates writes to it.
const maxAttempts = 12

// Update runs change in one write transaction and commits it durably: when
// Update returns nil, everything that change did survives a crash. When change
// fails nothing of it is kept and its error comes back as it is, for errors.Is.
//
// All Updates have an effect as if they ran one at a time, in SQLite because
// they do, and share a commit where they wait for each other, in PostgreSQL by
// serializable transactions. What others do can make change run again, so it
// must begin from nothing each time: what an earlier attempt left in variables
// is not to be read, and nothing but the database is to be changed. change must
// be short and must not call Update (in SQLite it would wait for itself).
//
// An error of the commit itself leaves open whether it took effect; the ids of
// the transfers make it safe to do it all again.
func (db *DB) Update(ctx context.Context, change func(tx *Tx) error) error {
	return db.write(ctx, writing, 0, change)
}

// UpdateAlone is Update while no other Update is under way: those that have
// begun end first, and others wait. So the newest transfer that change sees is
// the end of a part of the journal that is complete: none of a lower Seq is
// seen later. Others wait as long as change takes.
func (db *DB) UpdateAlone(ctx context.Context, change func(tx *Tx) error) error {
	return db.write(ctx, writing, politeAttempts, change)
}

// write tries from the attempt of the given number on.
func (db *DB) write(ctx context.Context, k kind, first int, change func(tx *Tx) error) error {
	if db.mode == ReadOnly {
		return errReadOnly
	}
	if db.relay != nil {
		return db.relay.update(ctx, change)
	}
	for attempt := first; attempt < maxAttempts; attempt++ {
		isConflict, err := db.within(ctx, db.writer, k, attempt, change)
		if !isConflict {
			return err
		}
		if err := wait(ctx, attempt); err != nil {
			return err
		}
	}
	return ErrContended
}

// wait lets others finish: a millisecond after the first attempt, twice that
// after each further one, and a random part, so that two do not meet again.
func wait(ctx context.Context, attempt int) error {
	longest := time.Millisecond << min(attempt, 6)
	timer := time.NewTimer(longest/2 + rand.N(longest))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ExecOne runs one statement in a transaction of its own and commits it durably.
// It reports whether the statement changed a row, of at most one. In PostgreSQL
// it is not serializable with Updates: it is for a statement that is a
// compare-and-swap by itself, on rows that no Update reads.
func (db *DB) ExecOne(ctx context.Context, statement string, args ...any) (bool, error) {
	if db.mode == ReadOnly {
		return false, errReadOnly
	}
	if db.relay != nil {
		var changed bool
		err := db.Update(ctx, func(tx *Tx) (err error) {
			changed, err = tx.ExecOne(ctx, statement, args...)
			return err
		})
		return changed && err == nil, err
	}
	result, err := db.writer.ExecContext(ctx, db.engine.rebind(statement), args...)
	if err != nil {
		return false, err
	}
	count, err := result.RowsAffected()
	return count == 1, err
}

var errReadOnly = errors.New("this ledger was opened read-only")

// instant is the time of a transaction.
func (db *DB) instant() time.Time { return db.now().UTC().Truncate(time.Microsecond) }

// View runs read in one read transaction, which sees one state of the books
// however long it takes. Nothing can be written in it.
func (db *DB) View(ctx context.Context, read func(tx *Tx) error) error {
	_, err := db.within(ctx, db.reader, reading, 0, read)
	return err
}

// within runs work in one transaction. isConflict means that another was in its
// way and nothing was changed.
func (db *DB) within(ctx context.Context, pool *sql.DB, k kind, attempt int, work func(tx *Tx) error) (isConflict bool, err error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return false, fmt.Errorf("waiting for the ledger: %w", err)
	}
	defer conn.Close()
	// The context ends statements, not the transaction: a commit that is cut
	// off half way would leave open whether the money moved.
	sqlTx, err := conn.BeginTx(context.WithoutCancel(ctx), db.engine.options(k))
	if err != nil {
		return false, fmt.Errorf("beginning a transaction: %w", err)
	}
	defer func() {
		// After a commit this does nothing; after an error or a panic of work
		// it undoes everything.
		_ = sqlTx.Rollback()
	}()
	tx := &Tx{tx: sqlTx, conn: conn, engine: db.engine, now: db.instant()}
	if err := db.engine.enter(ctx, sqlTx, k, attempt); err != nil {
		return db.engine.isConflict(err), fmt.Errorf("beginning a transaction: %w", err)
	}
	err = work(tx)
	if tx.failed != nil && db.engine.isConflict(tx.failed) {
		return true, tx.failed
	}
	if err == nil {
		err = tx.failed
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return false, err
	}
	if err := sqlTx.Commit(); err != nil {
		return db.engine.isConflict(err), fmt.Errorf("committing: %w", err)
	}
	return false, nil
}
