package caddymodule_test

import (
	"encoding/json"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// TestRoutesOfDirective counts the routes that a directive makes: every request
// goes through all of them, so one without a matcher makes one.
func TestRoutesOfDirective(t *testing.T) {
	for _, test := range []struct {
		matcher string
		want    int // the discovery document, the claims, what is paid for, and the rest
	}{{"", 1}, {"*", 1}, {"/paid/*", 4}} {
		text := "http://127.0.0.1:1 {\n\tpayword " + test.matcher + " {\n\t\tvendor http://127.0.0.1:1\n\t\tprice 0.001 USD\n\t}\n}\n"
		adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
		if err != nil {
			t.Fatalf("matcher %q: %v", test.matcher, err)
		}
		var config struct {
			Apps struct {
				HTTP struct {
					Servers map[string]struct{ Routes caddyhttp.RouteList }
				}
			}
		}
		if err := json.Unmarshal(adapted, &config); err != nil {
			t.Fatal(err)
		}
		var site struct{ Routes caddyhttp.RouteList }
		for _, server := range config.Apps.HTTP.Servers {
			if err := json.Unmarshal(server.Routes[0].HandlersRaw[0], &site); err != nil {
				t.Fatal(err)
			}
		}
		if len(site.Routes) != test.want {
			t.Errorf("matcher %q: %d routes, want %d:\n%s", test.matcher, len(site.Routes), test.want, adapted)
		}
	}
}
