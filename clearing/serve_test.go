package clearing_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paywordhq/payword/clearing"
)

// written is what a command writes, read while it writes.
type written struct {
	mutex sync.Mutex
	bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.Buffer.Write(p)
}

func (w *written) text() string {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.Buffer.String()
}

// operatorsFile writes a file of operators.
func operatorsFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "operators")
	if err := os.WriteFile(path, []byte("anna "+annasToken+"\ncarl "+carlsToken+" read-only\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var listens = regexp.MustCompile(`listens(?: for metrics)? on ([0-9.:]+)\n`)

func TestServe(t *testing.T) {
	location := newDatabase(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var stdout, stderr written
	code := make(chan int, 1)
	go func() {
		code <- clearing.Main(ctx, []string{"serve", "--db", location, "--out", t.TempDir(), "--operators", operatorsFile(t),
			"--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"}, &stdout, &stderr)
	}()
	var addresses [][]string
	for deadline := time.Now().Add(30 * time.Second); len(addresses) < 2; {
		addresses = listens.FindAllStringSubmatch(stdout.text(), -1)
		if time.Now().After(deadline) {
			t.Fatalf("it never listened: %s%s", stdout.text(), stderr.text())
		}
		select {
		case got := <-code:
			t.Fatalf("it ended with %d: %s", got, stderr.text())
		case <-time.After(10 * time.Millisecond):
		}
	}
	fetch := func(url string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		content, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(content)
	}
	if status, text := fetch("http://" + addresses[0][1] + "/metrics"); status != http.StatusOK || !strings.Contains(text, "\npayword_clearing_unmatched_entries 0\n") {
		t.Errorf("metrics: got status %d: %s", status, text)
	}
	if status, text := fetch("http://" + addresses[1][1] + "/"); status != http.StatusOK || !strings.Contains(text, "Administration token") {
		t.Errorf("pages: got status %d: %s", status, text)
	}
	if status, _ := fetch("http://" + addresses[1][1] + "/metrics"); status != http.StatusNotFound {
		t.Errorf("metrics beside the pages: got status %d", status)
	}
	stop()
	if got := <-code; got != 0 {
		t.Errorf("it ended with %d: %s", got, stderr.text())
	}
}

func TestServeRefusesFlags(t *testing.T) {
	location, out, operators, open := newDatabase(t), t.TempDir(), operatorsFile(t), operatorsFile(t)
	if err := os.Chmod(open, 0o640); err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name string
		args []string
		want string
	}{
		{"no folder", []string{"--operators", operators}, "--out is missing"},
		{"no operators", []string{"--out", out}, "--operators is missing"},
		{"a file that is not there", []string{"--out", out, "--operators", out + "/x"}, "--operators"},
		{"tokens that others may read", []string{"--out", out, "--operators", open}, "make it 0600"},
		{"another address", []string{"--out", out, "--operators", operators, "--listen", "0.0.0.0:0"}, "--behind-tls"},
		{"a name", []string{"--out", out, "--operators", operators, "--listen", "clearing.example:8404"}, "--behind-tls"},
		{"no port", []string{"--out", out, "--operators", operators, "--listen", "127.0.0.1"}, "--listen"},
		{"no folder there", []string{"--out", out + "/x", "--operators", operators}, "does not exist"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			code, _, stderr := command(t, append([]string{"serve", "--db", location}, c.args...)...)
			if code != 2 || !strings.Contains(stderr, c.want) {
				t.Errorf("got exit %d and %q, want 2 and something with %q", code, stderr, c.want)
			}
		})
	}
}
