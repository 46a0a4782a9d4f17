package caddymodule

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/paywordhq/payword"
)

// heldCommands keeps the commands of a client until it is told to let them pass,
// and counts those of the script.
type heldCommands struct {
	pass  chan struct{}
	once  sync.Once    // closes pass
	calls atomic.Int64 // of the script
	swaps atomic.Int64
}

func (h *heldCommands) letPass() { h.once.Do(func() { close(h.pass) }) }

func (h *heldCommands) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *heldCommands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, command redis.Cmder) error {
		if command.Name() == swapByHash[0] {
			h.calls.Add(1)
			h.swaps.Add(int64(command.Args()[2].(int)))
			<-h.pass
		}
		return next(ctx, command)
	}
}

func (h *heldCommands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// heldNode returns a node that knows some commitments, and whose swaps are kept until
// the test lets them pass.
func heldNode(t *testing.T, server *redisServer, count int) (node *redisStore, ids []payword.CommitmentID, held *heldCommands) {
	t.Helper()
	options := testRedisOptions(freshPrefix())
	options.timeout = time.Minute // they are held for as long as it takes
	client := newRedisClient(&redis.UniversalOptions{Addrs: []string{server.address}}, options.timeout)
	node = closeNode(t, openRedisStore(client, options))
	ids = make([]payword.CommitmentID, count)
	for k := range ids {
		c := &storeCase{T: t, store: node, m: storeCommitment(t, uint64(k), 1)}
		c.open(1000, 1)
		ids[k] = c.m.ID
	}
	held = &heldCommands{pass: make(chan struct{})}
	client.AddHook(held)
	t.Cleanup(held.letPass) // also where a test ends early: the node is closed after that
	return node, ids, held
}

// chargeOnceOn charges on a commitment, and wants it accepted.
func chargeOnceOn(t *testing.T, node *redisStore, id payword.CommitmentID) error {
	outcome, _, err := node.charge(t.Context(), id, storeCharge(1))
	if err == nil && outcome.Reason != payword.Accepted {
		err = fmt.Errorf("%v", outcome.Reason)
	}
	return err
}

// waits returns how many swaps wait to be sent, -1 while somebody is about to send
// them.
func (l *redisLine) waits() int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.isWaking {
		return -1
	}
	return len(l.waiting)
}

// setGathers sets how long swaps gather after a batch.
func (l *redisLine) setGathers(length time.Duration) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.gathers = length
}

// heldCharges opens commitments, and charges on each of them while no swap is
// answered, until all wait; then it lets them pass.
func heldCharges(t *testing.T, server *redisServer, count int, before func(node *redisStore, ids []payword.CommitmentID)) (waiting, calls int, errs []error) {
	t.Helper()
	node, ids, held := heldNode(t, server, count)
	before(node, ids)
	errs = make([]error, count)
	var group sync.WaitGroup
	for k, id := range ids {
		group.Go(func() { errs[k] = chargeOnceOn(t, node, id) })
	}
	eventually(t, "all wait", time.Minute, func() bool {
		waiting = node.line.waits()
		return waiting >= 0 && waiting+int(held.swaps.Load()) == count
	})
	held.letPass()
	group.Wait()
	return waiting, int(held.calls.Load()), errs
}

// TestRedisSharesCalls has what waits go out in as few calls as can be.
func TestRedisSharesCalls(t *testing.T) {
	server := startRedis(t)
	const count = 3 * maxBatchSwaps
	waiting, calls, errs := heldCharges(t, server, count, func(*redisStore, []payword.CommitmentID) {})
	for k, err := range errs {
		if err != nil {
			t.Errorf("charge %d: %v", k, err)
		}
	}
	t.Logf("%d waited while %d calls were under way", waiting, lineBatches)
	if most := lineBatches + (waiting+maxBatchSwaps-1)/maxBatchSwaps; calls > most {
		t.Errorf("%d charges took %d calls; want at most %d", count, calls, most)
	}
}

// TestRedisGathersSwaps sends no batch beside one that is under way until enough
// have come for it, and what is left when that is answered.
func TestRedisGathersSwaps(t *testing.T) {
	node, ids, held := heldNode(t, startRedis(t), 1+gatheredSwaps+1)
	node.line.setGathers(time.Hour)
	errs := make([]error, len(ids))
	var group sync.WaitGroup
	for k, id := range ids {
		group.Go(func() { errs[k] = chargeOnceOn(t, node, id) })
		wantCalls, wantWaiting := 1, k
		if k >= gatheredSwaps {
			wantCalls, wantWaiting = 2, k-gatheredSwaps
		}
		eventually(t, fmt.Sprintf("of %d swaps %d wait, %d calls", k+1, wantWaiting, wantCalls), time.Minute, func() bool {
			return node.line.waits() == wantWaiting && int(held.calls.Load()) == wantCalls
		})
	}
	held.letPass()
	group.Wait()
	for k, err := range errs {
		if err != nil {
			t.Errorf("charge %d: %v", k, err)
		}
	}
	if calls := held.calls.Load(); calls != 3 {
		t.Errorf("%d calls; want 3", calls)
	}
}

