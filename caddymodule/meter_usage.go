package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/paywordhq/payword/money"
)

const (
	// maxHeldBytes is how much of a JSON answer is held until its usage is
	// known: more than any answer of a language model, and little enough to hold
	// for a thousand clients. What is longer counts as unreadable.
	maxHeldBytes = 4 << 20

	// maxUsageEventBytes bounds the data of one event that is searched for usage;
	// it stands in short ones.
	maxUsageEventBytes = 256 << 10

	// maxCount is the most units that are taken from an answer; with maxWeight
	// and maxSources the sums stay below 2^63.
	maxCount = 1_000_000_000_000
)

// errUnreadable means that an answer does not tell its cost, or not in a way
// that can be read.
var errUnreadable = errors.New("the cost of the answer cannot be read")

// usage collects what an answer says of its cost.
type usage struct {
	sources []MeterSource
	counts  []int64 // by source; -1: not seen
}

func newUsage(m *Meter) *usage {
	u := &usage{sources: m.From, counts: make([]int64, len(m.From))}
	for k := range u.counts {
		u.counts[k] = -1
	}
	return u
}

// total returns how many units were counted in all. All sources must have been
// seen: half of a bill is none.
func (u *usage) total() (int64, error) {
	total := int64(0)
	for k, count := range u.counts {
		if count < 0 {
			return 0, errUnreadable
		}
		total += count * u.sources[k].Weight
	}
	return total, nil
}

// readHeaders takes the counts of the sources that are headers.
func (u *usage) readHeaders(header http.Header) {
	for k, source := range u.sources {
		if values := header.Values(source.Header); source.Header != "" && len(values) == 1 {
			if count, err := strconv.ParseInt(strings.TrimSpace(values[0]), 10, 64); err == nil && count >= 0 && count <= maxCount {
				u.counts[k] = count
			}
		}
	}
}

// readDocument takes the counts that a JSON document has. Those that it does not
// have keep their value.
func (u *usage) readDocument(document []byte) {
	var root any
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	if decoder.Decode(&root) != nil {
		return
	}
	for k, source := range u.sources {
		for _, path := range source.paths {
			if count, found := countAt(root, path); found {
				u.counts[k] = count
			}
		}
	}
}

// countAt returns the number that stands under a path of a JSON document.
func countAt(node any, path []string) (int64, bool) {
	for _, name := range path {
		object, isObject := node.(map[string]any)
		if !isObject {
			return 0, false
		}
		node = object[name]
	}
	number, isNumber := node.(json.Number)
	if !isNumber {
		return 0, false
	}
	count, err := number.Int64()
	return count, err == nil && count >= 0 && count <= maxCount
}

// readEvent takes the counts that the data of an event has.
func (u *usage) readEvent(event []byte) {
	if len(event) > maxUsageEventBytes {
		return
	}
	if data := eventData(event); bytes.HasPrefix(data, []byte("{")) {
		u.readDocument(data)
	}
}

// amountIn reads a cost from a header of the answer.
func amountIn(header http.Header, name string) (money.Amount, error) {
	values := header.Values(name)
	if len(values) != 1 {
		return 0, fmt.Errorf("%w: %d headers %s", errUnreadable, len(values), name)
	}
	amount, err := money.ParseDecimal(strings.TrimSpace(values[0]))
	if err != nil {
		return 0, fmt.Errorf("%w: header %s: not an amount", errUnreadable, name)
	}
	return amount, nil
}

// contentType returns the media type of an answer, in lower case and without
// parameters.
func contentType(header http.Header) string {
	kind, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return kind
}

func isJSON(kind string) bool {
	return kind == "application/json" || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")
}

// isEncoded reports whether the content is compressed.
func isEncoded(header http.Header) bool {
	encoding := header.Get("Content-Encoding")
	return encoding != "" && !strings.EqualFold(encoding, "identity")
}
