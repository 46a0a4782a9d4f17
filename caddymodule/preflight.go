package caddymodule

import (
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// isPreflight reports whether a browser asks leave for a cross-origin request.
// It cannot carry a payment.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" &&
		r.Header.Get("Access-Control-Request-Method") != "" &&
		r.ContentLength == 0 && r.Header.Get("Upgrade") == ""
}

// paymentFields are the request headers of a payment. The gate takes them out
// before anything behind it sees them.
const paymentFields = "Payword, Payword-Commitment, Payword-Reservation, Payword-Stream, Payment-Authorization"

// servePreflight lets the site answer a preflight, in headers alone: what looks
// at no method would answer with its content. Which origins may ask is the site's
// to say; that those may bring a payment the gate adds.
func servePreflight(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	answer := &headersOnly{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	err := next.ServeHTTP(answer, r)
	if err == nil && !answer.wroteHeader {
		answer.WriteHeader(http.StatusOK)
	}
	return err
}

// headersOnly writes the header of an answer and none of its content.
type headersOnly struct {
	*caddyhttp.ResponseWriterWrapper
	wroteHeader bool
}

// WriteHeader writes the header without what describes content.
func (w *headersOnly) WriteHeader(status int) {
	w.wroteHeader = true
	w.Header().Add("Access-Control-Allow-Headers", paymentFields)
	for _, name := range []string{"Content-Length", "Content-Encoding", "Content-Type", "Etag"} {
		w.Header().Del(name)
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

// Write drops the content.
func (w *headersOnly) Write(content []byte) (int, error) {
	if !w.wroteHeader {
		w.WriteHeader(http.StatusOK)
	}
	return len(content), nil
}

// ReadFrom drops the content.
func (w *headersOnly) ReadFrom(source io.Reader) (int64, error) {
	if !w.wroteHeader {
		w.WriteHeader(http.StatusOK)
	}
	return io.Copy(io.Discard, source)
}

// Unwrap returns nothing: what is below would write content.
func (w *headersOnly) Unwrap() http.ResponseWriter { return nil }
