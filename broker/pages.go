package broker

import (
	"context"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/internal/ledger"
)

// The administration pages: HTML from the server, without script. What they
// have in common with those of other services is in package adminpage.

//go:embed pages
var pageFiles embed.FS

const (
	pathPages = "/admin/"

	// rowsPerPage is how many rows a list shows.
	rowsPerPage = adminpage.RowsPerPage
)

// What pages are made of.
type (
	view  = adminpage.View
	field = adminpage.Field
)

// formValue is a value with its name.
type formValue struct{ Name, Value string }

// errNotFound means that what a page is about is not in the books.
var errNotFound = adminpage.ErrNotFound

// pages serves the administration pages.
type pages struct {
	*adminpage.Site
	broker *Broker
}

// visit is one request for a page.
type visit struct {
	*adminpage.Visit
	pages *pages
}

// menu is what the pages link to everywhere.
var menu = []adminpage.MenuItem{
	{Section: "overview", Path: pathPages, Name: "Overview"},
	{Section: "accounts", Path: pathAccountPages, Name: "Accounts"},
	{Section: "vendors", Path: pathVendorPages, Name: "Vendors"},
	{Section: "commitments", Path: pathCommitmentPages, Name: "Commitments"},
	{Section: "fundings", Path: pathFundingPages, Name: "Payments in"},
	{Section: "payouts", Path: pathPayoutPages, Name: "Payouts"},
	{Section: "vouchers", Path: pathVoucherPages, Name: "Vouchers"},
	{Section: "frauds", Path: "/admin/frauds", Name: "Frauds"},
	{Section: "audit", Path: "/admin/audit", Name: "Audit log"},
	{Section: "health", Path: "/admin/health", Name: "Health"},
}

func newPages(b *Broker) (*pages, error) {
	files, err := fs.Sub(pageFiles, "pages")
	if err != nil {
		return nil, err
	}
	site, err := adminpage.New(adminpage.Config{
		Program: "payword broker", Self: "The broker", Subtitle: b.config.Issuer,
		Path: pathPages, FindPath: "/admin/find", Cookie: "payword-admin", TokenFlag: "--admin-token",
		Currency: b.store.currency.Code(), Menu: menu,
		Files: files, Functions: pageFunctions, SubjectPath: subjectPath,
		Operators: b.operators, Sessions: b.store.sessions(), AuditLog: b.store.auditLog(),
		Act:   func(ctx context.Context, who Operator) context.Context { return withActor(ctx, actorOfOperator(who)) },
		Admit: b.admitSignIn, Now: b.config.Now, Log: b.log,
	})
	if err != nil {
		return nil, err
	}
	p := &pages{site, b}
	p.page("GET /admin/{$}", (*visit).overview)
	p.page("GET /admin/find", (*visit).find)
	p.page("POST /admin/check", (*visit).startCheck)
	registerAccountPages(p)
	registerVendorPages(p)
	registerFundingPages(p)
	registerPayoutPages(p)
	registerRecordPages(p)
	return p, nil
}

// page registers a page for those who are signed in.
func (p *pages) page(pattern string, show func(*visit)) {
	p.Page(pattern, func(v *adminpage.Visit) { show(&visit{v, p}) })
}

// admitSignIn counts a token against guessing, together with those of the API.
func (b *Broker) admitSignIn(r *http.Request) (isAdmitted bool, forgive func()) {
	client := b.clientOf(r) // "" is not counted, as in the API: nobody shall keep everybody else out
	if client == "" {
		return true, func() {}
	}
	return b.failures.take(client), func() { b.failures.forgive(client) }
}

// sessions keeps who is signed in to the pages.
func (s *store) sessions() adminpage.Sessions {
	return adminpage.Sessions{
		Table: "broker_sessions", View: s.db.View,
		Update: func(ctx context.Context, name string, change func(tx *ledger.Tx) error) error {
			_, err := s.update(ctx, name, change)
			return err
		},
		Audit: func(ctx context.Context, tx *ledger.Tx, action string, who Operator) error {
			return audit(ctx, tx, auditEntry{action, "operator:" + who.Title(), ""})
		},
	}
}

// auditLog reads the audit log.
func (s *store) auditLog() adminpage.AuditLog {
	return adminpage.AuditLog{Table: "broker_audit", View: s.db.View}
}

// pageFunctions are what templates can do with values.
var pageFunctions = template.FuncMap{
	"isCommitment": func(reference string) bool {
		var id payword.CommitmentID
		return id.UnmarshalText([]byte(reference)) == nil
	},
	"party": partyOf,
}

// party is an account of the ledger in words, with a link to whose it is.
type party struct{ Text, Path, Name string }

// partyOf tells whose an account of the ledger is.
func partyOf(id string) party {
	kind, rest, _ := strings.Cut(id, ":")
	at := strings.LastIndexByte(rest, ':')
	switch {
	case kind == "user" && at > 0:
		return party{rest[at+1:] + " of", subjectPath("account:" + rest[:at]), rest[:at]}
	case kind == "vendor" && at > 0:
		return party{rest[at+1:] + " to", subjectPath("vendor:" + rest[:at]), rest[:at]}
	}
	return party{Text: id}
}

// subjectPath returns the page of what an entry of the audit log is about, or
// "" if there is none.
func subjectPath(subject string) string {
	kind, id, _ := strings.Cut(subject, ":")
	switch kind {
	case "account":
		return pathAccountPages + "/" + url.PathEscape(id)
	case "vendor":
		return pathVendorPage + "?vendor=" + url.QueryEscape(id)
	case "commitment":
		return pathCommitmentPages + "/" + url.PathEscape(id)
	}
	return ""
}

// withPages returns what serves the pages and leaves the rest to api.
func withPages(p *pages, api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, pathPages):
			p.ServeHTTP(w, r)
		case r.URL.Path == strings.TrimSuffix(pathPages, "/"):
			http.Redirect(w, r, pathPages, http.StatusPermanentRedirect)
		default:
			api.ServeHTTP(w, r)
		}
	})
}

// isAdministration reports whether a path belongs to the pages or to the API for
// administration.
func isAdministration(path string) bool {
	return path == "/admin" || strings.HasPrefix(path, pathPages) || strings.HasPrefix(path, "/v1/admin/")
}

// splitAdministration returns what serves everything but the administration, and
// what serves the administration and the routes for probes alone.
func splitAdministration(all http.Handler) (public, administration http.Handler) {
	public = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isAdministration(r.URL.Path) {
			writeProblem(w, newProblem(http.StatusNotFound, "Administration is served on another address."))
			return
		}
		all.ServeHTTP(w, r)
	})
	administration = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isAdministration(r.URL.Path) && r.URL.Path != pathHealth && r.URL.Path != pathReady {
			writeProblem(w, newProblem(http.StatusNotFound, "Administration alone is served here, at /admin/ and /v1/admin/."))
			return
		}
		all.ServeHTTP(w, r)
	})
	return public, administration
}
