package caddymodule

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/paywordhq/payword"
)

// BenchmarkStoreCharge charges from 1 and from 64 goroutines, each on its own
// commitment: in memory alone, with a journal on a disk that takes no time, and
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
				benchmarkCharge(b, each.make(b), goroutines)
			})
		}
	}
}

func benchmarkCharge(b *testing.B, s store, goroutines int) {
	commitments := make([]*payword.Commitment, goroutines)
	for k := range commitments {
		commitments[k] = storeCommitment(b, uint64(k), 1)
		if _, err := s.open(b.Context(), storeOpening(commitments[k], 1000, 1)); err != nil {
			b.Fatal(err)
		}
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
			m := commitments[int(turn.Add(1)-1)%goroutines]
			if err := chargeAll(s, m, p.Next); err != nil {
				b.Error(err)
			}
		})
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

// chargeAll charges one number after the other. A price of 0 is recorded like
// any other and never uses the credit up.
func chargeAll(s store, m *payword.Commitment, next func() bool) error {
	c := payword.Charge{Tail: storeTail(1), Now: storeStart}
	for next() {
		c.Number++
		outcome, _, err := s.charge(context.Background(), m.ID, c)
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
