package caddymodule

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
)

// adminAPI adds routes to Caddy's admin endpoint, which listens to this machine
// alone unless it is configured otherwise:
//
//	POST /payword/redeem   claims from the brokers now and says what came of it
//	POST /payword/refresh  fetches the brokers' keys and hot lists now
type adminAPI struct{ ctx caddy.Context }

// CaddyModule returns the module's description.
func (*adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.payword", New: func() caddy.Module { return new(adminAPI) }}
}

// Provision keeps the context, in which the app is found when it is asked for.
func (a *adminAPI) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	return nil
}

// Routes returns the admin routes.
func (a *adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/payword/redeem", Handler: caddy.AdminHandlerFunc(a.redeem)},
		{Pattern: "/payword/refresh", Handler: caddy.AdminHandlerFunc(a.refresh)},
	}
}

func (a *adminAPI) redeem(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("want POST")}
	}
	module, err := a.ctx.AppIfConfigured("payword")
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("payword is not configured")}
	}
	app := module.(*App)
	if err := app.open(); err != nil {
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
	done, err := app.redeem(r.Context(), true)
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusBadGateway, Err: err}
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(done)
}
