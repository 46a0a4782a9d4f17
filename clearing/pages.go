package clearing

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/internal/ledger"
)

// The pages of clearing: HTML from the server, without script.

//go:embed pages
var pageFiles embed.FS

const (
	pathPages       = "/clearing/"
	pathRuns        = pathPages + "runs"
	pathBank        = pathPages + "bank"
	pathCards       = pathPages + "cards"
	pathBalance     = pathPages + "balance"
	pathHealth      = pathPages + "health"
	pathInstruction = pathPages + "instructions"

	// rowsPerPage is how many rows a list shows.
	rowsPerPage = adminpage.RowsPerPage

	// shortList is how many rows a list has on a page that shows several.
	shortList = 10
)

// pages serves the pages of clearing.
type pages struct {
	*adminpage.Site
	server *Server
}

// visit is one request for a page.
type visit struct {
	*adminpage.Visit
	server *Server
}

// by returns who is at the page, without the token.
func (v *visit) by() Operator {
	o := v.Operator()
	return Operator{Name: o.Name, ReadOnly: o.ReadOnly}
}

var menu = []adminpage.MenuItem{
	{Section: "overview", Path: pathPages, Name: "Overview"},
	{Section: "runs", Path: pathRuns, Name: "Runs"},
	{Section: "bank", Path: pathBank, Name: "Reconciliation"},
	{Section: "cards", Path: pathCards, Name: "Cards"},
	{Section: "balance", Path: pathBalance, Name: "Trial balance"},
	{Section: "audit", Path: pathPages + "audit", Name: "Audit log"},
	{Section: "health", Path: pathHealth, Name: "Health"},
}

func newPages(s *Server) (*pages, error) {
	files, err := fs.Sub(pageFiles, "pages")
	if err != nil {
		return nil, err
	}
	site, err := adminpage.New(adminpage.Config{
		Program: "payword clearing", Self: "Clearing", Subtitle: s.name(), Path: pathPages, FindPath: pathPages + "find",
		Cookie: "payword-clearing", TokenFlag: "--operators", Currency: s.currency.Code(), Menu: menu,
		Files: files, Functions: pageFunctions, SubjectPath: subjectPath,
		Operators: s.siteOperators(), Sessions: s.sessions(),
		AuditLog: adminpage.AuditLog{Table: "clearing_audit", View: s.db.View},
		Act: func(ctx context.Context, who adminpage.Operator) context.Context {
			return withActor(ctx, operatorPrefix+who.Name)
		},
		Now: s.clock, Log: s.log,
	})
	if err != nil {
		return nil, err
	}
	p := &pages{site, s}
	p.page("GET "+pathPages+"{$}", (*visit).overview)
	p.page("GET "+pathPages+"find", (*visit).find)
	p.page("POST "+pathPages+"check", (*visit).startCheck)
	p.page("POST "+pathPages+"recompute", (*visit).startAudit)
	p.page("GET "+pathBalance, (*visit).balancePage)
	p.page("GET "+pathHealth, (*visit).healthPage)
	registerRunPages(p)
	registerBankPages(p)
	registerCardPages(p)
	return p, nil
}

// page registers a page for those who are signed in.
func (p *pages) page(pattern string, show func(*visit)) {
	p.Page(pattern, func(v *adminpage.Visit) { show(&visit{v, p.server}) })
}

// action registers the page of an action. subject finds out what it is about.
func (p *pages) action(path string, a *adminpage.Action, subject func(v *visit) adminpage.Subject) {
	show := func(v *visit) { v.Act(a, subject(v)) }
	p.page("GET "+path+"/"+a.Word, show)
	p.page("POST "+path+"/"+a.Word, show)
}

// name returns whose clearing it is, as the policy says; "": it does not.
func (s *Server) name() string {
	if s.config.Policy == nil {
		return ""
	}
	return s.config.Policy.Name
}

// siteOperators returns who may sign in.
func (s *Server) siteOperators() adminpage.Operators {
	return adminpage.NewOperators("", s.operators)
}

// sessions keeps who is signed in.
func (s *Server) sessions() adminpage.Sessions {
	return adminpage.Sessions{
		Table: "clearing_sessions", View: s.db.View,
		Update: func(ctx context.Context, _ string, change func(tx *ledger.Tx) error) error {
			return s.db.Update(ctx, change)
		},
		Audit: func(ctx context.Context, tx *ledger.Tx, action string, who adminpage.Operator) error {
			return audit(ctx, tx, action, operatorPrefix+who.Name, "")
		},
	}
}

