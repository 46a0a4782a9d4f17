package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const (
	// statementPage is how many entries of a statement are read at once for a
	// table.
	statementPage = 1000

	// maxStatementDays bounds the period of one statement.
	maxStatementDays = 366

	// statementSlack is how much later than its time a transfer may become
	// visible, and how far two brokers' clocks may be apart: longer than any
	// request runs. After it nothing is added to a period that is over.
	statementSlack = 5 * time.Minute
)

// statement is what a vendor was owed and paid in a period: the opening balance
// and the credits, less the debits, are the closing balance.
type statement struct {
	Vendor   string           `json:"vendor"`
	Currency money.Currency   `json:"currency"`
	From     string           `json:"from" doc:"the first day, UTC"`
	To       string           `json:"to" doc:"the last day, UTC"`
	IsFinal  bool             `json:"isFinal" doc:"the period is over for so long that nothing can be added"`
	Opening  money.Amount     `json:"opening" doc:"owed at the beginning of the first day, in micros"`
	Credits  money.Amount     `json:"credits" doc:"all credits of the period, on other pages too"`
	Debits   money.Amount     `json:"debits" doc:"all debits of the period, on other pages too"`
	Closing  money.Amount     `json:"closing" doc:"owed at the end of the last day"`
	Entries  []statementEntry `json:"entries"`
	Next     string           `json:"next,omitempty" doc:"ask again with after=… for the next page; absent on the last"`
}

// statementEntry is one change of what a vendor is owed.
type statementEntry struct {
	Number     int64        `json:"number" doc:"of the transfer; later ones have higher numbers"`
	Time       int64        `json:"time" doc:"seconds since 1970"`
	Kind       string       `json:"kind" enum:"redemption,payout,fee,other"`
	Commitment string       `json:"commitment,omitempty" doc:"that was redeemed; GET /v1/vendor/commitments/{id} shows the evidence"`
	Payout     string       `json:"payout,omitempty" doc:"that the payout or the fee belongs to"`
	Credit     money.Amount `json:"credit,omitempty" doc:"in micros"`
	Debit      money.Amount `json:"debit,omitempty" doc:"in micros"`
}

// period is the time of a statement: whole days, UTC.
type period struct{ from, until time.Time } // until is the end of the last day

const dayLayout = "2006-01-02"

// parsePeriod reads the first and the last day; without to it is one day.
func parsePeriod(from, to string) (period, error) {
	if to == "" {
		to = from
	}
	first, err := time.Parse(dayLayout, from)
	if err != nil {
		return period{}, errors.New("from: want a day such as 2026-01-31")
	}
	last, err := time.Parse(dayLayout, to)
	if err != nil {
		return period{}, errors.New("to: want a day such as 2026-01-31")
	}
	if last.Before(first) || last.Sub(first) >= maxStatementDays*24*time.Hour || first.Year() < 1970 {
		return period{}, errors.New("want a period of 1 to 366 days since 1970")
	}
	return period{from: first, until: last.AddDate(0, 0, 1)}, nil
}

// statementRange is where the entries of a period lie in the ledger: those with
// numbers from first on and below end that were made within the period.
type statementRange struct {
	account    string
	period     period
	first, end int64
}

// statement returns a page of a vendor's statement, with at most limit entries
// after the one of that number. It refuses with UnknownVendor.
func (b *Broker) statement(ctx context.Context, by caller, vendor string, during period, after int64, limit int) (page statement, refusal payword.Refusal, err error) {
	refusal, err = b.viewVendor(ctx, by, vendor, func(tx *ledger.Tx) error {
		var err error
		page, err = b.store.statementIn(ctx, tx, vendor, during, after, limit)
		return err
	})
	return page, refusal, err
}

func (s *store) statementIn(ctx context.Context, tx *ledger.Tx, vendor string, during period, after int64, limit int) (statement, error) {
	account, err := tx.Account(ctx, payableAccount(vendor))
	if err != nil {
		return statement{}, err
	}
	page := statement{
		Vendor: vendor, Currency: account.Currency, From: during.from.Format(dayLayout),
		To:      during.until.AddDate(0, 0, -1).Format(dayLayout),
		IsFinal: tx.Now().After(during.until.Add(statementSlack)),
	}
	r := statementRange{account: account.ID, period: during}
	if r.first, err = firstTransfer(ctx, tx, account.ID, during.from.Add(-statementSlack)); err != nil {
		return page, err
	}
	if r.end, err = firstTransfer(ctx, tx, account.ID, during.until.Add(statementSlack)); err != nil {
		return page, err
	}
	// Backwards from today's balance: what came before the period is all the
	// history there is, what came since is most often little.
	credits, debits, err := r.sums(ctx, tx, `seq >= ? AND created >= ?`, r.first, during.from.UnixMicro())
	if err != nil {
		return page, err
	}
	page.Opening = account.Balance - credits + debits
	page.Credits, page.Debits, err = r.sums(ctx, tx, `seq >= ? AND seq < ? AND created >= ? AND created < ?`,
		r.first, r.end, during.from.UnixMicro(), during.until.UnixMicro())
	if err != nil {
		return page, err
	}
	page.Closing = page.Opening + page.Credits - page.Debits
	entries, err := r.entries(ctx, tx, after, limit+1)
	page.Entries, page.Next = cut(entries, Listing{Limit: limit}, func(e statementEntry) string { return strconv.FormatInt(e.Number, 10) })
	return page, err
}

