package caddymodule

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// maxMeteredVendors bounds the vendor label. Vendors come from the
// configuration; reloads over years could still name many.
const maxMeteredVendors = 1000

// otherVendors is the label of every vendor past maxMeteredVendors.
const otherVendors = "other"

// More values of the label result of caddy_payword_requests_total, besides those
// of the header for the upstream: requests that never reach it, or on which
// nothing was decided.
const (
	resultManaged     = "managed"
	resultPrefetch    = "prefetch"
	resultPreflight   = "preflight"
	resultUnavailable = "unavailable"
)

// results are all of them, so that a series exists before it is first counted.
var results = []string{
	resultPaid, resultFree, resultReread, resultRepeat, resultManaged,
	resultPrefetch, resultPreflight, resultRefused, resultUnavailable,
}

// metrics counts what a gate does. It belongs to the gate, so counters go on
// over reloads; every configuration registers it with its own registry. No
// label names a user, a commitment or a path.
type metrics struct {
	requests      *prometheus.CounterVec
	refusals      *prometheus.CounterVec
	free          *prometheus.CounterVec
	charged       *prometheus.CounterVec
	returned      *prometheus.CounterVec
	opened        *prometheus.CounterVec
	toppedUp      *prometheus.CounterVec
	steps         prometheus.Histogram
	verifications *prometheus.CounterVec
	storeSeconds  *prometheus.HistogramVec
	storeErrors   *prometheus.CounterVec
	storeUp       prometheus.Gauge
	claims        *prometheus.CounterVec
	claimRefusals *prometheus.CounterVec
	due           *prometheus.CounterVec
	eventsDropped prometheus.Counter
	sample        *sampleCollector
	gate          *gateCollector

	last    atomic.Pointer[lastCharged]
	mutex   sync.RWMutex
	vendors map[string]*vendorMetrics
}

var _ prometheus.Collector = (*metrics)(nil)

// vendorMetrics are the counters of one vendor, looked up once, because a
// request must not pay for finding them by their labels.
type vendorMetrics struct {
	requests map[string]prometheus.Counter // by result
	refusals []prometheus.Counter          // by reason
	opened   prometheus.Counter
	toppedUp prometheus.Counter
	charged  sync.Map // payword currency -> prometheus.Counter
	returned sync.Map // the same
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func newMetrics(g *gate) *metrics {
	return &metrics{
		requests:      counter("caddy_payword_requests_total", "Requests that the gate decided on, by what became of them.", "vendor", "result"),
		refusals:      counter("caddy_payword_refusals_total", "Requests that were refused, by the reason in the protocol's closed list.", "vendor", "reason"),
		free:          counter("caddy_payword_free_requests_total", "Requests that were served without being asked to pay, by why.", "vendor", "why"),
		charged:       counter("caddy_payword_charged_micros_total", "What was charged, in millionths of the currency.", "vendor", "currency"),
		returned:      counter("caddy_payword_returned_micros_total", "What was charged and given back, in millionths of the currency.", "vendor", "currency"),
		opened:        counter("caddy_payword_commitments_opened_total", "Commitments that were opened.", "vendor"),
		toppedUp:      counter("caddy_payword_commitments_topped_up_total", "Commitments that a later reservation raised.", "vendor"),
		verifications: counter("caddy_payword_verifications_total", "Signed objects that were verified, by kind and outcome.", "kind", "outcome"),
		steps: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "caddy_payword_verification_hashes", Help: "Hashes computed to verify the payword of one request.",
			Buckets: []float64{0, 1, 2, 4, 16, 64, 256, 1024, 4096, 16384},
		}),
		storeSeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "caddy_payword_store_step_seconds", Help: "How long a step of the store took until it was durable, in seconds.",
			Buckets: []float64{0.00001, 0.00005, 0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5},
		}, []string{"step"}),
		storeErrors: counter("caddy_payword_store_errors_total", "Steps of the store that failed, so that the gate could not tell.", "step"),
		storeUp: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "caddy_payword_store_up", Help: "1 if the last step of the store succeeded, 0 if it failed.",
		}),
		claims:        counter("caddy_payword_claims_total", "Claims sent to brokers, by what became of them: paid, refused, or failed where no answer came.", "broker", "outcome"),
		claimRefusals: counter("caddy_payword_claim_refusals_total", "Claims that a broker refused, by reason.", "broker", "reason"),
		due:           counter("caddy_payword_due_micros_total", "What brokers said is newly payable to the vendor, in millionths of the currency.", "broker", "currency"),
		eventsDropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "caddy_payword_events_dropped_total", Help: "Events that were not emitted because too many came at once.",
		}),
		sample:  newSampleCollector(),
		gate:    newGateCollector(g),
		vendors: make(map[string]*vendorMetrics),
	}
}

