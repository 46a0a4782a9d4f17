package broker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const pathAccountPages = "/admin/accounts"

// accountActions are what operators do to an account.
var accountActions = []*action{
	fundAction, creditAction, limitsAction, holderAction, ageAction, revokeAction, blockAction, unblockAction,
}

// actionsOnAccount returns what can be done to an account in that state.
func actionsOnAccount(state string) []*action {
	possible := []*action{fundAction, creditAction, limitsAction, holderAction, ageAction, revokeAction}
	switch state {
	case stateOpen:
		return append(possible, blockAction)
	case stateBlocked:
		return append(possible, unblockAction)
	case stateClosed:
		return []*action{holderAction}
	}
	return possible
}

func registerAccountPages(p *pages) {
	p.page("GET "+pathAccountPages, (*visit).accountList)
	p.page("GET "+pathAccountPages+"/{account}", (*visit).accountPage)
	for _, a := range accountActions {
		show := func(v *visit) {
			account := v.R.PathValue("account")
			v.act(a, account, pathAccountPages+"/"+account)
		}
		p.page("GET "+pathAccountPages+"/{account}/"+a.word, show)
		p.page("POST "+pathAccountPages+"/{account}/"+a.word, show)
	}
}

// amountProblem says what is wrong with an amount that was typed.
func amountProblem(text string, least money.Amount) string {
	amount, err := money.ParseDecimal(text)
	if err != nil {
		return "Want a number such as 1250.00, with a point and at most six digits after it, and no commas."
	}
	if amount < least {
		return "Want more than 0."
	}
	return ""
}

// problemIn returns what is wrong with one field, by its name.
func problemIn(name, problem string) map[string]string {
	if problem == "" {
		return nil
	}
	return map[string]string{name: problem}
}

var fundAction = &action{
	word: "fund", title: "Fund the account", button: "Book it", done: "The payment is booked.",
	fields: []field{
		{Name: "amount", Label: "Amount", Hint: "What came in, such as 20.00.", Mode: "decimal"},
		{Name: "payment", Label: "Reference of the payment", IsOptional: true,
			Hint: "Such as the bank's. Letters, digits and . _ : - ; the same reference is booked once. Empty: the form's own."},
	},
	read: func(values map[string]string) map[string]string {
		problems := map[string]string{"amount": amountProblem(values["amount"], 1), "payment": ""}
		if values["payment"] != "" && !isFundingID(values["payment"]) {
			problems["payment"] = "Want 1 to 100 letters, digits and . _ : - without spaces."
		}
		return keepProblems(problems)
	},
	foresee: foreseeFunding,
	perform: func(ctx context.Context, b *Broker, account string, values map[string]string) (payword.Refusal, error) {
		amount, err := money.ParseDecimal(values["amount"])
		if err != nil {
			return payword.Refusal{}, err
		}
		_, refusal, err := b.Fund(ctx, fundingIDOf(values), account, amount)
		return refusal, err
	},
}

// keepProblems leaves out the fields that nothing is wrong with.
func keepProblems(problems map[string]string) map[string]string {
	for name, problem := range problems {
		if problem == "" {
			delete(problems, name)
		}
	}
	return problems
}

// fundingIDOf returns the id that a funding is booked under: what was typed, or
// one that stays the same however often the form is sent.
func fundingIDOf(values map[string]string) string {
	if values["payment"] != "" {
		return values["payment"]
	}
	return "form-" + values["form"]
}

