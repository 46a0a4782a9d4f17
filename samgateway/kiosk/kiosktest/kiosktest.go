// Package kiosktest is a customer before a kiosk's screen, for tests of programs
// that serve one.
package kiosktest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// patience is how long a screen may be awaited: on a busy machine a card takes a
// second, and no test waits for a screen that it does not want.
const patience = 20 * time.Second

// maxLineBytes bounds a line of the stream: a screen takes a few KB.
const maxLineBytes = 1 << 20

// Visitor is somebody before the screen, who is told which screen is shown. It
// is for one goroutine.
type Visitor struct {
	// T is told what goes wrong. A subtest that goes on with the visitor sets its own.
	T testing.TB

	origin string
	hangUp func()
	lines  *bufio.Scanner
	now    struct {
		Session, Name, HTML string
		Number              uint64
	}
}

// Visit opens the page of the kiosk at an address such as 127.0.0.1:8437. What
// the kiosk says is written to heard, too; nil: to nobody. The page is closed
// when the test ends.
func Visit(t testing.TB, address string, heard io.Writer) *Visitor {
	t.Helper()
	v := &Visitor{T: t, origin: "http://" + address}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, v.origin+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	v.hangUp = func() { _ = answer.Body.Close() }
	t.Cleanup(v.hangUp)
	if heard == nil {
		heard = io.Discard
	}
	v.lines = bufio.NewScanner(io.TeeReader(answer.Body, heard))
	v.lines.Buffer(nil, maxLineBytes)
	return v
}

// See waits for a screen by its name. It must say all that.
func (v *Visitor) See(name string, says ...string) {
	v.T.Helper()
	timer := time.AfterFunc(patience, v.hangUp)
	defer timer.Stop()
	for v.lines.Scan() {
		data, is := strings.CutPrefix(v.lines.Text(), "data: ")
		if !is || data == "" {
			continue
		}
		if err := json.Unmarshal([]byte(data), &v.now); err != nil {
			v.T.Fatal(err)
		}
		if v.now.Name != name {
			continue
		}
		for _, text := range says {
			if !strings.Contains(v.now.HTML, text) {
				v.T.Errorf("screen %s does not say %q: %s", name, text, v.now.HTML)
			}
		}
		return
	}
	v.T.Fatalf("the stream ended (%v) before screen %s; the last one was %s: %s", v.lines.Err(), name, v.now.Name, v.now.HTML)
}

// Do answers the screen that was seen last.
func (v *Visitor) Do(action, body string) {
	v.T.Helper()
	address := fmt.Sprintf("%s/sessions/%s/screens/%d/%s", v.origin, v.now.Session, v.now.Number, action)
	request, err := http.NewRequestWithContext(v.T.Context(), http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		v.T.Fatal(err)
	}
	request.Header.Set("Origin", v.origin)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		v.T.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent {
		v.T.Fatalf("%s at screen %s: got %s", action, v.now.Name, answer.Status)
	}
}

// HTML is that of the screen that was seen last.
func (v *Visitor) HTML() string { return v.now.HTML }

// Choose answers the screen and waits for the next.
func (v *Visitor) Choose(action, body, next string, says ...string) {
	v.T.Helper()
	v.Do(action, body)
	v.See(next, says...)
}
