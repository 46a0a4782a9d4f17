package clearing

import (
	"fmt"

	"github.com/paywordhq/payword/money"
)

// Schedule is a rule for fees: a share of the gross amount, rounded up to a
// whole micro, and at least a minimum. It is charged once for each vendor and
// run, never for each payment: of a page for a cent, a minimum of a cent would
// leave nothing.
type Schedule struct {
	// Version names the rule and stands beside every fee: 1 to 64 visible
	// ASCII characters. A changed rule gets another version.
	Version string
	// Numerator and Denominator are the share: 3 and 1000 are 0.3 percent.
	// 0 <= Numerator <= Denominator, and Denominator is at least 1.
	Numerator, Denominator int64
	// Minimum is in micros, 0 or more.
	Minimum money.Amount
}

// StandardSchedule returns the rule that is used where no other is given:
// 0.3 percent, at least 0.01 major units.
func StandardSchedule() Schedule {
	return Schedule{Version: "0.3pct-min-0.01/1", Numerator: 3, Denominator: 1000, Minimum: money.Unit / 100}
}

// Fee returns the fee on gross, in micros, 0 or more. It can exceed gross: who
// charges it decides what then happens.
func (s Schedule) Fee(gross money.Amount) (money.Amount, error) {
	share, err := gross.Share(s.Numerator, s.Denominator)
	if err != nil {
		return 0, fmt.Errorf("fee by %s: %w", s.Version, err)
	}
	return max(share, s.Minimum), nil
}

func (s Schedule) check() error {
	if !isWord(s.Version, 64) {
		return fmt.Errorf("fee schedule %.80q: want a version of 1 to 64 visible ASCII characters", s.Version)
	}
	if s.Denominator < 1 || s.Numerator < 0 || s.Numerator > s.Denominator {
		return fmt.Errorf("fee schedule %s: %d/%d is not a share from 0 to 1", s.Version, s.Numerator, s.Denominator)
	}
	if s.Minimum < 0 || s.Minimum > money.MaxAmount {
		return fmt.Errorf("fee schedule %s: minimum %s: want 0 to %s", s.Version, s.Minimum, money.MaxAmount)
	}
	return nil
}

// split divides what is payable into fee and payout. The payout is whole minor
// units of the currency; what is left over, fee and payout both 0 included, is
// carried to the next run.
func (s Schedule) split(payable money.Amount, currency money.Currency) (fee, payout money.Amount, err error) {
	fee, err = s.Fee(payable)
	if err != nil || fee >= payable {
		return 0, 0, err
	}
	payout = (payable - fee).Floor(currency.MinorUnit())
	if payout == 0 {
		return 0, 0, nil
	}
	return fee, payout, nil
}

// isWord says whether text is 1 to limit characters from '!' to '~'.
func isWord(text string, limit int) bool {
	for _, c := range []byte(text) {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(text) >= 1 && len(text) <= limit
}
