package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/paywordhq/payword"
)

const (
	// leaseLife is how long another node waits for one that died while it
	// claimed.
	leaseLife = 5 * time.Minute

	// scanCount is how many keys Redis looks at in one go.
	scanCount = 200

	// readAtOnce is how many commitments are read in one go: some hundred
	// kilobytes, 20 MB at the most.
	readAtOnce = 50
)

// leaseScript keeps or ends a lease, if it is still the caller's.
var leaseScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
`)

// claimables leaves the work to another node while that one does it. That both
// do it is safe, since claims are cumulative; so it is, too, that a key whose
// place changes meanwhile is seen twice, or in the next round only.
func (s *redisStore) claimables(ctx context.Context, now, refundSeconds int64, yield func(claimable) bool) error {
	if err := s.health.wait(ctx); err != nil {
		return err
	}
	key, token := s.prefix+"redeeming", strconv.FormatUint(rand.Uint64(), 36)
	isOurs, err := s.client.SetNX(ctx, key, token, leaseLife).Result()
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	if !isOurs {
		s.logger.Info("another gate is claiming; this one does not")
		return nil
	}
	keep := func(life time.Duration) error {
		return leaseScript.Run(context.WithoutCancel(ctx), s.client, []string{key}, token, life.Milliseconds()).Err()
	}
	defer func() {
		if err := keep(0); err != nil {
			s.logger.Warn("ending the lease on claiming; it ends by itself", zap.Error(err))
		}
	}()
	s.mend(ctx)
	servers, err := s.servers(ctx)
	if err != nil {
		return err
	}
	scan := claimScan{store: s, now: now, refundSeconds: refundSeconds, yield: yield, keep: keep}
	for _, server := range servers {
		if goOn, err := scan.server(ctx, server); err != nil || !goOn {
			return err
		}
	}
	return nil
}

// servers returns the clients of all that hold a part of the keys.
func (s *redisStore) servers(ctx context.Context) ([]redis.Cmdable, error) {
	cluster, isCluster := s.client.(*redis.ClusterClient)
	if !isCluster {
		return []redis.Cmdable{s.client}, nil
	}
	var mutex sync.Mutex
	var servers []redis.Cmdable
	err := cluster.ForEachMaster(ctx, func(_ context.Context, master *redis.Client) error {
		mutex.Lock()
		defer mutex.Unlock()
		servers = append(servers, master)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	return servers, nil
}

// claimScan looks for what can be claimed.
type claimScan struct {
	store              *redisStore
	now, refundSeconds int64
	yield              func(claimable) bool
	keep               func(life time.Duration) error
}

// server looks through the keys of one server and reports whether to go on.
func (c *claimScan) server(ctx context.Context, server redis.Cmdable) (bool, error) {
	for cursor := uint64(0); ; {
		keys, next, err := server.Scan(ctx, cursor, c.store.prefix+"{*", scanCount).Result()
		if err != nil {
			return false, fmt.Errorf("redis: %w", err)
		}
		if goOn, err := c.keys(ctx, keys); err != nil || !goOn {
			return false, err
		}
		if err := c.keep(leaseLife); err != nil {
			return false, fmt.Errorf("redis: %w", err)
		}
		if cursor = next; cursor == 0 {
			return true, nil
		}
	}
}

// keys looks at some commitments.
func (c *claimScan) keys(ctx context.Context, keys []string) (bool, error) {
	goOn := true
	err := c.store.readKeys(ctx, keys, func(e *entry) bool {
		found, _, isDue := e.claimable(c.now, c.refundSeconds)
		goOn = !isDue || c.yield(found)
		return goOn
	})
	return goOn, err
}

// readKeys calls yield for what stands under some keys, until it returns false.
// What does not parse is logged and left out.
func (s *redisStore) readKeys(ctx context.Context, keys []string, yield func(*entry) bool) error {
	for some := range slices.Chunk(keys, readAtOnce) {
		answers := make([]*redis.StringCmd, len(some))
		_, _ = s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for k, key := range some {
				answers[k] = pipe.Get(ctx, key)
			}
			return nil
		})
		for k, key := range some {
			value, err := answers[k].Bytes()
			switch {
			case errors.Is(err, redis.Nil): // it expired meanwhile
				continue
			case redis.HasErrorPrefix(err, "WRONGTYPE"):
				s.logger.Error("a commitment in Redis was written by an earlier version of the gate and is not used: redeem it with that version", s.namedKey(key))
				continue
			case err != nil:
				return fmt.Errorf("redis: %w", err)
			}
			e, err := s.parseKey(key, value)
			if err != nil {
				s.logger.Error("reading the commitments in Redis", zap.Error(err), s.namedKey(key))
				continue
			}
			if !yield(e) {
				return nil
			}
		}
	}
	return ctx.Err()
}

// parseKey reads what stands under a key.
func (s *redisStore) parseKey(key string, value []byte) (*entry, error) {
	id, err := s.idOf(key)
	if err != nil {
		return nil, err
	}
	stands, err := readValue(id, value, nil)
	return stands.entry, err
}

// idOf returns the commitment that a key belongs to.
func (s *redisStore) idOf(key string) (id payword.CommitmentID, err error) {
	_, name, _ := strings.Cut(strings.TrimPrefix(key, s.prefix+"{"), "}")
	if err := id.UnmarshalText([]byte(name)); err != nil {
		return id, fmt.Errorf("a key of Redis is no commitment: %w", err)
	}
	return id, nil
}

// namedKey names the commitment of a key in the log.
func (s *redisStore) namedKey(key string) zap.Field {
	id, err := s.idOf(key)
	if err != nil {
		return zap.Skip()
	}
	return s.named(id)
}
