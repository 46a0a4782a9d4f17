package caddymodule

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/paywordhq/payword"
)

// The files of a store. A generation counts the journals. Journal g+1 goes on
// where journal g ended, and snapshot g holds what the journals before g lead
// to. So the newest snapshot and the journals from its generation on are the
// store; without a snapshot it is the journals from 1 on.
const (
	journalPrefix         = "journal-"
	snapshotPrefix        = "snapshot-"
	snapshotTemporaryName = "snapshot.new"
	generationDigits      = 10

	journalMark  = "payword journal\n"
	snapshotMark = "payword snapshot"

	// fileVersion is the version of both formats.
	fileVersion = 1

	// pieceBytes is how much of a file is read at a time.
	pieceBytes = 1 << 20

	// fileHeaderBytes is the size of a file's header:
	// mark (16 bytes) | version (4) | generation (8) | CRC-32C (4).
	fileHeaderBytes = 32
)

func journalName(generation uint64) string {
	return fmt.Sprintf("%s%0*d", journalPrefix, generationDigits, generation)
}

func snapshotName(generation uint64) string {
	return fmt.Sprintf("%s%0*d", snapshotPrefix, generationDigits, generation)
}

// parseGeneration reads the generation in a name, or returns 0.
func parseGeneration(name, prefix string) uint64 {
	digits, found := strings.CutPrefix(name, prefix)
	if !found || len(digits) != generationDigits {
		return 0
	}
	generation, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0
	}
	return generation
}

func fileHeader(mark string, generation uint64) []byte {
	header := binary.BigEndian.AppendUint32([]byte(mark), fileVersion)
	header = binary.BigEndian.AppendUint64(header, generation)
	return binary.BigEndian.AppendUint32(header, crc32.Checksum(header, castagnoli))
}

// checkHeader reports what is wrong with the header of a file.
func checkHeader(header []byte, mark string, generation uint64) error {
	if bytes.Equal(header, fileHeader(mark, generation)) {
		return nil
	}
	sum := header[len(header)-4:]
	if binary.BigEndian.Uint32(sum) == crc32.Checksum(header[:len(header)-4], castagnoli) {
		return fmt.Errorf("the header says %q, version %d, generation %d; want %q, version %d, generation %d",
			header[:len(mark)], binary.BigEndian.Uint32(header[16:]), binary.BigEndian.Uint64(header[20:]),
			mark, fileVersion, generation)
	}
	return errHeader
}

// errHeader means that a file has no header, as a crash may leave one that was
// being made.
var errHeader = errors.New("the header is damaged")

// storeFiles are the files of a store by their generations, ascending.
type storeFiles struct {
	journals, snapshots []uint64
	hasTemporary        bool
}

// listFiles finds the files of a store and passes over everything else.
func listFiles(d disk) (storeFiles, error) {
	names, err := d.list()
	if err != nil {
		return storeFiles{}, err
	}
	files := storeFiles{hasTemporary: slices.Contains(names, snapshotTemporaryName)}
	for _, name := range names {
		if generation := parseGeneration(name, journalPrefix); generation > 0 {
			files.journals = append(files.journals, generation)
		}
		if generation := parseGeneration(name, snapshotPrefix); generation > 0 {
			files.snapshots = append(files.snapshots, generation)
		}
	}
	slices.Sort(files.journals)
	slices.Sort(files.snapshots)
	return files, nil
}

// removeOlder removes the files before a generation.
func (f storeFiles) removeOlder(d disk, generation uint64) error {
	var failure error
	for _, g := range f.journals {
		if g < generation {
			failure = errors.Join(failure, d.remove(journalName(g)))
		}
	}
	for _, g := range f.snapshots {
		if g < generation {
			failure = errors.Join(failure, d.remove(snapshotName(g)))
		}
	}
	return failure
}

// recovery reads the files of a store into it.
type recovery struct {
	store *fileStore
	disk  disk

	torn          string // the journal whose last frame was cut off; "": none
	snapshotBytes int64
	olderBytes    int64  // of the journals that are read, without the newest
	newest        uint64 // generation of the newest journal
}

