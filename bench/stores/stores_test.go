package stores

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
)

// contenders open the stores, for a number of callers at once.
var contenders = []struct {
	name string
	open func(folder string, callers int) (store, error)
}{
	{"pebble", func(folder string, _ int) (store, error) { return openPebble(folder) }},
	{"bbolt", openBolt},
	{"sqlite", func(folder string, _ int) (store, error) { return openSQLite(folder) }},
}

func openStore(tb testing.TB, open func(string, int) (store, error), callers int) store {
	tb.Helper()
	s, err := open(tb.TempDir(), callers)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func TestStoresGoForwardOnly(t *testing.T) {
	for _, contender := range contenders {
		t.Run(contender.name, func(t *testing.T) {
			s := openStore(t, contender.open, 1)
			for _, step := range []struct {
				chain, index uint64
				want         error
			}{{1, 1, nil}, {1, 1, errBehind}, {2, 7, nil}, {2, 6, errBehind}, {1, 9, nil}, {1, 8, errBehind}, {1, 10, nil}} {
				if err := s.advance(step.chain, step.index, [wordBytes]byte{byte(step.index)}); !errors.Is(err, step.want) || (step.want == nil) != (err == nil) {
					t.Errorf("chain %d to %d: %v, want %v", step.chain, step.index, err, step.want)
				}
			}
		})
	}
}

// chainsEach is how many chains each goroutine has, as in the benchmark of the
// gate's own store: 64 goroutines have the 4,096 for which the bars were set.
const chainsEach = 64

// BenchmarkStore goes forward from 1 and from 64 goroutines, each on chains of
// its own in turn.
func BenchmarkStore(b *testing.B) {
	for _, contender := range contenders {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", contender.name, callers), func(b *testing.B) {
				s := openStore(b, contender.open, callers)
				b.ResetTimer()
				if callers == 1 {
					goForward(b, s, 1, b.Loop)
				} else {
					var turn atomic.Uint64
					b.SetParallelism(callers / runtime.GOMAXPROCS(0))
					b.RunParallel(func(p *testing.PB) { goForward(b, s, turn.Add(1), p.Next) })
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
			})
		}
	}
}

func goForward(b *testing.B, s store, caller uint64, next func() bool) {
	for k := uint64(0); next(); k++ {
		chain, index := caller*chainsEach+k%chainsEach, 1+k/chainsEach
		if err := s.advance(chain, index, [wordBytes]byte{byte(index)}); err != nil {
			b.Error(err)
			return
		}
	}
}
