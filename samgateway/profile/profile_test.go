package profile_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/purse/geldkarte"
	"github.com/paywordhq/payword/internal/pursetest"
	"github.com/paywordhq/payword/samgateway/profile"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// inside is a card in this process.
type inside struct {
	chip interface{ Transmit([]byte) ([]byte, error) }
}

func (i inside) Transmit(_ context.Context, command []byte) ([]byte, error) {
	return i.chip.Transmit(command)
}

// answers is a card that says the same to everything.
type answers []byte

func (a answers) Transmit(context.Context, []byte) ([]byte, error) { return bytes.Clone(a), nil }

var (
	cents    = purse.Unit{Currency: 0x0840, Exponent: -2}
	merchant = purse.ID{0x4D, 7: 9}
	terminal = purse.ID{0x1D, 7: 3}
	day      = time.Date(2026, 11, 26, 5, 0, 0, 0, time.UTC)
)

// newPurse returns a card that was loaded with 50.00 and paid 12.34, which it took
// back.
func newPurse(t *testing.T) smartcard.Card {
	t.Helper()
	keys := pursetest.Keys(t)
	chip := pursetest.NewCard(t, purse.CardIssue{
		Keys: keys, KeyVersion: 1, Card: purse.ID{0xC1, 7: 1}, Holder: purse.ID{0xA0, 7: 7}, Unit: cents, MaxBalance: 200_00, MaxPayment: 100_00, PIN: pursetest.PIN,
	})
	samChip := pursetest.NewSAM(t, purse.SAMIssue{Keys: keys, KeyVersion: 1, Merchant: merchant, Unit: cents, Limit: 1000_00})
	card, sam := smartcard.Purse{Card: inside{chip}}, smartcard.SAM{Card: inside{samChip}}
	ctx := t.Context()
	if err := errors.Join(card.Select(ctx), card.Verify(ctx, []byte(pursetest.PIN)), sam.Select(ctx)); err != nil {
		t.Fatal(err)
	}
	request := purse.LoadRequest{Amount: 5000, Unit: cents, Time: uint32(day.Unix()), Terminal: terminal}
	answer, err := card.InitLoad(ctx, request)
	if err != nil {
		t.Fatal(err)
	}
	load, err := purse.ParseLoad(request.Append(nil), answer)
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.LoadKey(1, load.Answer.Card)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := card.Credit(ctx, load.Credit(key, purse.ID{7: 1})); err != nil {
		t.Fatal(err)
	}
	pay(t, card, sam, func() (purse.Opening, error) { return sam.Init(ctx, 1234, cents, day) }, card.Debit)
	pay(t, card, sam, func() (purse.Opening, error) { return sam.InitCancel(ctx, 1, day.Add(time.Minute)) }, card.CancelLast)
	return inside{chip}
}

