package caddymodule

import (
	"testing"

	"github.com/paywordhq/payword"
)

// heldDisk syncs when it is let.
type heldDisk struct {
	nullDisk
	let chan struct{}
}

func (d heldDisk) create(string) (diskFile, error) { return heldFile{let: d.let}, nil }

type heldFile struct {
	nullFile
	let chan struct{}
}

func (f heldFile) Sync() error {
	<-f.let
	return nil
}

// What is recalled is what find says, and nothing that find would wait for.
func TestRecall(t *testing.T) {
	let := make(chan struct{}, 1000)
	for range 100 {
		let <- struct{}{} // for opening
	}
	s := openStore(t, "held", fileStoreOptions{disk: heldDisk{let: let}, compactBytes: 1 << 50})
	m := storeCommitment(t, 1, 1)
	var seen chainView
	if s.recall(m.ID, 0, &seen) {
		t.Error("a commitment was recalled that nobody opened")
	}
	opened, err := s.open(t.Context(), storeOpening(m, 1000, 1))
	if err != nil {
		t.Fatal(err)
	}
	if !s.recall(m.ID, 0, &seen) || seen != opened.of(0) {
		t.Errorf("recalled %+v, want what opening saw: %+v", seen, opened)
	}
	for len(let) > 0 {
		<-let
	}
	done := make(chan view)
	go func() {
		_, charged, err := s.charge(t.Context(), m.ID, payword.Charge{Tail: storeTail(1), Number: 1, Price: storeUnit, Now: storeStart})
		if err != nil {
			t.Error(err)
		}
		done <- charged
	}()
	for position := uint64(0); position < 2; { // the record of the charge
		s.journal.mutex.Lock()
		position = s.journal.appended
		s.journal.mutex.Unlock()
	}
	if s.recall(m.ID, 0, &seen) {
		t.Error("a charge was recalled that is not durable yet")
	}
	for range 100 {
		let <- struct{}{}
	}
	charged := <-done
	if !s.recall(m.ID, 0, &seen) || seen != charged.of(0) || seen.spent != storeUnit {
		t.Errorf("recalled %+v, want what the charge saw: %+v", seen, charged)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s.recall(m.ID, 0, &seen) {
		t.Error("a store that was closed recalls something")
	}
}
