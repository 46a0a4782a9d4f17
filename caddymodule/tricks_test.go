package caddymodule_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/paywordhq/payword"
)

// TestHeadDoesNotAnswerAChargeForTheGet answers a single charge with a HEAD,
// which is free, and then with the GET under the same number.
func TestHeadDoesNotAnswerAChargeForTheGet(t *testing.T) {
	gate := startGate(t, site{payword: "intent charge\nreread off"})
	p := newPayer(t, wish{name: "head", vendor: gate.vendor})
	response, _ := gate.do(t, http.MethodGet, "/page", nil)
	challenges, err := payword.ParseChallenges(response.Header.Values("WWW-Authenticate"))
	if err != nil || len(challenges) != 1 {
		t.Fatalf("challenges: %v, %v", challenges, err)
	}
	payload := payword.NewPayload(p.payment(10, 1))
	payload.Commitment, payload.Reservation = p.commitment.Token, p.reservation.Token
	credential, err := payword.Credential{Challenge: challenges[0], Payload: payload}.Format()
	if err != nil {
		t.Fatal(err)
	}
	headers := map[string]string{"Authorization": credential}
	if response, _ := gate.do(t, http.MethodHead, "/page", headers); response.StatusCode != http.StatusOK {
		t.Fatalf("HEAD: %s", response.Status)
	}
	response, body := gate.do(t, http.MethodGet, "/page", headers)
	if got := statusOf(t, response); got.Reason != payword.AlreadyUsed || strings.Contains(body, "content") {
		t.Errorf("GET under the number of a HEAD: %s, %+v", response.Status, got)
	}
}

// TestPreflightCarriesNoContent asks what looks at no method.
func TestPreflightCarriesNoContent(t *testing.T) {
	gate := startGate(t, site{rest: "header Access-Control-Allow-Origin *\nrespond \"paid content\""})
	preflight := map[string]string{"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
	response, body := gate.do(t, http.MethodOptions, "/page", preflight)
	if response.StatusCode != http.StatusOK || body != "" || response.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%s %q %v", response.Status, body, response.Header)
	}
}

// TestPreflightAllowsPayments asks a site that names headers of its own, and one
// that lets nobody in.
func TestPreflightAllowsPayments(t *testing.T) {
	tests := []struct{ name, rest, origin, own string }{
		{"headers of its own", "header {\nAccess-Control-Allow-Origin https://app.example\nAccess-Control-Allow-Headers X-Own\n}\nrespond 204", "https://app.example", "X-Own"},
		{"no header named", "header Access-Control-Allow-Origin *\nrespond 204", "*", ""},
		{"nobody is let in", "respond 204", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			gate := startGate(t, site{rest: test.rest})
			response, _ := gate.do(t, http.MethodOptions, "/page", map[string]string{
				"Origin": "https://app.example", "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "payword",
			})
			allowed := strings.Split(strings.Join(response.Header.Values("Access-Control-Allow-Headers"), ", "), ", ")
			for _, name := range []string{"Payword", "Payword-Commitment", "Payword-Reservation", "Payword-Stream"} {
				if !slices.Contains(allowed, name) {
					t.Errorf("%s is not allowed: %q", name, allowed)
				}
			}
			if slices.Contains(allowed, "X-Own") != (test.own != "") || response.Header.Get("Access-Control-Allow-Origin") != test.origin {
				t.Errorf("what the site says is changed: %v", response.Header)
			}
		})
	}
}

// TestClientThatLeavesPaysForWhatWasDone cancels a request after the upstream
// executed it: the number is used up, and executes nothing again.
func TestClientThatLeavesPaysForWhatWasDone(t *testing.T) {
	var executed atomic.Int32
	began, ended := make(chan struct{}, 10), make(chan struct{}, 10)
	orders := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			return
		}
		executed.Add(1)
		began <- struct{}{}
		<-r.Context().Done() // the proxy lets go when its client does
		ended <- struct{}{}
	})
	gate := startGate(t, site{upstream: orders, payword: "reread off"})
	p := newPayer(t, wish{name: "leaves", vendor: gate.vendor})
	gate.mustPay(t, "/first", p.opening(p.payment(9, 1)))
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, gate.vendor+"/order", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set(payword.HeaderPayword, payword.FormatPayment(p.payment(9, 2)))
	go func() { <-began; cancel() }()
	if _, err := gate.http.Do(request); err == nil {
		t.Fatal("an answer came")
	}
	<-ended
	response, _ := gate.do(t, http.MethodPost, "/order", p.header(p.payment(9, 2)))
	if got := statusOf(t, response); got.Reason != payword.AlreadyExecuted || got.Spent != 2*testPrice || executed.Load() != 1 {
		t.Errorf("the order again: %+v, executed %d times", got, executed.Load())
	}
}

