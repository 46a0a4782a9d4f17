package caddymodule

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/money"
)

// App is what all sites of one Caddy share: the store of commitments, the keys
// of the brokers, and the job that redeems what was paid.
type App struct {
	// The brokers whose certificates are taken. At least one is required; at
	// most 16.
	Brokers []Broker `json:"brokers,omitempty"`

	// The directory that holds the commitments, the vendor's key and the
	// challenge secret. It must survive restarts, and belongs to one Caddy
	// process. Default: "payword" in Caddy's data directory.
	Store string `json:"store,omitempty"`

	// When a payment counts as taken: "sync", when it is durable in the
	// directory; or "async", when it is in memory, and it is made durable a tenth
	// of a second later at the latest, if the disk is not slower. Then a crash
	// costs the vendor the payments of that time, and nobody else anything. Redis has settings of its own for
	// this. Default: sync.
	Durability string `json:"durability,omitempty"`

	// What unreserved commitments may be worth, by currency. Default: none are
	// taken, every commitment has to be reserved.
	Credit []Credit `json:"credit,omitempty"`

	// What to do where a broker's hot list, which tells of certificates that
	// were revoked, cannot be renewed. Default: deny new commitments after 24h.
	HotList *HotList `json:"hot_list,omitempty"`

	// Where several gates of one vendor keep their commitments together, in place
	// of the directory, which then holds the keys alone. Default: none.
	Redis *Redis `json:"redis,omitempty"`

	// How often strangers may open commitments, and fail. Default: 300 openings
	// and 60 failures of one address within a minute.
	RateLimits *RateLimits `json:"rate_limits,omitempty"`

	// Who is refused, whatever they pay. Default: nobody.
	Block *Block `json:"block,omitempty"`

	// The most hashes to compute for one request. Default: 4096. At most
	// 1048576.
	MaxStep uint32 `json:"max_step,omitempty"`

	// How long a quoted price is honoured. Default: 5m. From 1s to 15m.
	QuoteLife caddy.Duration `json:"quote_life,omitempty"`

	// How long a charge can be given back and is not yet claimed from the
	// broker. A shorter time than the default may claim what is given back
	// later; then the next claim is smaller. Default: 15m. From 0s to 15m.
	ClaimDelay *caddy.Duration `json:"claim_delay,omitempty"`

	// How often to claim from the brokers. 0 turns the job off; the admin
	// endpoint still does it on request. Default: 1h.
	RedeemInterval *caddy.Duration `json:"redeem_interval,omitempty"`

	// Claim without waiting for the interval when so much can be claimed, as a
	// number and a currency: "100 USD". It is looked at once a minute. Default:
	// off.
	RedeemAbove string `json:"redeem_above,omitempty"`

	// Claim without waiting for the interval what has to be redeemed within this
	// time. Default: 24h. At most 90d.
	RedeemMargin caddy.Duration `json:"redeem_margin,omitempty"`

	// Hand claims to the brokers, too, when they ask for them at
	// /.well-known/payword/claims: for a gate that cannot reach its brokers.
	// Default: false.
	Pull bool `json:"pull,omitempty"`

	// Start even if a log would hold the paywords that visitors send. Default:
	// false.
	UnsafeLogs bool `json:"unsafe_logs,omitempty"`

	ctx       caddy.Context
	logger    *zap.Logger
	now       func() time.Time
	openOnce  sync.Once
	openError error
	poolKey   string
	vendors   vendors

	redeemAbove         money.Amount // in micros; 0: off
	redeemAboveCurrency money.Currency
	events              *caddyevents.App
	sites               []soldSite // for the overview

	creditCaps map[money.Currency]creditCaps
	gate       *gate
	cancel     context.CancelFunc
	jobs       sync.WaitGroup
	priceSets  priceSets // of all directives
	priceFiles priceFiles
}

// gates holds what survives a config reload, by the directory of its store and
// the Redis that it shares.
var gates = caddy.NewUsagePool()

// CaddyModule returns the module's description.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "payword", New: func() caddy.Module { return new(App) }}
}

// Provision fills in the defaults. It opens nothing: that is for Start.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger, a.now = ctx, ctx.Logger(), time.Now
	if err := a.findEvents(ctx); err != nil {
		return fmt.Errorf("payword: events: %w", err)
	}
	if a.Store == "" {
		a.Store = filepath.Join(caddy.AppDataDir(), "payword")
	}
	directory, err := filepath.Abs(a.Store)
	if err != nil {
		return fmt.Errorf("store %q: %w", a.Store, err)
	}
	a.Store = directory
	if a.MaxStep == 0 {
		a.MaxStep = payword.DefaultMaxStep
	}
	if a.QuoteLife == 0 {
		a.QuoteLife = caddy.Duration(5 * time.Minute)
	}
	if a.ClaimDelay == nil {
		delay := caddy.Duration(payword.RefundSeconds * time.Second)
		a.ClaimDelay = &delay
	}
	if a.RedeemInterval == nil {
		interval := caddy.Duration(time.Hour)
		a.RedeemInterval = &interval
	}
	if a.HotList == nil {
		a.HotList = new(HotList)
	}
	a.HotList.provision()
	if a.RateLimits == nil {
		a.RateLimits = new(RateLimits)
	}
	a.RateLimits.provision()
	if err := a.Block.provision(); err != nil {
		return fmt.Errorf("payword: block: %w", err)
	}
	if a.creditCaps, err = readCaps(a.Credit); err != nil {
		return fmt.Errorf("payword: credit: %w", err)
	}
	return nil
}

