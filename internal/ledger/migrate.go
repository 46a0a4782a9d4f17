package ledger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
)

//go:embed migrations
var embedded embed.FS

// migrations holds one folder for each database.
var migrations = func() fs.FS {
	folder, err := fs.Sub(embedded, "migrations")
	if err != nil {
		panic(err) // the embed directive above names it
	}
	return folder
}()

// fileName is "0001_word.sql": four digits keep the folder in order.
var fileName = regexp.MustCompile(`^([0-9]{4})_[a-z0-9_]{1,60}\.sql$`)

var namespaceName = regexp.MustCompile(`^[a-z]{1,20}$`)

// migrationsTable is SQL that every database reads alike.
const migrationsTable = `CREATE TABLE IF NOT EXISTS payword_migrations (
	namespace TEXT   NOT NULL,
	number    INTEGER NOT NULL,
	name      TEXT   NOT NULL,
	sha256    TEXT   NOT NULL,
	applied   BIGINT NOT NULL,
	PRIMARY KEY (namespace, number)
)`

type migration struct {
	number int
	name   string
	text   string
	sha256 string
}

// Migrate applies the migrations of one package, in one transaction, and
// records them under the namespace (1 to 20 letters a-z). files has a folder
// for each database ("sqlite" and "postgres") that holds SQL files named 0001_word.sql,
// numbered from 1 without a gap. What was applied before must still be there,
// byte for byte: a migration is never edited, only followed by another.
//
// An older program works on a database that a newer one has migrated, so that
// brokers can be replaced one after the other: migrations only add. One that
// older programs cannot live with has a name that ends in "_breaking", and is
// refused by them at their next start.
//
// It is safe to call at every start, from several processes. In mode ReadOnly
// it only checks that nothing is left to do.
func (db *DB) Migrate(ctx context.Context, namespace string, files fs.FS) error {
	if !namespaceName.MatchString(namespace) {
		return fmt.Errorf("migrations of %.20q: want a namespace of 1 to 20 letters a-z", namespace)
	}
	wanted, err := readMigrations(files, db.engine.dialect())
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", namespace, err)
	}
	work := func(tx *Tx) error { return migrate(ctx, tx, namespace, wanted, db.mode) }
	if db.mode == ReadOnly {
		err = db.View(ctx, work)
	} else {
		err = db.write(ctx, migrating, 0, work)
	}
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", namespace, err)
	}
	return nil
}

func readMigrations(files fs.FS, dialect string) ([]migration, error) {
	entries, err := fs.ReadDir(files, dialect)
	if err != nil {
		return nil, err
	}
	var found []migration
	for _, entry := range entries {
		match := fileName.FindStringSubmatch(entry.Name())
		if match == nil {
			return nil, fmt.Errorf("file %q: want a name such as 0001_accounts.sql", entry.Name())
		}
		text, err := fs.ReadFile(files, dialect+"/"+entry.Name())
		if err != nil {
			return nil, err
		}
		number, err := strconv.Atoi(match[1])
		if err != nil || number != len(found)+1 {
			return nil, fmt.Errorf("file %q: want number %04d here", entry.Name(), len(found)+1)
		}
		sum := sha256.Sum256(text)
		found = append(found, migration{number, entry.Name(), string(text), hex.EncodeToString(sum[:])})
	}
	return found, nil
}

func migrate(ctx context.Context, tx *Tx, namespace string, wanted []migration, mode Mode) error {
	if mode != ReadOnly {
		if _, err := tx.ExecContext(ctx, migrationsTable); err != nil {
			return err
		}
	}
	newest, err := appliedNumber(ctx, tx, namespace)
	if err != nil {
		return err
	}
	if newest > len(wanted) {
		if err := checkNewer(ctx, tx, namespace, len(wanted)); err != nil {
			return err
		}
	}
	for _, m := range wanted {
		if m.number <= newest {
			err = checkApplied(ctx, tx, namespace, m)
		} else if mode == ReadOnly {
			err = fmt.Errorf("%s is not applied yet: open the ledger for writing once", m.name)
		} else {
			err = apply(ctx, tx, namespace, m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func appliedNumber(ctx context.Context, tx *Tx, namespace string) (int, error) {
	var newest sql.NullInt64
	err := tx.QueryRowContext(ctx,
		`SELECT MAX(number) FROM payword_migrations WHERE namespace = ?`, namespace).Scan(&newest)
	return int(newest.Int64), err
}

// breakingSuffix ends the name of a migration that older programs cannot live
// with.
const breakingSuffix = "_breaking.sql"

// checkNewer refuses a database that a newer program has changed in a way that
// this one, which knows the migrations up to known, cannot live with.
func checkNewer(ctx context.Context, tx *Tx, namespace string, known int) error {
	rows, err := tx.QueryContext(ctx,
		`SELECT name FROM payword_migrations WHERE namespace = ? AND number > ? ORDER BY number`, namespace, known)
	if err != nil {
		return err
	}
	names, err := collect(rows, func(row scanner) (name string, err error) { return name, row.Scan(&name) })
	for _, name := range names {
		if strings.HasSuffix(name, breakingSuffix) {
			return fmt.Errorf("the database was changed by %s and this program knows up to %04d: use a newer program", name, known)
		}
	}
	return err
}

func checkApplied(ctx context.Context, tx *Tx, namespace string, m migration) error {
	var sum string
	err := tx.QueryRowContext(ctx,
		`SELECT sha256 FROM payword_migrations WHERE namespace = ? AND number = ?`, namespace, m.number).Scan(&sum)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s was left out when later ones were applied", m.name)
	}
	if err == nil && sum != m.sha256 {
		return fmt.Errorf("%s was changed after it had been applied", m.name)
	}
	return err
}

func apply(ctx context.Context, tx *Tx, namespace string, m migration) error {
	if _, err := tx.ExecContext(ctx, m.text); err != nil {
		return fmt.Errorf("applying %s: %w", m.name, err)
	}
	_, err := tx.ExecContext(ctx,
		`INSERT INTO payword_migrations (namespace, number, name, sha256, applied) VALUES (?, ?, ?, ?, ?)`,
		namespace, m.number, m.name, m.sha256, tx.Now().UnixMicro())
	return err
}
