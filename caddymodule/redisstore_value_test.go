package caddymodule

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/paywordhq/payword"
)

// storedValue returns a value with two writes behind the first.
func storedValue(tb testing.TB) (m *payword.Commitment, value []byte, ends []int) {
	tb.Helper()
	m = storeCommitment(tb, 1, 1)
	e := newEntry(storeOpening(m, 1000, 1))
	value = appendWhole(nil, e, nil, newTag())
	ends = append(ends, len(value))
	for number := range uint64(2) {
		var outcome payword.Outcome
		r, err := chargeStep(storeCharge(number+1), &outcome)(e)
		if err != nil {
			tb.Fatal(err)
		}
		r.id = m.ID
		value = appendTag(appendStored(value, &r), newTag())
		ends = append(ends, len(value))
	}
	return m, value, ends
}

// TestRedisValueCutOff reads a value up to every byte: it is good where a write
// ended, and damaged elsewhere.
func TestRedisValueCutOff(t *testing.T) {
	m, value, ends := storedValue(t)
	for size := range len(value) + 1 {
		stands, err := readValue(m.ID, value[:size], nil)
		isEnd := size == ends[0] || size == ends[1] || size == ends[2]
		switch {
		case !isEnd && !errors.Is(err, errDamaged):
			t.Fatalf("the first %d of %d bytes: got %v; want errDamaged", size, len(value), err)
		case isEnd && err != nil:
			t.Fatalf("the first %d of %d bytes: %v", size, len(value), err)
		case isEnd && (stands.wholeBytes != ends[0] || stands.stepsBytes != size-ends[0]):
			t.Errorf("the first %d bytes: %d and %d; want %d at once", size, stands.wholeBytes, stands.stepsBytes, ends[0])
		}
	}
}

// TestRedisValueSpoilt changes every byte of a value: whatever is read of it is
// this commitment, or an error.
func TestRedisValueSpoilt(t *testing.T) {
	m, value, _ := storedValue(t)
	for k := range value {
		for _, flip := range []byte{1, 0x80, 0xff} {
			spoilt := append([]byte(nil), value...)
			spoilt[k] ^= flip
			if stands, err := readValue(m.ID, spoilt, nil); err == nil && stands.entry.commitment.ID != m.ID {
				t.Fatalf("byte %d: it is another commitment", k)
			}
		}
	}
}

// TestRedisValueOfAnother refuses what is another's, or another version's.
func TestRedisValueOfAnother(t *testing.T) {
	m, value, _ := storedValue(t)
	other := storeCommitment(t, 2, 1)
	for name, each := range map[string]struct {
		id    payword.CommitmentID
		value []byte
		want  string
	}{
		"another commitment": {other.ID, value, "another one"},
		"another version":    {m.ID, append([]byte{valueMark + 1}, value[1:]...), "another version of the gate"},
		"too long":           {m.ID, make([]byte, maxValueBytes+1), "bytes; want"},
		"nothing":            {m.ID, nil, "0 bytes"},
	} {
		if _, err := readValue(each.id, each.value, nil); !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), each.want) {
			t.Errorf("%s: got %v; want errDamaged, and %q", name, err, each.want)
		}
	}
}

// TestRedisValueStaysShort makes many charges at two nodes by turns: all is written
// anew now and then, and a node that is behind reads what the other did.
func TestRedisValueStaysShort(t *testing.T) {
	server := startRedis(t)
	options := testRedisOptions(freshPrefix())
	nodes := []*redisStore{openNode(t, options, server.address), openNode(t, options, server.address)}
	c := &storeCase{T: t, store: nodes[0], m: storeCommitment(t, 1, 1)}
	c.open(1000, 1)
	longest, shorter, before := int64(0), 0, int64(0)
	for number := range uint64(300) {
		c.store = nodes[number%2]
		c.charge(storeCharge(number+1), payword.Accepted, false)
		length := server.do(t, "STRLEN", nodes[0].keyOf(c.m.ID)).(int64)
		if length < before {
			shorter++
		}
		longest, before = max(longest, length), length
	}
	c.spent(300 * storeUnit)
	if longest > 64<<10 || shorter < 2 {
		t.Errorf("it grew to %d bytes and was written anew %d times", longest, shorter)
	}
}

// TestRedisOfAnotherForm refuses to run beside gates that write in another form.
func TestRedisOfAnotherForm(t *testing.T) {
	server := startRedis(t)
	directory := t.TempDir()
	keys, err := loadSecrets(directory)
	if err != nil {
		t.Fatal(err)
	}
	challenges, err := openChallengeSecrets(directory)
	if err != nil {
		t.Fatal(err)
	}
	server.do(t, "SET", "old:secrets", fingerprint(keys.vendor, challenges.known.Load().making))
	check := secretsCheck{directory: directory, vendor: keys.vendor}
	if err := check.compare(t.Context(), server.client, "old:"); !errors.Is(err, errOtherForm) || !strings.Contains(err.Error(), "old:secrets") {
		t.Errorf("got %v; want errOtherForm, and what to do", err)
	}
	server.do(t, "DEL", "old:secrets")
	if err := check.compare(t.Context(), server.client, "old:"); err != nil {
		t.Errorf("after the key was deleted: %v", err)
	}
}

// TestRedisFindsFormerKeys names what a former version left, and claims the rest.
func TestRedisFindsFormerKeys(t *testing.T) {
	server := startRedis(t)
	core, logged := observer.New(zap.ErrorLevel)
	options := testRedisOptions(freshPrefix())
	options.logger = zap.New(core)
	node := openNode(t, options, server.address)
	former := storeCommitment(t, 2, 1)
	server.do(t, "HSET", fmt.Sprintf("%s{%s}", options.prefix, former.ID), "v", "12345678", "t", former.Token)
	c := &storeCase{T: t, store: node, m: storeCommitment(t, 1, 1)}
	c.open(1000, 1)
	c.charge(storeCharge(1), payword.Accepted, false)
	c.wantClaim(storeStart, 0, storeUnit, false)
	if logged.FilterMessageSnippet("earlier version").Len() == 0 {
		t.Errorf("the log does not name the former key: %v", logged.All())
	}
}
