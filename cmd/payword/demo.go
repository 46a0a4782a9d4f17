package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/paywordhq/payword/client"
	"github.com/paywordhq/payword/money"
)

const demoHelp = `Shows everything working together, on this machine alone: starts a broker, a
gate (Caddy) and a small site, opens and funds an account, pays for pages one by
one and thirty at a time, goes on while the broker is away, kills the gate and
starts it again, tries to cheat in six ways, loads a purse card, pays with it
without a network, pulls it out while it pays, and pays for a page with its money;
redeems, settles, reads what a bank says of the payment, and checks the statement
and the books. Takes a few seconds, and ends with status 1 if anything was not as
it should be.

Usage: payword demo [--serve] [--keep <directory>]

  --serve   keep everything running afterwards, to look at in a browser and to pay
            with the extension: it makes a voucher for that and prints its code
  --keep    use this directory and leave it there (default: a temporary one,
            removed at the end)
`

// The demo's site, served as it stands.
//
//go:embed site
var demoSite embed.FS

const (
	demoPrice       = money.Amount(1000) // 0.001 USD a page
	demoFunding     = 5 * money.Unit
	demoSequential  = 200
	demoParallel    = 300
	demoAtOnce      = 30
	demoWithout     = 100 // pages while the broker is away
	demoAroundKill  = 200 // pages asked for while the gate is killed
	demoRequestTime = 30 * time.Second

	demoDestinationDelay = time.Second // the default is three days
)

// demoMain runs the demo and returns its exit status.
func demoMain(ctx context.Context, arguments []string, _ io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("payword demo", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	serve := flags.Bool("serve", false, "")
	keep := flags.String("keep", "", "")
	switch err := flags.Parse(arguments); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, demoHelp)
		return 0
	case err != nil:
		fmt.Fprintf(stderr, "payword demo: %v; see payword demo --help\n", err)
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "payword demo: it takes no argument %q; see payword demo --help\n", flags.Arg(0))
		return 2
	}
	if err := runDemo(ctx, *serve, *keep, stdout); err != nil {
		fmt.Fprintf(stderr, "payword demo: %v\n", err)
		return 1
	}
	return 0
}

func runDemo(ctx context.Context, serve bool, directory string, out io.Writer) (err error) {
	if directory == "" {
		if directory, err = os.MkdirTemp("", "payword-demo-"); err != nil {
			return err
		}
		defer os.RemoveAll(directory)
	} else if err := prepareDirectory(directory); err != nil {
		return err
	}
	d := &demo{report: newReport(out), directory: directory, http: &http.Client{Timeout: demoRequestTime}}
	defer d.end()
	for _, step := range d.steps() {
		d.title(step.title)
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.title, err)
		}
	}
	d.table()
	if err := d.verdict(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nAll %d expectations held.\n", d.checks)
	if serve {
		return d.serve(ctx)
	}
	return nil
}

// prepareDirectory makes a directory that must not hold an earlier demo: its
// books would not be those of this one.
func prepareDirectory(directory string) error {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(directory)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty: name a new directory", directory)
	}
	return nil
}

// demo is one run.
type demo struct {
	*report
	directory string
	http      *http.Client // pays nothing

	broker, gate          *process
	brokerOrigin, siteURL string
	adminURL, adminToken  string
	wallet                *client.Wallet
	account               string
	payer                 *http.Client // pays within a budget
	recorder              *recorder    // what the payer sent
	pages                 int          // paid for so far
	paidTimes, freeTimes  []time.Duration
	cards                 *purseCards
}

// step is one thing the demo shows.
type step struct {
	title string
	run   func(context.Context) error
}

func (d *demo) steps() []step {
	return []step{
		{"Starting a broker, a gate and a small site", d.startServers},
		{"Opening an account and funding it", d.openAccount},
		{"Reading without paying, and paying for one page", d.payFirstPage},
		{fmt.Sprintf("Paying for %d pages, one after the other", demoSequential), d.paySequentially},
		{fmt.Sprintf("Paying for %d pages, %d at a time", demoParallel, demoAtOnce), d.payInParallel},
		{"Stopping the broker, and going on", d.goOnWithoutBroker},
		{"Killing the gate under load, and starting it again", d.killGate},
		{"Trying to cheat", d.cheat},
		{"Loading a purse card, pulling it out, and paying for a page with its money", d.useCard},
		{"Redeeming what was paid", d.redeem},
		{"Saying where the site's money goes", d.nameDestination},
		{"Settling the day", d.settle},
		{"Hearing what the bank says", d.hearBank},
		{"Checking what was paid, without the broker", d.checkPaid},
	}
}

func (d *demo) path(name string) string { return filepath.Join(d.directory, name) }

// end stops what is running.
func (d *demo) end() {
	if d.wallet != nil {
		d.wallet.Close()
	}
	for _, server := range []*process{d.gate, d.broker} {
		if server != nil {
			server.stop()
		}
	}
}

// writeSite puts the site's files where the gate serves them from.
func (d *demo) writeSite() error {
	site, err := fs.Sub(demoSite, "site")
	if err != nil {
		return err
	}
	return os.CopyFS(d.path("site"), site)
}
