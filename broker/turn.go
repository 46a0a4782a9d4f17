package broker

import (
	"context"
	"sync"
	"time"

	"github.com/paywordhq/payword"
)

const (
	// largeBodies is how many large bodies are held at once: with what is read
	// from each, about ten megabytes, they stay below 200 MB. It is twice
	// maxVendorKeys, so that one vendor with a request for each of its keys
	// leaves room for others.
	largeBodies = 2 * maxVendorKeys

	// turnTimeout is how long a request waits for its turn, before its body is
	// looked at: a few times what a full batch takes.
	turnTimeout = 15 * time.Second
)

// turns lets one at a time do something under the same name. The zero value is
// ready.
type turns struct {
	mutex  sync.Mutex
	byName map[string]*turn // guarded by mutex
}

type turn struct {
	slot  chan struct{} // of one place
	users int           // that have it or wait for it; guarded by turns.mutex
}

// take waits for the turn of name until ctx is done, and returns what ends it.
func (t *turns) take(ctx context.Context, name string) (leave func(), err error) {
	t.mutex.Lock()
	if t.byName == nil {
		t.byName = make(map[string]*turn)
	}
	mine := t.byName[name]
	if mine == nil {
		mine = &turn{slot: make(chan struct{}, 1)}
		t.byName[name] = mine
	}
	mine.users++
	t.mutex.Unlock()
	select {
	case mine.slot <- struct{}{}:
		return func() {
			<-mine.slot
			t.forget(name, mine)
		}, nil
	case <-ctx.Done():
		t.forget(name, mine)
		return nil, ctx.Err()
	}
}

// forget counts one user less and drops the name after the last.
func (t *turns) forget(name string, mine *turn) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if mine.users--; mine.users == 0 {
		delete(t.byName, name)
	}
}

// enterLarge waits until the large body of a request that keyID signed may be
// read: one at a time for each key, and largeBodies in all. The caller calls
// leave once it is done with the body. It refuses with RateLimited.
func (b *Broker) enterLarge(ctx context.Context, keyID string) (leave func(), refusal payword.Refusal) {
	ctx, cancel := context.WithTimeout(ctx, b.turnTimeout)
	defer cancel()
	end, err := b.byKey.take(ctx, keyID)
	if err != nil {
		return nil, refuse(payword.RateLimited, "another request of this key is worked on: send one after the other")
	}
	select {
	case b.large <- struct{}{}:
		return func() {
			<-b.large
			end()
		}, payword.Refusal{}
	case <-ctx.Done():
		end()
		return nil, refuse(payword.RateLimited, "too many large requests at once; wait a minute")
	}
}

// enterVendor waits until no other request for redemptions of the vendor is
// worked on. The caller calls leave at the end. It refuses with RateLimited.
func (b *Broker) enterVendor(ctx context.Context, vendor string) (leave func(), refusal payword.Refusal) {
	ctx, cancel := context.WithTimeout(ctx, b.turnTimeout)
	defer cancel()
	leave, err := b.byVendor.take(ctx, vendor)
	if err != nil {
		return nil, refuse(payword.RateLimited, "another request of this vendor is worked on: send one after the other")
	}
	return leave, payword.Refusal{}
}
