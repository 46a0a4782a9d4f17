package broker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// Who set a limit.
const (
	setByOwner  = "owner" // of a sub-account: its parent
	setByBroker = "broker"
)

// loadLimits returns the limits of an account by who set them.
func loadLimits(ctx context.Context, tx *ledger.Tx, account string) (limits payword.AccountLimits, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT setter, vendor_day, day, reserved FROM broker_limits WHERE account = ?`, account)
	if err != nil {
		return limits, err
	}
	defer rows.Close()
	for rows.Next() {
		var setter string
		var vendorDay, day, reserved sql.NullInt64
		if err := rows.Scan(&setter, &vendorDay, &day, &reserved); err != nil {
			return limits, err
		}
		found := payword.Limits{VendorDay: amountOf(vendorDay), Day: amountOf(day), Reserved: amountOf(reserved)}
		if setter == setByOwner {
			limits.Own = found
		} else {
			limits.Ceiling = found
		}
	}
	return limits, rows.Err()
}

func amountOf(stored sql.NullInt64) *money.Amount {
	if !stored.Valid {
		return nil
	}
	amount := money.Amount(stored.Int64)
	return &amount
}

func storedAmount(amount *money.Amount) sql.NullInt64 {
	if amount == nil {
		return sql.NullInt64{}
	}
	return sql.NullInt64{Int64: int64(*amount), Valid: true}
}

// lower returns the lower limit of two, of which nil is none.
func lower(a, b *money.Amount) *money.Amount {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}

// saveLimits replaces what one setter has set for an account.
func saveLimits(ctx context.Context, tx *ledger.Tx, account, setter string, limits payword.Limits) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO broker_limits (account, setter, vendor_day, day, reserved) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (account, setter) DO UPDATE SET vendor_day = excluded.vendor_day, day = excluded.day, reserved = excluded.reserved`,
		account, setter, storedAmount(limits.VendorDay), storedAmount(limits.Day), storedAmount(limits.Reserved))
	if err != nil {
		return err
	}
	return audit(ctx, tx, auditEntry{"set-limits", "account:" + account, "set by " + setter + ": " + describeLimits(limits)})
}

func describeLimits(limits payword.Limits) string {
	describe := func(amount *money.Amount) string {
		if amount == nil {
			return "none"
		}
		return amount.Decimal()
	}
	return fmt.Sprintf("per vendor and day %s, per day %s, reserved at once %s",
		describe(limits.VendorDay), describe(limits.Day), describe(limits.Reserved))
}

// limits returns the limits of the caller's account.
func (s *store) limits(ctx context.Context, account string) (limits payword.AccountLimits, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		limits, err = loadLimits(ctx, tx, account)
		return err
	})
	return limits, err
}

// setOwnLimits replaces the limits that the owner of the account has set, from
// this moment on. It refuses with UnknownAccount, or NotPermitted for a
// sub-account, whose parent sets them.
func (b *Broker) setOwnLimits(ctx context.Context, account string, own payword.Limits) (limits payword.AccountLimits, refusal payword.Refusal, err error) {
	refusal, err = b.store.update(ctx, "set limits", func(tx *ledger.Tx) error {
		if err := requireDevice(ctx, tx); err != nil {
			return err
		}
		row, err := requireAccount(ctx, tx, account)
		if err != nil {
			return err
		}
		if row.isSub() {
			return refused(refuse(payword.NotPermitted, "the limits of a sub-account are set by the account that it belongs to"))
		}
		if err := saveLimits(ctx, tx, account, setByOwner, own); err != nil {
			return err
		}
		limits, err = loadLimits(ctx, tx, account)
		return err
	})
	return limits, refusal, err
}

// SetCeiling replaces the limits that the broker sets for an account and its
// sub-accounts, from this moment on: its owner can go below and not above. Each
// is 0 to money.MaxAmount micros, or nil for none. It refuses with
// UnknownAccount.
func (b *Broker) SetCeiling(ctx context.Context, account string, ceiling payword.Limits) (payword.AccountLimits, payword.Refusal, error) {
	return b.store.setCeiling(ctx, account, ceiling)
}

func (s *store) setCeiling(ctx context.Context, account string, ceiling payword.Limits) (limits payword.AccountLimits, refusal payword.Refusal, err error) {
	refusal, err = s.update(ctx, "set ceiling", func(tx *ledger.Tx) error {
		if _, err := requireAccount(ctx, tx, account); err != nil {
			return err
		}
		if err := saveLimits(ctx, tx, account, setByBroker, ceiling); err != nil {
			return err
		}
		limits, err = loadLimits(ctx, tx, account)
		return err
	})
	return limits, refusal, err
}

// certificateLimit returns what a certificate of the account may say that one
// vendor accepts in a day: at most standard, in micros, and no more than the
// limits allow. Two vendors could tell by an odd sum that they have the same
// user, so it is rounded down to two digits. It refuses with OverAccountLimit if
// nothing may be spent.
func (s *store) certificateLimit(ctx context.Context, tx *ledger.Tx, row accountRow, standard money.Amount) (money.Amount, error) {
	limit := &standard
	for _, id := range row.lineage() {
		limits, err := loadLimits(ctx, tx, id)
		if err != nil {
			return 0, err
		}
		limit = lower(limit, lower(limits.Own.VendorDay, limits.Ceiling.VendorDay))
	}
	if *limit == 0 {
		return 0, refused(refuse(payword.OverAccountLimit, "the limit of the account per vendor and day is 0"))
	}
	if *limit == standard {
		return standard, nil
	}
	step := money.Amount(1)
	for *limit/step >= 100 {
		step *= 10
	}
	return limit.Floor(step), nil
}

