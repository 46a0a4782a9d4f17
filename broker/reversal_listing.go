package broker

import (
	"context"
	"net/http"
	"strconv"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const pathReversals = "/v1/admin/reversals"

// reversalView is what a source took back of a payment, as the administration
// sees it.
type reversalView struct {
	Reversal int64          `json:"reversal" doc:"its number here" example:"3"`
	Source   string         `json:"source" example:"stripe"`
	ID       string         `json:"id" doc:"the source's name for it" example:"ch_3MmlLrLkdIwHu7ix0snN0B15"`
	Payment  string         `json:"payment" doc:"the source's name for what was paid" example:"pi_3MmlLrLkdIwHu7ix0VaSUwmH"`
	Cause    string         `json:"cause" enum:"refund,dispute"`
	Amount   money.Amount   `json:"amount" doc:"in all, in micros" example:"5000000"`
	Currency money.Currency `json:"currency" example:"usd-micro"`
	IsEnded  bool           `json:"isEnded" doc:"a dispute that was won: nothing of it counts any more"`
	Funding  int64          `json:"funding,omitempty" doc:"the number of the payment that came in; absent if none did in that currency" example:"17"`
	Created  int64          `json:"created" doc:"seconds since 1970" example:"1790000000"`
}

// reversalList is a page of reversals, the oldest first.
type reversalList struct {
	Reversals []reversalView `json:"reversals"`
	Next      string         `json:"next,omitempty" doc:"ask again with after=… for the next page; absent on the last"`
}

// reversalColumns reads reversals with the payment that each is settled with.
const reversalColumns = `SELECT r.seq, r.source, r.id, r.payment, r.cause, r.amount, r.currency, r.ended, r.created,
	COALESCE((SELECT MIN(f.seq) FROM broker_fundings f
		WHERE f.source = r.source AND f.payment = r.payment AND f.currency = r.currency), 0) FROM broker_reversals r `

// unmatchedReversal is the condition of those that count and whose payment has
// not come in.
const unmatchedReversal = `r.ended = 0 AND NOT EXISTS (SELECT 1 FROM broker_fundings f
	WHERE f.source = r.source AND f.payment = r.payment AND f.currency = r.currency)`

// selectReversals returns the reversals that the rest of a query chooses.
func selectReversals(ctx context.Context, tx *ledger.Tx, where string, arguments ...any) (all []reversalView, err error) {
	rows, err := tx.QueryContext(ctx, reversalColumns+where, arguments...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var v reversalView
		err := rows.Scan(&v.Reversal, &v.Source, &v.ID, &v.Payment, &v.Cause, &v.Amount, &v.Currency, &v.IsEnded, &v.Created, &v.Funding)
		if err != nil {
			return nil, err
		}
		v.Created /= microsPerSecond
		all = append(all, v)
	}
	return all, rows.Err()
}

// reversals lists what sources took back, the oldest first, or those alone whose
// payment has not come in.
func (s *store) reversals(ctx context.Context, isUnmatched bool, l Listing) (list reversalList, err error) {
	after, err := l.number()
	if err != nil {
		return list, err
	}
	where := `WHERE r.seq > ?`
	if isUnmatched {
		where += ` AND ` + unmatchedReversal
	}
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		all, err := selectReversals(ctx, tx, where+` ORDER BY r.seq LIMIT ?`, after, l.Limit+1)
		list.Reversals, list.Next = cut(all, l, func(v reversalView) string { return strconv.FormatInt(v.Reversal, 10) })
		return err
	})
	return list, err
}

type reversalsInput struct {
	Listing
	Unmatched bool `query:"unmatched" doc:"those alone that count and whose payment has not come in"`
}

func registerReversals(a *api) {
	b := a.broker
	register(a, route{method: http.MethodGet, path: pathReversals, id: "listReversals", access: adminOnly,
		summary: "What sources took back of payments, the oldest first"},
		func(ctx context.Context, input *reversalsInput) (*body[reversalList], payword.Refusal, error) {
			list, err := b.store.reversals(ctx, input.Unmatched, input.Listing)
			return &body[reversalList]{list}, payword.Refusal{}, err
		})
}
