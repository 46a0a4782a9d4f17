package broker

import (
	"sync"
	"time"
)

// failuresPerMinute is how many wrong tokens of one client are looked at in a
// minute: too few to guess by, more than people mistype.
const failuresPerMinute = 20

// failures counts wrong tokens of each client in each minute of the clock.
type failures struct {
	now func() time.Time

	mutex  sync.Mutex
	minute int64          // guarded by mutex, as is counts
	counts map[string]int // by countedName of the client
}

// take reports whether one more token of a client is looked at in this minute.
// It counts it as wrong until forgive.
func (f *failures) take(client string) bool {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if minute := f.now().Unix() / 60; minute != f.minute || f.counts == nil {
		f.minute, f.counts = minute, make(map[string]int)
	}
	client = countedName(f.counts, client)
	if f.counts[client] >= failuresPerMinute {
		return false
	}
	f.counts[client]++
	return true
}

// forgive takes back a count: the token was right.
func (f *failures) forgive(client string) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if client = countedName(f.counts, client); f.counts[client] > 0 {
		f.counts[client]--
	}
}
