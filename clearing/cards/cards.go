// Package cards is what clearing knows of purse cards: one pooled account for
// the money on all of them, and a shadow account for each, credited when the
// card is loaded and debited when a payment of it arrives.
//
// The accounts of the ledger:
//
//	broker:cards:pool        the money on all cards
//	card:CID:shadow          what one card has on it, as far as clearing knows
//	broker:cards:memo        the other side of all shadows: pool and memo sum to 0
//	merchant:MID:payable     what a merchant is owed, fees taken off
//	broker:cards:disputes    money that holder and merchant both may have
//	broker:cards:cash        where white cards are bought, and paid back
//	broker:cards:cash:NAME   the same at a gateway of the broker
//	gateway:NAME:in          what payments brought that gateway, to put on accounts
//
// Each function is one transaction. A card that clearing cannot believe raises
// an alarm, and the merchant, who could not know, is paid.
package cards

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/paywordhq/payword/clearing/fee"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

//go:embed migrations
var embedded embed.FS

// migrations holds one folder for each database.
var migrations = func() fs.FS {
	folder, err := fs.Sub(embedded, "migrations")
	if err != nil {
		panic(err) // the embed directive above names it
	}
	return folder
}()

// Migrate makes the tables of this package. Clearing calls it wherever it makes
// its own, whether there are cards or not, so that a settlement run can read who
// the merchants are.
func Migrate(ctx context.Context, db *ledger.DB) error { return db.Migrate(ctx, "cards", migrations) }

// The accounts of the ledger that are not one card's or one merchant's.
const (
	poolAccount     = "broker:cards:pool"
	memoAccount     = "broker:cards:memo"
	disputesAccount = "broker:cards:disputes"
	cashAccount     = "broker:cards:cash"
	feesAccount     = "broker:fees"
)

func shadowAccount(card purse.ID) string      { return "card:" + card.String() + ":shadow" }
func payableAccount(merchant purse.ID) string { return "merchant:" + merchant.String() + ":payable" }
func gatewayAccount(gateway string) string    { return "gateway:" + gateway + ":in" }
func tillAccount(gateway string) string       { return cashAccount + ":" + gateway }

// The kinds of transfers.
const (
	kindLoad    = "card-load"    // from an account, or cash, to the pool
	kindShadow  = "card-shadow"  // between memo and a shadow
	kindPayment = "card-payment" // to a merchant
	kindFee     = "card-fee"     // from a merchant
	kindForward = "card-forward" // from a merchant to a gateway
	kindCash    = "card-cash"    // from a gateway to what it has in cash
	kindRefund  = "card-refund"  // to an account, or cash
	kindDispute = "card-dispute" // to the account of disputes
	kindCancel  = "card-cancel"  // back to the pool, and of a fee back to the merchant
)

const (
	// DefaultClaimDays is how long after a loss was reported, or a payment was
	// claimed, records that prove something else are waited for.
	DefaultClaimDays = 30
	// DefaultMaxBalance is the most on a card, in micros.
	DefaultMaxBalance = 200 * money.Unit
	// graceDays is how long after its expiry a card may still pay.
	graceDays = 183
	day       = 24 * time.Hour
)

// Config is what New needs.
type Config struct {
	// Keys hold LoadMaster and ClearingMaster, of every version in use.
	Keys *purse.Keys
	// Currency is that of the pool: no card holds another.
	Currency money.Currency
	// Fee is the rule for the fee of a payment, on the basis
	// fee.PerPurseTransaction. Its zero value means fee.Purse().
	Fee fee.Schedule
	// MaxBalance is the most on a card, in micros; 0 means DefaultMaxBalance.
	MaxBalance money.Amount
	// ClaimDays is how many days after the report of a loss the rest is paid
	// back, and after a claim the merchant is paid; 0 means DefaultClaimDays.
	ClaimDays int
	// Audit writes a line of the audit log in the transaction of a change. It
	// must be set.
	Audit func(ctx context.Context, tx *ledger.Tx, action, subject, detail string) error
}

// Clearing clears purse cards. It is safe for concurrent use.
type Clearing struct {
	db     *ledger.DB
	config Config
}

// New makes the tables and accounts that are missing, and keeps the fee rule
// under its version.
func New(ctx context.Context, db *ledger.DB, config Config) (*Clearing, error) {
	if config.Fee.Version == "" {
		config.Fee = fee.Purse()
	}
	if config.MaxBalance == 0 {
		config.MaxBalance = DefaultMaxBalance
	}
	if config.ClaimDays == 0 {
		config.ClaimDays = DefaultClaimDays
	}
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("clearing of cards: %w", err)
	}
	if err := Migrate(ctx, db); err != nil {
		return nil, err
	}
	c := &Clearing{db: db, config: config}
	if err := db.Update(ctx, func(tx *ledger.Tx) error { return c.prepare(ctx, tx) }); err != nil {
		return nil, fmt.Errorf("clearing of cards: %w", err)
	}
	return c, nil
}

