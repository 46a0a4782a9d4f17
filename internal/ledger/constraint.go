package ledger

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// IsConstraint reports whether an error of Update means that a row would have
// broken a rule of the tables, such as a CHECK or a foreign key: what was
// written is wrong, not the database. Nothing was changed.
func IsConstraint(err error) bool {
	const (
		integrityViolation = "23" // the class of such errors in PostgreSQL
		primaryCode        = 0xff // of SQLite's result code, without its details
	)
	if failure := (*sqlite.Error)(nil); errors.As(err, &failure) {
		return failure.Code()&primaryCode == sqlite3.SQLITE_CONSTRAINT
	}
	failure := (*pgconn.PgError)(nil)
	return errors.As(err, &failure) && strings.HasPrefix(failure.Code, integrityViolation)
}
