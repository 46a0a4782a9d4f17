package caddymodule

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A journal is a file header and then frames, one after the other, and then
// zeros. A frame is what was written and made durable in one go: all the
// records that were waiting. Its head is
//
//	magic (4 bytes) | size of the records (4) | CRC-32C (4)
//
// The sum covers the file's generation, the frame's offset, the size and the
// records, so that no bytes of another file or place pass for a frame. The next
// frame is written only after the last one is durable. So a crash leaves at
// most one frame damaged, with nothing after it; that one was acknowledged to
// nobody and is cut off. Any other damage was not done by a crash. This takes
// it that a disk does not harm sectors which it is not asked to write, and
// writes a sector wholly or not at all.
const (
	frameMagic     = 0xA7C3F19E // not ASCII, so that no token looks like it
	frameHeadBytes = 12

	// maxFrameBytes bounds the records of one frame: maxStepsInProgress of the
	// longest that a step writes fit (3,741 bytes, an opening), and
	// maxUnsyncedRecords of the longest that none waits for (164, a charge).
	maxFrameBytes = 16 << 20

	// allocationBytes is how many zeros a journal is filled with at a time,
	// ahead of its end. Writing over them changes no size and allocates no block, which
	// makes fdatasync about a third cheaper.
	allocationBytes = 1 << 20

	// keptBufferBytes is the largest buffer that is kept for the next frame.
	keptBufferBytes = 1 << 20

	// asyncDelay is how long records that nobody waits for collect before they
	// are written. A sync takes the only processor of a small machine 0.1 to 0.3
	// ms; ten a second are seen by less than one request of a hundred. With 200 a
	// second a gate at 2,500 requests a second took a seventh more of the
	// processor, and the longest wait of 99 of 100 requests was twice as long.
	asyncDelay = 100 * time.Millisecond

	// On several processors a turn of the scheduler may end while others still run.
	// So a frame is written when quietTurns in a row have brought no record, or
	// after gatherTime: a half of what a fast disk takes for a sync.
	quietTurns = 5
	gatherTime = 50 * time.Microsecond

	// On one processor a frame is written when it has nothing else to do, or after
	// gatherTimeOfOne: what it takes for some thirty requests.
	gatherTimeOfOne = 800 * time.Microsecond

	// maxUnsyncedRecords bounds the records of an async store that are not
	// durable, and so what a crash can take and the memory for it, where the disk
	// is slower than the visitors. It is what asyncDelay collects at 80,000
	// records a second. A step past it waits for the disk.
	maxUnsyncedRecords = 8192
)

var (
	castagnoli      = crc32.MakeTable(crc32.Castagnoli)
	allocationZeros [allocationBytes]byte
)

// errStoreClosed means that the store was closed.
var errStoreClosed = errors.New("the store is closed")

// frameSum is the checksum of a frame.
func frameSum(generation uint64, offset int64, body []byte) uint32 {
	var place [20]byte
	binary.BigEndian.PutUint64(place[:], generation)
	binary.BigEndian.PutUint64(place[8:], uint64(offset))
	binary.BigEndian.PutUint32(place[16:], uint32(len(body)))
	return crc32.Update(crc32.Checksum(place[:], castagnoli), castagnoli, body)
}

// sealFrame fills in the head of a frame that is written at offset.
func sealFrame(frame []byte, generation uint64, offset int64) {
	body := frame[frameHeadBytes:]
	binary.BigEndian.PutUint32(frame, frameMagic)
	binary.BigEndian.PutUint32(frame[4:], uint32(len(body)))
	binary.BigEndian.PutUint32(frame[8:], frameSum(generation, offset, body))
}

// batch is a frame that is collected or written.
type batch struct {
	frame []byte        // a head's room, and the records
	last  uint64        // position of its last record
	done  chan struct{} // closed when it is durable or failed
	err   error         // set before done is closed
}

func newBatch(buffer []byte) *batch {
	return &batch{frame: append(buffer[:0], make([]byte, frameHeadBytes)...), done: make(chan struct{})}
}

func (b *batch) isEmpty() bool { return len(b.frame) == frameHeadBytes }

// journalFile is an open journal and where its next frame goes.
type journalFile struct {
	file       diskFile
	generation uint64
	end        int64 // of the last frame
	allocated  int64 // the size of the file; from end on it holds zeros
}

// write makes a frame durable. Where the file is too short for it, it is filled
// with zeros some bytes at a time.
func (f *journalFile) write(frame []byte, allocation int) error {
	sealFrame(frame, f.generation, f.end)
	next := f.end + int64(len(frame))
	for f.allocated < next {
		if _, err := f.file.WriteAt(allocationZeros[:allocation], f.allocated); err != nil {
			return err
		}
		f.allocated += int64(allocation)
	}
	if _, err := f.file.WriteAt(frame, f.end); err != nil {
		return err
	}
	if err := f.file.Sync(); err != nil {
		return err
	}
	f.end = next
	return nil
}

