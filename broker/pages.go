package broker

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// The administration pages: HTML from the server, without script.

//go:embed pages
var pageFiles embed.FS

const (
	pathPages = "/admin/"

	// rowsPerPage is how many rows a list shows: a screen or two.
	rowsPerPage = 50

	// formBody bounds the body of a form, in bytes: a few fields of a line.
	formBody = 16 << 10

	// pageTimeout is how long a page may take. Each reads a few hundred rows.
	pageTimeout = 20 * time.Second
)

// pagePolicy lets a page load its own style and icon and send its own forms,
// and nothing else.
const pagePolicy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// pages serves the administration pages.
type pages struct {
	broker    *Broker
	mux       *http.ServeMux
	templates map[string]*template.Template // by the name of the page
}

// visit is one request for a page.
type visit struct {
	pages   *pages
	w       http.ResponseWriter
	r       *http.Request
	session session
}

// view is what a template is given.
type view struct {
	Title    string // of the page
	Section  string // of the menu
	Problem  string // what is wrong with what was sent
	Notice   string // what was just done
	Issuer   string
	Currency string // code
	Operator string // "" for nobody
	ReadOnly bool
	Token    string // for forms
	Data     any
}

func newPages(b *Broker) (*pages, error) {
	p := &pages{broker: b, mux: http.NewServeMux()}
	var err error
	if p.templates, err = parsePages(); err != nil {
		return nil, err
	}
	p.asset("style.css", "text/css; charset=utf-8")
	p.asset("icon.svg", "image/svg+xml")
	p.mux.HandleFunc("GET "+pathSignIn, p.showSignIn)
	p.mux.HandleFunc("POST "+pathSignIn, p.signIn)
	p.page("POST /admin/sign-out", (*visit).signOut)
	p.page("GET /admin/{$}", (*visit).overview)
	p.page("GET /admin/find", (*visit).find)
	p.page("POST /admin/check", (*visit).startCheck)
	registerAccountPages(p)
	registerVendorPages(p)
	registerFundingPages(p)
	registerPayoutPages(p)
	registerRecordPages(p)
	p.page(pathPages, (*visit).notFound)
	return p, nil
}

// parsePages reads the templates: each page with the layout around it.
func parsePages() (map[string]*template.Template, error) {
	files, err := fs.Glob(pageFiles, "pages/*.html")
	if err != nil {
		return nil, err
	}
	layout, err := template.New("layout").Funcs(pageFunctions).ParseFS(pageFiles, "pages/layout.html", "pages/parts.html")
	if err != nil {
		return nil, err
	}
	parsed := make(map[string]*template.Template)
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "pages/"), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		page, err := layout.Clone()
		if err == nil {
			page, err = page.ParseFS(pageFiles, file)
		}
		if err != nil {
			return nil, err
		}
		parsed[name] = page
	}
	return parsed, nil
}

// pageFunctions are what templates can do with values.
var pageFunctions = template.FuncMap{
	"amount":  groupedDecimal,
	"seconds": func(at int64) time.Time { return time.Unix(at, 0).UTC() },
	"micros":  func(at int64) time.Time { return time.UnixMicro(at).UTC() },
	"iso":     func(at time.Time) string { return at.Format(time.RFC3339) },
	"clock":   func(at time.Time) string { return at.Format("2006-01-02 15:04:05") },
	"date":    func(day int64) string { return time.Unix(day*secondsPerDay, 0).UTC().Format(time.DateOnly) },
	"item": func(section, path, name, here string) menuItem {
		return menuItem{path, name, section == here}
	},
	"isCommitment": func(reference string) bool {
		var id payword.CommitmentID
		return id.UnmarshalText([]byte(reference)) == nil
	},
	"subjectPath": subjectPath,
	"party":       partyOf,
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

// menuItem is a line of the menu.
type menuItem struct {
	Path, Name string
	IsHere     bool
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

// groupedDecimal writes an amount with commas between thousands.
func groupedDecimal(amount money.Amount) string {
	text := amount.Decimal()
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "\u2212", text[1:]
	}
	whole, fraction, _ := strings.Cut(text, ".")
	for at := len(whole) - 3; at > 0; at -= 3 {
		whole = whole[:at] + "," + whole[at:]
	}
	return sign + whole + "." + fraction
}

func (p *pages) asset(name, mediaType string) {
	content, err := pageFiles.ReadFile("pages/" + name)
	if err != nil {
		panic(err) // the embed directive above names its folder
	}
	p.mux.HandleFunc("GET "+pathPages+name, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		w.Header().Set("Cache-Control", "max-age=300")
		_, _ = w.Write(content) // a client that has gone away needs no answer
	})
}

