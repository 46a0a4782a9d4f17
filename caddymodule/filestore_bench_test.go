package caddymodule

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/paywordhq/payword"
)

// chainsEach is how many commitments each goroutine has in turn, as
// bench/stores has chains: 64 goroutines have the 4,096 for which the bars were set.
const chainsEach = 64

// BenchmarkStoreCharge charges from 1 and from 64 goroutines, each on its own
// commitments: in memory alone, with a journal on a disk that takes no time, and
// durably.
func BenchmarkStoreCharge(b *testing.B) {
	for _, each := range []struct {
		name string
		make func(b *testing.B) store
	}{
		{"memory", func(*testing.B) store { return newMemoryStore() }},
		{"journal", func(b *testing.B) store {
			return openStore(b, "null", fileStoreOptions{disk: nullDisk{}, compactBytes: 1 << 50})
		}},
		{"durable", func(b *testing.B) store { return openStore(b, b.TempDir(), fileStoreOptions{}) }},
	} {
		for _, goroutines := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", each.name, goroutines), func(b *testing.B) {
				benchmarkCharge(b, each.make(b), goroutines, chainsEach)
			})
		}
	}
}

// benchmarkCharge charges from a number of goroutines, each on so many
// commitments of its own in turn.
func benchmarkCharge(b *testing.B, s store, goroutines, each int) {
	commitments := make([][]*payword.Commitment, goroutines)
	var opening sync.WaitGroup
	for k := range commitments {
		opening.Go(func() {
			for n := range each {
				m := storeCommitment(b, uint64(k*each+n), 1)
				if _, err := s.open(b.Context(), storeOpening(m, 1000, 1)); err != nil {
					b.Error(err)
				}
				commitments[k] = append(commitments[k], m)
			}
		})
	}
	if opening.Wait(); b.Failed() {
		b.FailNow()
	}
	b.ReportAllocs()
	b.ResetTimer()
	if goroutines == 1 {
		if err := chargeAll(s, commitments[0], func() bool { return b.Loop() }); err != nil {
			b.Fatal(err)
		}
	} else {
		var turn atomic.Int64
		b.SetParallelism(goroutines / runtime.GOMAXPROCS(0))
		b.RunParallel(func(p *testing.PB) {
			if err := chargeAll(s, commitments[int(turn.Add(1)-1)%goroutines], p.Next); err != nil {
				b.Error(err)
			}
		})
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

// chargeAll charges one number after the other, on all commitments in turn. A
// price of 0 is recorded like any other and never uses the credit up.
func chargeAll(s store, commitments []*payword.Commitment, next func() bool) error {
	c := payword.Charge{Tail: storeTail(1), Now: storeStart}
	for k := 0; next(); k = (k + 1) % len(commitments) {
		if k == 0 {
			c.Number++
		}
		outcome, _, err := s.charge(context.Background(), commitments[k].ID, c)
		if err != nil || outcome.Reason != payword.Accepted {
			return fmt.Errorf("number %d: %v, %v", c.Number, outcome.Reason, err)
		}
	}
	return nil
}

// nullDisk forgets everything at once.
type nullDisk struct{}

func (nullDisk) list() ([]string, error)         { return nil, nil }
func (nullDisk) create(string) (diskFile, error) { return nullFile{}, nil }
func (nullDisk) open(string) (diskFile, error)   { return nullFile{}, nil }
func (nullDisk) rename(string, string) error     { return nil }
func (nullDisk) remove(string) error             { return nil }
func (nullDisk) sync() error                     { return nil }
func (nullDisk) Close() error                    { return nil }

type nullFile struct{}

func (nullFile) ReadAt([]byte, int64) (int, error)           { return 0, nil }
func (nullFile) WriteAt(source []byte, _ int64) (int, error) { return len(source), nil }
func (nullFile) Truncate(int64) error                        { return nil }
func (nullFile) Size() (int64, error)                        { return 0, nil }
func (nullFile) Sync() error                                 { return nil }
func (nullFile) Close() error                                { return nil }