// close gives back what was allocated ahead and closes the file.
func (f *journalFile) close() error {
	var err error
	if f.allocated > f.end {
		err = errors.Join(f.file.Truncate(f.end), f.file.Sync())
	}
	return errors.Join(err, f.file.Close())
}

// rotation asks for the frames to go to another file from now on.
type rotation struct {
	next *journalFile
	done chan struct{} // closed when old is set, or the journal ended
	old  *journalFile  // every frame in it is durable; nil if the journal ended before
}

// journal makes records durable, those that wait together in one write and one
// sync (group commit). One goroutine writes. While it is blocked in a sync,
// records collect for the next frame, so a slow disk makes frames larger and
// not the queue longer.
//
// An error of a write or a sync is final: what is on the disk is then unknown,
// and a second sync that succeeds would prove nothing. Every append after it
// fails.
type journal struct {
	mutex    sync.Mutex  // guards the fields down to rotating
	wake     sync.Cond   // of mutex: something to do for the writer
	pending  *batch      // collects records
	flying   *batch      // is being written; nil if none
	spare    []byte      // a buffer for the next batch
	appended uint64      // position of the last record; the first has 1
	before   uint64      // position of the last record before the frame that was taken last
	awaited  bool        // what is pending is to be written at once
	due      *time.Timer // sets awaited
	closing  bool
	rotating *rotation

	isAsync atomic.Bool           // records collect for the delay, unless one is awaited
	durable atomic.Uint64         // position of the last durable record
	refusal atomic.Pointer[error] // why no record is taken any more; nil while they are
	current *journalFile          // of the writer; of the owner after stopped
	turn    networkTurn           // of the writer
	stopped chan struct{}         // closed when the writer has ended

	allocation int             // see journalFile.write
	delay      time.Duration   // how long records collect in an async store
	grown      func(end int64) // called by the writer after a frame
}

// noPosition is the position of a record that was not taken.
const noPosition = ^uint64(0)

// startJournal starts writing behind the end of file, at once until setAsync.
func startJournal(file *journalFile, allocation int, delay time.Duration, grown func(end int64)) *journal {
	j := &journal{
		pending: newBatch(nil), current: file, stopped: make(chan struct{}),
		allocation: allocation, delay: delay, grown: grown,
	}
	j.wake.L = &j.mutex
	if isOnOneProcessor() {
		j.turn.open()
	}
	j.due = time.AfterFunc(delay, j.hurry)
	go j.run()
	return j
}

// setAsync says whether records collect for the delay before they are written,
// where none of them is awaited. What has collected is written at once.
func (j *journal) setAsync(isAsync bool) {
	j.isAsync.Store(isAsync)
	j.hurry()
}

// hurry has what is pending written at once.
func (j *journal) hurry() {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	j.await()
}

// await is hurry for a caller that holds mutex.
func (j *journal) await() {
	if !j.pending.isEmpty() && !j.awaited {
		j.awaited = true
		j.wake.Signal()
	}
}

// append puts a record behind those that wait, and returns its position. It
// blocks only for other callers of append.
func (j *journal) append(r *record) uint64 {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	if j.refusal.Load() != nil {
		return noPosition
	}
	isFirst := j.pending.isEmpty()
	j.pending.frame = r.append(j.pending.frame)
	switch {
	case !isFirst:
	case j.isAsync.Load():
		j.due.Reset(j.delay)
	default:
		j.await()
	}
	j.appended++
	j.pending.last = j.appended
	return j.appended
}

// wait returns when the record at position, and so every one before it, is
// durable, or with the error that keeps it from being so. Position 0 always is.
func (j *journal) wait(position uint64) error {
	if position <= j.durable.Load() {
		return nil
	}
	if b := j.batchOf(position); b != nil {
		<-b.done
		return b.err
	}
	if position <= j.durable.Load() {
		return nil
	}
	return j.refused()
}

// batchOf returns the batch that holds the record at position, if it is not
// done.
func (j *journal) batchOf(position uint64) *batch {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	// It may have become durable meanwhile, and the next batch goes on.
	if position <= j.durable.Load() {
		return nil
	}
	if j.flying != nil && position <= j.flying.last {
		return j.flying
	}
	if position > j.pending.last {
		return nil
	}
	j.await()
	return j.pending
}

// waitShort is wait for a step that may be answered before its newest record is
// durable: it waits for those that are too far behind.
func (j *journal) waitShort(newest uint64) error {
	switch {
	case newest == noPosition:
		return j.refused()
	case newest <= maxUnsyncedRecords:
		return nil
	default:
		return j.wait(newest - maxUnsyncedRecords)
	}
}

// refused returns why no record is taken any more, or nil.
func (j *journal) refused() error {
	if reason := j.refusal.Load(); reason != nil {
		return *reason
	}
	return nil
}