// TestRedisGathersNotForLong sends who comes later than that by himself, as long as
// not too many batches are under way.
func TestRedisGathersNotForLong(t *testing.T) {
	node, ids, held := heldNode(t, startRedis(t), lineBatches+1)
	node.line.setGathers(0)
	var group sync.WaitGroup
	for k, id := range ids {
		group.Go(func() {
			if err := chargeOnceOn(t, node, id); err != nil {
				t.Errorf("charge %d: %v", k, err)
			}
		})
		calls := min(k+1, lineBatches)
		eventually(t, fmt.Sprintf("%d swaps in %d calls", k+1, calls), time.Minute, func() bool {
			return node.line.waits() == k+1-calls && int(held.calls.Load()) == calls
		})
	}
	held.letPass()
	group.Wait()
}

// TestRedisSendsTheLast sends what waits beside a batch that is not answered, though
// nobody comes after it: the server of that batch may be gone, and its own be well.
func TestRedisSendsTheLast(t *testing.T) {
	node, ids, held := heldNode(t, startRedis(t), 3)
	node.line.setGathers(100 * time.Millisecond) // so that the others come within
	var group sync.WaitGroup
	for k, id := range ids {
		group.Go(func() {
			if err := chargeOnceOn(t, node, id); err != nil {
				t.Errorf("charge %d: %v", k, err)
			}
		})
		if k == 0 {
			eventually(t, "the first is under way", time.Minute, func() bool { return held.calls.Load() == 1 })
		}
	}
	eventually(t, "the others are under way", time.Minute, func() bool { return int(held.swaps.Load()) == len(ids) })
	held.letPass()
	group.Wait()
}

// TestRedisSharesNoErrors puts a key of another type among those of a call: only
// its own charge fails.
func TestRedisSharesNoErrors(t *testing.T) {
	server := startRedis(t)
	const count = lineBatches + 20
	spoilt := -1
	_, _, errs := heldCharges(t, server, count, func(node *redisStore, ids []payword.CommitmentID) {
		spoilt = count / 2
		server.do(t, "DEL", node.keyOf(ids[spoilt]))
		server.do(t, "LPUSH", node.keyOf(ids[spoilt]), "of another program")
	})
	for k, err := range errs {
		if (err != nil) != (k == spoilt) {
			t.Errorf("charge %d: %v; want an error of charge %d alone", k, err, spoilt)
		}
	}
}

// TestRedisBatchOfAnOldCall leaves out what waited too long, and says so.
func TestRedisBatchOfAnOldCall(t *testing.T) {
	now := time.Now()
	calls := []*swapCall{{ends: now.Add(-time.Second)}, {ends: now.Add(time.Hour)}, {ends: now.Add(time.Hour), life: 5}, {ends: now.Add(time.Hour)}}
	batch := swapBatch{calls: append([]*swapCall(nil), calls...)}
	batch.arrange(false, func(int) bool { return false })
	if calls[0].err != errWaitedTooLong || len(batch.scripts) != 1 || len(batch.scripts[0].calls) != 3 {
		t.Fatalf("error %v, %d scripts", calls[0].err, len(batch.scripts))
	}
	if last := batch.scripts[0].calls[2]; last.life != 5 {
		t.Error("what is written whole does not stand last")
	}
}

// TestRedisBatchOfACluster divides the calls of a batch by their slots, and keeps
// those of a group apart whose slot is moving.
func TestRedisBatchOfACluster(t *testing.T) {
	ends := time.Now().Add(time.Hour)
	batch := swapBatch{}
	for _, call := range []swapCall{{group: 3}, {group: 1}, {group: 3}, {group: 2}, {group: 1, life: 7}, {group: 2}} {
		call.ends = ends
		batch.calls = append(batch.calls, &call)
	}
	for range 2 { // the second time in the memory of the first
		batch.arrange(true, func(group int) bool { return group == 2 })
		sum := 0
		for _, script := range batch.scripts {
			for _, call := range script.calls {
				if call.group != script.calls[0].group || call.group == 2 && len(script.calls) > 1 {
					t.Errorf("a call of group %d shares a script with %d others", call.group, len(script.calls)-1)
				}
				sum++
			}
		}
		if sum != 6 || len(batch.scripts) != 4 {
			t.Errorf("%d calls in %d scripts; want 6 in 4", sum, len(batch.scripts))
		}
	}
}
