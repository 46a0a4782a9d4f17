package agent

import (
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/paywordhq/payword/money"
	"github.com/paywordhq/payword/samgateway/relay"
)

//go:embed pages
var pages embed.FS

var templates = template.Must(template.ParseFS(pages, "pages/*.html"))

// How often the page loads itself again while there is nothing on it that
// somebody fills in, in seconds. A link on it stops that.
const (
	refreshIdle    = 5
	refreshForCard = 2
	refreshWorking = 1
)

// view is what the holder's page shows.
type view struct {
	Title   string
	Notice  string
	Request *requestView
	Last    *lastView
	Open    []openView
	Code    string
	Sites   []site
	Refresh int // seconds; 0: it stays
	IsStill bool
}

// requestView is a request that waits for the holder, or is worked on.
type requestView struct {
	ID, Origin           string
	Heading, Yes, Button string
	Amount               string
	Payee, Merchant      string
	Host                 string
	Account, Reference   string
	Notice               string
	IsWorking            bool
	IsLoad               bool
	IsCardTaken          bool   // money leaves the card
	CardProblem          string // why the card in the reader will not do
	IsCardKnown          bool   // it is a purse card, and another one may do
	Shown                string // id of what is shown, if the card is there
	Card, Balance        string
	IsPIN                bool
	Tries                int
}

type lastView struct{ Sentence, Phase, What string }

type openView struct{ ID, What, Gateway, Card, Began string }

// holderRoutes are the page of the holder and what it sends.
func (a *Agent) holderRoutes() http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { a.render(w, http.StatusOK, "away.html", nil) })
	routes.HandleFunc("GET /style.css", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, pages, "pages/style.css")
	})
	routes.HandleFunc("GET /holder/{key}/{$}", a.forHolder(a.getPage))
	for name, then := range map[string]func(form url.Values) error{
		"yes": a.postYes, "no": a.postNo, "pair": a.postPair, "unpair": a.postUnpair, "find-out": a.postFindOut, "forget": a.postForget,
	} {
		routes.HandleFunc("POST /holder/{key}/"+name, a.forHolder(func(w http.ResponseWriter, r *http.Request) { a.post(w, r, then) }))
	}
	return routes
}

// forHolder lets a request through that knows the address of the holder's page.
func (a *Agent) forHolder(then http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !equal(r.PathValue("key"), a.key) {
			http.NotFound(w, r)
			return
		}
		then(w, r)
	}
}

// post takes a form of the page. Its own page alone may send it, although nobody
// else knows where to.
func (a *Agent) post(w http.ResponseWriter, r *http.Request, then func(url.Values) error) {
	site := r.Header.Get("Sec-Fetch-Site")
	if r.Header.Get("Origin") != "http://"+r.Host || site != "" && site != "same-origin" {
		http.Error(w, "only the agent's own page may send this", http.StatusForbidden)
		return
	}
	if err := r.ParseForm(); err != nil {
		http.Error(w, "this is no form", http.StatusBadRequest)
		return
	}
	notice := ""
	if err := then(r.PostForm); err != nil {
		notice = sentence(err)
	}
	a.mutex.Lock()
	a.notice = notice
	a.mutex.Unlock()
	http.Redirect(w, r, a.pagePath(), http.StatusSeeOther)
}

// sentence writes an error as people begin and end sentences.
func sentence(err error) string {
	letters := []rune(strings.TrimRight(relay.Sentence(err.Error()), ". "))
	if len(letters) == 0 { // a gateway may say "."
		return "No reason is known."
	}
	letters[0] = unicode.ToUpper(letters[0])
	return string(letters) + "."
}

func (a *Agent) postYes(form url.Values) error {
	if form.Get("agreed") != "yes" {
		return fmt.Errorf("tick the box first, if you want that")
	}
	return a.say(form.Get("shown"), []byte(form.Get("pin")))
}

func (a *Agent) postNo(form url.Values) error {
	origin := a.decline(form.Get("request"))
	if origin != "" && form.Get("forget") == "yes" {
		return a.store.unpair(origin)
	}
	return nil
}

func (a *Agent) postPair(url.Values) error {
	a.openPairing()
	return nil
}

// postUnpair says no to what a site waits for, too.
func (a *Agent) postUnpair(form url.Values) error {
	a.declineAll(form.Get("origin"))
	return a.store.unpair(form.Get("origin"))
}

func (a *Agent) postFindOut(form url.Values) error { return a.findOut(form.Get("request")) }

func (a *Agent) postForget(form url.Values) error {
	if form.Get("agreed") != "yes" {
		return fmt.Errorf("tick the box first, if you want to forget that")
	}
	return a.store.end(func(o opening) bool { return o.Request == form.Get("request") })
}

func (a *Agent) getPage(w http.ResponseWriter, r *http.Request) {
	v := a.view(r)
	v.IsStill = r.URL.Query().Has("still")
	if v.Refresh > 0 && !v.IsStill {
		w.Header().Set("Refresh", fmt.Sprint(v.Refresh))
	}
	a.render(w, http.StatusOK, "holder.html", v)
}

func (a *Agent) render(w http.ResponseWriter, status int, name string, v any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := templates.ExecuteTemplate(w, name, v); err != nil {
		a.config.Log.Warn("agent: a page broke off", "error", err)
	}
}

