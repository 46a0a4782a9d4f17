package caddymodule_test

import (
	"context"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// spanSink is an exporter that keeps what Caddy exports.
type spanSink struct {
	mu    sync.Mutex
	spans []sdktrace.ReadOnlySpan
}

var exported spanSink

func init() {
	autoexport.RegisterSpanExporter("payword_test", func(context.Context) (sdktrace.SpanExporter, error) { return &exported, nil })
}

// ExportSpans keeps spans.
func (s *spanSink) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spans = append(s.spans, spans...)
	return nil
}

// Shutdown does nothing: the spans stay.
func (s *spanSink) Shutdown(context.Context) error { return nil }

// TestTracing runs Caddy's own directive tracing in front of the gate and finds
// the gate's steps below its span, with what was decided.
func TestTracing(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "payword_test")
	exported.mu.Lock()
	exported.spans = nil
	exported.mu.Unlock()
	gate := startGate(t, site{payword: "reread off", rest: "tracing {\nspan site\n}\nrespond ok"})
	p := newPayer(t, wish{name: "traced", vendor: gate.vendor})
	gate.mustPay(t, "/1", p.opening(p.payment(3, 1)))
	gate.do(t, "GET", "/2", p.header(p.payment(3, 1))) // already-used
	if err := caddy.Stop(); err != nil {               // exports what waits
		t.Fatal(err)
	}
	exported.mu.Lock()
	defer exported.mu.Unlock()
	names := make(map[string]int)
	var decisions []map[string]string
	for _, span := range exported.spans {
		names[span.Name()]++
		attributes := make(map[string]string)
		for _, attribute := range span.Attributes() {
			attributes[string(attribute.Key)] = attribute.Value.String()
		}
		if span.Name() == "payword.decide" {
			decisions = append(decisions, attributes)
		}
		if span.Name() != "site" && !span.Parent().IsValid() {
			t.Errorf("the span %s has no parent", span.Name())
		}
	}
	// The commitment is looked for, opened and charged; then it is remembered, and
	// charged.
	if names["site"] != 2 || names["payword.decide"] != 2 || names["payword.serve"] != 1 || names["payword.store"] != 4 {
		t.Errorf("spans: %v", names)
	}
	for k, want := range []map[string]string{
		{"payword.reason": "accepted", "payword.result": "paid", "payword.price_micros": "1000", "payword.hashes": "3", "payword.vendor": gate.vendor},
		{"payword.reason": "already-used", "payword.result": "refused", "payword.hashes": "0"},
	} {
		if len(decisions) <= k {
			t.Fatalf("decisions: %v", decisions)
		}
		for key, value := range want {
			if decisions[k][key] != value {
				t.Errorf("request %d: %s is %q, want %q", k+1, key, decisions[k][key], value)
			}
		}
	}
}
