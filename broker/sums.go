package broker

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const (
	// transfersPerSum is how many transfers one round of summing reads: about
	// a tenth of a second of one processor.
	transfersPerSum = 5000

	// roundsPerSum bounds how long the background work sums at a time.
	roundsPerSum = 100

	// sumLag is how old a transfer is before it is summed for good. A
	// transaction takes its place in the journal when it writes and is seen
	// when it commits, so that on a database with several writers the earlier
	// of two may be seen later. None takes this long: requests end after
	// bodyTimeout and requestTimeout.
	sumLag = 5 * time.Minute

	// maxUnsummed is how many transfers that are not in the sums yet a page
	// adds by itself. Beyond it the page says as of when its figures are.
	maxUnsummed = 10_000
)

// The groups of accounts that flows are told between.
const (
	groupAvailable = "user:available"
	groupReserved  = "user:reserved"
	groupPayable   = "vendor:payable"
)

// flow is from one group of accounts to another.
type flow struct{ debit, credit string }

// flowSum is what a flow sums to.
type flowSum struct {
	amount money.Amount // micros
	count  int64
}

// vendorDay is what happened on the account of a vendor in a day.
type vendorDay struct {
	redeemed, paidOut money.Amount // micros
	count             int64        // of payments that came from users
}

type vendorDayKey struct {
	account string
	day     int64
}

// journalSums is what a part of the journal sums to: by UTC day since 1970, and
// under day 0 all together.
type journalSums struct {
	flows   map[int64]map[flow]flowSum
	vendors map[vendorDayKey]vendorDay
	seq     int64 // of the last transfer in it
	created int64 // of that transfer, microseconds since 1970
	count   int
}

// isSource reports whether a group is where money comes from: the accounts of the
// bank, of payment services and of gateways.
func isSource(group string) bool { return strings.HasSuffix(group, ":in") }

// accountGroup returns the group of an account of the ledger: its first and
// last word, and for an account of the broker itself the whole id.
func accountGroup(id string) string {
	first, rest, found := strings.Cut(id, ":")
	if !found || first == "broker" && len(id) <= 40 {
		return id
	}
	return first + ":" + rest[strings.LastIndexByte(rest, ':')+1:]
}

// line is what the sums need of a transfer.
type line struct {
	seq, created  int64
	phase         ledger.Phase
	debit, credit string
	amount        money.Amount
	currency      money.Currency
}

// add counts a transfer. Sums are in one currency; what came in in another one
// waits on accounts of its own.
func (j *journalSums) add(l line, currency money.Currency) {
	j.seq, j.created = l.seq, l.created
	j.count++
	if l.phase != ledger.Single && l.phase != ledger.Posted || l.currency != currency {
		return // it moved nothing that is summed here
	}
	between := flow{accountGroup(l.debit), accountGroup(l.credit)}
	day := l.created / (secondsPerDay * 1_000_000)
	for _, key := range []int64{0, day} {
		if j.flows[key] == nil {
			j.flows[key] = make(map[flow]flowSum)
		}
		sum := j.flows[key][between]
		j.flows[key][between] = flowSum{sum.amount + l.amount, sum.count + 1}
	}
	if between.credit == groupPayable {
		key := vendorDayKey{l.credit, day}
		sum := j.vendors[key]
		sum.redeemed, sum.count = sum.redeemed+l.amount, sum.count+1
		j.vendors[key] = sum
	}
	if between.debit == groupPayable {
		key := vendorDayKey{l.debit, day}
		sum := j.vendors[key]
		sum.paidOut += l.amount
		j.vendors[key] = sum
	}
}

// sumJournal sums the transfers after the one with the given seq, at most limit
// of them, up to the first that was made after latest (microseconds since 1970).
func (s *store) sumJournal(ctx context.Context, tx *ledger.Tx, after, latest int64, limit int) (journalSums, error) {
	sums := journalSums{flows: make(map[int64]map[flow]flowSum), vendors: make(map[vendorDayKey]vendorDay), seq: after}
	rows, err := tx.QueryContext(ctx, `SELECT seq, created, phase, debit, credit, amount, currency FROM transfers
		WHERE seq > ? ORDER BY seq LIMIT ?`, after, limit)
	if err != nil {
		return sums, err
	}
	defer rows.Close()
	for rows.Next() {
		var l line
		if err := rows.Scan(&l.seq, &l.created, (*string)(&l.phase), &l.debit, &l.credit, &l.amount, &l.currency); err != nil {
			return sums, err
		}
		if l.created > latest {
			break
		}
		sums.add(l, s.currency)
	}
	return sums, rows.Err()
}

