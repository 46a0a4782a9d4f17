package caddymodule

import (
	"encoding/json"
	"maps"
	"slices"
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
//	    durability      sync|async
//	    redis           <address>... { <options of readRedis> }
//	    credit          <per user> <in all> <currency> | off
//	    hot_list {
//	        max_age     <duration>
//	        on_stale    deny|allow
//	    }
//	    rate_limit      openings|refusals <count> [<duration>] | off
//	    block {
//	        address     <prefix>...
//	        user        <issuer> <subject>
//	        certificate <id>...
//	        commitment  <id>...
//	        file        <path>
//	    }
//	    max_step        <hashes>
//	    quote_life      <duration>
//	    claim_delay     <duration>
//	    redeem_interval <duration>
//	    redeem_above    <amount> <currency>
//	    redeem_margin   <duration>
//	    pull
//	    unsafe_logs
//	}
func parseGlobalOption(d *caddyfile.Dispenser, _ any) (any, error) {
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "payword", Value: caddyconfig.JSON(app, nil)}, nil
}

// option reads what stands behind one option of a block: its arguments and the
// block that it may open. The dispenser stands on the option's name.
type option[T any] func(target T, d *caddyfile.Dispenser) error

// one is an option with one argument, which form describes to who left it away.
func one[T any](form string, set func(target T, d *caddyfile.Dispenser, argument string) error) option[T] {
	return func(target T, d *caddyfile.Dispenser) error {
		name := d.Val()
		arguments := d.RemainingArgs()
		if len(arguments) != 1 {
			return d.Errf("want %s %s, one argument and not %d", name, form, len(arguments))
		}
		return set(target, d, arguments[0])
	}
}

// bare is an option without an argument.
func bare[T any](field func(target T) *bool) option[T] {
	return func(target T, d *caddyfile.Dispenser) error {
		name := d.Val()
		if arguments := d.RemainingArgs(); len(arguments) > 0 {
			return d.Errf("want %s alone on its line, without %q", name, arguments[0])
		}
		*field(target) = true
		return nil
	}
}

// word is an option whose one argument is taken as it stands.
func word[T any](form string, field func(target T) *string) option[T] {
	return one(form, func(target T, _ *caddyfile.Dispenser, argument string) error {
		*field(target) = argument
		return nil
	})
}

// duration is an option whose one argument is a duration.
func duration[T any](set func(target T, value caddy.Duration)) option[T] {
	return one("<duration>", func(target T, d *caddyfile.Dispenser, argument string) error {
		value, err := caddy.ParseDuration(argument)
		if err != nil {
			return d.Errf("%q: want a duration, such as 5m", argument)
		}
		set(target, caddy.Duration(value))
		return nil
	})
}

// repeatable are the options that may stand several times in one block: each
// adds to those before, or is refused by its reader.
var repeatable = map[string]bool{
	"broker": true, "credit": true, "rate_limit": true, // of the global option
	"address": true, "user": true, "certificate": true, "commitment": true, // of block
	"price": true, "free": true, "bots": true, "discount": true, "origins": true, // of the directive
	"from": true, // of meter
}

// readBlock reads the options of a block into target.
func readBlock[T any](d *caddyfile.Dispenser, target T, options map[string]option[T]) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		read, known := options[name]
		if !known {
			return d.Errf("there is no option %q: want one of %s", name, strings.Join(slices.Sorted(maps.Keys(options)), ", "))
		}
		if seen[name] && !repeatable[name] {
			return d.Errf("%s stands here twice: want it once", name)
		}
		seen[name] = true
		if err := read(target, d); err != nil {
			return err
		}
	}
	return nil
}

// globalOptions are the options of the global option payword.
var globalOptions = map[string]option[*App]{
	"broker":          readBroker,
	"store":           word("<directory>", func(a *App) *string { return &a.Store }),
	"durability":      word("sync|async", func(a *App) *string { return &a.Durability }),
	"redis":           readRedis,
	"credit":          readCredit,
	"hot_list":        readHotList,
	"rate_limit":      readRateLimit,
	"block":           readBlockList,
	"max_step":        one("<hashes>", readMaxStep),
	"quote_life":      duration(func(a *App, value caddy.Duration) { a.QuoteLife = value }),
	"claim_delay":     duration(func(a *App, value caddy.Duration) { a.ClaimDelay = &value }),
	"redeem_interval": duration(func(a *App, value caddy.Duration) { a.RedeemInterval = &value }),
	"redeem_above":    readRedeemAbove,
	"redeem_margin":   duration(func(a *App, value caddy.Duration) { a.RedeemMargin = value }),
	"pull":            bare(func(a *App) *bool { return &a.Pull }),
	"unsafe_logs":     bare(func(a *App) *bool { return &a.UnsafeLogs }),
}

// UnmarshalCaddyfile reads the global option payword.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // payword
	if d.NextArg() {
		return d.Errf("the global option payword takes no %q: want its options in a block", d.Val())
	}
	return readBlock(d, a, globalOptions)
}

func readBroker(a *App, d *caddyfile.Dispenser) error {
	arguments := d.RemainingArgs()
	if len(arguments) < 1 || len(arguments) > 2 {
		return d.Err("want broker <issuer> [<keys file or URL>]")
	}
	if err := payword.CheckOrigin(arguments[0]); err != nil {
		return d.Errf("broker: %v", err)
	}
	broker := Broker{Issuer: arguments[0]}
	if len(arguments) == 2 {
		broker.Keys = arguments[1]
	}
	a.Brokers = append(a.Brokers, broker)
	return nil
}

