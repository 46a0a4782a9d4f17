package caddymodule

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/paywordhq/payword"
)

// tracerName is the scope of the gate's spans.
const tracerName = "github.com/paywordhq/payword/caddymodule"

// startSpan begins a span below one that is recorded. Where Caddy's directive
// tracing did not begin one, the gate begins none.
func startSpan(ctx context.Context, parent trace.Span, name string, attributes ...attribute.KeyValue) (context.Context, trace.Span) {
	return parent.TracerProvider().Tracer(tracerName).Start(ctx, name, trace.WithAttributes(attributes...))
}

// untraced is a context that records no span, so that nobody has to look for one.
type untraced struct{ context.Context }

// spanOf returns the span that a context belongs to, and whether it is recorded.
func spanOf(ctx context.Context) (span trace.Span, isRecorded bool) {
	if _, known := ctx.(*untraced); known {
		return nil, false
	}
	span = trace.SpanFromContext(ctx)
	return span, span.IsRecording()
}

// traceDecision begins the span that covers what the gate does before it
// serves, and returns the context of its steps.
func (x *exchange) traceDecision(ctx context.Context) context.Context {
	parent, isRecorded := spanOf(ctx)
	if !isRecorded {
		x.untraced = untraced{ctx}
		return &x.untraced
	}
	ctx, x.span = startSpan(ctx, parent, "payword.decide", attribute.String("payword.vendor", x.Vendor))
	return ctx
}

// endDecision ends that span with what was decided. No attribute names a
// commitment.
func (x *exchange) endDecision(refusal payword.Refusal, err error) {
	if x.span == nil {
		return
	}
	if err != nil {
		x.span.SetStatus(codes.Error, "the gate could not tell")
	} else {
		x.span.SetAttributes(
			attribute.String("payword.reason", refusal.Reason.String()),
			attribute.String("payword.result", x.meteredResult(refusal)),
			attribute.Int64("payword.price_micros", int64(x.price)),
			attribute.Int64("payword.hashes", int64(x.steps)),
		)
	}
	x.span.End()
}

// traceUpstream covers the wait for the next handler with a span.
func traceUpstream(next caddyhttp.Handler, w http.ResponseWriter, r *http.Request) error {
	_, span := startSpan(r.Context(), trace.SpanFromContext(r.Context()), "payword.serve")
	err := next.ServeHTTP(w, r)
	if err != nil {
		span.SetStatus(codes.Error, "the next handler failed")
	}
	span.End()
	return err
}
