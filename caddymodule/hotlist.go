package caddymodule

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/paywordhq/payword"
)

// HotList says what to do where a broker's hot list cannot be renewed.
type HotList struct {
	// How old the newest word of a list may be. After that, or when the list has
	// expired, it is stale. Default: 24h. From 1m to 720h.
	MaxAge caddy.Duration `json:"max_age,omitempty"`

	// What becomes of new commitments whose certificates name a list that is
	// stale, or that was never had: "deny" (the default) answers 503, "allow"
	// takes them. Commitments that are open go on in any case, by the last list
	// that is known.
	OnStale string `json:"on_stale,omitempty"`
}

// The values of HotList.OnStale.
const (
	staleDeny  = "deny"
	staleAllow = "allow"
)

const (
	defaultHotListMaxAge = caddy.Duration(24 * time.Hour)
	minHotListMaxAge     = caddy.Duration(time.Minute)
	maxHotListMaxAge     = caddy.Duration(30 * 24 * time.Hour) // a certificate seldom lives longer
)

func (h *HotList) provision() {
	if h.MaxAge == 0 {
		h.MaxAge = defaultHotListMaxAge
	}
	if h.OnStale == "" {
		h.OnStale = staleDeny
	}
}

func (h *HotList) validate() error {
	switch {
	case h.MaxAge < minHotListMaxAge || h.MaxAge > maxHotListMaxAge:
		return errors.New("payword: hot_list: max_age: want 1m to 720h")
	case h.OnStale != staleDeny && h.OnStale != staleAllow:
		return errors.New("payword: hot_list: on_stale: want deny or allow")
	}
	return nil
}

// hotListOptions are the options of the option hot_list.
var hotListOptions = map[string]option[*HotList]{
	"max_age":  duration(func(h *HotList, value caddy.Duration) { h.MaxAge = value }),
	"on_stale": word("deny|allow", func(h *HotList) *string { return &h.OnStale }),
}

func readHotList(a *App, d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("hot_list takes no %q: want its options in a block", d.Val())
	}
	a.HotList = new(HotList)
	return readBlock(d, a.HotList, hotListOptions)
}

const (
	// The times between two fetches of a list, which its ttl chooses from.
	minListInterval     = time.Minute // soon enough for a stolen key, and cheap for the broker
	defaultListInterval = 5 * time.Minute
	maxListInterval     = time.Hour

	// listRetryInterval is how long to wait after a fetch that failed. It is
	// doubled with each that fails, up to maxListInterval.
	listRetryInterval = 15 * time.Second

	// firstListWait is how long the request that first names a list waits for it.
	firstListWait = 2 * time.Second

	// maxListsPerBroker bounds the lists of one broker, and so the memory: 16
	// MiB a broker. They are enough for a hundred million certificates.
	maxListsPerBroker = 16

	// listIdleSeconds is how long a list that no certificate named is kept when
	// another one needs its place.
	listIdleSeconds = 24 * 3600
)

// listMediaTypes are what a hot list may be served as.
var listMediaTypes = []string{"application/statuslist+jwt"}

// errHotListStale means that nobody can tell whether a certificate is revoked.
var errHotListStale = errors.New("the hot list of the certificate is stale or not there")

// hotLists holds the hot lists that certificates have named.
type hotLists struct {
	directory string // where they are kept over restarts
	logger    *zap.Logger
	keys      *brokerKeys
	store     sync.Mutex // guards replacing lists and wakers

	lists  atomic.Pointer[map[string]*hotList] // by URI; replaced whole
	wakers map[string]chan struct{}            // by issuer
}

// hotList is one list and how it is kept fresh.
type hotList struct {
	issuer, uri string
	named       atomic.Int64                       // when a certificate last named it, seconds since 1970
	known       atomic.Pointer[payword.StatusList] // nil: never had
	confirmed   atomic.Int64                       // when the broker last said that it holds, seconds since 1970
	tried       chan struct{}                      // closed when it was asked for once
	triedOnce   sync.Once

	fetching sync.Mutex // guards what follows
	etag     string
	due      time.Time // when to ask next
	failures int
}

func newHotLists(directory string, keys *brokerKeys, logger *zap.Logger) *hotLists {
	h := &hotLists{directory: directory, logger: logger, keys: keys, wakers: make(map[string]chan struct{})}
	h.lists.Store(&map[string]*hotList{})
	return h
}

func newHotList(issuer, uri string) *hotList {
	return &hotList{issuer: issuer, uri: uri, tried: make(chan struct{})}
}

// wake returns the channel on which the refresher of an issuer hears of lists
// that are asked for.
func (h *hotLists) wake(issuer string) chan struct{} {
	h.store.Lock()
	defer h.store.Unlock()
	if h.wakers[issuer] == nil {
		h.wakers[issuer] = make(chan struct{}, 1)
	}
	return h.wakers[issuer]
}

