package cards

import (
	"context"
	"fmt"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// maxFindings is the most that one comparison lists: more say no more.
const maxFindings = 1000

// comparison is a query for what disagrees: subject, what should be, what is.
type comparison struct{ what, query string }

var comparisons = []comparison{
	{"in the pool and in the memo, which sum to 0", `
		SELECT 'broker:cards:pool', -memo.balance, pool.balance FROM accounts pool, accounts memo
		WHERE pool.id = 'broker:cards:pool' AND memo.id = 'broker:cards:memo' AND pool.balance + memo.balance <> 0 LIMIT ?`},
	{"on all shadows, and in the pool", `
		SELECT id, shadows, balance FROM (SELECT id, balance,
			(SELECT CAST(COALESCE(SUM(balance), 0) AS BIGINT) FROM accounts WHERE id LIKE 'card:%:shadow') AS shadows
			FROM accounts WHERE id = 'broker:cards:pool') AS pool WHERE shadows <> balance LIMIT ?`},
	{"loaded and neither spent nor paid back, and on its shadow", `
		SELECT id, explained, balance FROM (SELECT a.id AS id, a.balance AS balance,
				COALESCE(l.amount, 0) - COALESCE(p.amount, 0) + COALESCE(k.amount, 0) - COALESCE(c.refunded, 0) AS explained
			FROM accounts a
			LEFT JOIN cards_cards c ON a.id = 'card:' || c.cid || ':shadow'
			LEFT JOIN (SELECT cid, CAST(SUM(amount) AS BIGINT) AS amount FROM cards_loads WHERE state = 'posted' GROUP BY cid) l ON l.cid = c.cid
			LEFT JOIN (SELECT p.cid, CAST(SUM(p.amount) AS BIGINT) AS amount FROM cards_payments p GROUP BY p.cid) p ON p.cid = c.cid
			LEFT JOIN (SELECT cid, CAST(SUM(amount) AS BIGINT) AS amount FROM cards_cancellations WHERE state = 'done' GROUP BY cid) k ON k.cid = c.cid
			WHERE a.id LIKE 'card:%:shadow') AS shadows
		WHERE explained <> balance ORDER BY id LIMIT ?`},
	{"of payments less fees that neither went on to a gateway nor back to a card, and came to the merchant's account by them", `
		SELECT id, explained, moved FROM (SELECT m.account AS id, COALESCE(p.amount, 0) - COALESCE(k.amount, 0) AS explained,
				COALESCE(i.amount, 0) - COALESCE(o.amount, 0) AS moved
			FROM cards_merchants m
			LEFT JOIN (SELECT mid, CAST(SUM(amount - fee) AS BIGINT) AS amount FROM cards_payments WHERE state = 'paid' AND gateway = '' GROUP BY mid) p ON p.mid = m.mid
			LEFT JOIN (SELECT c.mid AS mid, CAST(SUM(c.amount - c.fee) AS BIGINT) AS amount FROM cards_cancellations c
				JOIN cards_payments p ON p.mid = c.mid AND p.tno = c.paid_tno WHERE c.state <> 'denied' AND p.gateway = '' GROUP BY c.mid) k ON k.mid = m.mid
			LEFT JOIN (SELECT credit, CAST(SUM(amount) AS BIGINT) AS amount FROM transfers WHERE kind IN ('card-payment', 'card-cancel', 'card-forward') GROUP BY credit) i ON i.credit = m.account
			LEFT JOIN (SELECT debit, CAST(SUM(amount) AS BIGINT) AS amount FROM transfers
				WHERE kind IN ('card-fee', 'card-dispute', 'card-forward', 'card-cancel') GROUP BY debit) o ON o.debit = m.account) AS merchants
		WHERE explained <> moved ORDER BY id LIMIT ?`},
	{"of payments that went on to it and neither to a card nor out in cash, and by the journal", `
		SELECT id, explained, moved FROM (SELECT 'gateway:' || g.name || ':in' AS id, COALESCE(p.amount, 0) - COALESCE(k.amount, 0) - COALESCE(b.amount, 0) AS explained,
				COALESCE(i.amount, 0) - COALESCE(o.amount, 0) AS moved
			FROM broker_gateways g
			LEFT JOIN (SELECT gateway, CAST(SUM(amount) AS BIGINT) AS amount FROM cards_payments WHERE state = 'paid' AND gateway <> '' GROUP BY gateway) p ON p.gateway = g.name
			LEFT JOIN (SELECT gateway, CAST(SUM(amount) AS BIGINT) AS amount FROM cards_cash GROUP BY gateway) k ON k.gateway = g.name
			LEFT JOIN (SELECT p.gateway AS gateway, CAST(SUM(c.amount) AS BIGINT) AS amount FROM cards_cancellations c
				JOIN cards_payments p ON p.mid = c.mid AND p.tno = c.paid_tno WHERE c.state <> 'denied' GROUP BY p.gateway) b ON b.gateway = g.name
			LEFT JOIN (SELECT credit, CAST(SUM(amount) AS BIGINT) AS amount FROM transfers WHERE kind = 'card-forward' GROUP BY credit) i ON i.credit = 'gateway:' || g.name || ':in'
			LEFT JOIN (SELECT debit, CAST(SUM(amount) AS BIGINT) AS amount FROM transfers WHERE kind IN ('card-cash', 'card-forward') GROUP BY debit) o ON o.debit = 'gateway:' || g.name || ':in') AS gateways
		WHERE explained <> moved ORDER BY id LIMIT ?`},
	{"of open disputes and cancellations, and on their account", `
		SELECT id, explained, balance FROM (SELECT id, balance,
			(SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM cards_disputes WHERE state = 'open')
			+ (SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM cards_cancellations WHERE state = 'open') AS explained
			FROM accounts WHERE id = 'broker:cards:disputes') AS disputes WHERE explained <> balance LIMIT ?`},
	{"of open disputes, and of payments that are disputed", `
		SELECT id, explained, found FROM (SELECT 'disputes' AS id,
			(SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM cards_disputes WHERE state = 'open') AS explained,
			(SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM cards_payments WHERE state = 'disputed') AS found) AS sums
		WHERE explained <> found LIMIT ?`},
	{"of open loads, and pending in the ledger for them", `
		SELECT id, explained, pending FROM (SELECT 'loads' AS id,
			(SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM cards_loads WHERE state = 'pending') AS explained,
			(SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM transfers t WHERE kind = 'card-load' AND phase = 'pending'
				AND NOT EXISTS (SELECT 1 FROM transfers e WHERE e.pending_id = t.id)) AS pending) AS sums
		WHERE explained <> pending LIMIT ?`},
	{"transactions up to its last batch, and records of them", `
		SELECT id, wanted, found FROM (SELECT m.mid AS id, m.last_tno AS wanted,
				(SELECT COUNT(*) FROM cards_payments p WHERE p.mid = m.mid AND p.bno > 0)
				+ (SELECT COUNT(*) FROM cards_voids v WHERE v.mid = m.mid)
				+ (SELECT COUNT(*) FROM cards_cancellations c WHERE c.mid = m.mid) AS found
			FROM cards_merchants m) AS merchants
		WHERE wanted <> found ORDER BY id LIMIT ?`},
	{"in its total, and in its payments", `
		SELECT b.mid || '/' || CAST(b.bno AS TEXT), b.gross, COALESCE(p.amount, 0) FROM cards_batches b
		LEFT JOIN (SELECT mid, bno, CAST(SUM(amount) AS BIGINT) AS amount FROM cards_payments GROUP BY mid, bno) p ON p.mid = b.mid AND p.bno = b.bno
		WHERE b.gross <> COALESCE(p.amount, 0) ORDER BY b.mid, b.bno LIMIT ?`},
	{"taken back in its total, and in its cancellations", `
		SELECT b.mid || '/' || CAST(b.bno AS TEXT), b.cancelled, COALESCE(c.amount, 0) FROM cards_batches b
		LEFT JOIN (SELECT mid, bno, CAST(SUM(amount) AS BIGINT) AS amount FROM cards_cancellations GROUP BY mid, bno) c ON c.mid = b.mid AND c.bno = b.bno
		WHERE b.cancelled <> COALESCE(c.amount, 0) ORDER BY b.mid, b.bno LIMIT ?`},
	{"of its payment, and taken back by its cancellation", `
		SELECT c.mid || '/' || CAST(c.tno AS TEXT), p.amount, c.amount FROM cards_cancellations c
		JOIN cards_payments p ON p.mid = c.mid AND p.tno = c.paid_tno WHERE p.amount <> c.amount OR p.cid <> c.cid OR p.sno <> c.sno - 1 ORDER BY c.mid, c.tno LIMIT ?`},
	{"scripts up to its last one, and on record", `
		SELECT cid, MAX(count), COUNT(*) FROM cards_scripts GROUP BY cid HAVING MAX(count) <> COUNT(*) ORDER BY cid LIMIT ?`},
	{"scripts may wait for a card: as many are before one that it did", `
		SELECT s.cid, 0, COUNT(*) FROM cards_scripts s WHERE s.state = 'waiting'
			AND EXISTS (SELECT 1 FROM cards_scripts d WHERE d.cid = s.cid AND d.count > s.count AND d.state = 'done') GROUP BY s.cid ORDER BY s.cid LIMIT ?`},
	{"batches up to the last one, and on record", `
		SELECT id, wanted, found FROM (SELECT m.mid AS id, m.last_batch AS wanted,
				(SELECT COUNT(*) FROM cards_batches b WHERE b.mid = m.mid) AS found FROM cards_merchants m) AS merchants
		WHERE wanted <> found ORDER BY id LIMIT ?`},
	// The tables have unique keys for these; a table can be changed by hand.
	{"is once, and stands there as often: a payment number of a card", `
		SELECT cid || '/' || CAST(sno AS TEXT), 1, COUNT(*) FROM cards_payments WHERE repeated = 0 GROUP BY cid, sno HAVING COUNT(*) > 1 ORDER BY cid, sno LIMIT ?`},
	{"is once, and stands there as often: a load number of a card", `
		SELECT cid || '/' || CAST(lno AS TEXT), 1, COUNT(*) FROM cards_loads WHERE state <> 'void' GROUP BY cid, lno HAVING COUNT(*) > 1 ORDER BY cid, lno LIMIT ?`},
	{"is once, and stands there as often: a transaction that was paid and is void, and not claimed", `
		SELECT p.mid || '/' || CAST(p.tno AS TEXT), 1, 2 FROM cards_payments p JOIN cards_voids v ON v.mid = p.mid AND v.tno = p.tno
		WHERE p.source <> 'claim' ORDER BY p.mid, p.tno LIMIT ?`},
}

// Check compares the tables of cards with the ledger, and with themselves, in
// one state of the books. No disagreement is what it should find; an error means
// that it could not tell.
func (c *Clearing) Check(ctx context.Context) (found []ledger.Disagreement, err error) {
	err = c.db.View(ctx, func(tx *ledger.Tx) error {
		found = nil
		for _, comparison := range comparisons {
			disagreements, err := comparison.run(ctx, tx)
			if err != nil {
				return fmt.Errorf("comparing what is %s: %w", comparison.what, err)
			}
			found = append(found, disagreements...)
		}
		return nil
	})
	return found, err
}

func (c comparison) run(ctx context.Context, tx *ledger.Tx) (found []ledger.Disagreement, err error) {
	rows, err := tx.QueryContext(ctx, c.query, maxFindings)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var subject string
		var wanted, is money.Amount
		if err := rows.Scan(&subject, &wanted, &is); err != nil {
			return nil, err
		}
		found = append(found, ledger.Disagreement{Subject: subject, What: fmt.Sprintf("%s %s: %s", wanted, c.what, is)})
	}
	return found, rows.Err()
}
