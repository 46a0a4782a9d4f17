// Package adminpage is what the administration pages of the services have in
// common: operators and their sessions, forms that are shown before they are
// done, lists, charts, and the look of it all. The pages are HTML from the
// server, without script.
package adminpage

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

//go:embed pages
var shared embed.FS

const (
	// formBody bounds the body of a form, in bytes: a few fields of a line.
	formBody = 16 << 10

	// bodyTimeout is how long the body of a form may take to arrive, and
	// uploadTimeout that of a file.
	bodyTimeout   = 30 * time.Second
	uploadTimeout = 5 * time.Minute

	// pageTimeout is how long a page may take. Each reads a few hundred rows.
	pageTimeout = 20 * time.Second
)

// policy lets a page load its own style and icon and send its own forms, and
// nothing else.
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// Config is what the pages of one service are made with.
type Config struct {
	// Program is what it is called, such as "payword broker", and Self how its
	// pages speak of it in a sentence, such as "The broker".
	Program, Self string
	// Subtitle stands beside the name, such as whose broker it is.
	Subtitle string
	// Path is where the pages are, with a slash at both ends, such as "/admin/".
	Path string
	// Cookie names the cookie of a session. Over TLS "__Host-" is put before it.
	Cookie string
	// Currency is the code that amounts are in, such as "USD".
	Currency string
	// TokenFlag is the flag that names the file with the tokens.
	TokenFlag string
	// Menu is what the pages link to everywhere.
	Menu []MenuItem
	// Files holds the templates of the service's own pages as NAME.html, each of
	// which defines "content", and in parts.html what several of them share. A
	// name that is here already takes the place of the page of this package.
	Files fs.FS
	// Functions are what its templates can call besides.
	Functions template.FuncMap
	// SubjectPath returns the page of what an entry of the audit log is about,
	// or "" if there is none.
	SubjectPath func(subject string) string
	// FindPath is where the field at the top of each page leads; "": there is
	// none.
	FindPath string

	// Operators may sign in, and Sessions keeps who is.
	Operators Operators
	Sessions  Sessions
	// Act returns a context under which the operator does things.
	Act func(ctx context.Context, who Operator) context.Context
	// Admit counts a try to sign in against guessing. It reports whether the
	// token is looked at, and returns what takes the count back; nil: all are.
	Admit func(r *http.Request) (isAdmitted bool, forgive func())
	// AuditLog is shown at Path + "audit".
	AuditLog AuditLog
	// Now is the clock.
	Now func() time.Time
	// Log takes what went wrong.
	Log *slog.Logger
}

// MenuItem is a line of the menu.
type MenuItem struct {
	Section string // by which a View says where it is
	Path    string
	Name    string
}

// Site serves the pages of one service.
type Site struct {
	Config
	mux       *http.ServeMux
	templates map[string]*template.Template // by the name of the page
}

// New makes a site with the pages for signing in and out, the audit log and the
// answer for what is not there. Others are added with Page and Upload.
func New(config Config) (*Site, error) {
	s := &Site{Config: config, mux: http.NewServeMux()}
	if err := s.parse(); err != nil {
		return nil, err
	}
	if err := errors.Join(s.asset("style.css", "text/css; charset=utf-8"), s.asset("icon.svg", "image/svg+xml")); err != nil {
		return nil, err
	}
	s.mux.HandleFunc("GET "+s.signInPath(), s.showSignIn)
	s.mux.HandleFunc("POST "+s.signInPath(), s.signIn)
	s.Page("POST "+s.signOutPath(), (*Visit).signOut)
	s.Page("GET "+s.auditPath(), (*Visit).showAudit)
	s.Page(s.Path, (*Visit).NotFound)
	return s, nil
}

func (s *Site) signInPath() string  { return s.Path + "sign-in" }
func (s *Site) signOutPath() string { return s.Path + "sign-out" }
func (s *Site) auditPath() string   { return s.Path + "audit" }

