package broker

import (
	"context"

	"github.com/paywordhq/payword/internal/ledger"
)

// Journal returns all transfers in the order they were made.
func (b *Broker) Journal(ctx context.Context) (all []ledger.Transfer, err error) {
	err = b.store.db.View(ctx, func(tx *ledger.Tx) error {
		ids, err := selectTexts(ctx, tx, `SELECT id FROM transfers ORDER BY seq`)
		for _, id := range ids {
			transfer, err := tx.Transfer(ctx, id)
			if err != nil {
				return err
			}
			all = append(all, transfer)
		}
		return err
	})
	return all, err
}

// selectTexts returns the only column of a query.
func selectTexts(ctx context.Context, tx *ledger.Tx, query string) (all []string, err error) {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, rows.Err()
}