// page registers a page for those who are signed in. What it changes is allowed
// to those who may, from a form of these pages.
func (p *pages) page(pattern string, show func(*visit)) {
	p.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		v := &visit{pages: p, w: w, r: r}
		found, err := v.resume()
		switch {
		case err != nil:
			v.unavailable(err)
			return
		case !found:
			v.askToSignIn()
			return
		}
		if r.Method == http.MethodPost && !v.mayChange() {
			return
		}
		v.r = r.WithContext(withActor(r.Context(), v.session.operator.actor()))
		show(v)
	})
}

// ServeHTTP implements http.Handler.
func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", pagePolicy)
	header.Set("X-Frame-Options", "DENY")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	// no-referrer would make browsers hide the origin of forms as well.
	header.Set("Referrer-Policy", "same-origin")
	controller := http.NewResponseController(w)
	// A writer without deadlines, as in tests, has none to set.
	_ = controller.SetReadDeadline(time.Now().Add(bodyTimeout))
	if r.Method == http.MethodPost {
		r.Body = http.MaxBytesReader(w, r.Body, formBody)
		if err := r.ParseForm(); err != nil {
			http.Error(w, "The form is too large, broke off, or is not one.", http.StatusBadRequest)
			return
		}
	}
	_ = controller.SetReadDeadline(time.Time{})
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	p.mux.ServeHTTP(w, r.WithContext(ctx))
}

// show writes a page with the status.
func (v *visit) show(status int, name string, what view) {
	b := v.pages.broker
	what.Issuer, what.Currency = b.config.Issuer, b.store.currency.Code()
	if v.session.id != "" {
		what.Operator, what.ReadOnly, what.Token = v.session.operator.title(), v.session.operator.ReadOnly, v.session.formToken()
	}
	var page bytes.Buffer
	if err := v.pages.templates[name].ExecuteTemplate(&page, "layout", what); err != nil {
		b.log.ErrorContext(v.r.Context(), "page failed", "page", name, "error", err)
		http.Error(v.w, "The page could not be made.", http.StatusInternalServerError)
		return
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(page.Bytes()) // a client that has gone away needs no answer
}

// pageMessage is a page that says one thing.
type pageMessage struct{ Text, Link, LinkText string }

func (v *visit) notFound() {
	v.show(http.StatusNotFound, "message", view{Title: "Nothing is here",
		Data: pageMessage{"There is no page at this address, or what it was about is not in the books.", pathPages, "To the overview"}})
}

// unavailable says that nobody can tell. What went wrong is logged.
func (v *visit) unavailable(err error) {
	v.pages.broker.log.ErrorContext(v.r.Context(), "page failed", "path", v.r.URL.Path, "error", err)
	v.show(http.StatusServiceUnavailable, "message", view{Title: "The broker cannot tell at the moment",
		Data: pageMessage{"The database did not answer. Load the page again; what was sent twice is done once.", pathPages, "To the overview"}})
}

// refused shows a refusal that no form is there for.
func (v *visit) refused(refusal payword.Refusal) {
	v.show(refusalProblem(refusal).Status, "message", view{Title: "This was refused",
		Data: pageMessage{sentence(refusal.Detail), pathPages, "To the overview"}})
}

// sentence makes a sentence of a detail.
func sentence(detail string) string {
	if detail == "" {
		return ""
	}
	return strings.ToUpper(detail[:1]) + detail[1:] + "."
}

// redirect sends the browser to a page after a form, so that loading again
// sends nothing.
func (v *visit) redirect(target string) {
	http.Redirect(v.w, v.r, target, http.StatusSeeOther)
}

// mayChange checks that a form was sent from these pages by somebody who may
// change something, and says so if not.
func (v *visit) mayChange() bool {
	switch {
	case !isOwnOrigin(v.r):
		v.show(http.StatusForbidden, "message", view{Title: "This came from elsewhere",
			Data: pageMessage{"The form was not sent from these pages, so nothing was done.", pathPages, "To the overview"}})
	case !v.session.isFormToken(v.r.PostForm.Get("token")):
		v.show(http.StatusForbidden, "message", view{Title: "This form is out of date",
			Data: pageMessage{"You have signed in anew since it was shown, so nothing was done. Open the page again.", pathPages, "To the overview"}})
	case v.session.operator.ReadOnly && v.r.URL.Path != "/admin/sign-out":
		v.show(http.StatusForbidden, "message", view{Title: "You may look only",
			Data: pageMessage{"The token that you signed in with may not change anything.", pathPages, "To the overview"}})
	default:
		return true
	}
	return false
}

// isOwnOrigin reports whether a form came from the host that it was sent to.
// Browsers say the origin with every form.
func isOwnOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	return origin == "https://"+r.Host || origin == "http://"+r.Host && isLoopback(r.Host)
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

// errNotFound means that what a page is about is not in the books.
var errNotFound = errors.New("not found")

// failed answers for an error of a page's query.
func (v *visit) failed(err error) {
	if errors.Is(err, errNotFound) {
		v.notFound()
		return
	}
	v.unavailable(err)
}
