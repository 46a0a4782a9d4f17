package caddymodule

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
)

// fakeAllocation is a few frames.
const fakeAllocation = 2000

// onDisk are the options of a store on a fake disk that compacts only when it
// is told.
func onDisk(d *fakeDisk) fileStoreOptions {
	return fileStoreOptions{disk: d, compactBytes: 1 << 40, allocation: fakeAllocation}
}

// faultPlan is a run of random steps and what it leads to.
type faultPlan struct {
	steps   []storeStep
	answers []string
	binds   []bool   // a crash of an async store does not take it
	digests []string // what a store holds after 0, 1, 2, ... steps
	now     int64    // after the last step, in seconds since 1970
}

const (
	faultSteps   = 60
	faultCompact = 17 // compact after so many steps
)

func newFaultPlan(t *testing.T, seed int64) *faultPlan {
	t.Helper()
	t.Logf("seed %d", seed)
	walk, fake := newStoreWalk(t, rand.New(rand.NewSource(seed))), newMemoryStore()
	plan := &faultPlan{digests: []string{""}}
	for range faultSteps {
		plan.steps = append(plan.steps, walk.next())
		plan.binds = append(plan.binds, walk.binds)
	}
	// Requests that are too old in the end are left out of every digest.
	plan.now = walk.now
	for _, step := range plan.steps {
		plan.answers = append(plan.answers, step(fake))
		plan.digests = append(plan.digests, fake.digest(plan.now))
	}
	return plan
}

// run makes the steps on a disk until one fails, and returns how many did not.
func (p *faultPlan) run(t *testing.T, d *fakeDisk) int {
	t.Helper()
	s, err := openFileStore("fake", onDisk(d))
	if err != nil {
		return 0
	}
	defer s.Close()
	for k, step := range p.steps {
		got := step(s)
		if s.journal.refused() != nil {
			return k
		}
		if got != p.answers[k] {
			t.Fatalf("step %d: got %s; want %s", k, got, p.answers[k])
		}
		if k%faultCompact == faultCompact-1 {
			s.compact()
		}
	}
	return faultSteps
}

// check opens the disk and checks that it holds what the steps that were done
// led to, or one step more.
func (p *faultPlan) check(t *testing.T, what string, done int, d *fakeDisk) {
	t.Helper()
	s, err := openFileStore("fake", onDisk(d))
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	got := s.digest(p.now)
	closeStore(t, s)
	if got != p.digests[done] && got != p.digests[min(done+1, faultSteps)] {
		t.Fatalf("%s: after %d steps the store holds step %d:\n%s", what, done, slices.Index(p.digests, got), got)
	}
	// What was read once must be read again.
	again, err := openFileStore("fake", onDisk(d))
	if err != nil {
		t.Fatalf("%s: opened again: %v", what, err)
	}
	defer again.Close()
	if again.digest(p.now) != got {
		t.Fatalf("%s: opened again it holds something else", what)
	}
}

// checkShown opens a disk after a kill, makes a step, and then takes the power
// away: what the store has shown must still be there, though the process before
// did not sync.
func (p *faultPlan) checkShown(t *testing.T, d *fakeDisk, random *rand.Rand) {
	t.Helper()
	s := openStore(t, "fake", onDisk(d))
	if _, err := s.open(t.Context(), storeOpening(storeCommitment(t, 999, 1), 1, 1)); err != nil {
		t.Fatal(err)
	}
	shown := s.digest(p.now)
	after := openStore(t, "fake", onDisk(d.afterPowerLoss(random)))
	if got := after.digest(p.now); got != shown {
		t.Fatalf("a store was opened and showed\n%s\nand after a power loss\n%s", shown, got)
	}
	after.Close()
	s.Close()
}

// TestFileStorePowerLoss takes the power away before every single operation of
// a run with three compactions, and kills the process there.
func TestFileStorePowerLoss(t *testing.T) {
	t.Parallel()
	const seed = 31
	plan, whole := newFaultPlan(t, seed), newFakeDisk()
	plan.run(t, whole)
	random := rand.New(rand.NewSource(seed))
	for at := 1; at <= whole.operations; at++ {
		d := newFakeDisk()
		d.powerAt = at
		done := plan.run(t, d)
		plan.check(t, fmt.Sprintf("killed at operation %d", at), done, d.afterKill())
		plan.checkShown(t, d.again(), random)
		for range 3 {
			plan.check(t, fmt.Sprintf("no power from operation %d on", at), done, d.afterPowerLoss(random))
		}
	}
	t.Logf("%d operations", whole.operations)
}

