package clearing

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// unfundedAge is how old a payment to a gateway is before somebody should ask what
// it was for: the gateway puts it on an account within seconds, and asks again at
// least every five minutes where the broker is away.
const unfundedAge = time.Hour

// onGateways is what cards have paid to gateways, which is on no account of the
// broker, and not paid out either: how many gateways, and how much.
const onGateways = `SELECT COUNT(*), COALESCE(CAST(SUM(balance) AS BIGINT), 0) AS total FROM accounts
	WHERE id LIKE 'gateway:%:in' AND balance > 0`

// refusedBatches counts the batches that were refused and have not been taken
// since. Their SAMs are closed, and take no more payments. A SAM that is gone for
// good is no matter any more once its merchant is blocked.
const refusedBatches = `SELECT COUNT(*) FROM (SELECT DISTINCT r.mid, r.bno FROM cards_refusals AS r
	JOIN cards_merchants AS m ON m.mid = r.mid WHERE r.bno > m.last_batch AND m.state = 'open') AS refused`

// unfundedRow is a payment that went on to a gateway, and is on no account.
type unfundedRow struct {
	Merchant, Card, Gateway, Source string
	TNo, Created                    int64        // Created: microseconds since 1970
	Amount                          money.Amount // micros
}

type unfundedView struct {
	Payments []unfundedRow // the newest first
	IsMore   bool
}

// selectUnfunded returns the payments that were booked before then, the newest
// first.
func selectUnfunded(ctx context.Context, tx *ledger.Tx, then time.Time, limit int) (found []unfundedRow, err error) {
	err = tx.Each(ctx, func(scan func(...any) error) error {
		var p unfundedRow
		err := scan(&p.Merchant, &p.TNo, &p.Card, &p.Gateway, &p.Source, (*int64)(&p.Amount), &p.Created)
		found = append(found, p)
		return err
	}, `SELECT p.mid, p.tno, p.cid, p.gateway, p.source, p.amount, p.created FROM cards_payments AS p
		WHERE p.state = 'paid' AND p.gateway <> '' AND p.created <= ?
		AND NOT EXISTS (SELECT 1 FROM broker_fundings AS f WHERE f.source = 'gateway:' || p.gateway AND f.id = p.mid || '-' || CAST(p.tno AS TEXT))
		AND NOT EXISTS (SELECT 1 FROM cards_cash AS c WHERE c.mid = p.mid AND c.tno = p.tno)
		AND NOT EXISTS (SELECT 1 FROM cards_cancellations AS b WHERE b.mid = p.mid AND b.paid_tno = p.tno AND b.state <> 'denied')
		ORDER BY p.created DESC, p.mid, p.tno LIMIT ?`, then.UnixMicro(), limit)
	return found, err
}

// unfundedPage lists what was paid to gateways for no account.
func (v *visit) unfundedPage() {
	var data unfundedView
	err := v.server.db.View(v.R.Context(), func(tx *ledger.Tx) (err error) {
		data.Payments, err = selectUnfunded(v.R.Context(), tx, v.server.clock().Add(-unfundedAge), rowsPerPage+1)
		return err
	})
	if err != nil {
		v.Unavailable(err)
		return
	}
	if data.IsMore = len(data.Payments) > rowsPerPage; data.IsMore {
		data.Payments = data.Payments[:rowsPerPage]
	}
	v.Show(http.StatusOK, "cardgateways", adminpage.View{Title: "Paid to gateways, on no account", Section: "cards", Data: data})
}

// Name is what the gateway calls the payment at the broker.
func (p unfundedRow) Name() string { return p.Merchant + "-" + strconv.FormatInt(p.TNo, 10) }
