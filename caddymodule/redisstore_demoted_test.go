package caddymodule

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/paywordhq/payword"
)

// TestRedisErrorsStayApart has a server refuse writes, as one does whose replicas
// are away: each call is told of its own key, and what follows in the answer is
// not taken for the next.
func TestRedisErrorsStayApart(t *testing.T) {
	server := startRedis(t)
	client := newRedisClient(&redis.UniversalOptions{Addrs: []string{server.address}}, time.Minute)
	t.Cleanup(func() { client.Close() })
	server.do(t, "SET", "stands", "12345678")
	server.do(t, "CONFIG", "SET", "min-replicas-to-write", "1")
	ends := time.Now().Add(time.Hour)
	writes := &swapCall{key: "stands", expected: wireBytes("12345678"), write: wireBytes("more"), ends: ends}
	compares := &swapCall{key: "nothing", ends: ends}
	apart := &swapCall{group: 1, key: "stands", expected: wireBytes("12345678"), write: wireBytes("more"), ends: ends}
	line := newRedisLine(client, time.Minute)
	line.isCluster = true // so that what is apart is another call of the script, behind the first
	for range 20 {
		line.send(&swapBatch{calls: []*swapCall{writes, compares, apart}})
		if compares.err != nil || !compares.isDone {
			t.Fatalf("to compare: done %v, error %v; want it done", compares.isDone, compares.err)
		}
		for _, refused := range []*swapCall{writes, apart} {
			if refused.isDone || !redis.HasErrorPrefix(refused.err, "NOREPLICAS") {
				t.Fatalf("to write: done %v, error %v; want NOREPLICAS", refused.isDone, refused.err)
			}
		}
	}
	node := openNode(t, testRedisOptions(freshPrefix()), server.address)
	if err := node.health.wait(t.Context()); !errors.Is(err, errStoreDown) || !redis.HasErrorPrefix(err, "NOREPLICAS") {
		t.Errorf("what takes no writes was taken for a Redis that works: %v", err)
	}
	if got := server.do(t, "GET", "stands"); got != "12345678" {
		t.Errorf("%q was written", got)
	}
}

// TestRedisLeavesDemotedMaster makes a replica of the master that a node is
// connected to, while its address leads to the new one: the node has to dial again
// by itself, since nobody breaks its connections.
func TestRedisLeavesDemotedMaster(t *testing.T) {
	former, next := startRedis(t), startRedis(t)
	next.do(t, "REPLICAOF", "127.0.0.1", former.port)
	waitForReplica(t, next)
	proxy := startProxy(t, former.address)
	node := openNode(t, testRedisOptions(freshPrefix()), proxy.address)
	c := &storeCase{T: t, store: node, m: storeCommitment(t, 1, 1)}
	c.open(1000, 1)
	c.charge(storeCharge(1), payword.Accepted, false)
	next.do(t, "REPLICAOF", "NO", "ONE")
	former.do(t, "REPLICAOF", "127.0.0.1", next.port)
	proxy.target.Store(&next.address)
	c.charge(storeCharge(2), payword.Accepted, false)
	c.spent(2 * storeUnit)
}

// TestRedisOpensWhatIsPast opens a commitment again that this node remembers and
// takes for past: another node sees the new one, and not what was before.
func TestRedisOpensWhatIsPast(t *testing.T) {
	server := startRedis(t)
	options := testRedisOptions(freshPrefix())
	var later atomic.Int64
	options.now = func() time.Time { return storeNow().Add(time.Duration(later.Load())) }
	node, other := openNode(t, options, server.address), openNode(t, options, server.address)
	c := &storeCase{T: t, store: node, m: storeCommitment(t, 1, 1)}
	c.open(1000, 1)
	c.charge(storeCharge(1), payword.Accepted, false)
	const years = 10 * 365 * 24 * time.Hour
	later.Store(int64(years))
	again := storeOpening(c.m, 1000, 2)
	again.redeemBy += int64(2 * years / time.Second)
	if _, err := node.open(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	seen, err := other.find(t.Context(), c.m.ID)
	if err != nil || seen.reservation != again.reservation {
		t.Errorf("another node sees %q, error %v; want %q", seen.reservation, err, again.reservation)
	}
}
