package clearing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/paywordhq/payword/clearing/bankfile"
	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// formOverhead is what a form has around its file, in bytes.
const formOverhead = 16 << 10

func documentPath(id string) string { return pathBank + "/documents/" + id }

// takeFile reads a file of the bank. One is read at a time, for each is held in
// memory.
func (v *visit) takeFile() {
	s := v.server
	if !s.reading.TryLock() {
		v.Message(http.StatusConflict, "Another file is being read", "Send this one when that is done. Nothing was done with it.")
		return
	}
	defer s.reading.Unlock()
	content, err := fileIn(v.R)
	if err != nil {
		v.Message(http.StatusUnprocessableEntity, "This file was not taken", "The form has no file. Nothing was done.")
		return
	}
	if _, err := bankfile.Read(content); err != nil {
		v.Message(http.StatusUnprocessableEntity, "This file was not taken", upperFirst(err.Error())+". Nothing was done.")
		return
	}
	// What is begun goes on when the browser goes away.
	ctx, cancel := context.WithCancel(context.WithoutCancel(v.R.Context()))
	defer cancel()
	defer context.AfterFunc(s.base, cancel)()
	report, err := Import(ctx, s.db, content)
	switch {
	case errors.Is(err, ErrMessageDiffers):
		v.Message(http.StatusConflict, "This file was not taken", upperFirst(err.Error())+". Nothing was done.")
	case err != nil:
		v.Unavailable(err)
	case report.Known:
		v.Redirect(adminpage.WithQuery(documentPath(report.Document), "done", "known"))
	default:
		v.Redirect(adminpage.WithQuery(documentPath(report.Document), "done", "read"))
	}
}

// fileIn returns the file of a form.
func fileIn(r *http.Request) ([]byte, error) {
	file, _, err := r.FormFile("file")
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(file) // within the bound of the whole body
	return content, errors.Join(err, file.Close())
}

// documentNotices are what a page says after a file was read.
var documentNotices = map[string]string{
	"read":  "The file was read.",
	"known": "This file was read before. Nothing was changed.",
}

type documentView struct {
	Document documentRow
	States   []groupRow // its entries by what became of them
	Entries  []BankEntry
	Next     int64 // the number that the next page is after; 0: this is the last
	IsFirst  bool
}

// documentPage shows a file of the bank, entry by entry.
func (v *visit) documentPage() {
	ctx, id, after := v.R.Context(), v.R.PathValue("id"), adminpage.NumberIn(v.R, "after")
	data := documentView{IsFirst: after == 0}
	err := v.server.db.View(ctx, func(tx *ledger.Tx) error {
		documents, err := selectDocuments(ctx, tx, `WHERE id = ?`, id)
		if err != nil {
			return err
		}
		if len(documents) == 0 {
			return adminpage.ErrNotFound
		}
		data.Document, data.States = documents[0], nil
		if data.Entries, err = selectEntries(ctx, tx, `WHERE document = ? AND number > ? ORDER BY number LIMIT ?`, id, after, rowsPerPage+1); err != nil {
			return err
		}
		return tx.Each(ctx, func(scan func(...any) error) error {
			var one groupRow
			err := scan(&one.Name, &one.Count)
			data.States = append(data.States, one)
			return err
		}, `SELECT state, COUNT(*) FROM clearing_bank_entries WHERE document = ? GROUP BY state ORDER BY state`, id)
	})
	if err != nil {
		v.Failed(err)
		return
	}
	if len(data.Entries) > rowsPerPage {
		data.Entries = data.Entries[:rowsPerPage]
		data.Next = int64(data.Entries[rowsPerPage-1].Number)
	}
	v.Show(http.StatusOK, "document", adminpage.View{
		Title: "File of the bank, " + data.Document.Kind, Section: "bank", Data: data, Notice: documentNotices[v.R.URL.Query().Get("done")],
	})
}

// maxNote is how long a note may be that an operator writes, in characters.
const maxNote = 200

