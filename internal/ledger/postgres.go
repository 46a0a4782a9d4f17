package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// postgresConnections bounds the connections of each of the two pools. A
	// commit waits for the disk, so that a few more than there are processors
	// keep the server busy; ten brokers stay below its default of 100.
	postgresConnections = 4

	// oldestPostgreSQL is the oldest version that its project still mends.
	oldestPostgreSQL = 140000

	// postgresLockTimeout is how long a statement waits for another
	// transaction: longer than any here takes, shorter than a client waits.
	postgresLockTimeout = 10 * time.Second

	// postgresIdleTimeout ends a transaction whose client has vanished without
	// a word, so that its locks do not stay.
	postgresIdleTimeout = time.Minute

	// politeAttempts is how often an Update runs beside others. Then it waits
	// until it is alone, so that a large one is not driven off for ever by many
	// small ones.
	politeAttempts = 2
)

// IsPostgreSQL reports whether Open takes location for a PostgreSQL database.
func IsPostgreSQL(location string) bool {
	return strings.HasPrefix(location, "postgres://") || strings.HasPrefix(location, "postgresql://")
}

// postgresEngine is PostgreSQL. Updates are serializable transactions
// (https://www.postgresql.org/docs/current/transaction-iso.html): whatever they
// read and write, it is as if they had run one after the other, or one of them
// fails and is run again. So the code above needs no lock and no order of
// locks, and reads as it does for SQLite.
type postgresEngine struct{}

func (postgresEngine) dialect() string { return "postgres" }

// rebind numbers the arguments. A ? within quotes stays.
func (postgresEngine) rebind(query string) string {
	if strings.IndexByte(query, '?') < 0 {
		return query
	}
	var numbered strings.Builder
	numbered.Grow(len(query) + 16)
	count, quote := 0, byte(0)
	for i := range len(query) {
		c := query[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '?':
			count++
			numbered.WriteByte('$')
			numbered.WriteString(strconv.Itoa(count))
			continue
		}
		numbered.WriteByte(c)
	}
	return numbered.String()
}

func (postgresEngine) options(k kind) *sql.TxOptions {
	switch k {
	case writing:
		return &sql.TxOptions{Isolation: sql.LevelSerializable}
	case migrating:
		// It waits for its lock in the transaction, and must then see what those
		// before it have done.
		return &sql.TxOptions{Isolation: sql.LevelReadCommitted}
	}
	return &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
}

// enter takes a lock that Updates share, or, after a few attempts in vain, have
// alone. LOCK TABLE takes no snapshot, so that whoever has waited sees what the
// others did.
func (postgresEngine) enter(ctx context.Context, tx *sql.Tx, k kind, attempt int) error {
	statement := ""
	switch {
	case k == migrating:
		statement = `SELECT pg_advisory_xact_lock(7382911650)` // any number, the same for all programs
	case k == writing && attempt < politeAttempts:
		statement = `LOCK TABLE payword_turns IN ROW SHARE MODE`
	case k == writing:
		statement = `LOCK TABLE payword_turns IN EXCLUSIVE MODE`
	default:
		return nil
	}
	_, err := tx.ExecContext(ctx, statement)
	return err
}

// execEach sends all at once, and then reads what came of each.
func (postgresEngine) execEach(ctx context.Context, tx *Tx, statement string, lists [][]any) (changed int64, err error) {
	conn, err := tx.pgxConn()
	if err != nil {
		return 0, err
	}
	batch := &pgx.Batch{}
	for _, list := range lists {
		batch.Queue(statement, list...)
	}
	results := conn.SendBatch(ctx, batch)
	for range lists {
		tag, err := results.Exec()
		if err != nil {
			_ = results.Close() // it says the same again
			return changed, err
		}
		changed += tag.RowsAffected()
	}
	return changed, results.Close()
}

// pgxConn returns the driver's connection, which is the transaction's until that
// ends. It is not used within Raw: after a panic or driver.ErrBadConn, Raw waits
// until the transaction has ended, and who could end it is who waits.
func (tx *Tx) pgxConn() (conn *pgx.Conn, err error) {
	err = tx.conn.Raw(func(opened any) error {
		ours, isOurs := opened.(*stdlib.Conn)
		if !isOurs {
			return fmt.Errorf("the driver's connection is a %T: want one of pgx", opened)
		}
		conn = ours.Conn()
		return nil
	})
	return conn, err
}

