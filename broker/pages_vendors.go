package broker

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"net/url"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const (
	pathVendorPages = "/admin/vendors"
	pathVendorPage  = "/admin/vendor" // ?vendor=ORIGIN, which no path can hold
)

// vendorActions are what operators do to a vendor.
var vendorActions = []*action{payOutAction, blockVendorAction, unblockVendorAction}

// actionsOn returns what can be done to a vendor in that state.
func actionsOn(state string) []*action {
	if state == vendorBlocked {
		return []*action{unblockVendorAction}
	}
	return []*action{payOutAction, blockVendorAction}
}

func registerVendorPages(p *pages) {
	p.page("GET "+pathVendorPages, (*visit).vendorList)
	p.page("GET "+pathVendorPage, (*visit).vendorPage)
	for _, a := range vendorActions {
		show := func(v *visit) {
			vendor := v.R.URL.Query().Get("vendor")
			v.act(a, vendor, pathVendorPage+"?vendor="+url.QueryEscape(vendor))
		}
		p.page("GET "+pathVendorPage+"/"+a.word, show)
		p.page("POST "+pathVendorPage+"/"+a.word, show)
	}
}

// vendorRow is a vendor as a page lists it.
type vendorRow struct {
	Vendor  string
	State   string
	Payable money.Amount // micros
	Created int64        // microseconds since 1970
}

type vendorListView struct {
	Vendors []vendorRow
	Next    string // what the next page begins after; "": this is the last
	IsFirst bool
}

func (v *visit) vendorList() {
	after := v.R.URL.Query().Get("after")
	vendors, err := v.pages.broker.store.vendorRows(v.R.Context(), after, rowsPerPage+1)
	if err != nil {
		v.Unavailable(err)
		return
	}
	data := vendorListView{IsFirst: after == ""}
	data.Vendors, data.Next = cut(vendors, Listing{Limit: rowsPerPage}, func(one vendorRow) string { return one.Vendor })
	v.Show(http.StatusOK, "vendors", view{Title: "Vendors", Section: "vendors", Data: data})
}

// vendorRows returns vendors in the order of their origins.
func (s *store) vendorRows(ctx context.Context, after string, limit int) (found []vendorRow, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		found = nil
		rows, err := tx.QueryContext(ctx, `SELECT v.vendor, v.state, v.created, l.balance FROM broker_vendors AS v
			JOIN accounts AS l ON l.id = 'vendor:' || v.vendor || ':payable'
			WHERE v.vendor > ? ORDER BY v.vendor LIMIT ?`, after, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var row vendorRow
			if err := rows.Scan(&row.Vendor, &row.State, &row.Created, &row.Payable); err != nil {
				return err
			}
			found = append(found, row)
		}
		return rows.Err()
	})
	return found, err
}

// hasVendor reports whether a vendor is registered.
func (s *store) hasVendor(ctx context.Context, vendor string) (bool, error) {
	_, err := s.vendorRow(ctx, vendor)
	if errors.Is(err, errNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (s *store) vendorRow(ctx context.Context, vendor string) (row vendorRow, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		row = vendorRow{Vendor: vendor}
		err := tx.QueryRowContext(ctx, `SELECT state, created FROM broker_vendors WHERE vendor = ?`, vendor).Scan(&row.State, &row.Created)
		if errors.Is(err, sql.ErrNoRows) {
			return errNotFound
		}
		if err != nil {
			return err
		}
		account, err := tx.Account(ctx, payableAccount(vendor))
		row.Payable = account.Balance
		return err
	})
	return row, err
}

