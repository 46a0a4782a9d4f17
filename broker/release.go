package broker

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// perRound is how many rows one transaction of the background work touches, so
// that nobody waits long for it.
const perRound = 200

// Run does the background work until ctx is done: it releases what is reserved
// past its time, collects what accounts owe from what they have, goes on closing
// accounts, ends vouchers, forgets what is kept for a time only, lets payout
// destinations count, does what clearing learnt from the bank, sends webhook messages, fetches claims and sums the journal up, each at once and then at every
// interval of the Config. It checks the books once a day and when an operator
// asks. What fails is logged and tried again. It returns nil.
func (b *Broker) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(withActor(ctx, actorBroker))
	group.Go(func() error { return b.periodically(ctx, "releasing", b.config.ReleaseInterval, b.clean) })
	group.Go(func() error { return b.periodically(ctx, "webhooks", b.config.DeliveryInterval, b.deliver) })
	group.Go(func() error {
		return b.periodically(ctx, "fetching claims", min(b.config.PullInterval, maxPullRound), b.Pull)
	})
	group.Go(func() error { return b.periodically(ctx, "summing", b.config.ReleaseInterval, b.keepPages) })
	group.Go(func() error { return b.keepChecking(ctx) })
	return group.Wait()
}

// periodically does work at once and then at every interval, until ctx is done,
// and notes under the name how it went.
func (b *Broker) periodically(ctx context.Context, name string, interval time.Duration, work func(context.Context) error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		err := work(ctx)
		b.background.ended(name, b.config.Now(), err)
		if err != nil && ctx.Err() == nil {
			b.log.ErrorContext(ctx, "background work failed", "work", name, "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// clean does what the passing of time asks for in the books.
func (b *Broker) clean(ctx context.Context) error {
	released, err := b.Release(ctx)
	if released > 0 {
		b.log.InfoContext(ctx, "reservations released", "count", released)
	}
	// Whatever fails of this, the rest goes on.
	_, closings := b.FinishClosings(ctx)
	_, vouchers := b.ExpireVouchers(ctx)
	_, outcomes := b.ApplyOutcomes(ctx)
	err = errors.Join(err, outcomes, b.store.collectDue(ctx), closings, vouchers, b.store.forget(ctx, b.now()), b.SettleDestinations(ctx))
	if err == nil {
		b.metrics.worked.Store(b.config.Now().UnixMicro())
	}
	return err
}

func (b *Broker) deliver(ctx context.Context) error {
	_, err := b.Deliver(ctx)
	return err
}

// Release gives back what is still reserved for commitments whose time to be
// redeemed is over, and returns for how many. Run calls it.
//
// A commitment on which the books do not agree is logged, left out and tried
// again an hour later; the others go on.
func (b *Broker) Release(ctx context.Context) (released int, err error) {
	for {
		round, err := b.releaseRound(ctx)
		released += round.released
		if err != nil || round.due < perRound {
			return released, err
		}
	}
}

// releaseRound releases at most perRound reservations that are due. Where one
// row breaks a rule of the tables, it does fewer at a time, down to that one.
func (b *Broker) releaseRound(ctx context.Context) (round releaseRound, err error) {
	for limit := perRound; ; limit = max(1, limit/2) {
		round = releaseRound{now: b.now(), limit: limit}
		_, err = b.store.update(ctx, "release", func(tx *ledger.Tx) error { return b.store.releaseDue(ctx, tx, &round) })
		if !ledger.IsConstraint(err) {
			break
		}
		if limit == 1 {
			round.unsound = []unsoundRecord{{round.first, err}}
			_, err = b.store.update(ctx, "postpone", func(tx *ledger.Tx) error { return round.postpone(ctx, tx) })
			break
		}
	}
	if err != nil {
		return releaseRound{}, err
	}
	for _, one := range round.unsound {
		b.logUnsound(ctx, one.id, one.cause)
	}
	if round.limit < perRound {
		round.due = perRound // there may be more
	}
	return round, nil
}

// releaseRound is what one transaction releases.
type releaseRound struct {
	now      int64  // seconds since 1970
	limit    int    // of reservations
	due      int    // found, at most limit
	first    string // the id of the first one
	released int
	unsound  []unsoundRecord
}

// unsoundRecord is a commitment on which the books do not agree.
type unsoundRecord struct {
	id    string
	cause error
}

// unsoundRetrySeconds is how long such a commitment is left alone: long enough
// not to fill the log, short enough for somebody who has mended the books.
const unsoundRetrySeconds = 60 * 60

// releaseDue releases the reservations that are due, at most round.limit of
// them, and notes those that cannot be.
func (s *store) releaseDue(ctx context.Context, tx *ledger.Tx, round *releaseRound) error {
	*round = releaseRound{now: round.now, limit: round.limit} // this may be a second attempt
	due, err := round.find(ctx, tx)
	if err != nil {
		return err
	}
	lists := make([][]ledger.Transfer, len(due))
	for k, r := range due {
		lists[k] = []ledger.Transfer{s.releaseTransfer(r.id, r.account, r.held)}
	}
	outcomes, err := tx.PostLists(ctx, lists)
	if err != nil {
		return err
	}
	var released []record
	var ids []any
	for k, r := range due {
		if outcomes[k].Refused != nil {
			round.unsound = append(round.unsound, unsoundRecord{r.id.String(), outcomes[k].Refused})
			continue
		}
		r.held, r.closed = 0, true
		released, ids = append(released, r), append(ids, r.id.String())
	}
	if err := saveRecords(ctx, tx, released); err != nil {
		return err
	}
	for from, to := range ledger.Spans(len(ids)) {
		_, err := tx.ExecContext(ctx, `DELETE FROM broker_unsound WHERE commitment IN (`+ledger.List(to-from)+`)`, ids[from:to]...)
		if err != nil {
			return err
		}
	}
	round.released = len(released)
	return round.postpone(ctx, tx)
}

// find reads the records that are due and notes those that cannot be read.
func (r *releaseRound) find(ctx context.Context, tx *ledger.Tx) (due []record, err error) {
	query := `SELECT ` + recordColumns + ` FROM broker_commitments WHERE held > 0 AND redeem_by <= ?
		AND NOT EXISTS (SELECT 1 FROM broker_unsound u WHERE u.commitment = broker_commitments.id AND u.retry > ?)
		ORDER BY redeem_by, id LIMIT ?`
	err = tx.Each(ctx, func(scan func(target ...any) error) error {
		found, err := scanRecord(scan)
		id := found.id.String()
		if flawed := (*flawedRecord)(nil); errors.As(err, &flawed) {
			id = flawed.id
			r.unsound = append(r.unsound, unsoundRecord{id, err})
		} else if err != nil {
			return err
		} else {
			due = append(due, found)
		}
		if r.due++; r.due == 1 {
			r.first = id
		}
		return nil
	}, query, r.now, r.now, r.limit)
	return due, err
}

// postpone leaves the unsound ones alone for a while.
func (r *releaseRound) postpone(ctx context.Context, tx *ledger.Tx) error {
	for _, one := range r.unsound {
		_, err := tx.ExecContext(ctx, `INSERT INTO broker_unsound (commitment, what, retry) VALUES (?, ?, ?)
			ON CONFLICT (commitment) DO UPDATE SET what = excluded.what, retry = excluded.retry`,
			one.id, one.cause.Error(), r.now+unsoundRetrySeconds)
		if err != nil {
			return err
		}
	}
	return nil
}

// releaseTransfer gives amount, in micros, of what was set aside for a
// commitment back to the user. It happens once for each commitment, when it is
// closed.
func (s *store) releaseTransfer(id payword.CommitmentID, account string, amount money.Amount) ledger.Transfer {
	return ledger.Transfer{
		ID: "release/" + id.String(), Debit: reservedAccount(account), Credit: availableAccount(account),
		Amount: amount, Currency: s.currency, Kind: "release", Reference: id.String(),
	}
}

// forget deletes what is kept for a time only.
func (s *store) forget(ctx context.Context, now int64) error {
	_, err := s.update(ctx, "forget", func(tx *ledger.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM broker_nonces WHERE expires < ?`, now); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM broker_answers WHERE expires < ?`, now); err != nil {
			return err
		}
		if err := forgetStatuses(ctx, tx, now); err != nil {
			return err
		}
		return forgetDeliveries(ctx, tx, now)
	})
	return err
}
