package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/samgateway"
	"github.com/paywordhq/payword/samgateway/pcsc"
)

// programVariable makes this test binary one of the programs, so that what serves
// are processes, with arguments that everybody on the machine can read.
const programVariable = "PAYWORD_TEST_PROGRAM"

func TestMain(m *testing.M) {
	ctx, arguments := context.Background(), os.Args[1:]
	switch os.Getenv(programVariable) {
	case "samgateway":
		main()
	case "payword":
		switch arguments[0] {
		case "broker":
			os.Exit(broker.Main(ctx, arguments[1:], os.Stdin, os.Stdout, os.Stderr))
		case "wallet":
			os.Exit(client.Main(ctx, arguments, os.Stdin, os.Stdout, os.Stderr))
		}
		os.Exit(clearing.Main(ctx, arguments[1:], os.Stdout, os.Stderr))
	}
	// Under the race detector a process waits for a second when it ends, so that
	// reports come out; there are many here, and they print theirs at once.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	os.Exit(runTests(m))
}

// shop is a folder in which the programs run: a broker, clearing, a gateway. All
// that they print is kept in the folder.
type shop struct {
	t       *testing.T
	folder  string
	mutex   sync.Mutex // guards said
	said    bytes.Buffer
	running []*exec.Cmd
}

func newShop(t *testing.T) *shop { return &shop{t: t, folder: t.TempDir()} }

// Write implements io.Writer: it keeps what a program prints.
func (s *shop) Write(text []byte) (int, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.said.Write(text)
}

func (s *shop) path(name string) string { return filepath.Join(s.folder, name) }

// write writes a file of the folder that nobody else may read.
func (s *shop) write(name, text string) string {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return s.path(name)
}

// run runs a program to its end, in this process for time, and returns its exit
// code and what it printed.
func (s *shop) run(name string, arguments ...string) (code int, said string) {
	s.t.Helper()
	var output bytes.Buffer
	code = s.runWith(strings.NewReader(""), &output, name, arguments...)
	return code, output.String()
}

func (s *shop) runWith(stdin io.Reader, output io.Writer, name string, arguments ...string) (code int) {
	ctx, output := s.t.Context(), io.MultiWriter(output, s)
	switch {
	case name == "samgateway":
		return samgateway.Main(ctx, pcsc.Readers{}, arguments, stdin, output, output)
	case arguments[0] == "broker":
		return broker.Main(ctx, arguments[1:], stdin, output, output)
	}
	return clearing.Main(ctx, arguments[1:], output, output)
}

// want is run, and the program must end well and print that.
func (s *shop) want(printed, name string, arguments ...string) string {
	s.t.Helper()
	code, said := s.run(name, arguments...)
	if code != 0 || !strings.Contains(said, printed) {
		s.t.Fatalf("%s %s: exit code %d, %q; want %q", name, strings.Join(arguments, " "), code, said, printed)
	}
	return said
}

// serve starts a program that serves, in a process of its own, and waits until a page of it answers.
func (s *shop) serve(ready, name string, arguments ...string) {
	s.t.Helper()
	executable, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	command := exec.CommandContext(s.t.Context(), executable, arguments...)
	command.Dir, command.Env = s.folder, append(os.Environ(), programVariable+"="+name)
	command.Stdout, command.Stderr = s, s
	if err := command.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(ended)
	}()
	s.running = append(s.running, command)
	s.t.Cleanup(func() {
		_ = command.Process.Kill()
		<-ended
	})
	deadline := time.After(30 * time.Second)
	for {
		request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, ready, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		if answer, err := http.DefaultClient.Do(request); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode < http.StatusInternalServerError {
				return
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ended:
			s.t.Fatalf("%s ended before it answered: %s", name, s.text())
		case <-deadline:
			s.t.Fatalf("%s does not answer: %s", name, s.text())
		}
	}
}

// text returns what was printed so far.
func (s *shop) text() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.said.String()
}

func (s *shop) address() string { return freeAddress(s.t) }

// freeAddress returns an address of this machine that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return address
}
