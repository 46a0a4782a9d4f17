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

// The worth of vouchers that are out stands in an account of its own: the broker
// owes it to whoever has the code. What expired unredeemed stands in another,
// until the operator books what its law says of it.
const (
	vouchersIn      = "broker:vouchers:in" // what was paid for them in cash
	vouchersOpen    = "broker:vouchers:open"
	vouchersExpired = "broker:vouchers:expired"
)

// The states of a voucher.
const (
	voucherOpen      = "open"
	voucherRedeemed  = "redeemed"
	voucherExpired   = "expired"
	voucherCancelled = "cancelled" // by the operator: it was never sold
)

const (
	// maxVouchers is how many one batch holds: one transaction makes it.
	maxVouchers = 10_000
	// voucherTriesPerMinute is how many codes that do not exist one account may
	// try in a minute. Guessing is hopeless at any rate; this keeps those who
	// try from keeping the database busy. Mistyped codes do not count.
	voucherTriesPerMinute = 10
)

// VoucherBatch is a number of vouchers of the same worth.
type VoucherBatch struct {
	// ID names the batch, under the rules of a funding's id.
	ID string
	// Count is how many, 1 to 10000.
	Count int
	// Amount is the worth of each, in micros, at least 1.
	Amount money.Amount
	// Expires is when they are not redeemed any more, in the future.
	Expires time.Time
}

func (v VoucherBatch) check(now time.Time) error {
	switch {
	case !isFundingID(v.ID):
		return fmt.Errorf("batch %.40q: want 1 to 100 letters, digits and . _ : -", v.ID)
	case v.Count < 1 || v.Count > maxVouchers:
		return fmt.Errorf("%d vouchers: want 1 to %d in a batch", v.Count, maxVouchers)
	case v.Amount < 1 || v.Amount > money.MaxAmount/maxVouchers:
		return fmt.Errorf("amount %d: want 1 to %d micros", v.Amount, money.MaxAmount/maxVouchers)
	case !v.Expires.After(now):
		return errors.New("expiry: want a time in the future")
	}
	return nil
}

// MakeVouchers makes a batch of vouchers and returns their codes, which are kept
// nowhere: only who is told them can redeem them, once each. Their worth is
// booked as having come in; CancelVouchers takes back what was not sold. It
// refuses with IdempotencyDiffers if there is a batch of that id.
func (b *Broker) MakeVouchers(ctx context.Context, batch VoucherBatch) (codes []string, refusal payword.Refusal, err error) {
	return b.store.makeVouchers(ctx, batch, b.config.Now())
}

func (s *store) makeVouchers(ctx context.Context, batch VoucherBatch, now time.Time) (codes []string, refusal payword.Refusal, err error) {
	if err := batch.check(now); err != nil {
		return nil, refusal, err
	}
	for range batch.Count {
		codes = append(codes, newVoucherCode())
	}
	refusal, err = s.update(ctx, "make vouchers", func(tx *ledger.Tx) error {
		isNew, err := tx.ExecOne(ctx, `INSERT INTO broker_voucher_batches (id, count, amount, expires, created)
			VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, batch.ID, batch.Count, batch.Amount, batch.Expires.Unix(), tx.Now().UnixMicro())
		if err != nil {
			return err
		}
		if !isNew {
			return refused(refuse(payword.IdempotencyDiffers, "there is a batch %s, and its codes are not kept: cancel it, or make another", batch.ID))
		}
		return s.insertVouchers(ctx, tx, batch, codes)
	})
	if err != nil || refusal.Refused() {
		return nil, refusal, err
	}
	return codes, refusal, nil
}

func (s *store) insertVouchers(ctx context.Context, tx *ledger.Tx, batch VoucherBatch, codes []string) error {
	for _, code := range codes {
		_, err := tx.ExecContext(ctx, `INSERT INTO broker_vouchers (id, batch, amount, expires, state) VALUES (?, ?, ?, ?, 'open')`,
			voucherID(code), batch.ID, batch.Amount, batch.Expires.Unix())
		if err != nil {
			return err
		}
	}
	worth, err := batch.Amount.Mul(int64(batch.Count))
	if err == nil {
		err = s.createVoucherAccounts(ctx, tx)
	}
	if err == nil {
		err = tx.Post(ctx, ledger.Transfer{
			ID: "vouchers/" + batch.ID, Debit: vouchersIn, Credit: vouchersOpen, Amount: worth,
			Currency: s.currency, Kind: "voucher", Reference: batch.ID,
		})
	}
	if err != nil {
		return err
	}
	return audit(ctx, tx, auditEntry{"make-vouchers", "vouchers:" + batch.ID,
		fmt.Sprintf("%d of %s %s", batch.Count, batch.Amount.Decimal(), s.currency.Code())})
}

func (s *store) createVoucherAccounts(ctx context.Context, tx *ledger.Tx) error {
	return errors.Join(
		tx.CreateAccount(ctx, ledger.Account{ID: vouchersIn, Currency: s.currency, Floor: ledger.NoFloor}),
		tx.CreateAccount(ctx, ledger.Account{ID: vouchersOpen, Currency: s.currency}),
		tx.CreateAccount(ctx, ledger.Account{ID: vouchersExpired, Currency: s.currency}))
}

// CancelVouchers makes the vouchers of a batch that are open worthless, because
// they were not sold, and books their worth back. It returns how many. The same
// again changes nothing. It refuses with BadVoucher if there is no such batch.
func (b *Broker) CancelVouchers(ctx context.Context, batch string) (cancelled int64, refusal payword.Refusal, err error) {
	return b.store.cancelVouchers(ctx, batch)
}

func (s *store) cancelVouchers(ctx context.Context, batch string) (cancelled int64, refusal payword.Refusal, err error) {
	refusal, err = s.update(ctx, "cancel vouchers", func(tx *ledger.Tx) error {
		var worth money.Amount
		cancelled, worth, err = openVouchers(ctx, tx, batch)
		if err != nil || cancelled == 0 {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE broker_vouchers SET state = 'cancelled', ended = ? WHERE batch = ? AND state = 'open'`,
			tx.Now().UnixMicro(), batch)
		if err == nil {
			err = tx.Post(ctx, ledger.Transfer{
				ID: "vouchers/" + batch + "/cancelled", Debit: vouchersOpen, Credit: vouchersIn, Amount: worth,
				Currency: s.currency, Kind: "voucher", Reference: batch,
			})
		}
		if err != nil {
			return err
		}
		return audit(ctx, tx, auditEntry{"cancel-vouchers", "vouchers:" + batch, fmt.Sprintf("%d, %s %s", cancelled, worth.Decimal(), s.currency.Code())})
	})
	return cancelled, refusal, err
}

