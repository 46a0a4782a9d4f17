package broker

import (
	"context"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/internal/ledger"
)

const (
	pathPayoutPages  = "/admin/payouts"
	pathVoucherPages = "/admin/vouchers"
)

// payoutActions are what operators do to a payout of an account.
var payoutActions = []*action{
	endPayoutAction("paid", "Confirm a payout", "It was made", "The payout is booked as made.",
		"How it was paid, such as the bank’s reference. The owner of the account reads it.",
		"has left the bank account, for ever", (*Broker).PayoutPaid),
	endPayoutAction("refuse", "Give the money of a payout back", "Give it back", "The money is on the account again.",
		"Why it was not paid. The owner of the account reads it.",
		"available on the account again", (*Broker).RefusePayout),
}

func registerPayoutPages(p *pages) {
	p.page("GET "+pathPayoutPages, (*visit).payoutList)
	p.page("GET "+pathVoucherPages, (*visit).voucherList)
	for _, a := range payoutActions {
		show := func(v *visit) { v.act(a, v.R.PathValue("account")+"/"+v.R.PathValue("payout"), pathPayoutPages) }
		p.page("GET "+pathPayoutPages+"/{account}/{payout}/"+a.word, show)
		p.page("POST "+pathPayoutPages+"/{account}/{payout}/"+a.word, show)
	}
}

// payoutStates are the lists of payouts; the first one is shown first.
var payoutStates = []string{"pending", "paid", "refused"}

type payoutListView struct {
	State   string
	States  []string
	List    payword.PayoutList
	IsFirst bool
}

func (v *visit) payoutList() {
	data := payoutListView{State: payoutStates[0], States: payoutStates, IsFirst: adminpage.NumberIn(v.R, "after") == 0}
	listing := Listing{Limit: rowsPerPage}
	if !data.IsFirst {
		listing.After = v.R.URL.Query().Get("after")
	}
	for _, state := range payoutStates {
		if v.R.URL.Query().Get("state") == state {
			data.State = state
		}
	}
	var err error
	if data.List, err = v.pages.broker.store.allPayouts(v.R.Context(), data.State, listing); err != nil {
		v.Unavailable(err)
		return
	}
	v.Show(http.StatusOK, "payouts", view{
		Title: "Payouts of accounts", Section: "payouts", Data: data,
		Notice: doneNotice(payoutActions, v.R.URL.Query().Get("done")),
	})
}

type voucherListView struct {
	List    voucherBatchList
	IsFirst bool
}

func (v *visit) voucherList() {
	after := v.R.URL.Query().Get("after")
	list, err := v.pages.broker.store.voucherBatches(v.R.Context(), Listing{After: after, Limit: rowsPerPage})
	if err != nil {
		v.Unavailable(err)
		return
	}
	v.Show(http.StatusOK, "vouchers", view{Title: "Vouchers", Section: "vouchers", Data: voucherListView{list, after == ""}})
}

// noteProblem says what is wrong with what an operator writes for others.
func noteProblem(name string) func(values map[string]string) map[string]string {
	return func(values map[string]string) map[string]string {
		text := values[name]
		hasControl := strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f })
		if hasControl || utf8.RuneCountInString(text) > maxReason {
			return problemIn(name, "Want one line of at most 200 characters.")
		}
		return nil
	}
}

// endPayoutAction is an action that ends a payout that is pending.
func endPayoutAction(word, title, button, done, hint, effect string,
	end func(b *Broker, ctx context.Context, account, id, note string) (payword.Payout, payword.Refusal, error)) *action {
	return &action{
		word: word, title: title, button: button, done: done,
		fields: []field{{Name: "note", Label: "Note", Hint: hint, IsLong: true}},
		read:   noteProblem("note"),
		foresee: func(ctx context.Context, b *Broker, subject string, _ map[string]string) ([]consequence, payword.Refusal, error) {
			p, err := b.store.payoutOf(ctx, subject)
			if err != nil {
				return nil, payword.Refusal{}, err
			}
			destination := p.Destination.IBAN + p.Destination.Reference
			return []consequence{
				{"Payout to " + destination, p.State, word},
				{adminpage.GroupedDecimal(p.Amount) + " " + p.Currency.Code() + " of the account " + p.Account, "set aside", effect},
			}, payword.Refusal{}, nil
		},
		perform: func(ctx context.Context, b *Broker, subject string, values map[string]string) (payword.Refusal, error) {
			account, id, _ := strings.Cut(subject, "/")
			_, refusal, err := end(b, ctx, account, id, values["note"])
			return refusal, err
		},
	}
}

// payoutOf returns a payout by its account and id with a slash between, or
// errNotFound.
func (s *store) payoutOf(ctx context.Context, subject string) (found payword.Payout, err error) {
	account, id, _ := strings.Cut(subject, "/")
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		p, isThere, err := loadPayout(ctx, tx, account, id)
		if err == nil && !isThere {
			return errNotFound
		}
		found = p.shown(s.currency)
		return err
	})
	return found, err
}