// TestFileStorePowerLossInRecovery takes the power away again while the store
// is opened after a power loss.
func TestFileStorePowerLossInRecovery(t *testing.T) {
	t.Parallel()
	const seed = 32
	plan, whole := newFaultPlan(t, seed), newFakeDisk()
	plan.run(t, whole)
	random := rand.New(rand.NewSource(seed))
	for range 40 {
		d := newFakeDisk()
		d.powerAt = 1 + random.Intn(whole.operations)
		done := plan.run(t, d)
		d = d.afterPowerLoss(random)
		for at := 1; at <= 12; at++ {
			d.operations, d.powerAt = 0, at
			if s, err := openFileStore("fake", onDisk(d)); err == nil {
				s.Close()
			}
			d = d.afterPowerLoss(random)
		}
		plan.check(t, "no power again and again", done, d)
	}
}

// TestFileStorePowerLossUnderLoad takes the power away while many steps run and
// the journal is rewritten. What was acknowledged must be there.
func TestFileStorePowerLossUnderLoad(t *testing.T) {
	t.Parallel()
	const seed = 33
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewSource(seed))
	for range 60 {
		d := newFakeDisk()
		s := openStore(t, "fake", fileStoreOptions{disk: d, compactBytes: 2000, allocation: fakeAllocation})
		c := &storeCase{T: t, store: s, m: storeCommitment(t, 1, 1)}
		c.open(payword.MaxChainLength, 1)
		d.mutex.Lock()
		d.powerAt = d.operations + 1 + random.Intn(60)
		d.mutex.Unlock()
		acknowledged := make([]bool, 800)
		inParallel(t, 16, len(acknowledged), func(k int) error {
			_, _, err := s.charge(context.Background(), c.m.ID, storeCharge(uint64(k+1)))
			acknowledged[k] = err == nil
			return nil
		})
		if err := s.Close(); (err == nil) != (d.operations < d.powerAt) {
			t.Fatalf("Close after %d operations, no power from %d on: got %v", d.operations, d.powerAt, err)
		}
		c.store = openStore(t, "fake", onDisk(d.afterPowerLoss(random)))
		checkAcknowledged(c, acknowledged)
	}
}

// checkAcknowledged sends every request again: one that was acknowledged is a
// repeat, any other is charged now or was before. In the end each was charged
// once.
func checkAcknowledged(c *storeCase, acknowledged []bool) {
	c.Helper()
	for k, isCharged := range acknowledged {
		outcome, _, err := c.store.charge(c.Context(), c.m.ID, storeCharge(uint64(k+1)))
		if err != nil || outcome.Reason != payword.Accepted || isCharged && !outcome.Repeat {
			c.Fatalf("number %d, acknowledged %v: got %v, repeat %v, error %v", k+1, isCharged, outcome.Reason, outcome.Repeat, err)
		}
	}
	c.spent(storeUnit * 800)
}

// TestFileStoreFails checks that the first error of a write or sync is the last
// word, whether the disk did it or not.
func TestFileStoreFails(t *testing.T) {
	for _, each := range []struct {
		name, operation string
		done            bool
	}{
		{"the disk is full", "write", false},
		{"the write is done and its answer lost", "write", true},
		{"the sync fails", "sync", false},
		{"the sync is done and its answer lost", "sync", true},
	} {
		t.Run(each.name, func(t *testing.T) {
			d := newFakeDisk()
			c := &storeCase{T: t, m: storeCommitment(t, 1, 1)}
			s := openStore(t, "fake", onDisk(d))
			c.store = s
			c.open(1000, 1)
			c.charge(storeCharge(1), payword.Accepted, false)
			d.mutex.Lock()
			d.failing = func(operation, _ string) (bool, bool) { return operation == each.operation, each.done }
			d.mutex.Unlock()
			if _, _, err := s.charge(t.Context(), c.m.ID, storeCharge(2)); !errors.Is(err, errFault) {
				t.Fatalf("charge: got %v; want errFault", err)
			}
			d.mutex.Lock()
			d.failing = nil
			d.mutex.Unlock()
			// The disk is well again; the store is not.
			_, findError := s.find(t.Context(), c.m.ID)
			_, _, chargeError := s.charge(t.Context(), c.m.ID, storeCharge(3))
			_, openError := s.open(t.Context(), storeOpening(storeCommitment(t, 2, 1), 1, 1))
			claimError := s.claimables(t.Context(), storeStart, 0, func(claimable) bool { return true })
			_, compactError := s.compact()
			closeError := s.Close()
			for k, err := range []error{findError, chargeError, openError, claimError, compactError, closeError} {
				if !errors.Is(err, errFault) {
					t.Errorf("method %d: got %v; want errFault", k, err)
				}
			}
			c.store = openStore(t, "fake", onDisk(d.afterKill()))
			outcome, seen, err := c.store.charge(t.Context(), c.m.ID, storeCharge(2))
			if err != nil || outcome.Reason != payword.Accepted || seen.spent != 2*storeUnit {
				t.Fatalf("the same request on a new store: got %v, spent %d, error %v", outcome.Reason, seen.spent, err)
			}
		})
	}
}