// sumUp adds what the journal has got since to the daily sums. Several brokers
// may do it at once: the row that says how far it went is compared and swapped.
func (s *store) sumUp(ctx context.Context) error {
	for range roundsPerSum {
		var sums journalSums
		var before int64
		err := s.db.View(ctx, func(tx *ledger.Tx) (err error) {
			if before, _, err = sumProgress(ctx, tx); err == nil {
				sums, err = s.sumJournal(ctx, tx, before, tx.Now().Add(-sumLag).UnixMicro(), transfersPerSum)
			}
			return err
		})
		if err != nil || sums.count == 0 {
			return err
		}
		_, err = s.update(ctx, "sum up", func(tx *ledger.Tx) error { return saveSums(ctx, tx, before, sums) })
		if err != nil || sums.count < transfersPerSum {
			return err
		}
	}
	return nil
}

func sumProgress(ctx context.Context, tx *ledger.Tx) (seq, created int64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT seq, created FROM broker_sums_progress WHERE one = 1`).Scan(&seq, &created)
	return seq, created, err
}

// saveSums adds sums to the stored ones, unless somebody else did since before.
func saveSums(ctx context.Context, tx *ledger.Tx, before int64, sums journalSums) error {
	isNext, err := tx.ExecOne(ctx, `UPDATE broker_sums_progress SET seq = ?, created = ? WHERE one = 1 AND seq = ?`,
		sums.seq, sums.created, before)
	if err != nil || !isNext {
		return err
	}
	for day, flows := range sums.flows {
		for between, sum := range flows {
			_, err := tx.ExecContext(ctx, `INSERT INTO broker_sums (day, debit, credit, amount, count) VALUES (?, ?, ?, ?, ?)
				ON CONFLICT (day, debit, credit) DO UPDATE
				SET amount = broker_sums.amount + excluded.amount, count = broker_sums.count + excluded.count`,
				day, between.debit, between.credit, sum.amount, sum.count)
			if err != nil {
				return err
			}
		}
	}
	for key, sum := range sums.vendors {
		_, err := tx.ExecContext(ctx, `INSERT INTO broker_vendor_sums (account, day, redeemed, count, paid_out) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (account, day) DO UPDATE SET redeemed = broker_vendor_sums.redeemed + excluded.redeemed,
				count = broker_vendor_sums.count + excluded.count, paid_out = broker_vendor_sums.paid_out + excluded.paid_out`,
			key.account, key.day, sum.redeemed, sum.count, sum.paidOut)
		if err != nil {
			return err
		}
	}
	return nil
}

// moneyFlows is what flowed, as pages show it.
type moneyFlows struct {
	days map[int64]map[flow]flowSum
	asOf int64 // microseconds since 1970; 0: now
}

// unsummed returns what the journal has beyond the sums, and 0, or, if that is
// too much to read for a page, nothing and as of when the sums are, in
// microseconds since 1970.
func (s *store) unsummed(ctx context.Context, tx *ledger.Tx) (journalSums, int64, error) {
	seq, created, err := sumProgress(ctx, tx)
	if err != nil {
		return journalSums{}, 0, err
	}
	sums, err := s.sumJournal(ctx, tx, seq, tx.Now().Add(sumLag).UnixMicro(), maxUnsummed)
	if err == nil && sums.count == maxUnsummed {
		return journalSums{}, max(created, 1), nil
	}
	return sums, 0, err
}

// flowsSince returns the flows of each day from the given one on, and under day
// 0 all that ever flowed.
func (s *store) flowsSince(ctx context.Context, day int64) (found moneyFlows, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		found = moneyFlows{days: make(map[int64]map[flow]flowSum)}
		if err := loadFlows(ctx, tx, day, found); err != nil {
			return err
		}
		newest, asOf, err := s.unsummed(ctx, tx)
		found.asOf = asOf
		for key, flows := range newest.flows {
			if key == 0 || key >= day {
				found.merge(key, flows)
			}
		}
		return err
	})
	return found, err
}

func loadFlows(ctx context.Context, tx *ledger.Tx, day int64, into moneyFlows) error {
	rows, err := tx.QueryContext(ctx, `SELECT day, debit, credit, amount, count FROM broker_sums WHERE day = 0 OR day >= ?`, day)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var key int64
		var between flow
		var sum flowSum
		if err := rows.Scan(&key, &between.debit, &between.credit, &sum.amount, &sum.count); err != nil {
			return err
		}
		into.merge(key, map[flow]flowSum{between: sum})
	}
	return rows.Err()
}

func (f moneyFlows) merge(day int64, flows map[flow]flowSum) {
	if f.days[day] == nil {
		f.days[day] = make(map[flow]flowSum)
	}
	for between, sum := range flows {
		known := f.days[day][between]
		f.days[day][between] = flowSum{known.amount + sum.amount, known.count + sum.count}
	}
}

// sum adds the flows of a day that chosen picks.
func (f moneyFlows) sum(day int64, chosen func(flow) bool) (total flowSum) {
	for between, sum := range f.days[day] {
		if chosen(between) {
			total.amount += sum.amount
			total.count += sum.count
		}
	}
	return total
}

// balance is what all accounts of a group hold together.
func (f moneyFlows) balance(group string) money.Amount {
	given := f.sum(0, func(between flow) bool { return between.credit == group })
	taken := f.sum(0, func(between flow) bool { return between.debit == group })
	return given.amount - taken.amount
}

// vendorDays returns what happened on a vendor's account in each day from the
// given one on, and as of when.
func (s *store) vendorDays(ctx context.Context, account string, day int64) (days map[int64]vendorDay, asOf int64, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		days = make(map[int64]vendorDay)
		if err := loadVendorDays(ctx, tx, account, day, days); err != nil {
			return err
		}
		newest, tooMany, err := s.unsummed(ctx, tx)
		asOf = tooMany
		for key, sum := range newest.vendors {
			if key.account == account && key.day >= day {
				known := days[key.day]
				days[key.day] = vendorDay{known.redeemed + sum.redeemed, known.paidOut + sum.paidOut, known.count + sum.count}
			}
		}
		return err
	})
	return days, asOf, err
}

func loadVendorDays(ctx context.Context, tx *ledger.Tx, account string, day int64, into map[int64]vendorDay) error {
	rows, err := tx.QueryContext(ctx, `SELECT day, redeemed, paid_out, count FROM broker_vendor_sums
		WHERE account = ? AND day >= ?`, account, day)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var key int64
		var sum vendorDay
		if err := rows.Scan(&key, &sum.redeemed, &sum.paidOut, &sum.count); err != nil {
			return err
		}
		into[key] = sum
	}
	return rows.Err()
}

// bookCheck is what a check of the books found.
type bookCheck struct {
	Created time.Time
	Taken   time.Duration
	Wrong   int
	Detail  string // the first of what disagrees, a line each
}

// maxCheckDetail is how many disagreements are kept of a check.
const maxCheckDetail = 50

// checkBooks checks the books and keeps what it found.
func (b *Broker) checkBooks(ctx context.Context) error {
	started := time.Now() // the time that it takes is real, whatever the clock of the broker says
	created := b.config.Now()
	wrong, err := b.store.check(ctx)
	if err != nil {
		return err
	}
	detail := strings.Join(wrong[:min(len(wrong), maxCheckDetail)], "\n")
	_, err = b.store.update(ctx, "keep check", func(tx *ledger.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO broker_checks (created, taken, wrong, detail) VALUES (?, ?, ?, ?)`,
			created.UnixMicro(), time.Since(started).Microseconds(), len(wrong), detail)
		return err
	})
	return err
}

// lastCheck returns the newest check of the books, or nil.
func (s *store) lastCheck(ctx context.Context) (found *bookCheck, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		var created, taken int64
		check := bookCheck{}
		err := tx.QueryRowContext(ctx, `SELECT created, taken, wrong, detail FROM broker_checks ORDER BY seq DESC LIMIT 1`).
			Scan(&created, &taken, &check.Wrong, &check.Detail)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		check.Created, check.Taken = time.UnixMicro(created).UTC(), (time.Duration(taken) * time.Microsecond).Round(time.Millisecond)
		found = &check
		return err
	})
	return found, err
}
