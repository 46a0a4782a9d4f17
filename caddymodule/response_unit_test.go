package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/paywordhq/payword/money"
)

// slowWriter is a client that takes its time.
type slowWriter struct {
	*httptest.ResponseRecorder
	takes time.Duration
}

func (w slowWriter) Write(content []byte) (int, error) {
	<-time.After(w.takes)
	return w.ResponseRecorder.Write(content)
}

// TestClientThatStopsReadingIsGivenNothingBack lets an upstream break off after a
// client was slow, and after it was not.
func TestClientThatStopsReadingIsGivenNothingBack(t *testing.T) {
	for takes, want := range map[time.Duration]money.Amount{time.Second: 0, clientPatience + time.Second: 10} {
		synctest.Test(t, func(t *testing.T) {
			s := newMeteredStream(&Meter{Unit: unitByte, Slice: 1}, 1, 10)
			x := &exchange{
				Handler: &Handler{app: s.app, logger: zap.NewNop()}, gate: s.gate,
				request: httptest.NewRequest(http.MethodGet, "/", nil),
			}
			x.sent.payment.Commitment, x.sent.payment.Number = s.commitment.ID, s.number
			w := &paidWriter{exchange: x, ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: slowWriter{httptest.NewRecorder(), takes}}}
			for range 3 {
				if _, err := w.writeThrough([]byte("content")); err != nil {
					t.Fatal(err)
				}
			}
			w.giveBack()
			if got := s.entry.state.Spent(); got != want {
				t.Errorf("writes that take %s: spent is %d, want %d", takes, got, want)
			}
		})
	}
}
