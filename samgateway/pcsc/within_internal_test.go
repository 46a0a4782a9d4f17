//go:build pcsc && (cgo || windows)

package pcsc

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// What is left behind is tidied up once, when it returns, and not before.
func TestWithin(t *testing.T) {
	for _, c := range []struct {
		name           string
		takes          time.Duration
		cancelledAfter time.Duration
		want           error
	}{
		{"in time", time.Second, time.Hour, nil},
		{"too long", time.Minute, time.Hour, errAbandoned},
		{"broken off", 5 * time.Second, 2 * time.Second, context.DeadlineExceeded},
		{"broken off before", time.Second, 0, context.DeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), c.cancelledAfter)
				defer cancel()
				var started atomic.Bool
				var tidied atomic.Int32
				got, err := within(ctx, 10*time.Second, func() (int, error) {
					started.Store(true)
					<-time.After(c.takes)
					return 7, nil
				}, func(result int, err error) {
					if result != 7 || err != nil {
						t.Errorf("tidied %d, %v", result, err)
					}
					tidied.Add(1)
				})
				if !errors.Is(err, c.want) || (err == nil) != (got == 7) || tidied.Load() != 0 {
					t.Errorf("got %d, %v, and %d tidied; want %v", got, err, tidied.Load(), c.want)
				}
				if started.Load() {
					<-time.After(c.takes)
				}
				synctest.Wait()
				want := int32(0)
				if started.Load() && c.want != nil {
					want = 1
				}
				if got := tidied.Load(); got != want {
					t.Errorf("tidied %d times, want %d", got, want)
				}
			})
		})
	}
}

func TestOneWatchesAReader(t *testing.T) {
	one, other := &reader{name: "One"}, &reader{name: "Other"}
	unlock, err := one.watchAlone(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := (&reader{name: "One"}).watchAlone(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second at the same reader: %v, want context.DeadlineExceeded", err)
	}
	unlockOther, err := other.watchAlone(t.Context())
	if err != nil {
		t.Errorf("at another reader: %v", err)
	}
	unlockOther()
	unlock()
	if unlock, err = one.watchAlone(t.Context()); err != nil {
		t.Errorf("after the first: %v", err)
	}
	unlock()
}
