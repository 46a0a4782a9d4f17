package broker

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/money"
)

// series are the flows that the overview draws.
var series = []struct {
	id, title string
	chosen    func(flow) bool
}{
	{"funded", "Funded", func(f flow) bool { return isSource(f.debit) }},
	{"reserved", "Reserved", func(f flow) bool { return f.debit == groupAvailable && f.credit == groupReserved }},
	{"redeemed", "Redeemed", func(f flow) bool { return f.credit == groupPayable && f.debit != bankOut }},
	{"released", "Released", func(f flow) bool { return f.debit == groupReserved && f.credit == groupAvailable }},
	{"paid-out", "Paid out", func(f flow) bool { return f.credit == bankOut }},
}

// figure is a sum with its name.
type figure struct {
	Name   string
	Amount money.Amount // micros
	Hint   string
}

type overview struct {
	Figures []figure
	Flows   adminpage.Charts
	Check   *bookCheck
}

// firstDay returns the first of so many days up to today.
func (b *Broker) firstDay(days int) int64 { return b.now()/secondsPerDay - int64(days) + 1 }

func (v *visit) overview() {
	b := v.pages.broker
	days := adminpage.DaysIn(v.R)
	first := b.firstDay(days)
	flows, err := b.store.flowsSince(v.R.Context(), first)
	if err != nil {
		v.Unavailable(err)
		return
	}
	check, err := b.store.lastCheck(v.R.Context())
	if err != nil {
		v.Unavailable(err)
		return
	}
	data := overview{
		Figures: figuresOf(flows), Flows: flowView(flows, first, days, b.store.currency.Code()),
		Check: check,
	}
	notice := ""
	if v.R.URL.Query().Get("done") == "check" {
		notice = "A check of the books was asked for. Load the page again to see what it found."
	}
	v.Show(http.StatusOK, "overview", view{Title: "Overview", Section: "overview", Notice: notice, Data: data})
}

// groupNames are what the groups of accounts are called that not every broker
// has.
var groupNames = map[string]string{
	"broker:unassigned": "Came in for nobody", "broker:vouchers:open": "Vouchers, open", "user:owed": "Users, owed",
}

// figuresOf returns the sums over all accounts.
func figuresOf(flows moneyFlows) []figure {
	in := flows.sum(0, func(f flow) bool { return isSource(f.debit) }).amount
	back := flows.sum(0, func(f flow) bool { return isSource(f.credit) && f.credit != vouchersIn }).amount
	cancelled := flows.sum(0, func(f flow) bool { return f.credit == vouchersIn }).amount
	out := flows.sum(0, func(f flow) bool { return f.credit == bankOut }).amount
	figures := []figure{
		{"Users, free", flows.balance(groupAvailable), "their balances, without credit lines"},
		{"Users, reserved", flows.balance(groupReserved), "set aside for commitments"},
		{"Vendors, payable", flows.balance(groupPayable), "owed for what was claimed"},
		{"Fees", flows.balance(fees), "earned by the broker"},
		{"Money in", in, "ever funded from outside, and vouchers made"},
		{"Money out", out, "ever paid out"},
	}
	if back > 0 {
		figures = append(figures, figure{"Taken back", back, "refunded or disputed after it came in"})
	}
	if cancelled > 0 {
		figures = append(figures, figure{"Vouchers, cancelled", cancelled, "taken back unsold; still in Money in"})
	}
	listed := []string{groupAvailable, groupReserved, groupPayable, fees, bankOut}
	var others []string
	for between := range flows.days[0] {
		for _, group := range []string{between.debit, between.credit} {
			if !isSource(group) && !slices.Contains(listed, group) && !slices.Contains(others, group) {
				others = append(others, group)
			}
		}
	}
	slices.Sort(others)
	for _, group := range others {
		figures = append(figures, figure{cmp.Or(groupNames[group], "Account "+group), flows.balance(group), "in accounts of the ledger"})
	}
	return figures
}

// flowView draws the flows of so many days from the first one on.
func flowView(flows moneyFlows, first int64, days int, code string) adminpage.Charts {
	var columns []adminpage.Series
	for _, one := range series {
		column := adminpage.Series{ID: one.id, Title: one.title, Amounts: make([]money.Amount, days)}
		for day := range days {
			column.Amounts[day] = flows.sum(first+int64(day), one.chosen).amount
		}
		columns = append(columns, column)
	}
	drawn := adminpage.DayCharts(code, first, columns)
	drawn.Base, drawn.AsOf = pathPages+"?", flows.asOf
	return drawn
}

// startCheck asks for a check of the books, which may take minutes and is done
// beside the other background work. There is one at a time.
func (v *visit) startCheck() {
	select {
	case v.pages.broker.checks <- struct{}{}:
	default: // one was asked for already
	}
	v.Redirect(pathPages + "?done=check#books")
}

// find leads to whatever has the id that was typed in.
func (v *visit) find() {
	typed := strings.TrimSpace(v.R.URL.Query().Get("q"))
	target, err := v.pages.broker.findByID(v.R.Context(), typed)
	switch {
	case err != nil:
		v.Unavailable(err)
	case target != "":
		v.Redirect(target)
	default:
		v.Show(http.StatusNotFound, "find", view{Title: "Nothing found", Data: typed})
	}
}

// findByID returns the page of an account, a key of one, a commitment, or a
// vendor; "" if there is none.
func (b *Broker) findByID(ctx context.Context, id string) (string, error) {
	if isRandomID(id) {
		_, refusal, err := b.store.account(ctx, id)
		if err != nil || refusal.Refused() {
			return "", err
		}
		return pathAccountPages + "/" + id, nil
	}
	if payword.CheckOrigin(id) == nil {
		isKnown, err := b.store.hasVendor(ctx, id)
		if err != nil || !isKnown {
			return "", err
		}
		return pathVendorPage + "?vendor=" + url.QueryEscape(id), nil
	}
	if commitment := (payword.CommitmentID{}); commitment.UnmarshalText([]byte(id)) == nil {
		_, err := b.store.commitment(ctx, commitment)
		if err == nil {
			return pathCommitmentPages + "/" + id, nil
		}
		return "", ignoreNotFound(err)
	}
	return b.findByKey(ctx, id)
}

// findByKey returns the page of whose key that is.
func (b *Broker) findByKey(ctx context.Context, keyID string) (string, error) {
	if len(keyID) != len(payword.Thumbprint(nil)) {
		return "", nil
	}
	account, _, err := b.store.accountOf(ctx, keyID)
	if err != nil {
		return "", err
	}
	if account != "" {
		return pathAccountPages + "/" + account, nil
	}
	vendor, err := b.store.vendorOf(ctx, keyID)
	if err != nil || vendor == "" {
		return "", err
	}
	return pathVendorPage + "?vendor=" + url.QueryEscape(vendor), nil
}