func (j *journal) run() {
	defer close(j.stopped)
	for j.commit() {
	}
}

// commit writes what waits and reports whether there may be more to do.
func (j *journal) commit() bool {
	b, turn := j.next()
	if b == nil && turn == nil {
		return false
	}
	var err error
	if b != nil {
		err = j.current.write(b.frame, j.allocation)
		j.settle(b, err)
	}
	if turn != nil {
		if err == nil {
			turn.old, j.current = j.current, turn.next
		}
		close(turn.done)
	}
	if err == nil {
		j.grown(j.current.end)
	}
	return err == nil
}

// next waits for something to do and takes it: a batch to write, a rotation
// after it, or both; neither if the journal is closed and all is written.
func (j *journal) next() (*batch, *rotation) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	for !j.awaited && j.rotating == nil && !j.closing {
		j.wake.Wait()
	}
	j.gather()
	j.awaited = false
	turn := j.rotating
	j.rotating = nil
	if j.pending.isEmpty() {
		return nil, turn
	}
	j.flying, j.before = j.pending, j.durable.Load()
	j.pending = newBatch(j.spare)
	j.spare = nil
	return j.flying, turn
}

// gather lets those that are ready to run put their records in the frame too,
// because a sync takes far longer than they do, and on one processor as long as
// what a few requests need. It ends when they bring nothing more, or take long,
// because there is other work to do. The caller holds mutex.
func (j *journal) gather() {
	if !isOnOneProcessor() {
		j.gatherBy(runtime.Gosched, quietTurns, gatherTime)
		return
	}
	j.letRun(runtime.Gosched)
	// Where requests come one by one, a look at the network brings none.
	if j.appended > j.before+2 {
		j.gatherBy(j.turn.take, 1, gatherTimeOfOne)
	}
}

// gatherBy has others run until they bring no record a number of times in a row.
// The caller holds mutex.
func (j *journal) gatherBy(turn func(), quietTurns int, limit time.Duration) {
	for began, quiet := time.Now(), 0; quiet < quietTurns && time.Since(began) < limit; {
		seen := j.appended
		j.letRun(turn)
		if quiet++; j.appended != seen {
			quiet = 0
		}
	}
}

// letRun has others run, who may append. The caller holds mutex.
func (j *journal) letRun(turn func()) {
	j.mutex.Unlock()
	turn()
	j.mutex.Lock()
}

// isOnOneProcessor reports whether nothing else in the process runs while one
// thing does.
func isOnOneProcessor() bool { return min(runtime.GOMAXPROCS(0), runtime.NumCPU()) == 1 }

// settle tells those who wait for b what became of it.
func (j *journal) settle(b *batch, err error) {
	j.mutex.Lock()
	b.err = err
	j.flying = nil
	if err == nil {
		j.durable.Store(b.last)
		if cap(b.frame) <= keptBufferBytes {
			j.spare = b.frame
		}
		b.frame = nil
	} else {
		j.fail(err)
	}
	j.mutex.Unlock()
	close(b.done)
}

// fail refuses everything from now on. The caller holds mutex.
func (j *journal) fail(err error) {
	err = fmt.Errorf("writing the journal failed, and nothing is taken until the store is opened anew: %w", err)
	j.refusal.Store(&err)
	j.pending.err = err
	close(j.pending.done)
	j.endRotation()
}

// endRotation tells who asked for one that there will be none. The caller holds
// mutex.
func (j *journal) endRotation() {
	if j.rotating != nil {
		close(j.rotating.done)
		j.rotating = nil
	}
}

// rotate sends every record that is appended after it returns to next, and
// returns the file before, in which all the others are durable. On an error
// next is still the caller's.
func (j *journal) rotate(next *journalFile) (*journalFile, error) {
	turn := &rotation{next: next, done: make(chan struct{})}
	j.mutex.Lock()
	if err := j.refused(); err != nil {
		j.mutex.Unlock()
		return nil, err
	}
	j.rotating = turn
	j.wake.Signal()
	j.mutex.Unlock()
	<-turn.done
	if turn.old == nil {
		return nil, errStoreClosed
	}
	return turn.old, nil
}

// close takes no more records, writes those that wait, and closes the file. It
// returns why the journal failed, if it did.
func (j *journal) close() error {
	j.mutex.Lock()
	failure := j.refused()
	if failure == nil {
		j.closing = true
		j.refusal.Store(&errStoreClosed)
		j.wake.Signal()
	}
	j.mutex.Unlock()
	<-j.stopped
	j.turn.close()
	j.due.Stop()
	if failure == nil {
		failure = j.lastFailure()
	}
	if failure != nil {
		return errors.Join(failure, j.current.file.Close())
	}
	return j.current.close()
}

// lastFailure returns how the last batch failed, if it failed while the journal
// was closing.
func (j *journal) lastFailure() error {
	if reason := j.refused(); reason != errStoreClosed {
		return reason
	}
	return nil
}
