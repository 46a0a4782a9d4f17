package terminal_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
	"github.com/paywordhq/payword/samgateway/terminal"
)

// deed is something that a card, which is loaded and has paid once, does.
type deed struct {
	name string
	card int // of the place
	do   func(p *place, card *device) error
	// change is what it changes of the balance.
	change int64
}

func payment8(amount uint32) func(p *place, card *device) error {
	return func(p *place, card *device) error {
		_, err := p.pay(card, purposeOf(amount))
		return err
	}
}

var deeds = []deed{
	{"load", 0, func(p *place, card *device) error { _, err := p.load(card, 16_00); return err }, 16_00},
	{"payment", 0, payment8(16), -16},
	{"online", 0, payment8(20), -20},
	{"funding", 0, payment8(17), -17},
	{"unload", 3, payment8(21), -21},
	{"cancel", 0, func(p *place, card *device) error { _, err := p.CancelLast(p.t.Context(), card); return err }, 8},
	{"script", 0, func(p *place, card *device) error {
		_, err := p.Meet(p.t.Context(), card)
		return err
	}, 0},
	{"turning in", 0, func(p *place, _ *device) error { _, err := p.TurnIn(p.t.Context()); return err }, 0},
}

// ready returns a place in which every deed can be done.
func ready(t testing.TB, seed uint64) *place {
	t.Helper()
	p := newPlace(t, rand.New(rand.NewPCG(seed, 0)), 500_00)
	for _, number := range []int{0, 3} {
		if _, err := p.load(p.cards[number], 50_00); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.pay(p.cards[0], purposeOf(8)); err != nil {
		t.Fatal(err)
	}
	key, err := p.office.keys.LoadKey(1, cardID(1))
	if err != nil {
		t.Fatal(err)
	}
	limits, err := purse.Scripts{Key: key, Card: cardID(1)}.Limits(1, cents, 150_00, 100_00)
	if err != nil {
		t.Fatal(err)
	}
	p.office.scripts[cardID(1)] = [][]byte{limits}
	return p
}

// isUndecided reports whether an error leaves it open what took place.
func isUndecided(err error) bool {
	return errors.Is(err, terminal.ErrUndecided) || errors.Is(err, terminal.ErrLoadUndecided)
}

// tried does a deed in which something goes wrong, mends it, and looks where the
// money is.
func tried(t *testing.T, d deed, wrong func(p *place)) {
	t.Helper()
	p := ready(t, 7)
	card := p.cards[d.card]
	had := card.data(t).Balance
	card.sent, p.sam.sent = 0, 0
	wrong(p)
	var err error
	isKilled := p.run(func() { err = d.do(p, card) })
	p.mend()
	changed := int64(card.data(t).Balance) - int64(had)
	switch {
	case isKilled || isUndecided(err):
		if changed != 0 && changed != d.change {
			t.Errorf("the balance changed by %d", changed)
		}
	case err == nil && changed != d.change:
		t.Errorf("it is said to be done, and the balance changed by %d", changed)
	case err != nil && changed != 0:
		t.Errorf("it is said not to be done (%v), and the balance changed by %d", err, changed)
	}
	p.settled()
	if d.name == "script" && p.office.done[cardID(1)] != 1 {
		t.Errorf("the script is done %d times", p.office.done[cardID(1)])
	}
}

// counted returns how many commands a deed sends to the card and to the SAM, how
// many writes of the journal are begun and ended, and what is asked of the office.
func counted(t *testing.T, d deed) (card, sam, writes int, asked []string) {
	t.Helper()
	p := ready(t, 7)
	p.cards[d.card].sent, p.sam.sent = 0, 0
	p.crash = func() { writes++ }
	p.office.fault = func(question string) fault {
		asked = append(asked, question)
		return none
	}
	if err := d.do(p, p.cards[d.card]); err != nil {
		t.Fatal(err)
	}
	return p.cards[d.card].sent, p.sam.sent, writes, asked
}

// at pulls a device out at one of its commands, and perhaps another with it.
func at(number int, how fault, with *device) func(d *device, command []byte) fault {
	return func(d *device, _ []byte) fault {
		if d.sent != number {
			return none
		}
		if with != nil {
			with.pull()
		}
		return how
	}
}

// A card, the SAM, or both are pulled out at every single command, before it
// comes to them, after they did it, and with an answer that is empty; and their
// memory fails at every one.
func TestTornAnywhere(t *testing.T) {
	for _, d := range deeds {
		t.Run(d.name, func(t *testing.T) {
			cards, sams, _, _ := counted(t, d)
			for how := before; how < faults; how++ {
				for n := 1; n <= cards; n++ {
					t.Run(fmt.Sprintf("card %d %d", n, how), func(t *testing.T) {
						tried(t, d, func(p *place) { p.cards[d.card].tear = at(n, how, nil) })
					})
				}
				for n := 1; n <= sams; n++ {
					t.Run(fmt.Sprintf("sam %d %d", n, how), func(t *testing.T) {
						tried(t, d, func(p *place) { p.sam.tear = at(n, how, nil) })
					})
				}
			}
		})
	}
}

// Both are pulled out at once, or one of them for a moment only.
func TestTornTogetherAnywhere(t *testing.T) {
	for _, d := range deeds {
		t.Run(d.name, func(t *testing.T) {
			cards, sams, _, _ := counted(t, d)
			for _, how := range []fault{before, after} {
				for n := 1; n <= cards; n++ {
					t.Run(fmt.Sprintf("both %d %d", n, how), func(t *testing.T) {
						tried(t, d, func(p *place) { p.cards[d.card].tear = at(n, how, p.sam) })
					})
					t.Run(fmt.Sprintf("card for a moment %d %d", n, how), func(t *testing.T) {
						tried(t, d, func(p *place) { p.cards[d.card].tear, p.cards[d.card].isLoose = at(n, how, nil), true })
					})
				}
				for n := 1; n <= sams; n++ {
					t.Run(fmt.Sprintf("sam for a moment %d %d", n, how), func(t *testing.T) {
						tried(t, d, func(p *place) { p.sam.tear, p.sam.isLoose = at(n, how, nil), true })
					})
				}
			}
		})
	}
}

// The process is killed before and after every write of the journal.
func TestKilledAnywhere(t *testing.T) {
	for _, d := range deeds {
		t.Run(d.name, func(t *testing.T) {
			_, _, writes, _ := counted(t, d)
			if writes == 0 {
				t.Fatal("nothing is written")
			}
			for n := 1; n <= writes; n++ {
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					tried(t, d, func(p *place) {
						count := 0
						p.crash = func() {
							if count++; count == n {
								panic(errCrash)
							}
						}
					})
				})
			}
		})
	}
}

