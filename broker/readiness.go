package broker

import (
	"context"
	"net/http"
	"time"
)

// readyTimeout is how long the database may take to answer a probe: a broker
// that is slower serves nobody.
const readyTimeout = 2 * time.Second

// ready reports why the broker cannot do its work now, or nil.
func (b *Broker) ready(ctx context.Context) error {
	if b.draining.Load() {
		p := newProblem(http.StatusServiceUnavailable, "The broker is about to end.")
		p.retryAfterSeconds = retryUnavailable
		return p
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return b.store.ready(ctx)
}

// Drain makes the broker answer that it is not ready, so that nobody sends it
// more, while it goes on serving. There is no way back.
func (b *Broker) Drain() { b.draining.Store(true) }
