package main

import (
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// site is one of the servers that are compared.
type site struct {
	name   string
	global string // of the Caddyfile, in the global option payword; no gate if empty
	route  string // of the Caddyfile, before what answers
	answer answering
	isPaid bool     // requests pay
	header string   // lines that requests carry besides
	env    []string // of the server
}

// answering says who answers what was let through.
type answering int

const (
	byCaddy    answering = iota // a fixed text of 1 KB
	byUpstream                  // a server behind reverse_proxy, with the same text
)

// oneProcessor is what the servers run with: they have one, and Go would know it
// from how they are pinned.
var oneProcessor = []string{"GOMAXPROCS=1"}

// twoThreads lets a second thread of Go run on the one processor while the first
// waits for the disk.
var twoThreads = []string{"GOMAXPROCS=2"}

const gateRoute = "payword"

// The user of the site with basic_auth, for whom there is a test password.
const (
	basicUser     = "payer"
	basicPassword = "not-a-secret"
)

// sites returns all servers. Redis listens at redis.
func sites(redis string) ([]site, error) {
	// How dear the hash is does not matter: Caddy remembers who was let in.
	hash, err := bcrypt.GenerateFromPassword([]byte(basicPassword), bcrypt.MinCost)
	if err != nil {
		return nil, err
	}
	return []site{
		{name: "bare", isPaid: true, env: oneProcessor},
		{name: "bare, again", isPaid: true, env: oneProcessor},
		{name: "basic_auth", route: fmt.Sprintf("basic_auth {\n%s %s\n}", basicUser, hash), header: basicHeader, env: oneProcessor},
		{name: "gate", global: "durability async", route: gateRoute, isPaid: true, env: oneProcessor},
		{name: "gate, sync", global: "durability sync", route: gateRoute, isPaid: true, env: oneProcessor},
		{name: "gate, sync, GOMAXPROCS=2", global: "durability sync", route: gateRoute, isPaid: true, env: twoThreads},
		{name: "gate, Redis", global: "redis " + redis, route: gateRoute, isPaid: true, env: oneProcessor},
		{name: "naive, Redis", route: "naive_payword " + redis, isPaid: true, env: oneProcessor},
		{name: "reverse_proxy", answer: byUpstream, isPaid: true, env: oneProcessor},
		{name: "gate, reverse_proxy", global: "durability async", route: gateRoute, answer: byUpstream, isPaid: true, env: oneProcessor},
	}, nil
}

// basicHeader is base64 of the user and the password.
const basicHeader = "Authorization: Basic cGF5ZXI6bm90LWEtc2VjcmV0\r\n"

// body is what every site answers: 1 KB.
var body = strings.Repeat("A page that costs a little, one line of sixty-four characters.\n\n", 16)

// caddyfile returns the configuration of a site that listens at address and
// keeps its things in folder.
func (s site) caddyfile(address, folder, keys, issuer, upstream string) string {
	payword, route, answer := "", s.route, fmt.Sprintf("respond `%s`", body)
	if s.answer == byUpstream {
		answer = "reverse_proxy " + upstream
	}
	if s.route == gateRoute {
		payword = fmt.Sprintf(`payword {
		broker %s %s
		store %s
		redeem_interval 0
		rate_limit openings off
		rate_limit refusals off
		%s
	}`, issuer, keys, folder, s.global)
		route = fmt.Sprintf("payword http://%s 0.000001 USD", address)
	}
	return fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	default_bind 127.0.0.1
	storage file_system %s
	log {
		level ERROR
		format payword
	}
	%s
}
http://%s {
	%s
	%s
}
`, folder, payword, address, route, answer)
}

// isGate reports whether requests are let through for their payment alone.
func (s site) isGate() bool { return s.route == gateRoute || strings.HasPrefix(s.route, "naive") }

func (s site) usesRedis() bool {
	return strings.HasPrefix(s.global, "redis ") || strings.HasPrefix(s.route, "naive")
}
