// Package kiosk is a page for a screen beside a card reader: somebody puts a
// purse card in, sees what is on it, loads it, funds an account of the broker or
// takes the money off again, and pulls the card out.
//
// The dialogue is kept here, not in the page: there is one screen at a time, the
// page is told which by server-sent events, and it answers to that screen alone.
// So whatever comes late, such as a tap just after the card was pulled, never
// acts on the next card.
package kiosk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/paywordhq/payword/samgateway/smartcard"
)

const (
	// idleTime is how long a screen waits for somebody before it asks whether
	// anybody is still there.
	idleTime = 60 * time.Second
	// warningTime is how long that question is shown. WCAG 2.2 wants 20 seconds or
	// more.
	warningTime = 20 * time.Second
	// retryInterval is how long a kiosk without its reader waits before it looks
	// again.
	retryInterval = 2 * time.Second
	// shutdownTimeout is how long requests may take when the server ends.
	shutdownTimeout = 2 * time.Second
)

// Config is what a kiosk needs.
type Config struct {
	// Find returns the reader that customers put their cards into. It is asked
	// again whenever the reader was gone.
	Find func(ctx context.Context) (smartcard.Reader, error)
	// Desk does with cards what customers ask for.
	Desk Desk
	// Language is the one that the kiosk speaks until somebody chooses another:
	// "en", "de" or "fr". Empty is "en".
	Language string
	// Location is where times of the day are told; nil is that of the machine.
	Location *time.Location
	// Log takes what went wrong, for the operator. It is never told a PIN; what the
	// desk says of an error may name a card or an account.
	Log *slog.Logger
}

// Kiosk is one reader, one card at most in it, and one screen. Its methods may be
// called by several goroutines.
type Kiosk struct {
	config     Config
	mux        *http.ServeMux
	unattended *phrases // the language when nobody is there

	answers chan answer   // to the screen that is shown; at most one
	touched chan struct{} // somebody is at the page

	open *unknown // what the last card in whose middle it was pulled was doing; Run's

	mu       sync.Mutex
	now      shown
	language *phrases
	pages    map[chan struct{}]struct{} // each is told that there is something new
}

// New makes a kiosk. An error says what is wrong with the configuration.
func New(config Config) (*Kiosk, error) {
	if config.Find == nil || config.Desk == nil {
		return nil, errors.New("a kiosk without a reader or without a desk")
	}
	if config.Language == "" {
		config.Language = languages[0].tag.String()
	}
	spoken, err := findLanguage(config.Language)
	if err != nil {
		return nil, fmt.Errorf("language of the kiosk %w", err)
	}
	if config.Location == nil {
		config.Location = time.Local
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	k := &Kiosk{
		config: config, unattended: spoken, language: spoken,
		answers: make(chan answer, 1), touched: make(chan struct{}, 1), pages: make(map[chan struct{}]struct{}),
	}
	k.route()
	k.leave(startScreen)
	return k, nil
}

// Listen opens the address that the page is served at, such as "127.0.0.1:8437".
// It refuses what others than this machine could reach, since whoever reaches
// the page sees what is on the card.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address of the kiosk %.60q: want an address of this machine and a port, such as 127.0.0.1:8437", address)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("address of the kiosk %.60q: others could reach it; want 127.0.0.1, [::1] or localhost", address)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for the kiosk: %w", err)
	}
	return listener, nil
}

// Serve runs the kiosk and serves its page until ctx is done, which is no error.
// It closes the listener.
func (k *Kiosk) Serve(ctx context.Context, listener net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	server := &http.Server{
		Handler: k, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx }, // streams end with it
		ErrorLog:    slog.NewLogLogger(k.config.Log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	ran := make(chan struct{})
	go func() { defer close(ran); k.Run(ctx) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
	}
	stop()
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if ended := server.Shutdown(ending); ended != nil {
		server.Close()
	}
	<-ran
	if err != nil {
		return fmt.Errorf("serving the kiosk: %w", err)
	}
	return nil
}

// Run waits for cards and talks to whoever put one in, until ctx is done.
func (k *Kiosk) Run(ctx context.Context) {
	for ctx.Err() == nil {
		reader, err := k.config.Find(ctx)
		if err == nil {
			err = k.attend(ctx, reader)
		}
		if ctx.Err() != nil {
			return
		}
		k.config.Log.Error("the kiosk cannot use its reader", "error", err)
		k.leave(outOfOrderScreen)
		select {
		case <-ctx.Done():
		case <-time.After(retryInterval):
		}
	}
}

// attend serves one card after another until the reader is gone.
func (k *Kiosk) attend(ctx context.Context, reader smartcard.Reader) error {
	rest := startScreen
	for ctx.Err() == nil {
		if err := k.awaitCard(ctx, reader, rest); err != nil {
			return err
		}
		var err error
		if rest, err = k.serveCard(ctx, reader); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// awaitCard shows a screen for when no card is in the reader, and returns when
// one is. Whatever the screen says of the last card it says for a while only.
func (k *Kiosk) awaitCard(ctx context.Context, reader smartcard.Reader, rest screen) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	present := make(chan error, 1)
	go func() { present <- reader.Wait(ctx, true) }()
	defer func() { stop(); <-present }() // one watcher of a reader at a time
	k.leave(rest)
	idle := time.NewTimer(idleTime)
	defer idle.Stop()
	for {
		select {
		case err := <-present:
			present <- nil // for the deferred look
			return err
		case <-k.touched:
			idle.Reset(idleTime)
		case <-idle.C:
			k.leave(startScreen)
		case a := <-k.answers: // such as that a message was read
			a.wipe()
			k.leave(startScreen)
			idle.Reset(idleTime)
		}
	}
}
