package caddymodule

import (
	_ "embed"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/paywordhq/payword"
)

//go:embed redisstore_swap.lua
var swapSource string

var swapScript = redis.NewScript(swapSource)

const (
	// lineBatches is how many batches are under way at once. While they are, the
	// swaps of other commitments gather for the next ones. So on a link that takes
	// long there are several in flight, and one that waits for a slow server does
	// not hold up all others.
	lineBatches = 4

	// gatheredSwaps is how many swaps gather for each batch that is under way before
	// another one is sent; fewer wait until one is answered. A call costs Redis as
	// much as three swaps, and the gate more, so that swaps sent by themselves
	// while others are under way cost twice. What waits for that waits for the answer
	// of a batch, or for lineGatherTime.
	gatheredSwaps = 8

	// lineGatherTime is how long after a batch swaps still gather. One that is not
	// answered by then is on a long link, or with a server that fails, and what waits
	// is sent beside it. It is longer than a busy processor takes to serve what shared
	// a batch.
	lineGatherTime = 5 * time.Millisecond

	// maxBatchSwaps bounds what shares a call, and so how long Redis does nothing
	// else, and what is in doubt if an answer is lost.
	maxBatchSwaps = 128

	// slotGroups is how many slots of a cluster the commitments stand in: those of
	// one group can share a call. More would share less; fewer would burden its
	// servers unevenly.
	slotGroups = 64

	// apartSwaps is how many swaps of a group share no call after some of its keys
	// had moved to another server and some had not: about as many as come while
	// the others follow.
	apartSwaps = 1000
)

// slotGroup returns the group of a commitment.
func slotGroup(id payword.CommitmentID) int { return int(id[0]) % slotGroups }

// swapCall asks for one compare and swap.
type swapCall struct {
	group    int
	key      any       // a string
	expected wireBytes // the tag that was seen last; empty: nothing stood there
	write    wireBytes // empty: only compare
	life     int64     // in milliseconds, if all is written anew; 0: write is appended
	ends     time.Time // not sent later

	turn chan bool // true: lead; false: it is done

	isDone bool   // what stood there was what was expected
	stands string // what stands there otherwise; "": nothing
	err    error
}

// wireBytes are bytes of a call. As an argument a pointer to them takes no memory.
type wireBytes []byte

// MarshalBinary returns the bytes as they are.
func (w *wireBytes) MarshalBinary() ([]byte, error) { return *w, nil }

// redisLine sends swaps to Redis. Those that wait at the same time share a call
// of the script: their callers queue up, and one of them sends what waits.
type redisLine struct {
	client    redis.UniversalClient
	isCluster bool
	timeout   time.Duration            // of one batch
	apart     [slotGroups]atomic.Int32 // how many swaps are to share no call

	mutex     sync.Mutex
	waiting   []*swapCall // if any: batches are under way, or the first leads
	isWaking  bool        // the first leads, and has not taken what waits yet
	inFlight  int         // batches, that of who is being woken among them
	sent      time.Time   // when the last of them was
	gathers   time.Duration
	later     *time.Timer // looks again at what waits; nil before the first time
	isLooking bool        // later runs
	idle      []*swapBatch
	isClosed  bool
}

func newRedisLine(client redis.UniversalClient, timeout time.Duration) *redisLine {
	_, isCluster := client.(*redis.ClusterClient)
	return &redisLine{client: client, isCluster: isCluster, timeout: timeout, gathers: lineGatherTime}
}

// close lets nothing be sent any more.
func (l *redisLine) close() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.isClosed = true
}

// do makes a call and waits for its answer. An error of the kind redis.Error is
// the server's word that nothing was done; after any other nobody knows.
func (l *redisLine) do(call *swapCall) error {
	call.isDone, call.stands, call.err = false, "", nil
	l.mutex.Lock()
	if l.isClosed {
		l.mutex.Unlock()
		return errRedisClosed
	}
	l.waiting = append(l.waiting, call)
	isLeading := len(l.waiting) == 1 && l.isDue()
	if isLeading {
		l.isWaking = true
		l.inFlight++
	} else {
		if call.turn == nil {
			call.turn = make(chan bool, 1)
		}
		l.wake()
	}
	l.mutex.Unlock()
	if isLeading || <-call.turn {
		l.lead(call)
	}
	return call.err
}

// lead sends what waits, the caller's own call among it. First it lets all run that
// can: on a busy machine that is others who have something to send, and on an idle
// one nobody.
func (l *redisLine) lead(own *swapCall) {
	runtime.Gosched()
	l.mutex.Lock()
	l.isWaking = false
	batch := l.take()
	l.sent = time.Now()
	l.wake()
	l.mutex.Unlock()
	l.send(batch)
	l.mutex.Lock()
	l.inFlight--
	l.wake()
	l.mutex.Unlock()
	for _, call := range batch.calls {
		if call != own {
			call.turn <- false
		}
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.idle = append(l.idle, batch)
}

// isDue reports whether what waits, if anything, is to be sent. The caller holds the
// mutex.
func (l *redisLine) isDue() bool {
	switch {
	case len(l.waiting) == 0 || l.inFlight == lineBatches:
		return false
	case len(l.waiting) >= gatheredSwaps*l.inFlight:
		return true
	}
	return time.Since(l.sent) >= l.gathers
}

// wake has the first that waits lead if a batch is due, and looks again later if none
// is yet. The caller holds the mutex.
func (l *redisLine) wake() {
	switch {
	case l.isWaking || len(l.waiting) == 0 || l.inFlight == lineBatches:
		// Who leads, or the end of a batch, comes here again.
	case l.isDue():
		l.isWaking = true
		l.inFlight++
		l.waiting[0].turn <- true
	case l.isLooking:
	case l.later == nil:
		l.later, l.isLooking = time.AfterFunc(l.gathers, l.lookAgain), true
	default:
		l.isLooking = true
		l.later.Reset(l.gathers)
	}
}

// lookAgain sends what waits beside a batch that is not answered, where nobody comes
// who would.
func (l *redisLine) lookAgain() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.isLooking = false
	l.wake()
}

// take returns what waits. The caller holds the mutex.
func (l *redisLine) take() *swapBatch {
	batch := &swapBatch{}
	if last := len(l.idle) - 1; last >= 0 {
		batch, l.idle = l.idle[last], l.idle[:last]
	}
	count := min(len(l.waiting), maxBatchSwaps)
	batch.calls = append(batch.calls[:0], l.waiting[:count]...)
	l.waiting = append(l.waiting[:0], l.waiting[count:]...)
	return batch
}