// pageFunctions are what templates can do with values.
var pageFunctions = template.FuncMap{
	"runPath":         runPath,
	"instructionPath": instructionPath,
	"short":           func(hash string) string { return hash[:min(len(hash), hashPrefix)] },
	"reason":          reasonForPeople,
	"reasonText":      func(reason string) string { return reasonForPeople(Reason(reason)) },
	"destination":     destinationForPeople,
	"entryPath":       entryPath,
	"documentPath":    documentPath,
	"cardPath":        cardPath,
	"alarms":          func(mayAct bool, alarms []alarmRow) alarmTable { return alarmTable{mayAct, alarms} },
	"disputes":        func(mayAct bool, disputes []disputeRow) disputeTable { return disputeTable{mayAct, disputes} },
	"outcomeName":     func(kind string) string { return orItself(outcomeNames, kind) },
	"phaseName":       func(phase Phase) string { return orItself(phaseNames, string(phase)) },
	"policyText":      policyForPeople,
	"lines":           func(label string, lines []Line) lineTable { return lineTable{label, lines} },
	"entries": func(label string, mayChange bool, entries []BankEntry) entryTable {
		return entryTable{label, mayChange, entries}
	},
	"kindName":   func(kind string) string { return orItself(kindNames, kind) },
	"methodName": func(method string) string { return orItself(methodNames, method) },
	"stateName":  func(state string) string { return orItself(stateNames, state) },
	"isSet":      func(t time.Time) bool { return !t.IsZero() },
}

// The words for people.
var (
	kindNames = map[string]string{
		KindVendor: "Vendors", KindMerchant: "Merchants with cards", KindAccountPayout: "Payouts of accounts", KindCollection: "Direct debits",
	}
	methodNames = map[string]string{
		MethodCreditTransfer: "credit transfer", MethodDirectDebit: "direct debit", MethodACH: "ACH", MethodList: "by hand", "": "nothing moves",
	}
	stateNames = map[string]string{
		StateProposed: "proposed", StateDiscarded: "discarded", StateRunning: "running", StateClosed: "closed, files not written", StateFinal: "final",
	}
)

// phaseNames say what a run is doing.
var phaseNames = map[string]string{
	"":                   "It begins.",
	string(PhaseCheck):   "The books are checked before anything moves.",
	string(PhaseLines):   "The lines are being done.",
	string(PhaseClose):   "The books are checked again, and the trial balance is taken.",
	string(PhasePublish): "Statements are made.",
	string(PhaseFiles):   "Files are written.",
	string(PhaseFinal):   "Nothing is left to do.",
}

// Rows with what else their table needs.
type (
	alarmTable struct {
		MayAct bool
		Alarms []alarmRow
	}
	disputeTable struct {
		MayAct   bool
		Disputes []disputeRow
	}
	lineTable struct {
		Label string
		Lines []Line
	}
	entryTable struct {
		Label     string
		MayChange bool
		Entries   []BankEntry
	}
)

// policyForPeople writes a policy with a line for each member.
func policyForPeople(p Policy) string {
	var text bytes.Buffer
	if err := json.Indent(&text, []byte(p.String()), "", "  "); err != nil {
		return p.String()
	}
	return text.String()
}

func entryPath(seq int64) string { return fmt.Sprintf("%s/entries/%d", pathBank, seq) }

func orItself(names map[string]string, name string) string {
	if known, found := names[name]; found {
		return known
	}
	return name
}

func runPath(runID string) string { return pathRuns + "/" + url.PathEscape(runID) }

func instructionPath(endToEnd string) string { return pathInstruction + "/" + url.PathEscape(endToEnd) }

// subjectPath returns the page of what an entry of the audit log is about, or
// "" if there is none.
func subjectPath(subject string) string {
	kind, id, _ := strings.Cut(subject, ":")
	switch kind {
	case "run":
		return runPath(id)
	case "card":
		return cardPath(id)
	case "document":
		return documentPath(id)
	case "instruction":
		return instructionPath(id)
	}
	return ""
}

// find leads to whatever has the id that was typed in.
func (v *visit) find() {
	typed := strings.TrimSpace(v.R.URL.Query().Get("q"))
	target, err := v.server.findByID(v.R.Context(), typed)
	switch {
	case err != nil:
		v.Unavailable(err)
	case target != "":
		v.Redirect(target)
	default:
		v.Show(http.StatusNotFound, "find", adminpage.View{Title: "Nothing found", Data: typed})
	}
}

// findByID returns the page of a run, by its id or the hash of its plan, or of an
// order to the bank; "" if there is none.
func (s *Server) findByID(ctx context.Context, id string) (target string, err error) {
	err = s.db.View(ctx, func(tx *ledger.Tx) error {
		target = ""
		runs, err := tx.Texts(ctx, `SELECT id FROM clearing_runs WHERE id = ? OR plan_hash = ? LIMIT 1`, id, id)
		if err != nil || len(runs) > 0 {
			for _, run := range runs {
				target = runPath(run)
			}
			return err
		}
		orders, err := tx.Texts(ctx, `SELECT end_to_end FROM clearing_instructions WHERE end_to_end = ?`, id)
		for _, order := range orders {
			target = instructionPath(order)
		}
		return err
	})
	return target, err
}
