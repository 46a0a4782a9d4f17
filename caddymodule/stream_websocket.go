package caddymodule

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/paywordhq/payword/money"
)

// The frames of a WebSocket (RFC 6455, section 5.2).
const (
	opcodeContinuation = 0x0
	opcodeText         = 0x1
	opcodeBinary       = 0x2
	opcodeClose        = 0x8
	opcodePong         = 0xA

	frameFinal  = 0x80
	frameMasked = 0x80

	// maxFrameHeader is the longest header: two bytes, eight of length, four of
	// mask.
	maxFrameHeader = 14
	// maxControlBytes is the longest payload of a control frame.
	maxControlBytes = 125

	// closePaymentRequired is the status of the close frame that ends a stream
	// for want of payment: 4000 to 4999 are for private use (section 7.4.2).
	closePaymentRequired = 4402
	// closeGoingAway ends a stream because the gate stops.
	closeGoingAway = 1001
)

// frameReader follows the frames in one direction. It keeps the header of one
// frame and no payload.
type frameReader struct {
	header    [maxFrameHeader]byte
	have      int
	left      uint64 // of the payload of the frame, in bytes
	inMessage bool   // a message has begun and not ended
}

// readHeader takes bytes of content until the header of a frame is whole. It
// returns how many, and whether it is; an error for what no frame begins with.
func (f *frameReader) readHeader(content []byte) (taken int, isWhole bool, err error) {
	for taken < len(content) && f.have < f.headerLength() {
		f.header[f.have] = content[taken]
		f.have++
		taken++
	}
	if f.have < f.headerLength() {
		return taken, false, nil
	}
	return taken, true, f.check()
}

// headerLength returns how long the header is, as far as it was read.
func (f *frameReader) headerLength() int {
	if f.have < 2 {
		return 2
	}
	length := 2
	switch f.header[1] &^ frameMasked {
	case 126:
		length += 2
	case 127:
		length += 8
	}
	if f.header[1]&frameMasked != 0 {
		length += 4
	}
	return length
}

func (f *frameReader) opcode() byte    { return f.header[0] & 0x0f }
func (f *frameReader) isControl() bool { return f.opcode() >= opcodeClose }
func (f *frameReader) isFinal() bool   { return f.header[0]&frameFinal != 0 }

// isAtBoundary reports whether a message can stand here: none has begun.
func (f *frameReader) isAtBoundary() bool { return f.left == 0 && !f.inMessage }

// check looks at a whole header, notes what it says, and returns an error if no
// frame has it.
func (f *frameReader) check() error {
	length := uint64(f.header[1] &^ frameMasked)
	switch length {
	case 126:
		length = uint64(binary.BigEndian.Uint16(f.header[2:]))
	case 127:
		length = binary.BigEndian.Uint64(f.header[2:])
	}
	switch opcode := f.opcode(); {
	case length>>63 != 0:
		return errStreamFrames
	case f.isControl() && (opcode > opcodePong || length > maxControlBytes || !f.isFinal()):
		return errStreamFrames
	case !f.isControl() && opcode > opcodeBinary:
		return errStreamFrames
	case opcode == opcodeContinuation && !f.inMessage || (opcode == opcodeText || opcode == opcodeBinary) && f.inMessage:
		return errStreamFrames
	}
	f.left = length
	return nil
}

// isNewMessage reports whether the frame begins a message.
func (f *frameReader) isNewMessage() bool { return !f.isControl() && f.opcode() != opcodeContinuation }

// passHeader notes that the header was sent on.
func (f *frameReader) passHeader() {
	if !f.isControl() {
		f.inMessage = !f.isFinal()
	}
	f.have = 0
}

// frameFlow sends the frames of a WebSocket to the client. Messages are charged
// before their first byte, bytes of their payload as they come; control frames
// are free.
type frameFlow struct {
	*metering
	to    io.Writer
	flush func()

	mutex  sync.Mutex // guards what is written and the reader
	frames frameReader
	closed bool // a close frame was sent
}

func newFrameFlow(m *metering, to io.Writer, flush func()) *frameFlow {
	return &frameFlow{metering: m, to: to, flush: flush}
}

