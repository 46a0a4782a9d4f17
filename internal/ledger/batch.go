package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/paywordhq/payword/money"
)

// maxSpan is the most rows of one statement. With 11 columns that is 5632
// arguments; SQLite takes 32766 and PostgreSQL 65535. More rows save nothing.
const maxSpan = 512

// Spans cuts count rows into spans [from, to), each for one statement. Their
// lengths are powers of two up to 512, so that ten texts of a statement serve
// every count and stay prepared. A row may have up to 60 arguments.
func Spans(count int) iter.Seq2[int, int] {
	return func(yield func(from, to int) bool) {
		for from := 0; from < count; {
			length := min(maxSpan, 1<<(bits.Len(uint(count-from))-1))
			if !yield(from, from+length) {
				return
			}
			from += length
		}
	}
}

// Rows returns the arguments of count rows of columns each, for a VALUES list:
// Rows(2, 3) is "(?,?,?),(?,?,?)".
func Rows(count, columns int) string {
	row := "(" + List(columns) + "),"
	return strings.TrimSuffix(strings.Repeat(row, count), ",")
}

// List returns count arguments, for an IN list: List(3) is "?,?,?".
func List(count int) string { return strings.TrimSuffix(strings.Repeat("?,", count), ",") }

// names returns each of the texts once, as arguments for List.
func names(texts iter.Seq[string]) (arguments []any) {
	seen := make(map[string]bool)
	for text := range texts {
		if !seen[text] {
			seen[text] = true
			arguments = append(arguments, text)
		}
	}
	return arguments
}

// PostAll makes transfers as Post does, one after the other in their order: the
// first decides on the balance that the second finds. It takes a few statements
// for all together. refused has one entry for each transfer: nil, or the error
// with which Post would have changed nothing; the others are made all the same.
// An error means that PostAll could not tell, and the transaction has failed.
func (tx *Tx) PostAll(ctx context.Context, transfers []Transfer) (refused []error, err error) {
	b := &posting{
		transfers: slices.Clone(transfers), refused: make([]error, len(transfers)),
		made: make(map[string]Transfer), accounts: make(map[string]*posted),
	}
	for k := range b.transfers {
		t := &b.transfers[k]
		t.Phase, t.PendingID, t.Expires = Single, "", time.Time{}
		b.refused[k] = checkTransfer(*t)
	}
	if err := b.load(ctx, tx); err != nil {
		return nil, err
	}
	for k, t := range b.transfers {
		if b.refused[k] == nil {
			b.refused[k] = b.post(t)
		}
	}
	return b.refused, b.save(ctx, tx)
}

// posting is one call of PostAll.
type posting struct {
	transfers []Transfer
	refused   []error
	made      map[string]Transfer // by id, before and within this call
	accounts  map[string]*posted
	fresh     []Transfer // made within this call
}

// posted is an account within a call of PostAll.
type posted struct {
	Account
	change money.Amount // of the balance so far, in micros
}

// load reads the transfers and accounts that those to be made name.
func (b *posting) load(ctx context.Context, tx *Tx) error {
	ids := names(func(yield func(string) bool) {
		for k, t := range b.transfers {
			if b.refused[k] == nil && !yield(t.ID) {
				return
			}
		}
	})
	made, err := loadAll(ctx, tx, transferColumns, ids, scanTransfer)
	if err != nil {
		return err
	}
	for _, t := range made {
		b.made[t.ID] = t
	}
	accounts, err := loadAll(ctx, tx, accountColumns, names(b.sides), scanAccount)
	for _, account := range accounts {
		b.accounts[account.ID] = &posted{Account: account}
	}
	return err
}

// sides yields the accounts of the transfers.
func (b *posting) sides(yield func(string) bool) {
	for k, t := range b.transfers {
		if b.refused[k] == nil && !(yield(t.Debit) && yield(t.Credit)) {
			return
		}
	}
}

// loadAll reads the rows with one of the ids; what is not there is left out.
func loadAll[T any](ctx context.Context, tx *Tx, columns string, ids []any, scan func(scanner) (T, error)) (all []T, err error) {
	for from, to := range Spans(len(ids)) {
		rows, err := tx.QueryContext(ctx, columns+`WHERE id IN (`+List(to-from)+`)`, ids[from:to]...)
		if err != nil {
			return nil, err
		}
		some, err := collect(rows, scan)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// post is Post on what is in memory.
func (b *posting) post(t Transfer) error {
	if made, found := b.made[t.ID]; found {
		return differs(made, t)
	}
	debit, err := b.side(t, t.Debit)
	if err != nil {
		return err
	}
	credit, err := b.side(t, t.Credit)
	if err != nil {
		return err
	}
	if credit.Balance+t.Amount > MaxBalance {
		return overflows(t)
	}
	if debit.Available() < t.Amount {
		return insufficient(t, debit.Account)
	}
	debit.Balance -= t.Amount
	debit.change -= t.Amount
	credit.Balance += t.Amount
	credit.change += t.Amount
	b.made[t.ID] = t
	b.fresh = append(b.fresh, t)
	return nil
}

func (b *posting) side(t Transfer, id string) (*posted, error) {
	account := b.accounts[id]
	if account == nil {
		return nil, fmt.Errorf("transfer %s: account %.400q: %w", t.ID, id, ErrNotFound)
	}
	return account, checkSide(t, account.Account)
}

// save changes each account once, all of them by the statement that Post swaps
// a balance with, and writes the transfers in their order.
func (b *posting) save(ctx context.Context, tx *Tx) error {
	for _, id := range slices.Sorted(func(yield func(string) bool) {
		for id, account := range b.accounts {
			if account.change != 0 && !yield(id) {
				return
			}
		}
	}) {
		change := int64(b.accounts[id].change)
		changed, err := tx.execOne(ctx,
			`UPDATE accounts SET balance = balance + ? WHERE id = ? AND balance - pending + ? >= floor`, change, id, change)
		if err == nil && !changed {
			err = tx.fail(fmt.Errorf("account %s changed within a transaction", id))
		}
		if err != nil {
			return err
		}
	}
	for from, to := range Spans(len(b.fresh)) {
		var arguments []any
		for _, t := range b.fresh[from:to] {
			arguments = append(arguments, t.ID, string(t.Phase), sql.NullString{}, t.Debit, t.Credit,
				int64(t.Amount), string(t.Currency), t.Kind, t.Reference, int64(0), tx.now.UnixMicro())
		}
		if _, err := tx.ExecContext(ctx, insertTransfers+Rows(to-from, 11), arguments...); err != nil {
			return err
		}
	}
	return nil
}
