package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

const (
	// maxSessions is how many agents a gateway serves at once: each takes a few
	// kilobytes, and nearly all of them wait for the one SAM.
	maxSessions = 32
	// maxPerMinute is how many it serves in a minute, which is more than a SAM has
	// time for. Each has clearing asked, and lines in the log, also of those who have
	// no card.
	maxPerMinute = 300
)

// Desk is what a gateway does for holders whose readers are elsewhere.
type Desk interface {
	// Offer says who would do what a hello asks for, or in an error, a sentence for
	// people, why nobody will. It is called before anybody agreed to anything.
	Offer(ctx context.Context, hello Hello) (Offer, error)
	// Serve does it. Transmit of the card fails once the line is cut, ctx goes on:
	// what the card did must still be written down.
	Serve(ctx context.Context, hello Hello, card smartcard.Card) Result
}

// Gateway is the gateway's end: an http.Handler that agents connect to.
type Gateway struct {
	desk   Desk
	limits Limits
	log    *slog.Logger
	slots  chan struct{}

	mutex    sync.Mutex // guards what follows
	isClosed bool
	minute   int64 // of the clock
	count    int   // of sessions in it
	sessions sync.WaitGroup
	closing  chan struct{}
}

// NewGateway returns a gateway. Zero limits are the usual ones.
func NewGateway(desk Desk, limits Limits, log *slog.Logger) *Gateway {
	return &Gateway{desk: desk, limits: limits.orDefault(), log: log, slots: make(chan struct{}, maxSessions), closing: make(chan struct{})}
}

// Close cuts every line and waits until the desk has served them. http.Server does
// not do that for connections that became WebSockets.
func (g *Gateway) Close() {
	g.mutex.Lock()
	if !g.isClosed {
		g.isClosed = true
		close(g.closing)
	}
	g.mutex.Unlock()
	g.sessions.Wait()
}

// enter counts a session in, or says why not.
func (g *Gateway) enter() error {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if g.isClosed {
		return errors.New("the gateway is about to stop: come again later")
	}
	select {
	case g.slots <- struct{}{}:
		g.sessions.Add(1)
		return nil
	default:
		return fmt.Errorf("%d others are being served: come again in a moment", maxSessions)
	}
}

// admit counts a hello, or says why not.
func (g *Gateway) admit(now time.Time) error {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if minute := now.Unix() / 60; minute != g.minute {
		g.minute, g.count = minute, 0
	}
	if g.count >= maxPerMinute {
		return errors.New("too many have come in this minute: come again in the next")
	}
	g.count++
	return nil
}

func (g *Gateway) leave() {
	<-g.slots
	g.sessions.Done()
}

// ServeHTTP takes one session. Pages of browsers are refused: an agent says no
// Origin.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Origin") != "" {
		http.Error(w, "this is for agents, not for pages", http.StatusForbidden)
		return
	}
	if err := g.enter(); err != nil {
		w.Header().Set("Retry-After", "5")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer g.leave()
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	// The request's context is of no use once the connection is a WebSocket.
	ctx := context.WithoutCancel(r.Context())
	l := newLine(ctx, conn, g.limits)
	defer l.close()
	stopped := make(chan struct{})
	defer close(stopped)
	go func() {
		select {
		case <-g.closing:
			l.cut(errors.New("the gateway is about to stop"))
		case <-stopped:
		}
	}()
	g.serve(ctx, l)
}

// serve is a session from hello to result.
func (g *Gateway) serve(ctx context.Context, l *line) {
	hello, err := g.greet(ctx, l)
	if err != nil {
		// Anybody can connect, and is told why: the log is not to grow by that.
		g.log.Debug("relay: no session", "error", err)
		l.refuse(err.Error())
		return
	}
	card := &remoteCard{line: l, limits: g.limits}
	session, cancel := context.WithTimeout(l.ctx, g.limits.Session)
	defer cancel()
	card.session = session
	result := g.desk.Serve(ctx, hello, card)
	result.Sentence = Sentence(result.Sentence)
	// A site finds its order by the reference, and compares the amount. Only what the
	// merchant was paid has one: whoever loads a card, or funds an account, by the
	// name of an order has paid nothing for it.
	reference := hello.Reference
	if hello.Intent != Pay {
		reference = ""
	}
	g.log.Info("relay: session ended", "intent", hello.Intent, "reference", reference, "amount", result.Amount, "outcome", result.Outcome, "transaction", result.Transaction, "commands", card.number)
	if err := l.send(message{Type: typeResult, Result: &result}); err == nil {
		l.hangUp()
	}
}

// greet is hello, offer and begin.
func (g *Gateway) greet(ctx context.Context, l *line) (Hello, error) {
	// An agent says hello at once, and begin as soon as it has compared the offer with
	// what its holder agreed to: whoever does not keeps a place from others.
	m, err := l.want(ctx, typeHello, g.limits.Look)
	if err != nil {
		return Hello{}, err
	}
	hello := *m.Hello
	if err := hello.Check(); err != nil {
		return Hello{}, err
	}
	if err := g.admit(time.Now()); err != nil {
		return Hello{}, err
	}
	offering, cancel := context.WithTimeout(ctx, g.limits.Connect)
	defer cancel()
	offer, err := g.desk.Offer(offering, hello)
	if err != nil {
		return Hello{}, err
	}
	if err := l.send(message{Type: typeOffer, Offer: &offer}); err != nil {
		return Hello{}, err
	}
	_, err = l.want(ctx, typeBegin, g.limits.Look)
	return hello, err
}

// remoteCard is the card at the other end of a line. Once an answer is missing
// there is no card any more.
type remoteCard struct {
	line    *line
	limits  Limits
	session context.Context // ends when the session must
	mutex   sync.Mutex      // guards what follows: one command at a time
	number  int
	lost    error
}

// Transmit sends a command to the card by the agent. An error wraps
// smartcard.ErrTorn.
func (c *remoteCard) Transmit(ctx context.Context, command []byte) ([]byte, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.lost == nil {
		answer, err := c.exchange(ctx, command)
		if err == nil {
			return answer, nil
		}
		c.lost = err
	}
	return nil, fmt.Errorf("%w: %w", smartcard.ErrTorn, c.lost)
}

// patience is how long an answer is waited for. After a command that moves
// something nobody but the card knows what it did, so that one is worth waiting
// for.
func (c *remoteCard) patience(command []byte) time.Duration {
	if len(command) > 1 && slices.Contains([]purse.Instruction{purse.Debit, purse.Credit, purse.CancelLast, purse.Script}, purse.Instruction(command[1])) {
		return c.limits.Answer
	}
	return c.limits.Look
}

func (c *remoteCard) exchange(ctx context.Context, command []byte) ([]byte, error) {
	if err := c.session.Err(); err != nil {
		return nil, fmt.Errorf("the session ended: %w", context.Cause(c.session))
	}
	c.number++
	if c.number > maxCommands {
		return nil, fmt.Errorf("more than %d commands in a session", maxCommands)
	}
	if err := c.line.send(message{Type: typeCommand, Number: c.number, Bytes: command}); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.session, cancel)()
	m, err := c.line.next(ctx, c.patience(command))
	switch {
	case err != nil:
		return nil, err
	case m.Type == typeTorn && m.Number == c.number:
		return nil, errors.New("the agent lost the card")
	case m.Type != typeAnswer || m.Number != c.number || len(m.Bytes) > maxAnswerBytes:
		c.line.cut(errors.New("the agent did not answer the command"))
		return nil, context.Cause(c.line.ctx)
	}
	return m.Bytes, nil
}
