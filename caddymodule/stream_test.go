package caddymodule_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/caddymodule"
	"github.com/paywordhq/payword/money"
)

// feed is an upstream that sends what the test hands it, and notes when its
// client is gone.
type feed struct {
	kind  string // Content-Type
	parts chan string
	ended chan struct{} // one for each request that ended
}

func newFeed(kind string) *feed {
	return &feed{kind: kind, parts: make(chan string), ended: make(chan struct{}, 100)}
}

func (f *feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		return
	}
	defer func() { f.ended <- struct{}{} }()
	w.Header().Set("Content-Type", f.kind)
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for {
		select {
		case part, more := <-f.parts:
			if !more {
				return
			}
			switch part {
			case "break":
				panic(http.ErrAbortHandler)
			case "end":
				return
			}
			io.WriteString(w, part)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// follower reads a stream as a client does.
type follower struct {
	*http.Response
	lines *bufio.Reader
}

// follow begins a stream.
func (g *testGate) follow(t *testing.T, target string, headers map[string]string) *follower {
	t.Helper()
	response, err := g.send(http.MethodGet, target, headers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", target, response.Status)
	}
	return &follower{response, bufio.NewReader(response.Body)}
}

// event reads the next event and returns its type and data.
func (f *follower) event(t *testing.T) (kind, data string) {
	t.Helper()
	for {
		line, err := f.lines.ReadString('\n')
		if err != nil {
			t.Fatalf("reading an event: %v after %q", err, data)
		}
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "":
			return kind, data
		case strings.HasPrefix(line, "event: "):
			kind = line[7:]
		case strings.HasPrefix(line, "data: "):
			data += line[6:]
		}
	}
}

// mustEvent reads an event of a type with data.
func (f *follower) mustEvent(t *testing.T, kind, data string) {
	t.Helper()
	gotKind, got := f.event(t)
	if gotKind != kind || data != "" && got != data {
		t.Fatalf("event %q with %q, want %q with %q", gotKind, got, kind, data)
	}
}

// need is what payment-need-voucher says.
type need struct {
	Stream, CommitmentID, Reason            string
	Required, Accepted, Spent, Charged, Max string
	TimeoutSeconds                          int
}

func (f *follower) need(t *testing.T) need {
	t.Helper()
	kind, data := f.event(t)
	var n need
	if err := json.Unmarshal([]byte(data), &n); err != nil || kind != "payment-need-voucher" {
		t.Fatalf("event %q: %q, %v", kind, data, err)
	}
	return n
}

// receipt reads the event that ends a stream, and the end.
func (f *follower) receipt(t *testing.T) payword.Receipt {
	t.Helper()
	kind, data := f.event(t)
	var r payword.Receipt
	if err := json.Unmarshal([]byte(data), &r); err != nil || kind != "payment-receipt" {
		t.Fatalf("event %q: %q, %v", kind, data, err)
	}
	if rest, err := io.ReadAll(f.lines); err != nil || len(rest) > 0 {
		t.Fatalf("behind the receipt: %q, %v", rest, err)
	}
	return r
}

// resume sends the HEAD that brings payment for a stream.
func (g *testGate) resume(t *testing.T, target, stream string, p *payer, payment payword.Payment) payword.Status {
	t.Helper()
	header := p.header(payment)
	header["Payword-Stream"] = stream
	response, _ := g.do(t, http.MethodHead, target, header)
	if response.StatusCode != http.StatusNoContent {
		t.Fatalf("HEAD %s: %s %s", target, response.Status, response.Header.Get(payword.HeaderState))
	}
	return statusOf(t, response)
}

// spentOf asks the gate what was spent on a commitment.
func (g *testGate) spentOf(t *testing.T, p *payer, number uint64) money.Amount {
	t.Helper()
	response, _ := g.do(t, http.MethodHead, "/spent", p.header(p.paying(1, number, 0)))
	return statusOf(t, response).Spent
}

const perEvent = "meter {\nunit event\ntimeout 2s\n}"

// TestEventsArePaidOneByOne pauses a stream for want of credit, then for want of
// max, and ends it with a receipt.
func TestEventsArePaidOneByOne(t *testing.T) {
	events := newFeed("text/event-stream")
	gate := startGate(t, site{upstream: events, payword: perEvent, rest: meteredRest})
	p := newPayer(t, wish{name: "events", vendor: gate.vendor})
	headers := p.opening(p.paying(2, 1, 3*testPrice))
	headers["TE"] = "trailers"
	stream := gate.follow(t, "/events", headers)
	id := stream.Header.Get("Payword-Stream")
	events.parts <- "data: one\n\ndata: two\n\n: only a comment\n\ndata: th"
	stream.mustEvent(t, "", "one")
	stream.mustEvent(t, "", "two")
	stream.mustEvent(t, "", "")
	events.parts <- "ree\n\n"
	n := stream.need(t)
	if n.Stream != id || n.Reason != "insufficient-credit" || n.Required != "3000" || n.Accepted != "2000" || n.Spent != "2000" || n.Charged != "2000" || n.TimeoutSeconds != 2 {
		t.Errorf("want of credit: %+v", n)
	}
	if got := gate.resume(t, "/events", id, p, p.paying(4, 2, 3*testPrice)); got.Accepted != 4*testPrice || got.Price != 0 {
		t.Errorf("the HEAD is answered with %+v", got)
	}
	stream.mustEvent(t, "", "three")
	events.parts <- "data: four\n\n"
	if n := stream.need(t); n.Reason != "price-over-max" || n.Max != "4000" || n.Charged != "3000" {
		t.Errorf("want of max: %+v", n)
	}
	gate.resume(t, "/events", id, p, p.paying(4, 3, 9*testPrice))
	stream.mustEvent(t, "", "four")
	close(events.parts)
	if r := stream.receipt(t); r.Amount != 4*testPrice || r.Spent != 4*testPrice || r.Number != 1 {
		t.Errorf("the receipt is %+v", r)
	}
	status, refusal := payword.ParseStatus(stream.Trailer.Get(payword.HeaderState))
	if refusal.Refused() || status.Price != 4*testPrice || status.Spent != 4*testPrice {
		t.Errorf("the trailer is %q", stream.Trailer)
	}
	if got := gate.spentOf(t, p, 4); got != 4*testPrice {
		t.Errorf("spent is %s", got)
	}
}

// TestStreamEndsWithoutPayment waits for the timeout.
func TestStreamEndsWithoutPayment(t *testing.T) {
	events := newFeed("text/event-stream")
	gate := startGate(t, site{upstream: events, payword: strings.Replace(perEvent, "2s", "1s", 1), rest: meteredRest})
	p := newPayer(t, wish{name: "timeout", vendor: gate.vendor})
	stream := gate.follow(t, "/events", p.opening(p.paying(1, 1, 9*testPrice)))
	events.parts <- "data: one\n\ndata: two\n\n"
	stream.mustEvent(t, "", "one")
	stream.need(t)
	if r := stream.receipt(t); r.Amount != testPrice || r.Spent != testPrice {
		t.Errorf("the receipt is %+v", r)
	}
	<-events.ended
}

// TestStreamThatIsLeft gives up a stream of which nothing was sent yet, and one
// that waits.
func TestStreamThatIsLeft(t *testing.T) {
	events := newFeed("text/event-stream")
	gate := startGate(t, site{upstream: events, payword: "meter {\nunit event\nslice 5\n}", rest: meteredRest})
	p := newPayer(t, wish{name: "left", vendor: gate.vendor})
	stream := gate.follow(t, "/events", p.opening(p.paying(7, 1, 9*testPrice)))
	events.parts <- "data: one\n\n"
	stream.mustEvent(t, "", "one")
	stream.Body.Close()
	<-events.ended
	gate.untilSpent(t, p, 2, testPrice)
	stream = gate.follow(t, "/events", p.header(p.paying(7, 100, 9*testPrice)))
	events.parts <- strings.Repeat("data: x\n\n", 7)
	for range 6 {
		stream.mustEvent(t, "", "x")
	}
	stream.need(t)
	stream.Body.Close()
	<-events.ended
	gate.untilSpent(t, p, 101, 7*testPrice)
}

// untilSpent asks until the gate has noticed something that it notices at its
// own pace.
func (g *testGate) untilSpent(t *testing.T, p *payer, number uint64, want money.Amount) {
	t.Helper()
	got := money.Amount(-1)
	for range 500 {
		if got = g.spentOf(t, p, number); got == want {
			return
		}
		number++
		<-time.After(10 * time.Millisecond)
	}
	t.Fatalf("spent is %s, want %s", got, want)
}

func TestUpstreamThatBreaksOffIsPaidForWhatItSent(t *testing.T) {
	events := newFeed("text/event-stream")
	gate := startGate(t, site{upstream: events, payword: "meter {\nunit event\nslice 5\n}", rest: meteredRest})
	p := newPayer(t, wish{name: "stream breaks", vendor: gate.vendor})
	stream := gate.follow(t, "/events", p.opening(p.paying(7, 1, 9*testPrice)))
	events.parts <- "data: one\n\ndata: t"
	stream.mustEvent(t, "", "one")
	events.parts <- "break"
	if _, err := io.ReadAll(stream.lines); err == nil {
		t.Error("the stream ended as if nothing was wrong")
	}
	gate.untilSpent(t, p, 2, testPrice)
}

// TestStreamEndsWithItsConfiguration loads another configuration with the same
// store while a stream waits.
func TestStreamEndsWithItsConfiguration(t *testing.T) {
	events := newFeed("text/event-stream")
	s := site{upstream: events, payword: perEvent, rest: meteredRest, dir: t.TempDir()}
	gate := startGate(t, s)
	p := newPayer(t, wish{name: "reload", vendor: gate.vendor})
	stream := gate.follow(t, "/events", p.opening(p.paying(1, 1, 9*testPrice)))
	events.parts <- "data: one\n\n"
	stream.mustEvent(t, "", "one")
	s.vendor, s.payword = gate.vendor, "description other"
	if err := caddy.Load(configOf(t, s), true); err != nil {
		t.Fatal(err)
	}
	if r := stream.receipt(t); r.Amount != testPrice {
		t.Errorf("the receipt is %+v", r)
	}
	<-events.ended
}

// TestStoreThatFailsEndsAStream counts what came after the store broke: no more
// than what was charged.
func TestStoreThatFailsEndsAStream(t *testing.T) {
	events := newFeed("text/event-stream")
	gate := startGate(t, site{upstream: events, payword: "meter {\nunit event\nslice 3\n}", rest: meteredRest})
	p := newPayer(t, wish{name: "stream breaks the store", vendor: gate.vendor})
	stream := gate.follow(t, "/events", p.opening(p.paying(9, 1, 9*testPrice)))
	events.parts <- "data: x\n\n"
	stream.mustEvent(t, "", "x")
	if err := caddymodule.BreakStore(filepath.Join(gate.dir, "store")); err != nil {
		t.Fatal(err)
	}
	events.parts <- strings.Repeat("data: x\n\n", 9)
	stream.mustEvent(t, "", "x")
	stream.mustEvent(t, "", "x")
	if r := stream.receipt(t); r.Amount != 3*testPrice {
		t.Errorf("the receipt is %+v", r)
	}
	<-events.ended
}

// TestLongBodyIsPaidByThePiece reads a body of unknown length: what came is
// never more than what was paid.
func TestLongBodyIsPaidByThePiece(t *testing.T) {
	body := newFeed("application/octet-stream")
	gate := startGate(t, site{upstream: body, payword: "meter {\nunit kilobyte\nslice 2\n}", rest: meteredRest})
	p := newPayer(t, wish{name: "long body", vendor: gate.vendor})
	go func() {
		body.parts <- strings.Repeat("x", 5500)
		close(body.parts)
	}()
	stream := gate.follow(t, "/body", p.opening(p.paying(3, 1, 90*testPrice)))
	id := stream.Header.Get("Payword-Stream")
	if _, err := io.ReadFull(stream.lines, make([]byte, 3000)); err != nil {
		t.Fatal(err)
	}
	if got := gate.spentOf(t, p, 2); got != 3*testPrice {
		t.Errorf("spent is %s for 3000 bytes", got)
	}
	gate.resume(t, "/body", id, p, p.paying(9, 3, 0))
	rest, err := io.ReadAll(stream.lines)
	if err != nil || len(rest) != 2500 {
		t.Errorf("%d more bytes, %v", len(rest), err)
	}
	gate.untilSpent(t, p, 4, 6*testPrice)
}

// TestThirtyStreamsOnOneCommitment lets thirty streams share the credit: all
// that they deliver together is paid.
func TestThirtyStreamsOnOneCommitment(t *testing.T) {
	const count, each = 30, 10
	start := make(chan struct{})
	upstream := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-start // until all have begun, so that none takes the credit with which another begins
		for range each {
			io.WriteString(w, "data: x\n\n")
			w.(http.Flusher).Flush()
		}
	})
	gate := startGate(t, site{upstream: upstream, payword: "meter {\nunit event\ntimeout 10s\n}", rest: meteredRest})
	p := newPayer(t, wish{name: "thirty", vendor: gate.vendor})
	header := p.opening
	var streams []*follower
	for k := range count {
		streams = append(streams, gate.follow(t, fmt.Sprintf("/%d", k), header(p.paying(count, uint64(k+2), each*testPrice))))
		header = p.header
	}
	close(start)
	var group sync.WaitGroup
	var mutex sync.Mutex
	total, index, number := 0, uint32(count), uint64(100)
	for k, stream := range streams {
		group.Go(func() {
			for {
				kind, _ := stream.event(t)
				switch kind {
				case "payment-receipt":
					return
				case "":
					mutex.Lock()
					total++
					mutex.Unlock()
				default:
					mutex.Lock()
					index, number = index+5, number+1
					payment := p.paying(index, number, 0)
					mutex.Unlock()
					gate.resume(t, fmt.Sprintf("/%d", k), stream.Header.Get("Payword-Stream"), p, payment)
				}
			}
		})
	}
	group.Wait()
	response, _ := gate.do(t, http.MethodHead, "/0", p.header(p.paying(index, 900, 0)))
	if got := statusOf(t, response).Spent; total != count*each || got != money.Amount(total)*testPrice {
		t.Errorf("%d events, spent %s", total, got)
	}
}
