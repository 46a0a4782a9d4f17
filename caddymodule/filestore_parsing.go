package caddymodule

import (
	"runtime"
	"slices"

	"github.com/paywordhq/payword"
)

// parallelFrameBytes is from which size on a frame is parsed beside others. Those
// of a snapshot are above it and those of a journal below, where the hand-over
// would take longer than the parsing.
const parallelFrameBytes = 16 << 10

// frameQueue parses frames on all processors, and hands their records to apply in
// order: nearly all of a start is reading commitments.
type frameQueue struct {
	scan    *frameScanner // its offset follows what was applied
	apply   func(*record) error
	waiting []*parsedFrame
	applied []*parsedFrame // whose memory is used again
}

// parsedFrame is a frame that is being parsed.
type parsedFrame struct {
	next    int64         // where the frame after it begins
	body    []byte        // its records, if it is parsed beside others
	done    chan struct{} // closed when the rest is set
	records []record
	err     error // what is wrong after records
}

// add takes a frame, and applies one that has waited if there are many.
func (q *frameQueue) add(body []byte, next int64) error {
	frame := &parsedFrame{}
	if count := len(q.applied); count > 0 {
		frame, q.applied = q.applied[count-1], q.applied[:count-1]
	}
	frame.next, frame.done = next, make(chan struct{})
	q.waiting = append(q.waiting, frame)
	if len(body) < parallelFrameBytes {
		frame.parse(body)
	} else {
		frame.body = append(frame.body[:0], body...)
		go frame.parse(frame.body)
	}
	if len(q.waiting) > 2*runtime.GOMAXPROCS(0) {
		return q.take()
	}
	return nil
}

// drain applies all that wait.
func (q *frameQueue) drain() error {
	for len(q.waiting) > 0 {
		if err := q.take(); err != nil {
			return err
		}
	}
	return nil
}

// take applies the first that waits. After an error none does.
func (q *frameQueue) take() error {
	frame := q.waiting[0]
	q.waiting = q.waiting[1:]
	<-frame.done
	err := error(nil)
	for k := 0; k < len(frame.records) && err == nil; k++ {
		err = q.apply(&frame.records[k])
	}
	if err == nil {
		err = frame.err
	}
	if err != nil {
		for _, other := range q.waiting {
			<-other.done
		}
		q.waiting = nil
		return err
	}
	q.scan.offset = frame.next
	clear(frame.records) // they would keep what they hold
	q.applied = append(q.applied, frame)
	return nil
}

// parse reads the records.
func (f *parsedFrame) parse(body []byte) {
	defer close(f.done)
	f.records = slices.Grow(f.records[:0], countRecords(body))
	f.err = eachRecord(body, f.add)
}

// add takes a record. The signatures of a commitment that it opens were checked
// before it was recorded; its token is parsed only if a former version wrote it.
func (f *parsedFrame) add(r *record) error {
	if r.kind.opens() && !r.kind.hasTerms() {
		commitment, err := payword.UnverifiedCommitment(r.token)
		if err != nil {
			return err
		}
		r.commitment = &commitment
	}
	if count := len(f.records); count > 0 && r.kind == recordState {
		if rests, err := f.records[count-1].restWith(r); rests || err != nil {
			return err
		}
	}
	f.records = append(f.records, *r)
	return nil
}

// restWith takes over what a snapshot says of the commitment that r opened, if it
// can rest with that, and reports whether it can.
func (r *record) restWith(state *record) (bool, error) {
	if !r.kind.hasTerms() || r.commitment.ID != state.id || len(state.state.Recent) > 0 {
		return false, nil
	}
	e := r.openedEntry()
	if err := e.replayState(state); err != nil {
		return false, err
	}
	r.resting = e.rest()
	return true, nil
}