// parse reads the templates: each page with the layout around it.
func (s *Site) parse() error {
	own, err := fs.Sub(shared, "pages")
	if err != nil {
		return err
	}
	layout, err := template.New("layout").Funcs(s.functions()).Funcs(s.Functions).ParseFS(own, "layout.html", "parts.html")
	if err == nil {
		if _, missing := fs.Stat(s.Files, "parts.html"); missing == nil {
			layout, err = layout.ParseFS(s.Files, "parts.html")
		}
	}
	if err != nil {
		return fmt.Errorf("reading templates: %w", err)
	}
	s.templates = make(map[string]*template.Template)
	for _, files := range []fs.FS{own, s.Files} {
		if err := s.parsePages(layout, files); err != nil {
			return fmt.Errorf("reading templates: %w", err)
		}
	}
	return nil
}

func (s *Site) parsePages(layout *template.Template, files fs.FS) error {
	names, err := fs.Glob(files, "*.html")
	if err != nil {
		return err
	}
	for _, file := range names {
		name := strings.TrimSuffix(file, ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		page, err := layout.Clone()
		if err == nil {
			page, err = page.ParseFS(files, file)
		}
		if err != nil {
			return err
		}
		s.templates[name] = page
	}
	return nil
}

func (s *Site) asset(name, mediaType string) error {
	content, err := shared.ReadFile("pages/" + name)
	if err != nil {
		return err
	}
	s.mux.HandleFunc("GET "+s.Path+name, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", mediaType)
		w.Header().Set("Cache-Control", "max-age=300")
		_, _ = w.Write(content) // a client that has gone away needs no answer
	})
	return nil
}

// Page registers a page for those who are signed in. What it changes is allowed
// to those who may, from a form of these pages.
func (s *Site) Page(pattern string, show func(*Visit)) {
	s.signedIn(pattern, func(v *Visit) {
		if v.R.Method == http.MethodPost && !v.mayChange() {
			return
		}
		show(v)
	})
}

// signedIn registers what those who are signed in may ask for.
func (s *Site) signedIn(pattern string, serve func(*Visit)) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		v := &Visit{site: s, W: w, R: r}
		found, err := v.resume()
		switch {
		case err != nil:
			v.Unavailable(err)
			return
		case !found:
			v.askToSignIn()
			return
		}
		v.R = r.WithContext(s.Act(r.Context(), v.session.operator))
		serve(v)
	})
}

// Upload registers a form with a file, in all of at most maxBytes. The body is
// read when somebody is signed in who may change something, and not before.
func (s *Site) Upload(pattern string, maxBytes int64, take func(*Visit)) {
	s.signedIn("POST "+pattern, func(v *Visit) {
		if !isOwnOrigin(v.R) || v.session.operator.ReadOnly {
			v.mayChange() // says why not
			return
		}
		controller := http.NewResponseController(v.W)
		_ = controller.SetReadDeadline(time.Now().Add(uploadTimeout))
		v.R.Body = http.MaxBytesReader(v.W, v.R.Body, maxBytes)
		err := v.R.ParseMultipartForm(formBody) // larger parts go to files
		_ = controller.SetReadDeadline(time.Time{})
		if err != nil {
			v.Message(http.StatusBadRequest, "This file was not taken",
				fmt.Sprintf("It is larger than %d MiB, broke off, or is no form with a file. Nothing was done.", maxBytes>>20))
			return
		}
		defer func() { _ = v.R.MultipartForm.RemoveAll() }() // the system cleans up what is left
		if v.mayChange() {
			take(v)
		}
	})
}

// ServeHTTP implements http.Handler.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Frame-Options", "DENY")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	// no-referrer would make browsers hide the origin of forms as well.
	header.Set("Referrer-Policy", "same-origin")
	controller := http.NewResponseController(w)
	// A writer without deadlines, as in tests, has none to set. What no page reads
	// has to arrive in time, too: the server drains it before the next request.
	_ = controller.SetReadDeadline(time.Now().Add(bodyTimeout))
	timeout := pageTimeout
	switch isFile := strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/"); {
	case r.Method == http.MethodPost && isFile:
		timeout += uploadTimeout // Upload reads it
	case r.Method == http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, formBody)
		if err := r.ParseForm(); err != nil {
			http.Error(w, "The form is too large, broke off, or is not one.", http.StatusBadRequest)
			return
		}
		_ = controller.SetReadDeadline(time.Time{})
	case r.Body == nil || r.Body == http.NoBody:
		_ = controller.SetReadDeadline(time.Time{})
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	s.mux.ServeHTTP(w, r.WithContext(ctx))
}

