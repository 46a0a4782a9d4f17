package clearing

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

func registerBankPages(p *pages) {
	p.page("GET "+pathBank, (*visit).bankPage)
	p.page("GET "+pathBank+"/documents/{id}", (*visit).documentPage)
	p.Upload(pathBank+"/files", bankfile.MaxFileBytes+formOverhead, func(v *adminpage.Visit) { (&visit{v, p.server}).takeFile() })
	p.action(pathBank+"/entries/{seq}", p.server.resolveAction(), func(v *visit) adminpage.Subject {
		return adminpage.Subject{Kind: "Entry", ID: v.R.PathValue("seq"), Path: pathBank, Section: "bank"}
	})
	p.page("GET "+pathInstruction, (*visit).instructionList)
	p.page("GET "+pathInstruction+"/{id}", (*visit).instructionPage)
	for _, says := range byHand {
		p.action(pathInstruction+"/{id}", p.server.answerAction(says), func(v *visit) adminpage.Subject {
			id := v.R.PathValue("id")
			return adminpage.Subject{Kind: "Order", ID: id, Path: instructionPath(id), Section: "bank"}
		})
	}
}

// selectEntries returns the bank's entries that the rest of a query chooses.
func selectEntries(ctx context.Context, tx *ledger.Tx, where string, arguments ...any) (found []BankEntry, err error) {
	err = tx.Each(ctx, func(scan func(...any) error) error {
		e, err := scanBankEntry(scan)
		found = append(found, e)
		return err
	}, entryColumns+where, arguments...)
	return found, err
}

// documentRow is a file of the bank.
type documentRow struct {
	ID, Kind, MessageID, Operator string
	Entries, Created              int64 // Created: microseconds since 1970
}

// bankView is a Reconciliation with what a page shows besides.
type bankView struct {
	Reconciliation
	Ages      []ageRow
	Documents []documentRow
	Returned  []groupRow // what came back, by the bank's reason
}

func (v *visit) bankPage() {
	s, ctx := v.server, v.R.Context()
	var data bankView
	err := s.db.View(ctx, func(tx *ledger.Tx) (err error) {
		data = bankView{}
		if data.Ages, err = s.openByAge(ctx, tx); err != nil {
			return err
		}
		if data.Oldest, err = selectInstructions(ctx, tx, `WHERE state = 'sent' ORDER BY sent, end_to_end LIMIT ?`, shortList); err != nil {
			return err
		}
		for _, part := range []func(context.Context, *ledger.Tx) error{
			data.loadUnmatched, data.loadOutcomes, data.loadDays, data.loadLedger, data.loadReserves, data.readDocuments, data.readReturned,
		} {
			if err := part(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		v.Unavailable(err)
		return
	}
	v.Show(http.StatusOK, "bank", adminpage.View{
		Title: "Reconciliation", Section: "bank", Data: data, Notice: adminpage.DoneNotice(v.R, s.resolveAction()),
	})
}

func (d *bankView) readDocuments(ctx context.Context, tx *ledger.Tx) (err error) {
	d.Documents, err = selectDocuments(ctx, tx, `ORDER BY created DESC, id LIMIT ?`, shortList)
	return err
}

func selectDocuments(ctx context.Context, tx *ledger.Tx, where string, arguments ...any) (found []documentRow, err error) {
	err = tx.Each(ctx, func(scan func(...any) error) error {
		var one documentRow
		err := scan(&one.ID, &one.Kind, &one.MessageID, &one.Operator, &one.Entries, &one.Created)
		found = append(found, one)
		return err
	}, `SELECT id, kind, message_id, operator, entries, created FROM clearing_bank_documents `+where, arguments...)
	return found, err
}

func (d *bankView) readReturned(ctx context.Context, tx *ledger.Tx) error {
	return tx.Each(ctx, func(scan func(...any) error) error {
		var one groupRow
		err := scan(&one.Name, &one.Other, &one.Count, (*int64)(&one.Amount))
		d.Returned = append(d.Returned, one)
		return err
	}, `SELECT state, code, COUNT(*), CAST(SUM(amount) AS BIGINT) FROM clearing_instructions WHERE state IN ('rejected', 'returned')
		GROUP BY state, code ORDER BY COUNT(*) DESC, code LIMIT ?`, shortList)
}

type instructionListView struct {
	Orders  []Instruction
	Next    string // what the next page is after; "": this is the last
	IsFirst bool
}

// instructionList shows the orders that the bank has not booked, the oldest
// first.
func (v *visit) instructionList() {
	after, id := adminpage.NumberIn(v.R, "sent"), v.R.URL.Query().Get("after")
	data := instructionListView{IsFirst: id == ""}
	err := v.server.db.View(v.R.Context(), func(tx *ledger.Tx) (err error) {
		data.Orders, err = selectInstructions(v.R.Context(), tx, `WHERE state = 'sent' AND (sent > ? OR sent = ? AND end_to_end > ?)
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

func nextInstruction(last Instruction) string {
	return adminpage.WithQuery(adminpage.WithQuery(pathInstruction, "sent", money.Amount(last.Sent.UnixMicro()).String()), "after", last.EndToEnd)
}

type instructionView struct {
	Order     Instruction
	Entries   []BankEntry
	Transfers []ledger.Transfer
	Reserve   *ReserveDue // what is kept of it; nil: nothing was
	Kept      string      // the state of the reserve
	Actions   []*adminpage.Action
	Audit     []adminpage.AuditRow
}

// instructionPage shows an order to the bank with all that became of it.
func (v *visit) instructionPage() {
	s, ctx, id := v.server, v.R.Context(), v.R.PathValue("id")
	var data instructionView
	err := s.db.View(ctx, func(tx *ledger.Tx) error {
		data = instructionView{}
		order, isThere, err := findInstruction(ctx, tx, id)
		if err == nil && !isThere {
			err = adminpage.ErrNotFound
		}
		if err != nil {
			return err
		}
		data.Order = order
		if data.Entries, err = selectEntries(ctx, tx, `WHERE end_to_end = ? ORDER BY seq LIMIT ?`, id, rowsPerPage); err != nil {
			return err
		}
		if data.Transfers, err = transfersOf(ctx, tx, order.EndToEnd); err != nil {
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
	var answers []*adminpage.Action
	for _, says := range byHand {
		answers = append(answers, s.answerAction(says))
		if canFollow(data.Order.State, says) {
			data.Actions = append(data.Actions, s.answerAction(says))
		}
	}
	v.Show(http.StatusOK, "instruction", adminpage.View{
		Title: "Order " + id, Section: "bank", Data: data, Notice: adminpage.DoneNotice(v.R, answers...),
	})
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
	var kept ReserveDue
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
