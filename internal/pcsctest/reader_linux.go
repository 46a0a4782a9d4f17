package pcsctest

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

const (
	friendlyName = "Virtual PCD"

	// pollTime is a little more than the 400 ms after which pcscd looks whether a
	// card is there. A card that is out for less may never have been out.
	pollTime = 450 * time.Millisecond
)

// Reader is a virtual card reader. It is for one goroutine.
type Reader struct {
	pair, slot int
	inserted   *insertion // the card that is in it, if any
	removed    time.Time  // when the last one was taken out
}

// pool is the pairs of readers that no test has.
var pool = func() chan [2]*Reader {
	free := make(chan [2]*Reader, pairs)
	for pair := range pairs {
		free <- [2]*Reader{{pair: pair, slot: 0}, {pair: pair, slot: 1}}
	}
	return free
}()

// New returns two empty readers that are this test's alone until it ends: one for
// the customer's card, one for the merchant's SAM. It waits while all are in use,
// and until pcscd has noticed that they are empty.
func New(t testing.TB) (customer, merchant *Reader) {
	t.Helper()
	pair := <-pool
	for _, reader := range pair {
		time.Sleep(time.Until(reader.removed.Add(pollTime)))
	}
	t.Cleanup(func() {
		for _, reader := range pair {
			reader.Remove()
		}
		pool <- pair
	})
	return pair[0], pair[1]
}

// Name returns the reader's name, as pcscd makes it.
func (r *Reader) Name() string {
	// pcscd puts two numbers behind: one for readers of the same name, and the slot.
	return fmt.Sprintf("%s %d 00 %02d", friendlyName, r.pair, r.slot)
}

// Insert puts a card into an empty reader. pcscd notices within 400 ms.
func (r *Reader) Insert(t testing.TB, card Card) {
	t.Helper()
	if r.inserted != nil && !r.inserted.isOver() {
		t.Fatalf("there is a card in %s already", r.Name())
	}
	i := &insertion{card: card, port: firstPort + 2*r.pair + r.slot, out: make(chan struct{}), contact: make(chan struct{}), over: make(chan struct{})}
	connected := make(chan error, 1)
	go i.run(connected)
	if err := <-connected; err != nil {
		t.Fatalf("inserting a card into %s: %v", r.Name(), err)
	}
	r.inserted = i
}

// Remove takes the card out, if one is in. When it returns the card is not used
// any more; pcscd notices within 400 ms.
func (r *Reader) Remove() {
	if r.inserted == nil {
		return
	}
	r.inserted.takeOut()
	<-r.inserted.over
	r.inserted, r.removed = nil, time.Now()
}

// Exchange takes the card out and puts another in, or the same again, so quickly
// that pcscd does not notice. It returns when the card has contact.
func (r *Reader) Exchange(t testing.TB, card Card) {
	t.Helper()
	r.Remove()
	r.Insert(t, card)
	select {
	case <-r.inserted.contact:
	case <-time.After(startTimeout):
		t.Fatalf("%s did not ask the card for anything within %s", r.Name(), startTimeout)
	}
}

// Replace takes the card out and puts another in, or the same again, so slowly
// that pcscd notices that the reader was empty.
func (r *Reader) Replace(t testing.TB, card Card) {
	t.Helper()
	r.Remove()
	time.Sleep(time.Until(r.removed.Add(pollTime)))
	r.Insert(t, card)
}

// insertion is a card from when it is put into a reader until it is taken out.
type insertion struct {
	card Card
	port int

	take, touch sync.Once
	out         chan struct{} // closed when it is to be taken out
	contact     chan struct{} // closed when pcscd has asked it for something
	over        chan struct{} // closed when the card is not used any more
}

func (i *insertion) takeOut() { i.take.Do(func() { close(i.out) }) }

func (i *insertion) isOver() bool {
	select {
	case <-i.over:
		return true
	default:
		return false
	}
}
