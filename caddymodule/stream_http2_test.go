package caddymodule_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/paywordhq/payword"
)

// TestTrailersOverHTTP2 reads what a stream cost from the trailers, with the
// receipt that an answered challenge gets.
func TestTrailersOverHTTP2(t *testing.T) {
	body := newFeed("application/octet-stream")
	gate, trust := startTLSGate(t, site{upstream: body, payword: "meter {\nunit kilobyte\nslice 2\n}", rest: meteredRest})
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	gate.http.Transport = transport
	p := newPayer(t, wish{name: "trailers", vendor: gate.vendor})
	gate.do(t, http.MethodHead, "/body", p.opening(p.paying(9, 1, 0)))
	headers := p.credential(t, gate.challengeFor(t, "/body", nil), p.paying(9, 2, 9*testPrice))
	headers["TE"] = "trailers"
	go func() {
		body.parts <- strings.Repeat("x", 2500)
		body.parts <- "end"
	}()
	stream := gate.follow(t, "/body", headers)
	content, err := io.ReadAll(stream.lines)
	if err != nil || len(content) != 2500 || stream.ProtoMajor != 2 {
		t.Fatalf("%d bytes over %s, %v", len(content), stream.Proto, err)
	}
	status, refusal := payword.ParseStatus(stream.Trailer.Get(payword.HeaderState))
	if refusal.Refused() || status.Price != 3*testPrice || status.Spent != 3*testPrice {
		t.Errorf("the trailer %s is %q", payword.HeaderState, stream.Trailer.Get(payword.HeaderState))
	}
	receipt, err := payword.ParseReceipt(stream.Trailer.Get(payword.HeaderPaymentReceipt))
	if err != nil || receipt.Amount != 3*testPrice || receipt.Number != 2 {
		t.Errorf("the receipt is %+v, %v", receipt, err)
	}
}

// frames is a WebSocket as its bytes, of messages below 64 kilobytes.
type frames struct {
	to   io.Writer
	from *bufio.Reader
}

// say writes a masked text message, as clients do.
func (f frames) say(t *testing.T, message string) {
	t.Helper()
	if _, err := f.to.Write(append([]byte{0x81, 0x80 | byte(len(message)), 0, 0, 0, 0}, message...)); err != nil {
		t.Fatal(err)
	}
}

// hear reads a message, or the payload of a close frame.
func (f frames) hear(t *testing.T) (message string, isClose bool) {
	t.Helper()
	for {
		head := make([]byte, 2)
		if _, err := io.ReadFull(f.from, head); err != nil {
			t.Fatalf("%v after %q", err, message)
		}
		length := uint64(head[1])
		if length == 126 {
			long := make([]byte, 2)
			io.ReadFull(f.from, long)
			length = uint64(binary.BigEndian.Uint16(long))
		}
		payload := make([]byte, length)
		if _, err := io.ReadFull(f.from, payload); err != nil {
			t.Fatal(err)
		}
		message += string(payload)
		if head[0]&0x80 != 0 {
			return message, head[0]&0xf == 8
		}
	}
}

// TestWebSocketOverHTTP2 opens a WebSocket by an extended CONNECT (RFC 8441),
// which Go serves if GODEBUG says so, and so in a process of its own.
func TestWebSocketOverHTTP2(t *testing.T) {
	seen := make(chan string, 10)
	upstream := httptest.NewServer(repeating(t, seen))
	t.Cleanup(upstream.Close)
	t.Setenv("GODEBUG", "http2xconnect=1")
	s := site{
		dir: t.TempDir(), vendor: freeOrigin(t), options: "servers {\nprotocols h1 h2c\n}",
		payword: "meter {\nunit message\ntimeout 1s\nboth_directions\n}", rest: meteredRest + "reverse_proxy " + upstream.Listener.Addr().String(),
	}
	gate := &gateProcess{config: filepath.Join(s.dir, "config.json"), testGate: &testGate{vendor: s.vendor, dir: s.dir, http: &http.Client{Transport: &http.Transport{}}}}
	if err := os.WriteFile(gate.config, configOf(t, s), 0o600); err != nil {
		t.Fatal(err)
	}
	gate.start(t)
	t.Cleanup(gate.kill)
	connection, err := net.Dial("tcp", addressOf(gate.testGate))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	//lint:ignore SA1019 the transport of net/http does not send the field :protocol
	client, err := new(http2.Transport).NewClientConn(connection)
	if err != nil {
		t.Fatal(err)
	}
	p := newPayer(t, wish{name: "websocket over http2", vendor: gate.vendor})

	connect := func(headers map[string]string) (*http.Response, frames) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		t.Cleanup(cancel)
		out, in := io.Pipe()
		request, err := http.NewRequestWithContext(ctx, http.MethodConnect, gate.vendor+"/socket", out)
		if err != nil {
			t.Fatal(err)
		}
		request.Header[":protocol"] = []string{"websocket"}
		request.Header.Set("Sec-WebSocket-Version", "13")
		for name, value := range headers {
			request.Header.Set(name, value)
		}
		response, err := client.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { in.Close(); response.Body.Close() })
		return response, frames{in, bufio.NewReader(response.Body)}
	}
	if response, _ := connect(nil); response.StatusCode != http.StatusPaymentRequired {
		t.Errorf("without payment: %s", response.Status)
	}
	response, socket := connect(p.opening(p.paying(2, 1, 9*testPrice)))
	if response.StatusCode != http.StatusOK || response.ProtoMajor != 2 {
		t.Fatalf("%s %s", response.Proto, response.Status)
	}
	socket.say(t, "one")
	if message, _ := socket.hear(t); message != "one" {
		t.Fatalf("heard %q", message)
	}
	socket.say(t, "two")
	for _, kind := range []string{"payment-need-voucher", "payment-receipt"} {
		message, _ := socket.hear(t)
		var said struct{ Type string }
		if err := json.Unmarshal([]byte(message), &said); err != nil || said.Type != kind {
			t.Fatalf("heard %q, want %s", message, kind)
		}
	}
	if message, isClose := socket.hear(t); !isClose || binary.BigEndian.Uint16([]byte(message)) != 4402 || !strings.Contains(message, "charged 2000") {
		t.Errorf("the end is %q", message)
	}
	if <-seen; len(seen) > 0 {
		t.Errorf("the upstream saw %q, which nobody paid", <-seen)
	}
	gate.untilSpent(t, p, 2, 2*testPrice)
}
