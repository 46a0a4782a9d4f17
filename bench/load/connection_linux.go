package load

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// maxAnswerBytes is what an answer may have.
const maxAnswerBytes = 16 << 10

// connection is one connection to a server. Its socket is not Go's: nobody but the
// client that asks for it is told what comes.
type connection struct {
	socket  int
	due     time.Time // when the request that is under way was due
	payers  []*Payer
	opened  int // of the payers, the first ones, whose commitments were brought
	turn    int
	asked   uint64 // pages: each is another one, since what was bought is read again free
	prefix  []byte // of every request: all between its first line and the payment
	request []byte // the buffer of the request that is sent
	text    []byte // the buffer of the answer
}

func (c *connection) dial(address netip.AddrPort) (err error) {
	if c.socket, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	err = unix.Connect(c.socket, &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()})
	if err == nil {
		err = unix.SetsockoptInt(c.socket, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err == nil {
		err = unix.SetNonblock(c.socket, true)
	}
	if err != nil {
		return errors.Join(err, unix.Close(c.socket))
	}
	return nil
}

// appendBeginning appends the first line of a request for the next page, and what
// all requests have.
func (c *connection) appendBeginning(request []byte) []byte {
	request = append(request, "GET /pages/"...)
	request = strconv.AppendUint(request, c.asked, 10)
	c.asked++
	request = append(request, " HTTP/1.1\r\n"...)
	return append(request, c.prefix...)
}

// ask sends the connection's next request.
func (c *connection) ask() error {
	c.request = c.appendBeginning(c.request[:0])
	if len(c.payers) > 0 {
		payer := c.payers[c.turn]
		c.turn = (c.turn + 1) % len(c.payers)
		if payer.left() == 0 {
			return fmt.Errorf("a chain of %d steps is used up: measure fewer rounds or shorter ones", len(payer.words)-1)
		}
		c.request = payer.appendPayment(c.request)
	}
	c.request = append(c.request, "\r\n"...)
	return c.send(c.request)
}

// send sends a request. It is shorter than the kernel's buffer, which is empty:
// the one before is answered.
func (c *connection) send(request []byte) error {
	c.text = c.text[:0]
	n, err := unix.Write(c.socket, request)
	if err == nil && n < len(request) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("sending a request: %w", err)
	}
	return nil
}

// read reads what has come of the answer, and returns its status once it is whole.
func (c *connection) read() (status int, isWhole bool, err error) {
	n, err := unix.Read(c.socket, c.text[len(c.text):cap(c.text)])
	if err == unix.EAGAIN || err == unix.EINTR {
		return 0, false, nil
	}
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return 0, false, fmt.Errorf("reading an answer: %w", err)
	}
	c.text = c.text[:len(c.text)+n]
	a, isWhole, err := readAnswer(c.text)
	switch {
	case err != nil:
		return 0, false, err
	case isWhole && a.size < len(c.text):
		return 0, false, fmt.Errorf("%d bytes more than the answer has", len(c.text)-a.size)
	case !isWhole && len(c.text) == cap(c.text):
		return 0, false, fmt.Errorf("an answer of more than %d bytes", cap(c.text))
	}
	return a.status, isWhole, nil
}