func (f *frameFlow) write(content []byte) (int, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	whole := len(content)
	for len(content) > 0 {
		if f.closed {
			return 0, errStreamClient
		}
		step := f.writeHeader
		if f.frames.left > 0 {
			step = f.writePayload
		}
		n, err := step(content)
		if err != nil {
			f.stream.stop(err)
			f.sayEnd()
			return 0, err
		}
		content = content[n:]
	}
	return whole, nil
}

// writeHeader reads the header of a frame, charges for what it begins, and sends
// it. The lock is let go of while that waits for payment.
func (f *frameFlow) writeHeader(content []byte) (int, error) {
	taken, isWhole, err := f.frames.readHeader(content)
	if err != nil || !isWhole {
		return taken, err
	}
	length := f.frames.left
	f.frames.left = 0 // nothing of it was sent yet
	switch {
	case f.frames.opcode() == opcodeClose:
		f.stream.settle()
		f.sayReceipt()
	case f.frames.isNewMessage() && f.Unit != unitByte && f.Unit != unitKilobyte:
		err = f.take(1)
	case f.frames.isNewMessage() && length > 0:
		// Something can be said before a message, and not inside of it.
		err = f.take(min(int64(min(length, uint64(maxSlice))), f.Slice*f.unitSize()))
		if err == nil {
			f.stream.putBack(min(int64(min(length, uint64(maxSlice))), f.Slice*f.unitSize()))
		}
	}
	if err != nil {
		return taken, err
	}
	f.closed = f.frames.opcode() == opcodeClose && length == 0
	header := f.frames.header[:f.frames.have]
	_, err = f.to.Write(header)
	f.frames.passHeader()
	f.frames.left = length
	return taken, err
}

// take charges with the lock let go of.
func (f *frameFlow) take(count int64) error {
	f.mutex.Unlock()
	defer f.mutex.Lock()
	_, err := f.stream.take(count, true)
	return err
}

func (f *frameFlow) writePayload(content []byte) (int, error) {
	count := int64(min(uint64(len(content)), f.frames.left))
	if f.countsBytes() && !f.frames.isControl() {
		f.mutex.Unlock()
		granted, err := f.stream.take(count, false)
		f.mutex.Lock()
		if err != nil {
			return 0, err
		}
		count = granted
	}
	n, err := f.to.Write(content[:count])
	f.frames.left -= uint64(n)
	if f.frames.left == 0 && f.frames.opcode() == opcodeClose {
		f.closed = true
	}
	return n, err
}

func (f *frameFlow) end()          {}
func (f *frameFlow) injects() bool { return false } // not into a body with a length

// said is a text message by which the gate speaks inside of a WebSocket.
type said struct {
	Type string `json:"type"`
	Data any    `json:"data"`
}

// say sends a text message, if no other message has begun.
func (f *frameFlow) say(n notice) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if n != (notice{}) {
		f.sayText(said{eventNeedVoucher, n})
		return
	}
	f.sayEnd()
}

// sayReceipt sends the receipt before a close frame of the upstream.
func (f *frameFlow) sayReceipt() {
	f.sayText(said{eventReceipt, json.RawMessage(f.receipt())})
}

// sayEnd closes the connection, with the receipt before, if that was not done
// and no frame is half sent.
func (f *frameFlow) sayEnd() {
	why := f.stream.whyEnded()
	if f.closed || f.frames.left > 0 || why == nil {
		return
	}
	f.stream.settle()
	f.sayReceipt()
	code, reason := closePaymentRequired, why.Error()
	if why == errStreamStops || why == errStreamStore {
		code = closeGoingAway
	}
	amount := money.Amount(0)
	amount, _ = f.stream.state()
	reason += "; charged " + strconv.FormatInt(int64(amount), 10)
	payload := binary.BigEndian.AppendUint16(nil, uint16(code))
	payload = append(payload, reason[:min(len(reason), maxControlBytes-2)]...)
	f.closed = true
	f.writeFrame(opcodeClose, payload)
}

// sayText writes a message of the gate's own, if none has begun. The lock is
// held.
func (f *frameFlow) sayText(message said) {
	if f.closed || !f.frames.isAtBoundary() {
		return
	}
	if payload, err := json.Marshal(message); err == nil {
		f.writeFrame(opcodeText, payload)
	}
}

