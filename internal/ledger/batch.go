package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"maps"
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

// ListOutcome is what came of one list of PostLists.
type ListOutcome struct {
	// Made is how many of its transfers are made, its first ones.
	Made int
	// Refused is the error with which Post would have refused the next one, or
	// nil if there is none. It and those after it changed nothing.
	Refused error
}

// PostLists makes transfers as Post does, one after the other in their order:
// the first decides on the balance that the second finds. A list ends with the
// first of its transfers that is refused; the other lists go on. All together
// take a few statements.
//
// There is an outcome for each list. An error means that PostLists could not
// tell, and the transaction has failed.
func (tx *Tx) PostLists(ctx context.Context, lists [][]Transfer) ([]ListOutcome, error) {
	return tx.makeLists(ctx, Single, lists)
}

// PendLists is PostLists for transfers that are made as Pend does. None of them
// may have an expiry.
func (tx *Tx) PendLists(ctx context.Context, lists [][]Transfer) ([]ListOutcome, error) {
	return tx.makeLists(ctx, Pending, lists)
}

func (tx *Tx) makeLists(ctx context.Context, phase Phase, lists [][]Transfer) ([]ListOutcome, error) {
	b := &posting{made: make(map[string]Transfer), accounts: make(map[string]*posted)}
	for _, list := range lists {
		list = slices.Clone(list)
		for k := range list {
			if phase == Pending && !list[k].Expires.IsZero() {
				return nil, fmt.Errorf("transfer %s: an expiry, which lists do not take", list[k].ID)
			}
			list[k].Phase, list[k].PendingID, list[k].Expires = phase, "", time.Time{}
		}
		b.lists = append(b.lists, list)
	}
	if err := b.load(ctx, tx); err != nil {
		return nil, err
	}
	outcomes := make([]ListOutcome, len(lists))
	for k, list := range b.lists {
		for _, t := range list {
			if outcomes[k].Refused = b.post(t); outcomes[k].Refused != nil {
				break
			}
			outcomes[k].Made++
		}
	}
	return outcomes, b.save(ctx, tx)
}

// posting is one call of PostLists or PendLists.
type posting struct {
	lists    [][]Transfer
	made     map[string]Transfer // by id, before and within this call
	accounts map[string]*posted
	fresh    []Transfer // made within this call
}

// posted is an account within a posting.
type posted struct {
	Account
	change money.Amount // of the balance so far, in micros
	pended money.Amount // more of it that is pending, in micros
}

// load reads the transfers and accounts that those to be made name.
func (b *posting) load(ctx context.Context, tx *Tx) error {
	made, err := loadAll(ctx, tx, transferColumns, names(b.ids), scanTransfer)
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

// ids yields the ids of the transfers.
func (b *posting) ids(yield func(string) bool) {
	for _, list := range b.lists {
		for _, t := range list {
			if !yield(t.ID) {
				return
			}
		}
	}
}

// sides yields the accounts of the transfers.
func (b *posting) sides(yield func(string) bool) {
	for _, list := range b.lists {
		for _, t := range list {
			if !yield(t.Debit) || !yield(t.Credit) {
				return
			}
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

// post is Post, or Pend, on what is in memory.
func (b *posting) post(t Transfer) error {
	if err := checkTransfer(t); err != nil {
		return err
	}
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
	if t.Phase == Single && credit.Balance+t.Amount > MaxBalance {
		return overflows(t)
	}
	if debit.Available() < t.Amount {
		return insufficient(t, debit.Account)
	}
	if t.Phase == Pending {
		debit.Pending += t.Amount
		debit.pended += t.Amount
	} else {
		debit.Balance -= t.Amount
		debit.change -= t.Amount
		credit.Balance += t.Amount
		credit.change += t.Amount
	}
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

// save changes each account once, by the compare-and-swap of a balance that Post
// makes, and writes the transfers in their order.
func (b *posting) save(ctx context.Context, tx *Tx) error {
	var changes [][]any
	for _, id := range slices.Sorted(maps.Keys(b.accounts)) {
		if account := b.accounts[id]; account.change != 0 || account.pended != 0 {
			change, pended := int64(account.change), int64(account.pended)
			changes = append(changes, []any{change, pended, id, change - pended})
		}
	}
	changed, err := tx.ExecEach(ctx, `UPDATE accounts SET balance = balance + ?, pending = pending + ?
		WHERE id = ? AND balance - pending + ? >= floor`, changes)
	if err != nil {
		return err
	}
	if changed != int64(len(changes)) {
		return tx.fail(fmt.Errorf("%d of %d accounts changed within a transaction", int64(len(changes))-changed, len(changes)))
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
