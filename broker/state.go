package broker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// The states of an account.
const (
	stateOpen    = "open"
	stateBlocked = "blocked" // by the operator: no certificates, no reservations; what is reserved stays redeemable
	stateClosing = "closing" // its owner asked for it: reservations run out, and the rest is paid out
	stateClosed  = "closed"  // nothing is on it any more, for ever
)

// maxReason bounds what an operator writes about what was done, in characters.
const maxReason = 200

// accountRow is what the broker keeps of an account beside its balances.
type accountRow struct {
	id, state string
	parent    string // "": it is no sub-account
	name      string // that the parent chose
	paused    bool   // by the parent
	holder    string // "": a white account
	age       int
	created   int64 // microseconds since 1970
}

const accountColumns = `SELECT id, state, parent, name, paused, holder, age, created FROM broker_accounts `

// loadAccountRow returns an account; ledger.ErrNotFound means that there is none.
func loadAccountRow(ctx context.Context, tx *ledger.Tx, id string) (accountRow, error) {
	row, err := scanAccountRow(tx.QueryRowContext(ctx, accountColumns+`WHERE id = ?`, id).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return row, ledger.ErrNotFound
	}
	return row, err
}

func scanAccountRow(scan func(target ...any) error) (row accountRow, err error) {
	err = scan(&row.id, &row.state, &row.parent, &row.name, &row.paused, &row.holder, &row.age, &row.created)
	return row, err
}

// isSub reports whether the account belongs to another one.
func (r accountRow) isSub() bool { return r.parent != "" }

// isWhite reports whether nothing ties the account to anybody.
func (r accountRow) isWhite() bool { return r.holder == "" && !r.isSub() }

// refusal says why nothing new may be promised from the account: Blocked or
// AccountClosed.
func (r accountRow) refusal() payword.Refusal {
	switch {
	case r.state == stateBlocked:
		return refuse(payword.Blocked, "the account is blocked: ask whoever runs this broker")
	case r.state != stateOpen:
		return refuse(payword.AccountClosed, "the account is %s", r.state)
	case r.paused:
		return refuse(payword.Blocked, "the account is paused: ask the owner of the account that it belongs to")
	}
	return payword.Refusal{}
}

// requireAccount returns an account. It refuses with UnknownAccount.
func requireAccount(ctx context.Context, tx *ledger.Tx, id string) (accountRow, error) {
	row, err := loadAccountRow(ctx, tx, id)
	if errors.Is(err, ledger.ErrNotFound) {
		return row, refused(unknownAccount())
	}
	return row, err
}

// requireOpen makes sure, within the transaction of what is to be done, that an
// account may promise something new: certificates, reservations, payouts. It
// returns the account. It refuses with UnknownAccount (there is none, or the
// device that asks was removed meanwhile), Blocked or AccountClosed.
func (s *store) requireOpen(ctx context.Context, tx *ledger.Tx, account string) (accountRow, error) {
	if err := requireDevice(ctx, tx); err != nil {
		return accountRow{}, err
	}
	row, err := requireAccount(ctx, tx, account)
	if err != nil {
		return row, err
	}
	if refusal := row.refusal(); refusal.Refused() {
		return row, refused(refusal)
	}
	if !row.isSub() {
		return row, nil
	}
	parent, err := requireAccount(ctx, tx, row.parent)
	if err != nil {
		return row, err
	}
	if refusal := parent.refusal(); refusal.Refused() {
		return row, refused(payword.Refusal{Reason: refusal.Reason, Detail: "of the account that this one belongs to: " + refusal.Detail})
	}
	return row, nil
}

// requireMain is requireOpen for what a sub-account may not do, which is refused
// with NotPermitted.
func (s *store) requireMain(ctx context.Context, tx *ledger.Tx, account, what string) (accountRow, error) {
	row, err := s.requireOpen(ctx, tx, account)
	if err == nil && row.isSub() {
		err = refused(refuse(payword.NotPermitted, "a sub-account has no %s: ask with the account that it belongs to", what))
	}
	return row, err
}

// setState swaps the state of an account. It reports whether it did; if not,
// the account was in another state than before.
func setState(ctx context.Context, tx *ledger.Tx, account, before, after string) (bool, error) {
	return tx.ExecOne(ctx, `UPDATE broker_accounts SET state = ? WHERE id = ? AND state = ?`, after, account, before)
}

// BlockAccount makes sure that nothing new is promised from an account and its
// sub-accounts: no certificates, no reservations, no payouts. What is reserved
// stays redeemable. reason is for the audit log, 1 to 200 characters. An account that
// is blocked stays so. It refuses with UnknownAccount or AccountClosed.
func (b *Broker) BlockAccount(ctx context.Context, account, reason string) (payword.Account, payword.Refusal, error) {
	return b.store.blockAccount(ctx, account, reason)
}

func (s *store) blockAccount(ctx context.Context, account, reason string) (after payword.Account, refusal payword.Refusal, err error) {
	if err := checkReason(reason); err != nil {
		return after, refusal, err
	}
	refusal, err = s.update(ctx, "block account", func(tx *ledger.Tx) error {
		row, err := requireAccount(ctx, tx, account)
		if err != nil {
			return err
		}
		if row.state == stateClosed {
			return refused(row.refusal())
		}
		if row.state != stateBlocked {
			_, err = setState(ctx, tx, account, row.state, stateBlocked)
			if err == nil {
				err = followState(ctx, tx, account)
			}
			if err == nil {
				err = audit(ctx, tx, auditEntry{"block-account", "account:" + account, reason})
			}
		}
		if err != nil {
			return err
		}
		after, err = s.accountIn(ctx, tx, account)
		return err
	})
	return after, refusal, err
}

