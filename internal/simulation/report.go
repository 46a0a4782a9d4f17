package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
)

// measurements are the times of all calls.
type measurements struct {
	mutex  sync.Mutex
	times  map[string][]time.Duration // by what was asked for; guarded by mutex, as is claims
	claims int
}

func (m *measurements) add(what string, took time.Duration) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.times == nil {
		m.times = make(map[string][]time.Duration)
	}
	m.times[what] = append(m.times[what], took)
}

func (m *measurements) addClaims(count int) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.claims += count
}

// peak is how much more there is to do in the busiest hour than on average.
const peak = 3

func (d *day) report(stdout io.Writer, grown int64) error {
	const perDay = 24 * time.Hour
	fmt.Fprintf(stdout, "%d users, %d vendors, %g of a day, %d requests at once, %d brokers, %d processors, seed %d\n",
		d.settings.users, d.settings.vendors, d.settings.part, d.settings.concurrency, d.settings.brokers, runtime.NumCPU(), d.settings.seed)
	table := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "request\tcount\tin a day\tmedian\t99 %\tslowest\t")
	total := 0
	for _, what := range []string{"account", "certificates", "reserve", "raise", "redeem"} {
		times := d.counts.times[what]
		if len(times) == 0 {
			continue
		}
		slices.Sort(times)
		total += len(times)
		fmt.Fprintf(table, "%s\t%d\t%.0f\t%s\t%s\t%s\t\n", what, len(times), float64(len(times))/d.settings.part,
			round(times[len(times)/2]), round(times[len(times)*99/100]), round(times[len(times)-1]))
	}
	_ = table.Flush() // stdout reports its own errors below
	share := d.took.Seconds() / (perDay.Seconds() * d.settings.part)
	fmt.Fprintf(stdout, "%d requests and %d claims in %s: %.0f requests and %.0f claims a second\n",
		total, d.counts.claims, d.took.Round(time.Millisecond), float64(total)/d.took.Seconds(), float64(d.counts.claims)/d.took.Seconds())
	fmt.Fprintf(stdout, "the whole day takes %s of this machine, clients included: %.1f %% of it on average, %.1f %% in an hour %d times as busy\n",
		time.Duration(d.took.Seconds()/d.settings.part*float64(time.Second)).Round(time.Minute), 100*share, 100*share*peak, peak)
	_, err := fmt.Fprintf(stdout, "the database grew by %s, that is %s in a day\n",
		humanize.IBytes(uint64(max(grown, 0))), humanize.IBytes(uint64(float64(max(grown, 0))/d.settings.part)))
	fmt.Fprintf(stdout, "the books agree; checking all of them took %s\n", d.checking.Round(time.Millisecond))
	return err
}

func round(took time.Duration) time.Duration { return took.Round(10 * time.Microsecond) }

// check checks all books, and takes the time, which grows with the accounts.
func (d *day) check(ctx context.Context) error {
	began := time.Now()
	wrong, err := d.brokers[0].Check(ctx)
	if err != nil {
		return err
	}
	if len(wrong) > 0 {
		return fmt.Errorf("the books disagree in %d places, first: %s", len(wrong), wrong[0])
	}
	d.checking = time.Since(began)
	return nil
}
