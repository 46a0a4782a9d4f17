package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/paywordhq/payword/money"
)

const (
	// MaxTransferIDLength bounds a transfer's id, which is often made of a word,
	// the name that somebody else gave to a payment (100 bytes), where it came
	// from (24) and a number.
	MaxTransferIDLength = 160
	// MaxReferenceLength bounds the evidence that a transfer names; evidence
	// itself is kept elsewhere.
	MaxReferenceLength = 256

	expireSuffix = "!expire" // ends the ids that ExpireDue makes
)

var (
	// ErrTransferDiffers means that the id was used before with other content.
	ErrTransferDiffers = errors.New("a transfer of this id exists and differs")
	// ErrPendingEnded means that the pending transfer was already posted,
	// voided or expired by a transfer of another id.
	ErrPendingEnded = errors.New("the pending transfer has ended")
	// ErrPendingExpired means that the time of the pending transfer is over,
	// so that it can only be voided or expired.
	ErrPendingExpired = errors.New("the pending transfer has expired")
	// ErrPendingLive means that a pending transfer cannot expire yet.
	ErrPendingLive = errors.New("the pending transfer has not expired yet")
	// ErrCurrency means that an account of the transfer has another currency.
	ErrCurrency = errors.New("currency differs from the account's")
)

// Phase says what a transfer is.
type Phase string

const (
	Single  Phase = "single"  // moves its amount at once
	Pending Phase = "pending" // sets its amount aside in the debit account
	Posted  Phase = "post"    // ends a pending transfer and moves all or a part
	Voided  Phase = "void"    // ends a pending transfer and moves nothing
	Expired Phase = "expire"  // ends a pending transfer whose time is over
)

// Transfer is one line of the journal. It is never changed.
type Transfer struct {
	// ID is chosen by the client and is the idempotency key: 1 to
	// MaxTransferIDLength visible ASCII characters, not ending in "!expire".
	ID string
	// Debit is the account that gives, Credit the account that takes.
	Debit, Credit string
	// Amount is in micros, 1 to money.MaxAmount.
	Amount   money.Amount
	Currency money.Currency
	// Kind is a short word for what it is about: 1 to 32 of a-z, 0-9 and "-".
	Kind string
	// Reference names the evidence, such as a commitment's id: up to
	// MaxReferenceLength visible ASCII characters and spaces.
	Reference string
	// Expires is when a pending transfer ends by itself; zero is never. Only
	// Pend reads it, to the microsecond.
	Expires time.Time

	// The ledger sets what follows; it is ignored in a transfer to be made.

	// Seq numbers the transfers in the order they were made.
	Seq   int64
	Phase Phase
	// PendingID is the transfer that this one ends, or "".
	PendingID string
	Created   time.Time
}

// Ending names the end of a pending transfer. Accounts, currency and kind are
// those of the pending transfer.
type Ending struct {
	// ID is the id of the ending itself, under the rules of Transfer.ID.
	ID string
	// PendingID is the id of the transfer to be ended.
	PendingID string
	// Amount is what PostPending moves, in micros, 1 to the pending amount;
	// the rest is available again. VoidPending and ExpirePending ignore it.
	Amount money.Amount
	// Reference is as in Transfer.
	Reference string
}

// Post makes a transfer at once. It is one compare-and-swap of the debit
// account: the amount leaves only if what stays, less what is pending, is not
// below the floor.
//
// Nothing was changed when one of these comes back: ErrInsufficient,
// ErrTransferDiffers, ErrNotFound (an account), ErrCurrency. The same transfer
// again returns nil and does nothing.
func (tx *Tx) Post(ctx context.Context, t Transfer) error {
	t.Phase, t.PendingID, t.Expires = Single, "", time.Time{}
	return tx.begin(ctx, t)
}

// Pend sets the amount aside in the debit account until PostPending,
// VoidPending or ExpirePending ends it. Errors are those of Post.
func (tx *Tx) Pend(ctx context.Context, t Transfer) error {
	t.Phase, t.PendingID = Pending, ""
	if !t.Expires.IsZero() {
		t.Expires = t.Expires.UTC().Truncate(time.Microsecond)
		if t.Expires.UnixMicro() <= 0 {
			return fmt.Errorf("transfer %s: expiry %s is before 1970", t.ID, t.Expires)
		}
	}
	return tx.begin(ctx, t)
}

