package caddymodule

import (
	"errors"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// errLogsPaywords says what to do about a log that would hold paywords.
var errLogsPaywords = errors.New("payword: a log of this configuration would hold the paywords that visitors send, which are as good as money: add 'log { format payword }' to the global options, and 'format payword' to every log of a site that has an output or a format of its own; or say 'unsafe_logs' in the global option payword")

// checkLogs refuses a configuration of which a log writes the payment headers,
// unless it says that this is meant. Caddy notes the headers of a request before
// any handler sees them, so they could not be kept out later.
func (a *App) checkLogs() error {
	if a.UnsafeLogs {
		return nil
	}
	logger := a.ctx.Logger(httpModule{})
	for _, name := range secretHeaders {
		if logsHeader(logger.Core(), name) {
			return errLogsPaywords
		}
	}
	return nil
}

// httpModule stands for Caddy's http app, whose logs those are.
type httpModule struct{}

// CaddyModule returns the id of the http app.
func (httpModule) CaddyModule() caddy.ModuleInfo { return caddy.ModuleInfo{ID: "http"} }

// logsHeader reports whether a log behind core would write a request header.
// It asks the encoders themselves: a field that is added to a core is encoded at
// once and nothing is written. An encoder that leaves the header out, whichever
// it is, never asks for its value.
func logsHeader(core zapcore.Core, name string) bool {
	asked := false
	value := zapcore.ArrayMarshalerFunc(func(zapcore.ArrayEncoder) error {
		asked = true
		return nil
	})
	headers := zapcore.ObjectMarshalerFunc(func(encoder zapcore.ObjectEncoder) error { return encoder.AddArray(name, value) })
	request := zapcore.ObjectMarshalerFunc(func(encoder zapcore.ObjectEncoder) error { return encoder.AddObject("headers", headers) })
	core.With([]zapcore.Field{zap.Object("request", request)})
	return asked
}