// noteProblem says what is wrong with a note.
func noteProblem(note string) string {
	if utf8.RuneCountInString(note) > maxNote || strings.ContainsFunc(note, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return fmt.Sprintf("Want one line of at most %d characters.", maxNote)
	}
	return ""
}

// readNote checks the field "note".
func readNote(values map[string]string) map[string]string {
	if problem := noteProblem(values["note"]); problem != "" {
		return map[string]string{"note": problem}
	}
	return nil
}

// resolveAction says of an entry that matches nothing what became of it.
func (s *Server) resolveAction() *adminpage.Action {
	return &adminpage.Action{
		Word: "resolve", Title: "Resolve an entry of the bank", Button: "It is resolved", Done: "The entry is resolved.",
		Fields: []adminpage.Field{{Name: "note", Label: "What became of it", IsLong: true,
			Hint: "For those who look later, such as: paid in by the owner of the company. Nothing is booked."}},
		Read: readNote,
		Foresee: func(ctx context.Context, seq string, values map[string]string) ([]adminpage.Consequence, error) {
			e, err := s.entry(ctx, seq)
			if err != nil {
				return nil, err
			}
			if e.State != EntryUnmatched {
				return nil, &adminpage.Refused{Status: http.StatusConflict, Text: "This entry is " + e.State + " already."}
			}
			return []adminpage.Consequence{
				{What: entryInWords(e), Before: e.State, After: EntryResolved},
				{What: "Because", Before: e.Note, After: values["note"]},
			}, nil
		},
		Perform: func(ctx context.Context, seq string, values map[string]string) error {
			e, err := s.entry(ctx, seq)
			if err != nil {
				return err
			}
			if e.State == EntryResolved && strings.HasPrefix(e.Note, "resolved: "+values["note"]+";") {
				return nil // the form was sent twice
			}
			_, err = Resolve(ctx, s.db, e.Seq, values["note"])
			if errors.Is(err, ErrEntryMatched) {
				return &adminpage.Refused{Status: http.StatusConflict, Text: upperFirst(err.Error()) + "."}
			}
			return err
		},
	}
}

// entry returns an entry of the bank by its number, or adminpage.ErrNotFound.
func (s *Server) entry(ctx context.Context, seq string) (e BankEntry, err error) {
	number, err := strconv.ParseInt(seq, 10, 64)
	if err != nil {
		return e, adminpage.ErrNotFound
	}
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		found, err := selectEntries(ctx, tx, `WHERE seq = ?`, number)
		if err == nil && len(found) == 0 {
			return adminpage.ErrNotFound
		}
		if err == nil {
			e = found[0]
		}
		return err
	})
	return e, err
}

// entryInWords says what the bank said.
func entryInWords(e BankEntry) string {
	words := []string{string(e.Says)}
	for _, word := range []string{e.Direction, e.Day, e.BankRef} {
		if word != "" {
			words = append(words, word)
		}
	}
	if e.Amount > 0 {
		words = append(words, adminpage.GroupedDecimal(e.Amount)+" "+e.Currency.Code())
	}
	return strings.Join(words, ", ")
}

// byHand is what an operator can say that the bank did with an order.
var byHand = []bankfile.Says{bankfile.Booked, bankfile.Rejected, bankfile.Returned}

// canFollow says whether the bank can do that with an order in a state.
func canFollow(state string, says bankfile.Says) bool {
	if state == InstructionSent {
		return says == bankfile.Booked || says == bankfile.Rejected
	}
	return state == InstructionBooked && says == bankfile.Returned
}

