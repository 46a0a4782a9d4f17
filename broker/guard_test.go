package broker_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/broker"
)

// line is a connection on which a request is sent in pieces.
type line struct {
	t      *testing.T
	conn   net.Conn
	reader *bufio.Reader
}

// sendHead sends the head of a request, with more fields, and nothing of its
// body.
func (b *bank) sendHead(request *http.Request, contentLength int, fields string) *line {
	b.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // an answer that does not come fails the test
	l := &line{t: b.t, conn: conn, reader: bufio.NewReader(conn)}
	l.send(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: broker.example\r\nContent-Length: %d\r\n%s",
		request.Method, request.URL.RequestURI(), contentLength, fields))
	if err := request.Header.Write(conn); err != nil {
		b.t.Fatal(err)
	}
	l.send("\r\n")
	return l
}

func (l *line) send(text string) {
	l.t.Helper()
	if _, err := io.WriteString(l.conn, text); err != nil {
		l.t.Fatal(err)
	}
}

func (l *line) answer() answer {
	l.t.Helper()
	response, err := http.ReadResponse(l.reader, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	if response.StatusCode == http.StatusContinue {
		return answer{status: response.StatusCode}
	}
	content, err := io.ReadAll(response.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, content}
}

// A request whose head does not say who sent it is refused before its body is
// waited for.
func TestRefusedBeforeTheBody(t *testing.T) {
	b := newBank(t)
	u, s := b.newUser(0), b.newShop()
	redemptions := payword.PathRedemptions
	with := func(request *http.Request, name, value string) *http.Request {
		request.Header.Set(name, value)
		return request
	}
	unsigned, _ := b.request("POST", redemptions, nil)
	admin, _ := b.request("POST", "/v1/admin/fundings", nil)
	nowhere, _ := b.request("POST", "/nothing", nil)
	b.clock.advance(-301)
	old, oldNew := b.signed(s.key, "POST", redemptions, nil), b.signed(newKey(), "POST", payword.PathVendors, nil)
	b.clock.advance(301)
	forged := b.signed(s.key, "POST", redemptions, nil)
	forged.Header.Set(payword.HeaderSignature, b.signed(s.key, "POST", redemptions, nil).Header.Get(payword.HeaderSignature))
	cases := []struct {
		name    string
		request *http.Request
		status  int
		reason  payword.Reason
	}{
		{"no such route", nowhere, http.StatusNotFound, payword.Accepted},
		{"no token", admin, http.StatusUnauthorized, payword.Accepted},
		{"not signed", unsigned, http.StatusUnauthorized, payword.BadSignature},
		{"an unknown key", b.signed(newKey(), "POST", redemptions, nil), http.StatusNotFound, payword.UnknownVendor},
		{"a user's key", b.signed(u.key, "POST", redemptions, nil), http.StatusNotFound, payword.UnknownVendor},
		{"a vendor's key", b.signed(s.key, "POST", payword.PathReservations, nil), http.StatusNotFound, payword.UnknownAccount},
		{"too old", old, http.StatusUnauthorized, payword.BadSignature},
		{"too old, by a new key", oldNew, http.StatusUnauthorized, payword.BadSignature},
		{"another request's signature", forged, http.StatusUnauthorized, payword.BadSignature},
		{"a short signature by a new key", with(b.signed(newKey(), "POST", payword.PathAccounts, nil), payword.HeaderSignature, "sig=:AAAA:"),
			http.StatusUnauthorized, payword.BadSignature},
		{"a short digest by a new key", with(b.signed(newKey(), "POST", payword.PathAccounts, nil), payword.HeaderContentDigest, "sha-256=:AA==:"),
			http.StatusUnauthorized, payword.BadSignature},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			// More than a server drains before it answers.
			want(t, b.sendHead(c.request, 1<<20, "").answer(), c.status, c.reason)
		})
	}
}

// deadlines records the read deadlines of a request.
type deadlines struct {
	*httptest.ResponseRecorder
	read []time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.read = append(d.read, at)
	return nil
}

