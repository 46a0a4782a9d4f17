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

// Whatever call is broken off before its commit or loses its answer, made again
// it leaves the same books.
func TestCrashes(t *testing.T) {
	calls, crashAt := 0, 0
	o := newOfficeWith(t, false, func(c *cards.Config) { // a call is counted once
		c.Audit = func(context.Context, *ledger.Tx, string, string, string) error {
			if calls++; calls == crashAt {
				return errCrash
			}
			return nil
		}
	})
	var want []money.Amount
	for number := 0; ; number++ {
		steps, accounts := o.day(number)
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
			if number < 10 {
				t.Fatalf("only %d crash points: %s", number, fmt.Sprint(calls))
			}
			break
		}
	}
	o.wantSound()
}
