package load

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paywordhq/payword"
)

// brief is how long the loads of these tests last: a few hundred requests.
const brief = 20 * time.Millisecond

// listen answers on every connection with serve until the test ends.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer connection.Close()
				serve(connection)
			}()
		}
	}()
	return listener.Addr().String()
}

// testGate checks payments as a gate does that knows every commitment.
type testGate struct {
	t       *testing.T
	vendor  string
	brokers payword.Brokers
	mutex   sync.Mutex
	tails   map[payword.CommitmentID]payword.Tail
	status  func(n int) int // of the nth payment
	paid    int
}

// answers says what the nth payment is answered with. The lock is for the race
// detector, which does not see what the client's own sockets bring into order.
func (g *testGate) answers(status func(n int) int) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.status = status
}

// counts returns how many payments came, and from how many payers.
func (g *testGate) counts() (paid, payers int) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	return g.paid, len(g.tails)
}

func startTestGate(t *testing.T) *testGate {
	document, err := BrokerKeys()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := payword.ParseJWKS(document)
	if err != nil {
		t.Fatal(err)
	}
	g := &testGate{t: t, brokers: payword.Brokers{Issuer: keys}, tails: map[payword.CommitmentID]payword.Tail{}}
	g.status = func(int) int { return http.StatusOK }
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.vendor = "http://" + listen(t, g.serve)
	return g
}

func (g *testGate) serve(connection net.Conn) {
	for reader := bufio.NewReader(connection); ; {
		request, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		// In pieces, as networks bring them.
		for _, piece := range []string{"HTTP/1.1 ", fmt.Sprint(g.take(request)), " Said\r\nContent-Le", "ngth: 4\r\n", "\r\nte", "xt"} {
			if _, err := connection.Write([]byte(piece)); err != nil {
				return
			}
		}
	}
}

// take returns the status that a request is answered with.
func (g *testGate) take(request *http.Request) int {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	payment, refusal := payword.ParsePayment(request.Header.Get(payword.HeaderPayword))
	if refusal.Refused() {
		g.t.Errorf("Payword %q: %s", request.Header.Get(payword.HeaderPayword), refusal)
	}
	tail := g.tails[payment.Commitment]
	if token := request.Header.Get(payword.HeaderCommitment); token != "" {
		m, refused := payword.ParseCommitment(token, g.brokers)
		_, reservationRefused := payword.ParseReservation(request.Header.Get(payword.HeaderReservation), &m, g.brokers)
		terms := m.CheckTerms(g.vendor, "usd-micro", time.Now().Unix())
		for _, refusal := range []payword.Refusal{refused, reservationRefused, terms} {
			if refusal.Refused() {
				g.t.Errorf("opening: %s", refusal)
			}
		}
		tail.Payword = m.Chains[0].Root
	}
	if payment.Index != tail.Index+1 || payment.Payword.Walk(1) != tail.Payword || payment.Number != uint64(payment.Index) {
		g.t.Errorf("index %d and number %d after index %d, or the payword does not lead to the one before", payment.Index, payment.Number, tail.Index)
	}
	g.tails[payment.Commitment] = payword.Tail{Index: payment.Index, Payword: payment.Payword}
	g.paid++
	return g.status(g.paid)
}

// dial connects payers to a gate.
func (g *testGate) dial(payers, payments int) *Client {
	g.t.Helper()
	chains, err := NewChains(payers, payments)
	if err != nil {
		g.t.Fatal(err)
	}
	target := Target{Address: strings.TrimPrefix(g.vendor, "http://")}
	for k := range chains {
		payer, err := NewPayer(g.vendor, chains, k, time.Now())
		if err != nil {
			g.t.Fatal(err)
		}
		target.Payers = append(target.Payers, payer)
	}
	client, err := Dial(target)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(client.Close)
	return client
}

