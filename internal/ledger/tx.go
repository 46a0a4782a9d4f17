package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Tx is one transaction, made by Update or View and good only until their
// function returns. It is for one goroutine.
//
// SQL is written with ? for its arguments and with nothing that only one
// database knows. Once a statement has failed, every later one fails with the
// same error and the transaction is rolled back, as PostgreSQL does: a caller
// that expects a conflict says ON CONFLICT DO NOTHING and counts rows.
type Tx struct {
	tx     *sql.Tx
	conn   *sql.Conn // that tx is on
	engine engine
	now    time.Time
	failed error
	// isShared says that others have a part in the same transaction, which a
	// statement of this one that is broken off would undo.
	isShared bool
	isGone   bool // it failed before a statement, which leaves the transaction in order
}

// Now is the time of the transaction: one instant for everything it writes, in
// UTC and whole microseconds.
func (tx *Tx) Now() time.Time { return tx.now }

// statementContext is the context of a statement. In a shared transaction a
// statement is not begun once ctx has ended, and not broken off when it ends:
// each is short.
func (tx *Tx) statementContext(ctx context.Context) context.Context {
	if !tx.isShared {
		return ctx
	}
	if err := ctx.Err(); err != nil && tx.failed == nil {
		tx.failed, tx.isGone = fmt.Errorf("statement not begun: %w", err), true
	}
	return context.WithoutCancel(ctx)
}

// ExecContext runs a statement that returns no rows.
func (tx *Tx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	ctx = tx.statementContext(ctx)
	if tx.failed != nil {
		return nil, tx.failed
	}
	result, err := tx.tx.ExecContext(ctx, tx.engine.rebind(query), args...)
	return result, tx.fail(err)
}

// QueryContext runs a query. The caller closes the rows before its next
// statement and checks their Err.
func (tx *Tx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	ctx = tx.statementContext(ctx)
	if tx.failed != nil {
		return nil, tx.failed
	}
	rows, err := tx.tx.QueryContext(ctx, tx.engine.rebind(query), args...)
	return rows, tx.fail(err)
}

// QueryRowContext runs a query of one row; errors come from the row's Scan,
// sql.ErrNoRows among them.
func (tx *Tx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	ctx = tx.statementContext(ctx)
	if tx.failed != nil {
		// A row cannot be made to carry an error, so a query that a done
		// context refuses stands in for it.
		done, cancel := context.WithCancelCause(ctx)
		cancel(tx.failed)
		ctx = done
	}
	row := tx.tx.QueryRowContext(ctx, tx.engine.rebind(query), args...)
	_ = tx.fail(row.Err())
	return row
}

// fail records the first error, after which the transaction cannot commit. An
// interrupted statement may have rolled it back already, and what came after
// would be kept alone.
func (tx *Tx) fail(err error) error {
	if err != nil && tx.failed == nil {
		tx.failed = fmt.Errorf("statement failed: %w", err)
	}
	return err
}

// ExecOne runs a statement that changes at most one row, and reports whether it
// did.
func (tx *Tx) ExecOne(ctx context.Context, query string, args ...any) (bool, error) {
	result, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return false, err
	}
	count, err := result.RowsAffected()
	if err != nil {
		return false, tx.fail(err)
	}
	return count > 0, nil
}

// ExecEach runs a statement once for each list of arguments, in their order, and
// returns how many rows were changed by all of them. Where the database is away
// from this process, that takes as long as to wait for it once.
func (tx *Tx) ExecEach(ctx context.Context, query string, lists [][]any) (changed int64, err error) {
	ctx = tx.statementContext(ctx)
	if tx.failed != nil || len(lists) == 0 {
		return 0, tx.failed
	}
	changed, err = tx.engine.execEach(ctx, tx, tx.engine.rebind(query), lists)
	return changed, tx.fail(err)
}

// Each runs a query and gives each of its rows to take, until one is an error,
// which comes back. take runs no statement of its own: the rows are still open.
func (tx *Tx) Each(ctx context.Context, take func(scan func(target ...any) error) error, query string, args ...any) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := take(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Texts returns the rows of a query of one column, none as nil.
func (tx *Tx) Texts(ctx context.Context, query string, args ...any) (texts []string, err error) {
	err = tx.Each(ctx, func(scan func(target ...any) error) error {
		var text string
		err := scan(&text)
		texts = append(texts, text)
		return err
	}, query, args...)
	if err != nil {
		return nil, err
	}
	return texts, nil
}
