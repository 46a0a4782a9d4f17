package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/paywordhq/payword/internal/ledger"
)

// Rows returns for each table of the database a digest of all its rows.
func (b *Broker) Rows(ctx context.Context) (digests map[string]string, err error) {
	list := `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`
	if ledger.IsPostgreSQL(b.config.Database) {
		list = `SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE schemaname = current_schema()`
	}
	err = b.store.db.View(ctx, func(tx *ledger.Tx) error {
		digests = make(map[string]string)
		tables, err := selectTexts(ctx, tx, list)
		for _, table := range tables {
			if digests[table], err = digestOf(ctx, tx, table); err != nil {
				return err
			}
		}
		return err
	})
	return digests, err
}

// digestOf returns the number of rows of a table and their SHA-256.
func digestOf(ctx context.Context, tx *ledger.Tx, table string) (string, error) {
	rows, err := tx.QueryContext(ctx, `SELECT * FROM `+table)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var texts []string
	for rows.Next() {
		values, targets := make([]any, len(columns)), make([]any, len(columns))
		for k := range values {
			targets[k] = &values[k]
		}
		if err := rows.Scan(targets...); err != nil {
			return "", err
		}
		texts = append(texts, fmt.Sprint(values...))
	}
	slices.Sort(texts)
	sum := sha256.Sum256([]byte(strings.Join(texts, "\n")))
	return fmt.Sprintf("%d rows, %s", len(texts), hex.EncodeToString(sum[:6])), rows.Err()
}