// Validate checks the configuration.
func (a *App) Validate() error {
	if len(a.Brokers) == 0 {
		return errors.New("payword: name at least one broker whose certificates are taken")
	}
	if a.Redis != nil {
		if err := a.Redis.validate(); err != nil {
			return fmt.Errorf("payword: redis: %w", err)
		}
	}
	seen := make(map[string]bool)
	for _, broker := range a.Brokers {
		if err := broker.validate(); err != nil {
			return fmt.Errorf("payword: broker: %w", err)
		}
		if seen[broker.Issuer] {
			return fmt.Errorf("payword: broker %s is named twice", broker.Issuer)
		}
		seen[broker.Issuer] = true
	}
	switch {
	case len(a.Brokers) > payword.MaxBrokers:
		return fmt.Errorf("payword: %d brokers: at most %d", len(a.Brokers), payword.MaxBrokers)
	case a.Redis != nil && a.Durability != "":
		return errors.New("payword: durability is a setting of the store in a directory; how durable payments are in Redis is set there, by appendfsync")
	case a.Durability != "" && a.Durability != durabilitySync && a.Durability != durabilityAsync:
		return fmt.Errorf("payword: durability %q: want %s or %s", a.Durability, durabilitySync, durabilityAsync)
	case a.MaxStep > payword.MaxChainLength:
		return fmt.Errorf("payword: max_step %d: at most %d", a.MaxStep, payword.MaxChainLength)
	case a.QuoteLife < caddy.Duration(time.Second) || a.QuoteLife > caddy.Duration(payword.RefundSeconds*time.Second):
		return errors.New("payword: quote_life: want 1s to 15m")
	case *a.ClaimDelay < 0 || *a.ClaimDelay > caddy.Duration(payword.RefundSeconds*time.Second):
		return errors.New("payword: claim_delay: want 0s to 15m")
	case *a.RedeemInterval != 0 && *a.RedeemInterval < caddy.Duration(time.Second):
		return errors.New("payword: redeem_interval: want 0 (off) or at least 1s")
	}
	if err := a.validateRedemption(); err != nil {
		return err
	}
	if err := errors.Join(a.HotList.validate(), a.RateLimits.validate()); err != nil {
		return err
	}
	return a.checkLogs()
}

// Start opens the store and begins the jobs.
func (a *App) Start() error {
	if err := a.open(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(a.ctx)
	a.cancel = cancel
	for _, broker := range a.Brokers {
		a.jobs.Go(func() { a.refreshBroker(ctx, broker) })
	}
	a.jobs.Go(func() { a.watchFiles(ctx) })
	a.startObserving(ctx)
	if *a.RedeemInterval > 0 {
		a.jobs.Go(func() { a.redeemPeriodically(ctx) })
	}
	return nil
}

// open opens the store, or takes over the one that the configuration before
// had open. Requests may arrive before Start, because apps start in no order;
// then the first one opens it.
func (a *App) open() error {
	a.openOnce.Do(func() {
		key, err := a.Redis.poolKey()
		if err != nil {
			a.openError = err
			return
		}
		key = a.Store + key
		value, _, err := gates.LoadOrNew(key, func() (caddy.Destructor, error) {
			opened, err := openGate(a.Store, a.Redis, a.logger)
			if err != nil {
				return nil, err
			}
			opened.observe(func() int64 { return time.Now().Unix() })
			return opened, nil
		})
		if err != nil {
			a.openError = fmt.Errorf("payword: opening the store %s: %w", a.Store, err)
			return
		}
		a.gate, a.poolKey = value.(*gate), key
		a.gate.durability.use(a.Durability)
		if err := a.gate.metrics.register(a.ctx.GetMetricsRegistry()); err != nil {
			a.logger.Error("registering the metrics", zap.Error(err))
		}
		a.gate.keys.load(a.Brokers)
		a.gate.hotLists.load(a.Brokers, a.now())
	})
	return a.openError
}

// Stop ends the jobs. The store stays open until Cleanup, since requests may
// still be in flight.
func (a *App) Stop() error {
	if a.cancel != nil {
		a.cancel()
	}
	a.jobs.Wait()
	return nil
}

// Cleanup lets go of the store.
func (a *App) Cleanup() error {
	if a.poolKey == "" {
		return nil
	}
	a.gate.durability.release(a.Durability)
	_, err := gates.Delete(a.poolKey)
	return err
}

// gate is what survives a reload: everything that remembers.
type gate struct {
	store      store
	durability *durability
	closer     func() error
	challenges *challengeSecrets
	key        ed25519.PrivateKey // the vendor's: signs claims
	keys       *brokerKeys
	hotLists   *hotLists
	rereads    *rereads
	strikes    *rateCounter // payments that failed to verify
	openings   *rateCounter // new commitments
	quotas     *freeQuotas
	unearned   *unearnedSums
	observation
	streams *streams

	openedAt   time.Time
	redeeming  chan struct{}             // holds one token while a redemption runs
	redeemedAt atomic.Pointer[time.Time] // when the last one ended; nil before the first
}

func openGate(directory string, shared *Redis, logger *zap.Logger) (*gate, error) {
	opened, secrets, err := openStoreOf(directory, shared, logger)
	if err != nil {
		return nil, err
	}
	challenges, err := openChallengeSecrets(directory)
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	keys := newBrokerKeys(directory, logger)
	return &gate{
		store: opened, durability: newDurability(opened), closer: opened.Close,
		challenges: challenges, key: secrets.vendor,
		keys: keys, hotLists: newHotLists(directory, keys, logger),
		rereads: newRereads(), strikes: newRateCounter(), openings: newRateCounter(), streams: newStreams(),
		quotas: newFreeQuotas(), unearned: newUnearnedSums(),
		openedAt: time.Now(), redeeming: make(chan struct{}, 1),
	}, nil
}

// Destruct closes the store when no configuration uses it any more.
func (g *gate) Destruct() error { return g.closer() }
