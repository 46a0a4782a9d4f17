package caddymodule

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/paywordhq/payword"
)

// TestRetryAfterTellsTheTruth wants a limit to hold until the very second that
// it names, and no longer.
func TestRetryAfterTellsTheTruth(t *testing.T) {
	limit := &RateLimit{Count: 3, Within: caddy.Duration(time.Minute)}
	for _, start := range []int64{1_800_000_000, 1_800_000_001, 1_800_000_059} {
		c := newRateCounter()
		s := source{address: netip.MustParseAddr("192.0.2.1")}
		for range 3 {
			c.add(limit, start, s)
		}
		left := limit.secondsLeft(start)
		if left < 1 || left > 60 {
			t.Errorf("at %d: %d seconds are left", start, left)
		}
		if !c.exceeded(limit, start+left-1, s) {
			t.Errorf("at %d: a second before the time is over the limit does not hold", start)
		}
		if c.exceeded(limit, start+left, s) {
			t.Errorf("at %d: when the time is over the limit holds", start)
		}
	}
}

// TestRateCounterIsBounded counts more sources than are kept.
func TestRateCounterIsBounded(t *testing.T) {
	limit := &RateLimit{Count: 3, Within: caddy.Duration(time.Hour)}
	c := newRateCounter()
	known := netip.MustParseAddr("192.0.2.1")
	c.add(limit, 7, source{address: known})
	for k := range uint64(maxCounted) {
		var id payword.CommitmentID
		binary.BigEndian.PutUint64(id[:], k)
		c.addOnce(limit, 7, netip.AddrFrom4([4]byte{10, byte(k >> 16), byte(k >> 8), byte(k)}), id)
	}
	if len(c.counts) > maxCounted {
		t.Errorf("%d sources are kept", len(c.counts))
	}
	c.add(limit, 7, source{address: known}, source{address: known})
	if !c.exceeded(limit, 7, source{address: known}) {
		t.Error("a source that was known is not counted any more")
	}
	if c.add(limit, 3600, source{address: known}); len(c.counts) != 1 {
		t.Errorf("%d sources are kept after the time is over", len(c.counts))
	}
}

// TestBlockFileIsReadWhenItChanges wants a bad version to leave the good one in
// use, and its line to be named.
func TestBlockFileIsReadWhenItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blocked")
	modified := time.Unix(1_800_000_000, 0)
	write := func(content string) {
		modified = modified.Add(time.Second)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, modified, modified); err != nil {
			t.Fatal(err)
		}
	}
	core, logs := observer.New(zap.InfoLevel)
	app := &App{Block: &Block{File: path, Addresses: []string{"198.51.100.1"}}, logger: zap.New(core)}
	write("address 192.0.2.0/24\r\n")
	if err := app.Block.provision(); err != nil {
		t.Fatal(err)
	}
	isBlocked := func(address string) bool {
		return app.Block.current.Load().hasAddress(netip.MustParseAddr(address))
	}
	want := func(what string, addresses map[string]bool) {
		t.Helper()
		for address, blocked := range addresses {
			if got := isBlocked(address); got != blocked {
				t.Errorf("%s: %s is blocked: %v; want %v", what, address, got, blocked)
			}
		}
	}
	want("at first", map[string]bool{"192.0.2.7": true, "203.0.113.1": false, "198.51.100.1": true})
	app.checkFiles()
	if logs.Len() != 0 {
		t.Error("a file that did not change was read again")
	}
	write("address 203.0.113.0/24\naddress 2001:db8::/32\n")
	app.checkFiles()
	want("another version", map[string]bool{"192.0.2.7": false, "203.0.113.1": true, "2001:db8::1": true, "198.51.100.1": true})
	for _, bad := range []string{"address 10.0.0.0/8\nuser\n", "address 10.0.0.0/8\nadress 1.2.3.4\n", "address 10.0.0.0/8\naddress 300.1.1.1\n"} {
		write(bad)
		logs.TakeAll()
		app.checkFiles()
		want("a bad version", map[string]bool{"10.0.0.1": false, "203.0.113.1": true})
		entries := logs.TakeAll()
		if len(entries) != 1 || !strings.Contains(fmt.Sprint(entries[0].ContextMap()["error"]), "line 2") {
			t.Errorf("a bad version is logged as %v; want line 2 named", entries)
		}
		app.checkFiles()
		if logs.Len() != 0 {
			t.Error("a bad version is complained of again and again")
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	app.checkFiles()
	want("no file", map[string]bool{"203.0.113.1": true})
	write("")
	app.checkFiles()
	want("an empty file", map[string]bool{"203.0.113.1": false, "198.51.100.1": true})
}

func TestBlockFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "blocked")
	for name, content := range map[string]string{
		"bytes":   strings.Repeat("# x\n", maxBlockFileBytes/4+1),
		"entries": manyAddresses(maxBlocked + 1),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := (&Block{File: path}).provision(); err == nil || !strings.Contains(err.Error(), "more than") {
			t.Errorf("too many %s: got %v", name, err)
		}
	}
}

func manyAddresses(count int) string {
	var b strings.Builder
	for k := range count {
		fmt.Fprintf(&b, "address 10.%d.%d.%d\n", k>>16, k>>8&255, k&255)
	}
	return b.String()
}

// BenchmarkBlockList is what a request pays for a full block list.
func BenchmarkBlockList(b *testing.B) {
	path := filepath.Join(b.TempDir(), "blocked")
	block := &Block{File: path}
	if err := os.WriteFile(path, []byte(manyAddresses(maxBlocked-2)+"address 2001:db8::/32\naddress 192.0.2.0/24\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	if err := block.provision(); err != nil {
		b.Fatal(err)
	}
	address := netip.MustParseAddr("198.51.100.7")
	b.ReportAllocs()
	for b.Loop() {
		if block.current.Load().hasAddress(address) {
			b.Fatal("nobody blocked it")
		}
	}
}
