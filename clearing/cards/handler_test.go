package cards_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/purse"
)

// answered sends a request to a handler and returns status and body.
func answered(t *testing.T, h http.Handler, method, path, from string, body []byte) (int, map[string]any) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, bytes.NewReader(body))
	r.RemoteAddr = from
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	text, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatalf("%s %s: %s", method, path, text)
	}
	return w.Code, answer
}

func TestHandler(t *testing.T) {
	o := newOffice(t)
	h := o.Handler(func() time.Time { return time.Unix(o.now.Load(), 0) }, slog.New(slog.DiscardHandler))
	card, white, sam := o.card(1, ""), o.card(2, ""), o.sam(1)
	o.load(card, 50_00)
	record, previous := o.pay(sam, card, 5_00)
	const from = "192.0.2.1:1234"
	for range 2 {
		status, answer := answered(t, h, "POST", "/v1/payments", from, append(slices.Clone(record), previous[:]...))
		if status != 200 || answer["amountMicros"] != "5000000" || answer["feeMicros"] != "20000" || answer["merchant"] != sam.Merchant.String() {
			t.Errorf("payment: %d %v", status, answer)
		}
	}
	batch := closed(sam)
	for k := range 2 {
		status, answer := answered(t, h, "POST", "/v1/batches", from, batch)
		ack, _ := answer["acknowledgement"].(string)
		if status != 200 || len(ack) != 32 || answer["repeated"] != (k == 1) || answer["bookedMicros"] != "0" {
			t.Errorf("batch: %d %v", status, answer)
		}
	}
	if err := o.ReportCard(t.Context(), white.ID, false, "cash desk 1"); err != nil {
		t.Fatal(err)
	}
	status, answer := answered(t, h, "GET", "/v1/hotlist", from, nil)
	if listed, _ := answer["cards"].([]any); status != 200 || len(listed) != 1 || listed[0] != white.ID.String() {
		t.Errorf("hot list: %d %v", status, answer)
	}
	if status, answer := answered(t, h, "GET", "/v1/hotlist?after=x", from, nil); status != 400 {
		t.Errorf("hot list after nothing: %d %v", status, answer)
	}
	other := slices.Clone(batch)
	other[len(other)-1] ^= 1
	for _, c := range []struct {
		name, path string
		body       []byte
		status     int
		reason     purse.Reason
	}{
		{"another batch of the number", "/v1/batches", other, 409, purse.Differs},
		{"not a batch", "/v1/batches", []byte("hello"), 422, purse.Malformed},
		{"far too much", "/v1/batches", make([]byte, purse.MaxBatchLength+1), 413, "too-large"},
		{"half a payment", "/v1/payments", record, 422, purse.Malformed},
		{"too much of a payment", "/v1/payments", make([]byte, 200), 413, "too-large"},
	} {
		status, answer := answered(t, h, "POST", c.path, from, c.body)
		if status != c.status || answer["reason"] != string(c.reason) || answer["detail"] == "" {
			t.Errorf("%s: %d %v, want %d %s", c.name, status, answer, c.status, c.reason)
		}
	}
}

// Who guesses is not looked at any more for a while, and nobody else waits.
func TestHandlerLimitsFailures(t *testing.T) {
	o := newOffice(t)
	h := o.Handler(func() time.Time { return time.Unix(o.now.Load(), 0) }, slog.New(slog.DiscardHandler))
	try := func(from string) int {
		status, _ := answered(t, h, "POST", "/v1/batches", from, []byte(strings.Repeat("x", purse.TotalLength)))
		return status
	}
	for k := range 30 {
		if status := try("[2001:db8::1]:1"); status != 422 {
			t.Fatalf("try %d: %d", k+1, status)
		}
	}
	if status := try("[2001:db8::2]:1"); status != 429 {
		t.Errorf("after 30 failures of a network: %d", status)
	}
	if status := try("192.0.2.1:1"); status != 422 {
		t.Errorf("another address: %d", status)
	}
	o.now.Add(60)
	if status := try("[2001:db8::1]:1"); status != 422 {
		t.Errorf("a minute later: %d", status)
	}
}
