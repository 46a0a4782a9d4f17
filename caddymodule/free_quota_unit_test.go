package caddymodule

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// brokenWriter is a connection that the client has cut, which no context tells
// yet.
type brokenWriter struct{ *httptest.ResponseRecorder }

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("connection reset by peer") }

// TestLeavingUsesTheQuotaUp lets writes fail, in a proxy that panics then and in
// what returns the error.
func TestLeavingUsesTheQuotaUp(t *testing.T) {
	for name, after := range map[string]func(error) error{
		"error": func(err error) error { return err },
		"panic": func(error) error { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			x := &exchange{
				Handler: &Handler{FreeQuota: 1}, gate: &gate{quotas: newFreeQuotas()}, now: 1_790_000_000,
				writer: brokenWriter{httptest.NewRecorder()}, request: httptest.NewRequest(http.MethodGet, "/", nil),
			}
			if !x.takeQuota() {
				t.Fatal("there is no quota")
			}
			func() {
				defer func() { _ = recover() }()
				err := x.serveOnQuota(caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
					_, err := w.Write([]byte("content"))
					return after(err)
				}))
				if err == nil {
					t.Error("the error was lost")
				}
			}()
			if left := x.gate.quotas.left(x.quotaClient(), 1, x.now); left != 0 {
				t.Errorf("%d are left", left)
			}
		})
	}
}