func foreseeFunding(ctx context.Context, b *Broker, account string, values map[string]string) ([]consequence, payword.Refusal, error) {
	before, refusal, err := b.store.account(ctx, account)
	if err != nil || refusal.Refused() {
		return nil, refusal, err
	}
	amount, err := money.ParseDecimal(values["amount"])
	if err != nil {
		return nil, payword.Refusal{}, err
	}
	booked, err := b.store.bookedFunding(ctx, fundingIDOf(values))
	if err != nil {
		return nil, payword.Refusal{}, err
	}
	if booked != nil {
		return []consequence{{"Nothing: this payment was booked already", time.UnixMicro(booked.created).UTC().Format(time.DateTime) + " UTC",
			adminpage.GroupedDecimal(booked.amount) + " " + b.store.currency.Code() + " on " + booked.account}}, payword.Refusal{}, nil
	}
	code := " " + b.store.currency.Code()
	return []consequence{
		{"Comes in", "", adminpage.GroupedDecimal(amount) + code},
		{"Available on the account", adminpage.GroupedDecimal(before.Available) + code, adminpage.GroupedDecimal(before.Available+amount) + code},
		{"Booked as the payment", "", fundingIDOf(values)},
	}, payword.Refusal{}, nil
}

// bookedFunding returns a payment that was booked by hand before, or nil.
func (s *store) bookedFunding(ctx context.Context, id string) (known *fundingRecord, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		f, found, err := fundingOf(ctx, tx, sourceBank, id)
		if known = nil; found {
			known = &f
		}
		return err
	})
	return known, err
}

var creditAction = &action{
	word: "credit", title: "Set the credit line", button: "Set it", done: "The credit line is set.",
	fields: []field{{Name: "credit", Label: "Credit line", Hint: "How far below zero the balance may go, such as 20.00. 0 makes it a prepaid account.", Mode: "decimal"}},
	read: func(values map[string]string) map[string]string {
		return problemIn("credit", amountProblem(values["credit"], 0))
	},
	foresee: func(ctx context.Context, b *Broker, account string, values map[string]string) ([]consequence, payword.Refusal, error) {
		before, refusal, err := b.store.account(ctx, account)
		if err != nil || refusal.Refused() {
			return nil, refusal, err
		}
		credit, err := money.ParseDecimal(values["credit"])
		code := " " + b.store.currency.Code()
		return []consequence{
			{"Credit line", adminpage.GroupedDecimal(before.Credit) + code, adminpage.GroupedDecimal(credit) + code},
			{"The user can spend at most", adminpage.GroupedDecimal(before.Available) + code, adminpage.GroupedDecimal(before.Available-before.Credit+credit) + code},
		}, payword.Refusal{}, err
	},
	perform: func(ctx context.Context, b *Broker, account string, values map[string]string) (payword.Refusal, error) {
		credit, err := money.ParseDecimal(values["credit"])
		if err != nil {
			return payword.Refusal{}, err
		}
		before, refusal, err := b.store.account(ctx, account)
		if err != nil || refusal.Refused() || before.Credit == credit {
			return refusal, err // the form was sent twice
		}
		_, refusal, err = b.SetCredit(ctx, account, credit)
		return refusal, err
	},
}

var ageAction = &action{
	word: "age", title: "Record a proven age", button: "Record it", done: "The age is recorded.",
	fields: []field{{Name: "age", Label: "Years", Hint: "The least age that the owner has proved, 0 to 150. 0: nothing is proved.", Mode: "numeric"}},
	read: func(values map[string]string) map[string]string {
		years, err := strconv.Atoi(values["age"])
		if err != nil || years < 0 || years > 150 {
			return problemIn("age", "Want a whole number of years from 0 to 150.")
		}
		return nil
	},
	foresee: func(ctx context.Context, b *Broker, account string, values map[string]string) ([]consequence, payword.Refusal, error) {
		before, err := b.store.owner(ctx, account)
		if errors.Is(err, errNotFound) {
			return nil, unknownAccount(), nil
		}
		return []consequence{{"Certificates issued from now on say at least", fmt.Sprintf("%d years", before.Age), values["age"] + " years"}},
			payword.Refusal{}, err
	},
	perform: func(ctx context.Context, b *Broker, account string, values map[string]string) (payword.Refusal, error) {
		years, err := strconv.Atoi(values["age"])
		if err != nil {
			return payword.Refusal{}, err
		}
		before, err := b.store.owner(ctx, account)
		if err != nil || before.Age == years {
			return payword.Refusal{}, err
		}
		return b.SetAge(ctx, account, years)
	},
}

