package clearing

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const (
	vendorPrefix   = "vendor:"
	merchantPrefix = "merchant:"
	payableSuffix  = ":payable"
)

// The forms of destinations, and of mandates where one would stand.
const (
	destinationIBAN      = "iban:"
	destinationACH       = "ach:"
	destinationReference = "ref:"
	destinationMandate   = "mandate:"
)

// position is what somebody was owed at the cut-off, or owed.
type position struct {
	kind, party, account string
	currency             money.Currency
	amount               money.Amount // micros, above 0
	destination          string       // or ""
	isBlocked            bool
	isLapsed             bool // a mandate that nobody used for too long
}

// kinds are the kinds of lines in the order of a plan, each with how its
// positions are read, in the order of the parties.
var kinds = []struct {
	name string
	read func(ctx context.Context, tx *ledger.Tx, d *draft, take func(position) error) error
}{
	{KindVendor, readVendors},
	{KindMerchant, readMerchants},
	{KindAccountPayout, readAccountPayouts},
	{KindCollection, readCollections},
}

// collectLines makes a line for every position, at most limit of them. Those
// that move something come first into the plan: what is carried anyway, however
// much of it there is, keeps nobody's money back.
func (d *draft) collectLines(ctx context.Context, tx *ledger.Tx, limit int) error {
	var moving, carried []Line
	order := map[string]int{}
	for k, kind := range kinds {
		order[kind.name] = k
		err := kind.read(ctx, tx, d, func(p position) error {
			line, err := d.line(p)
			if err != nil {
				return fmt.Errorf("%s %s: %w", p.kind, p.party, err)
			}
			into := &moving
			if line.Amount == 0 {
				into = &carried
			}
			if len(*into) == limit {
				d.Totals.Waiting++
				return nil
			}
			*into = append(*into, line)
			return nil
		})
		if err != nil {
			return err
		}
	}
	fitting := min(len(carried), limit-len(moving))
	d.Totals.Waiting += int64(len(carried) - fitting)
	d.lines = append(moving, carried[:fitting]...)
	slices.SortFunc(d.lines, func(a, b Line) int {
		return cmp.Or(cmp.Compare(order[a.Kind], order[b.Kind]), cmp.Compare(a.Account, b.Account), cmp.Compare(a.Party, b.Party))
	})
	for k := range d.lines {
		d.lines[k].Number = k + 1
	}
	return nil
}

// line decides what becomes of a position.
func (d *draft) line(p position) (Line, error) {
	line := Line{Kind: p.kind, Party: p.party, Account: p.account, Currency: p.currency, Gross: p.amount, Destination: p.destination}
	switch {
	case p.currency != d.Currency:
		line.Reason = ReasonOtherCurrency
	case p.isBlocked:
		line.Reason = ReasonBlocked
	case p.destination == "":
		line.Reason = ReasonNoDestination
	case p.kind == KindMerchant && isGateway(p.destination):
		line.Reason = ReasonGateway
	case p.isLapsed:
		line.Reason = ReasonNoMandate
	}
	if line.Reason != "" {
		return line, nil
	}
	fee, amount, reason, err := d.split(p)
	if err != nil {
		return Line{}, err
	}
	if line.Reason = reason; reason != "" {
		return line, nil
	}
	line.Fee, line.Amount = fee, amount
	line.EndToEnd = endToEnd(d.RunID, line)
	line.Method = bankMethod(d.Policy, d.Currency, line)
	if line.Method == MethodACH {
		// A file that carries more cannot be written, and the run not be finished.
		if d.byACH+line.Amount > bankfile.MaxACHTotal {
			line.Method = MethodList
		} else {
			d.byACH += line.Amount
		}
	}
	return line, nil
}

// isGateway reports whether a merchant's payments go on to a gateway.
func isGateway(destination string) bool {
	_, is := cards.GatewayOf(destination)
	return is
}

