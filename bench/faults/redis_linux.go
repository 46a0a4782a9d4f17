package faults

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/paywordhq/payword/bench/process"
)

// redisServer is a redis-server with the settings that docs/operations.md asks for.
type redisServer struct {
	name, address string
	arguments     []string
	processors    []int
	child         *process.Child
}

// repairTime is how long a Redis may take until it is as it was.
const repairTime = 20 * time.Second

func (st *stage) addRedis(ctx context.Context, name string, arguments ...string) (*redisServer, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(st.folder, name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	server := &redisServer{name: name, address: address, processors: st.setup.Processors}
	server.arguments = append(slices.Clone(arguments), "--bind", "127.0.0.1", "--port", port, "--dir", folder)
	st.redis = append(st.redis, server)
	return server, server.start(ctx)
}

func (r *redisServer) start(ctx context.Context) (err error) {
	if r.child, err = process.Start(ctx, r.name, r.processors, nil, "redis-server", r.arguments...); err != nil {
		return fmt.Errorf("%w; make tools installs it", err)
	}
	return r.child.Listens(ctx, r.address)
}

// settled are the settings of a Redis that loses nothing that it acknowledged.
var settled = []string{"--save", "", "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction",
	"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"}

// oneRedis starts one server for all gates.
func oneRedis(ctx context.Context, st *stage) error {
	server, err := st.addRedis(ctx, "redis", settled...)
	if err == nil {
		st.shared = server.address
	}
	return err
}

// killRedis kills the server, and starts it on its files again.
func killRedis(ctx context.Context, st *stage) error {
	for !pause(ctx, 500*time.Millisecond) {
		server := st.redis[0]
		server.child.Kill()
		st.faults++
		pause(ctx, 100*time.Millisecond)
		if err := server.start(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// sentinels starts a master with two replicas, so that one is left that the promoted
// one can write to, and three sentinels.
func sentinels(ctx context.Context, st *stage) error {
	replicated := append([]string{"--min-replicas-to-write", "1", "--min-replicas-max-lag", "1"}, settled...)
	master, err := st.addRedis(ctx, "master", replicated...)
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(master.address)
	for k := range 2 {
		if _, err := st.addRedis(ctx, fmt.Sprint("replica-", k), append([]string{"--replicaof", "127.0.0.1 " + port}, replicated...)...); err != nil {
			return err
		}
	}
	if err := master.eventually(ctx, "two replicas are in step", func(ctx context.Context, client *redis.Client) bool {
		return strings.Count(client.Info(ctx, "replication").Val(), "state=online") == 2
	}); err != nil {
		return err
	}
	var watching []*redisServer
	var addresses []string
	for k := range 3 {
		config := filepath.Join(st.folder, fmt.Sprintf("sentinel-%d.conf", k))
		text := fmt.Sprintf("sentinel monitor shop 127.0.0.1 %s 2\nsentinel down-after-milliseconds shop 500\nsentinel failover-timeout shop 5000\n", port)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			return err
		}
		sentinel, err := st.addRedis(ctx, fmt.Sprint("sentinel-", k), config, "--sentinel")
		if err != nil {
			return err
		}
		watching, addresses = append(watching, sentinel), append(addresses, sentinel.address)
	}
	for _, sentinel := range watching {
		if err := sentinel.eventually(ctx, "the sentinels know each other and the replicas", func(ctx context.Context, client *redis.Client) bool {
			text := client.Info(ctx, "sentinel").Val()
			return strings.Contains(text, "slaves=2") && strings.Contains(text, "sentinels=3")
		}); err != nil {
			return err
		}
	}
	st.shared = strings.Join(addresses, " ") + " {\n\t\t\tsentinel shop\n\t\t}"
	return nil
}

// killMaster kills the master once, in the middle of the run, and waits until a
// replica has its place.
func killMaster(ctx context.Context, st *stage) error {
	master, sentinel := st.redis[0], st.redis[len(st.redis)-1]
	pause(ctx, st.setup.Length/4)
	master.child.Kill()
	st.faults++
	err := sentinel.eventually(context.WithoutCancel(ctx), "a replica is promoted", func(ctx context.Context, client *redis.Client) bool {
		at, err := redis.NewSentinelClient(client.Options()).GetMasterAddrByName(ctx, "shop").Result()
		return err == nil && len(at) == 2 && net.JoinHostPort(at[0], at[1]) != master.address
	})
	<-ctx.Done()
	return err
}

// eventually waits until a condition holds.
func (r *redisServer) eventually(ctx context.Context, what string, holds func(context.Context, *redis.Client) bool) error {
	client := redis.NewClient(&redis.Options{Addr: r.address, MaxRetries: -1})
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, repairTime)
	defer cancel()
	for !holds(ctx, client) {
		if pause(ctx, 10*time.Millisecond) {
			return fmt.Errorf("after %v: not yet: %s\n%s", repairTime, what, r.child.Output())
		}
	}
	return nil
}