var revokeAction = &action{
	word: "revoke", title: "Revoke certificates", button: "Revoke for ever", done: "The certificates are revoked.",
	fields: []field{{Name: "subject", Label: "Pseudonym", IsOptional: true,
		Hint: "One pseudonym of the list of certificates. Empty: all certificates of the account."}},
	read: func(values map[string]string) map[string]string {
		if values["subject"] != "" && !isRandomID(values["subject"]) {
			return problemIn("subject", "Want 16 letters and digits from the list of certificates, or nothing.")
		}
		return nil
	},
	foresee: func(ctx context.Context, b *Broker, account string, values map[string]string) ([]consequence, payword.Refusal, error) {
		_, refusal, err := b.store.account(ctx, account)
		which := "All certificates of the account"
		if values["subject"] != "" {
			which = "The certificates of " + values["subject"]
		}
		return []consequence{{which, "as they are", "on the hot list, for ever"}, {"What was reserved", "redeemable", "redeemable"}}, refusal, err
	},
	perform: func(ctx context.Context, b *Broker, account string, values map[string]string) (payword.Refusal, error) {
		_, refusal, err := b.store.revokeAccount(ctx, account, values["subject"])
		return refusal, err
	},
}

// accountOwner is what the broker knows of the owner of an account.
type accountOwner struct {
	ID, KeyID string
	Age       int   // years, proven
	Created   int64 // microseconds since 1970
}

func (s *store) owner(ctx context.Context, account string) (found accountOwner, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		found = accountOwner{ID: account}
		err := tx.QueryRowContext(ctx, `SELECT key_id, age, created FROM broker_accounts WHERE id = ?`, account).
			Scan(&found.KeyID, &found.Age, &found.Created)
		if errors.Is(err, sql.ErrNoRows) {
			return errNotFound
		}
		return err
	})
	return found, err
}

type accountListView struct {
	Accounts []payword.Account
	Next     string // what the next page begins after; "": this is the last
	IsFirst  bool
}

func (v *visit) accountList() {
	after := v.R.URL.Query().Get("after")
	accounts, err := v.pages.broker.store.accounts(v.R.Context(), after, rowsPerPage+1)
	if err != nil {
		v.Unavailable(err)
		return
	}
	data := accountListView{IsFirst: after == ""}
	data.Accounts, data.Next = cut(accounts, Listing{Limit: rowsPerPage}, func(one payword.Account) string { return one.Account })
	v.Show(http.StatusOK, "accounts", view{Title: "Accounts", Section: "accounts", Data: data})
}

// certificateRow is a certificate as a page lists it.
type certificateRow struct {
	Subject, KeyID   string
	Created, Expires int64 // microseconds, and seconds since 1970
	IsRevoked        bool
	IsValid          bool
}

// commitmentRow is a commitment as a page lists it.
type commitmentRow struct {
	Seq                  int64
	ID, Account, Vendor  string
	Reserved, Held, Paid money.Amount // micros
	IsClosed             bool
	Created              int64 // microseconds since 1970
}

type accountView struct {
	Owner        accountOwner
	Account      payword.Account
	Details      accountDetails
	Limits       []limitRow
	Actions      []*action
	Certificates []certificateRow
	Commitments  []commitmentRow
	Entries      []ledger.Transfer
	NextEntry    int64 // 0: this page has the oldest
	Audit        []adminpage.AuditRow
}

// Word and Title tell templates what an action is.
func (a *action) Word() string { return a.word }

// Title tells templates what an action is called.
func (a *action) Title() string { return a.title }

// doneNotice returns what the page of a subject says after an action.
func doneNotice(actions []*action, word string) string {
	for _, a := range actions {
		if a.word == word {
			return a.done
		}
	}
	return ""
}

