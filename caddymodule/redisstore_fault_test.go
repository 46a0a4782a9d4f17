package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// proxiedNode opens a node that reaches a server through a proxy.
func proxiedNode(t *testing.T, options redisStoreOptions, server *redisServer) (*redisStore, *redisProxy) {
	t.Helper()
	proxy := startProxy(t, server.address)
	return openNode(t, options, proxy.address), proxy
}

// TestRedisLosesAnswers breaks connections all the time, before what was asked
// arrives or after it was done: no number counts as a repeat that was asked for
// once, and what is spent is what was granted.
func TestRedisLosesAnswers(t *testing.T) {
	server := startRedis(t)
	for _, fault := range []proxyFault{proxyCutAnswer, proxyCutAsked} {
		options := testRedisOptions(freshPrefix())
		node, proxy := proxiedNode(t, options, server)
		other := openNode(t, options, server.address)
		c := &storeCase{T: t, store: node, m: storeCommitment(t, 1, 2)}
		c.open(payword.MaxChainLength, 1)
		proxy.set(fault, 7)
		var granted, repeats, failed atomic.Int64
		inParallel(t, 8, 400, func(k int) error {
			charge := storeCharge(uint64(k + 1))
			charge.Tail = storeTail(1000)
			if k%2 == 0 {
				charge.Tail.Index++
			}
			at := store(node)
			if k%4 == 0 {
				at = other
			}
			outcome, _, err := at.charge(t.Context(), c.m.ID, charge)
			switch {
			case err != nil:
				failed.Add(1)
			case outcome.Reason != payword.Accepted:
				return fmt.Errorf("number %d: %v", k+1, outcome.Reason)
			case outcome.Repeat:
				repeats.Add(1)
			default:
				granted.Add(1)
			}
			return nil
		})
		proxy.set(proxyFine, 0)
		t.Logf("fault %d: %d connections broke, %d granted, %d failed", fault, proxy.hits.Load(), granted.Load(), failed.Load())
		if repeats.Load() > 0 || proxy.hits.Load() < 10 || granted.Load() < 200 {
			t.Errorf("fault %d: %d repeats of what was asked once, %d faults, %d granted", fault, repeats.Load(), proxy.hits.Load(), granted.Load())
		}
		e := node.standing(t)[c.m.ID]
		if least, most := storeUnit*money.Amount(granted.Load()), storeUnit*money.Amount(granted.Load()+failed.Load()); e.state.Spent() < least || e.state.Spent() > most {
			t.Errorf("fault %d: spent %d; want %d to %d", fault, e.state.Spent(), least, most)
		}
		for _, request := range e.state.Recent {
			if request.Grants != 1 {
				t.Errorf("fault %d: number %d was granted %d times and asked for once", fault, request.Number, request.Grants)
			}
		}
	}
}

// TestRedisFlowIsNeverDouble loses answers of flows: what was charged is what
// was granted, and at most what failed besides.
func TestRedisFlowIsNeverDouble(t *testing.T) {
	server := startRedis(t)
	node, proxy := proxiedNode(t, testRedisOptions(freshPrefix()), server)
	c := &storeCase{T: t, store: node, m: storeCommitment(t, 1, 1)}
	c.open(1000, 1)
	if _, err := node.advance(t.Context(), c.m.ID, 0, storeTail(1000)); err != nil {
		t.Fatal(err)
	}
	proxy.set(proxyCutAnswer, 7)
	granted, failed := money.Amount(0), money.Amount(0)
	for range 100 {
		switch outcome, _, err := node.flow(t.Context(), c.m.ID, storeUnit); {
		case err != nil:
			failed += storeUnit
		case outcome.Reason == payword.Accepted:
			granted += storeUnit
		default:
			t.Fatalf("flow: %v", outcome.Reason)
		}
	}
	proxy.set(proxyFine, 0)
	seen, err := node.findNewest(t.Context(), c.m.ID)
	if err != nil || seen.spent < granted || seen.spent > granted+failed {
		t.Fatalf("spent %d, error %v; %d flowed and %d failed", seen.spent, err, granted, failed)
	}
	if proxy.hits.Load() < 10 || granted < 50*storeUnit {
		t.Fatalf("%d faults, %d flowed: the test tells nothing", proxy.hits.Load(), granted)
	}
}

