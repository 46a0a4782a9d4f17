package cards_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/money"
)

var errCrash = errors.New("the process ended here")

// step is a call that is made again with the same arguments until it succeeds.
type step func() error

// refused makes an error of a refusal.
func refused(refusal *purse.Refusal, err error) error {
	if err == nil && refusal != nil {
		err = *refusal
	}
	return err
}

// day is everything that happens to a card and its merchant, as calls of
// clearing.
func (o *office) day(number int) (steps []step, accounts []string) {
	ctx := o.t.Context()
	account := o.account(number, 100*money.Unit)
	holder := purse.ID{0xA0, 7: byte(number)}
	card, merchant := o.softCard(cardID(number), holder), merchantID(number)
	sam, err := purse.NewSoftSAM(o.keys, 1, merchant)
	if err != nil {
		o.t.Fatal(err)
	}
	var granted cards.Authorisation
	var request, answer, receipt, batch, online []byte
	var previous purse.MAC
	var proof purse.Proof
	var macz purse.MAC
	once := func(isDone *[]byte, make func() []byte) []byte {
		if *isDone == nil {
			*isDone = make()
		}
		return *isDone
	}
	steps = []step{
		func() error {
			return o.RegisterMerchant(ctx, cards.Merchant{ID: merchant, KeyVersion: 1, Name: "Kiosk", Destination: "ref:kiosk"})
		},
		func() error {
			return o.IssueCard(ctx, cards.Card{ID: card.ID, KeyVersion: 1, Holder: holder, Account: account, Exponent: -2, Expires: o.expiry()})
		},
		func() (err error) {
			once(&request, func() (r []byte) { r, answer = ask(card, 50_00); return r })
			var refusal *purse.Refusal
			granted, refusal, err = o.AuthoriseLoad(ctx, request, answer)
			return refused(refusal, err)
		},
		func() error {
			once(&receipt, func() []byte {
				r, err := card.Credit(granted.Credit)
				if err != nil {
					o.t.Fatal(err)
				}
				return r.Append(nil)
			})
			return refused(o.ConfirmLoad(ctx, granted.Reference, receipt))
		},
		func() error {
			once(&online, func() (r []byte) { r, previous = o.pay(sam, card, 3_00); return r })
			_, refusal, err := o.PayOnline(ctx, online, previous)
			return refused(refusal, err)
		},
		func() error {
			if proof.TNo == 0 {
				var err error
				if proof, macz, err = card.Pay(merchant, sam.Next(), 4_00, start); err != nil {
					o.t.Fatal(err)
				}
				sam.Void(card.ID, proof.SNo, 4_00, start, purse.Unproved)
			}
			_, refusal, err := o.Claim(ctx, proof.Append(nil), macz, "torn")
			return refused(refusal, err)
		},
		func() error {
			once(&batch, func() []byte {
				o.pay(sam, card, 5_00)
				stray := o.softCard(cardID(number), holder)
				stray.Balance, stray.SNo, stray.LNo = 1000, card.SNo, card.LNo
				o.pay(sam, stray, 1_00) // an alarm is a change, too
				return closed(sam)
			})
			_, refusals, err := o.SubmitBatch(ctx, batch)
			if len(refusals) > 0 {
				err = refusals[0]
			}
			return err
		},
		func() error {
			err := o.ReportCard(ctx, card.ID, false, "")
			if errors.Is(err, cards.ErrCardState) {
				return nil // it is reported
			}
			return err
		},
		func() error {
			if o.now.Load() < start+int64(31*dayLong*(number+1)) {
				o.now.Add(31 * dayLong)
			}
			_, _, err := o.PayBackDue(ctx, 10)
			return err
		},
	}
	return steps, []string{"user:" + account + ":available", "card:" + card.ID.String() + ":shadow", "merchant:" + merchant.String() + ":payable"}
}

