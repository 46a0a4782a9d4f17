package terminal_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
	"github.com/paywordhq/payword/samgateway/terminal"
)

// world is two places of one office, to which the same cards come. Cards and SAMs
// are pulled out, processes are killed, clearing and broker are away or lose
// their answers: in most rounds, and while it is mended.
type world struct {
	t       testing.TB
	random  *rand.Rand
	office  *office
	cards   []*device
	places  []*place
	clock   *clock
	since   []int // payments of a card since it was met everywhere
	killed  int
	lost    int                 // questions to the office
	scripts map[purse.ID]uint32 // how many there were for a card
}

func newWorld(t *testing.T, random *rand.Rand) *world {
	w := &world{t: t, random: random, office: newOffice(t), clock: &clock{time.Unix(start, 0)}, scripts: make(map[purse.ID]uint32)}
	for number := 1; number <= 5; number++ {
		w.cards = append(w.cards, newCard(t, w.office, random, number, number > 3))
	}
	w.since = make([]int, len(w.cards))
	return w
}

// open opens two places.
func (w *world) open(host terminal.Host, accounts terminal.Accounts) {
	for number := 1; number <= 2; number++ {
		p := &place{t: w.t, office: w.office, host: host, accounts: accounts, cards: w.cards, number: number, clock: w.clock}
		p.equip(w.random, 300_00)
		w.places = append(w.places, p)
	}
}

// chance is true once in n times.
func (w *world) chance(n int) bool { return w.random.IntN(n) == 0 }

// arm has something go wrong soon, in most cases.
func (w *world) arm(p *place, card *device) {
	card.tear, p.sam.tear, p.crash, w.office.fault = nil, nil, nil, nil
	if w.chance(6) {
		return
	}
	switch n := w.random.IntN(10); {
	case n < 5:
		w.armDevice(card, 6, nil)
	case n < 7:
		w.armDevice(p.sam, 5, nil)
	case n < 8:
		w.armDevice(card, 6, p.sam)
	default:
		left := w.random.IntN(10)
		p.crash = func() {
			if left--; left < 0 {
				w.killed++
				panic(errCrash)
			}
		}
	}
	if w.chance(3) {
		most := 1 + w.random.IntN(4)
		w.office.fault = func(string) fault {
			if w.random.IntN(most) > 0 {
				return none
			}
			w.lost++
			return before + fault(w.random.IntN(2))
		}
	}
}

func (w *world) armDevice(d *device, within int, with *device) {
	d.sent, d.isLoose = 0, w.chance(3)
	d.tear = at(1+w.random.IntN(within), before+fault(w.random.IntN(int(faults-before))), with)
}

// insert puts card and SAM in, most times.
func (w *world) insert(p *place, card *device) {
	card.insert()
	if p.sam.isOut && !w.chance(4) {
		p.sam.insert()
	}
}

// round is what a customer does, and what the terminal does afterwards.
func (w *world) round() {
	p := w.places[w.random.IntN(len(w.places))]
	number := w.random.IntN(len(w.cards))
	card := w.cards[number]
	if w.since[number] >= 8 { // the log of a card is short
		w.since[number] = 0
		w.meetEverywhere(card)
	}
	w.insert(p, card)
	if w.chance(4) { // else the card is met without a fault
		w.arm(p, card)
	}
	w.isolated(p, func() {
		if _, err := p.Meet(w.t.Context(), card); err != nil && w.chance(3) {
			return // the customer does not put the card in again
		}
		w.insert(p, card)
		w.arm(p, card)
		w.since[number]++
		w.act(p, card)
	})
	for range w.random.IntN(3) {
		w.insert(p, card)
		w.arm(p, card)
		w.isolated(p, func() {
			if w.chance(2) {
				_, _ = p.Meet(w.t.Context(), card)
			}
			_, _ = p.Resolve(w.t.Context())
		})
	}
	w.clock.add(time.Duration(w.random.IntN(20)) * time.Second)
	if w.chance(20) {
		w.clock.add(terminal.Patience)
	}
}

// isolated does something in a process that may be killed.
func (w *world) isolated(p *place, work func()) {
	p.run(work)
	p.crash = nil
}

// meetEverywhere is a card that is well, at terminals that are well.
func (w *world) meetEverywhere(card *device) {
	for _, p := range w.places {
		w.office.fault, card.tear, p.sam.tear, p.crash = nil, nil, nil, nil
		p.sam.insert()
		card.insert()
		if _, err := p.Meet(w.t.Context(), card); err != nil {
			w.t.Fatalf("meeting a card that is well: %v", err)
		}
	}
}

