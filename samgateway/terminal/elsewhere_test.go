package terminal_test

import (
	"context"
	"errors"
	"testing"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/terminal"
)

// A load that was torn at one terminal is settled at another one, where the card is
// loaded next; the first one hears of it without an alarm. Clearing is a real one.
func TestLoadTornElsewhere(t *testing.T) {
	w := newWorld(t, numbersOf(1))
	b := newBooks(t, w)
	w.open(b.host, b)
	first, second := w.places[0], w.places[1]
	for number, c := range []struct {
		name string
		how  fault
		want uint32 // on the card, after both loads
	}{
		{"it did not take the load", before, 20_00},
		{"it took the load", after, 30_00},
	} {
		t.Run(c.name, func(t *testing.T) {
			card := w.cards[number]
			card.tear = onlyAt(purse.Credit, c.how)
			if _, err := first.load(card, 10_00); !errors.Is(err, terminal.ErrLoadUndecided) {
				t.Fatalf("got %v", err)
			}
			card.tear = nil
			card.insert()
			if r, err := second.load(card, 20_00); err != nil || r.Amount != 20_00 || r.Balance != c.want || !r.IsConfirmed {
				t.Errorf("at the second terminal: got %+v (%v), want %d on the card", r, err, c.want)
			}
			second.wantStates()
			card.insert()
			outcomes, err := first.Meet(t.Context(), card)
			if err != nil || len(outcomes) != 1 || outcomes[0].State != terminal.Settled {
				t.Errorf("at the first terminal again: got %+v (%v)", outcomes, err)
			}
			first.wantStates()
		})
	}
	b.wantSound(w)
}

// spoiler is clearing of which somebody else asks for a challenge in between, so
// often as spoils says.
type spoiler struct {
	*office
	spoils int
}

func (s *spoiler) ResolveLoad(ctx context.Context, reference purse.ID, status []byte) (bool, error) {
	if s.spoils > 0 {
		s.spoils--
		if _, err := s.ChallengeLoad(ctx, reference); err != nil {
			return false, err
		}
	}
	return s.office.ResolveLoad(ctx, reference, status)
}

// Others may ask about the load, too; whoever does so without end stops it, and no
// more. What was begun here is over, so that the card can come again.
func TestLoadTornElsewhereIsDisputed(t *testing.T) {
	p := ready(t, 1)
	other := &place{t: t, office: p.office, accounts: p.office, cards: p.cards, number: 8, clock: p.clock}
	clearing := &spoiler{office: p.office}
	other.host = clearing
	other.equip(numbersOf(2), 500_00)
	card := p.cards[1]
	tornAt := func(p *place) {
		t.Helper()
		card.tear = onlyAt(purse.Credit, before)
		if _, err := p.load(card, 10_00); !errors.Is(err, terminal.ErrLoadUndecided) {
			t.Fatalf("got %v", err)
		}
		card.tear = nil
		card.insert()
	}
	tornAt(p)
	clearing.spoils = 100
	if _, err := other.load(card, 10_00); refusalOf(err) != "load-open" {
		t.Errorf("got %v", err)
	}
	other.wantStates()
	clearing.spoils = 2
	if r, err := other.load(card, 10_00); err != nil || r.Balance != 10_00 {
		t.Errorf("got %+v (%v)", r, err)
	}
	tornAt(p)
	card.tear = onlyAt(purse.LoadStatus, after)
	if _, err := other.load(card, 10_00); !errors.Is(err, errTorn) || isUndecided(err) {
		t.Errorf("got %v", err)
	}
	card.insert()
	if r, err := other.load(card, 10_00); err != nil || r.Balance != 20_00 {
		t.Errorf("got %+v (%v)", r, err)
	}
	p.settled()
	other.settled()
}

// A receipt that is lost while the card stays in the reader is no reason not to say
// what is on the card.
func TestBalanceByLoadStatus(t *testing.T) {
	p := ready(t, 1)
	card := p.cards[0]
	card.isLoose = true
	card.tear = onlyAt(purse.Credit, after)
	r, err := p.load(card, 10_00)
	if want := card.data(t).Balance; err != nil || !r.IsConfirmed || r.Balance != want {
		t.Errorf("got %+v (%v), want %d on the card", r, err, want)
	}
	p.settled()
}
