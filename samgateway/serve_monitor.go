package samgateway

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/paywordhq/payword/internal/purse"
)

// maxSilence is how long ago the last good round may be before the gateway says
// that it is not well: a round waits for a payment at a reader at home.
const maxSilence = 10 * time.Minute

// counts counts what was done and how it ended.
type counts struct {
	mutex sync.Mutex
	of    map[[2]string]int64 // what, and how it ended
}

// count counts one of what was asked for.
func (c *counts) count(what, ended string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.of == nil {
		c.of = make(map[[2]string]int64)
	}
	c.of[[2]string{what, ended}]++
}

// monitorHandler serves /healthz and /metrics. They say nothing of cards and
// accounts, and are not for the public all the same.
func (g *gateway) monitorHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		text, status := "OK", http.StatusOK
		if err := g.health(); err != nil {
			text, status = err.Error(), http.StatusServiceUnavailable
		}
		writeText(w, status, text+"\n")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write([]byte(g.metrics())) // a client that has gone away needs no answer
	})
	return mux
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // as above
}

// health says why nobody could pay here now.
func (g *gateway) health() error {
	seen := g.state()
	switch {
	case seen.isLost:
		return errors.New("the SAM or the journal does not answer")
	case g.now().Sub(seen.goodRound) > maxSilence:
		return fmt.Errorf("the last look at the SAM was at %s", seen.goodRound.UTC().Format(time.RFC3339))
	case seen.batch.State == purse.SAMClosed:
		return errors.New("the batch is closed, and clearing has not taken it")
	}
	return nil
}

// metrics is what a monitor should watch, in the text format of Prometheus.
func (g *gateway) metrics() string {
	seen := g.state()
	var text strings.Builder
	one := func(name, help string, value int64) {
		fmt.Fprintf(&text, "# HELP samgateway_%s %s\n# TYPE samgateway_%s gauge\nsamgateway_%s %d\n", name, help, name, name, value)
	}
	isWell := int64(1)
	if g.health() != nil {
		isWell = 0
	}
	oldest := seen.round
	for _, u := range seen.undecided {
		if u.Began.Before(oldest) {
			oldest = u.Began
		}
	}
	one("up", "Whether cards can pay here.", isWell)
	one("undecided", "What is not decided, or waits for clearing or broker.", int64(len(seen.undecided)))
	one("undecided_age_seconds", "How long the oldest of it has been waiting.", int64(seen.round.Sub(oldest)/time.Second))
	one("batch_payments", "Payments and cancellations in the open batch.", int64(seen.batch.Payments))
	one("batch_voids", "Voids in the open batch.", int64(seen.batch.Voids))
	one("batch_micros", "What the open batch amounts to.", int64(amountOf(g.unit, seen.batch.Sum)))
	one("batch_limit_micros", "What a batch may amount to.", int64(amountOf(g.unit, seen.batch.Limit)))
	one("turned_in_seconds", "When clearing took a batch of this process the last time, in seconds since 1970; 0: not yet.", unixOrZero(seen.turnedIn))
	one("turn_in_failed_seconds", "When clearing did not take one, in seconds since 1970; 0: the last one was taken.", unixOrZero(seen.turnInFailed))
	fmt.Fprint(&text, "# HELP samgateway_served_total What cards were asked for, and how it ended.\n# TYPE samgateway_served_total counter\n")
	g.counts.mutex.Lock()
	defer g.counts.mutex.Unlock()
	for _, key := range slices.SortedFunc(maps.Keys(g.counts.of), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) }) {
		fmt.Fprintf(&text, "samgateway_served_total{what=%q,ended=%q} %d\n", key[0], key[1], g.counts.of[key])
	}
	return text.String()
}

func unixOrZero(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.Unix()
}