// act has a card do something, and compares what is said of it with what is in
// its memory.
func (w *world) act(p *place, card *device) {
	before := card.data(w.t)
	var want int64
	var err error
	switch n := w.random.IntN(100); {
	case n < 22:
		amount := 1 + w.random.Uint32N(30_00)
		want = int64(amount)
		_, err = p.load(card, amount)
	case n < 85:
		amount := 1 + w.random.Uint32N(9_00)
		if purposeOf(amount).Cash && before.Holder != (purse.ID{}) {
			amount++
		}
		want = -int64(amount)
		_, err = p.pay(card, purposeOf(amount))
	case n < 93:
		var r terminal.Receipt
		r, err = p.CancelLast(w.t.Context(), card)
		want = int64(r.Amount)
		if isUndecided(err) {
			return
		}
	case n < 96:
		_, err = p.TurnIn(w.t.Context())
	case n < 98:
		w.voidOpen(p)
	default:
		w.script(before.Card)
	}
	changed := int64(card.data(w.t).Balance) - int64(before.Balance)
	switch {
	case isUndecided(err) && (changed == 0 || changed == want):
	case err == nil && changed == want:
	case err != nil && !isUndecided(err) && changed == 0:
	default:
		w.t.Fatalf("the balance changed by %d, where %d was wanted (%v)", changed, want, err)
	}
}

func (w *world) voidOpen(p *place) {
	undecided, err := p.Undecided(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, u := range undecided {
		if u.State == terminal.Ordered || u.State == terminal.Initiated {
			_ = p.Void(w.t.Context(), u.TNo)
		}
	}
}

// script has the issuer want something of a card: limits that change nothing.
func (w *world) script(card purse.ID) {
	if len(w.office.scripts[card]) > 3 {
		return
	}
	key, err := w.office.keys.LoadKey(1, card)
	if err != nil {
		w.t.Fatal(err)
	}
	w.scripts[card]++
	command, err := purse.Scripts{Key: key, Card: card}.Limits(w.scripts[card], cents, 200_00, 200_00)
	if err != nil {
		w.t.Fatal(err)
	}
	w.office.scripts[card] = append(w.office.scripts[card], command)
}

// turnedIn mends everything, turns in what there is, and fails if anything is left
// that can be decided.
func (w *world) turnedIn() {
	w.t.Helper()
	for range 2 {
		for _, p := range w.places {
			p.mend()
		}
		for _, p := range w.places {
			if _, err := p.TurnIn(w.t.Context()); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	for _, p := range w.places {
		p.mend()
		left, err := p.Undecided(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		for _, u := range left {
			// Of an unproved void whose card says that it did nothing, nobody here can
			// check that it was the card that said so: it is kept.
			if u.State != terminal.Unproved {
				w.t.Errorf("left at %d: %+v", p.number, u)
			}
		}
	}
}

// settled is turnedIn, and looks where every cent is.
func (w *world) settled() {
	w.t.Helper()
	w.turnedIn()
	w.office.wantAccounted(w.t, w.cards...)
	for card, count := range w.scripts {
		if w.office.done[card] != int(count) {
			w.t.Errorf("card %s: %d of %d scripts are done", card, w.office.done[card], count)
		}
	}
}

// allRounds is how many rounds there are in all. The race detector makes them ten
// times as slow, so that "make test" does the 20,000 without it.
var allRounds = flag.Int("rounds", 1_200, "how many rounds TestEveryCentAfterTears does")

// firstSeed is a seed that a test has printed; 0: the clock's.
var firstSeed = flag.Uint64("seed", 0, "the seed of the random tests, as one of them printed it")

func seedOf(t *testing.T, number int) uint64 {
	t.Helper()
	seed := *firstSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	seed += uint64(number)
	t.Logf("-seed %d", seed)
	return seed
}

// bookRounds is the same for TestBooksAfterTears.
var bookRounds = flag.Int("book-rounds", 150, "how many rounds TestBooksAfterTears does")

// After 20,000 rounds with a tear in most of them every cent is on a card, in an
// account, or in a named suspense account, and nowhere twice.
func TestEveryCentAfterTears(t *testing.T) {
	const worlds = 4
	rounds := *allRounds / worlds
	for number := range worlds {
		t.Run(fmt.Sprint(number), func(t *testing.T) {
			t.Parallel()
			seed := seedOf(t, number)
			w := newWorld(t, numbersOf(seed))
			w.open(w.office, w.office)
			for range rounds {
				w.round()
			}
			w.settled()
			torn := 0
			for _, d := range append(w.cards, w.places[0].sam, w.places[1].sam) {
				torn += d.torn
			}
			t.Logf("%d tears, %d processes killed, %d answers lost, %d payments, %d loads, %d batches",
				torn, w.killed, w.lost, len(w.office.payments), len(w.office.loads), len(w.office.batches))
			if torn < rounds/2 || w.killed < rounds/50 || len(w.office.payments) < rounds/10 || len(w.office.batches) < rounds/500 {
				t.Error("too little went wrong, or right, to prove anything")
			}
		})
	}
}

var _ smartcard.Card = (*device)(nil)
