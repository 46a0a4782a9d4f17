// Command server is the Caddy that is measured: the standard modules, the gate,
// and the naive gate that it is compared with.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/paywordhq/payword/bench/naive"
	_ "github.com/paywordhq/payword/caddymodule"
)

func main() { caddycmd.Main() }
