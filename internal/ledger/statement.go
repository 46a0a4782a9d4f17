package ledger

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
)

// maxStatements is how many prepared statements a connection keeps: those of
// all programs here are about two hundred, each of some 10 KB.
const maxStatements = 400

// preparingConnector opens connections that keep the statements they prepared,
// so that SQLite compiles each once for a connection and not once for a call.
// pgx does the same for PostgreSQL by itself.
type preparingConnector struct{ driver.Connector }

// sqliteConn is what database/sql uses of a connection to SQLite.
type sqliteConn interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// Connect implements driver.Connector.
func (c preparingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	opened, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	conn, isWhole := opened.(sqliteConn)
	if !isWhole {
		return nil, errors.Join(fmt.Errorf("the driver's connection %T lacks a method that is needed", opened), opened.Close())
	}
	return &preparingConn{sqliteConn: conn, statements: make(map[string]statement)}, nil
}

// statement is a prepared statement of SQLite.
type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// preparingConn is a connection with its statements, by their text. Like every
// connection it is for one goroutine at a time. The rows of a statement must be
// closed before the same text is run again.
type preparingConn struct {
	sqliteConn
	statements map[string]statement
}

// prepared returns the statement of a text, or nil for a script of several,
// whose later parts cannot be compiled before its first ones have run.
func (c *preparingConn) prepared(ctx context.Context, query string) (statement, error) {
	if known, found := c.statements[query]; found {
		return known, nil
	}
	if strings.Contains(query, ";") {
		return nil, nil
	}
	if len(c.statements) >= maxStatements {
		if err := c.forget(); err != nil {
			return nil, err
		}
	}
	opened, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	made, isWhole := opened.(statement)
	if !isWhole {
		return nil, errors.Join(fmt.Errorf("the driver's statement %T lacks a method that is needed", opened), opened.Close())
	}
	c.statements[query] = made
	return made, nil
}

func (c *preparingConn) forget() (err error) {
	for query, known := range c.statements {
		err = errors.Join(err, known.Close())
		delete(c.statements, query)
	}
	return err
}

// ExecContext implements driver.ExecerContext.
func (c *preparingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	known, err := c.prepared(ctx, query)
	if err != nil {
		return nil, err
	}
	if known == nil {
		return c.sqliteConn.ExecContext(ctx, query, args)
	}
	return known.ExecContext(ctx, args)
}

// QueryContext implements driver.QueryerContext.
func (c *preparingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	known, err := c.prepared(ctx, query)
	if err != nil {
		return nil, err
	}
	if known == nil {
		return c.sqliteConn.QueryContext(ctx, query, args)
	}
	return known.QueryContext(ctx, args)
}

// Close implements driver.Conn.
func (c *preparingConn) Close() error { return errors.Join(c.forget(), c.sqliteConn.Close()) }
