package caddymodule

import (
	"fmt"
	"testing"
)

// BenchmarkRedisStoreCharge charges in Redis and in the file store, in the same
// run, from 1 and from 64 goroutines, each on its own commitment.
func BenchmarkRedisStoreCharge(b *testing.B) {
	for _, goroutines := range []int{1, 64} {
		for _, each := range []struct {
			name string
			make func(b *testing.B) store
		}{
			{"file", func(b *testing.B) store { return openStore(b, b.TempDir(), fileStoreOptions{}) }},
			{"redis", func(b *testing.B) store {
				return openNode(b, testRedisOptions(freshPrefix()), startRedis(b).address)
			}},
			{"redis-always", func(b *testing.B) store {
				return openNode(b, testRedisOptions(freshPrefix()), startRedis(b, "--appendonly", "yes", "--appendfsync", "always").address)
			}},
		} {
			b.Run(fmt.Sprintf("%s/%d", each.name, goroutines), func(b *testing.B) {
				benchmarkCharge(b, each.make(b), goroutines)
			})
		}
	}
}
