package broker

import (
	"sync"
	"time"
)

const (
	// openingsPerMinute is how many signed requests of keys that are not known
	// yet are looked at in a minute, those for accounts and those for vendors
	// each by themselves. Each may cost a few rows for ever; a broker that grows
	// faster has a better guard in front of it.
	openingsPerMinute = 600

	// fetchesPerMinute is how many discovery documents are fetched in a minute
	// for keys that the vendor has not registered, so that nobody uses the
	// broker to flood others.
	fetchesPerMinute = 60

	// renewalsPerMinute is how many are fetched for keys that the vendor has
	// registered: more, because each vendor has proved that the site is its own,
	// and apart, because strangers must not keep vendors from changing keys.
	renewalsPerMinute = 600
)

// quota allows so many events in each minute of the clock.
type quota struct {
	now       func() time.Time
	perMinute int

	mutex  sync.Mutex
	minute int64 // guarded by mutex, as is count
	count  int
}

func newQuota(now func() time.Time, perMinute int) *quota {
	return &quota{now: now, perMinute: perMinute}
}

// take counts one event and reports whether it is within the quota.
func (q *quota) take() bool {
	minute := q.now().Unix() / 60
	q.mutex.Lock()
	defer q.mutex.Unlock()
	if minute != q.minute {
		q.minute, q.count = minute, 0
	}
	if q.count >= q.perMinute {
		return false
	}
	q.count++
	return true
}

// quotas is a quota for each name. What it keeps goes with the minute.
type quotas struct {
	now       func() time.Time
	perMinute int

	mutex  sync.Mutex
	minute int64          // guarded by mutex, as is counts
	counts map[string]int // by name
}

func newQuotas(now func() time.Time, perMinute int) *quotas {
	return &quotas{now: now, perMinute: perMinute}
}

// spent reports whether the quota of name is used up.
func (q *quotas) spent(name string) bool {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	q.turn()
	return q.counts[name] >= q.perMinute
}

// take counts one event of name.
func (q *quotas) take(name string) {
	q.mutex.Lock()
	defer q.mutex.Unlock()
	q.turn()
	q.counts[name]++
}

// turn begins anew with each minute.
func (q *quotas) turn() {
	if minute := q.now().Unix() / 60; minute != q.minute || q.counts == nil {
		q.minute, q.counts = minute, make(map[string]int)
	}
}
