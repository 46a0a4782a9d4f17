package broker

import (
	"context"
	"fmt"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

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
	// What clearing books to a gateway, and pays out of it in cash, is its own to
	// explain: the journal says how much that is.
	{"came in from there and stayed, less what clearing booked to it, and in its account", `
		SELECT id, explained, balance FROM (
			SELECT l.id AS id, COALESCE(f.amount, 0) - COALESCE(i.amount, 0) + COALESCE(o.amount, 0) AS explained, -l.balance AS balance
			FROM accounts l
			LEFT JOIN (SELECT debit, CAST(SUM(amount - reversed) AS BIGINT) AS amount FROM broker_fundings GROUP BY debit) f ON f.debit = l.id
			LEFT JOIN (SELECT credit, CAST(SUM(amount) AS BIGINT) AS amount FROM transfers WHERE kind = 'card-forward' GROUP BY credit) i ON i.credit = l.id
			LEFT JOIN (SELECT debit, CAST(SUM(amount) AS BIGINT) AS amount FROM transfers WHERE kind IN ('card-cash', 'card-forward') GROUP BY debit) o ON o.debit = l.id
			WHERE (l.id LIKE 'broker:%' OR l.id LIKE 'gateway:%') AND (l.id LIKE '%:in' OR l.id LIKE '%:in:%') AND l.id <> 'broker:vouchers:in') AS sources
		WHERE explained <> balance ORDER BY id LIMIT 1000`},
	{"in payments that nobody has, and in the account of those", `
		SELECT l.id, COALESCE(f.amount, 0), l.balance
		FROM accounts l
		LEFT JOIN (SELECT currency, CAST(SUM(amount - reversed) AS BIGINT) AS amount FROM broker_fundings WHERE account = '' GROUP BY currency) f
			ON f.currency = l.currency
		WHERE l.id LIKE 'broker:unassigned%' AND COALESCE(f.amount, 0) <> l.balance ORDER BY l.id LIMIT 1000`},
	{"of vouchers that are in the state of it, and on the account", `
		SELECT l.id, COALESCE(v.worth, 0), CASE l.id WHEN 'broker:vouchers:in' THEN -l.balance ELSE l.balance END
		FROM accounts l
		LEFT JOIN (SELECT 'broker:vouchers:' || state AS id, CAST(SUM(amount) AS BIGINT) AS worth FROM broker_vouchers
				WHERE state IN ('open', 'expired') GROUP BY state
			UNION ALL SELECT 'broker:vouchers:in', CAST(SUM(amount) AS BIGINT) FROM broker_vouchers WHERE state <> 'cancelled') v ON v.id = l.id
		WHERE l.id LIKE 'broker:vouchers:%' AND COALESCE(v.worth, 0) <> CASE l.id WHEN 'broker:vouchers:in' THEN -l.balance ELSE l.balance END
		ORDER BY l.id`},
	{"wait to be paid out or to be on a card, and pending in the ledger", `
		SELECT id, waiting, pending FROM (
			SELECT a.id AS id, COALESCE(p.waiting, 0) + COALESCE(c.waiting, 0) AS waiting, l.pending AS pending
			FROM broker_accounts a
			JOIN accounts l ON l.id = 'user:' || a.id || ':available'
			LEFT JOIN (SELECT account, CAST(SUM(amount) AS BIGINT) AS waiting FROM broker_payouts WHERE state = 'pending' GROUP BY account) p
				ON p.account = a.id
			LEFT JOIN (SELECT debit, CAST(SUM(amount) AS BIGINT) AS waiting FROM transfers AS begun
				WHERE kind = 'card-load' AND phase = 'pending' AND NOT EXISTS (SELECT 1 FROM transfers AS ending WHERE ending.pending_id = begun.id)
				GROUP BY debit) c ON c.debit = l.id) AS explanations
		WHERE waiting <> pending ORDER BY id LIMIT 1000`},
	{"came to it and did not leave it, and available, reserved and owed", `
		SELECT id, explained, balance FROM (
			SELECT a.id AS id, COALESCE(f.amount, 0) + COALESCE(v.amount, 0) + COALESCE(g.amount, 0) - COALESCE(h.amount, 0)
					- COALESCE(c.amount, 0) - COALESCE(p.amount, 0) + COALESCE(r.amount, 0)
					+ COALESCE(k.amount, 0) - COALESCE(m.amount, 0) AS explained,
				COALESCE(available.balance, 0) + COALESCE(reserved.balance, 0) + COALESCE(owed.balance, 0) AS balance
			FROM broker_accounts a
			LEFT JOIN accounts available ON available.id = 'user:' || a.id || ':available'
			LEFT JOIN accounts reserved ON reserved.id = 'user:' || a.id || ':reserved'
			LEFT JOIN accounts owed ON owed.id = 'user:' || a.id || ':owed'
			LEFT JOIN (SELECT account, CAST(SUM(amount - reversed) AS BIGINT) AS amount FROM broker_fundings
				WHERE account <> '' GROUP BY account) f ON f.account = a.id
			LEFT JOIN (SELECT account, CAST(SUM(amount) AS BIGINT) AS amount FROM broker_vouchers
				WHERE state = 'redeemed' GROUP BY account) v ON v.account = a.id
			LEFT JOIN (SELECT credit, CAST(SUM(amount) AS BIGINT) AS amount FROM transfers
				WHERE kind = 'sub-account' GROUP BY credit) g ON g.credit = available.id
			LEFT JOIN (SELECT debit, CAST(SUM(amount) AS BIGINT) AS amount FROM transfers
				WHERE kind = 'sub-account' GROUP BY debit) h ON h.debit = available.id
			LEFT JOIN (SELECT account, CAST(SUM(paid) AS BIGINT) AS amount FROM broker_commitments GROUP BY account) c ON c.account = a.id
			LEFT JOIN (SELECT account, CAST(SUM(amount) AS BIGINT) AS amount FROM broker_payouts
				WHERE state = 'paid' GROUP BY account) p ON p.account = a.id
			LEFT JOIN (SELECT credit, CAST(SUM(amount) AS BIGINT) AS amount FROM transfers
				WHERE debit = 'broker:bank:out' AND kind = 'payout-return' GROUP BY credit) r ON r.credit = available.id
			LEFT JOIN (SELECT credit, CAST(SUM(amount) AS BIGINT) AS amount FROM transfers
				WHERE kind = 'card-refund' GROUP BY credit) k ON k.credit = available.id
			LEFT JOIN (SELECT debit, CAST(SUM(amount) AS BIGINT) AS amount FROM transfers
				WHERE kind = 'card-load' AND phase = 'post' GROUP BY debit) m ON m.debit = available.id) AS explanations
		WHERE explained <> balance ORDER BY id LIMIT 1000`},
	{"paid to it on commitments and not paid out, and payable", `
		SELECT l.id, COALESCE(c.amount, 0) - COALESCE(o.amount, 0) + COALESCE(r.amount, 0), l.balance
		FROM broker_vendors v
		JOIN accounts l ON l.id = 'vendor:' || v.vendor || ':payable'
		LEFT JOIN (SELECT vendor, CAST(SUM(paid) AS BIGINT) AS amount FROM broker_commitments GROUP BY vendor) c ON c.vendor = v.vendor
		LEFT JOIN (SELECT debit, CAST(SUM(amount) AS BIGINT) AS amount FROM transfers
			WHERE credit IN ('broker:bank:out', 'broker:fees') AND phase IN ('single', 'post') GROUP BY debit) o ON o.debit = l.id
		LEFT JOIN (SELECT credit, CAST(SUM(amount) AS BIGINT) AS amount FROM transfers
			WHERE debit IN ('broker:bank:out', 'broker:fees') AND phase IN ('single', 'post') GROUP BY credit) r ON r.credit = l.id
		WHERE COALESCE(c.amount, 0) - COALESCE(o.amount, 0) + COALESCE(r.amount, 0) <> l.balance ORDER BY l.id LIMIT 1000`},
	{"paid out to accounts and vendors, and in the account of that", `
		SELECT id, explained, balance FROM (
			SELECT l.id AS id, l.balance AS balance,
				(SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM broker_payouts WHERE state = 'paid')
				+ (SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM transfers WHERE credit = 'broker:bank:out'
					AND phase IN ('single', 'post') AND (debit LIKE 'vendor:%' OR debit LIKE 'merchant:%'))
				- (SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM transfers WHERE debit = 'broker:bank:out'
					AND phase IN ('single', 'post')
					AND (kind = 'payout-return' OR credit LIKE 'vendor:%' OR credit LIKE 'merchant:%')) AS explained
			FROM accounts l WHERE l.id = 'broker:bank:out') AS explanation
		WHERE explained <> balance`},
	{"of fees, and in their account", `
		SELECT id, explained, balance FROM (
			SELECT l.id AS id, l.balance AS balance,
				(SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM transfers WHERE credit = 'broker:fees'
					AND phase IN ('single', 'post') AND (debit LIKE 'vendor:%' OR debit LIKE 'merchant:%'))
				- (SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM transfers WHERE debit = 'broker:fees'
					AND phase IN ('single', 'post') AND (credit LIKE 'vendor:%' OR credit LIKE 'merchant:%' OR kind = 'card-dispute')) AS explained
			FROM accounts l WHERE l.id = 'broker:fees') AS explanation
		WHERE explained <> balance`},
	{"set aside for refunds and used of it, and in the account that it came from", `
		SELECT id, explained, balance FROM (
			SELECT l.id AS id, -l.balance AS balance,
				(SELECT CAST(COALESCE(SUM(balance), 0) AS BIGINT) FROM accounts
					WHERE id IN ('broker:reserve:refunds', 'broker:reserve:used')) AS explained
			FROM accounts l WHERE l.id = 'broker:provisions') AS explanation
		WHERE explained <> balance`},
	{"in the daily sums, and in the transfers until then", `
		SELECT l.id, COALESCE(s.amount, 0), COALESCE(g.amount, 0) - COALESCE(h.amount, 0)
		FROM accounts l
		LEFT JOIN (SELECT account, CAST(SUM(redeemed - paid_out) AS BIGINT) AS amount FROM broker_vendor_sums GROUP BY account) s ON s.account = l.id
		LEFT JOIN (SELECT credit, CAST(SUM(amount) AS BIGINT) AS amount FROM transfers
			WHERE phase IN ('single', 'post') AND seq <= (SELECT seq FROM broker_sums_progress) GROUP BY credit) g ON g.credit = l.id
		LEFT JOIN (SELECT debit, CAST(SUM(amount) AS BIGINT) AS amount FROM transfers
			WHERE phase IN ('single', 'post') AND seq <= (SELECT seq FROM broker_sums_progress) GROUP BY debit) h ON h.debit = l.id
		WHERE l.id LIKE 'vendor:%' AND COALESCE(s.amount, 0) <> COALESCE(g.amount, 0) - COALESCE(h.amount, 0) ORDER BY l.id LIMIT 1000`},
	{"in the sums of the day, and in its transfers", `
		SELECT 'day ' || CAST(days.day AS TEXT), CAST(SUM(days.summed) AS BIGINT), CAST(SUM(days.moved) AS BIGINT)
		FROM (SELECT day, amount AS summed, 0 AS moved FROM broker_sums WHERE day > 0
			UNION ALL SELECT created / 86400000000, 0, amount FROM transfers
				WHERE phase IN ('single', 'post') AND currency = (SELECT currency FROM broker_settings)
				AND seq <= (SELECT seq FROM broker_sums_progress)) AS days
		GROUP BY days.day HAVING SUM(days.summed) <> SUM(days.moved) ORDER BY days.day LIMIT 1000`},
}

