package broker

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

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/filelock"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

const (
	// headerTimeout is how long the head of a request may take to arrive. The
	// body has a time of its own (bodyTimeout).
	headerTimeout = 10 * time.Second
	// idleTimeout is how long a connection may wait for its next request.
	idleTimeout = 2 * time.Minute
	// shutdownTimeout is how long requests in flight may take to end.
	shutdownTimeout = 15 * time.Second
	// maxHeaderBytes bounds the head of a request: three signature fields and
	// whatever a proxy adds.
	maxHeaderBytes = 16 << 10
)

type servingFlags struct {
	origin, listen, currency, keyFile, tokenFile string
	adminListen                                  string
	otherKeys, stripeFiles                       []string
	limit, whiteCeiling                          string
	grace, life, keyLead                         time.Duration
	destinationDelay, pullInterval               time.Duration
	loopback                                     bool
	metrics                                      string
	perMinute                                    int
	proxies                                      []netip.Prefix
	drain                                        time.Duration
}

func (c *command) serveFlags(flags *flag.FlagSet) {
	f := &c.serving
	c.databaseFlag(flags)
	c.requestFlags(flags)
	flags.StringVar(&f.origin, "origin", "", "the broker's own `URL` as others see it, such as https://broker.example")
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8402", "`ADDRESS` and port to listen on, for a TLS proxy in front")
	flags.StringVar(&f.adminListen, "admin-listen", "", "`ADDRESS` and port for /admin/ and /v1/admin/ alone, such as 127.0.0.1:8403; then --listen does not serve them")
	flags.StringVar(&f.keyFile, "key", "", "the signing key's `FILE`, made with \"payword broker key\", or a directory of them (*.key) that take turns")
	flags.StringVar(&c.passphraseFile, "passphrase-file", "", "`FILE` whose first line is the passphrase of encrypted keys; without it a terminal is asked")
	flags.DurationVar(&f.keyLead, "key-lead", defaultKeyLead, "how long a new key of the directory is published before it signs")
	flags.Func("other-key", "`FILE` of a further key to publish, an older or a coming one, private or public (repeatable)", func(path string) error {
		f.otherKeys = append(f.otherKeys, path)
		return nil
	})
	flags.StringVar(&f.tokenFile, "admin-token", "", "`FILE` with the administration token, or a line \"name token\" for each operator; without it administration is closed")
	flags.Func("stripe-secret", "`FILE` with the signing secret of an endpoint at Stripe that posts to /v1/payments/stripe (repeatable, while one replaces another)", func(path string) error {
		f.stripeFiles = append(f.stripeFiles, path)
		return nil
	})
	flags.StringVar(&f.currency, "currency", "USD", "ISO 4217 `CODE` of the broker's currency")
	flags.StringVar(&f.limit, "limit", "20", "the most that one vendor may accept from one user in a day, as `AMOUNT`")
	flags.StringVar(&f.whiteCeiling, "white-ceiling", "150", "the most that an account tied to nobody may hold, as `AMOUNT`")
	flags.DurationVar(&f.grace, "grace", defaultGrace, "how long after a commitment's expiry claims are paid")
	flags.DurationVar(&f.life, "certificate-life", defaultCertificateLife, "how long a certificate is valid")
	flags.DurationVar(&f.destinationDelay, "destination-delay", defaultDestinationDelay, "how long a payout destination that a vendor asks for waits before it counts")
	flags.DurationVar(&f.pullInterval, "pull-interval", defaultPullInterval, "how often claims are fetched from each vendor that asks for it")
	flags.BoolVar(&f.loopback, "allow-loopback-vendors", false, "let vendors on this machine register, for demonstrations")
}

// serve runs the broker until ctx is done.
func (c *command) serve(ctx context.Context) error {
	config, err := c.servingConfig()
	if err != nil {
		return err
	}
	unlock, err := lockDatabase(config.Database)
	if err != nil {
		return err
	}
	defer unlock()
	b, err := New(ctx, config)
	if err != nil {
		return err
	}
	listeners, err := c.listen(b)
	if err != nil {
		return errors.Join(err, b.Close())
	}
	b.drain = c.serving.drain
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		c.keyFiles.watch(watching, b)
	}()
	defer func() {
		stop()
		<-watched
	}()
	return errors.Join(b.serve(ctx, listeners), b.Close())
}

// listener is an address and what is served there.
type listener struct {
	net.Listener
	handler http.Handler
}

// listen opens the addresses that the flags name and says so.
func (c *command) listen(b *Broker) (opened []listener, err error) {
	defer func() {
		for _, l := range opened {
			if err != nil {
				err = errors.Join(err, l.Close())
			}
		}
	}()
	open := func(address, what string, handler http.Handler) error {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("listening%s on %q: %w; want an address and a free port such as 127.0.0.1:8402", what, address, err)
		}
		opened = append(opened, listener{l, handler})
		// Whoever starts the broker waits for this line, and reads the port from
		// it if it asked for port 0.
		_, err = fmt.Fprintf(c.stdout, "payword broker of %s listens%s on %s\n", b.config.Issuer, what, l.Addr())
		return err
	}
	if c.serving.metrics != "" {
		if err := open(c.serving.metrics, " for metrics", b.metricsMux()); err != nil {
			return opened, err
		}
	}
	if c.serving.adminListen == "" {
		err = open(c.serving.listen, "", b.Handler())
		return opened, err
	}
	if err = open(c.serving.listen, "", b.PublicHandler()); err == nil {
		err = open(c.serving.adminListen, " for administration", b.AdminHandler())
	}
	return opened, err
}