// TestHalfABodyBuysNothing sends half of the body it announced, after it has
// read the answer.
func TestHalfABodyBuysNothing(t *testing.T) {
	early := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/early" {
			return
		}
		http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Content-Length", "50001")
		w.Write(make([]byte, 50000))
		http.NewResponseController(w).Flush()
		if _, err := io.ReadAll(r.Body); err != nil {
			panic(http.ErrAbortHandler)
		}
	})
	gate := startGate(t, site{upstream: early, payword: "reread off", options: "servers {\nprotocols h1 h2c\n}"})
	p := newPayer(t, wish{name: "half", vendor: gate.vendor})
	gate.mustPay(t, "/first", p.opening(p.payment(9, 1)))
	sendHalfABody(t, gate, payword.FormatPayment(p.payment(9, 2)))
	response, _ := gate.mustPay(t, "/after", p.header(p.payment(9, 3)))
	if got := statusOf(t, response); got.Spent != 3*testPrice {
		t.Errorf("spent %s, want %s", got.Spent, 3*testPrice)
	}
}

// sendHalfABody speaks HTTP/2 by hand, since clients do not lie about lengths:
// ten bytes are announced, and five sent, once 50,000 bytes of the answer are
// there. It returns when the stream has ended.
func sendHalfABody(t *testing.T, gate *testGate, payment string) {
	t.Helper()
	host := strings.TrimPrefix(gate.vendor, "http://")
	connection, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	io.WriteString(connection, http2.ClientPreface)
	framer := http2.NewFramer(connection, connection)
	framer.WriteSettings()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range []hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: host},
		{Name: ":path", Value: "/early"}, {Name: "content-length", Value: "10"}, {Name: "payword", Value: payment},
	} {
		encoder.WriteField(field)
	}
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	read := 0
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatalf("after %d bytes: %v", read, err)
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				framer.WriteSettingsAck()
			}
		case *http2.DataFrame:
			before := read
			if read += len(frame.Data()); before < 50000 && read >= 50000 {
				framer.WriteData(1, true, []byte("12345"))
			}
			if frame.StreamEnded() {
				return
			}
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			if read < 50000 {
				t.Fatalf("the stream ended after %d bytes", read)
			}
			return
		}
	}
}

// TestSeveralDirectivesChargeOnce puts one directive inside the reach of
// another: the one that comes first, Caddy's most specific, counts.
func TestSeveralDirectivesChargeOnce(t *testing.T) {
	vendor := freeOrigin(t)
	gate := startGate(t, site{vendor: vendor, payword: "reread off", rest: fmt.Sprintf("payword /dear/* %s 0.005 USD\nrespond content", vendor)})
	p := newPayer(t, wish{name: "several", vendor: vendor})
	gate.mustPay(t, "/cheap", p.opening(p.payment(20, 1)))
	payment := p.payment(20, 2)
	payment.Max = 5 * testPrice
	response, body := gate.mustPay(t, "/dear/page", p.header(payment))
	if got := statusOf(t, response); got.Spent != 6*testPrice || body != "content" {
		t.Errorf("%+v %q", got, body)
	}
}

// TestRetryAfterAPriceRiseIsFree asks for a page again that was paid for before
// it became dearer.
func TestRetryAfterAPriceRiseIsFree(t *testing.T) {
	s := site{dir: t.TempDir(), vendor: freeOrigin(t), payword: "reread off"}
	gate := startGate(t, s)
	p := newPayer(t, wish{name: "rise", vendor: gate.vendor})
	gate.mustPay(t, "/page", p.opening(p.payment(9, 1)))
	s.payword = "reread off\nprice 0.002 USD"
	if err := caddy.Load(configOf(t, s), true); err != nil {
		t.Fatal(err)
	}
	gate.http.CloseIdleConnections() // a server that is replaced closes them in its own time
	response, _ := gate.mustPay(t, "/page", p.header(p.payment(9, 1)))
	if got := statusOf(t, response); got.Spent != testPrice {
		t.Errorf("the retry: %+v", got)
	}
	response, _ = gate.do(t, http.MethodGet, "/page", p.header(p.payment(9, 2)))
	if got := statusOf(t, response); got.Reason != payword.PriceOverMax || got.Price != 2*testPrice {
		t.Errorf("a new request that agrees to the old price: %+v", got)
	}
}