// Every question to clearing and broker is lost, or its answer, once, or for
// hours.
func TestUnansweredAnywhere(t *testing.T) {
	for _, d := range deeds {
		t.Run(d.name, func(t *testing.T) {
			_, _, _, asked := counted(t, d)
			for n := range asked {
				for _, how := range []fault{before, after} {
					for _, isLong := range []bool{false, true} {
						t.Run(fmt.Sprintf("%s %d %v", asked[n], how, isLong), func(t *testing.T) {
							tried(t, d, func(p *place) {
								count := -1
								p.office.fault = func(string) fault {
									if count++; count == n || isLong && count > n {
										return how
									}
									return none
								}
							})
						})
					}
				}
			}
		})
	}
}

// The card that is there is another one: it decides nothing of the first one's.
func TestAnotherCardComesBack(t *testing.T) {
	p := ready(t, 1)
	first, other := p.cards[0], p.cards[1]
	if _, err := p.load(other, 20_00); err != nil {
		t.Fatal(err)
	}
	first.tear = func(_ *device, command []byte) fault {
		if command[1] == byte(purse.Debit) {
			return after
		}
		return none
	}
	if _, err := p.pay(first, purposeOf(16)); !errors.Is(err, terminal.ErrUndecided) {
		t.Fatalf("got %v", err)
	}
	if _, err := p.pay(other, purposeOf(24)); !errors.Is(err, terminal.ErrOccupied) {
		t.Errorf("another card pays while the first may come back: %v", err)
	}
	if err := p.Void(t.Context(), 7); err == nil {
		t.Error("a transaction is void that is not open")
	}
	// A card that says that it is the first one is not believed.
	liar := &liar{Card: other, as: cardID(1)}
	if _, err := p.Pay(t.Context(), liar, terminal.Payment{Amount: 24, Unit: cents}); !errors.Is(err, terminal.ErrOccupied) {
		t.Errorf("got %v", err)
	}
	if u, err := p.Undecided(t.Context()); err != nil || len(u) != 1 || u[0].State != terminal.Ordered || u[0].Card != cardID(1) {
		t.Errorf("got %+v (%v)", u, err)
	}
	p.clock.add(terminal.Patience)
	if _, err := p.pay(other, purposeOf(24)); err != nil {
		t.Errorf("after two minutes another card cannot pay: %v", err)
	}
	if u, err := p.Undecided(t.Context()); err != nil || len(u) != 1 || u[0].State != terminal.Unproved {
		t.Errorf("got %+v (%v)", u, err)
	}
	first.tear = nil
	first.insert()
	outcomes, err := p.Meet(t.Context(), first)
	if err != nil || len(outcomes) != 3 || outcomes[0].State != terminal.Unproved || outcomes[1].State != terminal.Claimed {
		t.Errorf("got %+v (%v)", outcomes, err)
	}
	p.settled()
	if p.office.cents[accountOf(cardID(1))] != 250_000_00-50_00+16 {
		t.Errorf("the first card's holder has %d cents", p.office.cents[accountOf(cardID(1))])
	}
}

// An answer that is not the card's own decides nothing, and the card's does
// afterwards.
func TestForgedRecovery(t *testing.T) {
	p := ready(t, 1)
	card := p.cards[0]
	card.tear = onlyAt(purse.Debit, after)
	if _, err := p.pay(card, purposeOf(16)); !errors.Is(err, terminal.ErrUndecided) {
		t.Fatalf("got %v", err)
	}
	card.insert()
	if _, err := p.Meet(t.Context(), &liar{Card: card, as: cardID(1), forges: true}); err != nil {
		t.Fatal(err)
	}
	p.wantStates(terminal.Ordered)
	card.insert()
	if _, err := p.Meet(t.Context(), card); err != nil {
		t.Fatal(err)
	}
	p.wantStates()
	p.settled()
}

// liar says of itself that it is another card.
type liar struct {
	smartcard.Card
	as     purse.ID
	forges bool // what it recovers
}

func (l *liar) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	answer, err := l.Card.Transmit(ctx, command)
	if command[1] == byte(purse.GetData) && len(answer) > 2 {
		copy(answer, l.as[:])
	}
	if l.forges && command[1] == byte(purse.Recover) && len(answer) > 3 {
		answer[len(answer)-3] ^= 1
	}
	return answer, err
}