// named returns the list that a certificate names, and has it fetched if it is
// new. The certificate's signature was checked, so the broker vouches for the
// address. It returns nil if there is no room for another list.
func (h *hotLists) named(issuer, uri string, now int64) *hotList {
	list := (*h.lists.Load())[uri]
	if list == nil {
		if list = h.add(newHotList(issuer, uri), now); list == nil {
			return nil
		}
	}
	if list.named.Load() != now {
		list.named.Store(now)
	}
	return list
}

// add keeps a list, unless it is known or there is no room, and returns what is
// kept.
func (h *hotLists) add(list *hotList, now int64) *hotList {
	wake := h.wake(list.issuer)
	h.store.Lock()
	defer h.store.Unlock()
	lists := *h.lists.Load()
	if known := lists[list.uri]; known != nil {
		return known
	}
	next := maps.Clone(lists)
	if oldest, count := oldestOf(lists, list.issuer); count >= maxListsPerBroker {
		if now < oldest.named.Load()+listIdleSeconds {
			h.logger.Warn("a broker has more hot lists than are kept", zap.String("broker", list.issuer), zap.Int("kept", count))
			return nil
		}
		delete(next, oldest.uri)
		if err := os.Remove(h.path(oldest.uri)); err != nil && !errors.Is(err, os.ErrNotExist) {
			h.logger.Warn("removing a hot list", zap.Error(err))
		}
	}
	next[list.uri] = list
	list.named.Store(now)
	h.lists.Store(&next)
	select {
	case wake <- struct{}{}:
	default: // it will look at all of them
	}
	return list
}

// oldestOf returns the list of an issuer that was named the longest time ago,
// and how many it has.
func oldestOf(lists map[string]*hotList, issuer string) (oldest *hotList, count int) {
	for _, list := range lists {
		if list.issuer != issuer {
			continue
		}
		count++
		if oldest == nil || list.named.Load() < oldest.named.Load() {
			oldest = list
		}
	}
	return oldest, count
}

// of returns the lists of an issuer.
func (h *hotLists) of(issuer string) []*hotList {
	var found []*hotList
	for _, list := range *h.lists.Load() {
		if list.issuer == issuer {
			found = append(found, list)
		}
	}
	return found
}

// refreshDue fetches the lists of an issuer whose time has come and returns how
// long until the next one's.
func (h *hotLists) refreshDue(ctx context.Context, issuer string, now time.Time) time.Duration {
	wait := maxRefreshWait
	for _, list := range h.of(issuer) {
		list.fetching.Lock()
		if !now.Before(list.due) {
			if err := h.refresh(ctx, list, now); err != nil && ctx.Err() == nil {
				h.logger.Warn("fetching a hot list; the last known one stays in use", zap.String("broker", issuer), zap.Error(err))
			}
		}
		wait = min(wait, list.due.Sub(now))
		list.fetching.Unlock()
	}
	return wait
}

// refreshAll fetches all lists of an issuer and returns how many were had.
func (h *hotLists) refreshAll(ctx context.Context, issuer string, now time.Time) (int, error) {
	fetched := 0
	var failure error
	for _, list := range h.of(issuer) {
		list.fetching.Lock()
		err := h.refresh(ctx, list, now)
		list.fetching.Unlock()
		if err == nil {
			fetched++
		}
		failure = errors.Join(failure, err)
	}
	return fetched, failure
}

// refresh fetches a list once and says when to do it again. What is not a good
// list leaves the last one in use. The caller holds fetching.
func (h *hotLists) refresh(ctx context.Context, list *hotList, now time.Time) error {
	defer list.triedOnce.Do(func() { close(list.tried) })
	err := h.fetch(ctx, list, now)
	if err != nil {
		list.due = now.Add(jittered(min(listRetryInterval<<min(list.failures, 10), maxListInterval)))
		list.failures++
		return err
	}
	list.failures = 0
	list.due = now.Add(jittered(listInterval(list.known.Load().TTLSeconds)))
	return nil
}

// listInterval returns after how long to fetch a list again.
func listInterval(ttlSeconds int64) time.Duration {
	if ttlSeconds == 0 {
		return defaultListInterval
	}
	return min(max(time.Duration(min(ttlSeconds, 1<<30))*time.Second, minListInterval), maxListInterval)
}

func (h *hotLists) fetch(ctx context.Context, list *hotList, now time.Time) error {
	fetched, err := published{
		url: list.uri, mediaTypes: listMediaTypes, maxBytes: payword.MaxStatusListTokenBytes, etag: list.etag,
	}.get(ctx)
	if err != nil {
		return err
	}
	if fetched.unchanged {
		list.confirmed.Store(now.Unix())
		return os.Chtimes(h.path(list.uri), now, now)
	}
	token := string(fetched.body)
	if err := h.install(list, token, now.Unix()); err != nil {
		return err
	}
	list.confirmed.Store(now.Unix())
	list.etag = fetched.etag
	return h.keep(list, token, now)
}

