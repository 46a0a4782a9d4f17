package broker

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// checkInterval is how often the books are checked without being asked to: a
// check reads everything.
const checkInterval = 24 * time.Hour

// background is how the last round of each part of Run went.
type background struct {
	mutex sync.Mutex
	last  map[string]round // guarded by mutex
}

// round is the end of a round of background work.
type round struct {
	Name     string
	At       time.Time
	IsFailed bool
}

// ended notes the end of a round.
func (g *background) ended(name string, at time.Time, err error) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if g.last == nil {
		g.last = make(map[string]round)
	}
	g.last[name] = round{name, at.UTC(), err != nil}
}

// rounds returns the last round of each part, none if Run does not run in this
// process.
func (g *background) rounds() []round {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	return slices.SortedFunc(maps.Values(g.last), func(a, b round) int { return cmp.Compare(a.Name, b.Name) })
}

// keepPages does what the administration pages need to have done.
func (b *Broker) keepPages(ctx context.Context) error {
	if err := b.store.sessions().Forget(ctx, b.now()); err != nil {
		return err
	}
	return b.store.sumUp(ctx)
}

// keepChecking checks the books when it is asked to, and when the newest check
// is older than checkInterval, until ctx is done. It returns nil.
func (b *Broker) keepChecking(ctx context.Context) error {
	ticker := time.NewTicker(checkInterval / 24)
	defer ticker.Stop()
	for isAsked := false; ; {
		err := b.checkIfDue(ctx, isAsked)
		b.background.ended("checking the books", b.config.Now(), err)
		if err != nil && ctx.Err() == nil {
			b.log.ErrorContext(ctx, "check of the books failed", "error", err)
		}
		isAsked = false
		select {
		case <-ctx.Done():
			return nil
		case <-b.checks:
			isAsked = true
		case <-ticker.C:
		}
	}
}

func (b *Broker) checkIfDue(ctx context.Context, isAsked bool) error {
	if !isAsked {
		last, err := b.store.lastCheck(ctx)
		if err != nil || last != nil && b.config.Now().Sub(last.Created) < checkInterval {
			return err
		}
	}
	return b.checkBooks(ctx)
}
