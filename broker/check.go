package broker

import (
	"context"
	"fmt"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// Check compares everything in the books with everything else: the ledger with
// its transfers, the reserved balances with what the commitments hold, and what
// was paid on each commitment with the transfers to its vendor. It returns a
// sentence for each thing that cannot be right, none if all agree. It stops
// nobody.
func (b *Broker) Check(ctx context.Context) ([]string, error) { return b.store.check(ctx) }

func (s *store) check(ctx context.Context) (wrong []string, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		report, err := tx.Check(ctx)
		if err != nil {
			return err
		}
		for _, disagreement := range report.Disagreements {
			wrong = append(wrong, disagreement.Subject+": "+disagreement.What)
		}
		if !report.Clean() && len(wrong) == 0 {
			wrong = append(wrong, "the ledger does not agree with itself")
		}
		for _, compare := range comparisons {
			found, err := compare.disagreements(ctx, tx)
			if err != nil {
				return err
			}
			wrong = append(wrong, found...)
		}
		return nil
	})
	return wrong, err
}

// comparison is a query for what disagrees: subject, the figure of the broker's
// tables, the figure of the ledger.
type comparison struct{ what, query string }

var comparisons = []comparison{
	{"held for its commitments, and in its reserved account", `
		SELECT a.id, COALESCE(c.held, 0), l.balance
		FROM broker_accounts a
		JOIN accounts l ON l.id = 'user:' || a.id || ':reserved'
		LEFT JOIN (SELECT account, CAST(SUM(held) AS BIGINT) AS held FROM broker_commitments GROUP BY account) c ON c.account = a.id
		WHERE COALESCE(c.held, 0) <> l.balance ORDER BY a.id LIMIT 1000`},
	{"paid on it, and transferred for it", `
		SELECT c.id, c.paid, COALESCE(t.amount, 0)
		FROM broker_commitments c
		LEFT JOIN (SELECT reference, CAST(SUM(amount) AS BIGINT) AS amount FROM transfers WHERE kind = 'redeem' GROUP BY reference) t
			ON t.reference = c.id
		WHERE c.paid <> COALESCE(t.amount, 0) ORDER BY c.id LIMIT 1000`},
	{"came in from there and stayed, and in its account", `
		SELECT f.debit, f.amount, -l.balance
		FROM (SELECT debit, CAST(SUM(amount - reversed) AS BIGINT) AS amount FROM broker_fundings GROUP BY debit) f
		JOIN accounts l ON l.id = f.debit
		WHERE f.amount <> -l.balance ORDER BY f.debit LIMIT 1000`},
	{"in payments that nobody has, and in the account of those", `
		SELECT l.id, COALESCE(f.amount, 0), l.balance
		FROM accounts l
		LEFT JOIN (SELECT currency, CAST(SUM(amount - reversed) AS BIGINT) AS amount FROM broker_fundings WHERE account = '' GROUP BY currency) f
			ON f.currency = l.currency
		WHERE l.id LIKE 'broker:unassigned%' AND COALESCE(f.amount, 0) <> l.balance ORDER BY l.id LIMIT 1000`},
	{"the vouchers that are open are worth, and on their account", `
		SELECT l.id, COALESCE(v.worth, 0), l.balance FROM accounts l
		LEFT JOIN (SELECT CAST(SUM(amount) AS BIGINT) AS worth FROM broker_vouchers WHERE state = 'open') v ON 1 = 1
		WHERE l.id = 'broker:vouchers:open' AND COALESCE(v.worth, 0) <> l.balance`},
	{"wait to be paid out, and pending in the ledger", `
		SELECT a.id, COALESCE(p.waiting, 0), l.pending
		FROM broker_accounts a
		JOIN accounts l ON l.id = 'user:' || a.id || ':available'
		LEFT JOIN (SELECT account, CAST(SUM(amount) AS BIGINT) AS waiting FROM broker_payouts WHERE state = 'pending' GROUP BY account) p
			ON p.account = a.id
		WHERE COALESCE(p.waiting, 0) <> l.pending ORDER BY a.id LIMIT 1000`},
}

func (c comparison) disagreements(ctx context.Context, tx *ledger.Tx) (found []string, err error) {
	rows, err := tx.QueryContext(ctx, c.query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var subject string
		var ours, ledgers money.Amount
		if err := rows.Scan(&subject, &ours, &ledgers); err != nil {
			return nil, err
		}
		found = append(found, fmt.Sprintf("%s: %s micros %s: %s", subject, ours, c.what, ledgers))
	}
	return found, rows.Err()
}