// pay has card and SAM do a payment, or take one back.
func pay(t *testing.T, card smartcard.Purse, sam smartcard.SAM, begin func() (purse.Opening, error), order func(context.Context, []byte) ([]byte, error)) {
	t.Helper()
	opening, err := begin()
	if err != nil {
		t.Fatal(err)
	}
	started, err := card.Start(t.Context(), opening)
	if err != nil {
		t.Fatal(err)
	}
	text, err := sam.Authorize(t.Context(), started)
	if err != nil {
		t.Fatal(err)
	}
	paid, err := order(t.Context(), text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sam.Commit(t.Context(), paid); err != nil {
		t.Fatal(err)
	}
}

func identify(t *testing.T, card smartcard.Card) (profile.Profile, profile.Summary) {
	t.Helper()
	known, err := profile.Identify(t.Context(), card)
	if err != nil {
		t.Fatal(err)
	}
	summary, err := known.Read(t.Context(), card)
	if err != nil {
		t.Fatal(err)
	}
	return known, summary
}

func TestPWP1(t *testing.T) {
	card := newPurse(t)
	known, summary := identify(t, card)
	want := profile.Summary{
		Number: "C100000000000001", Holder: "A000000000000007", Currency: "usd-micro", Balance: 50_000_000,
		MaxBalance: 200_000_000, MaxPayment: 100_000_000, Tries: 3, IsPayable: true,
	}
	if known.Name() != "PWP1" || summary != want {
		t.Errorf("got %s, %+v; want PWP1, %+v", known.Name(), summary, want)
	}
	if _, _, err := known.Log(t.Context(), card); !errors.Is(err, purse.PINWanted) {
		t.Errorf("the log without the PIN: %v, want PINWanted", err)
	}
	if err := (smartcard.Purse{Card: card}).Verify(t.Context(), []byte("1111")); err != nil {
		t.Fatal(err)
	}
	payments, loads, err := known.Log(t.Context(), card)
	if err != nil {
		t.Fatal(err)
	}
	wantPayments := []profile.Entry{
		{Kind: profile.Cancellation, Number: 2, Time: day.Add(time.Minute), Amount: 12_340_000, Partner: merchant.String(), Transaction: 2, CancelledTNo: 1},
		{Kind: profile.Payment, Number: 1, Time: day, Amount: 12_340_000, Partner: merchant.String(), Transaction: 1},
	}
	wantLoads := []profile.Entry{{Kind: profile.Load, Number: 1, Time: day, Amount: 50_000_000, Partner: terminal.String()}}
	if !slices.Equal(payments, wantPayments) || !slices.Equal(loads, wantLoads) {
		t.Errorf("got %+v and %+v, want %+v and %+v", payments, loads, wantPayments, wantLoads)
	}
}

func TestGeldKarte(t *testing.T) {
	chip, err := geldkarte.NewVirtual(geldkarte.ID{Number: "1234567890", ExpiryYear: 2028, ExpiryMonth: 12}, 4321, []geldkarte.Entry{
		{Kind: geldkarte.Purchase, Amount: 150, Time: day}, {Kind: geldkarte.Load, Amount: 5000, Time: day.Add(-time.Hour)},
	})
	if err != nil {
		t.Fatal(err)
	}
	card := inside{chip}
	known, summary := identify(t, card)
	want := profile.Summary{Number: "1234567890", Currency: "eur-micro", Balance: 43_210_000, Tries: -1}
	if known.Name() != "GeldKarte" || summary != want {
		t.Errorf("got %s, %+v; want GeldKarte, %+v", known.Name(), summary, want)
	}
	payments, loads, err := known.Log(t.Context(), card)
	if err != nil {
		t.Fatal(err)
	}
	if want := []profile.Entry{{Kind: profile.Payment, Time: day, Amount: 1_500_000}}; !slices.Equal(payments, want) {
		t.Errorf("got payments %+v, want %+v", payments, want)
	}
	if want := []profile.Entry{{Kind: profile.Load, Time: day.Add(-time.Hour), Amount: 50_000_000}}; !slices.Equal(loads, want) {
		t.Errorf("got loads %+v, want %+v", loads, want)
	}
}

func TestIdentifyNothing(t *testing.T) {
	for _, c := range []struct {
		says answers
		kind error
		want string
	}{
		{answers{0x6A, 0x82}, smartcard.ErrForeign, "6A82 to PWP1 (F05057505552534501), 6A82 to GeldKarte (D27600002545500200)"},
		{answers{0x6E, 0x00}, smartcard.ErrForeign, "6E00 to PWP1"},
		{answers{}, smartcard.ErrTorn, "no answer"},
		{answers{0x90}, smartcard.ErrTorn, "no answer"},
	} {
		known, err := profile.Identify(t.Context(), c.says)
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("a card that says %X: %v, %v; want %v with %q", []byte(c.says), known, err, c.kind, c.want)
		}
	}
}

// A card that says yes to everything, or something that makes no sense, is an
// error and no panic.
func TestSenselessCards(t *testing.T) {
	for _, known := range profile.All() {
		for length := range 100 {
			card := answers(append(bytes.Repeat([]byte{0xFF}, length), 0x90, 0x00))
			if _, err := known.Read(t.Context(), card); err == nil {
				t.Errorf("%s: %d bytes FF are a card", known.Name(), length)
			}
			if _, _, err := known.Log(t.Context(), card); err == nil {
				t.Errorf("%s: %d bytes FF are a log", known.Name(), length)
			}
		}
	}
}