// impossible lists queries whose every row is the name of something that cannot
// be. They join by a part of an account's id, so that there is an index for it.
var impossible = []struct{ what, query string }{
	{"it is marked as owing, or not, against what the ledger says", `
		SELECT l.id FROM accounts l LEFT JOIN broker_debts d ON d.account = SUBSTR(l.id, 6, 16)
		WHERE l.id LIKE 'user:%:owed' AND COALESCE(d.open, 0) <> CASE l.balance WHEN 0 THEN 0 ELSE 1 END ORDER BY l.id LIMIT ?`},
	{"the account is closed, and something is on it", `
		SELECT a.id FROM broker_accounts a
		JOIN accounts available ON available.id = 'user:' || a.id || ':available'
		JOIN accounts reserved ON reserved.id = 'user:' || a.id || ':reserved'
		WHERE a.state = 'closed' AND (available.balance <> 0 OR available.pending <> 0 OR reserved.balance <> 0) ORDER BY a.id LIMIT ?`},
	{"the account has none in the ledger, to spend from or to reserve in", `
		SELECT a.id FROM broker_accounts a
		LEFT JOIN accounts available ON available.id = 'user:' || a.id || ':available'
		LEFT JOIN accounts reserved ON reserved.id = 'user:' || a.id || ':reserved'
		WHERE available.id IS NULL OR reserved.id IS NULL ORDER BY a.id LIMIT ?`},
	{"the gateway is backed and its account may go below 0, or the other way round", `
		SELECT l.id FROM broker_gateways g JOIN accounts l ON l.id = 'gateway:' || g.name || ':in'
		WHERE (g.backed = 1) <> (l.floor = 0) ORDER BY l.id LIMIT ?`},
	{"nobody knows whose account this is", `
		SELECT l.id FROM accounts l
		LEFT JOIN broker_accounts a ON a.id = SUBSTR(l.id, 6, 16)
		LEFT JOIN broker_vendors v ON v.vendor = CASE WHEN l.id LIKE 'vendor:%:payable' THEN SUBSTR(l.id, 8, LENGTH(l.id) - 15) END
		LEFT JOIN broker_gateways g ON g.name = CASE WHEN l.id LIKE 'gateway:%:in' THEN SUBSTR(l.id, 9, LENGTH(l.id) - 11) END
		WHERE l.id NOT LIKE 'broker:%' AND l.id NOT LIKE 'merchant:%' AND l.id NOT LIKE 'card:%' AND l.id <> COALESCE('vendor:' || v.vendor || ':payable', '') AND l.id <> COALESCE('gateway:' || g.name || ':in', '')
			AND l.id <> COALESCE('user:' || a.id || ':available', '') AND l.id <> COALESCE('user:' || a.id || ':reserved', '')
			AND l.id <> COALESCE('user:' || a.id || ':owed', '') ORDER BY l.id LIMIT ?`},
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
