package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
)

// maxLap is how many Updates share one transaction. What the first of them
// waits for is the work of the others, a fraction of a millisecond each; more
// than this many saves little of the time that the disk takes.
const maxLap = 64

// relay lets Updates that wait for the one connection that writes share a
// transaction, so that making it durable, which is most of the time of a small
// one, is done once for all of them. Each runs in its own goroutine, after its
// predecessor and behind a savepoint of its own: one that fails is undone alone.
type relay struct {
	db       *DB
	runTwice func() bool // nil: never

	mutex     sync.Mutex
	isRunning bool      // somebody has the turn; guarded by mutex, as is waiting
	waiting   []*runner // for their turn
}

// runner is an Update that waits. It gets a lap to join, or nil to begin one.
type runner struct {
	turn    chan *lap
	isAlone bool // it begins a lap that nobody joins
}

// lap is one transaction of several Updates.
type lap struct {
	conn    *sql.Conn
	tx      *sql.Tx
	runners int
	isAlone bool

	done     chan struct{} // closed at the end; then the rest may be read
	err      error         // of the commit
	isBroken bool          // it was rolled back because of somebody else's failure
}

// update is DB.Update for a database with one writer.
func (r *relay) update(ctx context.Context, change func(tx *Tx) error) error {
	for attempt := 0; ; attempt++ {
		// Whoever others have broken off before is not given to them again.
		isDone, err := r.run(ctx, &runner{turn: make(chan *lap, 1), isAlone: attempt > 0}, change)
		if isDone {
			return err
		}
	}
}

// run waits for the turn, runs change, and waits until that is durable. isDone
// is false if somebody else's failure undid it.
func (r *relay) run(ctx context.Context, me *runner, change func(tx *Tx) error) (isDone bool, err error) {
	l, err := r.await(ctx, me)
	if err != nil {
		return true, fmt.Errorf("waiting for the ledger: %w", err)
	}
	isFirst := l == nil
	if isFirst {
		if l, err = r.begin(ctx, me.isAlone); err != nil {
			r.next(nil)
			return true, err
		}
	}
	came, err := r.work(ctx, l, isFirst, change)
	if came == gaveUp {
		return true, err
	}
	<-l.done
	switch {
	case l.isBroken, came == undone && l.err != nil:
		// What it saw of its predecessors, and was perhaps refused for, is not so.
		return false, nil
	case came == undone:
		return true, err
	}
	return true, l.err
}

// ending is what came of one Update's part of a lap.
type ending int

const (
	kept   ending = iota // it stands if the lap does
	undone               // by itself; what it saw before it stands if the lap does
	gaveUp               // with the lap, or it never began
)

// await waits for the turn, until ctx is done.
func (r *relay) await(ctx context.Context, me *runner) (*lap, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.mutex.Lock()
	if !r.isRunning {
		r.isRunning = true
		r.mutex.Unlock()
		return nil, nil
	}
	r.waiting = append(r.waiting, me)
	r.mutex.Unlock()
	select {
	case l := <-me.turn:
		return l, nil
	case <-ctx.Done():
	}
	r.mutex.Lock()
	for k, other := range r.waiting {
		if other == me {
			r.waiting = append(r.waiting[:k], r.waiting[k+1:]...)
			r.mutex.Unlock()
			return nil, ctx.Err()
		}
	}
	r.mutex.Unlock()
	// The turn came in the same moment, and somebody must take it.
	r.pass(<-me.turn)
	return nil, ctx.Err()
}

// begin begins a lap. The caller has the turn.
func (r *relay) begin(ctx context.Context, isAlone bool) (*lap, error) {
	conn, err := r.db.writer.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("waiting for the ledger: %w", err)
	}
	// The context of one Update must not end the transaction of others.
	tx, err := conn.BeginTx(context.WithoutCancel(ctx), r.db.engine.options(writing))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("beginning a transaction: %w", err), conn.Close())
	}
	return &lap{conn: conn, tx: tx, isAlone: isAlone, done: make(chan struct{})}, nil
}

// work runs change as a part of the lap and passes the turn on.
func (r *relay) work(ctx context.Context, l *lap, isFirst bool, change func(tx *Tx) error) (came ending, err error) {
	tx := &Tx{tx: l.tx, conn: l.conn, engine: r.db.engine, now: r.db.instant(), isShared: true}
	isReturned := false
	came = gaveUp
	defer func() {
		l.runners++
		switch {
		case came == kept:
			r.pass(l)
		case tx.failed != nil && !tx.isGone || !isReturned || isFirst:
			// A statement that failed may have undone the whole transaction, and a
			// panic may have left one half way. Nothing stands before the first.
			r.abandon(l)
		default:
			came = r.undo(l)
		}
	}()
	if !isFirst {
		if _, err := tx.ExecContext(context.WithoutCancel(ctx), `SAVEPOINT one`); err != nil {
			isReturned = true
			return gaveUp, fmt.Errorf("beginning a transaction: %w", err)
		}
	}
	err = r.try(ctx, tx, change)
	isReturned = true
	if err == nil {
		err = tx.failed
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && !isFirst {
		_, err = tx.ExecContext(context.WithoutCancel(ctx), `RELEASE one`)
	}
	if err == nil {
		came = kept
	}
	return came, err
}

// try runs change, twice if that is asked for.
func (r *relay) try(ctx context.Context, tx *Tx, change func(tx *Tx) error) error {
	if r.runTwice == nil || !r.runTwice() {
		return change(tx)
	}
	if _, err := tx.ExecContext(ctx, `SAVEPOINT trial`); err != nil {
		return err
	}
	if err := change(tx); err != nil {
		return err
	}
	for _, statement := range []string{`ROLLBACK TO trial`, `RELEASE trial`} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return change(tx)
}

// undo takes back what one Update did, and passes the turn on.
func (r *relay) undo(l *lap) ending {
	_, err := l.tx.Exec(`ROLLBACK TO one`)
	if err == nil {
		_, err = l.tx.Exec(`RELEASE one`)
	}
	if err != nil {
		r.abandon(l)
		return gaveUp
	}
	r.pass(l)
	return undone
}

// abandon rolls the lap back. The Updates of it that had succeeded run again.
func (r *relay) abandon(l *lap) {
	l.isBroken = true
	_ = l.tx.Rollback() // an error leaves nothing of it, either
	r.end(l)
}

// pass gives the lap to the next Update that waits, or commits it.
func (r *relay) pass(l *lap) {
	if l == nil {
		r.next(nil)
		return
	}
	if r.next(l) {
		return
	}
	if err := l.tx.Commit(); err != nil {
		l.err = fmt.Errorf("committing: %w", err)
		_ = l.tx.Rollback()
	}
	r.end(l)
}

// end tells the Updates of a lap what became of it, and lets the next begin.
func (r *relay) end(l *lap) {
	if err := l.conn.Close(); err != nil && l.err == nil && !l.isBroken {
		l.err = fmt.Errorf("committing: %w", err)
	}
	close(l.done)
	r.next(nil)
}

// next gives the turn to the first that waits, with the lap if both may share
// it. It reports whether the turn has gone on; without a lap it always has.
func (r *relay) next(l *lap) bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if l != nil && (l.isAlone || l.runners >= maxLap || len(r.waiting) == 0 || r.waiting[0].isAlone) {
		return false
	}
	if len(r.waiting) == 0 {
		r.isRunning = false
		return true
	}
	first := r.waiting[0]
	r.waiting = r.waiting[1:]
	first.turn <- l
	return true
}
