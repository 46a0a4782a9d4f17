// Command samgateway takes payments of purse cards, loads them and funds
// accounts with them. With the build tag pcsc it reaches card readers; without
// it, cards in files.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/paywordhq/payword/samgateway"
	"github.com/paywordhq/payword/samgateway/pcsc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := samgateway.Main(ctx, pcsc.Readers{}, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}