// TestRedisForgetsTheScript flushes the scripts while requests come in.
func TestRedisForgetsTheScript(t *testing.T) {
	server := startRedis(t)
	node := openNode(t, testRedisOptions(freshPrefix()), server.address)
	c := &storeCase{T: t, store: node, m: storeCommitment(t, 1, 1)}
	c.open(1000, 1)
	inParallel(t, 8, 400, func(k int) error {
		if k%20 == 0 {
			if err := server.client.ScriptFlush(t.Context()).Err(); err != nil {
				return err
			}
		}
		outcome, _, err := node.charge(t.Context(), c.m.ID, storeCharge(uint64(k+1)))
		if err != nil || outcome.Reason != payword.Accepted {
			return fmt.Errorf("number %d: %v, %w", k+1, outcome.Reason, err)
		}
		return nil
	})
	c.spent(400 * storeUnit)
}

// TestRedisIsSlow has answers come later than the node waits for: steps fail in
// time, those that come later at once, and everything is good again afterwards.
func TestRedisIsSlow(t *testing.T) {
	for _, fault := range []proxyFault{proxySlow, proxySilent} {
		server := startRedis(t)
		before := goleak.IgnoreCurrent()
		options := testRedisOptions(freshPrefix())
		options.timeout = 100 * time.Millisecond
		proxy := startProxy(t, server.address)
		client := newRedisClient(&redis.UniversalOptions{Addrs: []string{proxy.address}}, options.timeout)
		node := openRedisStore(client, options)
		c := &storeCase{T: t, store: node, m: storeCommitment(t, 1, 1)}
		c.open(1000, 1)
		proxy.set(fault, 0)
		const most = 5 * time.Second
		for range 3 {
			started := time.Now()
			var group sync.WaitGroup
			for number := range uint64(200) {
				group.Go(func() {
					if _, _, err := node.charge(context.Background(), c.m.ID, storeCharge(number+1)); err == nil {
						t.Errorf("fault %d: a charge succeeded without an answer", fault)
					}
				})
			}
			group.Wait()
			if took := time.Since(started); took > most {
				t.Errorf("fault %d: steps took %v without an answer; want at most %v", fault, took, most)
			}
		}
		proxy.set(proxyFine, 0)
		proxy.cutAll() // those that are silent stay so
		eventually(t, "the store works again", time.Minute, func() bool {
			outcome, _, err := node.charge(t.Context(), c.m.ID, storeCharge(500))
			return err == nil && outcome.Reason == payword.Accepted
		})
		if err := node.Close(); err != nil {
			t.Error(err)
		}
		// The proxy still holds its connections.
		if err := goleak.Find(before, goleak.IgnoreAnyFunction("github.com/paywordhq/payword/caddymodule.(*redisProxy).serve"),
			goleak.IgnoreAnyFunction("github.com/paywordhq/payword/caddymodule.(*redisProxy).pipe"),
			goleak.IgnoreAnyFunction("github.com/paywordhq/payword/caddymodule.startProxy.func1")); err != nil {
			t.Errorf("fault %d: after the store was closed: %v", fault, err)
		}
	}
}

// TestRedisIsEmptied flushes everything under a running node: nothing is lost
// that the node saw.
func TestRedisIsEmptied(t *testing.T) {
	server := startRedis(t)
	options := testRedisOptions(freshPrefix())
	node, other := openNode(t, options, server.address), openNode(t, options, server.address)
	c := &storeCase{T: t, store: node, m: storeCommitment(t, 1, 1)}
	c.open(1000, 1)
	for number := range uint64(10) {
		c.charge(storeCharge(number+1), payword.Accepted, false)
	}
	server.do(t, "FLUSHALL")
	if _, err := other.find(t.Context(), c.m.ID); !errors.Is(err, errUnknownCommitment) {
		t.Fatalf("a node that never saw it: got %v; want errUnknownCommitment", err)
	}
	c.charge(storeCharge(5), payword.Accepted, true)
	c.charge(storeCharge(11), payword.Accepted, false)
	seen, err := other.find(t.Context(), c.m.ID)
	if err != nil || seen.spent != 11*storeUnit {
		t.Fatalf("after the node wrote it again: spent %d, error %v; want 11 units", seen.spent, err)
	}
	if life := server.do(t, "PTTL", node.keyOf(c.m.ID)).(int64); life <= 0 || life > 1000*(storeRedeemBy+payword.SkewSeconds-storeStart) {
		t.Errorf("it lives for %d ms more", life)
	}
	server.do(t, "FLUSHALL")
	c.wantClaim(storeStart, 0, 11*storeUnit, false)
}