// view is what there is to show now.
func (a *Agent) view(r *http.Request) view {
	shown := a.viewRequest(r)
	a.mutex.Lock()
	defer a.mutex.Unlock()
	v := view{Title: "Your purse card", Notice: a.notice, Request: shown, Sites: a.store.sites(), Refresh: refreshIdle}
	switch {
	case shown == nil:
	case shown.IsWorking:
		v.Title, v.Refresh = "Leave the card in", refreshWorking
	case shown.Shown == "":
		v.Title, v.Refresh = shown.Heading, refreshForCard
	default:
		v.Title, v.Refresh = shown.Heading, 0
	}
	if waiting := a.waitingPairing(); waiting != nil {
		v.Code = waiting.code[:4] + " " + waiting.code[4:]
	}
	if last := a.last(); last != nil && shown == nil {
		v.Last = &lastView{Sentence: last.sentence, Phase: phaseWords[last.phase], What: last.what()}
	}
	for _, o := range a.store.open() {
		if shown != nil && shown.IsWorking && o.Request == shown.ID {
			continue // it is about to be known
		}
		v.Open = append(v.Open, openView{
			ID: o.Request, Gateway: host(o.Gateway), Card: o.Card, Began: o.Began.Format("2 January 2006, 15:04 UTC"),
			What: what(o.Intent, o.Amount, o.Currency, o.Payee, o.Account),
		})
	}
	return v
}

// last returns the request that ended last, or nil. The caller has the mutex.
func (a *Agent) last() *request {
	if len(a.requests) == 0 {
		return nil
	}
	return a.requests[len(a.requests)-1]
}

var phaseWords = map[Phase]string{
	Done: "Done", Failed: "It did not work, and nothing was moved", Undecided: "Not known yet", Resolved: "Known now",
	Declined: "You said no", Expired: "Too late", Withdrawn: "Taken back",
}

// viewRequest shows what waits, with the card that is in the reader.
func (a *Agent) viewRequest(r *http.Request) *requestView {
	a.mutex.Lock()
	current := a.current()
	if current == nil {
		a.mutex.Unlock()
		return nil
	}
	v := current.view()
	a.mutex.Unlock()
	if v.IsWorking {
		return v
	}
	data, isBlocked, err := a.look(r.Context())
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.current() != current || current.phase != Waiting {
		return v // it went on meanwhile, and the next look shows that
	}
	if err == nil {
		v.IsCardKnown = true
		err = current.show(data, isBlocked)
	}
	if err != nil {
		current.shown = nil
		v.CardProblem = sentence(err)
		return v
	}
	unit := data.Unit
	v.Shown, v.IsPIN, v.Tries = current.shown.id, current.shown.isPIN, int(data.Tries)
	v.Card, v.Balance = data.Card.String(), spoken(unit.Amount(data.Balance), unit.Currency.Money())
	if current.Intent == relay.Unload {
		v.say(current, spoken(unit.Amount(current.shown.amount), unit.Currency.Money()))
	}
	return v
}

func (r *request) view() *requestView {
	v := &requestView{
		ID: r.id, Origin: r.origin, Payee: r.Payee, Merchant: r.Merchant, Host: host(r.Gateway), Account: r.Account, Reference: r.Reference,
		Notice: r.notice, IsWorking: r.phase == Working, IsCardTaken: r.Intent.IsPayment(), IsLoad: r.Intent == relay.Load,
	}
	amount := ""
	if r.Intent != relay.Unload {
		amount = spoken(r.Amount, r.Currency)
	}
	v.say(r, amount)
	return v
}

// say makes the sentences of an intent.
func (v *requestView) say(r *request, amount string) {
	switch r.Intent {
	case relay.Pay:
		v.Heading, v.Yes, v.Button = "Pay "+amount+"?", "Yes, I want to pay "+amount+" to "+r.Payee+".", "Pay"
	case relay.Fund:
		v.Heading, v.Yes, v.Button = "Put "+amount+" on an account?", "Yes, I want to pay "+amount+" to "+r.Payee+", which is to put it on account "+r.Account+".", "Put it there"
	case relay.Load:
		v.Heading, v.Yes, v.Button = "Load "+amount+" onto your card?", "Yes, I want to load "+amount+" from my account onto this card.", "Load"
	case relay.Unload:
		v.Heading, v.Yes, v.Button = "Unload your card?", "Yes, I want to pay "+amount+" to "+r.Payee+", which is to put it on this card's account.", "Unload"
	case relay.Resolve:
		v.Heading, v.Yes, v.Button = "Find out what became of it?", "Yes, let the gateway of "+r.Payee+" ask this card.", "Find out"
		amount = ""
	}
	v.Amount = amount
}

func (r *request) what() string {
	return what(r.Intent, max(r.Amount, r.moved), r.Currency, r.Payee, r.Account)
}

// what names a session for people.
func what(intent relay.Intent, amount money.Amount, currency money.Currency, payee, account string) string {
	of := ""
	if amount > 0 && currency != "" {
		of = " of " + spoken(amount, currency)
	}
	return map[relay.Intent]string{
		relay.Pay: "Payment" + of + " to " + payee, relay.Fund: "Payment" + of + " for account " + account,
		relay.Load: "Load" + of, relay.Unload: "Unloading" + of, relay.Resolve: "Question to the gateway of " + payee,
	}[intent]
}

func spoken(amount money.Amount, currency money.Currency) string {
	return amount.Decimal() + " " + currency.Code()
}

// host is where a gateway is, as the holder can compare it.
func host(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return address
	}
	return parsed.Host
}
