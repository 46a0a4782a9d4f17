package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/paywordhq/payword/money"
)

const (
	// NoFloor is the floor of an account that may go as low as it must, such
	// as the broker's own bank account. It also bounds every balance from
	// below, so that no sum of a balance and an amount overflows 64 bits.
	NoFloor money.Amount = -4_000_000_000_000_000_000

	// MaxBalance bounds every balance from above, for the same reason.
	MaxBalance money.Amount = 4_000_000_000_000_000_000

	// MaxAccountIDLength holds "vendor:", an origin of 253 bytes of host name
	// with scheme and port, and ":payable".
	MaxAccountIDLength = 320

	// MaxPage is the most rows that one page of a listing holds.
	MaxPage = 1000
)

var (
	// ErrNotFound means that there is no account or no transfer of that id.
	ErrNotFound = errors.New("not found in the ledger")
	// ErrAccountDiffers means that the account exists with another currency.
	ErrAccountDiffers = errors.New("an account of this id exists and differs")
	// ErrInsufficient means that the debit would bring the account below its
	// floor, what is pending counted in. Nothing was changed.
	ErrInsufficient = errors.New("insufficient balance")
)

// Account is an account and its state.
type Account struct {
	// ID is structured, such as "user:17:available", "vendor:<origin>:payable"
	// or "broker:fees": 1 to MaxAccountIDLength visible ASCII characters.
	ID       string
	Currency money.Currency
	// Floor is the lowest balance allowed, in micros: 0 for a prepaid account,
	// minus the limit for a credit line, or NoFloor.
	Floor money.Amount
	// Balance is credits minus debits, in micros. CreateAccount ignores it.
	Balance money.Amount
	// Pending is the sum of pending debits, in micros: still in Balance, and
	// not available any more. CreateAccount ignores it.
	Pending money.Amount
	// Created is when the account was made. CreateAccount sets it.
	Created time.Time
}

// Available returns what can be debited now, in micros, 0 or more.
func (a Account) Available() money.Amount { return a.Balance - a.Pending - a.Floor }

// CreateAccount makes an account with no balance. Where it exists with the
// same currency nothing happens, and its floor stays as it is: ErrAccountDiffers
// means that it exists with another currency. Accounts are never removed.
func (tx *Tx) CreateAccount(ctx context.Context, account Account) error {
	if err := checkAccount(account); err != nil {
		return err
	}
	existing, err := tx.Account(ctx, account.ID)
	if err == nil && existing.Currency != account.Currency {
		return fmt.Errorf("account %s in %s: %w", account.ID, account.Currency, ErrAccountDiffers)
	}
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	_, err = tx.ExecContext(ctx,
		`INSERT INTO accounts (id, currency, floor, created) VALUES (?, ?, ?, ?)`,
		account.ID, string(account.Currency), int64(account.Floor), tx.now.UnixMicro())
	return err
}

// SetFloor changes the floor of an account, such as the limit of a credit line.
// ErrInsufficient means that the account is already below the new floor, and
// ErrNotFound that there is no such account; nothing was changed then.
func (tx *Tx) SetFloor(ctx context.Context, id string, floor money.Amount) error {
	if err := checkFloor(floor); err != nil {
		return err
	}
	changed, err := tx.ExecOne(ctx,
		`UPDATE accounts SET floor = ? WHERE id = ? AND balance - pending >= ?`, int64(floor), id, int64(floor))
	if err != nil || changed {
		return err
	}
	account, err := tx.Account(ctx, id)
	if err != nil {
		return err
	}
	return fmt.Errorf("account %s at %s with %s pending: %w", id, account.Balance, account.Pending, ErrInsufficient)
}

// Account returns the account, or ErrNotFound.
func (tx *Tx) Account(ctx context.Context, id string) (Account, error) {
	account, err := scanAccount(tx.QueryRowContext(ctx, accountColumns+`WHERE id = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return Account{}, fmt.Errorf("account %.400q: %w", id, ErrNotFound)
	}
	return account, err
}

// Accounts returns the accounts whose ids begin with prefix, sorted by id, from
// the first one after the id given ("" for the first page), at most limit of
// them (1 to MaxPage). An empty prefix is all accounts.
func (tx *Tx) Accounts(ctx context.Context, prefix, after string, limit int) ([]Account, error) {
	if err := checkPage(limit); err != nil {
		return nil, err
	}
	// Ids are visible ASCII, so DEL sorts after every character they hold.
	rows, err := tx.QueryContext(ctx,
		accountColumns+`WHERE id >= ? AND id < ? AND id > ? ORDER BY id LIMIT ?`, prefix, prefix+"\x7f", after, limit)
	if err != nil {
		return nil, err
	}
	return collect(rows, scanAccount)
}

const accountColumns = `SELECT id, currency, floor, balance, pending, created FROM accounts `

func scanAccount(row scanner) (Account, error) {
	var account Account
	var created int64
	err := row.Scan(&account.ID, (*string)(&account.Currency), (*int64)(&account.Floor),
		(*int64)(&account.Balance), (*int64)(&account.Pending), &created)
	account.Created = time.UnixMicro(created).UTC()
	return account, err
}

// scanner is a row: *sql.Row or *sql.Rows.
type scanner interface{ Scan(targets ...any) error }

// collect reads all rows and closes them.
func collect[T any](rows *sql.Rows, scan func(scanner) (T, error)) ([]T, error) {
	defer rows.Close()
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

func checkAccount(account Account) error {
	if !isVisible(account.ID, MaxAccountIDLength) {
		return fmt.Errorf("account id %.40q: want 1 to %d visible ASCII characters", account.ID, MaxAccountIDLength)
	}
	if _, err := money.ParseCurrency(string(account.Currency)); err != nil {
		return fmt.Errorf("account %s: %w", account.ID, err)
	}
	return checkFloor(account.Floor)
}

func checkFloor(floor money.Amount) error {
	if floor > 0 || floor < NoFloor {
		return fmt.Errorf("floor %s: want 0, a negative amount, or %s for none", floor, NoFloor)
	}
	return nil
}

func checkPage(limit int) error {
	if limit < 1 || limit > MaxPage {
		return fmt.Errorf("page of %d: want 1 to %d rows", limit, MaxPage)
	}
	return nil
}

// isVisible says whether text is 1 to limit characters from '!' to '~'.
func isVisible(text string, limit int) bool {
	for _, c := range []byte(text) {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(text) >= 1 && len(text) <= limit
}
