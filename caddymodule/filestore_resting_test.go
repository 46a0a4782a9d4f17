package caddymodule

import (
	"context"
	"math/rand"
	"sync/atomic"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// restAll lets every commitment rest that can, and returns how many do.
func restAll(s *fileStore, now int64) (count int) {
	for k := range s.shards {
		for e := range s.shards[k].all() {
			s.shards[k].rest(e, now, s.journal.durable.Load())
		}
		s.shards[k].mutex.RLock()
		count += len(s.shards[k].resting)
		s.shards[k].mutex.RUnlock()
	}
	return count
}

// TestFileStoreRests compares a store whose commitments rest now and then, and is
// compacted and opened again meanwhile, with the fake.
func TestFileStoreRests(t *testing.T) {
	t.Parallel()
	const seed = 4712
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewSource(seed))
	d, fake := newFakeDisk(), newMemoryStore()
	s := openStore(t, "fake", onDisk(d))
	walk, rested := newStoreWalk(t, random), 0
	for range 3000 {
		step := walk.next()
		if got, want := step(s), step(fake); got != want {
			t.Fatalf("got %s; want %s", got, want)
		}
		if random.Intn(8) > 0 {
			continue
		}
		if random.Intn(2) > 0 {
			walk.now += payword.RefundSeconds
		}
		before := s.digest(walk.now)
		rested += restAll(s, walk.now)
		if got := s.digest(walk.now); got != before {
			t.Fatalf("the store holds\n%s\nbefore it rested\n%s", got, before)
		}
		switch random.Intn(6) {
		case 0:
			if _, err := s.compact(); err != nil {
				t.Fatal(err)
			}
		case 1:
			closeStore(t, s)
			s = openStore(t, "fake", onDisk(d))
		}
		if got, want := s.digest(walk.now), fake.digest(walk.now); got != want {
			t.Fatalf("the store holds\n%s\nwant\n%s", got, want)
		}
	}
	if rested < 100 {
		t.Errorf("commitments rested %d times; the test wants 100", rested)
	}
}

// TestFileStoreRestsUnderLoad lets commitments rest while they are charged.
func TestFileStoreRestsUnderLoad(t *testing.T) {
	t.Parallel()
	const charges = 4000
	s := openStore(t, "fake", onDisk(newFakeDisk()))
	c := &storeCase{T: t, store: s, m: storeCommitment(t, 1, 1)}
	c.open(payword.MaxChainLength, 1)
	var done, accepted atomic.Int64
	inParallel(t, 8, charges, func(k int) error {
		if k == 0 {
			for done.Load() < charges/2 {
				restAll(s, storeStart+payword.RefundSeconds)
			}
			return nil
		}
		defer done.Add(1)
		outcome, _, err := s.charge(context.Background(), c.m.ID, storeCharge(uint64(k)))
		if outcome.Reason == payword.Accepted {
			accepted.Add(1)
		}
		return err
	})
	if accepted.Load() < charges/2 {
		t.Errorf("only %d of %d were accepted", accepted.Load(), charges)
	}
	c.spent(money.Amount(accepted.Load()) * storeUnit)
}
