package caddymodule

import (
	"container/list"
	"sync"

	"github.com/paywordhq/payword"
)

const (
	// cacheBytes bounds what a node keeps of commitments it saw: some hundred
	// thousand of them, or seven hundred that each paid thousands of requests within
	// the quarter of an hour for which these are remembered. What it lets go of is
	// read again when it is needed, which takes Redis five times as long as a charge;
	// only the node can then no longer mend a store that lost its newest writes.
	cacheBytes = 512 << 20

	// cachedEntryBytes is about what a commitment takes without its requests:
	// its token, chains, reservation and state.
	cachedEntryBytes = 4096

	// maxCombinedSteps bounds the steps on one commitment that go out as one
	// write, and so its size.
	maxCombinedSteps = 128
)

// nodeEntry is what a node knows of one commitment. Steps that wait at the same
// time are run by one of them, which leads; what it needs alone is not guarded.
type nodeEntry struct {
	id payword.CommitmentID

	mutex   sync.Mutex
	waiting []*nodeStep
	leading bool
	latest  view // what this node saw last; without commitment: nothing

	// Of the leader.
	stands standing // what stood in Redis when this node last saw it
	ahead  *entry   // what this node knows and Redis may not; nil: nothing
	draft  draft
	try    swap
	steps  []*nodeStep // memory

	// Guarded by the cache.
	users  int
	place  *list.Element
	weight int
	pinned bool // it has something ahead that must not be lost
}

// draft is what steps run on: a copy of what stands. To copy all requests for each
// step would take longer than the step, so that it is what stood there before, to
// which is done what was recorded since.
type draft struct {
	entry    *entry // nil: nothing
	isBehind bool   // lag turns entry into what stands; otherwise it is only memory
	lag      []record
}

// of returns a copy of what stands, which the caller may change.
func (d *draft) of(stands *entry) *entry {
	copied := d.entry
	d.entry = nil
	if copied == nil {
		return stands.clone(nil)
	}
	if !d.isBehind {
		return stands.clone(copied.state.Recent)
	}
	for k := range d.lag {
		if err := copied.replay(&d.lag[k]); err != nil { // it is not what it should be
			return stands.clone(nil)
		}
	}
	return copied
}

// nodeStep is a step that waits to be run.
type nodeStep struct {
	run     step
	opening *opening // opens what is not known

	seen view
	err  error
	turn chan bool // true: lead; false: it is done. nil: it led from the beginning
}

// join adds a step and reports whether its caller leads.
func (e *nodeEntry) join(s *nodeStep) bool {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.waiting = append(e.waiting, s)
	if e.leading {
		s.turn = make(chan bool, 1)
		return false
	}
	e.leading = true
	return true
}

// take returns the steps that wait, the leader's among them. They are good until
// the lead is passed on.
func (e *nodeEntry) take() []*nodeStep {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	count := min(len(e.waiting), maxCombinedSteps)
	e.steps = append(e.steps[:0], e.waiting[:count]...)
	e.waiting = append(e.waiting[:0], e.waiting[count:]...)
	return e.steps
}

// pass hands the lead to whoever waits, so that nobody serves others for long.
func (e *nodeEntry) pass() {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if len(e.waiting) == 0 {
		e.leading = false
		return
	}
	e.waiting[0].turn <- true
}

// publish tells find what was seen. The caller leads.
func (e *nodeEntry) publish() {
	var latest view
	if knows := e.knows(); knows != nil {
		latest = knows.view()
	}
	e.mutex.Lock()
	e.latest = latest
	e.mutex.Unlock()
}

// knows returns the most that the node knows, nil if nothing. The caller leads
// and does not change it.
func (e *nodeEntry) knows() *entry {
	switch {
	case e.ahead == nil:
		return e.stands.entry
	case e.stands.entry == nil:
		return e.ahead
	}
	both := e.stands.entry.clone(nil)
	both.merge(e.ahead)
	return both
}

// raiseAhead notes that the node knows something that Redis may not. The caller
// leads.
func (e *nodeEntry) raiseAhead(known *entry) {
	switch {
	case known == nil:
	case e.ahead == nil:
		e.ahead = known
	default:
		e.ahead.merge(known)
	}
}

// nodeCache holds the commitments that a node saw last.
type nodeCache struct {
	mutex   sync.Mutex
	entries map[payword.CommitmentID]*nodeEntry
	order   *list.List // of entries, the one used last in front
	weight  int
	limit   int // in bytes
}

func newNodeCache() *nodeCache {
	return &nodeCache{entries: map[payword.CommitmentID]*nodeEntry{}, order: list.New(), limit: cacheBytes}
}

// peek returns what was seen of a commitment last, and whether anything was.
func (c *nodeCache) peek(id payword.CommitmentID) (view, bool) {
	c.mutex.Lock()
	e := c.entries[id]
	if e != nil {
		c.order.MoveToFront(e.place)
	}
	c.mutex.Unlock()
	if e == nil {
		return view{}, false
	}
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.latest, e.latest.commitment != nil
}

// acquire returns the entry of a commitment, which stays until release.
func (c *nodeCache) acquire(id payword.CommitmentID) *nodeEntry {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	e := c.entries[id]
	if e == nil {
		e = &nodeEntry{id: id}
		e.place = c.order.PushFront(e)
		c.entries[id] = e
	}
	c.order.MoveToFront(e.place)
	e.users++
	return e
}

// release lets go of an entry. What nobody knows anything of is not kept.
func (c *nodeCache) release(e *nodeEntry) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	e.users--
	if e.users > 0 {
		return
	}
	// Nobody leads it now, so that its fields may be read.
	if e.stands.entry == nil && e.ahead == nil {
		c.remove(e)
		return
	}
	weight := cachedEntryBytes + cap(e.try.call.write)
	for _, each := range [...]*entry{e.stands.entry, e.ahead, e.draft.entry} {
		if each != nil {
			weight += cap(each.state.Recent) * requestBytes
		}
	}
	c.weight += weight - e.weight
	e.weight, e.pinned = weight, e.ahead != nil
	for place := c.order.Back(); place != nil && c.weight > c.limit; {
		oldest := place.Value.(*nodeEntry)
		place = place.Prev()
		if oldest.users == 0 && !oldest.pinned {
			c.remove(oldest)
		}
	}
}

// isFull reports whether there is no room for what must not be let go of.
func (c *nodeCache) isFull() bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.weight > c.limit
}

func (c *nodeCache) remove(e *nodeEntry) {
	c.order.Remove(e.place)
	delete(c.entries, e.id)
	c.weight -= e.weight
}

// all returns the commitments that are kept.
func (c *nodeCache) all() []payword.CommitmentID {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	ids := make([]payword.CommitmentID, 0, len(c.entries))
	for id := range c.entries {
		ids = append(ids, id)
	}
	return ids
}
