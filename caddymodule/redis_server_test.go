package caddymodule

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a redis-server of a test's own.
type redisServer struct {
	address string
	port    int
	command *exec.Cmd
	output  *syncBuffer
	client  *redis.Client // without retries, for the test's own commands
	killed  sync.Once
}

// syncBuffer holds what a server prints.
type syncBuffer struct {
	mutex  sync.Mutex
	buffer bytes.Buffer
}

func (b *syncBuffer) Write(text []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.buffer.Write(text)
}

func (b *syncBuffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.buffer.String()
}

// startRedis runs a redis-server on a free port of this machine until the test
// ends.
func startRedis(tb testing.TB, arguments ...string) *redisServer {
	tb.Helper()
	return startRedisIn(tb, tb.TempDir(), arguments...)
}

func startRedisIn(tb testing.TB, directory string, arguments ...string) *redisServer {
	tb.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		tb.Fatal("missing: redis-server, which this test runs against. On Debian: apt-get install redis-server; elsewhere install Redis 7 or Valkey 8 so that redis-server is found in PATH")
	}
	var server *redisServer
	for range 5 { // another process may take the port first
		port := freePort(tb)
		if k := slices.Index(arguments, "--port"); k >= 0 {
			port, _ = strconv.Atoi(arguments[k+1])
		}
		server = &redisServer{port: port, address: fmt.Sprintf("127.0.0.1:%d", port), output: new(syncBuffer)}
		server.command = exec.Command(path, append([]string{
			"--bind", "127.0.0.1", "--port", fmt.Sprint(port), "--save", "", "--appendonly", "no", "--dir", directory,
			"--daemonize", "no", "--protected-mode", "no", "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
		}, arguments...)...)
		server.command.Stdout, server.command.Stderr = server.output, server.output
		server.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := server.command.Start(); err != nil {
			tb.Fatal(err)
		}
		server.client = redis.NewClient(&redis.Options{Addr: server.address, MaxRetries: -1, DialerRetries: 1, Protocol: 2})
		if server.answers(10 * time.Second) {
			tb.Cleanup(server.kill)
			return server
		}
		server.kill()
	}
	tb.Fatalf("redis-server does not start:\n%s", server.output)
	return nil
}

// answers waits until the server answers.
func (s *redisServer) answers(within time.Duration) bool {
	deadline := time.Now().Add(within)
	for time.Now().Before(deadline) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err := s.client.Ping(ctx).Err()
		cancel()
		if err == nil || redis.IsAuthError(err) {
			return true
		}
		<-time.After(5 * time.Millisecond)
	}
	return false
}

// kill ends the server as a power cut does.
func (s *redisServer) kill() {
	s.killed.Do(func() {
		s.client.Close()
		s.command.Process.Kill()
		s.command.Wait()
	})
}

// freePort returns a port that nobody listens on now, nor on the one that is
// 10000 higher, which the bus of a cluster needs. Both are below those that
// systems give to outgoing connections: one of these could take them.
func freePort(tb testing.TB) int {
	tb.Helper()
	free := func(port int) bool {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		listener.Close()
		return true
	}
	for {
		if port := 10_001 + rand.IntN(10_000); free(port) && free(port+10_000) {
			return port
		}
	}
}

