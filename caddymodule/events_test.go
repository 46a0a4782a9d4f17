package caddymodule_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/caddymodule"
)

// eventSink is an event handler that hands the events to the test.
type eventSink struct{}

var sunk = make(chan caddy.Event, 1024)

func init() { caddy.RegisterModule(eventSink{}) }

// CaddyModule returns the module's description.
func (eventSink) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.payword_test", New: func() caddy.Module { return new(eventSink) }}
}

// UnmarshalCaddyfile reads the name.
func (eventSink) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return nil
}

// Handle hands an event to the test.
func (eventSink) Handle(_ context.Context, e caddy.Event) error {
	sunk <- e
	return nil
}

var _ caddyevents.Handler = eventSink{}

// nextEvent waits for the next event.
func nextEvent(t *testing.T) caddy.Event {
	t.Helper()
	select {
	case e := <-sunk:
		return e
	case <-time.After(20 * time.Second):
		t.Fatal("no event came")
		return caddy.Event{}
	}
}

// subscribeAll is the global option that gives the test every event of ours.
func subscribeAll() string {
	text := "events {\n"
	for _, name := range []string{
		caddymodule.EventOpened, caddymodule.EventReplay, caddymodule.EventStoreDown, caddymodule.EventStoreUp,
		caddymodule.EventRedeemed, caddymodule.EventClaimRefused,
	} {
		text += "on " + name + " payword_test\n"
	}
	return text + "}"
}

// TestEvents makes each event happen once and looks at what it says.
func TestEvents(t *testing.T) {
	broker := newFakeBroker(t)
	admin := adminAddress(t)
	gate := startGate(t, site{admin: admin, issuer: broker.URL, payword: "reread off", global: "claim_delay 0s", options: subscribeAll()})
	p := newPayer(t, wish{name: "events", vendor: gate.vendor, issuer: broker.URL})
	want := func(name string, data map[string]string) {
		t.Helper()
		e := nextEvent(t)
		if e.Name() != name {
			t.Fatalf("the event %s came, want %s: %v", e.Name(), name, e.Data)
		}
		for key, value := range data {
			if got := fmt.Sprint(e.Data[key]); got != value {
				t.Errorf("%s: %s is %s, want %s", name, key, got, value)
			}
		}
		for _, secret := range secretsOf(p) {
			if text := fmt.Sprint(e.Data); strings.Contains(text, secret) {
				t.Errorf("%s holds a secret: %s", name, text)
			}
		}
	}
	gate.mustPay(t, "/1", p.opening(p.payment(5, 1)))
	want(caddymodule.EventOpened, map[string]string{"vendor": gate.vendor, "broker": broker.URL, "currency": "USD", "reserved_micros": "10000000"})
	gate.do(t, "GET", "/2", p.header(p.payment(5, 1)))
	want(caddymodule.EventReplay, map[string]string{"vendor": gate.vendor, "reason": "already-used"})
	redeemNow(t, admin)
	want(caddymodule.EventRedeemed, map[string]string{"broker": broker.URL, "vendor": gate.vendor, "claims": "1", "paid": "1", "due_micros": "1000"})
	broker.refuse(payword.BadClaim)
	gate.mustPay(t, "/2", p.header(p.payment(5, 2)))
	redeemNow(t, admin)
	want(caddymodule.EventClaimRefused, map[string]string{"broker": broker.URL, "reason": "bad-claim", "final": "false"})
	want(caddymodule.EventRedeemed, map[string]string{"refused": "1"})
	if err := caddymodule.BreakStore(filepath.Join(gate.dir, "store")); err != nil {
		t.Fatal(err)
	}
	for range 3 { // it goes down once
		gate.do(t, "GET", "/3", p.header(p.payment(5, 3)))
	}
	want(caddymodule.EventStoreDown, nil)
	select {
	case e := <-sunk:
		t.Errorf("one more event: %s", e.Name())
	default:
	}
}

// TestEventsAreBounded forges many payments: the handlers are called a few times
// a second, and the rest is counted.
func TestEventsAreBounded(t *testing.T) {
	emitted, dropped := caddymodule.FloodEvents(1000)
	if emitted > 5 || emitted+dropped != 1000 {
		t.Errorf("of 1000 events in a second %d were emitted and %d counted as dropped", emitted, dropped)
	}
}