func (m *metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.requests, m.refusals, m.free, m.charged, m.returned, m.opened, m.toppedUp, m.steps, m.verifications,
		m.storeSeconds, m.storeErrors, m.storeUp, m.claims, m.claimRefusals, m.due,
		m.eventsDropped, m.sample, m.gate,
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(descriptions chan<- *prometheus.Desc) {
	for _, collector := range m.collectors() {
		collector.Describe(descriptions)
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(collected chan<- prometheus.Metric) {
	for _, collector := range m.collectors() {
		collector.Collect(collected)
	}
}

// register makes a registry know the metrics. Several sites of a configuration
// share one registry, so it may know them already.
func (m *metrics) register(registry *prometheus.Registry) error {
	err := registry.Register(m)
	if _, known := err.(prometheus.AlreadyRegisteredError); known {
		return nil
	}
	return err
}

// vendor returns the counters of a vendor.
func (m *metrics) vendor(name string) *vendorMetrics {
	m.mutex.RLock()
	known := m.vendors[name]
	m.mutex.RUnlock()
	if known != nil {
		return known
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if len(m.vendors) >= maxMeteredVendors && m.vendors[name] == nil {
		name = otherVendors
	}
	if m.vendors[name] == nil {
		m.vendors[name] = m.newVendor(name)
	}
	return m.vendors[name]
}

func (m *metrics) newVendor(name string) *vendorMetrics {
	v := &vendorMetrics{
		requests: make(map[string]prometheus.Counter, len(results)),
		refusals: make([]prometheus.Counter, len(payword.Reasons())+1),
		opened:   m.opened.WithLabelValues(name),
		toppedUp: m.toppedUp.WithLabelValues(name),
	}
	for _, result := range results {
		v.requests[result] = m.requests.WithLabelValues(name, result)
	}
	for _, reason := range payword.Reasons() {
		v.refusals[reason] = m.refusals.WithLabelValues(name, reason.String())
	}
	return v
}

// money counts an amount, in micros, of a vendor.
func (m *metrics) money(vector *prometheus.CounterVec, known *sync.Map, vendor string, currency money.Currency, amount money.Amount) {
	if amount <= 0 {
		return
	}
	counter, found := known.Load(currency)
	if !found {
		counter, _ = known.LoadOrStore(currency, vector.WithLabelValues(vendor, currency.Code()))
	}
	counter.(prometheus.Counter).Add(float64(amount))
	if vector == m.charged {
		m.last.Store(&lastCharged{vendor, currency, counter.(prometheus.Counter)})
	}
}

// lastCharged is the counter that a charge was counted by last. Most gates have
// one vendor and one currency.
type lastCharged struct {
	vendor   string
	currency money.Currency
	counter  prometheus.Counter
}

// charge counts what one step of the store charged.
func (m *metrics) charge(commitment *payword.Commitment, amount money.Amount) {
	if last := m.last.Load(); amount > 0 && last != nil && last.vendor == commitment.Vendor && last.currency == commitment.Currency {
		last.counter.Add(float64(amount))
		return
	}
	m.money(m.charged, &m.vendor(commitment.Vendor).charged, commitment.Vendor, commitment.Currency, amount)
}

// giveBack counts what one step of the store gave back.
func (m *metrics) giveBack(commitment *payword.Commitment, amount money.Amount) {
	m.money(m.returned, &m.vendor(commitment.Vendor).returned, commitment.Vendor, commitment.Currency, amount)
}

// verified counts the check of a signed object.
func (m *metrics) verified(kind string, refused bool) {
	outcome := "accepted"
	if refused {
		outcome = resultRefused
	}
	m.verifications.WithLabelValues(kind, outcome).Inc()
}

// count counts what became of a request.
func (x *exchange) count(refusal payword.Refusal) {
	v := x.counters.Load()
	if v == nil {
		v = x.gate.metrics.vendor(x.Vendor)
		x.counters.Store(v)
	}
	if counter, found := v.requests[x.meteredResult(refusal)]; found {
		counter.Inc()
	}
	if refusal.Refused() && int(refusal.Reason) < len(v.refusals) {
		v.refusals[refusal.Reason].Inc()
	}
}

// meteredResult is resultOf, but tells what manages a commitment from what is
// served.
func (x *exchange) meteredResult(refusal payword.Refusal) string {
	if !refusal.Refused() && x.sent.action != payword.ActionPay {
		return resultManaged
	}
	return x.resultOf(refusal)
}

// countUndecided counts a request on which nothing was decided: it was not for
// the gate to decide, or it could not tell.
func (h *Handler) countUndecided(result string) {
	if h.app.open() == nil {
		h.app.gate.metrics.vendor(h.Vendor).requests[result].Inc()
	}
}

// countFree counts a request that is free, by why it is.
func (h *Handler) countFree(why string) {
	if h.app.open() == nil {
		h.app.gate.metrics.free.WithLabelValues(h.Vendor, why).Inc()
	}
}
