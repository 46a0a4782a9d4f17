package caddymodule

import (
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// never is a delay that no test waits for: only what binds is written.
const never = time.Hour

// openAsync opens an async store on a fake disk.
func openAsync(tb testing.TB, d *fakeDisk, delay time.Duration) *fileStore {
	tb.Helper()
	options := onDisk(d)
	options.delay = delay
	s := openStore(tb, "fake", options)
	s.setAsync(true)
	return s
}

func TestFileStoreAsync(t *testing.T) {
	t.Parallel()
	testStore(t, 10_000, func(t *testing.T) store { return openAsync(t, newFakeDisk(), asyncDelay) })
}

// runAsync makes the steps on an async store until one fails, and returns how
// many did not, and after how many of them the last one was that binds.
func (p *faultPlan) runAsync(d *fakeDisk, delay time.Duration) (done, bound int) {
	options := onDisk(d)
	options.delay = delay
	s, err := openFileStore("fake", options)
	if err != nil {
		return 0, 0
	}
	defer s.Close()
	s.setAsync(true)
	for k, step := range p.steps {
		step(s)
		if s.journal.refused() != nil {
			return k, bound
		}
		if p.binds[k] && p.digests[k] != p.digests[k+1] {
			bound = k + 1
		}
		if k%faultCompact == faultCompact-1 {
			s.compact()
		}
	}
	return faultSteps, bound
}

// TestFileStoreAsyncPowerLoss takes the power away before every operation of an
// async store. What it holds then is what it held after some step, no earlier
// than the last one that binds.
func TestFileStoreAsyncPowerLoss(t *testing.T) {
	t.Parallel()
	const seed = 37
	plan := newFaultPlan(t, seed)
	random := rand.New(rand.NewSource(seed))
	for _, delay := range []time.Duration{never, 1} {
		lost, isOver := 0, false
		for at := 1; !isOver; at++ {
			d := newFakeDisk()
			d.powerAt = at
			done, bound := plan.runAsync(d, delay)
			isOver = d.operations < at
			for _, after := range []*fakeDisk{d.afterKill(), d.afterPowerLoss(random), d.afterPowerLoss(random)} {
				s := openStore(t, "fake", onDisk(after))
				got := s.digest(plan.now)
				closeStore(t, s)
				// A step that failed may have been done.
				possible := plan.digests[bound:min(done+2, faultSteps+1)]
				if !slices.Contains(possible, got) {
					t.Fatalf("no power from operation %d on: after %d steps, of which step %d binds, the store holds step %d:\n%s",
						at, done, bound, slices.Index(plan.digests, got), got)
				}
				if got != plan.digests[done] && got != plan.digests[min(done+1, faultSteps)] {
					lost++
				}
			}
		}
		if lost == 0 {
			t.Errorf("with a delay of %v no crash took anything: want some", delay)
		}
		t.Logf("delay %v: %d crashes took something", delay, lost)
	}
}

// TestFileStoreAsyncClose checks that Close, and the change to sync, make durable
// what a crash before takes.
func TestFileStoreAsyncClose(t *testing.T) {
	for _, each := range []struct {
		name string
		end  func(s *fileStore)
		want int
	}{
		{"a crash", func(*fileStore) {}, 0},
		{"close", func(s *fileStore) { closeStore(t, s) }, 2},
		{"sync again, and a look", func(s *fileStore) {
			s.setAsync(false)
			if _, err := s.find(t.Context(), storeCommitment(t, 1, 1).ID); err != nil {
				t.Fatal(err)
			}
		}, 2},
		{"a step that binds", func(s *fileStore) {
			if err := s.acknowledge(t.Context(), storeCommitment(t, 1, 1).ID, 1, false); err != nil {
				t.Fatal(err)
			}
		}, 2},
		{"what can be claimed is asked for", func(s *fileStore) {
			(&storeCase{T: t, store: s}).claimables(storeStart, 0)
		}, 2},
		{"a compaction", func(s *fileStore) {
			if _, err := s.compact(); err != nil {
				t.Fatal(err)
			}
		}, 2},
	} {
		t.Run(each.name, func(t *testing.T) {
			d := newFakeDisk()
			s := openAsync(t, d, never)
			c := &storeCase{T: t, store: s, m: storeCommitment(t, 1, 1)}
			c.open(1000, 1)
			c.charge(storeCharge(1), payword.Accepted, false)
			c.charge(storeCharge(2), payword.Accepted, false)
			each.end(s)
			c.store = openStore(t, "fake", onDisk(d.afterPowerLoss(rand.New(rand.NewSource(1)))))
			c.spent(storeUnit * money.Amount(each.want))
		})
	}
}

// TestFileStoreAsyncUnsafe checks that a request which must not be executed twice
// is durable before it is executed once.
func TestFileStoreAsyncUnsafe(t *testing.T) {
	d := newFakeDisk()
	c := &storeCase{T: t, store: openAsync(t, d, never), m: storeCommitment(t, 1, 1)}
	c.open(1000, 1)
	order := storeCharge(1)
	order.Unsafe = true
	c.charge(order, payword.Accepted, false)
	c.store = openStore(t, "fake", onDisk(d.afterPowerLoss(rand.New(rand.NewSource(1)))))
	c.charge(order, payword.AlreadyExecuted, false)
}

// TestFileStoreAsyncBounded checks how much a crash can take while nothing is
// written by itself.
func TestFileStoreAsyncBounded(t *testing.T) {
	d := newFakeDisk()
	s := openAsync(t, d, never)
	c := &storeCase{T: t, store: s, m: storeCommitment(t, 1, 1)}
	c.open(payword.MaxChainLength, 1)
	for number := range uint64(3 * maxUnsyncedRecords) {
		charge := storeCharge(1)
		charge.Number, charge.Price, charge.Now = number+1, 0, storeStart+int64(number)
		c.charge(charge, payword.Accepted, false)
		if unsynced := s.journal.appended - s.journal.durable.Load(); unsynced > maxUnsyncedRecords {
			t.Fatalf("%d records are not durable; want at most %d", unsynced, maxUnsyncedRecords)
		}
	}
	if s.journal.appended == s.journal.durable.Load() {
		t.Error("every record is durable; the test wants some that are not")
	}
}

// TestFileStoreAsyncFails checks that a store whose writer failed in the
// background takes nothing more.
func TestFileStoreAsyncFails(t *testing.T) {
	d := newFakeDisk()
	s := openAsync(t, d, never)
	c := &storeCase{T: t, store: s, m: storeCommitment(t, 1, 1)}
	c.open(1000, 1)
	d.mutex.Lock()
	d.failing = func(operation, _ string) (bool, bool) { return operation == "sync", true }
	d.mutex.Unlock()
	c.charge(storeCharge(1), payword.Accepted, false)
	s.journal.hurry() // as the delay does
	<-s.journal.stopped
	_, _, chargeError := s.charge(t.Context(), c.m.ID, storeCharge(2))
	_, findError := s.find(t.Context(), c.m.ID)
	for _, err := range []error{chargeError, findError, s.Close()} {
		if !errors.Is(err, errFault) {
			t.Errorf("got %v; want errFault", err)
		}
	}
}

// recordedAsync is a store that notes what it was told.
type recordedAsync struct {
	store
	isAsync bool
}

func (r *recordedAsync) setAsync(isAsync bool) { r.isAsync = isAsync }

// TestDurability checks that a store is async only while all configurations want
// it so.
func TestDurability(t *testing.T) {
	asked := &recordedAsync{}
	d := newDurability(asked)
	for k, each := range []struct {
		change func(string)
		wanted string
		want   string
	}{
		{d.use, "async", "async"},
		{d.use, "async", "async"}, // a reload to the same
		{d.release, "async", "async"},
		{d.use, "", "sync"}, // one that does not start
		{d.release, "", "async"},
		{d.use, "sync", "sync"}, // one that does
		{d.release, "async", "sync"},
		{d.use, "async", "sync"}, // and back
		{d.release, "sync", "async"},
		{d.release, "async", "sync"}, // the end
	} {
		each.change(each.wanted)
		if got := d.String(); got != each.want || asked.isAsync != (each.want == "async") {
			t.Errorf("%s: got %s, the store %v; want %s", fmt.Sprint("change ", k), got, asked.isAsync, each.want)
		}
	}
	if got := newDurability(newMemoryStore()).String(); got != "" {
		t.Errorf("a store without a choice says %q", got)
	}
}
