// Command payword is Caddy with the gate in it, and beside it the broker, the
// clearing, a wallet and a demonstration of all of them working together.
package main

import (
	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/paywordhq/payword/caddymodule" // the gate
)

const longHelp = `payword is Caddy with a gate in it that is paid for per request, and beside it
all that the gate needs:

	payword demo        shows everything working together on this machine
	payword run         runs Caddy, with the gate as its Caddyfile says
	payword price-log   says what an access log would have earned
	payword broker      runs a broker, and does its bookings
	payword tails       lists what a gate was paid; redeem, export and verify
	                    look after the rest of it
	payword clearing    settles the day
	payword verify-statement
	                    checks a statement of a broker, without asking it
	payword wallet      keeps a wallet
	payword pay         fetches a page and pays for it

The others below are Caddy's own (https://caddyserver.com/docs/command-line).
Each says more with --help.`

func main() {
	caddy.CustomBinaryName = "payword"
	caddy.CustomLongDescription = longHelp
	registerCommands()
	caddycmd.Main()
}
