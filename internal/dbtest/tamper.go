package dbtest

import (
	"context"
	"database/sql"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Tamper runs statements on the database at a location as somebody would who
// can write to it: past the triggers, checks and foreign keys that keep the books.
func Tamper(t testing.TB, location, statements string) {
	t.Helper()
	driver, open := "sqlite", openTriggersSQLite
	if strings.HasPrefix(location, "postgres://") {
		driver, open = "pgx", openTriggersPostgreSQL
	}
	pool, err := sql.Open(driver, location)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	conn, err := pool.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := open(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), statements); err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
}

// openTriggersPostgreSQL lets the connection past triggers and foreign keys, and
// removes the checks.
func openTriggersPostgreSQL(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, `SET session_replication_role = replica`); err != nil {
		return err
	}
	return runAll(ctx, conn, `SELECT 'ALTER TABLE ' || conrelid::regclass || ' DROP CONSTRAINT ' || quote_ident(conname)
		FROM pg_constraint WHERE contype = 'c' AND connamespace = current_schema()::regnamespace`)
}

// openTriggersSQLite removes the triggers, and lets the connection past checks
// and foreign keys.
func openTriggersSQLite(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, `PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF`); err != nil {
		return err
	}
	return runAll(ctx, conn, `SELECT 'DROP TRIGGER ' || name FROM sqlite_master WHERE type = 'trigger'`)
}

// runAll runs the statements that a query returns.
func runAll(ctx context.Context, conn *sql.Conn, query string) error {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	var statements []string
	for rows.Next() {
		var statement string
		if err := rows.Scan(&statement); err != nil {
			return err
		}
		statements = append(statements, statement)
	}
	if err := rows.Err(); err != nil || len(statements) == 0 {
		return err
	}
	_, err = conn.ExecContext(ctx, strings.Join(statements, ";"))
	return err
}