// writeFrame writes a frame of the gate's own, which is at most 64 KB long.
func (f *frameFlow) writeFrame(opcode byte, payload []byte) {
	frame := []byte{frameFinal | opcode}
	if len(payload) < 126 {
		frame = append(frame, byte(len(payload)))
	} else {
		frame = binary.BigEndian.AppendUint16(append(frame, 126), uint16(len(payload)))
	}
	if _, err := f.to.Write(append(frame, payload...)); err == nil && f.flush != nil {
		f.flush()
	}
}

// putBack makes a count that was taken and not sent available again.
func (s *stream) putBack(count int64) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.delivered -= count
}

// handOver puts the meter into a connection that the next handler takes over.
func (m *metering) handOver(connection net.Conn, buffered *bufio.ReadWriter) (net.Conn, *bufio.ReadWriter) {
	metered := &meteredConn{Conn: connection, metering: m, source: buffered.Reader}
	if strings.EqualFold(m.exchange.request.Header.Get("Upgrade"), "websocket") {
		flow := newFrameFlow(m, connection, nil)
		m.out, metered.flow = flow, flow
		m.stream.mutex.Lock()
		m.stream.say = flow.say
		m.stream.mutex.Unlock()
	}
	return metered, bufio.NewReadWriter(bufio.NewReader(metered), bufio.NewWriter(metered))
}

// meteredConn is a connection that the next handler took over.
type meteredConn struct {
	net.Conn
	metering *metering
	source   io.Reader  // of what the client sends
	flow     *frameFlow // nil: what flows has no form that is known
	up       frameReader
}

// Write charges and sends what goes to the client.
func (c *meteredConn) Write(content []byte) (int, error) {
	if c.flow != nil {
		return c.flow.write(content)
	}
	if !c.metering.countsBytes() {
		if _, err := c.metering.stream.take(1, true); err != nil {
			return 0, err
		}
		return c.Conn.Write(content)
	}
	return c.metering.stream.writeBytes(content, c.Conn.Write)
}

// Read passes on what the client sends, charged if both directions are.
func (c *meteredConn) Read(content []byte) (int, error) {
	n, err := c.source.Read(content)
	if n > 0 && c.metering.BothDirections {
		if failed := c.metering.countUp(&c.up, c.flow != nil, content[:n]); failed != nil {
			return 0, failed
		}
	}
	return n, err
}

// Close ends the stream with its connection.
func (c *meteredConn) Close() error {
	if c.flow != nil {
		c.flow.mutex.Lock()
		c.flow.sayEnd()
		c.flow.mutex.Unlock()
	}
	return c.Conn.Close()
}

// CloseWrite lets the client know that nothing more comes.
func (c *meteredConn) CloseWrite() error {
	if half, can := c.Conn.(interface{ CloseWrite() error }); can {
		return half.CloseWrite()
	}
	return http.ErrNotSupported
}

// countUp charges what a client sends before the upstream gets it.
func (m *metering) countUp(frames *frameReader, areFrames bool, content []byte) error {
	count := int64(len(content))
	if areFrames {
		messages, payload, err := frames.count(content)
		if err != nil {
			m.stream.stop(err)
			return err
		}
		if count = messages; m.countsBytes() {
			count = payload
		}
	}
	if count == 0 {
		return nil
	}
	_, err := m.stream.take(count, true)
	return err
}

// count returns how many messages begin in content and how many bytes of their
// payload are in it.
func (f *frameReader) count(content []byte) (messages, payload int64, err error) {
	for len(content) > 0 {
		if f.left > 0 {
			n := min(uint64(len(content)), f.left)
			f.left -= n
			if !f.isControl() {
				payload += int64(n)
			}
			content = content[n:]
			continue
		}
		taken, isWhole, err := f.readHeader(content)
		if err != nil {
			return messages, payload, err
		}
		content = content[taken:]
		if !isWhole {
			break
		}
		if f.isNewMessage() {
			messages++
		}
		f.passHeader()
	}
	return messages, payload, nil
}

// countedBody is what a client sends over a WebSocket on HTTP/2.
type countedBody struct {
	io.ReadCloser
	metering *metering
	up       frameReader
}

// Read implements io.Reader.
func (b *countedBody) Read(content []byte) (int, error) {
	n, err := b.ReadCloser.Read(content)
	if n > 0 && b.metering.stream != nil {
		if failed := b.metering.countUp(&b.up, true, content[:n]); failed != nil {
			return 0, failed
		}
	}
	return n, err
}
