package clearing

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

func registerBankPages(p *pages) {
	p.page("GET "+pathBank, (*visit).bankPage)
	p.page("GET "+pathInstruction, (*visit).instructionList)
	p.page("GET "+pathInstruction+"/{id}", (*visit).instructionPage)
}

// orderRow is an order to the bank.
type orderRow struct {
	EndToEnd, RunID, Direction, Kind, Party, Account, Destination, Method, State, Code string

	Number      int
	Currency    money.Currency
	Amount, Fee money.Amount // micros
	Sent        int64        // microseconds since 1970, as are the next; 0: not yet
	Booked      int64
	Ended       int64
}

const orderColumns = `SELECT end_to_end, run_id, number, direction, kind, party, account, currency, amount, fee,
	destination, method, state, code, sent, booked, ended FROM clearing_instructions `

func selectOrders(ctx context.Context, tx *ledger.Tx, where string, arguments ...any) (found []orderRow, err error) {
	err = readRows(ctx, tx, func(scan func(...any) error) error {
		var i orderRow
		err := scan(&i.EndToEnd, &i.RunID, &i.Number, &i.Direction, &i.Kind, &i.Party, &i.Account, (*string)(&i.Currency),
			(*int64)(&i.Amount), (*int64)(&i.Fee), &i.Destination, &i.Method, &i.State, &i.Code, &i.Sent, &i.Booked, &i.Ended)
		found = append(found, i)
		return err
	}, orderColumns+where, arguments...)
	return found, err
}

// answerRow is what the bank said of something.
type answerRow struct {
	Seq, Created                             int64 // Created: microseconds since 1970
	Document, EndToEnd, Says, Direction, Day string
	Code, BankRef, State, Note               string
	Amount                                   money.Amount // micros
	Currency                                 money.Currency
}

func selectAnswers(ctx context.Context, tx *ledger.Tx, where string, arguments ...any) (found []answerRow, err error) {
	err = readRows(ctx, tx, func(scan func(...any) error) error {
		var e answerRow
		err := scan(&e.Seq, &e.Created, &e.Document, &e.EndToEnd, &e.Says, &e.Direction, &e.Day, &e.Code, &e.BankRef, &e.State, &e.Note,
			(*int64)(&e.Amount), (*string)(&e.Currency))
		found = append(found, e)
		return err
	}, `SELECT seq, created, document, end_to_end, says, direction, day, code, bank_ref, state, note, amount, currency
		FROM clearing_bank_entries `+where, arguments...)
	return found, err
}

// documentRow is a file of the bank.
type documentRow struct {
	ID, Kind, MessageID, Operator string
	Entries, Created              int64 // Created: microseconds since 1970
}

// outcomeRow is what the broker is told of the bank's answers about accounts.
type outcomeRow struct {
	Kind, Account, ID, State, Detail string
	Amount                           money.Amount // micros
	Created                          int64        // microseconds since 1970
}

// reserveRow is what is kept for refunds until a day.
type reserveRow struct {
	Day    string
	Count  int64
	Amount money.Amount // micros
}

type bankView struct {
	Ages      []ageRow
	Open      []orderRow // the oldest
	Unmatched []answerRow
	Documents []documentRow
	Outcomes  []outcomeRow // that wait or failed
	Reserves  []reserveRow // the next days on which something is let go
	Returned  []groupRow   // what came back, by the bank's reason
}

func (v *visit) bankPage() {
	s, ctx := v.server, v.R.Context()
	var data bankView
	err := s.db.View(ctx, func(tx *ledger.Tx) (err error) {
		if data.Ages, err = s.openByAge(ctx, tx); err != nil {
			return err
		}
		if data.Open, err = selectOrders(ctx, tx, `WHERE state = 'sent' ORDER BY sent, end_to_end LIMIT ?`, shortList); err != nil {
			return err
		}
		if data.Unmatched, err = selectAnswers(ctx, tx, `WHERE state = 'unmatched' ORDER BY created, seq LIMIT ?`, rowsPerPage); err != nil {
			return err
		}
		return data.readRest(ctx, tx)
	})
	if err != nil {
		v.Unavailable(err)
		return
	}
	v.Show(http.StatusOK, "bank", adminpage.View{Title: "Reconciliation", Section: "bank", Data: data})
}

func (d *bankView) readRest(ctx context.Context, tx *ledger.Tx) error {
	d.Documents, d.Outcomes, d.Reserves, d.Returned = nil, nil, nil, nil
	err := readRows(ctx, tx, func(scan func(...any) error) error {
		var one documentRow
		err := scan(&one.ID, &one.Kind, &one.MessageID, &one.Operator, &one.Entries, &one.Created)
		d.Documents = append(d.Documents, one)
		return err
	}, `SELECT id, kind, message_id, operator, entries, created FROM clearing_bank_documents ORDER BY created DESC, id LIMIT ?`, shortList)
	if err != nil {
		return err
	}
	err = readRows(ctx, tx, func(scan func(...any) error) error {
		var one outcomeRow
		err := scan(&one.Kind, &one.Account, &one.ID, &one.State, &one.Detail, (*int64)(&one.Amount), &one.Created)
		d.Outcomes = append(d.Outcomes, one)
		return err
	}, `SELECT kind, account, id, state, detail, amount, created FROM broker_outcomes WHERE state <> 'applied' ORDER BY seq LIMIT ?`, rowsPerPage)
	if err != nil {
		return err
	}
	err = readRows(ctx, tx, func(scan func(...any) error) error {
		var one reserveRow
		var until int64
		err := scan(&until, &one.Count, (*int64)(&one.Amount))
		one.Day = time.Unix(until, 0).UTC().Format(time.DateOnly)
		d.Reserves = append(d.Reserves, one)
		return err
	}, `SELECT until, COUNT(*), CAST(SUM(amount) AS BIGINT) FROM clearing_reserves WHERE state = 'held' GROUP BY until ORDER BY until LIMIT ?`, shortList)
	if err != nil {
		return err
	}
	return readRows(ctx, tx, func(scan func(...any) error) error {
		var one groupRow
		err := scan(&one.Name, &one.Other, &one.Count, (*int64)(&one.Amount))
		d.Returned = append(d.Returned, one)
		return err
	}, `SELECT state, code, COUNT(*), CAST(SUM(amount) AS BIGINT) FROM clearing_instructions WHERE state IN ('rejected', 'returned')
		GROUP BY state, code ORDER BY COUNT(*) DESC, code LIMIT ?`, shortList)
}