// split divides a position into fee and what is moved, which is whole minor
// units; the rest is carried.
func (d *draft) split(p position) (charged, moved money.Amount, reason Reason, err error) {
	// A transfer carries at most money.MaxAmount; the rest waits for the next run.
	payable, unit := min(p.amount, money.MaxAmount), d.Currency.MinorUnit()
	minimum := d.Policy.MinimumPayout
	switch p.kind {
	case KindAccountPayout:
		if payable%unit != 0 {
			return 0, 0, ReasonFraction, nil
		}
		return 0, payable, "", nil
	case KindCollection:
		moved, minimum = payable.Floor(unit), d.Policy.MinimumCollection
	case KindMerchant:
		moved = payable.Floor(unit) // each payment has paid its fee
	default:
		charged, moved, err = d.Policy.Fee.Split(payable, d.Currency)
	}
	switch {
	case err != nil:
		return 0, 0, "", err
	case moved == 0:
		return 0, 0, ReasonTooSmall, nil
	case moved < minimum:
		return 0, 0, ReasonBelowMinimum, nil
	}
	return charged, moved, "", nil
}

// readVendors reads what is owed to vendors.
func readVendors(ctx context.Context, tx *ledger.Tx, _ *draft, take func(position) error) error {
	return readPayables(ctx, tx, KindVendor, take, `SELECT a.id, a.currency, a.balance - a.pending, COALESCE(v.destination, ''), COALESCE(v.state, '')
		FROM accounts a LEFT JOIN broker_vendors v ON v.vendor = SUBSTR(a.id, 8, LENGTH(a.id) - 15)
		WHERE a.id >= 'vendor:' AND a.id < 'vendor;' AND a.id LIKE 'vendor:%:payable' AND a.balance - a.pending > 0 ORDER BY a.id`)
}

// readMerchants reads what is owed to merchants who take cards.
func readMerchants(ctx context.Context, tx *ledger.Tx, _ *draft, take func(position) error) error {
	return readPayables(ctx, tx, KindMerchant, take, `SELECT a.id, a.currency, a.balance - a.pending, COALESCE(m.destination, ''), COALESCE(m.state, '')
		FROM accounts a LEFT JOIN cards_merchants m ON m.account = a.id
		WHERE a.id >= 'merchant:' AND a.id < 'merchant;' AND a.id LIKE 'merchant:%:payable' AND a.balance - a.pending > 0 ORDER BY a.id`)
}

// readPayables reads accounts of what is owed, each with its destination and the
// state of whose it is.
func readPayables(ctx context.Context, tx *ledger.Tx, kind string, take func(position) error, query string) error {
	return tx.Each(ctx, func(scan func(target ...any) error) error {
		p := position{kind: kind}
		var state string
		if err := scan(&p.account, (*string)(&p.currency), (*int64)(&p.amount), &p.destination, &state); err != nil {
			return err
		}
		p.party, p.isBlocked = partyOf(p.account), state == "blocked"
		return take(p)
	}, query)
}

// partyOf returns the origin in "vendor:<origin>:payable", or the id of a
// merchant.
func partyOf(account string) string {
	_, party, _ := strings.Cut(strings.TrimSuffix(account, payableSuffix), ":")
	return party
}

// readAccountPayouts reads what owners of accounts asked to be paid out. The
// broker has set the money aside. One that there was an order for is never read
// again: what came of that ends the payout.
func readAccountPayouts(ctx context.Context, tx *ledger.Tx, d *draft, take func(position) error) error {
	rows, err := tx.QueryContext(ctx, `SELECT p.account, p.id, p.amount, p.kind, p.destination, a.state, s.currency
		FROM broker_payouts p JOIN broker_accounts a ON a.id = p.account JOIN broker_settings s ON s.one = 1
		WHERE p.state = 'pending' AND s.currency = ? AND NOT EXISTS (SELECT 1 FROM clearing_instructions i
			WHERE i.kind = 'account-payout' AND i.party = p.account || '/' || p.id)
		ORDER BY p.account, p.id`, string(d.Currency))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		p := position{kind: KindAccountPayout}
		var account, id, kind, destination, state string
		if err := rows.Scan(&account, &id, (*int64)(&p.amount), &kind, &destination, &state, (*string)(&p.currency)); err != nil {
			return err
		}
		p.party, p.account, p.isBlocked = account+"/"+id, "user:"+account+":available", state == "blocked"
		p.destination = payoutDestination(kind, destination)
		if err := take(p); err != nil {
			return err
		}
	}
	return rows.Err()
}

