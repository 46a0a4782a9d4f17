package caddymodule

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/logging"
	"go.uber.org/zap/zapcore"

	"github.com/paywordhq/payword"
)

// logEncoder leaves the payment headers out of log entries. Caddy notes the
// headers of a request before any handler sees it, and keeps only those to
// itself that it knows to be secret. They stand in access logs and, when a
// request fails, in the default log; so that is formatted with this, in the
// global options, and so is every log of a site's own:
//
//	log {
//	    format payword
//	}
type logEncoder struct{ logging.FilterEncoder }

// secretHeaders are the request headers that must not be logged.
var secretHeaders = []string{
	payword.HeaderPayword, payword.HeaderCommitment, payword.HeaderReservation, payword.HeaderPaymentAuthorization,
}

// CaddyModule returns the module's description.
func (*logEncoder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.encoders.payword", New: func() caddy.Module { return new(logEncoder) }}
}

// Provision sets the filters up.
func (e *logEncoder) Provision(ctx caddy.Context) error {
	e.FieldsRaw = make(map[string]json.RawMessage)
	for _, name := range secretHeaders {
		e.FieldsRaw["request>headers>"+name] = json.RawMessage(`{"filter":"delete"}`)
	}
	// Caddy leaves this one out by itself, unless a server logs credentials.
	e.FieldsRaw["request>headers>Authorization"] = json.RawMessage(`{"filter":"regexp","regexp":"(?i)^\\s*Payment\\s.*","value":"REDACTED"}`)
	// And cookies, in the same way; ours stands in both directions.
	e.FieldsRaw["request>headers>Cookie"] = json.RawMessage(`{"filter":"cookie","actions":[{"type":"delete","name":"` + cookieName + `"}]}`)
	e.FieldsRaw["resp_headers>Set-Cookie"] = json.RawMessage(`{"filter":"regexp","regexp":"^` + cookieName + `=.*","value":"REDACTED"}`)
	return e.FilterEncoder.Provision(ctx)
}

// UnmarshalCaddyfile reads the encoder. Syntax:
//
//	format payword [<encoder> [{
//	    <options of the encoder>
//	}]]
//
// The encoder is the one that writes the entries. Default: json, or console on
// a terminal.
func (e *logEncoder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // payword
	if !d.NextArg() {
		return nil
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, "caddy.logging.encoders."+name)
	if err != nil {
		return err
	}
	if _, isEncoder := module.(zapcore.Encoder); !isEncoder {
		return d.Errf("%s is not a log encoder", name)
	}
	e.WrappedRaw = caddyconfig.JSONModuleObject(module, "format", name, nil)
	return nil
}
