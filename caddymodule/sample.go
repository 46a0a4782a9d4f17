package caddymodule

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

const (
	// sampleInterval is how often the commitments are walked for the sums that
	// no step of the store tells. A walk over a million takes less than a second
	// of one processor and holds no lock for longer than one commitment, so
	// neither requests nor scrapes wait for it.
	sampleInterval = time.Minute

	// sharedSampleInterval is the same where they come over the network, a
	// kilobyte or more each.
	sharedSampleInterval = 15 * time.Minute

	// maxUnredeemed bounds the memory of since when commitments wait to be
	// redeemed, at 40 bytes each. Past it the newest go untracked, which are
	// not the oldest.
	maxUnredeemed = 100_000
)

// account is all that a store knows of a commitment.
type account struct {
	commitment  *payword.Commitment // its Certificate.Token may be empty: it stands in Token
	reservation string              // JWS
	redeemBy    int64               // seconds since 1970
	state       payword.State       // a copy of its own
	final       bool                // the last claim was acknowledged
}

// lister is a store that can list what it knows. Admin routes, the sums of the
// metrics and redeem_above need it; without it they are not there.
type lister interface {
	// accounts calls yield for every commitment, in no order, and stops when it
	// returns false. What is yielded is durable or about to be. The store may
	// change while yield runs.
	accounts(ctx context.Context, yield func(account) bool) error
}

var _ lister = (*fileStore)(nil)

func (s *fileStore) accounts(ctx context.Context, yield func(account) bool) error {
	if s.journal != nil { // one that was read from its files has none
		if err := s.journal.refused(); err != nil {
			return err
		}
	}
	for k := range s.shards {
		for e := range s.shards[k].all() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if found, known := e.account(); known && !yield(found) {
				return nil
			}
		}
	}
	return nil
}

// account returns what is known of an entry, unless it was forgotten.
func (e *entry) account() (account, bool) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	state := e.state
	state.Recent = append([]payword.Request(nil), e.state.Recent...)
	return account{
		commitment: e.commitment, reservation: e.reservation, redeemBy: e.redeemBy,
		state: state, final: e.final,
	}, !e.forgotten
}

// sums are what a walk over all commitments of one currency came to, in micros.
type sums struct {
	open       int // neither closed nor expired
	accepted   money.Amount
	spent      money.Amount
	credit     money.Amount // accepted and not spent, of those that are open
	claimed    money.Amount // acknowledged by the brokers
	unredeemed money.Amount // spent and not acknowledged
	claimable  money.Amount // what of that can be claimed now
}

// sample is what a walk over all commitments found.
type sample struct {
	at          time.Time
	commitments int
	byCurrency  map[money.Currency]sums
	oldest      time.Duration // how long the oldest unredeemed charge waits; 0: none
	margin      time.Duration // until the first redeem_by of what is unredeemed; meaningless if there is none
	waiting     bool          // something is unredeemed
}

// sampler walks the commitments now and then. It survives reloads.
type sampler struct {
	mutex sync.Mutex
	since map[payword.CommitmentID]int64 // when a commitment was first seen unredeemed
}

func newSampler() *sampler { return &sampler{since: make(map[payword.CommitmentID]int64)} }

// take walks the commitments. What can be claimed depends on claimDelay, in
// seconds, as in payword.State.Claimable.
func (s *sampler) take(ctx context.Context, from lister, now time.Time, claimDelay int64) (*sample, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	taken := &sample{at: now, byCurrency: make(map[money.Currency]sums)}
	seconds, still := now.Unix(), make(map[payword.CommitmentID]int64)
	oldest, margin := seconds, int64(1<<62)
	err := from.accounts(ctx, func(a account) bool {
		taken.commitments++
		taken.add(&a, seconds, claimDelay)
		if a.state.Spent() <= a.state.Claimed || seconds >= a.redeemBy+payword.SkewSeconds {
			return true // nothing waits, or nothing can be claimed any more
		}
		since, known := s.since[a.commitment.ID]
		if !known {
			since = seconds
		}
		if len(still) < maxUnredeemed {
			still[a.commitment.ID] = since
		}
		oldest, margin, taken.waiting = min(oldest, since), min(margin, a.redeemBy-seconds), true
		return true
	})
	if err != nil {
		return nil, err
	}
	s.since = still
	taken.oldest = time.Duration(seconds-oldest) * time.Second
	taken.margin = time.Duration(min(margin, 1<<33)) * time.Second
	return taken, nil
}

func (s *sample) add(a *account, now, claimDelay int64) {
	m := a.commitment
	sum := s.byCurrency[m.Currency]
	accepted, spent := a.state.Accepted(m), a.state.Spent()
	sum.accepted += accepted
	sum.spent += spent
	sum.claimed += a.state.Claimed
	sum.unredeemed += max(0, spent-a.state.Claimed)
	sum.claimable += a.state.Claimable(now, claimDelay) - a.state.Claimed
	if !a.state.Closed && now < m.Expires {
		sum.open++
		sum.credit += max(0, accepted-spent)
	}
	s.byCurrency[m.Currency] = sum
}

