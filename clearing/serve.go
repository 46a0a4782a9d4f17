package clearing

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/internal/webserver"
)

const (
	// headerTimeout is how long the head of a request may take to arrive.
	headerTimeout = 10 * time.Second
	// idleTimeout is how long a connection may wait for its next request.
	idleTimeout = 2 * time.Minute
	// shutdownTimeout is how long requests in flight may take to end.
	shutdownTimeout = 15 * time.Second
	// answerTimeout is how long a request may take in all: the upload of a file
	// takes the longest.
	answerTimeout = 6 * time.Minute
	// maxHeaderBytes bounds the head of a request: a cookie and whatever a proxy
	// adds.
	maxHeaderBytes = 16 << 10
)

// servingFlags are those of "serve" alone.
type servingFlags struct {
	listen, metrics string
	cards           cardsServing
	isBehindTLS     bool
	operators       []Operator
}

func (c *command) serveFlags(flags *flag.FlagSet) {
	c.policyFlag(flags)
	c.signingFlags(flags)
	flags.StringVar(&c.config.Directory, "out", "", "the `DIR` that runs write their files to, which must exist")
	flags.StringVar(&c.operatorsFile, "operators", "", "the `FILE` of operators, a line \"name token\" or \"name token read-only\" for each")
	flags.StringVar(&c.serving.listen, "listen", "127.0.0.1:8404", "`ADDRESS` and port to listen on, for a TLS proxy in front")
	flags.BoolVar(&c.serving.isBehindTLS, "behind-tls", false, "say that a proxy in front of another address than this machine's own speaks TLS")
	c.serving.cards.flags(flags)
	flags.StringVar(&c.serving.metrics, "metrics", "", "`ADDRESS` and port to serve Prometheus metrics on, at /metrics; not for the public")
}

func (c *command) checkServe() error {
	switch {
	case c.config.Directory == "":
		return errors.New("--out is missing: name the folder for the files, such as --out settlements")
	case c.operatorsFile == "":
		return errors.New("--operators is missing: name the file that the operators stand in")
	case !c.serving.isBehindTLS && !isLoopbackAddress(c.serving.listen):
		return fmt.Errorf("--listen %q: operators sign in with tokens, which only TLS keeps secret: listen on 127.0.0.1 behind a proxy, or say with --behind-tls that one is in front", c.serving.listen)
	}
	if err := c.serving.cards.check(c.serving.isBehindTLS); err != nil {
		return err
	}
	var err error
	if c.serving.operators, err = readOperators(c.operatorsFile); err != nil {
		return err
	}
	return errors.Join(c.readPolicy(), c.readSigner())
}

// isLoopbackAddress reports whether an address and port is of this machine alone.
func isLoopbackAddress(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// serve answers until ctx is done. A run that is going on then is broken off
// between two lines and can be gone on with.
func (c *command) serve(ctx context.Context, db *ledger.DB) error {
	log := slog.New(slog.NewJSONHandler(c.stderr, nil))
	clearer, err := c.serving.cards.open(ctx, db)
	if err != nil {
		return err
	}
	server, err := NewServer(ctx, ServerConfig{DB: db, Config: c.config, Operators: c.serving.operators, Database: c.database, Cards: clearer, Logger: log})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	if err = c.listen(ctx, group, c.serving.metrics, " for metrics", server.MetricsHandler(), log); err == nil {
		err = c.serveCards(ctx, group, clearer, log)
	}
	if err == nil {
		err = c.listen(ctx, group, c.serving.listen, "", server.Handler(), log)
	}
	group.Go(func() error { return err }) // ends the other one
	group.Go(func() error { return server.forgetSessions(ctx) })
	return errors.Join(group.Wait(), server.Close())
}

// listen serves the handler at the address until ctx is done; at "" nothing.
func (c *command) listen(ctx context.Context, group *errgroup.Group, address, what string, handler http.Handler, log *slog.Logger) error {
	if address == "" {
		return nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listening%s on %q: %w; want an address and a free port such as 127.0.0.1:8404", what, address, err)
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		// A body that nobody reads is drained before the next request.
		ReadTimeout: answerTimeout, WriteTimeout: answerTimeout, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	group.Go(func() error { return webserver.Serve(ctx, server, listener, shutdownTimeout) })
	// Whoever starts the server waits for this line, and reads the port from it if
	// it asked for port 0.
	_, err = fmt.Fprintf(c.stdout, "payword clearing listens%s on %s\n", what, listener.Addr())
	return err
}

// forgetInterval is how often sessions are deleted whose time is over.
const forgetInterval = time.Hour

// forgetSessions deletes sessions whose time is over, until ctx is done.
func (s *Server) forgetSessions(ctx context.Context) error {
	ticker := time.NewTicker(forgetInterval)
	defer ticker.Stop()
	for {
		if err := s.sessions().Forget(ctx, s.clock().Unix()); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "sessions were not deleted", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
