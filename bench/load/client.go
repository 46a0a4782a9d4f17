package load

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Connections is how many connections a client keeps open.
const Connections = 64

// answerTime is how long an answer may take. A server that takes longer hangs.
const answerTime = 20 * time.Second

// Client sends requests to one server, over connections that stay open. Each
// connection has payers of its own, so that payments of one arrive in order.
type Client struct {
	connections []*connection
}

// Target says whom a client asks, and how.
type Target struct {
	Address string   // host and port
	Header  string   // whole lines that each request carries
	Payers  []*Payer // who pays for the requests in turn; nobody pays if empty
}

type connection struct {
	net.Conn
	payers  []*Payer
	turn    int
	prefix  []byte // of every request: all but the payment
	request []byte // the buffer of the request that is sent
	text    []byte // the buffer of the answer
}

// Dial connects to a server.
func Dial(t Target) (*Client, error) {
	c := &Client{}
	for k := range Connections {
		dialed, err := net.Dial("tcp", t.Address)
		if err != nil {
			c.Close()
			return nil, err
		}
		one := &connection{
			Conn:   dialed,
			prefix: []byte("GET /page HTTP/1.1\r\nHost: " + t.Address + "\r\nAccept: */*\r\n" + t.Header),
			text:   make([]byte, 0, 16<<10),
		}
		for n := k; n < len(t.Payers); n += Connections {
			one.payers = append(one.payers, t.Payers[n])
		}
		c.connections = append(c.connections, one)
	}
	return c, nil
}

// Close closes the connections.
func (c *Client) Close() {
	for _, one := range c.connections {
		one.Close()
	}
}

// Open makes every payer's first payment, which brings its commitment. An answer
// that is not 200 is an error.
func (c *Client) Open() error {
	return c.each(func(one *connection) error {
		if err := one.SetDeadline(time.Now().Add(answerTime)); err != nil {
			return err
		}
		for _, payer := range one.payers {
			request := payer.appendOpening(payer.appendPayment(append([]byte{}, one.prefix...)))
			status, err := one.exchange(append(request, "\r\n"...))
			if err != nil {
				return err
			}
			if status != http.StatusOK {
				return fmt.Errorf("opening a commitment: the answer is %d:\n%.1000s", status, one.text[:cap(one.text)])
			}
		}
		return nil
	})
}

// Result is what came of a run.
type Result struct {
	Answers int
	Wrong   map[int]int     // of the answers, those that are not 200, by status
	Elapsed time.Duration   // from the first request to the last answer
	Waits   []time.Duration // open loop only, sorted: from when a request was due to its answer
}

// Closed asks over all connections at once for a while: each sends a request as
// soon as the one before is answered.
func (c *Client) Closed(ctx context.Context, length time.Duration) (Result, error) {
	start := time.Now()
	return c.run(start, length, func(one *connection, own *Result) error {
		for time.Since(start) < length && ctx.Err() == nil {
			if err := one.ask(own); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

// Constant asks at a constant rate: a request is due every 1/rate seconds, whether
// or not those before are answered. Each goes to the connection that has waited
// longest; if there is none, the time until there is counts.
func (c *Client) Constant(ctx context.Context, rate int, length time.Duration) (Result, error) {
	ticking, stop := context.WithCancel(ctx)
	defer stop()
	count := int(length.Seconds() * float64(rate))
	due := make(chan time.Time, count)
	start := time.Now()
	ticked := make(chan error, 1)
	go func() {
		defer close(due)
		ticked <- tick(ticking, rate, count, due)
	}()
	result, err := c.run(start, length, func(one *connection, own *Result) error {
		for at := range due {
			if err := one.ask(own); err != nil {
				return err
			}
			own.Waits = append(own.Waits, time.Since(at))
		}
		return nil
	})
	stop() // where all connections broke, the clock still ticks
	slices.Sort(result.Waits)
	return result, cmp.Or(err, <-ticked)
}

// run has every connection do the same and sums up what comes of it.
func (c *Client) run(start time.Time, length time.Duration, do func(one *connection, own *Result) error) (Result, error) {
	sum, mutex := Result{Wrong: map[int]int{}}, sync.Mutex{}
	err := c.each(func(one *connection) error {
		if err := one.SetDeadline(start.Add(length + answerTime)); err != nil {
			return err
		}
		own := Result{Wrong: map[int]int{}}
		err := do(one, &own)
		mutex.Lock()
		defer mutex.Unlock()
		sum.Answers += own.Answers
		sum.Waits = append(sum.Waits, own.Waits...)
		for status, count := range own.Wrong {
			sum.Wrong[status] += count
		}
		return err
	})
	sum.Elapsed = time.Since(start)
	return sum, err
}

// each runs do for every connection at once and returns the first error.
func (c *Client) each(do func(one *connection) error) error {
	errs := make(chan error, len(c.connections))
	for _, one := range c.connections {
		go func() { errs <- do(one) }()
	}
	var first error
	for range c.connections {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// ask sends the connection's next request and reads its answer.
func (c *connection) ask(own *Result) error {
	c.request = append(c.request[:0], c.prefix...)
	if len(c.payers) > 0 {
		payer := c.payers[c.turn]
		c.turn = (c.turn + 1) % len(c.payers)
		if payer.left() == 0 {
			return fmt.Errorf("a chain of %d steps is used up: measure fewer rounds or shorter ones", len(payer.words)-1)
		}
		c.request = payer.appendPayment(c.request)
	}
	c.request = append(c.request, "\r\n"...)
	status, err := c.exchange(c.request)
	if err != nil {
		return err
	}
	own.Answers++
	if status != http.StatusOK {
		own.Wrong[status]++
	}
	return nil
}

// exchange sends one request and reads the answer's status.
func (c *connection) exchange(request []byte) (int, error) {
	if _, err := c.Write(request); err != nil {
		return 0, fmt.Errorf("sending a request: %w", err)
	}
	c.text = c.text[:0]
	for {
		n, err := c.Read(c.text[len(c.text):cap(c.text)])
		c.text = c.text[:len(c.text)+n]
		a, isWhole, wrong := readAnswer(c.text)
		switch {
		case wrong != nil:
			return 0, wrong
		case isWhole && a.size == len(c.text):
			return a.status, nil
		case isWhole:
			return 0, fmt.Errorf("%d bytes more than the answer has", len(c.text)-a.size)
		case err != nil:
			return 0, fmt.Errorf("reading an answer: %w", err)
		case len(c.text) == cap(c.text):
			return 0, fmt.Errorf("an answer of more than %d bytes", cap(c.text))
		}
	}
}
