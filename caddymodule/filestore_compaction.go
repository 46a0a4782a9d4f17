package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.uber.org/zap"
)

const (
	// defaultCompactBytes is how large a journal grows before it is rewritten:
	// half a million charges, read back in well under a second.
	defaultCompactBytes = 64 << 20

	// snapshotFrameBytes is about how large the frames of a snapshot are.
	snapshotFrameBytes = 256 << 10

	// minExpiredBytes is how much must be past to rewrite the journal only to
	// be rid of it.
	minExpiredBytes = 1 << 20
)

// compaction replaces a journal that has grown long by a snapshot of what it
// leads to. It goes like this, and a crash between any two steps loses nothing:
//
//  1. What is past is forgotten, in memory.
//  2. Journal g+1 is made, durably.
//  3. It takes the records from now on. Those in journal g are durable.
//  4. The commitments are written to a temporary file, one after the other, while
//     steps go on; it is made durable. It shows at least what the journals up
//     to g lead to. It may show some of journal g+1 too: that is waited for, and
//     reading it again over the snapshot leads to the same (see record).
//  5. It is renamed to snapshot g+1, durably. From here on it and the journals
//     from g+1 on are the store.
//  6. The older files are removed.
//
// If it fails before step 5 the store goes on with both journals, and tries
// again when they have grown further.
type compaction struct {
	mutex   sync.Mutex
	running bool
	stopped bool
	group   sync.WaitGroup
	cancel  context.CancelFunc
	ctx     context.Context

	threshold  int64  // compact when the journals since the snapshot exceed it; 0 in options: the default
	limit      int64  // the same, raised to twice the snapshot or after a failure
	older      int64  // size of the journals since the snapshot without the newest
	generation uint64 // of the newest journal
}

// prepare takes over what a recovery found.
func (c *compaction) prepare(threshold int64, r *recovery) {
	if threshold == 0 {
		threshold = defaultCompactBytes
	}
	c.threshold, c.limit = threshold, max(threshold, 2*r.snapshotBytes)
	c.older, c.generation = r.olderBytes, r.newest
	c.ctx, c.cancel = context.WithCancel(context.Background())
}

// stop ends a compaction that runs and lets no other start.
func (c *compaction) stop() {
	c.mutex.Lock()
	c.stopped = true
	c.mutex.Unlock()
	c.cancel()
	c.group.Wait()
}

// begin reports whether a compaction shall start now.
func (c *compaction) begin(isDue func() bool) bool {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.running || c.stopped || !isDue() {
		return false
	}
	c.running = true
	c.group.Add(1)
	return true
}

// journalGrown starts a compaction if the journals have grown too long. The
// newest ends at end.
func (s *fileStore) journalGrown(end int64) {
	c := &s.compaction
	if c.begin(func() bool { return c.older+end > c.limit }) {
		go s.compactOnce()
	}
}

// forgettable adds up what could be forgotten.
type forgettable struct{ past, all int64 }

func (f *forgettable) count(e *entry, now int64) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	size := int64(len(e.commitment.Token) + len(e.reservation))
	f.all += size
	if e.isPast(now) {
		f.past += size
	}
}

// compactExpired starts a compaction if half of what is kept is past.
func (s *fileStore) compactExpired(f forgettable) {
	isDue := f.past >= minExpiredBytes && 2*f.past >= f.all
	if s.compaction.begin(func() bool { return isDue }) {
		go s.compactOnce()
	}
}

// compactOnce runs a compaction that has begun.
func (s *fileStore) compactOnce() {
	c := &s.compaction
	defer c.group.Done()
	size, err := s.compact()
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.running = false
	if err == nil {
		c.limit = max(c.threshold, 2*size)
		return
	}
	c.limit += c.threshold
	if c.ctx.Err() == nil && s.journal.refused() == nil {
		s.logger.Error("rewriting the journal failed; the store goes on with a longer one and tries again later", zap.Error(err))
	}
}

// compact runs the steps and returns the size of the snapshot, in bytes.
func (s *fileStore) compact() (int64, error) {
	s.forgetPast(s.now.Load())
	if err := s.turnJournal(); err != nil {
		return 0, err
	}
	size, err := s.writeSnapshot(s.compaction.generation)
	if err != nil {
		return 0, err
	}
	s.compaction.mutex.Lock()
	s.compaction.older = 0
	s.compaction.mutex.Unlock()
	return size, s.removeOlder(s.compaction.generation)
}

