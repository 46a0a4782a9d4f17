package broker

import (
	"context"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/paywordhq/payword/internal/ledger"
)

// scrapeTimeout is how long the figures that are in the database may take.
const scrapeTimeout = 2 * time.Second

// metrics counts what a broker does. No label names an account, a vendor or a
// commitment.
type metrics struct {
	registry     *prometheus.Registry
	requests     *prometheus.CounterVec
	seconds      *prometheus.HistogramVec
	refusals     *prometheus.CounterVec
	claims       *prometheus.CounterVec
	redeemed     prometheus.Counter
	transactions *prometheus.HistogramVec
	worked       atomic.Int64 // when the background work succeeded last, microseconds since 1970
}

func newMetrics(b *Broker) *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	m.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "payword_broker_requests_total", Help: "Requests by route and status code."}, []string{"route", "status"})
	m.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "payword_broker_request_seconds", Help: "How long requests took, in seconds.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 9)}, []string{"route"})
	m.refusals = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "payword_broker_refusals_total", Help: "Refused requests by reason."}, []string{"reason"})
	m.claims = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "payword_broker_claims_total", Help: "Claims of vendors by reason; accepted are those that were paid."}, []string{"reason"})
	m.redeemed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "payword_broker_redeemed_micros_total", Help: "What vendors were paid, in micros."})
	m.transactions = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "payword_broker_transaction_seconds", Help: "How long transactions that write took until they were durable, in seconds.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 4, 8)}, []string{"transaction"})
	m.worked.Store(b.config.Now().UnixMicro())
	age := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "payword_broker_background_age_seconds", Help: "Time since the background work succeeded last, in seconds."},
		func() float64 { return float64(b.config.Now().UnixMicro()-m.worked.Load()) / 1e6 })
	m.registry.MustRegister(m.requests, m.seconds, m.refusals, m.claims, m.redeemed, m.transactions, age, booksCollector{b},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// observe counts a transaction.
func (m *metrics) observe(name string, start time.Time) {
	m.transactions.WithLabelValues(name).Observe(time.Since(start).Seconds())
}

// countResults counts what came of claims.
func (m *metrics) countResults(part []*redemption) {
	for _, r := range part {
		m.claims.WithLabelValues(r.result.Reason.String()).Inc()
		m.redeemed.Add(float64(r.result.Due))
	}
}

// MetricsHandler serves the broker's metrics in Prometheus' format. It is for a
// listener that the public does not reach.
func (b *Broker) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(b.metrics.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// metricsMux serves them where Prometheus looks.
func (b *Broker) metricsMux() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", b.MetricsHandler())
	return mux
}

// countedWriter remembers the status of an answer.
type countedWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *countedWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *countedWriter) Write(part []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(part)
}

// Unwrap is for http.ResponseController.
func (w *countedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// countRequest counts a request that was answered.
func (m *metrics) countRequest(pattern string, w *countedWriter, start time.Time) {
	if pattern == "" {
		pattern = "none"
	}
	m.requests.WithLabelValues(pattern, strconv.Itoa(w.status)).Inc()
	m.seconds.WithLabelValues(pattern).Observe(time.Since(start).Seconds())
}

var (
	unassignedMicros = prometheus.NewDesc("payword_broker_unassigned_micros",
		"What came in and is nobody's, by currency, in micros.", []string{"currency"}, nil)
	owingAccounts = prometheus.NewDesc("payword_broker_owing_accounts",
		"Accounts that owe what was taken back after it was spent.", nil, nil)
	deliveriesWaiting = prometheus.NewDesc("payword_broker_deliveries_waiting",
		"Events that wait to be delivered to vendors.", nil, nil)
	outcomesByState = prometheus.NewDesc("payword_broker_outcomes",
		"What clearing learnt from the bank and is not done: waiting, or failed.", []string{"state"}, nil)
)

// booksCollector reads figures from the database when they are asked for.
type booksCollector struct{ broker *Broker }

// Describe implements prometheus.Collector.
func (c booksCollector) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- unassignedMicros
	descriptions <- owingAccounts
	descriptions <- deliveriesWaiting
	descriptions <- outcomesByState
}

// Collect implements prometheus.Collector. Without an answer of the database
// there are no figures rather than wrong ones.
func (c booksCollector) Collect(found chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	err := c.broker.store.db.View(ctx, func(tx *ledger.Tx) error {
		accounts, err := tx.Accounts(ctx, "broker:unassigned", "", ledger.MaxPage)
		if err != nil {
			return err
		}
		owing, err := countOf(ctx, tx, `SELECT COUNT(*) FROM broker_debts WHERE open = 1`)
		if err != nil {
			return err
		}
		waiting, err := countOf(ctx, tx, `SELECT COUNT(*) FROM broker_deliveries WHERE state = 'waiting'`)
		if err != nil {
			return err
		}
		undone, failed, err := outcomeCounts(ctx, tx)
		if err != nil {
			return err
		}
		for _, account := range accounts {
			found <- prometheus.MustNewConstMetric(unassignedMicros, prometheus.GaugeValue, float64(account.Balance), account.Currency.Code())
		}
		found <- prometheus.MustNewConstMetric(owingAccounts, prometheus.GaugeValue, float64(owing))
		found <- prometheus.MustNewConstMetric(deliveriesWaiting, prometheus.GaugeValue, float64(waiting))
		found <- prometheus.MustNewConstMetric(outcomesByState, prometheus.GaugeValue, float64(undone), "waiting")
		found <- prometheus.MustNewConstMetric(outcomesByState, prometheus.GaugeValue, float64(failed), "failed")
		return nil
	})
	if err != nil {
		c.broker.log.WarnContext(ctx, "metrics without the books", "error", err)
	}
}

// countOf returns the number that a query counts.
func countOf(ctx context.Context, tx *ledger.Tx, query string, arguments ...any) (count int64, err error) {
	err = tx.QueryRowContext(ctx, query, arguments...).Scan(&count)
	return count, err
}
