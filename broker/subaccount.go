package broker

import (
	"context"
	"errors"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const (
	// maxSubAccounts is how many sub-accounts of one account are not closed:
	// each limit that is checked adds up what all of them spend.
	maxSubAccounts = 64
	// maxSubAccountsEver is how many an account has had, because a closed one
	// stays in the books for ever.
	maxSubAccountsEver = 4096
)

// requireChild returns a sub-account of parent, or refuses with UnknownAccount,
// whoever else's it may be.
func requireChild(ctx context.Context, tx *ledger.Tx, parent, child string) (accountRow, error) {
	row, err := loadAccountRow(ctx, tx, child)
	if errors.Is(err, ledger.ErrNotFound) || err == nil && row.parent != parent {
		return row, refused(refuse(payword.UnknownAccount, "this account has no such sub-account"))
	}
	return row, err
}

// openSubAccount opens an account with a budget of its own for an agent's key,
// or finds the one it has. It refuses as addDevice does.
func (b *Broker) openSubAccount(ctx context.Context, by caller, request payword.OpenSubAccount) (opened payword.SubAccount, isNew bool, refusal payword.Refusal, err error) {
	keyID, key, refusal, err := b.checkPossession(ctx, payword.PossessionSubAccount, by.account, request.Key, request.Challenge, request.Proof)
	if err != nil || refusal.Refused() {
		return opened, false, refusal, err
	}
	refusal, err = b.store.update(ctx, "open sub-account", func(tx *ledger.Tx) error {
		isNew = false
		if _, err := b.store.requireMain(ctx, tx, by.account, "sub-accounts"); err != nil {
			return err
		}
		known, err := loadDevice(ctx, tx, keyID)
		if err != nil {
			return err
		}
		id := known.account
		if isNew = id == ""; isNew {
			id, err = b.store.insertSubAccount(ctx, tx, by.account, keyID, key, request)
		} else if row, loadErr := loadAccountRow(ctx, tx, id); loadErr != nil || row.parent != by.account {
			err = loadErr
			if err == nil {
				err = refused(keyTaken())
			}
		}
		if err != nil {
			return err
		}
		opened, err = b.store.subAccountIn(ctx, tx, id)
		return err
	})
	return opened, isNew, refusal, err
}

func (s *store) insertSubAccount(ctx context.Context, tx *ledger.Tx, parent, keyID string, key []byte, request payword.OpenSubAccount) (string, error) {
	var open, ever int64
	err := tx.QueryRowContext(ctx, `SELECT COALESCE(SUM(CASE WHEN state <> 'closed' THEN 1 ELSE 0 END), 0), COUNT(*)
		FROM broker_accounts WHERE parent = ? AND parent <> ''`, parent).Scan(&open, &ever)
	if err != nil {
		return "", err
	}
	if open >= maxSubAccounts || ever >= maxSubAccountsEver {
		return "", refused(refuse(payword.RateLimited, "the account has %d sub-accounts, and has had %d: at most %d at a time and %d in all",
			open, ever, maxSubAccounts, maxSubAccountsEver))
	}
	id := randomID()
	if err := s.insertAccount(ctx, tx, id, keyID, key, parent, request.Name); err != nil {
		return "", err
	}
	if err := audit(ctx, tx, auditEntry{"open-sub-account", "account:" + parent, id}); err != nil {
		return "", err
	}
	return id, saveLimits(ctx, tx, id, setByOwner, request.Limits)
}

// subAccountIn returns what the parent is told of a sub-account.
func (s *store) subAccountIn(ctx context.Context, tx *ledger.Tx, id string) (payword.SubAccount, error) {
	row, err := loadAccountRow(ctx, tx, id)
	if err != nil {
		return payword.SubAccount{}, err
	}
	balances, err := s.accountIn(ctx, tx, id)
	if err != nil {
		return payword.SubAccount{}, err
	}
	limits, err := loadLimits(ctx, tx, id)
	return payword.SubAccount{
		Account: id, Name: row.name, State: row.state, Paused: row.paused,
		Available: balances.Available, Reserved: balances.Reserved, Limits: limits.Own,
	}, err
}

// subAccounts lists the sub-accounts of an account, in the order of their ids.
func (s *store) subAccounts(ctx context.Context, parent string, l Listing) (list payword.SubAccountList, err error) {
	list.SubAccounts = []payword.SubAccount{}
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		ids, err := tx.Texts(ctx, `SELECT id FROM broker_accounts WHERE parent = ? AND parent <> '' AND id > ? ORDER BY id LIMIT ?`,
			parent, l.After, l.Limit+1)
		if err != nil {
			return err
		}
		ids, list.Next = cut(ids, l, itself)
		for _, id := range ids {
			sub, err := s.subAccountIn(ctx, tx, id)
			if err != nil {
				return err
			}
			list.SubAccounts = append(list.SubAccounts, sub)
		}
		return nil
	})
	return list, err
}

