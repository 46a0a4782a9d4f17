package caddymodule

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/paywordhq/payword"
)

// parseGlobalOption reads the global option. Syntax:
//
//	payword {
//	    broker          <issuer> [<keys file or URL>]
//	    store           <directory>
//	    max_step        <hashes>
//	    quote_life      <duration>
//	    claim_delay     <duration>
//	    redeem_interval <duration>
//	}
func parseGlobalOption(d *caddyfile.Dispenser, _ any) (any, error) {
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "payword", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile reads the global option payword.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // payword
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		name := d.Val()
		arguments := d.RemainingArgs()
		if name == "broker" && len(arguments) == 2 {
			a.Brokers = append(a.Brokers, Broker{Issuer: arguments[0], Keys: arguments[1]})
			continue
		}
		if len(arguments) != 1 {
			return d.ArgErr()
		}
		if err := a.setOption(d, name, arguments[0]); err != nil {
			return err
		}
	}
	return nil
}

func (a *App) setOption(d *caddyfile.Dispenser, name, value string) error {
	switch name {
	case "broker":
		a.Brokers = append(a.Brokers, Broker{Issuer: value})
	case "store":
		a.Store = value
	case "max_step":
		steps, err := strconv.ParseUint(value, 10, 32)
		if err != nil || steps == 0 {
			return d.Errf("max_step %q: want a number of hashes, such as 4096", value)
		}
		a.MaxStep = uint32(steps)
	case "quote_life", "claim_delay", "redeem_interval":
		duration, err := caddy.ParseDuration(value)
		if err != nil {
			return d.Errf("%s %q: want a duration, such as 5m", name, value)
		}
		switch set := caddy.Duration(duration); name {
		case "quote_life":
			a.QuoteLife = set
		case "claim_delay":
			a.ClaimDelay = &set
		default:
			a.RedeemInterval = &set
		}
	default:
		return d.Errf("the global option payword has no %q: want broker, store, max_step, quote_life, claim_delay or redeem_interval", name)
	}
	return nil
}

// parseDirective makes two routes of a directive: what its matcher names is
// paid for, and the discovery document is served whatever that is, because a
// broker looks for it before it pays the vendor.
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // payword
	paid, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	handler := new(Handler)
	if err := handler.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	discovery := caddy.ModuleMap{"path": h.JSON(caddyhttp.MatchPath{payword.PathDiscovery})}
	return append(h.NewRoute(discovery, handler), h.NewRoute(paid, handler)...), nil
}

// UnmarshalCaddyfile reads the directive. Syntax:
//
//	payword [<matcher>] [<vendor> <price> <currency>] {
//	    vendor            <origin>
//	    price             <amount> <currency>
//	    description       <text>
//	    reread            <times> [<duration>] | off
//	    credential_header Authorization|Payment-Authorization
//	    intent            session|charge
//	    page              builtin|error
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // payword
	switch short := d.RemainingArgs(); len(short) {
	case 0:
	case 3:
		h.Vendor, h.Price = short[0], short[1]+" "+short[2]
	default:
		return d.Err("want payword <vendor> <price> <currency>, such as: payword https://news.example 0.001 USD")
	}
	for d.NextBlock(0) {
		name := d.Val()
		if err := h.setOption(d, name, d.RemainingArgs()); err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) setOption(d *caddyfile.Dispenser, name string, arguments []string) error {
	if name == "price" {
		if len(arguments) != 2 {
			return d.Err("want price <amount> <currency>, such as: price 0.001 USD")
		}
		h.Price = strings.Join(arguments, " ")
		return nil
	}
	if name == "reread" {
		return h.setReread(d, arguments)
	}
	if len(arguments) != 1 {
		return d.ArgErr()
	}
	switch name {
	case "vendor":
		h.Vendor = arguments[0]
	case "description":
		h.Description = arguments[0]
	case "credential_header":
		h.CredentialHeader = arguments[0]
	case "intent":
		h.Intent = arguments[0]
	case "page":
		h.Page = arguments[0]
	default:
		return d.Errf("payword has no option %q: want vendor, price, description, reread, credential_header, intent or page", name)
	}
	return nil
}

func (h *Handler) setReread(d *caddyfile.Dispenser, arguments []string) error {
	h.Reread = new(Reread)
	if len(arguments) == 1 && arguments[0] == "off" {
		return nil
	}
	if len(arguments) < 1 || len(arguments) > 2 {
		return d.Err("want reread <times> [<duration>], such as: reread 5 60s; or reread off")
	}
	times, err := strconv.Atoi(arguments[0])
	if err != nil || times < 1 {
		return d.Errf("reread %q: want a number of times, or off", arguments[0])
	}
	h.Reread.Times = times
	if len(arguments) == 2 {
		within, err := caddy.ParseDuration(arguments[1])
		if err != nil {
			return d.Errf("reread %s %q: want a duration, such as 60s", arguments[0], arguments[1])
		}
		h.Reread.Within = caddy.Duration(within)
	}
	return nil
}
