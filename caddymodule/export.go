package caddymodule

import (
	"cmp"
	"context"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/paywordhq/payword/money"
)

const (
	defaultPage = 100  // commitments in one answer
	maxPage     = 1000 // the same, at most
)

// listedCommitment is what an admin may see of a commitment: all but what could
// be spent. A tail is told by its hash.
type listedCommitment struct {
	Pseudonym  string       `json:"commitment"`
	Vendor     string       `json:"vendor"`
	Broker     string       `json:"broker"`
	Currency   string       `json:"currency"`
	IssuedAt   string       `json:"issued_at"`
	Expires    string       `json:"expires_at"`
	RedeemBy   string       `json:"redeem_by"`
	Closed     bool         `json:"closed"`
	Final      bool         `json:"final"`
	Cap        money.Amount `json:"cap_micros"`
	Accepted   money.Amount `json:"accepted_micros"`
	Spent      money.Amount `json:"spent_micros"`
	Redeemed   money.Amount `json:"redeemed_micros"`
	Unredeemed money.Amount `json:"unredeemed_micros"`
	Tails      []listedTail `json:"tails"`
}

// listedTail is the tail of one chain.
type listedTail struct {
	Chain    int          `json:"chain"`
	Index    uint32       `json:"index"`
	Length   uint32       `json:"length"`
	Unit     money.Amount `json:"unit_micros"`
	TailHash string       `json:"tail_hash"`
}

func (g *gate) listed(a *account) listedCommitment {
	m := a.commitment
	l := listedCommitment{
		Pseudonym: g.pseudonym(m.ID), Vendor: m.Vendor, Broker: m.Certificate.Issuer, Currency: m.Currency.Code(),
		IssuedAt: formatTime(m.IssuedAt), Expires: formatTime(m.Expires), RedeemBy: formatTime(a.redeemBy),
		Closed: a.state.Closed, Final: a.final, Cap: a.state.Cap,
		Accepted: a.state.Accepted(m), Spent: a.state.Spent(), Redeemed: a.state.Claimed,
		Unredeemed: max(0, a.state.Spent()-a.state.Claimed), Tails: make([]listedTail, 0, len(m.Chains)),
	}
	for k, chain := range m.Chains {
		hash := a.state.Tails[k].Payword.TailHash()
		l.Tails = append(l.Tails, listedTail{
			Chain: k, Index: a.state.Tails[k].Index, Length: chain.Length, Unit: chain.Unit, TailHash: hex.EncodeToString(hash[:]),
		})
	}
	return l
}

func formatTime(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }

// listing says which commitments to list.
type listing struct {
	vendor    string // "": of all
	pseudonym string // "": all
	after     string // the pseudonym after which to go on
	limit     int
}

// page lists commitments in the order of their pseudonyms, and says where to go
// on, or "" at the end. It keeps no more than two pages in memory.
func (g *gate) page(ctx context.Context, from lister, want listing) (page []listedCommitment, next string, err error) {
	byPseudonym := func(a, b listedCommitment) int { return cmp.Compare(a.Pseudonym, b.Pseudonym) }
	more := false
	shorten := func(to int) {
		slices.SortFunc(page, byPseudonym)
		if len(page) > to {
			page, more = page[:to], true
		}
	}
	err = from.accounts(ctx, func(a account) bool {
		if want.vendor != "" && a.commitment.Vendor != want.vendor {
			return true
		}
		pseudonym := g.pseudonym(a.commitment.ID)
		if pseudonym <= want.after || want.pseudonym != "" && pseudonym != want.pseudonym {
			return true
		}
		page = append(page, g.listed(&a))
		if len(page) >= 2*want.limit {
			shorten(want.limit)
		}
		return true
	})
	shorten(want.limit)
	if more {
		next = page[len(page)-1].Pseudonym
	}
	return page, next, err
}

// exportRow is one row of an export.
type exportRow struct {
	Day        string       `json:"day,omitempty"` // on which the commitments were made, UTC
	Pseudonym  string       `json:"commitment,omitempty"`
	Vendor     string       `json:"vendor"`
	Broker     string       `json:"broker"`
	Currency   string       `json:"currency"`
	Count      int          `json:"commitments"`
	Accepted   money.Amount `json:"accepted_micros"`
	Spent      money.Amount `json:"spent_micros"`
	Redeemed   money.Amount `json:"redeemed_micros"`
	Unredeemed money.Amount `json:"unredeemed_micros"`
}

