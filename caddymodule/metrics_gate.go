package caddymodule

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// gateCollector shows what other parts of the gate remember anyway. It asks them
// when it is scraped; each answers from memory.
type gateCollector struct {
	gate *gate

	keysAge, listAge, unearned, unearnedRequests, streams *prometheus.Desc
}

func newGateCollector(g *gate) *gateCollector {
	return &gateCollector{
		gate: g,
		keysAge: prometheus.NewDesc("caddy_payword_broker_keys_age_seconds",
			"How long ago a broker's keys were last read or fetched, in seconds.", []string{"broker"}, nil),
		listAge: prometheus.NewDesc("caddy_payword_hot_list_age_seconds",
			"How long ago a broker last confirmed the oldest of its hot lists in use, in seconds.", []string{"broker"}, nil),
		unearned: prometheus.NewDesc("caddy_payword_unearned_micros_total",
			"What would have been charged in log-only mode, in millionths of the currency.", []string{"vendor", "rule"}, nil),
		unearnedRequests: prometheus.NewDesc("caddy_payword_unearned_requests_total",
			"Requests that would have been charged in log-only mode.", []string{"vendor", "rule"}, nil),
		streams: prometheus.NewDesc("caddy_payword_streams_open", "Answers that are being delivered and charged as they flow.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *gateCollector) Describe(descriptions chan<- *prometheus.Desc) {
	for _, description := range []*prometheus.Desc{c.keysAge, c.listAge, c.unearned, c.unearnedRequests, c.streams} {
		descriptions <- description
	}
}

// Collect implements prometheus.Collector.
func (c *gateCollector) Collect(collected chan<- prometheus.Metric) {
	for broker, at := range c.gate.keys.installedAt() {
		collected <- prometheus.MustNewConstMetric(c.keysAge, prometheus.GaugeValue, time.Since(at).Seconds(), broker)
	}
	for broker, at := range c.gate.hotLists.oldestConfirmed() {
		collected <- prometheus.MustNewConstMetric(c.listAge, prometheus.GaugeValue, time.Since(time.Unix(at, 0)).Seconds(), broker)
	}
	collected <- prometheus.MustNewConstMetric(c.streams, prometheus.GaugeValue, float64(c.gate.streams.count()))
	for key, sum := range c.gate.unearned.all() {
		collected <- prometheus.MustNewConstMetric(c.unearned, prometheus.CounterValue, float64(sum.Amount), key.Vendor, key.Rule)
		collected <- prometheus.MustNewConstMetric(c.unearnedRequests, prometheus.CounterValue, float64(sum.Requests), key.Vendor, key.Rule)
	}
}

// count returns how many streams are open.
func (s *streams) count() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return len(s.byID)
}

// oldestConfirmed returns when each broker last confirmed the oldest of its
// lists, in seconds since 1970.
func (h *hotLists) oldestConfirmed() map[string]int64 {
	oldest := make(map[string]int64)
	lists := h.lists.Load()
	if lists == nil {
		return oldest
	}
	for _, list := range *lists {
		at := list.confirmed.Load()
		if at == 0 { // never had
			continue
		}
		if known, found := oldest[list.issuer]; !found || at < known {
			oldest[list.issuer] = at
		}
	}
	return oldest
}
