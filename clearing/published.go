package clearing

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/clearing/statement"
)

// The paths of what is for everybody, beside the pages of operators.
const (
	pathVerify  = "/verify"
	pathDays    = "/days"
	pathDayKeys = "/day-keys"
)

// maxDaysPage is how many days one answer lists: close to three years of them, half
// a megabyte.
const maxDaysPage = 1000

// registerPublished serves what makes statements worth something to others: the page
// that checks them, the days that were signed, and the key that signs them now.
func registerPublished(mux *http.ServeMux, s *Server) {
	mux.HandleFunc("GET "+pathVerify, serveVerify)
	mux.HandleFunc("GET "+pathDays, s.serveDays)
	mux.HandleFunc("GET "+pathDayKeys, s.serveDayKeys)
}

// serveVerify serves the page that checks statements. What it may do stands in
// itself, so that it holds from a disk, too; a header says who may frame it.
func serveVerify(w http.ResponseWriter, r *http.Request) {
	publicHeader(w, "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "frame-ancestors 'none'")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(statement.Page))
}

// serveDays lists the signed days after the number ?after=, the oldest first, a
// token each line, as "payword verify-statement --days" reads them.
func (s *Server) serveDays(w http.ResponseWriter, r *http.Request) {
	after := int64(0)
	if text := r.URL.Query().Get("after"); text != "" {
		var err error
		if after, err = strconv.ParseInt(text, 10, 64); err != nil || after < 0 {
			http.Error(w, "after: want the number of a day, such as /days?after=7", http.StatusBadRequest)
			return
		}
	}
	days, err := Days(r.Context(), s.db, after, maxDaysPage)
	if err != nil {
		s.log.ErrorContext(r.Context(), "listing the days failed", "error", err)
		http.Error(w, "the days cannot be read now: ask again later", http.StatusServiceUnavailable)
		return
	}
	publicHeader(w, "text/plain; charset=utf-8")
	for _, day := range days {
		fmt.Fprintln(w, day.Token)
	}
}

// serveDayKeys lists the key that days are signed with now, as a JSON Web Key Set.
// Whoever checks older days keeps the keys of that time.
func (s *Server) serveDayKeys(w http.ResponseWriter, r *http.Request) {
	document, err := json.Marshal(map[string][]string{"keys": {}})
	if s.config.Signer != nil {
		if key, isEd25519 := s.config.Signer.Public().(ed25519.PublicKey); isEd25519 {
			document, err = payword.FormatJWKS(key)
		}
	}
	if err != nil {
		s.log.ErrorContext(r.Context(), "listing the keys failed", "error", err)
		http.Error(w, "the keys cannot be read now: ask again later", http.StatusServiceUnavailable)
		return
	}
	publicHeader(w, "application/jwk-set+json")
	_, _ = w.Write(document) // a client that goes away is its own affair
}

// publicHeader says what holds of all that is for everybody.
func publicHeader(w http.ResponseWriter, contentType string) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-cache")
}
