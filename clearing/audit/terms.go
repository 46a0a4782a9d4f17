package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"

	"github.com/paywordhq/payword/money"
)

// terms are what a run was planned under: the operator's policy and the rule for
// fees.
type terms struct {
	minimumPayout, minimumCollection int64
	approvalAbove                    *int64 // nil: no plan needs approval
	fee                              feeRule
	reservePpm, refundDays           int64
}

// feeRule is a rule for fees with its amounts as they are computed with.
type feeRule struct {
	basis, rounding string
	tiers           []feeTier
	minimum         int64
}

type feeTier struct{ from, ratePpm *big.Int }

type policyText struct {
	Fee               json.RawMessage `json:"fee"`
	MinimumPayout     string          `json:"minimumPayoutMicros"`
	MinimumCollection string          `json:"minimumCollectionMicros"`
	ApprovalAbove     *string         `json:"approvalAboveMicros"`
	ReservePpm        int64           `json:"reservePpm"`
	RefundDays        int64           `json:"refundDays"`
}

type feeText struct {
	Basis    string `json:"basis"`
	Rounding string `json:"rounding"`
	Minimum  string `json:"minimumMicros"`
	Tiers    []struct {
		From    string `json:"fromMicros"`
		RatePpm int64  `json:"ratePpm"`
	} `json:"tiers"`
}

// readTerms reads a policy. rule is the rule that is kept for ever under the
// version that the run names; it must be the one in the policy.
func readTerms(policy, rule string) (t terms, err error) {
	var text policyText
	if err := json.Unmarshal([]byte(policy), &text); err != nil {
		return t, err
	}
	if string(text.Fee) != rule {
		return t, errors.New("they are different rules")
	}
	for _, amount := range []struct {
		text string
		into *int64
	}{{text.MinimumPayout, &t.minimumPayout}, {text.MinimumCollection, &t.minimumCollection}} {
		if *amount.into, err = strconv.ParseInt(amount.text, 10, 64); err != nil {
			return t, err
		}
	}
	if text.ApprovalAbove != nil {
		above, err := strconv.ParseInt(*text.ApprovalAbove, 10, 64)
		if err != nil {
			return t, err
		}
		t.approvalAbove = &above
	}
	t.reservePpm, t.refundDays = text.ReservePpm, text.RefundDays
	t.fee, err = readFeeRule(rule)
	return t, err
}

func readFeeRule(rule string) (r feeRule, err error) {
	var text feeText
	if err := json.Unmarshal([]byte(rule), &text); err != nil {
		return r, err
	}
	r = feeRule{basis: text.Basis, rounding: text.Rounding}
	if r.minimum, err = strconv.ParseInt(text.Minimum, 10, 64); err != nil {
		return r, err
	}
	for _, tier := range text.Tiers {
		from, isNumber := new(big.Int).SetString(tier.From, 10)
		if !isNumber {
			return r, errors.New("a tier begins at no number")
		}
		r.tiers = append(r.tiers, feeTier{from, big.NewInt(tier.RatePpm)})
	}
	return r, nil
}

// of returns the fee on an amount: what lies in each tier times its rate, summed
// exactly, rounded once, half to even, and at least the minimum. unit is the
// smallest amount that a bank moves.
func (r feeRule) of(gross, unit int64) *big.Int {
	product, amount := new(big.Int), big.NewInt(gross)
	for k, tier := range r.tiers {
		end := amount
		if k+1 < len(r.tiers) && r.tiers[k+1].from.Cmp(amount) < 0 {
			end = r.tiers[k+1].from
		}
		if inside := new(big.Int).Sub(end, tier.from); inside.Sign() > 0 {
			product.Add(product, inside.Mul(inside, tier.ratePpm))
		}
	}
	step, least := int64(1), r.minimum
	if r.rounding == "minor-unit" {
		step = unit
	}
	if least > 0 {
		least = max(least, unit)
		least = (least + step - 1) / step * step
	}
	divisor := new(big.Int).Mul(big.NewInt(1_000_000), big.NewInt(step))
	quotient, rest := new(big.Int).QuoRem(product, divisor, new(big.Int))
	if half := rest.Lsh(rest, 1).Cmp(divisor); half > 0 || half == 0 && quotient.Bit(0) == 1 {
		quotient.Add(quotient, big.NewInt(1))
	}
	quotient.Mul(quotient, big.NewInt(step))
	if floor := big.NewInt(least); quotient.Cmp(floor) < 0 {
		return floor
	}
	return quotient
}

// split returns what the rule takes of a position and what is paid of it: whole
// units, and nothing where the fee would leave less than one.
func (t terms) split(kind string, gross, unit int64) (fee, amount int64, reason string) {
	payable, minimum := min(gross, int64(money.MaxAmount)), t.minimumPayout
	switch {
	case kind == "account-payout":
		if payable%unit != 0 {
			return 0, 0, "fraction"
		}
		return 0, payable, ""
	case kind == "collection":
		minimum, amount = t.minimumCollection, payable-payable%unit
	case kind == "merchant":
		amount = payable - payable%unit // each payment has paid its fee
	default:
		if exact := t.fee.of(payable, unit); exact.Cmp(big.NewInt(payable)) < 0 {
			fee = exact.Int64()
			amount = (payable - fee) / unit * unit
		}
	}
	switch {
	case amount == 0:
		return 0, 0, "too-small"
	case amount < minimum:
		return 0, 0, "below-minimum"
	}
	return fee, amount, ""
}

// checkLine computes fee and payout of a line again.
func (a *auditor) checkLine(r *run, l *runLine) {
	unit := int64(money.Currency(l.currency).MinorUnit())
	fee, amount, reason := int64(0), int64(0), l.reason
	isDecided := l.currency != r.currency || l.reason == "blocked" || l.reason == "no-destination" && l.destination == ""
	if !isDecided && l.gross > 0 {
		fee, amount, reason = r.terms.split(l.kind, l.gross, unit)
	}
	if fee != l.fee || amount != l.amount || reason != l.reason {
		a.find(LineFee, r.lineName(l.number),
			fmt.Sprintf("of %s the rule takes %s and leaves %s %s", micros(l.gross), micros(fee), micros(amount), reason),
			fmt.Sprintf("it takes %s and pays %s %s", micros(l.fee), micros(l.amount), l.reason))
	}
}