// install takes a list over if it is good and no older than the one known.
func (h *hotLists) install(list *hotList, token string, now int64) error {
	keys := h.keys.of(list.issuer)
	if keys == nil {
		return errKeysNotLoaded
	}
	parsed, err := payword.ParseStatusList(token, list.issuer, list.uri, payword.Brokers{list.issuer: keys})
	if err != nil {
		return err
	}
	switch known := list.known.Load(); {
	case parsed.IssuedAt > now+payword.SkewSeconds:
		return errors.New("the list was made in the future")
	case known != nil && now >= parsed.Expires: // where none is known, an old word is better than none
		return errors.New("the list has expired")
	case known != nil && parsed.IssuedAt < known.IssuedAt:
		return errors.New("the list is older than the one known")
	}
	list.known.Store(parsed)
	return nil
}

// keptList is how a list is kept over restarts. The file's modification time
// says when the broker confirmed it last.
type keptList struct {
	URI   string `json:"uri"`
	Token string `json:"token"`
}

func (h *hotLists) keep(list *hotList, token string, now time.Time) error {
	content, err := json.Marshal(keptList{URI: list.uri, Token: token})
	if err != nil {
		return err
	}
	if err := writeWhole(h.path(list.uri), content); err != nil {
		return err
	}
	return os.Chtimes(h.path(list.uri), now, now)
}

const keptListPrefix = "hotlist_"

// path returns where a list is kept.
func (h *hotLists) path(uri string) string {
	sum := sha256.Sum256([]byte(uri))
	return filepath.Join(h.directory, keptListPrefix+hex.EncodeToString(sum[:16])+".json")
}

// load takes over the lists of the brokers that were kept, so that a gate whose
// broker is away knows what it knew before it was restarted.
func (h *hotLists) load(brokers []Broker, now time.Time) {
	paths, err := filepath.Glob(filepath.Join(h.directory, keptListPrefix+"*.json"))
	if err != nil {
		h.logger.Error("looking for hot lists", zap.Error(err))
	}
	for _, path := range paths {
		if err := h.loadFile(path, brokers, now); err != nil {
			h.logger.Warn("reading a hot list that was kept", zap.String("file", path), zap.Error(err))
		}
	}
}

func (h *hotLists) loadFile(path string, brokers []Broker, now time.Time) error {
	content, err := readBounded(path, payword.MaxStatusListTokenBytes+1024)
	if err != nil {
		return err
	}
	var kept keptList
	if err := json.Unmarshal(content, &kept); err != nil {
		return err
	}
	for _, broker := range brokers {
		if !strings.HasPrefix(kept.URI, broker.Issuer+"/") || (*h.lists.Load())[kept.URI] != nil {
			continue
		}
		list := newHotList(broker.Issuer, kept.URI)
		if err := h.install(list, kept.Token, now.Unix()); err != nil {
			return fmt.Errorf("%s: %w", kept.URI, err)
		}
		list.confirmed.Store(min(stampOf(path).modified.Unix(), now.Unix()))
		h.add(list, now.Unix())
	}
	return nil
}

// isFresh reports whether the newest word of a list counts. A list that is
// missing is not.
func (l *hotList) isFresh(now int64, maxAge caddy.Duration) bool {
	if l == nil {
		return false
	}
	known := l.known.Load()
	return known != nil && now < known.Expires && now < l.confirmed.Load()+int64(time.Duration(maxAge)/time.Second)
}

// status returns what the newest list says of an index, and false if it says
// nothing, or there is none.
func (l *hotList) status(index uint32) (status uint8, found bool) {
	if l == nil {
		return 0, false
	}
	known := l.known.Load()
	if known == nil {
		return 0, false
	}
	return known.Status(index)
}

// await waits until a list that is new was asked for once, but not for long.
func (l *hotList) await(ctx context.Context) {
	if l == nil {
		return
	}
	timer := time.NewTimer(firstListWait)
	defer timer.Stop()
	select {
	case <-l.tried:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// revoked is the refusal of a certificate that is on the hot list.
var revoked = payword.Refusal{
	Reason: payword.CertificateRevoked, Detail: "the broker has revoked the certificate: ask the broker why",
}

// isRevoked reports whether the newest list that is known says that a certificate
// is revoked.
func (h *hotLists) isRevoked(certificate *payword.Certificate, now int64) bool {
	if certificate.Status == nil {
		return false
	}
	status, isSaid := h.named(certificate.Issuer, certificate.Status.URI, now).status(certificate.Status.Index)
	return isSaid && status != payword.StatusValid
}

// checkHotList refuses a certificate that was revoked. Of a new commitment it
// wants to know; the error means that it could not.
func (x *exchange) checkHotList(ctx context.Context) (payword.Refusal, error) {
	certificate := &x.view.commitment.Certificate
	if certificate.Status == nil {
		return payword.Refusal{}, nil
	}
	list := x.gate.hotLists.named(certificate.Issuer, certificate.Status.URI, x.now)
	policy := x.app.HotList
	status, isSaid := list.status(certificate.Status.Index)
	if !isSaid && !x.known {
		list.await(ctx)
		status, isSaid = list.status(certificate.Status.Index)
	}
	switch {
	case isSaid && status != payword.StatusValid:
		return revoked, nil
	case x.known || policy.OnStale == staleAllow || isSaid && list.isFresh(x.now, policy.MaxAge):
		return payword.Refusal{}, nil
	}
	return payword.Refusal{}, errHotListStale
}
