package caddymodule

import (
	"context"
	"maps"
	"math/rand"
	"slices"
	"testing"

	"github.com/paywordhq/payword"
)

// standing reads everything that stands in Redis.
func (s *redisStore) standing(tb testing.TB) map[payword.CommitmentID]*entry {
	tb.Helper()
	entries := map[payword.CommitmentID]*entry{}
	servers, err := s.servers(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	for _, server := range servers {
		keys, err := server.Keys(tb.Context(), s.prefix+"{*").Result()
		if err != nil {
			tb.Fatal(err)
		}
		for _, key := range keys {
			value, err := s.client.Get(tb.Context(), key).Bytes()
			if err != nil {
				tb.Fatal(err)
			}
			e, err := s.parseKey(key, value)
			if err != nil {
				tb.Fatal(err)
			}
			entries[e.commitment.ID] = e
		}
	}
	return entries
}

// newestStore is a node whose find asks Redis: what it saw last may be older
// than what another node did.
type newestStore struct{ *redisStore }

func (s newestStore) find(ctx context.Context, id payword.CommitmentID) (view, error) {
	return s.findNewest(ctx, id)
}

func TestRedisStore(t *testing.T) {
	server := startRedis(t)
	testStore(t, 400, func(t *testing.T) store { return openNode(t, testRedisOptions(freshPrefix()), server.address) })
}

// TestRedisStoreForgetsOldRequests charges once a second. What is too old to be given
// back may not pile up in either of the two copies that steps run on in turn.
func TestRedisStoreForgetsOldRequests(t *testing.T) {
	node := openNode(t, testRedisOptions(freshPrefix()), startRedis(t).address)
	c := &storeCase{T: t, store: node, m: storeCommitment(t, 1, 1)}
	c.open(1000, 1)
	for number := uint64(1); number <= 2*payword.RefundSeconds; number++ {
		charge := storeCharge(number)
		charge.Tail, charge.Price, charge.Now = storeTail(1), 0, storeStart+int64(number)
		c.charge(charge, payword.Accepted, false)
		e := node.cache.acquire(c.m.ID) // nobody leads it meanwhile
		kept := len(e.stands.entry.state.Recent)
		node.cache.release(e)
		if kept > payword.RefundSeconds+32 {
			t.Fatalf("after charge %d %d requests are remembered; want %d at most", number, kept, payword.RefundSeconds+32)
		}
	}
}

func TestRedisStoreOnCluster(t *testing.T) {
	servers := startCluster(t)
	testStore(t, 100, func(t *testing.T) store {
		return openNode(t, testRedisOptions(freshPrefix()), servers[0].address, servers[1].address)
	})
	walkRedis(t, 2000, func() *redisStore {
		return openNode(t, testRedisOptions("walk:"), servers[0].address, servers[1].address)
	})
}

// TestRedisStoreWalk makes random steps on two nodes that share a Redis, by
// turns, and on the store in memory: they never differ.
func TestRedisStoreWalk(t *testing.T) {
	server := startRedis(t)
	walkRedis(t, 20_000, func() *redisStore { return openNode(t, testRedisOptions("walk:"), server.address) })
}

func walkRedis(t *testing.T, steps int, open func() *redisStore) {
	const seed = 20261125
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewSource(seed))
	model, nodes := newMemoryStore(), []*redisStore{open(), open()}
	walk := newStoreWalk(t, random)
	for k := range steps {
		step := walk.next()
		// Mostly in long runs, so that nodes are far behind now and then.
		node := newestStore{nodes[(k/200+random.Intn(100)/99)%len(nodes)]}
		if want, got := step(model), step(node); got != want {
			t.Fatalf("step %d: got %s; want %s", k, got, want)
		}
		if k%500 == 0 {
			if want, got := model.digest(walk.now), node.digest(t, walk.now); got != want {
				t.Fatalf("after step %d Redis holds\n%s\nwant\n%s", k, got, want)
			}
		}
	}
	entries := nodes[0].standing(t)
	if got := slices.Collect(maps.Keys(entries)); len(got) != 3 {
		t.Fatalf("%d commitments stand in Redis; want 3", len(got))
	}
}
