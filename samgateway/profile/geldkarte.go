package profile

import (
	"context"
	"errors"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/purse/geldkarte"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// GeldKarte is the profile of internal/purse/geldkarte: cards that can be read and
// nothing else.
type GeldKarte struct{}

// Name is the card's.
func (GeldKarte) Name() string { return "GeldKarte" }

// AID is that of its purse.
func (GeldKarte) AID() string { return geldkarte.AID }

// euroCents is what a GeldKarte counts in.
var euroCents = purse.Unit{Currency: 0x0978, Exponent: -2}

// Read reads number and balance.
func (GeldKarte) Read(ctx context.Context, card smartcard.Card) (Summary, error) {
	record, err := readFile(ctx, card, geldkarte.IDCommand())
	if err != nil {
		return Summary{}, err
	}
	id, err := geldkarte.ParseID(record)
	if err != nil {
		return Summary{}, err
	}
	if record, err = readFile(ctx, card, geldkarte.BalanceCommand()); err != nil {
		return Summary{}, err
	}
	balance, err := geldkarte.ParseBalance(record)
	if err != nil {
		return Summary{}, err
	}
	return Summary{Number: id.Number, Currency: euroCents.Currency.Money(), Balance: euroCents.Amount(balance), Tries: -1}, nil
}

// Log reads the records that are used, without a PIN. The card does not say who
// was paid, and what a loader said of the time is without a zone.
func (GeldKarte) Log(ctx context.Context, card smartcard.Card) (payments, loads []Entry, err error) {
	for number := byte(1); number <= geldkarte.MaxEntries; number++ {
		record, err := readFile(ctx, card, geldkarte.EntryCommand(number))
		if errors.Is(err, purse.NoRecord) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		read, err := geldkarte.ParseEntry(record)
		if errors.Is(err, geldkarte.ErrUnused) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		entry := Entry{Kind: kinds[read.Kind], Time: read.Time, Amount: euroCents.Amount(read.Amount)}
		if entry.Kind == Load {
			loads = append(loads, entry)
		} else {
			payments = append(payments, entry)
		}
	}
	return payments, loads, nil
}

var kinds = map[geldkarte.Kind]Kind{
	geldkarte.Load: Load, geldkarte.Unload: Unload, geldkarte.Purchase: Payment, geldkarte.Refund: Refund,
}

// readFile reads a record. A status other than 9000 is a purse.StatusWord.
func readFile(ctx context.Context, card smartcard.Card, command []byte) ([]byte, error) {
	answer, err := card.Transmit(ctx, command)
	if err != nil {
		return nil, err
	}
	record, status, err := purse.Answer(answer)
	if err != nil {
		return nil, smartcard.Torn(err)
	}
	if status != purse.Done {
		return nil, status
	}
	return record, nil
}