func (c Config) check() error {
	if c.Keys == nil || c.Audit == nil {
		return errors.New("keys and an audit log must be set")
	}
	if !c.Keys.Has(purse.ClearingMaster) || !c.Keys.Has(purse.LoadMaster) {
		return errors.New("the keys want a KZD and an MKL: add them to the file of keys")
	}
	if _, err := purse.CurrencyOf(c.Currency); err != nil {
		return err
	}
	if err := c.Fee.Check(); err != nil {
		return err
	}
	if c.Fee.Basis != fee.PerPurseTransaction {
		return fmt.Errorf("fee rule %s is on the basis %s: want %s", c.Fee.Version, c.Fee.Basis, fee.PerPurseTransaction)
	}
	if c.MaxBalance < 0 || c.MaxBalance > money.MaxAmount || c.ClaimDays < 1 || c.ClaimDays > 3650 {
		return errors.New("want a balance that is no debt, and 1 to 3650 days for claims")
	}
	return nil
}

// prepare makes the accounts, and keeps the fee rule.
func (c *Clearing) prepare(ctx context.Context, tx *ledger.Tx) error {
	for _, account := range []struct {
		id    string
		floor money.Amount
	}{
		{poolAccount, ledger.NoFloor}, {memoAccount, ledger.NoFloor}, {cashAccount, ledger.NoFloor},
		{disputesAccount, 0}, {feesAccount, 0},
	} {
		if err := tx.CreateAccount(ctx, ledger.Account{ID: account.id, Currency: c.config.Currency, Floor: account.floor}); err != nil {
			return err
		}
	}
	rule := c.config.Fee.String()
	if _, err := tx.ExecContext(ctx, `INSERT INTO cards_fee_rules (version, rule, created) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`,
		c.config.Fee.Version, rule, tx.Now().UnixMicro()); err != nil {
		return err
	}
	var kept string
	err := tx.QueryRowContext(ctx, `SELECT rule FROM cards_fee_rules WHERE version = ?`, c.config.Fee.Version).Scan(&kept)
	if err == nil && kept != rule {
		err = fmt.Errorf("fee rule %s was another one before: give a changed rule another version", c.config.Fee.Version)
	}
	return err
}

// transfer is one between two accounts of the currency of the cards.
func (c *Clearing) transfer(id, kind, debit, credit string, amount money.Amount, reference string) ledger.Transfer {
	return ledger.Transfer{ID: id, Kind: kind, Debit: debit, Credit: credit, Amount: amount, Currency: c.config.Currency, Reference: reference}
}

// claimEnd is when a claim that begins now is decided, seconds since 1970.
func (c *Clearing) claimEnd(tx *ledger.Tx) int64 {
	return tx.Now().Add(time.Duration(c.config.ClaimDays) * day).Unix()
}

// refuse returns a refusal that is not about one record.
func refuse(reason purse.Reason, format string, args ...any) *purse.Refusal {
	return &purse.Refusal{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// The reasons of this package beside those of package purse.
const (
	UnknownCard     purse.Reason = "unknown-card"     // nobody issued it
	CardState       purse.Reason = "card-state"       // lost, broken, closed or expired
	WrongHolder     purse.Reason = "holder"           // another ANo or key version than it was issued with
	WrongLoadMAC    purse.Reason = "load-mac"         // MACL1, MACL3 or MACL4 is not the card's
	LoadNumber      purse.Reason = "load-number"      // LNo is not the one after the last load
	LoadOpen        purse.Reason = "load-open"        // an earlier load is not settled yet
	LoadEnded       purse.Reason = "load-ended"       // it was settled before, otherwise
	UnknownLoad     purse.Reason = "unknown-load"     // nobody authorised it
	OverLimit       purse.Reason = "limit"            // more than the card may hold
	WrongBalance    purse.Reason = "balance"          // the card says a balance that it cannot have
	AccountState    purse.Reason = "account-state"    // the account is blocked, closed or not there
	Insufficient    purse.Reason = "insufficient"     // the account has not enough
	AlreadyPaid     purse.Reason = "already-paid"     // the merchant was paid for it
	AlreadyDisputed purse.Reason = "already-disputed" // there is, or was, a dispute about it
	UnknownPayment  purse.Reason = "unknown-payment"  // nobody brought it
	NotOpen         purse.Reason = "not-open"         // it was decided before
	Unsigned        purse.Reason = "unsigned"         // no gateway of the broker has signed it
	Forwarded       purse.Reason = "forwarded"        // its money went on to a gateway, and further
	NotForwarded    purse.Reason = "not-forwarded"    // its money did not go on to the gateway that asks
	UnknownScript   purse.Reason = "unknown-script"   // nobody made it
	WrongScript     purse.Reason = "script"           // the card cannot do it
	TooManyScripts  purse.Reason = "too-many-scripts" // as many wait for the card as may
	HasAccount      purse.Reason = "has-account"      // the card is not white: its money goes to its account
)