// begin makes a transfer of phase Single or Pending.
func (tx *Tx) begin(ctx context.Context, t Transfer) error {
	if err := checkTransfer(t); err != nil {
		return err
	}
	if done, err := tx.repeated(ctx, t); done || err != nil {
		return err
	}
	debit, err := tx.sideOf(ctx, t, t.Debit)
	if err != nil {
		return err
	}
	credit, err := tx.sideOf(ctx, t, t.Credit)
	if err != nil {
		return err
	}
	if t.Phase == Single && credit.Balance+t.Amount > MaxBalance {
		return overflows(t)
	}
	taken, err := tx.take(ctx, t)
	if err != nil {
		return err
	}
	if !taken {
		return insufficient(t, debit)
	}
	if t.Phase == Single {
		if err := tx.give(ctx, t); err != nil {
			return err
		}
	}
	return tx.insert(ctx, t)
}

// take is the compare-and-swap on the debit account; false means that the
// balance does not suffice.
func (tx *Tx) take(ctx context.Context, t Transfer) (bool, error) {
	change := `UPDATE accounts SET balance = balance - ? WHERE id = ? AND balance - pending - ? >= floor`
	if t.Phase == Pending {
		change = `UPDATE accounts SET pending = pending + ? WHERE id = ? AND balance - pending - ? >= floor`
	}
	return tx.ExecOne(ctx, change, int64(t.Amount), t.Debit, int64(t.Amount))
}

func (tx *Tx) give(ctx context.Context, t Transfer) error {
	given, err := tx.ExecOne(ctx, `UPDATE accounts SET balance = balance + ? WHERE id = ?`, int64(t.Amount), t.Credit)
	if err == nil && !given {
		err = tx.fail(fmt.Errorf("transfer %s: account %s vanished", t.ID, t.Credit))
	}
	return err
}

// sideOf returns one of the two accounts, or says why it cannot be that.
func (tx *Tx) sideOf(ctx context.Context, t Transfer, id string) (Account, error) {
	account, err := tx.Account(ctx, id)
	if err != nil {
		return Account{}, fmt.Errorf("transfer %s: %w", t.ID, err)
	}
	return account, checkSide(t, account)
}

func checkSide(t Transfer, account Account) error {
	if account.Currency != t.Currency {
		return fmt.Errorf("transfer %s in %s, account %s in %s: %w",
			t.ID, t.Currency, account.ID, account.Currency, ErrCurrency)
	}
	return nil
}

func insufficient(t Transfer, debit Account) error {
	return fmt.Errorf("transfer %s: %s of %s available in %s: %w",
		t.ID, debit.Available(), t.Amount, t.Debit, ErrInsufficient)
}

func overflows(t Transfer) error {
	return fmt.Errorf("transfer %s: balance of %s: %w", t.ID, t.Credit, money.ErrOverflow)
}

// PostPending ends a pending transfer and moves the amount of e, all or a part
// of what was set aside; the rest is available again.
//
// Nothing was changed when one of these comes back: ErrNotFound (no such
// pending transfer), ErrPendingEnded, ErrPendingExpired (from the expiry on),
// ErrTransferDiffers, ErrInsufficient (more than was set aside). The same
// ending again returns nil and does nothing.
func (tx *Tx) PostPending(ctx context.Context, e Ending) error { return tx.end(ctx, e, Posted) }

// VoidPending ends a pending transfer and moves nothing, before or after its
// expiry. ErrNotFound, ErrPendingEnded and ErrTransferDiffers as in PostPending.
func (tx *Tx) VoidPending(ctx context.Context, e Ending) error { return tx.end(ctx, e, Voided) }

// ExpirePending ends a pending transfer whose time is over and moves nothing.
// ErrPendingLive means that its time is not over, or never will be; the other
// errors are those of VoidPending.
func (tx *Tx) ExpirePending(ctx context.Context, e Ending) error {
	return tx.end(ctx, e, Expired)
}

