package caddymodule

import (
	"context"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

// The events of the gate, for handlers that are subscribed in Caddy's events
// app. Their data holds strings and whole numbers, and nothing secret.
const (
	// EventOpened: a commitment was opened. Data: vendor, broker, pseudonym,
	// currency, reserved_micros.
	EventOpened = "payword.opened"

	// EventReplay: a payment was refused that was seen before under another
	// request, or whose payword is forged. Data: vendor, reason, pseudonym.
	EventReplay = "payword.replay"

	// EventStoreDown: a step of the store failed after one that succeeded, so
	// the gate is closed. No data.
	EventStoreDown = "payword.store_down"

	// EventStoreUp: a step succeeded after one that failed. No data.
	EventStoreUp = "payword.store_up"

	// EventRedeemed: a broker answered claims. Data: broker, vendor, claims,
	// paid, refused, due_micros.
	EventRedeemed = "payword.redeemed"

	// EventClaimRefused: a broker refused a claim. Data: broker, vendor,
	// reason, pseudonym, final.
	EventClaimRefused = "payword.claim_refused"
)

const (
	// maxWaitingEvents bounds the events that wait for their handlers.
	maxWaitingEvents = 64

	// maxEventsPerSecond bounds how often one event is emitted, so that nobody
	// who sends forged payments can make the handlers run at his pace.
	maxEventsPerSecond = 5
)

// event is one that waits to be emitted.
type event struct {
	name string
	data map[string]any
}

// eventQueue keeps events until a job emits them, because Caddy runs the
// handlers of an event before it returns, and no request may wait for them.
type eventQueue struct {
	waiting chan event
	dropped func()

	mutex  sync.Mutex
	second int64
	count  map[string]int // in that second, by name
}

func newEventQueue(dropped func()) *eventQueue {
	return &eventQueue{waiting: make(chan event, maxWaitingEvents), dropped: dropped, count: make(map[string]int)}
}

// add puts an event in the queue, or drops it where too many came. now is in
// seconds since 1970.
func (q *eventQueue) add(now int64, name string, data map[string]any) {
	if !q.admit(now, name) {
		q.dropped()
		return
	}
	select {
	case q.waiting <- event{name: name, data: data}:
	default:
		q.dropped()
	}
}

func (q *eventQueue) admit(now int64, name string) bool {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	if now != q.second {
		q.second = now
		clear(q.count)
	}
	q.count[name]++
	return q.count[name] <= maxEventsPerSecond
}

// findEvents finds Caddy's events app.
func (a *App) findEvents(ctx caddy.Context) error {
	module, err := ctx.App("events")
	if err != nil {
		return err
	}
	a.events = module.(*caddyevents.App)
	return nil
}

// emitEvents emits what is in the queue until ctx ends.
func (a *App) emitEvents(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-a.gate.events.waiting:
			a.events.Emit(a.ctx, e.name, e.data)
		}
	}
}
