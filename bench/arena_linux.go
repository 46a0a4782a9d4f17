package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/paywordhq/payword/bench/load"
	"github.com/paywordhq/payword/bench/process"
)

// payersEach is how many payers share a connection in turn, so that a gate looks
// up another commitment for each request, as on a real site.
const payersEach = 8

// arena is all servers, started at once and kept warm, and who asks them.
type arena struct {
	processors process.Processors
	servers    map[string]*server
	order      []string
	redis      *process.Child
	children   []*process.Child
	upstream   net.Listener
	chains     load.Chains
}

// server is one of them.
type server struct {
	site
	child  *process.Child
	client *load.Client
	rounds []round
	paid   int // answers to requests that paid, openings among them
	wrong  map[int]int
}

// round is what one server did in one turn.
type round struct {
	rate    float64 // answers a second
	micros  float64 // of the server's processor for each answer
	redis   float64 // of Redis' processor for each answer, in microseconds
	foreign float64 // processors that others used
	waits   []time.Duration
}

// openArena starts the servers that are in names; each payer can make a number
// of payments.
func openArena(ctx context.Context, p process.Processors, program, folder string, names map[string]bool, payments int) (*arena, error) {
	a := &arena{processors: p, servers: map[string]*server{}}
	if err := a.start(ctx, program, folder, names, payments); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *arena) start(ctx context.Context, program, folder string, names map[string]bool, payments int) error {
	keys := filepath.Join(folder, "broker-keys.json")
	document, err := load.BrokerKeys()
	if err != nil {
		return err
	}
	if err := os.WriteFile(keys, document, 0o600); err != nil {
		return err
	}
	redis, err := a.startRedis(ctx, folder)
	if err != nil {
		return err
	}
	if a.upstream, err = startUpstream(); err != nil {
		return err
	}
	if a.chains, err = load.NewChains(load.Connections*payersEach, payments); err != nil {
		return err
	}
	all, err := sites(redis)
	if err != nil {
		return err
	}
	for _, s := range all {
		if !names[s.name] {
			continue
		}
		if err := a.startSite(ctx, s, program, folder, keys); err != nil {
			return err
		}
	}
	return nil
}

// startSite starts one server, connects to it and opens its commitments.
func (a *arena) startSite(ctx context.Context, s site, program, folder, keys string) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	own := filepath.Join(folder, strings.NewReplacer(" ", "-", ",", "", "=", "").Replace(s.name))
	if err := os.Mkdir(own, 0o700); err != nil {
		return err
	}
	config := filepath.Join(own, "Caddyfile")
	text := s.caddyfile(address, own, keys, load.Issuer, a.upstream.Addr().String())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	child, err := process.Start(ctx, s.name, []int{a.processors.Server}, s.env, program, "run", "--adapter", "caddyfile", "--config", config)
	if err != nil {
		return err
	}
	a.children = append(a.children, child)
	if err := child.Listens(ctx, address); err != nil {
		return err
	}
	target := load.Target{Address: address, Header: s.header, Sleeps: s.answer == byUpstream}
	if s.isPaid {
		for k := range a.chains {
			payer, err := load.NewPayer("http://"+address, a.chains, k, time.Now())
			if err != nil {
				return err
			}
			target.Payers = append(target.Payers, payer)
		}
	}
	one := &server{site: s, child: child, wrong: map[int]int{}}
	if one.client, err = load.Dial(target); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	a.servers[s.name] = one
	a.order = append(a.order, s.name)
	if err := one.client.Open(); err != nil {
		return fmt.Errorf("%s: %w\n%s", s.name, err, child.Output())
	}
	one.paid = len(target.Payers)
	return nil
}

// startRedis starts a Redis that keeps nothing on disk, beside the generator.
func (a *arena) startRedis(ctx context.Context, folder string) (address string, err error) {
	if address, err = freeAddress(); err != nil {
		return "", err
	}
	_, port, _ := net.SplitHostPort(address)
	a.redis, err = process.Start(ctx, "redis-server", []int{a.processors.Generator}, nil, "redis-server",
		"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", folder)
	if err != nil {
		return "", fmt.Errorf("%w; make tools installs it", err)
	}
	a.children = append(a.children, a.redis)
	return address, a.redis.Listens(ctx, address)
}

// startUpstream serves what is behind reverse_proxy, in this program.
func startUpstream() (net.Listener, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		io.WriteString(w, body)
	}))
	return listener, nil
}

// freeAddress returns an address on this machine that nobody listens on.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// close ends everything.
func (a *arena) close() {
	for _, s := range a.servers {
		s.client.Close()
	}
	for k := len(a.children) - 1; k >= 0; k-- {
		a.children[k].Stop()
	}
	if a.upstream != nil {
		a.upstream.Close()
	}
}

// clocks is what everybody has used of the processors so far.
type clocks struct{ server, redis, own, all time.Duration }

func (a *arena) clocks(s *server) (c clocks, err error) {
	var errs [3]error
	c.server, errs[0] = s.child.Processor()
	c.redis, errs[1] = a.redis.Processor()
	c.own = process.Self()
	c.all, errs[2] = process.Busy()
	return c, errors.Join(errs[:]...)
}

// measure has one server answer for a while: as fast as it can, or at a constant
// rate if rate is not 0.
func (a *arena) measure(ctx context.Context, name string, rate int, length time.Duration) (round, error) {
	s := a.servers[name]
	// The first answers after a pause find cold caches, and are not counted.
	warm, err := s.client.Closed(ctx, length/8)
	if err != nil {
		return round{}, s.failed(err)
	}
	before, err := a.clocks(s)
	if err != nil {
		return round{}, err
	}
	var result load.Result
	if rate == 0 {
		result, err = s.client.Closed(ctx, length)
	} else {
		result, err = s.client.Constant(ctx, rate, length)
	}
	if err != nil {
		return round{}, s.failed(err)
	}
	after, err := a.clocks(s)
	if err != nil {
		return round{}, err
	}
	for _, r := range []load.Result{warm, result} {
		s.paid += r.Answers
		for status, count := range r.Wrong {
			s.wrong[status] += count
		}
	}
	each := func(used time.Duration) float64 {
		return float64(used.Nanoseconds()) / 1000 / float64(max(1, result.Answers))
	}
	used := after.minus(before)
	made := round{
		rate: float64(result.Answers) / result.Elapsed.Seconds(), micros: each(used.server), redis: each(used.redis),
		foreign: max(0, (used.all-used.server-used.redis-used.own).Seconds()/result.Elapsed.Seconds()), waits: result.Waits,
	}
	if rate == 0 {
		s.rounds = append(s.rounds, made)
	}
	return made, nil
}

func (c clocks) minus(before clocks) clocks {
	return clocks{c.server - before.server, c.redis - before.redis, c.own - before.own, c.all - before.all}
}

func (s *server) failed(err error) error {
	return fmt.Errorf("%s: %w\n%s", s.name, err, s.child.Output())
}
