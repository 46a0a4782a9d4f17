package caddymodule_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// repeating is a WebSocket server that sends back what it gets, and closes on "bye".
func repeating(t *testing.T, seen chan<- string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			return
		}
		connection, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
		if err != nil {
			t.Error(err)
			return
		}
		connection.SetReadLimit(1 << 20)
		defer connection.CloseNow()
		for {
			kind, message, err := connection.Read(r.Context())
			if err != nil {
				return
			}
			seen <- string(message)
			if string(message) == "bye" {
				connection.Close(websocket.StatusNormalClosure, "done")
				return
			}
			// In two frames, as long messages come.
			writer, err := connection.Writer(r.Context(), kind)
			if err != nil {
				return
			}
			writer.Write(message[:len(message)/2])
			writer.Write(message[len(message)/2:])
			writer.Close()
		}
	})
}

// socket is a WebSocket that a payer opened.
type socket struct {
	*websocket.Conn
	ctx    context.Context
	stream string
}

func (g *testGate) dial(t *testing.T, headers map[string]string) *socket {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	header := http.Header{}
	for name, value := range headers {
		header.Set(name, value)
	}
	connection, response, err := websocket.Dial(ctx, g.vendor+"/socket", &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		t.Fatalf("%v: %v", err, response)
	}
	t.Cleanup(func() { connection.CloseNow() })
	if connection.Subprotocol() != "" {
		t.Fatal("a subprotocol")
	}
	return &socket{connection, ctx, response.Header.Get("Payword-Stream")}
}

func (s *socket) say(t *testing.T, message string) {
	t.Helper()
	if err := s.Write(s.ctx, websocket.MessageText, []byte(message)); err != nil {
		t.Fatal(err)
	}
}

func (s *socket) mustHear(t *testing.T, want string) {
	t.Helper()
	_, got, err := s.Read(s.ctx)
	if err != nil || string(got) != want {
		t.Fatalf("heard %q, %v, want %q", got, err, want)
	}
}

// hearGate reads a message of the gate's own.
func (s *socket) hearGate(t *testing.T, kind string, data any) {
	t.Helper()
	_, got, err := s.Read(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	var message struct {
		Type string
		Data json.RawMessage
	}
	if err := json.Unmarshal(got, &message); err != nil || message.Type != kind {
		t.Fatalf("heard %q, want %s", got, kind)
	}
	if err := json.Unmarshal(message.Data, data); err != nil {
		t.Fatal(err)
	}
}

// TestMessagesArePaidOneByOne pauses a WebSocket, resumes it, and ends it with a
// receipt before the close frame.
func TestMessagesArePaidOneByOne(t *testing.T) {
	seen := make(chan string, 10)
	gate := startGate(t, site{upstream: repeating(t, seen), payword: "meter {\nunit message\ntimeout 5s\n}", rest: meteredRest})
	p := newPayer(t, wish{name: "messages", vendor: gate.vendor})
	s := gate.dial(t, p.opening(p.paying(2, 1, 9*testPrice)))
	long := strings.Repeat("long ", 20000)
	s.SetReadLimit(1 << 20)
	for _, message := range []string{"one", long} {
		s.say(t, message)
		s.mustHear(t, message)
	}
	s.say(t, "three")
	var n need
	s.hearGate(t, "payment-need-voucher", &n)
	if n.Stream != s.stream || n.Reason != "insufficient-credit" || n.Required != "3000" {
		t.Errorf("%+v", n)
	}
	gate.resume(t, "/socket", s.stream, p, p.paying(4, 2, 0))
	s.mustHear(t, "three")
	s.say(t, "bye")
	var r payword.Receipt
	s.hearGate(t, "payment-receipt", &r)
	if r.Amount != 3*testPrice || r.Spent != 3*testPrice {
		t.Errorf("%+v", r)
	}
	if _, _, err := s.Read(s.ctx); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("the end is %v", err)
	}
	gate.untilSpent(t, p, 3, 3*testPrice)
}

// TestMessagesInBothDirections charges what the client sends before the upstream
// sees it, and closes when no payment comes.
func TestMessagesInBothDirections(t *testing.T) {
	seen := make(chan string, 10)
	gate := startGate(t, site{upstream: repeating(t, seen), payword: "meter {\nunit message\ntimeout 1s\nboth_directions\n}", rest: meteredRest})
	p := newPayer(t, wish{name: "both directions", vendor: gate.vendor})
	s := gate.dial(t, p.opening(p.paying(2, 1, 9*testPrice)))
	s.say(t, "one")
	s.mustHear(t, "one")
	<-seen
	s.say(t, "two")
	var n need
	s.hearGate(t, "payment-need-voucher", &n)
	var r payword.Receipt
	s.hearGate(t, "payment-receipt", &r)
	if r.Amount != 2*testPrice {
		t.Errorf("%+v", r)
	}
	_, _, err := s.Read(s.ctx)
	var closed websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != 4402 || !strings.Contains(closed.Reason, "charged 2000") {
		t.Errorf("the end is %v", err)
	}
	if len(seen) > 0 {
		t.Errorf("the upstream saw %q, which nobody paid", <-seen)
	}
	gate.untilSpent(t, p, 3, 2*testPrice)
}

// TestPayloadIsPaidByTheKilobyte counts the payload of messages, and no frame
// headers.
func TestPayloadIsPaidByTheKilobyte(t *testing.T) {
	seen := make(chan string, 10)
	gate := startGate(t, site{upstream: repeating(t, seen), payword: "meter {\nunit kilobyte\nslice 1\n}", rest: meteredRest})
	p := newPayer(t, wish{name: "payload", vendor: gate.vendor})
	s := gate.dial(t, p.opening(p.paying(9, 1, 9*testPrice)))
	message := strings.Repeat("x", 500)
	for range 4 {
		s.say(t, message)
		s.mustHear(t, message)
	}
	s.Close(websocket.StatusNormalClosure, "")
	gate.untilSpent(t, p, 2, money.Amount(2)*testPrice)
}
