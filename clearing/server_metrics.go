package clearing

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/paywordhq/payword/internal/ledger"
)

// metricsTimeout is how long the figures may take: they are few counts.
const metricsTimeout = 10 * time.Second

// MetricsHandler serves what a monitor should watch, in the text format of
// Prometheus, at /metrics. It is not for the public.
func (s *Server) MetricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), metricsTimeout)
		defer cancel()
		text, err := s.metrics(ctx)
		if err != nil {
			s.log.ErrorContext(ctx, "metrics failed", "error", err)
			writeStatus(w, http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write([]byte(text)) // a client that has gone away needs no answer
	})
	return mux
}

// metricsText collects metrics.
type metricsText struct{ strings.Builder }

// head begins a metric, and value adds a sample of it. labels is as
// `{name="value"}`, or "".
func (m *metricsText) head(name, help string) {
	fmt.Fprintf(m, "# HELP payword_clearing_%s %s\n# TYPE payword_clearing_%s gauge\n", name, help, name)
}

func (m *metricsText) value(name, labels string, value int64) {
	fmt.Fprintf(m, "payword_clearing_%s%s %d\n", name, labels, value)
}

func (s *Server) metrics(ctx context.Context) (string, error) {
	var m metricsText
	err := s.db.View(ctx, func(tx *ledger.Tx) error {
		m.Reset()
		ages, err := s.openByAge(ctx, tx)
		if err != nil {
			return err
		}
		m.head("open_orders", "Orders that the bank has not booked, by direction and by the least age in days.")
		for k, row := range ages {
			days := int64(agesOfOrders[k].from / (24 * time.Hour))
			m.value("open_orders", fmt.Sprintf(`{direction="out",days="%d"}`, days), row.Out)
			m.value("open_orders", fmt.Sprintf(`{direction="in",days="%d"}`, days), row.In)
		}
		m.head("runs", "Runs by state.")
		err = tx.Each(ctx, func(scan func(...any) error) error {
			var state string
			var count int64
			err := scan(&state, &count)
			m.value("runs", `{state="`+state+`"}`, count) // one of five words
			return err
		}, `SELECT state, COUNT(*) FROM clearing_runs GROUP BY state ORDER BY state`)
		if err != nil {
			return err
		}
		for _, one := range []struct{ name, help, query string }{
			{"last_run_closed_seconds", "When the newest run was closed, in seconds since 1970; 0: none was.", `SELECT COALESCE(MAX(closed), 0) / 1000000 FROM clearing_runs`},
			{"unmatched_entries", "Entries of the bank that match nothing.", `SELECT COUNT(*) FROM clearing_bank_entries WHERE state = 'unmatched'`},
			{"card_alarms", "Alarms about cards that nobody has acknowledged.", `SELECT COUNT(*) FROM cards_alarms WHERE state = 'open'`},
			{"card_refused_batches", "Batches of cards that were refused and not taken since: their SAMs take no payments.", refusedBatches},
			{"card_gateways_micros", "Paid by cards to gateways, and on no account yet.", `SELECT total FROM (` + onGateways + `) AS kept`},
			{"failed_outcomes", "Answers of the bank that the broker could not do.", `SELECT COUNT(*) FROM broker_outcomes WHERE state = 'failed'`},
			{"reserves_micros", "Kept for refunds of direct debits.", `SELECT COALESCE(CAST(SUM(amount) AS BIGINT), 0) FROM clearing_reserves WHERE state = 'held'`},
		} {
			var value int64
			if err := tx.QueryRowContext(ctx, one.query).Scan(&value); err != nil {
				return err
			}
			m.head(one.name, one.help)
			m.value(one.name, "", value)
		}
		return nil
	})
	if check := s.checking.look(); err == nil && !check.Ended.IsZero() {
		m.head("books_agree", "Whether the last check of the books that was asked for here found nothing.")
		m.value("books_agree", "", map[bool]int64{true: 0, false: 1}[check.IsFailed])
	}
	return m.String(), err
}
