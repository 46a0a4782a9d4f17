package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/paywordhq/payword/bench/report"
	"github.com/paywordhq/payword/bench/stats"
)

// The tables of the report.
const (
	groupWeb    = "A paid request in Caddy"
	groupOpen   = "At a constant rate"
	groupHonest = "Honest payments"
)

// openRate is how many requests a second the open loop sends.
const openRate = 2500

// duel compares two servers, in turns.
type duel struct {
	id, contender, baseline string
	rate                    int // 0: closed loop
	figures                 []figure
}

// figure is one thing that a duel compares.
type figure struct {
	id, group, what string
	of              func(contender, baseline round) float64
	bar             *report.Bar
	unit            string
}

func rates(c, b round) float64   { return c.rate / b.rate }
func micros(c, b round) float64  { return c.micros / b.micros }
func redisof(c, b round) float64 { return c.redis / b.redis }
func waits(c, b round) float64   { return float64(nearlyAll(c)) / float64(nearlyAll(b)) }

// nearlyAll returns what 99 of 100 requests wait at most.
func nearlyAll(r round) time.Duration { return r.waits[len(r.waits)*99/100] }

// ratios is what is compared of most duels: answers a second and processor time
// for each.
func ratios(what string, bar *report.Bar) []figure {
	return []figure{
		{"", groupWeb, what, rates, bar, "×"},
		{"-cpu", groupWeb, "the same, CPU per request", micros, nil, "×"},
	}
}

// duels is everything that is compared by HTTP.
var duels = []duel{
	{id: "http/same", contender: "bare, again", baseline: "bare",
		figures: ratios("bare Caddy / another bare Caddy: what cannot be told apart", nil)},
	{id: "http/async", contender: "gate", baseline: "bare", figures: append(
		ratios("gate, in memory / bare Caddy that ignores the payment", report.AtLeast(0.97)),
		figure{"-rate", groupWeb, "gate, in memory, on one processor", func(c, _ round) float64 { return c.rate }, report.AtLeast(25_000), "requests/s"})},
	{id: "http/basicauth", contender: "gate", baseline: "basic_auth",
		figures: ratios("gate, in memory / Caddy's basic_auth with a warm cache", report.AtLeast(1.05))},
	{id: "http/proxy", contender: "gate, reverse_proxy", baseline: "reverse_proxy",
		figures: ratios("gate and reverse_proxy / reverse_proxy", report.AtLeast(0.99))},
	{id: "http/sync", contender: "gate, sync", baseline: "bare",
		figures: ratios("gate, on disk before the answer / bare Caddy", report.AtLeast(0.70))},
	{id: "http/sync2", contender: "gate, sync, GOMAXPROCS=2", baseline: "bare",
		figures: ratios("the same with GOMAXPROCS=2 / bare Caddy", nil)},
	{id: "http/redis", contender: "gate, Redis", baseline: "bare",
		figures: ratios("gate on Redis / bare Caddy", report.AtLeast(0.90))},
	{id: "http/naive", contender: "gate, Redis", baseline: "naive, Redis", figures: append(
		ratios("gate on Redis / one EVALSHA for each request", report.AtLeast(1.5)),
		figure{"-redis", groupWeb, "gate on Redis / one EVALSHA for each request, Redis' CPU per request", redisof, report.AtMost(0.25), "×"})},
	{id: "open/async", contender: "gate", baseline: "bare", rate: openRate, figures: []figure{
		{"-cpu", groupOpen, "gate, in memory / bare Caddy, CPU per request", micros, report.AtMost(1.03), "×"},
		{"-p99", groupOpen, "gate, in memory / bare Caddy, longest wait of 99 of 100 requests", waits, report.AtMost(1.10), "×"},
	}},
	{id: "open/redis", contender: "gate, Redis", baseline: "bare", rate: openRate, figures: []figure{
		{"-cpu", groupOpen, "gate on Redis / bare Caddy, CPU per request", micros, nil, "×"},
		{"-p99", groupOpen, "gate on Redis / bare Caddy, longest wait of 99 of 100 requests", waits, nil, "×"},
	}},
}

// fastest is more answers a second than any server here gives on one processor:
// chains are made that long.
const fastest = 60_000

