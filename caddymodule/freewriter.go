package caddymodule

import (
	"bufio"
	"io"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// freeWriter writes an answer that nothing is charged for, and notes what came
// of it.
type freeWriter struct {
	*caddyhttp.ResponseWriterWrapper
	before func(header http.Header, status int) // called once, when the final status is known; may be nil
	status int                                  // 0: not written
	failed bool                                 // something that was written did not arrive
}

// WriteHeader notes the final status.
func (w *freeWriter) WriteHeader(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
		if w.before != nil {
			w.before(w.Header(), status)
		}
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

// Write writes content, after the header.
func (w *freeWriter) Write(content []byte) (int, error) {
	w.begin()
	n, err := w.ResponseWriterWrapper.Write(content)
	w.failed = w.failed || err != nil
	return n, err
}

// ReadFrom copies content, after the header, the fast way where there is one.
func (w *freeWriter) ReadFrom(source io.Reader) (int64, error) {
	w.begin()
	n, err := w.ResponseWriterWrapper.ReadFrom(source)
	w.failed = w.failed || err != nil // the error may be the source's; see paidWriter
	return n, err
}

// FlushError sends what was written so far, after the header.
func (w *freeWriter) FlushError() error {
	w.begin()
	err := http.NewResponseController(w.ResponseWriterWrapper.ResponseWriter).Flush()
	w.failed = w.failed || err != nil
	return err
}

// Hijack hands the connection over, which delivers whatever comes then.
func (w *freeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	connection, buffered, err := http.NewResponseController(w.ResponseWriterWrapper.ResponseWriter).Hijack()
	if err == nil && w.status == 0 {
		w.status = http.StatusSwitchingProtocols
	}
	return connection, buffered, err
}

func (w *freeWriter) begin() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
}

// delivers reports whether the answer has what somebody would pay for.
func (w *freeWriter) delivers() bool { return w.status > 0 && w.status < 300 }