// TestReloadThatFailsChangesNothing loads a configuration with other brokers
// that cannot start.
func TestReloadThatFailsChangesNothing(t *testing.T) {
	s := site{dir: t.TempDir(), vendor: freeOrigin(t), payword: "reread off"}
	gate := startGate(t, s)
	p := newPayer(t, wish{name: "failing reload", vendor: gate.vendor})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	broken := s
	broken.issuer = "https://elsewhere.example"
	broken.rest = fmt.Sprintf("respond content\n}\nhttp://%s {\nrespond other", taken.Addr())
	if err := gate.load(t, configOf(t, broken)); err == nil {
		t.Fatal("a configuration on a taken port was loaded")
	}
	gate.mustPay(t, "/page", p.opening(p.payment(1, 1)))
}

// TestPageHoldsTheChallenge reads it as an extension does.
func TestPageHoldsTheChallenge(t *testing.T) {
	gate := startGate(t, site{payword: `description "A </script> & more"`})
	_, body := gate.do(t, http.MethodGet, "/page?a=1&b=2", map[string]string{"Accept": "text/html"})
	found := regexp.MustCompile(`(?s)<script type="application/payword\+json">(.*?)</script>`).FindStringSubmatch(body)
	var challenge payword.Challenge
	if found == nil || json.Unmarshal([]byte(found[1]), &challenge) != nil {
		t.Fatalf("no challenge in the page:\n%s", body)
	}
	request, err := payword.ParsePriceRequest(challenge.Request)
	if err != nil || request.MethodDetails.URL != gate.vendor+"/page?a=1&b=2" || challenge.Description != "A </script> & more" {
		t.Errorf("%+v, %+v, %v", challenge, request, err)
	}
	if strings.Contains(html.UnescapeString(body), "A </script> & more") != strings.Contains(body, "A &lt;/script&gt; &amp; more") {
		t.Error("the description stands unescaped in the page")
	}
}

// TestFailingRequestsAreNotLoggedWithTheirPaywords lets the upstream fail, which
// Caddy logs with the request whether the site logs or not.
func TestFailingRequestsAreNotLoggedWithTheirPaywords(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	gate := startGate(t, site{
		dir: dir, rest: "reverse_proxy 127.0.0.1:1",
		options: fmt.Sprintf("log all {\noutput file %s\nlevel DEBUG\nformat payword json\n}", path),
	})
	p := newPayer(t, wish{name: "failing", vendor: gate.vendor})
	headers := p.opening(p.payment(1, 1))
	gate.do(t, http.MethodGet, "/page", headers)
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	logged, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(logged), "http.log.error") {
		t.Fatalf("the failure was not logged: %s", logged)
	}
	for name, value := range headers {
		if strings.Contains(string(logged), value) {
			t.Errorf("the log holds the header %s", name)
		}
	}
}

// TestCheapChecksComeFirst sends good signatures that do not fit again and
// again: they cost no signature check, and lock nobody out.
func TestCheapChecksComeFirst(t *testing.T) {
	gate := startGate(t, site{})
	wrong := newPayer(t, wish{name: "elsewhere", vendor: "https://elsewhere.example"})
	for range 100 {
		response, _ := gate.do(t, http.MethodGet, "/page", wrong.opening(wrong.payment(1, 1)))
		if got := statusOf(t, response); got.Reason != payword.WrongVendor {
			t.Fatalf("%s", got.Reason)
		}
	}
	p := newPayer(t, wish{name: "right", vendor: gate.vendor})
	gate.mustPay(t, "/page", p.opening(p.payment(1, 1)))
}

// TestHeadSwitchesNoProtocol asks with a HEAD, which is free, for a connection of
// its own, at an upstream that looks at no method.
func TestHeadSwitchesNoProtocol(t *testing.T) {
	switching := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			return
		}
		connection, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer connection.Close()
		buffered.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: feed\r\n\r\npaid content")
		buffered.Flush()
	})
	for name, options := range map[string]string{"paid": "", "metered": "meter {\nunit byte\n}", "on a quota": "free_quota 5"} {
		t.Run(name, func(t *testing.T) {
			gate := startGate(t, site{upstream: switching, payword: options})
			p := newPayer(t, wish{name: "head switches " + name, vendor: gate.vendor})
			connection, err := net.Dial("tcp", strings.TrimPrefix(gate.vendor, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer connection.Close()
			fmt.Fprintf(connection, "HEAD /socket HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade, close\r\nUpgrade: feed\r\n", strings.TrimPrefix(gate.vendor, "http://"))
			for name, value := range p.opening(p.payment(9, 1)) {
				fmt.Fprintf(connection, "%s: %s\r\n", name, value)
			}
			io.WriteString(connection, "\r\n")
			answer, err := io.ReadAll(connection)
			if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200") || strings.Contains(string(answer), "content") {
				t.Errorf("%v: %s", err, answer)
			}
		})
	}
}
