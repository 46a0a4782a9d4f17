package kiosk

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"
)

//go:embed pages
var pageFiles embed.FS

const (
	// maxPages is how many pages may be open: one, its predecessor that the
	// browser has not let go of, and one for whoever looks what is wrong.
	maxPages = 4
	// maxBody bounds what is typed, in bytes: an account with its spaces.
	maxBody = 64
	// heartbeat is how often a page hears that the kiosk is alive. One that hears
	// nothing for three of them shows nothing any more (kiosk.js).
	heartbeat = 5 * time.Second
	// writeTimeout is how long a page may take to read a screen.
	writeTimeout = 5 * time.Second
)

// policy lets the page load its own style and script, and talk to where it came
// from, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'none'; frame-ancestors 'none'; base-uri 'none'"

// layouts are the templates, parsed once for each language.
var layouts = parseLayouts()

func parseLayouts() map[string]*template.Template {
	parsed := make(map[string]*template.Template)
	for _, spoken := range languages {
		layout, err := template.New("").Funcs(spoken.functions()).ParseFS(pageFiles, "pages/*.html")
		if err != nil {
			panic(fmt.Errorf("the pages of the kiosk: %w", err))
		}
		parsed[spoken.Tag()] = layout
	}
	return parsed
}

// route says what is answered where.
func (k *Kiosk) route() {
	k.mux = http.NewServeMux()
	k.mux.HandleFunc("GET /{$}", k.servePage)
	k.mux.HandleFunc("GET /events", k.serveEvents)
	k.mux.HandleFunc("POST /sessions/{session}/screens/{number}/{action}", k.serveAction)
	k.mux.HandleFunc("POST /sessions/{session}/language", k.serveLanguage)
	k.mux.HandleFunc("POST /sessions/{session}/touch", k.serveTouch)
	for name, kind := range map[string]string{"kiosk.css": "text/css", "kiosk.js": "text/javascript", "icon.svg": "image/svg+xml"} {
		k.mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind+"; charset=utf-8")
			http.ServeFileFS(w, r, pageFiles, "pages/"+name)
		})
	}
}

// ServeHTTP serves the page, to this machine and for pages of its own alone:
// another site that somebody opens on it gets nothing and can do nothing here.
func (k *Kiosk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", policy)
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Content-Type-Options", "nosniff")
	switch {
	case !isOwnHost(r.Host):
		http.Error(w, "This page is at 127.0.0.1, [::1] or localhost only.", http.StatusMisdirectedRequest)
	case !isOwnRequest(r):
		http.Error(w, "This came from a page of another site.", http.StatusForbidden)
	default:
		k.mux.ServeHTTP(w, r)
	}
}

// isOwnHost reports whether a request is to a name of this machine. A foreign
// name that somebody made resolve to it (DNS rebinding) is none.
func isOwnHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// isOwnRequest reports whether a request comes from the page itself. A browser
// says where one comes from; whatever changes something has to say it.
func isOwnRequest(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return site == "" || site == "same-origin" || site == "none"
	}
	return r.Header.Get("Origin") == "http://"+r.Host && (site == "" || site == "same-origin")
}

// servePage answers with the page, which is the same for everybody and says
// nothing of any card.
func (k *Kiosk) servePage(w http.ResponseWriter, r *http.Request) {
	var page bytes.Buffer
	err := layouts[k.unattended.Tag()].ExecuteTemplate(&page, "page.html", map[string]any{"Language": k.unattended})
	if err != nil {
		k.config.Log.Error("the page cannot be made", "error", err)
		http.Error(w, "The page cannot be made.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = page.WriteTo(w)
}

// event is what the page is told of a screen.
type event struct {
	Session  string `json:"session"`
	Number   uint64 `json:"number"`
	Name     string `json:"name"`
	Language string `json:"language"`
	HTML     string `json:"html"`
}

// serveEvents tells a page what to show, now and whenever that changes.
func (k *Kiosk) serveEvents(w http.ResponseWriter, r *http.Request) {
	changes := k.watch()
	if changes == nil {
		http.Error(w, "Too many pages of this kiosk are open.", http.StatusServiceUnavailable)
		return
	}
	defer k.unwatch(changes)
	w.Header().Set("Content-Type", "text/event-stream")
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	stream := http.NewResponseController(w)
	_ = stream.SetReadDeadline(time.Time{}) // that of the request is over
	var last string
	for {
		var text string
		select {
		case <-r.Context().Done():
			return
		case <-beat.C:
			text = "event: alive\ndata:\n\n"
		case <-changes:
			var err error
			if text, err = k.event(); err != nil {
				k.config.Log.Error("a screen cannot be made", "error", err)
				return
			}
			if text == last {
				continue // it was seen before it was told of
			}
			last = text
		}
		_ = stream.SetWriteDeadline(time.Now().Add(writeTimeout)) // a writer of tests may have none
		if _, err := io.WriteString(w, text); err != nil || stream.Flush() != nil {
			return
		}
	}
}

// event writes the screen that is shown as a server-sent event.
func (k *Kiosk) event() (string, error) {
	now, spoken := k.look()
	html, err := render(now.screen, spoken)
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(event{now.session, now.number, now.name, spoken.Tag(), html})
	if err != nil {
		return "", err
	}
	return "retry: 1000\nevent: screen\ndata: " + string(data) + "\n\n", nil
}

// screenData is what the template of a screen is given.
type screenData struct {
	view
	Language *phrases
	actions  []string
}

// Can reports whether the screen can be answered with an action.
func (d screenData) Can(action string) bool {
	return slices.Contains(d.actions, action)
}

// render writes a screen in a language.
func render(s screen, spoken *phrases) (string, error) {
	var html bytes.Buffer
	err := layouts[spoken.Tag()].ExecuteTemplate(&html, s.name, screenData{s.view, spoken, s.actions})
	return html.String(), err
}

// serveAction takes an answer to a screen. 409 means that another screen is
// shown by now.
func (k *Kiosk) serveAction(w http.ResponseWriter, r *http.Request) {
	number, err := strconv.ParseUint(r.PathValue("number"), 10, 64)
	if err != nil {
		http.Error(w, "Want the number of a screen.", http.StatusBadRequest)
		return
	}
	body, err := readBody(w, r)
	if err != nil {
		http.Error(w, "Want at most 64 bytes.", http.StatusRequestEntityTooLarge)
		return
	}
	reply(w, k.offer(r.PathValue("session"), number, answer{r.PathValue("action"), body}))
}

// readBody reads what was typed into memory of its own, which can be wiped.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body := make([]byte, maxBody+1)
	count, err := io.ReadFull(http.MaxBytesReader(w, r.Body, maxBody+1), body)
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		clear(body)
		return nil, errors.New("too long, or not readable")
	}
	return body[:count], nil
}

// serveLanguage changes the language of the screen: the body is its tag.
func (k *Kiosk) serveLanguage(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(w, r)
	if err != nil {
		http.Error(w, "Want a language, such as de.", http.StatusRequestEntityTooLarge)
		return
	}
	reply(w, k.speak(r.PathValue("session"), string(body)))
}

// serveTouch notes that somebody is typing.
func (k *Kiosk) serveTouch(w http.ResponseWriter, r *http.Request) {
	reply(w, k.touch(r.PathValue("session")))
}

func reply(w http.ResponseWriter, isTaken bool) {
	if !isTaken {
		http.Error(w, "Another screen is shown by now.", http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
