package load

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Connections is how many connections a client keeps open.
const Connections = 64

// answerTime is how long an answer may take. A server that takes longer hangs.
const answerTime = 20 * time.Second

// Client sends requests to one server, over connections that stay open. Each
// connection has payers of its own, so that payments of one arrive in order.
//
// While it measures it does not sleep: it asks the kernel again and again what has
// come. To wake a sleeping client takes the kernel several microseconds, on the
// account of the server that answers, and the slower of two servers would meet a
// sleeping client more often. What else runs on the processor of the client gets
// its turn whenever nothing has come.
type Client struct {
	connections []*connection
	poll        int // the descriptor of epoll
	waitMillis  int // for what comes
	events      [Connections]unix.EpollEvent
}

// Target says whom a client asks, and how.
type Target struct {
	Address string   // an IPv4 address and a port
	Header  string   // whole lines that each request carries
	Payers  []*Payer // who pays for the requests in turn; nobody pays if empty
	Sleeps  bool     // the client sleeps while nothing comes: what answers needs its processor, too
}

// sleepMillis is how long a client that sleeps does so at most.
const sleepMillis = 1

// Dial connects to a server.
func Dial(t Target) (*Client, error) {
	address, err := netip.ParseAddrPort(t.Address)
	if err != nil || !address.Addr().Is4() {
		return nil, fmt.Errorf("connecting to %q: want an IPv4 address and a port", t.Address)
	}
	c := &Client{}
	if t.Sleeps {
		c.waitMillis = sleepMillis
	}
	if c.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("making an epoll: %w", err)
	}
	for k := range Connections {
		one := &connection{
			prefix: []byte("Host: " + t.Address + "\r\nAccept: */*\r\n" + t.Header),
			text:   make([]byte, 0, maxAnswerBytes),
		}
		for n := k; n < len(t.Payers); n += Connections {
			one.payers = append(one.payers, t.Payers[n])
		}
		if err := one.dial(address); err != nil {
			c.Close()
			return nil, fmt.Errorf("connecting to %s: %w", t.Address, err)
		}
		c.connections = append(c.connections, one)
		event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(k)}
		if err := unix.EpollCtl(c.poll, unix.EPOLL_CTL_ADD, one.socket, &event); err != nil {
			c.Close()
			return nil, fmt.Errorf("watching a connection: %w", err)
		}
	}
	return c, nil
}

// Close closes the connections.
func (c *Client) Close() {
	for _, one := range c.connections {
		unix.Close(one.socket)
	}
	unix.Close(c.poll)
	c.connections = nil
}

// Open makes every payer's first payment, which brings its commitment. An answer
// that is not 200 is an error.
func (c *Client) Open() error {
	for left := true; left; {
		left = false
		for _, one := range c.connections {
			if one.opened == len(one.payers) {
				continue
			}
			payer := one.payers[one.opened]
			one.opened++
			left = true
			request := payer.appendOpening(payer.appendPayment(one.appendBeginning(nil)))
			status, err := c.exchange(one, append(request, "\r\n"...))
			if err != nil {
				return err
			}
			if status != http.StatusOK {
				return fmt.Errorf("opening a commitment: the answer is %d:\n%.1000s", status, one.text[:cap(one.text)])
			}
		}
	}
	return nil
}

// exchange sends one request and waits for its answer, while no other is sent.
func (c *Client) exchange(one *connection, request []byte) (status int, err error) {
	if err := one.send(request); err != nil {
		return 0, err
	}
	for late := time.Now().Add(answerTime); ; {
		n, err := c.arrived()
		if err != nil {
			return 0, err
		}
		if n > 0 {
			if status, isWhole, err := one.read(); isWhole || err != nil {
				return status, err
			}
		}
		if time.Now().After(late) {
			return 0, errLate
		}
	}
}

var errLate = fmt.Errorf("no answer within %s", answerTime)

// arrived returns how many connections have something to read: the first of
// c.events. If there are none, others get the processor.
func (c *Client) arrived() (int, error) {
	n, err := unix.EpollWait(c.poll, c.events[:], c.waitMillis)
	if err == unix.EINTR {
		n, err = 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("asking what has come: %w", err)
	}
	if n == 0 && c.waitMillis == 0 {
		_, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
	}
	return n, nil
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
	result, err := c.run(ctx, start, length, func(now time.Time) (due time.Time, isDue, isLast bool) {
		isLast = now.Sub(start) >= length
		return now, !isLast, isLast
	})
	result.Waits = nil
	return result, err
}

// Constant asks at a constant rate: a request is due every 1/rate seconds, whether
// or not those before are answered. Each goes to the connection that has waited
// longest; if there is none, the time until there is counts.
func (c *Client) Constant(ctx context.Context, rate int, length time.Duration) (Result, error) {
	count, interval := int(length.Seconds()*float64(rate)), time.Second/time.Duration(rate)
	start, sent := time.Now(), 0
	result, err := c.run(ctx, start, length, func(now time.Time) (due time.Time, isDue, isLast bool) {
		due = start.Add(time.Duration(sent+1) * interval)
		isLast = sent == count
		if isDue = !isLast && !due.After(now); isDue {
			sent++
		}
		return due, isDue, isLast
	})
	slices.Sort(result.Waits)
	return result, err
}

// run sends requests as next says: when one is due, and whether none is any more. It
// is asked for each connection that is free.
func (c *Client) run(ctx context.Context, start time.Time, length time.Duration, next func(now time.Time) (due time.Time, isDue, isLast bool)) (result Result, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	result.Wrong = map[int]int{}
	free, late := slices.Clone(c.connections), start.Add(length+answerTime)
	for {
		now, isLast := time.Now(), false
		for len(free) > 0 && !isLast {
			var due time.Time
			var isDue bool
			if due, isDue, isLast = next(now); !isDue {
				break
			}
			one := free[0]
			free = free[1:]
			one.due = due
			if err := one.ask(); err != nil {
				return result, err
			}
		}
		switch {
		case isLast && len(free) == len(c.connections):
			result.Elapsed = time.Since(start)
			return result, ctx.Err()
		case ctx.Err() != nil:
			return result, ctx.Err()
		case now.After(late):
			return result, errLate
		}
		n, err := c.arrived()
		if err != nil {
			return result, err
		}
		for _, event := range c.events[:n] {
			one := c.connections[event.Fd]
			status, isWhole, err := one.read()
			if err != nil {
				return result, err
			}
			if isWhole {
				result.note(status, time.Since(one.due))
				free = append(free, one)
			}
		}
	}
}

func (r *Result) note(status int, wait time.Duration) {
	r.Answers++
	r.Waits = append(r.Waits, wait)
	if status != http.StatusOK {
		r.Wrong[status]++
	}
}
