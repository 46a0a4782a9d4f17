package kiosk

import (
	"context"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

// askPad has the PIN entered at the reader, so that it never comes here. It
// returns smartcard.ErrNoPINPad if the reader has no pad after all.
func (v *visit) askPad(ctx context.Context, pad smartcard.PINPad, what view) error {
	for {
		v.show(screen{name: "pad", view: what})
		var status purse.StatusWord
		err := v.work(ctx, "", func(ctx context.Context) error {
			answer, err := pad.VerifyPIN(ctx)
			if err == nil {
				_, status, err = purse.Answer(answer)
			}
			return err
		})
		if err != nil {
			return err
		}
		if status == purse.Done {
			v.isVerified = true
			return nil
		}
		tries, isWrong := status.Tries()
		if !isWrong {
			return errBack // cancelled at the reader, or nobody typed
		}
		v.purse.Tries, what.Purse.Tries, what.Notice = tries, tries, "pin.wrong"
		if tries == 0 {
			return v.failed(ctx, what, &Refusal{Reason: ReasonPINBlocked})
		}
	}
}
