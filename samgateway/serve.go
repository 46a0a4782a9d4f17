package samgateway

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/paywordhq/payword/internal/purse"
	"github.com/paywordhq/payword/internal/webserver"
	"github.com/paywordhq/payword/samgateway/relay"
	"github.com/paywordhq/payword/samgateway/terminal"
)

// What the HTTP server does to clients that are too slow or say too much.
const (
	headerTimeout  = 10 * time.Second
	answerTimeout  = 30 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
	// shutdownTimeout is how long what is going on may take when the server ends: a
	// payment takes a second.
	shutdownTimeout = 20 * time.Second
)

// How often what is done in the background is done.
const (
	// roundInterval is between two looks at what waits: a card that is awaited holds
	// up the next customer.
	roundInterval = 5 * time.Second
	// maxRoundInterval is what it grows to while nothing works.
	maxRoundInterval = 5 * time.Minute
	// turnInInterval is between two tries to turn a batch in that clearing did not
	// take.
	turnInInterval = 10 * time.Minute
	// nearLimitPercent is from when on a batch is turned in before its day is over,
	// so that no customer waits for it.
	nearLimitPercent = 80
	// nearFullRecords is from how many records on it is, for the same reason.
	nearFullRecords = purse.MaxRecords / 100 * nearLimitPercent
)

// defineServe is the command serve.
func defineServe(c *command, flags *flag.FlagSet) func(context.Context) error {
	s := c.settingsFlags(flags, cardSettings|samSettings|hostSettings|serveSettings)
	return func(ctx context.Context) error {
		if err := s.complete("clearing", "broker", "load-terminal"); err != nil {
			return err
		}
		return c.serve(ctx, s)
	}
}

// gateway is a till that serves.
type gateway struct {
	*till
	*command
	settings    *settings
	log         *slog.Logger
	closingTime time.Duration // since midnight, UTC

	mutex  sync.Mutex // guards seen
	seen   gatewayState
	counts counts
}

// gatewayState is what the rounds in the background have seen.
type gatewayState struct {
	round, goodRound time.Time // the last ones
	batch            purse.SAMData
	undecided        []terminal.Undecided
	turnedIn         time.Time // when clearing took a batch the last time
	emptied          time.Time // when the batch was seen without anything in it the last time
	turnInFailed     time.Time // when it did not; zero: it did
	isLost           bool      // the last round failed
}

// serve holds SAM and journal until ctx is done. Killed at any moment it goes on
// where it was when it is started again.
func (c *command) serve(ctx context.Context, s *settings) error {
	log := slog.New(slog.NewJSONHandler(c.stderr, nil))
	closingTime, err := parseClosingTime(s.closingTime)
	if err != nil {
		return err
	}
	t, err := c.openTill(ctx, s, log)
	if err != nil {
		return err
	}
	g := &gateway{till: t, command: c, settings: s, log: log, closingTime: closingTime}
	return errors.Join(g.run(ctx), t.close())
}

func (g *gateway) run(ctx context.Context) error {
	// What a killed process has left is decided before anybody comes.
	g.round(ctx, g.terminal.ResolveAll)
	group, ctx := errgroup.WithContext(ctx)
	homes := relay.NewGateway(&relayDesk{gateway: g}, relay.Limits{}, g.log)
	err := g.listen(ctx, group, g.settings.metrics, " for metrics", g.monitorHandler(), func() {})
	if err == nil {
		err = g.listen(ctx, group, g.settings.relay, " for readers at home", homes, homes.Close)
	}
	if err == nil {
		err = g.serveKiosk(ctx, group)
	}
	group.Go(func() error { return err }) // ends the others
	group.Go(func() error { return g.keepRounds(ctx) })
	if err == nil {
		// Whoever starts it waits for this line.
		fmt.Fprintf(g.stdout, "samgateway of merchant %s serves\n", g.state().batch.Merchant)
	}
	return group.Wait()
}

