package caddymodule_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// slowApp is an app that a test holds while Caddy provisions it, or that fails to
// start.
type slowApp struct {
	IsHeld     bool `json:"is_held,omitempty"`
	ShouldFail bool `json:"should_fail,omitempty"`
}

// hold is where a slowApp waits.
var hold = struct{ reached, released chan struct{} }{make(chan struct{}), make(chan struct{})}

func init() { caddy.RegisterModule(slowApp{}) }

func (slowApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "payword_test_slow", New: func() caddy.Module { return new(slowApp) }}
}

func (a *slowApp) Provision(caddy.Context) error {
	if a.IsHeld {
		hold.reached <- struct{}{}
		<-hold.released
	}
	return nil
}

func (a *slowApp) Start() error {
	if a.ShouldFail {
		return errors.New("told to fail")
	}
	return nil
}

func (*slowApp) Stop() error { return nil }

// withSlowApp returns a configuration with a slowApp beside its other apps.
func withSlowApp(t *testing.T, config []byte, app slowApp) []byte {
	t.Helper()
	var read map[string]any
	if err := json.Unmarshal(config, &read); err != nil {
		t.Fatal(err)
	}
	read["apps"].(map[string]any)["payword_test_slow"] = app
	written, err := json.Marshal(read)
	if err != nil {
		t.Fatal(err)
	}
	return written
}

// The admin endpoint answers while Caddy still makes the apps: then they are left
// alone, and it says so.
func TestAdminBeforeTheStart(t *testing.T) {
	s := site{dir: t.TempDir(), vendor: freeOrigin(t), admin: adminAddress(t)}
	config := withSlowApp(t, configOf(t, s), slowApp{IsHeld: true})
	loaded := make(chan error, 1)
	go func() { loaded <- caddy.Load(config, true) }()
	t.Cleanup(func() { caddy.Stop() })
	<-hold.reached
	if status, body := adminGet(t, s.admin, "/payword/"); status != http.StatusServiceUnavailable {
		t.Errorf("before the start: %d %s, want 503", status, body)
	}
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for range 10 {
				if status, body := adminGet(t, s.admin, "/payword/"); status != http.StatusServiceUnavailable && status != http.StatusOK {
					t.Errorf("while it starts: %d %s, want 503 or 200", status, body)
				}
			}
		})
	}
	hold.released <- struct{}{}
	asking.Wait()
	if err := <-loaded; err != nil {
		t.Fatal(err)
	}
	if status, body := adminGet(t, s.admin, "/payword/"); status != http.StatusOK {
		t.Errorf("after the start: %d %s, want 200", status, body)
	}
}

// Where a configuration fails to start, the admin endpoint tells of the one that
// goes on.
func TestAdminAfterAFailedStart(t *testing.T) {
	s := site{dir: t.TempDir(), vendor: freeOrigin(t), admin: adminAddress(t)}
	gate := startGate(t, s)
	other := s
	other.payword = "price 0.002 USD"
	if err := gate.load(t, withSlowApp(t, configOf(t, other), slowApp{ShouldFail: true})); err == nil {
		t.Fatal("the configuration that was to fail started")
	}
	var seen struct{ Sites []struct{ Price string } }
	mustGet(t, s.admin, "/payword/", &seen)
	if len(seen.Sites) != 1 || seen.Sites[0].Price != "0.001 USD" {
		t.Errorf("the overview says %+v, want the site that runs", seen.Sites)
	}
}
