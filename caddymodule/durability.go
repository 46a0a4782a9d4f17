package caddymodule

import "sync"

// The values of App.Durability. "" is durabilitySync.
const (
	durabilitySync  = "sync"
	durabilityAsync = "async"
)

// asyncStore is a store whose steps may return before they are durable.
type asyncStore interface {
	setAsync(isAsync bool)
}

// durability is how a gate's store is used. A reload has two configurations use
// it for a while, and a configuration that does not start lets go of it again:
// it is async only while all that use it want that.
type durability struct {
	store asyncStore // nil: it has no such choice

	mutex     sync.Mutex
	users     int
	syncUsers int
}

func newDurability(s store) *durability {
	async, _ := s.(asyncStore)
	return &durability{store: async}
}

// use adds a configuration, with its App.Durability.
func (d *durability) use(wanted string) { d.add(1, wanted) }

// release ends what use began.
func (d *durability) release(wanted string) { d.add(-1, wanted) }

func (d *durability) add(count int, wanted string) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.users += count
	if wanted != durabilityAsync {
		d.syncUsers += count
	}
	if d.store != nil {
		d.store.setAsync(d.isAsync())
	}
}

// String returns the durability as App.Durability has it, or "" if the store has
// no such choice.
func (d *durability) String() string {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	switch {
	case d.store == nil:
		return ""
	case d.isAsync():
		return durabilityAsync
	default:
		return durabilitySync
	}
}

// isAsync reports what the store was told. The caller holds mutex.
func (d *durability) isAsync() bool { return d.users > 0 && d.syncUsers == 0 }
