// Package caddymodule is the gate: a Caddy app that keeps commitments and
// broker keys, and a handler that serves a request once it is paid for with a
// payword.
//
// The way of a request through Handler.ServeHTTP: read the payment, find its
// commitment (or open it), judge it, charge it in one atomic step of the store
// that is durable before the first byte of content, serve, and give the price
// back if nothing was delivered.
package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap/zapcore"
)

func init() {
	caddy.RegisterModule(new(App))
	caddy.RegisterModule(new(Handler))
	caddy.RegisterModule(new(Strip))
	caddy.RegisterModule(new(adminAPI))
	caddy.RegisterModule(new(MatchBot))
	caddy.RegisterModule(new(priceHandler))
	caddy.RegisterModule(new(logEncoder))
	registerCommands()
	httpcaddyfile.RegisterGlobalOption("payword", parseGlobalOption)
	httpcaddyfile.RegisterDirective("payword", parseDirective)
	// Who somebody is comes first (401), whether they paid comes next (402).
	httpcaddyfile.RegisterDirectiveOrder("payword", httpcaddyfile.After, "forward_auth")
}

// Interface guards
var (
	_ caddy.App                   = (*App)(nil)
	_ caddy.Provisioner           = (*App)(nil)
	_ caddy.Validator             = (*App)(nil)
	_ caddy.CleanerUpper          = (*App)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddy.Provisioner           = (*Strip)(nil)
	_ caddyhttp.MiddlewareHandler = (*Strip)(nil)
	_ caddyfile.Unmarshaler       = (*App)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
	_ caddy.AdminRouter           = (*adminAPI)(nil)
	_ caddy.Provisioner           = (*logEncoder)(nil)
	_ caddyfile.Unmarshaler       = (*logEncoder)(nil)
	_ zapcore.Encoder             = (*logEncoder)(nil)
)