// isConflict knows the errors that PostgreSQL gives to one of two transactions
// that cannot both go on. A unique violation is among them: a row that was not
// there a statement before was made by somebody else, and will be seen next
// time.
func (postgresEngine) isConflict(err error) bool {
	const (
		serializationFailure = "40001"
		deadlockDetected     = "40P01"
		uniqueViolation      = "23505"
	)
	failure := (*pgconn.PgError)(nil)
	if !errors.As(err, &failure) {
		return false
	}
	return failure.Code == serializationFailure || failure.Code == deadlockDetected || failure.Code == uniqueViolation
}

func (postgresEngine) hasLedger(ctx context.Context, pool *sql.DB) (found bool, err error) {
	err = pool.QueryRowContext(ctx, `SELECT to_regclass('payword_migrations') IS NOT NULL`).Scan(&found)
	return found, err
}

// check refuses what would lose money that was acknowledged.
func (postgresEngine) check(ctx context.Context, pool *sql.DB) error {
	var version int
	var synchronous, encoding string
	err := pool.QueryRowContext(ctx, `SELECT CAST(current_setting('server_version_num') AS INTEGER),
		current_setting('synchronous_commit'), current_setting('server_encoding')`).
		Scan(&version, &synchronous, &encoding)
	switch {
	case err != nil:
		return fmt.Errorf("reading the server's settings: %w", err)
	case version < oldestPostgreSQL:
		return fmt.Errorf("the server is PostgreSQL %d: want %d or newer", version/10000, oldestPostgreSQL/10000)
	case synchronous == "off":
		return errors.New("synchronous_commit is off: a crash of the server would lose what was acknowledged")
	case encoding != "UTF8":
		return fmt.Errorf("the database is encoded in %s: want UTF8", encoding)
	}
	return nil
}

// openPostgreSQL opens the two pools: one that writes and one that only reads.
func openPostgreSQL(ctx context.Context, location string, options Options) (*DB, error) {
	if holdsPassword(location) {
		return nil, errors.New("a password in the location is for everybody on this machine to read: put it in a file (passfile=… or PGPASSFILE)")
	}
	config, err := pgx.ParseConfig(location)
	if err != nil {
		return nil, fmt.Errorf("want postgres://user@host:port/database: %w", err)
	}
	setRuntime(config, "application_name", "payword")
	setRuntime(config, "lock_timeout", strconv.FormatInt(postgresLockTimeout.Milliseconds(), 10))
	setRuntime(config, "idle_in_transaction_session_timeout", strconv.FormatInt(postgresIdleTimeout.Milliseconds(), 10))
	reader := stdlib.OpenDB(*config)
	// A sequential scan in a serializable transaction is in the way of every
	// write to the table, and the planner prefers it while the table is small.
	config = config.Copy()
	setRuntime(config, "enable_seqscan", "off")
	writer := stdlib.OpenDB(*config)
	for _, pool := range []*sql.DB{writer, reader} {
		pool.SetMaxOpenConns(postgresConnections)
		pool.SetMaxIdleConns(postgresConnections)
	}
	db := &DB{writer: writer, reader: reader, engine: postgresEngine{}, now: options.Now, mode: options.Mode}
	if err := reader.PingContext(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// setRuntime sets a parameter of the session unless the location sets it.
func setRuntime(config *pgx.ConnConfig, name, value string) {
	if _, isSet := config.RuntimeParams[name]; !isSet {
		config.RuntimeParams[name] = value
	}
}

// holdsPassword reports whether a location has a password in it.
func holdsPassword(location string) bool {
	_, rest, _ := strings.Cut(location, "://")
	authority, _, _ := strings.Cut(rest, "/")
	user, _, hasUser := strings.Cut(authority, "@")
	return hasUser && strings.Contains(user, ":") || strings.Contains(location, "password=")
}
