package broker

import (
	"cmp"
	"context"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/money"
)

// blockAction and unblockAction change the state of an account.
var (
	blockAction = &action{
		word: "block", title: "Block the account", button: "Block it", done: "The account is blocked.",
		fields: []field{reasonField}, read: noteProblem("reason"),
		foresee: foreseeState(stateBlocked, "no certificates, no reservations, no payouts, of its sub-accounts neither; what is reserved stays redeemable"),
		perform: func(ctx context.Context, b *Broker, account string, values map[string]string) (payword.Refusal, error) {
			_, refusal, err := b.BlockAccount(ctx, account, values["reason"])
			return refusal, err
		},
	}
	unblockAction = &action{
		word: "unblock", title: "Open the account again", button: "Open it", done: "The account is open again.",
		fields: []field{reasonField}, read: noteProblem("reason"),
		foresee: foreseeState(stateOpen, "everything goes on as before"),
		perform: func(ctx context.Context, b *Broker, account string, values map[string]string) (payword.Refusal, error) {
			_, refusal, err := b.UnblockAccount(ctx, account, values["reason"])
			return refusal, err
		},
	}
)

// foreseeState says what another state of an account means.
func foreseeState(state, effect string) func(context.Context, *Broker, string, map[string]string) ([]consequence, payword.Refusal, error) {
	return func(ctx context.Context, b *Broker, account string, _ map[string]string) ([]consequence, payword.Refusal, error) {
		before, refusal, err := b.store.account(ctx, account)
		return []consequence{{"State of the account", before.State, state}, {"Then", "", effect}}, refusal, err
	}
}

// ceilings are the limits that the broker sets for an account, by their fields.
var ceilings = []struct {
	name, label string
	of          func(*payword.Limits) **money.Amount
}{
	{"vendor_day", "For one vendor in a day", func(l *payword.Limits) **money.Amount { return &l.VendorDay }},
	{"day", "For all vendors in a day", func(l *payword.Limits) **money.Amount { return &l.Day }},
	{"reserved", "Reserved at once", func(l *payword.Limits) **money.Amount { return &l.Reserved }},
}

var limitsAction = newLimitsAction()

func newLimitsAction() *action {
	a := &action{
		word: "limits", title: "Set the limits", button: "Set them", done: "The limits are set.",
		read: func(values map[string]string) map[string]string {
			problems := make(map[string]string)
			for _, c := range ceilings {
				if values[c.name] != "" {
					problems[c.name] = amountProblem(values[c.name], 0)
				}
			}
			return keepProblems(problems)
		},
		foresee: foreseeLimits,
		perform: func(ctx context.Context, b *Broker, account string, values map[string]string) (payword.Refusal, error) {
			wanted, err := limitsOf(values)
			if err != nil {
				return payword.Refusal{}, err
			}
			before, refusal, err := b.store.details(ctx, account)
			if err != nil || refusal.Refused() || describeLimits(before.Limits.Ceiling) == describeLimits(wanted) {
				return refusal, err // the form was sent twice
			}
			_, refusal, err = b.SetCeiling(ctx, account, wanted)
			return refusal, err
		},
	}
	for _, c := range ceilings {
		a.fields = append(a.fields, field{Name: c.name, Label: c.label, Hint: "Empty: no limit by the broker. 0: nothing.", Mode: "decimal", IsOptional: true})
	}
	return a
}

// limitsOf returns the limits that were typed in.
func limitsOf(values map[string]string) (limits payword.Limits, err error) {
	for _, c := range ceilings {
		if values[c.name] == "" {
			continue
		}
		amount, err := money.ParseDecimal(values[c.name])
		if err != nil {
			return limits, err
		}
		*c.of(&limits) = &amount
	}
	return limits, nil
}

func foreseeLimits(ctx context.Context, b *Broker, account string, values map[string]string) ([]consequence, payword.Refusal, error) {
	details, refusal, err := b.store.details(ctx, account)
	if err != nil || refusal.Refused() {
		return nil, refusal, err
	}
	wanted, err := limitsOf(values)
	var changes []consequence
	for _, c := range ceilings {
		changes = append(changes, consequence{c.label, limitText(*c.of(&details.Limits.Ceiling)), limitText(*c.of(&wanted))})
	}
	return changes, payword.Refusal{}, err
}

// limitText writes a limit.
func limitText(limit *money.Amount) string {
	if limit == nil {
		return "none"
	}
	return adminpage.GroupedDecimal(*limit)
}

// limitRow is a limit of an account by who set it.
type limitRow struct{ Name, Own, Ceiling string }

func limitRows(limits payword.AccountLimits) (rows []limitRow) {
	for _, c := range ceilings {
		rows = append(rows, limitRow{c.label, limitText(*c.of(&limits.Own)), limitText(*c.of(&limits.Ceiling))})
	}
	return rows
}

var holderAction = &action{
	word: "holder", title: "Tie to a person", button: "Record it", done: "The holder is recorded.",
	fields: []field{{Name: "holder", Label: "Holder", IsLong: true, IsOptional: true,
		Hint: "As in your own records. Empty: the account is tied to nobody, and holds no more than white accounts may."}},
	read: noteProblem("holder"),
	foresee: func(ctx context.Context, b *Broker, account string, values map[string]string) ([]consequence, payword.Refusal, error) {
		details, refusal, err := b.store.details(ctx, account)
		return []consequence{{"Holder of the account", cmp.Or(details.Holder, "nobody"), cmp.Or(values["holder"], "nobody")}}, refusal, err
	},
	perform: func(ctx context.Context, b *Broker, account string, values map[string]string) (payword.Refusal, error) {
		before, refusal, err := b.store.details(ctx, account)
		if err != nil || refusal.Refused() || before.Holder == values["holder"] {
			return refusal, err
		}
		_, refusal, err = b.SetHolder(ctx, account, values["holder"])
		return refusal, err
	},
}