// kioskDay is everything that happens to a white card at a gateway.
func (o *office) kioskDay(number int) (steps []step, accounts []string) {
	ctx := o.t.Context()
	white := o.softCard(cardID(number), purse.ID{})
	kiosk, err := purse.NewSoftSAM(o.keys, 1, merchantID(number))
	if err != nil {
		o.t.Fatal(err)
	}
	var granted cards.Authorisation
	var request, answer, taken []byte
	steps = []step{
		func() error {
			return o.RegisterMerchant(ctx, cards.Merchant{ID: kiosk.Merchant, KeyVersion: 1, Name: "Kiosk", Destination: "gateway:purse"})
		},
		func() error {
			return o.IssueCard(ctx, cards.Card{ID: white.ID, KeyVersion: 1, Exponent: -2, Expires: o.expiry()})
		},
		func() (err error) {
			if request == nil {
				request, answer = ask(white, 20_00)
			}
			var refusal *purse.Refusal
			if granted, refusal, err = o.AuthoriseLoadAt(ctx, "purse", request, answer); refusal != nil && refusal.Reason == cards.LoadEnded {
				refusal = nil // a payment has shown that it took place
			}
			return refused(refusal, err)
		},
		func() error { // taken back in the batch, what is paid out in cash, and what nobody knows
			if taken == nil {
				if _, err := white.Credit(granted.Credit); err != nil {
					o.t.Fatal(err)
				}
				o.pay(kiosk, white, 2_00)
				o.cancel(kiosk, white)
				o.pay(kiosk, white, 3_00)
				o.pay(kiosk, white, 4_00)
				kiosk.Next()
				kiosk.Void(white.ID, white.SNo+1, 4_00, start, purse.UnprovedCancellation)
				taken = closed(kiosk)
			}
			_, refusals, err := o.SubmitBatch(ctx, taken)
			if len(refusals) > 0 {
				err = refusals[0]
			}
			return err
		},
		func() error { return refused(o.CashOut(ctx, "purse", kiosk.Merchant, 3)) },
		func() error {
			_, refusal, err := o.Decide(ctx, kiosk.Merchant, 4, false, "anna")
			if refusal != nil && refusal.Reason == cards.NotOpen {
				refusal = nil // it is decided
			}
			return refused(refusal, err)
		},
	}
	return steps, []string{"card:" + white.ID.String() + ":shadow", "merchant:" + kiosk.Merchant.String() + ":payable"}
}

// Whatever call is broken off before its commit or loses its answer, made again
// it leaves the same books.
func TestCrashes(t *testing.T) { testCrashes(t, (*office).day) }

// The same at a gateway.
func TestCrashesAtGateways(t *testing.T) { testCrashes(t, (*office).kioskDay) }

func testCrashes(t *testing.T, day func(o *office, number int) ([]step, []string)) {
	t.Helper()
	calls, crashAt := 0, 0
	o := newOfficeWith(t, false, func(c *cards.Config) { // a call is counted once
		c.Audit = func(context.Context, *ledger.Tx, string, string, string) error {
			if calls++; calls == crashAt {
				return errCrash
			}
			return nil
		}
	})
	o.gateway("purse", money.MaxAmount)
	var want []money.Amount
	for number := 0; ; number++ {
		steps, accounts := day(o, number)
		calls, crashAt = 0, number // 0: never
		crashed := false
		for i, step := range steps {
			for range 2 { // the answer to the first is lost
				err := step()
				if errors.Is(err, errCrash) {
					crashed = true
					err = step()
				}
				if err != nil {
					t.Fatalf("crash %d, step %d: %v", number, i+1, err)
				}
			}
		}
		var got []money.Amount
		for _, account := range accounts {
			got = append(got, o.balance(account))
		}
		if number == 0 {
			want = got
			t.Logf("without a crash %v", want)
		}
		if !slices.Equal(got, want) {
			t.Errorf("crash %d: balances %v, want %v", number, got, want)
		}
		if number > 0 && !crashed {
			if number < 5 {
				t.Fatalf("only %d crash points: %s", number, fmt.Sprint(calls))
			}
			break
		}
	}
	o.wantSound()
}
