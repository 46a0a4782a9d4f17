package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/paywordhq/payword/internal/ledger"
)

// perRound is how many rows one transaction of the background work touches, so
// that nobody waits long for it.
const perRound = 200

// Run does the background work until ctx is done: it releases what is reserved
// past its time, collects what accounts owe from what they have, forgets what is
// kept for a time only, lets payout destinations count, sends webhook messages
// and fetches claims, each at once and then at every interval of the Config.
// What fails is logged and tried again. It returns nil.
func (b *Broker) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return b.periodically(ctx, b.config.ReleaseInterval, b.clean) })
	group.Go(func() error { return b.periodically(ctx, b.config.DeliveryInterval, b.deliver) })
	group.Go(func() error { return b.periodically(ctx, b.config.PullInterval, b.Pull) })
	return group.Wait()
}

// periodically does work at once and then at every interval, until ctx is done.
func (b *Broker) periodically(ctx context.Context, interval time.Duration, work func(context.Context) error) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := work(ctx); err != nil && ctx.Err() == nil {
			b.log.ErrorContext(ctx, "background work failed", "error", err)
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
	if err == nil {
		err = b.store.collectDue(ctx)
	}
	if err == nil {
		err = b.store.forget(ctx, b.now())
	}
	if err == nil {
		err = b.SettleDestinations(ctx)
	}
	return err
}

func (b *Broker) deliver(ctx context.Context) error {
	_, err := b.Deliver(ctx)
	return err
}

// Release gives back what is still reserved for commitments whose time to be
// redeemed is over, and returns for how many. Run calls it.
func (b *Broker) Release(ctx context.Context) (released int, err error) {
	for {
		count, err := b.store.releaseDue(ctx, b.now())
		released += count
		if err != nil || count < perRound {
			return released, err
		}
	}
}

// releaseDue releases the reservations that are due, at most perRound of them.
func (s *store) releaseDue(ctx context.Context, now int64) (count int, err error) {
	_, err = s.update(ctx, "release", func(tx *ledger.Tx) error {
		due, err := dueRecords(ctx, tx, now)
		if err != nil {
			return err
		}
		for _, before := range due {
			after := before
			after.held, after.closed = 0, true
			if err := s.release(ctx, tx, after, before.held); err != nil {
				return err
			}
			swapped, err := saveRecord(ctx, tx, after)
			if err != nil || !swapped {
				return errors.Join(err, fmt.Errorf("releasing commitment %s: swapped %t", before.id, swapped))
			}
		}
		count = len(due)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return count, nil
}

func dueRecords(ctx context.Context, tx *ledger.Tx, now int64) ([]record, error) {
	return selectRecords(ctx, tx, `WHERE held > 0 AND redeem_by <= ? ORDER BY redeem_by LIMIT ?`, now, perRound)
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
