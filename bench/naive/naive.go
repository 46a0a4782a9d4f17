// Package naive is the gate that anybody would write first: it checks the hash
// against the tail that it remembers and asks Redis, once for each request, to
// go forward if nobody was faster. Nothing of it is shared with the gate that it
// is compared with but how the header is read.
package naive

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/redis/go-redis/v9"

	"github.com/paywordhq/payword"
)

// connections is how many connections to Redis a gate has: one for each request
// that is in flight at once, so that none waits for another.
const connections = 64

// advance goes forward on one commitment, and says 0 if somebody has been there.
var advance = redis.NewScript(`
local i = tonumber(redis.call('HGET', KEYS[1], 'i') or '0')
if i >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'i', ARGV[1], 't', ARGV[2])
redis.call('HINCRBY', KEYS[1], 's', ARGV[1] - i)
return 1`)

func init() {
	caddy.RegisterModule(Gate{})
	httpcaddyfile.RegisterHandlerDirective("naive_payword", parse)
	httpcaddyfile.RegisterDirectiveOrder("naive_payword", httpcaddyfile.Before, "basic_auth")
}

// Gate is the handler. It takes the first payment on a commitment as it comes:
// who opens one is not what is compared.
type Gate struct {
	// Where Redis listens.
	Address string `json:"address"`

	client *redis.Client
	tails  *sync.Map // payword.CommitmentID to payword.Tail
}

// CaddyModule tells Caddy of the handler.
func (Gate) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.naive_payword", New: func() caddy.Module { return new(Gate) }}
}

// Provision connects to Redis.
func (g *Gate) Provision(caddy.Context) error {
	g.client = redis.NewClient(&redis.Options{Addr: g.Address, PoolSize: connections, MaxRetries: -1})
	g.tails = new(sync.Map)
	return nil
}

// Cleanup closes the connections to Redis.
func (g *Gate) Cleanup() error { return g.client.Close() }

// UnmarshalCaddyfile reads the directive: naive_payword <address>.
func (g *Gate) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.Args(&g.Address) {
		return d.ArgErr()
	}
	return nil
}

func parse(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	g := new(Gate)
	return g, g.UnmarshalCaddyfile(h.Dispenser)
}

// ServeHTTP lets who paid through.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	p, refusal := payword.ParsePayment(r.Header.Get(payword.HeaderPayword))
	if refusal.Refused() {
		return caddyhttp.Error(http.StatusPaymentRequired, fmt.Errorf("%s", refusal))
	}
	if known, found := g.tails.Load(p.Commitment); found {
		tail := known.(payword.Tail)
		if p.Index <= tail.Index || !p.Payword.Walk(p.Index-tail.Index).Equal(tail.Payword) {
			return caddyhttp.Error(http.StatusPaymentRequired, fmt.Errorf("index %d after %d", p.Index, tail.Index))
		}
	}
	advanced, err := advance.Run(r.Context(), g.client, []string{"naive:" + p.Commitment.String()}, p.Index, p.Payword[:]).Int()
	if err != nil {
		return caddyhttp.Error(http.StatusServiceUnavailable, err)
	}
	if advanced == 0 {
		return caddyhttp.Error(http.StatusPaymentRequired, fmt.Errorf("index %d: paid for before", p.Index))
	}
	g.tails.Store(p.Commitment, payword.Tail{Index: p.Index, Payword: p.Payword})
	return next.ServeHTTP(w, r)
}
