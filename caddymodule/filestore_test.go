package caddymodule

import (
	"context"
	"errors"
	"io/fs"
	"math/rand"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// openStore opens a file store that is closed with the test.
func openStore(tb testing.TB, directory string, options fileStoreOptions) *fileStore {
	tb.Helper()
	s, err := openFileStore(directory, options)
	if err != nil {
		tb.Fatalf("openFileStore: %v", err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

func closeStore(tb testing.TB, s *fileStore) {
	tb.Helper()
	if err := s.Close(); err != nil {
		tb.Fatalf("Close: %v", err)
	}
}

func TestFileStore(t *testing.T) {
	testStore(t, 500, func(t *testing.T) store { return openStore(t, t.TempDir(), fileStoreOptions{}) })
}

// TestFileStoreFakeDisk runs the suite with the full load, which would take too
// long with real syncs.
func TestFileStoreFakeDisk(t *testing.T) {
	t.Parallel()
	testStore(t, 10_000, func(t *testing.T) store { return openStore(t, "fake", onDisk(newFakeDisk())) })
}

// TestFileStoreCompacting runs the suite on a store that rewrites its journal
// all the time.
func TestFileStoreCompacting(t *testing.T) {
	t.Parallel()
	testStore(t, 2000, func(t *testing.T) store {
		return openStore(t, "fake", fileStoreOptions{disk: newFakeDisk(), compactBytes: 16 << 10, allocation: fakeAllocation})
	})
}

// TestFileStoreReopen compares a file store, which is closed, opened and
// compacted every now and then, with the fake, over random steps.
func TestFileStoreReopen(t *testing.T) {
	t.Parallel()
	const seed = 4711
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewSource(seed))
	d, fake := newFakeDisk(), newMemoryStore()
	s := openStore(t, "fake", onDisk(d))
	walk := newStoreWalk(t, random)
	for range 3000 {
		step := walk.next()
		got, want := step(s), step(fake)
		if got != want {
			t.Fatalf("got %s; want %s", got, want)
		}
		switch random.Intn(40) {
		case 0:
			closeStore(t, s)
			s = openStore(t, "fake", onDisk(d))
		case 1:
			if _, err := s.compact(); err != nil {
				t.Fatal(err)
			}
		default:
			continue
		}
		if got, want := s.digest(walk.now), fake.digest(walk.now); got != want {
			t.Fatalf("the store holds\n%s\nwant\n%s", got, want)
		}
	}
}

// TestFileStoreForgets checks that what is past redeem_by goes at a compaction
// and nothing else does.
func TestFileStoreForgets(t *testing.T) {
	directory := t.TempDir()
	s := openStore(t, directory, fileStoreOptions{})
	c := &storeCase{T: t, store: s, m: storeCommitment(t, 1, 1)}
	kept := storeOpening(storeCommitment(t, 2, 1), 10, 1)
	kept.redeemBy += 3600
	c.open(10, 1)
	if _, err := s.open(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	compactAt := func(now int64) {
		c.claimables(now, payword.RefundSeconds)
		if _, err := s.compact(); err != nil {
			t.Fatal(err)
		}
	}
	compactAt(storeRedeemBy + payword.SkewSeconds - 1)
	c.spent(0)
	compactAt(storeRedeemBy + payword.SkewSeconds)
	check := func() {
		t.Helper()
		if _, err := s.find(t.Context(), c.m.ID); !errors.Is(err, errUnknownCommitment) {
			t.Fatalf("the past one: got %v; want errUnknownCommitment", err)
		}
		if _, err := s.find(t.Context(), kept.commitment.ID); err != nil {
			t.Fatalf("the other: %v", err)
		}
	}
	check()
	closeStore(t, s)
	s = openStore(t, directory, fileStoreOptions{})
	check()
}

// TestFileStoreForgetsByItself checks that claimables starts a compaction when
// much is past.
func TestFileStoreForgetsByItself(t *testing.T) {
	s := openStore(t, "fake", onDisk(newFakeDisk()))
	c := &storeCase{T: t, store: s}
	for number := range uint64(minExpiredBytes/1000) + 1 {
		c.m = storeCommitment(t, number, 1)
		if len(c.m.Token) < 1000 {
			t.Fatalf("a commitment takes %d bytes; the test wants 1000", len(c.m.Token))
		}
		c.open(1, 1)
	}
	c.claimables(storeRedeemBy+payword.SkewSeconds, 0)
	s.compaction.group.Wait()
	if _, err := s.find(t.Context(), c.m.ID); !errors.Is(err, errUnknownCommitment) {
		t.Fatalf("got %v; want errUnknownCommitment", err)
	}
}

func TestFileStoreDirectory(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "state", "payword")
	s := openStore(t, directory, fileStoreOptions{})
	c := &storeCase{T: t, store: s, m: storeCommitment(t, 1, 1)}
	c.open(10, 1)
	if _, err := s.compact(); err != nil {
		t.Fatal(err)
	}
	_, err := openFileStore(directory, fileStoreOptions{})
	if err == nil || !strings.Contains(err.Error(), directory+" is in use by another process") {
		t.Errorf("opening it twice: got %v", err)
	}
	err = filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		want := os.FileMode(0o600)
		if entry.IsDir() {
			want = 0o700
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm() != want {
			t.Errorf("%s: got mode %o; want %o", entry.Name(), info.Mode().Perm(), want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	openStore(t, directory, fileStoreOptions{})
}

func TestFileStoreClose(t *testing.T) {
	before := storeGoroutines()
	for range 20 {
		s := openStore(t, t.TempDir(), fileStoreOptions{compactBytes: 1})
		c := &storeCase{T: t, store: s, m: storeCommitment(t, 1, 1)}
		c.open(10, 1)
		c.charge(storeCharge(1), payword.Accepted, false)
		closeStore(t, s)
		closeStore(t, s)
		if _, err := s.find(t.Context(), c.m.ID); !errors.Is(err, errStoreClosed) {
			t.Fatalf("find: got %v; want errStoreClosed", err)
		}
		if _, _, err := s.charge(t.Context(), c.m.ID, storeCharge(2)); !errors.Is(err, errStoreClosed) {
			t.Fatalf("charge: got %v; want errStoreClosed", err)
		}
		if err := s.claimables(t.Context(), 0, 0, nil); !errors.Is(err, errStoreClosed) {
			t.Fatalf("claimables: got %v; want errStoreClosed", err)
		}
	}
	// Close waited for every goroutine; the runtime lists one until it is off
	// its stack.
	for range 1000 {
		if storeGoroutines() <= before {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("got %d goroutines of stores; want %d", storeGoroutines(), before)
}

// storeGoroutines counts the goroutines that stores run, among all that other
// tests and Caddy leave behind.
func storeGoroutines() int {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	count := 0
	for _, stack := range strings.Split(string(stacks), "\n\n") {
		if strings.Contains(stack, "caddymodule.(*journal)") || strings.Contains(stack, "caddymodule.(*fileStore).compactOnce") {
			count++
		}
	}
	return count
}

// TestFileStoreCloseUnderLoad checks that every step that succeeded while the
// store was closed is there when it is opened again.
func TestFileStoreCloseUnderLoad(t *testing.T) {
	directory := t.TempDir()
	s := openStore(t, directory, fileStoreOptions{})
	c := &storeCase{T: t, store: s, m: storeCommitment(t, 1, 1)}
	c.open(payword.MaxChainLength, 1)
	acknowledged := make([]bool, 100_000)
	inParallel(t, 16, len(acknowledged), func(k int) error {
		if k == 2000 {
			return s.Close()
		}
		outcome, _, err := s.charge(context.Background(), c.m.ID, storeCharge(uint64(k+1)))
		if err != nil && !errors.Is(err, errStoreClosed) {
			return err
		}
		acknowledged[k] = err == nil && outcome.Reason == payword.Accepted
		return nil
	})
	c.store = openStore(t, directory, fileStoreOptions{})
	want := money.Amount(0)
	for _, isCharged := range acknowledged {
		if isCharged {
			want += storeUnit
		}
	}
	c.spent(want)
}

func TestFileStoreContext(t *testing.T) {
	s := openStore(t, t.TempDir(), fileStoreOptions{})
	c := &storeCase{T: t, store: s, m: storeCommitment(t, 1, 1)}
	c.open(10, 1)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := s.charge(ended, c.m.ID, storeCharge(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("charge: got %v; want context.Canceled", err)
	}
	for range maxStepsInProgress {
		s.slots <- struct{}{}
	}
	waiting, cancel := context.WithCancel(context.Background())
	go cancel()
	if _, err := s.find(waiting, c.m.ID); !errors.Is(err, context.Canceled) {
		t.Errorf("find in a full queue: got %v; want context.Canceled", err)
	}
	for range maxStepsInProgress {
		<-s.slots
	}
	c.spent(0)
}

// TestFileStoreRefusesBadSteps checks that what could not be read back is not
// written.
func TestFileStoreRefusesBadSteps(t *testing.T) {
	s := openStore(t, t.TempDir(), fileStoreOptions{})
	c := &storeCase{T: t, store: s, m: storeCommitment(t, 1, 1)}
	c.open(10, 1)
	ctx, id := t.Context(), c.m.ID
	long := storeOpening(c.m, 1, 2)
	long.reservation = strings.Repeat("r", payword.MaxReservationBytes+1)
	_, longError := s.open(ctx, long)
	negative := storeCharge(1)
	negative.Price = -1
	_, _, negativeError := s.charge(ctx, id, negative)
	noChain := storeCharge(1)
	noChain.Chain = 1
	_, _, noChainError := s.charge(ctx, id, noChain)
	_, tooFarError := s.advance(ctx, id, 0, storeTail(payword.MaxChainLength+1))
	tooMuchError := s.acknowledge(ctx, id, money.MaxAmount+1, false)
	for _, each := range []struct {
		err  error
		want string
	}{
		{longError, "reservation of 641 bytes: at most 640"},
		{negativeError, "charging -1 micros"},
		{noChainError, "chain 1 of a commitment with 1"},
		{tooFarError, "index 1048577 of a chain with 1048576 steps"},
		{tooMuchError, "want 0 to 999999999999999"},
	} {
		if each.err == nil || !strings.Contains(each.err.Error(), each.want) {
			t.Errorf("got %v; want %q", each.err, each.want)
		}
	}
	c.spent(0)
}

// TestFileStoreMemory measures what an idle commitment takes besides its
// tokens.
func TestFileStoreMemory(t *testing.T) {
	for _, chains := range []int{1, 4, payword.MaxChains} {
		const count = 250
		openings := make([]opening, count)
		for k := range openings {
			m := storeCommitment(t, uint64(k), chains)
			// A parsed one shares nothing with the others.
			parsed, err := payword.UnverifiedCommitment(m.Token)
			if err != nil {
				t.Fatal(err)
			}
			openings[k] = storeOpening(&parsed, 10, 1)
		}
		d := newFakeDisk()
		s := openStore(t, "fake", onDisk(d))
		tokens := 0
		for _, o := range openings {
			c := &storeCase{T: t, store: s, m: o.commitment}
			if _, err := s.open(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			c.charge(storeCharge(1), payword.Accepted, false)
			tokens += len(o.commitment.Token) + len(o.reservation)
		}
		closeStore(t, s)
		openings = nil
		before := heapBytes()
		s = openStore(t, "fake", onDisk(d))
		c := &storeCase{T: t, store: s}
		c.claimables(storeStart+payword.RefundSeconds, payword.RefundSeconds)
		each := (int64(heapBytes()) - int64(before) - int64(tokens)) / count
		t.Logf("%d chains: %d bytes a commitment, besides %d of tokens", chains, each, tokens/count)
		if limit := int64(1024 + 48*chains + 200); each > limit {
			t.Errorf("%d chains: got %d bytes a commitment; want at most %d", chains, each, limit)
		}
		closeStore(t, s)
	}
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