func TestEveryPaymentIsOneStep(t *testing.T) {
	gate := startTestGate(t)
	client := gate.dial(2*Connections, 5000)
	if err := client.Open(); err != nil {
		t.Fatal(err)
	}
	closed, err := client.Closed(t.Context(), brief)
	if err != nil {
		t.Fatal(err)
	}
	constant, err := client.Constant(t.Context(), 1000, brief)
	if err != nil {
		t.Fatal(err)
	}
	if want := int(brief.Milliseconds()); constant.Answers != want || len(constant.Waits) != want {
		t.Errorf("at a constant rate %d answers and %d waits, want %d", constant.Answers, len(constant.Waits), want)
	}
	paid, payers := gate.counts()
	if all := 2*Connections + closed.Answers + constant.Answers; paid != all || closed.Answers < Connections || payers != 2*Connections {
		t.Errorf("the gate was paid %d times by %d payers, want %d by %d", paid, payers, all, 2*Connections)
	}
	if len(closed.Wrong)+len(constant.Wrong) > 0 {
		t.Errorf("refused: %v, %v", closed.Wrong, constant.Wrong)
	}
}

func TestRefusalsAreCounted(t *testing.T) {
	gate := startTestGate(t)
	gate.answers(func(n int) int {
		switch {
		case n > Connections && n%10 == 0:
			return http.StatusPaymentRequired
		case n > Connections && n%10 == 1:
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	client := gate.dial(Connections, 5000)
	if err := client.Open(); err != nil {
		t.Fatal(err)
	}
	result, err := client.Closed(t.Context(), brief)
	if err != nil {
		t.Fatal(err)
	}
	paid, _ := gate.counts()
	tenths := paid/10 - Connections/10
	if got := result.Wrong[http.StatusPaymentRequired]; got != tenths || tenths == 0 {
		t.Errorf("%d refusals counted, want %d", got, tenths)
	}
	if result.Wrong[http.StatusServiceUnavailable] == 0 || len(result.Wrong) != 2 {
		t.Errorf("wrong answers: %v, want some of two kinds", result.Wrong)
	}
}

func TestLoadsEndWithAnError(t *testing.T) {
	answer := func(text string) func(net.Conn) {
		return func(connection net.Conn) {
			reader := bufio.NewReader(connection)
			if _, err := http.ReadRequest(reader); err == nil {
				connection.Write([]byte(text))
			}
		}
	}
	for name, test := range map[string]struct{ answer, want string }{
		"closed":           {"", "EOF"},
		"no length":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "without Content-Length"},
		"another protocol": {"SSH-2.0-OpenSSH\r\n\r\n", "want HTTP/1.1"},
		"no number":        {"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "Content-Length"},
		"two answers":      {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n", "more than the answer"},
		"too long":         {"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + strings.Repeat("x", 99999), "more than 16384"},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := Dial(Target{Address: listen(t, answer(test.answer))})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if _, err := client.Closed(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("closed loop: %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestChainsHaveAnEnd(t *testing.T) {
	gate := startTestGate(t)
	client := gate.dial(Connections, 2)
	if err := client.Open(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Constant(t.Context(), 10_000, time.Minute); err == nil || !strings.Contains(err.Error(), "used up") {
		t.Errorf("%v, want an error that says that a chain is used up", err)
	}
	for _, payments := range []int{0, maxSteps} {
		if _, err := NewChains(1, payments); err == nil {
			t.Errorf("chains for %d payments were made", payments)
		}
	}
}

func TestLoadsEndWhenTheyAreToldTo(t *testing.T) {
	gate := startTestGate(t)
	ctx, cancel := context.WithCancel(t.Context())
	gate.answers(func(n int) int {
		if n == 3*Connections {
			cancel()
		}
		return http.StatusOK
	})
	client := gate.dial(Connections, 1000)
	if err := client.Open(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Closed(ctx, time.Minute); err != context.Canceled {
		t.Errorf("closed loop: %v, want %v", err, context.Canceled)
	}
	if _, err := client.Constant(ctx, 1000, time.Minute); err != context.Canceled {
		t.Errorf("constant rate: %v, want %v", err, context.Canceled)
	}
}

func TestTrivialServerAnswersAll(t *testing.T) {
	const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go ServeTrivial(listener, []byte(answer))
	client, err := Dial(Target{Address: listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	result, err := client.Closed(t.Context(), brief)
	if err != nil || result.Answers < Connections || len(result.Wrong) > 0 {
		t.Errorf("%+v, %v", result, err)
	}
}
