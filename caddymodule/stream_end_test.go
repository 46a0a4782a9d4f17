package caddymodule_test

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/paywordhq/payword"
)

// TestRevocationEndsStreams revokes a certificate while one of its streams has
// credit and another waits for some.
func TestRevocationEndsStreams(t *testing.T) {
	broker := startPublisher(t, "revokes streams")
	admin := freeAddress(t)
	first, second := newFeed("text/event-stream"), newFeed("text/event-stream")
	upstream := http.NewServeMux()
	upstream.Handle("/waits", first)
	upstream.Handle("/flows", second)
	gate := startGate(t, site{upstream: upstream, payword: "meter {\nunit event\n}", rest: meteredRest, global: "broker " + broker.URL, admin: admin})
	refresh(t, admin)
	p := newPayer(t, broker.wish("streams", gate.vendor, 7))
	waiting := gate.follow(t, "/waits", p.opening(p.paying(1, 1, 9*testPrice)))
	first.parts <- "data: one\n\ndata: two\n\n"
	waiting.mustEvent(t, "", "one")
	waiting.need(t)
	other := newPayer(t, broker.wish("streams too", gate.vendor, 7))
	flowing := gate.follow(t, "/flows", other.opening(other.paying(9, 1, 9*testPrice)))
	second.parts <- "data: one\n\n"
	flowing.mustEvent(t, "", "one")
	broker.revoke(t, 7)
	refresh(t, admin)
	second.parts <- "data: two\n\n"
	for stream, events := range map[*follower]*feed{waiting: first, flowing: second} {
		if r := stream.receipt(t); r.Amount != testPrice || r.Spent != testPrice {
			t.Errorf("the receipt is %+v", r)
		}
		<-events.ended
	}
}

// TestBlockEndsAStream blocks who is being served.
func TestBlockEndsAStream(t *testing.T) {
	file := filepath.Join(t.TempDir(), "blocked")
	writeTestFile(t, file, "")
	events := newFeed("text/event-stream")
	gate := startGate(t, site{upstream: events, payword: perEvent, rest: meteredRest, global: "block {\nfile " + file + "\n}"})
	p := newPayer(t, wish{name: "blocked while served", vendor: gate.vendor})
	other := newPayer(t, wish{name: "served on", vendor: gate.vendor})
	stream := gate.follow(t, "/events", p.opening(p.paying(1500, 1, 1500*testPrice)))
	events.parts <- "data: one\n\n"
	stream.mustEvent(t, "", "one")
	writeTestFile(t, file, "commitment "+p.commitment.ID.String()+"\n")
	for isBlocked := false; !isBlocked; { // until the file was read
		<-time.After(10 * time.Millisecond)
		response, _ := gate.do(t, http.MethodHead, "/", p.header(p.payment(1500, 2)))
		isBlocked = response.StatusCode == http.StatusForbidden
	}
	events.parts <- "data: two\n\n"
	if r := stream.receipt(t); r.Amount != testPrice {
		t.Errorf("the receipt is %+v", r)
	}
	<-events.ended
	served := gate.follow(t, "/events", other.opening(other.paying(2, 1, 2*testPrice)))
	events.parts <- "data: three\n\n"
	served.mustEvent(t, "", "three")
}

// TestCommitmentExpiresWhileItsContentFlows begins a download and a stream
// before the end of their commitments: what was bought is delivered whole, and
// nothing more is sold.
func TestCommitmentExpiresWhileItsContentFlows(t *testing.T) {
	for _, test := range []struct{ name, meter, kind string }{
		{"a download", "", "application/octet-stream"},
		{"a stream", "meter {\nunit event\n}", "text/event-stream"},
	} {
		t.Run(test.name, func(t *testing.T) {
			content := newFeed(test.kind)
			gate := startGate(t, site{upstream: content, payword: test.meter, rest: meteredRest})
			p := newPayer(t, wish{name: "expires", vendor: gate.vendor, commitment: func(c *payword.Commitment) { c.Expires = time.Now().Unix() + 4 }})
			go func() { content.parts <- "data: one\n\n" }() // a download has no header before its content
			stream := gate.follow(t, "/content", p.opening(p.paying(9, 1, 9*testPrice)))
			stream.mustEvent(t, "", "one")
			for number := uint64(2); ; number++ {
				<-time.After(10 * time.Millisecond)
				response, _ := gate.do(t, http.MethodHead, "/content", p.header(p.paying(9, number, 9*testPrice)))
				if got := statusOf(t, response).Reason; got == payword.CommitmentExpired {
					break
				} else if got != payword.Accepted {
					t.Fatalf("before the end: %v", got)
				}
			}
			content.parts <- "data: two\n\n"
			if test.meter != "" {
				if r := stream.receipt(t); r.Amount != testPrice || r.Spent != testPrice {
					t.Errorf("the receipt is %+v", r)
				}
			} else {
				close(content.parts)
				if rest, err := io.ReadAll(stream.lines); err != nil || strings.TrimSpace(string(rest)) != "data: two" {
					t.Errorf("the rest is %q, %v", rest, err)
				}
			}
			<-content.ended
			gate.wantRefusal(t, p.header(p.payment(9, 5000)), http.StatusPaymentRequired, payword.CommitmentExpired)
		})
	}
}
