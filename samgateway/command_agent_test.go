package samgateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paywordhq/payword/samgateway"
)

// The command prints where sites find the agent and where its holder does, and
// only one has the file of its state.
func TestAgent(t *testing.T) {
	m := newMachine("Reader at home")
	state := filepath.Join(t.TempDir(), "new folder", "agent.json")
	arguments := []string{"agent", "--json", "--card-reader", "home", "--port", "0", "--state", state}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	reader, writer := io.Pipe()
	log, ended := &lockedBuffer{}, make(chan int, 1)
	go func() {
		ended <- samgateway.Main(ctx, m, arguments, strings.NewReader(""), writer, log)
		_ = writer.Close()
	}()
	var started struct{ Sites, Page string }
	output := bufio.NewReader(reader)
	if err := json.NewDecoder(output).Decode(&started); err != nil {
		t.Fatalf("it printed no JSON: %v\n%s", err, log)
	}
	go func() { _, _ = io.Copy(io.Discard, reader) }()
	for address, want := range map[string]int{started.Page: http.StatusOK, started.Sites + "/": http.StatusOK, started.Sites + "/holder/guess/": http.StatusNotFound} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%s: got %d, want %d", address, answer.StatusCode, want)
		}
	}
	if !strings.HasPrefix(started.Page, started.Sites+"/") || !strings.HasPrefix(started.Sites, "http://127.0.0.1:") {
		t.Errorf("it listens at %+v", started)
	}
	second := &lockedBuffer{}
	if code := samgateway.Main(t.Context(), m, arguments, strings.NewReader(""), io.Discard, second); code != 1 || !strings.Contains(second.String(), "runs already") {
		t.Errorf("a second one: exit code %d, %s", code, second)
	}
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("it ended with exit code %d: %s", code, log)
	}
	if strings.Contains(log.String(), started.Page) {
		t.Errorf("the log has the address of the holder's page: %s", log)
	}
}

func TestAgentIsCalledWrongly(t *testing.T) {
	for want, arguments := range map[string][]string{
		"--card-reader is missing": {"agent"},
		"1 to 65535":               {"agent", "--card-file", "card", "--port", "70000"},
		"is not a flag":            {"agent", "--card-file", "card", "https://shop.example"},
	} {
		if got := call(t, arguments...); got.code != 2 || !strings.Contains(got.stderr, want) {
			t.Errorf("%v: got %+v, want %q", arguments, got, want)
		}
	}
}