// lockDatabase keeps a second broker from an SQLite file, which is one
// machine's. Brokers share a PostgreSQL database.
func lockDatabase(location string) (unlock func(), err error) {
	if ledger.IsPostgreSQL(location) {
		return func() {}, nil
	}
	lock, err := filelock.Lock(location + ".lock")
	if errors.Is(err, filelock.ErrLocked) {
		return nil, fmt.Errorf("another broker serves from %s: end that one first", location)
	}
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", location, err)
	}
	return func() { _ = lock.Close() }, nil // the process's end unlocks it, too
}

// servingConfig turns the flags into a Config. Its errors are mistakes of
// whoever called.
func (c *command) servingConfig() (Config, error) {
	f := c.serving
	if err := c.require("db", "origin", "key"); err != nil {
		return Config{}, err
	}
	config := Config{
		Issuer: f.origin, Database: c.database, Grace: f.grace, CertificateLife: f.life, AllowLoopbackVendors: f.loopback, KeyLead: f.keyLead,
		RequestsPerMinute: f.perMinute, TrustedProxies: f.proxies,
		DestinationDelay: f.destinationDelay, PullInterval: f.pullInterval,
		Logger: slog.New(slog.NewJSONHandler(c.stderr, nil)),
	}
	if err := payword.CheckOrigin(f.origin); err != nil {
		return config, usage("--origin: %v", err)
	}
	var err error
	if config.Currency, err = money.CurrencyFromCode(f.currency); err != nil {
		return config, usage("--currency: %v", err)
	}
	config.CertificateLimit, err = money.ParseDecimal(f.limit)
	if err != nil || config.CertificateLimit < 1 {
		return config, usage("--limit %q: want a number above 0 such as 20.00", f.limit)
	}
	if f.adminListen != "" && f.tokenFile == "" {
		return config, usage("--admin-listen needs --admin-token: without it administration is closed")
	}
	if f.perMinute < 1 || f.drain < 0 {
		return config, usage("--requests-per-minute: want at least 1; --drain: want no negative time")
	}
	config.WhiteCeiling, err = money.ParseDecimal(f.whiteCeiling)
	if err != nil || config.WhiteCeiling < 1 {
		return config, usage("--white-ceiling %q: want a number above 0 such as 150.00", f.whiteCeiling)
	}
	if f.grace < time.Second || f.life < time.Second || f.keyLead < time.Second {
		return config, usage("--grace, --certificate-life and --key-lead: want at least 1s")
	}
	if f.destinationDelay < time.Second || f.pullInterval < time.Second {
		return config, usage("--destination-delay and --pull-interval: want at least 1s")
	}
	if f.tokenFile != "" {
		if config.AdminToken, config.Operators, err = readTokens(f.tokenFile); err != nil {
			return config, err
		}
	}
	if len(f.stripeFiles) > 0 {
		if config.PaymentServices, err = loadStripe(f.stripeFiles, config.Currency); err != nil {
			return config, err
		}
	}
	return config, c.loadKeys(&config)
}

// serve answers on the listeners and does the background work until ctx is done;
// then it lets requests in flight end.
func (b *Broker) serve(ctx context.Context, listeners []listener) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return b.Run(ctx) })
	for _, l := range listeners {
		b.serveOn(ctx, group, l)
	}
	return group.Wait()
}

// serveOn answers on one listener until ctx is done.
func (b *Broker) serveOn(ctx context.Context, group *errgroup.Group, l listener) {
	server := &http.Server{
		Handler: l.handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		// Writing may begin after the whole time that reading and working may
		// take.
		WriteTimeout: bodyTimeout + requestTimeout + headerTimeout,
		ErrorLog:     slog.NewLogLogger(b.log.Handler(), slog.LevelWarn),
	}
	group.Go(func() error { return serveUntilClosed(server, l) })
	group.Go(func() error {
		<-ctx.Done()
		b.Drain()
		time.Sleep(b.drain)
		deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		return server.Shutdown(deadline)
	})
}

func serveUntilClosed(server *http.Server, listener net.Listener) error {
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// requestFlags are about who may send how much.
func (c *command) requestFlags(flags *flag.FlagSet) {
	f := &c.serving
	flags.StringVar(&f.metrics, "metrics", "", "`ADDRESS` and port to serve Prometheus metrics on, at /metrics; not for the public")
	flags.IntVar(&f.perMinute, "requests-per-minute", defaultRequestsPerMinute, "the most `REQUESTS` of one key, and of one address, in a minute")
	flags.Func("trusted-proxy", "`NETWORK` of a proxy whose X-Forwarded-For says where requests come from, such as 127.0.0.1/32 (repeatable)", func(text string) error {
		proxies, err := netip.ParsePrefix(text)
		if err != nil {
			return errors.New("want a network such as 127.0.0.1/32 or 2001:db8::/64")
		}
		f.proxies = append(f.proxies, proxies)
		return nil
	})
	flags.DurationVar(&f.drain, "drain", 0, "how long to go on serving after /readyz says that the process is about to end")
}