// listen serves the handler at the address until ctx is done; at "" nothing.
// hangUp ends what has left the server's hands.
func (g *gateway) listen(ctx context.Context, group *errgroup.Group, address, what string, handler http.Handler, hangUp func()) error {
	if address == "" {
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listening%s on %q: %w; want an address and a free port such as 127.0.0.1:8405", what, address, err)
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: answerTimeout, WriteTimeout: answerTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelWarn),
	}
	group.Go(func() error {
		err := webserver.Serve(ctx, server, listener, shutdownTimeout)
		hangUp()
		return err
	})
	// Whoever asked for port 0 reads the port from this line.
	_, err = fmt.Fprintf(g.stdout, "samgateway listens%s on %s\n", what, listener.Addr())
	return err
}

// keepRounds does what is due until ctx is done. While nothing works it does so
// less and less often.
func (g *gateway) keepRounds(ctx context.Context) error {
	interval := roundInterval
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
		if g.round(ctx, g.terminal.Resolve) {
			interval = roundInterval
		} else {
			interval = min(2*interval, maxRoundInterval)
		}
	}
}

// round decides and repeats what it can, and turns the batch in if it is time. It
// reports whether the SAM and the journal did their part: that clearing or broker
// cannot be reached is no reason to look less often, since the terminal knows by
// itself when to ask again.
func (g *gateway) round(ctx context.Context, resolve func(context.Context) ([]terminal.Outcome, error)) (isGood bool) {
	outcomes, err := resolve(ctx)
	g.endings.keep(outcomes)
	if err != nil && ctx.Err() == nil {
		g.log.WarnContext(ctx, "not all that waits could be done", "error", err.Error())
	}
	batch, err := g.terminal.SAM(ctx)
	if err == nil && isTurnInDue(batch, g.state(), g.now(), g.closingTime) {
		g.turnIn(ctx)
		batch, err = g.terminal.SAM(ctx)
	}
	var undecided []terminal.Undecided
	if err == nil {
		undecided, err = g.terminal.Undecided(ctx)
	}
	if err != nil && ctx.Err() == nil {
		g.log.ErrorContext(ctx, "the SAM or the journal does not answer", "error", err.Error())
	}
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.seen.round, g.seen.isLost = g.now(), err != nil
	if err == nil {
		g.seen.goodRound, g.seen.batch, g.seen.undecided = g.seen.round, batch, undecided
		if recordsOf(batch) == 0 && batch.State != purse.SAMClosed {
			g.seen.emptied = g.seen.round
		}
	}
	return err == nil
}

// isTurnInDue says whether a batch is to be turned in now: it is closed already,
// or nearly full, or the day was closed since the last time. What is in it when
// the gateway begins is turned in too: the time may have passed meanwhile.
func isTurnInDue(batch purse.SAMData, seen gatewayState, now time.Time, closingTime time.Duration) bool {
	if !seen.turnInFailed.IsZero() && now.Sub(seen.turnInFailed) < turnInInterval {
		return false
	}
	records := recordsOf(batch)
	switch {
	case batch.State == purse.SAMClosed:
		return true
	case records == 0, batch.State != purse.SAMIdle:
		return false
	case batch.Sum >= batch.Limit/100*nearLimitPercent, records >= nearFullRecords:
		return true
	}
	return seen.emptied.Before(lastClosing(now, closingTime))
}

// recordsOf is how many records are in a batch.
func recordsOf(batch purse.SAMData) uint64 { return uint64(batch.Payments) + uint64(batch.Voids) }

// lastClosing is when the day was closed the last time.
func lastClosing(now time.Time, closingTime time.Duration) time.Time {
	closing := now.UTC().Truncate(24 * time.Hour).Add(closingTime)
	if closing.After(now) {
		closing = closing.Add(-24 * time.Hour)
	}
	return closing
}

func (g *gateway) turnIn(ctx context.Context) {
	turned, err := g.terminal.TurnIn(ctx)
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if err != nil {
		g.seen.turnInFailed = g.now()
		g.log.ErrorContext(ctx, "the batch was not turned in", "error", err.Error())
		return
	}
	g.seen.turnedIn, g.seen.turnInFailed = g.now(), time.Time{}
	g.log.InfoContext(ctx, "turned in", "batch", turned.Batch, "payments", turned.Payments, "voids", turned.Voids, "sum", turned.Sum)
}

func (g *gateway) state() gatewayState {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	return g.seen
}
