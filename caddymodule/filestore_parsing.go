package caddymodule

import (
	"bytes"
	"runtime"

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
}

// parsedFrame is a frame that is being parsed.
type parsedFrame struct {
	next    int64         // where the frame after it begins
	done    chan struct{} // closed when the rest is set
	records []record
	err     error // what is wrong after records
}

// add takes a frame, and applies one that has waited if there are many.
func (q *frameQueue) add(body []byte, next int64) error {
	frame := &parsedFrame{next: next, done: make(chan struct{})}
	q.waiting = append(q.waiting, frame)
	if len(body) < parallelFrameBytes {
		frame.parse(body)
	} else {
		go frame.parse(bytes.Clone(body))
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
	return nil
}

// parse reads the records, and the commitments that they open. Their signatures
// were checked before they were recorded.
func (f *parsedFrame) parse(body []byte) {
	defer close(f.done)
	f.records = make([]record, 0, countRecords(body))
	f.err = eachRecord(body, func(r *record) error {
		if r.kind.opens() {
			commitment, err := payword.UnverifiedCommitment(r.token)
			if err != nil {
				return err
			}
			r.commitment = &commitment
		}
		f.records = append(f.records, *r)
		return nil
	})
}