// run reads everything and returns the journal to go on with.
func (r *recovery) run() (*journalFile, error) {
	files, err := listFiles(r.disk)
	if err != nil {
		return nil, err
	}
	first, err := r.firstJournal(&files)
	if err != nil {
		return nil, err
	}
	if first == 0 {
		r.newest = 1
		return createJournal(r.disk, 1)
	}
	if len(files.snapshots) > 0 {
		if err := r.readSnapshot(first); err != nil {
			return nil, err
		}
	}
	file, err := r.readJournals(&files, first)
	if err != nil {
		return nil, err
	}
	// What a crash left over is of no use and only takes room.
	if files.hasTemporary {
		err = r.disk.remove(snapshotTemporaryName)
	}
	if err = errors.Join(err, files.removeOlder(r.disk, first)); err != nil {
		return nil, errors.Join(err, file.file.Close())
	}
	return file, nil
}

// firstJournal returns the generation of the first journal to read, which is
// also that of the snapshot if there is one; 0 if the store is new.
func (r *recovery) firstJournal(files *storeFiles) (uint64, error) {
	first := uint64(1)
	if count := len(files.snapshots); count > 0 {
		first = files.snapshots[count-1]
	}
	needed := slices.DeleteFunc(slices.Clone(files.journals), func(g uint64) bool { return g < first })
	if len(needed) == 0 && len(files.snapshots) == 0 {
		return 0, nil
	}
	for k, generation := range needed {
		if generation == first+uint64(k) {
			continue
		}
		if k == 0 && len(files.snapshots) == 0 {
			return 0, fmt.Errorf("%s is missing: %s goes on from it; restore it from a copy", snapshotName(generation), journalName(generation))
		}
		return 0, fmt.Errorf("%s is missing: restore it from a copy", journalName(first+uint64(k)))
	}
	if len(needed) == 0 {
		return 0, fmt.Errorf("%s is missing: %s needs it; restore it from a copy", journalName(first), snapshotName(first))
	}
	r.newest = needed[len(needed)-1]
	return first, nil
}

// readSnapshot reads a snapshot, which must be whole: it got its name only when
// it was.
func (r *recovery) readSnapshot(generation uint64) error {
	name := snapshotName(generation)
	file, err := r.disk.open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	scan, err := newFrameScanner(file, name, generation)
	if err != nil {
		return err
	}
	if err := scan.header(snapshotMark); err != nil {
		return scan.damage(err, "restore it from a copy")
	}
	ended, count := false, uint64(0)
	err = scan.frames(func(entry *record) error {
		switch {
		case ended:
			return errors.New("there is more after the end")
		case entry.kind == recordEnd:
			ended = true
			if entry.count != count {
				return fmt.Errorf("it holds %d commitments and says %d", count, entry.count)
			}
			return nil
		case entry.kind.opens():
			count++
		}
		return r.apply(entry)
	})
	if err == nil && (!ended || scan.offset != scan.size) {
		err = errors.New("it is cut off or damaged")
	}
	if err != nil {
		return scan.damage(err, "restore it from a copy")
	}
	r.snapshotBytes = scan.size
	return nil
}

// readJournals reads the journals from first on and returns the newest, opened
// to go on with.
func (r *recovery) readJournals(files *storeFiles, first uint64) (*journalFile, error) {
	for generation := first; ; generation++ {
		file, err := r.readJournal(generation, first)
		if err != nil {
			return nil, err
		}
		if generation == r.newest {
			return file, nil
		}
		r.olderBytes += file.end
		if err := file.file.Close(); err != nil {
			return nil, err
		}
	}
}

// readJournal reads one journal and makes durable what it has shown, because
// the process that wrote it may have ended before its sync.
func (r *recovery) readJournal(generation, first uint64) (*journalFile, error) {
	name := journalName(generation)
	file, err := r.disk.open(name)
	if err != nil {
		return nil, err
	}
	journal, err := r.readOpenJournal(file, name, generation, first)
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = r.disk.sync()
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return journal, nil
}

func (r *recovery) readOpenJournal(file diskFile, name string, generation, first uint64) (*journalFile, error) {
	scan, err := newFrameScanner(file, name, generation)
	if err != nil {
		return nil, err
	}
	if err := scan.header(journalMark); err != nil {
		return r.restartJournal(scan, err, generation, first)
	}
	err = scan.frames(func(entry *record) error {
		if r.torn != "" {
			return fmt.Errorf("%s before it has lost its end", r.torn)
		}
		return r.apply(entry)
	})
	if err != nil {
		return nil, scan.damage(err, cutAdvice(name, scan.offset))
	}
	journal := &journalFile{file: file, generation: generation, end: scan.offset, allocated: scan.size}
	return journal, r.cutTail(scan, journal)
}

