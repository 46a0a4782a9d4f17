package relay_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// rawPeer is an end that keeps to WebSocket, and to nothing else.
type rawPeer struct {
	t       *testing.T
	address string
	waiting chan *websocket.Conn
	conn    *websocket.Conn
}

func dialRaw(t *testing.T, address string) *rawPeer {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}}
	conn, _, err := websocket.Dial(t.Context(), address, &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	return &rawPeer{t: t, conn: conn}
}

// listenRaw listens for one agent.
func listenRaw(t *testing.T) *rawPeer {
	t.Helper()
	p := &rawPeer{t: t, waiting: make(chan *websocket.Conn, 1)}
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		p.waiting <- conn
		<-ended
		conn.CloseNow()
	}))
	t.Cleanup(func() { close(ended); server.Close() })
	p.address = "ws" + strings.TrimPrefix(server.URL, "http")
	return p
}

func (p *rawPeer) accept() { p.conn = <-p.waiting }

// write writes what may be cut off by the other end.
func (p *rawPeer) write(text string) {
	_ = p.conn.Write(p.t.Context(), websocket.MessageText, []byte(text))
}

// read returns the next message, or nothing once the line is closed.
func (p *rawPeer) read() string {
	_, text, err := p.conn.Read(p.t.Context())
	if err != nil {
		return ""
	}
	return string(text)
}
