package ledger_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/dbtest"
	"github.com/paywordhq/payword/internal/ledger"
)

// openWithNotes makes a ledger with a table of the caller's own.
func openWithNotes(t *testing.T) *ledger.DB {
	db, _ := openFunded(t, 1000)
	files := migrationFiles("0001_notes.sql", `CREATE TABLE notes (id TEXT PRIMARY KEY, made BIGINT NOT NULL)`)
	if err := db.Migrate(t.Context(), "notes", files); err != nil {
		t.Fatal(err)
	}
	return db
}

// payAndNote posts a transfer and writes a row of its own beside it.
func payAndNote(ctx context.Context, tx *ledger.Tx, id string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO notes (id, made) VALUES (?, ?)`, id, tx.Now().UnixMicro())
	if err != nil {
		return err
	}
	return tx.Post(ctx, transfer(id, "user:1:available", "user:1:reserved", 100))
}

func countNotes(t *testing.T, db *ledger.DB) int {
	t.Helper()
	var count int
	err := db.View(t.Context(), func(tx *ledger.Tx) error {
		return tx.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM notes`).Scan(&count)
	})
	if err != nil {
		t.Fatal(err)
	}
	return count
}

func TestUpdateKeepsAllOrNothing(t *testing.T) {
	refused := errors.New("refused")
	cases := []struct {
		name string
		work func(ctx context.Context, tx *ledger.Tx) error
		ok   bool
	}{
		{"all", func(ctx context.Context, tx *ledger.Tx) error { return payAndNote(ctx, tx, "a") }, true},
		{"error after the work", func(ctx context.Context, tx *ledger.Tx) error {
			return errors.Join(payAndNote(ctx, tx, "a"), refused)
		}, false},
		{"failed statement that was ignored", func(ctx context.Context, tx *ledger.Tx) error {
			err := payAndNote(ctx, tx, "a")
			_, _ = tx.ExecContext(ctx, `INSERT INTO notes (id, made) VALUES ('a', 0)`)
			return err
		}, false},
		{"failed query that was ignored", func(ctx context.Context, tx *ledger.Tx) error {
			err := payAndNote(ctx, tx, "a")
			_ = tx.QueryRowContext(ctx, `SELECT nonsense FROM notes`).Err()
			return err
		}, false},
		{"failed statement among several that was ignored", func(ctx context.Context, tx *ledger.Tx) error {
			err := payAndNote(ctx, tx, "a")
			_, _ = tx.ExecEach(ctx, `INSERT INTO notes (id, made) VALUES (?, 0)`, [][]any{{"b"}, {"a"}, {"c"}})
			return err
		}, false},
		{"context done before several", func(ctx context.Context, tx *ledger.Tx) error {
			err := payAndNote(ctx, tx, "a")
			done, cancel := context.WithCancel(ctx)
			cancel()
			_, _ = tx.ExecEach(done, `INSERT INTO notes (id, made) VALUES (?, 0)`, [][]any{{"b"}, {"c"}})
			return err
		}, false},
		{"context done in the middle", func(ctx context.Context, tx *ledger.Tx) error {
			err := payAndNote(ctx, tx, "a")
			done, cancel := context.WithCancel(ctx)
			cancel()
			_, _ = tx.ExecContext(done, `INSERT INTO notes (id, made) VALUES ('b', 0)`)
			return err
		}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			db := openWithNotes(t)
			err := db.Update(t.Context(), func(tx *ledger.Tx) error { return c.work(t.Context(), tx) })
			if (err == nil) != c.ok {
				t.Errorf("got %v, want success %v", err, c.ok)
			}
			want := 0
			if c.ok {
				want = 1
			}
			if got := countNotes(t, db); got != want {
				t.Errorf("notes: got %d, want %d", got, want)
			}
			reserved := 100 * want
			wantAccount(t, db, "user:1:reserved", amount(reserved), 0)
			wantClean(t, db)
		})
	}
}

