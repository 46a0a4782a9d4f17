package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// batchAccounts has an account of each sort: with and without a floor, in
// another currency, nearly full, with something pending.
var batchAccounts = []ledger.Account{
	{ID: "broker:bank:in", Currency: usd, Floor: ledger.NoFloor},
	{ID: "user:1:available", Currency: usd},
	{ID: "user:2:available", Currency: usd, Floor: -150},
	{ID: "user:3:available", Currency: "eur-micro"},
	{ID: "broker:full", Currency: usd},
	{ID: vendor, Currency: usd},
}

// openForBatches makes a ledger with batchAccounts.
func openForBatches(t *testing.T) *ledger.DB {
	db, _ := open(t)
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		for _, account := range batchAccounts {
			if err := tx.CreateAccount(ctx, account); err != nil {
				return err
			}
		}
		if err := tx.Post(ctx, transfer("fund", "broker:bank:in", "user:1:available", 500)); err != nil {
			return err
		}
		return errors.Join(fill(ctx, tx), tx.Pend(ctx, transfer("hold", "user:1:available", vendor, 200)))
	})
	return db
}

// drawBatch draws transfers, many of which repeat others or are wrong.
func drawBatch(random *rand.Rand) (batch []ledger.Transfer) {
	ids := []string{"nobody", "user:1:available", "user:1:available", vendor}
	for _, account := range batchAccounts {
		ids = append(ids, account.ID)
	}
	for range random.IntN(40) {
		t := transfer(fmt.Sprintf("t%d", random.IntN(150)), ids[random.IntN(len(ids))], ids[random.IntN(len(ids))], money.Amount(random.IntN(120)))
		switch random.IntN(12) {
		case 0:
			t.ID += "!expire"
		case 1:
			t.Currency = "eur-micro"
		case 2:
			t.Reference = "other"
		case 3:
			t.Amount = money.MaxAmount
		}
		batch = append(batch, t)
		if random.IntN(4) == 0 {
			batch = append(batch, batch[random.IntN(len(batch))])
		}
	}
	return batch
}

// PostLists refuses what Post refuses, in the same words, and leaves the same
// books; PendLists what Pend does.
func TestPostListsIsPostInOrder(t *testing.T) {
	t.Run("post", func(t *testing.T) { compareLists(t, (*ledger.Tx).PostLists, (*ledger.Tx).Post, 6) })
	// What is pending is in nobody's account, so that none overflows.
	t.Run("pend", func(t *testing.T) { compareLists(t, (*ledger.Tx).PendLists, (*ledger.Tx).Pend, 5) })
}

func compareLists(t *testing.T, makeLists func(*ledger.Tx, context.Context, [][]ledger.Transfer) ([]ledger.ListOutcome, error),
	makeOne func(*ledger.Tx, context.Context, ledger.Transfer) error, wantOutcomes int) {
	t.Parallel()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	together, apart := openForBatches(t), openForBatches(t)
	outcomes := map[string]int{}
	for range 60 {
		lists := cut(random, drawBatch(random))
		var got, want []ledger.ListOutcome
		update(t, together, func(ctx context.Context, tx *ledger.Tx) (err error) {
			got, err = makeLists(tx, ctx, lists)
			return err
		})
		update(t, apart, func(ctx context.Context, tx *ledger.Tx) error {
			want = nil
			for _, list := range lists {
				want = append(want, makeList(ctx, tx, makeOne, list))
			}
			return nil
		})
		if len(got) != len(lists) {
			t.Fatalf("got %d outcomes for %d lists", len(got), len(lists))
		}
		for k := range lists {
			outcomes[wantOutcome(t, lists[k], got[k], want[k])]++
		}
		wantSameBooks(t, together, apart)
	}
	t.Logf("outcomes: %v", outcomes)
	if len(outcomes) < wantOutcomes {
		t.Error("not every outcome was reached")
	}
}

// cut makes lists of a batch, the longest of four.
func cut(random *rand.Rand, batch []ledger.Transfer) (lists [][]ledger.Transfer) {
	for len(batch) > 0 {
		length := min(len(batch), random.IntN(5))
		lists = append(lists, batch[:length])
		batch = batch[length:]
	}
	return lists
}

// makeList is what PostLists does with one list, with Post, or another.
func makeList(ctx context.Context, tx *ledger.Tx, makeOne func(*ledger.Tx, context.Context, ledger.Transfer) error,
	list []ledger.Transfer) (outcome ledger.ListOutcome) {
	for _, one := range list {
		if outcome.Refused = makeOne(tx, ctx, one); outcome.Refused != nil {
			break
		}
		outcome.Made++
	}
	return outcome
}

