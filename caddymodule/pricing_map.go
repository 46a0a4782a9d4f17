package caddymodule

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/paywordhq/payword/money"
)

// PriceMap is a file of prices by path. A line holds a path, or the beginning of
// one and a *, and an amount in the currency of the directive, or "free". The
// path itself counts before beginnings, and the longest beginning before
// shorter ones. What stands behind # is for people.
type PriceMap struct {
	// The file. Required.
	File string `json:"file,omitempty"`

	// How often to look whether it changed. Default: 5s; at least 10ms.
	CheckInterval caddy.Duration `json:"check_interval,omitempty"`

	file *priceFile
}

// priceFile is a price map as it is read. All directives of a configuration
// share it.
type priceFile struct {
	path     string
	interval time.Duration
	logger   *zap.Logger

	table     atomic.Pointer[priceTable] // the last version that was good
	nextCheck atomic.Int64               // nanoseconds since 1970

	mu      sync.Mutex // guards what follows, and reading the file
	seen    mapVersion // the last version that was looked at, good or bad
	checked time.Time  // when
}

const (
	defaultMapInterval = caddy.Duration(5 * time.Second)
	minMapInterval     = caddy.Duration(10 * time.Millisecond)

	// maxMapBytes and maxMapEntries bound the memory that a map takes, about
	// 100 MB, and the time that it takes to read it, about a quarter of a second.
	maxMapBytes   = 64 << 20
	maxMapEntries = 500_000

	// maxPatternBytes bounds a path: no longer one is quoted a price. It also
	// bounds how many beginnings of a path are looked up.
	maxPatternBytes = 1024
)

// mapVersion tells versions of the file apart.
type mapVersion struct {
	size     int64
	modified time.Time
	digest   [sha256.Size]byte
}

// priceTable is what a price map says.
type priceTable struct {
	exact    map[string]mapEntry
	prefixes map[string]mapEntry
	lengths  []int // of the prefixes, the longest first
}

type mapEntry struct {
	amount money.Amount // in micros; 0: free
	line   int
}

// lookup returns the entry for a path in lower case.
func (t *priceTable) lookup(path string) (mapEntry, bool) {
	if entry, found := t.exact[path]; found {
		return entry, true
	}
	for _, length := range t.lengths {
		if length > len(path) {
			continue
		}
		if entry, found := t.prefixes[path[:length]]; found {
			return entry, true
		}
	}
	return mapEntry{}, false
}

