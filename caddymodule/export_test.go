package caddymodule

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// BreakStore makes every step of the store in a directory fail from now on, as
// a disk does that went away.
func BreakStore(directory string) error {
	var err error
	gates.Range(func(key, value any) bool {
		if key == directory {
			err = value.(*gate).closer()
		}
		return true
	})
	return err
}

// gateOf returns the gate whose store stands in a directory.
func gateOf(directory string) *gate {
	var found *gate
	gates.Range(func(key, value any) bool {
		if key == directory {
			found = value.(*gate)
		}
		return found == nil
	})
	return found
}

// TakeSample walks the commitments of the store in a directory for the metrics,
// without waiting for the minute.
func TakeSample(directory string) error {
	g := gateOf(directory)
	from, _ := asStore[lister](g.store)
	taken, err := g.sampler.take(context.Background(), from, time.Now(), 0)
	if err == nil {
		g.metrics.sample.newest.Store(taken)
	}
	return err
}

// running returns the app that runs.
func running() (*App, error) {
	module, err := caddy.ActiveContext().App("payword")
	if err != nil {
		return nil, err
	}
	return module.(*App), nil
}

// RedeemByJob claims as the job does.
func RedeemByJob() error {
	app, err := running()
	if err == nil {
		_, err = app.redeem(context.Background(), false)
	}
	return err
}

// IsRedemptionUrgent walks the commitments and reports whether that woke the
// job.
func IsRedemptionUrgent(directory string) (bool, error) {
	app, err := running()
	if err == nil {
		err = app.takeSampleAndWake(context.Background())
	}
	return IsRedemptionAwake(directory), err
}

// IsRedemptionAwake reports whether something woke the job, and lets it sleep
// again.
func IsRedemptionAwake(directory string) bool {
	select {
	case <-gateOf(directory).urgent:
		return true
	default:
		return false
	}
}

// deafStore is a store in which nothing is acknowledged.
type deafStore struct{ store }

func (deafStore) acknowledge(context.Context, payword.CommitmentID, money.Amount, bool) error {
	return errors.New("the store fails on purpose")
}

// FailAcknowledge makes a gate fail to acknowledge claims, and ends its jobs.
func FailAcknowledge(directory string) error {
	return replaceStore(directory, func(s store) store { return deafStore{s} })
}

// replaceStore puts another store in place of a gate's, once nothing looks at it.
func replaceStore(directory string, replace func(store) store) error {
	app, err := running()
	if err == nil {
		err = app.Stop()
	}
	if err == nil {
		g := gateOf(directory)
		g.store = replace(g.store)
	}
	return err
}

// stubbornStore is a store that lowers no price.
type stubbornStore struct{ store }

func (stubbornStore) trueUp(context.Context, payword.CommitmentID, uint64, money.Amount, int64) (money.Amount, view, error) {
	return 0, view{}, errors.New("the store fails on purpose")
}

// FailTrueUp makes a gate fail to lower prices, and ends its jobs.
func FailTrueUp(directory string) error {
	return replaceStore(directory, func(s store) store { return stubbornStore{s} })
}

// UnearnedOf returns what the gate with a store would have earned at a vendor,
// by rule.
func UnearnedOf(directory, vendor string) map[string]money.Amount {
	sums := make(map[string]money.Amount)
	gates.Range(func(key, value any) bool {
		if key == directory {
			for rule, sum := range value.(*gate).unearned.all() {
				if rule.Vendor == vendor {
					sums[rule.Rule] = sum.Amount
				}
			}
		}
		return true
	})
	return sums
}

// Tamper changes what a gate remembers of a commitment, and returns what puts it
// back.
func Tamper(directory string, id payword.CommitmentID, change func(*payword.State)) func() {
	files, _ := asStore[*fileStore](gateOf(directory).store)
	e := files.entry(id)
	e.mutex.Lock()
	defer e.mutex.Unlock()
	before := e.state
	change(&e.state)
	return func() {
		e.mutex.Lock()
		defer e.mutex.Unlock()
		e.state = before
	}
}

// PlainCell keeps a spreadsheet from taking text for a formula.
var PlainCell = plainCell

// CheckPriceMap returns what is wrong with a price map.
func CheckPriceMap(content string) error {
	_, err := parsePriceMap(strings.NewReader(content))
	return err
}

// PriceMapLookup returns how the paths of a price map are looked up.
func PriceMapLookup(content string) (func(path string) (money.Amount, bool), error) {
	table, err := parsePriceMap(strings.NewReader(content))
	if err != nil {
		return nil, err
	}
	return func(path string) (money.Amount, bool) {
		entry, found := table.lookup(path)
		return entry.amount, found
	}, nil
}

// LookupPriceMap reads a price map and looks one path up.
func LookupPriceMap(content, path string) (money.Amount, bool, error) {
	lookup, err := PriceMapLookup(content)
	if err != nil {
		return 0, false, err
	}
	amount, found := lookup(path)
	return amount, found, nil
}

// LinePricer returns what a line of a log would have cost at the sites of a
// Caddyfile.
func LinePricer(directory, caddyfile string) (func(text string) (money.Amount, error), error) {
	file := filepath.Join(directory, "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
		return nil, err
	}
	site, err := openLogSite(file)
	if err != nil {
		return nil, err
	}
	return func(text string) (money.Amount, error) {
		line, err := parseLogLine(text)
		if err != nil {
			return 0, err
		}
		if line.host == "" {
			line.host = "news.example"
		}
		return site.price(&line).amount, nil
	}, nil
}

// FloodEvents puts many events of one name in a queue within a second, and
// returns how many wait in it and how many were dropped.
func FloodEvents(count int) (waiting, dropped int) {
	queue := newEventQueue(func() { dropped++ })
	for range count {
		queue.add(1_800_000_000, EventReplay, nil)
	}
	return len(queue.waiting), dropped
}

// FillGateMetrics gives those metrics a value that come from other parts of a
// gate, and so would need those to do something.
func FillGateMetrics(directory, vendor string) {
	g := gateOf(directory)
	g.unearned.add(unearnedKey{Vendor: vendor, Rule: "price"}, 1)
	list := &hotList{issuer: "https://broker.example"}
	list.confirmed.Store(1)
	g.hotLists.lists.Store(&map[string]*hotList{"https://broker.example/list": list})
}
