package webserver_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/paywordhq/payword/internal/webserver"
)

// serve serves a handler, and asks it something.
func serve(t *testing.T, patience time.Duration, handler http.HandlerFunc) (stop context.CancelFunc, ended <-chan error, status <-chan int) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served, answered := make(chan error, 1), make(chan int, 1)
	go func() { served <- webserver.Serve(ctx, &http.Server{Handler: handler}, listener, patience) }()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+listener.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			answered <- 0
			return
		}
		_ = answer.Body.Close()
		answered <- answer.StatusCode
	}()
	return stop, served, answered
}

func TestWhatIsInFlightEnds(t *testing.T) {
	began, goOn := make(chan struct{}), make(chan struct{})
	stop, ended, status := serve(t, time.Minute, func(w http.ResponseWriter, _ *http.Request) {
		close(began)
		<-goOn
		w.WriteHeader(http.StatusTeapot)
	})
	<-began
	stop()
	close(goOn)
	if got := <-status; got != http.StatusTeapot {
		t.Errorf("the request in flight got status %d", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestPatienceEnds(t *testing.T) {
	began, goOn := make(chan struct{}), make(chan struct{})
	stop, ended, status := serve(t, time.Millisecond, func(http.ResponseWriter, *http.Request) {
		close(began)
		<-goOn
	})
	<-began
	stop()
	if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(goOn)
	<-status
}

func TestALostListenerIsAnError(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := webserver.Serve(t.Context(), &http.Server{}, listener, time.Minute); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
