package caddymodule

import (
	"encoding/binary"
	"testing"

	"github.com/paywordhq/payword"
)

// somePages returns the keys of pages that differ.
func somePages(count int) []rereadKey {
	pages := make([]rereadKey, count)
	var text [8]byte
	for k := range pages {
		binary.BigEndian.PutUint64(text[:], uint64(k))
		pages[k].page = payword.NewFingerprint("GET", string(text[:]), "", "")
		pages[k].commitment[0] = byte(k % 7)
	}
	return pages
}

// TestRereadsOfAFullTable fills the table with pages of which every other expires
// early. What was bought must be found, also past a sweep: who bought it would pay
// twice otherwise.
func TestRereadsOfAFullTable(t *testing.T) {
	const early, late = 100, 1000
	r, pages := newRereads(), somePages(2*maxRereads+1)
	for number := range maxRereads {
		page := bought{chosen: representation(varied, nil), expires: early, left: 2, number: 1}
		if number%2 == 0 {
			page.expires = late
		}
		r.remember(&pages[number], &page, varied, 0)
	}
	for number := range maxRereads {
		if !r.take(&pages[number], 2, nil, early-1) {
			t.Fatalf("page %d was bought and is not found", number)
		}
	}
	inVain := 0
	for number := range maxRereads {
		key := &pages[maxRereads+number]
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
	r.remember(&pages[2*maxRereads], &bought{chosen: representation(varied, nil), expires: late, left: 2, number: 1}, varied, early)
	if len(r.bought) != maxRereads/2+1 {
		t.Errorf("%d pages are left by the sweep, want %d", len(r.bought), maxRereads/2+1)
	}
	for number := range maxRereads {
		if free := r.take(&pages[number], 3, nil, early); free != (number%2 == 0) {
			t.Fatalf("after the sweep page %d is free: %t", number, free)
		}
	}
	if !r.take(&pages[2*maxRereads], 3, nil, early) {
		t.Error("the page that was bought with the sweep is not found")
	}
}