// Each statement finds what those before it did, and those that change nothing are
// not counted.
func TestExecEachRunsInOrder(t *testing.T) {
	db := openWithNotes(t)
	err := db.Update(t.Context(), func(tx *ledger.Tx) error {
		made, err := tx.ExecEach(t.Context(), `INSERT INTO notes (id, made) VALUES (?, ?) ON CONFLICT DO NOTHING`,
			[][]any{{"a", 1}, {"b", 10}, {"a", 5}})
		if err != nil || made != 2 {
			t.Errorf("made %d notes (%v), want 2", made, err)
		}
		swapped, err := tx.ExecEach(t.Context(), `UPDATE notes SET made = made + 1 WHERE id = ? AND made = ?`,
			[][]any{{"a", 1}, {"a", 1}, {"a", 2}, {"b", 11}, {"c", 1}, {"a", 3}})
		if err != nil || swapped != 3 {
			t.Errorf("swapped %d times (%v), want 3", swapped, err)
		}
		if none, err := tx.ExecEach(t.Context(), `DELETE FROM notes`, nil); err != nil || none != 0 {
			t.Errorf("without arguments it changed %d rows (%v)", none, err)
		}
		var a, b int64
		err = tx.QueryRowContext(t.Context(), `SELECT (SELECT made FROM notes WHERE id = 'a'), (SELECT made FROM notes WHERE id = 'b')`).Scan(&a, &b)
		if err != nil || a != 4 || b != 10 {
			t.Errorf("the notes say %d and %d (%v), want 4 and 10", a, b, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if got := countNotes(t, db); got != 2 {
		t.Errorf("notes: got %d, want 2", got)
	}
}

func TestUpdateReturnsTheErrorItself(t *testing.T) {
	db, _ := open(t)
	want := errors.New("of the caller")
	if got := db.Update(t.Context(), func(*ledger.Tx) error { return want }); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestUpdateRollsBackAPanic(t *testing.T) {
	db := openWithNotes(t)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = db.Update(t.Context(), func(tx *ledger.Tx) error {
			if err := payAndNote(t.Context(), tx, "a"); err != nil {
				return err
			}
			panic("a bug")
		})
	}()
	if got := countNotes(t, db); got != 0 {
		t.Errorf("notes: got %d, want 0", got)
	}
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error { return payAndNote(ctx, tx, "a") })
}

// bug is an argument with a Value that goes wrong.
type bug struct{ err error }

// Value panics or fails.
func (b bug) Value() (driver.Value, error) {
	if b.err == nil {
		panic("a bug")
	}
	return nil, b.err
}

// Whoever breaks off among several statements must not wait for the transaction,
// which would end only after it.
func TestExecEachOfABug(t *testing.T) {
	for _, argument := range []bug{{}, {driver.ErrBadConn}} {
		db := openWithNotes(t)
		func() {
			defer func() {
				if reason := recover(); (reason != nil) != (argument.err == nil) {
					t.Errorf("got panic %v of an argument with the error %v", reason, argument.err)
				}
			}()
			err := db.Update(t.Context(), func(tx *ledger.Tx) error {
				_, err := tx.ExecEach(t.Context(), `INSERT INTO notes (id, made) VALUES (?, 0)`, [][]any{{"a"}, {argument}, {"b"}})
				return err
			})
			if err == nil {
				t.Error("what could not be sent was committed")
			}
		}()
		if got := countNotes(t, db); got != 0 {
			t.Errorf("notes: got %d, want 0", got)
		}
		update(t, db, func(ctx context.Context, tx *ledger.Tx) error { return payAndNote(ctx, tx, "a") })
	}
}

func TestUpdateWithDoneContext(t *testing.T) {
	db := openWithNotes(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := db.Update(ctx, func(tx *ledger.Tx) error {
		defer cancel()
		return payAndNote(ctx, tx, "a")
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before the commit: got %v, want context.Canceled", err)
	}
	if err := db.Update(ctx, func(*ledger.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before it began: got %v, want context.Canceled", err)
	}
	if got := countNotes(t, db); got != 0 {
		t.Errorf("notes: got %d, want 0", got)
	}
}

// A refusal leaves the transaction usable, so that a caller can record it.
func TestRefusalDoesNotSpoilTheTransaction(t *testing.T) {
	db := openWithNotes(t)
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		err := tx.Post(ctx, transfer("big", "user:1:available", "user:1:reserved", 1001))
		if !errors.Is(err, ledger.ErrInsufficient) {
			t.Errorf("got %v, want ErrInsufficient", err)
		}
		return payAndNote(ctx, tx, "a")
	})
	if got := countNotes(t, db); got != 1 {
		t.Errorf("notes: got %d, want 1", got)
	}
}

func TestExecOne(t *testing.T) {
	db := openWithNotes(t)
	const statement = `INSERT INTO notes (id, made) VALUES (?, ?) ON CONFLICT DO NOTHING`
	for _, want := range []bool{true, false} {
		if got, err := db.ExecOne(t.Context(), statement, "a", 1); err != nil || got != want {
			t.Errorf("got %t (%v), want %t", got, err, want)
		}
	}
	if got := countNotes(t, db); got != 1 {
		t.Errorf("notes: got %d, want 1", got)
	}
}

// What reads rows closes them, however it ends, so that the next statement runs.
func TestRowsAreClosed(t *testing.T) {
	db, ctx, enough := openWithNotes(t), t.Context(), errors.New("enough")
	err := db.Update(ctx, func(tx *ledger.Tx) error {
		for _, id := range []string{"a", "b", "c"} {
			isNew, err := tx.ExecOne(ctx, `INSERT INTO notes (id, made) VALUES (?, 0) ON CONFLICT DO NOTHING`, id)
			if err != nil || !isNew {
				t.Errorf("%s: got %t, %v", id, isNew, err)
			}
		}
		if isNew, err := tx.ExecOne(ctx, `INSERT INTO notes (id, made) VALUES ('a', 0) ON CONFLICT DO NOTHING`); err != nil || isNew {
			t.Errorf("again: got %t, %v", isNew, err)
		}
		seen := 0
		err := tx.Each(ctx, func(func(target ...any) error) error {
			seen++
			return enough
		}, `SELECT id FROM notes ORDER BY id`)
		if err != enough || seen != 1 {
			t.Errorf("got %v after %d rows, want the error of the first", err, seen)
		}
		texts, err := tx.Texts(ctx, `SELECT id FROM notes WHERE id > ? ORDER BY id`, "a")
		if err != nil || strings.Join(texts, " ") != "b c" {
			t.Errorf("got %q, %v", texts, err)
		}
		if texts, err = tx.Texts(ctx, `SELECT id FROM notes WHERE id > ?`, "c"); err != nil || texts != nil {
			t.Errorf("got %q, %v, want nothing", texts, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestViewWritesNothing(t *testing.T) {
	db := openWithNotes(t)
	err := db.View(t.Context(), func(tx *ledger.Tx) error { return payAndNote(t.Context(), tx, "a") })
	if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "-", ""), "readonly") {
		t.Errorf("got %v, want that the database is read-only", err)
	}
	if got := countNotes(t, db); got != 0 {
		t.Errorf("notes: got %d, want 0", got)
	}
}

// A View sees one state, whatever is committed meanwhile.
func TestViewSeesOneState(t *testing.T) {
	db := openWithNotes(t)
	err := db.View(t.Context(), func(tx *ledger.Tx) error {
		before, err := tx.Account(t.Context(), "user:1:reserved")
		if err != nil {
			return err
		}
		update(t, db, func(ctx context.Context, tx *ledger.Tx) error { return payAndNote(ctx, tx, "a") })
		after, err := tx.Account(t.Context(), "user:1:reserved")
		if before != after {
			t.Errorf("got %v, then %v; want the same", before, after)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantAccount(t, db, "user:1:reserved", 100, 0)
}

func TestNowIsOneInstant(t *testing.T) {
	db, c := openFunded(t, 1000)
	c.Advance(time.Hour + 1234*time.Nanosecond)
	want := epoch.Add(time.Hour + time.Microsecond)
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		for _, id := range []string{"a", "b"} {
			if !tx.Now().Equal(want) {
				t.Errorf("now: got %s, want %s", tx.Now(), want)
			}
			if err := tx.Post(ctx, transfer(id, "user:1:available", "user:1:reserved", 1)); err != nil {
				return err
			}
			c.Advance(time.Minute)
			made, err := tx.Transfer(ctx, id)
			if err != nil {
				return err
			}
			if !made.Created.Equal(want) {
				t.Errorf("created: got %s, want %s", made.Created, want)
			}
		}
		return nil
	})
}

// Who is alone sees the end of the journal: nothing comes up to there later,
// though a transfer that is not committed yet has a lower number than one that is.
func TestUpdateAloneSeesTheEndOfTheJournal(t *testing.T) {
	db, _ := openFunded(t, 1000)
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		return tx.CreateAccount(ctx, ledger.Account{ID: "broker:other", Currency: usd})
	})
	written, release, slow := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	tell := sync.OnceFunc(func() { close(written) })
	go func() {
		slow <- db.Update(t.Context(), func(tx *ledger.Tx) error {
			err := tx.Post(t.Context(), transfer("slow", "user:1:available", vendor, 1))
			tell()
			<-release
			return err
		})
	}()
	<-written
	if dbtest.IsPostgreSQL() { // SQLite has one writer
		update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
			return tx.Post(ctx, transfer("quick", "broker:bank:in", "broker:other", 1))
		})
	}
	var newest, count int64
	alone := make(chan error, 1)
	go func() {
		alone <- db.UpdateAlone(t.Context(), func(tx *ledger.Tx) error {
			return tx.QueryRowContext(t.Context(), `SELECT MAX(seq), COUNT(*) FROM transfers`).Scan(&newest, &count)
		})
	}()
	select {
	case err := <-alone:
		t.Errorf("somebody was alone (%v) beside an Update that goes on", err)
		alone <- err
	case <-time.After(100 * time.Millisecond):
	}
	close(release)
	if err := errors.Join(<-slow, <-alone); err != nil {
		t.Fatal(err)
	}
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		var later int64
		err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM transfers WHERE seq <= ?`, newest).Scan(&later)
		if later != count {
			t.Errorf("up to %d there were %d transfers, and %d later", newest, count, later)
		}
		return err
	})
}
