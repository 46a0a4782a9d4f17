package agent_test

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword/internal/filelock"
	"github.com/paywordhq/payword/internal/pursetest"
	"github.com/paywordhq/payword/samgateway/agent"
)

// What is in the file outlives the agent, is for its owner's eyes, and has no
// token in it.
func TestStateOutlivesTheAgent(t *testing.T) {
	h := newHome(t, newCard(t, pursetest.Keys(t), cardID, 1), "", nil)
	h.pair()
	if _, err := agent.New(agent.Config{State: h.state}); !errors.Is(err, filelock.ErrLocked) {
		t.Errorf("a second agent: got %v, want that it is locked", err)
	}
	h = h.again()
	asked := h.ask(payment("wss://gateway.example/relay"))
	if got := h.stateOf(asked.Request); got.Phase != agent.Waiting {
		t.Errorf("got %+v, want waiting", got)
	}
	content, err := os.ReadFile(h.state)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(content); strings.Contains(text, h.token) || !strings.Contains(text, shop) {
		t.Errorf("the file has %s", text)
	}
	if info, err := os.Stat(h.state); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
}

func TestStateThatIsNone(t *testing.T) {
	for content, want := range map[string]string{
		"{":                        "move it away",
		`{"version": 2}`:           "version 2",
		strings.Repeat(" ", 1<<18): "more than",
	} {
		path := filepath.Join(t.TempDir(), "agent.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := agent.New(agent.Config{State: path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: got %v, want %q", content, err, want)
		}
	}
}

// Whoever opens connections and says nothing takes up no more than their number.
func TestIdleConnectionsAreBounded(t *testing.T) {
	h := newHome(t, newCard(t, pursetest.Keys(t), cardID, 1), "", nil)
	address := strings.TrimPrefix(h.origin, "http://")
	var idle []net.Conn
	for range 64 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		idle = append(idle, conn)
	}
	extra, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer extra.Close()
	if count, err := extra.Read(make([]byte, 1)); err == nil {
		t.Errorf("one too many got %d bytes", count)
	}
	for _, conn := range idle {
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for {
		answer, err := http.Get(h.origin + "/")
		if err != nil {
			continue // the agent has not seen yet that they are gone
		}
		if err := answer.Body.Close(); err != nil || answer.StatusCode != http.StatusOK {
			t.Errorf("got %d, %v", answer.StatusCode, err)
		}
		return
	}
}

func TestAgentListensOnThisMachineAlone(t *testing.T) {
	made, err := agent.New(agent.Config{State: filepath.Join(t.TempDir(), "agent.json")})
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	listener, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := made.Run(t.Context(), listener); err == nil || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("got %v, want that it listens on 127.0.0.1 alone", err)
	}
}