// answerAction says of one order what the bank did, where the bank sends no
// files.
func (s *Server) answerAction(says bankfile.Says) *adminpage.Action {
	word := string(says)
	a := &adminpage.Action{
		Word: word, Title: "The bank has " + word + " it", Button: "It has", Done: "It is noted, and booked.",
		Fields: []adminpage.Field{{Name: "note", Label: "How you know", IsLong: true, Hint: "For those who look later, such as the bank’s reference."}},
		Read:   readNote,
	}
	if says != bankfile.Booked {
		a.Fields = append(a.Fields, adminpage.Field{Name: "code", Label: "The bank’s reason", IsOptional: true, Hint: "Such as AC04."})
	}
	a.Foresee = func(ctx context.Context, id string, _ map[string]string) ([]adminpage.Consequence, error) {
		order, err := s.order(ctx, id)
		if err != nil {
			return nil, err
		}
		if !canFollow(order.State, says) {
			return nil, &adminpage.Refused{Status: http.StatusConflict, Text: "This order is " + order.State + ": it cannot become " + word + "."}
		}
		then := adminpage.GroupedDecimal(order.Amount) + " " + order.Currency.Code()
		effects := map[bankfile.Says]string{
			bankfile.Booked: then + " has moved for good", bankfile.Rejected: then + " and the fee are owed as before", bankfile.Returned: then + " and the fee are booked back",
		}
		return []adminpage.Consequence{{What: "The order", Before: order.State, After: word}, {What: "Then", After: effects[says]}}, nil
	}
	a.Perform = func(ctx context.Context, id string, values map[string]string) error {
		order, err := s.order(ctx, id)
		if err != nil || order.State == word {
			return err // the form was sent twice
		}
		answer := ManualAnswer{Says: says, EndToEnd: order.EndToEnd, Code: values["code"], Note: values["note"]}
		if err := answer.check(); err != nil {
			return &adminpage.Refused{Status: http.StatusUnprocessableEntity, Text: upperFirst(err.Error()) + "."}
		}
		report, err := SayByHand(ctx, s.db, answer)
		if err == nil && report.Unmatched > 0 {
			return &adminpage.Refused{Status: http.StatusConflict, Text: "It could not be booked: " + report.Open[0].Note + "."}
		}
		return err
	}
	return a
}

// order returns an order to the bank, or adminpage.ErrNotFound.
func (s *Server) order(ctx context.Context, endToEnd string) (order Instruction, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		found, isThere, err := findInstruction(ctx, tx, endToEnd)
		if err == nil && !isThere {
			return adminpage.ErrNotFound
		}
		order = found
		return err
	})
	return order, err
}

// settleByHandAction says of all open orders of a run that the bank booked them.
func (s *Server) settleByHandAction() *adminpage.Action {
	return &adminpage.Action{
		Word: "booked", Title: "The bank has booked all of it", Button: "It has", Done: "The orders of the run are booked.",
		Fields: []adminpage.Field{{Name: "note", Label: "How you know", IsLong: true, Hint: "For those who look later, such as the bank’s reference."}},
		Read:   readNote,
		Foresee: func(ctx context.Context, id string, _ map[string]string) ([]adminpage.Consequence, error) {
			run, err := s.run(ctx, id)
			if err != nil {
				return nil, err
			}
			count, sum, err := s.openOf(ctx, id)
			if err == nil && count == 0 {
				return nil, &adminpage.Refused{Status: http.StatusConflict, Text: "No order of this run is open."}
			}
			return []adminpage.Consequence{{What: adminpage.Things(count, "order") + " of the run", Before: InstructionSent, After: InstructionBooked},
				{What: "Then", After: adminpage.GroupedDecimal(sum) + " " + run.Currency.Code() + " has moved for good"}}, err
		},
		Perform: func(ctx context.Context, id string, values map[string]string) error {
			if _, err := s.run(ctx, id); err != nil {
				return err
			}
			if count, _, err := s.openOf(ctx, id); err != nil || count == 0 {
				return err // the form was sent twice
			}
			_, err := SayByHand(ctx, s.db, ManualAnswer{Says: bankfile.Booked, RunID: id, Note: values["note"]})
			return err
		},
	}
}

// openOf counts the orders of a run that the bank has not answered.
func (s *Server) openOf(ctx context.Context, runID string) (count int64, sum money.Amount, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		count, sum, err = countAndSum(ctx, tx, `SELECT COUNT(*), COALESCE(CAST(SUM(amount) AS BIGINT), 0) FROM clearing_instructions
			WHERE run_id = ? AND state = 'sent'`, runID)
		return err
	})
	return count, sum, err
}
