// Command simulation does a part of a day of a broker with many users, on a
// database that holds all of them, and says what share of a day it took.
//
//	go run ./internal/simulation -database day.db -users 1000000 -part 0.01
//
// It is how docs/operations.md comes to its figures. Requests go over HTTP on
// loopback and are signed like everybody's; only the accounts, and the money on
// them, are written to the database directly.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/paywordhq/payword/internal/dbtest"
)

// settings are the flags.
type settings struct {
	database    string
	users       int
	vendors     int
	part        float64
	concurrency int
	brokers     int
	seed        uint64
	settled     int
}

// The bounds of the flags: what a machine can be asked for.
const (
	maxUsers       = 100_000_000
	maxVendors     = 1_000_000
	maxConcurrency = 1000
	maxBrokers     = 16
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == settleWord {
		os.Exit(clearingMain(ctx, os.Args[2:]))
	}
	work, arguments := run, os.Args[1:]
	if len(arguments) > 0 && arguments[0] == fillWord {
		work, arguments = fillSettled, arguments[1:]
	}
	if err := work(ctx, arguments, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "simulation:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	s, err := parse(args)
	if err != nil {
		return err
	}
	if s.database == "postgres" {
		server, err := dbtest.Start("fsync=on", "shared_buffers=1GB", "max_wal_size=4GB", "max_pred_locks_per_transaction=1024")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, server.Stop()) }()
		if s.database, err = server.NewDatabase("day"); err != nil {
			return err
		}
	}
	if s.settled > 0 {
		return settle(ctx, s, stdout)
	}
	return simulate(ctx, s, stdout)
}

func simulate(ctx context.Context, s settings, stdout io.Writer) error {
	if err := fill(ctx, s, stdout); err != nil {
		return fmt.Errorf("filling the database: %w", err)
	}
	before, err := size(ctx, s.database)
	if err != nil {
		return err
	}
	d, err := newDay(ctx, s)
	if err != nil {
		return err
	}
	err = d.live(ctx)
	if err == nil {
		err = d.check(ctx)
	}
	// Closing writes SQLite's log back, so that the size is that of the file.
	if err := errors.Join(err, d.close()); err != nil {
		return err
	}
	after, err := size(ctx, s.database)
	if err != nil {
		return err
	}
	return d.report(stdout, after-before)
}

func parse(args []string) (s settings, err error) {
	flags := flag.NewFlagSet("simulation", flag.ContinueOnError)
	flags.StringVar(&s.database, "database", "", "an SQLite `FILE`, the location of a PostgreSQL database, or \"postgres\" for a server of its own; filled if it is empty")
	flags.IntVar(&s.users, "users", 1_000_000, "how many accounts there are")
	flags.IntVar(&s.vendors, "vendors", 10_000, "how many vendors there are")
	flags.Float64Var(&s.part, "part", 0.01, "the part of a day that is done, 0 to 1")
	flags.IntVar(&s.concurrency, "concurrency", 16, "how many requests are under way at once")
	flags.IntVar(&s.brokers, "brokers", 1, "how many brokers share the database (more than one on PostgreSQL only)")
	flags.IntVar(&s.settled, "settle", 0, "instead of a day: redeem so many commitments and settle them, and tell time and memory")
	flags.Uint64Var(&s.seed, "seed", 1, "of the random choices")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	switch {
	case s.database == "":
		err = fmt.Errorf("-database is missing")
	case s.users < 1 || s.users > maxUsers, s.vendors < 1 || s.vendors > maxVendors:
		err = fmt.Errorf("want 1 to %d users and 1 to %d vendors", maxUsers, maxVendors)
	case s.concurrency < 1 || s.concurrency > maxConcurrency, s.brokers < 1 || s.brokers > maxBrokers:
		err = fmt.Errorf("want 1 to %d requests at once and 1 to %d brokers", maxConcurrency, maxBrokers)
	case s.settled < 0 || s.settled > maxUsers:
		err = fmt.Errorf("want at most %d commitments to settle", maxUsers)
	case !(s.part > 0 && s.part <= 1):
		err = fmt.Errorf("want a part above 0 and at most 1")
	}
	return s, err
}
