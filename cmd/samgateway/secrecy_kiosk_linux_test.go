package main

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

// visitor stands before the kiosk's screen.
type visitor struct {
	t      *testing.T
	origin string
	hangUp func()
	lines  *bufio.Scanner
	now    struct {
		Session, Name, HTML string
		Number              uint64
	}
}

// visit opens the kiosk's page, with the card in the reader.
func (s *secretShop) visit(address string) *visitor {
	s.t.Helper()
	v := &visitor{t: s.t, origin: "http://" + address}
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, v.origin+"/events", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	v.hangUp = func() { _ = answer.Body.Close() }
	s.t.Cleanup(v.hangUp)
	v.lines = bufio.NewScanner(io.TeeReader(answer.Body, s)) // what the screen says is looked at, too
	v.lines.Buffer(nil, 1<<20)
	v.see("menu")
	return v
}

// see waits for a screen.
func (v *visitor) see(name string) {
	v.t.Helper()
	patience := time.AfterFunc(20*time.Second, v.hangUp)
	defer patience.Stop()
	for v.lines.Scan() {
		data, is := strings.CutPrefix(v.lines.Text(), "data: ")
		if !is || data == "" {
			continue
		}
		if err := json.Unmarshal([]byte(data), &v.now); err != nil {
			v.t.Fatal(err)
		}
		if v.now.Name == name {
			return
		}
	}
	v.t.Fatalf("the stream ended (%v) before screen %s; the last one was %s: %s", v.lines.Err(), name, v.now.Name, v.now.HTML)
}

// choose answers the screen and waits for the next.
func (v *visitor) choose(action, body, next string) {
	v.t.Helper()
	address := fmt.Sprintf("%s/sessions/%s/screens/%d/%s", v.origin, v.now.Session, v.now.Number, action)
	request, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	request.Header.Set("Origin", v.origin)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		v.t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent {
		v.t.Fatalf("%s at screen %s: got %s", action, v.now.Name, answer.Status)
	}
	v.see(next)
}