// lineage returns the accounts whose limits hold for one: itself and its parent.
func (r accountRow) lineage() []string {
	if r.isSub() {
		return []string{r.id, r.parent}
	}
	return []string{r.id}
}

// checkLimits makes sure that a reservation stays within the limits of its
// account and of the account that that one belongs to. An account's limits hold
// for it and its sub-accounts together, so that nobody spends more by having
// many. It refuses with OverAccountLimit.
func (s *store) checkLimits(ctx context.Context, tx *ledger.Tx, row accountRow, after record) error {
	for _, id := range row.lineage() {
		limits, err := loadLimits(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := s.checkFamily(ctx, tx, id, limits, after); err != nil {
			return err
		}
	}
	return nil
}

// limitCheck compares one limit with what counts against it.
type limitCheck struct {
	what  string
	limit *money.Amount
	adds  money.Amount // by the reservation, in micros
	used  func() (money.Amount, error)
}

func (s *store) checkFamily(ctx context.Context, tx *ledger.Tx, account string, limits payword.AccountLimits, after record) error {
	spends := max(after.reserved, after.redeemed.Paid)
	checks := []limitCheck{
		{"for " + after.vendor + " today", lower(limits.Own.VendorDay, limits.Ceiling.VendorDay), spends, func() (money.Amount, error) {
			return spentToday(ctx, tx, account, after, `AND vendor = ?`, after.vendor)
		}},
		{"today", lower(limits.Own.Day, limits.Ceiling.Day), spends, func() (money.Amount, error) {
			return spentToday(ctx, tx, account, after, ``)
		}},
		{"at once", lower(limits.Own.Reserved, limits.Ceiling.Reserved), after.held, func() (money.Amount, error) {
			return heldNow(ctx, tx, account, after)
		}},
	}
	for _, check := range checks {
		if check.limit == nil {
			continue
		}
		used, err := check.used()
		if err != nil {
			return err
		}
		if used > *check.limit-check.adds {
			return refused(refuse(payword.OverAccountLimit, "%s %s are spent or reserved %s; with %s more it would exceed the account's limit of %s",
				used.Decimal(), s.currency.Code(), check.what, check.adds.Decimal(), check.limit.Decimal()))
		}
	}
	return nil
}

const ofFamily = `account IN (SELECT id FROM broker_accounts WHERE id = ? OR parent = ? AND parent <> '') AND id <> ?`

// spentToday adds up what an account and its sub-accounts have spent and
// reserved on the UTC day of a reservation, without that one. A commitment
// counts on the day of its last raise: with all that is reserved while it is
// open, and with what was paid once it is closed. One that was never reserved
// counts on the day of its first claim, with what was paid.
func spentToday(ctx context.Context, tx *ledger.Tx, account string, after record, more string, arguments ...any) (sum money.Amount, err error) {
	const spent = `SELECT CAST(COALESCE(SUM(CASE WHEN closed = 1 OR paid > reserved THEN paid ELSE reserved END), 0) AS BIGINT)
		FROM broker_commitments WHERE `
	midnight := time.Unix(after.day*secondsPerDay, 0).UnixMicro()
	for _, part := range []struct {
		where string
		value int64
	}{{`day = ? AND sequence > 0 AND `, after.day}, {`created >= ? AND sequence = 0 AND `, midnight}} {
		var found money.Amount
		row := tx.QueryRowContext(ctx, spent+part.where+ofFamily+` `+more,
			append([]any{part.value, account, account, after.id.String()}, arguments...)...)
		if err := row.Scan(&found); err != nil {
			return 0, err
		}
		if sum, err = sum.Add(found); err != nil {
			return 0, err
		}
	}
	return sum, nil
}

// heldNow adds up what is set aside for an account and its sub-accounts, without
// one commitment.
func heldNow(ctx context.Context, tx *ledger.Tx, account string, after record) (sum money.Amount, err error) {
	err = tx.QueryRowContext(ctx, `SELECT CAST(COALESCE(SUM(held), 0) AS BIGINT) FROM broker_commitments WHERE held > 0 AND `+ofFamily,
		account, account, after.id.String()).Scan(&sum)
	return sum, err
}

// errTermsChanged means that limits or age of an account were changed while a
// certificate was made: asking again gets one with the new terms.
var errTermsChanged = errors.New("the terms of the account changed meanwhile")

// certificateTerms is what the certificates of an account say of it.
type certificateTerms struct {
	limit money.Amount // in micros
	age   int          // in years; 0: nothing proven
}

// termsOf returns what certificates of an account say now. It refuses as
// requireOpen does, and with OverAccountLimit.
func (s *store) termsOf(ctx context.Context, account string, standard money.Amount) (terms certificateTerms, refusal payword.Refusal, err error) {
	refusal, err = s.view(ctx, func(tx *ledger.Tx) error {
		terms, err = s.termsIn(ctx, tx, account, standard)
		return err
	})
	return terms, refusal, err
}

func (s *store) termsIn(ctx context.Context, tx *ledger.Tx, account string, standard money.Amount) (certificateTerms, error) {
	row, err := s.requireOpen(ctx, tx, account)
	if err != nil {
		return certificateTerms{}, err
	}
	limit, err := s.certificateLimit(ctx, tx, row, standard)
	return certificateTerms{limit: limit, age: row.age}, err
}

// requireTerms makes sure, within the transaction that stores certificates,
// that they still say what they may. It refuses as termsOf does;
// errTermsChanged means that they do not.
func (s *store) requireTerms(ctx context.Context, tx *ledger.Tx, account string, standard money.Amount, signed certificateTerms) error {
	now, err := s.termsIn(ctx, tx, account, standard)
	if err == nil && now != signed {
		return errTermsChanged
	}
	return err
}