// firstTransfer returns the lowest number from which on the account's transfers
// were made at that time or later, by bisection: times rise with numbers, up to
// statementSlack, and there is an index of numbers alone. If there is none it
// returns one past the last.
func firstTransfer(ctx context.Context, tx *ledger.Tx, account string, at time.Time) (int64, error) {
	var last int64
	err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(seq), 0) FROM transfers`).Scan(&last)
	if err != nil {
		return 0, err
	}
	low, high := int64(1), last+1
	for low < high {
		middle := low + (high-low)/2
		var seq, created int64
		err := tx.QueryRowContext(ctx, `SELECT COALESCE(MIN(seq), 0) FROM (
			SELECT * FROM (SELECT seq FROM transfers WHERE credit = ? AND seq >= ? ORDER BY seq LIMIT 1) AS credits
			UNION ALL
			SELECT * FROM (SELECT seq FROM transfers WHERE debit = ? AND seq >= ? ORDER BY seq LIMIT 1) AS debits) AS found`,
			account, middle, account, middle).Scan(&seq)
		if err != nil {
			return 0, err
		}
		if seq == 0 {
			high = middle
			continue
		}
		if err := tx.QueryRowContext(ctx, `SELECT created FROM transfers WHERE seq = ?`, seq).Scan(&created); err != nil {
			return 0, err
		}
		if created >= at.UnixMicro() {
			high = middle
		} else {
			low = seq + 1
		}
	}
	return low, nil
}

// sums adds up the credits and debits of the account that a condition chooses.
func (r statementRange) sums(ctx context.Context, tx *ledger.Tx, condition string, arguments ...any) (credits, debits money.Amount, err error) {
	for _, side := range []struct {
		column string
		sum    *money.Amount
	}{{"credit", &credits}, {"debit", &debits}} {
		var sum int64
		err := tx.QueryRowContext(ctx, `SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM transfers
			WHERE `+side.column+` = ? AND phase IN ('single', 'post') AND `+condition,
			append([]any{r.account}, arguments...)...).Scan(&sum)
		if err != nil {
			return 0, 0, err
		}
		*side.sum = money.Amount(sum)
	}
	return credits, debits, nil
}

// entries returns at most limit of the entries after the one of that number.
func (r statementRange) entries(ctx context.Context, tx *ledger.Tx, after int64, limit int) (entries []statementEntry, err error) {
	const side = `SELECT seq, created, kind, reference, debit, amount FROM transfers
		WHERE %s = ? AND phase IN ('single', 'post') AND seq >= ? AND seq < ? AND created >= ? AND created < ? ORDER BY seq LIMIT ?`
	arguments := []any{r.account, max(r.first, after+1), r.end, r.period.from.UnixMicro(), r.period.until.UnixMicro(), limit}
	rows, err := tx.QueryContext(ctx, `SELECT * FROM (`+fmt.Sprintf(side, "credit")+`) AS credits
		UNION ALL SELECT * FROM (`+fmt.Sprintf(side, "debit")+`) AS debits ORDER BY seq LIMIT ?`,
		append(append(arguments, arguments...), limit)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	entries = []statementEntry{}
	for rows.Next() {
		var entry statementEntry
		var kind, reference, debit string
		var amount money.Amount
		if err := rows.Scan(&entry.Number, &entry.Time, &kind, &reference, &debit, &amount); err != nil {
			return nil, err
		}
		entry.Time /= microsPerSecond
		entry.describe(kind, reference)
		if debit == r.account {
			entry.Debit = amount
		} else {
			entry.Credit = amount
		}
		entries = append(entries, entry)
	}
	return entries, rows.Err()
}

// describe says what a transfer of the ledger is to a vendor.
func (e *statementEntry) describe(kind, reference string) {
	switch kind {
	case "redeem":
		e.Kind, e.Commitment = "redemption", reference
	case kindPayout, "settlement-payout", "settlement-return": // by hand, or by clearing; a return is a credit
		e.Kind, e.Payout = "payout", reference
	case kindFee, "settlement-fee", "settlement-fee-return":
		e.Kind, e.Payout = "fee", reference
	default:
		e.Kind = "other"
	}
}

// evidence is why a vendor was paid what it was paid on a commitment.
type evidence struct {
	Commitment  string       `json:"commitment" doc:"a JWS, signed by its user"`
	Reservation string       `json:"reservation,omitempty" doc:"a JWS, signed by the broker"`
	Claim       string       `json:"claim,omitempty" doc:"the highest that was paid, a JWS, signed by the vendor"`
	Paid        money.Amount `json:"paid" doc:"in micros"`
	IsClosed    bool         `json:"isClosed"`
}

var errNoCommitment = newProblem(http.StatusNotFound, "The vendor has no commitment of that id here.")

// evidence returns what was signed for a commitment to the vendor. It refuses
// with UnknownVendor; errNoCommitment is the error if there is none.
func (b *Broker) evidence(ctx context.Context, by caller, vendor string, id payword.CommitmentID) (found evidence, refusal payword.Refusal, err error) {
	refusal, err = b.viewVendor(ctx, by, vendor, func(tx *ledger.Tx) error {
		r, err := loadRecord(ctx, tx, id)
		if err != nil {
			return err
		}
		if r.version == 0 || r.vendor != vendor {
			return errNoCommitment
		}
		found = evidence{Commitment: r.token, Reservation: r.reservation, Claim: r.claim, Paid: r.redeemed.Paid, IsClosed: r.closed}
		return nil
	})
	return found, refusal, err
}