// ExpireDue expires pending transfers whose time is over, the earliest first,
// at most limit of them (1 to MaxPage), and returns how many. The ending of the
// transfer "x" has the id "x!expire".
func (tx *Tx) ExpireDue(ctx context.Context, limit int) (int, error) {
	if err := checkPage(limit); err != nil {
		return 0, err
	}
	rows, err := tx.QueryContext(ctx, transferColumns+`WHERE phase = 'pending' AND expires > 0 AND expires <= ?
		AND NOT EXISTS (SELECT 1 FROM transfers AS ending WHERE ending.pending_id = transfers.id)
		ORDER BY expires LIMIT ?`, tx.now.UnixMicro(), limit)
	if err != nil {
		return 0, err
	}
	due, err := collect(rows, scanTransfer)
	if err != nil {
		return 0, err
	}
	for _, pending := range due {
		if err := tx.endChecked(ctx, endingOf(pending, Ending{ID: pending.ID + expireSuffix}, Expired), pending); err != nil {
			return 0, err
		}
	}
	return len(due), nil
}

// end checks an ending against its pending transfer and makes it.
func (tx *Tx) end(ctx context.Context, e Ending, phase Phase) error {
	pending, err := tx.Transfer(ctx, e.PendingID)
	if err != nil {
		return err
	}
	if pending.Phase != Pending {
		return fmt.Errorf("transfer %s is not pending but %s: %w", e.PendingID, pending.Phase, ErrNotFound)
	}
	t := endingOf(pending, e, phase)
	if err := checkTransfer(t); err != nil {
		return err
	}
	return tx.endChecked(ctx, t, pending)
}

// endingOf returns the transfer that ends pending.
func endingOf(pending Transfer, e Ending, phase Phase) Transfer {
	t := pending
	t.ID, t.Reference, t.Phase, t.PendingID, t.Expires = e.ID, e.Reference, phase, pending.ID, time.Time{}
	if phase == Posted {
		t.Amount = e.Amount
	}
	return t
}

func (tx *Tx) endChecked(ctx context.Context, t, pending Transfer) error {
	if done, err := tx.repeated(ctx, t); done || err != nil {
		return err
	}
	if err := tx.mayEnd(ctx, t, pending); err != nil {
		return err
	}
	moved := money.Amount(0)
	if t.Phase == Posted {
		moved = t.Amount
	}
	released, err := tx.ExecOne(ctx,
		`UPDATE accounts SET pending = pending - ?, balance = balance - ? WHERE id = ? AND pending >= ?`,
		int64(pending.Amount), int64(moved), t.Debit, int64(pending.Amount))
	if err == nil && !released {
		err = tx.fail(fmt.Errorf("transfer %s: account %s has less pending than transfer %s", t.ID, t.Debit, pending.ID))
	}
	if err != nil {
		return err
	}
	if t.Phase == Posted {
		if err := tx.give(ctx, t); err != nil {
			return err
		}
	}
	return tx.insert(ctx, t)
}

// mayEnd says why t cannot end pending now.
func (tx *Tx) mayEnd(ctx context.Context, t, pending Transfer) error {
	over := !pending.Expires.IsZero() && !tx.now.Before(pending.Expires)
	var ender string
	err := tx.QueryRowContext(ctx, `SELECT id FROM transfers WHERE pending_id = ?`, pending.ID).Scan(&ender)
	switch {
	case err == nil:
		return fmt.Errorf("transfer %s, by %s: %w", pending.ID, ender, ErrPendingEnded)
	case !errors.Is(err, sql.ErrNoRows):
		return err
	case t.Phase == Posted && over:
		return fmt.Errorf("transfer %s: %w", pending.ID, ErrPendingExpired)
	case t.Phase == Expired && !over:
		return fmt.Errorf("transfer %s: %w", pending.ID, ErrPendingLive)
	case t.Amount > pending.Amount:
		return fmt.Errorf("transfer %s: %s of %s set aside by %s: %w", t.ID, t.Amount, pending.Amount, pending.ID, ErrInsufficient)
	}
	if t.Phase != Posted {
		return nil
	}
	credit, err := tx.Account(ctx, t.Credit)
	if err == nil && credit.Balance+t.Amount > MaxBalance {
		err = overflows(t)
	}
	return err
}

// repeated says whether t was made before; ErrTransferDiffers means that its id
// stands for something else.
func (tx *Tx) repeated(ctx context.Context, t Transfer) (bool, error) {
	made, err := tx.Transfer(ctx, t.ID)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, differs(made, t)
}

// differs returns ErrTransferDiffers unless t is what was made under its id.
func differs(made, t Transfer) error {
	made.Seq, made.Created = t.Seq, t.Created
	if made != t {
		return fmt.Errorf("transfer %s: %w", t.ID, ErrTransferDiffers)
	}
	return nil
}

