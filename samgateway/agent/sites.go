package agent

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
)

// siteRoutes are what sites may call.
func (a *Agent) siteRoutes() http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("OPTIONS /v1/", a.preflight)
	routes.HandleFunc("POST /v1/pairings", a.postPairing)
	routes.HandleFunc("POST /v1/requests", a.forSite(a.postRequest))
	routes.HandleFunc("GET /v1/requests/{id}", a.forSite(a.getRequest))
	routes.HandleFunc("DELETE /v1/requests/{id}", a.forSite(a.deleteRequest))
	return routes
}

// problem is how a site is told no.
type problem struct {
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func refuse(w http.ResponseWriter, status int, detail string) {
	write(w, status, "application/problem+json", problem{status, detail})
}

func write(w http.ResponseWriter, status int, kind string, value any) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // a site that went away hears nothing
}

// allow lets the pages of an origin read the answer.
func allow(w http.ResponseWriter, origin string) {
	w.Header().Set("Access-Control-Allow-Origin", origin)
	w.Header().Set("Vary", "Origin")
	w.Header().Set("Cross-Origin-Resource-Policy", "cross-origin")
}

// preflight tells a browser whether a site may ask. Sites that are not paired, and
// for which no code waits, do not even see that there is an agent.
func (a *Agent) preflight(w http.ResponseWriter, r *http.Request) {
	origin, err := originOf(r)
	if err != nil || !a.isPaired(origin) && !a.isPairing() {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	allow(w, origin)
	header := w.Header()
	header.Set("Access-Control-Allow-Methods", "GET, POST, DELETE")
	header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
	// Pairing ends, and so must what the browser remembers.
	header.Set("Access-Control-Max-Age", "5")
	if r.Header.Get("Access-Control-Request-Private-Network") == "true" {
		header.Set("Access-Control-Allow-Private-Network", "true")
	}
	w.WriteHeader(http.StatusNoContent)
}

// postPairing exchanges a code for a token.
func (a *Agent) postPairing(w http.ResponseWriter, r *http.Request) {
	origin, err := originOf(r)
	if err != nil || !a.isPairing() {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	allow(w, origin)
	var body struct {
		Code string `json:"code"`
	}
	if err := decode(r, &body); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	token, err := a.pair(origin, body.Code)
	switch {
	case errors.Is(err, errNoPairing), errors.Is(err, errWrongCode):
		refuse(w, http.StatusForbidden, err.Error())
	case err != nil:
		a.config.Log.Error("agent: pairing", "error", err)
		refuse(w, http.StatusInternalServerError, "the agent could not keep the pairing")
	default:
		write(w, http.StatusCreated, "application/json", map[string]string{"token": token})
	}
}

// forSite lets a request through that is of a paired site, by its token.
func (a *Agent) forSite(then func(w http.ResponseWriter, r *http.Request, origin string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		// An extension that may read all of 127.0.0.1 looks without an Origin. A page
		// cannot: with Authorization its browser asks first, and names it.
		if r.Method == http.MethodGet && len(r.Header.Values("Origin")) == 0 && isBearer {
			if origin, isKnown := a.siteOf(token); isKnown {
				then(w, r, origin)
				return
			}
		}
		origin, err := originOf(r)
		if err != nil || !a.isPaired(origin) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		allow(w, origin)
		if !isBearer || !a.isSite(origin, token) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			refuse(w, http.StatusUnauthorized, "want the token that this site was given when it was paired: pair it again if it is lost")
			return
		}
		then(w, r, origin)
	}
}

func (a *Agent) postRequest(w http.ResponseWriter, r *http.Request, origin string) {
	var body RequestBody
	err := decode(r, &body)
	if err == nil {
		err = body.check()
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	answer, err := a.add(origin, body)
	if err != nil {
		refuse(w, http.StatusConflict, err.Error())
		return
	}
	a.config.Notify(origin + " asks for something: look at the agent's page.")
	write(w, http.StatusCreated, "application/json", answer)
}

func (a *Agent) getRequest(w http.ResponseWriter, r *http.Request, origin string) {
	a.mutex.Lock()
	found := a.find(origin, r.PathValue("id"))
	var answer Answer
	if found != nil {
		answer = found.answer()
	}
	a.mutex.Unlock()
	a.tell(w, answer, found != nil)
}

func (a *Agent) deleteRequest(w http.ResponseWriter, r *http.Request, origin string) {
	answer, isFound := a.withdraw(origin, r.PathValue("id"))
	a.tell(w, answer, isFound)
}

func (a *Agent) tell(w http.ResponseWriter, answer Answer, isFound bool) {
	if !isFound {
		refuse(w, http.StatusNotFound, "there is no such request of this site: the agent keeps the last ones until it stops")
		return
	}
	write(w, http.StatusOK, "application/json", answer)
}

// decode reads the JSON object of a request. Forms cannot send that type, so that
// a browser asks by a preflight first.
func decode(r *http.Request, value any) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return errors.New("want the content type application/json")
	}
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil {
		return errors.New("the body is not the JSON object that it should be: an unknown member, another type, or more than 4096 bytes")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something after the JSON object")
	}
	return nil
}