// changeSubAccount renames, pauses or limits a sub-account of the caller's, as
// far as it is asked for. It refuses with UnknownAccount or AccountClosed.
func (b *Broker) changeSubAccount(ctx context.Context, by caller, id string, request payword.ChangeSubAccount) (changed payword.SubAccount, refusal payword.Refusal, err error) {
	refusal, err = b.store.update(ctx, "change sub-account", func(tx *ledger.Tx) error {
		if err := requireDevice(ctx, tx); err != nil {
			return err
		}
		row, err := requireChild(ctx, tx, by.account, id)
		if err == nil && row.state == stateClosed {
			err = refused(row.refusal())
		}
		if err == nil {
			err = applyChange(ctx, tx, row, request)
		}
		if err != nil {
			return err
		}
		changed, err = b.store.subAccountIn(ctx, tx, id)
		return err
	})
	return changed, refusal, err
}

func applyChange(ctx context.Context, tx *ledger.Tx, row accountRow, request payword.ChangeSubAccount) error {
	if request.Name != nil {
		row.name = *request.Name
	}
	if request.Paused != nil && *request.Paused != row.paused {
		row.paused = *request.Paused
		action := "pause-sub-account"
		if !row.paused {
			action = "resume-sub-account"
		}
		if err := audit(ctx, tx, auditEntry{action, "account:" + row.id, "by its parent"}); err != nil {
			return err
		}
	}
	paused := 0
	if row.paused {
		paused = 1
	}
	if _, err := tx.ExecOne(ctx, `UPDATE broker_accounts SET name = ?, paused = ? WHERE id = ?`, row.name, paused, row.id); err != nil {
		return err
	}
	if err := followState(ctx, tx, row.id); err != nil || request.Limits == nil {
		return err
	}
	return saveLimits(ctx, tx, row.id, setByOwner, *request.Limits)
}

// closeSubAccount begins to close a sub-account of the caller's: what is left
// goes back to the parent once its reservations have run out. It refuses with
// UnknownAccount.
func (b *Broker) closeSubAccount(ctx context.Context, by caller, id string) (closed payword.SubAccount, refusal payword.Refusal, err error) {
	refusal, err = b.store.update(ctx, "close sub-account", func(tx *ledger.Tx) error {
		if err := requireDevice(ctx, tx); err != nil {
			return err
		}
		if _, err := requireChild(ctx, tx, by.account, id); err != nil {
			return err
		}
		if err := b.store.closeOne(ctx, tx, id, payoutDestination{}); err != nil {
			return err
		}
		closed, err = b.store.subAccountIn(ctx, tx, id)
		return err
	})
	return closed, refusal, err
}

// transferToSub moves money between the caller's account and a sub-account of
// it, either way, once for each id. It refuses with UnknownAccount,
// IdempotencyDiffers, InsufficientFunds, AccountClosed, or as requireMain does.
func (b *Broker) transferToSub(ctx context.Context, by caller, request payword.SubAccountTransfer) (after payword.SubAccount, refusal payword.Refusal, err error) {
	refusal, err = b.store.update(ctx, "transfer", func(tx *ledger.Tx) error {
		if err := requireDevice(ctx, tx); err != nil {
			return err
		}
		row, err := requireChild(ctx, tx, by.account, request.Account)
		if err == nil {
			err = b.store.moveToSub(ctx, tx, row, request)
		}
		if err != nil {
			return err
		}
		after, err = b.store.subAccountIn(ctx, tx, row.id)
		return err
	})
	return after, refusal, err
}