// failover kills a master whose newest writes its replica has not seen, and
// promotes the replica. It returns what is spent after the same numbers are
// asked for again, and how many were charged anew.
func failover(t *testing.T, withFloor bool) (lost int) {
	master := startRedis(t)
	replica := startRedis(t, "--replicaof", "127.0.0.1", fmt.Sprint(master.port))
	waitForReplica(t, replica)
	proxy := startProxy(t, master.address)
	options := testRedisOptions(freshPrefix())
	node := openNode(t, options, proxy.address)
	c := &storeCase{T: t, store: node, m: storeCommitment(t, 1, 1)}
	c.open(1000, 1)
	const before, after = 20, 10
	for number := range uint64(before) {
		c.charge(storeCharge(number+1), payword.Accepted, false)
	}
	key := node.keyOf(c.m.ID)
	eventually(t, "the replica has the first writes", time.Minute, func() bool {
		return replica.client.Get(t.Context(), key).Val() == master.client.Get(t.Context(), key).Val()
	})
	replica.do(t, "REPLICAOF", "127.0.0.1", "1") // nothing arrives any more
	for number := range uint64(after) {
		c.charge(storeCharge(before+number+1), payword.Accepted, false)
	}
	master.kill()
	replica.do(t, "REPLICAOF", "NO", "ONE")
	if withFloor {
		proxy.retarget(replica.address)
	} else {
		node = openNode(t, options, replica.address)
		c.store = node
	}
	for number := range uint64(before + after) {
		charge := storeCharge(number + 1)
		charge.Tail = storeTail(before + after)
		var outcome payword.Outcome
		eventually(t, "the promoted replica is used", time.Minute, func() bool {
			var err error
			outcome, _, err = node.charge(t.Context(), c.m.ID, charge)
			return err == nil
		})
		if outcome.Reason != payword.Accepted {
			t.Fatalf("number %d: %v", number+1, outcome.Reason)
		}
		if !outcome.Repeat {
			lost++
		}
	}
	c.spent((before + after) * storeUnit)
	return lost
}

// TestRedisFailover counts what a failover loses whose replica had not seen the
// newest ten writes: nothing if the node that made them lives, and those ten if
// it does not.
func TestRedisFailover(t *testing.T) {
	if lost := failover(t, true); lost != 0 {
		t.Errorf("with the node that saw them %d numbers were charged again", lost)
	}
	if lost := failover(t, false); lost != 10 {
		t.Errorf("without it %d numbers were charged again; want the ten that were lost", lost)
	}
}

// TestRedisSentinel kills the master under a running node; the sentinels promote
// its replica.
func TestRedisSentinel(t *testing.T) {
	group := startSentinels(t)
	client := newRedisClient(&redis.UniversalOptions{Addrs: group.addresses, MasterName: "shop"}, time.Second)
	node := closeNode(t, openRedisStore(client, testRedisOptions(freshPrefix())))
	testStore(t, 20, func(*testing.T) store {
		client := newRedisClient(&redis.UniversalOptions{Addrs: group.addresses, MasterName: "shop"}, time.Second)
		return closeNode(t, openRedisStore(client, testRedisOptions(freshPrefix())))
	})
	c := &storeCase{T: t, store: node, m: storeCommitment(t, 1, 1)}
	c.open(1000, 1)
	c.charge(storeCharge(1), payword.Accepted, false)
	group.master.kill()
	started := time.Now()
	number := uint64(1)
	eventually(t, "the replica serves", time.Minute, func() bool {
		number++
		outcome, _, err := node.charge(t.Context(), c.m.ID, storeCharge(number))
		return err == nil && outcome.Reason == payword.Accepted
	})
	t.Logf("after %v the replica serves", time.Since(started).Round(10*time.Millisecond))
	c.charge(storeCharge(1), payword.Accepted, true)
	c.spent(2 * storeUnit)
	if !strings.Contains(fmt.Sprint(group.replica.do(t, "ROLE")), "master") {
		t.Error("the replica was not promoted")
	}
}

