package clearing

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
)

const (
	// leaseDuration is how long a run that died keeps others out. One that lives
	// renews it four times in that time, whatever it is doing, so that a pause of
	// the machine or a slow disk does not take it away.
	leaseDuration = 20 * time.Second
	renewInterval = 5 * time.Second
)

// lease is the right to run the settlement. Every transaction of a run renews
// it, and so cannot be committed by a process that has lost it: that others may
// take it early costs time and never money.
type lease struct {
	db    *ledger.DB
	token string
}

// errLeaseLost means that the process was stopped for longer than the lease and
// another one went on with the run.
var errLeaseLost = errors.New("the settlement was taken over by another process, which goes on with it")

// acquire takes the lease, or returns a *HeldError.
func acquire(ctx context.Context, db *ledger.DB, holder string) (*lease, error) {
	l := &lease{db: db, token: rand.Text()}
	err := db.Update(ctx, func(tx *ledger.Tx) error {
		// One compare-and-swap: a row that is over is taken over.
		isTaken, err := tx.ExecOne(ctx, `INSERT INTO settlement_leases (name, token, holder, until)
			VALUES ('settlement', ?, ?, ?) ON CONFLICT (name) DO UPDATE
			SET token = excluded.token, holder = excluded.holder, until = excluded.until
			WHERE settlement_leases.until <= ?`,
			l.token, holder, tx.Now().Add(leaseDuration).UnixMicro(), tx.Now().UnixMicro())
		if err != nil || isTaken {
			return err
		}
		var held HeldError
		var until int64
		err = tx.QueryRowContext(ctx, `SELECT holder, until FROM settlement_leases WHERE name = 'settlement'`).Scan(&held.Holder, &until)
		if err != nil {
			return err
		}
		held.Until = time.UnixMicro(until).UTC()
		return &held
	})
	if held := (*HeldError)(nil); err != nil && !errors.As(err, &held) {
		return nil, fmt.Errorf("taking the lease: %w", err)
	}
	return l, err
}

// renew belongs into every transaction of a run.
func (l *lease) renew(ctx context.Context, tx *ledger.Tx) error {
	isKept, err := tx.ExecOne(ctx, `UPDATE settlement_leases SET until = ? WHERE name = 'settlement' AND token = ?`,
		tx.Now().Add(leaseDuration).UnixMicro(), l.token)
	if err == nil && !isKept {
		err = errLeaseLost
	}
	return err
}

// keep renews the lease again and again while work is done, and ends the work's
// context when the lease is lost. It returns when the work has.
func (l *lease) keep(ctx context.Context, every time.Duration, work func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			// Another error is the work's to find: it uses the same database.
			err := l.db.Update(ctx, func(tx *ledger.Tx) error { return l.renew(ctx, tx) })
			if errors.Is(err, errLeaseLost) {
				cancel(errLeaseLost)
				return
			}
		}
	}()
	defer func() {
		cancel(nil)
		<-ended
	}()
	err := work(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errLeaseLost) {
		err = errLeaseLost
	}
	return err
}

// release gives the lease back, also after the context of the run is done.
func (l *lease) release(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	return l.db.Update(ctx, func(tx *ledger.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM settlement_leases WHERE name = 'settlement' AND token = ?`, l.token)
		return err
	})
}

// holderOf returns who holds the lease, or "".
func holderOf(ctx context.Context, tx *ledger.Tx) (string, error) {
	rows, err := tx.QueryContext(ctx, `SELECT holder FROM settlement_leases WHERE until > ?`, tx.Now().UnixMicro())
	if err != nil {
		return "", err
	}
	defer rows.Close()
	holder := ""
	for rows.Next() {
		if err := rows.Scan(&holder); err != nil {
			return "", err
		}
	}
	return holder, rows.Err()
}
