package terminal_test

import (
	"math/rand/v2"
	"testing"

	"github.com/paywordhq/payword/samgateway/terminal"
)

func TestWithoutFaults(t *testing.T) {
	p := newPlace(t, rand.New(rand.NewPCG(1, 2)), 500_00)
	for _, card := range p.cards {
		if r, err := p.load(card, 50_00); err != nil || !r.IsConfirmed || r.Balance != 50_00 {
			t.Fatalf("got %+v (%v)", r, err)
		}
	}
	for _, amount := range []uint32{9, 12, 8} {
		r, err := p.pay(p.cards[0], purposeOf(amount))
		if err != nil || r.Waiting != "" || r.Amount != amount || r.IsFunded != (amount == 9) || r.IsBooked != (amount != 8) {
			t.Fatalf("got %+v (%v)", r, err)
		}
	}
	if r, err := p.pay(p.cards[3], purposeOf(13)); err != nil || !r.IsCash {
		t.Fatalf("got %+v (%v)", r, err)
	}
	if r, err := p.CancelLast(t.Context(), p.cards[0]); err != nil || r.CancelledTNo != 3 {
		t.Fatalf("got %+v (%v)", r, err)
	}
	turned, err := p.TurnIn(t.Context())
	if want := (terminal.Turned{Merchant: merchantID(9), Batch: 1, First: 1, Last: 5, Payments: 5, Sum: 34}); err != nil || turned != want {
		t.Fatalf("got %+v (%v), want %+v", turned, err, want)
	}
	p.settled()
}
