// Package broker is the online half of a bank for paywords: it opens accounts,
// issues certificates, sets balances aside for commitments, registers vendors
// and pays their claims.
//
// Every request takes the same way: parse, load, judge (pure), one transaction
// that compares what it changes with what was judged, answer. The books are
// double entry (internal/ledger): what a user has is in user:<id>:available
// and user:<id>:reserved, what a vendor is owed in vendor:<origin>:payable, and
// broker:bank:in, or the account of another source, gave it.
package broker

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/paywordhq/payword"
	"github.com/paywordhq/payword/internal/adminpage"
	"github.com/paywordhq/payword/internal/ledger"
	"github.com/paywordhq/payword/money"
)

// Config is what a broker needs to run. Issuer, Currency, Database and Signer
// are required.
type Config struct {
	// Issuer is the broker's origin, such as https://broker.example. It stands
	// in every certificate and cannot be changed later.
	Issuer string
	// Currency is the one currency of this broker. It cannot be changed later.
	Currency money.Currency
	// Database is the path of the SQLite file, which is made where it is
	// missing, or the location of a PostgreSQL database (postgres://…), which
	// several brokers of the same issuer may share.
	Database string
	// Signer holds the Ed25519 key that certificates and reservations are
	// signed with.
	Signer crypto.Signer
	// NextSigners are keys that are to sign later: each is published at once and
	// takes over when it has been for KeyLead, the last one in the end. SetKeys
	// replaces all of them.
	NextSigners []crypto.Signer
	// KeyLead is how long a key is published before it signs, in whole seconds:
	// the time in which every gate has fetched it. Default: 1 day.
	KeyLead time.Duration
	// Published are further keys of this broker: those of the past, as long as
	// something signed with them is valid, and those of the future. At most 63.
	Published []ed25519.PublicKey
	// Grace is how long after a commitment's expiry claims are paid, in whole
	// seconds. Default: 7 days.
	Grace time.Duration
	// CertificateLife is how long a certificate is valid, in whole seconds.
	// Default: 7 days.
	CertificateLife time.Duration
	// CertificateLimit is the most that one vendor may accept from one user in
	// a day, in micros. Default: 20 units of the currency.
	CertificateLimit money.Amount
	// AdminToken opens the administration routes: at least 16 bytes. Empty:
	// they are closed.
	AdminToken string
	// Operators may administrate as well, each by name. At most 100.
	Operators []Operator
	// PaymentServices are those whose webhooks are read, such as NewStripe's.
	// Default: none.
	PaymentServices []PaymentService
	// RequestsPerMinute is how many requests of one key, and of one address, are
	// answered in a minute. Default: 6000.
	RequestsPerMinute int
	// TrustedProxies are the networks of proxies whose X-Forwarded-For says where
	// a request comes from. Default: none, and requests from this machine are
	// not counted by address.
	TrustedProxies []netip.Prefix
	// WhiteCeiling is the most that an account tied to nobody may hold, in
	// micros; laws on anonymous electronic money set such limits. It is kept in
	// the database for every command. Default: 150 units of the currency.
	WhiteCeiling money.Amount
	// ReleaseInterval is the time between two rounds in which Run releases
	// reservations whose time is over. Default: 1 minute.
	ReleaseInterval time.Duration
	// DestinationDelay is how long a payout destination that a vendor asks for
	// waits before it counts, in whole seconds. Default: 3 days.
	DestinationDelay time.Duration
	// DeliveryInterval is the time between two rounds in which Run sends
	// webhook messages. Default: 1 second.
	DeliveryInterval time.Duration
	// PullInterval is how often Run fetches the claims of each vendor that asked
	// for it. Default: 1 hour.
	PullInterval time.Duration
	// AllowLoopbackVendors lets vendors on this machine register, over plain
	// HTTP too. For tests and demonstrations.
	AllowLoopbackVendors bool
	// Transport fetches the discovery documents of vendors; nil is one that
	// connects to public addresses only.
	Transport http.RoundTripper
	// Now is the clock; nil is time.Now. It must be safe for concurrent use.
	Now func() time.Time
	// Logger takes what operators should know; nil discards it.
	Logger *slog.Logger
}