// TestFileStoreWaits checks that a step that changes nothing, but saw what is
// not durable yet, does not succeed before it is: here it never becomes so.
func TestFileStoreWaits(t *testing.T) {
	d := newFakeDisk()
	s := openStore(t, "fake", onDisk(d))
	c := &storeCase{T: t, store: s, m: storeCommitment(t, 1, 1)}
	c.open(1000, 1)
	syncing, release := make(chan struct{}), make(chan struct{})
	d.mutex.Lock()
	d.failing = func(operation, _ string) (bool, bool) {
		if operation != "sync" {
			return false, true
		}
		close(syncing)
		<-release
		return true, false
	}
	d.mutex.Unlock()
	answers := make(chan error, 8)
	charge := func(number uint64, fingerprint payword.Fingerprint) {
		again := storeCharge(number)
		again.Fingerprint = fingerprint
		_, _, err := s.charge(context.Background(), c.m.ID, again)
		answers <- err
	}
	go charge(1, storeFingerprint(1))
	select {
	case <-syncing:
	case err := <-answers:
		t.Fatalf("charge without a sync: got %v", err)
	}
	steps := []func(){
		func() { charge(1, storeFingerprint(1)) },
		func() { charge(1, storeFingerprint(2)) },
		func() {
			_, err := s.find(context.Background(), c.m.ID)
			answers <- err
		},
		func() {
			_, err := s.open(context.Background(), storeOpening(c.m, 1000, 1))
			answers <- err
		},
		func() {
			_, err := s.advance(context.Background(), c.m.ID, 0, storeTail(1))
			answers <- err
		},
	}
	for _, step := range steps {
		go step()
	}
	for len(s.slots)+len(answers) < 1+len(steps) {
		runtime.Gosched()
	}
	close(release)
	for range 1 + len(steps) {
		if err := <-answers; !errors.Is(err, errFault) {
			t.Errorf("got %v; want errFault", err)
		}
	}
}

// TestFileStoreSnapshotWaits checks that a snapshot does not get its name before
// everything that it shows is durable in the journal: here it never becomes so.
func TestFileStoreSnapshotWaits(t *testing.T) {
	d := newFakeDisk()
	s := openStore(t, "fake", onDisk(d))
	c := &storeCase{T: t, store: s, m: storeCommitment(t, 1, 1)}
	c.open(1000, 1)
	syncing, release, charged := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	d.mutex.Lock()
	d.failing = func(operation, name string) (bool, bool) {
		switch {
		case operation == "create" && name == snapshotTemporaryName:
			// The journal was turned. This step is in the snapshot.
			go func() {
				_, _, err := s.charge(context.Background(), c.m.ID, storeCharge(1))
				charged <- err
			}()
			<-syncing
		case operation == "write" && name == journalName(2) && len(s.slots) > 0:
			close(syncing)
			<-release
			return true, false
		case operation == "sync" && name == snapshotTemporaryName:
			close(release)
		}
		return false, true
	}
	d.mutex.Unlock()
	if _, err := s.compact(); !errors.Is(err, errFault) {
		t.Errorf("compact: got %v; want errFault", err)
	}
	if err := <-charged; !errors.Is(err, errFault) {
		t.Errorf("charge: got %v; want errFault", err)
	}
	c.store = openStore(t, "fake", onDisk(d.afterKill()))
	c.spent(0)
}

// TestFileStoreCompactionFails checks that a store goes on when a compaction
// fails at any operation, and that the next one succeeds.
func TestFileStoreCompactionFails(t *testing.T) {
	isOver := false
	for at := 1; !isOver; at++ {
		d := newFakeDisk()
		s := openStore(t, "fake", onDisk(d))
		c := &storeCase{T: t, store: s, m: storeCommitment(t, 1, 1)}
		c.open(1000, 1)
		c.charge(storeCharge(1), payword.Accepted, false)
		count := 0
		d.failing = func(string, string) (bool, bool) {
			count++
			return count == at, false
		}
		_, err := s.compact()
		d.failing = nil
		isOver = count < at
		if (err == nil) != isOver {
			t.Fatalf("failing operation %d of %d: got %v", at, count, err)
		}
		c.charge(storeCharge(2), payword.Accepted, false)
		for range 2 {
			if _, err := s.compact(); err != nil {
				t.Fatalf("after operation %d failed: %v", at, err)
			}
			c.charge(storeCharge(3), payword.Accepted, count >= 1000)
			count = 1000
		}
		closeStore(t, s)
		c.store = openStore(t, "fake", onDisk(d.afterPowerLoss(rand.New(rand.NewSource(int64(at))))))
		c.spent(3 * storeUnit)
		if len(d.names) != 2 {
			t.Fatalf("after operation %d failed: got files %v; want a snapshot and a journal", at, slices.Collect(maps.Keys(d.names)))
		}
	}
}

