package clearing_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// clearingPages are all pages that operators have, for a run and an order.
func clearingPages(run, order string) []string {
	one := "/clearing/runs/" + run
	return []string{
		"/clearing/", "/clearing/runs", "/clearing/runs/propose", one, one + "/lines", one + "/progress", one + "/approve", one + "/run", one + "/booked",
		one + "/files/statement-" + run + ".txt", "/clearing/bank", "/clearing/instructions", "/clearing/instructions/" + order, "/clearing/instructions/" + order + "/booked",
		"/clearing/bank/documents/x", "/clearing/bank/entries/1/resolve",
		"/clearing/cards", "/clearing/cards/all", "/clearing/cards/find", "/clearing/cards/gateways", "/clearing/cards/card/" + whiteCard, "/clearing/cards/card/" + whiteCard + "/lost",
		"/clearing/cards/alarms/1/acknowledge", "/clearing/cards/disputes/" + cardSeller + "/4/holder", "/clearing/balance", "/clearing/audit", "/clearing/health", "/clearing/find?q=x", "/clearing/nothing",
	}
}

// clearingForms are all forms that change something.
func clearingForms(run string) []string {
	one := "/clearing/runs/" + run
	return []string{
		"/clearing/check", "/clearing/runs/propose", one + "/approve", one + "/run", one + "/booked", "/clearing/instructions/x/booked",
		"/clearing/instructions/x/rejected", "/clearing/instructions/x/returned", "/clearing/bank/entries/1/resolve", "/clearing/recompute",
		"/clearing/cards/alarms/1/acknowledge", "/clearing/cards/card/" + whiteCard + "/lost", "/clearing/cards/card/" + whiteCard + "/broken",
		"/clearing/cards/card/" + whiteCard + "/found", "/clearing/cards/disputes/" + cardSeller + "/4/holder", "/clearing/cards/disputes/" + cardSeller + "/4/merchant",
	}
}

func TestClearingPagesAreForOperators(t *testing.T) {
	o := openCardOffice(t)
	stranger, anna := o.newBrowser(), o.signedIn(annasToken)
	run := anna.plan()
	for _, path := range clearingPages(run.RunID, "x") {
		got := stranger.get(path)
		if location := got.header.Get("Location"); got.status != http.StatusSeeOther || !strings.HasPrefix(location, "/clearing/sign-in") || strings.Contains(got.body, "<main") {
			t.Errorf("%s: a stranger got status %d to %q: %s", path, got.status, location, got.body)
		}
		header := anna.get(path).header
		if policy := header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; style-src 'self';") || header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got the header %v", path, header)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/clearing/style.css", "/clearing/icon.svg", "/clearing/sign-in"} {
		if got := stranger.get(path); got.status != http.StatusOK {
			t.Errorf("%s: got status %d", path, got.status)
		}
	}
}

func TestClearingFormsOfOthersAreRefused(t *testing.T) {
	o := openCardOffice(t)
	anna, carl := o.signedIn(annasToken), o.signedIn(carlsToken)
	run := anna.plan()
	token := func(b *browser) string { return hidden(b.page("/clearing/health")).Get("token") }
	carls := url.Values{"token": {token(carl)}, "step": {"done"}, "hash": {run.PlanHash[:8]}}
	annas := url.Values{"token": {token(anna)}, "step": {"done"}, "hash": {run.PlanHash[:8]}}
	wrong := url.Values{"token": {token(carl)}, "step": {"done"}, "hash": {run.PlanHash[:8]}}
	for _, path := range clearingForms(run.RunID) {
		for _, c := range []struct {
			name   string
			by     *browser
			values url.Values
			origin string
			status int
		}{
			{"signed out", o.newBrowser(), annas, o.url, http.StatusSeeOther},
			{"a reader", carl, carls, o.url, http.StatusForbidden},
			{"another's form", anna, wrong, o.url, http.StatusForbidden},
			{"no token", anna, url.Values{"step": {"done"}}, o.url, http.StatusForbidden},
			{"a foreign site", anna, annas, "https://evil.example", http.StatusForbidden},
			{"no origin", anna, annas, "", http.StatusForbidden},
		} {
			request := c.by.form(path, c.values)
			request.Header.Set("Origin", c.origin)
			got := c.by.send(request)
			if got.status != c.status || got.status == http.StatusSeeOther && got.header.Get("Location") != "/clearing/sign-in" {
				t.Errorf("%s, %s: got status %d to %q", path, c.name, got.status, got.header.Get("Location"))
			}
		}
	}
	var runs, approvals int
	scan(t, o.db, `SELECT COUNT(*), (SELECT COUNT(*) FROM clearing_approvals) FROM clearing_runs WHERE state = 'proposed'`, &runs, &approvals)
	if runs != 1 || approvals != 0 {
		t.Errorf("got %d plans and %d approvals, want one and none", runs, approvals)
	}
	// A reader sees everything and is offered nothing.
	for _, path := range []string{"/clearing/", "/clearing/runs", "/clearing/runs/" + run.RunID, "/clearing/bank", "/clearing/cards", "/clearing/cards/card/" + whiteCard} {
		page := carl.page(path)
		if strings.Contains(page, `class="button"`) || strings.Count(page, `method="post"`) != 1 { // signing out
			t.Errorf("%s offers a reader something: %s", path, page)
		}
	}
}

// timed keeps the deadline by which a request must have arrived.
type timed struct {
	*httptest.ResponseRecorder
	deadline time.Time
}

func (w *timed) SetReadDeadline(at time.Time) error {
	w.deadline = at
	return nil
}

// The server drains what no page reads before it takes the next request: who
// sends that slowly does not hold a connection for ever.
func TestBodiesThatNobodyReadsHaveADeadline(t *testing.T) {
	o := openOffice(t)
	for _, c := range []struct{ method, path, kind string }{
		{"GET", "/clearing/", ""}, {"GET", "/clearing/sign-in", ""}, {"POST", "/clearing/sign-in", "multipart/form-data; boundary=x"},
		{"POST", "/clearing/bank/files", "multipart/form-data; boundary=x"}, {"PUT", "/clearing/sign-in", ""},
	} {
		request := httptest.NewRequestWithContext(t.Context(), c.method, c.path, strings.NewReader("slowly"))
		request.Header.Set("Content-Type", c.kind)
		w := &timed{ResponseRecorder: httptest.NewRecorder()}
		o.server.Handler().ServeHTTP(w, request)
		if left := time.Until(w.deadline); left <= 0 || left > time.Minute {
			t.Errorf("%s %s: status %d, and the body may take %s", c.method, c.path, w.Code, left)
		}
	}
}