const (
	defaultGrace = 7 * 24 * time.Hour
	// defaultCertificateLife is a week: a gate that has lost its broker and takes
	// what is new all the same is open to a stolen certificate for no longer; a
	// wallet has days in which to renew while the broker is down; and each lives
	// in a hot list for a week and not for a month, which keeps the lists small.
	defaultCertificateLife  = 7 * 24 * time.Hour
	defaultKeyLead          = 24 * time.Hour
	defaultCertificateLimit = 20 * money.Unit
	defaultReleaseInterval  = time.Minute
	defaultDeliveryInterval = time.Second
	defaultPullInterval     = time.Hour
	defaultWhiteCeiling     = 150 * money.Unit

	// minAdminToken is the length below which a token can be guessed.
	minAdminToken = adminpage.MinToken
)

// Broker is a running broker. It is safe for concurrent use.
type Broker struct {
	config  Config
	store   *store
	keyring keyring
	handler http.Handler
	log     *slog.Logger

	publicHandler, adminHandler http.Handler // handler in two parts

	challenges challengeSecrets
	lists      listCache
	operators  adminpage.Operators
	failures   failures      // of the tokens of operators
	checks     chan struct{} // asks Run for a check of the books
	background background
	discovery  *http.Client

	accountOpenings *quota // by keys that are not known yet, as are vendorOpenings
	vendorOpenings  *quota
	voucherTries    *quotas // of codes that do not exist, by account
	fetches         *quota  // of discovery documents, for keys that are not the vendor's yet
	renewals        *quota  // of discovery documents, for those that are

	metrics   *metrics
	bySender  *limiter // requests of one key or operator
	byAddress *limiter
	byChanger *limiter      // changes of one account or vendor's key
	draining  atomic.Bool   // the process is about to end
	drain     time.Duration // how long it goes on serving then

	byKey            turns // of requests with large bodies
	byVendor         turns // of redemptions
	byIdempotencyKey turns
	large            chan struct{} // a slot for each large body
	hashing          chan struct{} // a slot for each processor
	streamsByKey     turns         // of streams of redemptions
	streams          chan struct{} // a slot for each of them
	exportsBegun     *limiter      // by account
	exportsByAccount turns
	exports          chan struct{} // a slot for each of them
	maxSteps         int           // hashes for one request; tests lower it
	turnTimeout      time.Duration // tests lower it

	redemptionsPerTransaction int // tests lower it
}

// whenNew, if set, is called with every new broker before it is used; tests set
// it, in a process that they are going to kill.
var whenNew func(*Broker)

// New opens the database, brings its tables up to date and prepares the
// handler. The caller calls Close, and Run beside the HTTP server.
func New(ctx context.Context, config Config) (*Broker, error) {
	if err := config.complete(); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	b := &Broker{
		config:          config,
		log:             config.Logger,
		operators:       adminpage.NewOperators(config.AdminToken, config.Operators),
		failures:        failures{now: config.Now},
		checks:          make(chan struct{}, 1),
		discovery:       newDiscoveryClient(config),
		accountOpenings: newQuota(config.Now, openingsPerMinute),
		vendorOpenings:  newQuota(config.Now, openingsPerMinute),
		voucherTries:    newQuotas(config.Now, voucherTriesPerMinute),
		fetches:         newQuota(config.Now, fetchesPerMinute),
		renewals:        newQuota(config.Now, renewalsPerMinute),
		bySender:        newLimiter("key", config.Now, config.RequestsPerMinute),
		byAddress:       newLimiter("address", config.Now, config.RequestsPerMinute),
		byChanger:       newLimiter("changes", config.Now, max(1, config.RequestsPerMinute/changeShare)),
		large:           make(chan struct{}, largeBodies),
		hashing:         make(chan struct{}, runtime.GOMAXPROCS(0)),
		streams:         make(chan struct{}, maxStreams),
		exportsBegun:    newLimiter("account", config.Now, exportsPerMinute),
		exports:         make(chan struct{}, maxExports),
		maxSteps:        maxSteps,
		turnTimeout:     turnTimeout,

		redemptionsPerTransaction: redemptionsPerTransaction,
	}
	b.challenges.byDay = make(map[int64][sha256.Size]byte)
	b.lists.byNumber = make(map[int64]*servedList)
	b.keyring.signing, b.keyring.timeout = make(chan struct{}, maxSigning), signTimeout
	b.metrics = newMetrics(b)
	var err error
	if b.store, err = openStore(ctx, config.Database, ledger.Create, config.Now); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	b.store.observe = b.metrics.observe
	if err := b.store.settle(ctx, config.Issuer, config.Currency, config.WhiteCeiling); err != nil {
		return nil, errors.Join(fmt.Errorf("broker: %w", err), b.store.Close())
	}
	if err := b.SetKeys(ctx, append([]crypto.Signer{config.Signer}, config.NextSigners...), config.Published); err != nil {
		return nil, errors.Join(fmt.Errorf("broker: %w", err), b.store.Close())
	}
	if err := b.makeHandlers(); err != nil {
		return nil, errors.Join(fmt.Errorf("broker: %w", err), b.store.Close())
	}
	if whenNew != nil {
		whenNew(b)
	}
	return b, nil
}

