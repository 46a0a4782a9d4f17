package terminal_test

import (
	"context"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/terminal"
)

// silent is a card that stops answering at a command, until it is let go.
type silent struct {
	*device
	at    purse.Instruction
	asked chan struct{}
	let   chan struct{}
}

// Transmit implements smartcard.Card.
func (s silent) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	if purse.Instruction(command[1]) != s.at {
		return s.device.Transmit(ctx, command)
	}
	s.asked <- struct{}{}
	<-s.let
	return nil, errTorn
}

// A card that is silent before it has done anything holds up nobody else.
func TestSilentCardsKeepNobodyFromTheSAM(t *testing.T) {
	for _, at := range []purse.Instruction{purse.Select, purse.GetData} {
		for name, come := range map[string]func(p *place, s silent) error{
			"Pay": func(p *place, s silent) error {
				_, err := p.Pay(t.Context(), s, terminal.Payment{Amount: 1_00, Unit: cents})
				return err
			},
			"Meet": func(p *place, s silent) error { _, err := p.Meet(t.Context(), s); return err },
		} {
			p := ready(t, 1)
			s := silent{device: p.cards[1], at: at, asked: make(chan struct{}, 1), let: make(chan struct{})}
			ended := make(chan error, 1)
			go func() { ended <- come(p, s) }()
			<-s.asked
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if _, err := p.Pay(ctx, p.cards[0], terminal.Payment{Amount: 1_00, Unit: cents}); err != nil {
				t.Errorf("%s, silent at %02X: another card could not pay: %v", name, at, err)
			}
			cancel()
			close(s.let)
			if err := <-ended; err == nil {
				t.Errorf("%s, silent at %02X: it is no error", name, at)
			}
		}
	}
}
