package caddymodule

import (
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/paywordhq/payword"
)

func TestListInterval(t *testing.T) {
	for _, each := range []struct {
		ttl  int64
		want time.Duration
	}{{0, 5 * time.Minute}, {1, time.Minute}, {60, time.Minute}, {600, 10 * time.Minute}, {7200, time.Hour}, {1 << 62, time.Hour}} {
		if got := listInterval(each.ttl); got != each.want {
			t.Errorf("ttl %d: got %s, want %s", each.ttl, got, each.want)
		}
	}
}

// TestHotListGrowsStale moves the clock instead of waiting.
func TestHotListGrowsStale(t *testing.T) {
	list := newHotList("https://broker.example", "https://broker.example/1")
	if list.isFresh(1, defaultHotListMaxAge) {
		t.Error("a list that was never had is fresh")
	}
	known, err := payword.NewStatusList(list.uri, 1, 8)
	if err != nil {
		t.Fatal(err)
	}
	known.IssuedAt, known.Expires = 1000, 10_000
	list.known.Store(known)
	list.confirmed.Store(2000)
	for _, each := range []struct {
		now    int64
		maxAge caddy.Duration
		want   bool
	}{
		{2000, caddy.Duration(time.Hour), true},
		{5599, caddy.Duration(time.Hour), true},
		{5600, caddy.Duration(time.Hour), false},
		{9999, caddy.Duration(24 * time.Hour), true},
		{10_000, caddy.Duration(24 * time.Hour), false},
	} {
		if got := list.isFresh(each.now, each.maxAge); got != each.want {
			t.Errorf("at %d with max_age %s: got %v, want %v", each.now, time.Duration(each.maxAge), got, each.want)
		}
	}
}

// TestHotListsAreBounded names more lists than are kept.
func TestHotListsAreBounded(t *testing.T) {
	const issuer = "https://broker.example"
	lists := newHotLists(t.TempDir(), newBrokerKeys(t.TempDir(), zap.NewNop()), zap.NewNop())
	uri := func(k int) string { return issuer + "/status/" + string(rune('a'+k)) }
	for k := range maxListsPerBroker {
		if lists.named(issuer, uri(k), int64(1000+k)) == nil {
			t.Fatalf("list %d is not kept", k)
		}
	}
	if lists.named(issuer, uri(maxListsPerBroker), 2000) != nil {
		t.Error("one list too many is kept")
	}
	if lists.named("https://other.example", "https://other.example/1", 2000) == nil {
		t.Error("the list of another broker is not kept")
	}
	for k := 1; k < maxListsPerBroker; k++ {
		lists.named(issuer, uri(k), 1000+listIdleSeconds)
	}
	if lists.named(issuer, uri(maxListsPerBroker), 1001+listIdleSeconds) == nil {
		t.Error("the place of a list that nobody names is not given away")
	}
	if (*lists.lists.Load())[uri(0)] != nil || len(lists.of(issuer)) != maxListsPerBroker {
		t.Errorf("got %d lists; want the oldest gone", len(lists.of(issuer)))
	}
}

// BenchmarkHotListLookup is what a payment on an open commitment pays for the
// hot list.
func BenchmarkHotListLookup(b *testing.B) {
	const issuer = "https://broker.example"
	lists := newHotLists(b.TempDir(), newBrokerKeys(b.TempDir(), zap.NewNop()), zap.NewNop())
	uri := issuer + "/v1/status/1"
	known, err := payword.NewStatusList(uri, 1, 1_000_000)
	if err != nil {
		b.Fatal(err)
	}
	lists.named(issuer, uri, 1).known.Store(known)
	b.ReportAllocs()
	b.ReportMetric(float64(known.Size()), "B/list")
	index := uint32(1)
	for b.Loop() {
		index = index*1664525 + 1013904223
		if status, _ := lists.named(issuer, uri, 1).status(index % 1_000_000); status != payword.StatusValid {
			b.Fatal("an empty list revokes")
		}
	}
}
