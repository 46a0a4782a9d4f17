package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/paywordhq/payword/internal/ledger"
)

var errRefused = errors.New("refused")

// outcome is what an Update of the test below comes to.
type outcome int

const (
	succeeds outcome = iota
	isRefused
	fails   // by a statement
	panics  // half way
	expires // by its context, after a statement
	outcomes
)

// attempt runs one Update that writes a note and comes to o, and reports
// whether the note is to stand.
func attempt(t *testing.T, db *ledger.DB, id string, o outcome) (stands bool) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	defer func() {
		if reason := recover(); (reason != nil) != (o == panics) {
			t.Errorf("%s: got panic %v", id, reason)
		}
	}()
	err := db.Update(ctx, func(tx *ledger.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO notes (id, made) VALUES (?, 1)`, id); err != nil {
			return err
		}
		switch o {
		case isRefused:
			return errRefused
		case fails:
			_, err := tx.ExecContext(ctx, `INSERT INTO nowhere VALUES (1)`)
			return err
		case panics:
			panic("half way")
		case expires:
			cancel()
		}
		return nil
	})
	isExpected := map[outcome]bool{
		succeeds: err == nil, isRefused: errors.Is(err, errRefused), fails: err != nil && !errors.Is(err, errRefused),
		expires: errors.Is(err, context.Canceled),
	}
	if !isExpected[o] {
		t.Errorf("%s, %d: got %v", id, o, err)
	}
	return o == succeeds
}

// Updates that share a transaction come to the same as by themselves: what
// succeeds stands, and what fails leaves nothing and spoils nobody else's.
func TestUpdatesAtOnce(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	db := openWithNotes(t)
	const goroutines, each = 24, 25
	var mutex sync.Mutex
	var want []string
	var group sync.WaitGroup
	for worker := range goroutines {
		random := rand.New(rand.NewPCG(seed, uint64(worker)))
		group.Go(func() {
			for n := range each {
				o := succeeds
				if random.IntN(3) == 0 {
					o = outcome(random.IntN(int(outcomes)))
				}
				id := fmt.Sprintf("w%d-%d", worker, n)
				if attempt(t, db, id, o) {
					mutex.Lock()
					want = append(want, id)
					mutex.Unlock()
				}
			}
		})
	}
	group.Wait()
	var got []string
	err := db.View(t.Context(), func(tx *ledger.Tx) error {
		rows, err := tx.QueryContext(t.Context(), `SELECT id FROM notes ORDER BY id`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			got = append(got, id)
		}
		return rows.Err()
	})
	slices.Sort(want)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %d notes (%v), want %d", len(got), err, len(want))
	}
	wantClean(t, db)
}

// Whoever gives up while it waits for its turn leaves the others theirs.
func TestUpdateGivesUpWaiting(t *testing.T) {
	db := openWithNotes(t)
	inside, leave := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		err := db.Update(t.Context(), func(tx *ledger.Tx) error {
			inside <- struct{}{}
			<-leave
			return payAndNote(t.Context(), tx, "first")
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	for range 3 {
		group.Go(func() {
			err := db.Update(ctx, func(*ledger.Tx) error { return nil })
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	cancel()
	close(leave)
	group.Wait()
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error { return payAndNote(ctx, tx, "last") })
	if got := countNotes(t, db); got != 2 {
		t.Errorf("notes: got %d, want 2", got)
	}
}

// Whoever is refused because of what another one did before it in the same
// transaction waits until that is durable. If it never is, the refusal is not
// given.
func TestRefusalWaitsForWhatItSaw(t *testing.T) {
	db := openWithNotes(t)
	files := migrationFiles("0001_children.sql",
		`CREATE TABLE children (id BIGINT PRIMARY KEY, parent BIGINT REFERENCES children (id) DEFERRABLE INITIALLY DEFERRED)`)
	if err := db.Migrate(t.Context(), "children", files); err != nil {
		t.Fatal(err)
	}
	inside, leave := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		err := db.Update(t.Context(), func(tx *ledger.Tx) error {
			_, err := tx.ExecContext(t.Context(), `INSERT INTO children (id, parent) VALUES (1, 7)`)
			inside <- struct{}{}
			<-leave
			return err
		})
		if err == nil {
			t.Error("a row without its parent was committed")
		}
	})
	<-inside
	group.Go(func() {
		err := db.Update(t.Context(), func(tx *ledger.Tx) error {
			var count int
			if err := tx.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM children`).Scan(&count); err != nil || count == 0 {
				return err
			}
			return errRefused
		})
		if err != nil {
			t.Errorf("got %v because of a row that never was", err)
		}
	})
	for db.TakesTurns() && db.Waiting() == 0 {
		runtime.Gosched()
	}
	close(leave)
	group.Wait()
}

// Whoever goes away in the middle of its Update takes nobody else's back, so that
// clients that hang up do not make others do their work twice.
func TestGoingAwayUndoesNobodyElse(t *testing.T) {
	db := openWithNotes(t)
	if !db.TakesTurns() {
		t.Log("Updates share nothing on this database")
	}
	inside, leave := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	runs := 0
	group.Go(func() {
		err := db.Update(t.Context(), func(tx *ledger.Tx) error {
			if runs++; runs == 1 {
				inside <- struct{}{}
				<-leave
			}
			return payAndNote(t.Context(), tx, "stays")
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-inside
	group.Go(func() {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err := db.Update(ctx, func(tx *ledger.Tx) error {
			defer cancel()
			if err := payAndNote(ctx, tx, "goes-away"); err != nil {
				return err
			}
			cancel()
			return payAndNote(ctx, tx, "too-late")
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want that it was cancelled", err)
		}
	})
	for db.TakesTurns() && db.Waiting() == 0 {
		runtime.Gosched()
	}
	close(leave)
	group.Wait()
	if got := countNotes(t, db); got != 1 || db.TakesTurns() && runs != 1 {
		t.Errorf("%d notes after %d runs of the first, want 1 after 1", got, runs)
	}
	wantClean(t, db)
}