// forgetPast drops what is past. It must come before the journal is turned: the
// next one must hold no record of a commitment that the snapshot leaves out.
func (s *fileStore) forgetPast(now int64) {
	for k := range s.shards {
		shard := &s.shards[k]
		for e := range shard.all() {
			shard.forgetEntry(e, now)
		}
		shard.forget(now)
	}
}

// turnJournal makes the next journal and sends the records there.
func (s *fileStore) turnJournal() error {
	c := &s.compaction
	generation := c.generation + 1
	next, err := createJournal(s.disk, generation)
	if err != nil {
		return err
	}
	old, err := s.journal.rotate(next)
	if err != nil {
		return errors.Join(err, next.file.Close(), s.disk.remove(journalName(generation)))
	}
	c.mutex.Lock()
	c.generation = generation
	c.older += old.end
	c.mutex.Unlock()
	if err := old.close(); err != nil {
		return fmt.Errorf("closing %s: %w", journalName(old.generation), err)
	}
	return nil
}

// createJournal makes an empty journal, durably.
func createJournal(d disk, generation uint64) (*journalFile, error) {
	name := journalName(generation)
	file, err := d.create(name)
	if err != nil {
		return nil, fmt.Errorf("making %s: %w", name, err)
	}
	_, err = file.WriteAt(fileHeader(journalMark, generation), 0)
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = d.sync()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making %s: %w", name, err), file.Close())
	}
	return &journalFile{file: file, generation: generation, end: fileHeaderBytes, allocated: fileHeaderBytes}, nil
}

// removeOlder removes the files that a snapshot replaces.
func (s *fileStore) removeOlder(generation uint64) error {
	files, err := listFiles(s.disk)
	if err != nil {
		return err
	}
	return files.removeOlder(s.disk, generation)
}

// writeSnapshot writes all commitments to a file that becomes the snapshot of a
// generation, and returns its size.
func (s *fileStore) writeSnapshot(generation uint64) (int64, error) {
	file, err := s.disk.create(snapshotTemporaryName)
	if err != nil {
		return 0, fmt.Errorf("making a snapshot: %w", err)
	}
	w := snapshotWriter{file: file, generation: generation}
	err = w.writeAll(s)
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = s.journal.wait(w.newest)
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = s.disk.rename(snapshotTemporaryName, snapshotName(generation))
	}
	if err == nil {
		err = s.disk.sync()
	}
	if err != nil {
		return 0, fmt.Errorf("writing %s: %w", snapshotName(generation), err)
	}
	return w.end, nil
}

// snapshotWriter writes the frames of a snapshot.
type snapshotWriter struct {
	file       diskFile
	generation uint64
	end        int64
	frame      []byte
	count      uint64 // of commitments
	newest     uint64 // position in the journal of the newest record that it shows
}

func (w *snapshotWriter) writeAll(s *fileStore) error {
	if _, err := w.file.WriteAt(fileHeader(snapshotMark, w.generation), 0); err != nil {
		return err
	}
	w.end = fileHeaderBytes
	w.frame = make([]byte, frameHeadBytes, 2*snapshotFrameBytes)
	for k := range s.shards {
		for e := range s.shards[k].all() {
			w.add(e)
			if len(w.frame) < snapshotFrameBytes {
				continue
			}
			if err := s.compaction.ctx.Err(); err != nil {
				return err
			}
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	last := record{kind: recordEnd, count: w.count}
	w.frame = last.append(w.frame)
	return w.flush()
}

// add puts a commitment in the frame, as it is now.
func (w *snapshotWriter) add(e *entry) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	opened := e.opened(e.commitment.Token).withTerms(e.commitment)
	w.frame = opened.append(w.frame)
	state := record{
		kind: recordState, id: e.commitment.ID, state: &e.state,
		chains: len(e.commitment.Chains), final: e.final,
	}
	w.frame = state.append(w.frame)
	w.count++
	w.newest = max(w.newest, e.newest)
}

func (w *snapshotWriter) flush() error {
	sealFrame(w.frame, w.generation, w.end)
	if _, err := w.file.WriteAt(w.frame, w.end); err != nil {
		return err
	}
	w.end += int64(len(w.frame))
	w.frame = w.frame[:frameHeadBytes]
	return nil
}
