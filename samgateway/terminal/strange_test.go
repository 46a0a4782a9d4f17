package terminal_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/paywordhq/payword/samgateway/smartcard"
	"github.com/paywordhq/payword/samgateway/terminal"
)

// strange is a card that changes what a real one answers.
type strange struct {
	smartcard.Card
	at     int    // the answer that is changed
	change []byte // added to it, byte by byte; longer ones make it longer
	cut    int    // how many of its bytes are left out
}

func (s *strange) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	answer, err := s.Card.Transmit(ctx, command)
	if s.at--; s.at != 0 || err != nil {
		return answer, err
	}
	answer = bytes.Clone(answer)
	for i, b := range s.change {
		if i < len(answer) {
			answer[i] ^= b
		} else {
			answer = append(answer, b)
		}
	}
	return answer[:max(0, len(answer)-s.cut)], nil
}

// Whatever a card answers, no cent is made or lost by it, and the SAM goes on.
func FuzzStrangeCard(f *testing.F) {
	for at := range byte(8) {
		f.Add(at, byte(0), []byte{1})
		f.Add(at, byte(1), []byte{})
		f.Add(at, byte(90), []byte{})
		f.Add(at, byte(0), bytes.Repeat([]byte{0xFF}, 100))
	}
	f.Fuzz(func(t *testing.T, at, cut byte, change []byte) {
		p := ready(t, 1)
		card := p.cards[0]
		odd := &strange{Card: card, at: int(at%8) + 1, cut: int(cut), change: change}
		_, _ = p.Pay(t.Context(), odd, terminal.Payment{Amount: 16, Unit: cents})
		odd.at = int(at%8) + 1
		_, _ = p.Meet(t.Context(), odd)
		odd.at = int(at%8) + 1
		card.insert()
		_, _ = p.CancelLast(t.Context(), odd)
		odd.at = int(at%8) + 1
		card.insert()
		_ = smartcard.Purse{Card: card}.Select(t.Context())
		_ = smartcard.Purse{Card: card}.Verify(t.Context(), []byte(testPIN))
		_, _ = p.Load(t.Context(), odd, 5_00)
		p.clock.add(terminal.Patience)
		if _, err := p.pay(p.cards[3], purposeOf(8)); err != nil {
			t.Errorf("after a strange card no other can pay: %v", err)
		}
		p.settled()
	})
}
