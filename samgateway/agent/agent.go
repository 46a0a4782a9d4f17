// Package agent is what runs beside a holder's own card reader. Sites that the
// holder has paired ask it to pay, fund, load or unload; it shows what they want
// on a page of its own, and only the holder's yes there lets a gateway talk to the
// card, by package relay.
//
// It listens on this machine alone. Still every page in the holder's browser can
// reach it, so each request is checked for where it comes from: the name that the
// browser thinks it talks to (Host), the site (Origin), and the site's token.
package agent

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/paywordhq/payword/samgateway/relay"
	"github.com/paywordhq/payword/samgateway/smartcard"
)

const (
	// requestLife is how long a request waits for the holder: long enough to find
	// the card and to read what is asked for.
	requestLife = 3 * time.Minute
	// maxKept is how many requests can still be asked about, the newest.
	maxKept = 32
	// maxBodyBytes bounds what sites and the page send: a request has about 600.
	maxBodyBytes = 4 << 10
	// maxHeaderBytes bounds the headers, which browsers fill with some hundreds.
	maxHeaderBytes = 8 << 10
	// maxConnections bounds who can make the agent hold memory at once.
	maxConnections = 64
	// stopTimeout is how long open requests are waited for at the end.
	stopTimeout = 3 * time.Second
)

// Config is what an agent needs.
type Config struct {
	// Reader is where the holder puts the card.
	Reader smartcard.Reader
	// State is the file of the sites that are paired and of what is not decided
	// yet. It is made with mode 0600, and only one agent can use it.
	State string
	// Client calls gateways; nil means relay.NewClient(nil).
	Client *http.Client
	// Limits of a session; zero values are the usual ones.
	Limits relay.Limits
	// Notify is told, in a sentence, that the holder should look at the page; nil:
	// nobody is.
	Notify func(sentence string)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Log takes what went wrong in the agent itself. Nothing of the card and no PIN
	// is in it.
	Log *slog.Logger
}

// Agent is a reader at home. It is made by New and works in Run.
type Agent struct {
	config Config
	store  *store
	port   int
	key    string // in the address of the holder's page, which nobody else knows
	jobs   chan job
	card   sync.Mutex // held by whoever talks to the card

	mutex    sync.Mutex // guards what follows
	requests []*request // the oldest first
	pairing  *pairing
	isBusy   bool // a job is in the queue or at work
	notice   string
}

// New opens the file of state and makes the address of the holder's page.
// filelock.ErrLocked means that another agent uses the file.
func New(config Config) (*Agent, error) {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Client == nil {
		config.Client = relay.NewClient(nil)
	}
	if config.Notify == nil {
		config.Notify = func(string) {}
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	opened, err := openStore(config.State)
	if err != nil {
		return nil, err
	}
	return &Agent{config: config, store: opened, key: secret(), jobs: make(chan job, 1)}, nil
}

// Close lets another agent use the file of state.
func (a *Agent) Close() error { return a.store.close() }

// Listen listens on a port of 127.0.0.1, where nobody but this machine can
// connect. Port 0 takes any.
func (a *Agent) Listen(port int) (net.Listener, error) {
	return net.Listen("tcp4", net.JoinHostPort("127.0.0.1", fmt.Sprint(port)))
}

// Address is that of the holder's page, once there is a listener. Whoever has it
// can say yes: it is for the holder's eyes.
func (a *Agent) Address(listener net.Listener) string {
	return "http://" + listener.Addr().String() + a.pagePath()
}

func (a *Agent) pagePath() string { return "/holder/" + a.key + "/" }

// Run serves sites and the holder's page until ctx is done. A session with a
// gateway that is going on is cut then, and what became of it is found out the
// next time.
func (a *Agent) Run(ctx context.Context, listener net.Listener) error {
	address, isTCP := listener.Addr().(*net.TCPAddr)
	if !isTCP || !address.IP.IsLoopback() {
		return errors.New("an agent listens on 127.0.0.1 alone")
	}
	a.port = address.Port
	server := &http.Server{
		Handler: a.handler(), MaxHeaderBytes: maxHeaderBytes,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(a.config.Log.Handler(), slog.LevelWarn),
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := server.Serve(newLimitedListener(listener, maxConnections))
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
	group.Go(func() error {
		<-ctx.Done()
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if err := server.Shutdown(stopping); err != nil {
			return server.Close()
		}
		return nil
	})
	group.Go(func() error { a.work(ctx); return nil })
	return group.Wait()
}

// secret returns 32 random bytes as text.
func secret() string {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(random[:])
}

// hashOf is what is kept of a token: whoever reads the file cannot be the site.
func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// isOwnHost reports whether a browser knows that it talks to this machine.
func (a *Agent) isOwnHost(host string) bool {
	return host == fmt.Sprintf("127.0.0.1:%d", a.port) || host == fmt.Sprintf("localhost:%d", a.port)
}

// handler is all that the agent answers. A name that is not this machine's means
// that a site had its own name point here (DNS rebinding), whose pages the browser
// would then take for the agent's.
func (a *Agent) handler() http.Handler {
	sites, holder := a.siteRoutes(), a.holderRoutes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		if !a.isOwnHost(r.Host) {
			http.Error(w, "this is not the name of the agent", http.StatusMisdirectedRequest)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
		if strings.HasPrefix(r.URL.Path, "/v1/") {
			sites.ServeHTTP(w, r)
			return
		}
		holder.ServeHTTP(w, r)
	})
}

// limitedListener takes only so many connections at once.
type limitedListener struct {
	net.Listener
	slots chan struct{}
}

func newLimitedListener(listener net.Listener, most int) net.Listener {
	return &limitedListener{listener, make(chan struct{}, most)}
}

// Accept turns away who is one too many.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
			return &limitedConn{Conn: conn, leave: sync.OnceFunc(func() { <-l.slots })}, nil
		default:
			_ = conn.Close() // it was never used
		}
	}
}

type limitedConn struct {
	net.Conn
	leave func()
}

// Close makes room for another.
func (c *limitedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