// Every body has its time to arrive, on routes that do not read it as well.
func TestEveryRouteHasAReadDeadline(t *testing.T) {
	b := newBank(t)
	for _, path := range []string{"/nothing", payword.PathRedemptions, "/v1/admin/fundings", payword.PathChallenges} {
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		b.Handler().ServeHTTP(w, httptest.NewRequest("POST", path, nil))
		if len(w.read) == 0 || w.read[0].IsZero() {
			t.Errorf("%s: got deadlines %v, want one at first", path, w.read)
		}
	}
}

// emptyBatch is a body that asks for nothing, and is refused for it once it was
// read.
const emptyBatch = `{"vendor":"","redemptions":[]}`

// holdTurn sends the head of a request for redemptions and returns when the
// broker waits for its body.
func (s *shop) holdTurn() *line {
	s.t.Helper()
	l := s.sendHead(s.signed(s.key, "POST", payword.PathRedemptions, emptyBatch), len(emptyBatch), "Expect: 100-continue\r\n")
	if a := l.answer(); a.status != http.StatusContinue {
		s.t.Fatalf("got %d %s, want to go on", a.status, a.body)
	}
	return l
}

// finish sends the body and takes the answer.
func (l *line) finish() {
	l.t.Helper()
	l.send(emptyBatch)
	want(l.t, l.answer(), http.StatusUnprocessableEntity, payword.Accepted)
}

// One key has one request for redemptions at a time, and all together have so
// many that their bodies find room.
func TestLargeBodiesAtOnce(t *testing.T) {
	b := newBank(t)
	b.SetTurnTimeout(20 * time.Millisecond)
	ask := func(s *shop) answer { return s.call(s.key, "POST", payword.PathRedemptions, emptyBatch) }
	var held []*line
	first := b.newShop()
	held = append(held, first.holdTurn())
	want(t, ask(first), http.StatusTooManyRequests, payword.RateLimited)
	for range broker.LargeBodies - 1 {
		held = append(held, b.newShop().holdTurn())
	}
	last := b.newShop()
	want(t, ask(last), http.StatusTooManyRequests, payword.RateLimited)
	// Small bodies do not wait.
	last.wantPayable(0)
	held[3].finish()
	want(t, ask(last), http.StatusUnprocessableEntity, payword.Accepted)
	want(t, ask(first), http.StatusTooManyRequests, payword.RateLimited)
	held[0].finish()
	want(t, ask(first), http.StatusUnprocessableEntity, payword.Accepted)
}

// A vendor with two keys has the claims of one request judged at a time all the
// same; another one is not held up.
func TestOneRedemptionOfAVendorAtATime(t *testing.T) {
	b := newBank(t)
	b.SetTurnTimeout(20 * time.Millisecond)
	u, s, other := b.newUser(100*cent), b.newShop(), b.newShop()
	second := *s
	second.key = newKey()
	s.listed = append(s.listed, payword.NewPublicKey(publicKey(second.key)))
	want(t, second.register(), http.StatusOK, payword.Accepted)
	p := u.commit(s.origin, 10*cent)
	p.mustReserve(10 * cent)
	claims := payword.RedemptionRequest{Vendor: s.origin, Redemptions: []payword.Redemption{s.claim(p, 5, 5*cent)}}

	reached, proceed := make(chan struct{}), make(chan struct{})
	var isHeld atomic.Bool
	b.SetFault(func(point string) error {
		if point == "judged redemption" && isHeld.CompareAndSwap(false, true) {
			close(reached)
			<-proceed
		}
		return nil
	})
	done := make(chan answer)
	go func() { done <- b.call(s.key, "POST", payword.PathRedemptions, claims) }()
	<-reached
	want(t, b.call(second.key, "POST", payword.PathRedemptions, claims), http.StatusTooManyRequests, payword.RateLimited)
	mine := u.commit(other.origin, 10*cent)
	other.wantResult(other.claim(mine, 2, 2*cent), payword.Accepted, 2*cent, 2*cent)
	close(proceed)
	want(t, <-done, http.StatusOK, payword.Accepted)
	want(t, b.call(second.key, "POST", payword.PathRedemptions, claims), http.StatusOK, payword.Accepted)
	s.wantPayable(5 * cent)
	b.wantSound()
}