// TestFileStoreDamage flips bits and cuts files at random. Either that is
// detected, or the store holds what it held after some step.
func TestFileStoreDamage(t *testing.T) {
	t.Parallel()
	const seed, rounds = 34, 500
	plan, whole := newFaultPlan(t, seed), newFakeDisk()
	plan.run(t, whole)
	random := rand.New(rand.NewSource(seed))
	detected := 0
	for range rounds {
		d := whole.afterKill()
		name := slices.Sorted(maps.Keys(d.names))[random.Intn(len(d.names))]
		damage := damageFile(d.names[name], random)
		s, err := openFileStore("fake", onDisk(d))
		if err != nil {
			detected++
			if text := err.Error(); !strings.Contains(text, name) || !strings.Contains(text, "at byte") || !strings.Contains(text, "restore it from a copy") {
				t.Fatalf("%s in %s: the error does not say where and what to do: %v", damage, name, err)
			}
			continue
		}
		got := s.digest(plan.now)
		closeStore(t, s)
		if !slices.Contains(plan.digests, got) {
			t.Fatalf("%s in %s was not detected; the store holds\n%s", damage, name, got)
		}
		if strings.HasPrefix(name, snapshotPrefix) {
			t.Fatalf("%s in %s was not detected", damage, name)
		}
	}
	t.Logf("%d of %d detected, the others cut off", detected, rounds)
	if detected < rounds/2 {
		t.Errorf("only %d of %d were detected", detected, rounds)
	}
}

// damageFile damages a file in one of several ways and says which.
func damageFile(f *fakeFile, random *rand.Rand) string {
	at := random.Intn(len(f.content))
	switch random.Intn(4) {
	case 0:
		f.content = f.content[:at]
		return fmt.Sprintf("cut at %d", at)
	case 1:
		end := min(len(f.content), at+1+random.Intn(600))
		for k := at; k < end; k++ {
			f.content[k] = byte(random.Intn(256))
		}
		return fmt.Sprintf("garbage from %d to %d", at, end)
	default:
		count := 1 + random.Intn(3)
		for k := range count {
			if k > 0 {
				at = random.Intn(len(f.content))
			}
			f.content[at] ^= 1 << random.Intn(8)
		}
		return fmt.Sprintf("%d bits, the last at %d", count, at)
	}
}

// TestFileStoreMissingFile checks that a file that was taken away is missed.
func TestFileStoreMissingFile(t *testing.T) {
	whole := newFakeDisk()
	done := newFaultPlan(t, 35).run(t, whole)
	// Two more journals, as a compaction leaves that failed.
	s := openStore(t, "fake", onDisk(whole))
	for range 2 {
		if err := s.turnJournal(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.finish(t.Context(), storeCommitment(t, 100, 1).ID); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, s)
	names := slices.Sorted(maps.Keys(whole.names))
	if len(names) != 4 || done != faultSteps {
		t.Fatalf("got files %v after %d steps; want three journals and a snapshot", names, done)
	}
	for _, name := range []string{names[0], names[1], names[3]} {
		d := whole.afterKill()
		delete(d.names, name)
		_, err := openFileStore("fake", onDisk(d))
		if err == nil || !strings.Contains(err.Error(), name+" is missing") {
			t.Errorf("without %s: got %v", name, err)
		}
	}
}

// TestFileStoreNewerVersion checks that files of a later version are left
// alone.
func TestFileStoreNewerVersion(t *testing.T) {
	d := newFakeDisk()
	closeStore(t, openStore(t, "fake", onDisk(d)))
	f := d.names[journalName(1)]
	f.content = newerHeader(journalMark, 1)
	want := slices.Clone(f.content)
	_, err := openFileStore("fake", onDisk(d))
	if err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("got %v; want that it is version 2", err)
	}
	if !slices.Equal(f.content, want) {
		t.Error("the file was changed")
	}
}

// newerHeader is a header of the next version.
func newerHeader(mark string, generation uint64) []byte {
	header := fileHeader(mark, generation)
	header = header[:len(header)-4]
	header[19]++
	return binary.BigEndian.AppendUint32(header, crc32.Checksum(header, castagnoli))
}
