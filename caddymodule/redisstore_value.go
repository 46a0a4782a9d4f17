package caddymodule

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/paywordhq/payword"
)

// A commitment in Redis is a string: first all that was known at some time, then
// what each write since has changed, in the records of a journal without the id.
//
//	mark (1) | count (1) | tags of former versions (8 each) | records | 0 | tag
//	records | 0 | tag
//	…
//
// So a step appends some hundred bytes, and the last eight tell which version
// stands there. When the steps are longer than what they follow, all is written
// anew.
const (
	// valueMark begins every value. It is no kind of a record.
	valueMark = 0xf1

	// tagMark stands before a tag, where a record has its kind.
	tagMark = 0

	// tagBytes is the size of a version's tag. Tags are random, so that two
	// histories that went apart never look alike: of two tags that are ever
	// compared, one in 2^64 is the other by chance.
	tagBytes = 8

	// tagsKept is how many versions a commitment remembers at least. A node that
	// is not further behind can tell that what stands there comes of what it
	// saw, and whether a write whose answer was lost was done.
	tagsKept = 16

	// minStepsBytes is how long steps may be whatever they follow: some forty
	// charges, so that an average one costs little more than itself.
	minStepsBytes = 4096

	// maxValueBytes bounds what is read of one commitment. All that can be known
	// is some 150 KB long, and the steps behind it are not longer.
	maxValueBytes = 1 << 20
)

// standing is what stands in Redis of a commitment.
type standing struct {
	entry      *entry // nil: nothing
	tags       []byte // of its versions, the newest last, at most tagsKept
	wholeBytes int    // what was written at once
	stepsBytes int    // what was appended since
}

// newTag returns the tag of another version.
func newTag() (tag [tagBytes]byte) {
	binary.BigEndian.PutUint64(tag[:], rand.Uint64())
	return tag
}

// newestTag returns the last of tags, nothing of none.
func newestTag(tags []byte) []byte { return tags[max(0, len(tags)-tagBytes):] }

// hasTag reports whether a tag is among tags.
func hasTag(tags, tag []byte) bool {
	for from := 0; from+tagBytes <= len(tags); from += tagBytes {
		if string(tags[from:from+tagBytes]) == string(tag) {
			return true
		}
	}
	return false
}

// keepTags adds newer tags, and forgets the oldest.
func keepTags(tags, newer []byte) []byte {
	tags = append(tags, newer...)
	return append(tags[:0], tags[max(0, len(tags)-tagsKept*tagBytes):]...)
}

// appendTag ends a write.
func appendTag(buffer []byte, tag [tagBytes]byte) []byte {
	return append(append(buffer, tagMark), tag[:]...)
}

// appendStored writes a record without the id, which the key has.
func appendStored(buffer []byte, r *record) []byte {
	start := len(buffer)
	buffer = r.append(buffer)
	if r.kind.opens() {
		return buffer
	}
	size := buffer[start+1:]
	binary.BigEndian.PutUint32(size, binary.BigEndian.Uint32(size)-uint32(len(r.id)))
	return slices.Delete(buffer, start+recordHeadBytes, start+recordHeadBytes+len(r.id))
}

// appendWhole writes all that is known of a commitment, as the version that
// follows tags.
func appendWhole(buffer []byte, e *entry, tags []byte, tag [tagBytes]byte) []byte {
	former := tags[max(0, len(tags)-(tagsKept-1)*tagBytes):]
	buffer = slices.Grow(buffer, len(e.commitment.Token)+len(e.reservation)+len(e.state.Recent)*requestBytes+minStepsBytes)
	buffer = append(append(buffer, valueMark, byte(len(former)/tagBytes)), former...)
	opened := e.opened(e.commitment.Token)
	buffer = appendStored(buffer, &opened)
	state := record{kind: recordState, id: e.commitment.ID, state: &e.state, chains: len(e.commitment.Chains), final: e.final}
	return appendTag(appendStored(buffer, &state), tag)
}

// errDamaged means that what stands in Redis was not written by a gate of this
// version.
var errDamaged = errors.New("a commitment in Redis does not parse")