// eventually waits until a condition holds.
func eventually(tb testing.TB, what string, within time.Duration, holds func() bool) {
	tb.Helper()
	deadline := time.Now().Add(within)
	for !holds() {
		if time.Now().After(deadline) {
			tb.Fatalf("after %v: not yet: %s", within, what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// do sends a command that must succeed.
func (s *redisServer) do(tb testing.TB, arguments ...any) any {
	tb.Helper()
	answer, err := s.client.Do(context.Background(), arguments...).Result()
	if err != nil {
		tb.Fatalf("%v: %v", arguments, err)
	}
	return answer
}

// startCluster makes a cluster of three masters with a replica each.
func startCluster(tb testing.TB) []*redisServer {
	tb.Helper()
	const nodes = 6
	servers := make([]*redisServer, nodes)
	for k := range servers {
		directory := tb.TempDir()
		servers[k] = startRedisIn(tb, directory, "--cluster-enabled", "yes", "--cluster-node-timeout", "15000",
			"--cluster-config-file", filepath.Join(directory, "nodes.conf"), "--cluster-replica-validity-factor", "0")
	}
	addresses := make([]string, nodes)
	for k, server := range servers {
		addresses[k] = server.address
	}
	output, err := exec.Command("redis-cli", append(append([]string{"--cluster", "create"}, addresses...), "--cluster-replicas", "1", "--cluster-yes")...).CombinedOutput()
	if err != nil {
		tb.Fatalf("redis-cli --cluster create: %v\n%s", err, output)
	}
	for _, server := range servers {
		eventually(tb, "the cluster is whole", time.Minute, func() bool {
			info, _ := server.client.ClusterInfo(tb.Context()).Result()
			nodes, _ := server.client.ClusterNodes(tb.Context()).Result()
			return strings.Contains(info, "cluster_state:ok") && strings.Count(nodes, "slave ") == 3 &&
				strings.Count(nodes, "master ") == 3
		})
	}
	return servers
}

// sentinels watch a master and its replica.
type sentinels struct {
	addresses       []string
	master, replica *redisServer
}

// startSentinels runs a master, a replica and three sentinels.
func startSentinels(tb testing.TB) *sentinels {
	tb.Helper()
	group := &sentinels{master: startRedis(tb)}
	group.replica = startRedis(tb, "--replicaof", "127.0.0.1", fmt.Sprint(group.master.port))
	waitForReplica(tb, group.replica)
	for range 3 {
		directory := tb.TempDir()
		config := filepath.Join(directory, "sentinel.conf")
		text := fmt.Sprintf("sentinel monitor shop 127.0.0.1 %d 2\nsentinel down-after-milliseconds shop 500\nsentinel failover-timeout shop 5000\n", group.master.port)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
		group.addresses = append(group.addresses, startSentinel(tb, config, directory))
	}
	eventually(tb, "the sentinels know each other and the replica", time.Minute, func() bool {
		for _, address := range group.addresses {
			client := redis.NewSentinelClient(&redis.Options{Addr: address})
			others, _ := client.Sentinels(tb.Context(), "shop").Result()
			replicas, _ := client.Replicas(tb.Context(), "shop").Result()
			client.Close()
			if len(others) != 2 || len(replicas) != 1 {
				return false
			}
		}
		return true
	})
	return group
}

func startSentinel(tb testing.TB, config, directory string) string {
	tb.Helper()
	port := freePort(tb)
	command := exec.Command("redis-server", config, "--sentinel", "--bind", "127.0.0.1", "--port", fmt.Sprint(port), "--dir", directory)
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
	})
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func waitForReplica(tb testing.TB, replica *redisServer) {
	tb.Helper()
	eventually(tb, "the replica is in step", time.Minute, func() bool {
		info, _ := replica.client.Info(tb.Context(), "replication").Result()
		return strings.Contains(info, "master_link_status:up")
	})
}

// redisPrefixes number the prefixes of the tests' stores, so that they can share
// a server.
var redisPrefixes atomic.Int64

func freshPrefix() string { return fmt.Sprintf("test-%d:", redisPrefixes.Add(1)) }

// storeNow is the clock of the stores of these tests.
func storeNow() time.Time { return time.Unix(storeStart, 0) }

// testRedisOptions are those of a node in a test.
func testRedisOptions(prefix string) redisStoreOptions {
	return redisStoreOptions{prefix: prefix, timeout: time.Second, now: storeNow}
}

// openNode opens a store on a server, as one node of a gate does.
func openNode(tb testing.TB, options redisStoreOptions, addresses ...string) *redisStore {
	tb.Helper()
	client := newRedisClient(&redis.UniversalOptions{Addrs: addresses}, options.timeout)
	return closeNode(tb, openRedisStore(client, options))
}

func closeNode(tb testing.TB, s *redisStore) *redisStore {
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("closing the store: %v", err)
		}
	})
	return s
}

// digest says everything that stands in Redis.
func (s *redisStore) digest(tb testing.TB, now int64) string {
	tb.Helper()
	return digest(s.standing(tb), now)
}

// RedisServer is a redis-server for the tests of the gate as a whole.
type RedisServer struct {
	Address string
	Kill    func() // as a power cut does
}

// StartRedis runs a redis-server until the test ends.
func StartRedis(tb testing.TB, arguments ...string) *RedisServer {
	tb.Helper()
	server := startRedis(tb, arguments...)
	return &RedisServer{Address: server.address, Kill: server.kill}
}

// StartCluster runs a cluster of three masters with a replica each until the test
// ends, and returns the masters first. A node that does not answer is given up
// after two seconds.
func StartCluster(tb testing.TB) []*RedisServer {
	tb.Helper()
	servers := []*RedisServer{}
	for _, server := range startCluster(tb) {
		server.do(tb, "CONFIG", "SET", "cluster-node-timeout", 2000)
		servers = append(servers, &RedisServer{Address: server.address, Kill: server.kill})
	}
	return servers
}