// Visit is one request for a page by somebody who is signed in.
type Visit struct {
	W http.ResponseWriter
	R *http.Request

	site    *Site
	session session
}

// Operator returns who is signed in.
func (v *Visit) Operator() Operator { return v.session.operator }

// View is what a page shows.
type View struct {
	Title   string
	Section string // of the menu
	Problem string // what is wrong with what was sent
	Notice  string // what was just done
	// Refresh makes the browser load an address again after RefreshSeconds, which
	// people must be able to stop; 0: it does not.
	RefreshSeconds int
	Refresh        string
	Data           any
}

// whole is what a template is given.
type whole struct {
	View
	Site     *Site
	Operator string // "" for nobody
	ReadOnly bool
	Token    string // for forms
}

// Show writes the page of that name with the status.
func (v *Visit) Show(status int, name string, what View) {
	given := whole{View: what, Site: v.site}
	if v.session.id != "" {
		given.Operator, given.ReadOnly, given.Token = v.session.operator.Title(), v.session.operator.ReadOnly, v.session.formToken()
	}
	var page bytes.Buffer
	made, found := v.site.templates[name]
	err := fmt.Errorf("there is no template %q", name)
	if found {
		err = made.ExecuteTemplate(&page, "layout", given)
	}
	if err != nil {
		v.site.Log.ErrorContext(v.R.Context(), "page failed", "page", name, "error", err)
		http.Error(v.W, "The page could not be made.", http.StatusInternalServerError)
		return
	}
	if what.RefreshSeconds > 0 {
		v.W.Header().Set("Refresh", fmt.Sprintf("%d; url=%s", what.RefreshSeconds, what.Refresh))
	}
	v.W.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.W.WriteHeader(status)
	_, _ = v.W.Write(page.Bytes()) // a client that has gone away needs no answer
}

// message is a page that says one thing.
type message struct{ Text, Link, LinkText string }

// Message writes a page that says one thing.
func (v *Visit) Message(status int, title, text string) {
	v.Show(status, "message", View{Title: title, Data: message{text, v.site.Path, "To the overview"}})
}

// NotFound says that nothing is at this address.
func (v *Visit) NotFound() {
	v.Message(http.StatusNotFound, "Nothing is here", "There is no page at this address, or what it was about is not in the books.")
}

// ErrNotFound means that what a page is about is not in the books.
var ErrNotFound = errors.New("not found")

// Failed answers for an error of a page's query: ErrNotFound, or any other one,
// which is logged.
func (v *Visit) Failed(err error) {
	if errors.Is(err, ErrNotFound) {
		v.NotFound()
		return
	}
	v.Unavailable(err)
}

// Unavailable says that nobody can tell. What went wrong is logged.
func (v *Visit) Unavailable(err error) {
	v.site.Log.ErrorContext(v.R.Context(), "page failed", "path", v.R.URL.Path, "error", err)
	v.Message(http.StatusServiceUnavailable, v.site.Self+" cannot tell at the moment",
		"The database did not answer. Load the page again; what was sent twice is done once.")
}

// Redirect sends the browser to a page after a form, so that loading again
// sends nothing.
func (v *Visit) Redirect(target string) {
	http.Redirect(v.W, v.R, target, http.StatusSeeOther)
}

// mayChange checks that a form was sent from these pages by somebody who may
// change something, and says so if not.
func (v *Visit) mayChange() bool {
	switch {
	case !isOwnOrigin(v.R):
		v.Message(http.StatusForbidden, "This came from elsewhere", "The form was not sent from these pages, so nothing was done.")
	case v.session.operator.ReadOnly && v.R.URL.Path != v.site.signOutPath():
		v.Message(http.StatusForbidden, "You may look only", "The token that you signed in with may not change anything.")
	case !v.session.isFormToken(v.R.PostForm.Get("token")):
		v.Message(http.StatusForbidden, "This form is out of date", "You have signed in anew since it was shown, so nothing was done. Open the page again.")
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

// WithQuery adds a parameter to a path that may have some.
func WithQuery(path, name, value string) string {
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	return path + separator + name + "=" + url.QueryEscape(value)
}
