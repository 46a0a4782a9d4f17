package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/coder/websocket"
)

var (
	errClosed = errors.New("the line was closed by the other end")
	errSilent = errors.New("the other end does not answer any more")
)

// line is one end of a connection.
type line struct {
	conn      *websocket.Conn
	limits    Limits
	incoming  chan message
	ctx       context.Context // done when the line is cut; its cause says why
	cut       context.CancelCauseFunc
	readEnded chan struct{}
	beatEnded chan struct{}
}

// newLine reads from a connection, and pings it, until close.
func newLine(ctx context.Context, conn *websocket.Conn, limits Limits) *line {
	conn.SetReadLimit(maxMessageBytes)
	l := &line{
		conn: conn, limits: limits, incoming: make(chan message),
		readEnded: make(chan struct{}), beatEnded: make(chan struct{}),
	}
	l.ctx, l.cut = context.WithCancelCause(ctx)
	go l.read()
	go l.beat()
	return l
}

// read hands messages on one by one, so that pongs are seen while nobody waits
// for a message. While one is waited for by nobody no other is read: whoever sends
// more than he is asked for fills no memory.
func (l *line) read() {
	defer close(l.readEnded)
	for {
		kind, text, err := l.conn.Read(l.ctx)
		if err != nil {
			l.cut(readError(err))
			return
		}
		m, err := parseMessage(text)
		if err == nil && kind != websocket.MessageText {
			err = errors.New("a message is binary: want text")
		}
		if err != nil {
			l.cut(err)
			return
		}
		select {
		case l.incoming <- m:
		case <-l.ctx.Done():
			return
		}
	}
}

// readError says in a sentence why nothing can be read.
func readError(err error) error {
	if errors.Is(err, websocket.ErrMessageTooBig) {
		return fmt.Errorf("the other end sent a message of more than %d bytes", maxMessageBytes)
	}
	return errClosed
}

// beat finds out that the other end is gone although nothing says so.
func (l *line) beat() {
	defer close(l.beatEnded)
	ticker := time.NewTicker(l.limits.Heartbeat)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-l.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(l.ctx, l.limits.Heartbeat)
		err := l.conn.Ping(ctx)
		cancel()
		if err != nil {
			l.cut(errSilent)
			return
		}
	}
}

// next waits for the next message. Afterwards, if there is an error, the line is
// cut. A message refused comes as an error that is a *RefusedError.
func (l *line) next(ctx context.Context, patience time.Duration) (message, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case m := <-l.incoming:
		if m.Type == typeRefused {
			return message{}, &RefusedError{m.Sentence}
		}
		return m, nil
	case <-timer.C:
		l.cut(errSilent)
	case <-ctx.Done():
		l.cut(ctx.Err())
	case <-l.ctx.Done():
	}
	return message{}, context.Cause(l.ctx)
}

// want is next for one type of message.
func (l *line) want(ctx context.Context, wanted messageType, patience time.Duration) (message, error) {
	m, err := l.next(ctx, patience)
	if err == nil && m.Type != wanted {
		err = fmt.Errorf("the other end said %s where %s was to be said", m.Type, wanted)
	}
	return m, err
}

// send writes a message.
func (l *line) send(m message) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("writing a message: %w", err)
	}
	ctx, cancel := context.WithTimeout(l.ctx, l.limits.Heartbeat)
	defer cancel()
	if err := l.conn.Write(ctx, websocket.MessageText, text); err != nil {
		l.cut(errClosed)
		return context.Cause(l.ctx)
	}
	return nil
}

// refuse says why the session ends. That the other end does not hear it changes
// nothing.
func (l *line) refuse(sentence string) {
	_ = l.send(message{Type: typeRefused, Sentence: Sentence(sentence)})
	l.hangUp()
}

// hangUp ends the connection in the way of the protocol, but waits no longer for
// the other end than a heartbeat.
func (l *line) hangUp() {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = l.conn.Close(websocket.StatusNormalClosure, "")
	}()
	timer := time.NewTimer(l.limits.Heartbeat)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
	l.close()
	<-ended
}

// close ends the connection at once, and returns when nothing of it runs any
// more.
func (l *line) close() {
	l.cut(errClosed)
	_ = l.conn.CloseNow()
	<-l.readEnded
	<-l.beatEnded
}

// RefusedError is what the other end said in place of going on.
type RefusedError struct{ Sentence string }

// Error quotes the sentence: it is not this end's word, and it may say anything.
func (e *RefusedError) Error() string { return "the other end refuses: " + quoted(e.Sentence) }

// quoted puts what the other end says in quotation marks, which it cannot close by
// itself, so that nobody takes the rest for the word of this end.
func quoted(said string) string {
	return "“" + strings.Map(func(letter rune) rune {
		if unicode.In(letter, unicode.Pi, unicode.Pf) || letter == '"' {
			return '\''
		}
		return letter
	}, said) + "”"
}

// Sentence makes a text one that CheckText takes as a sentence.
func Sentence(text string) string {
	letters := make([]rune, 0, maxSentenceLetters)
	for _, letter := range text {
		if len(letters) == maxSentenceLetters {
			break
		}
		if CheckText("", string(letter), 1, 1) != nil {
			letter = ' '
		}
		letters = append(letters, letter)
	}
	if len(letters) == 0 {
		return "no reason is known"
	}
	return string(letters)
}