// TestRedisClusterMovesSlots moves the slot of two commitments back and forth
// while requests come in. Between the one and the other they cannot share a call.
func TestRedisClusterMovesSlots(t *testing.T) {
	servers := startCluster(t)
	options := testRedisOptions("moving:")
	node := openNode(t, options, servers[0].address, servers[1].address, servers[2].address)
	both := [2]*storeCase{{T: t, store: node, m: storeCommitment(t, 1, 1)}}
	for k := uint64(2); both[1] == nil; k++ {
		if m := storeCommitment(t, k, 1); slotGroup(m.ID) == slotGroup(both[0].m.ID) {
			both[1] = &storeCase{T: t, store: node, m: m}
		}
	}
	keys := []string{}
	for _, c := range both {
		c.open(payword.MaxChainLength, 1)
		keys = append(keys, node.keyOf(c.m.ID))
	}
	slot := servers[0].do(t, "CLUSTER", "KEYSLOT", keys[0]).(int64)
	ids := map[*redisServer]string{}
	masters := servers[:3]
	for _, server := range masters {
		ids[server] = server.do(t, "CLUSTER", "MYID").(string)
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	var number atomic.Uint64
	var granted [2]atomic.Int64
	var failed atomic.Int64
	for k := range 8 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				outcome, _, err := node.charge(context.Background(), both[k%2].m.ID, storeCharge(number.Add(1)))
				switch {
				case err != nil:
					failed.Add(1)
				case outcome.Reason != payword.Accepted || outcome.Repeat:
					t.Errorf("a new number: %v, repeat %v", outcome.Reason, outcome.Repeat)
				default:
					granted[k%2].Add(1)
				}
			}
		})
	}
	goOn := func() {
		t.Helper()
		for k := range granted {
			seen := granted[k].Load()
			eventually(t, "requests go on", time.Minute, func() bool { return granted[k].Load() > seen+10 })
		}
	}
	for range 4 {
		owner := ownerOf(t, masters, ids, slot)
		target := masters[0]
		if owner == target {
			target = masters[1]
		}
		moveSlot(t, slot, keys, owner, target, ids, goOn)
	}
	if failed.Load() > 0 {
		t.Errorf("%d requests failed while the slot moved", failed.Load())
	}
	close(stop)
	group.Wait()
	t.Logf("%d and %d requests while the slot moved four times", granted[0].Load(), granted[1].Load())
	for k, c := range both {
		c.spent(storeUnit * money.Amount(granted[k].Load()))
	}
}

// ownerOf waits until all masters of a cluster say the same of a slot, and
// returns whose it is. News travels from one to the others, and a move that
// begins meanwhile may be undone by them.
func ownerOf(t *testing.T, masters []*redisServer, ids map[*redisServer]string, slot int64) (owner *redisServer) {
	t.Helper()
	said := func(asked *redisServer) *redisServer {
		for line := range strings.SplitSeq(asked.do(t, "CLUSTER", "NODES").(string), "\n") {
			for _, server := range masters {
				if strings.HasPrefix(line, ids[server]) && slotsHold(line, slot) {
					return server
				}
			}
		}
		return nil
	}
	eventually(t, "the masters agree on a slot", time.Minute, func() bool {
		owner = said(masters[0])
		for _, server := range masters[1:] {
			if said(server) != owner {
				return false
			}
		}
		return owner != nil
	})
	return owner
}

// slotsHold reports whether a line of CLUSTER NODES says that the node has a
// slot.
func slotsHold(line string, slot int64) bool {
	for _, word := range strings.Fields(line)[8:] {
		var first, last int64
		if count, _ := fmt.Sscanf(word, "%d-%d", &first, &last); count == 2 && first <= slot && slot <= last {
			return true
		}
		if word == fmt.Sprint(slot) {
			return true
		}
	}
	return false
}

