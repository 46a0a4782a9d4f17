package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/paywordhq/payword"
)

// The fields of a commitment in Redis. A request has a field of its own, so
// that a step writes only what it changed.
const (
	fieldVersions    = "v" // the tags of the newest versions, the newest last
	fieldToken       = "t" // the commitment's token
	fieldReservation = "r" // payload of a recordToppedUp
	fieldCreditDay   = "d" // 8 bytes, the day on which it was opened, if unreserved
	fieldState       = "s" // payload of a recordState, without its requests
	fieldRequest     = "q" // and 8 bytes, the number: a request as in a recordState
)

const (
	// tagBytes is the size of a version's tag. Tags are random, so that two
	// histories that went apart never look alike: of two tags that are ever
	// compared, one in 2^64 is the other by chance.
	tagBytes = 8

	// tagsKept is how many versions a commitment remembers. A node that is not
	// further behind can tell that what stands there comes of what it saw, and
	// whether a write whose answer was lost was done.
	tagsKept = 16

	// maxRequestFields bounds the requests that are read of one commitment:
	// twice of what payword.State keeps.
	maxRequestFields = 8 * payword.WindowSize
)

// nextVersions returns versions with a new tag behind.
func nextVersions(versions string) string {
	tag := appendUint64(nil, rand.Uint64())
	versions += string(tag)
	return versions[max(0, len(versions)-tagsKept*tagBytes):]
}

// newestTag returns the last tag of versions, "" of none.
func newestTag(versions string) string { return versions[max(0, len(versions)-tagBytes):] }

// hasTag reports whether a tag is among versions.
func hasTag(versions, tag string) bool {
	for from := 0; from+tagBytes <= len(versions); from += tagBytes {
		if versions[from:from+tagBytes] == tag {
			return true
		}
	}
	return false
}

// payload returns what r is without its head.
func (r *record) payload() []byte { return r.append(nil)[recordHeadBytes:] }

func (e *entry) reservationField() []byte {
	r := record{
		kind: recordToppedUp, id: e.commitment.ID, reservation: e.reservation,
		amount: e.state.Cap, sequence: e.state.Sequence, redeemBy: e.redeemBy,
	}
	return r.payload()
}

func (e *entry) stateField() []byte {
	state := e.state
	state.Recent = nil
	r := record{kind: recordState, id: e.commitment.ID, state: &state, chains: len(e.commitment.Chains), final: e.final}
	return r.payload()
}

func requestField(number uint64) string { return string(appendUint64([]byte(fieldRequest), number)) }

// fieldChanges are what has to be written so that one state of a commitment
// becomes another.
type fieldChanges struct {
	sets    []any // pairs of field and value
	deletes []any // fields
}

// arguments returns what the script takes of the changes.
func (c *fieldChanges) arguments() []any {
	return slices.Concat([]any{len(c.sets) / 2}, c.sets, c.deletes)
}

func (c *fieldChanges) setRequest(request *payword.Request) {
	c.sets = append(c.sets, requestField(request.Number), appendRequest(nil, request))
}

// changesBetween returns what turns before, nil if nothing stands there, into
// after. touched are the numbers of the requests that steps have changed; nil
// says that any may have.
func changesBetween(before, after *entry, touched []uint64) fieldChanges {
	changes := fieldChanges{sets: []any{fieldState, after.stateField()}}
	if before == nil {
		changes.sets = append(changes.sets, fieldToken, after.commitment.Token, fieldReservation, after.reservationField(),
			fieldCreditDay, appendUint64(nil, uint64(after.creditDay)))
		for k := range after.state.Recent {
			changes.setRequest(&after.state.Recent[k])
		}
		return changes
	}
	if before.reservation != after.reservation || before.redeemBy != after.redeemBy ||
		before.state.Cap != after.state.Cap || before.state.Sequence != after.state.Sequence {
		changes.sets = append(changes.sets, fieldReservation, after.reservationField())
	}
	if touched == nil || wasSwept(before.state.Recent, after.state.Recent, touched) {
		changes.compareRequests(before.state.Recent, after.state.Recent)
		return changes
	}
	for _, number := range touched {
		if request := recentRequest(&after.state, number); request != nil {
			changes.setRequest(request)
		}
	}
	return changes
}