// plan says how much is measured.
type plan struct {
	mode          string
	rounds        int           // of each duel by HTTP
	length        time.Duration // of one turn in closed loop
	openRounds    int
	openLength    time.Duration
	goRounds      int           // of each Go benchmark that is compared with another
	metricRounds  int           // of each that compares by itself
	goLength      time.Duration // of one turn of it
	browserRounds int
}

// payments returns how many payments one payer may have to make.
func (p plan) payments(chosen []duel) int {
	turns := 0.0 // in seconds, of the server that is asked most
	for _, d := range chosen {
		if d.rate == 0 {
			turns += 1.25 * p.length.Seconds() * float64(p.rounds)
		} else {
			turns += 0.4 * p.openLength.Seconds() * float64(p.openRounds)
		}
	}
	return int(turns*fastest)/(64*payersEach) + 100
}

// fight has every duel fought in turns, and returns the rows of the report: of what
// was measured until something failed.
func (a *arena) fight(ctx context.Context, chosen []duel, p plan, say func(string, ...any)) (rows []report.Row, err error) {
	values := make(map[string][]float64)
	for k := range max(p.rounds, p.openRounds) {
		for _, d := range chosen {
			rounds, length := p.rounds, p.length
			if d.rate != 0 {
				rounds, length = p.openRounds, p.openLength
			}
			if k >= rounds || err != nil {
				continue
			}
			var contender, baseline round
			if contender, baseline, err = a.pair(ctx, d, length, k%2 == 1); err != nil {
				continue
			}
			for _, f := range d.figures {
				values[d.id+f.id] = append(values[d.id+f.id], f.of(contender, baseline))
			}
			say("round %d of %d, %-14s %6.0f / %6.0f requests/s, %5.1f / %5.1f CPU µs, others %.2f CPUs", k+1, rounds, d.id,
				contender.rate, baseline.rate, contender.micros, baseline.micros, (contender.foreign+baseline.foreign)/2)
		}
	}
	for _, d := range chosen {
		for _, f := range d.figures {
			row := report.Row{ID: d.id + f.id, Group: f.group, What: f.what, Ratio: stats.Of(values[d.id+f.id]), Unit: f.unit, Bar: f.bar}
			if row.Ratio.Count == 0 {
				row.Missing = "something failed before"
			}
			rows = append(rows, row)
		}
	}
	return rows, err
}

// pair has the two of a duel take their turns.
func (a *arena) pair(ctx context.Context, d duel, length time.Duration, isReversed bool) (contender, baseline round, err error) {
	turns := []struct {
		name  string
		round *round
	}{{d.contender, &contender}, {d.baseline, &baseline}}
	if isReversed {
		slices.Reverse(turns)
	}
	for _, turn := range turns {
		if *turn.round, err = a.measure(ctx, turn.name, d.rate, length); err != nil {
			return contender, baseline, err
		}
	}
	return contender, baseline, nil
}

// tables returns what each server did, and how many payments were refused over
// all of them, if any was made.
func (a *arena) tables() (servers []report.Server, refused []report.Row) {
	paid, wrong := 0, 0
	for _, name := range a.order {
		s := a.servers[name]
		column := func(of func(round) float64) stats.Summary {
			var values []float64
			for _, r := range s.rounds {
				values = append(values, of(r))
			}
			return stats.Of(values)
		}
		one := report.Server{
			Name: name, Answers: s.paid, IsPaid: s.site.isGate(),
			Rate: column(func(r round) float64 { return r.rate }), Micros: column(func(r round) float64 { return r.micros }),
			Foreign: column(func(r round) float64 { return r.foreign }),
		}
		if s.usesRedis() {
			one.Redis = column(func(r round) float64 { return r.redis })
		}
		for _, r := range s.rounds {
			one.RatesEach = append(one.RatesEach, r.rate)
		}
		for _, count := range s.wrong {
			one.Refused += count
		}
		if one.IsPaid {
			paid, wrong = paid+one.Answers, wrong+one.Refused
		}
		servers = append(servers, one)
	}
	if paid == 0 {
		return servers, nil
	}
	return servers, []report.Row{{
		ID: "honest/http", Group: groupHonest, What: "honest payments refused by the servers above", Ratio: stats.Of([]float64{float64(wrong)}),
		Bar: report.AtMost(0), Unit: "", Note: fmt.Sprintf("of %d", paid),
	}}
}