type instructionListView struct {
	Orders  []orderRow
	Next    string // what the next page is after; "": this is the last
	IsFirst bool
}

// instructionList shows the orders that the bank has not booked, the oldest
// first.
func (v *visit) instructionList() {
	after, id := adminpage.NumberIn(v.R, "sent"), v.R.URL.Query().Get("after")
	data := instructionListView{IsFirst: id == ""}
	err := v.server.db.View(v.R.Context(), func(tx *ledger.Tx) (err error) {
		data.Orders, err = selectOrders(v.R.Context(), tx, `WHERE state = 'sent' AND (sent > ? OR sent = ? AND end_to_end > ?)
			ORDER BY sent, end_to_end LIMIT ?`, after, after, id, rowsPerPage+1)
		return err
	})
	if err != nil {
		v.Unavailable(err)
		return
	}
	if len(data.Orders) > rowsPerPage {
		data.Orders = data.Orders[:rowsPerPage]
		data.Next = nextInstruction(data.Orders[rowsPerPage-1])
	}
	v.Show(http.StatusOK, "instructions", adminpage.View{Title: "Open orders", Section: "bank", Data: data})
}

func nextInstruction(last orderRow) string {
	return adminpage.WithQuery(adminpage.WithQuery(pathInstruction, "sent", money.Amount(last.Sent).String()), "after", last.EndToEnd)
}

type instructionView struct {
	Order     orderRow
	Entries   []answerRow
	Transfers []ledger.Transfer
	Reserve   *reserveRow // what is kept of it; nil: nothing was
	Kept      string      // the state of the reserve
	Audit     []adminpage.AuditRow
}

// instructionPage shows an order to the bank with all that became of it.
func (v *visit) instructionPage() {
	s, ctx, id := v.server, v.R.Context(), v.R.PathValue("id")
	var data instructionView
	err := s.db.View(ctx, func(tx *ledger.Tx) error {
		data = instructionView{}
		orders, err := selectOrders(ctx, tx, `WHERE end_to_end = ?`, id)
		if err != nil {
			return err
		}
		if len(orders) == 0 {
			return adminpage.ErrNotFound
		}
		data.Order = orders[0]
		if data.Entries, err = selectAnswers(ctx, tx, `WHERE end_to_end = ? ORDER BY seq LIMIT ?`, id, rowsPerPage); err != nil {
			return err
		}
		if data.Transfers, err = transfersOf(ctx, tx, id); err != nil {
			return err
		}
		return data.readReserve(ctx, tx)
	})
	if err == nil {
		var found adminpage.AuditFound
		log := adminpage.AuditLog{Table: "clearing_audit", View: s.db.View}
		found, err = log.Page(ctx, adminpage.AuditFilter{Subject: "instruction:" + id}, shortList)
		data.Audit = found.Rows
	}
	if err != nil {
		v.Failed(err)
		return
	}
	v.Show(http.StatusOK, "instruction", adminpage.View{Title: "Order " + id, Section: "bank", Data: data})
}

// transfersOf returns the transfers that an order made in the ledger.
func transfersOf(ctx context.Context, tx *ledger.Tx, endToEnd string) ([]ledger.Transfer, error) {
	first, err := tx.Transfer(ctx, "settle/"+endToEnd)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, nil // a payout of an account, or a direct debit
	}
	if err != nil {
		return nil, err
	}
	others, err := tx.Below(ctx, "settle/"+endToEnd, ledger.MaxPage)
	return append([]ledger.Transfer{first}, others...), err
}

func (d *instructionView) readReserve(ctx context.Context, tx *ledger.Tx) error {
	var until int64
	var kept reserveRow
	err := tx.QueryRowContext(ctx, `SELECT amount, until, state FROM clearing_reserves WHERE end_to_end = ?`, d.Order.EndToEnd).
		Scan((*int64)(&kept.Amount), &until, &d.Kept)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	kept.Day = time.Unix(until, 0).UTC().Format(time.DateOnly)
	d.Reserve = &kept
	return err
}

// outcomeNames are what the broker is told, in words.
var outcomeNames = map[string]string{
	"payout-paid": "a payout was paid", "payout-refused": "the bank refused a payout", "payout-returned": "a payout came back",
	"debit-collected": "a direct debit was collected", "debit-returned": "a direct debit came back",
}

// destinationForPeople writes where money goes.
func destinationForPeople(destination string) string {
	kind, rest, found := strings.Cut(destination, ":")
	if !found {
		return destination
	}
	switch kind {
	case "iban":
		return "IBAN " + rest
	case "ach":
		return "ACH " + rest
	case "mandate":
		return "mandate " + rest
	}
	return rest
}