// parsePriceMap reads a price map. An error names the line.
func parsePriceMap(source io.Reader) (*priceTable, error) {
	table := &priceTable{exact: make(map[string]mapEntry), prefixes: make(map[string]mapEntry)}
	scanner := bufio.NewScanner(source)
	number := 1
	for ; scanner.Scan(); number++ {
		line, _, _ := strings.Cut(strings.TrimPrefix(scanner.Text(), "\ufeff"), "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if err := table.add(fields, number); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	if err := scanner.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, fmt.Errorf("line %d: longer than %d bytes", number, bufio.MaxScanTokenSize)
	} else if err != nil {
		return nil, err
	}
	for prefix := range table.prefixes {
		if !slices.Contains(table.lengths, len(prefix)) {
			table.lengths = append(table.lengths, len(prefix))
		}
	}
	slices.Sort(table.lengths)
	slices.Reverse(table.lengths)
	return table, nil
}

// add takes one line of a price map.
func (t *priceTable) add(fields []string, number int) error {
	if len(fields) != 2 {
		return fmt.Errorf("%d words: want a path and an amount, such as /premium/* 0.01", len(fields))
	}
	pattern, entry := strings.ToLower(fields[0]), mapEntry{line: number}
	if fields[1] != priceFree {
		var err error
		if entry.amount, err = money.ParseDecimal(fields[1]); err != nil {
			return err
		}
		if entry.amount < 1 {
			return fmt.Errorf("%q: want an amount more than 0, or free", fields[1])
		}
	}
	target, prefix := t.exact, strings.TrimSuffix(pattern, "*")
	if prefix != pattern {
		target = t.prefixes
	}
	known, twice := target[prefix]
	switch {
	case pattern[0] != '/' || len(pattern) > maxPatternBytes:
		return fmt.Errorf("path %.40q: want one that begins with /, of at most %d bytes", fields[0], maxPatternBytes)
	case strings.Contains(prefix, "*"):
		return fmt.Errorf("path %.40q: a * stands only at the end", fields[0])
	case caddyhttp.CleanPath(prefix, true) != prefix:
		return fmt.Errorf("path %.40q: want it without dots and doubled slashes: %.40q", fields[0], caddyhttp.CleanPath(prefix, true))
	case twice:
		return fmt.Errorf("path %.40q: it stands in line %d already", fields[0], known.line)
	case len(t.exact)+len(t.prefixes) >= maxMapEntries:
		return fmt.Errorf("more than %d prices", maxMapEntries)
	}
	target[prefix] = entry
	return nil
}

// provision reads the file, unless another directive did. A bad one refuses the
// configuration.
func (m *PriceMap) provision(ctx caddy.Context, app *App) error {
	if m.CheckInterval == 0 {
		m.CheckInterval = defaultMapInterval
	}
	app.priceFiles.mu.Lock()
	defer app.priceFiles.mu.Unlock()
	key := PriceMap{File: m.File, CheckInterval: m.CheckInterval}
	if m.file = app.priceFiles.files[key]; m.file != nil {
		return nil
	}
	m.file = &priceFile{path: m.File, interval: time.Duration(m.CheckInterval), logger: ctx.Logger()}
	if err := m.file.reload(time.Now()); err != nil {
		return err
	}
	if app.priceFiles.files == nil {
		app.priceFiles.files = make(map[PriceMap]*priceFile)
	}
	app.priceFiles.files[key] = m.file
	return nil
}

// priceFiles are the price maps of a configuration.
type priceFiles struct {
	mu    sync.Mutex
	files map[PriceMap]*priceFile
}

func (m *PriceMap) validate() error {
	if m != nil && m.CheckInterval < minMapInterval {
		return errors.New("payword: price_map: want an interval of at least 10ms")
	}
	return nil
}

// current returns what the file says. It looks at most once an interval whether
// the file changed; one request does so, and the others go on with what there
// is. A bad version is logged once, and the last good one stays.
func (m *priceFile) current(now time.Time) *priceTable {
	next := m.nextCheck.Load()
	if now.UnixNano() >= next && m.nextCheck.CompareAndSwap(next, now.Add(m.interval).UnixNano()) {
		if err := m.reload(now); err != nil {
			m.logger.Error("the price map is not used as it is; the last good version stays", zap.String("file", m.path), zap.Error(err))
		}
	}
	return m.table.Load()
}

// reload reads the file if it changed since it was looked at.
func (m *priceFile) reload(now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nextCheck.Store(now.Add(m.interval).UnixNano())
	file, err := os.Open(m.path)
	if err != nil {
		return m.unread(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return m.unread(err)
	}
	version := mapVersion{size: info.Size(), modified: info.ModTime()}
	// Clocks of file systems are coarse: a file that was written just before it
	// was looked at may have been written again since.
	settled := m.checked.Sub(m.seen.modified) > 2*time.Second
	if version.size == m.seen.size && version.modified.Equal(m.seen.modified) && settled {
		return nil
	}
	if version.size > maxMapBytes {
		return m.unread(fmt.Errorf("%d bytes: at most %d", version.size, maxMapBytes))
	}
	content, err := io.ReadAll(io.LimitReader(file, maxMapBytes+1))
	if err != nil {
		return m.unread(err)
	}
	version.digest = sha256.Sum256(content)
	unchanged := version.digest == m.seen.digest
	m.seen, m.checked = version, now
	if unchanged {
		return nil
	}
	if len(content) > maxMapBytes {
		return fmt.Errorf("more than %d bytes", maxMapBytes)
	}
	table, err := parsePriceMap(bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("%s: %w", m.path, err)
	}
	m.table.Store(table)
	return nil
}

// unread notes that the file could not be read, so that it is told once.
func (m *priceFile) unread(err error) error {
	digest := sha256.Sum256([]byte(err.Error()))
	if m.seen.digest == digest {
		return nil
	}
	m.seen = mapVersion{digest: digest}
	return err
}

// mapped returns what the price map says of a request, and whether it says
// anything. An entry that makes a page free counts only for a path that stands
// as it is meant.
func (h *Handler) mapped(r *http.Request) (priced, bool) {
	if h.PriceMap == nil {
		return priced{}, false
	}
	path := strings.ToLower(caddyhttp.CleanPath(r.URL.Path, true))
	entry, found := h.PriceMap.file.current(h.app.now()).lookup(path)
	switch {
	case !found || entry.amount == 0 && !isPlainPath(r):
		return priced{}, false
	case entry.amount == 0:
		return priced{rule: freeByMap, free: freeByMap}, true
	}
	return priced{amount: entry.amount, rule: "map"}, true
}

// readPriceMap reads where the price map is. Syntax:
//
//	price_map <file> [<interval>]
func readPriceMap(h *Handler, d *caddyfile.Dispenser) error {
	arguments := d.RemainingArgs()
	if len(arguments) < 1 || len(arguments) > 2 {
		return d.Err("want price_map <file> [<interval>], such as: price_map prices.txt 5s")
	}
	h.PriceMap = &PriceMap{File: arguments[0]}
	if len(arguments) == 2 {
		interval, err := caddy.ParseDuration(arguments[1])
		if err != nil {
			return d.Errf("price_map %s %q: want a duration, such as 5s", arguments[0], arguments[1])
		}
		h.PriceMap.CheckInterval = caddy.Duration(interval)
	}
	return nil
}
