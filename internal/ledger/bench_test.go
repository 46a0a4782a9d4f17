package ledger_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/paywordhq/payword/internal/ledger"
)

// BenchmarkPost is one durable transfer in a transaction of its own.
func BenchmarkPost(b *testing.B) {
	db, _ := openFunded(b, 1_000_000_000)
	for i := 0; b.Loop(); i++ {
		update(b, db, func(ctx context.Context, tx *ledger.Tx) error {
			return tx.Post(ctx, transfer("t"+strconv.Itoa(i), "user:1:available", "user:1:reserved", 1))
		})
	}
}

// BenchmarkPostTogether is one of a hundred transfers in a transaction.
func BenchmarkPostTogether(b *testing.B) {
	db, _ := openFunded(b, 1_000_000_000)
	for i := 0; b.Loop(); {
		update(b, db, func(ctx context.Context, tx *ledger.Tx) error {
			for range 100 {
				i++
				if err := tx.Post(ctx, transfer("t"+strconv.Itoa(i), "user:1:available", "user:1:reserved", 1)); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// BenchmarkPostLists is a thousand transfers in a transaction, made by
// PostLists from as many accounts.
func BenchmarkPostLists(b *testing.B) {
	db, _ := openFunded(b, 1_000_000_000)
	batch := make([][]ledger.Transfer, 1000)
	update(b, db, func(ctx context.Context, tx *ledger.Tx) error {
		for k := range batch {
			from := "user:" + strconv.Itoa(k+2) + ":available"
			err := tx.CreateAccount(ctx, ledger.Account{ID: from, Currency: usd, Floor: ledger.NoFloor})
			if err != nil {
				return err
			}
			batch[k] = []ledger.Transfer{transfer("", from, vendor, 1)}
		}
		return nil
	})
	for i := 0; b.Loop(); {
		update(b, db, func(ctx context.Context, tx *ledger.Tx) error {
			for k := range batch {
				i++
				batch[k][0].ID = "t" + strconv.Itoa(i)
			}
			_, err := tx.PostLists(ctx, batch)
			return err
		})
	}
}

// BenchmarkPostAtOnce is one of many durable transfers, each in an Update of
// its own, that wait for each other.
func BenchmarkPostAtOnce(b *testing.B) {
	db, _ := openFunded(b, 1_000_000_000)
	var number atomic.Int64
	b.SetParallelism(16)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			id := "t" + strconv.FormatInt(number.Add(1), 10)
			err := db.Update(b.Context(), func(tx *ledger.Tx) error {
				return tx.Post(b.Context(), transfer(id, "user:1:available", "user:1:reserved", 1))
			})
			if err != nil {
				b.Error(err)
			}
		}
	})
}
