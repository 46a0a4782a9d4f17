// Command payword is Caddy with the gate in it, and beside it the broker, the
// clearing, a wallet and a demonstration of all of them working together.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/paywordhq/payword/caddymodule"
)

func main() {
	registerCommands()
	caddycmd.Main()
}