// samplePeriodically walks the commitments until ctx ends, and wakes the
// redemption if what waits is much, or waits for long.
func (a *App) samplePeriodically(ctx context.Context) {
	interval := sharedSampleInterval
	if _, isFile := asStore[*fileStore](a.gate.store); isFile {
		interval = sampleInterval
	}
	for {
		if err := a.takeSampleAndWake(ctx); err != nil && ctx.Err() == nil {
			a.logger.Error("walking the commitments for the metrics", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(interval):
		}
	}
}

// takeSample walks the commitments once.
func (a *App) takeSample(ctx context.Context) error {
	from, can := asStore[lister](a.gate.store)
	if !can {
		return nil
	}
	taken, err := a.gate.sampler.take(ctx, from, a.now(), a.claimDelaySeconds())
	if err != nil {
		return err
	}
	a.gate.metrics.sample.newest.Store(taken)
	return nil
}

// takeSampleAndWake takes a sample and wakes the redemption if it is urgent. A
// redemption itself takes one without: what it had to leave, because a broker is
// away or a claim was refused, is as urgent as before, and it would never rest.
func (a *App) takeSampleAndWake(ctx context.Context) error {
	if err := a.takeSample(ctx); err != nil {
		return err
	}
	if taken := a.gate.metrics.sample.newest.Load(); taken != nil && a.isRedemptionUrgent(taken) {
		a.gate.wakeRedemption()
	}
	return nil
}

// sampleCollector shows the newest sample to scrapes, which wait for nothing.
type sampleCollector struct {
	newest atomic.Pointer[sample]

	open, accepted, spent, credit, acknowledged, unredeemed *prometheus.Desc

	commitments, oldest, margin, at *prometheus.Desc
}

func newSampleCollector() *sampleCollector {
	money := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help+" Sampled in the background.", []string{"currency"}, nil)
	}
	plain := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(name, help+" Sampled in the background.", nil, nil)
	}
	return &sampleCollector{
		open:         money("caddy_payword_commitments_open", "Commitments that are neither closed nor expired."),
		accepted:     money("caddy_payword_accepted_micros", "What the tails of all known commitments prove, in millionths of the currency."),
		spent:        money("caddy_payword_spent_micros", "What was charged and not given back on all known commitments, in millionths of the currency."),
		credit:       money("caddy_payword_credit_outstanding_micros", "What was accepted and not spent on open commitments, in millionths of the currency."),
		acknowledged: money("caddy_payword_redeemed_micros", "What brokers acknowledged of all known commitments, in millionths of the currency."),
		unredeemed:   money("caddy_payword_unredeemed_micros", "What was spent and no broker has acknowledged, in millionths of the currency."),
		commitments:  plain("caddy_payword_commitments_known", "Commitments that the store knows."),
		oldest:       plain("caddy_payword_unredeemed_oldest_seconds", "How long the oldest charge that no broker acknowledged has waited, in seconds, counted from the start of the process at the most; 0 if there is none."),
		margin:       plain("caddy_payword_redeem_by_margin_seconds", "Until the first redeem_by of what no broker has acknowledged, in seconds; absent if there is nothing."),
		at:           plain("caddy_payword_sampled_timestamp_seconds", "When the commitments were last walked, in seconds since 1970."),
	}
}

// Describe implements prometheus.Collector.
func (c *sampleCollector) Describe(descriptions chan<- *prometheus.Desc) {
	for _, description := range []*prometheus.Desc{
		c.open, c.accepted, c.spent, c.credit, c.acknowledged, c.unredeemed, c.commitments, c.oldest, c.margin, c.at,
	} {
		descriptions <- description
	}
}

// Collect implements prometheus.Collector.
func (c *sampleCollector) Collect(collected chan<- prometheus.Metric) {
	taken := c.newest.Load()
	if taken == nil {
		return
	}
	gauge := func(description *prometheus.Desc, value float64, labels ...string) {
		collected <- prometheus.MustNewConstMetric(description, prometheus.GaugeValue, value, labels...)
	}
	for currency, sum := range taken.byCurrency {
		code := currency.Code()
		gauge(c.open, float64(sum.open), code)
		gauge(c.accepted, float64(sum.accepted), code)
		gauge(c.spent, float64(sum.spent), code)
		gauge(c.credit, float64(sum.credit), code)
		gauge(c.acknowledged, float64(sum.claimed), code)
		gauge(c.unredeemed, float64(sum.unredeemed), code)
	}
	gauge(c.commitments, float64(taken.commitments))
	gauge(c.oldest, taken.oldest.Seconds())
	gauge(c.at, float64(taken.at.Unix()))
	if taken.waiting {
		gauge(c.margin, taken.margin.Seconds())
	}
}