func readMaxStep(a *App, d *caddyfile.Dispenser, argument string) error {
	steps, err := strconv.ParseUint(argument, 10, 32)
	if err != nil || steps == 0 {
		return d.Errf("max_step %q: want a number of hashes, such as 4096", argument)
	}
	a.MaxStep = uint32(steps)
	return nil
}

// parseDirective makes routes of a directive: what its matcher names is paid
// for; the discovery document is served whatever that is, because a broker looks
// for it before it pays the vendor; and whatever else there is loses the payment
// headers. Without a matcher one route does all that. Each takes Caddy 0.8 µs of
// every request, whether it matches or not.
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
	if handler.Scope == "" && len(paid) > 0 {
		encoded, err := json.Marshal(paid)
		if err != nil {
			return nil, err
		}
		handler.Scope = digestOf(string(encoded))
	}
	var routes []httpcaddyfile.ConfigValue
	if handler.OpenAPI != nil {
		routes = h.NewRoute(caddy.ModuleMap{"path": h.JSON(handler.openAPIRoute(paid))}, handler)
	}
	if paid == nil {
		return append(routes, h.NewRoute(nil, handler)...), nil
	}
	// A route for each: Caddy puts routes of one path in the order of their paths.
	for _, path := range []string{payword.PathDiscovery, payword.PathClaims} {
		routes = append(routes, h.NewRoute(caddy.ModuleMap{"path": h.JSON(caddyhttp.MatchPath{path})}, handler)...)
	}
	routes = append(routes, h.NewRoute(paid, handler)...)
	strip := &Strip{IdentityHeaders: handler.IdentityHeaders, Paid: caddyhttp.RawMatcherSets{paid}}
	routes = append(routes, h.NewRoute(nil, strip)...)
	return routes, nil
}

// UnmarshalCaddyfile reads the directive. Syntax:
//
//	payword [<matcher>] [<vendor> <price> <currency>] {
//	    vendor            <origin>
//	    price             <amount> <currency> [<path pattern>...] [{ <matcher>... }]
//	    free              default|off | path <path pattern>... | { <matcher>... }
//	    price_map         <file> [<interval>]
//	    bots              <amount> <currency>|free [<agent>...]
//	    free_quota        <requests a day>
//	    discount          <from amount> <percent>
//	    pass              <duration> [<amount>]
//	    mode              enforce|log_only
//	    scope             <name>
//	    description       <text>
//	    reread            <times> [<duration>] | off
//	    credential_header Authorization|Payment-Authorization
//	    intent            session|charge [session|charge]
//	    identity_headers  <prefix>|off
//	    crawler_price     on|off
//	    openapi           [<path>] [minimal]
//	    origins           <origin>...
//	    page              builtin|error|<file>
//	    language          <tag>
//	    teaser {
//	        status        402|200
//	        selector      .<class>|#<id>
//	        max_bytes     <size>
//	        timeout       <duration>
//	    }
//	    meter             { ... }
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // payword
	switch short := d.RemainingArgs(); len(short) {
	case 0:
	case 3:
		if err := readVendor(h, d, short[0]); err != nil {
			return err
		}
		h.Price = short[1] + " " + short[2]
		if err := checkWrittenPrice(h.Price); err != nil {
			return d.Errf("price: %v", err)
		}
	default:
		return d.Err("want payword <vendor> <price> <currency>, such as: payword https://news.example 0.001 USD")
	}
	return readBlock(d, h, handlerOptions)
}

// handlerOptions are the options of the directive payword.
var handlerOptions = map[string]option[*Handler]{
	"vendor":            one("<origin>", readVendor),
	"price":             readPrice,
	"free":              readFree,
	"price_map":         readPriceMap,
	"bots":              readBots,
	"free_quota":        one("<requests a day>", readFreeQuota),
	"discount":          readDiscount,
	"pass":              readPass,
	"mode":              word("enforce|log_only", func(h *Handler) *string { return &h.Mode }),
	"scope":             word("<name>", func(h *Handler) *string { return &h.Scope }),
	"description":       word("<text, in quotes>", func(h *Handler) *string { return &h.Description }),
	"reread":            readReread,
	"credential_header": word("Authorization|Payment-Authorization", func(h *Handler) *string { return &h.CredentialHeader }),
	"intent":            readIntentOption,
	"identity_headers":  word("<prefix>|off", func(h *Handler) *string { return &h.IdentityHeaders }),
	"crawler_price":     word("on|off", func(h *Handler) *string { return &h.CrawlerPrice }),
	"openapi":           readOpenAPIOption,
	"origins":           readOrigins,
	"page":              readPage,
	"teaser":            readTeaser,
	"language":          word("<tag>", func(h *Handler) *string { return &h.Language }),
	"meter":             readMeter,
}

func readVendor(h *Handler, d *caddyfile.Dispenser, argument string) error {
	if err := payword.CheckOrigin(argument); err != nil {
		return d.Errf("vendor: %v", err)
	}
	if h.Vendor != "" {
		return d.Errf("the vendor stands here already, %s: want it once", h.Vendor)
	}
	h.Vendor = argument
	return nil
}

func readReread(h *Handler, d *caddyfile.Dispenser) error {
	arguments := d.RemainingArgs()
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