// insertTransfers is followed by a row for each transfer.
const insertTransfers = `INSERT INTO transfers
	(id, phase, pending_id, debit, credit, amount, currency, kind, reference, expires, created) VALUES `

func (tx *Tx) insert(ctx context.Context, t Transfer) error {
	expires := int64(0)
	if !t.Expires.IsZero() {
		expires = t.Expires.UnixMicro()
	}
	_, err := tx.ExecContext(ctx, insertTransfers+Rows(1, 11),
		t.ID, string(t.Phase), sql.NullString{String: t.PendingID, Valid: t.PendingID != ""}, t.Debit, t.Credit,
		int64(t.Amount), string(t.Currency), t.Kind, t.Reference, expires, tx.now.UnixMicro())
	return err
}

// Transfer returns the transfer of that id, or ErrNotFound.
func (tx *Tx) Transfer(ctx context.Context, id string) (Transfer, error) {
	t, err := scanTransfer(tx.QueryRowContext(ctx, transferColumns+`WHERE id = ?`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return Transfer{}, fmt.Errorf("transfer %.200q: %w", id, ErrNotFound)
	}
	return t, err
}

// Entries returns the transfers that name the account on either side, of every
// phase, in the order they were made, from the first one after the Seq given (0
// for the first page), at most limit of them (1 to MaxPage).
func (tx *Tx) Entries(ctx context.Context, account string, after int64, limit int) ([]Transfer, error) {
	if err := checkPage(limit); err != nil {
		return nil, err
	}
	// Two ordered ranges, one for each index, instead of an OR that would sort
	// the whole history.
	rows, err := tx.QueryContext(ctx,
		`SELECT * FROM (`+transferColumns+`WHERE debit = ? AND seq > ? ORDER BY seq LIMIT ?) AS debits
		UNION ALL
		SELECT * FROM (`+transferColumns+`WHERE credit = ? AND seq > ? ORDER BY seq LIMIT ?) AS credits
		ORDER BY seq LIMIT ?`, account, after, limit, account, after, limit, limit)
	if err != nil {
		return nil, err
	}
	return collect(rows, scanTransfer)
}

const transferColumns = `SELECT seq, id, phase, COALESCE(pending_id, '') AS pending_id, debit, credit,
	amount, currency, kind, reference, expires, created FROM transfers `

func scanTransfer(row scanner) (Transfer, error) {
	var t Transfer
	var expires, created int64
	err := row.Scan(&t.Seq, &t.ID, (*string)(&t.Phase), &t.PendingID, &t.Debit, &t.Credit,
		(*int64)(&t.Amount), (*string)(&t.Currency), &t.Kind, &t.Reference, &expires, &created)
	if expires != 0 {
		t.Expires = time.UnixMicro(expires).UTC()
	}
	t.Created = time.UnixMicro(created).UTC()
	return t, err
}

var kindName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// checkTransfer looks at a transfer alone. The accounts and the currency are
// checked against the books later.
func checkTransfer(t Transfer) error {
	switch {
	case !isVisible(t.ID, MaxTransferIDLength):
		return fmt.Errorf("transfer id %.40q: want 1 to %d visible ASCII characters", t.ID, MaxTransferIDLength)
	case len(t.ID) >= len(expireSuffix) && t.ID[len(t.ID)-len(expireSuffix):] == expireSuffix:
		return fmt.Errorf("transfer id %q: %q at the end is the ledger's own", t.ID, expireSuffix)
	case t.Amount < 1 || t.Amount > money.MaxAmount:
		return fmt.Errorf("transfer %s: amount %s: want 1 to %s", t.ID, t.Amount, money.MaxAmount)
	case t.Debit == t.Credit:
		return fmt.Errorf("transfer %s: debit and credit are both %.400q", t.ID, t.Debit)
	case !kindName.MatchString(t.Kind):
		return fmt.Errorf("transfer %s: kind %.40q: want 1 to 32 of a-z, 0-9 and -", t.ID, t.Kind)
	case len(t.Reference) > MaxReferenceLength || !isPrintable(t.Reference):
		return fmt.Errorf("transfer %s: reference: want at most %d printable ASCII characters", t.ID, MaxReferenceLength)
	}
	return nil
}

func isPrintable(text string) bool {
	for _, c := range []byte(text) {
		if c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}