// wantOutcome compares outcomes and returns a word for what it was.
func wantOutcome(t *testing.T, list []ledger.Transfer, got, want ledger.ListOutcome) string {
	t.Helper()
	if got.Made != want.Made || fmt.Sprint(got.Refused) != fmt.Sprint(want.Refused) {
		t.Fatalf("list %+v: got %+v, want %+v", list, got, want)
	}
	for _, sort := range []error{ledger.ErrInsufficient, ledger.ErrTransferDiffers, ledger.ErrNotFound, ledger.ErrCurrency, money.ErrOverflow} {
		if errors.Is(got.Refused, sort) != errors.Is(want.Refused, sort) {
			t.Fatalf("list %+v: %v is %v by one and not by the other", list, got.Refused, sort)
		}
		if errors.Is(got.Refused, sort) {
			return sort.Error()
		}
	}
	return fmt.Sprintf("made: %t", got.Refused == nil)
}

// wantSameBooks compares accounts and transfers, the order of these included.
func wantSameBooks(t *testing.T, one, other *ledger.DB) {
	t.Helper()
	if a, b := booksOf(t, one), booksOf(t, other); a != b {
		t.Fatalf("got\n%s\nwant\n%s", a, b)
	}
}

func booksOf(t *testing.T, db *ledger.DB) string {
	t.Helper()
	var text strings.Builder
	err := db.View(t.Context(), func(tx *ledger.Tx) error {
		accounts, err := tx.Accounts(t.Context(), "", "", ledger.MaxPage)
		if err != nil {
			return err
		}
		for _, account := range accounts {
			entries, err := tx.Entries(t.Context(), account.ID, 0, ledger.MaxPage)
			if err != nil {
				return err
			}
			fmt.Fprintf(&text, "%+v\n%+v\n", account, entries)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// A batch that is larger than a statement is made as a whole, once.
func TestPostListsOfManyStatements(t *testing.T) {
	db, _ := openFunded(t, 5000)
	batch := make([]ledger.Transfer, 1500)
	for k := range batch {
		batch[k] = transfer(fmt.Sprintf("t%d", k), "user:1:available", vendor, 1)
	}
	for range 2 {
		update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
			outcomes, err := tx.PostLists(ctx, [][]ledger.Transfer{batch[:700], batch[700:]})
			if err == nil && (outcomes[0] != ledger.ListOutcome{Made: 700} || outcomes[1] != ledger.ListOutcome{Made: 800}) {
				t.Errorf("got %+v, want all made", outcomes)
			}
			return err
		})
	}
	wantAccount(t, db, "user:1:available", 3500, 0)
	wantAccount(t, db, vendor, 1500, 0)
	wantClean(t, db)
}

// A transaction that is given up leaves nothing of a batch.
func TestPostListsIsAbandoned(t *testing.T) {
	db, _ := openFunded(t, 1000)
	err := db.Update(t.Context(), func(tx *ledger.Tx) error {
		_, err := tx.PostLists(t.Context(), [][]ledger.Transfer{{transfer("t", "user:1:available", vendor, 10)}})
		return errors.Join(err, errAbandoned)
	})
	if !errors.Is(err, errAbandoned) {
		t.Errorf("got %v, want %v", err, errAbandoned)
	}
	wantAccount(t, db, "user:1:available", 1000, 0)
	wantAccount(t, db, vendor, 0, 0)
}

func TestSpans(t *testing.T) {
	for _, count := range []int{0, 1, 2, 3, 511, 512, 513, 1000, 10_000} {
		next := 0
		for from, to := range ledger.Spans(count) {
			length := to - from
			if from != next || length < 1 || length > 512 || length&(length-1) != 0 {
				t.Fatalf("%d rows: got a span from %d to %d, want one from %d with a power of two up to 512", count, from, to, next)
			}
			next = to
		}
		if next != count {
			t.Errorf("%d rows: the spans end at %d", count, next)
		}
	}
	if got, want := ledger.Rows(2, 3), "(?,?,?),(?,?,?)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// More texts than a connection keeps statements for still work, and so does a
// statement whose table was changed after it had been prepared.
func TestStatementsAreForgotten(t *testing.T) {
	db, _ := openFunded(t, 1000)
	update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
		for k := range 1000 {
			var got int
			if err := tx.QueryRowContext(ctx, fmt.Sprintf(`SELECT %d FROM accounts WHERE id = ?`, k), vendor).Scan(&got); err != nil || got != k {
				return fmt.Errorf("got %d, %w; want %d", got, err, k)
			}
		}
		return nil
	})
	run := func(script string) {
		update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
			_, err := tx.ExecContext(ctx, script)
			return err
		})
	}
	count := func(want int) {
		update(t, db, func(ctx context.Context, tx *ledger.Tx) error {
			var got int
			err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM notes WHERE id = ?`, 1).Scan(&got)
			if got != want {
				t.Errorf("got %d notes, want %d", got, want)
			}
			return err
		})
	}
	run(`CREATE TABLE notes (id BIGINT NOT NULL); CREATE INDEX notes_id ON notes (id)`)
	count(0)
	run(`DROP INDEX notes_id`)
	run(`ALTER TABLE notes ADD COLUMN made BIGINT NOT NULL DEFAULT 0`)
	run(`INSERT INTO notes (id) VALUES (1)`)
	count(1)
}