func openVouchers(ctx context.Context, tx *ledger.Tx, batch string) (count int64, worth money.Amount, err error) {
	var known int64
	err = tx.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM broker_voucher_batches WHERE id = ?), COUNT(*), CAST(COALESCE(SUM(amount), 0) AS BIGINT)
		FROM broker_vouchers WHERE batch = ? AND state = 'open'`, batch, batch).Scan(&known, &count, &worth)
	if err == nil && known == 0 {
		err = refused(refuse(payword.BadVoucher, "there is no batch of that id"))
	}
	return count, worth, err
}

// voucher is what is kept of one.
type voucher struct {
	id, batch, state, account string
	amount                    money.Amount
	expires                   int64
}

func loadVoucher(ctx context.Context, tx *ledger.Tx, id string) (v voucher, found bool, err error) {
	v.id = id
	err = tx.QueryRowContext(ctx, `SELECT batch, state, account, amount, expires FROM broker_vouchers WHERE id = ?`, id).
		Scan(&v.batch, &v.state, &v.account, &v.amount, &v.expires)
	if errors.Is(err, sql.ErrNoRows) {
		return v, false, nil
	}
	return v, err == nil, err
}

// redeemVoucher puts the worth of a voucher on the caller's account. The same
// account with the same code again gets the same answer, and nothing twice. It
// refuses with BadVoucher (mistyped, unknown, spent or expired), RateLimited
// (too many codes that do not exist), NotPermitted (a sub-account),
// OverAccountLimit, AccountClosed, or UnknownAccount if the device was removed.
func (b *Broker) redeemVoucher(ctx context.Context, by caller, request payword.RedeemVoucher) (answer payword.RedeemedVoucher, refusal payword.Refusal, err error) {
	code, mistake := parseVoucherCode(request.Code)
	if mistake != nil {
		return answer, refuse(payword.BadVoucher, "the code: %v", mistake), nil
	}
	if b.voucherTries.spent(by.account) {
		return answer, refuse(payword.RateLimited, "too many codes that do not exist; wait a minute"), nil
	}
	found := false
	refusal, err = b.store.update(ctx, "redeem voucher", func(tx *ledger.Tx) error {
		if err := requireDevice(ctx, tx); err != nil {
			return err
		}
		v, isKnown, err := loadVoucher(ctx, tx, voucherID(code))
		if found = isKnown; err != nil {
			return err
		}
		if err := b.store.payVoucher(ctx, tx, by.account, v, isKnown); err != nil {
			return err
		}
		answer.Amount = v.amount
		answer.Account, err = b.store.accountIn(ctx, tx, by.account)
		return err
	})
	if err == nil && !found && refusal.Reason == payword.BadVoucher {
		b.voucherTries.take(by.account)
	}
	return answer, refusal, err
}

func (s *store) payVoucher(ctx context.Context, tx *ledger.Tx, account string, v voucher, isKnown bool) error {
	switch {
	case !isKnown:
		return refused(refuse(payword.BadVoucher, "there is no such voucher"))
	case v.state == voucherRedeemed && v.account == account:
		return nil
	case v.state == voucherRedeemed:
		return refused(refuse(payword.BadVoucher, "the voucher was redeemed before, by another account"))
	case v.state == voucherCancelled:
		return refused(refuse(payword.BadVoucher, "the voucher was cancelled: ask where you bought it"))
	case v.state == voucherExpired || tx.Now().Unix() >= v.expires:
		return refused(refuse(payword.BadVoucher, "the voucher was good until %s", time.Unix(v.expires, 0).UTC().Format(time.RFC3339)))
	}
	if err := s.checkFundable(ctx, tx, account, v.amount); err != nil {
		return err
	}
	swapped, err := tx.ExecOne(ctx, `UPDATE broker_vouchers SET state = 'redeemed', account = ?, ended = ? WHERE id = ? AND state = 'open'`,
		account, tx.Now().UnixMicro(), v.id)
	if err == nil && !swapped {
		err = fmt.Errorf("voucher %s changed within a transaction", v.id)
	}
	if err == nil {
		err = tx.Post(ctx, ledger.Transfer{
			ID: "voucher/" + v.id, Debit: vouchersOpen, Credit: availableAccount(account), Amount: v.amount,
			Currency: s.currency, Kind: "voucher", Reference: v.batch,
		})
	}
	if err != nil {
		return err
	}
	err = audit(ctx, tx, auditEntry{"redeem-voucher", "account:" + account, v.amount.Decimal() + " " + s.currency.Code() + " of batch " + v.batch})
	if err != nil {
		return err
	}
	return s.collect(ctx, tx, account)
}

// expireVouchers ends vouchers whose time is over, at most perRound of them, and
// returns how many. Their worth moves to an account of its own.
func (s *store) expireVouchers(ctx context.Context, now int64) (count int, err error) {
	var due []string
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		due, err = tx.Texts(ctx, `SELECT id FROM broker_vouchers WHERE state = 'open' AND expires <= ? ORDER BY expires, id LIMIT ?`, now, perRound)
		return err
	})
	if err != nil || len(due) == 0 {
		return 0, err
	}
	_, err = s.update(ctx, "expire vouchers", func(tx *ledger.Tx) error {
		for _, id := range due {
			if err := s.expireVoucher(ctx, tx, id); err != nil {
				return err
			}
		}
		return nil
	})
	return len(due), err
}

func (s *store) expireVoucher(ctx context.Context, tx *ledger.Tx, id string) error {
	v, _, err := loadVoucher(ctx, tx, id)
	if err != nil || v.state != voucherOpen {
		return err // another broker was faster
	}
	if _, err := tx.ExecOne(ctx, `UPDATE broker_vouchers SET state = 'expired', ended = ? WHERE id = ? AND state = 'open'`, tx.Now().UnixMicro(), id); err != nil {
		return err
	}
	return tx.Post(ctx, ledger.Transfer{
		ID: "voucher/" + id + "/expired", Debit: vouchersOpen, Credit: vouchersExpired, Amount: v.amount,
		Currency: s.currency, Kind: "voucher", Reference: v.batch,
	})
}

// ExpireVouchers ends vouchers whose time is over and returns how many. Run
// calls it.
func (b *Broker) ExpireVouchers(ctx context.Context) (expired int, err error) {
	for {
		count, err := b.store.expireVouchers(ctx, b.now())
		expired += count
		if err != nil || count < perRound {
			return expired, err
		}
	}
}

// voucherBatch is what an operator is told of a batch.
type voucherBatch struct {
	Batch     string       `json:"batch"`
	Count     int64        `json:"count"`
	Amount    money.Amount `json:"amount" doc:"of each, in micros"`
	Expires   int64        `json:"expires" doc:"seconds since 1970"`
	Created   int64        `json:"created" doc:"seconds since 1970"`
	Open      int64        `json:"open"`
	Redeemed  int64        `json:"redeemed"`
	Expired   int64        `json:"expired"`
	Cancelled int64        `json:"cancelled"`
}

// voucherBatchList is a page of batches, in the order of their ids.
type voucherBatchList struct {
	Batches []voucherBatch `json:"batches"`
	Next    string         `json:"next,omitempty" doc:"ask again with after=… for the next page; absent on the last"`
}

// voucherBatches lists the batches, in the order of their ids.
func (s *store) voucherBatches(ctx context.Context, l Listing) (list voucherBatchList, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT b.id, b.count, b.amount, b.expires, b.created,
				(SELECT COUNT(*) FROM broker_vouchers v WHERE v.batch = b.id AND v.state = 'open'),
				(SELECT COUNT(*) FROM broker_vouchers v WHERE v.batch = b.id AND v.state = 'redeemed'),
				(SELECT COUNT(*) FROM broker_vouchers v WHERE v.batch = b.id AND v.state = 'expired'),
				(SELECT COUNT(*) FROM broker_vouchers v WHERE v.batch = b.id AND v.state = 'cancelled')
			FROM broker_voucher_batches b WHERE b.id > ? ORDER BY b.id LIMIT ?`, l.After, l.Limit+1)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var one voucherBatch
			err := rows.Scan(&one.Batch, &one.Count, (*int64)(&one.Amount), &one.Expires, &one.Created,
				&one.Open, &one.Redeemed, &one.Expired, &one.Cancelled)
			if err != nil {
				return err
			}
			one.Created /= 1_000_000
			list.Batches = append(list.Batches, one)
		}
		return rows.Err()
	})
	list.Batches, list.Next = cut(list.Batches, l, func(b voucherBatch) string { return b.Batch })
	return list, err
}