// restartJournal writes the header of a journal again that a crash kept from
// being made: nothing follows it and no file builds on it.
func (r *recovery) restartJournal(scan *frameScanner, cause error, generation, first uint64) (*journalFile, error) {
	found, err := scan.findFrame(0)
	if err != nil {
		return nil, err
	}
	isFresh := errors.Is(cause, errHeader) && generation == r.newest && (generation > first || r.snapshotBytes == 0)
	if found >= 0 || !isFresh {
		return nil, scan.damage(cause, "restore it from a copy")
	}
	if err := scan.file.Truncate(0); err != nil {
		return nil, err
	}
	if _, err := scan.file.WriteAt(fileHeader(journalMark, generation), 0); err != nil {
		return nil, err
	}
	return &journalFile{file: scan.file, generation: generation, end: fileHeaderBytes, allocated: fileHeaderBytes}, nil
}

// cutTail cuts off what a crash left of a frame that was being written, and
// fails if what follows the last good frame is anything else.
func (r *recovery) cutTail(scan *frameScanner, journal *journalFile) error {
	isZero, err := scan.isZeroFrom(scan.offset)
	if err != nil || isZero {
		return err
	}
	if err := scan.checkTorn(); err != nil {
		return scan.damage(err, cutAdvice(scan.name, scan.offset))
	}
	r.torn = scan.name
	r.store.logger.Warn("the last write to the journal was not finished when the process ended; it was acknowledged to nobody and is cut off",
		zap.String("file", scan.name), zap.Int64("offset", scan.offset), zap.Int64("bytes", scan.size-scan.offset))
	if err := scan.file.Truncate(scan.offset); err != nil {
		return err
	}
	journal.allocated = scan.offset
	return nil
}

func cutAdvice(name string, offset int64) string {
	return fmt.Sprintf("restore it from a copy; or give up everything recorded from there on (payments that were taken may then be taken again): truncate -s %d %s", offset, name)
}

// frameScanner reads the frames of a file.
type frameScanner struct {
	file       diskFile
	name       string
	generation uint64
	size       int64 // of the file
	offset     int64 // after the last good frame
}

func newFrameScanner(file diskFile, name string, generation uint64) (*frameScanner, error) {
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	return &frameScanner{file: file, name: name, generation: generation, size: size}, nil
}

// damage says where a file is damaged and what to do.
func (s *frameScanner) damage(cause error, advice string) error {
	return fmt.Errorf("%s is damaged at byte %d: %w. %s", s.name, s.offset, cause, advice)
}

func (s *frameScanner) header(mark string) error {
	header := make([]byte, fileHeaderBytes)
	if s.size < fileHeaderBytes {
		return errHeader
	}
	if _, err := s.file.ReadAt(header, 0); err != nil {
		return err
	}
	if err := checkHeader(header, mark, s.generation); err != nil {
		return err
	}
	s.offset = fileHeaderBytes
	return nil
}

// frames calls apply for the records of all frames up to the first that is not
// good, or the end.
func (s *frameScanner) frames(apply func(*record) error) error {
	queue := frameQueue{scan: s, apply: apply}
	err := s.eachFrame(queue.add)
	return errors.Join(queue.drain(), err)
}

// eachFrame calls use for the records of all frames up to the first that is not
// good, or the end, with where the next one begins. They change after it returns.
func (s *frameScanner) eachFrame(use func(body []byte, next int64) error) error {
	rest := s.size - s.offset
	reader := bufio.NewReaderSize(io.NewSectionReader(s.file, s.offset, rest), int(min(rest, pieceBytes)))
	body, offset := []byte(nil), s.offset
	for {
		head := [frameHeadBytes]byte{}
		if _, err := io.ReadFull(reader, head[:]); err != nil {
			return endOfFile(err)
		}
		size, isFrame := s.frameSize(head[:], offset)
		if !isFrame {
			return nil
		}
		body = slices.Grow(body[:0], size)[:size]
		if _, err := io.ReadFull(reader, body); err != nil {
			return endOfFile(err)
		}
		if binary.BigEndian.Uint32(head[8:]) != frameSum(s.generation, offset, body) {
			return nil
		}
		offset += int64(frameHeadBytes + size)
		if err := use(body, offset); err != nil {
			return err
		}
	}
}