// UnblockAccount undoes BlockAccount: an account whose owner had asked to close
// it goes on closing. It refuses with UnknownAccount or AccountClosed.
func (b *Broker) UnblockAccount(ctx context.Context, account, reason string) (payword.Account, payword.Refusal, error) {
	return b.store.unblockAccount(ctx, account, reason)
}

func (s *store) unblockAccount(ctx context.Context, account, reason string) (after payword.Account, refusal payword.Refusal, err error) {
	if err := checkReason(reason); err != nil {
		return after, refusal, err
	}
	refusal, err = s.update(ctx, "unblock account", func(tx *ledger.Tx) error {
		row, err := requireAccount(ctx, tx, account)
		if err != nil {
			return err
		}
		if row.state == stateClosed {
			return refused(row.refusal())
		}
		if row.state == stateBlocked {
			err = unblock(ctx, tx, account, reason)
		}
		if err != nil {
			return err
		}
		after, err = s.accountIn(ctx, tx, account)
		return err
	})
	return after, refusal, err
}

func unblock(ctx context.Context, tx *ledger.Tx, account, reason string) error {
	_, isClosing, err := loadClosing(ctx, tx, account)
	if err != nil {
		return err
	}
	state := stateOpen
	if isClosing {
		state = stateClosing
	}
	if _, err := setState(ctx, tx, account, stateBlocked, state); err != nil {
		return err
	}
	if err := followState(ctx, tx, account); err != nil {
		return err
	}
	return audit(ctx, tx, auditEntry{"unblock-account", "account:" + account, reason})
}

func checkReason(reason string) error {
	if reason == "" || utf8.RuneCountInString(reason) > maxReason || !isOneLine(reason) {
		return fmt.Errorf("reason: want one line of 1 to %d characters", maxReason)
	}
	return nil
}

// isOneLine reports whether a text can be stored and shown as one line.
func isOneLine(text string) bool {
	for _, c := range text {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return utf8.ValidString(text)
}

// maxHolder bounds the reference to an operator's own records, in characters.
const maxHolder = 200

// SetHolder ties an account to a reference of the operator's own customer
// records, 1 to 200 characters, which lifts the ceiling of white accounts; "" makes it
// a white account again. It refuses with UnknownAccount, NotPermitted (a
// sub-account, or a white account with a credit line) or OverAccountLimit (it
// holds more than a white account may).
func (b *Broker) SetHolder(ctx context.Context, account, holder string) (payword.Account, payword.Refusal, error) {
	return b.store.setHolder(ctx, account, holder)
}

func (s *store) setHolder(ctx context.Context, account, holder string) (after payword.Account, refusal payword.Refusal, err error) {
	if utf8.RuneCountInString(holder) > maxHolder || !isOneLine(holder) {
		return after, refusal, fmt.Errorf("holder: want one line of at most %d characters", maxHolder)
	}
	refusal, err = s.update(ctx, "set holder", func(tx *ledger.Tx) error {
		row, err := requireAccount(ctx, tx, account)
		if err != nil {
			return err
		}
		if row.isSub() {
			return refused(refuse(payword.NotPermitted, "a sub-account is held by whoever holds the account that it belongs to"))
		}
		if _, err := tx.ExecOne(ctx, `UPDATE broker_accounts SET holder = ? WHERE id = ?`, holder, account); err != nil {
			return err
		}
		if after, err = s.accountIn(ctx, tx, account); err != nil {
			return err
		}
		if holder == "" && after.Credit > 0 {
			return refused(refuse(payword.NotPermitted, "a white account has no credit line: take that of this account away first"))
		}
		if err := s.checkCeiling(ctx, tx, account, 0); err != nil {
			return err
		}
		// The reference itself stays out of the log, which is kept for ever.
		what := "tied to a holder"
		if holder == "" {
			what = "tied to nobody"
		}
		return audit(ctx, tx, auditEntry{"set-holder", "account:" + account, what})
	})
	return after, refusal, err
}

// checkCeiling refuses with OverAccountLimit if a white account, with its
// sub-accounts, would hold more than it may once amount, in micros, is put on
// it. What is reserved or on its way out still counts.
func (s *store) checkCeiling(ctx context.Context, tx *ledger.Tx, account string, amount money.Amount) error {
	ceiling, holds, err := s.ceilingOf(ctx, tx, account)
	if err != nil || holds <= ceiling-amount {
		return err
	}
	return refused(refuse(payword.OverAccountLimit,
		"the account holds %s %s, and an account tied to nobody may hold %s: ask whoever runs this broker to tie it to you",
		holds.Decimal(), s.currency.Code(), ceiling.Decimal()))
}

// ceilingOf returns what a white account may hold with its sub-accounts, and what
// they hold, in micros. Other accounts hold nothing that counts, and may hold
// whatever comes.
func (s *store) ceilingOf(ctx context.Context, tx *ledger.Tx, account string) (ceiling, holds money.Amount, err error) {
	row, err := requireAccount(ctx, tx, account)
	if err != nil || !row.isWhite() {
		return money.MaxAmount, 0, err
	}
	if err := tx.QueryRowContext(ctx, `SELECT white_ceiling FROM broker_settings WHERE one = 1`).Scan(&ceiling); err != nil {
		return 0, 0, err
	}
	holds, err = s.familyBalance(ctx, tx, account)
	return ceiling, holds, err
}

// familyIDs returns the ids of an account and of its sub-accounts that are not
// closed.
func familyIDs(ctx context.Context, tx *ledger.Tx, account string) ([]string, error) {
	ids, err := tx.Texts(ctx, `SELECT id FROM broker_accounts WHERE parent = ? AND parent <> '' AND state <> 'closed' ORDER BY id LIMIT ?`,
		account, maxSubAccounts)
	return append(ids, account), err
}
