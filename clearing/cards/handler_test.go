package cards_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword/clearing/cards"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/purse"
)

const cardsOrigin = "https://cards.example"

// handler is the one for gateways, by the clock of the office.
func (o *office) handler(proxies ...netip.Prefix) http.Handler {
	return o.Handler(cards.HandlerConfig{
		Now: func() time.Time { return time.Unix(o.now.Load(), 0) }, Log: slog.New(slog.DiscardHandler), Origin: cardsOrigin, Proxies: proxies,
	})
}

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
	h := o.handler()
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
	h := o.handler()
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

// A proxy is not the one who guesses: those behind it are told apart, if it is
// known, and nobody is kept out, if it is not.
func TestHandlerBehindProxies(t *testing.T) {
	o := newOffice(t)
	h := o.handler(netip.MustParsePrefix("10.0.0.0/8"))
	try := func(from, forwarded string) int {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/batches", strings.NewReader(strings.Repeat("x", purse.TotalLength)))
		r.RemoteAddr = from
		r.Header.Set("X-Forwarded-For", forwarded)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	for k := range 31 {
		want := 422
		if k == 30 {
			want = 429
		}
		if status := try("127.0.0.1:1", "192.0.2.9"); status != 422 {
			t.Fatalf("try %d by a proxy that is not known: %d", k+1, status)
		}
		if status := try("10.1.2.3:1", "192.0.2.7, 192.0.2.1, 10.4.5.6"); status != want {
			t.Fatalf("try %d by a proxy that is known: %d, want %d", k+1, status, want)
		}
		if status := try("198.51.100.1:1", "192.0.2.2"); status != want {
			t.Fatalf("try %d by somebody who says to be a proxy: %d, want %d", k+1, status, want)
		}
	}
	for _, forwarded := range []string{"192.0.2.2", "192.0.2.7", "192.0.2.9"} {
		if status := try("10.1.2.3:1", forwarded); status != 422 {
			t.Errorf("another one behind the proxy, %s: %d", forwarded, status)
		}
	}
}

// What no SAM signed is refused although somebody books for long: it does not
// wait with the others, and cannot make them wait.
func TestHandlerRefusesForgedWithoutBooking(t *testing.T) {
	o := newOffice(t)
	h := o.handler()
	card, sam := o.card(1, ""), o.sam(1)
	o.load(card, 50_00)
	record, previous := o.pay(sam, card, 5_00)
	batch := closed(sam)
	batch[30] ^= 1
	record[len(record)-1] ^= 1
	err := o.db.Update(t.Context(), func(tx *ledger.Tx) error {
		_, err := tx.ExecContext(t.Context(), `UPDATE cards_merchants SET name = name`)
		for _, c := range []struct {
			path   string
			body   []byte
			reason purse.Reason
		}{
			{"/v1/batches", batch, purse.WrongTotalMAC},
			{"/v1/batches", make([]byte, purse.MaxBatchLength), purse.UnknownMerchant},
			{"/v1/payments", append(slices.Clone(record), previous[:]...), purse.BrokenChain},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			r := httptest.NewRequestWithContext(ctx, "POST", c.path, bytes.NewReader(c.body))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			cancel()
			if w.Code != 422 || !strings.Contains(w.Body.String(), `"reason":"`+string(c.reason)+`"`) {
				t.Errorf("%s: %d %s, want %s", c.path, w.Code, w.Body, c.reason)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// timed keeps the deadline for the body.
type timed struct {
	*httptest.ResponseRecorder
	deadline time.Time
}

func (w *timed) SetReadDeadline(at time.Time) error {
	w.deadline = at
	return nil
}

// slowly is a body that is read when there is a deadline for it.
type slowly struct {
	of    *timed
	inner io.Reader
	t     *testing.T
}

func (s slowly) Read(p []byte) (int, error) {
	if left := time.Until(s.of.deadline); left <= 0 || left > 2*time.Minute {
		s.t.Errorf("a body is read that may take %s", left)
	}
	return s.inner.Read(p)
}

// Who sends slowly does not hold a connection for ever.
func TestHandlerBoundsTime(t *testing.T) {
	o := newOffice(t)
	h := o.handler()
	for _, path := range []string{"/v1/batches", "/v1/payments", "/v1/hotlist", "/elsewhere"} {
		for _, body := range [][]byte{nil, []byte(strings.Repeat("x", 100))} {
			w := &timed{ResponseRecorder: httptest.NewRecorder()}
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", path, slowly{w, bytes.NewReader(body), t}))
			if w.Code == 405 || w.Code == 404 {
				_, _ = slowly{w, bytes.NewReader(nil), t}.Read(nil) // as the server drains it
			}
		}
	}
}

// Who is told that an earlier load is open is told which, for a program.
func TestHandlerNamesTheOpenLoad(t *testing.T) {
	o := newOffice(t)
	card := o.card(1, o.account(1, 100_000_000))
	open := o.authorise(card, 5_00)
	request, response := ask(card, 5_00)
	status, answer := answered(t, o.handler(), "POST", "/v1/loads", "192.0.2.1:1234", append(request, response...))
	if status != 409 || answer["reason"] != string(cards.LoadOpen) || answer["load"] != open.Reference.String() {
		t.Errorf("got %d %v, want load %s", status, answer, open.Reference)
	}
}