// endOfFile returns nil for an end, which is where frames end.
func endOfFile(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// frameSize returns the size of the records of a frame with a head at offset,
// and whether it can be one.
func (s *frameScanner) frameSize(head []byte, offset int64) (int, bool) {
	size := binary.BigEndian.Uint32(head[4:])
	isFrame := binary.BigEndian.Uint32(head) == frameMagic && size > 0 && size <= maxFrameBytes &&
		int64(size) <= s.size-offset-frameHeadBytes
	return int(size), isFrame
}

// checkTorn reports why what follows offset is not the rest of one frame that
// was being written.
func (s *frameScanner) checkTorn() error {
	found, err := s.findFrame(s.offset + 1)
	if err != nil {
		return err
	}
	if found >= 0 {
		return fmt.Errorf("what stands there is not a record, and good ones follow at byte %d", found)
	}
	head := make([]byte, frameHeadBytes)
	if s.size-s.offset < frameHeadBytes {
		return nil
	}
	if _, err := s.file.ReadAt(head, s.offset); err != nil {
		return err
	}
	size, isFrame := s.frameSize(head, s.offset)
	if !isFrame {
		return nil
	}
	// The one frame that can be unfinished has zeros behind it.
	isZero, err := s.isZeroFrom(s.offset + int64(frameHeadBytes+size))
	if err == nil && !isZero {
		err = errors.New("what stands there is not a record, and more follows than one write leaves")
	}
	return err
}

// findFrame returns the offset of the first good frame at or after an offset,
// or -1.
func (s *frameScanner) findFrame(from int64) (int64, error) {
	var magic [4]byte
	binary.BigEndian.PutUint32(magic[:], frameMagic)
	found := int64(-1)
	// The pieces overlap, so that no magic is cut in two.
	err := s.pieces(from, len(magic)-1, func(offset int64, piece []byte) (bool, error) {
		for start := 0; ; start++ {
			next := bytes.Index(piece[start:], magic[:])
			if next < 0 {
				return true, nil
			}
			start += next
			isGood, err := s.isFrame(offset + int64(start))
			if err != nil {
				return false, err
			}
			if isGood {
				found = offset + int64(start)
				return false, nil
			}
		}
	})
	return found, err
}

// isFrame reports whether a good frame starts at offset.
func (s *frameScanner) isFrame(offset int64) (bool, error) {
	if s.size-offset < frameHeadBytes {
		return false, nil
	}
	head := make([]byte, frameHeadBytes)
	if _, err := s.file.ReadAt(head, offset); err != nil {
		return false, err
	}
	size, isFrame := s.frameSize(head, offset)
	if !isFrame {
		return false, nil
	}
	body := make([]byte, size)
	if _, err := s.file.ReadAt(body, offset+frameHeadBytes); err != nil {
		return false, err
	}
	return binary.BigEndian.Uint32(head[8:]) == frameSum(s.generation, offset, body), nil
}

// isZeroFrom reports whether the file holds only zeros from an offset on.
func (s *frameScanner) isZeroFrom(from int64) (bool, error) {
	isZero := true
	err := s.pieces(from, 0, func(_ int64, piece []byte) (bool, error) {
		isZero = len(bytes.Trim(piece, "\x00")) == 0
		return isZero, nil
	})
	return isZero, err
}

// pieces calls use for pieces of the file from an offset on, each overlapping
// the one before, until it returns false.
func (s *frameScanner) pieces(from int64, overlap int, use func(offset int64, piece []byte) (bool, error)) error {
	buffer := make([]byte, min(pieceBytes, max(0, s.size-from)))
	for offset := from; offset < s.size; {
		piece := buffer[:min(int64(len(buffer)), s.size-offset)]
		if _, err := s.file.ReadAt(piece, offset); err != nil {
			return err
		}
		goOn, err := use(offset, piece)
		if err != nil || !goOn {
			return err
		}
		if offset+int64(len(piece)) == s.size {
			return nil
		}
		offset += int64(len(piece) - overlap)
	}
	return nil
}

// apply does what a record tells.
func (r *recovery) apply(entry *record) error {
	if entry.kind.opens() {
		return r.applyOpened(entry)
	}
	e := r.store.entry(entry.id)
	if e == nil {
		return fmt.Errorf("a record of kind %d is for commitment %s, which was never opened", entry.kind, entry.id)
	}
	return e.replay(entry)
}

// applyOpened opens a commitment again. Its signatures were checked before it
// was recorded. One that is known was opened while a snapshot was written.
func (r *recovery) applyOpened(entry *record) error {
	if entry.resting.commitment != nil {
		r.store.shardOf(entry.commitment.ID).insertResting(entry.resting)
		return nil
	}
	fresh := entry.openedEntry()
	if known := r.store.insert(fresh); known != fresh {
		known.topUp(entry.reservation, entry.amount, entry.sequence, entry.redeemBy)
	}
	return nil
}

// openedEntry returns the commitment that r opened, as it was then.
func (r *record) openedEntry() *entry {
	o := opening{
		commitment: r.commitment, reservation: r.reservation,
		amount: r.amount, sequence: r.sequence, redeemBy: r.redeemBy,
	}
	if r.kind.opensOnCredit() {
		o.amount, o.credit.day = o.commitment.Limit, r.day
	}
	if r.kind.hasTerms() {
		return newOwnEntry(o)
	}
	return newEntry(o)
}

// replay does to an opened commitment what a record tells: what the step that
// wrote it did. Doing it twice changes nothing.
func (e *entry) replay(r *record) error {
	if r.kind == recordCharged || r.kind == recordAdvanced {
		if err := checkTail(e.commitment, r.chain, r.tail); err != nil {
			return err
		}
	}
	e.replayPass(r)
	switch r.kind {
	case recordToppedUp:
		e.topUp(r.reservation, r.amount, r.sequence, r.redeemBy)
	case recordCharged:
		e.replayCharge(r)
	case recordAdvanced:
		e.state.Advance(r.chain, r.tail)
	case recordGivenBack:
		e.state.Returned = max(e.state.Returned, r.total)
		if request := recentRequest(&e.state, r.request.Number); request != nil {
			request.Grants = r.request.Grants
		}
	case recordTruedUp:
		e.state.Returned = max(e.state.Returned, r.total)
		if request := recentRequest(&e.state, r.request.Number); request != nil {
			request.Price = min(request.Price, r.request.Price)
		}
	case recordFlowed:
		e.state.Charged = max(e.state.Charged, r.total)
	case recordClosed:
		e.state.Closed = true
	case recordAcknowledged:
		e.state.Claimed, e.final = max(e.state.Claimed, r.total), e.final || r.final
	case recordState:
		return e.replayState(r)
	default:
		return fmt.Errorf("a record of kind %d does not belong here", r.kind)
	}
	return nil
}

// replayCharge raises the state to what a charge left behind.
func (e *entry) replayCharge(r *record) {
	s, request := &e.state, r.request
	wasSeen := request.Number <= s.Highest
	after := payword.State{Charged: r.total, Highest: request.Number}
	after.Tails[r.chain] = r.tail
	after.Window[0] = 1
	s.Merge(&after)
	if request.Number+payword.WindowSize <= s.Highest {
		return
	}
	if wasSeen {
		if known := recentRequest(s, request.Number); known != nil {
			*known = request
			return
		}
	}
	isTooOld := func(old payword.Request) bool { return old.At+payword.RefundSeconds <= request.At }
	// As often as Charge forgets: where every other charge is replayed, Charge alone
	// might never come to a length at which it does.
	if count := len(s.Recent); count > 0 && count%forgetEvery == 0 && isTooOld(s.Recent[0]) {
		s.Recent = slices.DeleteFunc(s.Recent, isTooOld)
	}
	if len(s.Recent) >= maxRecentRequests {
		s.Recent = slices.DeleteFunc(s.Recent, func(old payword.Request) bool {
			return isTooOld(old) || old.Number+payword.WindowSize <= s.Highest
		})
	}
	s.Recent = append(s.Recent, request)
}

// replayState takes a state from a snapshot over. Cap and sequence came with
// the opening.
func (e *entry) replayState(r *record) error {
	if r.chains != len(e.commitment.Chains) {
		return fmt.Errorf("a state of commitment %s has %d tails, want %d", r.id, r.chains, len(e.commitment.Chains))
	}
	for k := range r.chains {
		if err := checkTail(e.commitment, uint8(k), r.state.Tails[k]); err != nil {
			return err
		}
	}
	r.state.Cap, r.state.Sequence = e.state.Cap, e.state.Sequence
	e.state, e.final = *r.state, r.final
	return nil
}