// wasSwept reports whether requests may have been forgotten between before and
// after. What is forgotten are the oldest, or so many that less are left.
func wasSwept(before, after []payword.Request, touched []uint64) bool {
	if len(before) == 0 {
		return false
	}
	if len(after) < len(before) || after[0].Number != before[0].Number {
		return true
	}
	added := 0
	for _, request := range after[max(0, len(after)-len(touched)):] {
		if slices.Contains(touched, request.Number) {
			added++
		}
	}
	// Some of those that were touched may have been there before: then it is
	// looked at once in vain.
	return len(after)-len(before) != added
}

// compareRequests adds whatever is different.
func (c *fieldChanges) compareRequests(before, after []payword.Request) {
	old := make(map[uint64]*payword.Request, len(before))
	for k := range before {
		old[before[k].Number] = &before[k]
	}
	for k := range after {
		if was := old[after[k].Number]; was == nil || *was != after[k] {
			c.setRequest(&after[k])
		}
		delete(old, after[k].Number)
	}
	for number := range old {
		c.deletes = append(c.deletes, requestField(number))
	}
}

// errDamaged means that what stands in Redis was not written by a gate.
var errDamaged = errors.New("a commitment in Redis does not parse")

// parseFields reads a commitment from its fields, which stand in pairs of field
// and value. known is the commitment if it was read before, and nil otherwise.
func parseFields(id payword.CommitmentID, fields []any, known *payword.Commitment) (*entry, string, error) {
	var versions, token string
	var reservation, state record
	var requests []payword.Request
	var creditDay int64
	for k := 0; k+1 < len(fields); k += 2 {
		field, _ := fields[k].(string)
		value, _ := fields[k+1].(string)
		var err error
		switch {
		case field == fieldVersions:
			versions = value
		case field == fieldToken:
			token = value
		case field == fieldReservation:
			reservation, err = parseRecord(recordToppedUp, []byte(value))
		case field == fieldCreditDay:
			p := parser{rest: []byte(value)}
			creditDay = int64(p.uint64())
		case field == fieldState:
			state, err = parseRecord(recordState, []byte(value))
		case strings.HasPrefix(field, fieldRequest):
			p := parser{rest: []byte(value)}
			requests = append(requests, p.request())
			if p.failed || len(p.rest) > 0 || len(requests) > maxRequestFields {
				err = errDamaged
			}
		}
		if err != nil {
			return nil, "", fmt.Errorf("commitment %s in Redis: field %.1q: %w", id, field, err)
		}
	}
	if versions == "" || token == "" || state.state == nil || reservation.id != id || state.id != id {
		return nil, "", fmt.Errorf("commitment %s: %w: a field is missing", id, errDamaged)
	}
	e, err := entryOf(id, token, known, &reservation, creditDay)
	if err != nil {
		return nil, "", err
	}
	if err := e.replayState(&state); err != nil {
		return nil, "", err
	}
	slices.SortFunc(requests, func(a, b payword.Request) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Number, b.Number))
	})
	e.state.Recent = requests
	return e, versions, nil
}

// entryOf returns an entry with what its opening says. An unreserved one has
// reservation 0.
func entryOf(id payword.CommitmentID, token string, known *payword.Commitment, reservation *record, creditDay int64) (*entry, error) {
	if known == nil || known.Token != token {
		parsed, err := payword.UnverifiedCommitment(token)
		if err != nil {
			return nil, fmt.Errorf("commitment %s in Redis: %w", id, err)
		}
		known = &parsed
	}
	if known.ID != id {
		return nil, fmt.Errorf("commitment %s: %w: it is another one", id, errDamaged)
	}
	return newEntry(opening{
		commitment: known, reservation: reservation.reservation,
		amount: reservation.amount, sequence: reservation.sequence, redeemBy: reservation.redeemBy,
		credit: creditTerms{day: creditDay},
	}), nil
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