var exportColumns = []string{
	"day", "commitment", "vendor", "broker", "currency", "commitments",
	"accepted_micros", "spent_micros", "redeemed_micros", "unredeemed_micros",
}

func (r *exportRow) cells() []string {
	number := func(amount money.Amount) string { return strconv.FormatInt(int64(amount), 10) }
	return []string{
		plainCell(r.Day), plainCell(r.Pseudonym), plainCell(r.Vendor), plainCell(r.Broker), plainCell(r.Currency),
		strconv.Itoa(r.Count), number(r.Accepted), number(r.Spent), number(r.Redeemed), number(r.Unredeemed),
	}
}

// plainCell keeps a spreadsheet from taking text for a formula.
func plainCell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0])) {
		return "'" + text
	}
	return text
}

// The values of by in an export.
const (
	exportByCommitment = "commitment"
	exportByDay        = "day"
	exportByVendor     = "vendor"
)

// exporter writes rows in one of two formats.
type exporter struct {
	lines *json.Encoder
	table *csv.Writer
}

func newExporter(w io.Writer, format string) (*exporter, error) {
	switch format {
	case "csv":
		table := csv.NewWriter(w)
		return &exporter{table: table}, table.Write(exportColumns)
	case "jsonl":
		return &exporter{lines: json.NewEncoder(w)}, nil
	}
	return nil, fmt.Errorf("format %q: want csv or jsonl", format)
}

func (e *exporter) write(row *exportRow) error {
	if e.table != nil {
		return e.table.Write(row.cells())
	}
	return e.lines.Encode(row)
}

func (e *exporter) close() error {
	if e.table == nil {
		return nil
	}
	e.table.Flush()
	return e.table.Error()
}

// export writes what was earned: a row for every commitment as it is read, or
// sums by the day that commitments were made on, or by vendor.
func (g *gate) export(ctx context.Context, from lister, e *exporter, by string) error {
	type group struct{ day, vendor, broker, currency string }
	groups := make(map[group]exportRow)
	var failure error
	err := from.accounts(ctx, func(a account) bool {
		row := g.row(&a)
		if by == exportByCommitment {
			failure = e.write(&row)
			return failure == nil
		}
		key := group{vendor: row.Vendor, broker: row.Broker, currency: row.Currency}
		if by == exportByDay {
			key.day = row.Day
		}
		sum, known := groups[key]
		if !known {
			sum = exportRow{Day: key.day, Vendor: row.Vendor, Broker: row.Broker, Currency: row.Currency}
		}
		sum.add(&row)
		groups[key] = sum
		return true
	})
	if err != nil || failure != nil {
		return cmp.Or(err, failure)
	}
	keys := slices.SortedFunc(maps.Keys(groups), func(a, b group) int {
		return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(a.vendor, b.vendor), cmp.Compare(a.broker, b.broker), cmp.Compare(a.currency, b.currency))
	})
	for _, key := range keys {
		row := groups[key]
		if err := e.write(&row); err != nil {
			return err
		}
	}
	return nil
}

func (g *gate) row(a *account) exportRow {
	m := a.commitment
	return exportRow{
		Day: time.Unix(m.IssuedAt, 0).UTC().Format(time.DateOnly), Pseudonym: g.pseudonym(m.ID),
		Vendor: m.Vendor, Broker: m.Certificate.Issuer, Currency: m.Currency.Code(), Count: 1,
		Accepted: a.state.Accepted(m), Spent: a.state.Spent(), Redeemed: a.state.Claimed,
		Unredeemed: max(0, a.state.Spent()-a.state.Claimed),
	}
}

func (r *exportRow) add(other *exportRow) {
	r.Count += other.Count
	r.Accepted += other.Accepted
	r.Spent += other.Spent
	r.Redeemed += other.Redeemed
	r.Unredeemed += other.Unredeemed
}

func sortedCurrencies[V any](by map[money.Currency]V) []money.Currency {
	return slices.Sorted(maps.Keys(by))
}
