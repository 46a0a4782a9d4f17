package caddymodule_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/paywordhq/payword"
)

// TestStreamIsPaidAtAnotherNode sends the payment for a stream that waits to the
// other of two gates: the stream's own sees it in the store and goes on. Only the
// most that the stream may cost is its own node's to raise.
func TestStreamIsPaidAtAnotherNode(t *testing.T) {
	events := newFeed("text/event-stream")
	upstream := httptest.NewServer(events)
	t.Cleanup(upstream.Close)
	vendor := freeOrigin(t)
	gates := startTwoGates(t, site{
		payword: "reread off\nvendor " + vendor + "\nmeter {\nunit event\n}",
		rest:    meteredRest + "reverse_proxy " + upstream.Listener.Addr().String(),
	})
	own, other := gates[0], gates[1]
	p := newPayer(t, wish{name: "two nodes", vendor: vendor})
	stream := own.follow(t, "/events", p.opening(p.paying(1, 1, 3*testPrice)))
	id := stream.Header.Get("Payword-Stream")
	events.parts <- "data: one\n\ndata: two\n\ndata: three\n\ndata: four\n\n"
	stream.mustEvent(t, "", "one")
	if n := stream.need(t); n.Reason != "insufficient-credit" || n.Required != "2000" {
		t.Errorf("want of credit: %+v", n)
	}
	header := p.header(p.paying(4, 2, 9*testPrice))
	header["Payword-Stream"] = id
	response, _ := other.do(t, http.MethodHead, "/events", header)
	if got := statusOf(t, response); got.Accepted != 4*testPrice || got.Price != 0 {
		t.Errorf("the other node answers %s with %+v", response.Status, got)
	}
	stream.mustEvent(t, "", "two")
	stream.mustEvent(t, "", "three")
	if n := stream.need(t); n.Reason != "price-over-max" || n.Max != "4000" {
		t.Errorf("want of max: %+v", n)
	}
	own.resume(t, "/events", id, p, p.paying(4, 3, 9*testPrice))
	stream.mustEvent(t, "", "four")
	close(events.parts)
	if r := stream.receipt(t); r.Amount != 4*testPrice || r.Spent != 4*testPrice {
		t.Errorf("the receipt is %+v", r)
	}
	for k, gate := range gates {
		if got := gate.spentOf(t, p, uint64(10+k)); got != 4*testPrice {
			t.Errorf("node %d says that %s is spent", k, got)
		}
	}
}

// TestStreamsLeaveNothingRunning ends streams of all kinds in all ways, and looks
// for what still runs for them.
func TestStreamsLeaveNothingRunning(t *testing.T) {
	events, body := newFeed("text/event-stream"), newFeed("application/octet-stream")
	upstream := http.NewServeMux()
	upstream.Handle("/events", events)
	upstream.Handle("/body", body)
	upstream.Handle("/socket", repeating(t, make(chan string, 100)))
	gate := startGate(t, site{upstream: upstream, payword: "meter {\nunit message\ntimeout 1s\nboth_directions\n}", rest: meteredRest})
	p := newPayer(t, wish{name: "runs on", vendor: gate.vendor})
	gate.do(t, http.MethodHead, "/events", p.opening(p.paying(9, 1, 0)))
	running := func() bool {
		all := profile(t)
		return strings.Contains(all, "caddymodule.(*metering)") || strings.Contains(all, "caddymodule.(*stream)") || strings.Contains(all, "caddymodule.(*exchange)")
	}
	number := uint64(10)
	header := func(index uint32) map[string]string {
		number++
		return p.header(payword.Payment{Commitment: p.commitment.ID, Index: index, Payword: p.words[index], Number: number, Max: 99 * testPrice})
	}
	for index := uint32(20); index < 60; index += 20 {
		for _, end := range []string{"left", "broken", "whole"} {
			for target, feed := range map[string]*feed{"/events": events, "/body": body} {
				go func() { feed.parts <- "data: one\n\n" }()
				stream := gate.follow(t, target, header(index))
				stream.mustEvent(t, "", "one")
				if !running() {
					t.Fatal("a stream is not seen, so none that runs on would be")
				}
				switch end {
				case "left":
					stream.Body.Close()
				case "broken":
					feed.parts <- "break"
				case "whole":
					feed.parts <- "end"
				}
				<-feed.ended
				stream.Body.Close()
			}
		}
		left := gate.dial(t, header(index))
		left.say(t, "one")
		left.mustHear(t, "one")
		left.CloseNow()
		unpaid := gate.dial(t, header(index))
		for heard := error(nil); heard == nil; { // until the credit has ended, and the time to pay
			_ = unpaid.Write(unpaid.ctx, 1, []byte("more"))
			_, _, heard = unpaid.Read(unpaid.ctx)
		}
	}
	for range 500 {
		if !running() {
			return
		}
		gate.spentOf(t, p, number+1) // takes a moment
		number++
	}
	t.Errorf("what runs for streams that have ended:\n%s", profile(t))
}
