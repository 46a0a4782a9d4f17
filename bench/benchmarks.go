package main

import "github.com/paywordhq/payword/bench/report"

// benchmark is a Go benchmark that the report takes. README.md says how they are
// named.
type benchmark struct {
	id, group, what string
	folder          string // of the package, from the module's root
	name            string // such as BenchmarkBarRedisStore/64
	baseline        *place // nil: baseline below name, with which payword below name is compared
	metric          string // taken as it is, and nothing is compared
	isOnAll         bool   // on all processors; otherwise on one
	bar             *report.Bar
	unit            string
	isFull          bool     // too much for the quick mode
	needs           []string // features of the processor, each of which the bar depends on
}

// place is where a benchmark is found.
type place struct{ folder, name string }

// The tables of Go benchmarks.
const (
	groupGate       = "The gate's own work"
	groupStore      = "Stores"
	groupRedemption = "Redemption"
)

// benchmarks are all that the report takes.
var benchmarks = []benchmark{
	{id: "gate/work", group: groupGate, what: "parse, judge and claim of one payment, in SHA-256 of 32 bytes", folder: ".",
		name: "BenchmarkBarGateWork", metric: "x-sha256", bar: report.AtMost(4), unit: "×"},
	{id: "gate/allocations", group: groupGate, what: "allocations of parse, judge and claim of one payment", folder: ".",
		name: "BenchmarkBarGateWork", metric: "allocs/op", bar: report.AtMost(0)},
	{id: "store/pebble/1", group: groupStore, what: "store on disk, 1 caller / pebble with Sync", folder: "caddymodule", name: "BenchmarkStoreCharge/durable/1",
		baseline: &place{"bench/stores", "BenchmarkStore/pebble/1"}, isOnAll: true, isFull: true, unit: "×"},
	{id: "store/pebble/64", group: groupStore, what: "store on disk, 64 callers / pebble with Sync", folder: "caddymodule", name: "BenchmarkStoreCharge/durable/64",
		baseline: &place{"bench/stores", "BenchmarkStore/pebble/64"}, isOnAll: true, bar: report.AtLeast(2), unit: "×"},
	{id: "store/bbolt/1", group: groupStore, what: "store on disk, 1 caller / bbolt, Batch", folder: "caddymodule", name: "BenchmarkStoreCharge/durable/1",
		baseline: &place{"bench/stores", "BenchmarkStore/bbolt/1"}, isOnAll: true, isFull: true, unit: "×"},
	{id: "store/bbolt/64", group: groupStore, what: "store on disk, 64 callers / bbolt, Batch", folder: "caddymodule", name: "BenchmarkStoreCharge/durable/64",
		baseline: &place{"bench/stores", "BenchmarkStore/bbolt/64"}, isOnAll: true, bar: report.AtLeast(2.5), unit: "×"},
	{id: "store/sqlite/1", group: groupStore, what: "store on disk, 1 caller / SQLite, synchronous=FULL", folder: "caddymodule", name: "BenchmarkStoreCharge/durable/1",
		baseline: &place{"bench/stores", "BenchmarkStore/sqlite/1"}, isOnAll: true, isFull: true, unit: "×"},
	{id: "store/sqlite/64", group: groupStore, what: "store on disk, 64 callers / SQLite, synchronous=FULL", folder: "caddymodule", name: "BenchmarkStoreCharge/durable/64",
		baseline: &place{"bench/stores", "BenchmarkStore/sqlite/64"}, isOnAll: true, bar: report.AtLeast(20), unit: "×"},
	{id: "store/redis/1", group: groupStore, what: "store in Redis, 1 caller / one EVALSHA for each charge", folder: "caddymodule",
		name: "BenchmarkBarRedisStore/1", isOnAll: true, unit: "×"},
	{id: "store/redis/64", group: groupStore, what: "the same, 64 callers", folder: "caddymodule",
		name: "BenchmarkBarRedisStore/64", isOnAll: true, unit: "×"},
	{id: "store/redis-everysec/64", group: groupStore, what: "the same, both write to disk every second", folder: "caddymodule",
		name: "BenchmarkBarRedisDisk/everysec/64", isOnAll: true, isFull: true, unit: "×"},
	{id: "store/redis-always/64", group: groupStore, what: "the same, both write to disk before they answer", folder: "caddymodule",
		name: "BenchmarkBarRedisDisk/always/64", isOnAll: true, isFull: true, unit: "×"},
	{id: "store/redis-durable/64", group: groupStore, what: "the same, ours writes to disk before it answers, the other never", folder: "caddymodule",
		name: "BenchmarkBarRedisAlways/64", isOnAll: true, isFull: true, unit: "×"},
	{id: "store/redis-link/64", group: groupStore, what: "the same, over a link with answers after 2 ms", folder: "caddymodule",
		name: "BenchmarkBarRedisLink/64", isOnAll: true, isFull: true, unit: "×"},
	{id: "store/memory", group: groupStore, what: "memory for an open commitment, besides its bytes", folder: "caddymodule",
		name: "BenchmarkBarMemory", metric: "B/commitment", isOnAll: true, bar: report.AtMost(1024), unit: "B"},
	{id: "store/start", group: groupStore, what: "start with 1,000,000 open commitments", folder: "caddymodule",
		name: "BenchmarkBarStart", metric: "seconds", isOnAll: true, isFull: true, bar: report.AtMost(10), unit: "s"},
	{id: "redemption/100", group: groupRedemption, what: "redemption of 100 paywords a commitment / crypto/ed25519 and crypto/sha256",
		folder: "broker", name: "BenchmarkBarRedemption/100", bar: report.AtLeast(3.5), unit: "×", needs: []string{"sha_ni", "avx512f"}},
	{id: "redemption/1000", group: groupRedemption, what: "the same, 1,000 paywords a commitment", folder: "broker",
		name: "BenchmarkBarRedemption/1000", bar: report.AtLeast(4.5), unit: "×", needs: []string{"sha_ni", "avx512f"}},
	{id: "redemption/10000", group: groupRedemption, what: "the same, 10,000 paywords a commitment", folder: "broker",
		name: "BenchmarkBarRedemption/10000", isFull: true, bar: report.AtLeast(5), unit: "×", needs: []string{"sha_ni", "avx512f"}},
	{id: "redemption/database", group: groupRedemption, what: "redemption with the database / the plain work without one", folder: "broker",
		name: "BenchmarkBarRedemptionStored/unseen", metric: "x-unstored", isOnAll: true, bar: report.AtMost(1.3), unit: "×"},
	{id: "redemption/reserved", group: groupRedemption, what: "the same, of commitments that were reserved before", folder: "broker",
		name: "BenchmarkBarRedemptionStored/reserved", metric: "x-unstored", isOnAll: true, bar: report.AtMost(1.3), unit: "×"},
	{id: "redemption/day", group: groupRedemption, what: "a day of 2,500 payments a second, 10,000 a commitment, verified", folder: "broker",
		name: "BenchmarkBarDay", metric: "seconds", bar: report.AtMost(6), unit: "s", needs: []string{"sha_ni", "avx512f"}},
}
