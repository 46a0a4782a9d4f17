package caddymodule

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/paywordhq/payword"
)

// callers are how many charge at the same time in these benchmarks, each on a
// commitment of its own.
var callers = []int{1, 64}

// persistence is how a Redis of these benchmarks writes to disk.
var persistence = map[string][]string{
	"none":     nil,
	"everysec": {"--appendonly", "yes", "--appendfsync", "everysec"},
	"always":   {"--appendonly", "yes", "--appendfsync", "always"},
}

// BenchmarkBarRedisStore charges with one EVALSHA for each charge, and in the
// store, on a Redis that writes nothing to disk.
func BenchmarkBarRedisStore(b *testing.B) {
	for _, count := range callers {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			besideNaive(b, count, func(b *testing.B) (*redisServer, string) {
				server := startRedis(b)
				return server, server.address
			})
		})
	}
}

// BenchmarkBarRedisDisk is BenchmarkBarRedisStore on a Redis that writes to disk.
func BenchmarkBarRedisDisk(b *testing.B) {
	for _, kind := range []string{"everysec", "always"} {
		for _, count := range callers {
			b.Run(fmt.Sprintf("%s/%d", kind, count), func(b *testing.B) {
				besideNaive(b, count, func(b *testing.B) (*redisServer, string) {
					server := startRedis(b, persistence[kind]...)
					return server, server.address
				})
			})
		}
	}
}

// BenchmarkBarRedisAlways charges in the store on a Redis that writes everything to
// disk before it answers, beside one EVALSHA for each charge on one that writes
// nothing.
func BenchmarkBarRedisAlways(b *testing.B) {
	b.Run("64/baseline", func(b *testing.B) { benchmarkNaive(b, startRedis(b), "", 64) })
	b.Run("64/payword", func(b *testing.B) {
		server := startRedis(b, persistence["always"]...)
		benchmarkRedis(b, server, openNode(b, testRedisOptions(freshPrefix()), server.address), 64)
	})
}

// BenchmarkBarRedisLink is BenchmarkBarRedisStore over a link on which an answer
// takes two milliseconds.
func BenchmarkBarRedisLink(b *testing.B) {
	for _, count := range callers {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			besideNaive(b, count, func(b *testing.B) (*redisServer, string) {
				server := startRedis(b)
				proxy := startProxy(b, server.address)
				proxy.delay.Store(int64(time.Millisecond))
				return server, proxy.address
			})
		})
	}
}

func besideNaive(b *testing.B, callers int, start func(b *testing.B) (server *redisServer, address string)) {
	b.Run("baseline", func(b *testing.B) {
		server, address := start(b)
		benchmarkNaive(b, server, address, callers)
	})
	b.Run("payword", func(b *testing.B) {
		server, address := start(b)
		benchmarkRedis(b, server, openNode(b, testRedisOptions(freshPrefix()), address), callers)
	})
}

// benchmarkRedis is benchmarkCharge, and tells what a charge takes of the
// processors, of the server's and of ours.
func benchmarkRedis(b *testing.B, server *redisServer, s store, callers int) {
	servers, ours := server.processorTime(b), processorTime(b)
	benchmarkCharge(b, s, callers, 1)
	b.ReportMetric(float64(server.processorTime(b)-servers)/1e3/float64(b.N), "redis-us/op")
	b.ReportMetric(float64(processorTime(b)-ours)/1e3/float64(b.N), "client-us/op")
}

// processorTime returns what this process took of the processors.
func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// processorTime returns what the server took of the processors.
func (s *redisServer) processorTime(b *testing.B) (sum time.Duration) {
	b.Helper()
	text, err := s.client.Info(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(text) {
		for _, name := range []string{"used_cpu_sys:%f", "used_cpu_user:%f"} {
			var seconds float64
			if count, _ := fmt.Sscanf(line, name, &seconds); count == 1 {
				sum += time.Duration(seconds * float64(time.Second))
			}
		}
	}
	return sum
}

// naiveStore asks Redis once for each charge to go forward if nobody was faster.
// It knows neither prices nor credit, repeats nor windows.
type naiveStore struct {
	store
	client *redis.Client
}

var naiveScript = redis.NewScript(`
local i = tonumber(redis.call('HGET', KEYS[1], 'i') or '0')
if i >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'i', ARGV[1], 't', ARGV[2])
redis.call('HINCRBY', KEYS[1], 's', ARGV[1] - i)
return 1`)

func benchmarkNaive(b *testing.B, server *redisServer, address string, callers int) {
	if address == "" {
		address = server.address
	}
	client := redis.NewClient(&redis.Options{Addr: address, PoolSize: 64, MaxRetries: -1})
	defer client.Close()
	benchmarkRedis(b, server, naiveStore{client: client}, callers)
}

func (naiveStore) open(context.Context, opening) (view, error) { return view{}, nil }

func (s naiveStore) charge(ctx context.Context, id payword.CommitmentID, c payword.Charge) (payword.Outcome, view, error) {
	isNew, err := naiveScript.Run(ctx, s.client, []string{"naive:" + id.String()}, c.Number, c.Tail.Payword[:]).Bool()
	if err == nil && !isNew {
		return payword.Outcome{Reason: payword.AlreadyUsed}, view{}, nil
	}
	return payword.Outcome{}, view{}, err
}