// readValue reads all that stands in Redis of a commitment. known is the
// commitment if it was read before, and nil otherwise. It returns all tags that
// stand there.
func readValue(id payword.CommitmentID, value []byte, known *payword.Commitment) (standing, error) {
	damaged := func(cause error) (standing, error) {
		return standing{}, fmt.Errorf("commitment %s: %w: %w", id, errDamaged, cause)
	}
	switch {
	case len(value) < 2 || len(value) > maxValueBytes:
		return damaged(fmt.Errorf("%d bytes; want 2 to %d", len(value), maxValueBytes))
	case value[0] != valueMark:
		return damaged(fmt.Errorf("it begins with %#x, want %#x: another version of the gate wrote it", value[0], byte(valueMark)))
	}
	head := 2 + tagBytes*int(value[1])
	if len(value) < head {
		return damaged(errors.New("it ends early"))
	}
	s := standing{tags: slices.Clone(value[2:head])}
	reader := valueReader{id: id, rest: value[head:]}
	opened, err := reader.next()
	if err == nil && !opened.kind.opens() {
		err = errors.New("it does not begin with its opening")
	}
	if err == nil {
		s.entry, err = openedEntry(id, &opened, known)
	}
	if err != nil {
		return damaged(err)
	}
	first := true
	err = reader.replay(s.entry, func(tag []byte) {
		s.tags = append(s.tags, tag...)
		if first {
			s.wholeBytes, first = len(value)-len(reader.rest), false
		}
	})
	if err != nil {
		return damaged(err)
	}
	s.stepsBytes = len(value) - s.wholeBytes
	return s, nil
}

// readSteps reads what was appended to a value since it was seen, and returns its
// tags. What is read twice changes nothing.
func (s *standing) readSteps(id payword.CommitmentID, steps []byte) (tags []byte, err error) {
	reader := valueReader{id: id, rest: steps}
	if err := reader.replay(s.entry, func(tag []byte) { tags = append(tags, tag...) }); err != nil {
		return nil, fmt.Errorf("commitment %s: %w: %w", id, errDamaged, err)
	}
	s.stepsBytes += len(steps)
	return tags, nil
}

// openedEntry returns a commitment as it was opened.
func openedEntry(id payword.CommitmentID, opened *record, known *payword.Commitment) (*entry, error) {
	if known == nil || known.Token != opened.token {
		parsed, err := payword.UnverifiedCommitment(opened.token)
		if err != nil {
			return nil, err
		}
		known = &parsed
	}
	if known.ID != id {
		return nil, errors.New("it is another one")
	}
	o := opening{
		commitment: known, reservation: opened.reservation,
		amount: opened.amount, sequence: opened.sequence, redeemBy: opened.redeemBy,
	}
	if opened.kind.opensOnCredit() {
		o.amount, o.credit.day = known.Limit, opened.day
	}
	return newEntry(o), nil
}

// valueReader reads records of one commitment, and the tags between them.
type valueReader struct {
	id      payword.CommitmentID
	rest    []byte
	payload []byte // memory
}

var errEndsEarly = errors.New("a record ends early")

// next reads a record.
func (v *valueReader) next() (record, error) {
	if len(v.rest) < recordHeadBytes {
		return record{}, errEndsEarly
	}
	kind, size := recordKind(v.rest[0]), binary.BigEndian.Uint32(v.rest[1:])
	if size > maxRecordBytes || int(size) > len(v.rest)-recordHeadBytes {
		return record{}, errEndsEarly
	}
	v.payload = v.payload[:0]
	if !kind.opens() {
		v.payload = append(v.payload, v.id[:]...)
	}
	v.payload = append(v.payload, v.rest[recordHeadBytes:recordHeadBytes+size]...)
	v.rest = v.rest[recordHeadBytes+size:]
	return parseRecord(kind, v.payload)
}

// replay does to e what the rest tells, which ends with a tag.
func (v *valueReader) replay(e *entry, tagged func(tag []byte)) error {
	isEnded := false
	for len(v.rest) > 0 {
		if isEnded = v.rest[0] == tagMark; isEnded {
			if len(v.rest) < 1+tagBytes {
				return errEndsEarly
			}
			tag := v.rest[1 : 1+tagBytes]
			v.rest = v.rest[1+tagBytes:]
			tagged(tag)
			continue
		}
		r, err := v.next()
		if err != nil {
			return err
		}
		if err := e.replay(&r); err != nil {
			return err
		}
	}
	if !isEnded {
		return errEndsEarly
	}
	return nil
}

// clone returns a copy that shares nothing that a step changes. spare is memory
// for its requests.
func (e *entry) clone(spare []payword.Request) *entry {
	copied := &entry{commitment: e.commitment, creditDay: e.creditDay, reservation: e.reservation, redeemBy: e.redeemBy, state: e.state, final: e.final}
	copied.state.Recent = append(spare[:0], e.state.Recent...)
	return copied
}

// merge raises e to everything that other knows as well, and reports whether
// that changed anything.
func (e *entry) merge(other *entry) bool {
	changed := false
	if other.state.Sequence > e.state.Sequence {
		e.reservation, changed = other.reservation, true
	}
	if other.redeemBy > e.redeemBy {
		e.redeemBy, changed = other.redeemBy, true
	}
	if other.final && !e.final {
		e.final, changed = true, true
	}
	return e.state.Merge(&other.state) || changed
}
