package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/paywordhq/payword/broker"
	"github.com/paywordhq/payword/caddymodule"
	"github.com/paywordhq/payword/clearing"
	"github.com/paywordhq/payword/client"
)

// command is one of ours beside Caddy's own: it gets its arguments as they
// stand, writes to the two streams, and returns the exit status.
type command struct {
	name, usage, short string
	run                func(ctx context.Context, arguments []string, stdin io.Reader, stdout, stderr io.Writer) int
}

var commands = []command{
	{"broker", "serve|key|fund|account|check …", "Runs a broker: accounts, certificates, reservations, redemption", broker.Main},
	{"clearing", "plan|run|check …", "Settles the day: fees, statements, payout files",
		func(ctx context.Context, arguments []string, _ io.Reader, stdout, stderr io.Writer) int {
			return clearing.Main(ctx, arguments, stdout, stderr)
		}},
	{"verify-statement", "<file> --keys <JWKS> …", "Checks a broker's statement, without asking the broker", clearing.VerifyMain},
	{"wallet", "create|open-account|status|device|subaccount …", "Keeps a wallet: keys, certificates, budgets, the account",
		func(ctx context.Context, arguments []string, stdin io.Reader, stdout, stderr io.Writer) int {
			return client.Main(ctx, append([]string{"wallet"}, arguments...), stdin, stdout, stderr)
		}},
	{"pay", "<url> --wallet <file> …", "Fetches a page and pays for it",
		func(ctx context.Context, arguments []string, stdin io.Reader, stdout, stderr io.Writer) int {
			return client.Main(ctx, append([]string{"pay"}, arguments...), stdin, stdout, stderr)
		}},
	ofGate("tails", "[--vendor <origin>] …", "Lists what visitors paid on each commitment"),
	ofGate("redeem", "[--address <admin endpoint>] …", "Claims from the brokers now"),
	ofGate("export", "[--by day|vendor] [--json] …", "Writes what was earned, as CSV or JSON lines"),
	ofGate("verify", "[--store <directory>] …", "Checks a gate's store against the evidence in it"),

	{"price-log", "[--config <file>] [--json] <access log>…", "Says what an access log would have earned", caddymodule.PriceLogMain},
	{"demo", "[--serve] [--keep <directory>]", "Shows everything working together on this machine", demoMain},
}

// ofGate makes a command of those that look after a gate. In other people's
// Caddy they are caddy payword tails and so on.
func ofGate(name, usage, short string) command {
	return command{name, usage, short,
		func(ctx context.Context, arguments []string, _ io.Reader, stdout, stderr io.Writer) int {
			return caddymodule.Main(ctx, append([]string{name}, arguments...), stdout, stderr)
		}}
}

// registerCommands puts our commands beside Caddy's, so that help lists both.
func registerCommands() {
	for _, c := range commands {
		caddycmd.RegisterCommand(caddycmd.Command{
			Name: c.name, Usage: c.usage, Short: c.short,
			CobraFunc: func(cmd *cobra.Command) {
				cmd.DisableFlagParsing = true // each command reads its own
				cmd.RunE = func(_ *cobra.Command, arguments []string) error {
					ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
					status := c.run(ctx, arguments, os.Stdin, os.Stdout, os.Stderr)
					stop()
					os.Exit(status)
					return nil
				}
			},
		})
	}
}