func (s *store) moveToSub(ctx context.Context, tx *ledger.Tx, sub accountRow, request payword.SubAccountTransfer) error {
	t := ledger.Transfer{
		ID: "sub-account/" + sub.parent + "/" + request.ID, Debit: availableAccount(sub.parent), Credit: availableAccount(sub.id),
		Amount: request.Amount, Currency: s.currency, Kind: "sub-account", Reference: sub.id,
	}
	if request.Back {
		t.Debit, t.Credit = t.Credit, t.Debit
	}
	_, err := tx.Transfer(ctx, t.ID)
	isNew := errors.Is(err, ledger.ErrNotFound)
	if err != nil && !isNew {
		return err
	}
	// What was booked is answered again, whatever has become of the accounts.
	if isNew {
		if err := s.checkMovable(ctx, tx, sub, request.Back); err != nil {
			return err
		}
	}
	err = tx.Post(ctx, t)
	switch {
	case errors.Is(err, ledger.ErrTransferDiffers):
		return refused(refuse(payword.IdempotencyDiffers, "a transfer of that id was booked before, for another sub-account, amount or direction"))
	case errors.Is(err, ledger.ErrInsufficient):
		return refused(refuse(payword.InsufficientFunds, "the balance does not suffice to move %s %s", request.Amount.Decimal(), s.currency.Code()))
	case err != nil || !isNew:
		return err
	}
	what := "to "
	if request.Back {
		what = "back from "
	}
	if err := s.collect(ctx, tx, sub.parent); err != nil {
		return err
	}
	return audit(ctx, tx, auditEntry{"transfer", "account:" + sub.parent, request.Amount.Decimal() + " " + s.currency.Code() + " " + what + sub.id})
}

// checkMovable refuses to give money to a sub-account that may not spend for
// long. Back it comes at any time.
func (s *store) checkMovable(ctx context.Context, tx *ledger.Tx, sub accountRow, back bool) error {
	if _, err := s.requireMain(ctx, tx, sub.parent, "sub-accounts"); err != nil {
		return err
	}
	if !back && sub.state != stateOpen {
		return refused(sub.refusal())
	}
	return nil
}

// spending lists what a sub-account of the caller's spent, by vendor, and no
// more: what it bought is not the parent's to see, as it is not the broker's. It
// refuses with UnknownAccount.
func (s *store) spending(ctx context.Context, by caller, id string, l Listing) (list payword.SpendingList, refusal payword.Refusal, err error) {
	refusal, err = s.view(ctx, func(tx *ledger.Tx) error {
		if _, err := requireChild(ctx, tx, by.account, id); err != nil {
			return err
		}
		page, err := vendorSpending(ctx, tx, id, l)
		list.Vendors, list.Next = cut(page, l, func(v payword.VendorSpending) string { return v.Vendor })
		return err
	})
	return list, refusal, err
}

func vendorSpending(ctx context.Context, tx *ledger.Tx, account string, l Listing) (page []payword.VendorSpending, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT vendor, CAST(SUM(paid) AS BIGINT), CAST(SUM(held) AS BIGINT)
		FROM broker_commitments WHERE account = ? AND vendor > ? GROUP BY vendor ORDER BY vendor LIMIT ?`, account, l.After, l.Limit+1)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var one payword.VendorSpending
		if err := rows.Scan(&one.Vendor, (*int64)(&one.Paid), (*int64)(&one.Reserved)); err != nil {
			return nil, err
		}
		page = append(page, one)
	}
	return page, rows.Err()
}

// familyBalance adds up everything that is on an account and its sub-accounts,
// in micros: what is available without credit, reserved, and on its way out.
func (s *store) familyBalance(ctx context.Context, tx *ledger.Tx, account string) (sum money.Amount, err error) {
	ids, err := familyIDs(ctx, tx, account)
	if err != nil {
		return 0, err
	}
	for _, id := range ids {
		balances, err := s.accountIn(ctx, tx, id)
		if err != nil {
			return 0, err
		}
		sum += balances.Available - balances.Credit + balances.Payouts + balances.Reserved
	}
	return sum, nil
}
