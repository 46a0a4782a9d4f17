//go:build pcsc && (cgo || windows)

package pcsc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// errAbandoned means that a call took too long and was left behind.
var errAbandoned = errors.New("no answer from the reader or the service for readers in time")

func isAbandoned(err error) bool { return errors.Is(err, errAbandoned) }

// within does what may never return in a goroutine of its own, and waits for it
// at most until the limit is over or ctx is done. What is left behind then belongs
// to tidy, which gets what work returns when it does; until then nothing may touch
// what work uses. The error is then one of errAbandoned.
func within[T any](ctx context.Context, limit time.Duration, work func() (T, error), tidy func(T, error)) (T, error) {
	type outcome struct {
		result T
		err    error
	}
	var nothing T
	if err := ctx.Err(); err != nil {
		return nothing, err
	}
	done, left := make(chan outcome), make(chan struct{})
	go func() {
		result, err := work()
		select {
		case done <- outcome{result, err}:
		case <-left:
			tidy(result, err)
		}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	defer close(left)
	select {
	case o := <-done:
		return o.result, o.err
	case <-timer.C:
		return nothing, errAbandoned
	case <-ctx.Done():
		return nothing, fmt.Errorf("%w: %w", errAbandoned, ctx.Err())
	}
}

// watchers has for each reader a place that one takes who waits there. The library
// keeps the name of a reader that is waited at from the garbage collector by a
// table of names, so that of two who wait at one reader one could lose it.
var watchers sync.Map

// watchAlone returns when nobody else in this process waits at the reader.
func (r *reader) watchAlone(ctx context.Context) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	place, _ := watchers.LoadOrStore(r.name, make(chan struct{}, 1))
	watching, _ := place.(chan struct{})
	select {
	case watching <- struct{}{}:
		return func() { <-watching }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
