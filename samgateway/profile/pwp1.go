package profile

import (
	"context"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// PWP1 is the profile of internal/purse: cards that pay and are loaded here.
type PWP1 struct{}

// Name is the protocol's.
func (PWP1) Name() string { return "PWP1" }

// AID is that of its purse.
func (PWP1) AID() string { return purse.CardAID }

// Read asks for the card's data and its state.
func (PWP1) Read(ctx context.Context, card smartcard.Card) (Summary, error) {
	asked := smartcard.Purse{Card: card}
	data, err := asked.Data(ctx)
	if err != nil {
		return Summary{}, err
	}
	if err := data.Unit.Check(); err != nil {
		return Summary{}, err
	}
	state, err := asked.State(ctx)
	if err != nil {
		return Summary{}, err
	}
	s := Summary{
		Number: data.Card.String(), Currency: data.Unit.Currency.Money(), Balance: data.Unit.Amount(data.Balance),
		MaxBalance: data.Unit.Amount(data.MaxBalance), MaxPayment: data.Unit.Amount(data.MaxPayment),
		Tries: -1, IsBlocked: state.IsBlocked, IsPayable: true,
	}
	if data.Holder != (purse.ID{}) {
		s.Holder, s.Tries = data.Holder.String(), int(data.Tries)
	}
	return s, nil
}

// Log reads at most 15 payments and cancellations, and 3 loads.
func (PWP1) Log(ctx context.Context, card smartcard.Card) (payments, loads []Entry, err error) {
	asked := smartcard.Purse{Card: card}
	paid, err := asked.Payments(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range paid {
		kind := Payment
		if p.IsCancellation() {
			kind = Cancellation
		}
		payments = append(payments, Entry{
			Kind: kind, Number: p.Proof.SNo, Time: when(p.Proof.Time), Amount: p.Proof.Unit.Amount(p.Proof.Amount),
			Partner: p.Proof.Merchant.String(), Transaction: p.Proof.TNo, CancelledTNo: p.PaidTNo,
		})
	}
	logged, err := asked.Loads(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, entry := range logged {
		if err := entry.Unit.Check(); err != nil {
			return nil, nil, err
		}
		loads = append(loads, Entry{
			Kind: Load, Number: entry.LNo, Time: when(entry.Time), Amount: entry.Unit.Amount(entry.Amount), Partner: entry.Terminal.String(),
		})
	}
	return payments, loads, nil
}

func when(seconds uint32) time.Time { return time.Unix(int64(seconds), 0).UTC() }
