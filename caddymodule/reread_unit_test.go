package caddymodule

import (
	"encoding/binary"
	"testing"

	"github.com/paywordhq/payword"
)

// pageOf returns the key of the page of a number.
func pageOf(number uint64) *rereadKey {
	var text [8]byte
	binary.BigEndian.PutUint64(text[:], number)
	key := &rereadKey{page: payword.NewFingerprint("GET", string(text[:]), "", "")}
	key.commitment[0] = byte(number % 7)
	return key
}

// TestRereadsOfAFullTable fills the table with pages of which every other expires
// early. What was bought must be found, also past a sweep: who bought it would pay
// twice otherwise.
func TestRereadsOfAFullTable(t *testing.T) {
	const early, late = 100, 1000
	r := newRereads()
	for number := range uint64(maxRereads) {
		page := bought{chosen: representation(varied, nil), expires: early, left: 2, number: 1}
		if number%2 == 0 {
			page.expires = late
		}
		r.remember(pageOf(number), &page, varied, 0)
	}
	for number := range uint64(maxRereads) {
		if !r.take(pageOf(number), 2, nil, early-1) {
			t.Fatalf("page %d was bought and is not found", number)
		}
	}
	inVain := 0
	for number := range uint64(maxRereads) {
		key := pageOf(maxRereads + number)
		if r.maybe.Load().has(key) {
			inVain++
		}
		if r.take(key, 2, nil, early-1) {
			t.Fatalf("page %d was not bought and is free", maxRereads+number)
		}
	}
	if inVain > maxRereads/10 {
		t.Errorf("%d of %d pages that were not bought are looked for in the table, want a tenth at most", inVain, maxRereads)
	}
	r.remember(pageOf(2*maxRereads), &bought{chosen: representation(varied, nil), expires: late, left: 2, number: 1}, varied, early)
	if len(r.bought) != maxRereads/2+1 {
		t.Errorf("%d pages are left by the sweep, want %d", len(r.bought), maxRereads/2+1)
	}
	for number := range uint64(maxRereads) {
		if free := r.take(pageOf(number), 3, nil, early); free != (number%2 == 0) {
			t.Fatalf("after the sweep page %d is free: %t", number, free)
		}
	}
	if !r.take(pageOf(2*maxRereads), 3, nil, early) {
		t.Error("the page that was bought with the sweep is not found")
	}
}