// complete fills in the defaults and reports what is wrong.
func (c *Config) complete() error {
	setDefault(&c.Grace, defaultGrace)
	setDefault(&c.CertificateLife, defaultCertificateLife)
	setDefault(&c.CertificateLimit, defaultCertificateLimit)
	setDefault(&c.RequestsPerMinute, defaultRequestsPerMinute)
	setDefault(&c.ReleaseInterval, defaultReleaseInterval)
	setDefault(&c.KeyLead, defaultKeyLead)
	setDefault(&c.DestinationDelay, defaultDestinationDelay)
	setDefault(&c.DeliveryInterval, defaultDeliveryInterval)
	setDefault(&c.PullInterval, defaultPullInterval)
	setDefault(&c.WhiteCeiling, defaultWhiteCeiling)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := payword.CheckOrigin(c.Issuer); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if _, err := money.ParseCurrency(string(c.Currency)); err != nil {
		return err
	}
	switch {
	case c.Database == "":
		return errors.New("database: missing")
	case c.RequestsPerMinute < 1:
		return errors.New("requests per minute: want at least 1")
	case c.Signer == nil:
		return errors.New("signer: missing")
	case c.Grace < time.Second || c.CertificateLife < time.Second || c.ReleaseInterval < time.Millisecond:
		return errors.New("grace and certificate life take at least a second, the release interval a millisecond")
	case c.DestinationDelay < time.Second || c.DeliveryInterval < time.Millisecond || c.PullInterval < time.Millisecond:
		return errors.New("the destination delay takes at least a second, the intervals a millisecond")
	case c.CertificateLimit < 1 || c.CertificateLimit > money.MaxAmount:
		return fmt.Errorf("certificate limit: want 1 to %d micros", money.MaxAmount)
	case c.WhiteCeiling < 1 || c.WhiteCeiling > money.MaxAmount:
		return fmt.Errorf("ceiling of white accounts: want 1 to %d micros", money.MaxAmount)
	case c.AdminToken != "" && len(c.AdminToken) < minAdminToken:
		return fmt.Errorf("administration token: want at least %d bytes", minAdminToken)
	case c.KeyLead < time.Second:
		return errors.New("key lead: want at least a second")
	}
	if err := checkPaymentServices(c.PaymentServices); err != nil {
		return err
	}
	if err := adminpage.CheckOperators(c.AdminToken, c.Operators); err != nil {
		return err
	}
	if _, isEd25519 := c.Signer.Public().(ed25519.PublicKey); !isEd25519 {
		return fmt.Errorf("signer: want an Ed25519 key, not %T", c.Signer.Public())
	}
	for _, key := range c.Published {
		if err := payword.CheckPublicKey(key); err != nil {
			return fmt.Errorf("published key: %w", err)
		}
	}
	return nil
}

func setDefault[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

func containsKey(keys []ed25519.PublicKey, key ed25519.PublicKey) bool {
	for _, known := range keys {
		if known.Equal(key) {
			return true
		}
	}
	return false
}

// makeHandlers makes what serves the API and the administration pages.
func (b *Broker) makeHandlers() error {
	handler, err := newHandler(b)
	if err != nil {
		return err
	}
	if !b.operators.IsEmpty() {
		pages, err := newPages(b)
		if err != nil {
			return err
		}
		handler = withPages(pages, handler)
	}
	b.handler = handler
	b.publicHandler, b.adminHandler = splitAdministration(handler)
	return nil
}

// Handler returns the broker's HTTP interface, which openapi.json describes,
// with the administration pages at /admin/.
func (b *Broker) Handler() http.Handler { return b.handler }

// PublicHandler is Handler without what is for operators.
func (b *Broker) PublicHandler() http.Handler { return b.publicHandler }

// AdminHandler serves what PublicHandler leaves out, for an address that only
// operators can reach, and the routes for probes.
func (b *Broker) AdminHandler() http.Handler { return b.adminHandler }

// Close closes the database. Run and the HTTP server must have ended.
func (b *Broker) Close() error { return b.store.Close() }

// now returns the time in whole seconds since 1970.
func (b *Broker) now() int64 { return b.config.Now().Unix() }