// vendorOf returns the vendor that registered the key, or "".
func (s *store) vendorOf(ctx context.Context, keyID string) (vendor string, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT vendor FROM broker_vendor_keys WHERE key_id = ? LIMIT 1`, keyID).Scan(&vendor)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	return vendor, err
}

// keyRow is a key as a page lists it.
type keyRow struct {
	ID      string
	Created int64 // microseconds since 1970
}

type vendorView struct {
	Vendor    vendorRow
	Details   vendorDetails
	Actions   []*action
	Keys      []keyRow
	Flows     adminpage.Charts
	Entries   []ledger.Transfer
	NextEntry int64 // 0: this page has the oldest
	Audit     []adminpage.AuditRow
}

func (v *visit) vendorPage() {
	data, err := v.vendorView(v.R.Context(), v.R.URL.Query().Get("vendor"))
	if err != nil {
		v.Failed(err)
		return
	}
	v.Show(http.StatusOK, "vendor", view{
		Title: "Vendor " + data.Vendor.Vendor, Section: "vendors", Data: data,
		Notice: doneNotice(vendorActions, v.R.URL.Query().Get("done")),
	})
}

func (v *visit) vendorView(ctx context.Context, vendor string) (data vendorView, err error) {
	b := v.pages.broker
	if data.Vendor, err = b.store.vendorRow(ctx, vendor); err != nil {
		return data, err
	}
	data.Actions = actionsOn(data.Vendor.State)
	err = b.store.db.View(ctx, func(tx *ledger.Tx) (err error) {
		data.Details, err = b.store.vendorDetailsIn(ctx, tx, vendor)
		return err
	})
	if err != nil {
		return data, err
	}
	if data.Keys, err = b.store.keyRows(ctx, vendor); err != nil {
		return data, err
	}
	days := adminpage.DaysIn(v.R)
	first := b.firstDay(days)
	byDay, asOf, err := b.store.vendorDays(ctx, payableAccount(vendor), first)
	if err != nil {
		return data, err
	}
	data.Flows = vendorFlows(byDay, first, days, b.store.currency.Code())
	data.Flows.AsOf = asOf
	data.Flows.Base = pathVendorPage + "?vendor=" + url.QueryEscape(vendor) + "&"
	if data.Entries, data.NextEntry, err = b.store.entryPage(ctx, []string{payableAccount(vendor)}, adminpage.NumberIn(v.R, "before")); err != nil {
		return data, err
	}
	found, err := b.store.auditLog().Page(ctx, adminpage.AuditFilter{Subject: "vendor:" + vendor}, shortList)
	data.Audit = found.Rows
	return data, err
}

// vendorFlows draws what a vendor redeemed and was paid out.
func vendorFlows(byDay map[int64]vendorDay, first int64, days int, code string) adminpage.Charts {
	redeemed, paidOut := make([]money.Amount, days), make([]money.Amount, days)
	for k := range days {
		redeemed[k], paidOut[k] = byDay[first+int64(k)].redeemed, byDay[first+int64(k)].paidOut
	}
	return adminpage.DayCharts(code, first, []adminpage.Series{
		{ID: "redeemed", Title: "Redeemed", Amounts: redeemed}, {ID: "paid-out", Title: "Paid out", Amounts: paidOut},
	})
}

func (s *store) keyRows(ctx context.Context, vendor string) (found []keyRow, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		found = nil
		rows, err := tx.QueryContext(ctx, `SELECT key_id, created FROM broker_vendor_keys WHERE vendor = ? ORDER BY created DESC, key_id`, vendor)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var row keyRow
			if err := rows.Scan(&row.ID, &row.Created); err != nil {
				return err
			}
			found = append(found, row)
		}
		return rows.Err()
	})
	return found, err
}

// reasonField is why something is done, for whoever reads the audit log.
var reasonField = field{Name: "reason", Label: "Reason", Hint: "For the audit log. The vendor or user is not told.", IsLong: true}

// vendorFor returns a vendor for an action on it. It refuses with UnknownVendor.
func (b *Broker) vendorFor(ctx context.Context, vendor string) (vendorRow, payword.Refusal, error) {
	row, err := b.store.vendorRow(ctx, vendor)
	if errors.Is(err, errNotFound) {
		return row, refuse(payword.UnknownVendor, "there is no such vendor"), nil
	}
	return row, payword.Refusal{}, err
}

// setStateAction is the action that brings a vendor into a state.
func setStateAction(word, title, button, done, state, effect string) *action {
	return &action{
		word: word, title: title, button: button, done: done, fields: []field{reasonField},
		foresee: func(ctx context.Context, b *Broker, vendor string, _ map[string]string) ([]consequence, payword.Refusal, error) {
			before, refusal, err := b.vendorFor(ctx, vendor)
			return []consequence{{"State of the vendor", before.State, state}, {"Then", "", effect}}, refusal, err
		},
		perform: func(ctx context.Context, b *Broker, vendor string, values map[string]string) (payword.Refusal, error) {
			return b.SetVendorState(ctx, vendor, state, values["reason"])
		},
	}
}

var (
	blockVendorAction = setStateAction("block", "Block the vendor", "Block it", "The vendor is blocked.", vendorBlocked,
		"nothing new is reserved for it and nothing is paid out; what was reserved is still paid into its balance")
	unblockVendorAction = setStateAction("unblock", "Open the vendor again", "Open it", "The vendor is open again.", vendorOpen,
		"everything goes on as before")
)

var payOutAction = &action{
	word: "pay-out", title: "Book a payout", button: "Book it", done: "The payout is booked.",
	fields: []field{
		{Name: "amount", Label: "Amount", Hint: "What you have sent to the vendor, such as 250.00.", Mode: "decimal"},
		{Name: "fee", Label: "Fee", Hint: "What the broker keeps beside it. Empty: nothing.", Mode: "decimal", IsOptional: true},
		{Name: "payment", Label: "Reference of the payment", IsOptional: true,
			Hint: "Such as the bank's. Letters, digits and . _ : - ; the same reference is booked once. Empty: the form's own."},
	},
	read: func(values map[string]string) map[string]string {
		problems := map[string]string{"amount": amountProblem(values["amount"], 1)}
		if values["fee"] != "" {
			problems["fee"] = amountProblem(values["fee"], 0)
		}
		if values["payment"] != "" && !isFundingID(values["payment"]) {
			problems["payment"] = "Want 1 to 100 letters, digits and . _ : - without spaces."
		}
		return keepProblems(problems)
	},
	foresee: foreseePayout,
	perform: func(ctx context.Context, b *Broker, vendor string, values map[string]string) (payword.Refusal, error) {
		payout, err := payoutOf(vendor, values)
		if err != nil {
			return payword.Refusal{}, err
		}
		_, refusal, err := b.PayOut(ctx, payout)
		return refusal, err
	},
}

// payoutOf returns the payout that was typed in.
func payoutOf(vendor string, values map[string]string) (Payout, error) {
	payout := Payout{ID: fundingIDOf(values), Vendor: vendor}
	var err, feeErr error
	payout.Amount, err = money.ParseDecimal(values["amount"])
	if values["fee"] != "" {
		payout.Fee, feeErr = money.ParseDecimal(values["fee"])
	}
	return payout, errors.Join(err, feeErr)
}

func foreseePayout(ctx context.Context, b *Broker, vendor string, values map[string]string) ([]consequence, payword.Refusal, error) {
	before, refusal, err := b.vendorFor(ctx, vendor)
	if err != nil || refusal.Refused() {
		return nil, refusal, err
	}
	payout, err := payoutOf(vendor, values)
	if err != nil {
		return nil, payword.Refusal{}, err
	}
	isNew, destination := true, ""
	err = b.store.db.View(ctx, func(tx *ledger.Tx) (err error) {
		if isNew, err = payout.isNew(ctx, tx); err != nil {
			return err
		}
		record, err := loadVendor(ctx, tx, vendor)
		destination = record.destination
		return err
	})
	if err != nil {
		return nil, payword.Refusal{}, err
	}
	code := " " + b.store.currency.Code()
	if !isNew {
		return []consequence{{"Nothing: a payout of that reference was booked already", "", payout.ID}}, payword.Refusal{}, nil
	}
	if destination == "" {
		destination = "nowhere yet: the vendor has named no destination that counts yet"
	}
	return []consequence{
		{"Owed to the vendor", adminpage.GroupedDecimal(before.Payable) + code, adminpage.GroupedDecimal(before.Payable-payout.Amount-payout.Fee) + code},
		{"Of that, sent to the vendor", "", adminpage.GroupedDecimal(payout.Amount) + code},
		{"Of that, kept as a fee", "", adminpage.GroupedDecimal(payout.Fee) + code},
		{"Goes to", "", destination},
		{"Booked as the payment", "", payout.ID},
	}, payword.Refusal{}, nil
}