// moveSlot moves a slot, key by key, and has requests go on after each.
func moveSlot(t *testing.T, slot int64, keys []string, from, to *redisServer, ids map[*redisServer]string, goOn func()) {
	t.Helper()
	to.do(t, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[from])
	from.do(t, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to])
	for _, key := range keys {
		from.do(t, "MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", key)
		goOn()
	}
	to.do(t, "CLUSTER", "SETSLOT", slot, "NODE", ids[to])
	from.do(t, "CLUSTER", "SETSLOT", slot, "NODE", ids[to])
	goOn()
}

// TestRedisLocalPolicy goes on in memory while Redis is away, up to the sum, and
// brings what was charged to Redis when it is back.
func TestRedisLocalPolicy(t *testing.T) {
	server := startRedis(t)
	options := testRedisOptions(freshPrefix())
	options.timeout = 100 * time.Millisecond
	options.local = newLocalPolicy(5*storeUnit, "usd-micro")
	node, proxy := proxiedNode(t, options, server)
	other := openNode(t, testRedisOptions(options.prefix), server.address)
	c := &storeCase{T: t, store: node, m: storeCommitment(t, 1, 1)}
	c.open(1000, 1)
	c.charge(storeCharge(1), payword.Accepted, false)
	proxy.set(proxyCutAsked, 0)
	proxy.cutAll()
	for number := range uint64(3) {
		c.charge(storeCharge(number+2), payword.Accepted, false)
	}
	c.charge(storeCharge(2), payword.Accepted, true)
	late := &storeCase{T: t, store: node, m: storeCommitment(t, 2, 1)}
	if _, err := node.find(t.Context(), late.m.ID); !errors.Is(err, errUnknownCommitment) {
		t.Fatalf("one that this node never saw: got %v; want errUnknownCommitment, so that it is sent along", err)
	}
	late.open(1000, 1)
	late.charge(storeCharge(1), payword.Accepted, false)
	late.charge(storeCharge(2), payword.Accepted, false)
	if _, _, err := node.charge(t.Context(), c.m.ID, storeCharge(9)); !errors.Is(err, errStoreDown) {
		t.Fatalf("past the sum: got %v; want errStoreDown", err)
	}
	proxy.set(proxyFine, 0)
	for _, each := range []struct {
		m     *payword.Commitment
		units money.Amount
	}{{c.m, 4}, {late.m, 2}} {
		eventually(t, "what was charged meanwhile stands in Redis", time.Minute, func() bool {
			seen, err := other.findNewest(t.Context(), each.m.ID)
			return err == nil && seen.spent == each.units*storeUnit
		})
	}
	c.charge(storeCharge(9), payword.Accepted, false)
}

// TestRedisLocalPolicyIsOneOutage has a Redis that answers but refuses what steps
// write: that is one outage however often it is asked, so the sum is one.
func TestRedisLocalPolicyIsOneOutage(t *testing.T) {
	for name, breaks := range map[string][]any{
		"no scripts": {"ACL", "SETUSER", "default", "-eval", "-evalsha"},
		"full":       {"CONFIG", "SET", "maxmemory", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			server := startRedis(t)
			options := testRedisOptions(freshPrefix())
			options.timeout = 50 * time.Millisecond
			options.local = newLocalPolicy(3*storeUnit, "usd-micro")
			node := openNode(t, options, server.address)
			c := &storeCase{T: t, store: node, m: storeCommitment(t, 1, 1)}
			c.open(1000, 1)
			c.charge(storeCharge(1), payword.Accepted, false)
			server.do(t, breaks...)
			for number := range uint64(3) {
				c.charge(storeCharge(number+2), payword.Accepted, false)
			}
			for number := range uint64(3) {
				// It is asked once more first, so that it has the occasion to seem well.
				if err := node.probe(); err == nil {
					t.Fatal("a Redis that takes no step seems well")
				}
				if outcome, _, err := node.charge(t.Context(), c.m.ID, storeCharge(number+9)); err == nil {
					t.Fatalf("past the sum of one outage: got %v; want an error", outcome.Reason)
				}
			}
		})
	}
}
