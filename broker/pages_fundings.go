package broker

import (
	"context"
	"net/http"
	"strconv"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/internal/ledger"
)

const pathFundingPages = "/admin/fundings"

func registerFundingPages(p *pages) {
	p.page("GET "+pathFundingPages, (*visit).fundingList)
	show := func(v *visit) { v.act(assignAction, v.R.PathValue("funding"), pathFundingPages) }
	p.page("GET "+pathFundingPages+"/{funding}/assign", show)
	p.page("POST "+pathFundingPages+"/{funding}/assign", show)
}

type fundingListView struct {
	Fundings   []fundingView
	Reversals  []reversalView // in their place, if Unmatched
	Unassigned bool           // those alone that nobody has
	Unmatched  bool           // what was taken back of payments that did not come in
	Next       int64          // what the next page is before; 0: this is the last
	IsFirst    bool
}

func (v *visit) fundingList() {
	asked := v.R.URL.Query()
	data := fundingListView{Unassigned: asked.Get("unassigned") != "", Unmatched: asked.Get("unmatched") != "", IsFirst: adminpage.NumberIn(v.R, "before") == 0}
	read := v.readFundings
	if data.Unmatched {
		read = v.readReversals
	}
	if err := read(&data); err != nil {
		v.Unavailable(err)
		return
	}
	v.Show(http.StatusOK, "fundings", view{
		Title: "Payments that came in", Section: "fundings", Data: data,
		Notice: doneNotice([]*action{assignAction}, v.R.URL.Query().Get("done")),
	})
}

func (v *visit) readFundings(data *fundingListView) error {
	page, err := v.pages.broker.store.latestFundings(v.R.Context(), data.Unassigned, adminpage.NumberIn(v.R, "before"), rowsPerPage+1)
	for _, f := range page[:min(len(page), rowsPerPage)] {
		data.Fundings = append(data.Fundings, f.view())
	}
	if len(page) > rowsPerPage {
		data.Next = page[rowsPerPage-1].seq
	}
	return err
}

func (v *visit) readReversals(data *fundingListView) error {
	page, err := v.pages.broker.store.latestUnmatched(v.R.Context(), adminpage.NumberIn(v.R, "before"), rowsPerPage+1)
	data.Reversals = page[:min(len(page), rowsPerPage)]
	if len(page) > rowsPerPage {
		data.Next = page[rowsPerPage-1].Reversal
	}
	return err
}

// latestUnmatched returns reversals without a payment before the one with the
// number given (0: of all), the newest first.
func (s *store) latestUnmatched(ctx context.Context, before int64, limit int) (page []reversalView, err error) {
	if before == 0 {
		before = 1<<63 - 1
	}
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		page, err = selectReversals(ctx, tx, `WHERE r.seq < ? AND `+unmatchedReversal+` ORDER BY r.seq DESC LIMIT ?`, before, limit)
		return err
	})
	return page, err
}

// latestFundings returns payments before the one with the number given (0: of
// all), the newest first.
func (s *store) latestFundings(ctx context.Context, isUnassigned bool, before int64, limit int) (page []fundingRecord, err error) {
	if before == 0 {
		before = 1<<63 - 1
	}
	where := `WHERE seq < ? ORDER BY seq DESC LIMIT ?`
	if isUnassigned {
		where = `WHERE account = '' AND seq < ? AND reversed < amount ORDER BY seq DESC LIMIT ?`
	}
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		page, err = selectFundings(ctx, tx, where, before, limit)
		return err
	})
	return page, err
}

// funding returns a payment by its number, or errNotFound.
func (s *store) funding(ctx context.Context, number string) (found fundingRecord, err error) {
	seq, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return found, errNotFound
	}
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		f, isThere, err := oneFunding(ctx, tx, `WHERE seq = ?`, seq)
		if err == nil && !isThere {
			return errNotFound
		}
		found = f
		return err
	})
	return found, err
}

var assignAction = &action{
	word: "assign", title: "Give a payment to an account", button: "Give it", done: "The payment is on the account.",
	fields: []field{{Name: "account", Label: "Account", Hint: "16 letters and digits. The payment cannot be taken away again."}},
	read: func(values map[string]string) map[string]string {
		if !isRandomID(values["account"]) {
			return problemIn("account", "Want the id of an account: 16 letters and digits.")
		}
		return nil
	},
	foresee: func(ctx context.Context, b *Broker, number string, values map[string]string) ([]consequence, payword.Refusal, error) {
		f, err := b.store.funding(ctx, number)
		if err != nil || values["account"] == "0" { // the form is still empty
			return nil, payword.Refusal{}, err
		}
		before, refusal, err := b.store.account(ctx, values["account"])
		if err != nil || refusal.Refused() {
			return nil, refusal, err
		}
		code := " " + b.store.currency.Code()
		return []consequence{
			{"The payment " + f.source + " " + f.id, "nobody's", "of " + values["account"]},
			{"Available on the account", adminpage.GroupedDecimal(before.Available) + code, adminpage.GroupedDecimal(before.Available+f.amount-f.reversed) + code},
		}, payword.Refusal{}, nil
	},
	perform: func(ctx context.Context, b *Broker, number string, values map[string]string) (payword.Refusal, error) {
		f, err := b.store.funding(ctx, number)
		if err != nil {
			return payword.Refusal{}, err
		}
		_, refusal, err := b.store.assign(ctx, f.seq, values["account"])
		return refusal, err
	},
}
