package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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

// keys looks at some commitments. Most have nothing new, which is told without
// their requests.
func (c *claimScan) keys(ctx context.Context, keys []string) (bool, error) {
	heads := make([]*redis.SliceCmd, len(keys))
	_, _ = c.store.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for k, key := range keys {
			heads[k] = pipe.HMGet(ctx, key, fieldVersions, fieldToken, fieldReservation, fieldState)
		}
		return nil
	})
	for k, key := range keys {
		values, err := heads[k].Result()
		if err != nil {
			return false, fmt.Errorf("redis: %w", err)
		}
		fields := []any{fieldVersions, values[0], fieldToken, values[1], fieldReservation, values[2], fieldState, values[3]}
		if values[0] == nil || !c.mayBeDue(key, fields) {
			continue
		}
		all, err := c.store.client.HGetAll(ctx, key).Result()
		if err != nil {
			return false, fmt.Errorf("redis: %w", err)
		}
		fields = fields[:0]
		for field, value := range all {
			fields = append(fields, field, value)
		}
		if found, isDue := c.due(key, fields); isDue && !c.yield(found) {
			return false, nil
		}
	}
	return true, ctx.Err()
}

// mayBeDue reports whether something could be claimed if no request could be
// given back.
func (c *claimScan) mayBeDue(key string, fields []any) bool {
	_, isDue := c.due(key, fields)
	return isDue
}

// due returns what can be claimed on what the fields say. What does not parse is
// logged, and does not keep the others from being claimed.
func (c *claimScan) due(key string, fields []any) (claimable, bool) {
	e, err := c.store.parseKey(key, fields)
	if err != nil {
		if !errors.Is(err, errForgotten) {
			c.store.logger.Error("looking for what can be claimed", zap.Error(err))
		}
		return claimable{}, false
	}
	found, _, isDue := e.claimable(c.now, c.refundSeconds)
	return found, isDue
}

// errForgotten means that a key expired meanwhile.
var errForgotten = errors.New("the commitment is gone")

func (s *redisStore) parseKey(key string, fields []any) (*entry, error) {
	if len(fields) == 0 {
		return nil, errForgotten
	}
	var id payword.CommitmentID
	name := strings.TrimSuffix(strings.TrimPrefix(key, s.prefix+"{"), "}")
	if err := id.UnmarshalText([]byte(name)); err != nil {
		return nil, fmt.Errorf("a key of Redis is no commitment: %w", err)
	}
	e, _, err := parseFields(id, fields, nil)
	return e, err
}