func (v *visit) accountPage() {
	data, err := v.accountView(v.R.Context(), v.R.PathValue("account"))
	if err != nil {
		v.Failed(err)
		return
	}
	v.Show(http.StatusOK, "account", view{
		Title: "Account " + data.Owner.ID, Section: "accounts", Data: data,
		Notice: doneNotice(accountActions, v.R.URL.Query().Get("done")),
	})
}

func (v *visit) accountView(ctx context.Context, id string) (data accountView, err error) {
	s := v.pages.broker.store
	account, refusal, err := s.account(ctx, id)
	if err != nil || refusal.Refused() {
		return data, errors.Join(err, notFoundIf(refusal))
	}
	data = accountView{Account: account, Actions: actionsOnAccount(account.State)}
	if data.Details, refusal, err = s.details(ctx, id); err != nil || refusal.Refused() {
		return data, errors.Join(err, notFoundIf(refusal))
	}
	data.Limits = limitRows(data.Details.Limits)
	if data.Owner, err = s.owner(ctx, id); err != nil {
		return data, err
	}
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		var err error
		if data.Certificates, err = certificateRows(ctx, tx, id, tx.Now().Unix()); err != nil {
			return err
		}
		data.Commitments, err = commitmentRows(ctx, tx, `WHERE account = ? ORDER BY seq DESC LIMIT ?`, id, shortList)
		return err
	})
	if err != nil {
		return data, err
	}
	if data.Entries, data.NextEntry, err = s.entryPage(ctx, []string{availableAccount(id), reservedAccount(id), owedAccount(id)}, adminpage.NumberIn(v.R, "before")); err != nil {
		return data, err
	}
	found, err := s.auditLog().Page(ctx, adminpage.AuditFilter{Subject: "account:" + id}, shortList)
	data.Audit = found.Rows
	return data, err
}

// shortList is how many rows a list has on a page that shows several.
const shortList = 20

// notFoundIf returns errNotFound for a refusal.
func notFoundIf(refusal payword.Refusal) error {
	if refusal.Refused() {
		return errNotFound
	}
	return nil
}

// ignoreNotFound returns an error unless it is errNotFound.
func ignoreNotFound(err error) error {
	if errors.Is(err, errNotFound) {
		return nil
	}
	return err
}

// entryPage returns the newest entries of accounts of the ledger that were made
// before the one with the given seq (0: of all), and where the next page
// begins, 0 if there is none.
func (s *store) entryPage(ctx context.Context, accounts []string, before int64) (entries []ledger.Transfer, next int64, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		entries, err = tx.LatestEntries(ctx, accounts, before, rowsPerPage+1)
		return err
	})
	if len(entries) > rowsPerPage {
		entries = entries[:rowsPerPage]
		next = entries[rowsPerPage-1].Seq
	}
	return entries, next, err
}

// certificateRows returns the certificates of an account that expire last.
func certificateRows(ctx context.Context, tx *ledger.Tx, account string, now int64) (found []certificateRow, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT subject, key_id, created, expires, revoked FROM broker_certificates
		WHERE account = ? ORDER BY expires DESC LIMIT ?`, account, shortList)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var row certificateRow
		var revoked int64
		if err := rows.Scan(&row.Subject, &row.KeyID, &row.Created, &row.Expires, &revoked); err != nil {
			return nil, err
		}
		row.IsRevoked, row.IsValid = revoked != 0, now < row.Expires
		found = append(found, row)
	}
	return found, rows.Err()
}

// commitmentRows returns the commitments that the rest of a query chooses.
func commitmentRows(ctx context.Context, tx *ledger.Tx, where string, arguments ...any) (found []commitmentRow, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT seq, id, account, vendor, reserved, held, paid, closed, created FROM broker_commitments `+where, arguments...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var row commitmentRow
		err := rows.Scan(&row.Seq, &row.ID, &row.Account, &row.Vendor, &row.Reserved, &row.Held, &row.Paid, &row.IsClosed, &row.Created)
		if err != nil {
			return nil, err
		}
		found = append(found, row)
	}
	return found, rows.Err()
}