// payoutDestination is the destination of an account's payout, of which the
// broker keeps kind and text apart.
func payoutDestination(kind, text string) string {
	if kind == "iban" {
		return destinationIBAN + text
	}
	return destinationReference + text
}

// readCollections reads what accounts with a mandate owe: what is reserved is not
// spent, and counts for the account. What is being collected already, or was and
// is not on the account yet, is left out.
func readCollections(ctx context.Context, tx *ledger.Tx, d *draft, take func(position) error) error {
	if d.Policy.CreditorID == "" || d.Currency.Code() != "EUR" {
		return nil // the direct debits that there are are those of SEPA
	}
	inFlight, err := collectionsInFlight(ctx, tx)
	if err != nil {
		return err
	}
	rows, err := tx.QueryContext(ctx, `SELECT m.id, m.account, available.currency,
			-(available.balance + reserved.balance + COALESCE(owed.balance, 0)), m.signed,
			(SELECT COALESCE(MAX(i.sent), 0) FROM clearing_instructions i
				WHERE i.kind = 'collection' AND i.party = m.account AND i.destination = 'mandate:' || m.id)
		FROM clearing_mandates m JOIN broker_accounts a ON a.id = m.account
		JOIN accounts available ON available.id = 'user:' || m.account || ':available'
		JOIN accounts reserved ON reserved.id = 'user:' || m.account || ':reserved'
		LEFT JOIN accounts owed ON owed.id = 'user:' || m.account || ':owed'
		WHERE m.state = 'active' AND available.balance + reserved.balance + COALESCE(owed.balance, 0) < 0 ORDER BY m.account`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		p := position{kind: KindCollection}
		var mandate, signed string
		var sent int64
		if err := rows.Scan(&mandate, &p.party, (*string)(&p.currency), (*int64)(&p.amount), &signed, &sent); err != nil {
			return err
		}
		p.isLapsed = mandateLapsed(signed, timeOf(sent), d.Planned)
		p.account, p.destination = "user:"+p.party+":available", destinationMandate+mandate
		if p.amount -= inFlight[p.party]; p.amount <= 0 {
			continue
		}
		if err := take(p); err != nil {
			return err
		}
	}
	return rows.Err()
}

// mandateLapsed reports whether a mandate has ended because nothing was collected
// with it for 36 months (rulebooks of SEPA direct debits, 4.1), counted from its
// signature where nothing ever was.
func mandateLapsed(signed string, sent, now time.Time) bool {
	if sent.IsZero() {
		day, err := time.Parse(time.DateOnly, signed)
		if err != nil {
			return true
		}
		sent = day
	}
	return now.After(sent.AddDate(0, 36, 0))
}

// collectionsInFlight returns for each account what is being collected and not
// on it yet, in micros: what the bank has not answered, what it has booked and
// the broker has not applied, and what the broker could not put on the account,
// so that it came in for nobody.
func collectionsInFlight(ctx context.Context, tx *ledger.Tx) (map[string]money.Amount, error) {
	rows, err := tx.QueryContext(ctx, `SELECT party, amount FROM clearing_instructions WHERE state = 'sent' AND kind = 'collection'
		UNION ALL SELECT account, amount FROM broker_outcomes WHERE kind = 'debit-collected' AND state <> 'applied'
		UNION ALL SELECT named, amount - reversed FROM broker_fundings WHERE account = '' AND source = 'direct-debit'`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	inFlight := make(map[string]money.Amount)
	for rows.Next() {
		var account string
		var amount money.Amount
		if err := rows.Scan(&account, (*int64)(&amount)); err != nil {
			return nil, err
		}
		if inFlight[account], err = inFlight[account].Add(amount); err != nil {
			return nil, err
		}
	}
	return inFlight, rows.Err()
}
