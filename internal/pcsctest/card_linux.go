package pcsctest

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The answers to reset of cards that speak one protocol each.
var (
	atrT0 = []byte{0x3B, 0x00}
	atrT1 = []byte{0x3B, 0x80, 0x01, 0x81}
)

// Card is what a test puts into a reader.
type Card struct {
	// Answer returns what the card answers to a command: data and status word. It
	// may keep the command. Calls do not overlap.
	Answer func(command []byte) []byte
	// Reset is called when the card gets power, is reset, or is taken out. It may
	// be nil.
	Reset func()
	// IsT0 says that the card speaks T=0 and not T=1.
	IsT0 bool
	// IsMute says that the card does not answer when it gets power.
	IsMute bool
	// Tear is when and how the card is pulled within a command.
	Tear Tear
	// StopsAt is the command, 1 the first, from which on the card does not answer,
	// but stays in the reader; 0: none.
	StopsAt int
}

// Tear says within which command a card is pulled.
type Tear struct {
	At  int // the command since it was put in, 1 the first; 0: none
	How How
	// Only has At count the commands of this instruction alone; 0: all of them.
	Only byte
}

// How says how a card is pulled within a command.
type How byte

// The ways in which a card is pulled.
const (
	// Before means that the command does not reach the card.
	Before How = iota
	// After means that the card does what it is told, and the answer does not reach
	// the reader.
	After
	// CutBefore and CutAfter are the same, but one byte of the answer does reach the
	// reader, and the card has contact again, without what it knew, before pcscd
	// notices.
	CutBefore
	CutAfter
)

// String names it for the names of tests.
func (h How) String() string {
	return [...]string{"before", "after", "cut before", "cut after"}[h]
}

// What the virtual reader asks besides commands, in one byte.
const (
	powerOff = 0
	powerOn  = 1
	reset    = 2
	askATR   = 4
)

var errPulled = errors.New("the card is pulled")

// dialInterval is how often a card looks whether pcscd is there again.
const dialInterval = 10 * time.Millisecond

// run puts the card in until it is taken out or pulled. When pcscd ends and
// another is started, the card is in the same reader still. connected is told how
// the first connection went.
func (i *insertion) run(connected chan<- error) {
	defer close(i.over)
	defer i.reset()
	for count := (counts{}); ; {
		patience := startTimeout
		if connected == nil {
			patience = time.Hour // a card stays in a reader for as long as a test takes
		}
		conn, err := i.dial(patience)
		if connected != nil {
			connected <- err
			connected = nil
		}
		if err != nil {
			return
		}
		err = i.serve(conn, &count)
		_ = conn.Close()
		if errors.Is(err, errPulled) {
			return
		}
		i.reset() // the reader lost its power
	}
}

// dial connects to the virtual reader, which listens once pcscd has looked for a
// card for the first time.
func (i *insertion) dial(patience time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ticker := time.NewTicker(dialInterval)
	defer ticker.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", i.port))
		if err == nil {
			return conn, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, err
		case <-i.out:
			return nil, errPulled
		}
	}
}

func (i *insertion) reset() {
	if i.card.Reset != nil {
		i.card.Reset()
	}
}

// serve answers what the reader asks. It returns errPulled when the card is taken
// out, any other error when the connection ends.
func (i *insertion) serve(conn net.Conn, count *counts) error {
	served := make(chan struct{})
	defer close(served)
	go func() {
		select {
		case <-i.out:
			_ = conn.Close()
		case <-served:
		}
	}()
	isPowered := false
	for stream := bufio.NewReader(quickReader{conn}); ; {
		message, err := receive(stream)
		if err != nil {
			return i.why(err)
		}
		i.touch.Do(func() { close(i.contact) })
		var answer []byte
		switch {
		case len(message) > 1:
			if answer, err = i.answer(count, message); err != nil {
				return i.why(err)
			}
		case len(message) == 1 && message[0] == askATR:
			answer = i.atr(isPowered)
		case len(message) == 1 && message[0] <= reset:
			isPowered = message[0] != powerOff
			i.reset()
			continue // nobody waits for an answer
		default:
			return fmt.Errorf("the reader said %X, which is nothing", message)
		}
		if err := send(conn, answer); err != nil {
			return i.why(err)
		}
	}
}

// why returns errPulled for the end of a connection that the test wanted.
func (i *insertion) why(err error) error {
	select {
	case <-i.out:
		return errPulled
	default:
		return err
	}
}

// atr returns the answer to reset. A mute card is noticed, but does not answer
// when it has power.
func (i *insertion) atr(isPowered bool) []byte {
	switch {
	case i.card.IsMute && isPowered:
		return make([]byte, 40)
	case i.card.IsT0:
		return atrT0
	}
	return atrT1
}

// counts are commands since the card was put in.
type counts struct{ all, tearing int }

// answer is what the card says to a command.
func (i *insertion) answer(count *counts, command []byte) ([]byte, error) {
	count.all++
	if i.card.StopsAt > 0 && count.all >= i.card.StopsAt {
		<-i.out
		return nil, errPulled
	}
	if only := i.card.Tear.Only; only == 0 || command[1] == only {
		count.tearing++
	}
	if count.tearing != i.card.Tear.At || i.card.Tear.Only != 0 && command[1] != i.card.Tear.Only {
		return i.card.Answer(command), nil
	}
	how := i.card.Tear.How
	if how == After || how == CutAfter {
		i.card.Answer(command)
	}
	if how == CutBefore || how == CutAfter {
		i.reset()
		return []byte{0x90}, nil
	}
	i.takeOut()
	return nil, errPulled
}

// quickReader acknowledges at once what it reads. The virtual reader writes length
// and content apart, and Nagle's algorithm keeps the second back until the first
// is acknowledged, which takes 40 ms if nobody asks for more. The option lasts for
// one read.
type quickReader struct{ conn net.Conn }

// Read reads what is there.
func (q quickReader) Read(to []byte) (int, error) {
	tcp, isTCP := q.conn.(syscall.Conn)
	if !isTCP {
		return 0, errors.New("no TCP connection")
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
	}); err != nil {
		return 0, err
	}
	if failed != nil {
		return 0, failed
	}
	return q.conn.Read(to)
}

// receive reads a length of two bytes, and as many.
func receive(stream io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(stream, length[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(stream, message)
	return message, err
}

// send writes both in one piece.
func send(conn net.Conn, answer []byte) error {
	message := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(answer)), uint16(len(answer)))
	_, err := conn.Write(slices.Concat(message, answer))
	return err
}
